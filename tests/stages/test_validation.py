"""Everything that can be refused without asking anybody, and all of it at once."""

import math
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
import trio
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from executor.chainstate.mints import Mints
from executor.config import LimitSettings, TokenSettings
from executor.errors import Denied, ErrorCode, InvalidRequest
from executor.model import Order, TradeRequest, Urgency
from executor.network.solana import AccountInfo
from executor.stages.validation import Rules, validate
from executor.units import U64_MAX
from tests.support.chain import FakeNode, fake_nodes, mint_data
from tests.support.events import RecordedLog
from tests.support.values import BONK, SOL, TAXED, TOKEN_ACCOUNT_RENT, USDC, key, make_request

MAX_AMOUNT = 10_000_000_000
TOKENS = (SOL, USDC, BONK)


def make_rules() -> Rules:
    """Three whitelisted tokens, of which the chain knows SOL and USDC."""
    whitelist = {t.mint: TokenSettings(symbol=t.symbol, mint=t.mint, max_amount=MAX_AMOUNT) for t in TOKENS}
    node = FakeNode()
    node.held = {t.mint: AccountInfo(lamports=1, owner=t.program, data=mint_data(decimals=t.decimals)) for t in (SOL, USDC)}
    mints = Mints(nodes=fake_nodes(node), whitelist=whitelist, log=RecordedLog())
    trio.run(mints.refresh)
    return Rules(limits=LimitSettings(max_slippage_bps=300), whitelist=whitelist, mints=mints)


RULES = make_rules()


def order_of(request: TradeRequest) -> Order:
    """The order of a request that passes."""
    return validate(request, rules=RULES, received_at=12.5, received_unix_ns=99)


def problems_of(**changes: Any) -> dict[str, str]:
    """What is wrong with a request, by field."""
    with pytest.raises(InvalidRequest) as caught:
        order_of(make_request(**changes))
    assert caught.value.code is ErrorCode.REQUEST_INVALID
    assert all(p.field in caught.value.message and p.problem in caught.value.message for p in caught.value.problems)
    return {problem.field: problem.problem for problem in caught.value.problems}


def denial_of(**changes: Any) -> Denied:
    """Why a well-formed request is refused."""
    with pytest.raises(Denied) as caught:
        order_of(make_request(**changes))
    assert not isinstance(caught.value, InvalidRequest)
    return caught.value


# --- what passes ---


def test_a_good_request_becomes_an_order() -> None:
    """With the tokens' facts, the accounts as addresses, and when it came."""
    request = make_request(
        urgency=Urgency.CRITICAL,
        expected_price=121.9,
        fee_account=str(key("fee account")),
        tracking_account=str(key("tracking account")),
    )

    assert order_of(request) == Order(
        request=request,
        received_at=12.5,
        received_unix_ns=99,
        input=SOL,
        output=USDC,
        in_amount=50_000_000,
        max_slippage_bps=order_of(request).max_slippage_bps,
        urgency=Urgency.CRITICAL,
        expected_price=Fraction("121.9"),
        fee_account=key("fee account"),
        tracking_account=key("tracking account"),
    )
    assert (order_of(request).max_slippage_bps, order_of(request).request_id) == (50, "request-1")
    assert order_of(request).input.account_rent_lamports == TOKEN_ACCOUNT_RENT


def test_what_is_not_given_is_none() -> None:
    """No price and no accounts."""
    order = order_of(make_request())

    assert (order.expected_price, order.fee_account, order.tracking_account) == (None, None, None)


@given(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=100),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=50),
    st.integers(1, MAX_AMOUNT),
    st.integers(0, 300),
    st.sampled_from(Urgency),
    st.floats(0, allow_nan=False, allow_infinity=False),
)
def test_whatever_is_within_the_limits_passes(
    request_id: str, service: str, amount: int, slippage: int, urgency: Urgency, price: float
) -> None:
    """Each field at any allowed value, the bounds included; the request itself stays as it came."""
    request = make_request(
        request_id=request_id,
        source_service=service,
        in_amount=amount,
        max_slippage_bps=slippage,
        urgency=urgency,
        expected_price=price,
    )
    order = order_of(request)

    assert order.request is request
    assert (order.in_amount, order.max_slippage_bps, order.urgency) == (amount, slippage, urgency)


@given(st.decimals("0.000000001", "1000000000", places=9))
def test_a_price_is_exactly_what_was_written(price: Decimal) -> None:
    """The decimal that the caller wrote, not the binary number next to it: the guard works to the basis point."""
    written = float(price)
    order = order_of(make_request(expected_price=written))

    assert order.expected_price == Fraction(repr(written))
    if len(price.normalize().as_tuple().digits) <= 15:
        assert order.expected_price == Fraction(price)


@pytest.mark.parametrize("price", [0.1, 1e-12, 5e-324, 1.7976931348623157e308, 0.30000000000000004])
def test_odd_prices_are_exact_too(price: float) -> None:
    """From the smallest to the largest that a double holds."""
    assert order_of(make_request(expected_price=price)).expected_price == Fraction(Decimal(repr(price)))


@pytest.mark.parametrize("price", [0.0, -0.0])
def test_zero_is_no_price(price: float) -> None:
    """With either sign."""
    assert order_of(make_request(expected_price=price)).expected_price is None


# --- what is malformed ---

WRONG: Mapping[str, tuple[str, list[Any]]] = {
    "request_id": ("request_id", ["", "x" * 101, "ü", "a\nb", "\x00", "a\x7f", "\u200b", "\uff11"]),
    "source_service": ("source_service", ["", "x" * 51, "ü", "a\tb"]),
    "input_mint": ("input_token", ["", "0", "SOL", "1" * 45, str(SOL.mint)[:-1], str(SOL.mint) + "1", "l" * 43, "x" * 100_000]),
    "output_mint": ("output_token", ["", "USDC", "ü" * 43, str(SOL.mint)]),
    "in_amount": ("amount_lamports", [0, -1, U64_MAX + 1]),
    "max_slippage_bps": ("max_slippage_bps", [301, 10_000, 2**32 - 1, -1]),
    "expected_price": ("expected_price", [math.nan, math.inf, -math.inf, -0.1]),
    "fee_account": ("fee_account", ["", "me", str(USDC.mint)[:-2]]),
    "tracking_account": ("tracking_account", ["", "me", "O0Il" * 11]),
}


@pytest.mark.parametrize(("attribute", "value"), [(name, value) for name, (_field, values) in WRONG.items() for value in values])
def test_a_wrong_field_is_named(attribute: str, value: object) -> None:
    """By its name on the wire, and it alone."""
    field, _values = WRONG[attribute]

    assert list(problems_of(**{attribute: value})) == [field]


def test_every_wrong_field_is_named_at_once() -> None:
    """A caller corrects all of them with one look, in the order of the interface."""
    found = problems_of(**{attribute: values[0] for attribute, (_field, values) in WRONG.items()})

    assert list(found) == [field for field, _values in WRONG.values()]
    assert found["request_id"] == "must have 1 to 100 characters, has 0"
    assert found["max_slippage_bps"] == "must be at most 300 (the configured limit), is 301"
    assert found["expected_price"] == "must be finite and not negative, is nan"


def test_a_token_for_itself_is_no_trade() -> None:
    """Named at the output."""
    assert problems_of(output_mint=str(SOL.mint)) == {"output_token": "must differ from input_token"}


def test_format_comes_before_the_whitelist() -> None:
    """A malformed request is told that it is malformed, whatever else is wrong with it."""
    assert list(problems_of(output_mint=str(TAXED.mint), in_amount=0)) == ["amount_lamports"]


@given(
    st.text(max_size=120),
    st.text(max_size=60),
    st.text(max_size=50),
    st.text(max_size=50),
    st.integers(-5, 2**65),
    st.integers(-5, 2**33),
    st.floats(),
    st.none() | st.text(max_size=50),
)
def test_nothing_breaks_the_rules(
    request_id: str, service: str, source: str, target: str, amount: int, slippage: int, price: float, account: str | None
) -> None:
    """Whatever a caller sends is refused in words, never with an error of another kind."""
    request = TradeRequest(
        request_id=request_id,
        source_service=service,
        input_mint=source,
        output_mint=target,
        in_amount=amount,
        max_slippage_bps=slippage,
        urgency=Urgency.LOW,
        expected_price=price,
        fee_account=account,
        tracking_account=account,
    )
    with pytest.raises(Denied):  # no text of that length is one of our mints
        order_of(request)


# --- what is not allowed ---


def test_a_token_that_is_not_whitelisted_is_denied() -> None:
    """With its address, on whichever side; both if both are foreign."""
    foreign, other = str(TAXED.mint), str(key("other"))
    one = denial_of(output_mint=foreign)
    both = denial_of(input_mint=foreign, output_mint=other)

    assert (one.code, dict(one.context)) == (ErrorCode.MINT_NOT_WHITELISTED, {"output_token": foreign})
    assert dict(both.context) == {"input_token": foreign, "output_token": other}
    assert foreign in both.message
    assert other in both.message


@pytest.mark.parametrize("source", [SOL, USDC])
def test_an_amount_above_the_token_s_limit_is_denied(source: Any) -> None:
    """By one unit is enough; the figures are told as a person reads them, and raw for programs."""
    target = USDC if source is SOL else SOL
    order_of(make_request(input_mint=str(source.mint), output_mint=str(target.mint), in_amount=MAX_AMOUNT))
    denied = denial_of(input_mint=str(source.mint), output_mint=str(target.mint), in_amount=MAX_AMOUNT + 1)

    assert denied.code is ErrorCode.AMOUNT_ABOVE_LIMIT
    assert dict(denied.context) == {"amount": MAX_AMOUNT + 1, "max_amount": MAX_AMOUNT}
    amounts = {SOL: ("10.000000001", "10"), USDC: ("10000.000001", "10000")}[source]
    assert f"{amounts[0]} {source.symbol} exceeds the limit of {amounts[1]} {source.symbol}" in denied.message


def test_a_token_that_the_chain_does_not_know_yet_is_denied() -> None:
    """A later request may help; the reason is that of the mint."""
    denied = denial_of(output_mint=str(BONK.mint))

    assert (denied.code, denied.code.facts.retryable) == (ErrorCode.CHAIN_STATE_STALE, True)
    assert "does not exist on this cluster" in denied.message
    assert dict(denied.context) == {"mint": str(BONK.mint)}


def test_the_limit_on_slippage_is_the_configured_one() -> None:
    """Not the network's."""
    strict = evolve(RULES, limits=LimitSettings(max_slippage_bps=0))
    with pytest.raises(InvalidRequest, match="at most 0"):
        validate(make_request(max_slippage_bps=1), rules=strict, received_at=0.0, received_unix_ns=0)

    assert validate(make_request(max_slippage_bps=0), rules=strict, received_at=0.0, received_unix_ns=0).max_slippage_bps == 0

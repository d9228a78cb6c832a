"""What Jupiter offers, and the price guard: to the basis point."""

from fractions import Fraction

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import Denied, ErrorCode, Rejected
from executor.model import Order, Quoted
from executor.stages import quoting
from executor.stages.quoting import quote
from executor.units import Bps
from tests.support.api import api_error, open_jupiter, quote_json
from tests.support.recorded import recorded, recorded_names
from tests.support.upstream import Reply, Script, json_reply
from tests.support.values import SOL, USDC, key, make_order, make_quote


async def ask(order: Order, step: Script, *, platform_fee_bps: int = 0) -> tuple[Quoted | Denied | Rejected, dict[str, str]]:
    """What becomes of an order, and the query that was asked."""
    async with open_jupiter() as (jupiter, upstream):
        upstream.always("quote", step)
        result: Quoted | Denied | Rejected
        try:  # within: the server's nursery would wrap it
            result = await quote(order, jupiter=jupiter, platform_fee_bps=platform_fee_bps)
        except (Denied, Rejected) as error:
            result = error
        return result, upstream.requests[0].query


async def test_an_offer_is_taken_and_kept_byte_for_byte() -> None:
    """Without an expected price the offer itself is what slippage is measured against."""
    order = make_order()
    body = b'  {"z":1.50,' + json_reply(quote_json(order)).body[1:]
    result, query = await ask(order, Reply(body=body))

    assert isinstance(result, Quoted)
    assert (result.order, result.quote.raw) == (order, body)
    assert (result.quote.out_amount, result.reference_out_amount) == (6_096_091, 6_096_091)
    assert (query["inputMint"], query["outputMint"]) == (str(SOL.mint), str(USDC.mint))
    assert (query["amount"], query["slippageBps"], query["swapMode"]) == ("50000000", "50", "ExactIn")
    assert "platformFeeBps" not in query


async def test_the_fee_is_asked_for_only_with_an_account_for_it() -> None:
    """The configured share applies to requests that name a fee account."""
    order = make_order(fee_account=key("fee account"))
    answer = quote_json(order, platformFee={"amount": "1", "feeBps": 20})
    result, query = await ask(order, json_reply(answer), platform_fee_bps=20)
    _plain, plain_query = await ask(make_order(), json_reply(quote_json(make_order())), platform_fee_bps=20)

    assert isinstance(result, Quoted)
    assert (query["platformFeeBps"], result.quote.platform_fee_bps) == ("20", 20)
    assert "platformFeeBps" not in plain_query


# 0.05 SOL at 121.92182 are 6,096,091 raw USDC.
EXPECTED = Fraction("121.92182")


@pytest.mark.parametrize(
    ("out_amount", "slippage_bps", "passes"),
    [
        (6_096_091, 0, True),
        (6_096_092, 0, True),
        (60_960_910, 0, True),
        (6_096_090, 0, False),  # a millionth less is more than nothing less
        (6_096_090, 1, True),
        (6_095_482, 1, True),  # 0.999 bps
        (6_095_481, 1, False),  # 1.0006 bps
        (6_065_611, 50, True),  # 49.9998 bps
        (6_065_610, 50, False),  # 50.0007 bps
        (1, 50, False),
    ],
)
async def test_the_guard_is_exact_to_the_unit(out_amount: int, slippage_bps: int, passes: bool) -> None:
    """Worse than the expected price by more than the allowed basis points is refused, by less it is not."""
    order = make_order(expected_price=EXPECTED, max_slippage_bps=Bps(slippage_bps))
    result, _query = await ask(order, json_reply(quote_json(order, out_amount)))

    if passes:
        assert isinstance(result, Quoted)
        assert result.reference_out_amount == 6_096_091
    else:
        assert isinstance(result, Denied)
        assert result.code is ErrorCode.PRICE_MOVED


async def test_a_moved_price_is_refused_with_the_figures() -> None:
    """For a person in units, for a program raw."""
    order = make_order(expected_price=EXPECTED)
    result, _query = await ask(order, json_reply(quote_json(order, 6_000_000)))

    assert isinstance(result, Denied)
    assert "the quote gives 6 USDC, 158 bps less than the 6.096091 that the expected price promises" in result.message
    assert dict(result.context) == {
        "quoted_amount": 6_000_000,
        "expected_amount": 6_096_091,
        "shortfall_bps": 158,
        "max_slippage_bps": 50,
    }


@given(
    st.integers(1, 2**64 - 1),
    st.integers(1, 2**64 - 1),
    st.fractions(Fraction(1, 10**12), 10**9),
    st.integers(0, 10_000),
)
def test_the_guard_is_exact_at_any_amount(in_amount: int, out_amount: int, price: Fraction, bps: int) -> None:
    """Held against exact fractions: passed if and only if out >= reference * (1 - bps)."""
    order = evolve(make_order(expected_price=price, max_slippage_bps=Bps(bps)), in_amount=in_amount)
    reference = quoting._reference(order, make_quote(order, out_amount))
    exact = price * in_amount * 10**USDC.decimals / 10**SOL.decimals

    assert reference <= exact < reference + 1
    try:
        quoting._require_price(order, make_quote(order, out_amount), reference)
    except Denied:
        passed = False
    else:
        passed = True
    assert passed == (out_amount >= reference * (1 - Fraction(bps, 10_000)))


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (api_error("COULD_NOT_FIND_ANY_ROUTE"), ErrorCode.ROUTE_NOT_FOUND),
        (api_error("TOKEN_NOT_TRADABLE"), ErrorCode.TOKEN_NOT_TRADABLE),
        (Reply(401), ErrorCode.JUPITER_UNAUTHORIZED),
        (Reply(429), ErrorCode.JUPITER_RATE_LIMITED),
        (Reply(503), ErrorCode.JUPITER_UNREACHABLE),
        (json_reply(quote_json(make_order(USDC, SOL))), ErrorCode.JUPITER_ANSWER_INVALID),
    ],
)
async def test_what_jupiter_refuses_is_refused(reply: Reply, code: ErrorCode) -> None:
    """With its code and the endpoint; an answer to another question is no answer."""
    result, _query = await ask(make_order(), reply)

    assert isinstance(result, Rejected)
    assert result.code is code
    assert str(result.context["endpoint"]).startswith("http://127.0.0.1:")
    assert result.context["operation"] == "quote"


@pytest.mark.parametrize("name", recorded_names("quote"))
async def test_recorded_quotes_are_taken(name: str) -> None:
    """Every answer of mainnet's, for the question that it answers."""
    answer = recorded("quote", name)
    source = evolve(SOL, mint=type(SOL.mint).from_string(answer["inputMint"]))
    target = evolve(USDC, mint=type(USDC.mint).from_string(answer["outputMint"]))
    order = make_order(source, target, in_amount=int(answer["inAmount"]), max_slippage_bps=Bps(answer["slippageBps"]))
    result, _query = await ask(order, json_reply(answer))

    assert isinstance(result, Quoted)
    assert result.quote.out_amount == int(answer["outAmount"]) == result.reference_out_amount
    assert result.quote.other_amount_threshold == int(answer["otherAmountThreshold"])

"""What Jupiter offers, and the price guard: to the basis point."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import pytest
import trio
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from executor.errors import Denied, ErrorCode, Rejected
from executor.log import NullLog
from executor.model import Order, Quote, Quoted
from executor.network.jupiter import Jupiter
from executor.stages import quoting
from executor.stages.attempts import MAX_OFFERS, Attempt
from executor.stages.quoting import MAX_QUOTES, quote
from executor.stages.upstream import Stale
from executor.units import Bps, minimum_out
from tests.support.api import api_error, open_jupiter, quote_json
from tests.support.clients import QUICK, seeded
from tests.support.recorded import recorded, recorded_names
from tests.support.upstream import Received, Reply, Script, json_reply
from tests.support.values import SOL, USDC, key, make_order, make_quote

Result = Quoted | Denied | Rejected
Query = dict[str, str]


FIRST = Attempt()


async def result_of(order: Order, jupiter: Jupiter, platform_fee_bps: int = 0, attempt: Attempt = FIRST) -> Result:
    """What becomes of an order; refusals as values, because a server's nursery would wrap them."""
    try:
        return await quote(order, jupiter=jupiter, platform_fee_bps=platform_fee_bps, attempt=attempt)
    except (Denied, Rejected) as error:
        return error


async def ask(order: Order, step: Script, *, platform_fee_bps: int = 0, attempt: Attempt = FIRST) -> tuple[Result, Query]:
    """What becomes of an order that every question is answered with, and the first query."""
    async with open_jupiter() as (jupiter, upstream):
        upstream.always("quote", step)
        return await result_of(order, jupiter, platform_fee_bps, attempt), upstream.requests[0].query


def offer(order: Order, out_amount: int, **changes: object) -> Script:
    """An offer at the slippage that is asked for, whatever it is."""

    def answer(request: Received) -> Reply:
        slippage_bps = int(request.query["slippageBps"])
        figures = {"slippageBps": slippage_bps, "otherAmountThreshold": str(minimum_out(out_amount, slippage_bps))}
        return json_reply(quote_json(order, out_amount, **figures, **changes))

    return answer


async def ask_falling(
    order: Order, *out_amounts: int, platform_fee_bps: int = 0, attempt: Attempt = FIRST
) -> tuple[Result, list[Query]]:
    """What becomes of an order on a market that offers this, then that; all queries."""
    async with open_jupiter() as (jupiter, upstream):
        fee = {"platformFee": {"amount": "1", "feeBps": platform_fee_bps}} if platform_fee_bps else {}
        upstream.script("quote", *(offer(order, out_amount, **fee) for out_amount in out_amounts))
        result = await result_of(order, jupiter, platform_fee_bps, attempt)
        return result, [request.query for request in upstream.requests]


async def test_an_offer_is_taken_and_kept_byte_for_byte() -> None:
    """Without an expected price the offer itself is what slippage is measured against."""
    order = make_order()
    body = b'  {"z":1.50,' + json_reply(quote_json(order)).body[1:]
    result, query = await ask(order, Reply(body=body))

    assert isinstance(result, Quoted)
    assert (result.order, result.quote.raw) == (order, body)
    assert (result.quote.out_amount, result.reference_out_amount) == (6_096_091, 6_096_091)
    assert result.minimum_out_amount == 6_065_611  # 6065610.545, rounded up
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
    result, _query = await ask(order, offer(order, out_amount))

    if passes:
        assert isinstance(result, Quoted)
        assert result.reference_out_amount == 6_096_091
        assert minimum_out(result.quote.out_amount, result.quote.slippage_bps) >= result.minimum_out_amount
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


# --- slippage is counted once ---

LEAST = 6_065_611
"""What the expected price allows at 50 bps: 6065610.545, rounded up."""
LATER = Attempt(number=2, reference_out_amount=6_096_091)
"""The first offer was what `EXPECTED` promises, and came to nothing."""


@pytest.mark.parametrize("out_amount", [6_096_091, 6_096_092, 7_000_000])
async def test_an_offer_as_good_as_expected_costs_one_question(out_amount: int) -> None:
    """It has all the slippage before it; a better one is guarded by its own amount, not by the poorer expectation."""
    result, queries = await ask_falling(make_order(expected_price=EXPECTED), out_amount)

    assert isinstance(result, Quoted)
    assert [query["slippageBps"] for query in queries] == ["50"]
    assert (result.reference_out_amount, result.quote.slippage_bps) == (6_096_091, 50)
    assert result.minimum_out_amount == minimum_out(out_amount, 50)


async def test_an_offer_below_the_expected_price_is_asked_for_again_with_the_rest() -> None:
    """26 of 50 bps are gone with the offer: 23 more keep what may arrive within the slippage, 24 would not."""
    order = make_order(expected_price=EXPECTED)
    result, (first, second) = await ask_falling(order, 6_080_000, 6_080_000)

    assert isinstance(result, Quoted)
    assert (first["slippageBps"], second["slippageBps"]) == ("50", "23")
    assert {**first, "slippageBps": ""} == {**second, "slippageBps": ""}
    assert (result.quote.out_amount, result.quote.slippage_bps) == (6_080_000, 23)
    assert (result.reference_out_amount, result.minimum_out_amount) == (6_096_091, LEAST)
    assert minimum_out(6_080_000, 23) == 6_066_016
    assert minimum_out(6_080_000, 24) < LEAST
    assert b'"slippageBps": 23' in result.quote.raw  # what goes back to Jupiter is the narrower one


async def test_an_offer_at_the_limit_may_not_slip_at_all() -> None:
    """Nothing is left of the slippage: the swap delivers what is offered, or reverts."""
    result, queries = await ask_falling(make_order(expected_price=EXPECTED), LEAST, LEAST)

    assert isinstance(result, Quoted)
    assert [query["slippageBps"] for query in queries] == ["50", "0"]
    assert minimum_out(result.quote.out_amount, result.quote.slippage_bps) == result.minimum_out_amount == LEAST


async def test_a_market_that_recovers_between_the_questions_is_taken() -> None:
    """The narrower slippage stays, and the better offer is what it is measured against."""
    result, queries = await ask_falling(make_order(expected_price=EXPECTED), 6_080_000, 6_200_000)

    assert isinstance(result, Quoted)
    assert [query["slippageBps"] for query in queries] == ["50", "23"]
    assert (result.quote.out_amount, result.minimum_out_amount) == (6_200_000, minimum_out(6_200_000, 50))


async def test_the_third_offer_may_be_the_one() -> None:
    """It falls once more, and then no further."""
    result, queries = await ask_falling(make_order(expected_price=EXPECTED), 6_090_000, 6_080_000, 6_080_000)

    assert isinstance(result, Quoted)
    assert [query["slippageBps"] for query in queries] == ["50", "40", "23"]
    assert (result.quote.out_amount, result.minimum_out_amount) == (6_080_000, LEAST)


async def test_a_market_that_falls_while_it_is_asked_is_refused() -> None:
    """Three times, and not for ever; with the figures, for a person and for a program."""
    result, queries = await ask_falling(make_order(expected_price=EXPECTED), 6_090_000, 6_080_000, 6_070_000)

    assert isinstance(result, Denied)
    assert result.code is ErrorCode.PRICE_MOVED
    assert len(queries) == MAX_QUOTES == 3
    assert "6.065611 USDC" in result.message
    assert dict(result.context) == {"quoted_amount": 6_070_000, "expected_amount": 6_096_091, "max_slippage_bps": 50}


async def test_a_second_offer_beyond_the_slippage_is_refused_at_once() -> None:
    """The guard holds for every offer, not for the first one only."""
    result, queries = await ask_falling(make_order(expected_price=EXPECTED), 6_080_000, LEAST - 1)

    assert isinstance(result, Denied)
    assert (result.code, len(queries)) == (ErrorCode.PRICE_MOVED, 2)
    assert result.context["quoted_amount"] == LEAST - 1


async def test_a_second_question_that_fails_refuses_the_trade() -> None:
    """The first offer is not taken in its place: it would slip too far."""
    order = make_order(expected_price=EXPECTED)
    async with open_jupiter() as (jupiter, upstream):
        upstream.script("quote", offer(order, 6_080_000), api_error("COULD_NOT_FIND_ANY_ROUTE"))
        result = await result_of(order, jupiter)

    assert isinstance(result, Rejected)
    assert result.code is ErrorCode.ROUTE_NOT_FOUND


async def test_the_fee_is_asked_for_again_as_well() -> None:
    """The same question but for the slippage."""
    order = make_order(expected_price=EXPECTED, fee_account=key("fee account"))
    result, queries = await ask_falling(order, 6_080_000, 6_080_000, platform_fee_bps=20)

    assert isinstance(result, Quoted)
    assert [query["platformFeeBps"] for query in queries] == ["20", "20"]
    assert result.quote.platform_fee_bps == 20


# --- the offers after the first ---


async def test_what_went_wrong_before_is_asked_for_differently() -> None:
    """Excluded pools and a lower number of accounts, by the names of Jupiter's API; the first question has neither."""
    order = make_order()
    attempt = Attempt(number=2, excluded_dexes=("Whirlpool", "Meteora DLMM"), max_accounts=32, reference_out_amount=6_096_091)
    _result, query = await ask(order, offer(order, 6_096_091), attempt=attempt)
    _first, first_query = await ask(order, offer(order, 6_096_091))

    assert (query["excludeDexes"], query["maxAccounts"]) == ("Whirlpool,Meteora DLMM", "32")
    assert not {"excludeDexes", "maxAccounts"} & set(first_query)


async def test_a_later_offer_within_the_slippage_of_the_first_gets_what_is_left_of_it() -> None:
    """26 of 50 bps are gone since the first offer: 23 more, and the least that may arrive is what it was at first."""
    result, queries = await ask_falling(make_order(), 6_080_000, 6_080_000, attempt=LATER)

    assert isinstance(result, Quoted)
    assert [query["slippageBps"] for query in queries] == ["50", "23"]
    assert (result.reference_out_amount, result.minimum_out_amount) == (6_096_091, LEAST)


async def test_a_later_offer_beyond_the_slippage_of_the_first_is_refused() -> None:
    """No rule of the caller's own, which gave no price: the market moved."""
    result, queries = await ask_falling(make_order(), LEAST - 1, attempt=LATER)

    assert isinstance(result, Rejected)
    assert (result.code, len(queries)) == (ErrorCode.SLIPPAGE_EXCEEDED, 1)
    assert "51 bps less than the 6.096091 that the first quote promises" in result.message
    assert dict(result.context) == {
        "quoted_amount": LEAST - 1,
        "expected_amount": 6_096_091,
        "shortfall_bps": 51,
        "max_slippage_bps": 50,
    }


async def test_a_market_that_falls_away_from_the_first_offer_is_refused() -> None:
    """It is asked as often as at first."""
    result, queries = await ask_falling(make_order(), 6_090_000, 6_080_000, 6_070_000, attempt=LATER)

    assert isinstance(result, Rejected)
    assert (result.code, len(queries)) == (ErrorCode.SLIPPAGE_EXCEEDED, MAX_QUOTES)
    assert "above the least that the first quote allows, 6.065611 USDC" in result.message


async def test_the_expected_price_holds_for_a_later_offer_as_for_the_first() -> None:
    """It is the caller's rule that refuses, in the same words."""
    order = make_order(expected_price=EXPECTED)
    first, _queries = await ask_falling(order, LEAST - 1)
    later, _queries = await ask_falling(order, LEAST - 1, attempt=LATER)

    assert isinstance(first, Denied)
    assert isinstance(later, Denied)
    assert (first.code, first.message, first.context) == (later.code, later.message, later.context)


async def test_a_later_offer_that_is_better_is_guarded_by_its_own_amount() -> None:
    """The first offer is a floor and no excuse."""
    result, _queries = await ask_falling(make_order(), 6_200_000, attempt=LATER)

    assert isinstance(result, Quoted)
    assert (result.reference_out_amount, result.minimum_out_amount) == (6_096_091, minimum_out(6_200_000, 50))


@pytest.mark.parametrize("code", ["NO_ROUTES_FOUND", "COULD_NOT_FIND_ANY_ROUTE", "MARKET_NOT_FOUND"])
async def test_no_route_is_no_reason_for_another_offer(code: str) -> None:
    """What may be left out then is no part of the question: asked again it would be the same one."""
    result, _query = await ask(make_order(), api_error(code))

    assert type(result) is Rejected
    assert result.code is ErrorCode.ROUTE_NOT_FOUND


class Market(Jupiter):
    """A Jupiter without a socket that offers this, then that, at whatever slippage it is asked for."""

    def __init__(self, order: Order, out_amounts: Sequence[int]) -> None:
        super().__init__("http://127.0.0.1:9", api_key=None, timeout_seconds=1.0, retry=QUICK, rng=seeded(), log=NullLog())
        self.order = order
        self.offers: list[Quote] = []
        self._out_amounts: Iterator[int] = iter(out_amounts)

    async def quote(
        self,
        *,
        input_mint: Pubkey,
        output_mint: Pubkey,
        in_amount: int,
        slippage_bps: int,
        platform_fee_bps: int = 0,
        exclude_dexes: Sequence[str] = (),
        max_accounts: int | None = None,
    ) -> Quote:
        """The next offer."""
        await trio.lowlevel.checkpoint()
        out_amount = next(self._out_amounts)
        self.offers.append(make_quote(self.order, out_amount, slippage_bps=Bps(slippage_bps)))
        return self.offers[-1]


AMOUNTS = st.integers(0, 2**64 - 1)


@given(st.integers(10_000, 2**63), st.lists(st.integers(-200, 50), min_size=2, max_size=2), st.integers(0, 150))
def test_no_later_offer_lets_the_price_slide(first: int, drifts: list[int], bps: int) -> None:
    """Without an expected price: of offer after offer that comes to nothing, each must bring what the first one might have.

    It is refused exactly where the market gives less, however little, and never asked for with more slippage than is allowed.
    """
    order, attempt, floor = make_order(max_slippage_bps=Bps(bps)), FIRST, minimum_out(first, bps)
    for out_amount in (first, *(first + first * drift // 10_000 for drift in drifts)):
        market = Market(order, [out_amount] * MAX_QUOTES)
        result = trio.run(result_of, order, market, 0, attempt)
        assert max(offered.slippage_bps for offered in market.offers) == bps
        if not isinstance(result, Quoted):
            assert isinstance(result, Rejected)
            assert (result.code, out_amount < floor) == (ErrorCode.SLIPPAGE_EXCEEDED, True)
            return
        assert minimum_out(result.quote.out_amount, result.quote.slippage_bps) >= result.minimum_out_amount >= floor
        following = attempt.after(Stale(ErrorCode.SLIPPAGE_EXCEEDED, "stale"), result)
        assert (following is None) == (attempt.number == MAX_OFFERS)
        attempt = following or attempt


@given(AMOUNTS, st.booleans(), st.lists(AMOUNTS | st.integers(-200, 50), min_size=3, max_size=3), st.integers(0, 10_000))
def test_what_may_arrive_is_always_within_the_slippage(expected: int, told: bool, drawn: list[int], bps: int) -> None:
    """Whatever is expected, allowed and offered: the route's own minimum is no less than the reference allows.

    Small draws are offers that many basis points from the expectation: where it is decided.
    """
    out_amounts = [max(0, expected + expected * draw // 10_000) if draw < 51 else draw for draw in drawn]
    order = make_order(
        in_amount=10**SOL.decimals,
        expected_price=Fraction(expected, 10**USDC.decimals) if told else None,
        max_slippage_bps=Bps(bps),
    )
    market = Market(order, out_amounts)
    result = trio.run(result_of, order, market)
    first, last = market.offers[0], market.offers[-1]
    reference = expected if told else last.out_amount

    assert 1 <= len(market.offers) <= MAX_QUOTES
    assert first.slippage_bps == bps
    if isinstance(result, Quoted):
        assert (result.quote, result.reference_out_amount) == (last, reference)
        assert result.minimum_out_amount == minimum_out(max(reference, last.out_amount), bps)
        assert minimum_out(last.out_amount, last.slippage_bps) >= result.minimum_out_amount >= minimum_out(reference, bps)
        assert last.slippage_bps <= bps
    else:
        assert isinstance(result, Denied)
        assert told
        assert last.out_amount < expected
        assert last.out_amount < expected * (1 - Fraction(bps, 10_000)) or len(market.offers) == MAX_QUOTES
    if not told or first.out_amount >= expected:
        assert (len(market.offers), isinstance(result, Quoted)) == (1, True)
    for offered, following in zip(market.offers, market.offers[1:], strict=False):  # all that is left, to the basis point
        left = Fraction(offered.out_amount - minimum_out(expected, bps), offered.out_amount or 1) * 10_000
        assert following.slippage_bps <= left < following.slippage_bps + 1


@given(
    st.integers(1, 2**64 - 1),
    st.integers(1, 2**64 - 1),
    st.fractions(Fraction(1, 10**12), 10**9),
    st.integers(0, 10_000),
)
def test_the_guard_is_exact_at_any_amount(in_amount: int, out_amount: int, price: Fraction, bps: int) -> None:
    """Held against exact fractions: passed if and only if out >= reference * (1 - bps)."""
    order = evolve(make_order(expected_price=price, max_slippage_bps=Bps(bps)), in_amount=in_amount)
    reference = quoting._reference(order, make_quote(order, out_amount), FIRST)
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
    assert result.minimum_out_amount == int(answer["otherAmountThreshold"])
    assert result.quote.other_amount_threshold == int(answer["otherAmountThreshold"])

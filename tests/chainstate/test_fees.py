"""Priority fees: percentiles of what landed, clamped in lamports, never a lamport more than chosen."""

from collections.abc import Sequence

import pytest
import trio
import trio.testing
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from executor.chainstate.fees import (
    FALLBACK_LAMPORTS,
    FORGET_PAIR_SECONDS,
    Fees,
    choose_fee,
)
from executor.config import FeeSettings
from executor.model import Order, Urgency
from executor.network.solana import MAX_FEE_ACCOUNTS_PER_CALL, SlotFee
from executor.units import MAX_COMPUTE_UNIT_LIMIT, MicroLamports, price_for_fee, priority_fee
from tests.support.chain import FakeNode, fake_nodes, open_nodes
from tests.support.events import RecordedLog
from tests.support.recorded import recorded
from tests.support.upstream import rpc_result
from tests.support.values import BONK, SOL, USDC, key, make_order

SETTINGS = FeeSettings()
POOL = (key("pool"), key("vault"))
LIMITS = st.integers(1, MAX_COMPUTE_UNIT_LIMIT)


def slot_fees(*prices: int) -> tuple[SlotFee, ...]:
    """One slot each."""
    return tuple(SlotFee(slot=index, price_micro_lamports=MicroLamports(price)) for index, price in enumerate(prices))


def make_fees(node: FakeNode, log: RecordedLog | None = None) -> Fees:
    """Default settings: cached for ten seconds."""
    log = log or RecordedLog()
    return Fees(nodes=fake_nodes(node, log=log), settings=SETTINGS, log=log)


def urgent(urgency: Urgency) -> Order:
    """SOL for USDC, with an urgency."""
    return make_order(urgency=urgency)


# --- arithmetic ---


@given(st.none() | st.integers(0, 10**9), LIMITS, st.sampled_from(Urgency))
def test_the_total_is_clamped_and_never_exceeded(price: int | None, unit_limit: int, urgency: Urgency) -> None:
    """Whatever the market says: within the configured range, and what the chain charges is at most one lamport less."""
    fee = choose_fee(price, unit_limit, urgency, SETTINGS)
    charged = priority_fee(price_for_fee(fee, unit_limit), unit_limit)

    assert 1_000 <= fee <= 10_000
    assert fee - 1 <= charged <= fee


@pytest.mark.parametrize(
    ("urgency", "lamports"),
    [(Urgency.LOW, 1_000), (Urgency.NORMAL, 2_500), (Urgency.HIGH, 5_000), (Urgency.CRITICAL, 10_000)],
)
def test_without_data_the_fee_is_fixed(urgency: Urgency, lamports: int) -> None:
    """By urgency, and clamped like any other."""
    assert FALLBACK_LAMPORTS[urgency] == lamports
    assert choose_fee(None, 200_000, urgency, SETTINGS) == lamports
    assert choose_fee(None, 200_000, urgency, evolve(SETTINGS, max_priority_fee_lamports=4_000)) == min(lamports, 4_000)


# --- the cache ---


async def test_a_pair_is_asked_about_from_its_first_trade_on(autojump_clock: trio.testing.MockClock) -> None:
    """The first trade has no data and does not wait for any; the accounts that it writes are what is asked about."""
    node = FakeNode()
    node.fees = slot_fees(0, 300, 0, 100, 200, 400)
    fees = make_fees(node)
    await fees.refresh()

    assert fees.price(urgent(Urgency.LOW), POOL) is None
    assert (node.calls, fees.entries(), fees.oldest_age_seconds(), fees.latest_prices()) == ([], 1, None, {})

    await fees.refresh()

    assert [call.asked for call in node.calls] == [POOL]
    assert [fees.price(urgent(urgency), POOL) for urgency in Urgency] == [200, 300, 400, 400]
    assert fees.latest_prices() == {Urgency.LOW: 200, Urgency.NORMAL: 300, Urgency.HIGH: 400, Urgency.CRITICAL: 400}
    assert fees.oldest_age_seconds() == 0.0


async def test_slots_where_nothing_landed_say_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """Zeros are left out; nothing but zeros is no data."""
    node = FakeNode()
    node.fees = slot_fees(0, 0, 0)
    fees = make_fees(node)
    fees.price(urgent(Urgency.HIGH), POOL)
    await fees.refresh()

    assert fees.price(urgent(Urgency.HIGH), POOL) is None
    assert fees.latest_prices() == {}


async def test_each_direction_of_a_pair_has_its_own_prices(autojump_clock: trio.testing.MockClock) -> None:
    """SOL for USDC says nothing of USDC for SOL, which may go through other pools."""
    node = FakeNode()
    node.fees = slot_fees(7)
    fees = make_fees(node)
    fees.price(make_order(SOL, USDC), POOL)
    await fees.refresh()

    assert fees.price(make_order(USDC, SOL), POOL) is None
    assert fees.price(make_order(SOL, BONK), POOL) is None
    assert fees.latest_prices() == {}
    assert fees.price(make_order(SOL, USDC), POOL) == 7
    assert fees.entries() == 3


async def test_a_reading_is_cached_then_asked_for_again_with_the_latest_accounts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """For ten seconds nobody is asked; a new pair does not have to wait for that."""
    node = FakeNode()
    node.fees = slot_fees(5)
    fees = make_fees(node)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fees.run)
        await trio.sleep(0.5)
        fees.price(urgent(Urgency.LOW), POOL)
        await trio.sleep(9.5)
        fees.price(urgent(Urgency.LOW), POOL[:1])
        await trio.sleep(2.5)
        nursery.cancel_scope.cancel()

    assert [(call.at - node.calls[0].at, call.asked) for call in node.calls] == [(0.0, POOL), (10.0, POOL[:1])]


async def test_a_reading_that_cannot_be_renewed_is_dropped_in_the_end(autojump_clock: trio.testing.MockClock) -> None:
    """Twice its life it is used, then the fixed fees are better; one pair's failure is not another's."""
    node, log = FakeNode(), RecordedLog()
    node.fees = slot_fees(5)
    fees = make_fees(node, log)
    fees.price(urgent(Urgency.LOW), POOL)
    await fees.refresh()
    node.failing = True
    await trio.sleep(20)
    await fees.refresh()

    assert fees.price(urgent(Urgency.LOW), POOL) == 5
    assert len(log.named("fees.unavailable")) == 1

    await trio.sleep(0.1)

    assert fees.price(urgent(Urgency.LOW), POOL) is None
    assert fees.latest_prices() == {}
    assert fees.oldest_age_seconds() == pytest.approx(20.1)


async def test_a_pair_that_nobody_trades_is_forgotten(autojump_clock: trio.testing.MockClock) -> None:
    """The cache is bounded by what is traded."""
    node = FakeNode()
    fees = make_fees(node)
    fees.price(make_order(SOL, USDC), POOL)
    await trio.sleep(FORGET_PAIR_SECONDS / 2)
    fees.price(make_order(SOL, BONK), POOL)
    await trio.sleep(FORGET_PAIR_SECONDS / 2)
    await fees.refresh()

    assert fees.entries() == 1
    assert fees.price(make_order(SOL, USDC), POOL) is None


async def test_no_more_accounts_are_asked_about_than_a_node_takes(autojump_clock: trio.testing.MockClock) -> None:
    """The first ones: they are those of the first hops."""
    node = FakeNode()
    fees = make_fees(node)
    accounts = [key(f"account {number}") for number in range(MAX_FEE_ACCOUNTS_PER_CALL + 5)]
    fees.price(make_order(), accounts)
    await fees.refresh()

    assert [call.asked for call in node.calls] == [tuple(accounts[:MAX_FEE_ACCOUNTS_PER_CALL])]


def expected_of(prices: Sequence[int], percent: int) -> int:
    """Nearest rank, written down a second time."""
    landed = sorted(price for price in prices if price)
    return next(price for price in landed if sum(p <= price for p in landed) * 100 >= percent * len(landed))


async def test_150_recorded_slots_of_mainnet() -> None:
    """The percentiles of a real answer; all of them cost more than we may spend on a usual swap, so the clamp decides."""
    answer = recorded("priority-fees", "solrpc_canister_150slots.json")["result"]
    prices = [item["prioritizationFee"] for item in answer]
    async with open_nodes() as (nodes, (upstream,)):
        upstream.script("getRecentPrioritizationFees", rpc_result(answer))
        fees = Fees(nodes=nodes, settings=SETTINGS, log=RecordedLog())
        fees.price(make_order(), POOL)
        await fees.refresh()
        (request,) = upstream.requests

    assert request.json["params"] == [[str(account) for account in POOL]]
    assert len(prices) == 150
    percents = {Urgency.LOW: 50, Urgency.NORMAL: 75, Urgency.HIGH: 90, Urgency.CRITICAL: 95}
    assert fees.latest_prices() == {urgency: expected_of(prices, percent) for urgency, percent in percents.items()}
    chosen = [choose_fee(price, 200_000, urgency, SETTINGS) for urgency, price in fees.latest_prices().items()]
    assert chosen == [10_000] * 4

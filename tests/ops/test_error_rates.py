"""What came lately, and whose it was."""

import tracemalloc

import pytest
import trio
import trio.testing

from executor.errors import ErrorCode
from executor.faults import Fault, Source, TransportError, TransportKind, http_fault, transaction_fault, transport_fault
from executor.ops.error_rates import MAX_CALLERS, MAX_ROWS, OTHERS, ErrorRates
from executor.status import ErrorRate
from tests.support.api import open_jupiter
from tests.support.chain import open_nodes
from tests.support.upstream import Reply
from tests.support.values import SOL, USDC


def failure(fault: Fault) -> TransportError:
    """A call that failed so."""
    return TransportError(endpoint="http://127.0.0.1:9", operation="getSlot", fault=fault)


async def counts(rates: ErrorRates) -> dict[tuple[str, str], tuple[int, int, int]]:
    """What is told a moment later, by code and source."""
    await trio.lowlevel.checkpoint()
    return {(r.code.name, r.source): (r.last_minute, r.last_5_minutes, r.last_hour) for r in rates.latest()}


async def test_windows_forget_what_is_too_old(autojump_clock: trio.testing.MockClock) -> None:
    """An error is counted for as long as each window says, and for a slice longer at most; then it is gone."""
    rates, key = ErrorRates(), ("PRICE_MOVED", "strategy")
    rates.request_failed("strategy", ErrorCode.PRICE_MOVED)
    seen, began = [], trio.current_time()
    for until in (59, 65, 299, 305, 3_599, 3_660):
        await trio.sleep_until(began + until)
        seen.append((await counts(rates)).get(key))

    assert seen == [(1, 1, 1), (0, 1, 1), (0, 1, 1), (0, 0, 1), (0, 0, 1), None]


async def test_windows_go_on_while_errors_come(autojump_clock: trio.testing.MockClock) -> None:
    """One error a second for two hours: each window holds its own share, never more than a slice too much."""
    rates = ErrorRates()
    for _second in range(7_200):
        rates.request_failed("strategy", ErrorCode.TRADING_HALTED)
        autojump_clock.jump(1)
    minute, five_minutes, hour = (await counts(rates))["TRADING_HALTED", "strategy"]

    assert 60 <= minute <= 65
    assert 300 <= five_minutes <= 305
    assert 3_600 <= hour <= 3_660


async def test_a_pause_longer_than_every_window_forgets_everything(autojump_clock: trio.testing.MockClock) -> None:
    """However long the daemon slept, old counts do not come back under new times."""
    rates = ErrorRates()
    for _ in range(61):
        rates.request_failed("strategy", ErrorCode.TRADING_HALTED)
        await trio.sleep(60)
    await trio.sleep(86_400)
    rates.request_failed("strategy", ErrorCode.TRADING_HALTED)

    assert await counts(rates) == {("TRADING_HALTED", "strategy"): (1, 1, 1)}


async def test_the_most_frequent_come_first_and_rows_are_bounded(autojump_clock: trio.testing.MockClock) -> None:
    """By the last hour, then by name; no status grows beyond its rows."""
    rates = ErrorRates()
    codes = list(ErrorCode)[:30]
    for number, code in enumerate(codes):
        for source in ("b", "a"):
            for _ in range(number + 1):
                rates.request_failed(source, code)
    await trio.sleep(1)
    rows = rates.latest()

    assert len(rows) == MAX_ROWS
    assert [(row.code, row.source) for row in rows[:4]] == [
        (codes[29], "a"),
        (codes[29], "b"),
        (codes[28], "a"),
        (codes[28], "b"),
    ]
    assert [row.last_hour for row in rows] == sorted((row.last_hour for row in rows), reverse=True)


async def test_callers_beyond_the_limit_are_counted_together(autojump_clock: trio.testing.MockClock) -> None:
    """Nothing is lost of the count, only of who it was; callers that have been well for an hour make room."""
    rates = ErrorRates()
    rates.request_failed("", ErrorCode.PRICE_MOVED)  # the others take no caller's place
    for number in range(MAX_CALLERS + 9):
        rates.request_failed(f"service-{number}", ErrorCode.PRICE_MOVED)
    rates.request_failed("service-0", ErrorCode.PRICE_MOVED)
    before = await counts(rates)
    await trio.sleep(3_700)
    rates.request_failed("service-new", ErrorCode.PRICE_MOVED)
    after = await counts(rates)

    assert before["PRICE_MOVED", OTHERS] == (10, 10, 10)
    assert before["PRICE_MOVED", "service-0"] == (2, 2, 2)
    assert after == {("PRICE_MOVED", "service-new"): (1, 1, 1)}


async def test_a_flood_of_names_does_not_grow_the_memory(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever invents names only fills the row of the others."""
    rates = ErrorRates()
    for number in range(MAX_CALLERS):
        rates.request_failed(f"service-{number}", ErrorCode.REQUEST_INVALID)
    rates.request_failed("flood", ErrorCode.REQUEST_INVALID)
    tracemalloc.start()
    for number in range(999):
        rates.request_failed(f"flood-{number}", ErrorCode.REQUEST_INVALID)
    grown_bytes, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (await counts(rates))["REQUEST_INVALID", OTHERS] == (1_000, 1_000, 1_000)
    assert grown_bytes < 10_000


@pytest.mark.parametrize("name", ["", "jupiter", "node primary", "others", "x" * 51, "a\nb", "\u202eecivres"])
async def test_a_caller_cannot_pass_for_somebody_else(name: str, autojump_clock: trio.testing.MockClock) -> None:
    """What is no name of a service, or is an upstream's, is one of the others."""
    rates = ErrorRates()
    rates.call_failed("jupiter", failure(http_fault(503, {}, Source.JUPITER)))
    rates.request_failed(name, ErrorCode.JUPITER_UNREACHABLE)

    assert await counts(rates) == {("JUPITER_UNREACHABLE", "jupiter"): (1, 1, 1), ("JUPITER_UNREACHABLE", OTHERS): (1, 1, 1)}


async def test_a_transaction_that_is_known_already_is_no_failure(autojump_clock: trio.testing.MockClock) -> None:
    """AlreadyProcessed is on the path of success; other errors of transactions are counted."""
    rates = ErrorRates()
    rates.call_failed("node a", failure(transaction_fault("AlreadyProcessed", [])))
    rates.call_failed("node a", failure(transaction_fault("BlockhashNotFound", [])))
    rates.call_failed("node a", failure(transport_fault(TransportKind.TIMEOUT)))

    assert set(await counts(rates)) == {("NODE_UNHEALTHY", "node a"), ("NODE_UNREACHABLE", "node a")}


async def test_clients_tell_of_every_call_that_fails() -> None:
    """Each attempt counts, under the name of the node that failed, or Jupiter's; answers count as nothing."""
    rates = ErrorRates()
    async with open_nodes(2) as (nodes, upstreams), open_jupiter() as (jupiter, api):
        jupiter.on_failure = rates.call_failed
        for node in nodes.all:
            node.on_failure = rates.call_failed
        upstreams[0].script("getSlot", Reply(429))
        api.script("quote", Reply(401))
        with pytest.raises(TransportError):
            await nodes.all[0].slot()
        with pytest.raises(TransportError):
            await jupiter.quote(input_mint=SOL.mint, output_mint=USDC.mint, in_amount=1, slippage_bps=50)

    assert [(row.code, row.source, row.last_hour) for row in rates.latest()] == [
        (ErrorCode.JUPITER_UNAUTHORIZED, "jupiter", 1),
        (ErrorCode.NODE_RATE_LIMITED, "node node0", 1),
    ]
    assert isinstance(rates.latest()[0], ErrorRate)

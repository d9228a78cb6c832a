"""Breaker and limits in the daemon, over its real sockets and journal, on the localnet."""

from datetime import UTC, datetime

import pytest
import trio
from solders.keypair import Keypair

from executor.rpc import trade_executor_pb2 as pb
from tests.support.callers import FAILED, SUCCESS, make_request
from tests.support.daemon import HTTPX_BODIES, RunningDaemon, collect, journalled, ready_to_trade, refusal, running
from tests.support.localnet import Localnet
from tests.support.settings import Place
from tests.support.waiting import eventually

pytestmark = [HTTPX_BODIES, pytest.mark.slow]

CLOSED, OPEN, HALF_OPEN = pb.BREAKER_STATE_CLOSED, pb.BREAKER_STATE_OPEN, pb.BREAKER_STATE_HALF_OPEN


async def test_a_halt_stops_what_is_not_signed_and_lets_go_on_what_is_sent(
    chain: Localnet, place: Place, wallet: Keypair
) -> None:
    """The one is denied, nothing of it was sent; the other lands and is told. Afterwards the first may be asked for again."""
    async with running(place, wallet, confirmation={"resend_seconds": 60.0}) as daemon:
        chain.order("late-landing", target="node", operation="sendTransaction", count=2, slots=40)
        sent: list[pb.TradeResult] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, daemon, make_request("sent", "SOL", "USDC", 1), sent)
            await daemon.event("send.answered")
            chain.order("latency", target="jupiter", operation="quote", seconds=0.2)
            nursery.start_soon(expect_refusal, daemon, "unsigned")
            await daemon.event("trade.accepted", 2)
            await daemon.daemon.desk.halt("stop")
        landed = chain.transactions()
        status = await daemon.status()
        await daemon.daemon.desk.resume("go")
        again = await daemon.trade(make_request("unsigned", "SOL", "USDC", 1))

    assert sent[0].status == SUCCESS
    assert (status.breaker, status.trading_allowed) == (OPEN, False)
    assert journalled(place.journal_path, "unsigned")[:2] == ["ACCEPTED", "DENIED"]
    assert (again.status, chain.transactions()) == (SUCCESS, landed + 1)


async def expect_refusal(daemon: RunningDaemon, request_id: str) -> None:
    """Trade, and be refused before it was signed."""
    refused = await refusal(daemon, make_request(request_id, "SOL", "USDC", 1))
    assert (refused.status, refused.reason) == ("UNAVAILABLE", "TRADING_HALTED")
    assert "nothing was sent" in refused.message


async def test_failing_upstreams_open_it_and_good_trades_close_it(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Refused with the time to wait, over a restart too; then probes, of which a caller's mistake is none, close it."""
    settings = {"error_count": 2, "open_seconds": 1.0, "probe_successes": 2}
    async with running(place, wallet, breaker=settings, retry={"max_retries": 0}) as daemon:
        chain.order("status", target="jupiter", operation="quote", count=2, status=503)
        failed = [await daemon.trade(make_request(f"failed-{i}", "SOL", "USDC", 1)) for i in range(2)]
        refused = await refusal(daemon, make_request("refused", "SOL", "USDC", 1))
        opened = await daemon.status()
    async with running(place, wallet, trading=False, breaker=settings) as daemon:
        still = (await daemon.status()).breaker_causes[-1]
        await ready_to_trade(daemon.daemon)
        half = await daemon.status()
        moved = await refusal(daemon, make_request("moved", "SOL", "USDC", 1, expected_price=200.0))
        states = []
        for i in range(2):
            await daemon.trade(make_request(f"probe-{i}", "SOL", "USDC", 1))
            states.append((await daemon.status()).breaker)

    assert [result.status for result in failed] == [FAILED, FAILED]
    assert (refused.reason, opened.breaker) == ("TRADING_HALTED", OPEN)
    assert 0 <= float(refused.figures["retry_after_seconds"]) <= 1.0
    assert [(cause.kind, cause.cause) for cause in opened.breaker_causes] == [
        ("error_count", "2 trades failed within 60 s, the limit is 2")
    ]
    assert still == opened.breaker_causes[0]
    assert half.breaker == HALF_OPEN
    assert moved.reason == "PRICE_MOVED"
    assert states == [HALF_OPEN, CLOSED]


async def test_reverted_trades_open_it(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """The price moves between simulation and landing: the fee that was paid counts as a loss as well."""
    settings = {"landed_failures": 1}
    async with running(
        place, wallet, breaker=settings, tokens={"max_loss_per_day": 1}, confirmation={"resend_seconds": 60.0}
    ) as daemon:
        chain.order("late-landing", target="node", count=2, slots=15)
        answers: list[pb.TradeResult] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, daemon, make_request("late", "RAY", "USDC", 10, max_slippage_bps=1), answers)
            await daemon.event("send.answered")
            await daemon.trade(make_request("mover", "RAY", "USDC", 4_000))
        await eventually(lambda: len(daemon.daemon.breaker.causes) == 2, "both causes are found")
        status = await daemon.status()

    assert answers[0].slot > 0
    assert {cause.kind for cause in status.breaker_causes} == {"landed_failures", "loss"}


async def test_a_source_that_is_too_fast_is_refused_and_joining_is_free(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """RESOURCE_EXHAUSTED with the time to wait; asking again for what was asked costs nothing."""
    limits = {"requests_per_second_per_source": 1, "request_burst_per_source": 2, "max_trades_in_flight_per_source": 2}
    async with running(place, wallet, limits=limits) as daemon:
        for _ in range(4):
            await daemon.trade(make_request("one", "SOL", "USDC", 1))
        await daemon.trade(make_request("two", "SOL", "USDC", 1))
        fast = await refusal(daemon, make_request("three", "SOL", "USDC", 1))
        other = await daemon.trade(make_request("four", "SOL", "USDC", 1, source_service="other"))

    assert (fast.status, fast.reason, fast.figures["burst"]) == ("RESOURCE_EXHAUSTED", "RATE_EXCEEDED", "2")
    assert 0 < float(fast.figures["retry_after_seconds"]) <= 1
    assert fast.retry_seconds in {0, 1}
    assert other.status == SUCCESS


async def test_the_amount_of_a_day_outlives_a_restart(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """What was traded today stays counted; what failed was given back; the caller is told when the next day begins."""
    limits = {"max_amount_per_day": 3 * 10**9}
    async with running(place, wallet, tokens=limits, retry={"max_retries": 0}) as daemon:
        await daemon.trade(make_request("done", "SOL", "USDC", 2))
        chain.order("status", target="jupiter", operation="quote", status=503)
        failed = await daemon.trade(make_request("failed", "SOL", "USDC", 1))
    async with running(place, wallet, tokens=limits) as daemon:
        over = await refusal(daemon, make_request("over", "SOL", "USDC", 1.5))
        fits = await daemon.trade(make_request("fits", "SOL", "USDC", 1))
        other = await daemon.trade(make_request("other-token", "USDC", "SOL", 100))
    now = datetime.now(UTC)
    left_of_day = 86_400 - (now.hour * 3600 + now.minute * 60 + now.second)

    assert (failed.status, fits.status, other.status) == (FAILED, SUCCESS, SUCCESS)
    assert (over.status, over.reason) == ("RESOURCE_EXHAUSTED", "DAILY_LIMIT_EXCEEDED")
    assert {name: over.figures[name] for name in ("used", "limit", "left")} == {
        "used": "2000000000",
        "limit": "3000000000",
        "left": "1000000000",
    }
    assert over.retry_seconds is not None
    assert abs(over.retry_seconds - left_of_day) < 60 or left_of_day > 86_300

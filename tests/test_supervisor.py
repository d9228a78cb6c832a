"""The daemon's life: it starts, takes calls, drains at a signal, and ends with nothing owed to anyone."""

import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest
import trio
from attrs import define, evolve
from solders.keypair import Keypair

from executor.errors import ConfigError
from executor.rpc import trade_executor_pb2 as pb
from executor.status import BreakerState
from executor.supervisor import Daemon
from tests.support.callers import NEVER, PENDING, SUCCESS, Refused, connected, make_request
from tests.support.daemon import HTTPX_BODIES, RunningDaemon, in_thread, journalled, running
from tests.support.localnet import Localnet
from tests.support.settings import Place

pytestmark = [HTTPX_BODIES, pytest.mark.slow]


@define
class Told:
    """What a caller was told."""

    result: pb.TradeResult | None = None
    refused: Refused | None = None


@asynccontextmanager
async def trading(daemon: RunningDaemon, *requests: pb.TradeRequest) -> AsyncIterator[list[Told]]:
    """Begin trades; at the end of the block all of them have been answered."""
    told = [Told() for _ in requests]

    async def one(request: pb.TradeRequest, told: Told) -> None:
        try:
            told.result = await daemon.trade(request)
        except Refused as refused:
            told.refused = refused

    async with trio.open_nursery() as nursery:
        for request, answer in zip(requests, told, strict=True):
            nursery.start_soon(one, request, answer)
        yield told


async def ended(daemon: RunningDaemon) -> None:
    """Wait until `Daemon.run` has returned."""
    with trio.fail_after(5):
        await daemon.ended.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_daemon_ends_at_once(number: signal.Signals, chain: Localnet, place: Place, wallet: Keypair) -> None:
    """SIGTERM and SIGINT end it; afterwards nobody listens at its address."""
    async with running(place, wallet) as daemon:
        signal.raise_signal(number)
        await ended(daemon)
        with pytest.raises(Refused) as refused, connected(daemon.address) as caller:
            await in_thread(lambda: caller.status(seconds=2))

    assert refused.value.status == "UNAVAILABLE"


async def test_what_halted_trading_is_not_forgotten_because_it_cannot_be_read(
    chain: Localnet, place: Place, wallet: Keypair
) -> None:
    """The start is refused in words; what docs/journal.md says makes the daemon start again."""
    async with running(place, wallet):
        pass
    with closing(sqlite3.connect(place.journal_path, isolation_level=None)) as journal:
        journal.execute("""INSERT INTO notes (kind, at_unix_ns, body) VALUES ('breaker', 1, '{"operator": 1, "trip": null}')""")
    for _ in range(2):  # nothing is held by the first that refuses
        with pytest.raises(ConfigError, match=r"the circuit breaker, or this day's trades, cannot be read.*journal\.md"):
            await refused_start(place, wallet)
    with closing(sqlite3.connect(place.journal_path, isolation_level=None)) as journal:
        journal.execute("DELETE FROM notes")
    place.journal_path.with_name(f"{place.journal_path.name}.acknowledged").unlink()
    async with running(place, wallet) as daemon:
        told = await daemon.trade(make_request("again", "SOL", "USDC", 1))

    assert told.status == SUCCESS


async def refused_start(place: Place, wallet: Keypair) -> None:
    """Start, and raise what comes of it."""
    async with running(place, wallet):
        raise AssertionError("it started")


async def test_a_hangup_ends_nothing(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """A terminal that is closed, or a reload that somebody tries: it is logged, and trading goes on."""
    async with running(place, wallet) as daemon:
        signal.raise_signal(signal.SIGHUP)
        await daemon.event("daemon.hangup_ignored")
        result = await daemon.trade(make_request("goes-on", "SOL", "USDC", 1))

    assert result.status == SUCCESS


async def test_a_drain_stops_what_is_unsigned_and_lets_resolve_what_is_sent(
    chain: Localnet, place: Place, wallet: Keypair
) -> None:
    """Three trades at SIGTERM: the sent one succeeds, the unsigned one sends nothing, and no new one is taken."""
    async with running(place, wallet, confirmation={"resend_seconds": NEVER}, jupiter={"timeout_seconds": NEVER}) as daemon:
        chain.order("late-landing", target="node", operation="sendTransaction", count=2, slots=40)
        sent, unsigned, new = (make_request(name, "SOL", "USDC", 1) for name in ("sent", "unsigned", "new"))
        async with trading(daemon, sent) as (sent_told,):
            await daemon.event("send.answered")
            chain.order("hang", target="jupiter", operation="quote", count=None)
            async with trading(daemon, unsigned) as (unsigned_told,):
                await daemon.event("trade.accepted", 2)
                signal.raise_signal(signal.SIGTERM)
                await daemon.event("daemon.draining")
            with pytest.raises(Refused) as new_told:
                await daemon.trade(new)
            draining = await daemon.status()
            assert not daemon.ended.is_set()
        await ended(daemon)

    assert sent_told.result is not None
    assert sent_told.result.status == SUCCESS
    for refused in (unsigned_told.refused, new_told.value):
        assert refused is not None
        assert (refused.status, refused.reason, refused.retry_seconds) == ("UNAVAILABLE", "EXECUTOR_DRAINING", 1)
    assert unsigned_told.refused is not None
    assert "nothing was sent" in unsigned_told.refused.message
    assert [fields["request_id"] for fields in daemon.log.named("trade.sent")] == ["sent"]
    assert not draining.trading_allowed
    assert draining.not_allowed_because[0] == "the daemon is shutting down"
    assert journalled(place.journal_path, "sent")[-1] == "SUCCEEDED"
    assert journalled(place.journal_path, "unsigned") == ["ACCEPTED", "DENIED"]
    assert journalled(place.journal_path, "new") == []


async def test_at_the_deadline_of_the_drain_callers_are_told_pending(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """What is sent and open stays open in the journal; callers have the signature by then; the next start knows the trade."""
    request, earlier = make_request("open", "SOL", "USDC", 1), make_request("earlier", "SOL", "USDC", 1)
    slow = {"resend_seconds": NEVER, "timeout_seconds": 0.5}
    async with running(place, wallet, daemon={"drain_timeout_seconds": 0.1}, confirmation=slow) as daemon:
        chain.order("lost-send", target="node", count=None)
        before = await daemon.trade(earlier)
        async with trading(daemon, request) as (told,):
            await daemon.event("send.answered", 2)
            signal.raise_signal(signal.SIGTERM)
        await ended(daemon)
    chain.clear()
    async with running(place, wallet) as daemon:
        known = await daemon.get("open")

    assert before.status == PENDING
    assert told.result is not None
    assert (told.result.status, told.result.error_code) == (PENDING, "CONFIRMATION_TIMEOUT")
    assert not told.result.retryable
    assert "shutting down" in told.result.error_message
    assert known.status == PENDING
    assert told.result.transaction_signature == known.transaction_signature != ""
    assert journalled(place.journal_path, "open") == ["ACCEPTED", "SIGNED", "SENT"]


async def test_a_second_signal_shortens_the_drain(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """An operator who will not wait: the second signal ends the drain, later ones change nothing, and the end is in order."""
    async with running(place, wallet, daemon={"drain_timeout_seconds": NEVER}, confirmation={"resend_seconds": NEVER}) as daemon:
        chain.order("lost-send", target="node", count=None)
        async with trading(daemon, make_request("open", "SOL", "USDC", 1)) as (told,):
            await daemon.event("send.answered")
            signal.raise_signal(signal.SIGTERM)
            await daemon.event("daemon.draining")
            signal.raise_signal(signal.SIGTERM)
            await daemon.event("daemon.left_open")
            assert not daemon.ended.is_set()
            signal.raise_signal(signal.SIGTERM)
        await ended(daemon)

    assert told.result is not None
    assert told.result.status == PENDING
    assert told.result.transaction_signature
    assert daemon.log.named("daemon.left_open") == [{"trades": 1}]


async def test_a_caller_may_join_during_the_drain(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """The same request is no new trade: whoever lost its answer can wait for it as long as the daemon does."""
    request = make_request("joined", "SOL", "USDC", 1)
    async with running(place, wallet, confirmation={"resend_seconds": NEVER}) as daemon:
        chain.order("late-landing", target="node", operation="sendTransaction", count=2, slots=40)
        async with trading(daemon, request) as (first,):
            await daemon.event("send.answered")
            signal.raise_signal(signal.SIGTERM)
            await daemon.event("daemon.draining")
            second = await daemon.trade(request)
        await ended(daemon)

    assert second == first.result
    assert second.status == SUCCESS


async def test_a_taken_address_is_an_error_of_the_start(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Nothing listens twice: the second daemon ends with an OSError that says where."""
    async with running(place, wallet) as daemon:
        other = evolve(place, folder=place.folder / "other")

        async def start_another() -> None:
            async with running(other, wallet, grpc={"listen_address": daemon.address}):
                raise AssertionError("it must not start")

        with pytest.RaisesGroup(pytest.RaisesExc(OSError, match=daemon.address), flatten_subgroups=True):
            await start_another()


async def test_a_bug_in_the_background_ends_the_daemon(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Failing upstreams are no crash, but a bug is: a daemon that lost one of its watchers must not go on trading."""

    def break_watcher() -> str | None:
        raise ZeroDivisionError

    async def run_until_it_ends() -> None:
        async with running(place, wallet) as daemon:
            daemon.daemon.breaker.checks = {"bug": break_watcher}
            await trio.sleep_forever()

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        await run_until_it_ends()


async def test_the_key_comes_from_the_environment(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """The configuration names a variable; its value goes to Jupiter as x-api-key, and an unset one means keyless access."""
    for environment in ({"JUPITER_TEST_KEY": "a-key-of-jupiter"}, {}):
        folder = evolve(place, folder=place.folder / str(len(environment)))
        async with running(folder, wallet, environment=environment, jupiter={"api_key_env": "JUPITER_TEST_KEY"}) as daemon:
            result = await daemon.trade(make_request("keyed", "SOL", "USDC", 1))
            assert result.status == SUCCESS
            assert "a-key-of-jupiter" not in str(daemon.log.events)
            assert daemon.daemon.breaker.state is BreakerState.CLOSED


async def test_it_stops_before_it_was_ever_ready(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """A signal while no node answers yet: the end is in order."""
    chain.order("hang", target="node", count=None)
    async with running(place, wallet, trading=False, solana={"request_timeout_seconds": 0.2}) as daemon:
        assert isinstance(daemon.daemon, Daemon)
        signal.raise_signal(signal.SIGTERM)
        await ended(daemon)

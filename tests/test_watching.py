"""Watching a trade: every change once, in order, from wherever one left off, through every life of a request."""

import os
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from attrs import define, field
from solders.keypair import Keypair
from trio.testing import wait_all_tasks_blocked

from executor.errors import Denied, ErrorCode, TradeError
from executor.journal import records
from executor.journal.journal import MAX_SEQ, Entry, SqliteJournal
from executor.model import Order, Outcome, OutcomeStatus, Signed
from executor.rpc import trade_executor_pb2 as pb
from executor.states import State
from executor.watching import Update, updates
from tests.support.callers import Refused, make_request
from tests.support.daemon import RunningDaemon, collect, in_thread, journalled, refusal, running
from tests.support.journals import PassingOn
from tests.support.localnet import Localnet
from tests.support.settings import Place
from tests.support.values import make_built, make_order, make_quoted, make_signed, make_simulated
from tests.support.waiting import eventually

PENDING, FAILED, SUCCESS = OutcomeStatus.PENDING, OutcomeStatus.FAILED, OutcomeStatus.SUCCESS
TRADE = "request-1"
ACCEPTED, SIGNED, SENT, SUCCEEDED = "ACCEPTED", "SIGNED", "SENT", "SUCCEEDED"


@define
class Trade:
    """A request whose life a test writes, entry by entry."""

    journal: SqliteJournal
    order: Order = field(factory=lambda: make_order(request_id=TRADE))
    flight: trio.Event | None = field(factory=trio.Event)
    """Of the daemon that is not there; None: it is not in flight."""

    @property
    def signed(self) -> Signed:
        return make_signed(make_simulated(make_built(make_quoted(self.order))))

    async def accept(self) -> None:
        await self.journal.append(records.accepted(self.order))

    async def sign(self) -> None:
        await self.journal.append(records.signed(self.signed, needs={}, at_unix_ns=2))

    async def send(self) -> None:
        await self.journal.append(records.sent(TRADE, at_unix_ns=3))

    async def succeed(self) -> None:
        outcome = Outcome(request_id=TRADE, status=SUCCESS, signature=str(self.signed.signature), slot=9)
        await self.journal.append(records.ended(State.SUCCEEDED, outcome, at_unix_ns=4))

    async def deny(self) -> None:
        error = Denied(ErrorCode.PRICE_MOVED, "worse", expected=1)
        await self.journal.append(records.refused(State.DENIED, TRADE, error, at_unix_ns=5))

    def land(self) -> None:
        """Nobody works for it any more."""
        if self.flight is not None:
            self.flight.set()
        self.flight = None

    def watch(self, after: int = 0) -> AsyncGenerator[Update, None]:
        return updates(TRADE, after_sequence=after, journal=self.journal, end_of_flight=lambda: self.flight)


MOST_CHANGES = 20


@asynccontextmanager
async def trading(path: Path) -> AsyncIterator[Trade]:
    """A journal that writes."""
    journal = SqliteJournal(path / "journal.sqlite3")
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.run)  # noqa: ASYNC113 - entries may be handed over before it runs
            yield Trade(journal)
            nursery.cancel_scope.cancel()
    finally:
        journal.close()


async def collected(watch: AsyncIterator[Update]) -> list[Update]:
    """What is left of a watch. One that repeats itself without end fails, before it has filled the memory."""
    seen: list[Update] = []
    async for update in watch:
        seen.append(update)
        assert len(seen) <= MOST_CHANGES, "it repeats itself"
    return seen


async def told(trade: Trade, after: int = 0) -> list[Update]:
    """A whole watch."""
    with trio.fail_after(5):
        return await collected(trade.watch(after))


async def failure(watch: AsyncIterator[Update]) -> TradeError:
    """How a watch fails."""
    with trio.fail_after(5), pytest.raises(TradeError) as caught:
        await anext(watch)
    return caught.value


async def end_soon(end: Callable[[], None]) -> None:
    """Once nothing else moves."""
    await wait_all_tasks_blocked()
    end()


def names(seen: list[Update]) -> list[str]:
    """The states that were told."""
    return [update.state.name for update in seen]


async def test_each_change_is_told_when_it_is_durable(tmp_path: Path) -> None:
    """From before the first entry to the last: no change twice, none left out, and an end when the trade has ended."""
    async with trading(tmp_path) as trade, aclosing(trade.watch()) as watch:
        seen = []
        for step in (trade.accept, trade.sign, trade.send, trade.succeed):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(step)
                seen.append(await anext(watch))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_soon, trade.land)
            rest = await collected(watch)

    assert names(seen) == [ACCEPTED, SIGNED, SENT, SUCCEEDED]
    assert rest == []
    assert all(one.sequence < other.sequence for one, other in pairwise(seen))
    assert [update.at_unix_ns for update in seen] == [trade.order.received_unix_ns, 2, 3, 4]


async def test_what_is_told_is_what_was_known_then(tmp_path: Path) -> None:
    """No trade on its way is called failed: PENDING until the end, with its signature once it is signed, as GetTrade tells it."""
    async with trading(tmp_path) as trade:
        for step in (trade.accept, trade.sign, trade.send, trade.succeed):
            await step()
        trade.land()
        accepted, signed, sent, succeeded = (update.outcome for update in await told(trade))

    signature = str(trade.signed.signature)
    assert [outcome.status for outcome in (accepted, signed, sent, succeeded)] == [PENDING, PENDING, PENDING, SUCCESS]
    assert [outcome.signature for outcome in (accepted, signed, sent, succeeded)] == [None, signature, signature, signature]
    assert [outcome.error_code for outcome in (accepted, signed, sent, succeeded)] == [None] * 4
    assert (signed.last_valid_block_height, succeeded.slot) == (trade.signed.last_valid_block_height, 9)


async def test_a_watch_is_taken_up_where_it_was_left(tmp_path: Path) -> None:
    """With the sequence of any change, exactly the later ones are told, also by another process of the daemon."""
    async with trading(tmp_path) as trade:
        for step in (trade.accept, trade.deny, trade.accept, trade.sign, trade.send, trade.succeed):
            await step()
        trade.land()
        everything = await told(trade)
    async with trading(tmp_path) as trade:
        trade.land()
        for number, update in enumerate(everything, 1):
            assert await told(trade, update.sequence) == everything[number:]
        assert await told(trade, 10**9) == []


async def test_all_lives_of_a_request_are_told(tmp_path: Path) -> None:
    """A refusal is told as FAILED with its code; who watches on hears of the next life, however long it is before it begins."""
    async with trading(tmp_path) as trade:
        await trade.accept()
        await trade.deny()
        async with aclosing(trade.watch()) as watch:
            seen = [await anext(watch), await anext(watch)]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trade.accept)  # the flight of the new life is known before its acceptance is on disk
                seen.append(await anext(watch))
            await trade.deny()
            trade.land()
            seen += await collected(watch)

    assert names(seen) == ["ACCEPTED", "DENIED", "ACCEPTED", "DENIED"]
    denied = seen[1].outcome
    assert (denied.request_id, denied.status, denied.error_code, denied.error_message) == (
        TRADE,
        FAILED,
        ErrorCode.PRICE_MOVED,
        "worse",
    )


async def test_what_nobody_knows_is_not_found(tmp_path: Path) -> None:
    """Neither journal nor desk: NOT_FOUND, also when a request in flight ends without its acceptance on the disk."""
    async with trading(tmp_path) as trade, trio.open_nursery() as nursery:
        nursery.start_soon(end_soon, trade.land)
        lost = await failure(trade.watch())
        unknown = await failure(trade.watch())

    assert unknown.code is lost.code is ErrorCode.REQUEST_NOT_FOUND
    assert TRADE in unknown.message


async def test_a_trade_that_nobody_works_for_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Signed, and lost by this process: the watch ends with what GetTrade tells, PENDING with the signature to be looked up."""
    async with trading(tmp_path) as trade:
        await trade.accept()
        await trade.sign()
        trade.land()
        seen = await told(trade)
        stored = records.stored(trade.journal.entries(TRADE))

    assert names(seen) == [ACCEPTED, SIGNED]
    assert stored is not None
    assert [update.outcome.status for update in seen] == [PENDING, PENDING]
    assert seen[-1].outcome == stored.outcome


async def test_a_flight_that_ends_without_a_word_ends_its_watch(tmp_path: Path) -> None:
    """No entry will come: who waits for one is woken by the end itself."""
    async with trading(tmp_path) as trade:
        await trade.accept()
        async with aclosing(trade.watch()) as watch, trio.open_nursery() as nursery:
            await anext(watch)
            nursery.start_soon(end_soon, trade.land)
            rest = await collected(watch)

    assert rest == []


async def test_nobody_is_woken_by_others(tmp_path: Path) -> None:
    """A watch reads the journal once for each change of its own trade, however much others trade."""
    async with trading(tmp_path) as trade:
        counting = Counting(trade.journal)
        await trade.accept()
        watch = updates(TRADE, after_sequence=0, journal=counting, end_of_flight=lambda: trade.flight)
        async with aclosing(watch), trio.open_nursery() as nursery:
            await anext(watch)
            nursery.start_soon(anext, watch)
            await wait_all_tasks_blocked()
            before = counting.reads
            for number in range(20):
                await trade.journal.append(records.accepted(make_order(request_id=f"other-{number}")))
            assert counting.reads == before
            await trade.sign()

    assert counting.reads == before + 1


@define
class Counting(PassingOn):
    """Counts who reads."""

    reads: int = 0

    def life(self, request_id: str, *, after_sequence: int = MAX_SEQ) -> "list[Entry]":
        self.reads += 1
        return list(self.journal.life(request_id, after_sequence=after_sequence))


async def test_a_journal_that_ends_ends_its_watches(tmp_path: Path) -> None:
    """UNAVAILABLE, which tells a client to come back; so does a journal that cannot be read."""
    async with trio.open_nursery() as nursery, trading(tmp_path) as trade:
        await trade.accept()
        watch = trade.watch()
        await anext(watch)
        failures: list[TradeError] = []
        nursery.start_soon(keep_failure, watch, failures)
        await wait_all_tasks_blocked()
    failures.append(await failure(trade.watch()))

    assert [error.code for error in failures] == [ErrorCode.JOURNAL_UNAVAILABLE] * 2


async def keep_failure(watch: AsyncIterator[Update], failures: list[TradeError]) -> None:
    """Add how a watch fails to others: for a task beside a test."""
    failures.append(await failure(watch))


# --- the daemon itself ---


async def test_a_trade_is_watched_from_its_beginning(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Four changes, each no later than the answer of the call, and the last one holds the very result."""
    async with running(place, wallet) as daemon:
        answer = await daemon.trade(make_request("watched", "SOL", "USDC", 1))
        seen = await watched(daemon, "watched")
        rest = await watched(daemon, "watched", after=seen[1].sequence)

    assert states(seen) == [ACCEPTED, SIGNED, SENT, SUCCEEDED]
    assert seen[-1].result == answer
    assert seen[1].result.status == pb.TRADE_STATUS_PENDING
    assert seen[1].result.transaction_signature == answer.transaction_signature
    assert rest == seen[2:]
    assert abs(seen[0].at_unix_us / 1e6 - time.time()) < 60


async def test_a_watch_outlives_daemon_and_client(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """The daemon dies after the send: who comes back with the last sequence is told how it ended, once the next one knows."""
    deaf = {"poll_initial_seconds": 60.0, "poll_max_seconds": 60.0, "resend_seconds": 60.0}
    request = make_request("outlives", "SOL", "USDC", 1)
    async with running(place, wallet, confirmation=deaf) as daemon, trio.open_nursery() as nursery:
        nursery.start_soon(ignore_the_end, daemon, request)
        await eventually(lambda: SENT in journalled(place.journal_path, "outlives"), "it is sent")
        watch = daemon.caller.watch("outlives")
        seen = [await in_thread(lambda: next(watch)) for _ in range(3)]
        nursery.cancel_scope.cancel()
    with pytest.raises(Refused) as broken:
        await in_thread(lambda: list(watch))
    async with running(place, wallet) as daemon:
        rest = await watched(daemon, "outlives", after=seen[-1].sequence)

    assert broken.value.status in ("UNAVAILABLE", "CANCELLED")
    assert states(seen + rest) == [ACCEPTED, SIGNED, SENT, SUCCEEDED]


async def test_a_refusal_and_the_life_after_it(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """What GetTrade answers as an error is told as FAILED; a later watch shows both lives."""
    request = make_request("twice", "SOL", "USDC", 1, fee_account=str(wallet.pubkey()))
    async with running(place, wallet) as daemon:
        refused = await refusal(daemon, request)
        first = await watched(daemon, "twice")
        await refusal(daemon, request)
        both = await watched(daemon, "twice")
        with pytest.raises(Refused) as unknown:
            await watched(daemon, "another")

    assert states(first) == [ACCEPTED, "DENIED"]
    assert first[-1].result.status == pb.TRADE_STATUS_FAILED
    assert (first[-1].result.error_code, first[-1].result.error_message) == (refused.reason, refused.message)
    assert states(both) == [ACCEPTED, "DENIED"] * 2
    assert both[:2] == first
    assert (unknown.value.status, unknown.value.reason) == ("NOT_FOUND", "REQUEST_NOT_FOUND")


async def test_a_drain_shows_the_end_first(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """A trade that was sent resolves in the drain, and its watch tells so before it ends."""
    chain.order("late-landing", target="node", operation="sendTransaction", count=8, slots=20)
    async with running(place, wallet, confirmation={"resend_seconds": 60.0}) as daemon, trio.open_nursery() as nursery:
        answers: list[pb.TradeResult] = []
        nursery.start_soon(collect, daemon, make_request("drained", "SOL", "USDC", 1), answers)
        await daemon.event("send.answered")
        watch = daemon.caller.watch("drained")
        seen = [await in_thread(lambda: next(watch))]
        os.kill(os.getpid(), signal.SIGTERM)
        seen += await in_thread(lambda: list(watch))
        await daemon.ended.wait()

    assert states(seen) == [ACCEPTED, SIGNED, SENT, SUCCEEDED]
    assert seen[-1].result == answers[0]


async def watched(daemon: RunningDaemon, request_id: str, *, after: int = 0) -> list[pb.TradeUpdate]:
    """A whole watch. Raises Refused."""
    return await in_thread(lambda: list(daemon.caller.watch(request_id, after=after)))


def states(seen: list[pb.TradeUpdate]) -> list[str]:
    """The states that were told, over the wire."""
    return [pb.TradeState.Name(update.state).removeprefix("TRADE_STATE_") for update in seen]


async def ignore_the_end(daemon: RunningDaemon, request: pb.TradeRequest) -> None:
    """Trade, as a caller who loses its daemon may."""
    with suppress(Refused):
        await daemon.trade(request)

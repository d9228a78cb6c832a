"""The daemon in this process, under this test's trio run, with its real sockets; callers are grpcio's, in threads.

async with running(place, wallet) as running_daemon:
    result = await running_daemon.trade(make_request("a", "SOL", "USDC", 1))
"""

import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from attrs import frozen
from solders.keypair import Keypair

from executor.config import load
from executor.journal.journal import RunCommit
from executor.journal.journal import in_thread as in_journal_thread
from executor.life import Line
from executor.rpc import trade_executor_pb2 as pb
from executor.supervisor import Daemon, Surroundings, assemble
from executor.wallet.signer import KeypairSigner, Signer
from tests.support.callers import FAILED, Caller, Refused, connected
from tests.support.clients import seeded
from tests.support.events import RecordedLog
from tests.support.settings import Place, Section
from tests.support.waiting import LOOK_SECONDS, eventually

HTTPX_BODIES = pytest.mark.filterwarnings("ignore:Async generator 'httpx._content.ByteStream:ResourceWarning")
"""For tests in which a request is cancelled while it is being sent: httpx leaves the generator of its body to the collector."""
READY_SECONDS = 10.0

T = TypeVar("T")


@frozen(kw_only=True)
class RunningDaemon:
    """A daemon that runs, and one caller of it."""

    daemon: Daemon
    address: str
    log: RecordedLog
    caller: Caller
    ended: trio.Event
    """`Daemon.run` has returned."""

    async def trade(self, request: pb.TradeRequest) -> pb.TradeResult:
        """Execute a trade over gRPC. Raises Refused."""
        return await in_thread(lambda: self.caller.execute(request))

    async def get(self, request_id: str) -> pb.TradeResult:
        """Ask what became of a trade. Raises Refused."""
        return await in_thread(lambda: self.caller.get(request_id))

    async def status(self) -> pb.ExecutorStatus:
        """Ask how the daemon is."""
        return await in_thread(self.caller.status)

    async def resolved(self, request_id: str) -> pb.TradeResult:
        """Ask until the trade is no longer PENDING."""
        with trio.fail_after(READY_SECONDS):
            found = await self.get(request_id)
            while found.status == pb.TRADE_STATUS_PENDING:
                await trio.sleep(LOOK_SECONDS)
                found = await self.get(request_id)
        return found

    async def event(self, name: str, count: int = 1) -> dict[str, object]:
        """Wait until the daemon has logged an event so many times; returns the fields of the last."""
        await eventually(lambda: len(self.log.named(name)) >= count, f"{count} x {name}")
        return self.log.named(name)[count - 1]


@asynccontextmanager
async def running(
    place: Place,
    wallet: Keypair,
    *,
    adjust: Callable[[Line], Line] = lambda line: line,
    signer: Signer | None = None,
    environment: Mapping[str, str] | None = None,
    trading: bool = True,
    run_commit: RunCommit = in_journal_thread,
    **changes: Section,
) -> AsyncIterator[RunningDaemon]:
    """Run a daemon while the block runs; `adjust` may replace collaborators, `changes` are settings.

    The block begins when it is ready to trade, or, with `trading` off, when it takes calls. Leaving the block cancels it.
    """
    log = RecordedLog()
    config = load(place.config_text(**changes), environment=environment or {}, source="config.toml")
    surroundings = Surroundings(environment=environment or {}, now_ns=time.time_ns, rng=seeded(), log=log, run_commit=run_commit)
    daemon = assemble(config, signer=signer or KeypairSigner(wallet), surroundings=surroundings)
    daemon.line = daemon.desk.line = adjust(daemon.line)
    ended = trio.Event()

    async def run(*, task_status: trio.TaskStatus[str]) -> None:
        await daemon.run(on_ready=lambda address: task_status.started(address))
        ended.set()

    try:
        async with trio.open_nursery() as nursery:
            address = await nursery.start(run)
            if trading:
                await ready_to_trade(daemon)
            with connected(address) as caller:
                yield RunningDaemon(daemon=daemon, address=address, log=log, caller=caller, ended=ended)
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await daemon.aclose()


async def ready_to_trade(daemon: Daemon) -> None:
    """Wait until the daemon knows the chain."""

    def trading() -> bool:
        daemon.breaker.look()
        return daemon.desk.status().trading_allowed and bool(daemon.holdings.current())

    await eventually(trading, "the daemon is ready to trade")


async def refusal(daemon: RunningDaemon, request: pb.TradeRequest) -> Refused:
    """Trade, expecting an error status."""
    return await in_thread(lambda: daemon.caller.refusal(request))


async def collect(daemon: RunningDaemon, request: pb.TradeRequest, answers: list[pb.TradeResult]) -> None:
    """Trade, and add the answer to others: for a task beside a test."""
    answers.append(await daemon.trade(request))


async def in_thread(function: Callable[[], T]) -> T:
    """Run what blocks; a test that is cancelled does not wait for it."""
    # Not by trio's own limiter: forty callers that wait would keep the next one from calling.
    return await trio.to_thread.run_sync(function, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))


async def gather(*functions: Callable[[], T]) -> list[T]:
    """Run what blocks, all at once in threads; the results in order."""
    results: dict[int, T] = {}

    async def one(index: int, function: Callable[[], T]) -> None:
        results[index] = await in_thread(function)

    async with trio.open_nursery() as nursery:
        for index, function in enumerate(functions):
            nursery.start_soon(one, index, function)
    return [results[index] for index in range(len(functions))]


def refuse_entries(journal: Path, *states: str) -> None:
    """Let SQLite fail, from now on, in every commit with an entry of these states, as on a full disk: really, from outside.

    What fails is that the text is no JSON, which is found only when such an entry comes.
    """
    with sqlite3.connect(journal) as connection:
        for state in states:
            connection.execute(
                f"CREATE TRIGGER refuse_{state} BEFORE INSERT ON entries WHEN NEW.state = '{state}' "
                "BEGIN SELECT json('the disk is full'); END"
            )
    connection.close()


def accept_entries(journal: Path, *states: str) -> None:
    """Undo `refuse_entries`."""
    with sqlite3.connect(journal) as connection:
        for state in states:
            connection.execute(f"DROP TRIGGER refuse_{state}")
    connection.close()


def journalled(journal: Path, request_id: str) -> list[str]:
    """The states of a request's entries, in order, as they stand on the disk."""
    with sqlite3.connect(journal) as connection:
        rows = connection.execute("SELECT state FROM entries WHERE request_id = ? ORDER BY seq", (request_id,)).fetchall()
    connection.close()
    return [state for (state,) in rows]


async def failure(daemon: RunningDaemon, request: pb.TradeRequest) -> pb.TradeResult:
    """Trade, expecting the answer FAILED, without a swap."""
    result = await daemon.trade(request)

    assert result.status == FAILED
    assert result.executed_amount == 0
    assert result.error_message
    return result


def sent(daemon: RunningDaemon) -> list[dict[str, object]]:
    """Every trade of which a byte left."""
    return daemon.log.named("trade.sent")

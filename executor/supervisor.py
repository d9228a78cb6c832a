"""The daemon's nurseries, and what lives in them.

Outer to inner, so that what others need dies last:

    journal writer > refreshers (blockhash, fees, lookup tables, mints, node health, holdings, breaker watcher)
    > confirmation poller > trades > listener

A crash in one of them is a bug and ends the daemon: a trade executor that has lost its poller must not go on. Failing upstreams
are no crash; the refreshers keep their values, which age, and a value that is too old refuses new trades.
"""

import itertools
import random
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Protocol

import trio
from attrs import define, field, frozen

from executor.chainstate.blockhash import Blockhashes
from executor.chainstate.cluster import Cluster
from executor.chainstate.confirmations import Confirmations
from executor.chainstate.fees import Fees
from executor.chainstate.holdings import Holdings
from executor.chainstate.lookup_tables import LookupTables
from executor.chainstate.mints import Mints
from executor.chainstate.node_health import NodeHealth
from executor.config import Config
from executor.desk import Desk
from executor.errors import ConfigError
from executor.gate import Gate
from executor.journal.journal import RunCommit, SqliteJournal, in_thread
from executor.life import Line
from executor.log import Log
from executor.network.http import TRANSPORTS
from executor.network.jupiter import Jupiter
from executor.network.nodes import Nodes
from executor.network.retry import Retry
from executor.network.solana import Node
from executor.network.transport import MakeTransport
from executor.ops.metrics import Metrics
from executor.ops.report import Report
from executor.paths import expanded
from executor.risk.breaker import Breaker, Check
from executor.risk.diary import Diary
from executor.risk.limits import Limits
from executor.risk.losses import Losses
from executor.risk.reservations import Reservations
from executor.risk.volumes import Volumes
from executor.rpc import health_pb2, trade_executor_pb2
from executor.rpc.calls import Servicer
from executor.rpc.health import HealthService
from executor.rpc.reflection import reflection_services
from executor.rpc.server import GrpcServer
from executor.rpc.service import TradeExecutorService
from executor.stages.simulation import MARKS
from executor.stages.validation import Rules
from executor.status import CauseKind
from executor.wallet.signer import Signer

JOURNAL_FILE = "journal.sqlite3"
FLUSH_SECONDS = 5.0
"""For the answers of the last trades to leave."""


@frozen(kw_only=True)
class Surroundings:
    """What the daemon takes from the outside, so that tests can decide it."""

    environment: Mapping[str, str]
    now_ns: Callable[[], int]
    rng: random.Random
    log: Log
    transport: MakeTransport | None = None
    """What carries calls to nodes and to Jupiter; None: what the configuration says."""
    run_commit: RunCommit = in_thread
    """Where the journal writes to its disk."""


class Server(Protocol):
    """Where callers come in."""

    async def serve(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Take calls until cancelled; started with the bound address. Raises OSError when it is taken."""
        ...

    async def drain(self, grace_seconds: float) -> bool:
        """Take no more calls, let those in flight end within the grace; return whether they did."""
        ...


@define(kw_only=True, eq=False)
class Daemon:
    """Everything that lives for as long as the daemon does."""

    config: Config
    line: Line
    desk: Desk
    journal: SqliteJournal
    blockhashes: Blockhashes
    fees: Fees
    mints: Mints
    holdings: Holdings
    node_health: NodeHealth
    cluster: Cluster
    breaker: Breaker
    confirmations: Confirmations
    health: HealthService
    server: Server
    log: Log
    _stopping: trio.Event = field(factory=trio.Event)
    _patience: trio.CancelScope = field(factory=trio.CancelScope)
    """With the trades that were sent, in a drain."""

    async def run(self, *, on_ready: Callable[[str], None]) -> None:
        """Serve until SIGTERM or SIGINT, then drain; a second signal shortens the drain. `on_ready` is told the bound address.

        Raises OSError, in a group, when the address is taken.
        """
        # Around everything: a signal that nobody takes any more would kill the process in the middle of its end.
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async with trio.open_nursery() as listening_to_signals:
                listening_to_signals.start_soon(self._heed, signals)
                await self.live(on_ready=on_ready)
                listening_to_signals.cancel_scope.cancel()

    async def _heed(self, signals: AsyncIterator[int]) -> None:
        """The first one drains, the second ends the patience. A hangup, of a terminal that is closed, ends no trade."""
        async for number in signals:
            if number == signal.SIGHUP:
                self.log.warning("daemon.hangup_ignored", hint="a restart applies a changed configuration")
            elif self._stopping.is_set():
                self._patience.cancel()
            else:
                self._stopping.set()

    async def live(self, *, on_ready: Callable[[str], None]) -> None:
        """Serve until stopped, without an ear for signals."""
        async with trio.open_nursery() as journal:
            journal.start_soon(self.journal.run)
            async with trio.open_nursery() as refreshers:
                self._start_refreshers(refreshers)
                async with trio.open_nursery() as poller:
                    poller.start_soon(self.confirmations.run)
                    async with trio.open_nursery() as trades:
                        await trades.start(self.desk.run)
                        await self.desk.recover()
                        await self._listen(on_ready)
                        trades.cancel_scope.cancel()
                    poller.cancel_scope.cancel()
                refreshers.cancel_scope.cancel()
            journal.cancel_scope.cancel()

    def _start_refreshers(self, nursery: trio.Nursery) -> None:
        for run in (
            self.blockhashes.run,
            self.fees.run,
            self.line.lookup_tables.run,
            self.mints.run,
            self.node_health.run,
            self.cluster.run,
            self.holdings.run,
            self.breaker.run,
        ):
            nursery.start_soon(run)

    async def _listen(self, on_ready: Callable[[str], None]) -> None:
        """Take calls until a signal comes; return when nothing more is owed to any caller."""
        async with trio.open_nursery() as listener:
            address = await listener.start(self.server.serve)
            self.log.info("daemon.ready", address=address, wallet=str(self.line.signer.address))
            on_ready(address)
            await self._stopping.wait()
            await self._drain()
            await self.server.drain(FLUSH_SECONDS)
            listener.cancel_scope.cancel()

    async def _drain(self) -> None:
        """Let sent trades resolve until the drain deadline or a second signal. Whoever asks for the health is told first."""
        self.health.shut_down()
        timeout = self.config.daemon.drain_timeout_seconds
        self.log.info("daemon.draining", trades_in_flight=self.desk.in_flight(), timeout_seconds=timeout)
        self._patience.deadline = trio.current_time() + timeout
        with self._patience:
            await self.desk.drain()
        if self.desk.in_flight():
            self.log.warning("daemon.left_open", trades=self.desk.in_flight())
        self.desk.tell_pending()

    async def aclose(self) -> None:
        """Release sockets and the journal."""
        await self.line.nodes.aclose()
        await self.line.jupiter.aclose()
        self.journal.close()
        self.log.info("daemon.stopped")


def assemble(config: Config, *, signer: Signer, surroundings: Surroundings) -> Daemon:
    """Put the daemon together; nothing runs yet. Raises ConfigError: the journal cannot be used, an address is malformed."""
    log, rng = surroundings.log, surroundings.rng
    retry = Retry(max_retries=config.retry.max_retries, initial_delay_seconds=config.retry.initial_delay_seconds)
    transport = surroundings.transport or TRANSPORTS[config.daemon.http_transport]
    nodes = make_nodes(config, transport=transport, retry=retry, rng=rng, log=log)
    jupiter = make_jupiter(config, transport=transport, environment=surroundings.environment, retry=retry, rng=rng, log=log)
    whitelist = {token.mint: token for token in config.tokens}
    blockhashes = Blockhashes(
        nodes=nodes,
        refresh_seconds=config.solana.blockhash_refresh_seconds,
        max_age_seconds=config.solana.max_blockhash_age_seconds,
        log=log,
    )
    mints = Mints(nodes=nodes, whitelist=whitelist, log=log)
    node_health = NodeHealth(nodes=nodes, log=log)
    journal = SqliteJournal(expanded(config.daemon.data_directory) / JOURNAL_FILE, run_commit=surroundings.run_commit)
    cluster = Cluster(nodes=nodes, journal=journal, now_ns=surroundings.now_ns, log=log)
    confirmations = Confirmations(
        nodes=nodes,
        blockhashes=blockhashes,
        is_ours=cluster.includes,
        poll_initial_seconds=config.confirmation.poll_initial_seconds,
        poll_max_seconds=config.confirmation.poll_max_seconds,
        log=log,
    )
    fees = Fees(nodes=nodes, settings=config.fees, log=log)
    holdings = Holdings(nodes=nodes, wallet=signer.address, mints=mints, log=log)
    metrics = Metrics()
    jupiter.on_failure = metrics.rates.call_failed
    for node in nodes.all:
        node.on_failure = metrics.rates.call_failed
    checks: Mapping[str, Check] = {
        CauseKind.BLOCKHASH: blockhashes.problem,
        CauseKind.NODES: node_health.problem,
        CauseKind.CLUSTER: cluster.problem,
        CauseKind.JOURNAL: journal.problem,
    }
    breaker, limits = _make_risk(config, journal=journal, checks=checks, now_ns=surroundings.now_ns, log=log)
    _restore(cluster.restore, breaker.restore, partial(limits.restore, journal), journal=journal, log=log)
    line = Line(
        config=config,
        jupiter=jupiter,
        nodes=nodes,
        blockhashes=blockhashes,
        fees=fees,
        lookup_tables=LookupTables(nodes=nodes, log=log),
        confirmations=confirmations,
        reservations=Reservations(),
        signer=signer,
        journal=journal,
        gate=Gate(config.limits.pre_send_budget_seconds, require_pass=breaker.require_pass),
        now_ns=surroundings.now_ns,
        observer=metrics,
        # Not from 0: equal trades right before and after a restart must differ, too.
        marks=itertools.count(rng.randrange(MARKS)),
        log=log,
    )
    report = Report(
        blockhashes=blockhashes,
        fees=fees,
        nodes=nodes,
        jupiter=jupiter,
        holdings=holdings,
        breaker=breaker,
        metrics=metrics,
        journal=journal.statistics,
    )
    desk = Desk(
        line=line,
        rules=Rules(limits=config.limits, whitelist=whitelist, mints=mints),
        breaker=breaker,
        limits=limits,
        metrics=metrics,
        report=report,
        log=log,
    )

    def trading_allowed() -> bool:
        return not report.reasons(draining=line.gate.draining)

    services = trade_executor_pb2.DESCRIPTOR.services_by_name
    health = HealthService({services["TradeExecutor"].full_name: trading_allowed})
    reflection = reflection_services(trade_executor_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR)
    servicers: tuple[Servicer, ...] = (TradeExecutorService(desk, log=log), health, *reflection)
    return Daemon(
        config=config,
        line=line,
        desk=desk,
        journal=journal,
        blockhashes=blockhashes,
        fees=fees,
        mints=mints,
        holdings=holdings,
        node_health=node_health,
        cluster=cluster,
        breaker=breaker,
        confirmations=confirmations,
        health=health,
        server=GrpcServer(config.grpc.listen_address, *servicers, log=log),
        log=log,
    )


def _make_risk(
    config: Config, *, journal: SqliteJournal, checks: Mapping[str, Check], now_ns: Callable[[], int], log: Log
) -> tuple[Breaker, Limits]:
    whitelist = {token.mint: token for token in config.tokens}
    losses = Losses(tokens=whitelist, now_ns=now_ns)
    diary = Diary(journal=journal, log=log)
    breaker = Breaker(checks=checks, settings=config.breaker, losses=losses, diary=diary, now_ns=now_ns, log=log)
    return breaker, Limits(settings=config.limits, volumes=Volumes(tokens=whitelist, now_ns=now_ns))


def _restore(*remembering: Callable[[], None], journal: SqliteJournal, log: Log) -> None:
    """Let them take up what the journal remembers. Raises ConfigError: it does so illegibly.

    Without it, trading that was halted would go on, or on another cluster.
    """
    try:
        for restore in remembering:
            restore()
    except Exception as error:
        journal.close()
        log.exception("journal.illegible")
        problem = f"what the journal says of the cluster, the circuit breaker, or this day's trades, cannot be read: {error!r}"
        raise ConfigError([f"daemon.data_directory: {problem}; docs/journal.md says what to do"]) from error


def make_nodes(config: Config, *, transport: MakeTransport, retry: Retry, rng: random.Random, log: Log) -> Nodes:
    """Clients of the configured nodes."""
    timeout = config.solana.request_timeout_seconds
    nodes = [Node(node.url, name=node.name, timeout_seconds=timeout, transport=transport) for node in config.solana.nodes]
    return Nodes(nodes, retry=retry, rng=rng, log=log)


def make_jupiter(
    config: Config, *, transport: MakeTransport, environment: Mapping[str, str], retry: Retry, rng: random.Random, log: Log
) -> Jupiter:
    """The client of Jupiter's API, with the key from the environment variable that the configuration names."""
    key = environment.get(config.jupiter.api_key_env) if config.jupiter.api_key_env else None
    return Jupiter(
        config.jupiter.url,
        api_key=key or None,
        timeout_seconds=config.jupiter.timeout_seconds,
        retry=retry,
        rng=rng,
        log=log,
        transport=transport,
    )

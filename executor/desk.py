"""The trade desk: takes requests in, spawns their trades, and tells everyone who asks how they ended.

A trade belongs to the desk's nursery, never to the call that asked for it: `execute` submits and waits, and cancelling it ends
the wait only. One request_id is one trade: whoever calls with it again, with the same content, joins the trade in flight or
gets the stored result; one that was refused is tried anew.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import NoReturn

import trio
from attrs import define, evolve, field

from executor import outcomes
from executor.errors import Denied, ErrorCode, TradeError
from executor.journal import records
from executor.journal.journal import JournalError
from executor.journal.records import StoredTrade
from executor.life import Line
from executor.log import Log
from executor.model import LeftOpen, Order, Outcome, OutcomeStatus, Stage, TradeRequest
from executor.ops.metrics import Metrics
from executor.ops.report import Report
from executor.risk.breaker import Breaker
from executor.risk.limits import Limits
from executor.stages.validation import Rules, validate
from executor.status import ExecutorStatus
from executor.trade import resume_trade, run_trade
from executor.watching import Update, not_found, updates


@define(eq=False)
class Flight:
    """A trade that is being executed, and what is known of it."""

    request: TradeRequest
    answered: trio.Event = field(factory=trio.Event)
    ended: trio.Event = field(factory=trio.Event)
    """Nobody works for it any more; what was to be written is written."""
    answer: Outcome | TradeError | None = None

    def tell(self, answer: Outcome | TradeError) -> None:
        """Answer everyone who waits; a later answer replaces an earlier PENDING."""
        self.answer = answer
        self.answered.set()

    @property
    def is_pending(self) -> bool:
        """Its callers were told PENDING, and it is not resolved yet."""
        return isinstance(self.answer, Outcome) and self.answer.status is OutcomeStatus.PENDING


@define(kw_only=True, eq=False)
class Desk:
    """Stands behind the gRPC service. `run` must be running for trades to be taken."""

    line: Line
    rules: Rules
    breaker: Breaker
    limits: Limits
    metrics: Metrics
    report: Report
    log: Log
    _flights: dict[str, Flight] = field(factory=dict)
    _trades: trio.Nursery | None = None
    _idle: trio.Event = field(factory=trio.Event)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Own the trades until cancelled; cancelling this cancels them all, wherever they stand."""
        async with trio.open_nursery() as trades:
            self._trades = trades
            task_status.started()
            await trio.sleep_forever()
        raise AssertionError("sleep_forever does not return")

    async def recover(self) -> None:
        """Take up every trade that the journal holds open; return when what they may spend is reserved again.

        `run` must be running, and no request taken yet. Raises JournalError.
        """
        open_requests = self.line.journal.open_requests()
        for request_id in open_requests:
            await self._take_up(request_id)
        self.log.info("recovery.done", trades=len(open_requests))

    async def execute(self, request: TradeRequest) -> Outcome:
        """Trade, or join the trade that this request_id stands for. Raises TradeError for what is answered as an error status."""
        try:
            flight = self._flights.get(request.request_id) or self._admit(request)
            if isinstance(flight, Outcome):
                return flight
            _require_same(request, flight.request)
        except TradeError as error:
            self._count_refusal(error, request)
            raise
        await flight.answered.wait()
        return _unwrap(flight.answer)

    async def find(self, request_id: str) -> Outcome:
        """What is known of a request. Raises TradeError: REQUEST_NOT_FOUND, or the refusal that it ended with."""
        flight = self._flights.get(request_id)
        if flight is not None:
            return _unwrap(flight.answer) if flight.answer is not None else self._so_far(request_id)
        stored = self._stored(request_id)
        if stored is None:
            raise not_found(request_id)
        return _unwrap(stored.refusal or stored.outcome)

    def watch(self, request_id: str, *, after_sequence: int) -> AsyncGenerator[Update, None]:
        """Yield the changes of a request, those of the past as well (see `watching.updates`)."""

        def end_of_flight() -> trio.Event | None:
            flight = self._flights.get(request_id)
            return None if flight is None else flight.ended

        return updates(request_id, after_sequence=after_sequence, journal=self.line.journal, end_of_flight=end_of_flight)

    def status(self) -> ExecutorStatus:
        """Everything that an operator wants to see at once."""
        return self.report.of(in_flight=self.in_flight(), pending=self.pending(), draining=self.line.gate.draining)

    def in_flight(self) -> int:
        """Trades that have no outcome yet."""
        return len(self._flights)

    def pending(self) -> int:
        """Trades whose callers were told PENDING and that are not resolved yet."""
        return sum(flight.is_pending for flight in self._flights.values())

    async def halt(self, why: str) -> ExecutorStatus:
        """Take no more trades, and sign none that was taken; return when that is on disk. Raises TradeError."""
        await self.breaker.halt(why)
        return self.status()

    async def resume(self, why: str) -> ExecutorStatus:
        """Close the circuit breaker; return when that is on disk. Raises TradeError."""
        await self.breaker.resume(why)
        return self.status()

    async def drain(self) -> None:
        """Take no more trades, stop those that are not signed, and return when the others have their outcome."""
        self.line.gate.close()
        while self._flights:
            self._idle = trio.Event()
            await self._idle.wait()

    def tell_pending(self) -> None:
        """Answer every caller who still waits: their trades stay open in the journal."""
        message = "the daemon is shutting down before the outcome is known: ask GetTrade once it is back, do not trade again"
        for request_id, flight in self._flights.items():
            if not flight.answered.is_set():
                so_far = self._so_far(request_id)
                flight.tell(evolve(so_far, error_code=ErrorCode.CONFIRMATION_TIMEOUT, error_message=message))

    def _admit(self, request: TradeRequest) -> Flight | Outcome:
        """Return the stored result of a request that ended, or start its trade. Raises TradeError.

        A refusal is no result: nothing was signed, and what stood in the way may have passed. So it may be asked for again.
        """
        stored = self._stored(request.request_id)
        if stored is not None:
            _require_same(request, stored.request)
        if stored is None or stored.refusal is not None:
            return self._start(request)
        return _unwrap(stored.outcome)

    def _start(self, request: TradeRequest) -> Flight:
        line, now = self.line, trio.current_time()
        if line.gate.draining or self._trades is None:
            raise Denied(ErrorCode.EXECUTOR_DRAINING, "the daemon is shutting down and takes no more trades")
        order = self._validated(request, received_at=now)
        self.metrics.stage_took(Stage.VALIDATION, trio.current_time() - now)
        self.breaker.require_trading()
        self.limits.take(order)
        self.breaker.enter(request.request_id)
        flight = self._flights[request.request_id] = Flight(request)
        self._trades.start_soon(self._fly, flight, order)
        return flight

    def _validated(self, request: TradeRequest, *, received_at: float) -> Order:
        try:
            return validate(request, rules=self.rules, received_at=received_at, received_unix_ns=self.line.now_ns())
        except Denied as denied:
            if denied.code is ErrorCode.CHAIN_STATE_STALE:  # of a daemon that is halted as well, that is what to tell
                self.breaker.require_trading()
            raise

    async def _fly(self, flight: Flight, order: Order) -> None:
        with self._in_flight(flight, order):
            await run_trade(order, line=self.line, answer=flight.tell)
        self._count(flight)

    async def _fly_on(self, flight: Flight, left: LeftOpen, *, task_status: trio.TaskStatus[None]) -> None:
        self.limits.take_up(left.order)
        with self._in_flight(flight, left.order):
            await resume_trade(left, line=self.line, answer=flight.tell, reserved=lambda: task_status.started())
        self._count(flight)

    @contextmanager
    def _in_flight(self, flight: Flight, order: Order) -> Iterator[None]:
        self._flights[flight.request.request_id] = flight
        try:
            yield
        finally:
            self._flights.pop(flight.request.request_id, None)
            flight.ended.set()
            self._idle.set()
            self.limits.ended(order, flight.answer)
            self.breaker.ended(order, flight.answer)

    async def _take_up(self, request_id: str) -> None:
        """An entry that cannot be read must not keep all others from being taken up: its trade stays open, and is told so."""
        entries = self.line.journal.life(request_id)
        try:
            left = records.left_open(entries, now=trio.current_time(), now_unix_ns=self.line.now_ns())
        except Exception:  # whatever is wrong with it
            self.log.exception("recovery.unreadable", request_id=request_id)
            return
        if self._trades is None:
            raise AssertionError("the desk runs before it recovers")
        await self._trades.start(self._fly_on, Flight(left.order.request), left)

    def _stored(self, request_id: str) -> StoredTrade | None:
        """What the journal knows of a request. Raises Denied(JOURNAL_UNAVAILABLE): then nobody may trade under its name."""
        try:
            return records.stored(self.line.journal.life(request_id))
        except JournalError as error:
            raise Denied(ErrorCode.JOURNAL_UNAVAILABLE, str(error)) from error

    def _so_far(self, request_id: str) -> Outcome:
        """What is known of a trade that is not answered yet: its signature, once it is signed."""
        try:
            stored = self._stored(request_id)
        except TradeError:
            stored = None
        return outcomes.being_executed(request_id, known=stored.outcome if stored is not None else None)

    def _count_refusal(self, error: TradeError, request: TradeRequest) -> None:
        self.metrics.refused += 1
        self.metrics.error(error.code, request.source_service)
        self.log.info(
            "trade.refused",
            request_id=request.request_id,
            source_service=request.source_service,
            code=error.code.name,
            reason=error.message,
        )

    def _count(self, flight: Flight) -> None:
        answer, source = flight.answer, flight.request.source_service
        if isinstance(answer, TradeError):
            self.metrics.refused += 1
            self.metrics.error(answer.code, source)
            return
        outcome = _unwrap(answer)
        if outcome.error_code is None:
            self.metrics.success += 1
        else:
            self.metrics.failed += outcome.status is OutcomeStatus.FAILED
            self.metrics.error(outcome.error_code, source)


def _require_same(request: TradeRequest, known: TradeRequest) -> None:
    if request != known:
        raise Denied(
            ErrorCode.REQUEST_ID_REUSED,
            f"request_id {request.request_id!r} was used for another request; choose a new one for a new trade",
        )


def _unwrap(answer: Outcome | TradeError | None) -> Outcome:
    if isinstance(answer, TradeError):
        raise answer.with_traceback(None)  # one for all who wait: each would add its own
    if answer is None:
        raise AssertionError("an answer is told before anyone is woken")
    return answer

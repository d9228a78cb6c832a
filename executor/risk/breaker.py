"""The circuit breaker. CLOSED means trading, OPEN means halted, HALF_OPEN means that a few trades probe.

The specification's words are the other way round; these are the usual ones. Three kinds of causes open it:

* what is asked again and again, and closes by itself: no fresh blockhash, no healthy node, a journal that cannot be written, a
  loss above its limit;
* what it counts of the trades that ended (`triggers.py`, `failures.py`). It trips, and after `open_seconds` lets a few trades
  probe: enough that succeed close it, one that fails opens it again for twice as long;
* an operator's word, which stands until an operator takes it back.

The state is what follows from all of them together. Every change is logged with its causes and journalled as a whole
(`diary.py`), so a restart finds it as it was. A trade counts for what tripped only if it was taken while trading had begun anew:
those that were sent before a halt and expire after it say nothing about now.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import attrs
import trio
from attrs import define, evolve, field

from executor.config import BreakerSettings
from executor.errors import Denied, ErrorCode, FieldProblem, InvalidRequest, TradeError
from executor.journal.journal import JournalError, Note
from executor.log import Log
from executor.model import Order, Outcome
from executor.risk.diary import Diary, Writing
from executor.risk.failures import Ending, ending_of
from executor.risk.losses import Losses
from executor.risk.triggers import Triggers
from executor.status import BreakerCause, BreakerState, CauseKind

WATCH_SECONDS = 0.5
MAX_WHY = 200
PROBE_PATIENCE_SECONDS = 120.0
"""Longer than a transaction can land. A probe that is not proved by then may never be, and gives its place to another one."""
NOTE_KIND, LOSS_NOTE_KIND = "breaker", "loss"
NS_PER_SECOND = 1_000_000_000

Check = Callable[[], str | None]
"""Returns why trading must stop, or None."""


@define(eq=False)
class _Trip:
    """It has tripped, and waits, or lets trades probe."""

    open_seconds: float
    probing_at: float
    """trio.current_time() from which on trades may probe."""
    causes: dict[str, BreakerCause] = field(factory=dict)
    is_probing: bool = False
    round: int = 0
    """Of probing; what a probe of an earlier one learned says nothing any more."""
    successes: int = 0
    failed_probe: str = ""


@define(eq=False)
class _Pass:
    """A trade that was let through."""

    era: int
    probe: tuple[_Trip, int] | None
    """The trip and the round that it probes for."""
    entered_at: float = field(factory=trio.current_time)


@define(kw_only=True, eq=False)
class Breaker:
    """Lets trades through, or says why not, and learns from how they end. `checks` are asked by the watcher, `run`."""

    checks: Mapping[str, Check]
    settings: BreakerSettings
    losses: Losses
    diary: Diary
    now_ns: Callable[[], int]
    log: Log
    _found: dict[str, BreakerCause] = field(factory=dict)
    """By the checks."""
    _operator: BreakerCause | None = None
    _trip: _Trip | None = None
    _era: int = 0
    """Of trading; every closing begins another."""
    _passes: dict[str, _Pass] = field(factory=dict)
    """Of the trades in flight, by request_id."""
    _triggers: Triggers = field(init=False)
    _told: tuple[object, ...] = (BreakerState.CLOSED,)
    _losses_saved_at: float = -math.inf

    def __attrs_post_init__(self) -> None:
        """Count by the same settings."""
        self._triggers = Triggers(self.settings)

    def restore(self) -> None:
        """Take up what the journal holds: before the first trade. Raises JournalError."""
        for note in self.diary.journal.notes(LOSS_NOTE_KIND, last=1):
            self.losses.restore(note.body)
        for note in self.diary.journal.notes(NOTE_KIND, last=1):
            self._restore(json.loads(note.body))
        self._told = self._tellable()
        if self.state is not BreakerState.CLOSED:
            self.log.warning("breaker.restored", state=self.state.name, causes=[cause.cause for cause in self.causes])

    async def run(self) -> NoReturn:
        """Watch until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.diary.run)
                while True:
                    self.look()
                    self._save_losses()
                    await trio.sleep(WATCH_SECONDS)
        finally:
            self._save_losses(is_urgent=True)
        raise AssertionError("it watches until it is cancelled")

    def look(self) -> None:
        """Ask every check once, and see what time has changed."""
        checks = {**self.checks, CauseKind.LOSS: self.losses.problem}
        found = {name: cause for name, check in checks.items() if (cause := check()) is not None}
        self._found = {name: self._cause(name, cause, earlier=self._found.get(name)) for name, cause in found.items()}
        self.diary.is_paused = CauseKind.JOURNAL in found
        self._advance()
        self._tell("the checks")

    @property
    def state(self) -> BreakerState:
        """What follows from all causes."""
        if self._operator or self._found:
            return BreakerState.OPEN
        if self._trip is None:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._trip.is_probing else BreakerState.OPEN

    @property
    def causes(self) -> tuple[BreakerCause, ...]:
        """Why it is not closed, the operator's word first; empty when it is."""
        trip = self._trip
        tripped = [] if trip is None else [_with_probe(cause, trip.failed_probe) for cause in trip.causes.values()]
        return (*([self._operator] if self._operator else []), *self._found.values(), *tripped)

    def reasons(self) -> tuple[str, ...]:
        """Why no trade at all would be taken now; empty while one would."""
        state = self.state
        if state is BreakerState.CLOSED or (state is BreakerState.HALF_OPEN and self._has_room_for_a_probe()):
            return ()
        probing = f"trading is probed by {self.settings.probe_trades} trades at a time"
        return (*(cause.cause for cause in self.causes), *([probing] if state is BreakerState.HALF_OPEN else []))

    def require_trading(self) -> None:
        """Raise Denied(TRADING_HALTED) with the causes unless another trade may be taken now."""
        self._advance()
        self._tell("time")
        reasons = self.reasons()
        if reasons:
            raise self._halted(reasons)

    def enter(self, request_id: str) -> None:
        """Let a trade through, right after `require_trading`; every one must `ended`."""
        trip = self._trip
        probe = None if trip is None else (trip, trip.round)
        self._passes[request_id] = _Pass(self._era, probe)

    def require_pass(self, request_id: str) -> None:
        """Raise Denied(TRADING_HALTED) when trading was halted since a trade was let through: for right before it is signed."""
        state = self.state
        if state is BreakerState.OPEN or (state is BreakerState.HALF_OPEN and not self._is_probe(request_id)):
            raise self._halted([cause.cause for cause in self.causes], "; nothing was sent")

    def ended(self, order: Order, answer: Outcome | TradeError | None) -> None:
        """Learn from the last answer that a trade's callers got; None: it has none.

        Of a trade that an earlier process began only the loss is counted.
        """
        if isinstance(answer, Outcome):
            self.losses.count(order, answer)
        its_pass = self._passes.pop(order.request_id, None)
        ending = ending_of(answer)
        if its_pass is not None and isinstance(answer, Outcome) and ending is not Ending.SILENT:
            self._learn(its_pass, ending, answer)
        if self.losses.is_unsaved:
            self._look_at_losses()
        self._tell(f"the end of {order.request_id}")

    async def halt(self, why: str) -> None:
        """Halt trading at an operator's word; return when it is on disk.

        Raises InvalidRequest, or Denied(JOURNAL_UNAVAILABLE): then it is halted all the same, but a restart may not know it yet.
        """
        _require_why(why)
        self._operator = self._cause(CauseKind.OPERATOR, f"halted by an operator: {why}", earlier=None)
        await self._durable(self._tell(f"an operator: {why}", always=True), "trading is halted")

    async def resume(self, why: str) -> None:
        """Close, whatever opened it, and forget what was counted and lost; what the checks still find keeps it open.

        Returns and raises as `halt` does.
        """
        _require_why(why)
        self._operator = None
        self._close()
        self.losses.forgive()
        self._save_losses(is_urgent=True)
        self._found.pop(CauseKind.LOSS, None)
        await self._durable(self._tell(f"an operator: {why}", always=True), "trading is resumed")

    def _look_at_losses(self) -> None:
        problem = self.losses.problem()
        if problem is not None:
            self._found[CauseKind.LOSS] = self._cause(CauseKind.LOSS, problem, earlier=self._found.get(CauseKind.LOSS))
        if trio.current_time() >= self._losses_saved_at + WATCH_SECONDS:  # else the watcher does so soon
            self._save_losses()

    def _has_room_for_a_probe(self) -> bool:
        since = trio.current_time() - PROBE_PATIENCE_SECONDS
        probing = sum(one.probe is not None and one.entered_at > since for one in self._passes.values())
        return probing < self.settings.probe_trades

    def _is_probe(self, request_id: str) -> bool:
        its_pass, trip = self._passes.get(request_id), self._trip
        return its_pass is not None and trip is not None and its_pass.probe == (trip, trip.round)

    def _learn(self, its_pass: _Pass, ending: Ending, outcome: Outcome) -> None:
        trip, broadcast_seconds = self._trip, outcome.broadcast_ns / NS_PER_SECOND
        if its_pass.probe is not None:
            if trip is not None and its_pass.probe == (trip, trip.round):
                self._learn_of_probe(trip, self._probe_failure(ending, broadcast_seconds, outcome))
        elif its_pass.era == self._era and not (trip is not None and trip.is_probing):
            self._triggers.note(ending, broadcast_seconds=broadcast_seconds, now=trio.current_time())
            for kind, cause in self._triggers.tripped(trio.current_time()):
                self._trip_by(kind, cause)

    def _probe_failure(self, ending: Ending, broadcast_seconds: float, outcome: Outcome) -> str:
        if ending is not Ending.SUCCEEDED:
            return outcome.error_code.name if outcome.error_code else ending.name
        return f"sent after {broadcast_seconds:.3f} s" if self._triggers.is_slow(broadcast_seconds) else ""

    def _learn_of_probe(self, trip: _Trip, failure: str) -> None:
        if failure:
            trip.open_seconds = min(trip.open_seconds * 2, self.settings.max_open_seconds)
            trip.probing_at = trio.current_time() + trip.open_seconds
            trip.is_probing, trip.successes, trip.failed_probe = False, 0, failure
            trip.round += 1
            return
        trip.successes += 1
        if trip.successes >= self.settings.probe_successes:
            self._close()

    def _trip_by(self, kind: CauseKind, cause: str) -> None:
        if self._trip is None:
            seconds = self.settings.open_seconds
            self._trip = _Trip(open_seconds=seconds, probing_at=trio.current_time() + seconds)
        self._trip.causes.setdefault(kind, self._cause(kind, cause, earlier=None))

    def _close(self) -> None:
        self._trip = None
        self._era += 1
        self._triggers.clear()

    def _advance(self) -> None:
        """Let trades probe once the time has come."""
        trip = self._trip
        if trip is not None and trio.current_time() >= trip.probing_at:
            trip.is_probing = True

    def _cause(self, kind: str, cause: str, *, earlier: BreakerCause | None) -> BreakerCause:
        since = self.now_ns() if earlier is None else earlier.since_unix_ns
        return BreakerCause(kind=kind, cause=cause, since_unix_ns=since)

    def _halted(self, reasons: Sequence[str], suffix: str = "") -> Denied:
        message = "trading is halted: " + "; ".join(reasons) + suffix
        wait_seconds = self._wait_seconds()
        if self._operator or self._found or not wait_seconds:  # nobody knows when
            return Denied(ErrorCode.TRADING_HALTED, message)
        return Denied(ErrorCode.TRADING_HALTED, message, retry_after_seconds=wait_seconds)

    def _wait_seconds(self) -> float:
        """Until a trade may probe."""
        trip = self._trip
        return 0.0 if trip is None else max(0.0, trip.probing_at - trio.current_time())

    def _tellable(self) -> tuple[object, ...]:
        """What has to change to be told: not the words of a cause, in which an age may stand."""
        trip = self._trip
        return (self.state, *(cause.kind for cause in self.causes), *([] if trip is None else [trip.round, trip.is_probing]))

    def _tell(self, because: str, *, always: bool = False) -> Writing | None:
        """Log and journal what has changed, if anything has."""
        tellable = self._tellable()
        if tellable == self._told and not always:
            return None
        self._told = tellable
        causes = [attrs.asdict(cause) for cause in self.causes]
        self.log.warning("breaker.changed", state=self.state.name, because=because, causes=[cause["cause"] for cause in causes])
        body = {"state": self.state.name, "because": because, "causes": causes, **self._kept()}
        return self.diary.write(Note(kind=NOTE_KIND, at_unix_ns=self.now_ns(), body=json.dumps(body)), is_urgent=always)

    def _kept(self) -> dict[str, object]:
        """What a restart needs; the checks are asked anew."""
        return {"operator": self._operator and attrs.asdict(self._operator), "trip": self._trip and self._trip_body(self._trip)}

    def _trip_body(self, trip: _Trip) -> dict[str, object]:
        return {
            "causes": [attrs.asdict(cause) for cause in trip.causes.values()],
            "open_seconds": trip.open_seconds,
            "probing_at_unix_ns": self.now_ns() + round(self._wait_seconds() * NS_PER_SECOND),
            "failed_probe": trip.failed_probe,
        }

    def _restore(self, body: Mapping[str, Any]) -> None:
        operator, trip = body["operator"], body["trip"]
        self._operator = BreakerCause(**operator) if operator else None
        if trip:
            left = (trip["probing_at_unix_ns"] - self.now_ns()) / NS_PER_SECOND
            self._trip = _Trip(
                open_seconds=trip["open_seconds"],
                # A wall clock that was set must not keep it open for longer than it ever was to be.
                probing_at=trio.current_time() + min(max(left, 0.0), trip["open_seconds"]),
                causes={cause["kind"]: BreakerCause(**cause) for cause in trip["causes"]},
                failed_probe=trip["failed_probe"],
            )
            self._advance()

    def _save_losses(self, *, is_urgent: bool = False) -> None:
        if self.losses.is_unsaved and (is_urgent or not self.diary.is_paused):
            body, self._losses_saved_at = self.losses.saved(), trio.current_time()
            try:  # two a second, of all books each: kept, they would be gigabytes a day
                self.diary.journal.note_soon(Note(kind=LOSS_NOTE_KIND, at_unix_ns=self.now_ns(), body=body, replaces=True))
            except JournalError:
                self.log.exception("breaker.losses_not_journalled")
                self.losses.is_unsaved = True

    async def _durable(self, writing: Writing | None, what: str) -> None:
        if writing is None:
            raise AssertionError("an operator's word is always told")
        await writing.tried.wait()
        if writing.error is not None:
            message = f"{what}, but not on disk yet, so that a restart may not know it: {writing.error}"
            raise Denied(ErrorCode.JOURNAL_UNAVAILABLE, message) from writing.error


def _with_probe(cause: BreakerCause, failed_probe: str) -> BreakerCause:
    return evolve(cause, cause=f"{cause.cause}; the last probe failed: {failed_probe}") if failed_probe else cause


def _require_why(why: str) -> None:
    if not 1 <= len(why) <= MAX_WHY:
        raise InvalidRequest([FieldProblem("why", f"must have 1 to {MAX_WHY} characters, has {len(why)}")])
    if not why.isprintable() or not why.strip():
        raise InvalidRequest([FieldProblem("why", "must be printable, and say something")])

"""The callers of one request: they ask once or several at once, again after a cut or the end, with other content, or give up.

What each call was told is kept, in order, for the checker.
"""

import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import trio
from attrs import define, evolve, field

from executor.desk import Desk
from executor.errors import Denied, ErrorCode, TradeError
from executor.model import Outcome, OutcomeStatus, TradeRequest
from executor.states import TERMINAL, State
from executor.watching import Update
from tests.chaos.checker import FINAL, Told, Word
from tests.simulation.chance import chance
from tests.simulation.clock import nap
from tests.simulation.daemon import Cut, Keeper
from tests.simulation.workload import Plan, other_content

MAX_ASKS = 40
"""Of one caller; then it gives up."""
MAX_SEVERAL = 4
LATER = frozenset({"TRADING_HALTED", "CHAIN_STATE_STALE", "EXECUTOR_DRAINING", "JOURNAL_UNAVAILABLE"})
"""Refusals after which callers come again."""
MAX_WAIT_SECONDS = 200.0
"""For a daemon that is down."""
_WORDS = {OutcomeStatus.SUCCESS: Word.SUCCESS, OutcomeStatus.FAILED: Word.FAILED, OutcomeStatus.PENDING: Word.PENDING}


@define(eq=False)
class Asked:
    """One request_id and everything that was said of it, with what each call asked for: None, where it asked by the id."""

    request: TradeRequest
    calls: list[tuple[TradeRequest | None, Told]] = field(factory=list)
    wrong: list[str] = field(factory=list)
    """Answers that no caller should get, whatever became of the trade."""


def told_of(answer: Outcome | TradeError | None) -> Told:
    """Put an answer as the checker reads it."""
    if answer is None:
        return Told(word=Word.NOTHING)
    if isinstance(answer, TradeError):
        return Told(word=Word.REFUSED, code=answer.code.name)
    return Told(
        word=_WORDS[answer.status],
        signature=answer.signature,
        executed_amount=answer.executed_amount,
        input_amount=answer.input_amount,
        fees_paid_lamports=answer.fees_paid_lamports,
        slot=answer.slot,
        code=answer.error_code.name if answer.error_code else "",
    )


def _gives_up_rate(told: Told) -> float:
    return 0.03 if told.code in LATER else 0.8


@define(kw_only=True, eq=False)
class Callers:
    """All callers of one request."""

    plan: Plan
    keeper: Keeper
    asked: Asked
    _rng: random.Random = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._rng = chance(self.plan.seed)

    async def run(self) -> None:
        """Ask until everybody knows, or has given up."""
        climate, rng = self.keeper.world.climate, self._rng
        request = self.plan.request
        several = rng.randint(2, MAX_SEVERAL) if rng.random() < climate.callers_several else 1
        other = rng.random() < climate.callers_other
        async with trio.open_nursery() as nursery:
            for number in range(several):
                nursery.start_soon(self._ask_until_known, request, chance(f"{self.plan.seed} {number}"))
            if other:
                nursery.start_soon(self._ask_other, chance(f"{self.plan.seed} other"))
        if rng.random() < climate.callers_again:
            await nap(rng.uniform(0.0, 5.0))
            await self._call("execute", request, lambda desk: desk.execute(request))

    async def look_back(self) -> None:
        """Ask what became of it, when everything is over."""
        request = self.plan.request
        if self.asked.calls:
            await self._call("find", request, lambda desk: desk.find(request.request_id))

    async def _ask_until_known(self, request: TradeRequest, rng: random.Random) -> None:
        impatient = rng.random() < self.keeper.world.climate.callers_impatient
        gives_up = rng.random() < 0.05
        for _ in range(MAX_ASKS):
            patience_seconds = rng.uniform(0.0, 4.0) if impatient else None
            told = await self._ask(request, patience_seconds, finds=rng.random() < 0.3, watches=rng.random() < 0.1)
            if told.word in FINAL or gives_up:
                return
            if told.word is Word.REFUSED and told.code != "REQUEST_NOT_FOUND" and rng.random() < _gives_up_rate(told):
                return
            await nap(rng.uniform(2.0, 10.0) if told.word is Word.PENDING else rng.choice((0.0, rng.uniform(0.0, 3.0))))

    async def _ask(self, request: TradeRequest, patience_seconds: float | None, *, finds: bool, watches: bool) -> Told:
        known = bool(self.asked.calls)
        if known and watches:
            return await self._call("watch", request, self._watch, patience_seconds)
        if known and finds:
            return await self._call("find", request, lambda desk: desk.find(request.request_id), patience_seconds)
        return await self._call("execute", request, lambda desk: desk.execute(request), patience_seconds)

    async def _watch(self, desk: Desk) -> Outcome:
        """Follow the request to its end, and tell of it as `find` does."""
        last: Update | None = None
        async with aclosing(desk.watch(self.plan.request.request_id, after_sequence=0)) as updates:
            async for update in updates:
                if last is not None and update.sequence <= last.sequence:
                    self.asked.wrong.append(f"request {self.plan.request.request_id}: a watch told {update} after {last}")
                last = update
        assert last is not None, "a watch of an unknown request raises"
        if last.state is State.DENIED:
            raise Denied(last.outcome.error_code or ErrorCode.INTERNAL_ERROR, last.outcome.error_message or "")
        return last.outcome

    async def _ask_other(self, rng: random.Random) -> None:
        """Use the request_id for something else: before, while or after it is traded."""
        await nap(rng.choice((0.0, rng.uniform(0.0, 2.0), rng.uniform(0.0, 20.0))))
        request = other_content(self.plan.request)
        await self._call("other", request, lambda desk: desk.execute(request))

    def _hold_against_journal(self, told: Told) -> None:
        """An outcome is on disk when it is told, as long as the disk takes it; and a well disk is no reason to refuse."""
        daemon, request_id = self.keeper.daemon, self.plan.request.request_id
        if daemon is None or self.keeper.disk_is_bad:
            return
        if told.code == "JOURNAL_UNAVAILABLE":
            self.asked.wrong.append(f"request {request_id} was told {told.word} JOURNAL_UNAVAILABLE, and the disk is well")
        elif told.word in FINAL:
            entries = daemon.journal.entries(request_id)
            if not entries or entries[-1].state not in TERMINAL:
                self.asked.wrong.append(f"request {request_id} was told {told.word} before the journal had it")

    async def _call(
        self,
        kind: str,
        request: TradeRequest,
        ask: Callable[[Desk], Awaitable[Outcome]],
        patience_seconds: float | None = None,
    ) -> Told:
        asked_after = len(self.asked.calls)
        answer: Outcome | TradeError | None = None
        with trio.move_on_after(float("inf") if patience_seconds is None else patience_seconds):
            try:
                answer = await self.keeper.call(ask)
            except TradeError as error:
                answer = error
            except Cut:
                await nap(0.0)
        if answer is None and self._rng.random() < 0.9:
            with trio.move_on_after(MAX_WAIT_SECONDS):
                await self.keeper.until_open()
        told = evolve(told_of(answer), asked_after=asked_after)
        note = self.keeper.world.chronicle.note
        note("told", kind, request.request_id, told.word, told.code, told.signature, told.executed_amount, told.slot)
        self._hold_against_journal(told)
        self.asked.calls.append((None if kind in ("find", "watch") else request, told))
        return told

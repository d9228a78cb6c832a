"""Circuit breakers for tests, over a journal in memory and a wall clock that tests move."""

from collections.abc import Mapping, Sequence
from typing import Any

import trio
from attrs import define, evolve, field

from executor.config import BreakerSettings, TokenSettings
from executor.errors import TradeError
from executor.journal.journal import JournalError, Note
from executor.log import Log
from executor.model import Order, Outcome, OutcomeStatus, Token
from executor.risk.breaker import Breaker, Check
from executor.risk.diary import Diary
from executor.risk.losses import Losses
from tests.support.events import RecordedLog
from tests.support.values import BONK, SOL, USDC, make_order

DAY_NS = 86_400 * 10**9
NOON_NS = 20_000 * DAY_NS + DAY_NS // 2


@define
class WallClock:
    """Stands still until it is moved."""

    unix_ns: int = NOON_NS

    def __call__(self) -> int:
        return self.unix_ns

    def move(self, seconds: float) -> None:
        self.unix_ns += round(seconds * 10**9)


@define
class TrioWallClock:
    """Goes with trio's clock."""

    def __call__(self) -> int:
        return NOON_NS + round(trio.current_time() * 10**9)


@define
class KeptNotes:
    """Keeps notes in memory, in order; fails while a test says so."""

    kept: list[Note] = field(factory=list)
    is_full: bool = False

    async def note(self, note: Note) -> None:
        await trio.lowlevel.checkpoint()
        self.note_soon(note)

    def note_soon(self, note: Note) -> None:
        if self.is_full:
            raise JournalError("the disk is full")
        self.kept.append(note)

    def notes(self, kind: str, *, last: int) -> Sequence[Note]:
        return [note for note in self.kept if note.kind == kind][-last:]


def make_tokens(*tokens: Token, **limits: int) -> Mapping[Any, TokenSettings]:
    """A whitelist; every token has the same limits."""
    listed = tokens or (SOL, USDC, BONK)
    return {t.mint: TokenSettings(symbol=t.symbol, mint=t.mint, max_amount=10**18, **limits) for t in listed}


def make_breaker(
    checks: Mapping[str, Check] | None = None,
    *,
    notes: KeptNotes | None = None,
    log: Log | None = None,
    now_ns: WallClock | TrioWallClock | None = None,
    max_loss_per_day: int = 0,
    **settings: Any,
) -> Breaker:
    """A breaker that trips on nothing but what the settings name."""
    clock, log = now_ns or TrioWallClock(), log or RecordedLog()
    off = BreakerSettings(error_rate_percent=0, landed_failures=0, slow_broadcast_p99_seconds=0.0)
    return Breaker(
        checks=checks or {},
        settings=evolve(off, **settings),
        losses=Losses(tokens=make_tokens(max_loss_per_day=max_loss_per_day), now_ns=clock),
        diary=Diary(journal=notes if notes is not None else KeptNotes(), log=log),
        now_ns=clock,
        log=log,
    )


def take(breaker: Breaker, request_id: str) -> Order:
    """Have a trade let through. Raises Denied."""
    breaker.require_trading()
    breaker.enter(request_id)
    return make_order(request_id=request_id)


def trade(breaker: Breaker, request_id: str, answer: Outcome | TradeError | None) -> None:
    """Have a trade let through and end. Raises Denied."""
    breaker.ended(take(breaker, request_id), answer)


def success(**facts: Any) -> Outcome:
    """A trade that landed."""
    return evolve(Outcome(request_id="r", status=OutcomeStatus.SUCCESS, slot=7, broadcast_ns=10**6), **facts)


def failure(code: Any, **facts: Any) -> Outcome:
    """A trade that ended without a swap; a slot says that it landed and reverted."""
    return evolve(Outcome(request_id="r", status=OutcomeStatus.FAILED, error_code=code), **facts)

"""What the callers of a run know: every request, every answer to it, and what still has to be asked."""

import threading
from collections.abc import Iterator

from attrs import define, field, frozen

from executor.rpc import trade_executor_pb2 as pb
from tests.chaos.checker import FINAL, Request, Swap, Told, Word
from tests.crash.plan import Planned
from tests.support.callers import Refused
from tests.support.localnet import mint

ASK_AGAIN = frozenset(
    {"TRADING_HALTED", "EXECUTOR_DRAINING", "CHAIN_STATE_STALE", "JOURNAL_UNAVAILABLE", "TRADES_IN_FLIGHT_EXCEEDED"}
)
"""Refusals that pass: a caller asks again."""
BROKEN_OFF = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"})
"""Statuses of the client's own, without a reason of the daemon's: nothing was told."""
_WORDS = {
    pb.TRADE_STATUS_SUCCESS: Word.SUCCESS,
    pb.TRADE_STATUS_FAILED: Word.FAILED,
    pb.TRADE_STATUS_PENDING: Word.PENDING,
}


@frozen
class Entry:
    """A request and its answers so far."""

    planned: Planned
    told: list[Told] = field(factory=list)

    @property
    def is_settled(self) -> bool:
        """There is nothing more to learn by asking again."""
        last = next((told for told in reversed(self.told) if told.word is not Word.NOTHING), None)
        if last is None:
            return False
        return last.word in FINAL or (last.word is Word.REFUSED and last.code not in ASK_AGAIN)


@define
class Book:
    """Written by many threads."""

    _entries: dict[str, Entry] = field(factory=dict)
    _lock: threading.Lock = field(factory=threading.Lock)

    def open(self, planned: Planned) -> None:
        """Begin a request's page."""
        self._entries[planned.request_id] = Entry(planned)

    def answers(self, request_id: str) -> int:
        """How many answers have come: to be asked before a call is made."""
        with self._lock:
            return len(self._entries[request_id].told)

    def note(self, request_id: str, answer: pb.TradeResult | Refused, *, asked_after: int) -> None:
        """Write an answer down."""
        told = told_of(answer, asked_after=asked_after)
        with self._lock:
            self._entries[request_id].told.append(told)

    def unsettled(self) -> list[Planned]:
        """What has to be asked again."""
        with self._lock:
            return [entry.planned for entry in self._entries.values() if not entry.is_settled]

    def last_final(self, count: int) -> list[Planned]:
        """The newest requests that ended with a SUCCESS or FAILED."""
        with self._lock:
            final = [entry.planned for entry in self._entries.values() if any(told.word in FINAL for told in entry.told)]
        return final[-count:]

    def last_refused(self, count: int) -> list[Planned]:
        """The newest requests of which nothing but refusals is known."""
        words = {Word.REFUSED, Word.NOTHING}
        with self._lock:
            refused = [
                entry.planned
                for entry in self._entries.values()
                if entry.is_settled and all(told.word in words for told in entry.told)
            ]
        return refused[-count:]

    def requests(self) -> Iterator[Request]:
        """As the checker wants them."""
        for entry in self._entries.values():
            planned = entry.planned
            swap = Swap(input_mint=mint(planned.source), output_mint=mint(planned.target), in_amount=planned.amount)
            yield Request(request_id=planned.request_id, swap=swap, told=tuple(entry.told))


def told_of(answer: pb.TradeResult | Refused, *, asked_after: int) -> Told:
    """Read an answer."""
    if isinstance(answer, Refused):
        broken_off = not answer.reason and answer.status in BROKEN_OFF
        word = Word.NOTHING if broken_off else Word.REFUSED
        return Told(word=word, code=answer.reason or answer.status, asked_after=asked_after)
    return Told(
        word=_WORDS[answer.status],
        signature=answer.transaction_signature or None,
        executed_amount=answer.executed_amount,
        input_amount=answer.input_amount,
        fees_paid_lamports=answer.fees_paid,
        slot=answer.slot,
        code=answer.error_code,
        asked_after=asked_after,
    )

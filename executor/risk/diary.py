"""Writes what the circuit breaker changes to the journal, in order, again and again until it is on disk.

A change takes effect at once, whether or not the journal can take it: a full disk must not keep trading from being halted.
"""

from collections import deque
from typing import NoReturn

import trio
from attrs import define, field

from executor.journal.journal import JournalError, Note, Notes
from executor.log import Log

RETRY_SECONDS = 0.5
MAX_WAITING_NOTES = 64
"""Every note holds the whole state, so that only the newest is needed: the oldest of more are dropped."""


@define(eq=False)
class Writing:
    """A note on its way to the disk."""

    note: Note
    is_urgent: bool
    """Somebody waits for it."""
    tried: trio.Event = field(factory=trio.Event)
    """It is on disk, or has failed once and is tried again."""
    error: JournalError | None = None


@define(kw_only=True, eq=False)
class Diary:
    """Takes notes at any time; `run` must be running for them to be written."""

    journal: Notes
    log: Log
    is_paused: bool = False
    """The journal is known to be unwell. Notes wait then, unless one is urgent or has failed: a small commit that gets through
    where others fail must not make the journal look well."""
    _waiting: deque[Writing] = field(factory=deque)
    _wake: trio.Event = field(factory=trio.Event)

    def write(self, note: Note, *, is_urgent: bool = False) -> Writing:
        """Have a note written after all earlier ones."""
        if len(self._waiting) == MAX_WAITING_NOTES:
            dropped = self._waiting.popleft()
            dropped.error = dropped.error or JournalError("newer changes took its place before it was written")
            dropped.tried.set()
        writing = Writing(note, is_urgent)
        self._waiting.append(writing)
        self._wake.set()
        return writing

    async def run(self) -> NoReturn:
        """Write until cancelled; what waits then is handed to the journal, which outlives this."""
        try:
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                await self._write_waiting()
        finally:
            self._hand_over()
        raise AssertionError("it runs until it is cancelled")

    async def _write_waiting(self) -> None:
        while self._waiting:
            if self._is_held() or not await self._try(self._waiting[0]):
                await trio.sleep(RETRY_SECONDS)

    def _is_held(self) -> bool:
        return self.is_paused and not any(writing.is_urgent or writing.error for writing in self._waiting)

    async def _try(self, writing: Writing) -> bool:
        try:
            await self.journal.note(writing.note)
        except JournalError as error:
            self.log.exception("breaker.not_journalled")
            for one in (writing, *self._waiting):  # none can overtake it: who waits for a later one has to know, too
                one.error = error
                one.tried.set()
            return False
        if self._waiting and self._waiting[0] is writing:
            self._waiting.popleft()
        writing.error = None
        writing.tried.set()
        return True

    def _hand_over(self) -> None:
        """Cancelled while a note was being written, it is handed over twice, which changes nothing: the newest counts."""
        while self._waiting:
            try:
                self.journal.note_soon(self._waiting.popleft().note)
            except JournalError:
                self.log.exception("breaker.not_journalled")

"""Journals that stand before another one."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from attrs import define

from executor.journal.journal import MAX_SEQ, Entry, Following, Journal, Note
from executor.states import State


@define(eq=False)
class PassingOn:
    """Hands everything on to another journal; subclasses fail or wait where they like."""

    journal: Journal

    async def append(self, entry: Entry) -> None:
        await self.journal.append(entry)

    def append_soon(self, entry: Entry) -> None:
        self.journal.append_soon(entry)

    def entries(self, request_id: str) -> Sequence[Entry]:
        return self.journal.entries(request_id)

    def life(self, request_id: str, *, after_sequence: int = MAX_SEQ) -> Sequence[Entry]:
        return self.journal.life(request_id, after_sequence=after_sequence)

    def open_requests(self) -> Sequence[str]:
        return self.journal.open_requests()

    def accepted_since(self, at_unix_ns: int) -> Iterator[tuple[Entry, State]]:
        return self.journal.accepted_since(at_unix_ns)

    def following(self, request_id: str) -> AbstractContextManager[Following]:
        return self.journal.following(request_id)

    async def note(self, note: Note) -> None:
        await self.journal.note(note)

    def note_soon(self, note: Note) -> None:
        self.journal.note_soon(note)

    def notes(self, kind: str, *, last: int) -> Sequence[Note]:
        return self.journal.notes(kind, last=last)

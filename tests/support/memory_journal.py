"""A journal without a disk: what the conformance suite asks of a backend, and nothing else."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import trio
from attrs import define, evolve, field

from executor.errors import ConfigError
from executor.journal.following import Followers
from executor.journal.journal import MAX_SEQ, MAX_WAITING, Entry, EntryRefused, Following, JournalError, Note
from executor.states import TERMINAL, State
from executor.status import JournalStatus

PROBE_SECONDS = 0.01


def _ended() -> JournalError:
    return JournalError("the journal's writer has ended")


@define(eq=False)
class Disk:
    """What outlives a process."""

    entries: list[Entry] = field(factory=list)
    last: dict[str, State] = field(factory=dict)
    signatures: set[str] = field(factory=set)
    notes: list[Note] = field(factory=list)
    last_note: int = 0
    fails: bool = False
    in_use: bool = False

    def open(self) -> "MemoryJournal":
        """Open it. Raises ConfigError when it is open."""
        if self.in_use:
            raise ConfigError(["the journal is in use by another executor"])
        self.in_use = True
        return MemoryJournal(self)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Let every commit fail meanwhile."""
        self.fails = True
        yield
        self.fails = False


@define(eq=False)
class _Waiting:
    item: Entry | Note
    done: trio.Event = field(factory=trio.Event)
    error: JournalError | None = None


@define(eq=False)
class MemoryJournal:
    """Commits between two checkpoints."""

    _disk: Disk
    _waiting: list[_Waiting] = field(factory=list)
    _wake: trio.Event = field(factory=trio.Event)
    _followers: Followers = field(factory=lambda: Followers(_ended))
    _has_ended: bool = False
    _problem: str | None = None
    _entries: int = 0
    _commits: int = 0

    async def append(self, entry: Entry) -> None:
        await self._until_durable(entry)

    async def note(self, note: Note) -> None:
        await self._until_durable(note)

    def append_soon(self, entry: Entry) -> None:
        self._hand_over(entry)

    def note_soon(self, note: Note) -> None:
        self._hand_over(note)

    def entries(self, request_id: str) -> Sequence[Entry]:
        return [entry for entry in self._disk.entries if entry.request_id == request_id]

    def life(self, request_id: str, *, after_sequence: int = MAX_SEQ) -> Sequence[Entry]:
        lives: list[list[Entry]] = []
        for entry in self.entries(request_id):
            if entry.state is State.ACCEPTED:
                lives.append([])
            lives[-1].append(entry)
        return next((life for life in lives if life[-1].seq > after_sequence), lives[-1] if lives else [])

    def notes(self, kind: str, *, last: int) -> Sequence[Note]:
        return [note for note in self._disk.notes if note.kind == kind][-last:]

    def open_requests(self) -> Sequence[str]:
        lives = {entry.request_id: entry.seq for entry in self._disk.entries if entry.state is State.ACCEPTED}
        is_open = (request_id for request_id, state in self._disk.last.items() if state not in TERMINAL)
        return sorted(is_open, key=lambda request_id: lives[request_id])

    def accepted_since(self, at_unix_ns: int) -> Iterator[tuple[Entry, State]]:
        for entry in self._disk.entries:
            if entry.state is State.ACCEPTED and entry.at_unix_ns >= at_unix_ns:
                yield entry, self._state_of(entry)

    def following(self, request_id: str) -> AbstractContextManager[Following]:
        return self._followers.following(request_id)

    def problem(self) -> str | None:
        return str(_ended()) if self._has_ended else self._problem

    def statistics(self) -> JournalStatus:
        return JournalStatus(
            entries=self._entries,
            commits=self._commits,
            waiting=len(self._waiting),
            problem=self.problem() or "",
            commit_p50_seconds=0.0,
            commit_p99_seconds=0.0,
        )

    async def run(self) -> None:
        try:
            while True:
                with trio.move_on_after(PROBE_SECONDS):
                    await self._wake.wait()
                self._wake = trio.Event()
                self._commit()
        finally:
            self._commit()
            self._has_ended = True
            self._followers.end()

    def close(self) -> None:
        self._disk.in_use = False

    def _state_of(self, accepted: Entry) -> State:
        """The state of the life that began with this acceptance."""
        later = [entry for entry in self.entries(accepted.request_id) if entry.seq > accepted.seq]
        if any(entry.state is State.ACCEPTED for entry in later):
            return State.DENIED
        return later[-1].state if later else State.ACCEPTED

    async def _until_durable(self, item: Entry | Note) -> None:
        waiting = self._hand_over(item)
        with trio.CancelScope(shield=True):
            await waiting.done.wait()
        if waiting.error is not None:
            raise waiting.error

    def _hand_over(self, item: Entry | Note) -> _Waiting:
        if self._has_ended:
            raise _ended()
        if len(self._waiting) >= MAX_WAITING:
            raise JournalError(f"{MAX_WAITING} entries are waiting for the disk")
        waiting = _Waiting(item)
        self._waiting.append(waiting)
        self._wake.set()
        return waiting

    def _commit(self) -> None:
        batch, self._waiting = self._waiting, []
        self._problem = "the journal cannot be written" if self._disk.fails else None
        for waiting in batch:
            waiting.error = JournalError(self._problem) if self._problem else self._store(waiting.item)
            waiting.done.set()
        durable = [waiting.item for waiting in batch if waiting.error is None]
        self._entries += len(durable)
        self._commits += bool(durable)
        self._followers.tell(item.request_id for item in durable if isinstance(item, Entry))

    def _store(self, item: Entry | Note) -> EntryRefused | None:
        if isinstance(item, Note):
            self._disk.last_note += 1
            kept = [note for note in self._disk.notes if not (item.replaces and note.kind == item.kind)]
            self._disk.notes = [*kept, evolve(item, seq=self._disk.last_note)]
            return None
        disk = self._disk
        last = disk.last.get(item.request_id, State.DENIED)
        fits = last is State.DENIED if item.state is State.ACCEPTED else last not in TERMINAL
        if not fits or item.signature in disk.signatures:
            return EntryRefused(f"{item.state.name} of {item.request_id!r} is refused")
        disk.entries.append(evolve(item, seq=len(disk.entries) + 1))
        disk.last[item.request_id] = item.state
        disk.signatures.update([item.signature] if item.signature is not None else [])
        return None

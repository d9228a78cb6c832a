"""The durable log of every trade: an append-only table, one writer, group commit.

`trade.py` writes its steps here and nothing else does. The rule of every step is: append (durable), then move, then act. The
path to the broadcast waits for the disk once, at SIGNED; entries before it are handed over in order and are therefore durable
with it.

One thread commits whatever has been handed over meanwhile in one transaction, so many trades share one fsync. Handing over is
synchronous: an entry becomes durable whether or not the trade that waits for it is cancelled.
"""

import math
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import trio
from attrs import define, evolve, field, frozen

from executor.errors import ExecutorError
from executor.journal.commits import Commits
from executor.journal.file import PROBE, is_damage, opened, read_ends
from executor.journal.following import Followers
from executor.states import State
from executor.status import JournalStatus

MAX_WAITING = 10_000
MAX_ENTRIES_IN_A_STATEMENT = 500
PROBE_SECONDS = 1.0
"""After a failure, when nobody appends anything for so long, the journal tries itself whether the disk is well again."""
SLOW_COMMIT_SECONDS = 5.0
"""A commit that takes longer is a problem: every trade waits for it."""

_INSERT = "INSERT INTO entries (request_id, state, at_unix_ns, signature, body) VALUES "
_INSERT_NOTE = "INSERT INTO notes (kind, at_unix_ns, body) VALUES (?, ?, ?)"
_DELETE_NOTES = "DELETE FROM notes WHERE kind = ?"
MAX_SEQ = 2**63 - 2
"""Larger than any sequence there will be."""
ENTRY_COLUMNS = "request_id, state, at_unix_ns, body, signature, seq"
_ENTRIES_OF_A_REQUEST = f"SELECT {ENTRY_COLUMNS} FROM entries WHERE request_id = ? ORDER BY seq"  # noqa: S608 - constants of this file
# A request may have been denied and accepted anew a hundred thousand times: only one of its lives is read at a time.
_LIFE = f"""
WITH of_it AS (SELECT coalesce(
    (SELECT min(seq) FROM entries WHERE request_id = ?1 AND seq > ?2),
    (SELECT max(seq) FROM entries WHERE request_id = ?1)
) AS seq)
SELECT {ENTRY_COLUMNS} FROM entries WHERE request_id = ?1
AND seq >= (SELECT seq FROM entries WHERE request_id = ?1 AND state = 'ACCEPTED' AND seq <= (SELECT seq FROM of_it)
    ORDER BY seq DESC LIMIT 1)
AND seq < coalesce((SELECT seq FROM entries WHERE request_id = ?1 AND state = 'ACCEPTED' AND seq > (SELECT seq FROM of_it)
    ORDER BY seq LIMIT 1), {MAX_SEQ} + 1)
ORDER BY seq
"""  # noqa: S608 - constants of this file
# A life that others follow was denied: nothing else can be accepted anew.
_ACCEPTED_SINCE = f"""
SELECT {ENTRY_COLUMNS}, CASE
    WHEN EXISTS (SELECT 1 FROM entries e WHERE e.request_id = a.request_id AND e.seq > a.seq AND e.state = 'ACCEPTED')
    THEN 'DENIED'
    ELSE (SELECT e.state FROM entries e WHERE e.request_id = a.request_id ORDER BY e.seq DESC LIMIT 1) END
FROM entries a WHERE a.state = 'ACCEPTED' AND a.at_unix_ns >= ? ORDER BY a.seq
"""  # noqa: S608 - constants of this file


RunCommit = Callable[[Callable[[], None]], Awaitable[None]]
"""Runs what waits for the disk, one at a time, and returns when it has ended."""


async def in_thread(commit: Callable[[], None]) -> None:
    """Run a commit in a thread of its own: the event loop goes on."""
    await trio.to_thread.run_sync(
        commit, limiter=trio.CapacityLimiter(1)
    )  # commits come one at a time: it never waits for others


class JournalError(ExecutorError):
    """An entry could not be made durable; what was about to happen must not happen."""


class EntryRefused(JournalError):
    """The journal holds this request's acceptance or this signature already, or never got the acceptance that comes first.

    After a DENIED, and only then, a request may be accepted anew.
    """


@frozen(kw_only=True)
class Entry:
    """One step of one trade. `body` is JSON text, `signature` stands at SIGNED only."""

    request_id: str
    state: State
    at_unix_ns: int
    body: str
    signature: str | None = None
    seq: int = field(default=0, eq=False)
    """Its place in the journal; 0: it is not stored yet."""


@frozen(kw_only=True)
class Note:
    """Something to keep that is no step of a trade: a change of the circuit breaker, say. `body` is JSON text."""

    kind: str
    at_unix_ns: int
    body: str
    replaces: bool = field(default=False, eq=False)
    """Earlier notes of its kind are not kept: this one says everything that they said. Not stored."""
    seq: int = field(default=0, eq=False)
    """Its place among the notes; 0: it is not stored yet."""


class Following(Protocol):
    """Follows one request."""

    async def changed(self) -> None:
        """Return once entries of the request were committed since the context was entered or since this last returned.

        One waits at a time. Raises JournalError once the journal's writer has ended.
        """
        ...


class Notes(Protocol):
    """What those need of the journal who keep there what is no step of a trade."""

    async def note(self, note: Note) -> None:
        """Return when the note is on disk. Raises JournalError. Cancelled: the note becomes durable all the same."""
        ...

    def note_soon(self, note: Note) -> None:
        """Hand the note over, as `append_soon` does with entries. Raises JournalError when it is full."""
        ...

    def notes(self, kind: str, *, last: int) -> Sequence[Note]:
        """The last durable notes of a kind, at most so many, newest last. Raises JournalError."""
        ...


class Journal(Notes, Protocol):
    """What trades, and those who look after them, need of the journal."""

    async def append(self, entry: Entry) -> None:
        """Return when the entry is on disk. Raises JournalError. Cancelled: the entry becomes durable all the same."""
        ...

    def append_soon(self, entry: Entry) -> None:
        """Hand the entry over; it is durable before any entry that is appended after it. Raises JournalError when it is full.

        Nothing tells here that the disk failed it. If it was the acceptance, later entries of its request are refused.
        """
        ...

    def entries(self, request_id: str) -> Sequence[Entry]:
        """Every durable entry of a request, oldest first, however many there are. Raises JournalError."""
        ...

    def life(self, request_id: str, *, after_sequence: int = MAX_SEQ) -> Sequence[Entry]:
        """The durable entries of one life of a request, oldest first: of the first life with entries after that, or of the last.

        Costs the same however many lives there were. Raises JournalError.
        """
        ...

    def open_requests(self) -> Sequence[str]:
        """The requests whose last durable entry is not terminal, in the order of their acceptance. Raises JournalError."""
        ...

    def accepted_since(self, at_unix_ns: int) -> Iterator[tuple[Entry, State]]:
        """Yield the acceptance of each life that began then or later, oldest first, with the state that this life has now.

        To be read to its end at once. Raises JournalError.
        """
        ...

    def following(self, request_id: str) -> AbstractContextManager[Following]:
        """Follow a request, from now on until the context ends: what was committed before is asked of `entries`."""
        ...


def _writer_has_ended() -> JournalError:
    return JournalError("the journal's writer has ended")


def _not_committed() -> JournalError:
    return JournalError("the journal's writer ended before the entry was on disk")


@define(eq=False)
class _Waiting:
    item: Entry | Note
    done: trio.Event = field(factory=trio.Event)
    error: JournalError | None = field(factory=_not_committed)
    """An entry counts as lost until its commit has returned: whatever ends the writer, nobody is told that it is durable."""


class SqliteJournal:
    """A journal in one SQLite file (WAL, synchronous=FULL). `run` must be running for appends to finish."""

    def __init__(self, path: Path, *, run_commit: RunCommit = in_thread, probe_seconds: float = PROBE_SECONDS) -> None:
        """Open or create the file. Raises ConfigError: in use by another instance, unreadable, damaged, of an unknown version."""
        self._opened = ExitStack()
        files = self._opened.enter_context(opened(path))
        self._writer, self._reader, self._acknowledged, self._footing = (
            files.writer,
            files.reader,
            files.acknowledged,
            files.footing,
        )
        self._ends = self._acknowledged.read()
        self._waiting: list[_Waiting] = []
        self._wake = trio.Event()
        self._ended = False
        self._problem: str | None = None
        self._damage: str | None = None
        self._run_commit = run_commit
        self._probe_seconds = probe_seconds
        self._commits = Commits()
        self._followers = Followers(_writer_has_ended)

    async def append(self, entry: Entry) -> None:
        """Return when the entry is on disk (see Journal)."""
        await self._until_durable(entry)

    async def note(self, note: Note) -> None:
        """Return when the note is on disk (see Journal)."""
        await self._until_durable(note)

    async def _until_durable(self, item: Entry | Note) -> None:
        waiting = self._hand_over(item)
        # The writer answers every entry, also when the disk is full, so this shield cannot last longer than one commit.
        with trio.CancelScope(shield=True):
            await waiting.done.wait()
        if waiting.error is not None:
            raise waiting.error

    def append_soon(self, entry: Entry) -> None:
        """Hand the entry over (see Journal)."""
        self._hand_over(entry)

    def note_soon(self, note: Note) -> None:
        """Hand the note over (see Journal)."""
        self._hand_over(note)

    def entries(self, request_id: str) -> Sequence[Entry]:
        """Every durable entry of a request, oldest first (see Journal)."""
        return [entry_of(row) for row in self._read(_ENTRIES_OF_A_REQUEST, request_id)]

    def life(self, request_id: str, *, after_sequence: int = MAX_SEQ) -> Sequence[Entry]:
        """The durable entries of one life of a request, oldest first (see Journal)."""
        return [entry_of(row) for row in self._read(_LIFE, request_id, min(after_sequence, MAX_SEQ))]

    def open_requests(self) -> Sequence[str]:
        """The requests whose last durable entry is not terminal (see Journal)."""
        return [request_id for (request_id,) in self._read("SELECT request_id FROM open_requests ORDER BY accepted_seq")]

    def accepted_since(self, at_unix_ns: int) -> Iterator[tuple[Entry, State]]:
        """Yield the acceptances since then, each with the state of its life (see Journal)."""
        for row in self._read(_ACCEPTED_SINCE, at_unix_ns):
            yield entry_of(row), State(row[-1])

    def notes(self, kind: str, *, last: int) -> Sequence[Note]:
        """The last durable notes of a kind, newest last (see Journal)."""
        query = "SELECT kind, at_unix_ns, body, seq FROM notes WHERE kind = ? ORDER BY seq DESC LIMIT ?"
        newest_first = [Note(kind=r[0], at_unix_ns=r[1], body=r[2], seq=r[3]) for r in self._read(query, kind, last)]
        return newest_first[::-1]

    def following(self, request_id: str) -> AbstractContextManager[Following]:
        """Follow a request (see Journal)."""
        return self._followers.following(request_id)

    async def run(self) -> None:
        """Commit what is handed over, until cancelled; what was handed over before the cancellation is still committed."""
        try:
            while True:
                with trio.move_on_after(self._probe_seconds if self._problem else math.inf) as patience:
                    await self._wake.wait()
                if patience.cancelled_caught:  # nobody may be left to try: while there is a problem, no new trade is taken
                    await self._shielded_commit(())
                else:
                    self._wake = trio.Event()
                    await self._commit_waiting()
        finally:
            try:
                await self._commit_waiting()  # noqa: ASYNC102 - shielded within, and one commit always ends
            finally:
                self._ended = True
                self._answer(self._waiting)  # nobody, unless a bug ended this commit too
                self._followers.end()

    def problem(self) -> str | None:
        """Why entries cannot be made durable, or do not become so in time; None after a commit that succeeded.

        A file that was found damaged is a problem for as long as it is open.
        """
        if self._ended:
            return str(_writer_has_ended())
        seconds = self._commits.running_seconds()
        if seconds > SLOW_COMMIT_SECONDS:
            return f"the journal waits for the disk since {seconds:.0f} s"
        return self._damage or self._problem or self._footing.problem()

    def statistics(self) -> JournalStatus:
        """What was committed since the start, and how long the last commits took."""
        return self._commits.status(handed_over=len(self._waiting), problem=self.problem())

    def close(self) -> None:
        """Release the file."""
        self._opened.close()

    def _read(self, query: str, *values: str | int) -> Iterator[tuple[Any, ...]]:
        """Yield rows, as the columns' types say."""
        try:
            with closing(self._reader.execute(query, values)) as rows:
                yield from rows
        except sqlite3.Error as error:
            self._heed(error)
            raise JournalError(f"the journal cannot be read: {error}") from error

    def _heed(self, error: sqlite3.Error | JournalError) -> None:
        """A disk may be well again; a damaged file is not, whatever can still be written elsewhere in it."""
        if is_damage(error):
            self._damage = f"the journal is damaged: {error}; restart the executor, which checks it"

    def _hand_over(self, item: Entry | Note) -> _Waiting:
        if self._ended:
            raise _writer_has_ended()
        if len(self._waiting) >= MAX_WAITING:
            raise JournalError(f"the journal has {MAX_WAITING} entries waiting for the disk")
        waiting = _Waiting(item)
        self._waiting.append(waiting)
        self._wake.set()
        return waiting

    async def _commit_waiting(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await self._shielded_commit(batch)
            finally:
                self._answer(batch)

    async def _shielded_commit(self, batch: Sequence[_Waiting]) -> None:
        """Run a commit. A cancellation between taking the batch and starting the thread would lose it; the thread always ends."""
        with trio.CancelScope(shield=True), self._commits.timed(len(batch)):
            await self._run_commit(partial(self._commit, batch))
        self._commits.done(sum(waiting.error is None for waiting in batch))
        # Here and not in the thread, which would have to win the interpreter's lock back once more before anybody goes on.
        self._acknowledged.write(self._ends)

    def _answer(self, batch: Sequence[_Waiting]) -> None:
        for waiting in batch:
            waiting.done.set()
        self._followers.tell(w.item.request_id for w in batch if w.error is None and isinstance(w.item, Entry))

    def _commit(self, batch: Sequence[_Waiting]) -> None:
        """Write a batch, or see whether anything can be written when it is empty."""
        try:
            self._require_footing()
            refusals = self._probe() if not batch else self._at_once(batch) or self._one_by_one(batch)
            self._require_footing()  # a file may have gone meanwhile
        except (sqlite3.Error, JournalError) as error:
            self._problem = f"the journal cannot be written: {error}"
            self._heed(error)
            for waiting in batch:
                waiting.error = JournalError(self._problem)
            self._rollback()
            return
        self._problem = None
        for waiting, refusal in zip(batch, refusals, strict=True):
            waiting.error = refusal

    def _at_once(self, batch: Sequence[_Waiting]) -> Sequence[None]:
        """Commit a batch in one statement, a transaction in itself; return nothing when an entry of it is refused.

        sqlite3 lets go of the interpreter's lock for every statement and has to win it back from a busy main thread, which may
        take up to its switch interval of 5 ms: with a statement an entry, the entries of a commit would wait for each other.
        """
        entries = [waiting.item for waiting in batch if isinstance(waiting.item, Entry)]
        if len(entries) < len(batch) or len(batch) > MAX_ENTRIES_IN_A_STATEMENT:
            return ()
        rows = ", ".join(["(?, ?, ?, ?, ?)"] * len(batch))
        try:
            inserted = self._writer.execute(_INSERT + rows, [value for entry in entries for value in _row(entry)])
        except sqlite3.IntegrityError:
            return ()
        self._ends = evolve(self._ends, entries=inserted.lastrowid)  # type: ignore[arg-type]  # an INSERT has one
        return [None] * len(batch)

    def _one_by_one(self, batch: Sequence[_Waiting]) -> Sequence[EntryRefused | None]:
        """Commit whatever of a batch is sound."""
        self._writer.execute("BEGIN IMMEDIATE")
        refusals = [self._insert(waiting.item) for waiting in batch]
        ends = read_ends(self._writer)
        self._writer.execute("COMMIT")
        self._ends = ends
        return refusals

    def _require_footing(self) -> None:
        """Raise JournalError when what is written now would be written where no restart finds it."""
        problem = self._footing.problem()
        if problem is not None:
            raise JournalError(problem)

    def _probe(self) -> Sequence[None]:
        self._writer.execute(PROBE)
        return ()

    def _rollback(self) -> None:
        """Leave the transaction, unless SQLite has done so itself. A disk that fails even this fails the next BEGIN."""
        if self._writer.in_transaction:
            with suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")

    def _insert(self, item: Entry | Note) -> EntryRefused | None:
        if isinstance(item, Note):
            if item.replaces:
                self._writer.execute(_DELETE_NOTES, (item.kind,))
            self._writer.execute(_INSERT_NOTE, (item.kind, item.at_unix_ns, item.body))
            return None
        try:
            self._writer.execute(f"{_INSERT}(?, ?, ?, ?, ?)", _row(item))
        except sqlite3.IntegrityError as error:  # only this entry: the others of the batch are sound
            return EntryRefused(f"{item.state.name} of {item.request_id!r} is refused: {error}")
        return None


def _row(entry: Entry) -> tuple[str | int | None, ...]:
    return (entry.request_id, entry.state.value, entry.at_unix_ns, entry.signature, entry.body)


def entry_of(row: tuple[Any, ...]) -> Entry:
    """Read a row that begins with ENTRY_COLUMNS."""
    return Entry(request_id=row[0], state=State(row[1]), at_unix_ns=row[2], body=row[3], signature=row[4], seq=row[5])

"""The durable log of every trade: an append-only table, one writer, group commit.

`trade.py` writes its steps here and nothing else does. The rule of every step is: append (durable), then move, then act. The
path to the broadcast waits for the disk once, at SIGNED; entries before it are handed over in order and are therefore durable
with it.

One thread commits whatever has been handed over meanwhile in one transaction, so many trades share one fsync. Handing over is
synchronous: an entry becomes durable whether or not the trade that waits for it is cancelled.
"""

import fcntl
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import IO, Protocol

import trio
from attrs import define, field, frozen

from executor.errors import ConfigError, ExecutorError
from executor.states import State

SCHEMA_VERSION = 2
MAX_WAITING_ENTRIES = 10_000
MAX_ENTRIES_IN_A_STATEMENT = 500

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS entries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id TEXT NOT NULL,
    state TEXT NOT NULL,
    at_unix_ns INTEGER NOT NULL,
    signature TEXT,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS entries_by_request ON entries (request_id);
CREATE UNIQUE INDEX IF NOT EXISTS one_owner_of_a_signature ON entries (signature) WHERE state = 'SIGNED';
CREATE TRIGGER IF NOT EXISTS one_acceptance BEFORE INSERT ON entries
WHEN NEW.state = 'ACCEPTED'
AND (SELECT state FROM entries WHERE request_id = NEW.request_id ORDER BY seq DESC LIMIT 1) <> 'DENIED'
BEGIN SELECT RAISE(ABORT, 'the request was accepted before'); END;
CREATE TRIGGER IF NOT EXISTS acceptance_comes_first BEFORE INSERT ON entries
WHEN NEW.state <> 'ACCEPTED'
AND coalesce((SELECT state FROM entries WHERE request_id = NEW.request_id ORDER BY seq DESC LIMIT 1), 'DENIED') = 'DENIED'
BEGIN SELECT RAISE(ABORT, 'the request was not accepted'); END;
PRAGMA user_version = {SCHEMA_VERSION};
"""  # noqa: S608 - a constant of this file

_INSERT = "INSERT INTO entries (request_id, state, at_unix_ns, signature, body) VALUES "


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


class Journal(Protocol):
    """What a trade needs of the journal."""

    async def append(self, entry: Entry) -> None:
        """Return when the entry is on disk. Raises JournalError. Cancelled: the entry becomes durable all the same."""
        ...

    def append_soon(self, entry: Entry) -> None:
        """Hand the entry over; it is durable before any entry that is appended after it. Raises JournalError when it is full.

        Nothing tells here that the disk failed it. If it was the acceptance, later entries of its request are refused.
        """
        ...

    def entries(self, request_id: str) -> Sequence[Entry]:
        """Every durable entry of a request, oldest first. Raises JournalError."""
        ...


def _not_committed() -> JournalError:
    return JournalError("the journal's writer ended before the entry was on disk")


@define(eq=False)
class _Waiting:
    entry: Entry
    done: trio.Event = field(factory=trio.Event)
    error: JournalError | None = field(factory=_not_committed)
    """An entry counts as lost until its commit has returned: whatever ends the writer, nobody is told that it is durable."""


class SqliteJournal:
    """A journal in one SQLite file (WAL, synchronous=FULL). `run` must be running for appends to finish."""

    def __init__(self, path: Path, *, run_commit: RunCommit = in_thread) -> None:
        """Open or create the file. Raises ConfigError: in use by another instance, unreadable, or of an unknown version."""
        with ExitStack() as opened:
            opened.enter_context(_lock(path))
            self._writer = opened.enter_context(closing(_open(path)))
            # The reader is asked from the event loop: it never waits for a lock.
            self._reader = opened.enter_context(closing(_open(path)))
            self._reader.execute("PRAGMA busy_timeout = 0")
            self._opened = opened.pop_all()
        self._waiting: list[_Waiting] = []
        self._wake = trio.Event()
        self._ended = False
        self._problem: str | None = None
        self._run_commit = run_commit

    async def append(self, entry: Entry) -> None:
        """Return when the entry is on disk (see Journal)."""
        waiting = self._hand_over(entry)
        # The writer answers every entry, also when the disk is full, so this shield cannot last longer than one commit.
        with trio.CancelScope(shield=True):
            await waiting.done.wait()
        if waiting.error is not None:
            raise waiting.error

    def append_soon(self, entry: Entry) -> None:
        """Hand the entry over (see Journal)."""
        self._hand_over(entry)

    def entries(self, request_id: str) -> Sequence[Entry]:
        """Every durable entry of a request, oldest first (see Journal)."""
        query = "SELECT request_id, state, at_unix_ns, body, signature FROM entries WHERE request_id = ? ORDER BY seq"
        try:
            rows = self._reader.execute(query, (request_id,)).fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"the journal cannot be read: {error}") from error
        return [Entry(request_id=r[0], state=State(r[1]), at_unix_ns=r[2], body=r[3], signature=r[4]) for r in rows]

    async def run(self) -> None:
        """Commit what is handed over, until cancelled; what was handed over before the cancellation is still committed."""
        try:
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                await self._commit_waiting()
        finally:
            try:
                await self._commit_waiting()  # noqa: ASYNC102 - shielded within, and one commit always ends
            finally:
                self._ended = True
                _answer(self._waiting)  # nobody, unless a bug ended this commit too

    def problem(self) -> str | None:
        """Why entries cannot be made durable; None after a commit that succeeded."""
        return self._problem

    def close(self) -> None:
        """Release the file."""
        self._opened.close()

    def _hand_over(self, entry: Entry) -> _Waiting:
        if self._ended:
            raise JournalError("the journal's writer has ended")
        if len(self._waiting) >= MAX_WAITING_ENTRIES:
            raise JournalError(f"the journal has {MAX_WAITING_ENTRIES} entries waiting for the disk")
        waiting = _Waiting(entry)
        self._waiting.append(waiting)
        self._wake.set()
        return waiting

    async def _commit_waiting(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                # Shielded: a cancellation between taking the batch and starting the thread would lose it. The thread always ends.
                with trio.CancelScope(shield=True):
                    await self._run_commit(partial(self._commit, batch))
            finally:
                _answer(batch)

    def _commit(self, batch: Sequence[_Waiting]) -> None:
        try:
            refusals = self._at_once(batch) or self._one_by_one(batch)
        except sqlite3.Error as error:
            self._problem = f"the journal cannot be written: {error}"
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
        if len(batch) > MAX_ENTRIES_IN_A_STATEMENT:
            return ()
        rows = ", ".join(["(?, ?, ?, ?, ?)"] * len(batch))
        try:
            self._writer.execute(_INSERT + rows, [value for waiting in batch for value in _row(waiting.entry)])
        except sqlite3.IntegrityError:
            return ()
        return [None] * len(batch)

    def _one_by_one(self, batch: Sequence[_Waiting]) -> Sequence[EntryRefused | None]:
        """Commit whatever of a batch is sound."""
        self._writer.execute("BEGIN IMMEDIATE")
        refusals = [self._insert(waiting.entry) for waiting in batch]
        self._writer.execute("COMMIT")
        return refusals

    def _rollback(self) -> None:
        """Leave the transaction, unless SQLite has done so itself. A disk that fails even this fails the next BEGIN."""
        if self._writer.in_transaction:
            with suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")

    def _insert(self, entry: Entry) -> EntryRefused | None:
        try:
            self._writer.execute(f"{_INSERT}(?, ?, ?, ?, ?)", _row(entry))
        except sqlite3.IntegrityError as error:  # only this entry: the others of the batch are sound
            return EntryRefused(f"{entry.state.name} of {entry.request_id!r} is refused: {error}")
        return None


def _row(entry: Entry) -> tuple[str | int | None, ...]:
    return (entry.request_id, entry.state.value, entry.at_unix_ns, entry.signature, entry.body)


def _answer(batch: Sequence[_Waiting]) -> None:
    for waiting in batch:
        waiting.done.set()


def _lock(path: Path) -> IO[bytes]:
    """Hold a lock beside the file for as long as the process lives; the kernel drops it at any kind of death."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = path.with_name(path.name + ".lock").open("ab")
    except OSError as error:
        raise ConfigError([f"daemon.data_directory: the journal {path} cannot be opened: {error.strerror}"]) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ConfigError([f"daemon.data_directory: the journal {path} is in use by another executor"]) from error
    return lock


def _open(path: Path) -> sqlite3.Connection:
    """Open one connection; explicit transactions, usable from the writer's thread."""
    try:
        with ExitStack() as opened:
            connection = opened.enter_context(closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)))
            _prepare(connection, path)
            opened.pop_all()
            return connection
    except sqlite3.Error as error:
        raise ConfigError([f"daemon.data_directory: the journal {path} cannot be used: {error}"]) from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, SCHEMA_VERSION):
        raise ConfigError([f"the journal {path} has schema version {version}; this executor knows {SCHEMA_VERSION}"])
    connection.executescript(_SCHEMA)

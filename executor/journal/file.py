"""The journal's file: its lock, its schema, and what is looked at before it is trusted.

SQLite recovers the prefix of its write-ahead log that is sound and says nothing of the rest: right after a crash, and fatal when
what is missing was acknowledged, for such a trade may have been sent. So the sequence numbers that were acknowledged are noted
beside the file, without a sync of their own. That note may be behind, after a loss of power; it is never ahead.

Whatever is wrong is found through a connection that only reads: what is refused is left as it was found, and can be salvaged.
"""

import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from attrs import define, frozen

from executor.errors import ConfigError
from executor.states import TERMINAL

SCHEMA_VERSION = 3
MAX_CHECKED_BYTES = 1 << 30
"""A larger file is not read as a whole at the start: a GiB, a million entries, takes about a second from memory."""

LOCK_SUFFIX = ".lock"
ACKNOWLEDGED_SUFFIX = ".acknowledged"

_TERMINAL = ", ".join(sorted(f"'{state.value}'" for state in TERMINAL))
_LAST_STATE = "(SELECT state FROM entries WHERE request_id = NEW.request_id ORDER BY seq DESC LIMIT 1)"

# open_requests is what the entries say of themselves, kept by triggers. With a million entries it is read in 2 ms; asking the
# entries took 0.5 s from an index that covers the question, 1.4 s without. A commit of 200 entries takes 2.5 ms instead of 2.0.
_SCHEMA = f"""
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id TEXT NOT NULL,
    state TEXT NOT NULL,
    at_unix_ns INTEGER NOT NULL,
    signature TEXT,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX states_of_a_request ON entries (request_id, seq, state);
CREATE INDEX acceptances ON entries (at_unix_ns) WHERE state = 'ACCEPTED';
CREATE UNIQUE INDEX one_owner_of_a_signature ON entries (signature) WHERE state = 'SIGNED';
CREATE TABLE open_requests (
    request_id TEXT PRIMARY KEY,
    accepted_seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE notes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    at_unix_ns INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX notes_of_a_kind ON notes (kind, seq);
CREATE TRIGGER one_acceptance BEFORE INSERT ON entries
WHEN NEW.state = 'ACCEPTED' AND {_LAST_STATE} <> 'DENIED'
BEGIN SELECT RAISE(ABORT, 'the request was accepted before'); END;
CREATE TRIGGER acceptance_comes_first BEFORE INSERT ON entries
WHEN NEW.state <> 'ACCEPTED' AND coalesce({_LAST_STATE}, 'DENIED') = 'DENIED'
BEGIN SELECT RAISE(ABORT, 'the request was not accepted'); END;
CREATE TRIGGER nothing_follows_an_end BEFORE INSERT ON entries
WHEN NEW.state <> 'ACCEPTED' AND {_LAST_STATE} IN ({_TERMINAL})
BEGIN SELECT RAISE(ABORT, 'the request has ended'); END;
CREATE TRIGGER a_request_opens AFTER INSERT ON entries WHEN NEW.state = 'ACCEPTED'
BEGIN INSERT INTO open_requests VALUES (NEW.request_id, NEW.seq); END;
CREATE TRIGGER a_request_ends AFTER INSERT ON entries WHEN NEW.state IN ({_TERMINAL})
BEGIN DELETE FROM open_requests WHERE request_id = NEW.request_id; END;
"""  # noqa: S608 - constants of this file

PROBE = f"PRAGMA user_version = {SCHEMA_VERSION}"
"""Writes a page and syncs it, and changes nothing."""

_DIFFERING = f"""
WITH really_open AS (
    SELECT request_id FROM entries e WHERE state NOT IN ({_TERMINAL})
    AND seq = (SELECT max(seq) FROM entries WHERE request_id = e.request_id)
)
SELECT (SELECT count(*) FROM (SELECT request_id FROM really_open EXCEPT SELECT request_id FROM open_requests))
    + (SELECT count(*) FROM (SELECT request_id FROM open_requests EXCEPT SELECT request_id FROM really_open))
"""  # noqa: S608 - constants of this file

_SALVAGE = "nothing was changed; docs/journal.md says how to salvage it, and what to look up before it is moved away"


@frozen(kw_only=True)
class Ends:
    """The last entry and the last note; 0: there is none."""

    entries: int = 0
    notes: int = 0


@define(eq=False)
class Acknowledged:
    """What was acknowledged, noted beside the file. What cannot be written or read counts as not noted."""

    _file: IO[bytes]

    def write(self, ends: Ends) -> None:
        """Note it; it outlives this process at once, and a loss of power in some seconds."""
        with suppress(OSError):
            os.pwrite(self._file.fileno(), f"entries {ends.entries:020d} notes {ends.notes:020d}\n".encode(), 0)

    def read(self) -> Ends:
        """What was noted."""
        with suppress(OSError):
            found = re.match(rb"entries (\d+) notes (\d+)\n", os.pread(self._file.fileno(), 64, 0))
            if found is not None:
                return Ends(entries=int(found[1]), notes=int(found[2]))
        return Ends()


@frozen
class Footing:
    """The files that were opened. Who removes or replaces one takes nothing from this process, but from the next one."""

    _identities: Mapping[Path, tuple[int, int]]
    """Device and inode."""

    @classmethod
    def of(cls, *paths: Path) -> "Footing":
        """What stands there now. Raises OSError."""
        return cls({path: _identity(path) for path in paths})

    def problem(self) -> str | None:
        """Which file no later process would find any more; None while all stand where they were opened."""
        gone = sorted(path.name for path, identity in self._identities.items() if _found(path) != identity)
        if not gone:
            return None
        return (
            f"{', '.join(gone)} of the journal was removed or replaced while it was open: put it back, or what is written is lost"
        )


@frozen(kw_only=True)
class Opened:
    """What is held of a journal's file."""

    writer: sqlite3.Connection
    reader: sqlite3.Connection
    acknowledged: Acknowledged
    footing: Footing


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """Hold the file: a connection that writes, one that reads, the note of what was acknowledged, and where they stand.

    Raises ConfigError: in use by another instance, unreadable, of an unknown version, damaged.
    """
    with ExitStack() as stack:
        stack.enter_context(_lock(path))
        stack.enter_context(_lock_folder(path))
        with _refusing(path):
            acknowledged = Acknowledged(stack.enter_context(_open_beside(path)))
            _inspect(path, acknowledged.read())
            writer = stack.enter_context(closing(_connect(path, "rwc")))
            _prepare(writer)
            reader = stack.enter_context(closing(_connect(path, "rw")))
            reader.execute("PRAGMA query_only = ON")
            # The reader is asked from the event loop: it never waits for a lock.
            reader.execute("PRAGMA busy_timeout = 0")
            acknowledged.write(read_ends(reader))
            footing = Footing.of(path, path.with_name(path.name + "-wal"), path.with_name(path.name + LOCK_SUFFIX))
        yield Opened(writer=writer, reader=reader, acknowledged=acknowledged, footing=footing)


@contextmanager
def open_to_read(path: Path) -> Iterator[sqlite3.Connection]:
    """Read the file, whether an executor has it open or not; never locks it for others. Raises ConfigError."""
    with _refusing(path), closing(_connect_to_read(path)) as reader:
        _require_version(_version(reader), path)
        yield reader


def _lock(path: Path) -> IO[bytes]:
    """Hold a lock beside the file for as long as the process lives; the kernel drops it at any kind of death."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = path.with_name(path.name + LOCK_SUFFIX).open("ab")
    except OSError as error:
        raise ConfigError([f"daemon.data_directory: the journal {path} cannot be opened: {error.strerror}"]) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise _in_use(path) from error
    return lock


@contextmanager
def _lock_folder(path: Path) -> Iterator[None]:
    """Hold the folder, too: the lock's file looks as if it could be removed. Folders that cannot be locked (NFS) do without."""
    with ExitStack() as held:
        with suppress(OSError):
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            held.callback(os.close, folder)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise _in_use(path) from error
        yield


def _in_use(path: Path) -> ConfigError:
    return ConfigError([f"daemon.data_directory: the journal {path} is in use by another executor"])


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _found(path: Path) -> tuple[int, int] | None:
    try:
        return _identity(path)
    except OSError:
        return None


def is_damage(error: Exception) -> bool:
    """Whether the file itself is at fault."""
    # Python's own errors of that module, a closed connection for instance, have no name.
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say into what the operator has to know."""
    try:
        yield
    except OSError as error:
        raise ConfigError([f"daemon.data_directory: the journal {path} cannot be used: {error.strerror}"]) from error
    except sqlite3.Error as error:
        if is_damage(error):
            raise _damaged(path, str(error)) from error
        raise ConfigError([f"daemon.data_directory: the journal {path} cannot be used: {error}"]) from error


def _damaged(path: Path, what: str) -> ConfigError:
    return ConfigError([f"daemon.data_directory: the journal {path} is damaged: {what}; {_SALVAGE}"])


def _open_beside(path: Path) -> IO[bytes]:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    return os.fdopen(os.open(path.with_name(path.name + ACKNOWLEDGED_SUFFIX), flags, 0o600), "r+b")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    """Explicit transactions, usable from the writer's thread."""
    return sqlite3.connect(f"file:{quote(str(path))}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False)


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Without what a reader of a write-ahead log shares with writers, when there is none: then no file is made here."""
    shared = any(path.with_name(path.name + suffix).exists() for suffix in ("-wal", "-shm"))
    return _connect(path, "ro" if shared else "ro&immutable=1")


def _inspect(path: Path, acknowledged: Ends) -> None:
    """Look at a file before it is written. Raises ConfigError, sqlite3.Error, OSError."""
    if not path.exists() or path.stat().st_size == 0:
        return _require_nothing_lost(Ends(), acknowledged, path)
    with closing(_connect_to_read(path)) as reader:
        version = _version(reader)
        if version == 0 and not _one(reader, "SELECT count(*) FROM sqlite_schema"):
            return _require_nothing_lost(Ends(), acknowledged, path)
        _require_version(version, path)
        _require_sound(reader, path)
        return _require_nothing_lost(read_ends(reader), acknowledged, path)


def _require_version(version: int, path: Path) -> None:
    if version == SCHEMA_VERSION:
        return
    what = f"has schema version {version}; this executor knows {SCHEMA_VERSION}"
    if version == 0:
        what = "is a database of something else"
    elif version < SCHEMA_VERSION:
        what += ", and no earlier one was ever released: start with an empty data directory"
    raise ConfigError([f"daemon.data_directory: the journal {path} {what}"])


def _require_sound(reader: sqlite3.Connection, path: Path) -> None:
    known = set(reader.execute("SELECT type, name, sql FROM sqlite_schema"))
    missing = sorted(name for kind, name, sql in _schema() if (kind, name, sql) not in known)
    if missing:
        raise _damaged(path, f"its schema lacks {', '.join(missing)}")
    is_large = _one(reader, "PRAGMA page_count") * _one(reader, "PRAGMA page_size") > MAX_CHECKED_BYTES
    check = _one(reader, f"PRAGMA quick_check({'open_requests' if is_large else 1})")
    if check != "ok":
        raise _damaged(path, " ".join(check.split()))
    differing = 0 if is_large else _one(reader, _DIFFERING)
    if differing:
        raise _damaged(path, f"its list of open requests and its entries differ in {differing}")


def _require_nothing_lost(found: Ends, acknowledged: Ends, path: Path) -> None:
    if found.entries >= acknowledged.entries and found.notes >= acknowledged.notes:
        return
    raise _damaged(
        path,
        f"it ends at entry {found.entries} and note {found.notes}, but was written up to entry {acknowledged.entries} and note"
        f" {acknowledged.notes}: {path.name} or {path.name}-wal was cut, removed or replaced by an older copy",
    )


def _prepare(writer: sqlite3.Connection) -> None:
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("PRAGMA synchronous = FULL")
    if _version(writer) == 0:
        writer.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT")


def _schema() -> set[tuple[str, str, str]]:
    """What stands in the schema of a journal, as SQLite writes it down."""
    with closing(sqlite3.connect(":memory:")) as model:
        model.executescript(_SCHEMA)
        return set(model.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))


def _version(connection: sqlite3.Connection) -> int:
    version: int = _one(connection, "PRAGMA user_version")
    return version


def read_ends(connection: sqlite3.Connection) -> Ends:
    """What the file ends with. Raises sqlite3.Error."""
    return Ends(
        entries=_one(connection, "SELECT coalesce(max(seq), 0) FROM entries"),
        notes=_one(connection, "SELECT coalesce(max(seq), 0) FROM notes"),
    )


def _one(connection: sqlite3.Connection, query: str) -> Any:
    """The one value that a query returns."""
    (value,) = connection.execute(query).fetchone()
    return value

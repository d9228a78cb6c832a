"""The journal's file: its schema, its lock, and what is looked at before it is trusted."""

import fcntl
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO

from executor.errors import ConfigError
from executor.states import TERMINAL

SCHEMA_VERSION = 3

_TERMINAL = ", ".join(sorted(f"'{state.value}'" for state in TERMINAL))
_LAST_STATE = "(SELECT state FROM entries WHERE request_id = NEW.request_id ORDER BY seq DESC LIMIT 1)"

# open_requests is what the entries say of themselves, kept by triggers: to ask all entries takes seconds once they are millions.
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS entries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id TEXT NOT NULL,
    state TEXT NOT NULL,
    at_unix_ns INTEGER NOT NULL,
    signature TEXT,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS states_of_a_request ON entries (request_id, seq, state);
CREATE INDEX IF NOT EXISTS acceptances ON entries (at_unix_ns) WHERE state = 'ACCEPTED';
CREATE UNIQUE INDEX IF NOT EXISTS one_owner_of_a_signature ON entries (signature) WHERE state = 'SIGNED';
CREATE TABLE IF NOT EXISTS open_requests (
    request_id TEXT PRIMARY KEY,
    accepted_seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    at_unix_ns INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS notes_of_a_kind ON notes (kind, seq);
CREATE TRIGGER IF NOT EXISTS one_acceptance BEFORE INSERT ON entries
WHEN NEW.state = 'ACCEPTED' AND {_LAST_STATE} <> 'DENIED'
BEGIN SELECT RAISE(ABORT, 'the request was accepted before'); END;
CREATE TRIGGER IF NOT EXISTS acceptance_comes_first BEFORE INSERT ON entries
WHEN NEW.state <> 'ACCEPTED' AND coalesce({_LAST_STATE}, 'DENIED') = 'DENIED'
BEGIN SELECT RAISE(ABORT, 'the request was not accepted'); END;
CREATE TRIGGER IF NOT EXISTS a_request_opens AFTER INSERT ON entries WHEN NEW.state = 'ACCEPTED'
BEGIN INSERT INTO open_requests VALUES (NEW.request_id, NEW.seq); END;
CREATE TRIGGER IF NOT EXISTS a_request_ends AFTER INSERT ON entries WHEN NEW.state IN ({_TERMINAL})
BEGIN DELETE FROM open_requests WHERE request_id = NEW.request_id; END;
PRAGMA user_version = {SCHEMA_VERSION};
"""  # noqa: S608 - constants of this file


def lock(path: Path) -> IO[bytes]:
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


def open_file(path: Path) -> sqlite3.Connection:
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

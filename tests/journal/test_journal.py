"""The durable log: what was acknowledged is on disk, in order; no failure of the disk is taken for success or hangs anybody."""

import fcntl
import os
import resource
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from executor.errors import ConfigError
from executor.journal.file import SCHEMA_VERSION
from executor.journal.journal import (
    MAX_ENTRIES_IN_A_STATEMENT,
    MAX_WAITING,
    Entry,
    EntryRefused,
    JournalError,
    Note,
    SqliteJournal,
)
from executor.states import State
from tests.support.waiting import PATIENCE_SECONDS, eventually


def accepted(request_id: str, body: str = "{}") -> Entry:
    """The first entry of a request."""
    return Entry(request_id=request_id, state=State.ACCEPTED, at_unix_ns=1, body=body)


def signed(request_id: str, signature: str) -> Entry:
    """The entry that must be durable before the first byte leaves."""
    return Entry(request_id=request_id, state=State.SIGNED, at_unix_ns=2, body="{}", signature=signature)


def step(request_id: str, state: State, number: int = 3) -> Entry:
    """Any other entry."""
    return Entry(request_id=request_id, state=state, at_unix_ns=number, body=f'{{"n":{number}}}')


POISON = Entry(request_id="poison", state=State.ACCEPTED, at_unix_ns=2**70, body="{}")
"""SQLite takes no such integer, and Python's module says so with an error that is none of SQLite's: a bug, if it ever happens."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal lies; its folder does not exist yet."""
    return tmp_path / "data" / "journal.sqlite3"


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[SqliteJournal]:
    """A journal whose writer runs."""
    with closing(SqliteJournal(path)) as journal, trio.fail_after(PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.run)  # noqa: ASYNC113 - entries may be handed over before it runs
            yield journal
            nursery.cancel_scope.cancel()


@contextmanager
def no_space_left() -> Iterator[None]:
    """Let no file of this process grow, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Obey the permissions of files also when the tests run as root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(user)


def stored(path: Path, request_id: str) -> list[Entry]:
    """What a later process finds."""
    with closing(SqliteJournal(path)) as journal:
        return list(journal.entries(request_id))


def transactions(path: Path) -> int:
    """How many commits the write-ahead log holds: its frames that carry the size of the database after a commit."""
    wal = Path(f"{path}-wal").read_bytes()
    page_bytes = struct.unpack(">I", wal[8:12])[0]
    frames = range(32, len(wal), 24 + page_bytes)
    return sum(struct.unpack(">I", wal[at + 4 : at + 8])[0] > 0 for at in frames)


# --- what it promises ---


async def test_what_was_appended_is_there_after_a_reopen(path: Path) -> None:
    """Every field of every entry, oldest first, and nothing of other requests."""
    entries = [accepted("a", '{"x":"ü"}'), signed("a", "sig"), step("a", State.SENT), step("a", State.SUCCEEDED)]
    async with running(path) as journal:
        for entry in (*entries[:2], accepted("b"), *entries[2:]):
            await journal.append(entry)

        assert list(journal.entries("a")) == entries
    assert stored(path, "a") == entries
    assert stored(path, "nobody") == []


async def test_an_appended_entry_is_seen_by_others_at_once(path: Path) -> None:
    """When `append` returns, the commit is over: another connection reads the entry."""
    async with running(path) as journal:
        await journal.append(accepted("a"))
        with closing(sqlite3.connect(path)) as other:
            rows = other.execute("SELECT request_id, state FROM entries").fetchall()

    assert rows == [("a", "ACCEPTED")]


async def test_an_entry_that_was_handed_over_is_durable_with_the_next_one(path: Path) -> None:
    """`append_soon` keeps the order: what it took stands before what was appended later."""
    async with running(path) as journal:
        journal.append_soon(accepted("a"))
        await journal.append(signed("a", "sig"))

        assert [entry.state for entry in journal.entries("a")] == [State.ACCEPTED, State.SIGNED]


@pytest.mark.parametrize("count", [200, MAX_ENTRIES_IN_A_STATEMENT + 1])
async def test_many_appends_share_one_commit(path: Path, count: int) -> None:
    """What waits while the disk is busy becomes durable with one fsync, and everybody is told."""
    told: list[str] = []

    async def append(journal: SqliteJournal, name: str) -> None:
        await journal.append(accepted(name))
        told.append(name)

    with closing(SqliteJournal(path)) as journal, trio.fail_after(PATIENCE_SECONDS):
        before = transactions(path)
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(append, journal, f"r{number}")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(journal.run)
            await eventually(lambda: len(told) == count, "every entry is told")
            nursery.cancel_scope.cancel()

        assert transactions(path) - before == 1
        assert all(journal.entries(f"r{number}") for number in range(count))


async def test_a_cancelled_waiter_s_entry_becomes_durable(path: Path) -> None:
    """Also when the trade was cancelled before it began to wait."""
    async with running(path) as journal:
        with trio.CancelScope() as scope:
            scope.cancel()
            await journal.append(accepted("a"))

        assert len(journal.entries("a")) == 1
    assert len(stored(path, "a")) == 1


async def test_what_waits_when_the_writer_is_cancelled_is_still_committed(path: Path) -> None:
    """The writer ends after the last entry, not before it; afterwards it says that it has ended."""
    with closing(SqliteJournal(path)) as journal, trio.fail_after(PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.cancel()
            nursery.start_soon(journal.run)
            for number in range(3):
                journal.append_soon(accepted(f"r{number}"))

        assert all(journal.entries(f"r{number}") for number in range(3))
        with pytest.raises(JournalError, match="has ended"):
            await journal.append(accepted("late"))
        with pytest.raises(JournalError, match="has ended"):
            journal.append_soon(accepted("late"))


async def test_what_is_open_is_told_in_the_order_of_acceptance(path: Path) -> None:
    """Those whose last entry is not terminal, also to a later process; an end takes them off, a new life puts them back."""
    async with running(path) as journal:
        for entry in (*life("d", State.DENIED), accepted("b"), accepted("a"), *life("e", State.SUCCEEDED), accepted("d")):
            await journal.append(entry)
        await journal.append(signed("a", "sig"))

        assert journal.open_requests() == ["b", "a", "d"]
    async with running(path) as journal:
        await journal.append(step("b", State.REJECTED))

        assert journal.open_requests() == ["a", "d"]


async def test_notes_are_kept_by_kind(path: Path) -> None:
    """The last ones, newest last, in one commit with whatever else waits."""
    async with running(path) as journal:
        journal.append_soon(accepted("a"))
        for number in range(3):
            journal.note_soon(Note(kind="breaker", at_unix_ns=number, body="{}"))
        await journal.note(Note(kind="other", at_unix_ns=9, body="{}"))

        assert [note.at_unix_ns for note in journal.notes("breaker", last=2)] == [1, 2]
        assert [note.seq for note in journal.notes("breaker", last=9)] == [1, 2, 3]
        assert [entry.seq for entry in journal.entries("a")] == [1]


async def test_followers_are_woken_by_what_was_committed(path: Path) -> None:
    """Also by what came before they waited; not by other requests; and by the end of the writer."""
    async with running(path) as journal:
        with journal.following("a") as following:
            await journal.append(accepted("a"))
            await following.changed()
            await journal.append(accepted("b"))
            with trio.move_on_after(0.01) as patience:
                await following.changed()
        assert patience.cancelled_caught
    with pytest.raises(JournalError), journal.following("a") as late:
        await late.changed()


async def test_acceptances_since_a_moment_come_with_the_state_of_their_life(path: Path) -> None:
    """A life that was followed by another one was denied."""
    async with running(path) as journal:
        for entry in (*life("a", State.DENIED), *life("b", State.SENT), *life("a", State.SUCCEEDED)):
            await journal.append(entry)

        assert [(e.request_id, e.seq, state.name) for e, state in journal.accepted_since(1)] == [
            ("a", 1, "DENIED"),
            ("b", 3, "SENT"),
            ("a", 6, "SUCCEEDED"),
        ]
        assert list(journal.accepted_since(2)) == []


# --- what it refuses ---


async def test_a_second_acceptance_refuses_only_itself(path: Path) -> None:
    """The others of the same commit are sound, and the first acceptance stands."""
    refused: list[str] = []

    async def append(journal: SqliteJournal, entry: Entry) -> None:
        try:
            await journal.append(entry)
        except EntryRefused as error:
            refused.append(str(error))

    async with running(path) as journal:
        await journal.append(accepted("a", '{"first":1}'))
        async with trio.open_nursery() as nursery:
            for entry in (accepted("a", '{"second":1}'), accepted("b"), accepted("b"), accepted("c")):
                nursery.start_soon(append, journal, entry)

        assert len(refused) == 2
        assert [entry.body for entry in journal.entries("a")] == ['{"first":1}']
        assert [len(journal.entries(name)) for name in "bc"] == [1, 1]
        assert journal.problem() is None


async def test_a_signature_belongs_to_one_request(path: Path) -> None:
    """Two equal requests under one blockhash would be one transaction: the second must not be sent."""
    async with running(path) as journal:
        for name in "ab":
            await journal.append(accepted(name))
        await journal.append(signed("a", "same"))
        with pytest.raises(EntryRefused):
            await journal.append(signed("b", "same"))
        await journal.append(signed("b", "other"))

        assert [entry.signature for entry in journal.entries("b")] == [None, "other"]


async def test_nothing_is_taken_of_a_request_whose_acceptance_is_missing(path: Path) -> None:
    """SIGNED without ACCEPTED would be a trade that nobody can read again."""
    async with running(path) as journal:
        with pytest.raises(EntryRefused):
            await journal.append(signed("a", "sig"))

        assert journal.entries("a") == []


NOT_ACCEPTED = [state for state in State if state is not State.ACCEPTED]


def life(request_id: str, last: State) -> list[Entry]:
    """A trade as it came to this state; every signature is another one."""
    entries = [accepted(request_id), signed(request_id, f"of {request_id}"), step(request_id, State.SENT), step(request_id, last)]
    return {
        State.ACCEPTED: entries[:1],
        State.SIGNED: entries[:2],
        State.SENT: entries[:3],
        State.DENIED: [entries[0], entries[-1]],
    }.get(last, entries)


async def test_a_denied_request_may_be_accepted_anew(path: Path) -> None:
    """Nothing was signed, and what stood in the way may have passed; as often as it takes, also by a later process."""
    lives = [*life("a", State.DENIED), *life("a", State.DENIED)]
    async with running(path) as journal:
        for entry in lives:
            await journal.append(entry)
    last = life("a", State.SUCCEEDED)
    async with running(path) as journal:
        for entry in last:
            await journal.append(entry)

        assert list(journal.entries("a")) == [*lives, *last]


async def test_the_end_and_the_new_beginning_may_share_a_commit(path: Path) -> None:
    """A caller who asks again at once is faster than the disk."""
    with closing(SqliteJournal(path)) as journal, trio.fail_after(PATIENCE_SECONDS):
        for entry in (*life("a", State.DENIED), accepted("a"), signed("a", "sig")):
            journal.append_soon(entry)
        before = transactions(path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.run)
            nursery.cancel_scope.cancel()

        assert transactions(path) - before == 1
        assert [entry.state.name for entry in journal.entries("a")] == ["ACCEPTED", "DENIED", "ACCEPTED", "SIGNED"]


@pytest.mark.parametrize("last", [state for state in State if state is not State.DENIED])
async def test_after_anything_but_a_denial_nothing_is_accepted_anew(last: State, path: Path) -> None:
    """It may have been signed, and what was signed may land: a second life could be a second swap."""
    async with running(path) as journal:
        for entry in life("a", last):
            await journal.append(entry)
        with pytest.raises(EntryRefused):
            await journal.append(accepted("a"))

        assert list(journal.entries("a")) == life("a", last)


@pytest.mark.parametrize("state", NOT_ACCEPTED)
async def test_a_denied_request_takes_nothing_before_it_is_accepted_anew(state: State, path: Path) -> None:
    """Whose new acceptance the disk lost must not be signed on the strength of the old one."""
    async with running(path) as journal:
        for entry in life("a", State.DENIED):
            await journal.append(entry)
        with no_space_left():
            journal.append_soon(accepted("a"))
            with pytest.raises(JournalError):
                await journal.append(accepted("b"))
        entry = signed("a", "sig") if state is State.SIGNED else step("a", state)
        with pytest.raises(EntryRefused):
            await journal.append(entry)

        assert list(journal.entries("a")) == life("a", State.DENIED)


async def test_the_denial_of_one_request_opens_no_other(path: Path) -> None:
    """Each request has its own lives."""
    async with running(path) as journal:
        for entry in (accepted("b"), *life("a", State.DENIED)):
            await journal.append(entry)
        with pytest.raises(EntryRefused):
            await journal.append(accepted("b"))
        await journal.append(signed("b", "sig"))


async def test_a_signature_stays_its_life_s_own(path: Path) -> None:
    """Also after a denial: equal bytes in two lives would be one transaction."""
    async with running(path) as journal:
        for entry in (*life("a", State.SUCCEEDED), *life("b", State.DENIED), accepted("b")):
            await journal.append(entry)
        with pytest.raises(EntryRefused):
            await journal.append(signed("b", "of a"))


async def test_a_full_waiting_list_refuses_and_then_drains(path: Path) -> None:
    """Overload is refused, not buffered; whatever had been taken becomes durable."""
    with closing(SqliteJournal(path)) as journal, trio.fail_after(PATIENCE_SECONDS):
        for number in range(MAX_WAITING):
            journal.append_soon(accepted(f"r{number}"))
        with pytest.raises(JournalError, match="waiting for the disk"):
            journal.append_soon(accepted("one too many"))
        with pytest.raises(JournalError, match="waiting for the disk"):
            await journal.append(accepted("one too many"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.run)
            await trio.testing.wait_all_tasks_blocked()
            await journal.append(accepted("room again"))
            nursery.cancel_scope.cancel()
        with closing(sqlite3.connect(path)) as other:
            (count,) = other.execute("SELECT count(*) FROM entries").fetchone()

    assert count == MAX_WAITING + 1


# --- a disk that fails ---


@contextmanager
def failing(path: Path, request_id: str) -> Iterator[None]:
    """Let SQLite fail in every statement with an entry of this request, for another reason than a rule: it is no JSON."""
    with sqlite3.connect(path) as connection:
        connection.execute(
            f"CREATE TRIGGER failing BEFORE INSERT ON entries WHEN NEW.request_id = '{request_id}' BEGIN SELECT json('no'); END"
        )
    yield
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER failing")
    connection.close()


async def test_a_full_disk_is_an_error_and_not_for_ever(path: Path) -> None:
    """Nobody is told that an entry is durable which is not; when there is space again, the journal works again."""
    async with running(path) as journal:
        await journal.append(accepted("before"))
        with no_space_left():
            for name in ("during", "during too"):
                with pytest.raises(JournalError, match="cannot be written"):
                    await journal.append(accepted(name))
        problem = journal.problem()
        await journal.append(accepted("after"))

        assert problem is not None
        assert "cannot be written" in problem
        assert journal.problem() is None
        assert [len(journal.entries(name)) for name in ("before", "during", "during too", "after")] == [1, 0, 0, 1]
    assert [len(stored(path, name)) for name in ("before", "during", "after")] == [1, 0, 1]


async def test_a_trade_whose_acceptance_the_full_disk_lost_is_not_signed(path: Path) -> None:
    """Nobody waited for the acceptance; SIGNED, when there is space again, must not be taken without it."""
    async with running(path) as journal:
        with no_space_left():
            journal.append_soon(accepted("a"))
            with pytest.raises(JournalError):
                await journal.append(accepted("b"))
        with pytest.raises(EntryRefused):
            await journal.append(signed("a", "sig"))

        assert journal.entries("a") == []


async def test_everybody_in_a_failed_commit_is_told(path: Path) -> None:
    """None of them was written, so each of them gets the error."""
    failed: list[str] = []

    async def append(journal: SqliteJournal, name: str) -> None:
        try:
            await journal.append(accepted(name))
        except JournalError:
            failed.append(name)

    async with running(path) as journal:
        with no_space_left():
            async with trio.open_nursery() as nursery:
                for name in "abc":
                    nursery.start_soon(append, journal, name)

    assert sorted(failed) == ["a", "b", "c"]


@pytest.mark.parametrize("ends_the_transaction", [True, False])
async def test_what_is_sound_fails_with_the_commit_beside_what_is_refused(ends_the_transaction: bool, path: Path) -> None:
    """A commit that is left half done is undone, by SQLite or by us, whoever was refused in it; the next one is sound."""
    async with running(path) as journal:
        await journal.append(accepted("known"))
        with no_space_left() if ends_the_transaction else failing(path, "new"):
            journal.append_soon(accepted("known"))
            with pytest.raises(JournalError, match="cannot be written"):
                await journal.append(accepted("new"))
        await journal.append(accepted("after"))

        assert [len(journal.entries(name)) for name in ("known", "new", "after")] == [1, 0, 1]


async def test_a_bug_in_the_writer_tells_nobody_that_his_entry_is_durable(path: Path) -> None:
    """The writer's error propagates, everybody who waits gets an error, and so does everybody who comes later."""
    told: list[str] = []

    async def append(journal: SqliteJournal, entry: Entry) -> None:
        with pytest.raises(JournalError):
            await journal.append(entry)
        told.append(entry.request_id)

    with closing(SqliteJournal(path)) as journal, trio.fail_after(PATIENCE_SECONDS):
        with pytest.RaisesGroup(OverflowError):
            async with trio.open_nursery() as nursery:
                for entry in (accepted("a"), POISON, accepted("b")):
                    nursery.start_soon(append, journal, entry)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(journal.run)

        assert sorted(told) == ["a", "b", "poison"]
        assert [len(journal.entries(name)) for name in "ab"] == [0, 0]
        with pytest.raises(JournalError, match="has ended"):
            await journal.append(accepted("late"))


async def test_a_lock_that_another_program_holds_is_an_error_in_the_end(path: Path) -> None:
    """A backup tool that writes to the file delays commits, and lets go again."""
    async with running(path) as journal:
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(journal.append, accepted("a"))
                await trio.sleep(0.05)
                seen = len(journal.entries("a"))
                other.execute("ROLLBACK")

        assert seen == 0
        assert len(journal.entries("a")) == 1


SHM_HEADER_COPY_BYTES = 48
SHM_LOCKS_AT = 120
"""The write-ahead log's index in shared memory: its header twice, and from here on a byte for each lock: write, .., recover."""


@contextmanager
def recovery_by_another_program(path: Path) -> Iterator[None]:
    """Leave the index as if somebody had died in the middle of writing it, with somebody else at work on its repair.

    The locks are of the open file and not of the process (F_OFD_SETLK): so this process's own SQLite meets them as well.
    """
    index = os.open(f"{path}-shm", os.O_RDWR)
    try:
        for lock in (SHM_LOCKS_AT, SHM_LOCKS_AT + 2):
            fcntl.fcntl(index, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, lock, 1, 0))
        whole = os.pread(index, SHM_HEADER_COPY_BYTES, 0)
        os.pwrite(index, bytes(byte ^ 0xFF for byte in whole), 0)
        yield
        os.pwrite(index, whole, 0)
        fcntl.fcntl(index, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))
    finally:
        os.close(index)


async def test_a_busy_file_is_not_waited_for_by_a_reader(path: Path) -> None:
    """It reads on the event loop: a wait for somebody's lock would stop every trade. It is an error, and a passing one."""
    async with running(path) as journal:
        await journal.append(accepted("a"))
        with recovery_by_another_program(path):
            began = time.monotonic()
            with pytest.raises(JournalError, match="cannot be read"):
                journal.entries("a")
            waited = time.monotonic() - began

        assert waited < 1.0
        assert len(journal.entries("a")) == 1


def corrupt(path: Path) -> None:
    """Overwrite everything but the first page of a closed journal."""
    with path.open("r+b") as file:
        file.seek(4_096)
        file.write(b"\xa5" * (path.stat().st_size - 4_096))


async def test_a_file_that_was_damaged_is_neither_read_nor_written(path: Path) -> None:
    """Reading and writing are errors of the journal's own; nothing is invented and nothing hangs."""
    async with running(path) as journal:
        await journal.append(accepted("a"))
    corrupt(path)

    async with running(path) as journal:
        with pytest.raises(JournalError, match="cannot be read"):
            journal.entries("a")
        with pytest.raises(JournalError, match="cannot be written"):
            await journal.append(accepted("b"))


# --- opening ---


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    """With the path, and untouched; the lock is given back."""
    path.parent.mkdir()
    path.write_bytes(b"this is a letter to my aunt, not a database" * 100)

    for _attempt in range(2):
        with pytest.raises(ConfigError, match="cannot be used"):
            SqliteJournal(path)
    assert path.read_bytes().startswith(b"this is a letter")


def test_a_journal_of_an_unknown_version_is_refused(path: Path) -> None:
    """A later executor's journal is left alone; both versions are named, and the lock is given back."""
    SqliteJournal(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")

    for _attempt in range(2):
        with pytest.raises(ConfigError, match=f"version 99; this executor knows {SCHEMA_VERSION}"):
            SqliteJournal(path)


def test_a_second_instance_is_refused_while_the_first_lives(path: Path) -> None:
    """Two writers would trade twice. When the first is gone, however, the file is free."""
    first = SqliteJournal(path)
    with pytest.raises(ConfigError, match="in use by another executor"):
        SqliteJournal(path)
    first.close()

    SqliteJournal(path).close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "data").write_text("")

    with pytest.raises(ConfigError, match=r"data/journal\.sqlite3 cannot be opened"):
        SqliteJournal(tmp_path / "data" / "journal.sqlite3")


@contextmanager
def read_only_folder() -> Iterator[Path]:
    """A folder that everybody may enter and nobody may write, with a journal in it that is nobody's but readable."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        SqliteJournal(folder / "old.sqlite3").close()
        for file in folder.iterdir():
            file.chmod(0o666)
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)


def test_a_read_only_folder_is_refused_at_the_start() -> None:
    """Neither a new journal nor an old one that could not be written: better no start than the first trade's failure."""
    with read_only_folder() as folder:
        for name in ("new.sqlite3", "old.sqlite3"):
            with ordinary_user(), pytest.raises(ConfigError, match=r"sqlite3 cannot be (opened|used)"):
                SqliteJournal(folder / name)


WRITE_UNTIL_KILLED = """
import sys, trio
from pathlib import Path
from executor.journal.journal import Entry, SqliteJournal
from executor.states import State

async def main():
    journal = SqliteJournal(Path(sys.argv[1]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(journal.run)
        for number in range(1_000_000):
            await journal.append(Entry(request_id=f"r{number}", state=State.ACCEPTED, at_unix_ns=number, body="{}"))
            print(number, flush=True)

trio.run(main)
"""


@pytest.mark.slow
def test_a_kill_loses_nothing_that_was_acknowledged(path: Path) -> None:
    """SIGKILL in the middle of the work: every entry whose `append` had returned is there, and the lock is free."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(
        [sys.executable, "-c", WRITE_UNTIL_KILLED, str(path)], stdout=subprocess.PIPE, cwd=root, env=environment
    ) as writer:
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(20)]
        writer.kill()
        acknowledged += [int(line) for line in writer.stdout if line.endswith(b"\n")]

    with closing(SqliteJournal(path)) as journal:
        assert [len(journal.entries(f"r{number}")) for number in acknowledged] == [1] * len(acknowledged)

"""What is SQLite's own of the journal: its commits, its locks, its failures. What any backend promises is in conformance.py."""

import fcntl
import os
import sqlite3
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from executor.journal.journal import (
    MAX_ENTRIES_IN_A_STATEMENT,
    SLOW_COMMIT_SECONDS,
    Entry,
    JournalError,
    SqliteJournal,
)
from executor.states import State
from tests.journal.entries import accepted
from tests.support.full_disk import no_space_left
from tests.support.waiting import PATIENCE_SECONDS, eventually

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


def transactions(path: Path) -> int:
    """How many commits the write-ahead log holds: its frames that carry the size of the database after a commit."""
    wal = Path(f"{path}-wal").read_bytes()
    page_bytes = struct.unpack(">I", wal[8:12])[0]
    frames = range(32, len(wal), 24 + page_bytes)
    return sum(struct.unpack(">I", wal[at + 4 : at + 8])[0] > 0 for at in frames)


# --- what it promises ---


async def test_an_appended_entry_is_seen_by_others_at_once(path: Path) -> None:
    """When `append` returns, the commit is over: another connection reads the entry."""
    async with running(path) as journal:
        await journal.append(accepted("a"))
        with closing(sqlite3.connect(path)) as other:
            rows = other.execute("SELECT request_id, state FROM entries").fetchall()

    assert rows == [("a", "ACCEPTED")]


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
    """Overwrite everything but the first page, which every connection reads as it opens."""
    with path.open("r+b") as file:
        file.seek(4_096)
        file.write(b"\xa5" * (path.stat().st_size - 4_096))


@pytest.mark.parametrize("found_by", ["a reader", "the writer"])
async def test_a_file_that_is_damaged_while_it_is_open_is_a_problem_until_it_is_checked(found_by: str, path: Path) -> None:
    """Nothing is invented and nothing hangs; and that something else can still be written says nothing."""
    async with running(path) as journal:
        for number in range(100):  # more pages than the journal looks at as it opens
            journal.append_soon(accepted(f"r{number}", "x" * 1_000))
        await journal.append(accepted("a"))
    with closing(SqliteJournal(path, probe_seconds=0.01)) as journal, trio.fail_after(PATIENCE_SECONDS):
        corrupt(path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.run)
            if found_by == "a reader":
                with pytest.raises(JournalError, match="cannot be read"):
                    journal.entries("a")
            else:
                with pytest.raises(JournalError, match="cannot be written"):
                    await journal.append(accepted("b"))
            await trio.sleep(0.05)
            problem = journal.problem() or ""
            nursery.cancel_scope.cancel()

    assert "is damaged" in problem
    assert "restart" in problem


async def test_a_disk_that_does_not_answer_is_a_problem_while_it_lasts(
    path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """No error comes, but every trade waits: no new one is taken. What waits is counted."""

    async def slowly(commit: Callable[[], None]) -> None:
        await trio.sleep(60)
        commit()

    with closing(SqliteJournal(path, run_commit=slowly)) as journal:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.run)
            nursery.start_soon(journal.append, accepted("a"))
            await trio.sleep(SLOW_COMMIT_SECONDS)
            before = journal.problem()
            await trio.sleep(10)
            during, waiting = journal.problem(), journal.statistics().waiting
            await trio.sleep(60)
            after = journal.problem()
            statistics = journal.statistics()
            nursery.cancel_scope.cancel()

    assert (before, after) == (None, None)
    assert "waits for the disk since 15 s" in (during or "")
    assert waiting == 1
    assert (statistics.commit_p50_seconds, statistics.commit_p99_seconds, statistics.waiting) == (60.0, 60.0, 0)


async def test_nothing_is_written_while_nothing_is_wrong_and_nothing_is_handed_over(path: Path) -> None:
    """The disk is tried only after a failure; also what came during a commit is no reason."""
    commits = 0

    async def counted(commit: Callable[[], None]) -> None:
        nonlocal commits
        commits += 1
        await trio.sleep(0.01)
        commit()

    with closing(SqliteJournal(path, run_commit=counted, probe_seconds=0.01)) as journal, trio.fail_after(PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.run)
            await journal.append(accepted("a"))
            nursery.start_soon(journal.append, accepted("b"))
            await trio.testing.wait_all_tasks_blocked()
            await journal.append(accepted("c"))
            await trio.sleep(0.1)
            nursery.cancel_scope.cancel()

    assert commits == journal.statistics().commits == 3


def test_a_request_that_was_denied_again_and_again_costs_no_more(tmp_path: Path) -> None:
    """A caller that repeats what is denied must not make the event loop, and with it all other trades, wait for its past."""
    with (
        closing(SqliteJournal(tmp_path / "journal.sqlite3")) as journal,
        closing(sqlite3.connect(tmp_path / "journal.sqlite3")) as db,
    ):
        rows = [("a", state, number, "{}") for number in range(20_000) for state in ("ACCEPTED", "DENIED")]
        with db:
            db.executemany("INSERT INTO entries (request_id, state, at_unix_ns, body) VALUES (?, ?, ?, ?)", rows)
        began = time.perf_counter()
        lives = [journal.life("a", after_sequence=sequence) for sequence in range(0, 40_000, 400)]
        seconds = time.perf_counter() - began

    assert [len(life) for life in lives] == [2] * 100
    assert seconds < 0.2

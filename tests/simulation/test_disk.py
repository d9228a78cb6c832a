import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import trio
from attrs import define, field

from tests.simulation.chance import chance
from tests.simulation.chronicle import Chronicle
from tests.simulation.climate import Climate
from tests.simulation.disk import JOURNAL, WAL, Disk
from tests.simulation.life import Life
from tests.simulation.syncs import SYNCS


def new_disk(directory: Path, *, seed: str = "disk", failing: bool = False, dying: bool = False, lasts: float = 0.01) -> Disk:
    """The disk of a life that has just begun."""
    climate = Climate(disk_seconds=(lasts, lasts))
    return Disk(
        directory=directory,
        life=Life(1),
        chronicle=Chronicle(),
        rng=chance(seed),
        climate=lambda: climate,
        failing=lambda: failing,
        dying=lambda: dying,
    )


@pytest.fixture
def table(tmp_path: Path) -> Callable[[int], None]:
    """A database like the journal's, and what commits a number to it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with SYNCS.installed():
        connection = sqlite3.connect(folder / JOURNAL, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE numbers (number INTEGER)")

    def commit(number: int) -> None:
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))

    return commit


def numbers(folder: Path) -> list[int]:
    """What the database holds; it has to be sound."""
    with closing(sqlite3.connect(folder / JOURNAL)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [number for (number,) in connection.execute("SELECT number FROM numbers ORDER BY number")]


async def test_a_commit_takes_its_time(
    tmp_path: Path, table: Callable[[int], None], autojump_clock: trio.testing.MockClock
) -> None:
    """And is on the disk when it has ended."""
    disk = new_disk(tmp_path / "disk", lasts=2.0)
    began = trio.current_time()

    await disk.run_commit(lambda: table(1))

    assert trio.current_time() - began >= 2.0
    assert disk.leave(tmp_path / "left") == "idle"
    assert numbers(tmp_path / "left") == [1]


async def test_a_crash_in_a_commit_leaves_all_or_nothing_of_it(
    tmp_path: Path, table: Callable[[int], None], autojump_clock: trio.testing.MockClock
) -> None:
    """Unwritten, torn or whole: what was committed before is there, and SQLite sees half a commit as none."""
    await new_disk(tmp_path / "disk").run_commit(lambda: table(0))
    fates: dict[str, set[bool]] = {}
    for number in range(1, 40):
        disk = new_disk(tmp_path / "disk", seed=f"crash {number}", lasts=1.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(disk.run_commit, lambda number=number: table(number))
            await trio.sleep(0.5)
            fate = disk.leave(tmp_path / f"left {number}")
            disk.life.ended.set()
        left = numbers(tmp_path / f"left {number}")
        assert left[0] == 0
        fates.setdefault(fate, set()).add(number in left)

    assert fates["unwritten"] == {False}
    assert fates["whole"] == {True}
    assert False in fates["torn"]


async def test_the_dead_commit_nothing(
    tmp_path: Path, table: Callable[[int], None], autojump_clock: trio.testing.MockClock
) -> None:
    """What is handed over after the death is not run, and nobody waits for it."""
    disk = new_disk(tmp_path / "disk", lasts=1_000.0)
    disk.life.ended.set()

    await disk.run_commit(lambda: table(1))

    assert numbers(tmp_path / "disk") == []


syncs_can_fail = pytest.mark.skipif(not SYNCS.can_fail, reason="this Python hides the functions of its SQLite")


@define
class Failures:
    """Commits numbers, and keeps what SQLite says when that fails."""

    table: Callable[[int], None]
    said: list[str] = field(factory=list)

    def commit(self, number: int) -> None:
        """Commit one."""
        try:
            self.table(number)
        except sqlite3.OperationalError as error:
            self.said.append(error.sqlite_errorname)


async def test_a_failing_disk_fails_within_sqlite(
    tmp_path: Path, table: Callable[[int], None], autojump_clock: trio.testing.MockClock
) -> None:
    """A write or the sync fails; later commits, of a disk that is well again, succeed."""
    failures = Failures(table)
    for seed in range(8):
        await new_disk(tmp_path / "disk", seed=str(seed), failing=True).run_commit(lambda: failures.commit(1))
    await new_disk(tmp_path / "disk").run_commit(lambda: table(2))

    assert set(failures.said) == {"SQLITE_IOERR_WRITE"} | ({"SQLITE_IOERR_FSYNC"} if SYNCS.can_fail else set())
    assert 2 in numbers(tmp_path / "disk")
    assert (tmp_path / "disk" / WAL).exists()


@syncs_can_fail
async def test_a_dying_disk_keeps_what_its_last_sync_failed(
    tmp_path: Path, table: Callable[[int], None], autojump_clock: trio.testing.MockClock
) -> None:
    """It is read-only from then on: undone for the process, done for who finds the file after a crash."""
    failures = Failures(table)
    disk = new_disk(tmp_path / "disk", dying=True)
    for number in (1, 2, 3):
        await disk.run_commit(partial(failures.commit, number))
    disk.leave(tmp_path / "left")

    assert failures.said == ["SQLITE_IOERR_FSYNC", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_WRITE"]
    assert numbers(tmp_path / "disk") == []
    assert numbers(tmp_path / "left") == [1]


async def test_a_crash_finds_nothing_of_a_commit_that_a_dead_disk_had_under_way(
    tmp_path: Path, table: Callable[[int], None], autojump_clock: trio.testing.MockClock
) -> None:
    """It is read-only, so nothing of it can have been written."""
    failures = Failures(table)
    for number in range(12):
        disk = new_disk(tmp_path / "disk", seed=f"crash {number}", dying=True, lasts=1.0)
        await disk.run_commit(partial(failures.commit, 1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(disk.run_commit, partial(failures.commit, 2))
            await trio.sleep(0.5)
            assert disk.leave(tmp_path / f"left {number}") == "unwritten"
            disk.life.ended.set()

        assert 2 not in numbers(tmp_path / f"left {number}")


@syncs_can_fail
def test_only_files_that_were_opened_for_it_fail(tmp_path: Path, table: Callable[[int], None]) -> None:
    """Other tests of this process have the default file system, before and after."""
    connection = sqlite3.connect(tmp_path / "other", isolation_level=None)
    with closing(connection), SYNCS.failing():
        connection.execute("CREATE TABLE numbers (number INTEGER)")
        with pytest.raises(sqlite3.OperationalError):
            table(1)


@syncs_can_fail
def test_what_a_sync_failed_is_written_over(tmp_path: Path, table: Callable[[int], None]) -> None:
    """By the next commit of the same process; then nobody finds it any more."""
    failures = Failures(table)
    with SYNCS.failing():
        failures.commit(1)
    table(2)
    shutil.copytree(tmp_path / "disk", tmp_path / "left", ignore=shutil.ignore_patterns("*-shm"))

    assert failures.said == ["SQLITE_IOERR_FSYNC"]
    assert numbers(tmp_path / "left") == [2]

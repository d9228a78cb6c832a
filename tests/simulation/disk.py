"""The journal's disk: commits take time and fail, and a crash leaves what was synced, whole, torn or not at all.

The files are real SQLite files in a directory in memory. A commit is run at the end of its time; when the daemon dies in it, only
then it is decided how much of it had reached the disk. An I/O error is one within SQLite: for the time of a commit the process
may write no file beyond some length (RLIMIT_FSIZE), so that a write fails, perhaps in the middle; or all writes succeed and the
sync fails, and a crash may bring back what the process was told is not there.
"""

import random
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import trio
from attrs import define, field

from tests.simulation.chronicle import Chronicle
from tests.simulation.climate import Climate
from tests.simulation.clock import GRID_SECONDS
from tests.simulation.life import Life
from tests.simulation.syncs import SYNCS

JOURNAL = "journal.sqlite3"
WAL = JOURNAL + "-wal"
SECTOR_BYTES = 512
MAX_SLOW_SECONDS = 6.0
LINGER_RATE = 0.1
"""Commits after which the daemon is told a while later only."""
GARBAGE_BYTES = 3_000


@define(kw_only=True, eq=False)
class Disk:
    """The disk of one life."""

    directory: Path
    life: Life
    chronicle: Chronicle
    rng: random.Random
    climate: Callable[[], Climate]
    failing: Callable[[], bool] = field(default=lambda: False)
    dying: Callable[[], bool] = field(default=lambda: False)
    _under_way: Callable[[], None] | None = None
    _is_read_only: bool = False

    async def run_commit(self, commit: Callable[[], None]) -> None:
        """Run a commit after its time."""
        if self.life.is_over():
            return
        climate = self.climate()
        seconds = self.rng.uniform(*climate.disk_seconds)
        if self.rng.random() < climate.disk_slow_rate:
            seconds = self.rng.uniform(0.1, MAX_SLOW_SECONDS)
            self.chronicle.fault("slow-commit")
        dies = self.rng.random() < climate.crash_at_commit
        self._under_way = commit
        await self._wait(seconds * self.rng.random() if dies else seconds)
        if dies:
            self.life.strike("commit")
        self._under_way = None
        if self.life.is_over():
            return
        self._commit(commit)
        if self.rng.random() < LINGER_RATE:
            await self._wait(self.rng.uniform(*climate.disk_seconds))

    def leave(self, directory: Path) -> str:
        """Copy what the disk holds after a crash now into a new directory; tell how much of a commit under way that is."""
        commit, self._under_way = self._under_way, None
        if commit is None:
            _copy(self.directory, directory)
            return "idle"
        fate = "unwritten" if self._is_read_only else self.rng.choice(("unwritten", "torn", "whole"))
        if fate == "unwritten":
            _copy(self.directory, directory)
            return fate
        before = {name: _read(self.directory / name) for name in (JOURNAL, WAL)}
        commit()
        _copy(self.directory, directory)
        if fate == "torn":
            self._tear(directory, before)
        return fate

    def _tear(self, directory: Path, before: dict[str, bytes]) -> None:
        """Put part of what the commit changed back. The database is written only once the log is synced (a checkpoint)."""
        name = JOURNAL if _read(directory / JOURNAL) != before[JOURNAL] else WAL
        torn = _torn(before[name], _read(directory / name), self.rng)
        if name == WAL and self.rng.random() < 0.3:
            torn += self.rng.randbytes(self.rng.randrange(GARBAGE_BYTES))
        (directory / name).write_bytes(torn)

    async def _wait(self, seconds: float) -> None:
        """Shielded by the journal: it ends in time, or with the life."""
        with trio.move_on_at(trio.current_time() + max(seconds, GRID_SECONDS)):
            await self.life.ended.wait()

    def _commit(self, commit: Callable[[], None]) -> None:
        fault, trouble = self._fault()
        if fault is not None:
            self.chronicle.fault(fault)
        with trouble:
            commit()
        self.chronicle.note("commit", self.life.number)

    def _fault(self) -> tuple[str | None, AbstractContextManager[None]]:
        was_read_only, self._is_read_only = self._is_read_only, self.dying()
        if self.dying() and (was_read_only or not SYNCS.can_fail):  # as ext4 becomes after an error, with errors=remount-ro
            return "read-only", _short_files(0)
        if self.dying() or (self.failing() and SYNCS.can_fail and self.rng.random() < 0.5):
            return "failing-sync", SYNCS.failing()
        if self.failing():
            return "failing-write", _short_files(self.rng.choice((0, self.rng.randrange(200_000))))
        return None, nullcontext()


def _torn(old: bytes, new: bytes, rng: random.Random) -> bytes:
    """The new bytes up to a point, or in some sectors; elsewhere the old ones."""
    if rng.random() < 0.5:
        first = _first_difference(old, new)
        cut = rng.randint(first, len(new)) if first < len(new) else len(new)
        return new[:cut] + old[cut:]
    sectors = []
    for start in range(0, len(new), SECTOR_BYTES):
        mine, theirs = new[start : start + SECTOR_BYTES], old[start : start + SECTOR_BYTES]
        # What lay beyond the old end is zeros where it was not written, as in a file whose length was synced first.
        sectors.append(mine if mine == theirs or rng.random() < 0.5 else theirs.ljust(len(mine), b"\0"))
    return b"".join(sectors)


def _first_difference(old: bytes, new: bytes) -> int:
    """The sector in which they part, or the end of the shorter one."""
    for start in range(0, min(len(old), len(new)), SECTOR_BYTES):
        if old[start : start + SECTOR_BYTES] != new[start : start + SECTOR_BYTES]:
            return start
    return min(len(old), len(new))


def _copy(source: Path, target: Path) -> None:
    """What is on the disk; the shared memory of the log is not, SQLite makes it anew."""
    target.mkdir(parents=True)
    for name in (JOURNAL, WAL):
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


@contextmanager
def _short_files(limit_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond a length; Python ignores the signal, so that a write beyond it fails with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

"""How many commits there were, and how long the last ones took."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import trio
from attrs import define, field

from executor.percentile import nearest_rank
from executor.status import JournalStatus

RECENT = 1_024
"""Percentiles are taken over this many of the latest commits."""


@define(eq=False)
class Commits:
    """Counts since the start."""

    _entries: int = 0
    _commits: int = 0
    _being_written: int = 0
    _began: float | None = None
    _recent: deque[float] = field(factory=lambda: deque(maxlen=RECENT))

    @contextmanager
    def timed(self, waiting: int) -> Iterator[None]:
        """Take the time of a commit for which so many wait."""
        self._began, self._being_written = trio.current_time(), waiting
        try:
            yield
            self._recent.append(self.running_seconds())
        finally:
            self._began, self._being_written = None, 0

    def done(self, entries: int) -> None:
        """A commit ended that made so many durable; none: it failed, and is not counted."""
        self._entries += entries
        self._commits += entries > 0

    def running_seconds(self) -> float:
        """For how long the commit has been running that runs now; 0: none does."""
        return 0.0 if self._began is None else trio.current_time() - self._began

    def status(self, *, handed_over: int, problem: str | None) -> JournalStatus:
        """What there is to say of the journal."""
        ascending = sorted(self._recent) or [0.0]
        return JournalStatus(
            entries=self._entries,
            commits=self._commits,
            waiting=handed_over + self._being_written,
            problem=problem or "",
            commit_p50_seconds=nearest_rank(ascending, 50),
            commit_p99_seconds=nearest_rank(ascending, 99),
        )

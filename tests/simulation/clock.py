"""Time in a history: trio's clock is the truth, the daemon's wall clock may jump."""

import math
import random

import trio
from attrs import define

GRID_SECONDS = 1 / 256
"""Naps end on a grid, so that many tasks wake in one batch, in an order that the seed decides; exact in binary."""
START_UNIX_NS = 1_790_000_000 * 10**9
NANOSECONDS = 10**9


async def nap(seconds: float) -> None:
    """Sleep, up to the next line of the grid."""
    await trio.sleep_until(math.ceil((trio.current_time() + seconds) / GRID_SECONDS) * GRID_SECONDS)


def true_unix_ns() -> int:
    """What time it really is in this world: the cluster's clock."""
    return START_UNIX_NS + round(trio.current_time() * NANOSECONDS)


class SimulatedClock(trio.abc.Clock):
    """As trio's mock clock that jumps when nobody has anything to do, for programs without any real I/O: it jumps at once."""

    def __init__(self) -> None:
        self._now = 0.0
        self._stuck = 0

    def start_clock(self) -> None:
        """Trio starts."""

    def current_time(self) -> float:
        """The virtual time."""
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Trio asks this when no task can run, to know how long to wait: it is that time now."""
        if deadline == math.inf:  # at its end trio wakes itself through a socket
            self._stuck += 1
            assert self._stuck < 10, "everybody waits for everybody"
            return 1.0
        self._now = max(self._now, deadline)
        return 0.0


@define(eq=False)
class WallClock:
    """The daemon's clock."""

    offset_ns: int = 0

    def now_ns(self) -> int:
        """What the daemon believes."""
        return true_unix_ns() + self.offset_ns

    def jump(self, rng: random.Random) -> int:
        """Jump by up to a day, mostly by seconds, forwards or backwards; returns the new offset."""
        size_seconds = 10 ** rng.uniform(-1, 5)
        self.offset_ns = round(rng.choice((-1, 1)) * size_seconds * NANOSECONDS)
        return self.offset_ns

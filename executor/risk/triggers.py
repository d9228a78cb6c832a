"""What trips the circuit breaker by itself: how the latest trades ended, and how fast they were sent."""

from collections import deque
from collections.abc import Iterator

from attrs import define, field

from executor.config import BreakerSettings
from executor.percentile import nearest_rank
from executor.risk.failures import Ending
from executor.status import CauseKind

SLOTS = 60
"""Of the window: trades are counted and forgotten by its sixtieth parts, so its length is exact to one of them."""
PERCENT = 100


@define(eq=False)
class _Slot:
    number: int
    trades: int = 0
    failures: int = 0


@define(eq=False)
class Triggers:
    """Bounded by its settings, however many trades end."""

    settings: BreakerSettings
    _slots: deque[_Slot] = field(factory=deque)
    _reverted_in_a_row: int = 0
    _broadcasts: deque[float] = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Keep as many durations as are judged."""
        self._broadcasts = deque(maxlen=self.settings.slow_broadcast_trades)

    def note(self, ending: Ending, *, broadcast_seconds: float, now: float) -> None:
        """Count a trade that has ended; broadcast_seconds is 0 for one that was not sent. SILENT ends are not to be noted."""
        slot = self._slot(now)
        slot.trades += 1
        slot.failures += ending is not Ending.SUCCEEDED
        if ending is Ending.REVERTED:
            self._reverted_in_a_row += 1
        elif ending is Ending.SUCCEEDED:
            self._reverted_in_a_row = 0
        if broadcast_seconds > 0:
            self._broadcasts.append(broadcast_seconds)

    def tripped(self, now: float) -> Iterator[tuple[CauseKind, str]]:
        """Yield every limit that is reached, with one sentence."""
        settings = self.settings
        self._forget_old(now)
        trades, failures = sum(slot.trades for slot in self._slots), sum(slot.failures for slot in self._slots)
        if _is_rate(settings, trades=trades, failures=failures):
            yield (
                CauseKind.ERROR_RATE,
                f"{failures} of {trades} trades failed within {settings.window_seconds:g} s, "
                f"the limit is {settings.error_rate_percent} %",
            )
        if 0 < settings.error_count <= failures:
            yield (
                CauseKind.ERROR_COUNT,
                f"{failures} trades failed within {settings.window_seconds:g} s, the limit is {settings.error_count}",
            )
        if 0 < settings.landed_failures <= self._reverted_in_a_row:
            yield (
                CauseKind.LANDED_FAILURES,
                f"{self._reverted_in_a_row} transactions in a row landed and failed, the limit is {settings.landed_failures}",
            )
        p99 = self._broadcast_p99()
        if p99 is not None and self.is_slow(p99):
            yield (
                CauseKind.SLOW_BROADCAST,
                f"99 % of the latest {len(self._broadcasts)} trades were sent within {p99:.3f} s, "
                f"the limit is {settings.slow_broadcast_p99_seconds:g} s",
            )

    def is_slow(self, broadcast_seconds: float) -> bool:
        """Whether a send took longer than the limit allows."""
        return 0 < self.settings.slow_broadcast_p99_seconds < broadcast_seconds

    def clear(self) -> None:
        """Forget everything: trading begins anew."""
        self._slots.clear()
        self._broadcasts.clear()
        self._reverted_in_a_row = 0

    def _slot(self, now: float) -> _Slot:
        self._forget_old(now)
        number = self._number(now)
        if not self._slots or self._slots[-1].number != number:
            self._slots.append(_Slot(number))
        return self._slots[-1]

    def _forget_old(self, now: float) -> None:
        oldest = self._number(now) - SLOTS
        while self._slots and self._slots[0].number <= oldest:
            self._slots.popleft()

    def _number(self, now: float) -> int:
        return int(now * SLOTS / self.settings.window_seconds)

    def _broadcast_p99(self) -> float | None:
        if len(self._broadcasts) < self.settings.slow_broadcast_trades:
            return None
        return nearest_rank(sorted(self._broadcasts), 99)


def _is_rate(settings: BreakerSettings, *, trades: int, failures: int) -> bool:
    percent = settings.error_rate_percent
    return percent > 0 and trades >= settings.error_rate_min_trades and failures * PERCENT >= percent * trades

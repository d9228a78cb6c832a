"""What the daemon counts since it started: outcomes, errors by code, and how long each stage takes."""

from collections import Counter, deque

from attrs import define, field

from executor.errors import ErrorCode
from executor.model import Stage
from executor.ops.error_rates import ErrorRates
from executor.percentile import nearest_rank
from executor.status import ErrorCount, OutcomeCounts, StageLatency

RECENT = 1_024
"""Percentiles are taken over this many of the latest values."""


@define(eq=False)
class _Latency:
    count: int = 0
    recent: deque[float] = field(factory=lambda: deque(maxlen=RECENT))


@define(eq=False)
class Metrics:
    """Bounded by the number of stages and codes."""

    success: int = 0
    failed: int = 0
    refused: int = 0
    rates: ErrorRates = field(factory=ErrorRates)
    _errors: Counter[ErrorCode] = field(factory=Counter)
    _stages: dict[Stage, _Latency] = field(factory=dict)

    def stage_took(self, stage: Stage, seconds: float) -> None:
        """Note how long a stage of a trade took."""
        latency = self._stages.setdefault(stage, _Latency())
        latency.count += 1
        latency.recent.append(seconds)

    def error(self, code: ErrorCode, source_service: str) -> None:
        """Note a refusal or a failure, and who asked for the trade."""
        self._errors[code] += 1
        self.rates.request_failed(source_service, code)

    def outcomes(self, *, pending: int) -> OutcomeCounts:
        """The outcomes so far; pending ones are counted by whoever holds them."""
        return OutcomeCounts(success=self.success, failed=self.failed, pending=pending, refused=self.refused)

    def error_counts(self) -> tuple[ErrorCount, ...]:
        """Counts by code, by name."""
        return tuple(ErrorCount(code=code, count=self._errors[code]) for code in sorted(self._errors, key=lambda c: c.name))

    def latencies(self) -> tuple[StageLatency, ...]:
        """One row a stage that has run, in the order of the line."""
        return tuple(_row(stage, self._stages[stage]) for stage in Stage if stage in self._stages)


def _row(stage: Stage, latency: _Latency) -> StageLatency:
    ascending = sorted(latency.recent)
    return StageLatency(
        stage=stage,
        count=latency.count,
        p50_seconds=nearest_rank(ascending, 50),
        p90_seconds=nearest_rank(ascending, 90),
        p99_seconds=nearest_rank(ascending, 99),
    )

"""The specification's limits, and whether the figures are within them."""

import math
from collections.abc import Mapping, Sequence

from attrs import frozen

from tests.bench.figures import StageTime, Summary
from tests.bench.plan import NO_LATENCY, SUSTAINED_RATE, USUAL_LATENCY, Cell

TYPESCRIPT_PER_S = 123
"""A script with web3.js that verifies and journals nothing: 32 callers, the same upstream, one core."""
STAGE_LIMITS_MS = {"validation": 5.0, "build": 50.0, "sign": 10.0}
BROADCAST_LIMIT_MS = 100.0
KEPT_SHARE = 0.99
"""A rate counts as sustained when so much of it was achieved, and every trade was SUCCESS."""


@frozen(kw_only=True)
class Verdict:
    """One limit."""

    promise: str
    measured: float
    met: bool
    unit: str

    def text(self) -> str:
        """For people."""
        return f"{'met   ' if self.met else 'MISSED'}  {self.promise}: {self.measured:.3g} {self.unit}"


def judge(summaries: Mapping[Cell, Summary]) -> Sequence[Verdict]:
    """Judge what was measured; a limit that nothing was measured for is not judged."""
    verdicts: list[Verdict] = []
    for cell, summary in summaries.items():
        if cell.rate and cell.latency == USUAL_LATENCY:
            verdicts += _of_rate(cell, summary)
        if cell.callers == 32 and cell.latency == NO_LATENCY:
            verdicts.append(_more_than_typescript(cell, summary))
    return verdicts


def _of_rate(cell: Cell, summary: Summary) -> list[Verdict]:
    verdicts = []
    if cell.rate == SUSTAINED_RATE:
        verdicts += [
            _stage(stage, limit, cell, summary.stages) for stage, limit in STAGE_LIMITS_MS.items() if stage in summary.stages
        ]
        verdicts.append(_sustained(cell, summary))
    return [_below(f"request to broadcast, p99, {cell.name}", summary.median.broadcast_p99_ms, BROADCAST_LIMIT_MS), *verdicts]


def _stage(stage: str, limit_ms: float, cell: Cell, stages: Mapping[str, StageTime]) -> Verdict:
    return _below(f"{stage}, p99, {cell.name}", stages[stage].p99_ms, limit_ms)


def _below(promise: str, measured_ms: float, limit_ms: float) -> Verdict:
    met = not math.isnan(measured_ms) and measured_ms < limit_ms
    return Verdict(promise=f"{promise} < {limit_ms:g} ms", measured=measured_ms, met=met, unit="ms")


def _sustained(cell: Cell, summary: Summary) -> Verdict:
    figures = summary.median
    met = figures.achieved_per_s >= cell.rate * KEPT_SHARE and figures.succeeded == figures.trades
    promise = f"{cell.rate} trades/s for {cell.seconds:g} s, all SUCCESS ({figures.succeeded:g} of {figures.trades:g})"
    return Verdict(promise=promise, measured=figures.achieved_per_s, met=met, unit="/s")


def _more_than_typescript(cell: Cell, summary: Summary) -> Verdict:
    per_s = summary.median.achieved_per_s
    promise = f"more trades/s than a TypeScript script ({TYPESCRIPT_PER_S}), {cell.name}"
    return Verdict(promise=promise, measured=per_s, met=per_s > TYPESCRIPT_PER_S, unit="/s")

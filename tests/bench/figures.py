"""From what caller, upstream and kernel saw of a run to its figures; and from several runs to medians and their spread.

The daemon's own time is what it says itself (receipt to first send; each stage) less the waits that were injected into its
upstream's answers on that way. What the upstream's timers take longer than asked for, up to 1 ms an answer, counts as ours, and
so does the loopback: the figure is an upper bound.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

from attrs import asdict, field, fields, frozen

from executor.percentile import nearest_rank
from tests.bench.daemon import StageFigures, Used
from tests.bench.load import Row
from tests.bench.upstreams import Latency, Seen

NS_PER_MS = 1e6


@frozen(kw_only=True)
class Span:
    """Median and 99th percentile, nearest rank, in milliseconds; NaN of nothing."""

    p50: float
    p99: float


def span(values: Sequence[float]) -> Span:
    """Take both percentiles."""
    ascending = sorted(values)
    if not ascending:
        return Span(p50=float("nan"), p99=float("nan"))
    return Span(p50=nearest_rank(ascending, 50), p99=nearest_rank(ascending, 99))


def waits_before_broadcast_ms(latency: Latency) -> int:
    """What the answers cost that a trade waits for one after another: quote beside balances, instructions, simulation."""
    return max(latency.jupiter_ms, latency.rpc_ms) + latency.jupiter_ms + latency.rpc_ms


def wait_of_stage_ms(stage: str, latency: Latency) -> int:
    """The injected part of a stage. `monitor` waits for the chain: nothing of it can be told apart."""
    of_jupiter, of_node = {"quote", "build"}, {"balances", "simulate", "send", "record"}
    return latency.jupiter_ms if stage in of_jupiter else latency.rpc_ms if stage in of_node else 0


@frozen(kw_only=True)
class Evidence:
    """Everything that was seen of one run, warm-up apart."""

    latency: Latency
    rows: Sequence[Row]
    before: Used
    after: Used
    seen_before: Seen
    seen_after: Seen
    stages: Mapping[str, StageFigures]
    commits: int
    """Of the journal."""


@frozen(kw_only=True)
class StageTime:
    """Milliseconds in a stage: all of it, and without the injected waits."""

    p50_ms: float
    p99_ms: float
    own_p50_ms: float
    own_p99_ms: float


@frozen(kw_only=True)
class Figures:
    """A run in figures; also the median of several."""

    trades: float
    succeeded: float
    achieved_per_s: float
    """Answers a second, SUCCESS only, from the first to the last."""
    own_p50_ms: float
    own_p99_ms: float
    broadcast_p50_ms: float
    broadcast_p99_ms: float
    answer_p50_ms: float
    answer_p99_ms: float
    core_share: float
    core_wait_share: float
    """How long others had its core while it could have run: large, and the machine was measured."""
    cpu_ms_per_trade: float
    system_ms_per_trade: float
    journal_thread_ms_per_trade: float
    journal_p50_ms: float
    """What a trade waits for the disk before its first byte leaves; NaN when none came so far."""
    journal_p99_ms: float
    commits_per_s: float
    upstream_core_share: float
    rss_mib: float
    peak_rss_mib: float
    caller_lag_p99_ms: float
    """How late the caller began its trades: large, and the caller is what was measured."""


@frozen(kw_only=True)
class Result:
    """A run, and whether it was true."""

    figures: Figures
    stages: Mapping[str, StageTime]
    failures: Mapping[str, int] = field(factory=dict)
    """Trades that were not SUCCESS, by what was answered."""
    lies: tuple[str, ...] = ()
    """Where answers and chain differ: a trade made twice, lost, or told wrongly."""


def result_of(evidence: Evidence) -> Result:
    """Work a run out."""
    return Result(
        figures=_figures(evidence),
        stages={name: _stage_time(name, figures, evidence.latency) for name, figures in evidence.stages.items()},
        failures=Counter(_answer(row) for row in evidence.rows if row.status != "SUCCESS"),
        lies=find_lies(evidence.rows, evidence.seen_before, evidence.seen_after),
    )


_NO_STAGE = StageFigures(count=0, p50_ms=float("nan"), p99_ms=float("nan"))


def _figures(evidence: Evidence) -> Figures:
    rows, before, after = evidence.rows, evidence.before, evidence.after
    good = [row for row in rows if row.status == "SUCCESS"]
    own = span([max(0.0, row.broadcast_us / 1e3 - waits_before_broadcast_ms(evidence.latency)) for row in good])
    broadcast = span(_broadcasts_ms(good, evidence.seen_after))
    answer = span([(row.ended_unix_ns - row.started_unix_ns) / NS_PER_MS for row in good])
    elapsed, per_trade = after.at - before.at, 1e3 / max(1, len(good))
    cpu = after.cpu_seconds - before.cpu_seconds
    journal = evidence.stages.get("journal", _NO_STAGE)
    main_thread = after.main_thread_seconds - before.main_thread_seconds
    return Figures(
        trades=len(rows),
        succeeded=len(good),
        achieved_per_s=_per_second([row.ended_unix_ns for row in good]),
        own_p50_ms=own.p50,
        own_p99_ms=own.p99,
        broadcast_p50_ms=broadcast.p50,
        broadcast_p99_ms=broadcast.p99,
        answer_p50_ms=answer.p50,
        answer_p99_ms=answer.p99,
        core_share=cpu / elapsed,
        core_wait_share=(after.waited_seconds - before.waited_seconds) / elapsed,
        cpu_ms_per_trade=cpu * per_trade,
        system_ms_per_trade=(after.system_seconds - before.system_seconds) * per_trade,
        journal_thread_ms_per_trade=(cpu - main_thread) * per_trade,
        journal_p50_ms=journal.p50_ms,
        journal_p99_ms=journal.p99_ms,
        commits_per_s=evidence.commits / elapsed,
        upstream_core_share=(evidence.seen_after.cpu_ns - evidence.seen_before.cpu_ns) / 1e9 / elapsed,
        rss_mib=after.rss_bytes / 2**20,
        peak_rss_mib=after.peak_rss_bytes / 2**20,
        caller_lag_p99_ms=span([row.lag_ns / NS_PER_MS for row in rows]).p99,
    )


def _broadcasts_ms(rows: Sequence[Row], seen: Seen) -> list[float]:
    """From the caller's start to the first send as the upstream saw it; as the daemon says where the upstream keeps no times."""
    if seen.arrivals is None:
        return [row.broadcast_us / 1e3 for row in rows]
    arrivals = seen.arrivals
    return [
        (arrivals[row.signature].first_unix_ns - row.started_unix_ns) / NS_PER_MS for row in rows if row.signature in arrivals
    ]


def _per_second(ended_unix_ns: Sequence[int]) -> float:
    if len(ended_unix_ns) < 2:
        return 0.0
    return (len(ended_unix_ns) - 1) / ((max(ended_unix_ns) - min(ended_unix_ns)) / 1e9)


def _stage_time(stage: str, figures: StageFigures, latency: Latency) -> StageTime:
    wait = wait_of_stage_ms(stage, latency)
    return StageTime(
        p50_ms=figures.p50_ms,
        p99_ms=figures.p99_ms,
        own_p50_ms=max(0.0, figures.p50_ms - wait),
        own_p99_ms=max(0.0, figures.p99_ms - wait),
    )


def _answer(row: Row) -> str:
    return f"{row.code} {row.status} {row.error[:120]}".strip()


def find_lies(rows: Sequence[Row], before: Seen, after: Seen) -> tuple[str, ...]:
    """Hold the answers against what the upstream saw: one distinct swap for each SUCCESS, and none for anything else."""
    good = [row for row in rows if row.status == "SUCCESS"]
    signatures = Counter(row.signature for row in good)
    lies = [f"{count} trades have the signature {signature}" for signature, count in signatures.items() if count > 1]
    if after.arrivals is not None:
        lies += [
            f"{row.request_id} is SUCCESS, but its swap was never sent" for row in good if row.signature not in after.arrivals
        ]
        found = [(row, after.arrivals[row.signature]) for row in good if row.signature in after.arrivals]
        lies += [f"{row.request_id} is SUCCESS, but did not land" for row, arrival in found if not arrival.landed]
        lies += [f"{row.request_id} swapped {arrival.swaps} times" for row, arrival in found if arrival.swaps != 1]
    swaps = after.swaps - before.swaps
    unknown = sum(row.status == "PENDING" or row.code in ("DEADLINE_EXCEEDED", "CANCELLED") for row in rows)
    if not len(good) <= swaps <= len(good) + unknown:
        lies.append(f"{swaps} swaps were made for {len(good)} trades that are SUCCESS and {unknown} that are not known")
    return tuple(lies)


@frozen(kw_only=True)
class Summary:
    """Several runs of the same."""

    median: Figures
    lowest: Figures
    highest: Figures
    stages: Mapping[str, StageTime]
    runs: int

    def as_dict(self, *names: str) -> dict[str, object]:
        """The medians, the named ones first, and of these the spread."""
        values = {name: _rounded(value) for name, value in asdict(self.median).items()}
        spread = {name: [_rounded(getattr(self.lowest, name)), _rounded(getattr(self.highest, name))] for name in names}
        return {**{name: values[name] for name in names}, **values, "runs": self.runs, "spread": spread}


def summary_of(results: Sequence[Result]) -> Summary:
    """Take medians, one by one."""
    all_figures = [result.figures for result in results]
    names = [attribute.name for attribute in fields(Figures)]
    columns = {name: [getattr(figures, name) for figures in all_figures] for name in names}
    return Summary(
        median=Figures(**{name: median(column) for name, column in columns.items()}),
        lowest=Figures(**{name: min(column) for name, column in columns.items()}),
        highest=Figures(**{name: max(column) for name, column in columns.items()}),
        stages=_median_stages([result.stages for result in results]),
        runs=len(results),
    )


def _median_stages(runs: Sequence[Mapping[str, StageTime]]) -> Mapping[str, StageTime]:
    names = dict.fromkeys(name for run in runs for name in run)
    parts = [attribute.name for attribute in fields(StageTime)]
    return {
        name: StageTime(**{part: median(getattr(run[name], part) for run in runs if name in run) for part in parts})
        for name in names
    }


def stages_as_dict(stages: Mapping[str, StageTime]) -> dict[str, object]:
    """As JSON's types."""
    return {name: {part: _rounded(value) for part, value in asdict(time).items()} for name, time in stages.items()}


def _rounded(value: float) -> float | None:
    """Three digits after the point; JSON knows no NaN."""
    return None if value != value else round(value, 3)

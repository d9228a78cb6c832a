"""Says it: to people as tables, to programs as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from tests.bench.figures import Figures, Result, Summary, stages_as_dict
from tests.bench.judge import Verdict
from tests.bench.plan import NO_LATENCY, USUAL_LATENCY, Cell
from tests.bench.upstreams import Latency

OF_RATES = (
    "achieved_per_s",
    "own_p50_ms",
    "own_p99_ms",
    "broadcast_p50_ms",
    "broadcast_p99_ms",
    "journal_p50_ms",
    "journal_p99_ms",
    "commits_per_s",
    "core_share",
)
OF_CLOSED = ("broadcast_p50_ms", "broadcast_p99_ms", "cpu_ms_per_trade")
Summaries = Mapping[Cell, Summary]


@frozen(kw_only=True)
class Measured:
    """All of one tree."""

    tree: str
    summaries: Summaries


def as_json(
    measured: Measured, *, facts: Mapping[str, object], verdicts: Sequence[Verdict], lies: Sequence[str]
) -> dict[str, Any]:
    """The last line of --json: rates at the usual latency and closed loops without, where both were run."""
    short = {cell: summary for cell, summary in measured.summaries.items() if not cell.sustained}
    sustained = {cell: summary for cell, summary in measured.summaries.items() if cell.sustained}
    of_rates, of_closed = _preferred(short, "rate", USUAL_LATENCY), _preferred(short, "callers", NO_LATENCY)
    other_rates, other_closed = _other(short, "rate", of_rates), _other(short, "callers", of_closed)
    return {
        "rates": _rates(short, of_rates),
        "closed": _closed(short, of_closed),
        "stages": _stages(short, of_rates),
        "sustained": _rates(sustained, None),
        "other_latency": {
            "rates": _rates(short, other_rates),
            "closed": _closed(short, other_closed),
            "stages": _stages(short, other_rates),
        },
        "latency": {"rates": _name(of_rates), "closed": _name(of_closed)},
        "verdicts": [{"promise": v.promise, "measured": round(v.measured, 3), "unit": v.unit, "met": v.met} for v in verdicts],
        "lies": list(lies),
        "tree": measured.tree,
        **facts,
    }


def _preferred(summaries: Summaries, kind: str, latency: Latency) -> Latency | None:
    there = [cell.latency for cell in summaries if getattr(cell, kind)]
    return latency if latency in there else next(iter(there), None)


def _other(summaries: Summaries, kind: str, shown: Latency | None) -> Latency | None:
    return next((cell.latency for cell in summaries if getattr(cell, kind) and cell.latency != shown), NOWHERE)


NOWHERE = Latency(jupiter_ms=-1, rpc_ms=-1)


def _name(latency: Latency | None) -> dict[str, int] | None:
    return None if latency is None else {"jupiter_ms": latency.jupiter_ms, "rpc_ms": latency.rpc_ms}


def _rates(summaries: Summaries, latency: Latency | None) -> dict[str, object]:
    return {
        str(cell.rate): summary.as_dict(*OF_RATES)
        for cell, summary in summaries.items()
        if cell.rate and latency in (None, cell.latency)
    }


def _closed(summaries: Summaries, latency: Latency | None) -> dict[str, object]:
    return {
        str(cell.callers): {"per_s": round(summary.median.achieved_per_s, 3), **summary.as_dict(*OF_CLOSED)}
        for cell, summary in summaries.items()
        if cell.callers and latency in (None, cell.latency)
    }


def _stages(summaries: Summaries, latency: Latency | None) -> dict[str, object]:
    """Of the highest rate; without any, of whatever was run."""
    cells = [cell for cell in summaries if latency in (None, cell.latency)]
    return stages_as_dict(summaries[max(cells, key=lambda cell: cell.rate)].stages) if cells else {}


def row_text(cell: Cell, tree: str, result: Result) -> str:
    """One run, when it is over."""
    figures = result.figures
    failed = "".join(f"\n    {count} x {answer}" for answer, count in result.failures.items())
    lies = "".join(f"\n    LIE: {lie}" for lie in result.lies)
    return f"{cell.name} [{tree}]: {_short(figures)}{failed}{lies}"


def _short(figures: Figures) -> str:
    return (
        f"{figures.succeeded:g} of {figures.trades:g} at {figures.achieved_per_s:.1f}/s, "
        f"broadcast p50 {figures.broadcast_p50_ms:.1f} p99 {figures.broadcast_p99_ms:.1f} ms, "
        f"own p50 {figures.own_p50_ms:.1f} p99 {figures.own_p99_ms:.1f} ms, "
        f"journal p50 {figures.journal_p50_ms:.2f} p99 {figures.journal_p99_ms:.2f} ms at {figures.commits_per_s:.0f} commits/s, "
        f"{figures.cpu_ms_per_trade:.2f} ms CPU a trade, {figures.core_share:.0%} of a core "
        f"(waited for it {figures.core_wait_share:.0%})"
    )


_COLUMNS = (
    ("trades/s", "achieved_per_s", "{:.1f}"),
    ("broadcast p50", "broadcast_p50_ms", "{:.1f}"),
    ("p99 ms", "broadcast_p99_ms", "{:.1f}"),
    ("own p50", "own_p50_ms", "{:.1f}"),
    ("p99 ms", "own_p99_ms", "{:.1f}"),
    ("journal p50", "journal_p50_ms", "{:.2f}"),
    ("p99 ms", "journal_p99_ms", "{:.2f}"),
    ("commits/s", "commits_per_s", "{:.0f}"),
    ("CPU ms/trade", "cpu_ms_per_trade", "{:.2f}"),
    ("core", "core_share", "{:.2f}"),
    ("wait for core", "core_wait_share", "{:.2f}"),
    ("RSS MiB", "rss_mib", "{:.0f}"),
    ("upstream core", "upstream_core_share", "{:.2f}"),
)


def table_text(measured: Measured) -> str:
    """Medians, with lowest to highest where there were several runs; then the stages of the highest rate."""
    lines = [f"-- {measured.tree}: medians (lowest-highest)", _line("", [title for title, _, _ in _COLUMNS])]
    lines += [
        _line(cell.name, [_spread(summary, name, form) for _, name, form in _COLUMNS])
        for cell, summary in measured.summaries.items()
    ]
    return "\n".join([*lines, "", *_stage_lines(measured.summaries)])


def _spread(summary: Summary, name: str, form: str) -> str:
    middle = form.format(getattr(summary.median, name))
    if summary.runs == 1:
        return middle
    return f"{middle} ({form.format(getattr(summary.lowest, name))}-{form.format(getattr(summary.highest, name))})"


def _line(title: str, columns: Sequence[str]) -> str:
    return f"{title:32}" + "".join(f"{column:>24}" for column in columns)


def _stage_lines(summaries: Summaries) -> list[str]:
    cell = max(summaries, key=lambda cell: (cell.rate, cell.latency == USUAL_LATENCY, not cell.sustained))
    lines = [
        f"-- stages, {cell.name}: ms, waits for upstreams included | without them",
        f"{'':14}{'p50':>10}{'p99':>10} |{'p50':>10}{'p99':>10}",
    ]
    lines += [
        f"{name:14}{time.p50_ms:10.3f}{time.p99_ms:10.3f} |{time.own_p50_ms:10.3f}{time.own_p99_ms:10.3f}"
        for name, time in summaries[cell].stages.items()
    ]
    return lines


def comparison(own: Measured, other: Measured) -> dict[str, dict[str, float | None]]:
    """By cell and figure: this tree's median over the other's."""
    names = ("achieved_per_s", "broadcast_p50_ms", "broadcast_p99_ms", "own_p50_ms", "own_p99_ms", "cpu_ms_per_trade", "rss_mib")
    return {
        cell.name: {name: _ratio(getattr(summary.median, name), getattr(other.summaries[cell].median, name)) for name in names}
        for cell, summary in own.summaries.items()
        if cell in other.summaries
    }


def _ratio(ours: float, theirs: float) -> float | None:
    return round(ours / theirs, 3) if theirs > 0 and ours == ours else None


def comparison_text(ratios: Mapping[str, Mapping[str, float | None]], own: Measured, other: Measured) -> str:
    """For people."""
    lines = [f"-- {own.tree} / {other.tree}"]
    for cell, figures in ratios.items():
        lines.append(
            f"{cell:32}" + "  ".join(f"{name} {'-' if ratio is None else f'{ratio:.2f}x'}" for name, ratio in figures.items())
        )
    return "\n".join(lines)

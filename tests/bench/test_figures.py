"""The arithmetic of the benchmark, on runs whose every time is known."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.daemon import StageFigures, Used, parse_used
from tests.bench.figures import (
    Evidence,
    Figures,
    find_lies,
    result_of,
    span,
    summary_of,
    wait_of_stage_ms,
    waits_before_broadcast_ms,
)
from tests.bench.load import Row
from tests.bench.plan import NO_LATENCY, USUAL_LATENCY
from tests.bench.upstreams import Arrival, Latency, Seen, parse_stats

MS = 1_000_000
NOTHING_SEEN = Seen(swaps=0, arrivals={}, requests={}, cpu_ns=0)


def make_row(number: int, **changes: Any) -> Row:
    """Trade `number` of a run at 10/s: begun on time, sent 60 ms later (55 as the daemon says), answered after 900 ms."""
    started = number * 100 * MS
    row = Row(
        request_id=f"request-{number}",
        amount=1_000 + number,
        lag_ns=0,
        started_unix_ns=started,
        ended_unix_ns=started + 900 * MS,
        code="OK",
        status="SUCCESS",
        error="",
        signature=f"signature-{number}",
        broadcast_us=55_000,
    )
    return evolve(row, **changes)


def seen_of(*rows: Row, swaps: int = 1) -> Seen:
    """An upstream that saw each trade's first send 60 ms after its start."""
    arrivals = {row.signature: Arrival(first_unix_ns=row.started_unix_ns + 60 * MS, swaps=swaps, landed=True) for row in rows}
    return Seen(swaps=swaps * len(rows), arrivals=arrivals, requests={}, cpu_ns=200_000_000)


def make_used(at: float, user: float, **changes: Any) -> Used:
    """A process at a moment."""
    used = Used(
        at=at,
        user_seconds=user,
        system_seconds=0.1,
        main_thread_seconds=0.0,
        waited_seconds=0.0,
        rss_bytes=64 * 2**20,
        peak_rss_bytes=65 * 2**20,
    )
    return evolve(used, **changes)


def make_evidence(*rows: Row, **changes: Any) -> Evidence:
    """A run of 10 s that cost 1 s of CPU time, 0.75 s of it in the main thread."""
    evidence = Evidence(
        latency=USUAL_LATENCY,
        rows=rows,
        before=make_used(0.0, 2.0),
        after=make_used(10.0, 2.9, system_seconds=0.2, main_thread_seconds=0.75, waited_seconds=2.5),
        seen_before=NOTHING_SEEN,
        seen_after=seen_of(*rows),
        stages={"quote": StageFigures(count=9, p50_ms=23.0, p99_ms=31.0), "sign": StageFigures(count=9, p50_ms=0.25, p99_ms=0.5)},
        commits=150,
    )
    return evolve(evidence, **changes)


def test_a_run_in_figures() -> None:
    """Broadcast as the upstream saw it, own time as the daemon says less the waits, rates from answer to answer."""
    figures = result_of(make_evidence(*(make_row(number) for number in range(50)))).figures

    assert (figures.trades, figures.succeeded) == (50, 50)
    assert figures.achieved_per_s == pytest.approx(10.0)
    assert (figures.broadcast_p50_ms, figures.broadcast_p99_ms) == (60.0, 60.0)
    assert (figures.own_p50_ms, figures.own_p99_ms) == (5.0, 5.0)
    assert (figures.answer_p50_ms, figures.answer_p99_ms) == (900.0, 900.0)
    assert figures.core_share == pytest.approx(0.1)
    assert figures.core_wait_share == pytest.approx(0.25)
    assert figures.cpu_ms_per_trade == pytest.approx(20.0)
    assert figures.system_ms_per_trade == pytest.approx(2.0)
    assert figures.journal_thread_ms_per_trade == pytest.approx(5.0)
    assert figures.commits_per_s == pytest.approx(15.0)
    assert math.isnan(figures.journal_p99_ms)
    assert figures.upstream_core_share == pytest.approx(0.02)
    assert (figures.rss_mib, figures.peak_rss_mib) == (64.0, 65.0)


def test_waits_are_those_on_the_way() -> None:
    """Balances are read beside the quote: the longer of the two counts, then the instructions, then the simulation."""
    assert waits_before_broadcast_ms(USUAL_LATENCY) == 50
    assert waits_before_broadcast_ms(Latency(jupiter_ms=1, rpc_ms=30)) == 61
    assert waits_before_broadcast_ms(NO_LATENCY) == 0
    waits = {
        stage: wait_of_stage_ms(stage, USUAL_LATENCY) for stage in ("quote", "balances", "verify", "sign", "record", "monitor")
    }
    assert waits == {"quote": 20, "balances": 10, "verify": 0, "sign": 0, "record": 10, "monitor": 0}


def test_a_stage_without_its_waits() -> None:
    """What the upstream took is taken out of the stages that ask it, and only of them."""
    stages = result_of(make_evidence(make_row(0))).stages

    assert (stages["quote"].p50_ms, stages["quote"].own_p50_ms, stages["quote"].own_p99_ms) == (23.0, 3.0, 11.0)
    assert (stages["sign"].p99_ms, stages["sign"].own_p99_ms) == (0.5, 0.5)


def test_an_upstream_without_times_leaves_the_word_to_the_daemon() -> None:
    """The localnet keeps no times of sends."""
    rows = [make_row(0), make_row(1)]
    seen = evolve(seen_of(*rows), arrivals=None)

    assert result_of(make_evidence(*rows, seen_after=seen)).figures.broadcast_p50_ms == 55.0


def test_nothing_succeeded_is_no_crash() -> None:
    """A run that was refused throughout has no latencies and no rate; the refusals are told."""
    refused = make_row(0, code="UNAVAILABLE", status="", error="halted", signature="")
    result = result_of(make_evidence(refused, seen_after=NOTHING_SEEN))

    assert math.isnan(result.figures.broadcast_p99_ms)
    assert result.figures.achieved_per_s == 0.0
    assert result.failures == {"UNAVAILABLE  halted": 1}
    assert result.lies == ()
    assert summary_of([result]).as_dict("broadcast_p99_ms")["broadcast_p99_ms"] is None


LIES: Mapping[str, tuple[list[Row], Seen, str]] = {
    "made twice": ([make_row(0)], seen_of(make_row(0), swaps=2), "request-0 swapped 2 times"),
    "made besides": ([make_row(0)], seen_of(make_row(0), make_row(1)), "2 swaps were made for 1 trades"),
    "never sent": ([make_row(0), make_row(1)], seen_of(make_row(0)), "request-1 is SUCCESS, but its swap was never sent"),
    "one for two": ([make_row(0), make_row(0, request_id="b")], seen_of(make_row(0)), "2 trades have the signature signature-0"),
    "failed, but swapped": ([make_row(0, status="FAILED")], seen_of(make_row(0)), "1 swaps were made for 0 trades"),
    "did not land": (
        [make_row(0)],
        evolve(seen_of(make_row(0)), arrivals={"signature-0": Arrival(first_unix_ns=0, swaps=1, landed=False)}),
        "request-0 is SUCCESS, but did not land",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_trade_made_twice_or_lost_is_a_lie(name: str) -> None:
    """Whatever the daemon answered: what the upstream saw decides."""
    rows, seen, lie = LIES[name]

    assert any(lie in found for found in find_lies(rows, NOTHING_SEEN, seen)), find_lies(rows, NOTHING_SEEN, seen)


def test_what_is_not_known_is_no_lie() -> None:
    """PENDING may have swapped or not; what was there before the run counts for nothing."""
    pending = make_row(1, status="PENDING")
    for swaps in (1, 2):
        before, after = evolve(NOTHING_SEEN, swaps=5), evolve(seen_of(make_row(0)), swaps=5 + swaps)
        assert find_lies([make_row(0), pending], before, after) == ()


@given(st.lists(st.integers(0, 10**6).map(float), min_size=1, max_size=300))
def test_percentiles_are_values_that_were_measured(values: list[float]) -> None:
    """Nearest rank: half of the values, and 99 of 100, are not above it; fewer are below."""
    found = span(values)

    for percent, value in ((50, found.p50), (99, found.p99)):
        assert value in values
        assert sum(v <= value for v in values) * 100 >= percent * len(values)
        assert sum(v < value for v in values) * 100 < percent * len(values)


def test_medians_and_spread_of_several_runs() -> None:
    """Figure by figure, and stage by stage."""
    results = [result_of(make_evidence(*(make_row(n, broadcast_us=us) for n in range(3)))) for us in (51_000, 58_000, 52_000)]
    summary = summary_of(results)

    assert summary.runs == 3
    assert (summary.lowest.own_p50_ms, summary.median.own_p50_ms, summary.highest.own_p50_ms) == (1.0, 2.0, 8.0)
    assert summary.as_dict("own_p50_ms")["spread"] == {"own_p50_ms": [1.0, 8.0]}
    assert summary.stages["quote"].own_p99_ms == 11.0
    assert isinstance(summary.median, Figures)


def test_proc_is_read_whatever_the_command_is_called() -> None:
    """A parenthesis or a space in its name moves no field."""
    stat = "42 (py) thon) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 2 0 1 1 1"
    status = "Name:\tpython\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n"
    used = parse_used(stat, main_thread=stat, status=status, schedule="7 1500000000 9\n", at=1.0)

    assert used.user_seconds == 5 * used.system_seconds
    assert used.main_thread_seconds == used.cpu_seconds
    assert used.waited_seconds == 1.5
    assert parse_used(stat, main_thread=stat, status=status, schedule="", at=1.0).waited_seconds == 0.0
    assert (used.rss_bytes, used.peak_rss_bytes) == (2**20, 2**21)


def test_statistics_of_the_stand_in() -> None:
    """Swaps of all wallets; null stands for none."""
    seen = parse_stats(
        {
            "cpu_ns": 7,
            "requests": {"quote": 3},
            "transactions": {
                "wallets": {"a": {"swaps": 2}, "b": {"swaps": 1}},
                "signatures": {
                    "s": {"first_unix_ns": 5, "swaps": [{}], "landed": True},
                    "t": {"first_unix_ns": 6, "swaps": None, "landed": False},
                },
            },
        }
    )

    assert (seen.swaps, seen.cpu_ns, seen.requests) == (3, 7, {"quote": 3})
    assert seen.arrivals is not None
    assert [arrival.swaps for arrival in seen.arrivals.values()] == [1, 0]

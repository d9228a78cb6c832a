"""What is run in which order, and how it is judged."""

from attrs import evolve

from tests.bench.figures import Figures, StageTime, Summary
from tests.bench.judge import judge
from tests.bench.plan import (
    NO_LATENCY,
    REALISTIC,
    USUAL_LATENCY,
    Cell,
    Plan,
    full_plan,
    in_order,
    lasting,
    on_localnet,
    quick_plan,
)
from tests.bench.report import Measured, as_json, comparison, comparison_text, table_text

SECONDS_BESIDES = 4.0
"""Of a run: starting and stopping upstream, daemon and caller."""
FIGURES = Figures(
    trades=1_000,
    succeeded=1_000,
    achieved_per_s=100.0,
    own_p50_ms=5.0,
    own_p99_ms=9.0,
    broadcast_p50_ms=60.0,
    broadcast_p99_ms=80.0,
    answer_p50_ms=900.0,
    answer_p99_ms=950.0,
    core_share=0.5,
    core_wait_share=0.01,
    cpu_ms_per_trade=5.0,
    system_ms_per_trade=0.5,
    journal_thread_ms_per_trade=0.2,
    journal_p50_ms=0.5,
    journal_p99_ms=2.0,
    commits_per_s=150.0,
    upstream_core_share=0.1,
    rss_mib=70.0,
    peak_rss_mib=71.0,
    caller_lag_p99_ms=0.2,
)


def make_summary(figures: Figures = FIGURES, **stages_p99_ms: float) -> Summary:
    """Three equal runs."""
    of_stages = {"validation": 0.1, "build": 30.0, "sign": 1.0} | stages_p99_ms
    times = {
        name: StageTime(p50_ms=p99 / 2, p99_ms=p99, own_p50_ms=p99 / 4, own_p99_ms=p99 / 3) for name, p99 in of_stages.items()
    }
    return Summary(median=figures, lowest=figures, highest=figures, stages=times, runs=3)


def make_cell(*, rate: int = 0, callers: int = 0) -> Cell:
    """A load; with a rate at the usual latency, with callers without any."""
    latency = NO_LATENCY if callers else USUAL_LATENCY
    return Cell(rate=rate, callers=callers, latency=latency, chain=REALISTIC, seconds=10.0)


RATE, CLOSED = make_cell(rate=100), make_cell(callers=32)


def test_two_trees_take_turns() -> None:
    """A B, B A, A B; what is sustained is run once, of the first alone."""
    plan = Plan(cells=[RATE, evolve(RATE, sustained=True)], repeats=3)

    order = [(cell.sustained, tree) for cell, tree in in_order(plan, ["a", "b"])]
    assert order == [*((False, tree) for tree in "abbaab"), (True, "a")]


def test_plans_are_as_short_as_they_say() -> None:
    """A full run takes less than 8 minutes, a quick one less than one."""
    for plan, most in ((full_plan(), 480), (quick_plan(), 60)):
        assert sum(cell.seconds + SECONDS_BESIDES for cell, _ in in_order(plan, ["a"])) < most


def test_another_length_is_not_for_what_is_sustained() -> None:
    """60 s are what is promised."""
    lengths = {cell.sustained: cell.seconds for cell in lasting(full_plan(), 2.0).cells}
    assert lengths == {False: 2.0, True: 60.0}


def test_the_localnet_has_one_latency() -> None:
    """So each load is run once."""
    cells = on_localnet(full_plan()).cells
    assert len(cells) == len({(cell.rate, cell.callers, cell.seconds) for cell in cells})
    assert {cell.latency for cell in cells} == {NO_LATENCY}


def test_the_specification_is_met() -> None:
    """All limits are judged, each once."""
    verdicts = judge({RATE: make_summary(), CLOSED: make_summary(evolve(FIGURES, achieved_per_s=124.0))})

    assert all(verdict.met for verdict in verdicts)
    assert len(verdicts) == 6


def test_each_limit_can_be_missed() -> None:
    """At the limit is not below it; a refused trade is not sustained; nothing measured is not met."""
    slow = evolve(FIGURES, broadcast_p99_ms=100.0, achieved_per_s=98.9)
    verdicts = judge(
        {
            RATE: make_summary(slow, validation=5.0, build=50.0, sign=10.0),
            CLOSED: make_summary(evolve(FIGURES, achieved_per_s=123.0)),
        }
    )
    assert not any(verdict.met for verdict in verdicts)
    refused, nothing = evolve(FIGURES, succeeded=999), evolve(FIGURES, broadcast_p99_ms=float("nan"))
    assert [v.met for v in judge({RATE: make_summary(refused)})] == [True, True, True, True, False]
    assert not judge({RATE: make_summary(nothing)})[0].met


def test_the_last_line_has_the_agreed_shape() -> None:
    """What programs read off it stands where it was agreed."""
    measured = Measured(tree="a", summaries={RATE: make_summary(), CLOSED: make_summary()})
    last = as_json(measured, facts={"upstream": "stand-in"}, verdicts=judge(measured.summaries), lies=["x"])

    rate, closed, stage = last["rates"]["100"], last["closed"]["32"], last["stages"]["validation"]
    agreed = {"achieved_per_s", "own_p50_ms", "own_p99_ms", "broadcast_p50_ms", "broadcast_p99_ms", "core_share"}
    assert agreed <= set(rate)
    assert {"per_s", "broadcast_p50_ms", "broadcast_p99_ms", "cpu_ms_per_trade"} <= set(closed)
    assert {"p50_ms", "p99_ms"} <= set(stage)
    assert (rate["broadcast_p99_ms"], closed["per_s"], stage["p99_ms"]) == (80.0, 100.0, 0.1)
    assert last["latency"] == {"rates": {"jupiter_ms": 20, "rpc_ms": 10}, "closed": {"jupiter_ms": 0, "rpc_ms": 0}}
    assert (last["lies"], last["upstream"]) == (["x"], "stand-in")


def test_two_trees_are_compared_cell_by_cell() -> None:
    """This tree's median over the other's; what only one of them ran is left out."""
    own = Measured(tree="a", summaries={RATE: make_summary(), CLOSED: make_summary()})
    other = Measured(tree="b", summaries={RATE: make_summary(evolve(FIGURES, cpu_ms_per_trade=10.0, own_p50_ms=0.0))})

    ratios = comparison(own, other)
    assert list(ratios) == [RATE.name]
    assert (ratios[RATE.name]["cpu_ms_per_trade"], ratios[RATE.name]["own_p50_ms"]) == (0.5, None)
    assert "0.50x" in comparison_text(ratios, own, other)
    assert "100/s at 20/10 ms" in table_text(own)

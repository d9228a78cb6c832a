import os
import random
import subprocess
import sys

import pytest
from attrs import evolve

from tests.simulation import planted
from tests.simulation.climate import MOODS, Climate
from tests.simulation.history import HistoryResult, HistorySeed, run_history
from tests.simulation.run import Sum, run, shortest

pytestmark = pytest.mark.slow

SHORT = HistorySeed(seed=7, number=0, trades=60)
CRASHY = Climate(crash_steps=1_500, crash_at_commit=0.01, crash_at_send=0.01, trades_per_second=25.0)


def test_no_promise_is_broken_in_a_calm_world() -> None:
    """Nearly all of what is asked for succeeds, and nothing is wrong."""
    result = run_history(SHORT, climate=Climate())

    assert result.judgement.sentences == ()
    assert result.judgement.words["SUCCEEDED"] >= 40


def test_no_promise_is_broken_by_crashes() -> None:
    """The daemon dies several times in the middle of its work, and every trade has its one outcome."""
    result = run_history(evolve(SHORT, trades=90), climate=CRASHY)

    assert result.judgement.sentences == ()
    assert result.crashes >= 2
    assert result.judgement.words["SUCCEEDED"] >= 30


def test_no_promise_is_broken_when_all_goes_wrong_at_once() -> None:
    """Every mood on top of the other."""
    climate = CRASHY
    for mood in MOODS.values():
        climate = mood(climate, random.Random(3))  # noqa: S311 - repeatable on purpose
    result = run_history(climate=evolve(climate, poor=False), of=SHORT)

    assert result.judgement.sentences == ()
    assert result.faults > 100


def test_a_history_is_the_same_when_it_is_run_again() -> None:
    """To the last line, not only to the hash; what is drawn differs with the seed."""
    first, second = (run_history(evolve(SHORT, number=2, trades=40), keep_lines=True) for _ in range(2))
    other = run_history(evolve(SHORT, number=2, trades=40, seed=8))

    assert first.lines == second.lines
    assert first.digest == second.digest != other.digest


def test_a_history_is_the_same_in_another_process() -> None:
    """Nothing of it follows from addresses in memory, or from how strings are hashed here."""
    command = [sys.executable, "-m", "tests.chaos", "simulate", "--seed", "7", "--trades", "30", "--json"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    found = {subprocess.run(command, check=True, capture_output=True, env=environment).stdout for _ in range(2)}

    assert len(found) == 1


def test_a_shorter_history_is_the_beginning_of_a_longer_one() -> None:
    """Otherwise a failure could not be narrowed down to its first trades."""
    longer, shorter = (run_history(evolve(SHORT, trades=trades), climate=Climate(), keep_lines=True) for trades in (40, 30))
    asked = [[line for line in result.lines if "SUCCEEDED" in line] for result in (longer, shorter)]
    requests = [{line.split()[3] for line in lines} for lines in asked]

    assert requests[1] < requests[0]


def test_a_planted_bug_is_found_and_taken_out_again() -> None:
    """What the simulator finds while the bug is there, it does not find afterwards."""
    bug = planted.BUGS["released-twice"]
    with planted.planted(bug):
        found = run_history(SHORT, climate=Climate())
    well = run_history(SHORT, climate=Climate())

    assert found.judgement.counts["leaked_reservations"] == 1
    assert well.judgement.sound


def test_the_shortest_failing_beginning_is_found() -> None:
    """By halves: one trade fewer passes."""
    tried: list[str] = []
    with planted.planted(planted.BUGS["amount-from-quote"]):
        least = shortest(_failing(), tell=tried.append)

    assert not least.judgement.sound
    assert least.of.trades < SHORT.trades
    assert tried


def _failing() -> HistoryResult:
    result = run_history(SHORT)
    assert not result.judgement.sound
    return result


def test_a_run_sums_its_histories_up() -> None:
    """Counts, and one hash over the hashes of all."""
    told: list[str] = []
    found: Sum = run(7, 60, tell=told.append)

    assert (found.trades, found.failed) == (60, ())
    assert '"duplicates": 0, "lost": 0, "false_failed": 0, "false_success": 0, "amount_mismatches": 0' in found.json()
    assert told


def test_enough_bugs_are_planted() -> None:
    """At least twelve, each of them a function that there is."""
    assert len(planted.BUGS) >= 12
    for bug in planted.BUGS.values():
        assert callable(getattr(bug.owner, bug.name))
        assert getattr(bug.owner, bug.name) is not bug.instead

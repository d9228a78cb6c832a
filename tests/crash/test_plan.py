"""The rounds: each point in its turn, each swap of its own, and the same again for the same seed."""

import subprocess
import sys
from collections import Counter

import pytest

from tests.crash import points
from tests.crash.plan import EQUAL_TRADES, plan_round

ALL_POINTS = len(points.ALL)


@pytest.mark.parametrize("seed", [1, 2])
def test_every_point_has_its_turn(seed: int) -> None:
    """Once in as many rounds as there are points, in an order of the seed's."""
    turns = [[plan_round(seed, ALL_POINTS * turn + i).point for i in range(ALL_POINTS)] for turn in (0, 1)]

    assert sorted(turns[0]) == sorted(turns[1]) == sorted(points.ALL)
    assert turns[0] != turns[1]


def test_a_round_can_be_made_again_by_itself() -> None:
    """It follows from the seed and its number, whatever was played before."""
    assert plan_round(5, 7) == plan_round(5, 7)
    assert plan_round(5, 7) != plan_round(6, 7)


def test_no_two_requests_ask_for_the_same_swap_unless_they_are_meant_to() -> None:
    """That is how a landed swap tells whose it is; also when a run goes on for long."""
    requests = [planned for number in range(400) for planned in plan_round(1, number).requests]
    swaps = Counter((planned.source, planned.target, planned.amount) for planned in requests)
    equal = {planned.request_id.rpartition("-")[0] for planned in requests if "equal" in planned.request_id}

    assert len({planned.request_id for planned in requests}) == len(requests)
    assert Counter(swaps.values())[EQUAL_TRADES] == len(equal) == 400
    assert set(swaps.values()) == {1, EQUAL_TRADES}


def test_the_child_knows_every_point_that_it_is_told_and_no_other() -> None:
    """In a process of its own: what it wraps stays wrapped."""
    program = (
        "import sys; from pathlib import Path; from tests.crash import child, points\n"
        "for point in [*points.IN_THE_CHILD, *sys.argv[1:]]: child.condemn(child.Sentence(point, 10**9, Path('/dev/null')))\n"
    )
    known, unknown = (
        subprocess.run([sys.executable, "-c", program, *more], check=False, capture_output=True, text=True)
        for more in ([], [points.AT_RANDOM])
    )

    assert (known.returncode, known.stderr) == (0, "")
    assert f"no such point: {points.AT_RANDOM!r}" in unknown.stderr

"""The simulator finds what was planted: here those that take a moment; `scripts/chaos planted` does all."""

import pytest

from tests.simulation.planted import BUGS, find

QUICK = ("equal-transactions", "never-released", "amount-from-quote", "told-before-durable", "other-content-accepted")
MOST_TRADES = 750
ASKED_FOR = 12
"""So many bugs at least."""


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_found(name: str) -> None:
    """Within so many trades, and the finding says what is wrong."""
    found = find(name, most=MOST_TRADES)

    assert found.by
    assert found.trades <= MOST_TRADES


def test_there_are_enough_of_them() -> None:
    """Each replaces one function that is there, by another one."""
    assert len(BUGS) >= ASKED_FOR
    for bug in BUGS.values():
        assert getattr(bug.owner, bug.name) is not bug.instead

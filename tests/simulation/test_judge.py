"""What the judge excuses in histories whose disk fails, and what it does not."""

import pytest
from attrs import evolve

from tests.chaos.checker import Told, Word
from tests.simulation.judge import _as_a_bad_disk_allows

SUCCESS = Told(word=Word.SUCCESS, signature="a", slot=7)
PENDING = Told(word=Word.PENDING, signature="a", asked_after=1)


def test_what_the_chain_proved_may_be_pending_once_more() -> None:
    """A crash lost it; the place of the answer among the others stays."""
    excused = Told(word=Word.NOTHING, asked_after=1)

    assert _as_a_bad_disk_allows((PENDING, SUCCESS, PENDING, SUCCESS)) == (PENDING, SUCCESS, excused, SUCCESS)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (SUCCESS, evolve(PENDING, signature="b")),
        (SUCCESS, evolve(PENDING, signature=None)),
        (SUCCESS, Told(word=Word.FAILED, signature="a")),
        (Told(word=Word.FAILED, signature="a", code="PRE_SEND_BUDGET_EXCEEDED"), PENDING),
        (Told(word=Word.FAILED), evolve(PENDING, signature=None)),
    ],
)
def test_nothing_else_is_excused(first: Told, then: Told) -> None:
    """Another signature, another end, or an end that only the process knew: the checker sees them."""
    assert _as_a_bad_disk_allows((first, then)) == (first, then)

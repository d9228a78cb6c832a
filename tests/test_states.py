"""How a trade may move, exhaustively: the table of DESIGN.md section 3, written down a second time."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.states import MOVES, TERMINAL, IllegalMove, State, move

ALLOWED = {
    ("ACCEPTED", "SIGNED"),
    ("ACCEPTED", "DENIED"),
    ("ACCEPTED", "REJECTED"),
    ("SIGNED", "SENT"),
    ("SIGNED", "SUCCEEDED"),
    ("SIGNED", "REVERTED"),
    ("SIGNED", "EXPIRED"),
    ("SIGNED", "REJECTED"),
    ("SENT", "SUCCEEDED"),
    ("SENT", "REVERTED"),
    ("SENT", "EXPIRED"),
    ("SENT", "REJECTED"),
}


@pytest.mark.parametrize(("current", "following"), list(itertools.product(State, State)))
def test_every_pair_is_either_a_move_or_a_bug(current: State, following: State) -> None:
    """What the table knows returns the new state; everything else raises, and names both states."""
    if (current.name, following.name) in ALLOWED:
        assert move(current, following) is following
    else:
        with pytest.raises(IllegalMove, match=rf"from {current.name} to {following.name}"):
            move(current, following)


def test_the_names_stand_in_the_journal() -> None:
    """Journals of earlier versions hold these values: they may be added to, never changed."""
    names = ["ACCEPTED", "SIGNED", "SENT", "SUCCEEDED", "REVERTED", "EXPIRED", "DENIED", "REJECTED"]

    assert [(state.name, state.value) for state in State] == [(name, name) for name in names]


def test_terminal_states_stand_in_the_table_with_no_way_out() -> None:
    """No state is missing, and exactly the five outcomes are ends."""
    assert set(MOVES) == set(State)
    assert {state.name for state in TERMINAL} == {"SUCCEEDED", "REVERTED", "EXPIRED", "DENIED", "REJECTED"}


@given(st.lists(st.sampled_from(State), max_size=12))
def test_no_walk_passes_an_outcome_or_reaches_sent_unsigned(wishes: list[State]) -> None:
    """However a trade is pushed: one outcome at most, SENT only after SIGNED, and DENIED never after SIGNED."""
    walk = [State.ACCEPTED]
    for wish in wishes:
        try:
            walk.append(move(walk[-1], wish))
        except IllegalMove:
            continue

    assert sum(state in TERMINAL for state in walk) <= 1
    assert len(walk) == len(set(walk))
    assert State.SENT not in walk or walk.index(State.SIGNED) < walk.index(State.SENT)
    assert not {State.DENIED, State.SIGNED} <= set(walk)

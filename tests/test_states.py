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


@pytest.mark.parametrize("state", State)
def test_every_state_can_be_reached_and_can_end(state: State) -> None:
    """Whatever a trade went through, there is a way from its acceptance to there, and from there to an end."""
    assert state in reachable(State.ACCEPTED)
    assert reachable(state) & TERMINAL


@pytest.mark.parametrize("state", [state for state in State if state not in TERMINAL])
def test_whatever_may_have_left_can_be_proved_either_way(state: State) -> None:
    """Before the signature a trade can be refused, after it never by us; from there on every word of the chain has its state."""
    words_of_the_chain = {State.SUCCEEDED, State.REVERTED, State.EXPIRED}
    may_have_left = state is not State.ACCEPTED

    assert words_of_the_chain <= reachable(state)
    assert (words_of_the_chain <= MOVES[state]) is may_have_left
    assert (State.DENIED in reachable(state)) is not may_have_left


def test_no_trade_comes_back_to_a_state() -> None:
    """So a life of a request has an end, and four entries at most."""
    assert all(state not in set().union(*map(reachable, MOVES[state])) for state in State)
    assert longest(State.ACCEPTED) == 4


def test_terminal_states_move_nowhere_and_nothing_happens() -> None:
    """Not even to themselves: an outcome is told once."""
    for state, wish in itertools.product(TERMINAL, State):
        with pytest.raises(IllegalMove):
            move(state, wish)


def longest(state: State) -> int:
    """How many states a trade may have from there on, that one included."""
    return 1 + max(map(longest, MOVES[state]), default=0)


def reachable(state: State) -> set[State]:
    """The states that a trade may come to from there, that one included."""
    return {state}.union(*(reachable(following) for following in MOVES[state]))

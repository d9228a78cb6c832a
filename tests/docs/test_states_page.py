"""docs/states.md is what the code says."""

from pathlib import Path

import pytest

from executor.states import MOVES, TERMINAL, State
from tests.docs.states_page import CAUSES, MEANINGS, PAGE, TOLD, main, page


def test_the_committed_page_is_what_the_code_gives() -> None:
    """Otherwise scripts/states has to be run."""
    assert PAGE.read_text() == page()


def test_every_state_and_every_move_has_its_words() -> None:
    """And nothing that the table does not know has any."""
    assert set(MEANINGS) == set(TOLD) == set(State)
    assert set(CAUSES) == {(state, following) for state, ways_out in MOVES.items() for following in ways_out}


def test_the_diagram_has_every_move_and_no_other() -> None:
    """One arrow for each move, one into ACCEPTED, and one out of each terminal state."""
    arrows = {tuple(line.split(" --> ")) for line in map(str.strip, page().splitlines()) if " --> " in line}
    moves = {(state.name, following.name) for state, ways_out in MOVES.items() for following in ways_out}

    assert arrows == moves | {("[*]", "ACCEPTED")} | {(state.name, "[*]") for state in TERMINAL}


def test_the_check_fails_when_the_page_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And shows how; it writes nothing. What was just written passes."""
    file = tmp_path / "states.md"

    assert main(["--check"], file=file) == 1
    assert not file.exists()
    assert main([], file=file) == 0
    assert main(["--check"], file=file) == 0
    file.write_text(page().replace("SIGNED --> SENT", "SENT --> SIGNED"))
    capsys.readouterr()
    assert main(["--check"], file=file) == 1
    told = capsys.readouterr()
    assert "-    SENT --> SIGNED" in told.out
    assert "out of date" in told.err

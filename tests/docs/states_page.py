"""Writes docs/states.md from the table of states: scripts/states."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from executor.states import MOVES, TERMINAL, State
from tests.docs.generated import write_or_check

PAGE = Path(__file__).parents[2] / "docs" / "states.md"

MEANINGS: Mapping[State, str] = {
    State.ACCEPTED: "it passed the rules that need no I/O; nothing is signed",
    State.SIGNED: "signature, last valid block height and wire bytes are on disk; a restart sends these bytes",
    State.SENT: "a byte may have left; it may land until its last valid block height",
    State.SUCCEEDED: "the chain says so, at `confirmed`; the amounts are the wallet's own",
    State.REVERTED: "it landed and failed: the network fee is paid, nothing was swapped",
    State.EXPIRED: "proved never to land: the block height is passed, and every node was asked",
    State.DENIED: "a rule of ours refused; nothing was signed. The same request may be asked for again",
    State.REJECTED: "proved not accepted by others, or given up before a byte left; nothing was swapped, and nothing will be",
}
TOLD: Mapping[State, str] = {
    State.ACCEPTED: "PENDING",
    State.SIGNED: "PENDING, with the signature",
    State.SENT: "PENDING, with the signature",
    State.SUCCEEDED: "SUCCESS",
    State.REVERTED: "FAILED",
    State.EXPIRED: "FAILED",
    State.DENIED: "an error status; FAILED by `WatchTrade`",
    State.REJECTED: "FAILED",
}
CAUSES: Mapping[tuple[State, State], str] = {
    (State.ACCEPTED, State.SIGNED): "quoted, built, verified, simulated and signed within the budget; the entry is on disk",
    (State.ACCEPTED, State.DENIED): (
        "balance, price or fee account; or, before it signed, trading was halted or the daemon drained; or the journal refused "
        "SIGNED"
    ),
    (State.ACCEPTED, State.REJECTED): (
        "Jupiter, the simulation or every node said no; the budget ended; the disk failed SIGNED; or the daemon died before it "
        "signed"
    ),
    (State.SIGNED, State.SENT): "the first byte leaves; the entry is not waited for",
    (State.SIGNED, State.SUCCEEDED): "as from SENT, when the disk failed the entry SENT",
    (State.SIGNED, State.REVERTED): "as from SENT, when the disk failed the entry SENT",
    (State.SIGNED, State.EXPIRED): "as from SENT, when the disk failed the entry SENT",
    (State.SIGNED, State.REJECTED): "the budget ended while the disk was waited for, and no byte left",
    (State.SENT, State.SUCCEEDED): "the transaction itself was read, and has no error",
    (State.SENT, State.REVERTED): "the transaction itself was read, and has an error",
    (State.SENT, State.EXPIRED): "its block height is passed at `confirmed`, and no node knows it, its history included",
}


def page() -> str:
    """The page, from the code as it is."""
    return "\n".join([*_head(), "", *_diagram(), "", *_states(), "", *_moves(), ""])


def _head() -> Iterator[str]:
    yield "# The states of a trade"
    yield "Made by `scripts/states` from the table in `executor/states.py`; change that, not this page. `scripts/check` holds it."
    yield ""
    yield "One function moves a trade, and knows no other moves than these. Each move is an entry of the journal; `WatchTrade`"
    yield "and `executor watch` tell them as they become durable. A trade without a terminal state is PENDING: unknown is not"
    yield "failed."


def _diagram() -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield "    [*] --> ACCEPTED"
    for state, following in _pairs():
        yield f"    {state.name} --> {following.name}"
    for state in State:
        if state in TERMINAL:
            yield f"    {state.name} --> [*]"
    yield "    note right of DENIED : the request may be ACCEPTED anew, as another life"
    yield "```"


def _states() -> Iterator[str]:
    yield "| state | terminal | what it says | what a caller is told |"
    yield "| --- | --- | --- | --- |"
    for state in State:
        yield f"| {state.name} | {'yes' if state in TERMINAL else 'no'} | {MEANINGS[state]} | {TOLD[state]} |"


def _moves() -> Iterator[str]:
    yield "| from | to | when |"
    yield "| --- | --- | --- |"
    for state, following in _pairs():
        yield f"| {state.name} | {following.name} | {CAUSES[state, following]} |"


def _pairs() -> Iterator[tuple[State, State]]:
    """Every move, in the order of the states: sets have none."""
    return ((state, following) for state in State for following in State if following in MOVES[state])


def main(arguments: Sequence[str] | None = None, *, file: Path = PAGE) -> int:
    """Write the page, or check it."""
    return write_or_check(file, page(), arguments, script="scripts/states", description=__doc__)


if __name__ == "__main__":
    sys.exit(main())

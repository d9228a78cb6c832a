"""The states of a trade. Everything that decides how a trade may move stands in this file.

A trade is ACCEPTED when it has passed the rules that need no I/O. From then on it ends in exactly one terminal state:

* DENIED: ours; a rule refused (balance, price), nothing was signed and nothing left the process. Its request may be accepted
  anew, and then begins another life; a request has at most one life that was signed.
* REJECTED: theirs; proved not accepted, and nothing was sent.
* SUCCEEDED, REVERTED: the chain says so, at `confirmed`.
* EXPIRED: proved never to land.

SIGNED is durable, with signature, last valid block height and wire bytes, before the first byte leaves. A trade in SIGNED or
SENT without a terminal state is what a caller sees as PENDING: unknown is not failed.

Odd but true moves:

* ACCEPTED may go to REJECTED though there is a signature: the disk failed SIGNED, so nothing was sent. DENIED it is not called
  then, for an append that failed may be on the disk all the same; one that the journal refused is not, and is DENIED.
* SIGNED may go to REJECTED, when the process that signed knows that it let no byte out.
* SIGNED may go straight to what the chain says, in the journal: SENT is not waited for, and a disk that fails it stops no trade.
  A crash between the first byte and SENT leaves SIGNED behind; the next process sends on, and writes SENT.
* SENT never goes to REJECTED, though every node refuses the bytes: a proxy may have asked twice, and only the second was heard.

`docs/states.md` is made from the table.
"""

import enum
from collections.abc import Mapping

from executor.errors import ExecutorError


class State(enum.Enum):
    """Where a trade stands. The names stand in the journal: never rename one."""

    ACCEPTED = "ACCEPTED"
    SIGNED = "SIGNED"
    SENT = "SENT"
    SUCCEEDED = "SUCCEEDED"
    REVERTED = "REVERTED"
    EXPIRED = "EXPIRED"
    DENIED = "DENIED"
    REJECTED = "REJECTED"


MOVES: Mapping[State, frozenset[State]] = {
    State.ACCEPTED: frozenset({State.SIGNED, State.DENIED, State.REJECTED}),
    State.SIGNED: frozenset({State.SENT, State.SUCCEEDED, State.REVERTED, State.EXPIRED, State.REJECTED}),
    State.SENT: frozenset({State.SUCCEEDED, State.REVERTED, State.EXPIRED}),
    State.SUCCEEDED: frozenset(),
    State.REVERTED: frozenset(),
    State.EXPIRED: frozenset(),
    State.DENIED: frozenset(),
    State.REJECTED: frozenset(),
}

TERMINAL = frozenset(state for state, ways_out in MOVES.items() if not ways_out)


class IllegalMove(ExecutorError):
    """A bug: a trade was about to move in a way that the table does not know. Nothing happened."""


def move(current: State, following: State) -> State:
    """Return the following state, or raise IllegalMove."""
    if following not in MOVES[current]:
        raise IllegalMove(f"a trade cannot move from {current.name} to {following.name}")
    return following

"""Where the daemon is killed: the names of the points, known to the killer and to the child that it kills."""

from typing import Final

COMMITTED: Final = {
    "accepted": ("ACCEPTED",),
    "signed": ("SIGNED",),
    "sent": ("SENT",),
    "landed": ("SUCCEEDED", "REVERTED"),
    "expired": ("EXPIRED",),
    "refused": ("DENIED", "REJECTED"),
}
"""The entries around whose commit there are points."""
NODES: Final = ("node-0", "node-1")

COMMITS: Final = tuple(f"{when} the commit of {what}" for what in COMMITTED for when in ("before", "after"))
SENDS: Final = (
    *(f"{when} byte to {node}" for node in NODES for when in ("before the first", "after the first", "after the last")),
    "after the first node answered",
    "after every node answered",
    "before sending again",
)
OUTCOMES: Final = ("after the status was seen", "after the fill was read", "before the caller is told")
RECOVERY: Final = (
    "before the recovery",
    "after the first trade was taken up",
    "after the recovery",
    "before a resumed trade is sent",
)
DRAIN: Final = ("at the start of the drain", "before pending is told", "after pending was told", "before the journal is closed")
AT_START: Final = "at random, while it starts"
AT_RANDOM: Final = "at random"

IN_THE_CHILD: Final = (*COMMITS, *SENDS, *OUTCOMES, *RECOVERY, *DRAIN)
"""At which the child kills itself; at the others it is killed from outside."""
ALL: Final = (*IN_THE_CHILD, AT_START, AT_RANDOM)
EXPIRING: Final = frozenset(point for point in COMMITS if point.endswith("expired"))
"""Reached only when transactions expire."""

FROM_THE_START: Final = "from the start"
ONCE_READY: Final = "once ready"
"""When a child begins to count."""

"""Transactions on their way: in a leader's queue, and in the queue of a node that sends them again."""

from collections import deque
from collections.abc import Callable, Iterable

from attrs import define, field, frozen
from solders.signature import Signature

from executor.localnet.transactions import Resolved

MAX_QUEUED = 10_000
"""As in a node's send service: beyond it, what comes is dropped."""

LandedSlot = Callable[[Signature], int | None]
"""The slot in which a signature stands, or None."""


@frozen(kw_only=True)
class Handling:
    """What is special about a submission."""

    delay_slots: int = 0
    """It reaches the leaders only so many slots later."""
    max_retries: int | None = 0
    """How often the node sends it again by itself; None: until it has landed for good or has expired."""
    drop_block: bool = False
    """The block that takes it is dropped with its fork one slot later."""
    requeue: bool = False
    """What is dropped with that block is still in a leader's queue."""


@define(kw_only=True)
class Queued:
    """A transaction that waits for a leader."""

    tx: Resolved
    due_slot: int
    order: int
    handling: Handling = field(factory=Handling)


@define(kw_only=True)
class Resend:
    """A transaction that a node sends again until it has landed for good, has expired, or its retries are used up."""

    tx: Resolved
    next_slot: int
    last_valid_height: int
    left: int | None


class Mempool:
    """Both queues. Within a slot, who pays more per compute unit comes first; among equals, who came first."""

    def __init__(self, *, resend_slots: int) -> None:
        self._queue: deque[Queued] = deque()
        self._resends: dict[Signature, Resend] = {}
        self._resend_slots = resend_slots
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, tx: Resolved, slot: int, handling: Handling, last_valid_height: int) -> None:
        """Queue a transaction that arrives in a slot; silently dropped when the queue is full."""
        self._enqueue(tx, slot + handling.delay_slots, handling)
        if handling.max_retries != 0 and len(self._resends) < MAX_QUEUED:
            next_slot = slot + handling.delay_slots + self._resend_slots
            self._resends[tx.signature] = Resend(
                tx=tx, next_slot=next_slot, last_valid_height=last_valid_height, left=handling.max_retries
            )

    def requeue(self, transactions: Iterable[Resolved], slot: int) -> None:
        """Put the transactions of a dropped block back."""
        for tx in transactions:
            self._enqueue(tx, slot, Handling())

    def _enqueue(self, tx: Resolved, due_slot: int, handling: Handling) -> None:
        if len(self._queue) < MAX_QUEUED:
            self._arrivals += 1
            self._queue.append(Queued(tx=tx, due_slot=due_slot, order=self._arrivals, handling=handling))

    def due(self, slot: int, unit_limit: int) -> list[Queued]:
        """Take what a block of this slot takes, in its order; what exceeds its compute units waits for the next one."""
        ready = sorted((q for q in self._queue if q.due_slot <= slot), key=_rank)
        waiting = [q for q in self._queue if q.due_slot > slot]
        taken: list[Queued] = []
        units = 0
        for queued in ready:
            units += queued.tx.budget.unit_limit
            (taken if units <= unit_limit else waiting).append(queued)
        self._queue = deque(waiting)
        return taken

    def resend(self, slot: int, *, height: int, landed_slot: LandedSlot, finalized_slot: int) -> None:
        """Send again what is due, and forget what needs it no more."""
        for signature, entry in list(self._resends.items()):
            landed = landed_slot(signature)
            if entry.left == 0 or height > entry.last_valid_height or (landed is not None and landed <= finalized_slot):
                del self._resends[signature]
            elif slot >= entry.next_slot:
                entry.next_slot = slot + self._resend_slots
                entry.left = None if entry.left is None else entry.left - 1
                if landed is None:
                    self._enqueue(entry.tx, slot, Handling())


def _rank(queued: Queued) -> tuple[int, int]:
    return -queued.tx.budget.unit_price_micro_lamports, queued.order

"""What trades in flight will spend, so that two of them never count on the same lamports or tokens.

A trade holds what it may spend at worst, from its balance check to its outcome. The balance that a later trade reads may be
older than the outcome of an earlier one, so a release counts only against readings that were asked for after it, from a node
that has seen its slot.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import trio
from attrs import define, field
from solders.pubkey import Pubkey

from executor.errors import ExecutorError

REMEMBER_RELEASED_SECONDS = 60.0
"""Longer than any balance reading can take."""

Needs = Mapping[Pubkey | None, int]
"""Raw amounts by mint; None stands for the wallet's lamports."""


@define(eq=False)
class Ticket:
    """One trade's place in the books."""

    needs: Needs = field(factory=dict)
    released_at: float | None = None


@define(eq=False)
class Reservations:
    """The books of one wallet."""

    _tickets: list[Ticket] = field(factory=list)
    _settled_slot: int = 0

    @contextmanager
    def ticket(self) -> Iterator[Ticket]:
        """Open a place; it is released exactly once, when the trade has its outcome, however it ends."""
        self._forget_old()
        ticket = Ticket()
        self._tickets.append(ticket)
        try:
            yield ticket
        finally:
            ticket.released_at = trio.current_time()

    def settled(self, slot: int) -> None:
        """Note where a trade landed: balances that are read later must come from a node that has seen this slot."""
        self._settled_slot = max(self._settled_slot, slot)

    @property
    def settled_slot(self) -> int:
        """The newest slot in which a trade of ours landed, at `confirmed`."""
        return self._settled_slot

    def held(self, key: Pubkey | None, *, as_of: float, but: Ticket) -> int:
        """What other trades may take from a balance that was asked for at `as_of`."""
        return sum(t.needs.get(key, 0) for t in self._tickets if t is not but and _counts(t, as_of))

    def hold(self, ticket: Ticket, needs: Needs) -> None:
        """Hold a trade's worst case. Raises when the ticket is released or holds already: both are bugs."""
        if ticket.needs or ticket.released_at is not None:
            raise ExecutorError("a ticket can hold once, and not after its release")
        ticket.needs = dict(needs)

    def in_flight(self) -> int:
        """How many tickets are not released."""
        return sum(t.released_at is None for t in self._tickets)

    def _forget_old(self) -> None:
        cutoff = trio.current_time() - REMEMBER_RELEASED_SECONDS
        self._tickets = [t for t in self._tickets if t.released_at is None or t.released_at > cutoff]


def _counts(ticket: Ticket, as_of: float) -> bool:
    return ticket.released_at is None or ticket.released_at >= as_of

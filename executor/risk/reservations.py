"""What trades in flight will spend, so that two of them never count on the same lamports or tokens.

A trade holds what it may spend at worst, from its balance check to its outcome. The balance that a later trade reads may be
older than the outcome of an earlier one, so a release counts only against readings that were asked for after it, and of a slot
that has it. A node that lags a little is therefore no obstacle: what it has not seen yet stays held.

What is held is kept as running totals, so that asking costs the same however many trades there are; only releases that a
reading may not have seen are looked at one by one, and readings are milliseconds and a few slots old.
"""

import math
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile

import trio
from attrs import define, field, frozen
from solders.pubkey import Pubkey

from executor.errors import ExecutorError

REMEMBER_RELEASED_SECONDS = 60.0
"""Longer than any balance reading can take, and than a node that is of use can lag."""

Needs = Mapping[Pubkey | None, int]
"""Raw amounts by mint; None stands for the wallet's lamports."""


@define(eq=False)
class Ticket:
    """One trade's place in the books."""

    needs: Needs = field(factory=dict)
    released_at: float = math.inf
    """inf: it is not."""
    landed_slot: int = 0
    """Where its trade landed, at `confirmed`; 0: it did not."""


@frozen
class _Release:
    newest_slot: int
    """In which a trade landed that was released by then."""
    ticket: Ticket


@define(eq=False)
class Reservations:
    """The books of one wallet."""

    _totals: Counter[Pubkey | None] = field(factory=Counter)
    """Of the tickets that are not released."""
    _released: deque[_Release] = field(factory=deque)
    """By the time of their release; those that neither held anything nor landed are not kept."""
    _newest_slot: int = 0
    _forgotten_slot: int = 0

    @contextmanager
    def ticket(self) -> Iterator[Ticket]:
        """Open a place; it is released exactly once, when the trade has its outcome, however it ends."""
        self._forget_old()
        ticket = Ticket()
        try:
            yield ticket
        finally:
            self._release(ticket)

    def settled(self, ticket: Ticket, slot: int) -> None:
        """Note where a trade landed: in balances of earlier slots it is not seen."""
        ticket.landed_slot = slot

    @property
    def forgotten_slot(self) -> int:
        """The newest slot of the trades that are too old to be remembered: balances of earlier slots cannot be used."""
        return self._forgotten_slot

    def held(self, key: Pubkey | None, *, as_of: float, slot: int, but: Ticket) -> int:
        """What other trades may take from a balance of a slot, asked for at `as_of`, at most a minute ago."""
        in_flight = self._totals[key] - (but.needs.get(key, 0) if but.released_at == math.inf else 0)
        # Trades are released nearly, not quite, in the order of their slots: go back until no earlier one can matter.
        recent = takewhile(lambda gone: gone.ticket.released_at >= as_of or gone.newest_slot > slot, reversed(self._released))
        unseen = (gone.ticket for gone in recent if gone.ticket.released_at >= as_of or gone.ticket.landed_slot > slot)
        return in_flight + sum(ticket.needs.get(key, 0) for ticket in unseen if ticket is not but)

    def hold(self, ticket: Ticket, needs: Needs) -> None:
        """Hold a trade's worst case. Raises when the ticket is released or holds already: both are bugs."""
        if ticket.needs or ticket.released_at < math.inf:
            raise ExecutorError("a ticket can hold once, and not after its release")
        ticket.needs = dict(needs)
        self._totals.update(ticket.needs)

    def _release(self, ticket: Ticket) -> None:
        ticket.released_at = trio.current_time()
        self._totals.subtract(ticket.needs)
        if ticket.needs or ticket.landed_slot:
            self._newest_slot = max(self._newest_slot, ticket.landed_slot)
            self._released.append(_Release(self._newest_slot, ticket))
        self._forget_old()

    def _forget_old(self) -> None:
        cutoff = trio.current_time() - REMEMBER_RELEASED_SECONDS
        while self._released and self._released[0].ticket.released_at <= cutoff:
            self._forgotten_slot = self._released.popleft().newest_slot

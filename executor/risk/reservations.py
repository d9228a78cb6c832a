"""What trades in flight will spend, so that two of them never count on the same lamports or tokens.

A trade holds what it may spend at worst, from its balance check to its outcome. The balance that a later trade reads may be
older than the outcome of an earlier one, so a release counts only against readings that were asked for after it, from a node
that has seen its slot.

What is held is kept as running totals, so that asking costs the same however many trades there are; only releases that are
younger than a reading are looked at one by one, and readings take milliseconds.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile

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

    _totals: Counter[Pubkey | None] = field(factory=Counter)
    """Of the tickets that are not released."""
    _released: deque[tuple[float, Ticket]] = field(factory=deque)
    """By the time of their release; those that never held anything are not kept."""
    _settled_slot: int = 0

    @contextmanager
    def ticket(self) -> Iterator[Ticket]:
        """Open a place; it is released exactly once, when the trade has its outcome, however it ends."""
        ticket = Ticket()
        try:
            yield ticket
        finally:
            self._release(ticket)

    def settled(self, slot: int) -> None:
        """Note where a trade landed: balances that are read later must come from a node that has seen this slot."""
        self._settled_slot = max(self._settled_slot, slot)

    @property
    def settled_slot(self) -> int:
        """The newest slot in which a trade of ours landed, at `confirmed`."""
        return self._settled_slot

    def held(self, key: Pubkey | None, *, as_of: float, but: Ticket) -> int:
        """What other trades may take from a balance that was asked for at `as_of`, at most a minute ago."""
        in_flight = self._totals[key] - (but.needs.get(key, 0) if but.released_at is None else 0)
        ended_since = takewhile(lambda gone: gone[0] >= as_of, reversed(self._released))
        return in_flight + sum(ticket.needs.get(key, 0) for _at, ticket in ended_since if ticket is not but)

    def hold(self, ticket: Ticket, needs: Needs) -> None:
        """Hold a trade's worst case. Raises when the ticket is released or holds already: both are bugs."""
        if ticket.needs or ticket.released_at is not None:
            raise ExecutorError("a ticket can hold once, and not after its release")
        ticket.needs = dict(needs)
        self._totals.update(ticket.needs)

    def _release(self, ticket: Ticket) -> None:
        ticket.released_at = now = trio.current_time()
        self._totals.subtract(ticket.needs)
        if ticket.needs:
            self._released.append((now, ticket))
        while self._released and self._released[0][0] < now - REMEMBER_RELEASED_SECONDS:
            self._released.popleft()

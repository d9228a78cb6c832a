"""How much may be done at once, how fast, and how much a day: what is refused because of what else was asked for.

What a single request may ask for, validation says. Joining an earlier request counts nowhere here.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Protocol

import trio
from attrs import define, field

from executor.config import LimitSettings
from executor.errors import Denied, ErrorCode, TradeError
from executor.journal import records
from executor.journal.journal import Entry
from executor.model import Order, Outcome
from executor.risk.failures import spent_nothing
from executor.risk.rates import Rates
from executor.risk.volumes import NS_PER_DAY, Claim, Volumes
from executor.states import State


class Acceptances(Protocol):
    """What limits need of the journal."""

    def accepted_since(self, at_unix_ns: int) -> Iterator[tuple[Entry, State]]:
        """Yield the acceptance of each life that began then or later, with the state that it has now. Raises JournalError."""
        ...


@define(kw_only=True, eq=False)
class Limits:
    """Counts trades in flight and what they spend."""

    settings: LimitSettings
    volumes: Volumes
    _rates: Rates = field(init=False)
    _claims: dict[str, Claim] = field(factory=dict)
    """Of the trades in flight, by request_id."""
    _in_flight: Counter[str] = field(factory=Counter)
    """By source."""

    def __attrs_post_init__(self) -> None:
        """Limit rates by the same settings."""
        self._rates = Rates(per_second=self.settings.requests_per_second_per_source, burst=self.settings.request_burst_per_source)

    def restore(self, journal: Acceptances) -> None:
        """Count what earlier processes spent on this day. What they left open is to be taken up. Raises JournalError."""
        if self.volumes.is_limited:
            day = self.volumes.day
            for entry, state in journal.accepted_since(day * NS_PER_DAY):
                if state is State.SUCCEEDED:
                    self.volumes.take(records.accepted_request(entry), day)

    def take(self, order: Order) -> None:
        """Count a new trade; every one must `ended`. One that is refused is counted for its source's rate only.

        Raises Denied with RATE_EXCEEDED, TRADES_IN_FLIGHT_EXCEEDED or DAILY_LIMIT_EXCEEDED.
        """
        source = order.request.source_service
        self._require_rate(source)
        self._require_room(source)
        self.volumes.require_room(order)
        self._count(order, self.volumes.day)

    def take_up(self, order: Order) -> None:
        """Count a trade that an earlier process took, whatever the limits; it must `ended` too."""
        self._count(order, order.received_unix_ns // NS_PER_DAY)

    def ended(self, order: Order, answer: Outcome | TradeError | None) -> None:
        """Uncount a trade; what it may have spent stays counted for the day unless it is certain that it spent nothing."""
        claim = self._claims.pop(order.request_id)
        self._in_flight[claim.source] -= 1
        if not self._in_flight[claim.source]:
            del self._in_flight[claim.source]
        if spent_nothing(answer):
            self.volumes.give_back(claim)

    def _count(self, order: Order, day: int) -> None:
        self._claims[order.request_id] = self.volumes.take(order.request, day)
        self._in_flight[order.request.source_service] += 1

    def _require_rate(self, source: str) -> None:
        wait_seconds = self._rates.take(source, trio.current_time())
        if wait_seconds:
            per_second, burst = self._rates.per_second, self._rates.burst
            raise Denied(
                ErrorCode.RATE_EXCEEDED,
                f"source {source!r} may make {per_second} requests a second, and {burst} at once",
                source_service=source,
                requests_per_second=per_second,
                burst=burst,
                retry_after_seconds=wait_seconds,
            )

    def _require_room(self, source: str) -> None:
        settings = self.settings
        _require_fewer(len(self._claims), settings.max_trades_in_flight, "are in flight")
        if settings.max_trades_in_flight_per_source:
            _require_fewer(
                self._in_flight[source], settings.max_trades_in_flight_per_source, f"of source {source!r} are in flight"
            )


def _require_fewer(count: int, limit: int, what: str) -> None:
    if count >= limit:
        message = f"{count} trades {what}, the limit is {limit}"
        raise Denied(ErrorCode.TRADES_IN_FLIGHT_EXCEEDED, message, in_flight=count, limit=limit)

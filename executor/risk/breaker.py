"""The circuit breaker. CLOSED means trading, OPEN means halted; the specification's words are the other way round.

This version watches what every trade depends on: a fresh blockhash and at least one healthy node. It opens while one is missing
and closes when it is back. Every change is logged with its cause.
"""

from collections.abc import Callable, Mapping
from typing import NoReturn

import trio
from attrs import define, field

from executor.errors import Denied, ErrorCode
from executor.log import Log
from executor.status import BreakerState

WATCH_SECONDS = 0.5

Check = Callable[[], str | None]
"""Returns why trading must stop, or None."""


@define(kw_only=True, eq=False)
class Breaker:
    """Allows trading, or says why not. `checks` are named; each is asked again and again by the watcher."""

    checks: Mapping[str, Check]
    log: Log
    _causes: dict[str, str] = field(factory=dict)

    async def run(self) -> NoReturn:
        """Watch until cancelled."""
        while True:
            self.look()
            await trio.sleep(WATCH_SECONDS)

    def look(self) -> None:
        """Ask every check once."""
        was = self.state
        found = {name: cause for name, check in self.checks.items() if (cause := check()) is not None}
        self._causes = found
        if self.state is not was:
            self.log.warning("breaker.changed", state=self.state.name, causes=list(found.values()))

    @property
    def state(self) -> BreakerState:
        """CLOSED or OPEN."""
        return BreakerState.OPEN if self._causes else BreakerState.CLOSED

    @property
    def causes(self) -> tuple[str, ...]:
        """Why trading is halted; empty when it is not."""
        return tuple(self._causes.values())

    def require_closed(self) -> None:
        """Raise Denied(TRADING_HALTED) with the causes while open."""
        if self._causes:
            raise Denied(ErrorCode.TRADING_HALTED, "trading is halted: " + "; ".join(self.causes))

"""How often which error came lately, and whose it was. Bounded, however long it runs and whatever callers call themselves.

A pattern shows in the rows: one code from one node is that node's; one code from every node is the network's; one code from one
caller is that caller's.
"""

import heapq
import math
from collections.abc import Iterator

import trio
from attrs import define, field

from executor.errors import ErrorCode
from executor.faults import FaultClass, TransportError
from executor.network.health import JUPITER, NODE_PREFIX
from executor.stages.validation import MAX_SOURCE_SERVICE
from executor.status import ErrorRate

MAX_ROWS = 50
"""Of a status."""
MAX_CALLERS = 64
"""Services with errors within the last hour that are told apart."""
OTHERS = "others"
"""Callers beyond that, and those whose name is none or is what an upstream is called here."""

MINUTE, FIVE_MINUTES, HOUR = 60.0, 300.0, 3600.0


@define(eq=False)
class _Slices:
    """Counts by slices of time, the oldest forgotten. `within` counts at most one slice too much."""

    slice_seconds: float
    longest_seconds: float
    _counts: list[int] = field(init=False)
    _newest: int = 0

    def __attrs_post_init__(self) -> None:
        self._counts = [0] * self._reach(self.longest_seconds)

    def add(self, now: float) -> None:
        self._turn(now)
        self._counts[self._newest % len(self._counts)] += 1

    def within(self, seconds: float, now: float) -> int:
        self._turn(now)
        return sum(self._counts[(self._newest - back) % len(self._counts)] for back in range(self._reach(seconds)))

    def _reach(self, seconds: float) -> int:
        return math.ceil(seconds / self.slice_seconds) + 1  # the first and the last are partly within

    def _turn(self, now: float) -> None:
        """Forget what is too old by now."""
        newest = int(now // self.slice_seconds)
        for passed in range(min(newest - self._newest, len(self._counts))):
            self._counts[(newest - passed) % len(self._counts)] = 0
        self._newest = newest


@define(eq=False)
class _Tally:
    """One code of one source."""

    fine: _Slices = field(factory=lambda: _Slices(5.0, FIVE_MINUTES))
    coarse: _Slices = field(factory=lambda: _Slices(MINUTE, HOUR))

    def add(self, now: float) -> None:
        self.fine.add(now)
        self.coarse.add(now)

    def last_hour(self, now: float) -> int:
        return self.coarse.within(HOUR, now)

    def row(self, source: str, code: ErrorCode, now: float) -> ErrorRate:
        return ErrorRate(
            code=code,
            source=source,
            last_minute=self.fine.within(MINUTE, now),
            last_5_minutes=self.fine.within(FIVE_MINUTES, now),
            last_hour=self.last_hour(now),
        )


_Source = dict[ErrorCode, _Tally]


@define(eq=False)
class ErrorRates:
    """Counts by code and source. Times are trio.current_time()."""

    _upstreams: dict[str, _Source] = field(factory=dict)
    _callers: dict[str, _Source] = field(factory=dict)
    _made_room_at: float = -math.inf

    def call_failed(self, source: str, error: TransportError) -> None:
        """Note a call that failed to `node NAME` or `jupiter`. That a transaction is known already is no failure."""
        if error.fault.fault_class is not FaultClass.SUCCESS_PATH:
            _note(self._upstreams.setdefault(source, {}), error.fault.code)

    def request_failed(self, source_service: str, code: ErrorCode) -> None:
        """Note a request that was refused, or a trade that failed, by the service that asked for it."""
        caller = self._caller(source_service)  # may make room first
        _note(self._callers.setdefault(caller, {}), code)

    def latest(self) -> tuple[ErrorRate, ...]:
        """What occurred within the last hour, the most frequent first, at most MAX_ROWS."""
        now = trio.current_time()
        occurred = ((tally.last_hour(now), source, code, tally) for source, code, tally in self._tallies())
        most = heapq.nsmallest(MAX_ROWS, (o for o in occurred if o[0]), key=lambda o: (-o[0], o[2].name, o[1]))
        return tuple(tally.row(source, code, now) for _last_hour, source, code, tally in most)

    def _tallies(self) -> Iterator[tuple[str, ErrorCode, _Tally]]:
        for sources in (self._upstreams, self._callers):
            for source, tallies in sources.items():
                for code, tally in tallies.items():
                    yield source, code, tally

    def _caller(self, name: str) -> str:
        """The name under which a caller is counted."""
        if name in self._callers:
            return name
        if not _is_name(name):
            return OTHERS
        if self._is_full():
            self._make_room()
        return OTHERS if self._is_full() else name

    def _is_full(self) -> bool:
        return len(self._callers.keys() - {OTHERS}) >= MAX_CALLERS

    def _make_room(self) -> None:
        """Forget callers without an error within the last hour. Not for each name that a flood invents, or it would be costly."""
        now = trio.current_time()
        if now - self._made_room_at < MINUTE:
            return
        self._made_room_at = now
        self._callers = {n: t for n, t in self._callers.items() if any(tally.last_hour(now) for tally in t.values())}


def _note(source: _Source, code: ErrorCode) -> None:
    source.setdefault(code, _Tally()).add(trio.current_time())


def _is_name(name: str) -> bool:
    """Whether it can be shown, is of a service's length, and is not what an upstream is called here."""
    shown = name.isascii() and name.isprintable() and 0 < len(name) <= MAX_SOURCE_SERVICE
    return shown and name not in (JUPITER, OTHERS) and not name.startswith(NODE_PREFIX)

"""How fast a source may make requests: one token bucket each, as a single number."""

from attrs import define, field

MAX_SOURCES = 10_000
"""Sources name themselves. Of more, the one that was not heard of for the longest is forgotten; it then begins anew."""
ROUNDING_SECONDS = 1e-6
"""Sums of intervals are not exact; a request that comes just in time is not refused for that."""


@define(kw_only=True, eq=False)
class Rates:
    """Token buckets of `burst` requests, filled with `per_second`; 0 = no limit."""

    per_second: int
    burst: int
    _full_again_at: dict[str, float] = field(factory=dict)
    """When a source's bucket will be full, in trio's time; the one that was heard of last stands last."""

    def take(self, source: str, now: float) -> float:
        """Take one request out of a source's bucket and return 0; or return after how many seconds there will be one."""
        if not self.per_second:
            return 0.0
        interval = 1 / self.per_second
        full_again_at = max(self._full_again_at.pop(source, now), now)
        wait_seconds = full_again_at - now - (self.burst - 1) * interval
        is_empty = wait_seconds > ROUNDING_SECONDS
        self._full_again_at[source] = full_again_at if is_empty else full_again_at + interval
        if len(self._full_again_at) > MAX_SOURCES:
            del self._full_again_at[next(iter(self._full_again_at))]
        return wait_seconds if is_empty else 0.0

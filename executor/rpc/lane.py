"""Where peers wait whose work for us is not work for a caller: one turn at a time, for a share of the processor.

Without it, each hostile connection would get as much of the processor as a well-behaved one, and fifty of them fifty times as
much. So whoever has not been answered yet, or has used much more than it earned, shares one lane with all of its kind. However
many they are, together they get a share, and nobody else waits for more than one of their turns. A burst passes without waiting,
so that new callers feel the lane only in a flood. Trio has no priorities that could do this.
"""

import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

BURST_SECONDS = 0.2
"""Of the processor, which turns may take before any has to wait: a hundred calls or two of new callers, answered in a second."""


class Lane:
    """One at a time, in the order of their coming, and in all no more than `share` of the processor's time."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._lock = trio.Lock()
        self._left_seconds = BURST_SECONDS
        self._refilled_at = -math.inf

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for one's turn. What is done within counts by the processor time that this thread uses until the end of it."""
        async with self._lock:
            self._refill()
            if self._left_seconds < 0:
                await trio.sleep(-self._left_seconds / self._share)
                self._refill()
            began = time.thread_time()
            try:
                yield
            finally:
                self._left_seconds -= time.thread_time() - began

    def _refill(self) -> None:
        now = trio.current_time()
        self._left_seconds = min(self._left_seconds + (now - self._refilled_at) * self._share, BURST_SECONDS)
        self._refilled_at = now

"""Where peers wait whose work for us is not work for a caller: one turn at a time, with a rest after each.

Without it, each hostile connection would get as much of the processor as a well-behaved one, and fifty of them fifty times as much.
So whoever has not been answered yet, or has used much more than it earned, shares one lane with all of its kind: together they get
a bounded share of the processor, however many they are, and nobody else waits for more than one of their turns. When there is no
flood the lane is empty, and a new caller passes it at once. Trio has no priorities that could do this.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

REST = 4.0
"""How long the lane rests after a turn, in turns: a share of one in five."""


class Lane:
    """One at a time, in the order of their coming."""

    def __init__(self) -> None:
        self._lock = trio.Lock()
        self._open_at = -float("inf")

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for one's turn. What is done within counts by the processor time that this thread uses until the end of it."""
        async with self._lock:
            await trio.sleep_until(self._open_at)
            began = time.thread_time()
            try:
                yield
            finally:
                self._open_at = trio.current_time() + REST * (time.thread_time() - began)

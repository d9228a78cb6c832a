"""Waiting for what another side does."""

from collections.abc import Callable
from functools import partial

import trio

PATIENCE_SECONDS = 10.0
LOOK_SECONDS = 0.01


async def eventually(
    condition: Callable[[], object], what: str, *, seconds: float = PATIENCE_SECONDS, every: float = LOOK_SECONDS
) -> None:
    """Look again and again until it holds. Raises AssertionError, saying what."""
    with trio.move_on_after(seconds):
        while not condition():  # noqa: ASYNC110 - of what another side does there is no event to wait for
            await trio.sleep(every)
        return
    raise AssertionError(f"waited {seconds:g} s for: {what}")


def wait_until(
    condition: Callable[[], object], what: str, *, seconds: float = PATIENCE_SECONDS, every: float = LOOK_SECONDS
) -> None:
    """The same, for tests with real processes, which have no trio run of their own."""
    trio.run(partial(eventually, condition, what, seconds=seconds, every=every))

"""Waiting for what another side does."""

from collections.abc import Callable

import trio

PATIENCE_SECONDS = 10.0


async def until(condition: Callable[[], object]) -> None:
    """Return as soon as the condition holds; TooSlowError if it never does."""
    with trio.fail_after(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - of what another side does there is no event to wait for
            await trio.sleep(0.001)

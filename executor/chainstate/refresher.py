"""The loop behind every background value."""

from collections.abc import Awaitable, Callable
from typing import NoReturn

import trio

from executor.faults import TransportError
from executor.log import Log


async def refresh_forever(refresh: Callable[[], Awaitable[None]], *, every_seconds: float, name: str, log: Log) -> NoReturn:
    """Refresh at once and then again and again. A failing upstream leaves the old value, with its age; only bugs propagate."""
    while True:
        try:
            await refresh()
        except TransportError as error:
            log.warning("refresh.failed", value=name, problem=str(error))
        await trio.sleep(every_seconds)

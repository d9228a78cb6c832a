"""Retries of what may be repeated: reads, and sends of the same bytes. Whatever signs anew is decided elsewhere."""

import random
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeVar

import trio
from attrs import frozen

from executor.faults import TransportError
from executor.log import Log

T = TypeVar("T")


@frozen(kw_only=True)
class Retry:
    """How often, and after how long."""

    max_retries: int = 3
    """After the first attempt."""
    initial_delay_seconds: float = 0.1
    max_delay_seconds: float = 2.0
    """Before jitter. Also the most that is waited because an upstream asks for it: a trade has no more time than that."""
    jitter: float = 0.25

    def delay_seconds(self, failures: int, retry_after_seconds: float | None, rng: random.Random) -> float:
        """Compute the pause after that many failures in a row, 1 or more.

        min(max_delay, max(initial_delay * 2 ** (failures - 1), retry_after)) * (1 + jitter * u), u from [0, 1): never earlier
        than the doubling says, so that the jitter only spreads callers that failed together.
        """
        doubled = self.initial_delay_seconds * 2.0 ** min(failures - 1, 64)
        wanted = max(doubled, retry_after_seconds or 0.0)
        return min(wanted, self.max_delay_seconds) * (1.0 + self.jitter * rng.random())


async def retrying(call: Callable[[], Awaitable[T]], *, policy: Retry, rng: random.Random, log: Log, operation: str) -> T:
    """Make the call until it succeeds, fails for good or has been retried often enough.

    Raises the last TransportError, with the attempts of all of them. The time is the caller's to bound.
    """
    attempts = 0
    for failures in count(1):
        try:
            return await call()
        except TransportError as error:
            attempts += error.attempts
            error.attempts = attempts
            if failures > policy.max_retries or not error.fault.worth_repeating:
                raise
            delay_seconds = policy.delay_seconds(failures, error.fault.retry_after_seconds, rng)
            _log_retry(log, error, operation, delay_seconds)
        await trio.sleep(delay_seconds)
    raise AssertionError("count() never ends")


def _log_retry(log: Log, error: TransportError, operation: str, delay_seconds: float) -> None:
    log.info(
        "retry.scheduled",
        operation=operation,
        endpoint=error.endpoint,
        code=error.fault.code.name,
        problem=error.fault.detail,
        attempts=error.attempts,
        delay_seconds=round(delay_seconds, 3),
    )

"""Collaborators of the clients, made for tests: quick and repeatable."""

import random

from executor.network.retry import Retry

QUICK = Retry(max_retries=3, initial_delay_seconds=0.001, max_delay_seconds=0.004)
"""Three retries that cost no time."""


def seeded(seed: int = 7) -> random.Random:
    """Return a source of jitter that repeats itself."""
    return random.Random(seed)  # noqa: S311 - repeatable on purpose, and no secret comes of it

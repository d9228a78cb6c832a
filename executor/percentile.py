"""The one percentile there is, for fees, latencies and the demo's figures."""

from collections.abc import Sequence
from typing import TypeVar

N = TypeVar("N", int, float)


def nearest_rank(ascending: Sequence[N], percent: int) -> N:
    """The least value of a non-empty ascending sequence that at least `percent` of them do not exceed."""
    rank = -(-percent * len(ascending) // 100)
    return ascending[max(rank, 1) - 1]

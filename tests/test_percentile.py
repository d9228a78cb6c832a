"""Nearest ranks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.percentile import nearest_rank

VALUES = st.lists(st.integers(0, 10**9), min_size=1, max_size=150) | st.lists(st.floats(0, 60), min_size=1, max_size=200)


@given(VALUES, st.integers(0, 100))
def test_a_percentile_is_the_nearest_rank(values: list[int] | list[float], percent: int) -> None:
    """It is one of the values, and the smallest that at least that share of them do not exceed."""
    ascending = sorted(values)
    found = nearest_rank(ascending, percent)

    assert found in ascending
    assert sum(value <= found for value in ascending) * 100 >= percent * len(ascending)
    assert sum(value < found for value in ascending) * 100 < max(percent, 1) * len(ascending)


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (1, 1), (50, 5), (75, 8), (90, 9), (95, 10), (100, 10)])
def test_percentiles_of_ten(percent: int, expected: int) -> None:
    """By hand: of 1 to 10."""
    assert nearest_rank(range(1, 11), percent) == expected

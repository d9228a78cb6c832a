"""Chance, which is none: whatever is drawn follows from a text."""

import random


def chance(seed: str) -> random.Random:
    """Return a source of chance of its own for every purpose, so that one does not shift another."""
    return random.Random(seed)  # noqa: S311 - reproducible on purpose, and no secret

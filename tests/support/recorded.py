"""Answers of mainnet that lie beside the repository, where they are at hand. They are the data of others: never copied in."""

import json
from pathlib import Path
from typing import Any

import pytest

RECORDED = Path(__file__).parents[3] / "shared" / "recorded"


def recorded(*parts: str) -> Any:
    """Load one recorded JSON file; skip the test, saying so, where the folder is absent."""
    path = RECORDED.joinpath(*parts)
    if not RECORDED.is_dir():
        pytest.skip(f"no recorded data: {RECORDED} does not exist")
    return json.loads(path.read_text())


def recorded_names(folder: str, but: str = "") -> list[str]:
    """Name the files of a folder; one placeholder where it is absent, whose test then skips."""
    names = sorted(path.name for path in (RECORDED / folder).glob("*.json") if path.name != but)
    return names or ["absent.json"]

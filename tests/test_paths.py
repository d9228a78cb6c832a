"""Paths as people write them."""

from pathlib import Path

import pytest

from executor.errors import ConfigError
from executor.paths import expanded


def test_a_tilde_is_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whoever runs the daemon; other paths stay as they are."""
    monkeypatch.setenv("HOME", "/home/operator")

    assert expanded("~/x") == Path("/home/operator/x")
    assert expanded(Path("/x/~")) == Path("/x/~")


def test_a_tilde_without_a_home_is_a_mistake() -> None:
    """Named with the path, and no traceback."""
    with pytest.raises(ConfigError, match=r"~nobody-here-by-that-name/x: there is no home"):
        expanded("~nobody-here-by-that-name/x")

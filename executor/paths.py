"""Paths as people write them."""

from pathlib import Path

from executor.errors import ConfigError


def expanded(path: str | Path) -> Path:
    """Put the home in the place of a leading ~ or ~user. Raises ConfigError where there is none, as for some service users."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigError([f"{path}: there is no home directory that the ~ could stand for; write the whole path"]) from None

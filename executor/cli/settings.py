"""What several commands need of the configuration."""

import argparse
import math
import os
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from attrs import frozen

from executor.config import Config, load
from executor.errors import ConfigError

DEFAULT_ADDRESS = "127.0.0.1:50051"
MAX_WAIT_SECONDS = 86_400


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Add --config."""
    parser.add_argument(
        "--config", metavar="FILE", help="configuration file (default: the documented defaults that ship with the executor)"
    )


def add_address_argument(parser: argparse.ArgumentParser) -> None:
    """Add --address, for commands that call a running daemon."""
    parser.add_argument(
        "--address",
        type=text,
        default=DEFAULT_ADDRESS,
        metavar="ADDRESS",
        help=f"where the daemon listens: host:port or unix:/path (default {DEFAULT_ADDRESS})",
    )


def text(value: str) -> str:
    """A word of the command line that goes into a message: bytes that are no text cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{value!r} is not UTF-8 text") from None
    return value


def seconds(value: str) -> float:
    """A time to wait, of the command line."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 < number <= MAX_WAIT_SECONDS:
        raise argparse.ArgumentTypeError(f"must be more than 0 and at most {MAX_WAIT_SECONDS} seconds, is {value!r}")
    return number


@frozen
class GivenConfig:
    """A configuration, and what of it the user has chosen."""

    config: Config
    _document: Mapping[str, Any]

    def names(self, table: str, key: str) -> bool:
        """Whether the user's file sets this key; the defaults that ship with the executor are nobody's choice."""
        return key in self._document.get(table, {})


def read_config(path: str | None) -> Config:
    """Load the file, or the shipped defaults. Raises ConfigError."""
    return read_given_config(path).config


def read_given_config(path: str | None) -> GivenConfig:
    """As `read_config`, with what the file itself names."""
    if path is None:
        text = files("executor").joinpath("config.toml").read_text(encoding="utf-8")
        return GivenConfig(load(text, environment=os.environ, source="config.toml"), {})
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError([f"{path}: cannot be read: {reason}"]) from error
    return GivenConfig(load(text, environment=os.environ, source=path), tomllib.loads(text))

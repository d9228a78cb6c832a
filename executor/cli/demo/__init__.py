"""Start a localnet and the daemon, execute swaps over gRPC, and check every amount against the chain.

Both are processes of their own, on free ports, with a new wallet in a temporary folder; nothing leaves this machine, and nothing
stays on it. Besides the swaps that must succeed there are five that go differently: a stale quote, a foreign token, an oversized
amount, an empty balance, and a send that the node loses. Exit code 0: everything was as it must be; 1: it was not, and why.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from executor.cli.demo.failure import DemoFailed
from executor.cli.demo.json_lines import JsonLines
from executor.cli.demo.page import Page, wants_colour
from executor.cli.demo.plan import LEAST_SWAPS
from executor.cli.demo.show import Audience, Settings, perform
from executor.cli.output import tell

HELP = "show it: swaps on a localnet, checked against the chain"
MOST_SWAPS = 10_000
MOST_AT_A_TIME = 64
SLOT_MS = (20, 2_000)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_trade_arguments(parser)
    parser.add_argument(
        "--slot-ms",
        type=_within(*SLOT_MS),
        default=100,
        metavar="MS",
        help="length of the localnet's slots (default 100, to keep the demo short; mainnet has 400)",
    )


def add_trade_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is to be traded, and how it is told."""
    parser.add_argument("--json", action="store_true", help="print one JSON object a trade and last a summary")
    parser.add_argument(
        "--trades",
        type=_within(LEAST_SWAPS, MOST_SWAPS),
        default=44,
        metavar="N",
        help=f"swaps that have to succeed, at least {LEAST_SWAPS} (default 44); besides them there are four that must not",
    )
    parser.add_argument(
        "--concurrency", type=_within(1, MOST_AT_A_TIME), default=8, metavar="N", help="trades at a time (default 8)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the trades and of the localnet (default 1)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    settings = Settings(swaps=arguments.trades, concurrency=arguments.concurrency, seed=arguments.seed, slot_ms=arguments.slot_ms)
    audience: Audience = (
        JsonLines(sys.stdout, settings)
        if arguments.json
        else Page(sys.stdout, settings, coloured=wants_colour(sys.stdout, os.environ), program=program_name(sys.argv[0]))
    )
    try:
        perform(settings, audience)
    except DemoFailed as failure:
        tell(*f"executor demo: {failure}".splitlines(), *getattr(failure, "__notes__", ()))
        return 1
    return 0


def program_name(called_as: str) -> str:
    """What the reader has to type to call this again."""
    called = Path(called_as)
    if called.name != "executor":
        return "python -m executor"
    found = shutil.which(called.name)
    return called.name if found is not None and called.resolve() == Path(found).resolve() else str(called)


def _within(least: int, most: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"must lie between {least} and {most}, is {number}")
        return number

    return whole

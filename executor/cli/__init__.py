"""The command line: `executor serve | localnet | demo | check | trade | status | keygen`."""

import argparse
import os
import sys
from collections.abc import Sequence

from executor import __version__
from executor.cli import check, demo, keygen, localnet, serve, status, trade
from executor.errors import ConfigError

EXIT_OK = 0
EXIT_USAGE = 2

COMMANDS = {
    "serve": serve,
    "localnet": localnet,
    "demo": demo,
    "check": check,
    "trade": trade,
    "status": status,
    "keygen": keygen,
}


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="executor", description="Executes token swaps on Solana through Jupiter, for services that call it over gRPC."
    )
    parser.add_argument("--version", action="version", version=f"executor {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(
            name, help=command.HELP, description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code. 0 = done, 1 = it failed, 2 = it was asked for wrongly or is configured wrongly.

    3 = it is not known (`trade`); 130 = Ctrl-C.
    """
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()  # what is still buffered would otherwise meet the closed pipe after us, as the interpreter ends
    except BrokenPipeError:  # `executor status | head` is no failure of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def _run(argv: Sequence[str] | None) -> int:
    arguments = make_parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        return 130
    return code

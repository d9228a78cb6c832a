"""The command line: `executor serve | localnet | demo | check | trade | status | keygen`."""

import argparse
import sys
from collections.abc import Sequence

from executor import __version__
from executor.cli import check, demo, keygen, localnet, serve, status, trade
from executor.errors import ConfigError

EXIT_OK = 0
EXIT_FAILED = 1
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
    """Run a command; return its exit code. 0 = done, 1 = it failed, 2 = it was asked for wrongly or is configured wrongly."""
    arguments = make_parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `executor status | head` is no failure of ours
        sys.stderr.close()
        return EXIT_OK
    return code

"""The command line: `executor serve | localnet | demo | check | trade | watch | trades | status | halt | resume | keygen`."""

import argparse
from collections.abc import Sequence

from executor import __version__
from executor.cli import check, demo, halt, keygen, localnet, resume, serve, status, trade, trades, watch
from executor.cli.output import Unwritable, finish, prepare_streams, tell
from executor.errors import ConfigError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

COMMANDS = {
    "serve": serve,
    "localnet": localnet,
    "demo": demo,
    "check": check,
    "trade": trade,
    "watch": watch,
    "trades": trades,
    "status": status,
    "halt": halt,
    "resume": resume,
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

    3 = it is not known (`trade`, `watch`); 130 = Ctrl-C. Whether anybody reads what is printed changes nothing about it.
    """
    prepare_streams()
    try:
        code = _run(argv)
    finally:
        delivered = finish()
    return code if delivered else code or EXIT_FAILED


def _run(argv: Sequence[str] | None) -> int:
    arguments = make_parser().parse_args(argv)
    try:
        return _interruptible(arguments)
    except ConfigError as error:
        tell(*error.problems)
        return EXIT_USAGE
    except Unwritable as error:
        tell(str(error))
        return EXIT_FAILED
    except BrokenPipeError:  # `executor demo | head`: it prints as it goes, and is broken off
        return EXIT_OK


def _interruptible(arguments: argparse.Namespace) -> int:
    try:
        code: int = arguments.run(arguments)
    except* KeyboardInterrupt:  # out of Trio it comes in groups
        code = EXIT_INTERRUPTED
    return code

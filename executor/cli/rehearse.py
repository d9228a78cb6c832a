"""Play the demo on a real node: Agave's test validator, loaded with the localnet's genesis and our program at Jupiter's address.

The daemon is the same, and asked over gRPC; its Jupiter API reads the validator's pools, and a relay in front of the validator
can lose a send. What a trade has moved is read from the validator itself. The validator is the one that SOLANA_TEST_VALIDATOR
names, or the first on PATH. Exit code 0: everything was as it must be; 1: it was not, and why; 2: there is no validator here.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from executor.cli.demo import add_trade_arguments, program_name
from executor.cli.demo.failure import DemoFailed
from executor.cli.demo.json_lines import JsonLines
from executor.cli.demo.page import MAINNET_SLOT_MS, Page, Scene, wants_colour
from executor.cli.demo.rehearsal import start_rehearsal
from executor.cli.demo.show import Audience, Settings, perform
from executor.cli.demo.validator import NoValidator, Validator
from executor.cli.output import finish, prepare_streams, tell

EXIT_FAILED, EXIT_NO_VALIDATOR, EXIT_INTERRUPTED = 1, 2, 130
SCENE = Scene(
    title="Live trade executor: a rehearsal",
    place="a real Agave validator of this machine's own",
    starting="Starting the validator, the Jupiter API over its pools, and the daemon; it takes half a minute ...",
)


def make_parser() -> argparse.ArgumentParser:
    """The parser of this command."""
    parser = argparse.ArgumentParser(
        prog="scripts/rehearse", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_trade_arguments(parser)
    running = parser.add_argument_group("a node that runs already")
    running.add_argument("--node", metavar="URL", help="use this node; it must have loaded the export")
    running.add_argument("--export", type=Path, metavar="DIR", help="the export that it has loaded")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    prepare_streams()
    try:
        return _run(argv)
    finally:
        finish()


def _run(argv: Sequence[str] | None) -> int:
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if (arguments.node is None) != (arguments.export is None):
        parser.error("--node and --export need each other")
    settings = Settings(swaps=arguments.trades, concurrency=arguments.concurrency, seed=arguments.seed, slot_ms=MAINNET_SLOT_MS)
    validator = None if arguments.node is None else Validator(url=arguments.node, export=arguments.export, process=None)
    try:
        perform(
            settings,
            _audience(settings, as_json=arguments.json),
            partial(start_rehearsal, seed=settings.seed, environment=os.environ, validator=validator),
        )
    except DemoFailed as failure:
        tell(*f"scripts/rehearse: {failure}".splitlines(), *getattr(failure, "__notes__", ()))
        # In CI a rehearsal that cannot be held is one that has failed.
        return EXIT_NO_VALIDATOR if isinstance(failure, NoValidator) and not os.environ.get("CI") else EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `scripts/rehearse | head` is no failure of ours
        return 0
    return 0


def _audience(settings: Settings, *, as_json: bool) -> Audience:
    if as_json:
        return JsonLines(sys.stdout, settings)
    coloured = wants_colour(sys.stdout, os.environ)
    return Page(sys.stdout, settings, coloured=coloured, program=program_name("executor"), scene=SCENE)


if __name__ == "__main__":
    sys.exit(main())

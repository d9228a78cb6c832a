"""Halt a running daemon's trading: no trade is taken or signed until `executor resume`, restarts or not.

Trades that were sent are followed to their outcome.
Example: executor halt --why "the price feed is down"

Exit code 0: it is halted, and the journal says so. 1: refused, or not known; `executor status` tells.
"""

import argparse
import json
from collections.abc import Callable

from executor.cli.client import CallFailed, Client, as_dict, connect
from executor.cli.output import say, tell
from executor.cli.settings import add_address_argument, seconds, text
from executor.cli.status import breaker_lines
from executor.rpc import trade_executor_pb2 as pb

HELP = "halt a running daemon's trading"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments; those of `executor resume` are the same."""
    parser.add_argument(
        "--why", type=text, required=True, help="for those who find trading halted, or resumed: up to 200 characters"
    )
    add_address_argument(parser)
    parser.add_argument("--timeout", type=seconds, default=5.0, metavar="SECONDS", help="how long to wait (default 5)")
    parser.add_argument("--json", action="store_true", help="print the daemon's status as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    return give_word(arguments, lambda client: client.halt(arguments.why, timeout_seconds=arguments.timeout))


def give_word(arguments: argparse.Namespace, call: Callable[[Client], pb.ExecutorStatus]) -> int:
    """Give an operator's word, and show how the daemon is then."""
    try:
        with connect(arguments.address) as client:
            status = call(client)
    except CallFailed as failure:
        tell(f"not confirmed by {arguments.address}: {failure}")
        return 1
    page = ["trading" if status.trading_allowed else "NOT TRADING", *breaker_lines(status)]
    say(*([json.dumps(as_dict(status))] if arguments.json else page))
    return 0

"""Follow a trade of a running daemon to its end, one line for each change of its state.

When the connection breaks, or the daemon restarts, it goes on where it was. --after begins behind a change that was seen before:
the number that each line begins with.

Exit code 0: SUCCESS. 1: FAILED or refused. 2: it was asked for wrongly. 3: not known: PENDING, no end within --timeout, or the
daemon knows no such request.
"""

import argparse
import json
import shlex
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from attrs import define

from executor.cli.client import CallFailed, as_dict, connect
from executor.cli.output import say, tell
from executor.cli.settings import add_address_argument, seconds, text
from executor.cli.trade import EXIT_UNKNOWN, exit_code
from executor.errors import ConfigError
from executor.rpc import trade_executor_pb2 as pb
from executor.units import U64_MAX

HELP = "follow a trade to its end"
PAUSE_SECONDS = 0.5
_PASSING = {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
"""The daemon is gone or going, or has ended a call that took too long for it: it is asked again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("request_id", metavar="REQUEST_ID", type=text, help="of the trade")
    add_address_argument(parser)
    parser.add_argument("--after", type=int, default=0, metavar="N", help="leave out the changes up to this number")
    parser.add_argument("--timeout", type=seconds, default=300.0, metavar="SECONDS", help="how long to wait (default 300)")
    parser.add_argument("--json", action="store_true", help="print each change as one JSON object")


@define
class _Place:
    """Where a watch is."""

    request_id: str
    sequence: int
    last: pb.TradeResult | None = None


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if not 0 <= arguments.after <= U64_MAX:
        raise ConfigError([f"--after must lie between 0 and {U64_MAX}, is {arguments.after}"])
    place = _Place(arguments.request_id, arguments.after)
    try:
        for update in _updates(place, arguments.address, arguments.timeout):
            say(json.dumps(as_dict(update)) if arguments.json else _line(update))
    except CallFailed as failure:
        _report(failure, place, as_json=arguments.json)
        return EXIT_UNKNOWN
    return EXIT_UNKNOWN if place.last is None else exit_code(place.last)


def _updates(place: _Place, address: str, timeout_seconds: float) -> Iterator[pb.TradeUpdate]:
    """Yield the changes, through as many calls as it takes; then `place` holds the result. Raises CallFailed."""
    ends_at = time.monotonic() + timeout_seconds
    is_waiting = False
    while True:
        left = ends_at - time.monotonic()
        try:
            # A channel of its own each time: a broken one waits longer and longer before it connects again.
            with connect(address) as client:
                for update in client.watch(place.request_id, after_sequence=place.sequence, timeout_seconds=left):
                    place.sequence, place.last = update.sequence, update.result
                    yield update
                    is_waiting = False
                if place.last is None:  # all of it was seen before
                    for update in client.watch(place.request_id, after_sequence=0, timeout_seconds=left):
                        place.last = update.result
        except CallFailed as failure:
            if failure.status not in _PASSING or time.monotonic() + PAUSE_SECONDS >= ends_at:
                raise
            if not is_waiting:
                tell(f"waiting for {address}: {failure}")
            is_waiting = True
        else:
            return
        time.sleep(PAUSE_SECONDS)


def _line(update: pb.TradeUpdate) -> str:
    at = datetime.fromtimestamp(update.at_unix_us / 1e6, UTC).isoformat(timespec="milliseconds")
    state = pb.TradeState.Name(update.state).removeprefix("TRADE_STATE_")
    return f"{update.sequence:>8}  {at}  {state:<9}  {_detail(update)}".rstrip()


def _detail(update: pb.TradeUpdate) -> str:
    result = update.result
    if result.error_code:
        return f"{result.error_code}: {result.error_message}"
    if update.state == pb.TRADE_STATE_SUCCEEDED:
        return f"spent {result.input_amount}, received {result.executed_amount} (smallest units), slot {result.slot}"
    return result.transaction_signature


def _report(failure: CallFailed, place: _Place, *, as_json: bool) -> None:
    if as_json:
        facts = {"request_id": place.request_id, "unknown": True, "error_code": failure.reason, "grpc_status": failure.status}
        say(json.dumps({**facts, "error_message": failure.message, "after_sequence": place.sequence}))
    else:
        tell(f"unknown: {failure}", f"to go on: executor watch {shlex.quote(place.request_id)} --after {place.sequence}")

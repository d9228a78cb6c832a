"""Execute one swap through a running daemon.

IN and OUT are symbols of the daemon's whitelist (SOL, USDC) or mints; AMOUNT is in whole tokens of IN, as a person writes it.
Example: executor trade SOL USDC 0.25 --slippage-bps 50

Exit code 0: SUCCESS. 1: FAILED or refused, so nothing was swapped and nothing will be. 2: it was asked for wrongly.
3: not known: PENDING, or no answer. Then give the same command again with the --request-id that stands on stderr: it asks what
became of that trade and never trades twice. Or follow it to its end: executor watch REQUEST_ID.
"""

import argparse
import json
import shlex
import uuid
from decimal import Context, Decimal

from attrs import frozen

from executor.cli.client import CallFailed, Client, as_dict, connect
from executor.cli.output import Unwritable, say, tell
from executor.cli.settings import add_address_argument, seconds, text
from executor.errors import ConfigError
from executor.rpc import trade_executor_pb2 as pb
from executor.units import U64_MAX, ui_text

HELP = "execute one swap through a running daemon"
STATUS_TIMEOUT_SECONDS = 5.0
U32_MAX = 2**32 - 1
URGENCIES = ("low", "normal", "high", "critical")
EXIT_FAILED = 1
EXIT_UNKNOWN = 3
_EXIT_CODES = {pb.TRADE_STATUS_SUCCESS: 0, pb.TRADE_STATUS_FAILED: EXIT_FAILED}
"""Of the answers that are certain."""
_SILENT_ON_EARLIER_CALLS = {"UNAVAILABLE", "ALREADY_EXISTS"}
"""Refusals that do not say what became of an earlier call with the same id: the one may be given before the journal is read, the
other means that there was such a call, with other content."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("input", metavar="IN", help="token to spend: symbol or mint")
    parser.add_argument("output", metavar="OUT", help="token to receive: symbol or mint")
    parser.add_argument("amount", metavar="AMOUNT", help="how much of IN, in whole tokens, for example 0.25")
    add_address_argument(parser)
    parser.add_argument("--slippage-bps", type=int, default=50, metavar="BPS", help="largest slippage, basis points (default 50)")
    parser.add_argument("--urgency", choices=URGENCIES, default="normal", help="how much to pay for a place in the next block")
    parser.add_argument("--expected-price", type=float, default=0.0, metavar="PRICE", help="OUT per IN; worse quotes are refused")
    parser.add_argument("--request-id", type=text, default="", help="default: a new one. The same id never trades twice")
    parser.add_argument(
        "--source", type=text, default="executor-cli", help="source_service of the request (default executor-cli)"
    )
    parser.add_argument("--timeout", type=seconds, default=45.0, metavar="SECONDS", help="how long to wait (default 45)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


@frozen
class _Token:
    symbol: str
    mint: str
    decimals: int


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    request_id = arguments.request_id or str(uuid.uuid4())
    with connect(arguments.address) as client:
        try:
            tokens = _tokens(client)
        except CallFailed as failure:
            # Nothing was asked for now. Who names an id may have asked for it before.
            return _report_failure(failure, request_id, unknown=bool(arguments.request_id), as_json=arguments.json)
        source, target = _find(arguments.input, tokens), _find(arguments.output, tokens)
        request = _request(arguments, request_id, source, target)
        try:
            result = _execute(client, request, timeout_seconds=arguments.timeout)
        except CallFailed as failure:
            unknown = not failure.reason or bool(arguments.request_id and failure.status in _SILENT_ON_EARLIER_CALLS)
            return _report_failure(failure, request_id, unknown=unknown, as_json=arguments.json)
    _show(*([json.dumps(as_dict(result))] if arguments.json else _page(result, source, target)))
    return exit_code(result)


def exit_code(result: pb.TradeResult) -> int:
    """What a result means to a script."""
    return _EXIT_CODES.get(result.status, EXIT_UNKNOWN)


def _execute(client: Client, request: pb.TradeRequest, *, timeout_seconds: float) -> pb.TradeResult:
    """Trade. The id is told first: whatever becomes of this process, the operator can ask what became of the trade."""
    tell(f"request_id {request.request_id}")
    try:
        return client.execute(request, timeout_seconds=timeout_seconds)
    except KeyboardInterrupt:
        tell("unknown: interrupted", _advice(request.request_id))
        raise


def _tokens(client: Client) -> list[_Token]:
    """The daemon's whitelist, as its status shows it."""
    status = client.status(timeout_seconds=STATUS_TIMEOUT_SECONDS)
    return [_Token(b.symbol, b.mint, b.decimals) for b in status.wallet.balances]


def _find(name: str, tokens: list[_Token]) -> _Token:
    for token in tokens:
        if name in {token.symbol, token.mint} or name.upper() == token.symbol.upper():
            return token
    known = ", ".join(token.symbol for token in tokens) or "none yet"
    raise ConfigError([f"{name} is not a token of this daemon; it knows {known}"])


def _request(arguments: argparse.Namespace, request_id: str, source: _Token, target: _Token) -> pb.TradeRequest:
    if not 0 <= arguments.slippage_bps <= U32_MAX:
        raise ConfigError([f"--slippage-bps must lie between 0 and {U32_MAX}, is {arguments.slippage_bps}"])
    return pb.TradeRequest(
        request_id=request_id,
        source_service=arguments.source,
        input_token=source.mint,
        output_token=target.mint,
        amount_lamports=_raw_amount(arguments.amount, source),
        max_slippage_bps=arguments.slippage_bps,
        urgency_level=f"URGENCY_LEVEL_{arguments.urgency.upper()}",
        expected_price=arguments.expected_price,
    )


def _raw_amount(text: str, token: _Token) -> int:
    """A whole number of smallest units, exactly: never rounded."""
    try:
        # The default context rounds to 28 digits; a text never holds more digits than characters.
        raw = Decimal(text).scaleb(token.decimals, Context(prec=len(text)))
        in_range = 0 < raw <= U64_MAX
    except (ArithmeticError, ValueError):  # decimal's own errors are arithmetic ones, also when NaN is compared
        raise ConfigError([f"AMOUNT {text!r} is not a number"]) from None
    # Only now: 1e999990 is short as a Decimal, and has a million digits as an int.
    if not in_range or raw != int(raw):
        most = ui_text(U64_MAX, token.decimals)
        bounds = f"must be positive, at most {most}, and have at most {token.decimals} decimals"
        raise ConfigError([f"AMOUNT {text!r} of {token.symbol} {bounds}"])
    return int(raw)


def _report_failure(failure: CallFailed, request_id: str, *, unknown: bool, as_json: bool) -> int:
    if as_json:
        facts = {"request_id": request_id, "unknown": unknown, "error_code": failure.reason, "grpc_status": failure.status}
        _show(json.dumps({**facts, "error_message": failure.message, "violations": dict(failure.violations)}))
    elif unknown:
        tell(f"unknown: {failure}", _advice(request_id))
    else:
        tell(f"{'refused' if failure.reason else 'not asked'}: {failure}")
    return EXIT_UNKNOWN if unknown else EXIT_FAILED


def _show(*lines: str) -> None:
    """Print the result. A disk that is full under stdout changes nothing about the trade, and so not the exit code either."""
    try:
        say(*lines)
    except Unwritable as error:
        tell(str(error))


def _advice(request_id: str) -> str:
    again = f"ask again with --request-id {request_id}, which never trades twice"
    return f"it may have traded, or may yet; {again}, or follow it: {_watch(request_id)}"


def _watch(request_id: str) -> str:
    return f"executor watch {shlex.quote(request_id)}"


def _page(result: pb.TradeResult, source: _Token, target: _Token) -> list[str]:
    status = pb.TradeStatus.Name(result.status).removeprefix("TRADE_STATUS_")
    lines = [f"{status}  {result.request_id}"]
    if result.status == pb.TRADE_STATUS_SUCCESS:
        spent, received = ui_text(result.input_amount, source.decimals), ui_text(result.executed_amount, target.decimals)
        lines += [
            f"  {spent} {source.symbol} -> {received} {target.symbol}  at {result.executed_price:.9g}",
            f"  slippage {result.signed_slippage_bps} bps, network fees {result.fees_paid} lamports, rent {result.rent_lamports}",
            f"  broadcast after {result.broadcast_time_us / 1000:.1f} ms, confirmed after {result.confirmation_time_ms} ms more",
        ]
    if result.error_message:
        lines.append(f"  {result.error_code}: {result.error_message}")
    if result.transaction_signature:
        lines.append(f"  signature {result.transaction_signature}")
    if result.status == pb.TRADE_STATUS_PENDING:
        lines.append(f"  to follow it: {_watch(result.request_id)}")
    return lines

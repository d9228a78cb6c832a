"""List the trades in the journal, newest first, or show the whole life of one.

Reads the file in the configured data directory, whether the daemon runs or not, and changes nothing. Times are UTC; --since and
--until are about the acceptance, for example 2026-11-23 or 2026-11-23T09:30.

Exit code 0: done, also when no trade fits. 1: there is no such trade, or no journal yet. 2: asked for or configured wrongly.
"""

import argparse
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import frozen

from executor.cli.output import say, tell
from executor.cli.settings import add_config_argument, read_config, text
from executor.journal import records
from executor.journal.history import History, open_history
from executor.journal.journal import Entry
from executor.journal.records import StoredTrade
from executor.model import Outcome
from executor.paths import expanded
from executor.states import State
from executor.supervisor import JOURNAL_FILE
from executor.units import ui_text

HELP = "list the trades in the journal, or show one's life"
EXIT_FAILED = 1
DEFAULT_LIMIT = 50
NS_PER_SECOND = 1_000_000_000
_INDENT = " " * 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("id", nargs="?", type=text, metavar="ID", help="request_id of the one trade to show")
    add_config_argument(parser)
    states = [state.name for state in State]
    parser.add_argument(
        "--state", action="append", choices=states, metavar="STATE", help=f"one of {', '.join(states)}; repeatable"
    )
    parser.add_argument("--open", action="store_true", help="only trades without an outcome")
    parser.add_argument("--source", type=text, metavar="NAME", help="only of this source_service")
    parser.add_argument("--since", type=_moment, default=0, metavar="TIME", help="accepted then or later")
    parser.add_argument("--until", type=_moment, default=2**63 - 1, metavar="TIME", help="accepted before")
    parser.add_argument("--token", type=text, metavar="TOKEN", help="only trades of this symbol or mint")
    parser.add_argument(
        "--limit", type=_limit, default=DEFAULT_LIMIT, metavar="N", help=f"at most so many (default {DEFAULT_LIMIT})"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    path = expanded(read_config(arguments.config).daemon.data_directory) / JOURNAL_FILE
    if not os.path.exists(path):  # which is no error where a folder may not be entered
        tell(f"there is no journal {path}")
        return EXIT_FAILED
    return _list(path, arguments) if arguments.id is None else _show(path, arguments)


@frozen
class _Token:
    """What an entry says of a token; journals of the first days hold its mint only."""

    mint: str
    symbol: str | None
    decimals: int | None

    @property
    def name(self) -> str:
        return self.symbol or self.mint

    def amount(self, raw: int) -> str:
        """An amount with its unit."""
        if self.decimals is None:
            return f"{raw} raw of {self.name}"
        return f"{ui_text(raw, self.decimals)} {self.name}"


@frozen(kw_only=True)
class _Trade:
    """The last life of a request."""

    entries: Sequence[Entry]
    stored: StoredTrade
    input: _Token
    output: _Token

    @property
    def outcome(self) -> Outcome | None:
        """What it ended with; None: it has not ended, or was denied."""
        return self.stored.outcome if "outcome" in json.loads(self.entries[-1].body) else None

    @property
    def signature(self) -> str | None:
        return next((entry.signature for entry in self.entries if entry.signature is not None), None)

    @property
    def failure(self) -> tuple[str, str] | None:
        """Code and reason, of a refusal or of an outcome."""
        outcome, refusal = self.outcome, self.stored.refusal
        if refusal is not None:
            return refusal.code.name, refusal.message
        if outcome is not None and outcome.error_code is not None:
            return outcome.error_code.name, outcome.error_message or ""
        return None


def _list(path: Path, arguments: argparse.Namespace) -> int:
    with open_history(path) as history:
        trades = list(itertools.islice(_wanted(history, arguments), arguments.limit))
    if arguments.json:
        say(*(json.dumps(_facts(trade)) for trade in trades))
    else:
        say(*_table(trades))
    return 0


def _wanted(history: History, arguments: argparse.Namespace) -> Iterator[_Trade]:
    states = {State[name] for name in arguments.state or State.__members__}
    lives = history.last_lives(since_unix_ns=arguments.since, until_unix_ns=arguments.until, only_open=arguments.open)
    for entries in lives:
        if entries[-1].state not in states:
            continue
        trade = _trade(entries)
        tokens = {name for token in (trade.input, trade.output) for name in (token.mint, token.symbol)}
        is_source = arguments.source in {None, trade.stored.request.source_service}
        if is_source and (arguments.token is None or arguments.token in tokens):
            yield trade


def _trade(entries: Sequence[Entry]) -> _Trade:
    stored = records.stored(entries)
    if stored is None:
        raise AssertionError("a life has entries")
    body = json.loads(entries[0].body)
    request = stored.request
    return _Trade(
        entries=entries,
        stored=stored,
        input=_token(body.get("input", {}), request.input_mint),
        output=_token(body.get("output", {}), request.output_mint),
    )


def _token(body: dict[str, Any], mint: str) -> _Token:
    return _Token(mint=mint, symbol=body.get("symbol"), decimals=body.get("decimals"))


def _table(trades: Sequence[_Trade]) -> list[str]:
    if not trades:
        return ["no trade"]
    rows = [("ACCEPTED", "STATE", "REQUEST", "SOURCE", "TRADE"), *map(_row, trades)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows]


def _row(trade: _Trade) -> tuple[str, str, str, str, str]:
    request = trade.stored.request
    words = f"{trade.input.amount(request.in_amount)} -> {trade.output.name}"
    if trade.stored.state is State.SUCCEEDED and trade.outcome is not None:
        words = f"{trade.input.amount(trade.outcome.input_amount)} -> {trade.output.amount(trade.outcome.executed_amount)}"
    if trade.failure is not None:
        words += f"  {trade.failure[0]}"
    first = trade.entries[0]
    return _time(first.at_unix_ns)[:19], trade.stored.state.name, first.request_id, request.source_service, words


def _facts(trade: _Trade) -> dict[str, object]:
    request, outcome, first = trade.stored.request, trade.outcome, trade.entries[0]
    code, message = trade.failure or (None, None)
    return {
        "request_id": first.request_id,
        "state": trade.stored.state.name,
        "accepted_at": _time(first.at_unix_ns),
        "accepted_unix_ns": first.at_unix_ns,
        "source_service": request.source_service,
        "input": _token_facts(trade.input, request.in_amount if outcome is None else outcome.input_amount or request.in_amount),
        "output": _token_facts(trade.output, None if outcome is None else outcome.executed_amount),
        "signature": trade.signature,
        "error_code": code,
        "error_message": message,
    }


def _token_facts(token: _Token, amount: int | None) -> dict[str, object]:
    known = amount is not None and token.decimals is not None
    return {
        "mint": token.mint,
        "symbol": token.symbol,
        "amount_raw": amount,
        "amount": ui_text(amount or 0, token.decimals or 0) if known else None,
    }


def _show(path: Path, arguments: argparse.Namespace) -> int:
    with open_history(path) as history:
        entries = history.entries(arguments.id)
    if not entries:
        tell(f"no request {arguments.id!r} was ever accepted")
        return EXIT_FAILED
    if arguments.json:
        say(*(json.dumps(_entry_facts(entry)) for entry in entries))
    else:
        say(f"request {arguments.id}", *itertools.chain.from_iterable(_page(life) for life in _lives(entries)))
    return 0


def _lives(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    begins = [index for index, entry in enumerate(entries) if entry.state is State.ACCEPTED]
    for begin, end in itertools.pairwise([*begins, len(entries)]):
        yield entries[begin:end]


def _entry_facts(entry: Entry) -> dict[str, object]:
    return {
        "seq": entry.seq,
        "request_id": entry.request_id,
        "state": entry.state.name,
        "at": _time(entry.at_unix_ns),
        "at_unix_ns": entry.at_unix_ns,
        "signature": entry.signature,
        "body": json.loads(entry.body),
    }


def _page(life: Sequence[Entry]) -> Iterator[str]:
    trade = _trade(life)
    for entry in life:
        first, *more = _details(entry, trade) or [""]
        yield f"{_time(entry.at_unix_ns)}  {entry.state.name:<10} {first}".rstrip()
        yield from (_INDENT + line for line in more)


def _details(entry: Entry, trade: _Trade) -> list[str]:
    """What there is to say of a step."""
    if entry.state is State.ACCEPTED:
        request = trade.stored.request
        return [
            f"{trade.input.amount(request.in_amount)} -> {trade.output.name}, from {request.source_service}",
            f"slippage at most {request.max_slippage_bps} bps, urgency {request.urgency.value}",
        ]
    if entry.state is State.SIGNED:
        return _signed_details(entry, json.loads(entry.body), trade)
    if entry is not trade.entries[-1]:
        return []
    return [*_fill(trade), *([": ".join(trade.failure)] if trade.failure else [])]


def _signed_details(entry: Entry, body: dict[str, Any], trade: _Trade) -> list[str]:
    return [
        f"signature {entry.signature}",
        f"blockhash {body['blockhash']}, valid up to block height {body['last_valid_block_height']}",
        f"compute budget {body['compute_unit_limit']} units at {body['price_micro_lamports']} micro-lamports:"
        f" priority fee {body['priority_fee_lamports']} lamports",
        f"quoted {trade.output.amount(body['quoted_out_amount'])}",
    ]


def _fill(trade: _Trade) -> list[str]:
    """What the chain says, where it says something."""
    outcome = trade.outcome
    if outcome is None or not outcome.slot:
        return []
    spent, received = trade.input.amount(outcome.input_amount), trade.output.amount(outcome.executed_amount)
    return [
        f"{spent} -> {received}, slippage {outcome.signed_slippage_bps} bps",
        f"slot {outcome.slot}, {outcome.units_consumed} compute units,"
        f" fees {outcome.fees_paid_lamports} lamports, rent {outcome.rent_lamports} lamports",
    ]


def _time(unix_ns: int) -> str:
    seconds, rest = divmod(unix_ns, NS_PER_SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest // 1_000:06d}Z"


def _moment(words: str) -> int:
    """A point in time of the command line, in nanoseconds; UTC unless it says otherwise."""
    try:
        moment = datetime.fromisoformat(words)
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        seconds = int(moment.timestamp())
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{words!r} is no time; write 2026-11-23 or 2026-11-23T09:30") from None
    return seconds * NS_PER_SECOND + moment.microsecond * 1_000


def _limit(words: str) -> int:
    if not words.isdecimal() or not 0 < int(words) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 1000000, is {words!r}")
    return int(words)

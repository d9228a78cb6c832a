"""Show how a running daemon is: whether it trades and why not, its nodes, wallet, outcomes and latencies."""

import argparse
import json
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message

from executor.cli.client import CallFailed, as_dict, connect
from executor.cli.output import say, tell
from executor.cli.settings import add_address_argument, seconds
from executor.rpc import trade_executor_pb2 as pb
from executor.units import U64_MAX, ui_text

HELP = "show how a running daemon is"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_address_argument(parser)
    parser.add_argument("--timeout", type=seconds, default=5.0, metavar="SECONDS", help="how long to wait (default 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Exit code 0: it trades; 1: it does not, or does not answer."""
    try:
        with connect(arguments.address) as client:
            status = client.status(timeout_seconds=arguments.timeout)
    except CallFailed as failure:
        tell(f"no status from {arguments.address}: {failure}")
        return 1
    say(*([json.dumps(as_dict(status))] if arguments.json else _page(status)))
    return 0 if status.trading_allowed else 1


def _page(status: pb.ExecutorStatus) -> list[str]:
    return [
        *_head(status),
        "",
        *_upstreams(status),
        "",
        *_wallet(status),
        "",
        *_stages(status),
        *_errors(status),
        *_rates(status),
    ]


def _head(status: pb.ExecutorStatus) -> list[str]:
    trading = "trading" if status.trading_allowed else "NOT TRADING: " + "; ".join(status.not_allowed_because)
    outcomes = status.outcomes
    return [
        f"executor {status.version}, up {_span(status.uptime_ms)}, {trading}",
        f"in flight {status.trades_in_flight}   success {outcomes.success}   failed {outcomes.failed}"
        f"   pending {outcomes.pending}   refused {outcomes.refused}",
        f"{_blockhash(status)}   {_fee_cache(status.fee_cache)}",
        *_journal(status),
        *breaker_lines(status),
    ]


def _journal(status: pb.ExecutorStatus) -> list[str]:
    """Absent in what an older daemon says."""
    if not status.HasField("journal"):
        return []
    journal = status.journal
    problem = f"   PROBLEM: {journal.problem}" if journal.problem else ""
    return [
        f"journal: {journal.entries} entries in {journal.commits} commits, {journal.waiting} waiting,"
        f" commit p50 {journal.commit_p50_ms:.2f} ms p99 {journal.commit_p99_ms:.2f} ms{problem}"
    ]


def breaker_lines(status: pb.ExecutorStatus) -> list[str]:
    """The circuit breaker, unless it is closed, with each cause and since when."""
    if not status.breaker_causes:
        return []
    state = pb.BreakerState.Name(status.breaker).removeprefix("BREAKER_STATE_")
    return [
        f"circuit breaker {state}",
        *(f"  {c.kind:<16} since {_utc(c.since_unix_ms)}  {c.cause}" for c in status.breaker_causes),
    ]


def _utc(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _blockhash(status: pb.ExecutorStatus) -> str:
    blockhash = status.blockhash
    age = _age_ms(blockhash, "age_ms")
    if not status.HasField("blockhash") or age is None:
        return "no blockhash yet"
    stale = "" if blockhash.fresh else " (STALE)"
    return f"blockhash {_span(age)} old{stale}, block height {blockhash.block_height}"


def _fee_cache(cache: pb.FeeCacheStatus) -> str:
    age = _age_ms(cache, "oldest_age_ms")
    if not cache.entries or age is None:
        return "fee cache: empty"
    return f"fee cache: {cache.entries} pairs, up to {_span(age)} old"


def _upstreams(status: pb.ExecutorStatus) -> list[str]:
    rows = [*status.nodes, *([status.jupiter] if status.HasField("jupiter") else [])]
    return [f"{row.name:<12} {row.endpoint:<34} {_health(row)}" for row in rows]


def _health(row: pb.EndpointStatus) -> str:
    if _age_ms(row, "age_ms") is None:
        return "never asked"
    return "healthy" if row.healthy else f"FAILING: {row.problem}"


def _wallet(status: pb.ExecutorStatus) -> list[str]:
    rows = [f"  {b.symbol:<10} {ui_text(b.amount, b.decimals):>24}" for b in status.wallet.balances]
    untradable = ["cannot be traded", *(f"  {reason}" for reason in status.untradable_tokens)] if status.untradable_tokens else []
    return [f"wallet {status.wallet.address}", *(rows or ["  no balance is known yet"]), *untradable]


def _stages(status: pb.ExecutorStatus) -> list[str]:
    head = f"{'stage':<12}{'count':>8}{'p50 ms':>10}{'p90 ms':>10}{'p99 ms':>10}"
    rows = [f"{s.stage:<12}{s.count:>8}{s.p50_ms:>10.2f}{s.p90_ms:>10.2f}{s.p99_ms:>10.2f}" for s in status.stages]
    return [head, *rows] if rows else ["no trade yet"]


def _errors(status: pb.ExecutorStatus) -> list[str]:
    rows = [f"  {code:<30}{count:>6}" for code, count in sorted(status.error_counts.items())]
    return ["", "errors by code", *rows] if rows else []


def _rates(status: pb.ExecutorStatus) -> list[str]:
    head = f"  {'lately, by code and source':<61}{'1 min':>8}{'5 min':>8}{'1 h':>8}"
    rows = [
        f"  {r.error_code:<30} {r.source:<30}{r.last_minute:>8}{r.last_5_minutes:>8}{r.last_hour:>8}" for r in status.error_rates
    ]
    return ["", head, *rows] if rows else []


def _age_ms(message: Message, field: str) -> int | None:
    """An age; None where there is none: the field is absent, or holds what stands for infinity."""
    descriptor: Any = message.DESCRIPTOR  # the stubs know two classes of descriptors that have nothing in common
    if descriptor.fields_by_name[field].has_presence and not message.HasField(field):
        return None
    age: int = getattr(message, field)
    return None if age >= U64_MAX else age


def _span(milliseconds: int) -> str:
    seconds = milliseconds / 1000
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

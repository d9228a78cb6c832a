"""What a demo comes to: counts, latencies, and everything that is not as it must be. Pure."""

from collections.abc import Sequence

from attrs import frozen

from executor.cli.demo.trades import Trade
from executor.percentile import nearest_rank
from executor.rpc import trade_executor_pb2 as pb

US_PER_MS = 1_000


@frozen(kw_only=True)
class Summary:
    """The counts are of trades by how they ended; percentiles are over the trades that were sent, 0 without any."""

    trades: int
    success: int
    failed: int
    pending: int
    refused: int
    amount_mismatches: int
    p50_broadcast_ms: float
    p99_broadcast_ms: float
    p50_confirmation_ms: float
    p99_confirmation_ms: float
    fees_lamports: int
    """Paid to the network, by all trades together."""
    rent_lamports: int
    """Put into new accounts of the wallet's own."""
    seconds: float
    """From the first trade's beginning to the last one's end."""
    wallet_unexplained: tuple[str, ...]
    problems: tuple[str, ...]
    """Why the demo has failed; empty when everything is as it must be."""


def summarise(trades: Sequence[Trade], *, wallet_unexplained: Sequence[str], counted: pb.OutcomeCounts) -> Summary:
    """Add up. `counted` is the daemon's own count, which has to be the same."""
    results = [trade.result for trade in trades if trade.result is not None]
    broadcasts = [result.broadcast_time_us / US_PER_MS for result in results if result.broadcast_time_us]
    confirmations = [float(result.confirmation_time_ms) for result in results if result.slot]
    endings = [trade.status for trade in trades]
    counts = {status: endings.count(status) for status in ("SUCCESS", "FAILED", "PENDING")}
    refused = len(trades) - len(results)
    return Summary(
        trades=len(trades),
        success=counts["SUCCESS"],
        failed=counts["FAILED"],
        pending=counts["PENDING"],
        refused=refused,
        amount_mismatches=sum(bool(trade.mismatches()) for trade in trades),
        p50_broadcast_ms=_percentile(broadcasts, 50),
        p99_broadcast_ms=_percentile(broadcasts, 99),
        p50_confirmation_ms=_percentile(confirmations, 50),
        p99_confirmation_ms=_percentile(confirmations, 99),
        fees_lamports=sum(result.fees_paid for result in results),
        rent_lamports=sum(result.rent_lamports for result in results),
        seconds=round(max((trade.ended_seconds for trade in trades), default=0.0), 3),
        wallet_unexplained=tuple(wallet_unexplained),
        problems=(
            *_problems_of_trades(trades),
            *(f"wallet, {difference}" for difference in wallet_unexplained),
            *_miscounts(counted, {**counts, "REFUSED": refused}),
        ),
    )


def _percentile(values: Sequence[float], percent: int) -> float:
    return round(nearest_rank(sorted(values), percent), 3) if values else 0.0


def _problems_of_trades(trades: Sequence[Trade]) -> list[str]:
    return [
        f"trade {trade.planned.number}, {trade.planned.source.symbol} to {trade.planned.target.symbol}: {problem}"
        for trade in trades
        for problem in (*trade.surprises(), *trade.mismatches())
    ]


def _miscounts(counted: pb.OutcomeCounts, counts: dict[str, int]) -> list[str]:
    theirs = {
        "SUCCESS": counted.success,
        "FAILED": counted.failed,
        "PENDING": counted.pending,
        "REFUSED": counted.refused,
    }
    return [
        f"the daemon counts {theirs[name]} {name}, its caller {count}" for name, count in counts.items() if theirs[name] != count
    ]

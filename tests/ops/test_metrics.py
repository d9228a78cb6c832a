"""What the daemon counts."""

import trio

from executor.errors import ErrorCode
from executor.model import Stage
from executor.ops.metrics import RECENT, Metrics
from executor.status import ErrorCount, OutcomeCounts


def test_latencies_stand_in_the_order_of_the_line_and_are_bounded() -> None:
    """Counts go on for ever, percentiles are those of the latest values only."""
    metrics = Metrics()
    metrics.stage_took(Stage.SIGN, 1.0)
    for _ in range(RECENT):
        metrics.stage_took(Stage.QUOTE, 9.0)
    for millisecond in range(RECENT):
        metrics.stage_took(Stage.QUOTE, millisecond / 1000)

    quote, sign = metrics.latencies()

    assert (quote.stage, quote.count) == (Stage.QUOTE, 2 * RECENT)
    assert (quote.p50_seconds, quote.p90_seconds, quote.p99_seconds) == (0.511, 0.921, 1.013)
    assert (sign.stage, sign.count, sign.p50_seconds, sign.p99_seconds) == (Stage.SIGN, 1, 1.0, 1.0)


async def test_errors_are_counted_by_code_in_the_order_of_their_names() -> None:
    """A status lists every code that was given, and how often; lately also to whom."""
    metrics = Metrics()
    for code in (ErrorCode.PRICE_MOVED, ErrorCode.BALANCE_INSUFFICIENT, ErrorCode.PRICE_MOVED):
        metrics.error(code, "strategy")
    await trio.lowlevel.checkpoint()

    assert metrics.error_counts() == (
        ErrorCount(code=ErrorCode.BALANCE_INSUFFICIENT, count=1),
        ErrorCount(code=ErrorCode.PRICE_MOVED, count=2),
    )
    assert [(row.code, row.source, row.last_minute) for row in metrics.rates.latest()] == [
        (ErrorCode.PRICE_MOVED, "strategy", 2),
        (ErrorCode.BALANCE_INSUFFICIENT, "strategy", 1),
    ]


def test_outcomes_add_what_others_know_to_be_pending() -> None:
    """Pending trades are held by the desk; the rest is counted here."""
    metrics = Metrics(success=3, failed=2, refused=1)

    assert metrics.outcomes(pending=4) == OutcomeCounts(success=3, failed=2, pending=4, refused=1)

"""What the page shows of one trade: a line of its table, and the daemon's words. Pure."""

from executor.cli.demo.plan import Token
from executor.cli.demo.trades import Trade
from executor.rpc import trade_executor_pb2 as pb
from executor.units import ui_text

HEAD = f"{'sec':>5}  {'pays':>16}    {'receives':<21}{'price':>12}{'slip':>5}{'fee':>7}{'sent':>6}{'conf':>6}  outcome"
US_PER_MS = 1_000
SMALL_PRICE, LARGE_PRICE = 0.0001, 1_000.0


def row(trade: Trade) -> str:
    """Everything of the line but its outcome."""
    planned, result = trade.planned, trade.result
    pays = amount_text(planned.in_amount, planned.source)
    if result is None or not result.executed_amount:
        return f"{trade.ended_seconds:>5.2f}  {pays:>16} -> {planned.target.symbol:<21}{_figures(result):>36}  "
    receives = amount_text(result.executed_amount, planned.target)
    return f"{trade.ended_seconds:>5.2f}  {pays:>16} -> {receives:<21}{_figures(result):>36}  "


def outcome(trade: Trade) -> str:
    """How it ended, in a word."""
    if trade.surprises():
        return "UNEXPECTED"
    if trade.mismatches():
        return "MISMATCH"
    return "refused" if trade.result is None else trade.status.lower()


def told(trade: Trade) -> str:
    """What the daemon says of a trade: its message, or how long it took."""
    if trade.message or trade.result is None:
        return f"{trade.status}, {trade.code}: {trade.message}"
    return f"{trade.status}, confirmed {trade.result.confirmation_time_ms:,} ms after the first send"


def amount_text(amount: int, token: Token) -> str:
    """An amount as a person reads it, to the unit: 1,234,567.89 BONK."""
    whole, point, fraction = ui_text(amount, token.decimals).partition(".")
    return f"{int(whole):,}{point}{fraction} {token.symbol}"


def price_text(price: float) -> str:
    """Six digits that count, or five as 1.2345e-08 where it is small."""
    if price >= LARGE_PRICE:
        return f"{price:,.0f}"
    return f"{price:#.6g}" if price >= SMALL_PRICE else f"{price:.4e}"


def _figures(result: pb.TradeResult | None) -> str:
    if result is None or not result.slot:
        return ""
    price = price_text(result.executed_price) if result.executed_amount else ""
    sent, slippage = round(result.broadcast_time_us / US_PER_MS), result.signed_slippage_bps
    return f"{price:>12}{slippage:>5}{result.fees_paid:>7}{sent:>6}{result.confirmation_time_ms:>6}"

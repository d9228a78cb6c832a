"""What Jupiter offers, and whether the caller would still want it."""

from executor.errors import Denied, ErrorCode, Rejected, TradeError
from executor.model import Order, Quote, Quoted
from executor.network.jupiter import Jupiter
from executor.stages.attempts import Attempt
from executor.stages.upstream import rejecting
from executor.units import BPS_PER_WHOLE, Bps, minimum_out, out_at_price, shortfall_bps, ui_text

MAX_QUOTES = 3
"""One, and two more where the market is worse than expected and a narrower slippage has to be asked for."""


async def quote(order: Order, *, jupiter: Jupiter, platform_fee_bps: int, attempt: Attempt) -> Quoted:
    """Ask for an offer and hold it against the expected price; without one, against the first offer.

    Slippage is counted once: an offer that is worse than expected has used some of it up, and is asked for again with the rest.
    Raises Denied(PRICE_MOVED) below the expected price, Rejected(SLIPPAGE_EXCEEDED) below the first offer, Rejected.
    """
    slippage_bps = order.max_slippage_bps
    for _ in range(MAX_QUOTES):
        offer = await _offer(order, slippage_bps, jupiter=jupiter, platform_fee_bps=platform_fee_bps, attempt=attempt)
        reference = _reference(order, offer, attempt)
        _require_price(order, offer, reference)
        least = max(minimum_out(amount, order.max_slippage_bps) for amount in (reference, offer.out_amount))
        if minimum_out(offer.out_amount, offer.slippage_bps) >= least:
            return Quoted(order=order, quote=offer, reference_out_amount=reference, minimum_out_amount=least)
        slippage_bps = Bps((offer.out_amount - least) * BPS_PER_WHOLE // offer.out_amount)
    raise _moved(
        order,
        f"the market falls while it is asked: {MAX_QUOTES} quotes in a row, each worse than the one before, "
        f"leave no room above the least that {_promise(order)} allows, {ui_text(least, order.output.decimals)} "
        f"{order.output.symbol}",
        quoted_amount=offer.out_amount,
        expected_amount=reference,
        max_slippage_bps=order.max_slippage_bps,
    )


async def _offer(order: Order, slippage_bps: Bps, *, jupiter: Jupiter, platform_fee_bps: int, attempt: Attempt) -> Quote:
    # Never asked anew after a refusal, though the error tables say so of "no route": what would be left out then, shared accounts
    # and direct routes only, is no part of this question.
    with rejecting():
        return await jupiter.quote(
            input_mint=order.input.mint,
            output_mint=order.output.mint,
            in_amount=order.in_amount,
            slippage_bps=slippage_bps,
            platform_fee_bps=platform_fee_bps if order.fee_account else 0,
            exclude_dexes=attempt.excluded_dexes,
            max_accounts=attempt.max_accounts,
        )


def _reference(order: Order, offer: Quote, attempt: Attempt) -> int:
    if attempt.reference_out_amount is not None:
        return attempt.reference_out_amount
    if order.expected_price is None:
        return offer.out_amount
    return out_at_price(order.expected_price, order.in_amount, order.input.decimals, order.output.decimals)


def _require_price(order: Order, offer: Quote, reference: int) -> None:
    short = shortfall_bps(reference, offer.out_amount)
    if short > order.max_slippage_bps:
        raise _moved(
            order,
            f"the quote gives {ui_text(offer.out_amount, order.output.decimals)} {order.output.symbol}, "
            f"{short} bps less than the {ui_text(reference, order.output.decimals)} that {_promise(order)} promises; "
            f"at most {order.max_slippage_bps} bps are allowed",
            quoted_amount=offer.out_amount,
            expected_amount=reference,
            shortfall_bps=short,
            max_slippage_bps=order.max_slippage_bps,
        )


def _promise(order: Order) -> str:
    return "the first quote" if order.expected_price is None else "the expected price"


def _moved(order: Order, message: str, **figures: object) -> TradeError:
    """Below the caller's own price it is a rule of theirs that refuses; else the market has left the first offer behind."""
    if order.expected_price is None:
        return Rejected(ErrorCode.SLIPPAGE_EXCEEDED, message, **figures)
    return Denied(ErrorCode.PRICE_MOVED, message, **figures)

"""What Jupiter offers, and whether the caller would still want it."""

from executor.errors import Denied, ErrorCode
from executor.model import Order, Quote, Quoted
from executor.network.jupiter import Jupiter
from executor.stages.upstream import rejecting
from executor.units import BPS_PER_WHOLE, Bps, minimum_out, out_at_price, shortfall_bps, ui_text

MAX_QUOTES = 3
"""One, and two more where the market is worse than expected and a narrower slippage has to be asked for."""


async def quote(order: Order, *, jupiter: Jupiter, platform_fee_bps: int) -> Quoted:
    """Ask for an offer and hold it against the expected price. Raises Denied(PRICE_MOVED) or Rejected.

    Slippage is counted once: an offer that is worse than expected has used some of it up, and is asked for again with the rest.
    """
    slippage_bps = order.max_slippage_bps
    for _ in range(MAX_QUOTES):
        offer = await _offer(order, slippage_bps, jupiter=jupiter, platform_fee_bps=platform_fee_bps)
        reference = _reference(order, offer)
        _require_price(order, offer, reference)
        least = max(minimum_out(amount, order.max_slippage_bps) for amount in (reference, offer.out_amount))
        if minimum_out(offer.out_amount, offer.slippage_bps) >= least:
            return Quoted(order=order, quote=offer, reference_out_amount=reference, minimum_out_amount=least)
        slippage_bps = Bps((offer.out_amount - least) * BPS_PER_WHOLE // offer.out_amount)
    raise Denied(
        ErrorCode.PRICE_MOVED,
        f"the market falls while it is asked: {MAX_QUOTES} quotes in a row, each worse than the one before, "
        f"leave no room above the least that the expected price allows, {ui_text(least, order.output.decimals)} "
        f"{order.output.symbol}",
        quoted_amount=offer.out_amount,
        expected_amount=reference,
        max_slippage_bps=order.max_slippage_bps,
    )


async def _offer(order: Order, slippage_bps: Bps, *, jupiter: Jupiter, platform_fee_bps: int) -> Quote:
    with rejecting():
        return await jupiter.quote(
            input_mint=order.input.mint,
            output_mint=order.output.mint,
            in_amount=order.in_amount,
            slippage_bps=slippage_bps,
            platform_fee_bps=platform_fee_bps if order.fee_account else 0,
        )


def _reference(order: Order, offer: Quote) -> int:
    if order.expected_price is None:
        return offer.out_amount
    return out_at_price(order.expected_price, order.in_amount, order.input.decimals, order.output.decimals)


def _require_price(order: Order, offer: Quote, reference: int) -> None:
    short = shortfall_bps(reference, offer.out_amount)
    if short > order.max_slippage_bps:
        raise Denied(
            ErrorCode.PRICE_MOVED,
            f"the quote gives {ui_text(offer.out_amount, order.output.decimals)} {order.output.symbol}, "
            f"{short} bps less than the {ui_text(reference, order.output.decimals)} that the expected price promises; "
            f"at most {order.max_slippage_bps} bps are allowed",
            quoted_amount=offer.out_amount,
            expected_amount=reference,
            shortfall_bps=short,
            max_slippage_bps=order.max_slippage_bps,
        )

"""What Jupiter offers, and whether the caller would still want it."""

from executor.errors import Denied, ErrorCode
from executor.model import Order, Quote, Quoted
from executor.network.jupiter import Jupiter
from executor.stages.upstream import rejecting
from executor.units import out_at_price, shortfall_bps, ui_text


async def quote(order: Order, *, jupiter: Jupiter, platform_fee_bps: int) -> Quoted:
    """Ask for an offer and hold it against the expected price. Raises Denied(PRICE_MOVED) or Rejected."""
    with rejecting():
        offer = await jupiter.quote(
            input_mint=order.input.mint,
            output_mint=order.output.mint,
            in_amount=order.in_amount,
            slippage_bps=order.max_slippage_bps,
            platform_fee_bps=platform_fee_bps if order.fee_account else 0,
        )
    reference = _reference(order, offer)
    _require_price(order, offer, reference)
    return Quoted(order=order, quote=offer, reference_out_amount=reference)


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

"""From the end of a trade to what its caller is told. Pure."""

from attrs import evolve, frozen

from executor.errors import ErrorCode, TradeError
from executor.faults import TransportError
from executor.model import Fill, Landed, Order, Outcome, OutcomeStatus, Sent, Signed, Stage
from executor.units import exact_price, shortfall_bps

NO_MEV_PROTECTION = "none: sent to ordinary nodes; wrapping SOL and shared accounts do not protect against MEV"


@frozen(kw_only=True)
class Times:
    """Durations of a trade so far, in nanoseconds."""

    execution_ns: int
    broadcast_ns: int = 0
    confirmation_ns: int = 0


def refused(order: Order, error: TradeError, stage: Stage | None, *, signed: Signed | None, times: Times) -> Outcome:
    """Ended before anything was sent; with the signature of what was signed."""
    if signed is not None:
        outcome = _after_signing(signed, OutcomeStatus.FAILED, times, error_code=error.code, error_message=error.message)
        return evolve(outcome, error_stage=stage)
    return Outcome(
        request_id=order.request_id,
        status=OutcomeStatus.FAILED,
        error_code=error.code,
        error_message=error.message,
        error_stage=stage,
        execution_ns=times.execution_ns,
    )


def expired(signed: Signed, error: TradeError, *, refusal: TransportError | None = None, times: Times) -> Outcome:
    """Proved never to land. With a `refusal`, by every node's preflight, that is why."""
    code, message = (error.code if refusal is None else refusal.fault.code), f"{error.message}{_refused_by_all(refusal)}"
    return _after_signing(signed, OutcomeStatus.FAILED, times, error_code=code, error_message=message)


def pending(
    signed: Signed, *, timeout_seconds: float, landed: Landed | None, refusal: TransportError | None = None, times: Times
) -> Outcome:
    """Not proved either way within the time that the caller is kept waiting, or landed and its amounts not read yet."""
    known = (
        f"not confirmed within {timeout_seconds:g} s: it may still land until block height {signed.last_valid_block_height}"
        if landed is None
        else f"a node says that it was confirmed in slot {landed.slot}, but none has shown the transaction with its amounts yet"
    )
    message = f"{known}{_refused_by_all(refusal if landed is None else None)}; ask GetTrade for the outcome, do not trade again"
    return _after_signing(signed, OutcomeStatus.PENDING, times, error_code=ErrorCode.CONFIRMATION_TIMEOUT, error_message=message)


def being_executed(request_id: str, *, known: Outcome | None) -> Outcome:
    """No outcome yet, and none is due. `known` is what the journal says of the trade: its signature, once it is signed."""
    outcome = Outcome(request_id=request_id, status=OutcomeStatus.PENDING, error_message="the trade is being executed")
    if known is None or known.signature is None:
        return outcome
    return evolve(outcome, signature=known.signature, last_valid_block_height=known.last_valid_block_height)


def unwatched(signed: Signed, error: TradeError, *, times: Times) -> Outcome:
    """Not proved either way, and nobody in this process watches it any more."""
    message = (
        f"{error.message}; the transaction may have landed, or land until block height {signed.last_valid_block_height}: "
        "look up its signature, do not trade again"
    )
    return _after_signing(signed, OutcomeStatus.PENDING, times, error_code=error.code, error_message=message)


def landed(sent: Sent, fill: Fill, *, times: Times) -> Outcome:
    """Landed: SUCCESS with what the wallet has more, or FAILED (the fee is paid, nothing was swapped)."""
    if fill.error_code is None:
        return _after_signing(sent.signed, OutcomeStatus.SUCCESS, times, fill=fill)
    message = f"the transaction landed in slot {fill.slot} and reverted, its network fee is paid: {fill.error_detail}"
    return _after_signing(sent.signed, OutcomeStatus.FAILED, times, fill=fill, error_code=fill.error_code, error_message=message)


def _refused_by_all(refusal: TransportError | None) -> str:
    return "" if refusal is None else f"; sent last, it failed every node's preflight ({refusal.fault.code.name}: {refusal})"


def _after_signing(
    signed: Signed,
    status: OutcomeStatus,
    times: Times,
    *,
    fill: Fill | None = None,
    error_code: ErrorCode | None = None,
    error_message: str | None = None,
) -> Outcome:
    order = signed.order
    swapped = status is OutcomeStatus.SUCCESS and fill is not None and fill.in_amount > 0
    return Outcome(
        request_id=order.request_id,
        status=status,
        signature=str(signed.signature),
        executed_amount=fill.out_amount if fill else 0,
        input_amount=fill.in_amount if fill else 0,
        executed_price=(
            exact_price(fill.in_amount, order.input.decimals, fill.out_amount, order.output.decimals)
            if fill and swapped
            else None
        ),
        signed_slippage_bps=shortfall_bps(signed.reference_out_amount, fill.out_amount) if fill and swapped else 0,
        fees_paid_lamports=fill.fee_lamports if fill else 0,
        priority_fee_lamports=fill.priority_fee_lamports if fill else 0,
        rent_lamports=fill.rent_lamports if fill else 0,
        quoted_amount=signed.quoted_out_amount,
        reference_amount=signed.reference_out_amount,
        slot=fill.slot if fill else 0,
        units_consumed=fill.units_consumed if fill else 0,
        last_valid_block_height=signed.last_valid_block_height,
        shared_accounts=signed.shared_accounts,
        mev_protection=NO_MEV_PROTECTION,
        execution_ns=times.execution_ns,
        broadcast_ns=times.broadcast_ns,
        confirmation_ns=times.confirmation_ns,
        error_code=error_code,
        error_message=error_message,
        error_stage=Stage.MONITOR if error_code else None,
    )

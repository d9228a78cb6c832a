"""What a caller is told of the end of a trade."""

from fractions import Fraction
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from executor import outcomes
from executor.errors import Denied, ErrorCode, Expired, Rejected
from executor.faults import TransportError, transaction_fault
from executor.model import Fill, Landed, OutcomeStatus, Stage
from executor.outcomes import Times
from executor.units import Lamports, exact_price, shortfall_bps
from tests.support.values import SOL, USDC, make_built, make_order, make_quoted, make_sent, make_signed, make_simulated

TIMES = Times(execution_ns=3, broadcast_ns=1, confirmation_ns=2)
SENT = make_sent()


def make_fill(**changes: Any) -> Fill:
    """0.05 SOL became 6.09 USDC."""
    fill = Fill(
        slot=500,
        in_amount=50_000_000,
        out_amount=6_090_000,
        fee_lamports=Lamports(7_500),
        priority_fee_lamports=Lamports(2_500),
        rent_lamports=2_039_280,
        units_consumed=81_000,
    )
    return evolve(fill, **changes)


def test_a_landed_swap_is_a_success_with_the_chain_s_figures() -> None:
    """Amounts, fees, rent, slot and units are those of the fill; quote, height and signature those of the transaction."""
    outcome = outcomes.landed(SENT, make_fill(), times=TIMES)

    assert (outcome.request_id, outcome.status, outcome.error_code) == ("request-1", OutcomeStatus.SUCCESS, None)
    assert (outcome.error_message, outcome.error_stage) == (None, None)
    assert (outcome.signature, outcome.last_valid_block_height) == (str(SENT.signed.signature), 1_150)
    assert (outcome.input_amount, outcome.executed_amount, outcome.quoted_amount) == (50_000_000, 6_090_000, 6_096_091)
    assert outcome.executed_price == Fraction("121.8")
    assert outcome.signed_slippage_bps == 10  # 9.99 bps less than quoted, rounded up
    assert (outcome.fees_paid_lamports, outcome.priority_fee_lamports, outcome.tip_lamports) == (7_500, 2_500, 0)
    assert (outcome.rent_lamports, outcome.slot, outcome.units_consumed) == (2_039_280, 500, 81_000)
    assert (outcome.execution_ns, outcome.broadcast_ns, outcome.confirmation_ns) == (3, 1, 2)
    assert outcome.shared_accounts
    assert not outcome.mev_protected
    assert outcome.mev_protection.startswith("none")


@given(st.integers(1, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(1, 2**64 - 1))
def test_price_and_slippage_are_exact(in_amount: int, out_amount: int, reference: int) -> None:
    """Whatever the amounts: the price as a fraction, the slippage against the reference, negative when it is better."""
    quoted = evolve(make_quoted(), reference_out_amount=reference)
    sent = make_sent(make_signed(make_simulated(make_built(quoted))))
    outcome = outcomes.landed(sent, make_fill(in_amount=in_amount, out_amount=out_amount), times=TIMES)

    assert outcome.executed_price == exact_price(in_amount, SOL.decimals, out_amount, USDC.decimals)
    assert outcome.signed_slippage_bps == shortfall_bps(reference, out_amount)


def test_a_success_that_spent_nothing_has_no_price() -> None:
    """An answer that makes no sense is told as it is, without dividing by it."""
    outcome = outcomes.landed(SENT, make_fill(in_amount=0, out_amount=0), times=TIMES)

    assert (outcome.status, outcome.executed_price, outcome.signed_slippage_bps) == (OutcomeStatus.SUCCESS, None, 0)


def test_a_landed_error_failed_and_paid_its_fee() -> None:
    """FAILED with the code, the slot and the fee; no price and no slippage of a swap that did not happen."""
    fill = make_fill(in_amount=0, out_amount=0, error_code=ErrorCode.SLIPPAGE_EXCEEDED, error_detail="6001")
    outcome = outcomes.landed(SENT, fill, times=TIMES)

    assert (outcome.status, outcome.error_code) == (OutcomeStatus.FAILED, ErrorCode.SLIPPAGE_EXCEEDED)
    assert outcome.error_stage is Stage.MONITOR
    assert (outcome.fees_paid_lamports, outcome.slot) == (7_500, 500)
    assert (outcome.executed_amount, outcome.executed_price, outcome.signed_slippage_bps) == (0, None, 0)
    assert outcome.error_message is not None
    assert "slot 500" in outcome.error_message
    assert "6001" in outcome.error_message
    assert outcome.signature == str(SENT.signed.signature)


def test_pending_keeps_the_signature_and_says_until_when() -> None:
    """Unknown is not failed: no amount is guessed, and the caller is told not to trade again."""
    outcome = outcomes.pending(SENT.signed, timeout_seconds=30.0, landed=None, times=TIMES)

    assert (outcome.status, outcome.error_code) == (OutcomeStatus.PENDING, ErrorCode.CONFIRMATION_TIMEOUT)
    assert (outcome.signature, outcome.last_valid_block_height) == (str(SENT.signed.signature), 1_150)
    assert (outcome.executed_amount, outcome.fees_paid_lamports, outcome.quoted_amount) == (0, 0, 6_096_091)
    assert outcome.error_message is not None
    assert "30 s" in outcome.error_message
    assert "1150" in outcome.error_message


def test_pending_says_what_a_node_has_said_already() -> None:
    """A status without the transaction: it did not time out unseen, but amounts are not guessed either."""
    landed = Landed(slot=777, reverted=False, confirmed_at=2.0)
    refusal = TransportError(endpoint="http://node", operation="sendTransaction", fault=transaction_fault("AccountNotFound", []))
    outcome = outcomes.pending(SENT.signed, timeout_seconds=30.0, landed=landed, refusal=refusal, times=TIMES)

    assert (outcome.status, outcome.error_code) == (OutcomeStatus.PENDING, ErrorCode.CONFIRMATION_TIMEOUT)
    assert (outcome.signature, outcome.executed_amount, outcome.slot) == (str(SENT.signed.signature), 0, 0)
    assert outcome.error_message is not None
    assert "slot 777" in outcome.error_message
    assert "may still land" not in outcome.error_message
    assert "preflight" not in outcome.error_message  # what was refused has landed: that is no reason any more
    assert "do not trade again" in outcome.error_message


def test_expired_failed_without_a_fee() -> None:
    """With the signature, so that anybody can check the proof."""
    error = Expired(ErrorCode.TRANSACTION_EXPIRED, "it expired", last_valid_block_height=1_150)
    outcome = outcomes.expired(SENT.signed, error, times=TIMES)

    assert (outcome.status, outcome.error_code) == (OutcomeStatus.FAILED, ErrorCode.TRANSACTION_EXPIRED)
    assert (outcome.error_message, outcome.error_stage) == ("it expired", Stage.MONITOR)
    assert (outcome.signature, outcome.fees_paid_lamports) == (str(SENT.signed.signature), 0)


@pytest.mark.parametrize("error", [Denied(ErrorCode.PRICE_MOVED, "no"), Rejected(ErrorCode.ROUTE_NOT_FOUND, "no")])
@pytest.mark.parametrize("stage", [None, Stage.QUOTE])
def test_a_refusal_failed_where_it_was_refused(error: Denied | Rejected, stage: Stage | None) -> None:
    """Code, sentence and stage; no signature and no amounts, because there are none."""
    outcome = outcomes.refused(make_order(), error, stage, signed=None, times=TIMES)

    assert (outcome.request_id, outcome.status) == ("request-1", OutcomeStatus.FAILED)
    assert (outcome.error_code, outcome.error_message, outcome.error_stage) == (error.code, "no", stage)
    assert (outcome.signature, outcome.executed_amount, outcome.fees_paid_lamports) == (None, 0, 0)
    assert (outcome.execution_ns, outcome.broadcast_ns) == (3, 0)


def test_what_was_signed_and_not_sent_failed_with_its_signature() -> None:
    """The caller never loses the signature of bytes that the journal holds, even though none of them left."""
    error = Rejected(ErrorCode.PRE_SEND_BUDGET_EXCEEDED, "the disk was slow")
    outcome = outcomes.refused(make_order(), error, Stage.JOURNAL, signed=SENT.signed, times=TIMES)

    assert (outcome.status, outcome.error_code) == (OutcomeStatus.FAILED, ErrorCode.PRE_SEND_BUDGET_EXCEEDED)
    assert (outcome.error_message, outcome.error_stage) == ("the disk was slow", Stage.JOURNAL)
    assert (outcome.signature, outcome.broadcast_ns) == (str(SENT.signed.signature), 1)


def test_what_nobody_watches_any_more_is_pending() -> None:
    """With the reason, the signature and the height until which it may land."""
    error = Rejected(ErrorCode.INTERNAL_ERROR, "a bug ended this trade")
    outcome = outcomes.unwatched(SENT.signed, error, times=TIMES)

    assert (outcome.status, outcome.error_code) == (OutcomeStatus.PENDING, ErrorCode.INTERNAL_ERROR)
    assert outcome.signature == str(SENT.signed.signature)
    assert outcome.error_message is not None
    assert outcome.error_message.startswith("a bug ended this trade; ")
    assert "1150" in outcome.error_message

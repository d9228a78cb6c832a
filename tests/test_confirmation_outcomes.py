"""Section 5 of the page of facts, "Confirmation outcomes", row by row: what two nodes say, and what the caller is told of it."""

import pytest
import trio
import trio.testing
from attrs import frozen

from executor import outcomes
from executor.chainstate.blockhash import Blockhashes
from executor.chainstate.confirmations import Confirmations
from executor.errors import ErrorCode, Expired
from executor.faults import JUPITER_PROGRAM, JsonValue
from executor.model import Outcome, OutcomeStatus
from executor.network.solana import Commitment, ConfirmedTransaction, SignatureStatus
from executor.outcomes import Times
from executor.stages.filling import Sides, fill_of
from executor.stages.monitoring import monitor
from executor.units import Lamports
from tests.support.chain import FakeNode, any_node, fake_nodes
from tests.support.events import RecordedLog
from tests.support.sheets import Sheet
from tests.support.values import SOL, USDC, WALLET, make_sent, make_signed

SUCCESS, FAILED, PENDING = OutcomeStatus.SUCCESS, OutcomeStatus.FAILED, OutcomeStatus.PENDING
LAST_VALID = 1_150
YOUNG, PASSED = 1_100, 1_151
"""Block heights at which it may land, and at which it cannot any more."""
TIMEOUT_SECONDS = 30.0
SLIPPED: JsonValue = {"InstructionError": [4, {"Custom": 6001}]}
CRASHED: JsonValue = {"InstructionError": [4, "ProgramFailedToComplete"]}
SENT = make_sent(make_signed(last_valid_block_height=LAST_VALID))


def known(confirmation: Commitment, error: JsonValue = None) -> SignatureStatus:
    """What a node knows of our signature."""
    return SignatureStatus(slot=900, confirmation=confirmation, error=error)


@frozen(kw_only=True)
class Case:
    """What the two nodes say, and what is said of it."""

    recent: SignatureStatus | None = None
    """In their caches."""
    history: tuple[SignatureStatus | None, SignatureStatus | None] = (None, None)
    """In all that they have, by node."""
    heights: tuple[int, int] = (YOUNG, YOUNG)
    status: OutcomeStatus
    code: ErrorCode | None = None


CASES = {
    "confirmed with an error": Case(recent=known("confirmed", CRASHED), status=FAILED, code=ErrorCode.SWAP_REVERTED),
    "confirmed with a missed minimum": Case(recent=known("confirmed", SLIPPED), status=FAILED, code=ErrorCode.SLIPPAGE_EXCEEDED),
    "confirmed without one": Case(recent=known("confirmed"), status=SUCCESS),
    "finalized without one": Case(recent=known("finalized"), status=SUCCESS),
    "processed only": Case(recent=known("processed"), status=PENDING, code=ErrorCode.CONFIRMATION_TIMEOUT),
    "processed with an error only": Case(recent=known("processed", SLIPPED), status=PENDING, code=ErrorCode.CONFIRMATION_TIMEOUT),
    "unknown, and young": Case(status=PENDING, code=ErrorCode.CONFIRMATION_TIMEOUT),
    "unknown to both, height passed": Case(heights=(PASSED, PASSED), status=FAILED, code=ErrorCode.TRANSACTION_EXPIRED),
    "unknown to both, height passed on one": Case(heights=(PASSED, YOUNG), status=PENDING, code=ErrorCode.CONFIRMATION_TIMEOUT),
    "height passed, processed in one history": Case(
        heights=(PASSED, PASSED), history=(None, known("processed")), status=PENDING, code=ErrorCode.CONFIRMATION_TIMEOUT
    ),
    "height passed, confirmed in one history": Case(heights=(PASSED, PASSED), history=(None, known("confirmed")), status=SUCCESS),
    "height passed, failed in one history": Case(
        heights=(PASSED, PASSED), history=(known("confirmed", CRASHED), None), status=FAILED, code=ErrorCode.SWAP_REVERTED
    ),
}


def say(node: FakeNode, *, recent: SignatureStatus | None, history: SignatureStatus | None, height: int) -> None:
    """Let a node stand there and know that."""
    node.height, node.context_slot = height, height + 100
    signature = SENT.signed.signature
    node.recent = {} if recent is None else {signature: recent}
    node.history = {} if history is None else {signature: history}


async def told(nodes: list[FakeNode], error: JsonValue) -> Outcome:
    """What the caller is told after the confirmation timeout, at the latest, by the stages that a trade ends with."""
    together, log, times = fake_nodes(*nodes), RecordedLog(), Times(execution_ns=1)
    blockhashes = Blockhashes(nodes=together, refresh_seconds=1.0, max_age_seconds=10.0, log=log)
    await blockhashes.refresh()
    confirmations = Confirmations(
        nodes=together, blockhashes=blockhashes, is_ours=any_node, poll_initial_seconds=0.1, poll_max_seconds=1.0, log=log
    )
    outcome = outcomes.pending(SENT.signed, timeout_seconds=TIMEOUT_SECONDS, landed=None, times=times)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(confirmations.run)
        try:
            with trio.move_on_after(TIMEOUT_SECONDS):
                await monitor(SENT, confirmations=confirmations)
                sides = Sides(wallet=WALLET, input=SOL, output=USDC)
                outcome = outcomes.landed(SENT, fill_of(transaction(error), sides=sides), times=times)
        except Expired as expired:
            outcome = outcomes.expired(SENT.signed, expired, times=times)
        nursery.cancel_scope.cancel()
    return outcome


def transaction(error: JsonValue) -> ConfirmedTransaction:
    """Ours, as it landed."""
    return ConfirmedTransaction(
        slot=900,
        error=error,
        fee_lamports=Lamports(7_500),
        signature_count=1,
        balances=Sheet().lamports(WALLET, -50_007_500).account(USDC, before=0, after=6_090_000).made(),
        logs=(f"Program {JUPITER_PROGRAM} failed: custom program error: 0x1771",),
        units_consumed=81_000,
    )


@pytest.mark.parametrize("name", CASES)
async def test_every_confirmation_outcome(name: str, autojump_clock: trio.testing.MockClock) -> None:
    """SUCCESS and FAILED are proved, everything else is PENDING; each with the signature, and the fee where one was paid."""
    case = CASES[name]
    nodes = [FakeNode("n0"), FakeNode("n1")]
    for node, history, height in zip(nodes, case.history, case.heights, strict=True):
        say(node, recent=case.recent, history=history, height=height)
    errors = [status.error for status in (case.recent, *case.history) if status is not None]
    outcome = await told(nodes, next(iter(errors), None))

    assert (outcome.status, outcome.error_code) == (case.status, case.code)
    assert outcome.signature == str(SENT.signed.signature)
    landed = case.status is SUCCESS or case.code in (ErrorCode.SWAP_REVERTED, ErrorCode.SLIPPAGE_EXCEEDED)
    assert outcome.fees_paid_lamports == (7_500 if landed else 0)
    assert outcome.executed_amount == (6_090_000 if case.status is SUCCESS else 0)


async def test_a_timed_out_trade_may_still_land(autojump_clock: trio.testing.MockClock) -> None:
    """The timeout is shorter than a blockhash lives: whoever goes on watching is told the truth."""
    node, sent = FakeNode(), SENT
    say(node, recent=None, history=None, height=YOUNG)
    first = await told([node], None)
    node.recent[sent.signed.signature] = known("confirmed")
    second = await told([node], None)

    assert (first.status, first.signature) == (PENDING, str(sent.signed.signature))
    assert (second.status, second.signature) == (SUCCESS, str(sent.signed.signature))
    assert not ErrorCode.CONFIRMATION_TIMEOUT.facts.retryable

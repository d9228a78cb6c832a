"""What the entries say, and that it is read back as it was written, by this version and by later ones."""

import base64
import json
from fractions import Fraction
from typing import Any

import pytest
from attrs import evolve, fields
from hypothesis import given
from hypothesis import strategies as st
from solders.message import Message
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from executor.errors import Denied, ErrorCode, Rejected
from executor.journal import records
from executor.journal.journal import Entry
from executor.model import Order, Outcome, OutcomeStatus, Stage, TradeRequest, Urgency
from executor.states import TERMINAL, State
from tests.support.values import (
    KEYPAIR,
    TAXED,
    USDC,
    WALLET,
    hash_of,
    make_built,
    make_order,
    make_quoted,
    make_request,
    make_signed,
    make_simulated,
)

U64 = st.integers(0, 2**64 - 1)
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=100)
KEY = st.binary(min_size=32, max_size=32).map(lambda raw: base64.b32encode(raw).decode())

REQUESTS = st.builds(
    TradeRequest,
    request_id=TEXT,
    source_service=TEXT,
    input_mint=KEY,
    output_mint=KEY,
    in_amount=U64,
    max_slippage_bps=st.integers(0, 10_000),
    urgency=st.sampled_from(Urgency),
    expected_price=st.floats(0, allow_nan=False, allow_infinity=False),
    fee_account=st.none() | KEY,
    tracking_account=st.none() | KEY,
)
SOUND_KEY = st.binary(min_size=32, max_size=32).map(lambda raw: str(Pubkey.from_bytes(raw)))
REQUESTS_THAT_ARE_SOUND = st.builds(
    TradeRequest,
    request_id=TEXT,
    source_service=TEXT,
    input_mint=SOUND_KEY,
    output_mint=SOUND_KEY,
    in_amount=U64,
    max_slippage_bps=st.integers(0, 10_000),
    urgency=st.sampled_from(Urgency),
    expected_price=st.floats(0, allow_nan=False, allow_infinity=False),
    fee_account=st.none() | SOUND_KEY,
    tracking_account=st.none() | SOUND_KEY,
)
NEEDS = {None: 15_000, USDC.mint: 7}
SMALL = {name: st.integers(-(2**63), 2**64) for name in ("signed_slippage_bps", "rent_lamports")}
AMOUNTS = dict.fromkeys(
    [
        "executed_amount",
        "input_amount",
        "fees_paid_lamports",
        "priority_fee_lamports",
        "tip_lamports",
        "quoted_amount",
        "slot",
        "units_consumed",
        "last_valid_block_height",
        "execution_ns",
        "broadcast_ns",
        "confirmation_ns",
    ],
    U64,
)
OUTCOMES = st.builds(
    Outcome,
    request_id=TEXT,
    status=st.sampled_from(OutcomeStatus),
    signature=st.none() | TEXT,
    executed_price=st.none() | st.fractions(0),
    shared_accounts=st.booleans(),
    mev_protected=st.booleans(),
    mev_protection=st.text(),
    error_code=st.none() | st.sampled_from(ErrorCode),
    error_message=st.none() | st.text(),
    error_stage=st.none() | st.sampled_from(Stage),
    **SMALL,
    **AMOUNTS,
)


def make_entries(request: TradeRequest, *following: Entry) -> list[Entry]:
    """A request's entries, the first being its acceptance."""
    first = records.accepted(evolve(make_order(), request=request))
    return [first, *(evolve(entry, request_id=request.request_id) for entry in following)]


def outcome_of(**changes: Any) -> Outcome:
    """An outcome with changes."""
    return Outcome(request_id="request-1", status=OutcomeStatus.SUCCESS, **changes)


def stored(*entries: Entry) -> records.StoredTrade:
    """What is read of these entries."""
    trade = records.stored(entries)
    assert trade is not None
    return trade


def test_nothing_is_known_without_entries() -> None:
    """A request that was never accepted."""
    assert records.stored([]) is None


@given(REQUESTS)
def test_a_request_comes_back_as_it_was(request: TradeRequest) -> None:
    """Exactly, prices included: the comparison with a repeated request depends on it."""
    (entry,) = make_entries(request)

    assert (entry.state, entry.request_id, entry.signature) == (State.ACCEPTED, request.request_id, None)
    assert stored(entry).request == request


@given(OUTCOMES, st.sampled_from(sorted(TERMINAL, key=lambda state: state.name)))
def test_an_outcome_comes_back_as_it_was(outcome: Outcome, state: State) -> None:
    """Codes by name, prices as exact fractions, amounts beyond what floats hold."""
    entry = records.ended(state, outcome, at_unix_ns=7)
    trade = stored(*make_entries(make_request(request_id=outcome.request_id), entry))

    assert (entry.state, entry.request_id, entry.at_unix_ns) == (state, outcome.request_id, 7)
    assert (trade.state, trade.outcome, trade.refusal) == (state, outcome, None)


@given(
    st.sampled_from(ErrorCode),
    st.text(),
    st.dictionaries(st.sampled_from(["amount", "max_amount", "input_token"]), st.integers() | st.text()),
)
def test_a_refusal_comes_back_with_its_figures(code: ErrorCode, message: str, context: dict[str, Any]) -> None:
    """Code, sentence and context, the latter as text; an outcome it has not."""
    error = Denied(code, message, **context)
    trade = stored(*make_entries(make_request(), records.refused(State.DENIED, "request-1", error, at_unix_ns=8)))

    assert trade.outcome is None
    assert trade.state is State.DENIED
    assert trade.refusal is not None
    assert (trade.refusal.code, trade.refusal.message) == (code, message)
    assert dict(trade.refusal.context) == {name: str(value) for name, value in context.items()}


def test_a_refusal_with_logs_is_written() -> None:
    """Whatever stands in the context of an error, the entry can be made."""
    error = Rejected(ErrorCode.SIMULATION_FAILED, "no", error=None, logs=["a", "b"])
    entry = records.refused(State.REJECTED, "request-1", error, at_unix_ns=9)

    assert json.loads(entry.body)["refusal"]["context"] == {"error": "None", "logs": "['a', 'b']"}


def test_the_signed_entry_holds_what_recovery_needs() -> None:
    """The wire bytes to send again, the height to prove expiry by, and the figures that a result needs."""
    signed = make_signed(make_simulated(), last_valid_block_height=4_711)
    entry = records.signed(signed, needs=NEEDS, at_unix_ns=5)
    body = json.loads(entry.body)

    assert (entry.request_id, entry.state, entry.at_unix_ns) == ("request-1", State.SIGNED, 5)
    assert entry.signature == str(signed.signature)
    assert base64.b64decode(body.pop("wire")) == signed.wire
    assert body == {
        "blockhash": str(signed.blockhash),
        "last_valid_block_height": 4_711,
        "reference_out_amount": 6_096_091,
        "quoted_out_amount": 6_096_091,
        "compute_unit_limit": 100_000,
        "price_micro_lamports": 25_000,
        "priority_fee_lamports": 2_500,
        "shared_accounts": True,
        "context_slot": 4_711,
        "reserved": {"lamports": 15_000, str(USDC.mint): 7},
    }


@pytest.mark.parametrize("was_sent", [False, True])
@given(REQUESTS_THAT_ARE_SOUND, st.integers(0, 10**9))
def test_a_trade_that_was_left_open_is_taken_up_as_it_was(was_sent: bool, request: TradeRequest, seconds: int) -> None:
    """Order, tokens, bytes, signature, heights and reservation: whoever sends it on knows what its first sender knew."""
    accepted_at = 1_790_000_000_000_000_000
    order = Order.of(request, tokens=(USDC, TAXED), received_at=1_000.0, received_unix_ns=accepted_at)
    signed = make_signed(make_simulated(make_built(make_quoted(order))))
    entries = [records.accepted(order), records.signed(signed, needs=NEEDS, at_unix_ns=accepted_at + 1)]
    if was_sent:
        entries.append(records.sent(order.request_id, at_unix_ns=accepted_at + 10**9))
    now_ns = accepted_at + seconds * 10**9
    left = records.left_open(entries, now=1_000.0 + seconds, now_unix_ns=now_ns)

    assert (left.order, left.signed, left.needs) == (order, signed, NEEDS)
    assert left.first_sent_at == (min(1_001.0, 1_000.0 + seconds) if was_sent else None)


def test_a_trade_that_was_not_signed_is_left_open_without_one() -> None:
    """Of the last life: what was denied before is history."""
    order, denied = make_order(), records.refused(State.DENIED, "request-1", DENIAL, at_unix_ns=2)
    left = records.left_open([records.accepted(order), denied, records.accepted(order)], now=5.0, now_unix_ns=0)

    assert (left.signed, left.first_sent_at, left.needs) == (None, None, {})
    assert left.order == evolve(order, received_at=5.0)  # by a clock that was set back it began just now


def test_only_our_own_kind_of_message_is_taken_up() -> None:
    """A legacy message in the journal is damage, not a trade."""
    signed = make_signed()
    entry = records.signed(signed, needs=NEEDS, at_unix_ns=5)
    legacy = VersionedTransaction(Message.new_with_blockhash([], WALLET, hash_of(1)), [KEYPAIR])
    body = json.loads(entry.body) | {"wire": base64.b64encode(bytes(legacy)).decode()}
    with pytest.raises(TypeError, match="v0"):
        records.left_open([records.accepted(signed.order), evolve(entry, body=json.dumps(body))], now=0.0, now_unix_ns=0)


@pytest.mark.parametrize("byte", [1, 40, 70, -1])
def test_bytes_that_were_not_signed_are_not_taken_up(byte: int) -> None:
    """A transaction that never was cannot land: that it expired would be proved, while the one that was sent may have landed."""
    signed = make_signed()
    entry = records.signed(signed, needs=NEEDS, at_unix_ns=5)
    wire = bytearray(signed.wire)
    wire[byte] ^= 1
    body = json.loads(entry.body) | {"wire": base64.b64encode(wire).decode()}
    with pytest.raises(ValueError):  # noqa: PT011 - which one depends on the byte
        records.left_open([records.accepted(signed.order), evolve(entry, body=json.dumps(body))], now=0.0, now_unix_ns=0)


def test_another_blockhash_than_the_signed_one_is_not_taken_up() -> None:
    """It may be invalid long before the one that counts is."""
    signed = make_signed(blockhash=1)
    entry = records.signed(signed, needs=NEEDS, at_unix_ns=5)
    body = json.loads(entry.body) | {"blockhash": str(hash_of(2))}
    with pytest.raises(ValueError, match="blockhash"):
        records.left_open([records.accepted(signed.order), evolve(entry, body=json.dumps(body))], now=0.0, now_unix_ns=0)


@pytest.mark.parametrize("was_sent", [False, True])
def test_a_trade_that_was_signed_is_pending(was_sent: bool) -> None:
    """Unknown is not failed: with its signature, and the height until which it may land, sent or not."""
    signed = make_signed(last_valid_block_height=4_711)
    entries = [records.accepted(signed.order), records.signed(signed, needs=NEEDS, at_unix_ns=5)]
    if was_sent:
        entries.append(records.sent("request-1", at_unix_ns=6))
    trade = stored(*entries)

    assert trade.state is (State.SENT if was_sent else State.SIGNED)
    assert trade.refusal is None
    assert trade.outcome is not None
    assert (trade.outcome.status, trade.outcome.error_code) == (OutcomeStatus.PENDING, ErrorCode.CONFIRMATION_TIMEOUT)
    assert (trade.outcome.signature, trade.outcome.last_valid_block_height) == (str(signed.signature), 4_711)


def test_a_trade_that_was_only_accepted_has_failed() -> None:
    """Nothing was signed, so nothing can land: a new request may follow."""
    trade = stored(records.accepted(make_order()))

    assert trade.state is State.ACCEPTED
    assert trade.outcome is not None
    assert (trade.outcome.status, trade.outcome.error_code) == (OutcomeStatus.FAILED, ErrorCode.EXECUTOR_RESTARTED)
    assert trade.outcome.signature is None


def test_the_outcome_after_a_send_is_the_outcome() -> None:
    """Not the PENDING that could be said before."""
    signed = make_signed()
    outcome = outcome_of(signature=str(signed.signature), executed_amount=5, executed_price=Fraction(1, 3))
    entries = [
        records.accepted(signed.order),
        records.signed(signed, needs=NEEDS, at_unix_ns=5),
        records.sent("request-1", at_unix_ns=6),
        records.ended(State.SUCCEEDED, outcome, at_unix_ns=7),
    ]

    assert stored(*entries).outcome == outcome


DENIAL = Denied(ErrorCode.BALANCE_INSUFFICIENT, "too little", amount=1)
LATER = Denied(ErrorCode.PRICE_MOVED, "too dear", quoted_amount=2)


def second_life(*following: Entry) -> records.StoredTrade:
    """What is read of a request that was denied, accepted anew, and then came as far as that."""
    order = make_order()
    denied = records.refused(State.DENIED, "request-1", DENIAL, at_unix_ns=2)
    return stored(records.accepted(order), denied, records.accepted(order), *following)


def test_a_request_that_was_accepted_anew_is_not_denied_any_more() -> None:
    """Nothing is signed yet: a restart that finds this tells that nothing was sent, not the old refusal."""
    trade = second_life()

    assert (trade.state, trade.refusal, trade.request) == (State.ACCEPTED, None, make_order().request)
    assert trade.outcome is not None
    assert (trade.outcome.status, trade.outcome.error_code) == (OutcomeStatus.FAILED, ErrorCode.EXECUTOR_RESTARTED)
    assert trade.outcome.signature is None


def test_a_second_life_that_was_signed_is_pending() -> None:
    """With its signature, whatever was refused before."""
    again = make_signed(last_valid_block_height=4_711)
    trade = second_life(records.signed(again, needs=NEEDS, at_unix_ns=5), records.sent("request-1", at_unix_ns=6))

    assert (trade.state, trade.refusal) == (State.SENT, None)
    assert trade.outcome is not None
    assert (trade.outcome.status, trade.outcome.signature) == (OutcomeStatus.PENDING, str(again.signature))
    assert trade.outcome.last_valid_block_height == 4_711


def test_the_last_refusal_is_the_refusal() -> None:
    """Of a request that was denied twice, for different reasons."""
    trade = second_life(records.refused(State.DENIED, "request-1", LATER, at_unix_ns=5))

    assert (trade.state, trade.outcome) == (State.DENIED, None)
    assert trade.refusal is not None
    assert (trade.refusal.code, trade.refusal.message) == (LATER.code, LATER.message)
    assert dict(trade.refusal.context) == {"quoted_amount": "2"}


@given(OUTCOMES, st.sampled_from(sorted(TERMINAL - {State.DENIED}, key=lambda state: state.name)))
def test_the_outcome_of_a_second_life_is_the_outcome(outcome: Outcome, state: State) -> None:
    """The refusal before it is history."""
    trade = second_life(records.ended(state, outcome, at_unix_ns=7))

    assert (trade.state, trade.outcome, trade.refusal) == (state, outcome, None)


ALWAYS_WRITTEN = {"request_id", "status", "executed_price", "error_code", "error_stage"}


@pytest.mark.parametrize("field", [field.name for field in fields(Outcome) if field.name not in ALWAYS_WRITTEN])
def test_an_outcome_of_a_version_that_knew_less_is_read(field: str) -> None:
    """Fields are added, never renamed: what an old entry does not say has its default."""
    entry = records.ended(State.SUCCEEDED, outcome_of(slot=5, error_code=ErrorCode.INTERNAL_ERROR), at_unix_ns=7)
    body = json.loads(entry.body)
    del body["outcome"][field]
    trade = stored(*make_entries(make_request(), evolve(entry, body=json.dumps(body))))

    assert trade.outcome is not None
    assert getattr(trade.outcome, field) == getattr(outcome_of(), field)


@given(OUTCOMES)
def test_bodies_are_one_line_of_ascii(outcome: Outcome) -> None:
    """So that any tool can read them, and no text of an upstream can break a line or the database's encoding."""
    body = records.ended(State.REVERTED, outcome, at_unix_ns=1).body

    assert body.isascii()
    assert body.isprintable()

"""What the journal's entries say: trades and outcomes as JSON, and back.

The bodies are read by later versions and by auditors: fields are added, never renamed.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import attrs
from attrs import frozen

from executor.errors import Denied, ErrorCode, TradeError
from executor.journal.journal import Entry
from executor.model import Order, Outcome, OutcomeStatus, Signed, Stage, TradeRequest, Urgency
from executor.states import TERMINAL, State


@frozen(kw_only=True)
class StoredTrade:
    """What the journal knows of a request: the outcome, or the refusal, or as far as it came."""

    request: TradeRequest
    state: State
    outcome: Outcome | None
    refusal: TradeError | None


def accepted(order: Order) -> Entry:
    """The entry of a request that passed the rules that need no I/O."""
    body = {"request": _plain(order.request)}
    return Entry(request_id=order.request_id, state=State.ACCEPTED, at_unix_ns=order.received_unix_ns, body=_text(body))


def signed(transaction: Signed, *, at_unix_ns: int) -> Entry:
    """The entry that must be durable before the first byte leaves: enough to send the same bytes again, or to prove expiry."""
    simulated = transaction.simulated
    body = {
        "wire": base64.b64encode(transaction.wire).decode("ascii"),
        "blockhash": str(transaction.blockhash),
        "last_valid_block_height": transaction.last_valid_block_height,
        "reference_out_amount": simulated.built.quoted.reference_out_amount,
        "quoted_out_amount": simulated.built.quoted.quote.out_amount,
        "compute_unit_limit": simulated.budget.unit_limit,
        "price_micro_lamports": simulated.budget.unit_price,
        "priority_fee_lamports": simulated.priority_fee_lamports,
        "shared_accounts": simulated.built.shared_accounts,
    }
    return Entry(
        request_id=transaction.order.request_id,
        state=State.SIGNED,
        at_unix_ns=at_unix_ns,
        body=_text(body),
        signature=str(transaction.signature),
    )


def sent(request_id: str, *, at_unix_ns: int) -> Entry:
    """The entry of the first byte that leaves."""
    return Entry(request_id=request_id, state=State.SENT, at_unix_ns=at_unix_ns, body="{}")


def ended(state: State, outcome: Outcome, *, at_unix_ns: int) -> Entry:
    """The entry of an outcome that a caller gets as a result."""
    return Entry(request_id=outcome.request_id, state=state, at_unix_ns=at_unix_ns, body=_text({"outcome": _plain(outcome)}))


def refused(state: State, request_id: str, error: TradeError, *, at_unix_ns: int) -> Entry:
    """The entry of a refusal that a caller gets as an error status."""
    refusal = {"code": error.code.name, "message": error.message, "context": {k: str(v) for k, v in error.context.items()}}
    return Entry(request_id=request_id, state=state, at_unix_ns=at_unix_ns, body=_text({"refusal": refusal}))


def stored(entries: Sequence[Entry]) -> StoredTrade | None:
    """Read a request's entries, oldest first; None when there are none. What counts is its last life."""
    if not entries:
        return None
    entries = entries[max(index for index, entry in enumerate(entries) if entry.state is State.ACCEPTED) :]
    first, last = entries[0], entries[-1]
    body = json.loads(last.body)
    refusal = body.get("refusal")
    return StoredTrade(
        request=_request(json.loads(first.body)["request"]),
        state=last.state,
        outcome=_outcome(body["outcome"]) if "outcome" in body else _unfinished(entries),
        refusal=Denied(ErrorCode[refusal["code"]], refusal["message"], **refusal["context"]) if refusal else None,
    )


def _unfinished(entries: Sequence[Entry]) -> Outcome | None:
    """What can be said of a trade without an outcome: PENDING with its signature once it was signed, else nothing happened."""
    if entries[-1].state in TERMINAL:
        return None
    request_id = entries[0].request_id
    for entry in entries:
        if entry.state is State.SIGNED:
            return Outcome(
                request_id=request_id,
                status=OutcomeStatus.PENDING,
                signature=entry.signature,
                last_valid_block_height=json.loads(entry.body)["last_valid_block_height"],
                error_code=ErrorCode.CONFIRMATION_TIMEOUT,
                error_message=(
                    "this transaction was not proved to have landed or expired, and is not being watched: look up its signature"
                ),
                error_stage=Stage.MONITOR,
            )
    return Outcome(
        request_id=request_id,
        status=OutcomeStatus.FAILED,
        error_code=ErrorCode.EXECUTOR_DRAINING,
        error_message="the daemon stopped before the transaction was signed; nothing was sent",
        error_stage=Stage.VALIDATION,
    )


def _text(body: Mapping[str, object]) -> str:
    return json.dumps(body, separators=(",", ":"))


def _plain(value: TradeRequest | Outcome) -> dict[str, object]:
    """Turn a value into JSON's types: enums and codes by name or value, prices as exact fractions."""
    return attrs.asdict(value, recurse=False, value_serializer=lambda _value, _field, item: _plain_item(item))


def _plain_item(item: object) -> object:
    if isinstance(item, ErrorCode):
        return item.name
    if isinstance(item, Urgency | OutcomeStatus | Stage):
        return item.value
    return str(item) if isinstance(item, Fraction) else item


def _request(body: dict[str, Any]) -> TradeRequest:
    return TradeRequest(**{**body, "urgency": Urgency(body["urgency"])})


def _outcome(body: dict[str, Any]) -> Outcome:
    code, price, stage = body["error_code"], body["executed_price"], body["error_stage"]
    return Outcome(
        **{
            **body,
            "status": OutcomeStatus(body["status"]),
            "executed_price": None if price is None else Fraction(price),
            "error_code": None if code is None else ErrorCode[code],
            "error_stage": None if stage is None else Stage(stage),
        }
    )

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
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from executor.errors import Denied, ErrorCode, TradeError
from executor.journal.journal import Entry
from executor.model import (
    ComputeBudget,
    LeftOpen,
    Order,
    Outcome,
    OutcomeStatus,
    Signed,
    Stage,
    Token,
    TradeRequest,
    Urgency,
)
from executor.states import TERMINAL, State
from executor.units import Lamports, MicroLamports

_LAMPORTS = "lamports"
"""Stands for them among the mints of what is reserved; no mint is so short."""


@frozen(kw_only=True)
class StoredTrade:
    """What the journal knows of a request: the outcome, or the refusal, or as far as it came."""

    request: TradeRequest
    state: State
    outcome: Outcome | None
    refusal: TradeError | None


def accepted(order: Order) -> Entry:
    """The entry of a request that passed the rules that need no I/O."""
    body = {"request": _plain(order.request), "input": _token_body(order.input), "output": _token_body(order.output)}
    return Entry(request_id=order.request_id, state=State.ACCEPTED, at_unix_ns=order.received_unix_ns, body=_text(body))


def accepted_request(entry: Entry) -> TradeRequest:
    """The request of an entry that `accepted` made."""
    return _request(json.loads(entry.body)["request"])


def signed(transaction: Signed, *, needs: Mapping[Pubkey | None, int], at_unix_ns: int) -> Entry:
    """The entry that must be durable before the first byte leaves: enough to send the same bytes again, or to prove expiry.

    `needs` is what the trade has reserved, and reserves again after a restart.
    """
    body = {
        "wire": base64.b64encode(transaction.wire).decode("ascii"),
        "blockhash": str(transaction.blockhash),
        "last_valid_block_height": transaction.last_valid_block_height,
        "context_slot": transaction.context_slot,
        "reference_out_amount": transaction.reference_out_amount,
        "quoted_out_amount": transaction.quoted_out_amount,
        "compute_unit_limit": transaction.budget.unit_limit,
        "price_micro_lamports": transaction.budget.unit_price,
        "priority_fee_lamports": transaction.priority_fee_lamports,
        "shared_accounts": transaction.shared_accounts,
        "reserved": {_LAMPORTS if mint is None else str(mint): amount for mint, amount in needs.items()},
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
    entries = _last_life(entries)
    first, last = entries[0], entries[-1]
    body = json.loads(last.body)
    refusal = body.get("refusal")
    return StoredTrade(
        request=_request(json.loads(first.body)["request"]),
        state=last.state,
        outcome=_outcome(body["outcome"]) if "outcome" in body else _unfinished(entries),
        refusal=Denied(ErrorCode[refusal["code"]], refusal["message"], **refusal["context"]) if refusal else None,
    )


def left_open(entries: Sequence[Entry], *, now: float, now_unix_ns: int) -> LeftOpen:
    """Read the entries, oldest first, of a trade that has no outcome. `now` is trio's time, `now_unix_ns` the wall clock's."""
    entries = _last_life(entries)
    by_state = {entry.state: entry for entry in entries}

    def seconds_ago(at_unix_ns: int) -> float:
        # A wall clock that was set back must not make a trade begin in the future.
        return max(0, now_unix_ns - at_unix_ns) / 1e9

    accepted_at, body = entries[0].at_unix_ns, json.loads(entries[0].body)
    order = Order.of(
        _request(body["request"]),
        tokens=(_token(body["input"]), _token(body["output"])),
        received_at=now - seconds_ago(accepted_at),
        received_unix_ns=accepted_at,
    )
    its_signed, its_sent = by_state.get(State.SIGNED), by_state.get(State.SENT)
    return LeftOpen(
        order=order,
        signed=None if its_signed is None else _signed(its_signed, order),
        first_sent_at=None if its_sent is None else now - seconds_ago(its_sent.at_unix_ns),
        needs={} if its_signed is None else _needs(json.loads(its_signed.body)["reserved"]),
    )


def _last_life(entries: Sequence[Entry]) -> Sequence[Entry]:
    return entries[max(index for index, entry in enumerate(entries) if entry.state is State.ACCEPTED) :]


def _signed(entry: Entry, order: Order) -> Signed:
    """Read what was signed; no other transaction than the one that was: that it never lands would be easy to prove."""
    body = json.loads(entry.body)
    wire = base64.b64decode(body["wire"])
    transaction = VersionedTransaction.from_bytes(wire)
    message = transaction.message
    if not isinstance(message, MessageV0):
        raise TypeError("only v0 messages are ever signed")
    if str(transaction.signatures[0]) != entry.signature or not all(transaction.verify_with_results()):
        raise ValueError("these are not the bytes that were signed")
    if str(message.recent_blockhash) != body["blockhash"]:
        raise ValueError("this is not the blockhash that was signed")
    return Signed(
        order=order,
        signature=transaction.signatures[0],
        message=message,
        wire=wire,
        blockhash=message.recent_blockhash,
        last_valid_block_height=body["last_valid_block_height"],
        context_slot=body["context_slot"],
        budget=ComputeBudget(unit_limit=body["compute_unit_limit"], unit_price=MicroLamports(body["price_micro_lamports"])),
        priority_fee_lamports=Lamports(body["priority_fee_lamports"]),
        reference_out_amount=body["reference_out_amount"],
        quoted_out_amount=body["quoted_out_amount"],
        shared_accounts=body["shared_accounts"],
    )


def _needs(body: Mapping[str, int]) -> Mapping[Pubkey | None, int]:
    return {None if name == _LAMPORTS else Pubkey.from_string(name): amount for name, amount in body.items()}


def _token_body(token: Token) -> dict[str, object]:
    return {
        "mint": str(token.mint),
        "symbol": token.symbol,
        "decimals": token.decimals,
        "program": str(token.program),
        "account_rent_lamports": token.account_rent_lamports,
    }


def _token(body: Mapping[str, Any]) -> Token:
    return Token(
        mint=Pubkey.from_string(body["mint"]),
        symbol=body["symbol"],
        decimals=body["decimals"],
        program=Pubkey.from_string(body["program"]),
        account_rent_lamports=Lamports(body["account_rent_lamports"]),
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
        error_code=ErrorCode.EXECUTOR_RESTARTED,
        error_message="the daemon died before the transaction was signed; nothing was sent",
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

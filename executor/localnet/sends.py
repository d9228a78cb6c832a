"""The JSON-RPC methods that take a transaction: sending it, simulating it, asking what it costs; and the faucet."""

import base64
import binascii
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from attrs import frozen
from solders.message import MessageV1, from_bytes_versioned
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from executor.localnet import params as p
from executor.localnet.chain_errors import SIGNATURE_FAILURE, ChainError
from executor.localnet.cluster import Commitment
from executor.localnet.encoding import (
    Base58Invalid,
    base58_decode,
    loaded_addresses_json,
    return_data_json,
    simulated_inner_json,
    token_balances_json,
)
from executor.localnet.execution import Execution
from executor.localnet.faults import DroppedBlock, DuplicateLanding, Fault, LateLanding, LostSend
from executor.localnet.jsonrpc import PREFLIGHT_FAILURE, SIGNATURE_VERIFICATION_FAILURE, RpcError, invalid_params
from executor.localnet.ledger import Block
from executor.localnet.mempool import Handling
from executor.localnet.params import Config, Params
from executor.localnet.reads import ACCOUNT_ENCODINGS, TRANSACTION_ENCODINGS, Method
from executor.localnet.transactions import Resolved, TransactionInvalid, signatures_hold, with_blockhash
from executor.localnet.visit import Visit
from executor.units import PACKET_BYTES

Json = Any

MAX_BASE58_CHARACTERS = 1_683
MAX_BASE64_CHARACTERS = 1_644
SIGNATURE_BYTES = 64
VERSION_PREFIX = 0x80
TRANSACTION_TYPE = "solana_transaction::versioned::VersionedTransaction"
MESSAGE_TYPE = "solana_message::non_bpf_modules::versions::VersionedMessage"
SINCE_3_1 = ("fee", "loadedAddresses", "preBalances", "postBalances", "preTokenBalances", "postTokenBalances")


# --- decoding -----------------------------------------------------------------------------------------------------------------


def wire_bytes(value: str, encoding: str, kind: str) -> bytes:
    """Decode what a caller sent. Raises `RpcError` as a node words it, for what does not fit into a packet as well."""
    most = MAX_BASE58_CHARACTERS if encoding == "base58" else MAX_BASE64_CHARACTERS
    if len(value) > most:
        limits = f"(max: encoded/raw {most}/{PACKET_BYTES})"
        raise invalid_params(f"{encoding} encoded {kind} too large: {len(value)} bytes {limits}")
    try:
        wire = base58_decode(value) if encoding == "base58" else base64.b64decode(value, validate=True)
    except Base58Invalid as error:
        raise invalid_params(f"invalid base58 encoding: {error}") from error
    except binascii.Error as error:
        raise invalid_params(f"invalid base64 encoding: {_base64_problem(value)}") from error
    if len(wire) > PACKET_BYTES:
        raise invalid_params(f"decoded {kind} too large: {len(wire)} bytes (max: {PACKET_BYTES} bytes)")
    return wire


_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def _base64_problem(value: str) -> str:
    for index, character in enumerate(value.rstrip("=")):
        if character not in _BASE64:
            return f"InvalidByte({index}, {ord(character)})"
    return "InvalidPadding"


@frozen
class Decoded:
    """A transaction that was sent."""

    transaction: VersionedTransaction
    exact: bool
    """Nothing follows it. A node does not mind; the leaders, to whom it passes the same bytes on, throw them away."""


def decode_transaction(value: Json, config: Config) -> Decoded:
    """The transaction of a call. Raises `RpcError`."""
    encoding = config.choice("encoding", TRANSACTION_ENCODINGS) or "base58"
    if encoding == "binary":  # as it was called when there was no other
        encoding = "base58"
    if encoding not in ("base58", "base64"):
        raise invalid_params(f"unsupported encoding: {encoding}. Supported encodings: base58, base64")
    wire = wire_bytes(p.text(value), encoding, TRANSACTION_TYPE)
    try:
        transaction = VersionedTransaction.from_bytes(wire)
    except ValueError as error:
        raise _unknown_version(wire) or _undecodable(TRANSACTION_TYPE) from error
    if isinstance(transaction.message, MessageV1):
        raise _unknown_version(wire) or _undecodable(TRANSACTION_TYPE)
    return Decoded(transaction, exact=bytes(transaction) == wire)


def _unknown_version(wire: bytes) -> RpcError | None:
    """The refusal of a message of a version that the network does not take yet."""
    at = 1 + SIGNATURE_BYTES * wire[0] if wire else 0
    version = wire[at] - VERSION_PREFIX if 0 < at < len(wire) else 0
    if version <= 0:
        return None
    words = f"invalid value: integer `{version}`, expected a valid transaction message version"
    return invalid_params(f"failed to deserialize {TRANSACTION_TYPE}: {words}")


def _undecodable(kind: str) -> RpcError:
    return invalid_params(f"failed to deserialize {kind}: io error: failed to fill whole buffer")


def _resolve(visit: Visit, transaction: VersionedTransaction, block: Block) -> Resolved:
    try:
        return visit.cluster.resolve(transaction, block)
    except TransactionInvalid as error:
        raise invalid_params(f"invalid transaction: {error}") from error


# --- sendTransaction ----------------------------------------------------------------------------------------------------------


def send_transaction(visit: Visit, params: Params) -> Json:
    """Check a transaction, unless told otherwise, and send it to the leaders."""
    config = params.config(1, "RpcSendTransactionConfig")
    skip_preflight = config.flag("skipPreflight")
    retries = config.unsigned("maxRetries", "usize")
    decoded = decode_transaction(params[0], config)
    transaction = decoded.transaction
    if skip_preflight:
        config = Config({**config.values, "preflightCommitment": Commitment.PROCESSED})
    block = visit.block(config, name="preflightCommitment")
    tx = _resolve(visit, transaction, block)
    genuine = signatures_hold(transaction)
    if not skip_preflight:
        _preflight(visit, tx, block, genuine)
    if genuine and decoded.exact:  # a node that does not check sends the others too, and the leader throws them away
        _submit(visit, tx, retries)
    return str(tx.signature)


def _preflight(visit: Visit, tx: Resolved, block: Block, genuine: bool) -> None:
    if not genuine and visit.settings.is_old:
        raise RpcError(SIGNATURE_VERIFICATION_FAILURE, "Transaction signature verification failure")
    visit.require_health()
    error: ChainError | None = SIGNATURE_FAILURE
    shown = _unsimulated(SIGNATURE_FAILURE)
    if genuine:
        execution = visit.cluster.simulate(tx, block)
        error = execution.error
        shown = _simulated(execution)
    if error is not None:
        shown.update(dict.fromkeys(SINCE_3_1[1:]))  # a preflight tells the fee, but neither addresses nor balances
        message = f"Transaction simulation failed: {error}"
        raise RpcError(PREFLIGHT_FAILURE, message, _as_told(visit, shown))


def _submit(visit: Visit, tx: Resolved, retries: int | None) -> None:
    for handling in _handlings(visit.faults, retries):
        visit.cluster.submit_verified(tx, handling)


def _handlings(faults: tuple[Fault, ...], retries: int | None) -> list[Handling]:
    """How often and how a sent transaction reaches the leaders."""
    if any(isinstance(fault, LostSend) for fault in faults):
        return []
    late = sum(fault.slots for fault in faults if isinstance(fault, LateLanding))
    dropped = [fault for fault in faults if isinstance(fault, DroppedBlock)]
    first = Handling(
        delay_slots=late,
        max_retries=retries,
        drop_block=bool(dropped),
        requeue=any(fault.requeue for fault in dropped),
    )
    copies = [fault.slots for fault in faults if isinstance(fault, DuplicateLanding)]
    return [first, *(Handling(delay_slots=late + slots) for slots in copies)]


# --- simulateTransaction ------------------------------------------------------------------------------------------------------


def simulate_transaction(visit: Visit, params: Params) -> Json:
    """Tell what a transaction would do."""
    config = params.config(1, "RpcSimulateTransactionConfig")
    transaction = decode_transaction(params[0], config).transaction
    verified, replaced = config.flag("sigVerify"), config.flag("replaceRecentBlockhash")
    block = visit.block(config)
    if verified and replaced:
        raise invalid_params("sigVerify may not be used with replaceRecentBlockhash")
    if replaced:
        transaction = with_blockhash(transaction, block.blockhash)
    tx = _resolve(visit, transaction, block)
    addresses = _simulated_addresses(config, tx)
    if verified and not signatures_hold(transaction):
        if visit.settings.is_old:
            raise RpcError(SIGNATURE_VERIFICATION_FAILURE, "Transaction signature verification failure")
        shown = _unsimulated(SIGNATURE_FAILURE)
    else:
        execution = visit.cluster.simulate(tx, block)
        shown = _simulated(execution)
        shown["accounts"] = _simulated_accounts(visit, config, addresses, execution, block)
        if config.flag("innerInstructions"):
            shown["innerInstructions"] = simulated_inner_json(tx, execution)
    shown["loadedAddresses"] = loaded_addresses_json(tx)
    if replaced:
        height = visit.cluster.last_valid_height(block.blockhash, block)
        shown["replacementBlockhash"] = {"blockhash": str(block.blockhash), "lastValidBlockHeight": height}
    return visit.in_context(block, _as_told(visit, shown))


def _simulated_addresses(config: Config, tx: Resolved) -> list[str] | None:
    asked = config.nested("accounts", "RpcSimulateTransactionAccountsConfig")
    if asked is None:
        return None
    if asked.choice("encoding", ACCOUNT_ENCODINGS) in ("binary", "base58"):
        raise invalid_params("base58 encoding not supported")
    if "addresses" not in asked.values:
        raise invalid_params("Invalid params: missing field `addresses`.")
    addresses = [p.text(value) for value in p.sequence(asked.values["addresses"])]
    if len(addresses) > len(tx.keys):
        raise invalid_params(f"Too many accounts provided; max {len(tx.keys)}")
    return addresses


def _simulated_accounts(visit: Visit, config: Config, addresses: list[str] | None, execution: Execution, block: Block) -> Json:
    if addresses is None:
        return None
    if execution.error is not None:
        return [None] * len(addresses)
    encoding = p.config(config.values["accounts"], "").choice("encoding", ACCOUNT_ENCODINGS) or "base64"
    shown: list[Json] = []
    for address in map(p.pubkey, addresses):
        changed = address in execution.written
        account = execution.written[address] if changed else visit.cluster.read_at(address, block)
        # One that the transaction closes is shown as empty; null is one that was not there before, either.
        shown.append(None if account is None else visit.account(account, encoding, None))
    return shown


def _simulated(execution: Execution) -> dict[str, Json]:
    """The result of a simulation, without what depends on the question."""
    return {
        "accounts": None,
        "err": execution.error.json if execution.error is not None else None,
        "fee": execution.fee_lamports if execution.landed else None,
        "innerInstructions": None,
        "loadedAccountsDataSize": execution.loaded_bytes,
        "loadedAddresses": None,
        "logs": list(execution.logs),
        "postBalances": list(execution.after.lamports),
        "postTokenBalances": token_balances_json(execution.after.tokens),
        "preBalances": list(execution.before.lamports),
        "preTokenBalances": token_balances_json(execution.before.tokens),
        "replacementBlockhash": None,
        "returnData": return_data_json(execution.return_data),
        "unitsConsumed": execution.units_consumed,
    }


def _unsimulated(error: ChainError) -> dict[str, Json]:
    """What is told of a transaction that is refused before it is simulated."""
    names = ("accounts", "fee", "innerInstructions", "loadedAddresses", "replacementBlockhash", "returnData", *SINCE_3_1[2:])
    return {**dict.fromkeys(names), "err": error.json, "logs": [], "loadedAccountsDataSize": 0, "unitsConsumed": 0}


def _as_told(visit: Visit, shown: dict[str, Json]) -> Json:
    if not visit.settings.is_old:
        return shown
    return {name: value for name, value in shown.items() if name not in SINCE_3_1}


# --- others -------------------------------------------------------------------------------------------------------------------


def get_fee_for_message(visit: Visit, params: Params) -> Json:
    """What the network charges for a message; null when its blockhash is dead."""
    wire = wire_bytes(p.text(params[0]), "base64", MESSAGE_TYPE)
    try:
        message = from_bytes_versioned(wire)
    except ValueError as error:
        raise _undecodable(MESSAGE_TYPE) from error
    block = visit.block(params.config(1, "RpcContextConfig"))
    unsigned = [Signature.default()] * message.header.num_required_signatures
    tx = _resolve(visit, VersionedTransaction.populate(message, unsigned), block)
    alive = visit.cluster.last_valid_height(tx.blockhash, block) is not None
    return visit.in_context(block, visit.cluster.fee(tx) if alive else None)


def request_airdrop(visit: Visit, params: Params) -> Json:
    """Send lamports from the faucet."""
    address, lamports = p.pubkey(params[0]), p.unsigned(params[1])
    return str(visit.cluster.airdrop(address, lamports))


def methods() -> Mapping[str, Method]:
    """Every method of this module by its name."""
    return MappingProxyType(
        {
            "sendTransaction": Method(send_transaction, 1, 2),
            "simulateTransaction": Method(simulate_transaction, 1, 2),
            "getFeeForMessage": Method(get_fee_for_message, 1, 2),
            "requestAirdrop": Method(request_airdrop, 2, 3),
        }
    )

"""The localnet's own encoders: base58, amounts, accounts and transactions as a node shows them in JSON.

Deliberately not shared with the daemon: a mistake in its decoders must not be hidden by the same mistake here.
"""

import base64
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import frozen
from solders.account import Account
from solders.message import MessageV0
from solders.pubkey import Pubkey

from executor.localnet.execution import Execution, InnerInstruction, ReturnData, TokenBalance
from executor.localnet.ledger import LandedTransaction
from executor.localnet.program.layout import TOKEN_2022_PROGRAM
from executor.localnet.token_data import (
    FROZEN,
    Extension,
    MintData,
    TokenAccountData,
    read_mint,
    read_token_account,
)
from executor.localnet.tokens import IMMUTABLE_OWNER, TRANSFER_FEE_AMOUNT, TRANSFER_FEE_CONFIG
from executor.localnet.transactions import Resolved

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
MAX_BASE58_BYTES = 128
"""A node encodes no longer account data as base58."""
RENT_EXEMPT_EPOCH = 2**64 - 1
_VALUES = {character: value for value, character in enumerate(ALPHABET)}

Json = Any
Decimals = Callable[[Pubkey], int]


# --- base58 -------------------------------------------------------------------------------------------------------------------


_PAIRS = tuple(one + other for one in ALPHABET for other in ALPHABET)
"""Two digits at a time are twice as fast as one."""


class Base58Invalid(ValueError):
    """A character that is not of the alphabet."""

    def __init__(self, character: str, index: int) -> None:
        super().__init__(f"InvalidCharacter {{ character: '{character}', index: {index} }}")


def base58_encode(data: bytes) -> str:
    """Encode bytes; each leading zero byte is a leading 1."""
    number = int.from_bytes(data, "big")
    pairs: list[str] = []
    while number:
        number, pair = divmod(number, len(_PAIRS))
        pairs.append(_PAIRS[pair])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + "".join(reversed(pairs)).lstrip("1")


def base58_decode(text: str) -> bytes:
    """Decode text. Raises `Base58Invalid`."""
    number = 0
    for index, character in enumerate(text):
        if character not in _VALUES:
            raise Base58Invalid(character, index)
        number = number * 58 + _VALUES[character]
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def base64_text(data: bytes) -> str:
    """Encode bytes as base64."""
    return base64.b64encode(data).decode()


# --- amounts ------------------------------------------------------------------------------------------------------------------


def ui_amount(amount: int, decimals: int) -> Json:
    """A raw amount as UiTokenAmount."""
    whole, fraction = divmod(amount, 10**decimals)
    text = f"{whole}.{fraction:0{decimals}}".rstrip("0").rstrip(".") if decimals else str(amount)
    return {"amount": str(amount), "decimals": decimals, "uiAmount": amount / 10**decimals, "uiAmountString": text}


def token_balance_json(row: TokenBalance) -> Json:
    """A row of pre- or postTokenBalances."""
    return {
        "accountIndex": row.account_index,
        "mint": str(row.mint),
        "owner": str(row.owner),
        "programId": str(row.program),
        "uiTokenAmount": ui_amount(row.amount, row.decimals),
    }


# --- accounts -----------------------------------------------------------------------------------------------------------------


@frozen
class DataSlice:
    """The part of an account's data that is asked for."""

    offset: int
    length: int


class TooLongForBase58(ValueError):
    """A node refuses to encode that much data as base58."""


def account_json(account: Account | None, *, encoding: str, data_slice: DataSlice | None, decimals: Decimals) -> Json:
    """An account in an encoding: binary (bare base58), base58, base64 or jsonParsed. Raises `TooLongForBase58`."""
    if account is None:
        return None
    return {
        "data": _data_json(account, encoding, data_slice, decimals),
        "executable": account.executable,
        "lamports": account.lamports,
        "owner": str(account.owner),
        "rentEpoch": RENT_EXEMPT_EPOCH,
        "space": len(account.data),
    }


def _data_json(account: Account, encoding: str, data_slice: DataSlice | None, decimals: Decimals) -> Json:
    if encoding == "jsonParsed":
        parsed = parsed_json(account, decimals)
        if parsed is not None:
            return parsed
        encoding = "base64"
    data = bytes(account.data)
    if data_slice is not None:
        data = data[data_slice.offset : data_slice.offset + data_slice.length]
    if encoding == "base64":
        return [base64_text(data), "base64"]
    if len(data) > MAX_BASE58_BYTES:
        raise TooLongForBase58
    text = base58_encode(data)
    return text if encoding == "binary" else [text, encoding]


def parsed_json(account: Account, decimals: Decimals) -> Json:
    """A token account or mint as jsonParsed; None for every other account."""
    token = read_token_account(account)
    if token is not None:
        return _parsed(account, "account", _token_account_info(token, decimals(token.mint)))
    mint = read_mint(account)
    return _parsed(account, "mint", _mint_info(mint)) if mint is not None else None


def _parsed(account: Account, kind: str, info: Json) -> Json:
    program = "spl-token-2022" if account.owner == TOKEN_2022_PROGRAM else "spl-token"
    return {"parsed": {"info": info, "type": kind}, "program": program, "space": len(account.data)}


def _token_account_info(token: TokenAccountData, decimals: int) -> Json:
    info: dict[str, Json] = {
        "isNative": token.native_reserve is not None,
        "mint": str(token.mint),
        "owner": str(token.owner),
        "state": "frozen" if token.state == FROZEN else "initialized",
        "tokenAmount": ui_amount(token.amount, decimals),
    }
    if token.native_reserve is not None:
        info["rentExemptReserve"] = ui_amount(token.native_reserve, decimals)
    if token.delegate is not None:
        info["delegate"] = str(token.delegate)
        info["delegatedAmount"] = ui_amount(token.delegated_amount, decimals)
    if token.close_authority is not None:
        info["closeAuthority"] = str(token.close_authority)
    return _with_extensions(info, token.extensions)


def _mint_info(mint: MintData) -> Json:
    info: dict[str, Json] = {
        "decimals": mint.decimals,
        "freezeAuthority": _optional(mint.freeze_authority),
        "isInitialized": mint.initialized,
        "mintAuthority": _optional(mint.mint_authority),
        "supply": str(mint.supply),
    }
    return _with_extensions(info, mint.extensions)


def _optional(address: Pubkey | None) -> str | None:
    return str(address) if address is not None else None


def _with_extensions(info: dict[str, Json], extensions: Sequence[Extension]) -> Json:
    return {**info, "extensions": [_extension_json(extension) for extension in extensions]} if extensions else info


def _extension_json(extension: Extension) -> Json:
    if extension.kind == IMMUTABLE_OWNER:
        return {"extension": "immutableOwner"}
    if extension.kind == TRANSFER_FEE_AMOUNT:
        return {"extension": "transferFeeAmount", "state": {"withheldAmount": int.from_bytes(extension.value, "little")}}
    if extension.kind == TRANSFER_FEE_CONFIG:
        return {"extension": "transferFeeConfig", "state": _transfer_fee_config(extension.value)}
    return {"extension": "unparseableExtension"}


def _transfer_fee_config(value: bytes) -> Json:
    config, withdraw, withheld, *fees = struct.unpack("<32s32sQQQHQQH", value)
    older, newer = (
        {"epoch": epoch, "maximumFee": maximum, "transferFeeBasisPoints": bps} for epoch, maximum, bps in (fees[:3], fees[3:])
    )
    return {
        "newerTransferFee": newer,
        "olderTransferFee": older,
        "transferFeeConfigAuthority": _nonzero(config),
        "withdrawWithheldAuthority": _nonzero(withdraw),
        "withheldAmount": withheld,
    }


def _nonzero(address: bytes) -> str | None:
    return str(Pubkey(address)) if any(address) else None


# --- transactions -------------------------------------------------------------------------------------------------------------


def transaction_version(tx: Resolved) -> Json:
    """The version as getTransaction names it."""
    return 0 if isinstance(tx.transaction.message, MessageV0) else "legacy"


def transaction_json(tx: Resolved, encoding: str) -> Json:
    """A transaction in an encoding: json, base64 or base58."""
    wire = bytes(tx.transaction)
    if encoding == "base64":
        return [base64_text(wire), "base64"]
    if encoding == "base58":
        return [base58_encode(wire), "base58"]
    return {"message": _message_json(tx), "signatures": [str(signature) for signature in tx.transaction.signatures]}


def _message_json(tx: Resolved) -> Json:
    message = tx.transaction.message
    header = message.header
    shown: dict[str, Json] = {
        "accountKeys": [str(key) for key in message.account_keys],
        "header": {
            "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
            "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
            "numRequiredSignatures": header.num_required_signatures,
        },
        "instructions": [
            _compiled(i.program_id_index, bytes(i.accounts), bytes(i.data), stack_height=1) for i in message.instructions
        ],
        "recentBlockhash": str(message.recent_blockhash),
    }
    if isinstance(message, MessageV0):
        shown["addressTableLookups"] = [
            {
                "accountKey": str(lookup.account_key),
                "readonlyIndexes": list(bytes(lookup.readonly_indexes)),
                "writableIndexes": list(bytes(lookup.writable_indexes)),
            }
            for lookup in message.address_table_lookups
        ]
    return shown


def _compiled(program_index: int, accounts: bytes, data: bytes, *, stack_height: int) -> Json:
    return {
        "accounts": list(accounts),
        "data": base58_encode(data),
        "programIdIndex": program_index,
        "stackHeight": stack_height,
    }


def meta_json(landed: LandedTransaction) -> Json:
    """The metadata of a landed transaction, as getTransaction shows it."""
    execution = landed.execution
    error = execution.error.json if execution.error is not None else None
    meta: dict[str, Json] = {
        "computeUnitsConsumed": execution.units_consumed,
        "costUnits": cost_units(landed.resolved, execution),
        "err": error,
        "fee": execution.fee_lamports,
        "innerInstructions": _inner_json(execution, _inner_compiled) if execution.executed else None,
        "loadedAddresses": loaded_addresses_json(landed.resolved),
        "logMessages": list(execution.logs) if execution.executed else None,
        "postBalances": list(execution.after.lamports),
        "postTokenBalances": token_balances_json(execution.after.tokens),
        "preBalances": list(execution.before.lamports),
        "preTokenBalances": token_balances_json(execution.before.tokens),
        "rewards": [],
        "status": status_json(error),
    }
    if execution.return_data is not None:
        meta["returnData"] = return_data_json(execution.return_data)
    return meta


def status_json(error: Json) -> Json:
    """The older, deprecated form of an outcome, which nodes still send."""
    return {"Ok": None} if error is None else {"Err": error}


def token_balances_json(rows: Iterable[TokenBalance]) -> Json:
    """Pre- or postTokenBalances."""
    return [token_balance_json(row) for row in rows]


def loaded_addresses_json(tx: Resolved) -> Json:
    """The addresses that came from lookup tables."""
    return {"readonly": [str(key) for key in tx.loaded_readonly], "writable": [str(key) for key in tx.loaded_writable]}


def return_data_json(returned: ReturnData | None) -> Json:
    """What the last program returned."""
    if returned is None:
        return None
    return {"data": [base64_text(returned.data), "base64"], "programId": str(returned.program)}


def simulated_inner_json(tx: Resolved, execution: Execution) -> Json:
    """The inner instructions of a simulation: with addresses in place of indexes, partially decoded."""

    def shown(called: InnerInstruction) -> Json:
        return {
            "accounts": [str(tx.keys[index]) for index in called.accounts],
            "data": base58_encode(called.data),
            "programId": str(tx.keys[called.program_index]),
            "stackHeight": called.stack_height,
        }

    return _inner_json(execution, shown)


def _inner_compiled(called: InnerInstruction) -> Json:
    return _compiled(called.program_index, called.accounts, called.data, stack_height=called.stack_height)


def _inner_json(execution: Execution, shown: Callable[[InnerInstruction], Json]) -> Json:
    return [
        {"index": index, "instructions": [shown(called) for called in calls]}
        for index, calls in enumerate(execution.inner)
        if calls
    ]


SIGNATURE_COST, WRITE_LOCK_COST, DATA_BYTES_PER_UNIT, PAGE_COST, PAGE_BYTES = 720, 300, 4, 8, 32 * 1024


def cost_units(tx: Resolved, execution: Execution) -> int:
    """What the transaction counts against a block's limit, by Agave's cost model."""
    message = tx.transaction.message
    data_bytes = sum(len(instruction.data) for instruction in message.instructions)
    return (
        SIGNATURE_COST * message.header.num_required_signatures
        + WRITE_LOCK_COST * sum(tx.writable)
        + data_bytes // DATA_BYTES_PER_UNIT
        + PAGE_COST * -(-execution.loaded_bytes // PAGE_BYTES)
        + execution.units_consumed
    )

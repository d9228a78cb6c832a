"""The JSON-RPC methods that read: the node itself, blocks and blockhashes, accounts, statuses and transactions, fees."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from attrs import frozen
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from executor.localnet import params as p
from executor.localnet.cluster import Commitment
from executor.localnet.encoding import (
    DataSlice,
    meta_json,
    status_json,
    transaction_json,
    transaction_version,
    ui_amount,
)
from executor.localnet.execution import SLOTS_PER_EPOCH
from executor.localnet.jsonrpc import INVALID_REQUEST, UNSUPPORTED_TRANSACTION_VERSION, RpcError, invalid_params
from executor.localnet.params import Config, Params
from executor.localnet.token_data import TOKEN_PROGRAMS, is_mint, read_token_account
from executor.localnet.visit import Visit

Json = Any

MAX_ACCOUNTS = 100
MAX_SIGNATURES = 256
MAX_FEE_ACCOUNTS = 128
U8_MAX = 2**8 - 1
MAX_ACCOUNT_BYTES = 10 * 2**20
FEATURE_SET = 1_620_780_344
ACCOUNT_ENCODINGS = ("binary", "base58", "base64", "jsonParsed", "base64+zstd")
TRANSACTION_ENCODINGS = ("binary", "base64", "base58", "json", "jsonParsed")


@frozen
class Method:
    """A method with how many arguments it takes."""

    run: Callable[[Visit, Params], Json]
    least: int = 0
    most: int = 1


# --- the node -----------------------------------------------------------------------------------------------------------------


def get_health(visit: Visit, _: Params) -> Json:
    """Say "ok", or how far the node is behind."""
    visit.require_health()
    return "ok"


def get_version(visit: Visit, _: Params) -> Json:
    """The node's software."""
    return {"feature-set": FEATURE_SET, "solana-core": visit.settings.version}


def get_genesis_hash(visit: Visit, _: Params) -> Json:
    """Which cluster this is."""
    return str(visit.cluster.genesis_hash)


# --- blocks -------------------------------------------------------------------------------------------------------------------


def get_slot(visit: Visit, params: Params) -> Json:
    """The newest slot of a commitment."""
    return visit.block(params.config(0, "RpcContextConfig")).slot


def get_block_height(visit: Visit, params: Params) -> Json:
    """The newest block height of a commitment."""
    return visit.block(params.config(0, "RpcContextConfig")).height


def get_first_available_block(visit: Visit, _params: Params) -> Json:
    """The slot from which on the history is whole."""
    return visit.cluster.first_available_slot()


def get_epoch_info(visit: Visit, params: Params) -> Json:
    """Where in its epoch the cluster is."""
    block = visit.block(params.config(0, "RpcContextConfig"))
    epoch, index = divmod(block.slot, SLOTS_PER_EPOCH)
    return {
        "absoluteSlot": block.slot,
        "blockHeight": block.height,
        "epoch": epoch,
        "slotIndex": index,
        "slotsInEpoch": SLOTS_PER_EPOCH,
        "transactionCount": visit.cluster.transaction_count,
    }


def get_latest_blockhash(visit: Visit, params: Params) -> Json:
    """The newest blockhash of a commitment, and up to which height it lives."""
    block = visit.block(params.config(0, "RpcContextConfig"))
    height = visit.cluster.last_valid_height(block.blockhash, block)
    return visit.in_context(block, {"blockhash": str(block.blockhash), "lastValidBlockHeight": height})


def is_blockhash_valid(visit: Visit, params: Params) -> Json:
    """Whether a blockhash still lives at a commitment."""
    blockhash = Hash(p.fixed_base58(p.text(params[0]), p.PUBKEY_BYTES, p.PUBKEY_CHARACTERS, prefix=""))
    block = visit.block(params.config(1, "RpcContextConfig"))
    return visit.in_context(block, visit.cluster.last_valid_height(blockhash, block) is not None)


def get_minimum_balance_for_rent_exemption(visit: Visit, params: Params) -> Json:
    """The rent of an account of a size."""
    size = p.unsigned(params[0], "usize")
    if size > MAX_ACCOUNT_BYTES:
        raise RpcError(INVALID_REQUEST, "Invalid request")
    return visit.cluster.rent_exemption(size)


def get_recent_prioritization_fees(visit: Visit, params: Params) -> Json:
    """The least price per compute unit that landed on some accounts, slot by slot."""
    listed = p.sequence(params[0]) if params[0] is not None else []
    accounts = [p.pubkey(value) for value in p.bounded(listed, MAX_FEE_ACCOUNTS)]
    fees = visit.cluster.recent_fees(accounts, behind=visit.behind)
    return [{"prioritizationFee": fee.micro_lamports, "slot": fee.slot} for fee in fees]


# --- accounts -----------------------------------------------------------------------------------------------------------------


def get_balance(visit: Visit, params: Params) -> Json:
    """The lamports of an account."""
    address = p.pubkey(params[0])
    block = visit.block(params.config(1, "RpcContextConfig"))
    account = visit.cluster.read_at(address, block)
    return visit.in_context(block, account.lamports if account is not None else 0)


def get_account_info(visit: Visit, params: Params) -> Json:
    """One account."""
    address = p.pubkey(params[0])
    config = params.config(1, "RpcAccountInfoConfig")
    block = visit.block(config)
    account = visit.cluster.read_at(address, block)
    return visit.in_context(block, visit.account(account, _encoding(config, "binary"), _data_slice(config)))


def get_multiple_accounts(visit: Visit, params: Params) -> Json:
    """Up to 100 accounts, all of one block."""
    addresses = [p.pubkey(value) for value in p.bounded(p.sequence(params[0]), MAX_ACCOUNTS)]
    config = params.config(1, "RpcAccountInfoConfig")
    block = visit.block(config)
    encoding, data_slice = _encoding(config, "base64"), _data_slice(config)
    accounts = (visit.cluster.read_at(address, block) for address in addresses)
    return visit.in_context(block, [visit.account(account, encoding, data_slice) for account in accounts])


def get_token_account_balance(visit: Visit, params: Params) -> Json:
    """The balance of a token account."""
    address = p.pubkey(params[0])
    block = visit.block(params.config(1, "CommitmentConfig"))
    account = visit.cluster.read_at(address, block)
    if account is None:
        raise invalid_params("Invalid param: could not find account")
    token = read_token_account(account)
    if token is None:
        raise invalid_params("Invalid param: not a Token account")
    return visit.in_context(block, ui_amount(token.amount, visit.cluster.decimals(token.mint)))


def get_token_accounts_by_owner(visit: Visit, params: Params) -> Json:
    """Every token account of an owner, of one mint or of one token program."""
    owner = p.pubkey(params[0])
    config = params.config(2, "RpcAccountInfoConfig")
    block = visit.block(config)
    mint, program = _token_filter(visit, params[1], block)
    encoding, data_slice = _encoding(config, "binary"), _data_slice(config)
    found: list[Json] = []
    for address, account in visit.cluster.owned_by([program], block):
        token = read_token_account(account)
        if token is not None and token.owner == owner and mint in (None, token.mint):
            found.append({"account": visit.account(account, encoding, data_slice), "pubkey": str(address)})
    return visit.in_context(block, found)


def _token_filter(visit: Visit, value: Json, block: Any) -> tuple[Pubkey | None, Pubkey]:
    if value in ("mint", "programId"):
        raise invalid_params("Invalid params: invalid type: unit variant, expected newtype variant.")
    if not isinstance(value, dict):
        raise p.wrong_type(value, "enum RpcTokenAccountsFilter")
    if len(value) != 1:
        raise invalid_params("Invalid params: invalid value: map, expected map with a single key.")
    ((name, address),) = value.items()
    if name == "programId":
        program = p.pubkey(address)
        if program not in TOKEN_PROGRAMS:
            raise invalid_params("Invalid param: unrecognized Token program id")
        return None, program
    if name != "mint":
        raise invalid_params(f"Invalid params: unknown variant `{name}`, expected `mint` or `programId`.")
    mint = p.pubkey(address)
    account = visit.cluster.read_at(mint, block)
    if account is None:
        raise invalid_params("Invalid param: could not find mint")
    if not is_mint(account):
        raise invalid_params("Invalid param: Token mint could not be unpacked")
    return mint, account.owner


def _encoding(config: Config, default: str) -> str:
    encoding = config.choice("encoding", ACCOUNT_ENCODINGS) or default
    if encoding == "base64+zstd":
        raise invalid_params("base64+zstd encoding not supported by this localnet")
    return encoding


def _data_slice(config: Config) -> DataSlice | None:
    asked = config.nested("dataSlice", "UiDataSliceConfig")
    if asked is None:
        return None
    offset, length = (_required(asked, name) for name in ("offset", "length"))
    return DataSlice(offset, length)


def _required(config: Config, name: str) -> int:
    value = config.unsigned(name, "usize")
    if value is None:
        raise invalid_params(f"Invalid params: missing field `{name}`.")
    return value


# --- transactions -------------------------------------------------------------------------------------------------------------


def get_signature_statuses(visit: Visit, params: Params) -> Json:
    """Where up to 256 transactions stand; older ones only when the history is searched."""
    signatures = [p.signature(value) for value in p.bounded(p.sequence(params[0]), MAX_SIGNATURES)]
    searched = _search(params)
    block = visit.cluster.block(Commitment.PROCESSED, behind=visit.behind)
    return visit.in_context(block, [_status(visit, signature, searched) for signature in signatures])


def _search(params: Params) -> bool:
    """Whether the history is to be searched; who gives options has to say."""
    if params[1] is None:
        return False
    value = params.config(1, "RpcSignatureStatusConfig").values.get("searchTransactionHistory", _MISSING)
    if value is _MISSING:
        raise invalid_params("Invalid params: missing field `searchTransactionHistory`.")
    if not isinstance(value, bool):
        raise p.wrong_type(value, "a boolean")
    return value


_MISSING = object()


def _status(visit: Visit, signature: Signature, searched: bool) -> Json:
    status = visit.cluster.status(signature, behind=visit.behind)
    if status is None or not (status.recent or searched):
        return None
    error = status.landing.error.json if status.landing.error is not None else None
    return {
        "confirmationStatus": str(status.commitment),
        "confirmations": status.confirmations,
        "err": error,
        "slot": status.landing.slot,
        "status": status_json(error),
    }


def get_transaction(visit: Visit, params: Params) -> Json:
    """A transaction with its metadata, a little after it was confirmed."""
    signature = p.signature(params[0])
    config = _transaction_config(params[1])
    encoding = config.choice("encoding", TRANSACTION_ENCODINGS) or "json"
    if encoding in ("binary", "jsonParsed"):
        raise invalid_params(f"{encoding} encoding of transactions not supported by this localnet")
    commitment = config.commitment() or Commitment.FINALIZED
    if commitment == Commitment.PROCESSED:
        raise invalid_params("Method does not support commitment below `confirmed`")
    landed = visit.cluster.transaction(signature)
    # The metadata is written behind the block: it can be read a little after the status can.
    written = visit.cluster.slot(Commitment.CONFIRMED, behind=visit.behind + visit.settings.transaction_delay_slots)
    if landed is None or landed.landing.slot > min(written, visit.cluster.slot(commitment, behind=visit.behind)):
        return None
    return _with_version(config, landed)


def _transaction_config(value: Json) -> Config:
    if isinstance(value, str):  # the older form: only the encoding
        value = {"encoding": value}
    try:
        config = p.config(value, "RpcTransactionConfig")
        config.choice("encoding", TRANSACTION_ENCODINGS)
        version = config.unsigned("maxSupportedTransactionVersion", "u8")
    except RpcError as error:
        raise _no_variant() from error
    if version is not None and version > U8_MAX:
        raise _no_variant()
    return config


def _no_variant() -> RpcError:
    return invalid_params("Invalid params: data did not match any variant of untagged enum RpcEncodingConfigWrapper.")


def _with_version(config: Config, landed: Any) -> Json:
    version = transaction_version(landed.resolved)
    most = config.unsigned("maxSupportedTransactionVersion", "u8")
    if version == 0 and most is None:
        message = (
            "Transaction version (0) is not supported by the requesting client. "
            'Please try the request again with the following configuration parameter: "maxSupportedTransactionVersion": 0'
        )
        raise RpcError(UNSUPPORTED_TRANSACTION_VERSION, message)
    return {
        "blockTime": landed.block_unix_seconds,
        "meta": meta_json(landed),
        "slot": landed.landing.slot,
        "transaction": transaction_json(landed.resolved, config.choice("encoding", TRANSACTION_ENCODINGS) or "json"),
        **({"version": version} if most is not None else {}),
    }


def methods() -> Mapping[str, Method]:
    """Every reading method by its name."""
    return MappingProxyType(
        {
            "getHealth": Method(get_health, most=0),
            "getVersion": Method(get_version, most=0),
            "getGenesisHash": Method(get_genesis_hash, most=0),
            "getSlot": Method(get_slot),
            "getBlockHeight": Method(get_block_height),
            "getEpochInfo": Method(get_epoch_info),
            "getFirstAvailableBlock": Method(get_first_available_block, most=0),
            "getLatestBlockhash": Method(get_latest_blockhash),
            "isBlockhashValid": Method(is_blockhash_valid, 1, 2),
            "getMinimumBalanceForRentExemption": Method(get_minimum_balance_for_rent_exemption, 1, 2),
            "getRecentPrioritizationFees": Method(get_recent_prioritization_fees),
            "getBalance": Method(get_balance, 1, 2),
            "getAccountInfo": Method(get_account_info, 1, 2),
            "getMultipleAccounts": Method(get_multiple_accounts, 1, 2),
            "getTokenAccountBalance": Method(get_token_account_balance, 1, 2),
            "getTokenAccountsByOwner": Method(get_token_accounts_by_owner, 2, 3),
            "getSignatureStatuses": Method(get_signature_statuses, 1, 2),
            "getTransaction": Method(get_transaction, 1, 2),
        }
    )

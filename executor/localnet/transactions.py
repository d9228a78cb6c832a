"""A transaction as a node reads it before anything runs: its accounts in order, what it may write, its compute budget."""

import functools
import hashlib
import struct
from collections.abc import Callable, Iterator

from attrs import frozen
from solders.account import Account
from solders.hash import Hash
from solders.message import Message, MessageV0, MessageV1
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import SanitizeError, VersionedTransaction

from executor.localnet.chain_errors import SANITIZE_FAILURE, ChainError
from executor.units import MAX_COMPUTE_UNIT_LIMIT, U64_MAX

COMPUTE_BUDGET_PROGRAM = Pubkey.from_string("ComputeBudget111111111111111111111111111111")
LOOKUP_TABLE_PROGRAM = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")
LOOKUP_TABLE_META_BYTES = 56
LOOKUP_TABLE_COOLDOWN_SLOTS = 513
MAX_LOADED_BYTES = 64 * 2**20
UNITS_PER_INSTRUCTION = 200_000
REMEMBERED_TRANSACTIONS = 4_096

ReadAccount = Callable[[Pubkey], Account | None]


class TransactionInvalid(Exception):
    """A transaction is refused before it is looked at by any program; it can never land."""

    def __init__(self, error: ChainError) -> None:
        super().__init__(str(error))
        self.error = error


@frozen(kw_only=True)
class Budget:
    """What the compute budget instructions ask for, with the network's defaults."""

    unit_limit: int
    unit_price_micro_lamports: int
    loaded_bytes_limit: int


@frozen(kw_only=True)
class Resolved:
    """A transaction with its lookups resolved."""

    transaction: VersionedTransaction
    signature: Signature
    message_hash: bytes
    keys: tuple[Pubkey, ...]
    """Static keys, then the writable lookups, then the read-only ones: what indexes in the metadata refer to."""
    writable: tuple[bool, ...]
    loaded_writable: tuple[Pubkey, ...]
    loaded_readonly: tuple[Pubkey, ...]
    budget: Budget

    @property
    def blockhash(self) -> Hash:
        """The recent blockhash (or nonce) of the message."""
        return self.transaction.message.recent_blockhash

    @property
    def payer(self) -> Pubkey:
        """Who pays the fee."""
        return self.keys[0]

    @property
    def lookup_count(self) -> int:
        """How many lookup tables are loaded."""
        message = self.transaction.message
        return len(message.address_table_lookups) if isinstance(message, MessageV0) else 0

    def written_keys(self) -> Iterator[Pubkey]:
        """Every account that the transaction may change."""
        return (key for key, writable in zip(self.keys, self.writable, strict=True) if writable)


def resolve(transaction: VersionedTransaction, read: ReadAccount, slot: int) -> Resolved:
    """Check a transaction's form and load its lookup tables as they stand in `read` at `slot`. Raises `TransactionInvalid`."""
    form = _form(bytes(transaction))
    loaded_writable, loaded_readonly = _load(form.message, read, slot)
    return Resolved(
        transaction=transaction,
        signature=form.signature,
        message_hash=form.message_hash,
        keys=(*form.keys, *loaded_writable, *loaded_readonly),
        writable=(*form.writable, *(True for _ in loaded_writable), *(False for _ in loaded_readonly)),
        loaded_writable=loaded_writable,
        loaded_readonly=loaded_readonly,
        budget=form.budget,
    )


@frozen(kw_only=True)
class _Form:
    """What a transaction says whatever stands in the accounts."""

    message: Message | MessageV0
    signature: Signature
    message_hash: bytes
    keys: tuple[Pubkey, ...]
    writable: tuple[bool, ...]
    budget: Budget


@functools.lru_cache(maxsize=REMEMBERED_TRANSACTIONS)
def _form(wire: bytes) -> _Form:
    """Read a transaction: once, however many nodes and leaders meet the same bytes. Raises `TransactionInvalid`."""
    transaction = VersionedTransaction.from_bytes(wire)
    try:
        transaction.sanitize()
    except SanitizeError as error:
        raise TransactionInvalid(SANITIZE_FAILURE) from error
    message = transaction.message
    if isinstance(message, MessageV1):
        raise TransactionInvalid(ChainError("UnsupportedVersion"))
    static = tuple(message.account_keys)
    return _Form(
        message=message,
        signature=transaction.signatures[0],
        message_hash=hashlib.sha256(bytes(message)).digest(),
        keys=static,
        writable=_static_writable(message),
        budget=_budget(message, static),
    )


def with_blockhash(transaction: VersionedTransaction, blockhash: Hash) -> VersionedTransaction:
    """The same transaction under another blockhash; its signatures do not fit it any more."""
    message = transaction.message
    header = message.header
    changed: Message | MessageV0 | MessageV1
    if isinstance(message, MessageV0):
        changed = MessageV0(header, message.account_keys, blockhash, message.instructions, message.address_table_lookups)
    else:
        changed = Message.new_with_compiled_instructions(
            header.num_required_signatures,
            header.num_readonly_signed_accounts,
            header.num_readonly_unsigned_accounts,
            message.account_keys,
            blockhash,
            message.instructions,
        )
    return VersionedTransaction.populate(changed, transaction.signatures)


def signatures_hold(transaction: VersionedTransaction) -> bool:
    """Verify every signature. The same bytes come again and again, from every node that was sent them: they are verified once."""
    return _signatures_hold(bytes(transaction))


@functools.lru_cache(maxsize=REMEMBERED_TRANSACTIONS)
def _signatures_hold(wire: bytes) -> bool:
    return all(VersionedTransaction.from_bytes(wire).verify_with_results())


def _static_writable(message: Message | MessageV0) -> tuple[bool, ...]:
    header, count = message.header, len(message.account_keys)
    signers = header.num_required_signatures
    writable_signers = signers - header.num_readonly_signed_accounts
    writable_others = count - header.num_readonly_unsigned_accounts
    return tuple(i < writable_signers or signers <= i < writable_others for i in range(count))


def _load(message: Message | MessageV0, read: ReadAccount, slot: int) -> tuple[tuple[Pubkey, ...], tuple[Pubkey, ...]]:
    if not isinstance(message, MessageV0):
        return (), ()
    writable: list[Pubkey] = []
    readonly: list[Pubkey] = []
    for lookup in message.address_table_lookups:
        table = _Table(read(lookup.account_key), slot)
        writable += [table[i] for i in bytes(lookup.writable_indexes)]
        readonly += [table[i] for i in bytes(lookup.readonly_indexes)]
    return tuple(writable), tuple(readonly)


class _Table:
    """An address lookup table in its own encoding: a 56-byte head, then the addresses."""

    def __init__(self, account: Account | None, slot: int) -> None:
        if account is None:
            raise TransactionInvalid(ChainError("AddressLookupTableNotFound"))
        if account.owner != LOOKUP_TABLE_PROGRAM:
            raise TransactionInvalid(ChainError("InvalidAddressLookupTableOwner"))
        self._data = bytes(account.data)
        if len(self._data) < LOOKUP_TABLE_META_BYTES or self._data[0] != 1:
            raise TransactionInvalid(ChainError("InvalidAddressLookupTableData"))
        deactivated_slot, extended_slot, extended_from = struct.unpack_from("<QQB", self._data, 4)
        if deactivated_slot != U64_MAX and slot > deactivated_slot + LOOKUP_TABLE_COOLDOWN_SLOTS:
            raise TransactionInvalid(ChainError("AddressLookupTableNotFound"))
        addresses = (len(self._data) - LOOKUP_TABLE_META_BYTES) // 32
        # What was added in this very slot cannot be used before the next one.
        self._active = extended_from if slot <= extended_slot else addresses

    def __getitem__(self, index: int) -> Pubkey:
        if index >= self._active:
            raise TransactionInvalid(ChainError("InvalidAddressLookupTableIndex"))
        start = LOOKUP_TABLE_META_BYTES + 32 * index
        return Pubkey.from_bytes(self._data[start : start + 32])


def _budget(message: Message | MessageV0, static: tuple[Pubkey, ...]) -> Budget:
    asked: dict[int, int] = {}
    others = 0
    for index, instruction in enumerate(message.instructions):
        if static[instruction.program_id_index] != COMPUTE_BUDGET_PROGRAM:
            others += 1
            continue
        data = bytes(instruction.data)
        kind = data[0] if data else 0
        if kind not in _BUDGET_VALUES or len(data) < 1 + struct.calcsize(_BUDGET_VALUES[kind]):
            raise TransactionInvalid(ChainError("InstructionError", [index, "InvalidInstructionData"]))
        if kind in asked:
            raise TransactionInvalid(ChainError("DuplicateInstruction", index))
        (asked[kind],) = struct.unpack_from(_BUDGET_VALUES[kind], data, 1)
    if asked.get(_DATA_LIMIT) == 0:
        raise TransactionInvalid(ChainError("InvalidLoadedAccountsDataSizeLimit"))
    return Budget(
        unit_limit=min(asked.get(_UNIT_LIMIT, UNITS_PER_INSTRUCTION * others), MAX_COMPUTE_UNIT_LIMIT),
        unit_price_micro_lamports=asked.get(_UNIT_PRICE, 0),
        loaded_bytes_limit=min(asked.get(_DATA_LIMIT, MAX_LOADED_BYTES), MAX_LOADED_BYTES),
    )


_HEAP, _UNIT_LIMIT, _UNIT_PRICE, _DATA_LIMIT = 1, 2, 3, 4
_BUDGET_VALUES = {_HEAP: "<I", _UNIT_LIMIT: "<I", _UNIT_PRICE: "<Q", _DATA_LIMIT: "<I"}

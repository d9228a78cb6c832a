"""The v0 message of a built transaction, and the check that it still says what was verified."""

from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.instruction import Instruction
from solders.message import CompileError, MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from executor.errors import ErrorCode, Rejected
from executor.faults import Remedy
from executor.model import Built, ComputeBudget
from executor.programs import COMPUTE_BUDGET_PROGRAM
from executor.stages.upstream import Stale
from executor.units import PACKET_BYTES

_SET_UNIT_LIMIT = b"\x02"
_SET_UNIT_PRICE = b"\x03"


def with_budget(built: Built, budget: ComputeBudget) -> tuple[Instruction, ...]:
    """All instructions of the transaction: our compute budget first."""
    limit = Instruction(COMPUTE_BUDGET_PROGRAM, _SET_UNIT_LIMIT + budget.unit_limit.to_bytes(4, "little"), [])
    price = Instruction(COMPUTE_BUDGET_PROGRAM, _SET_UNIT_PRICE + budget.unit_price.to_bytes(8, "little"), [])
    return (limit, price, *built.instructions)


def compile_message(built: Built, budget: ComputeBudget, *, payer: Pubkey, blockhash: Hash) -> MessageV0:
    """Compile, read back, compare. Raises Stale(TRANSACTION_TOO_LARGE), Rejected(TRANSACTION_FOREIGN)."""
    instructions = with_budget(built, budget)
    _require_fit(instructions)
    try:
        message = MessageV0.try_compile(payer, list(instructions), list(built.lookup_tables), blockhash)
    except CompileError as error:
        raise _too_large("the route uses more accounts than a transaction can name") from error
    if _read_back(message, built.lookup_tables) != [_essence(i) for i in instructions] or not _only_payer_signs(message, payer):
        raise Rejected(ErrorCode.TRANSACTION_FOREIGN, "the compiled message does not say what was verified; it was not signed")
    return message


def _require_fit(instructions: tuple[Instruction, ...]) -> None:
    """Refuse what cannot fit before it is compiled: beyond 65535 of anything the compiler panics instead of saying so."""
    least = sum(1 + len(instruction.accounts) + len(instruction.data) for instruction in instructions)
    if least > PACKET_BYTES:
        raise _too_large(f"the transaction has at least {least} bytes, the network carries {PACKET_BYTES}")


def _too_large(message: str) -> Stale:
    """A route over fewer accounts may fit."""
    return Stale(ErrorCode.TRANSACTION_TOO_LARGE, message, remedy=Remedy.LOWER_MAX_ACCOUNTS)


def to_wire(message: MessageV0, signature: Signature) -> bytes:
    """The bytes that travel. Raises Stale(TRANSACTION_TOO_LARGE) above the network's packet size."""
    wire = bytes(VersionedTransaction.populate(message, [signature]))
    if len(wire) > PACKET_BYTES:
        raise _too_large(f"the transaction has {len(wire)} bytes, the network carries {PACKET_BYTES}")
    return wire


Essence = tuple[Pubkey, tuple[Pubkey, ...], bytes]


def _essence(instruction: Instruction) -> Essence:
    return instruction.program_id, tuple(account.pubkey for account in instruction.accounts), instruction.data


def _read_back(message: MessageV0, tables: tuple[AddressLookupTableAccount, ...]) -> list[Essence]:
    """The instructions as the chain will resolve them: static keys, then writable, then read-only table entries."""
    contents = {table.key: table.addresses for table in tables}
    keys = list(message.account_keys)
    for lookup in message.address_table_lookups:
        keys += [contents[lookup.account_key][index] for index in lookup.writable_indexes]
    for lookup in message.address_table_lookups:
        keys += [contents[lookup.account_key][index] for index in lookup.readonly_indexes]
    return [(keys[i.program_id_index], tuple(keys[a] for a in i.accounts), i.data) for i in message.instructions]


def _only_payer_signs(message: MessageV0, payer: Pubkey) -> bool:
    return message.header.num_required_signatures == 1 and message.account_keys[0] == payer

"""The v0 message says what was verified, and fits into a packet."""

from collections.abc import Sequence

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.instruction import AccountMeta, Instruction
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from executor.errors import ErrorCode, Rejected
from executor.faults import Remedy
from executor.model import ComputeBudget
from executor.stages.message import compile_message, to_wire, with_budget
from executor.stages.upstream import Stale
from executor.units import PACKET_BYTES, MicroLamports
from tests.support.swaps import MEMO, Kind, ata, make_swap, readonly, signing, writable
from tests.support.values import SOL, USDC, WALLET, hash_of, key, make_built

BUDGET = ComputeBudget(unit_limit=123_456, unit_price=MicroLamports(7_890))
BLOCKHASH = hash_of(1)
Table = AddressLookupTableAccount


def compiled(instructions: Sequence[Instruction], *tables: Table) -> MessageV0:
    """The message of these instructions."""
    built = make_built(instructions=tuple(instructions), lookup_tables=tables)
    return compile_message(built, BUDGET, payer=WALLET, blockhash=BLOCKHASH)


def refusal_of(instructions: Sequence[Instruction], *tables: Table) -> Rejected:
    """Why there is no message, or no packet."""
    with pytest.raises(Rejected) as caught:
        to_wire(compiled(instructions, *tables), Signature.default())
    return caught.value


def decompiled(wire: bytes, *tables: Table) -> list[tuple[Pubkey, tuple[tuple[Pubkey, bool, bool], ...], bytes]]:
    """What the chain reads from the bytes: written from the format's description, privileges included."""
    message = VersionedTransaction.from_bytes(wire).message
    assert isinstance(message, MessageV0)
    contents = {table.key: table.addresses for table in tables}
    header, static = message.header, list(message.account_keys)
    last_writable_signer = header.num_required_signatures - header.num_readonly_signed_accounts
    last_writable = len(static) - header.num_readonly_unsigned_accounts
    keys = [
        (k, i < header.num_required_signatures, i < last_writable_signer or header.num_required_signatures <= i < last_writable)
        for i, k in enumerate(static)
    ]
    lookups = message.address_table_lookups
    keys += [(contents[lookup.account_key][i], False, True) for lookup in lookups for i in lookup.writable_indexes]
    keys += [(contents[lookup.account_key][i], False, False) for lookup in lookups for i in lookup.readonly_indexes]
    return [(keys[i.program_id_index][0], tuple(keys[a] for a in i.accounts), bytes(i.data)) for i in message.instructions]


def test_our_budget_comes_first() -> None:
    """Limit and price, as the compute budget program takes them, then what was built, untouched."""
    built = make_swap()

    assert list(with_budget(built, BUDGET)) == [
        set_compute_unit_limit(123_456),
        set_compute_unit_price(7_890),
        *built.instructions,
    ]


@pytest.mark.parametrize("kind", Kind)
def test_the_wire_says_what_was_built(kind: Kind) -> None:
    """One signature, ours, first; payer, blockhash, and every instruction with its accounts and data."""
    built = make_swap(kind=kind)
    message = compile_message(built, BUDGET, payer=WALLET, blockhash=BLOCKHASH)
    signature = Signature.from_bytes(bytes(range(64)))
    wire = to_wire(message, signature)
    transaction = VersionedTransaction.from_bytes(wire)

    assert wire[:65] == b"\x01" + bytes(signature)
    assert transaction.message == message
    assert (message.header.num_required_signatures, message.account_keys[0]) == (1, WALLET)
    assert message.recent_blockhash == BLOCKHASH
    assert [(program, tuple(k for k, _s, _w in accounts), data) for program, accounts, data in decompiled(wire)] == [
        (i.program_id, tuple(a.pubkey for a in i.accounts), i.data) for i in with_budget(built, BUDGET)
    ]


def test_tables_shorten_the_message() -> None:
    """What stands in a table costs one byte in place of 32; the chain reads the same."""
    built = make_swap()
    pools = [key("pool program"), key("pool"), key("vault 1"), key("vault 2"), key("program source"), key("unused")]
    tables = (Table(key("table 1"), pools[:2]), Table(key("table 2"), pools[2:]), Table(key("useless"), [key("nobody's")]))
    bare = to_wire(compiled(built.instructions), Signature.default())
    short = to_wire(compiled(built.instructions, *tables), Signature.default())

    assert len(bare) - len(short) == 5 * 32 - 2 * 34 - 5
    assert decompiled(short, *tables) == decompiled(bare)


ACCOUNTS = [key(f"account {number}") for number in range(12)]
METAS = st.builds(AccountMeta, st.sampled_from([*ACCOUNTS, WALLET]), is_signer=st.just(value=False), is_writable=st.booleans())
INSTRUCTIONS = st.builds(
    Instruction,
    st.sampled_from([key("program 1"), key("program 2"), ACCOUNTS[0]]),
    st.binary(max_size=20),
    st.lists(METAS, max_size=8),
)
TABLES = st.lists(st.lists(st.sampled_from(ACCOUNTS), unique=True, max_size=8), max_size=3)


@given(st.lists(INSTRUCTIONS, max_size=6), TABLES)
def test_any_message_reads_back_as_it_was_meant(instructions: list[Instruction], contents: list[list[Pubkey]]) -> None:
    """Accounts in several tables, in none, and programs that are accounts as well."""
    tables = [Table(key(f"table {number}"), addresses) for number, addresses in enumerate(contents)]
    read = decompiled(to_wire(compiled(instructions, *tables), Signature.default()), *tables)[2:]

    assert [(program, tuple(k for k, _s, _w in accounts), data) for program, accounts, data in read] == [
        (i.program_id, tuple(a.pubkey for a in i.accounts), i.data) for i in instructions
    ]
    writable_somewhere = {a.pubkey for i in instructions for a in i.accounts if a.is_writable} | {WALLET}
    programs = {i.program_id for i in instructions}
    for _program, accounts, _data in read:
        for account, signs, is_writable in accounts:
            assert signs == (account == WALLET)
            assert is_writable == (account in writable_somewhere) or account in programs


# --- what is refused ---


def test_a_packet_is_full_to_the_last_byte() -> None:
    """1232 bytes pass, 1233 do not; both figures are told."""
    empty = len(to_wire(compiled([Instruction(MEMO, bytes(200), [])]), Signature.default())) - 200
    fits = [Instruction(MEMO, bytes(PACKET_BYTES - empty), [])]
    error = refusal_of([Instruction(MEMO, bytes(PACKET_BYTES - empty + 1), [])])

    assert len(to_wire(compiled(fits), Signature.default())) == PACKET_BYTES
    assert error.code is ErrorCode.TRANSACTION_TOO_LARGE
    assert "1233 bytes, the network carries 1232" in error.message


BEYOND_COUNTING: dict[str, list[Instruction]] = {
    "data": [Instruction(MEMO, bytes(70_000), [])],
    "instructions": [Instruction(MEMO, b"", [])] * 70_000,
    "accounts": [Instruction(MEMO, b"", [readonly(WALLET)] * 66_000)],
    "all of it in two halves": [Instruction(MEMO, bytes(33_000), [readonly(WALLET)] * 33_000)] * 2,
}


@pytest.mark.parametrize("name", BEYOND_COUNTING)
def test_more_than_a_message_can_count_is_refused_like_the_rest(name: str) -> None:
    """Lengths have 16 bits: the compiler, in Rust, panics beyond them with what no `except Exception` catches."""
    error = refusal_of(BEYOND_COUNTING[name])

    assert error.code is ErrorCode.TRANSACTION_TOO_LARGE
    assert f"the network carries {PACKET_BYTES}" in error.message


@pytest.mark.parametrize("name", ["a byte too many", "an account too many", *BEYOND_COUNTING])
def test_what_is_too_large_asks_for_a_route_over_fewer_accounts(name: str) -> None:
    """However it is found out: another offer may fit."""
    accounts = [writable(key(f"account {number}")) for number in range(300)]
    others = {
        "a byte too many": [Instruction(MEMO, bytes(1_100), [])],
        "an account too many": [Instruction(MEMO, b"", accounts)],
    }
    table = Table(key("table"), [account.pubkey for account in accounts[:200]])
    error = refusal_of((others | BEYOND_COUNTING)[name], table)

    assert isinstance(error, Stale)
    assert (error.code, error.remedy) == (ErrorCode.TRANSACTION_TOO_LARGE, Remedy.LOWER_MAX_ACCOUNTS)


def test_a_table_beyond_what_an_index_can_name_is_refused() -> None:
    """Tables are not counted before they are compiled: an address that no byte can point at does not panic."""
    far = Table(key("table"), [key("pool")] * 70_000 + [ACCOUNTS[0]])
    error = refusal_of([Instruction(MEMO, b"", [readonly(ACCOUNTS[0])])], far)

    assert error.code is ErrorCode.TRANSACTION_TOO_LARGE


@given(st.integers(0, 40), st.integers(0, 60), st.integers(1, 12))
def test_nothing_that_fits_is_refused_before_it_is_compiled(data_bytes: int, accounts: int, count: int) -> None:
    """What is counted beforehand is less than the bytes that travel: only these decide."""
    instructions = [Instruction(MEMO, bytes(data_bytes), [readonly(WALLET)] * accounts)] * count
    header_bytes = 1 + 64 + 1 + 3 + 1 + 3 * 32 + 32 + 1 + 1  # signature, version, header, three keys, blockhash, two counts
    budget_bytes = (3 + 5) + (3 + 9)
    size = header_bytes + budget_bytes + count * (1 + 1 + accounts + 1 + data_bytes)

    if size <= PACKET_BYTES:
        assert len(to_wire(compiled(instructions), Signature.default())) == size
    else:
        assert refusal_of(instructions).code is ErrorCode.TRANSACTION_TOO_LARGE


@pytest.mark.parametrize("count", [254, 255, 300])
def test_more_accounts_than_a_message_can_name(count: int) -> None:
    """256 with payer and programs: a table does not help, since an index has one byte."""
    accounts = [key(f"account {number}") for number in range(count)]
    tables = [Table(key("table 1"), accounts[:200]), Table(key("table 2"), accounts[200:])]
    error = refusal_of([Instruction(MEMO, b"", [writable(account) for account in accounts])], *tables)

    assert error.code is ErrorCode.TRANSACTION_TOO_LARGE


@pytest.mark.parametrize("extra", [signing(key("stranger")), AccountMeta(key("stranger"), is_signer=True, is_writable=False)])
def test_only_the_payer_signs(extra: AccountMeta) -> None:
    """A second signer would be a transaction that we cannot complete, or one that somebody else decides about."""
    error = refusal_of([Instruction(MEMO, b"", [extra])])

    assert error.code is ErrorCode.TRANSACTION_FOREIGN


def test_a_table_with_two_contents_is_refused() -> None:
    """The message would name another account than what was verified; what was compiled is read back and compared."""
    first, second = Table(key("table"), ACCOUNTS[:3]), Table(key("table"), ACCOUNTS[2::-1])
    error = refusal_of([Instruction(MEMO, b"", [readonly(ACCOUNTS[0])])], first, second)

    assert error.code is ErrorCode.TRANSACTION_FOREIGN


def test_what_has_other_bytes_has_another_budget() -> None:
    """Limit and price are all that tells two equal swaps apart."""
    built = evolve(make_swap(SOL, USDC), lookup_tables=(Table(key("table"), [ata(WALLET, USDC)]),))
    wires = {
        to_wire(compile_message(built, evolve(BUDGET, unit_limit=limit), payer=WALLET, blockhash=BLOCKHASH), Signature.default())
        for limit in range(100_000, 100_050)
    }

    assert len(wires) == 50

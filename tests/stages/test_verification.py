"""Nothing unread is signed. A good transaction passes; whatever is changed in it that matters is refused.

The transactions come from the tests' own encoder (`tests/support/swaps.py`), which was written from the program's IDL.
"""

from collections.abc import Callable

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.compute_budget import request_heap_frame, set_compute_unit_limit, set_compute_unit_price
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from executor.errors import ErrorCode, Rejected
from executor.model import Built, Order, Token, Verified
from executor.programs import TOKEN_2022_PROGRAM
from executor.stages.verification import MAX_CREATED_ACCOUNTS, verify
from executor.units import minimum_out
from tests.support.swaps import (
    ASSOCIATED,
    EVENT_AUTHORITY,
    JUPITER,
    MEMO,
    PLAN,
    ROLES,
    SYSTEM,
    TOKEN,
    TOKEN_2022,
    WRAPPED_SOL,
    Kind,
    ata,
    built_of,
    close_account,
    create_ata,
    make_swap,
    position,
    readonly,
    signing,
    swap,
    swap_data,
    sync_native,
    transfer,
    with_account,
    with_data,
    with_instruction,
    writable,
)
from tests.support.values import BONK, SOL, TAXED, USDC, WALLET, key, make_order, make_quote, make_quoted

STRANGER = key("stranger")
PAIRS = [(SOL, USDC), (USDC, SOL), (USDC, BONK), (BONK, TAXED), (TAXED, SOL)]
V1 = [Kind.ROUTE, Kind.SHARED]
V2 = [Kind.ROUTE_V2, Kind.SHARED_V2]


def named(pair: tuple[Token, Token]) -> str:
    """How a test calls a pair."""
    return f"{pair[0].symbol}-{pair[1].symbol}"


def refusal_of(built: Built) -> str:
    """Why a transaction is refused; the test fails if it is not."""
    with pytest.raises(Rejected) as caught:
        verify(built, wallet=WALLET)
    assert caught.value.code is ErrorCode.TRANSACTION_FOREIGN
    return caught.value.message


def is_refused(built: Built) -> bool:
    """Whether a transaction is refused; anything but a refusal propagates."""
    try:
        verify(built, wallet=WALLET)
    except Rejected as error:
        return error.code is ErrorCode.TRANSACTION_FOREIGN
    return False


def with_swap(built: Built, *replacements: Instruction) -> Built:
    """Put other instructions in the place of the swap."""
    return with_instruction(built, position(built), *replacements)


def with_more(built: Built, *more: Instruction) -> Built:
    """Put instructions behind all others."""
    return evolve(built, instructions=(*built.instructions, *more))


def swapping(kind: Kind = Kind.SHARED, **fields: object) -> Built:
    """A transaction, 0.05 SOL for USDC, whose swap says something else than what was ordered."""
    return built_of(make_quoted(), kind, **fields)


# --- what is good ---


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("pair", PAIRS, ids=named)
def test_a_good_transaction_passes(kind: Kind, pair: tuple[Token, Token]) -> None:
    """All four kinds of swaps, SOL on either side, both token programs; the result is the proof of it."""
    built = make_swap(*pair, kind)

    assert verify(built, wallet=WALLET) == Verified(built=built)


FEE_ACCOUNT = key("fee account")


def paying(kind: Kind, **fields: object) -> Built:
    """A transaction of which 20 bps go to the order's fee account."""
    return built_of(make_quoted(make_order(fee_account=FEE_ACCOUNT), platform_fee_bps=20), kind, **fields)


@pytest.mark.parametrize("kind", V1)
def test_a_fee_account_that_was_asked_for_passes(kind: Kind) -> None:
    """With the share that the quote was asked with."""
    verify(paying(kind), wallet=WALLET)


@pytest.mark.parametrize("kind", V1)
def test_a_fee_account_without_a_fee_may_be_named_or_not(kind: Kind) -> None:
    """Where the configured share is nothing, nothing goes there; but still to nobody else."""
    quoted = make_quoted(make_order(fee_account=FEE_ACCOUNT))

    verify(built_of(quoted, kind), wallet=WALLET)
    verify(built_of(quoted, kind, platform_fee=JUPITER), wallet=WALLET)
    assert f"its platform fee account is {STRANGER}" in refusal_of(built_of(quoted, kind, platform_fee=STRANGER))


@pytest.mark.parametrize("kind", V2)
def test_a_route_without_a_place_for_the_fee_account_passes_without_a_fee(kind: Kind) -> None:
    """V2 does not show the account; without a share there is nothing to show."""
    verify(built_of(make_quoted(make_order(fee_account=FEE_ACCOUNT)), kind), wallet=WALLET)


@pytest.mark.parametrize("kind", Kind)
def test_what_is_better_than_asked_for_passes(kind: Kind) -> None:
    """A higher minimum: more quoted, or less slippage."""
    verify(swapping(kind, out_amount=6_100_000), wallet=WALLET)
    verify(swapping(kind, slippage_bps=0), wallet=WALLET)


@pytest.mark.parametrize("kind", [Kind.ROUTE, Kind.ROUTE_V2])
def test_a_destination_that_is_named_twice_passes(kind: Kind) -> None:
    """Where the optional one is our own account as well."""
    verify(swapping(kind, other_destination=ata(WALLET, USDC)), wallet=WALLET)


def test_both_token_programs_pass_where_the_route_meets_both() -> None:
    """The optional account of a shared route."""
    verify(swapping(Kind.SHARED, token_2022_program=TOKEN_2022), wallet=WALLET)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x01"])
def test_accounts_may_be_created_in_all_three_ways(data: bytes) -> None:
    """Create, create explicitly, create if missing; also with the rent sysvar that old clients add."""
    creation = create_ata(USDC, data=data)
    verify(with_more(make_swap(), creation), wallet=WALLET)
    old = Instruction(ASSOCIATED, data, [*creation.accounts, readonly(key("rent"))])
    verify(with_more(make_swap(), old), wallet=WALLET)


def test_a_memo_passes() -> None:
    """It moves nothing; signed by us or by nobody."""
    verify(with_more(make_swap(), Instruction(MEMO, b"hello", [signing(WALLET)]), Instruction(MEMO, b"", [])), wallet=WALLET)


@pytest.mark.parametrize("kind", Kind)
def test_the_minimum_is_the_quote_s_result(kind: Kind) -> None:
    """To the unit: slippage was counted there, and whatever the offer itself would allow does not count."""
    fitting = evolve(make_quoted(), minimum_out_amount=6_065_408)  # 6,080,000 less 24 bps
    strict = evolve(fitting, minimum_out_amount=6_065_409)

    verify(built_of(fitting, kind, out_amount=6_080_000, slippage_bps=24), wallet=WALLET)
    assert "is content with 6065408 out, the request with no less than 6065409" in refusal_of(
        built_of(strict, kind, out_amount=6_080_000, slippage_bps=24)
    )


@pytest.mark.parametrize("kind", Kind)
def test_slippage_is_not_counted_twice(kind: Kind) -> None:
    """An offer 26 bps below the expected price that may slip 50 more delivers less than the request allows."""
    quoted = evolve(make_quoted(out_amount=6_080_000), reference_out_amount=6_096_091, minimum_out_amount=6_065_611)

    assert "is content with 6049600 out, the request with no less than 6065611" in refusal_of(built_of(quoted, kind))
    verify(built_of(quoted, kind, slippage_bps=23), wallet=WALLET)


# --- what is not ---

BAD_SWAPS: dict[str, tuple[Built, str]] = {
    "another input amount": (swapping(in_amount=50_000_001), "swaps 50000001 instead of 50000000"),
    "a smaller input amount": (swapping(in_amount=49_999_999), "swaps 49999999 instead of 50000000"),
    "no input amount": (swapping(in_amount=0), "swaps 0 instead of 50000000"),
    "everything": (swapping(in_amount=2**64 - 1), "swaps 18446744073709551615 instead of"),
    "a minimum lower by one": (swapping(out_amount=6_096_090), "is content with 6065610 out"),
    "more slippage": (swapping(slippage_bps=51), "is content with"),
    "all slippage": (swapping(slippage_bps=10_000), "is content with 0 out"),
    "absurd slippage": (swapping(slippage_bps=65_535), "is content with 0 out"),
    "nothing quoted": (swapping(out_amount=0), "is content with 0 out"),
    "a fee": (swapping(platform_fee_bps=1), "takes a fee of 1 bps instead of 0"),
    "a fee of V2": (swapping(Kind.ROUTE_V2, platform_fee_bps=256), "takes a fee of 256 bps instead of 0"),
    "no slippage in our favour": (swapping(Kind.ROUTE_V2, positive_slippage_bps=1), "takes 1 bps of a better price"),
    "nor with shared accounts": (swapping(Kind.SHARED_V2, positive_slippage_bps=65_535), "takes 65535 bps of a better price"),
}
"""What the swap's data says."""


@pytest.mark.parametrize("name", BAD_SWAPS)
def test_a_swap_of_other_amounts_is_refused(name: str) -> None:
    """Each figure of the swap's data is held against the request."""
    built, reason = BAD_SWAPS[name]

    assert reason in refusal_of(built)


MATTERING = {
    "authority": "asks for the signature of",
    "source": "its source account is",
    "destination": "its destination account is",
    "other_destination": "its other destination is",
    "source_mint": "its source mint is",
    "destination_mint": "its destination mint is",
    "platform_fee": "its platform fee account is",
    "token_program": "its token program 0 is",
    "token_2022_program": "its token program 1 is",
    "source_token_program": "its token program 0 is",
    "destination_token_program": "its token program 1 is",
    "event_authority": "its event authority is",
    "program": "its program is",
}
INDIFFERENT = {"program_authority", "program_source", "program_destination"}
"""Jupiter's own accounts: the program checks them itself, and the minimum that reaches us is guarded either way."""


@pytest.mark.parametrize(("kind", "role"), [(kind, role) for kind in Kind for role in ROLES[kind] if role not in INDIFFERENT])
@pytest.mark.parametrize("account", [STRANGER, ata(STRANGER, USDC), ata(WALLET, BONK)], ids=["stranger", "foreign", "ours"])
def test_a_swap_of_other_accounts_is_refused(kind: Kind, role: str, account: Pubkey) -> None:
    """Every account by its role: a stranger's, and another one of ours as well."""
    assert MATTERING[role] in refusal_of(swapping(kind, **{role: account}))


@pytest.mark.parametrize("kind", Kind)
def test_another_authority_is_refused_even_if_it_does_not_sign(kind: Kind) -> None:
    """Whether it must sign is for the program to know; ours it must be."""
    good = make_swap(kind=kind)
    instruction = good.instructions[position(good)]
    accounts = list(instruction.accounts)
    accounts[ROLES[kind].index("authority")] = readonly(STRANGER)

    assert f"its authority is {STRANGER}" in refusal_of(with_swap(good, Instruction(JUPITER, instruction.data, accounts)))


@pytest.mark.parametrize("kind", V1)
def test_another_fee_account_than_the_request_s_is_refused(kind: Kind) -> None:
    """Also where a fee account was asked for; and a fee that goes to no account is not what was asked for either."""
    for account in (STRANGER, JUPITER, ata(WALLET, USDC)):
        assert f"its platform fee account is {account}" in refusal_of(paying(kind, platform_fee=account))


@pytest.mark.parametrize("kind", V1)
def test_a_fee_that_nobody_asked_for_has_no_account(kind: Kind) -> None:
    """A quote that takes a share though the order names no account: there is no right place for it."""
    quoted = make_quoted(platform_fee_bps=20)

    assert f"its platform fee account is {JUPITER}" in refusal_of(built_of(quoted, kind))
    assert f"its platform fee account is {STRANGER}" in refusal_of(built_of(quoted, kind, platform_fee=STRANGER))


@pytest.mark.parametrize("kind", V2)
def test_a_fee_is_not_paid_where_its_account_cannot_be_seen(kind: Kind) -> None:
    """V2 hands the fee account over behind the ones that are read: whose it is nobody could tell."""
    assert "does not show into which account the platform fee goes" in refusal_of(paying(kind))


DISCRIMINATORS = {
    "route_with_token_ledger": "96564774a75d0e68",
    "shared_accounts_route_with_token_ledger": "e6798f50779f6aaa",
    "exact_out_route": "d033ef977b2bed5c",
    "shared_accounts_exact_out_route": "b0d169a89a7d453e",
    "exact_out_route_v2": "9d8ab85215f4f324",
    "shared_accounts_exact_out_route_v2": "3560e5cad8bbfa18",
    "a SwapEvent": "40c6cde8260871e2",
    "the event tag": "e445a52e51cb9a1d",
    "zeros": "0000000000000000",
    "too short": "c1209b3341d69c",
    "none": "",
}


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_another_instruction_of_jupiter_s_is_refused(name: str) -> None:
    """Token ledgers swap whatever has arrived, exact-out has other amounts, and what is unknown is unknown."""
    discriminator = bytes.fromhex(DISCRIMINATORS[name])
    good = make_swap()
    data = good.instructions[position(good)].data

    assert "unknown instruction" in refusal_of(
        with_swap(good, with_data(good.instructions[position(good)], discriminator + data[8:] if discriminator else b""))
    )


@pytest.mark.parametrize("kind", Kind)
def test_data_that_is_cut_short_is_refused(kind: Kind) -> None:
    """Wherever it is cut, down to nothing: never an error of another kind, and never taken for good."""
    good = make_swap(kind=kind)
    instruction = good.instructions[position(good)]
    needed = len(instruction.data) - (len(PLAN) if kind.is_v2 else 0)

    for length in range(needed):
        assert is_refused(with_swap(good, with_data(instruction, instruction.data[:length])))
    shortest = 8 + kind.shared + (22 if kind.is_v2 else 4 + 19)
    assert "bytes of data" in refusal_of(with_swap(good, with_data(instruction, instruction.data[: shortest - 1])))


@pytest.mark.parametrize("kind", Kind)
def test_accounts_that_are_cut_short_are_refused(kind: Kind) -> None:
    """Every account that is read must be there."""
    good = make_swap(kind=kind)
    instruction = good.instructions[position(good)]

    for count in range(len(ROLES[kind])):
        short = Instruction(JUPITER, instruction.data, instruction.accounts[:count])
        assert f"only {count} accounts" in refusal_of(with_swap(good, short))


def create_account(lamports: int) -> Instruction:
    """The system program's first instruction, which moves lamports as well."""
    data = bytes(4) + lamports.to_bytes(8, "little") + (165).to_bytes(8, "little") + bytes(TOKEN)
    return Instruction(SYSTEM, data, [signing(WALLET), signing(STRANGER)])


def token_instruction(data: bytes, *accounts: Pubkey, program: Pubkey = TOKEN) -> Instruction:
    """Any instruction of a token program, authorised by us."""
    return Instruction(program, data, [*map(writable, accounts), signing(WALLET)])


U64 = (1).to_bytes(8, "little")
MINE = ata(WALLET, USDC)
FOREIGN: dict[str, Instruction] = {
    # System
    "a transfer to a stranger": transfer(1, STRANGER),
    "another wrapping": transfer(50_000_000),
    "a transfer that is not ours to make": transfer(50_000_000, source=STRANGER),
    "a transfer to ourselves": transfer(1, WALLET),
    "a transfer with a memo in it": Instruction(SYSTEM, transfer(50_000_000).data + b"x", list(transfer(1).accounts)),
    "half a transfer": Instruction(SYSTEM, transfer(50_000_000).data[:8], list(transfer(1).accounts)),
    "a transfer with a third account": Instruction(SYSTEM, transfer(1).data, [*transfer(1).accounts, readonly(STRANGER)]),
    "a transfer without accounts": Instruction(SYSTEM, transfer(1).data, []),
    "a new account": create_account(1),
    "an assignment": Instruction(SYSTEM, (1).to_bytes(4, "little") + bytes(STRANGER), [signing(WALLET)]),
    "a nonce": Instruction(SYSTEM, (4).to_bytes(4, "little"), [writable(STRANGER), readonly(STRANGER), signing(WALLET)]),
    "nothing of the system": Instruction(SYSTEM, b"", []),
    # Token
    "a token transfer": token_instruction(b"\x03" + U64, MINE, STRANGER),
    "a checked token transfer": token_instruction(b"\x0c" + U64 + b"\x06", MINE, USDC.mint, STRANGER),
    "an approval": token_instruction(b"\x04" + U64, MINE, STRANGER),
    "a new authority": token_instruction(b"\x06\x02\x01" + bytes(STRANGER), MINE),
    "a burn": token_instruction(b"\x08" + U64, MINE, USDC.mint),
    "a close of another account of ours": close_account(MINE),
    "a close to a stranger": close_account(target=STRANGER),
    "a close by a stranger": close_account(owner=STRANGER),
    "a close of a stranger's account": close_account(ata(STRANGER, SOL)),
    "a close with more to say": Instruction(TOKEN, b"\x09\x00", list(close_account().accounts)),
    "a close by several": Instruction(TOKEN, b"\x09", [*close_account().accounts, readonly(STRANGER)]),
    "a close without an owner": Instruction(TOKEN, b"\x09", list(close_account().accounts[:2])),
    "a sync of another account": sync_native(MINE),
    "a sync of a stranger's account": sync_native(STRANGER),
    "nothing of the token program": Instruction(TOKEN, b"", []),
    "a Token-2022 transfer": token_instruction(b"\x03" + U64, ata(WALLET, TAXED), STRANGER, program=TOKEN_2022),
    "a Token-2022 extension": token_instruction(b"\x1a\x01", TAXED.mint, program=TOKEN_2022),
    "a Token-2022 close": token_instruction(b"\x09", ata(WALLET, TAXED), STRANGER, program=TOKEN_2022),
    # Associated accounts
    "an account for a stranger": create_ata(USDC, owner=STRANGER),
    "an account at a stranger's cost": create_ata(USDC, payer=STRANGER),
    "a recovery": Instruction(ASSOCIATED, b"\x02", list(create_ata(USDC).accounts)),
    "an account of another mint": with_account(create_ata(USDC), 3, BONK.mint),
    "an account at another address": with_account(create_ata(USDC), 1, STRANGER),
    "an account of another token program": with_account(create_ata(USDC), 5, STRANGER),
    "an account of the other token program": with_account(create_ata(USDC), 5, TOKEN_2022_PROGRAM),
    "too few accounts for an account": Instruction(ASSOCIATED, b"\x01", list(create_ata(USDC).accounts[:5])),
    # Compute budget
    "a compute limit": set_compute_unit_limit(1_400_000),
    "a compute price": set_compute_unit_price(10**12),
    "a heap": request_heap_frame(32 * 1024),
    # Others
    "another program": Instruction(STRANGER, b"", []),
    "another program with our signature": Instruction(STRANGER, b"", [signing(WALLET)]),
    "a lookup table of our own": Instruction(
        Pubkey.from_string("AddressLookupTab1e1111111111111111111111111"), bytes(4), [signing(WALLET)]
    ),
    "a memo that a stranger signs": Instruction(MEMO, b"", [signing(STRANGER)]),
    "a sync that a stranger signs": Instruction(TOKEN, b"\x11", [AccountMeta(STRANGER, is_signer=True, is_writable=True)]),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("pair", [(SOL, USDC), (USDC, SOL), (USDC, BONK)], ids=named)
def test_a_foreign_instruction_is_refused(name: str, pair: tuple[Token, Token]) -> None:
    """Behind all others, before them, and in the middle, whatever the pair."""
    good = make_swap(*pair)
    for index in range(len(good.instructions) + 1):
        instructions = (*good.instructions[:index], FOREIGN[name], *good.instructions[index:])

        assert is_refused(evolve(good, instructions=instructions))


@pytest.mark.parametrize("pair", [(USDC, SOL), (USDC, BONK)], ids=named)
def test_only_a_swap_of_sol_wraps(pair: tuple[Token, Token]) -> None:
    """Lamports have no reason to move when the input is a token, not even into our own account."""
    order = make_order(*pair)

    assert "which was not asked for" in refusal_of(with_more(make_swap(*pair), transfer(order.in_amount)))


@pytest.mark.parametrize("lamports", [0, 1, 49_999_999, 50_000_001, 2**64 - 1])
def test_wrapping_another_amount_is_refused(lamports: int) -> None:
    """More would stay behind in the wrapped account; less would swap what was there before."""
    good = make_swap()

    assert f"wraps {lamports} lamports instead of 50000000" in refusal_of(
        with_instruction(good, position(good, SYSTEM), transfer(lamports))
    )


def test_a_swap_of_sol_must_wrap() -> None:
    """Otherwise it would swap wrapped SOL that was there before."""
    good = make_swap()

    assert "0 transfers of SOL, of which 1 can wrap the input" in refusal_of(with_instruction(good, position(good, SYSTEM)))


def test_there_is_exactly_one_swap() -> None:
    """Two, good each, would swap twice; none would pay a fee for nothing."""
    good = make_swap()

    assert "2 swaps instead of one" in refusal_of(with_more(good, good.instructions[position(good)]))
    assert "0 swaps instead of one" in refusal_of(with_swap(good))


def test_no_more_accounts_are_created_than_a_swap_can_need() -> None:
    """Each costs rent, even if it is ours."""
    good = make_swap(USDC, BONK)
    mints = [evolve(USDC, mint=key(f"mint {number}")) for number in range(MAX_CREATED_ACCOUNTS)]
    created = sum(instruction.program_id == ASSOCIATED for instruction in good.instructions)

    verify(with_more(good, *map(create_ata, mints[created:])), wallet=WALLET)
    assert "token accounts are created" in refusal_of(with_more(good, *map(create_ata, mints[created:]), create_ata(SOL)))


def test_everything_that_is_wrong_is_told() -> None:
    """An incident is understood from one message: index, program and reason of each, and what only shows over all."""
    built = with_more(swapping(in_amount=1, destination=STRANGER), transfer(7, STRANGER), set_compute_unit_limit(1))
    message = refusal_of(built)

    for reason in (
        f"instruction 4 ({JUPITER}): swaps 1 instead of 50000000; its destination account is {STRANGER}",
        f"instruction 6 ({SYSTEM}): transfers 7 lamports from {WALLET} to {STRANGER}, which was not asked for",
        "instruction 7 (ComputeBudget111111111111111111111111111111): a compute budget that is not ours",
        "2 transfers of SOL",
    ):
        assert reason in message


# --- amounts behind the amounts ---


def tail(order: Order, **changes: int) -> bytes:
    """The last 19 bytes of a good V1 swap, with changes."""
    amounts = {"in_amount": order.in_amount, "out_amount": 6_096_091, "slippage_bps": 50}
    return swap_data(Kind.SHARED, **(amounts | changes))[-19:]


@pytest.mark.parametrize("kind", V1)
@pytest.mark.parametrize("bad", [{"out_amount": 0}, {"slippage_bps": 10_000}, {"platform_fee_bps": 255}], ids=str)
@given(gap=st.binary(max_size=24))
def test_good_amounts_behind_bad_ones_are_refused(kind: Kind, bad: dict[str, int], gap: bytes) -> None:
    """The program reads its arguments from the start and ignores the rest: what pleases us at the end would not count."""
    good = make_swap(kind=kind)
    instruction = good.instructions[position(good)]
    head = instruction.data[:-19]
    data = head + tail(good.quoted.order, **bad) + gap + tail(good.quoted.order)

    assert "has the input amount twice" in refusal_of(with_swap(good, with_data(instruction, data)))


@given(st.sampled_from(V1), st.integers(1, 2**64 - 1), st.integers(1, 18))
def test_amounts_that_overlap_are_refused(kind: Kind, in_amount: int, shift: int) -> None:
    """Amounts that begin within the last 19 + n bytes for any n, also where the two share bytes."""
    order = make_order(in_amount=in_amount)
    good = built_of(make_quoted(order), kind)
    instruction = good.instructions[position(good)]
    data = bytearray(instruction.data[:-19] + bytes(shift) + tail(order))
    data[-19 - shift : -19 - shift + 8] = in_amount.to_bytes(8, "little")
    reads_well = bytes(data[-19:]) == tail(order)

    assert is_refused(with_swap(good, with_data(instruction, bytes(data)))) or not reads_well
    if shift >= 8:
        assert reads_well


def test_amounts_that_stand_in_front_of_v2_are_those_that_count() -> None:
    """V2 is read from its start, as the program does: what follows the plan is ignored by both."""
    for kind in V2:
        good = make_swap(kind=kind)
        instruction = good.instructions[position(good)]
        bad = swap_data(kind, in_amount=50_000_000, out_amount=0, slippage_bps=50)

        assert is_refused(with_swap(good, with_data(instruction, bad + instruction.data)))


# --- a node that lies ---


@pytest.mark.parametrize("account", [WALLET, MINE, WRAPPED_SOL, FEE_ACCOUNT])
def test_a_table_that_stands_for_our_own_accounts_is_refused(account: Pubkey) -> None:
    """What is at an index of a table is a node's word; the chain would put there what the table really holds.

    The caller's fee account as well: the fee would go to a stranger.
    """
    table = AddressLookupTableAccount(key("table"), [key("pool"), account])
    built = evolve(paying(Kind.SHARED), lookup_tables=(table,))

    assert f"the lookup table {table.key} stands for accounts of ours" in refusal_of(built)


def test_a_table_of_others_accounts_passes() -> None:
    """Pools, vaults, mints and programs: whatever Jupiter checks itself; and a fee account that is not this order's."""
    accounts = [key("pool"), key("vault 1"), USDC.mint, TOKEN, EVENT_AUTHORITY, FEE_ACCOUNT]

    verify(evolve(make_swap(), lookup_tables=(AddressLookupTableAccount(key("table"), accounts),)), wallet=WALLET)


# --- anything at all ---

KINDS, PAIR = st.sampled_from(Kind), st.sampled_from(PAIRS)


def limits(kind: Kind, data: bytes) -> tuple[bytes, int, int, int, int]:
    """Discriminator, input amount, minimum, fee and positive slippage: read at the places where they were written."""
    if kind.is_v2:
        at = 8 + kind.shared
        numbers = [
            data[at : at + 8],
            data[at + 8 : at + 16],
            data[at + 16 : at + 18],
            data[at + 18 : at + 20],
            data[at + 20 : at + 22],
        ]
    else:
        at = 8 + kind.shared + len(PLAN)
        numbers = [data[at : at + 8], data[at + 8 : at + 16], data[at + 16 : at + 18], data[at + 18 :], b""]
    in_amount, out_amount, slippage, fee, positive = (int.from_bytes(number, "little") for number in numbers)
    return data[:8], in_amount, minimum_out(out_amount, min(slippage, 10_000)), fee, positive


def is_no_worse(kind: Kind, old: bytes, new: bytes) -> bool:
    """Whether a swap's data still says what was asked for, or something better."""
    before, after = limits(kind, old), limits(kind, new)
    return after[:2] == before[:2] and after[2] >= before[2] and after[3:] == before[3:]


@given(KINDS, PAIR, st.data())
def test_any_byte_of_a_swap_that_matters(kind: Kind, pair: tuple[Token, Token], data: st.DataObject) -> None:
    """Change any byte of the swap: it is refused, unless what it says is as good as before; only the plan is Jupiter's own."""
    good = make_swap(*pair, kind)
    instruction = good.instructions[position(good)]
    at = data.draw(st.integers(0, len(instruction.data) - 1))
    changed = bytearray(instruction.data)
    changed[at] ^= data.draw(st.integers(1, 255))

    refused = is_refused(with_swap(good, with_data(instruction, bytes(changed))))

    assert refused != is_no_worse(kind, instruction.data, bytes(changed))


@given(KINDS, PAIR, st.data())
def test_any_byte_of_any_other_instruction_matters(kind: Kind, pair: tuple[Token, Token], data: st.DataObject) -> None:
    """Change, add or drop any byte of what surrounds the swap: it is refused, except between the two ways to create accounts."""
    good = make_swap(*pair, kind)
    index = data.draw(st.sampled_from([i for i, one in enumerate(good.instructions) if one.program_id != JUPITER]))
    instruction = good.instructions[index]
    changed = data.draw(
        st.one_of(
            st.tuples(st.integers(0, len(instruction.data) - 1), st.integers(1, 255)).map(
                lambda drawn: bytes(b ^ drawn[1] if i == drawn[0] else b for i, b in enumerate(instruction.data))
            ),
            st.binary(min_size=1, max_size=4).map(lambda more: instruction.data + more),
            st.integers(0, len(instruction.data) - 1).map(lambda length: instruction.data[:length]),
        )
    )
    still_creates = instruction.program_id == ASSOCIATED and changed in (b"", b"\x00", b"\x01")

    assert is_refused(with_instruction(good, index, with_data(instruction, changed))) != still_creates


@given(KINDS, PAIR, st.data())
def test_any_account_that_matters(kind: Kind, pair: tuple[Token, Token], data: st.DataObject) -> None:
    """Put a stranger in the place of any account: it is refused, except in the places that Jupiter or the chain check."""
    good = make_swap(*pair, kind)
    index = data.draw(st.integers(0, len(good.instructions) - 1))
    instruction = good.instructions[index]
    at = data.draw(st.integers(0, len(instruction.accounts) - 1))
    changed = with_instruction(good, index, with_account(instruction, at, STRANGER))
    if instruction.program_id == JUPITER:
        indifferent = at >= len(ROLES[kind]) or ROLES[kind][at] in INDIFFERENT
    else:
        indifferent = instruction.program_id == ASSOCIATED and at == 4  # the system program's place: the chain calls no other

    assert is_refused(changed) != indifferent


@given(KINDS, PAIR, st.data())
def test_no_stranger_signs(kind: Kind, pair: tuple[Token, Token], data: st.DataObject) -> None:
    """Ask for the signature of any account that is not ours: it is refused, wherever it stands."""
    good = make_swap(*pair, kind)
    index = data.draw(st.integers(0, len(good.instructions) - 1))
    instruction = good.instructions[index]
    accounts = list(instruction.accounts)
    at = data.draw(st.integers(0, len(accounts) - 1))
    accounts[at] = AccountMeta(accounts[at].pubkey, is_signer=True, is_writable=accounts[at].is_writable)
    changed = with_instruction(good, index, Instruction(instruction.program_id, instruction.data, accounts))

    if accounts[at].pubkey == WALLET:
        verify(changed, wallet=WALLET)
    else:
        assert f"asks for the signature of {accounts[at].pubkey}" in refusal_of(changed)


@given(KINDS, PAIR, st.data())
def test_another_program_changes_everything(kind: Kind, pair: tuple[Token, Token], data: st.DataObject) -> None:
    """The same words to another program are refused."""
    good = make_swap(*pair, kind)
    index = data.draw(st.integers(0, len(good.instructions) - 1))
    instruction = good.instructions[index]
    others = [p for p in (SYSTEM, TOKEN, ASSOCIATED, JUPITER, STRANGER) if p != instruction.program_id]
    program = data.draw(st.sampled_from(others))

    assert is_refused(with_instruction(good, index, Instruction(program, instruction.data, list(instruction.accounts))))


INSTRUCTIONS: st.SearchStrategy[Instruction] = st.builds(
    Instruction,
    st.sampled_from([SYSTEM, TOKEN, TOKEN_2022, ASSOCIATED, JUPITER, STRANGER]),
    st.binary(max_size=64) | st.sampled_from(Kind).flatmap(lambda k: st.binary(max_size=60).map(bytes.fromhex(k.value).__add__)),
    st.lists(
        st.builds(
            AccountMeta,
            st.sampled_from([WALLET, WRAPPED_SOL, MINE, STRANGER, JUPITER, EVENT_AUTHORITY]),
            st.booleans(),
            st.booleans(),
        ),
        max_size=16,
    ),
)


@given(st.lists(INSTRUCTIONS, max_size=5))
def test_nothing_breaks_the_reader(instructions: list[Instruction]) -> None:
    """Whatever a server sends in place of a swap is refused, in words; there is no third way."""
    order = make_order()
    built = evolve(built_of(make_quoted(order)), instructions=tuple(instructions))

    assert is_refused(built)


CHANGES: list[Callable[[Built], Built]] = [
    lambda built: with_swap(built, swap(built.quoted.order, make_quote(built.quoted.order, 6_000_000))),
    lambda built: with_swap(built, swap(evolve(built.quoted.order, output=BONK), built.quoted.quote)),
    lambda built: with_swap(built, swap(evolve(built.quoted.order, input=BONK), built.quoted.quote)),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_swap_of_another_order_is_refused(change: Callable[[Built], Built]) -> None:
    """A good swap, of a worse quote or of other tokens: an answer to another question."""
    assert is_refused(change(make_swap()))

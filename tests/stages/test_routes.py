"""Where the parts of a swap instruction stand: held against the tests' own encoder and against mainnet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from executor.model import Token
from executor.programs import JUPITER_PROGRAM
from executor.stages.routes import LAYOUTS, Route, decode_route, uses_shared_accounts
from tests.support.mainnet import (
    GLAM,
    GLAM_WALLET,
    ILKAMO,
    ILKAMO_WALLET,
    JUP,
    MAINNET_USDC,
    SWAPS,
    recorded_instructions,
    recorded_payer,
    recorded_swap,
)
from tests.support.swaps import JUPITER, ROLES, Kind, ata, swap_accounts, swap_data, with_data
from tests.support.values import SOL, make_order

U64, U16 = st.integers(0, 2**64 - 1), st.integers(0, 2**16 - 1)


def decoded(instruction: Instruction) -> Route:
    """A route that can be read."""
    route = decode_route(instruction)
    assert isinstance(route, Route), route
    return route


@pytest.mark.parametrize("kind", Kind)
def test_every_account_is_where_its_role_is(kind: Kind) -> None:
    """The indexes of each layout are those of the program's IDL, and a role that a kind has not is None."""
    layout = LAYOUTS[bytes.fromhex(kind.value)]
    roles = list(ROLES[kind])
    expected = {role: roles.index(role) if role in roles else None for role in set().union(*ROLES.values())}

    assert (layout.is_v2, layout.shared) == (kind.is_v2, kind.shared)
    assert layout.authority == expected["authority"]
    assert layout.source == expected["source"]
    assert layout.destination == expected["destination"]
    assert layout.other_destination == expected["other_destination"]
    assert layout.source_mint == expected["source_mint"]
    assert layout.destination_mint == expected["destination_mint"]
    assert layout.platform_fee == expected["platform_fee"]
    assert layout.event_authority == expected["event_authority"]
    assert layout.program == expected["program"] == len(roles) - 1
    assert list(layout.token_programs) == [
        index for index, role in enumerate(roles) if role.endswith(("token_program", "2022_program"))
    ]


def test_the_four_kinds_and_no_others_are_known() -> None:
    """Exact-in swaps whose amount stands in the instruction."""
    assert set(LAYOUTS) == {bytes.fromhex(kind.value) for kind in Kind}
    assert [uses_shared_accounts(Instruction(JUPITER, bytes.fromhex(kind.value), [])) for kind in Kind] == [
        False,
        True,
        False,
        True,
    ]
    assert not uses_shared_accounts(Instruction(JUPITER, b"", []))


@given(st.sampled_from(Kind), U64, U64, U16, st.integers(0, 255), U16, st.binary(max_size=60))
def test_amounts_are_read_whatever_the_plan(
    kind: Kind, in_amount: int, out_amount: int, slippage: int, fee: int, positive: int, steps: bytes
) -> None:
    """Plans have payloads of any length; the figures are read at the right place nevertheless."""
    data = swap_data(
        kind,
        in_amount=in_amount,
        out_amount=out_amount,
        slippage_bps=slippage,
        platform_fee_bps=fee,
        positive_slippage_bps=positive,
        plan=(1).to_bytes(4, "little") + steps,
    )
    route = decoded(Instruction(JUPITER, data, swap_accounts(kind, make_order())))

    assert (route.in_amount, route.quoted_out_amount, route.slippage_bps) == (in_amount, out_amount, slippage)
    assert (route.platform_fee_bps, route.positive_slippage_bps) == (fee, positive if kind.is_v2 else 0)
    assert route.accounts == tuple(meta.pubkey for meta in swap_accounts(kind, make_order()))


@given(st.sampled_from(Kind), st.binary(max_size=80), st.integers(0, 20))
def test_anything_is_read_or_named(kind: Kind, data: bytes, accounts: int) -> None:
    """A text says why something cannot be read; no error of another kind."""
    for prefix in (b"", bytes.fromhex(kind.value)):
        metas = [*swap_accounts(kind, make_order()), *swap_accounts(kind, make_order())][:accounts]
        assert isinstance(decode_route(Instruction(JUPITER, prefix + data, metas)), Route | str)


@given(st.sampled_from(Kind), st.integers(1, 2**64 - 1), st.binary(max_size=40))
def test_an_input_amount_before_the_one_that_is_read_is_seen(kind: Kind, in_amount: int, rest: bytes) -> None:
    """Exactly where a program that reads from the start could find amounts: behind the plan's length, before the end's."""
    good = swap_data(kind, in_amount=in_amount, out_amount=5, slippage_bps=1)
    accounts = swap_accounts(kind, make_order())
    doubled = decoded(Instruction(JUPITER, good + rest + good[-19:], accounts))
    wanted = in_amount.to_bytes(8, "little")
    earliest = 8 + kind.shared + 4
    seen = (good + rest + good[-19:]).find(wanted, earliest)

    assert doubled.may_swap(in_amount) == (not kind.is_v2 and seen < len(good + rest))
    assert not decoded(Instruction(JUPITER, good, accounts)).may_swap(in_amount) or good.find(wanted, earliest) < len(good) - 19


# --- mainnet ---


@pytest.mark.parametrize(
    ("name", "wallet", "target", "figures"),
    [
        (GLAM, GLAM_WALLET, MAINNET_USDC, (50_000_000, 6_096_091, 30, 0)),
        (ILKAMO, ILKAMO_WALLET, JUP, (100_000, 24_266, 250, 0)),
    ],
)
def test_recorded_answers_of_jupiter(name: str, wallet: Pubkey, target: Token, figures: tuple[int, ...]) -> None:
    """Shared routes of one hop and of two: amounts, our accounts, mints, no fee account."""
    instruction = recorded_swap(name)
    route = decoded(instruction)
    layout = route.layout

    assert uses_shared_accounts(instruction)
    assert (route.in_amount, route.quoted_out_amount, route.slippage_bps, route.platform_fee_bps) == figures
    assert route.accounts[layout.authority] == wallet
    assert route.accounts[layout.source] == ata(wallet, SOL)
    assert route.accounts[layout.destination] == ata(wallet, target)
    assert layout.source_mint is not None
    assert layout.platform_fee is not None
    assert route.accounts[layout.source_mint] == SOL.mint
    assert route.accounts[layout.platform_fee] == JUPITER_PROGRAM
    assert not route.may_swap(route.in_amount)


EXECUTED: dict[str, tuple[str, tuple[int, int, int, int, int]]] = {
    "metamask_swap_failed_transaction.json": ("route", (8_250_000_000, 8_250_000_000, 0, 0, 0)),
    "metamask_swap_sol_to_usdc.json": ("route", (991_250, 167_219, 15, 0, 0)),
    "rotki_route_v2_5yFvtkWX.json": ("route_v2", (1_984_309_890, 171_226_520, 50, 10, 0)),
    "rotki_shared_accounts_route_62osuRs2.json": ("shared_accounts_route", (117_958_294, 73_992_761, 3, 0, 0)),
}


@pytest.mark.parametrize("name", EXECUTED)
def test_swaps_that_were_executed(name: str) -> None:
    """Three kinds of routes as they landed: owner, mints, figures; no amount stands where it could be mistaken."""
    (instruction,) = [i for i in recorded_instructions(name) if i.program_id == JUPITER_PROGRAM]
    route = decoded(instruction)
    kind, figures = EXECUTED[name]

    assert route.layout.name == kind
    assert (
        route.in_amount,
        route.quoted_out_amount,
        route.slippage_bps,
        route.platform_fee_bps,
        route.positive_slippage_bps,
    ) == figures
    assert route.accounts[route.layout.authority] == recorded_payer(name)
    assert route.accounts[route.layout.program] == JUPITER_PROGRAM
    assert not route.may_swap(route.in_amount)


def test_an_exact_out_swap_is_unknown() -> None:
    """It was executed on mainnet, but it is none of ours: its amounts mean something else."""
    instructions = recorded_instructions("rotki_exact_out_route_s5sthr57.json")
    (instruction,) = [i for i in instructions if i.program_id == JUPITER_PROGRAM]

    assert decode_route(instruction) == "unknown instruction d033ef977b2bed5c"


@pytest.mark.parametrize("name", SWAPS)
def test_a_recorded_answer_with_more_behind_it_is_seen_through(name: str) -> None:
    """The true amounts are still before the false ones."""
    good = recorded_swap(name)
    amounts = decoded(good)

    assert decoded(with_data(good, good.data + good.data[-19:])).may_swap(amounts.in_amount)

"""Addresses and token account data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from executor.programs import (
    JUPITER_EVENT_AUTHORITY,
    JUPITER_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
    associated_token_address,
    parse_token_account,
)
from tests.support.chain import token_account_data
from tests.support.recorded import recorded
from tests.support.values import USDC, WALLET, key

WALLETS = {
    "HeL5m28kD42iRcmxFWCdYqkMbAzFRWyukidwNNZGBEt": "glam_451027533_sol_usdc_v1_2026-09-27.json",
    "BXzmfHxfEMcMj8hDccUNdrwXVNeybyfb2iV2nktE1VnJ": "ilkamo_with_jito_tip.json",
}


@pytest.mark.parametrize(("wallet", "name"), list(WALLETS.items()))
def test_associated_addresses_are_those_that_jupiter_creates(wallet: str, name: str) -> None:
    """Every account that a recorded answer creates is the one that we derive for the same wallet, mint and program."""
    created = 0
    for instruction in recorded("swap-instructions", name)["setupInstructions"]:
        if instruction["programId"] == "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL":
            _payer, account, owner, mint, _system, program = (Pubkey.from_string(a["pubkey"]) for a in instruction["accounts"])
            assert str(owner) == wallet
            assert associated_token_address(owner, mint, program) == account
            created += 1

    assert created == 2


def test_the_token_program_is_part_of_an_associated_address() -> None:
    """The same mint under the other program would be another account."""
    assert associated_token_address(WALLET, USDC.mint, TOKEN_PROGRAM) != associated_token_address(
        WALLET, USDC.mint, TOKEN_2022_PROGRAM
    )


def test_jupiters_event_authority_is_derived_from_its_program() -> None:
    """The constant is the one address that Anchor derives."""
    assert Pubkey.find_program_address([b"__event_authority"], JUPITER_PROGRAM)[0] == JUPITER_EVENT_AUTHORITY


@pytest.mark.parametrize("program", [TOKEN_PROGRAM, TOKEN_2022_PROGRAM])
@given(amount=st.integers(0, 2**64 - 1), state=st.integers(0, 255), extra=st.integers(0, 40))
def test_a_token_account_is_read(program: Pubkey, amount: int, state: int, extra: int) -> None:
    """Mint, owner and amount under both programs; only state 1 can be traded with, neither a fresh nor a frozen one."""
    data = token_account_data(mint=USDC.mint, owner=WALLET, amount=amount, state=state) + bytes(extra)
    account = parse_token_account(program, data)

    assert account is not None
    assert (account.mint, account.owner, account.amount) == (USDC.mint, WALLET, amount)
    assert account.is_initialized == (state == 1)


@pytest.mark.parametrize("program", [SYSTEM_PROGRAM, JUPITER_PROGRAM, key("any")])
def test_another_programs_account_is_no_token_account(program: Pubkey) -> None:
    """Whatever its bytes look like: anybody may write such bytes into an account of their own."""
    assert parse_token_account(program, token_account_data(mint=USDC.mint, owner=WALLET, amount=1)) is None


@given(st.binary(max_size=164))
def test_what_is_too_short_is_no_token_account(data: bytes) -> None:
    """A mint (82 bytes), for one."""
    assert parse_token_account(TOKEN_PROGRAM, data) is None

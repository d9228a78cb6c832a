"""What a transaction did to the wallet: arithmetic over a node's table of balances."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.model import NATIVE_MINT
from executor.network.solana import BalanceSheet, TokenBalance
from executor.stages.changes import wallet_changes
from tests.support.sheets import Sheet
from tests.support.swaps import ata
from tests.support.values import BONK, SOL, TOKEN_ACCOUNT_RENT, USDC, WALLET, key

FEE, RENT = 7_500, TOKEN_ACCOUNT_RENT
STRANGER = key("stranger")


def test_sol_for_tokens_with_new_accounts() -> None:
    """The wrapped account comes and goes unseen, the new token account's rent moves from the wallet into an account of ours."""
    sheet = Sheet()
    sheet.lamports(WALLET, -50_000_000 - FEE - RENT)
    sheet.account(USDC, before=None, after=6_096_091)
    changes = wallet_changes(sheet.made(), wallet=WALLET)

    assert changes.of(SOL.mint, fee_lamports=FEE) == -50_000_000
    assert changes.of(USDC.mint, fee_lamports=FEE) == 6_096_091
    assert (changes.rent_lamports, changes.lamports) == (RENT, -50_000_000 - FEE)


def test_tokens_for_sol() -> None:
    """All lamports that come are the swap's, except the fee that goes."""
    sheet = Sheet()
    sheet.lamports(WALLET, 49_000_000 - FEE)
    sheet.account(USDC, before=6_096_091, after=0)
    changes = wallet_changes(sheet.made(), wallet=WALLET)

    assert changes.of(SOL.mint, fee_lamports=FEE) == 49_000_000
    assert changes.of(USDC.mint, fee_lamports=FEE) == -6_096_091
    assert changes.rent_lamports == 0


@pytest.mark.parametrize("wrapped", [0, 1, 98_306_134_746])
@pytest.mark.parametrize("swapped", [-50_000_000, 49_000_000])
def test_a_wrapped_account_that_was_there_before(wrapped: int, swapped: int) -> None:
    """It is closed with the swap: what was in it and its rent come to the wallet, which is no gain."""
    sheet = Sheet()
    sheet.lamports(WALLET, swapped + wrapped + RENT - FEE)
    sheet.account(SOL, before=wrapped, after=None)
    changes = wallet_changes(sheet.made(), wallet=WALLET)

    assert changes.of(SOL.mint, fee_lamports=FEE) == swapped
    assert changes.rent_lamports == -RENT
    assert changes.tokens == {NATIVE_MINT: -wrapped}


def test_a_wrapped_account_that_stays() -> None:
    """Its lamports are its amount and count once, wherever they are."""
    sheet = Sheet()
    sheet.lamports(WALLET, -FEE)
    sheet.account(SOL, before=100, after=40)
    changes = wallet_changes(sheet.made(), wallet=WALLET)

    assert (changes.of(SOL.mint, fee_lamports=FEE), changes.rent_lamports) == (-60, 0)


def test_the_accounts_of_others_do_not_count() -> None:
    """Neither their tokens nor their lamports; an owner that the node does not name is not us."""
    sheet = Sheet()
    sheet.lamports(WALLET, -FEE)
    sheet.lamports(STRANGER, 10**12)
    sheet.account(USDC, before=5, after=9, owner=STRANGER, at=ata(STRANGER, USDC))
    sheet.account(USDC, before=5, after=9, owner=None, at=key("nobody's"))
    changes = wallet_changes(sheet.made(), wallet=WALLET)

    assert (dict(changes.tokens), changes.lamports, changes.rent_lamports) == ({}, -FEE, 0)


def test_all_our_accounts_of_a_mint_are_added_up() -> None:
    """Not only the associated one."""
    sheet = Sheet()
    sheet.lamports(WALLET, -FEE)
    sheet.account(USDC, before=100, after=0)
    sheet.account(USDC, before=None, after=30, at=key("another of ours"))
    sheet.account(BONK, before=5, after=5)
    changes = wallet_changes(sheet.made(), wallet=WALLET)

    assert dict(changes.tokens) == {USDC.mint: -70, BONK.mint: 0}
    assert changes.of(key("unknown mint"), fee_lamports=FEE) == 0


def test_an_account_that_was_given_away_is_lost() -> None:
    """What it held is no longer ours, though it is all still there."""
    keys = (WALLET, ata(WALLET, USDC))
    rows = [TokenBalance(account_index=1, mint=USDC.mint, owner=owner, amount=100) for owner in (WALLET, STRANGER)]
    sheet = BalanceSheet(
        keys=keys, pre_lamports=(10, RENT), post_lamports=(10, RENT), pre_tokens=(rows[0],), post_tokens=(rows[1],)
    )

    assert dict(wallet_changes(sheet, wallet=WALLET).tokens) == {USDC.mint: -100}


AMOUNTS = st.none() | st.integers(0, 2**64 - 1)


@given(
    st.integers(-(10**12), 10**12),
    st.integers(0, 10**6),
    st.lists(st.tuples(AMOUNTS, AMOUNTS), min_size=3, max_size=3),
)
def test_any_flow_adds_up(swapped: int, fee: int, flows: list[tuple[int | None, int | None]]) -> None:
    """However accounts come, go, fill and empty: the swap's lamports and each mint's change are found, fee and rent put aside."""
    sheet, rent, wrapped = Sheet(), 0, 0
    for token, (before, after) in zip((SOL, USDC, BONK), flows, strict=True):
        if before is None and after is None:
            continue
        sheet.account(token, before=before, after=after)
        rent += RENT * ((after is not None) - (before is not None))
        if token is SOL:
            wrapped = (after or 0) - (before or 0)
    sheet.lamports(WALLET, swapped - fee - rent - wrapped)
    changes = wallet_changes(sheet.made(), wallet=WALLET)

    assert changes.swap_lamports(fee) == swapped == changes.of(SOL.mint, fee_lamports=fee)
    assert changes.rent_lamports == rent
    for token, (before, after) in zip((USDC, BONK), flows[1:], strict=True):
        assert changes.of(token.mint, fee_lamports=fee) == (after or 0) - (before or 0)

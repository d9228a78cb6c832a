"""The demo's reader of transactions: hand-made ones, and those of mainnet where they are at hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.cli.demo.movement import WRAPPED_SOL, Movement, read_movement
from tests.cli.demo_values import RENT, STRANGER, WALLET, Account, transaction
from tests.support.recorded import recorded, recorded_names

FEE = 7_500
PRIORITY = 2_500
amounts = st.integers(0, 2**64 - 1)
lamports = st.integers(0, 10**18)


def test_tokens_are_summed_over_the_wallets_own_accounts_only() -> None:
    """Two accounts of one mint add up, and what a pool or a stranger gains is not the wallet's."""
    movement = read_movement(
        transaction(
            {
                WALLET: Account((10**9, 10**9 - FEE)),
                "usdc-1": Account((RENT, RENT), WALLET, "usdc", (500, 100)),
                "usdc-2": Account((RENT, RENT), WALLET, "usdc", (0, 150)),
                "bonk": Account((RENT, RENT), WALLET, "bonk", (1, 91)),
                "vault": Account((RENT, RENT), STRANGER, "usdc", (1_000, 1_250)),
            },
            fee=FEE,
        ),
        WALLET,
    )
    assert movement == Movement(
        slot=77,
        failed=False,
        fee_lamports=FEE,
        priority_fee_lamports=PRIORITY,
        sol_lamports=0,
        rent_lamports=0,
        tokens={"usdc": -250, "bonk": 90},
    )
    assert [movement.of(mint) for mint in ("usdc", "bonk", "unknown", WRAPPED_SOL)] == [-250, 90, 0, 0]


def test_a_native_input_is_what_the_lamports_lack_beside_the_fee() -> None:
    """The account of wrapped SOL is made and closed within the transaction, so only the wallet's lamports show the leg."""
    paid = 250_000_000
    accounts = {
        WALLET: Account((10**9, 10**9 - FEE - paid)),
        "wsol": Account((0, 0)),
        "usdc": Account((RENT, RENT), WALLET, "usdc", (0, 30)),
    }
    movement = read_movement(transaction(accounts, fee=FEE), WALLET)
    assert (movement.of(WRAPPED_SOL), movement.of("usdc"), movement.rent_lamports) == (-paid, 30, 0)


def test_a_native_output_may_be_smaller_than_the_fee() -> None:
    """The wallet has fewer lamports after it, and the swap gave some all the same."""
    accounts = {WALLET: Account((10**9, 10**9 - FEE + 40)), "usdc": Account((RENT, RENT), WALLET, "usdc", (30, 0))}
    assert read_movement(transaction(accounts, fee=FEE), WALLET).of(WRAPPED_SOL) == 40


def test_rent_of_a_new_account_is_no_part_of_the_swap() -> None:
    """What the wallet puts into an account of its own is told as rent, and the SOL leg is free of it."""
    paid = 1_000
    accounts = {
        WALLET: Account((10**9, 10**9 - FEE - paid - RENT)),
        "usdc": Account((0, RENT), WALLET, "usdc", (None, 30)),
    }
    movement = read_movement(transaction(accounts, fee=FEE), WALLET)
    assert (movement.of(WRAPPED_SOL), movement.of("usdc"), movement.rent_lamports) == (-paid, 30, RENT)


def test_wrapped_sol_from_before_comes_home_without_being_a_gain() -> None:
    """Jupiter closes the account, so its SOL and its rent are the wallet's lamports afterwards: only 400 of them were swapped."""
    wrapped = 5_000
    accounts = {
        WALLET: Account((10**9, 10**9 - FEE + RENT + wrapped - 400)),
        "wsol": Account((RENT + wrapped, 0), WALLET, WRAPPED_SOL, (wrapped, None)),
        "usdc": Account((RENT, RENT), WALLET, "usdc", (0, 30)),
    }
    movement = read_movement(transaction(accounts, fee=FEE), WALLET)
    assert (movement.of(WRAPPED_SOL), movement.of("usdc"), movement.rent_lamports) == (-400, 30, -RENT)


def test_accounts_of_lookup_tables_stand_behind_those_of_the_message() -> None:
    """A wallet's token account may come from a table; its index counts on from the message's accounts."""
    accounts = {
        WALLET: Account((10**9, 10**9 - FEE - RENT)),
        "vault": Account((RENT, RENT), STRANGER, "usdc", (9, 2)),
        "usdc": Account((0, RENT), WALLET, "usdc", (None, 7)),
    }
    movement = read_movement(transaction(accounts, fee=FEE, loaded=["usdc"]), WALLET)
    assert (movement.of("usdc"), movement.rent_lamports, movement.of(WRAPPED_SOL)) == (7, RENT, 0)


def test_a_failed_transaction_costs_its_fee() -> None:
    """Nothing else moves, and it says that it failed."""
    found = transaction({WALLET: Account((10**9, 10**9 - FEE))}, fee=FEE, error={"InstructionError": [2, {"Custom": 6001}]})
    del found["meta"]["loadedAddresses"]  # a legacy transaction has none
    movement = read_movement(found, WALLET)
    assert (movement.failed, movement.fee_lamports, movement.of(WRAPPED_SOL), dict(movement.tokens)) == (True, FEE, 0, {})


@given(before=amounts, after=amounts, spent=lamports, rent=lamports, fee=st.integers(5_000, 10**6))
def test_every_amount_is_exact(before: int, after: int, spent: int, rent: int, fee: int) -> None:
    """Integers of any size: no unit is lost between the two sides."""
    start = 3 * 10**18
    accounts = {
        WALLET: Account((start, start - fee - spent - rent)),
        "usdc": Account((0, rent), WALLET, "usdc", (before, after)),
    }
    movement = read_movement(transaction(accounts, fee=fee), WALLET)
    assert (movement.of("usdc"), movement.of(WRAPPED_SOL), movement.rent_lamports) == (after - before, -spent, rent)
    assert movement.priority_fee_lamports == fee - 5_000


@pytest.mark.parametrize("name", recorded_names("get-transaction", but="EXPECTED.json"))
def test_recorded_transactions_give_what_they_really_did(name: str) -> None:
    """Of swaps on mainnet: fees, the payer's token amounts, and lamports that add up to the payer's own."""
    expected = recorded("get-transaction", "EXPECTED.json")[name]
    answer = recorded("get-transaction", name)
    payer = expected["payer"]
    movement = read_movement(answer["response"]["result"] if "response" in answer else answer, payer)
    tokens = {mint: amount for mint, amount in expected["payer_token_deltas"].items() if mint != WRAPPED_SOL}
    assert movement.failed == (expected["err"] is not None)
    assert movement.fee_lamports == expected["fee_lamports"]
    assert movement.priority_fee_lamports == expected["priority_fee_lamports(meta.fee-5000*sigs)"]
    assert {mint: amount for mint, amount in movement.tokens.items() if amount} == {m: a for m, a in tokens.items() if a}


def test_a_recorded_native_leg_is_exact_to_the_lamport() -> None:
    """A swap of 0.001 SOL on mainnet, whose wallet ends with more lamports: an account of wrapped SOL was closed on the way."""
    found = recorded("get-transaction", "metamask_swap_sol_to_usdc.json")
    movement = read_movement(found, "3xTPAZxmpwd8GrNEKApaTw6VH4jqJ31WFXUvQzgwhR7c")
    assert (movement.of(WRAPPED_SOL), movement.rent_lamports) == (-1_000_000, -RENT)

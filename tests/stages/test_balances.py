"""Whether the wallet can pay: the figures, the reservations, the fee account."""

import math
from typing import Any

import pytest
import trio
import trio.testing
from attrs import evolve
from solders.pubkey import Pubkey

from executor.config import FeeSettings
from executor.errors import Denied, ErrorCode, Rejected
from executor.model import Order, Token
from executor.network.solana import AccountInfo
from executor.programs import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from executor.risk.reservations import Reservations, Ticket
from executor.stages.balances import check_balances
from tests.support.chain import (
    FakeNode,
    accounts_by_address,
    accounts_reply,
    fake_nodes,
    mint_data,
    open_nodes,
    token_account_data,
    token_info,
    wallet_info,
)
from tests.support.swaps import WRAPPED_SOL, ata
from tests.support.upstream import Reset, rpc_error
from tests.support.values import BONK, SOL, TAXED, USDC, WALLET, key, make_order

FEES = FeeSettings()  # at most 10,000 lamports of priority fee, 5,000,000 in reserve
COSTS = 5_000 + 10_000
RESERVE = 5_000_000
RENT = 2_039_280


def make_node(lamports: int, **tokens: int) -> FakeNode:
    """A wallet with lamports and token accounts, by symbol."""
    node = FakeNode()
    node.held = {WALLET: wallet_info(lamports)}
    for token in (SOL, USDC, BONK, TAXED):
        if token.symbol in tokens:
            info = token_info(token.mint, WALLET, tokens[token.symbol], program=token.program)
            node.held[ata(WALLET, token)] = info
    return node


async def check(order: Order, node: FakeNode, *, books: Reservations | None = None, ticket: Ticket | None = None) -> Ticket:
    """Check an order; return the ticket that holds its worst case."""
    books, ticket = books or Reservations(), ticket or Ticket()
    await check_balances(order, wallet=WALLET, nodes=fake_nodes(node), reservations=books, ticket=ticket, fees=FEES)
    return ticket


async def denial(order: Order, node: FakeNode, books: Reservations | None = None) -> Denied:
    """Why an order is refused; nothing is held for it."""
    ticket = Ticket()
    with pytest.raises(Denied) as caught:
        await check(order, node, books=books, ticket=ticket)
    assert ticket.needs == {}
    return caught.value


# --- what it needs ---

EVERYTHING = {"SOL": 0, "USDC": 0}
CASES: list[tuple[Token, Token, dict[str, int], int]] = [
    (SOL, USDC, {}, 2 * RENT),
    (SOL, USDC, {"USDC": 0}, RENT),  # the wrapped account: its rent comes back, but must be there
    (SOL, USDC, EVERYTHING, 0),
    (SOL, TAXED, {"SOL": 0}, TAXED.account_rent_lamports),  # a larger account
    (USDC, SOL, {"USDC": 50_000_000}, RENT),
    (USDC, BONK, {"USDC": 50_000_000}, RENT),
    (USDC, BONK, {"USDC": 50_000_000, "BONK": 7}, 0),
    (TAXED, SOL, {"TAXED": 50_000_000, "SOL": 0}, 0),
]


@pytest.mark.parametrize(("source", "target", "held", "rent"), CASES)
async def test_to_the_last_lamport(
    source: Token, target: Token, held: dict[str, int], rent: int, autojump_clock: trio.testing.MockClock
) -> None:
    """Amount, signature, largest priority fee, rent of what is missing and the reserve: that passes, one less does not."""
    order = make_order(source, target)
    needed = COSTS + rent + (order.in_amount if source is SOL else 0)
    ticket = await check(order, make_node(needed + RESERVE, **held))
    denied = await denial(order, make_node(needed + RESERVE - 1, **held))

    assert ticket.needs[None] == needed
    assert ticket.needs.get(source.mint, 0) == (0 if source is SOL else order.in_amount)
    assert denied.code is ErrorCode.BALANCE_INSUFFICIENT


async def test_the_input_token_to_the_last_unit(autojump_clock: trio.testing.MockClock) -> None:
    """One less is refused; the figures are those of the token, as a person reads them."""
    order = make_order(USDC, SOL)
    await check(order, make_node(10**10, USDC=50_000_000))
    denied = await denial(order, make_node(10**10, USDC=49_999_999))

    assert denied.message == "the wallet cannot pay: needs 50 USDC, has 49.999999"


async def test_the_message_has_every_figure(autojump_clock: trio.testing.MockClock) -> None:
    """What is needed, what is there, what is held for others and what is kept; of both balances if both are short.

    For people in words, for programs in smallest units.
    """
    books = Reservations()
    with books.ticket() as other:
        books.hold(other, {None: 1_000_000, USDC.mint: 2_000_000})
        denied = await denial(make_order(USDC, SOL), make_node(3_000_000, USDC=51_000_000), books)

    assert denied.message == (
        "the wallet cannot pay: "
        "needs 0.00205428 SOL, has 0.003, 0.001 of it held for trades in flight, 0.005 of it kept in reserve; "
        "needs 50 USDC, has 51, 2 of it held for trades in flight"
    )
    assert denied.context == {
        "needed_lamports": 2_054_280,
        "balance_lamports": 3_000_000,
        "held_lamports": 1_000_000,
        "reserve_lamports": 5_000_000,
        "mint": USDC.mint,
        "needed_amount": 50_000_000,
        "balance_amount": 51_000_000,
        "held_amount": 2_000_000,
    }


@pytest.mark.parametrize("source", [SOL, USDC])
async def test_an_empty_wallet_has_nothing(source: Token, autojump_clock: trio.testing.MockClock) -> None:
    """No account at all is a balance of 0, not an error."""
    node = FakeNode()
    target = USDC if source is SOL else SOL
    denied = await denial(make_order(source, target), node)

    assert denied.code is ErrorCode.BALANCE_INSUFFICIENT
    assert ", has 0" in denied.message


async def test_what_lies_at_the_address_but_is_no_token_account_is_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """Lamports that somebody sent there are not tokens."""
    node = make_node(10**10)
    node.held[ata(WALLET, USDC)] = wallet_info(10**9)

    assert "needs 50 USDC, has 0" in (await denial(make_order(USDC, SOL), node)).message


# --- trades in flight ---


async def test_two_trades_never_count_on_the_same_lamports(autojump_clock: trio.testing.MockClock) -> None:
    """The first holds its worst case; when it has ended, what it did not spend is free again."""
    books, order = Reservations(), make_order()
    node = make_node(2 * (order.in_amount + COSTS) + RESERVE - 1, **EVERYTHING)
    with books.ticket() as first:
        await check(order, node, books=books, ticket=first)
        denied = await denial(order, node, books)

        assert denied.code is ErrorCode.BALANCE_INSUFFICIENT
    await trio.sleep(1)

    await check(order, node, books=books)


async def test_a_release_after_the_question_still_counts(autojump_clock: trio.testing.MockClock) -> None:
    """The balance was read while the other trade was open: it may not show what that one spent."""
    books, order = Reservations(), make_order()
    node = make_node(order.in_amount + COSTS + RESERVE, **EVERYTHING)
    node.takes_seconds = 2.0
    denials: list[Denied] = []

    async def late() -> None:
        denials.append(await denial(order, node, books))

    async with trio.open_nursery() as nursery:
        with books.ticket() as first:
            books.hold(first, {None: 1})
            nursery.start_soon(late)
            await trio.sleep(1)

    assert "held for trades in flight" in denials[0].message


async def test_other_tokens_are_not_in_the_way(autojump_clock: trio.testing.MockClock) -> None:
    """What is held of BONK says nothing of USDC."""
    books = Reservations()
    with books.ticket() as other:
        books.hold(other, {BONK.mint: 10**18})
        await check(make_order(USDC, SOL), make_node(10**10, USDC=50_000_000), books=books)


# --- the fee account ---

FEE_ACCOUNT = key("fee account")


def with_fee_account(info: AccountInfo | None, source: Token = SOL, target: Token = USDC) -> tuple[Order, FakeNode]:
    """An order that names a fee account, and a wallet that can pay it."""
    node = make_node(10**12, SOL=0, USDC=10**12, BONK=10**12, TAXED=10**12)
    if info is not None:
        node.held[FEE_ACCOUNT] = info
    return make_order(source, target, fee_account=FEE_ACCOUNT), node


@pytest.mark.parametrize(("source", "target"), [(SOL, USDC), (USDC, BONK), (BONK, USDC)])
async def test_a_fee_account_of_either_side_passes(source: Token, target: Token, autojump_clock: trio.testing.MockClock) -> None:
    """Whoever owns it."""
    order, node = with_fee_account(token_info(USDC.mint, key("partner"), 0), source, target)

    await check(order, node)


async def test_a_fee_account_of_token_2022_passes(autojump_clock: trio.testing.MockClock) -> None:
    """An account with extensions is one."""
    info = token_info(TAXED.mint, key("partner"), 0, program=TOKEN_2022_PROGRAM)
    order, node = with_fee_account(evolve(info, data=info.data + bytes(17)), SOL, TAXED)

    await check(order, node)


BAD_FEE_ACCOUNTS: dict[str, tuple[AccountInfo | None, str]] = {
    "missing": (None, "it does not exist"),
    "a wallet": (wallet_info(10**9), "it is not a token account (a wallet's address is not one"),
    "a mint": (AccountInfo(lamports=1, owner=TOKEN_PROGRAM, data=mint_data(decimals=6)), "it is not a token account"),
    "another program's": (
        AccountInfo(lamports=1, owner=key("p"), data=token_account_data(mint=USDC.mint, owner=WALLET, amount=0)),
        "it is not a token account",
    ),
    "fresh": (token_info(USDC.mint, key("partner"), 0, state=0), "it is not initialised, or frozen"),
    "frozen": (token_info(USDC.mint, key("partner"), 0, state=2), "it is not initialised, or frozen"),
    "of a third mint": (token_info(BONK.mint, key("partner"), 0), f"its mint is {BONK.mint}, which is neither"),
}


@pytest.mark.parametrize("name", BAD_FEE_ACCOUNTS)
async def test_a_fee_account_that_jupiter_would_not_take_is_refused(name: str, autojump_clock: trio.testing.MockClock) -> None:
    """With the reason, before anything is asked of Jupiter."""
    info, reason = BAD_FEE_ACCOUNTS[name]
    denied = await denial(*with_fee_account(info))

    assert denied.code is ErrorCode.FEE_ACCOUNT_INVALID
    assert f"fee_account {FEE_ACCOUNT} cannot be used: {reason}" in denied.message
    assert dict(denied.context) == {"fee_account": str(FEE_ACCOUNT)}


# --- over the wire ---


async def ask(order: Order, *steps: Any, forgotten_slot: int = 0) -> tuple[Rejected | None, list[Any]]:
    """Check an order against one node; return the refusal and the parameters of each call."""
    books = Reservations()
    with books.ticket() as old:
        books.settled(old, forgotten_slot)
    old.released_at = -math.inf
    with books.ticket():
        assert books.forgotten_slot == forgotten_slot
    async with open_nodes() as (nodes, (upstream,)):
        upstream.script("getMultipleAccounts", *steps)
        upstream.always("getMultipleAccounts", steps[-1])
        try:  # within: the server's nursery would wrap it
            await check_balances(order, wallet=WALLET, nodes=nodes, reservations=books, ticket=Ticket(), fees=FEES)
        except Rejected as error:
            return error, [request.json["params"] for request in upstream.requests]
        return None, [request.json["params"] for request in upstream.requests]


async def test_one_call_reads_all_at_confirmed() -> None:
    """Wallet, input, output, fee account, of a slot in which all forgotten trades are; transient faults are retried."""
    order = make_order(fee_account=FEE_ACCOUNT)
    held = {WALLET: wallet_info(10**12), FEE_ACCOUNT: token_info(USDC.mint, key("partner"), 0)}
    error, asked = await ask(order, Reset(), rpc_error(-32016, "behind"), accounts_by_address(held), forgotten_slot=4_711)

    assert error is None
    assert len(asked) == 3
    assert asked[2][0] == [str(WALLET), str(WRAPPED_SOL), str(ata(WALLET, USDC)), str(FEE_ACCOUNT)]
    assert (asked[2][1]["commitment"], asked[2][1]["minContextSlot"]) == ("confirmed", 4_711)


async def test_before_the_first_trade_any_slot_will_do() -> None:
    """No minimum, and no fee account where none is named."""
    _error, asked = await ask(make_order(), accounts_reply(wallet_info(10**12), None, None))

    assert asked[0][0] == [str(WALLET), str(WRAPPED_SOL), str(ata(WALLET, USDC))]
    assert "minContextSlot" not in asked[0][1]


async def test_no_answer_is_a_refusal_that_names_the_node() -> None:
    """Theirs, not ours: the wallet may well have enough."""
    error, asked = await ask(make_order(), Reset())

    assert error is not None
    assert error.code is ErrorCode.NODE_UNREACHABLE
    assert error.context["operation"] == "getMultipleAccounts"
    assert len(asked) == 4


def test_the_wallet_s_accounts_are_its_associated_ones() -> None:
    """A guard of the guard: the tests derive addresses on their own."""
    assert Pubkey.is_on_curve(WALLET)
    assert not Pubkey.is_on_curve(ata(WALLET, USDC))

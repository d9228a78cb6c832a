"""The wallet's balances, for people."""

import pytest
import trio
import trio.testing

from executor.chainstate.holdings import REFRESH_SECONDS, Holding, Holdings
from executor.chainstate.mints import Mints
from executor.config import TokenSettings
from executor.model import Token
from executor.network.solana import AccountInfo
from executor.programs import TOKEN_2022_PROGRAM
from tests.support.chain import FakeNode, fake_nodes, mint_data, token_info, wallet_info
from tests.support.events import RecordedLog
from tests.support.swaps import ata
from tests.support.values import BONK, SOL, TAXED, USDC, WALLET

TOKENS = (SOL, USDC, BONK, TAXED)


def make_holdings(node: FakeNode, *tokens: Token) -> Holdings:
    """A whitelist of these tokens, whose mints are on the chain."""
    for token in tokens:
        extensions = [(1, bytes(108))] if token is TAXED else None
        data = mint_data(decimals=token.decimals, extensions=extensions)
        node.held[token.mint] = AccountInfo(lamports=1, owner=token.program, data=data)
    whitelist = {token.mint: TokenSettings(symbol=token.symbol, mint=token.mint, max_amount=1) for token in tokens}
    nodes, log = fake_nodes(node), RecordedLog()
    return Holdings(nodes=nodes, wallet=WALLET, mints=Mints(nodes=nodes, whitelist=whitelist, log=log), log=log)


async def test_every_whitelisted_balance_is_read(autojump_clock: trio.testing.MockClock) -> None:
    """Of SOL the wallet's lamports, of the others the associated account; what is missing or no token account is 0."""
    node = FakeNode()
    holdings = make_holdings(node, *TOKENS)
    node.held |= {
        WALLET: wallet_info(5_000_000_000),
        ata(WALLET, USDC): token_info(USDC.mint, WALLET, 7),
        ata(WALLET, BONK): wallet_info(1),
        ata(WALLET, TAXED): token_info(TAXED.mint, WALLET, 2**64 - 1, program=TOKEN_2022_PROGRAM),
    }
    await holdings.mints.refresh()
    await holdings.refresh()
    amounts = [5_000_000_000, 7, 0, 2**64 - 1]

    assert holdings.current() == tuple(Holding(token=t, amount=a) for t, a in zip(TOKENS, amounts, strict=True))
    assert holdings.age_seconds() == 0.0

    del node.held[WALLET]
    await holdings.refresh()

    assert holdings.current()[0].amount == 0


async def test_it_waits_for_the_mints_and_keeps_old_values_with_their_age(autojump_clock: trio.testing.MockClock) -> None:
    """Before the mints are known there is nothing to read; when nodes fail, the old values stay and age."""
    node = FakeNode()
    holdings = make_holdings(node, SOL)
    node.held[WALLET] = wallet_info(5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(holdings.run)
        await trio.sleep(1)

        assert (holdings.current(), holdings.age_seconds(), node.calls) == ((), None, [])

        await holdings.mints.refresh()
        await trio.sleep(1)
        node.failing = True
        await trio.sleep(2 * REFRESH_SECONDS)

        assert [holding.amount for holding in holdings.current()] == [5]
        assert holdings.age_seconds() == pytest.approx(1 + 2 * REFRESH_SECONDS)
        nursery.cancel_scope.cancel()


async def test_nothing_is_read_while_no_mint_is_known(autojump_clock: trio.testing.MockClock) -> None:
    """A cluster without our tokens: no call, no age."""
    node = FakeNode()
    holdings = make_holdings(node)
    await holdings.refresh()

    assert (node.calls, holdings.age_seconds()) == ([], None)

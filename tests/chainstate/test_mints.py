"""What the chain says of the whitelisted tokens."""

from collections.abc import Sequence

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from executor.chainstate.mints import MintFacts, Mints, parse_mint
from executor.config import TokenSettings
from executor.faults import TransportError
from executor.model import Token
from executor.network.nodes import Nodes
from executor.network.solana import AccountInfo
from executor.programs import SYSTEM_PROGRAM, TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from tests.support.chain import (
    FakeNode,
    accounts_by_address,
    fake_nodes,
    mint_data,
    open_nodes,
    token_account_data,
    wallet_info,
)
from tests.support.events import RecordedLog
from tests.support.upstream import Received, Reply, rpc_result
from tests.support.values import SOL, TAXED, USDC, WALLET, key

TRANSFER_FEE = (1, bytes(108))
CLOSE_AUTHORITY = (3, bytes(32))
METADATA_POINTER = (18, bytes(64))


def mint_info(
    *, program: Pubkey = TOKEN_PROGRAM, decimals: int = 6, extensions: Sequence[tuple[int, bytes]] | None = None
) -> AccountInfo:
    """A mint's account."""
    return AccountInfo(lamports=1, owner=program, data=mint_data(decimals=decimals, extensions=extensions))


def make_mints(nodes: Nodes, *tokens: Token, log: RecordedLog | None = None) -> Mints:
    """A whitelist of these tokens."""
    whitelist = {token.mint: TokenSettings(symbol=token.symbol, mint=token.mint, max_amount=10**12) for token in tokens}
    return Mints(nodes=nodes, whitelist=whitelist, log=log or RecordedLog())


# --- one account ---


@pytest.mark.parametrize(
    ("extensions", "account_bytes"),
    [
        (None, 170),  # the account carries ImmutableOwner in any case
        ([], 170),
        ([TRANSFER_FEE], 182),
        ([CLOSE_AUTHORITY, TRANSFER_FEE, METADATA_POINTER], 182),
        ([CLOSE_AUTHORITY, METADATA_POINTER], 170),
        ([(14, bytes(64))], 175),  # TransferHook
        ([(9, b"")], 174),  # NonTransferable
        ([(26, bytes(33))], 174),  # Pausable
        ([TRANSFER_FEE, (14, bytes(64))], 187),
        ([(0, b""), TRANSFER_FEE], 170),  # type 0 ends the list
    ],
)
def test_the_size_of_a_token_2022_account(extensions: list[tuple[int, bytes]] | None, account_bytes: int) -> None:
    """A mint's extensions oblige its accounts to carry some of their own; 182 bytes with a transfer fee, as on mainnet."""
    info = mint_info(program=TOKEN_2022_PROGRAM, decimals=9, extensions=extensions)

    assert parse_mint(info) == MintFacts(9, TOKEN_2022_PROGRAM, account_bytes)


@pytest.mark.parametrize("decimals", [0, 6, 9, 255])
def test_an_ordinary_mint(decimals: int) -> None:
    """Its accounts have 165 bytes."""
    assert parse_mint(mint_info(decimals=decimals)) == MintFacts(decimals, TOKEN_PROGRAM, 165)


def token_account(mint: Pubkey, amount: int, program: Pubkey, suffix: bytes = b"") -> AccountInfo:
    """A token account whose owner has a 1 where a mint says that it is initialised."""
    owner = Pubkey.from_bytes(b"\x01" * 32)
    data = token_account_data(mint=mint, owner=owner, amount=amount) + suffix
    return AccountInfo(lamports=1, owner=program, data=data)


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (None, "does not exist on this cluster"),
        (wallet_info(5), "is not a mint"),
        (AccountInfo(lamports=1, owner=SYSTEM_PROGRAM, data=mint_data(decimals=6)), "is not a mint"),
        (AccountInfo(lamports=1, owner=TOKEN_PROGRAM, data=mint_data(decimals=6)[:81]), "is not a mint"),
        (token_account(USDC.mint, 5, TOKEN_PROGRAM), "is not a mint"),
        (token_account(TAXED.mint, 5, TOKEN_2022_PROGRAM, b"\x02" + bytes(16)), "is not a mint"),
        (AccountInfo(lamports=1, owner=TOKEN_PROGRAM, data=mint_data(decimals=6, initialized=False)), "is not initialised"),
    ],
)
def test_what_is_no_mint_is_told(info: AccountInfo | None, reason: str) -> None:
    """A config that names a wallet or a token account in place of a mint gets a sentence, not a token with wrong decimals."""
    found = parse_mint(info)

    assert isinstance(found, str)
    assert reason in found


@given(st.sampled_from([TOKEN_PROGRAM, TOKEN_2022_PROGRAM, SYSTEM_PROGRAM]), st.binary(max_size=400))
def test_no_account_breaks_the_reader(program: Pubkey, data: bytes) -> None:
    """Extensions that are cut short or lie about their length, too."""
    for raw in (data, mint_data(decimals=6, extensions=[]) + data):
        found = parse_mint(AccountInfo(lamports=1, owner=program, data=raw))
        assert isinstance(found, str) or found.account_bytes >= 165


# --- all of them ---


def rent(request: Received) -> Reply:
    """Mainnet's rent for any size."""
    return rpc_result((request.json["params"][0] + 128) * 6_960)


async def test_tokens_come_over_the_wire_once() -> None:
    """In the whitelist's order, with the rent of their accounts; what is known is not asked for again."""
    chain = {
        USDC.mint: mint_info(),
        SOL.mint: mint_info(decimals=9),
        TAXED.mint: mint_info(program=TOKEN_2022_PROGRAM, decimals=9, extensions=[TRANSFER_FEE]),
    }
    async with open_nodes() as (nodes, (upstream,)):
        upstream.always("getMultipleAccounts", accounts_by_address(chain))
        upstream.always("getMinimumBalanceForRentExemption", rent)
        mints = make_mints(nodes, SOL, USDC, TAXED)
        before = (mints.get(SOL.mint), mints.known(), mints.loaded.is_set())
        await mints.refresh()
        await mints.refresh()

    assert before == (None, (), False)
    assert mints.known() == (SOL, USDC, TAXED)
    assert (mints.get(TAXED.mint), mints.missing(), mints.loaded.is_set()) == (TAXED, (), True)
    assert TAXED.account_rent_lamports == (182 + 128) * 6_960
    assert len(upstream.received("getMultipleAccounts")) == 1


async def test_an_unusable_mint_is_told_once_and_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    """The others can be traded meanwhile; when it appears on the chain, so can it."""
    node, log = FakeNode(), RecordedLog()
    node.held = {SOL.mint: mint_info(decimals=9)}
    mints = make_mints(fake_nodes(node), SOL, USDC, log=log)
    assert mints.problem(USDC.mint) == "was not read from any node yet"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mints.run)
        await trio.sleep(3.5)

        assert mints.known() == (SOL,)
        assert mints.missing() == ("USDC does not exist on this cluster",)
        assert [event["mint"] for event in log.named("mint.unusable")] == [str(USDC.mint)]

        node.held[USDC.mint] = wallet_info(1)
        await trio.sleep(1)

        assert "is not a mint" in mints.problem(USDC.mint)
        assert len(log.named("mint.unusable")) == 2

        node.held[USDC.mint] = mint_info()
        await trio.sleep(1)

        assert mints.known() == (SOL, USDC)
        nursery.cancel_scope.cancel()


async def test_nothing_is_loaded_while_no_node_answers(autojump_clock: trio.testing.MockClock) -> None:
    """The refresher goes on."""
    node = FakeNode()
    node.failing = True
    mints = make_mints(fake_nodes(node), SOL)
    with pytest.raises(TransportError):
        await mints.refresh()

    assert not mints.loaded.is_set()


async def test_a_long_whitelist_is_read_in_parts(autojump_clock: trio.testing.MockClock) -> None:
    """A node takes 100 addresses in one call."""
    node = FakeNode()
    tokens = [
        Token(
            mint=key(f"mint {n}"),
            symbol=f"T{n}",
            decimals=6,
            program=TOKEN_PROGRAM,
            account_rent_lamports=SOL.account_rent_lamports,
        )
        for n in range(250)
    ]
    node.held = {token.mint: mint_info() for token in tokens}
    mints = make_mints(fake_nodes(node), *tokens)
    await mints.refresh()

    assert mints.known() == tuple(tokens)
    asked = [call.asked for call in node.called("getMultipleAccounts")]
    assert [len(part) for part in asked if isinstance(part, tuple)] == [100, 100, 50]


def test_the_wallet_is_no_mint() -> None:
    """Nor known, nor a problem of the whitelist."""
    mints = make_mints(fake_nodes(FakeNode()), SOL)

    assert mints.get(WALLET) is None

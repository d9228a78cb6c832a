from collections.abc import Iterable
from fractions import Fraction
from itertools import permutations

import pytest
from solders.account import Account
from solders.address_lookup_table_account import AddressLookupTable
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import TransactionMetadata

from executor.localnet import tokens
from executor.localnet.cluster import Cluster
from executor.localnet.market import MIDDLE_TOKENS, USD_PRICES, Market, newest_reserves, worth
from executor.localnet.program import layout, swap_elf
from executor.localnet.quoting import QuoteRequest, best_route
from executor.localnet.tokens import BERN, BONK, SOL, TOKENS, USDC, Token
from executor.localnet.transactions import resolve
from tests.localnet.market_world import BareChain

PAIRS = list(permutations(TOKENS, 2))
OWNER = Keypair.from_seed(bytes([9]) * 32).pubkey()


@pytest.fixture
def market() -> Market:
    """A market whose trader has not traded yet."""
    return Market(seed=1)


@pytest.fixture
def chain(market: Market) -> BareChain:
    """The market's genesis, executed upon by the real runtime and the swap program."""
    return BareChain(market)


def pair_name(pair: tuple[Token, Token]) -> str:
    """How a pair is called in the list of tests."""
    return f"{pair[0].symbol}-{pair[1].symbol}"


def trades_of_slots(market: Market, chain: BareChain, slots: int) -> list[VersionedTransaction]:
    """Let the trader trade, each slot's trades landing before the next."""
    made: list[VersionedTransaction] = []
    for _ in range(slots):
        waiting: list[VersionedTransaction] = []
        market.trade(chain=chain, submit=waiting.append)
        for transaction in waiting:
            assert isinstance(chain.svm.send_transaction(transaction), TransactionMetadata)
        chain.svm.expire_blockhash()
        made += waiting
    return made


# ---- genesis


def test_genesis_is_the_same_whatever_the_seed_but_for_the_trader() -> None:
    """Addresses and balances are fixed, so that documents and tests may name them."""
    one, other = dict(Market(seed=1).genesis()), dict(Market(seed=2).genesis())

    shared = one.keys() & other.keys()

    assert all(one[key].data == other[key].data for key in shared)
    assert len(one) == len(other)
    assert len(one) - len(shared) == 8 * (1 + len(TOKENS))


def test_the_supply_of_a_mint_is_what_all_accounts_hold(market: Market) -> None:
    """Nothing exists that was not minted; the native mint has no supply of its own."""
    accounts = dict(market.genesis())
    held = dict.fromkeys(market.tokens, 0)
    for address, account in accounts.items():
        if account.owner in (layout.TOKEN_PROGRAM, layout.TOKEN_2022_PROGRAM) and address not in market.tokens:
            held[Pubkey(account.data[:32])] += tokens.token_amount(account)

    supply = {mint: int.from_bytes(accounts[mint].data[36:44], "little") for mint in market.tokens}

    assert supply == held | {SOL.mint: 0}


def test_every_pool_is_where_the_program_looks_for_it(market: Market) -> None:
    """A pool's data, address and vaults agree, and its vaults are rich from the start."""
    accounts = dict(market.genesis())

    for address, pool in market.pools.items():
        assert layout.PoolState.decode(bytes(accounts[address].data)) == pool.state
        assert accounts[address].owner == layout.PROGRAM_ID
        assert [tokens.token_amount(accounts[vault]) for _, vault in pool.vaults] == list(pool.reserves)


def test_the_lookup_tables_can_be_used_from_the_first_slot(market: Market) -> None:
    """Cluster and runtime resolve them at once, and no address stands in them twice."""
    accounts = dict(market.genesis())

    for table in market.tables:
        read = AddressLookupTable.deserialize(bytes(accounts[table.key].data))
        assert list(read.addresses) == list(table.addresses)
        assert (read.meta.last_extended_slot, read.meta.deactivation_slot) == (0, 2**64 - 1)
        assert len(set(table.addresses)) == len(table.addresses) <= 256


def test_a_wallet_is_funded_with_native_sol_and_token_accounts(market: Market) -> None:
    """SOL becomes lamports of the wallet itself, everything else an associated account."""
    accounts = dict(market.wallet_accounts(OWNER, {SOL.mint: 5, USDC.mint: 7, BERN.mint: 9}))

    assert accounts == {
        OWNER: Account(5, b"", tokens.SYSTEM_PROGRAM),
        tokens.associated_address(OWNER, USDC): tokens.token_account(USDC, owner=OWNER, amount=7),
        tokens.associated_address(OWNER, BERN): tokens.token_account(BERN, owner=OWNER, amount=9),
    }


def test_a_foreign_mint_cannot_be_funded(market: Market) -> None:
    """What the market does not know it does not invent."""
    with pytest.raises(KeyError):
        dict(market.wallet_accounts(OWNER, {OWNER: 1}))


# ---- prices


@pytest.mark.parametrize("pair", PAIRS, ids=pair_name)
def test_every_token_is_reached_from_every_other_in_at_most_two_hops(market: Market, pair: tuple[Token, Token]) -> None:
    """SOL and USDC stand in the middle; every path starts and ends at the tokens of the pair."""
    paths = market.paths(*pair, MIDDLE_TOKENS)

    assert paths
    for path in paths:
        assert (path[0].token_in, path[-1].token_out) == pair
        assert len(path) == 1 or (len(path) == 2 and path[0].token_out == path[1].token_in in MIDDLE_TOKENS)


def test_some_pairs_have_a_pool_of_their_own_and_a_way_around(market: Market) -> None:
    """So a router has something to choose."""
    assert {len(path) for path in market.paths(BONK, USDC, MIDDLE_TOKENS)} == {1, 2}


@pytest.mark.parametrize("pair", PAIRS, ids=pair_name)
def test_five_hundred_dollars_are_worth_five_hundred_dollars(market: Market, chain: BareChain, pair: tuple[Token, Token]) -> None:
    """Demo-sized trades pay pool and transfer fees and next to no price impact."""
    token_in, token_out = pair
    request = QuoteRequest(token_in=token_in, token_out=token_out, amount=worth(token_in, 500))

    route = best_route(request, market=market, reserves=newest_reserves(chain))

    dollars = route.amounts.out_amount * USD_PRICES[token_out] / token_out.raw(1)
    transfer_fees = sum(690 for token in pair if token == BERN)
    assert 500 * (1 - Fraction(transfer_fees + 130, 10_000)) < dollars < 500
    assert 0 < route.price_impact < Fraction(20, 10_000)


# ---- the trader


def test_the_trader_does_the_same_again_under_the_same_seed() -> None:
    """Two markets of one seed make byte for byte the same transactions; another seed makes others."""

    def made(seed: int) -> list[bytes]:
        market = Market(seed=seed)
        return [bytes(transaction) for transaction in trades_of_slots(market, BareChain(market), 20)]

    assert made(3) == made(3)
    assert not set(made(3)) & set(made(4))


def test_the_trader_moves_prices_but_not_away(market: Market, chain: BareChain) -> None:
    """Every trade is a real swap that lands; prices walk, stay near where they began, and the wallets never run dry."""
    trades = trades_of_slots(market, chain, 300)

    assert 300 < len(trades) < 600
    reserves = newest_reserves(chain)
    for pool in market.pools.values():
        one, other = (reserves(vault) for _, vault in pool.vaults)
        moved = Fraction(other * pool.reserves[0], one * pool.reserves[1]) - 1
        assert 0 < abs(moved) < Fraction(2, 100)


def test_the_traders_fees_are_those_of_a_market(market: Market, chain: BareChain) -> None:
    """Bids differ and are not all 0, so that recent prioritization fees have something to tell."""
    trades = trades_of_slots(market, chain, 60)

    prices = {resolve(trade, chain.svm.get_account, 0).budget.unit_price_micro_lamports for trade in trades}
    assert 0 in prices
    assert len(prices) > 5


def test_the_trader_gives_a_cluster_its_history() -> None:
    """Through a cluster's own door its trades land and succeed, and recent fees on a vault have something to tell."""
    market = Market(seed=6)
    cluster = Cluster(seed=6, unix_ns=lambda: 1_790_000_000 * 10**9)
    cluster.add_program(layout.PROGRAM_ID, swap_elf())
    for address, account in market.genesis():
        cluster.set_account(address, account)
    sent: list[VersionedTransaction] = []

    def submit(transaction: VersionedTransaction) -> None:
        sent.append(transaction)
        cluster.submit(transaction)

    for _ in range(80):
        cluster.tick()
        market.trade(chain=cluster, submit=submit)
    for _ in range(8):
        cluster.tick()

    landed = [cluster.transaction(transaction.signatures[0]) for transaction in sent]
    assert all(found is not None and found.execution.error is None for found in landed)
    (pool, *_) = market.pools.values()
    assert any(fee.micro_lamports for fee in cluster.recent_fees([pool.vaults[0][1]]))


def test_a_trader_without_money_does_not_trade(market: Market, chain: BareChain) -> None:
    """Where a wallet cannot pay, nothing is submitted."""
    holders = [address for address, account in market.genesis() if account.owner == tokens.SYSTEM_PROGRAM]
    for owner in holders:
        for token in TOKENS:
            empty = tokens.token_account(token, owner=owner, amount=0)
            chain.svm.set_account(tokens.associated_address(owner, token), empty)

    assert trades_of_slots(market, chain, 10) == []


def test_the_trader_leaves_pools_alone_that_are_too_small(market: Market, chain: BareChain) -> None:
    """A pool whose share of a trade rounds to nothing is not traded in."""
    drain(chain, market)

    assert trades_of_slots(market, chain, 10) == []


def drain(chain: BareChain, market: Market) -> None:
    """Leave one unit in every vault."""
    accounts: Iterable[tuple[Pubkey, Account]] = (
        (vault, tokens.token_account(token, owner=pool.address, amount=1))
        for pool in market.pools.values()
        for token, vault in pool.vaults
    )
    for address, account in accounts:
        chain.svm.set_account(address, account)

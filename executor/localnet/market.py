"""The localnet's market: pools of the swap program, what stands in the accounts at genesis, and a trader who moves the prices.

Every token is reached from every other over one or two hops, and some pairs both ways. No I/O and no clock: the chain is passed
in, and all chance comes from the seed.
"""

import functools
import hashlib
import random
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Final, Protocol

from attrs import frozen
from solders.account import Account
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from executor.localnet.formula import Hop, NotSwappable, route_exact_in
from executor.localnet.program.layout import (
    ASSOCIATED_TOKEN_PROGRAM,
    AUTHORITY_IDS,
    EVENT_AUTHORITY,
    PROGRAM_ID,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
    Leg,
    PoolState,
    RouteCall,
    RouteKind,
    program_authority,
)
from executor.localnet.tokens import (
    BERN,
    BONK,
    JITOSOL,
    RAY,
    SOL,
    SYSTEM_PROGRAM,
    TOKENS,
    USDC,
    Token,
    associated_address,
    invented_address,
    mint_account,
    program_account,
    token_account,
    token_amount,
)

POOL_LABEL: Final = "Localnet"
"""What the Jupiter API calls our program among the exchanges."""
ADDRESS_LOOKUP_TABLE_PROGRAM: Final = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")

USD_PRICES: Final = {
    SOL: Fraction(122),
    USDC: Fraction(1),
    BONK: Fraction("0.0000123"),
    JITOSOL: Fraction("152.5"),
    RAY: Fraction("1.5"),
    BERN: Fraction("0.0005"),
}
# The two tokens, the fee in bps, and the dollars that lie on each side at genesis.
POOLS: Final = (
    (SOL, USDC, 4, 6_000_000),
    (SOL, USDC, 25, 2_500_000),
    (JITOSOL, SOL, 5, 4_000_000),
    (BONK, SOL, 25, 1_500_000),
    (BONK, USDC, 25, 1_000_000),
    (RAY, SOL, 25, 1_200_000),
    (RAY, USDC, 25, 1_200_000),
    (BERN, SOL, 100, 500_000),
    (BERN, USDC, 100, 500_000),
)
MIDDLE_TOKENS: Final = (SOL, USDC)
"""Through which a route of two hops goes unless its caller allows any token."""

TRADER_WALLETS: Final = 8
TRADER_LAMPORTS: Final = SOL.raw(10_000)
TRADER_USD: Final = 2_000_000  # of each token in each wallet: enough that no walk of the prices empties one
TRADES_PER_SLOT: Final = 3  # at most; none to this many
TRADE_PPM: Final = (20, 400)  # of the pool's reserve; the price moves by twice that
LEAN_BPS: Final = 60  # so far from its first price, the trader only trades a pool back
TRADER_SLIPPAGE_BPS: Final = 300
TRADER_UNIT_LIMIT: Final = 120_000
TRADER_UNIT_PRICES: Final = (0, 1_000, 5_000, 10_000, 20_000, 40_000, 80_000, 200_000, 400_000)
"""Micro-lamports per compute unit, as they are seen on mainnet: mostly little, now and then much."""


class Chain(Protocol):
    """What the market asks of a cluster; `behind` is how many slots late the asker is."""

    def read(self, address: Pubkey, commitment: str, *, behind: int = 0) -> Account | None:
        """The account as it stands at a commitment."""
        ...

    def slot(self, commitment: str, *, behind: int = 0) -> int:
        """The newest slot of a commitment."""
        ...

    def latest_blockhash(self, commitment: str) -> tuple[Hash, int]:
        """The newest blockhash of a commitment and the last block height at which it is accepted."""
        ...


@frozen(kw_only=True)
class Pool:
    """A pool with its tokens, known before the chain exists; its reserves are what its vaults hold."""

    state: PoolState
    address: Pubkey
    tokens: tuple[Token, Token]
    reserves: tuple[int, int]
    """At genesis, in the order of the tokens."""

    @classmethod
    def of(cls, one: Token, other: Token, fee_bps: int, usd: int) -> "Pool":
        """A pool with so many dollars on each side."""
        programs = (one.program, other.program)
        state = PoolState.at_genesis(one.mint, other.mint, fee_bps=fee_bps, token_programs=programs)
        return cls(state=state, address=state.address, tokens=(one, other), reserves=(worth(one, usd), worth(other, usd)))

    @property
    def vaults(self) -> tuple[tuple[Token, Pubkey], ...]:
        """Where the reserves lie."""
        return tuple((token, self.state.vault(token.mint)) for token in self.tokens)


@frozen(kw_only=True)
class Step:
    """A pool in one direction: a hop before anyone has looked at the reserves."""

    pool: Pool
    token_in: Token
    token_out: Token
    vault_in: Pubkey
    vault_out: Pubkey

    @classmethod
    def through(cls, pool: Pool, token_in: Token) -> "Step":
        """The step that gives `token_in` to a pool."""
        one, other = pool.tokens
        token_out = other if token_in == one else one
        vault_in, vault_out = (pool.state.vault(token.mint) for token in (token_in, token_out))
        return cls(pool=pool, token_in=token_in, token_out=token_out, vault_in=vault_in, vault_out=vault_out)

    @property
    def leg(self) -> Leg:
        """The step as an instruction names it."""
        programs = {"in_token_program": self.token_in.program, "out_token_program": self.token_out.program}
        return Leg(pool=self.pool.state, in_mint=self.token_in.mint, **programs)

    def hop(self, reserves: Callable[[Pubkey], int]) -> Hop:
        """The step with the reserves that are found."""
        return Hop(
            reserve_in=reserves(self.vault_in),
            reserve_out=reserves(self.vault_out),
            fee_bps=self.pool.state.fee_bps,
            in_transfer_fee=self.token_in.transfer_fee,
            out_transfer_fee=self.token_out.transfer_fee,
        )


Path = tuple[Step, ...]
"""The steps of a route, one or two."""


def worth(token: Token, usd: int) -> int:
    """The raw amount of a token that dollars bought at genesis."""
    return int(usd / USD_PRICES[token] * 10**token.decimals)


def newest_reserves(chain: Chain, *, behind: int = 0) -> Callable[[Pubkey], int]:
    """Read the balances of vaults as they were last seen processed, each once."""

    @functools.cache
    def balance(vault: Pubkey) -> int:
        account = chain.read(vault, "processed", behind=behind)
        return token_amount(account) if account is not None else 0

    return balance


@frozen
class _Trade:
    """What the trader has made up its mind to do."""

    wallet: Keypair
    step: Step
    in_amount: int
    out_amount: int
    unit_limit: int
    unit_price_micro_lamports: int


class Market:
    """The tokens, the pools between them, and the trader."""

    def __init__(self, *, seed: int) -> None:
        self.tokens: Mapping[Pubkey, Token] = {token.mint: token for token in TOKENS}
        self.pools: Mapping[Pubkey, Pool] = {pool.address: pool for pool in (Pool.of(*facts) for facts in POOLS)}
        self._random = random.Random(f"market {seed}")  # noqa: S311 - a reproducible market, not a secret
        self._traders = [_trader_keypair(seed, number) for number in range(TRADER_WALLETS)]
        self._steps = [Step.through(pool, token) for pool in self.pools.values() for token in pool.tokens]
        self.tables = tuple(_lookup_tables(self.pools.values()))

    @property
    def traders(self) -> Sequence[Keypair]:
        """The wallets of the seeded trader."""
        return self._traders

    # ---- genesis

    def genesis(self) -> Iterable[tuple[Pubkey, Account]]:
        """Every account of the market: mints, pools and vaults, the shared authorities' accounts, lookup tables, the trader."""
        accounts = dict(self._holdings())
        supply: dict[Pubkey, int] = dict.fromkeys(self.tokens, 0)
        for account in accounts.values():
            if account.owner in (TOKEN_PROGRAM, TOKEN_2022_PROGRAM):
                supply[Pubkey(account.data[:32])] += token_amount(account)
        for mint, token in self.tokens.items():
            accounts[mint] = mint_account(token, supply=supply[mint])
        for table in self.tables:
            accounts[table.key] = _table_account(table.addresses)
        return accounts.items()

    def wallet_accounts(self, owner: Pubkey, amounts: Mapping[Pubkey, int]) -> Iterator[tuple[Pubkey, Account]]:
        """The accounts of a wallet that owns raw amounts by mint. SOL is native: the lamports of the wallet itself.

        Raises KeyError for a mint that the market does not know.
        """
        for mint, amount in amounts.items():
            if mint == SOL.mint:
                yield owner, Account(amount, b"", SYSTEM_PROGRAM)
            else:
                token = self.tokens[mint]
                yield associated_address(owner, token), token_account(token, owner=owner, amount=amount)

    def _holdings(self) -> Iterator[tuple[Pubkey, Account]]:
        for pool in self.pools.values():
            yield pool.address, program_account(PROGRAM_ID, pool.state.encode())
            for (token, vault), reserve in zip(pool.vaults, pool.reserves, strict=True):
                yield vault, token_account(token, owner=pool.address, amount=reserve)
        for authority in map(program_authority, AUTHORITY_IDS):
            for token in TOKENS:
                yield associated_address(authority, token), token_account(token, owner=authority, amount=0)
        for trader in self._traders:
            owner = trader.pubkey()
            yield owner, Account(TRADER_LAMPORTS, b"", SYSTEM_PROGRAM)
            for token in TOKENS:  # wrapped SOL too: a trader does not wrap for every trade
                yield associated_address(owner, token), token_account(token, owner=owner, amount=worth(token, TRADER_USD))

    # ---- routes

    @functools.cache  # noqa: B019 - a market lives as long as its process
    def paths(self, token_in: Token, token_out: Token, middle_tokens: Sequence[Token]) -> tuple[Path, ...]:
        """Every route of one hop, and of two hops through one of the middle tokens."""
        first = [step for step in self._steps if step.token_in == token_in]
        last = [step for step in self._steps if step.token_out == token_out]
        direct = [(step,) for step in first if step.token_out == token_out]
        double = [(a, b) for a in first for b in last if a.token_out == b.token_in and a.token_out in middle_tokens]
        return (*direct, *double)

    # ---- the trader

    def trade(self, *, chain: Chain, submit: Callable[[VersionedTransaction], object]) -> None:
        """Make this slot's trades: none to a few swaps of the trader's own wallets, signed, through `submit`."""
        reserves = newest_reserves(chain)
        blockhash, _ = chain.latest_blockhash("confirmed")
        for _ in range(self._random.randint(0, TRADES_PER_SLOT)):
            trade = self._next_trade(reserves)
            if trade is not None:
                submit(_sign(trade, blockhash))

    def _next_trade(self, reserves: Callable[[Pubkey], int]) -> _Trade | None:
        wallet = self._random.choice(self._traders)
        pool = self._random.choice(list(self.pools.values()))
        step = Step.through(pool, self._given_token(pool, reserves))
        in_amount = reserves(step.vault_in) * self._random.randint(*TRADE_PPM) // 1_000_000
        unit_limit = TRADER_UNIT_LIMIT + self._random.randrange(10_000)  # makes equal trades different transactions
        price = self._random.choice(TRADER_UNIT_PRICES)
        if in_amount > reserves(associated_address(wallet.pubkey(), step.token_in)):
            return None
        try:
            out_amount = route_exact_in([step.hop(reserves)], in_amount).out_amount
        except NotSwappable:
            return None
        return _Trade(wallet, step, in_amount, out_amount, unit_limit, price)

    def _given_token(self, pool: Pool, reserves: Callable[[Pubkey], int]) -> Token:
        """The one side or the other, the likelier the further the pool's price has moved that way: prices walk, but not away."""
        one, other = pool.tokens
        now = Fraction(reserves(pool.state.vault(other.mint)), reserves(pool.state.vault(one.mint)))
        dearer_bps = int((now / Fraction(pool.reserves[1], pool.reserves[0]) - 1) * 10_000)  # `one`, against genesis
        return one if self._random.randint(-LEAN_BPS, LEAN_BPS) < dearer_bps else other


def _trader_keypair(seed: int, number: int) -> Keypair:
    return Keypair.from_seed(hashlib.sha256(f"localnet trader {seed} {number}".encode()).digest())


def _sign(trade: _Trade, blockhash: Hash) -> VersionedTransaction:
    owner = trade.wallet.pubkey()
    swap = RouteCall(
        kind=RouteKind.ROUTE,
        user=owner,
        source=associated_address(owner, trade.step.token_in),
        destination=associated_address(owner, trade.step.token_out),
        legs=(trade.step.leg,),
        amount=trade.in_amount,
        quoted_amount=trade.out_amount,
        slippage_bps=TRADER_SLIPPAGE_BPS,
    )
    budget = [set_compute_unit_limit(trade.unit_limit), set_compute_unit_price(trade.unit_price_micro_lamports)]
    message = MessageV0.try_compile(owner, [*budget, swap.instruction], [], blockhash)
    return VersionedTransaction(message, [trade.wallet])


# ---- lookup tables


def _lookup_tables(pools: Iterable[Pool]) -> Iterator[AddressLookupTableAccount]:
    """One table for the pools and what every swap names, one for the shared authorities, as Jupiter has many tables."""
    programs = [PROGRAM_ID, EVENT_AUTHORITY, SYSTEM_PROGRAM, TOKEN_PROGRAM, TOKEN_2022_PROGRAM, ASSOCIATED_TOKEN_PROGRAM]
    mints = [token.mint for token in TOKENS]
    of_pools = [key for pool in pools for key in (pool.address, *(vault for _, vault in pool.vaults))]
    yield AddressLookupTableAccount(invented_address("lookup table 0"), [*programs, *mints, *of_pools])
    authorities = [program_authority(number) for number in AUTHORITY_IDS]
    shared = [key for owner in authorities for key in (owner, *(associated_address(owner, token) for token in TOKENS))]
    yield AddressLookupTableAccount(invented_address("lookup table 1"), shared)


def _table_account(addresses: Sequence[Pubkey]) -> Account:
    """A lookup table that was last extended in slot 0, is not being deactivated and can never change: it has no authority."""
    is_table, active, extended_slot, extended_from, no_authority = 1, 2**64 - 1, 0, 0, 0
    meta = struct.pack("<IQQBB34x", is_table, active, extended_slot, extended_from, no_authority)
    return program_account(ADDRESS_LOOKUP_TABLE_PROGRAM, meta + b"".join(map(bytes, addresses)))

"""A whole localnet without I/O: the cluster, the market on it, the nodes and the Jupiter API, and the faults ordered of them."""

import random
from collections.abc import Callable, Mapping

from attrs import field, frozen
from solders.account import Account
from solders.pubkey import Pubkey

from executor.localnet.cluster import Cluster, ClusterSettings, Commitment
from executor.localnet.faults import Faults
from executor.localnet.http import HttpRequest
from executor.localnet.jupiter import TARGET, JupiterApi
from executor.localnet.market import Market, worth
from executor.localnet.node import Exchange, Node
from executor.localnet.program import swap_elf
from executor.localnet.program.layout import PROGRAM_ID
from executor.localnet.token_data import is_token_account
from executor.localnet.tokens import SOL, SYSTEM_PROGRAM, TOKENS, Token
from executor.localnet.visit import NodeSettings
from executor.units import LAMPORTS_PER_SOL

FUNDED_LAMPORTS = 1_000 * LAMPORTS_PER_SOL
FUNDED_USD = 50_000
"""What a funded wallet gets of each token, at the prices of the genesis."""


def funded_amounts() -> dict[Pubkey, int]:
    """What a funded wallet gets of each token but SOL, raw."""
    return {token.mint: worth(token, FUNDED_USD) for token in TOKENS if token != SOL}


@frozen(kw_only=True)
class LocalnetSettings:
    """What a localnet consists of."""

    seed: int = 1
    nodes: int = 1
    trader: bool = True
    """A seeded trader moves the prices."""
    cluster: ClusterSettings = field(factory=ClusterSettings)
    node: NodeSettings = field(factory=NodeSettings)


class JupiterFace:
    """The Jupiter API as the server sees it: the last part of the path is what is called."""

    target = TARGET

    def __init__(self, api: JupiterApi) -> None:
        self._api = api

    def read(self, request: HttpRequest) -> Exchange:
        """Read a request without carrying it out."""
        return Exchange(operations=(request.path.rpartition("/")[2],), answer=lambda: self._api.answer(request))


class Localnet:
    """Everything that one process of `executor localnet` holds."""

    def __init__(self, settings: LocalnetSettings, *, unix_ns: Callable[[], int]) -> None:
        self.settings = settings
        self.faults = Faults()
        self.cluster = Cluster(seed=settings.seed, unix_ns=unix_ns, settings=settings.cluster)
        self.market = Market(seed=settings.seed)
        for address, account in self.market.genesis():
            self.cluster.set_account(address, account)
        self.cluster.add_program(PROGRAM_ID, swap_elf())
        self.nodes = tuple(
            Node(self.cluster, f"node-{i}", faults=self.faults, settings=settings.node) for i in range(settings.nodes)
        )
        self.jupiter = JupiterApi(
            market=self.market,
            chain=self.cluster,
            faults=self.faults,
            rng=random.Random(f"jupiter {settings.seed}"),  # noqa: S311 - a reproducible API, not a secret
            now_ns=unix_ns,
        )

    def step(self) -> None:
        """Let one slot pass, with what the trader does in it."""
        if self.settings.trader:
            self.market.trade(chain=self.cluster, submit=self.cluster.submit)
        self.cluster.tick()

    def fund(self, owner: Pubkey, *, lamports: int = 0, tokens: Mapping[Pubkey, int]) -> None:
        """Give lamports, and raw amounts of tokens by mint, to a wallet. Raises `KeyError` for a mint that is none of ours."""
        lamports += tokens.get(SOL.mint, 0)
        given = [(self.market.tokens[mint], amount) for mint, amount in tokens.items() if mint != SOL.mint]
        if lamports:
            held = self.cluster.read(owner, Commitment.PROCESSED) or Account(0, b"", SYSTEM_PROGRAM)
            self.cluster.set_account(owner, Account(held.lamports + lamports, held.data, held.owner))
        for token, amount in given:
            self._give(owner, token, amount)

    def fund_fully(self, owner: Pubkey) -> None:
        """Give a wallet SOL and every token, enough to trade for a long time."""
        self.fund(owner, lamports=FUNDED_LAMPORTS, tokens=funded_amounts())

    def _give(self, owner: Pubkey, token: Token, amount: int) -> None:
        for address, fresh in self.market.wallet_accounts(owner, {token.mint: amount}):
            held = self.cluster.read(address, Commitment.PROCESSED)
            if held is not None and is_token_account(held):
                self.cluster.set_account(address, _with_more(held, amount))
            else:
                self.cluster.set_account(address, fresh)


def _with_more(held: Account, amount: int) -> Account:
    data = bytes(held.data)
    total = int.from_bytes(data[64:72], "little") + amount
    return Account(held.lamports, data[:64] + total.to_bytes(8, "little") + data[72:], held.owner)

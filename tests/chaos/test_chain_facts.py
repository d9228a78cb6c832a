"""What is read of the chain for the checker is what the accounts on it say, whichever way it is read."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from executor.localnet.admin import PAGE_TRANSACTIONS, Admin
from executor.localnet.cluster import ClusterSettings
from executor.localnet.http import HttpRequest
from executor.localnet.token_data import read_token_account
from executor.localnet.tokens import BERN, JITOSOL, RAY, SOL, USDC, Token, associated_address
from executor.localnet.world import Localnet, LocalnetSettings
from tests.chaos.chain_facts import landings_of_cluster, landings_of_pages
from tests.chaos.checker import Landing, Swap
from tests.localnet.cluster_world import transfer

WALLET = Keypair.from_seed(bytes([11]) * 32)
OWNER = WALLET.pubkey()
NOW_NS = 1_795_000_000_000_000_000
AMOUNT = 1_000_000


class World:
    """A localnet in this process, and a wallet that trades on it without an executor."""

    def __init__(self) -> None:
        settings = LocalnetSettings(trader=False, cluster=ClusterSettings(skip_rate=0))
        self.localnet = Localnet(settings, unix_ns=lambda: NOW_NS)
        self.localnet.fund_fully(OWNER)
        self.step(3)

    def step(self, slots: int) -> None:
        """Let slots pass."""
        for _ in range(slots):
            self.localnet.step()

    def swap(self, source: Token, target: Token, *, slippage_bps: int = 100, **parameters: object) -> VersionedTransaction:
        """Ask Jupiter for a swap and sign it."""
        query = {"inputMint": source.mint, "outputMint": target.mint, "amount": AMOUNT, "slippageBps": slippage_bps}
        quote = self._jupiter("GET", "quote", query={name: str(value) for name, value in query.items()})
        body = {"userPublicKey": str(OWNER), "quoteResponse": quote, **parameters}
        unsigned = VersionedTransaction.from_bytes(base64.b64decode(self._jupiter("POST", "swap", body)["swapTransaction"]))
        return VersionedTransaction(unsigned.message, [WALLET])

    def land(self, transaction: VersionedTransaction) -> str:
        """Let it be confirmed; returns its signature."""
        self.localnet.cluster.submit(transaction)
        self.step(4)
        return str(transaction.signatures[0])

    def held(self, token: Token) -> int:
        """What the wallet has; of SOL in lamports, those in its token accounts included."""
        cluster = self.localnet.cluster
        if token == SOL:
            addresses = [OWNER, *(associated_address(OWNER, one) for one in (SOL, USDC, BERN, JITOSOL, RAY))]
            accounts = [cluster.read(address, "confirmed") for address in addresses]
            return sum(account.lamports for account in accounts if account)
        account = cluster.read(associated_address(OWNER, token), "confirmed")
        data = read_token_account(account) if account else None
        return data.amount if data else 0

    def landings(self) -> list[Landing]:
        """The wallet's, read both ways, which do not differ."""
        read = landings_of_cluster(self.localnet.cluster, OWNER)
        assert landings_of_pages(self._ask, OWNER) == read
        return read

    def _ask(self, body: Mapping[str, object]) -> Any:
        request = HttpRequest(method="POST", path="/admin/paid", body=json.dumps(body).encode())
        return json.loads(Admin(self.localnet).answer(request).body)

    def _jupiter(self, method: str, name: str, body: object = None, query: Mapping[str, str] | None = None) -> Any:
        request = HttpRequest(
            method=method,
            path=f"/swap/v1/{name}",
            query=query or {},
            headers={"content-type": "application/json"},
            body=json.dumps(body).encode(),
        )
        return json.loads(self.localnet.jupiter.answer(request).body)


@pytest.fixture
def world() -> World:
    """A localnet with a rich wallet."""
    return World()


@pytest.mark.parametrize(
    ("source", "target", "parameters"),
    [
        (SOL, USDC, {}),
        (USDC, SOL, {"useSharedAccounts": True}),
        (USDC, SOL, {"useSharedAccounts": False}),
        (JITOSOL, RAY, {"useSharedAccounts": True}),
        (SOL, RAY, {"useSharedAccounts": False, "trackingAccount": str(Pubkey.default())}),
        (USDC, BERN, {}),
        (BERN, SOL, {}),
    ],
)
def test_a_swap_is_read_as_the_accounts_have_changed(
    source: Token, target: Token, parameters: dict[str, Any], world: World
) -> None:
    """Whatever the route, wrapped or not, with a fee of the mint or without."""
    before = [world.held(token) for token in (source, target)]
    signature = world.land(world.swap(source, target, **parameters))
    after = [world.held(token) for token in (source, target)]
    (landing,) = world.landings()
    status = world.localnet.cluster.status(VersionedTransaction.from_bytes(bytes(_wire(world))).signatures[0])

    left, arrived = before[0] - after[0], after[1] - before[1]
    assert status is not None
    assert landing == Landing(
        signature=signature,
        slot=status.landing.slot,
        failed=False,
        swap=Swap(input_mint=str(source.mint), output_mint=str(target.mint), in_amount=AMOUNT),
        left=left - landing.fee_lamports if source == SOL else left,
        arrived=arrived + landing.fee_lamports if target == SOL else arrived,
        fee_lamports=landing.fee_lamports,
    )
    assert landing.left == AMOUNT
    assert landing.fee_lamports >= 5_000


def _wire(world: World) -> VersionedTransaction:
    (landed,) = world.localnet.cluster.paid_by(OWNER)
    return landed.resolved.transaction


def test_a_swap_that_reverted_has_moved_nothing_but_its_fee(world: World) -> None:
    """The price has moved on before it lands."""
    late = world.swap(USDC, SOL, slippage_bps=0)
    world.land(world.swap(USDC, SOL))
    signature = world.land(late)
    landing = world.landings()[-1]

    assert (landing.signature, landing.failed, landing.left, landing.arrived) == (signature, True, 0, 0)
    assert landing.swap == Swap(input_mint=str(USDC.mint), output_mint=str(SOL.mint), in_amount=AMOUNT)
    assert landing.fee_lamports >= 5_000


def test_what_holds_no_swap_is_told_without_one(world: World) -> None:
    """A transfer out of the wallet: no request explains it, and the checker says so."""
    cluster = world.localnet.cluster
    blockhash, _ = cluster.latest_blockhash("processed")
    message = MessageV0.try_compile(OWNER, [transfer(5, source=WALLET)], [], blockhash)
    signature = world.land(VersionedTransaction(message, [WALLET]))

    (landing,) = world.landings()
    assert (landing.signature, landing.swap, landing.left, landing.arrived) == (signature, None, 0, 0)


def test_only_confirmed_transactions_of_this_wallet_count(world: World) -> None:
    """A fork may drop the others; and those that were read already need not be read again."""
    first = world.land(world.swap(USDC, SOL))
    world.localnet.cluster.submit(world.swap(USDC, RAY))
    world.step(1)

    (landing,) = world.landings()
    assert landing.signature == first
    assert landings_of_cluster(world.localnet.cluster, OWNER, after_slot=landing.slot) == []
    assert landings_of_cluster(world.localnet.cluster, Pubkey.default()) == []


def test_pages_are_turned_until_there_are_no_more() -> None:
    """However many there are."""
    world = World()
    blockhash, _ = world.localnet.cluster.latest_blockhash("processed")
    count = PAGE_TRANSACTIONS + 1
    for lamports in range(count):
        message = MessageV0.try_compile(OWNER, [transfer(1_000_000 + lamports, source=WALLET)], [], blockhash)
        world.localnet.cluster.submit(VersionedTransaction(message, [WALLET]))
    world.step(4)

    assert len(world.landings()) == count

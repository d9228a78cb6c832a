"""A whole localnet in-process: wallets are funded, a swap quoted by Jupiter lands, equal seeds agree; the admin endpoint."""

import base64
import json
from typing import Any

import pytest
from solders.keypair import Keypair
from solders.transaction import VersionedTransaction

from executor.localnet.admin import Admin
from executor.localnet.cluster import ClusterSettings
from executor.localnet.http import HttpRequest
from executor.localnet.tokens import BERN, RAY, SOL, USDC, Token, associated_address, token_amount
from executor.localnet.world import JupiterFace, Localnet, LocalnetSettings
from tests.localnet.cluster_world import NOW_NS

WALLET = Keypair.from_seed(b"\7" * 32)
OWNER = WALLET.pubkey()
STEADY = LocalnetSettings(trader=False, nodes=2, cluster=ClusterSettings(skip_rate=0.0))
UNKNOWN_MINT = "7vfCXTUXx5WJV5JADk17DUJ4ksgau7utNKj4b963voxs"


def new_localnet(settings: LocalnetSettings = STEADY) -> Localnet:
    """A localnet with a clock that stands still."""
    return Localnet(settings, unix_ns=lambda: NOW_NS)


@pytest.fixture
def localnet() -> Localnet:
    """A localnet without a trader, in which every slot makes a block."""
    return new_localnet()


def held(localnet: Localnet, token: Token) -> int:
    """What the wallet has of a token."""
    account = localnet.cluster.read(associated_address(OWNER, token), "processed")
    return token_amount(account) if account is not None else 0


def lamports(localnet: Localnet) -> int:
    """The wallet's own lamports."""
    account = localnet.cluster.read(OWNER, "processed")
    return account.lamports if account is not None else 0


# --- funds and swaps ----------------------------------------------------------------------------------------------------------


def test_funds_add_up(localnet: Localnet) -> None:
    """Lamports and tokens come on top of what is there; SOL among the tokens means lamports; Token-2022 as well."""
    localnet.fund(OWNER, lamports=5 * 10**9, tokens={USDC.mint: 700, SOL.mint: 10**9})
    localnet.fund(OWNER, tokens={USDC.mint: 300, BERN.mint: 9})

    assert lamports(localnet) == 6 * 10**9
    assert (held(localnet, USDC), held(localnet, BERN), held(localnet, RAY)) == (1_000, 9, 0)


def test_a_wallet_can_be_funded_fully(localnet: Localnet) -> None:
    """SOL and some of every token."""
    localnet.fund_fully(OWNER)

    assert lamports(localnet) > 10**9
    assert all(held(localnet, token) > 0 for token in localnet.market.tokens.values() if token != SOL)


def test_an_unknown_mint_cannot_be_given(localnet: Localnet) -> None:
    """Only tokens of the market exist."""
    with pytest.raises(KeyError):
        localnet.fund(OWNER, tokens={OWNER: 1})


def test_a_quoted_swap_lands_for_what_was_quoted(localnet: Localnet) -> None:
    """From Jupiter's quote and transaction through a node's preflight into a block, to the unit."""
    localnet.fund(OWNER, lamports=5 * 10**9, tokens={USDC.mint: 50_000_000})
    localnet.step()
    face = JupiterFace(localnet.jupiter)
    query = {"inputMint": str(USDC.mint), "outputMint": str(RAY.mint), "amount": "40000000", "slippageBps": "50"}
    quoted = face.read(HttpRequest(method="GET", path="/swap/v1/quote", query=query))
    assert quoted.operations == ("quote",)
    quote = json.loads(quoted.answer().body)
    body = json.dumps({"userPublicKey": str(OWNER), "quoteResponse": quote}).encode()
    headers = {"content-type": "application/json"}
    swapped = face.read(HttpRequest(method="POST", path="/swap/v1/swap", headers=headers, body=body)).answer()
    unsigned = VersionedTransaction.from_bytes(base64.b64decode(json.loads(swapped.body)["swapTransaction"]))
    transaction = VersionedTransaction(unsigned.message, [WALLET])
    wire = base64.b64encode(bytes(transaction)).decode()
    localnet.nodes[1].call("sendTransaction", wire, {"encoding": "base64", "preflightCommitment": "processed"})
    localnet.step()

    assert held(localnet, RAY) == int(quote["outAmount"]) > 0
    assert held(localnet, USDC) == 10_000_000
    landed = localnet.cluster.transaction(transaction.signatures[0])
    assert landed is not None
    assert landed.execution.error is None
    assert landed.execution.return_data is not None
    assert int.from_bytes(landed.execution.return_data.data, "little") == held(localnet, RAY)


def test_equal_seeds_make_equal_localnets() -> None:
    """With a trader, skipped slots and forks, two localnets of one seed agree in state and prices; another seed differs."""

    def history(seed: int) -> list[Any]:
        settings = LocalnetSettings(seed=seed, cluster=ClusterSettings(skip_rate=0.1, fork_rate=0.1))
        localnet = new_localnet(settings)
        for _ in range(30):
            localnet.step()
        vaults = [vault for pool in localnet.market.pools.values() for _, vault in pool.vaults]
        reserves = [localnet.cluster.read(vault, "processed") for vault in vaults]
        return [localnet.cluster.latest_blockhash("processed"), localnet.cluster.counts, reserves]

    assert history(5) == history(5)
    assert history(5) != history(6)


def test_the_trader_makes_traffic() -> None:
    """Swaps land and prices move, and what they paid is seen in recent fees."""
    localnet = new_localnet(LocalnetSettings())
    for _ in range(40):
        localnet.step()
    pools = [str(pool.address) for pool in localnet.market.pools.values()]
    vaults = [str(vault) for pool in localnet.market.pools.values() for _, vault in pool.vaults]
    fees = localnet.nodes[0].call("getRecentPrioritizationFees", [*pools, *vaults])

    assert localnet.cluster.transaction_count > 20
    assert any(fee["prioritizationFee"] > 0 for fee in fees)


# --- the admin endpoint -------------------------------------------------------------------------------------------------------


class Ask:
    """The admin endpoint of a localnet."""

    def __init__(self, localnet: Localnet) -> None:
        self._admin = Admin(localnet)

    def __call__(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """The answer, which must have this status."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        reply = self._admin.answer(HttpRequest(method=method, path=f"/admin/{path}", body=raw))
        assert reply.status == status
        return json.loads(reply.body)


@pytest.fixture
def ask(localnet: Localnet) -> Ask:
    """The admin endpoint."""
    return Ask(localnet)


def test_admin_orders_faults(ask: Ask, localnet: Localnet) -> None:
    """Ordered, listed, withdrawn; what is wrong is named."""
    answer = ask("POST", "faults", {"target": "jupiter", "fault": {"kind": "stale-quote", "bps": 50}})
    assert answer == ask("GET", "faults")
    assert [order["fault"] for order in answer["orders"]] == [{"kind": "stale-quote", "bps": 50}]
    assert len(localnet.faults.in_force()) == 1
    assert ask("DELETE", "faults") == {"orders": []}

    refused = ask("POST", "faults", {"fault": {"kind": "lag", "slots": 0}}, status=400)
    assert refused["problems"] == ["order.fault.slots must lie between 1 and 1000, not 0"]


def test_admin_funds_wallets(ask: Ask, localnet: Localnet) -> None:
    """Lamports and tokens, both optional."""
    ask("POST", "fund", {"owner": str(OWNER), "lamports": 10**9, "tokens": {str(USDC.mint): 5}})
    ask("POST", "fund", {"owner": str(OWNER)})

    assert (lamports(localnet), held(localnet, USDC)) == (10**9, 5)


@pytest.mark.parametrize(
    ("path", "body", "problems"),
    [
        ("fund", {}, ["owner must be an address, not None"]),
        ("fund", 5, ["the body must be an object", "owner must be an address, not None"]),
        (
            "fund",
            {"owner": "x", "lamports": -1, "tokens": {"y": 1, UNKNOWN_MINT: "2", str(USDC.mint): 2**64}, "z": 0},
            [
                "z is unknown",
                "owner must be an address, not 'x'",
                "lamports must be an integer from 0 to 18446744073709551615, not -1",
                "tokens['y'] must be an address, not 'y'",
                f"tokens['{UNKNOWN_MINT}'] must be an integer from 0 to 18446744073709551615, not '2'",
                f"tokens['{UNKNOWN_MINT}'] is no token of this market",
                f"tokens['{USDC.mint}'] must be an integer from 0 to 18446744073709551615, not {2**64}",
            ],
        ),
        ("fund", {"owner": str(OWNER), "tokens": []}, ["tokens must be an object of raw amounts by mint"]),
        ("advance", {"slots": 2_001}, ["slots must be an integer from 0 to 2000, not 2001"]),
        ("advance", {"slots": True}, ["slots must be an integer from 0 to 2000, not True"]),
        (
            "fork",
            {"blocks": "1", "requeue": 1},
            ["blocks must be an integer from 0 to 100, not '1'", "requeue must be true or false, not 1"],
        ),
    ],
)
def test_admin_names_every_problem(ask: Ask, path: str, body: Any, problems: list[str]) -> None:
    """400 with all that is wrong with a request, and nothing is done."""
    before = ask("GET", "state")

    assert ask("POST", path, body, status=400)["problems"] == problems
    assert ask("GET", "state") == before


def test_admin_moves_time_and_drops_blocks(ask: Ask) -> None:
    """Slots pass at once; a fork drops what is not confirmed; the state tells all of it."""
    first = ask("GET", "state")
    later = ask("POST", "advance", {"slots": 40})
    assert later["clockSlot"] == first["clockSlot"] + 40
    assert later["slots"]["processed"] - later["slots"]["finalized"] == 32
    assert ask("POST", "advance", {})["clockSlot"] == first["clockSlot"] + 41
    assert ask("POST", "fork", {"blocks": 5, "requeue": True}) == {"droppedBlocks": 2}

    state = ask("GET", "state")
    assert state["droppedBlocks"] == 2
    assert state["nodes"] == [{"name": "node-0", "lagSlots": 0}, {"name": "node-1", "lagSlots": 0}]
    assert {token["symbol"] for token in state["tokens"]} == {"SOL", "USDC", "BONK", "JitoSOL", "RAY", "BERN"}


def test_admin_refuses_what_it_does_not_know(ask: Ask) -> None:
    """404 for a path, 405 for a method, 400 for what is no JSON."""
    assert ask("GET", "nothing", status=404)["error"] == "no such path"
    assert ask("PUT", "faults", status=405)["error"] == "no such method here"
    assert ask("POST", "fund", b"{", status=400)["error"] == "the body is no JSON"

"""A localnet as a process of its own, and what tests order of it and ask it, over plain HTTP as any stranger would.

`start_localnet` is used by fixtures of a whole session; a test gets a wallet of its own (`Localnet.new_wallet`), so that what it
does to balances is nobody else's business. Faults are of the whole localnet: the fixtures withdraw them before and after a test.
"""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import field, frozen
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from executor.localnet.tokens import TOKENS, Token, associated_address

START_SECONDS = 20.0
STOP_SECONDS = 5.0
CALL_SECONDS = 10.0
PLENTY_LAMPORTS = 1_000 * 10**9
PLENTY_UI = {"USDC": 50_000, "BONK": 1_000_000_000, "JitoSOL": 300, "RAY": 30_000, "BERN": 50_000_000}

BY_SYMBOL: Mapping[str, Token] = {token.symbol: token for token in TOKENS}


def mint(symbol: str) -> str:
    """The mint of a token of the market."""
    return str(BY_SYMBOL[symbol].mint)


@frozen(kw_only=True)
class Holdings:
    """What a wallet has, at `confirmed`: lamports of the wallet itself and raw amounts by symbol."""

    lamports: int
    tokens: Mapping[str, int]
    accounts_lamports: int
    """In the wallet's token accounts: rent, and what is wrapped."""


@frozen
class Localnet:
    """A localnet that runs."""

    nodes: tuple[str, ...]
    """URLs of its JSON-RPC nodes, called node-0, node-1 ..."""
    jupiter: str
    """Base URL of its Jupiter API."""
    admin: str
    process: "subprocess.Popen[str]" = field(repr=False)

    def order(self, kind: str, *, target: str = "*", operation: str = "*", count: int | None = 1, **fields: object) -> None:
        """Order a fault; a count of None makes it stand until `clear`."""
        order = {"target": target, "operation": operation, "count": count, "fault": {"kind": kind, **fields}}
        self._admin("POST", "faults", order)

    def clear(self) -> None:
        """Withdraw every fault."""
        self._admin("DELETE", "faults")

    def orders(self) -> list[dict[str, Any]]:
        """The faults that are still in force."""
        found: list[dict[str, Any]] = self._admin("GET", "faults")["orders"]
        return found

    def advance(self, slots: int = 1) -> None:
        """Let slots pass at once."""
        self._admin("POST", "advance", {"slots": slots})

    def fork(self, *, blocks: int = 1, requeue: bool = False) -> int:
        """Drop the newest blocks that are not confirmed; returns how many there were."""
        dropped: int = self._admin("POST", "fork", {"blocks": blocks, "requeue": requeue})["droppedBlocks"]
        return dropped

    def state(self) -> dict[str, Any]:
        """Slots, heights and counts."""
        found: dict[str, Any] = self._admin("GET", "state")
        return found

    def fund(self, owner: Pubkey, *, lamports: int = 0, tokens: Mapping[str, int] | None = None) -> None:
        """Give lamports, and raw amounts of tokens by symbol."""
        amounts = {mint(symbol): amount for symbol, amount in (tokens or {}).items()}
        self._admin("POST", "fund", {"owner": str(owner), "lamports": lamports, "tokens": amounts})

    def new_wallet(self, *, lamports: int = PLENTY_LAMPORTS, tokens: Mapping[str, int] | None = None) -> Keypair:
        """Make a wallet and give it plenty of everything, unless told what; returns when the chain has confirmed it."""
        keypair = Keypair()
        plenty = {symbol: amount * 10 ** BY_SYMBOL[symbol].decimals for symbol, amount in PLENTY_UI.items()}
        self.fund(keypair.pubkey(), lamports=lamports, tokens=plenty if tokens is None else tokens)
        self.advance(3)  # funds come with the newest block; two slots later it is confirmed
        return keypair

    def rpc(self, method: str, *params: object, node: int = 0) -> Any:
        """Ask a node. Faults strike this call, too."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer = fetch_json(self.nodes[node], body)
        assert "result" in answer, answer
        return answer["result"]

    def holdings(self, owner: Pubkey, commitment: str = "confirmed") -> Holdings:
        """Read a wallet's balances from the chain."""
        options = {"commitment": commitment, "encoding": "jsonParsed"}
        lamports: int = self.rpc("getBalance", str(owner), {"commitment": commitment})["value"]
        tokens: dict[str, int] = {}
        rent = 0
        accounts = {str(associated_address(owner, token)): token for token in TOKENS}
        infos = self.rpc("getMultipleAccounts", list(accounts), options)["value"]
        for token, info in zip(accounts.values(), infos, strict=True):
            if info is not None:
                rent += info["lamports"]
                tokens[token.symbol] = int(info["data"]["parsed"]["info"]["tokenAmount"]["amount"])
        return Holdings(lamports=lamports, tokens=tokens, accounts_lamports=rent)

    def transactions(self) -> int:
        """How many transactions stand on the newest fork. Without a trader they are all ours."""
        count: int = self.state()["transactions"]
        return count

    def token_account(self, owner: Pubkey, symbol: str) -> Pubkey:
        """Where a wallet keeps a token."""
        return associated_address(owner, BY_SYMBOL[symbol])

    def transaction(self, signature: str) -> dict[str, Any] | None:
        """A confirmed transaction, or None while no node tells it."""
        options = {"commitment": "confirmed", "maxSupportedTransactionVersion": 0, "encoding": "json"}
        found: dict[str, Any] | None = self.rpc("getTransaction", signature, options)
        return found

    def _admin(self, method: str, path: str, body: object = None) -> Any:
        return fetch_json(f"{self.admin}/{path}", body, method=method)


def fetch_json(url: str, body: object = None, *, method: str = "POST") -> Any:
    """Make one HTTP request and read its JSON."""
    data, headers = None if body is None else json.dumps(body).encode(), {"content-type": "application/json"}
    request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310 - http on 127.0.0.1
    with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:  # noqa: S310 - http on 127.0.0.1
        return json.loads(answer.read())


@contextmanager
def start_localnet(*, slot_ms: int, nodes: int = 2, seed: int = 1, extra: Sequence[str] = ()) -> Iterator[Localnet]:
    """Run a localnet on free ports, without a trader: only tests move prices, and no slot is skipped."""
    command = [
        sys.executable,
        "-m",
        "executor.localnet.process",
        "--json",
        "--rpc-port",
        "0",
        "--jupiter-port",
        "0",
        "--no-trader",
    ]
    command += ["--skip-rate", "0", "--slot-ms", str(slot_ms), "--nodes", str(nodes), "--seed", str(seed), *extra]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        urls = tuple(node["url"] for node in facts["nodes"])
        yield Localnet(urls, facts["jupiter"], facts["admin"], process)
    finally:
        process.terminate()
        process.communicate(timeout=STOP_SECONDS)

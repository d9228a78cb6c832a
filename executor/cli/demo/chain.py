"""The demo's own eyes on the chain: raw JSON-RPC to the node, past the daemon."""

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from executor.cli.demo.failure import DemoFailed
from executor.cli.demo.movement import Movement, read_movement
from executor.cli.demo.web import fetch

TOKEN_PROGRAMS = ("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA", "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
ASK_AGAIN_SECONDS = 0.05

Json = Any


@frozen(kw_only=True)
class Holdings:
    """Everything that a wallet has, at `confirmed`."""

    lamports: int
    """In the wallet itself."""
    in_accounts_lamports: int
    """In its token accounts, rent and wrapped SOL alike."""
    tokens: Mapping[str, int]
    """Raw amounts by mint."""


@frozen
class Chain:
    """A node, and the wallet that is looked at."""

    node_url: str
    wallet: str
    patience_seconds: float = 10.0
    """For a transaction: a node knows it some time after its status."""

    def movement(self, signature: str) -> Movement:
        """What a confirmed transaction did. Raises DemoFailed when the node does not know it."""
        options = {"encoding": "json", "commitment": "confirmed", "maxSupportedTransactionVersion": 0}
        deadline = time.monotonic() + self.patience_seconds
        while time.monotonic() < deadline:
            found = self._ask("getTransaction", [signature, options])
            if found is not None:
                return read_movement(found, self.wallet)
            time.sleep(ASK_AGAIN_SECONDS)
        raise DemoFailed(f"the node does not know the transaction {signature}, which the daemon says has landed")

    def holdings(self) -> Holdings:
        """What the wallet has now."""
        options = {"encoding": "jsonParsed", "commitment": "confirmed"}
        lamports = self._ask("getBalance", [self.wallet, options])["value"]
        in_accounts = 0
        tokens: dict[str, int] = defaultdict(int)
        for program in TOKEN_PROGRAMS:
            for row in self._ask("getTokenAccountsByOwner", [self.wallet, {"programId": program}, options])["value"]:
                facts = row["account"]["data"]["parsed"]["info"]
                in_accounts += row["account"]["lamports"]
                tokens[facts["mint"]] += int(facts["tokenAmount"]["amount"])
        return Holdings(lamports=lamports, in_accounts_lamports=in_accounts, tokens=dict(tokens))

    def _ask(self, method: str, params: list[Json]) -> Json:
        answer = fetch(self.node_url, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        if "error" in answer:
            raise DemoFailed(f"the node refuses {method}: {answer['error']}")
        return answer["result"]

"""What a demo plays on: a localnet and a daemon, each a process of its own, in a temporary folder, with a wallet made for it."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

from attrs import frozen

from executor.cli.client import CallFailed, Client, connect
from executor.cli.demo.children import EXECUTOR, Child, Children
from executor.cli.demo.failure import DemoFailed
from executor.cli.demo.plan import BOUGHT_SYMBOL, Token
from executor.cli.demo.web import fetch
from executor.cli.localnet_process import UNTIL_WE_END
from executor.cli.settings import read_config
from executor.config import TokenSettings
from executor.rpc import trade_executor_pb2 as pb
from executor.wallet.keystore import create_keypair_file

START_SECONDS = 45.0
"""For each process, on a machine that does other things as well."""
CALL_SECONDS = 5.0
LOOK_SECONDS = 0.05
DRAIN_SECONDS = 45.0
"""Above daemon.drain_timeout_seconds."""
LOCALNET_STOP_SECONDS = 10.0
FUNDED_LAMPORTS = 1_000 * 10**9
FUNDED_CENTS = 1_000_000
"""What the wallet gets of each token but SOL and the one that it has to buy: 10,000 dollars' worth."""
WALLET_FILE = "wallet.json"
CONFIG_FILE = "config.toml"

Json = Any


@frozen(kw_only=True)
class Localnet:
    """The localnet's process, and where it listens."""

    name: ClassVar[str] = "localnet"
    process: Child
    node_url: str
    """Where the chain itself is asked."""
    jupiter_url: str
    admin_url: str

    @property
    def daemon_node_url(self) -> str:
        """The node as the daemon is given it: ordered faults strike here."""
        return self.node_url

    def order(self, fault: Mapping[str, object]) -> None:
        """Order a fault, for the next call that it fits."""
        fetch(f"{self.admin_url}/faults", dict(fault))

    def orders_in_force(self) -> int:
        """How many ordered faults have not struck yet."""
        return len(fetch(f"{self.admin_url}/faults")["orders"])

    def fund(self, owner: str, *, lamports: int, tokens: Mapping[str, int]) -> None:
        """Give a wallet lamports, and raw amounts of tokens by mint."""
        fetch(f"{self.admin_url}/fund", {"owner": owner, "lamports": lamports, "tokens": dict(tokens)})

    def tokens(self) -> Json:
        """Symbol, mint and decimals of what is traded."""
        return fetch(f"{self.admin_url}/state")["tokens"]

    def quoted(self, source: str, amount: int, target: str) -> int:
        """What Jupiter gives for an amount, raw."""
        query = urlencode({"inputMint": source, "outputMint": target, "amount": amount})
        return int(fetch(f"{self.jupiter_url}/quote?{query}")["outAmount"])

    def close(self) -> None:
        """End it. Raises DemoFailed unless it ends in order and leaves no process behind."""
        self.process.stop(LOCALNET_STOP_SECONDS)


@frozen(kw_only=True)
class Stage:
    """Everything that runs, and what there is on it."""

    network: Localnet
    daemon: Child
    address: str
    """Where the daemon takes calls."""
    wallet: str
    tokens: tuple[Token, ...]

    def outcomes(self) -> pb.OutcomeCounts:
        """How many trades ended how, as the daemon has counted them. Raises DemoFailed."""
        with connect(self.address) as client:
            try:
                return client.status(timeout_seconds=CALL_SECONDS).outcomes
            except CallFailed as failure:
                raise DemoFailed(f"the daemon does not tell its status: {failure}") from failure

    def drain(self) -> None:
        """End the daemon by SIGTERM. Raises DemoFailed unless it ends in order and leaves no process behind."""
        self.daemon.stop(DRAIN_SECONDS)

    def close(self) -> None:
        """End the network in the same way."""
        self.network.close()


def set_up(children: Children, start_network: Callable[[Children], Localnet]) -> Stage:
    """Start everything, and return when the daemon allows trading. Raises DemoFailed."""
    wallet = str(create_keypair_file(children.folder / WALLET_FILE))
    network = start_network(children)
    whitelist = read_config(None).tokens
    tokens = _tokens(network, whitelist)
    funded = {token.mint: token.worth(FUNDED_CENTS) for token in tokens if token.symbol not in {"SOL", BOUGHT_SYMBOL}}
    network.fund(wallet, lamports=FUNDED_LAMPORTS, tokens=funded)
    daemon, address = _start_daemon(children, _config_text(children.folder, network, whitelist))
    return Stage(network=network, daemon=daemon, address=address, wallet=wallet, tokens=tokens)


def start_localnet(children: Children, *, slot_ms: int, seed: int) -> Localnet:
    """Start a localnet with a trader on free ports, and return when it listens. Raises DemoFailed."""
    options = ["--json", "--rpc-port", "0", "--jupiter-port", "0", "--slot-ms", str(slot_ms), "--seed", str(seed)]
    process = children.start("localnet", [*EXECUTOR, "localnet", UNTIL_WE_END, *options])
    facts = process.announcement(START_SECONDS)
    return Localnet(process=process, node_url=facts["nodes"][0]["url"], jupiter_url=facts["jupiter"], admin_url=facts["admin"])


def _tokens(network: Localnet, whitelist: Sequence[TokenSettings]) -> tuple[Token, ...]:
    """What the daemon may trade, with what ten dollars buy of each: by Jupiter's own quotes, dollars being USDC."""
    limits = {str(settings.mint): settings.max_amount for settings in whitelist}
    known = [token for token in network.tokens() if token["mint"] in limits]
    usdc = next(token for token in known if token["symbol"] == "USDC")
    ten_dollars = 10 * 10 ** int(usdc["decimals"])
    return tuple(
        Token(
            symbol=token["symbol"],
            mint=token["mint"],
            decimals=token["decimals"],
            ten_dollars=ten_dollars if token is usdc else network.quoted(usdc["mint"], ten_dollars, token["mint"]),
            max_amount=limits[token["mint"]],
        )
        for token in known
    )


def _start_daemon(children: Children, config: str) -> tuple[Child, str]:
    path = children.folder / CONFIG_FILE
    path.write_text(config, encoding="utf-8")
    process = children.start("daemon", [*EXECUTOR, "serve", "--config", str(path), "--json", UNTIL_WE_END])
    address = str(process.announcement(START_SECONDS)["grpc"])
    with connect(address) as client:
        wait_until_trading(client, process)
    return process, address


def wait_until_trading(client: Client, daemon: Child, *, seconds: float = START_SECONDS) -> None:
    """Return when the daemon allows trading. Raises DemoFailed with its reasons when it does not in that time."""
    deadline = time.monotonic() + seconds
    reason = "it does not answer"
    while time.monotonic() < deadline:
        daemon.require_alive(during="its start")
        try:
            status = client.status(timeout_seconds=CALL_SECONDS)
        except CallFailed as failure:
            reason = str(failure)
        else:
            if status.trading_allowed:
                return
            reason = "; ".join(status.not_allowed_because)
        time.sleep(LOOK_SECONDS)
    raise DemoFailed(f"the daemon does not trade {seconds:g} s after its start: {reason}")


def _config_text(folder: Path, network: Localnet, whitelist: Sequence[TokenSettings]) -> str:
    """Where it differs from the documented defaults: addresses, the wallet and the journal. The whitelist has no defaults."""
    tables = [
        "# Written by `executor demo`; every setting that is not here has its documented default.",
        _table("[grpc]", listen_address="127.0.0.1:0"),
        _table("[daemon]", data_directory=str(folder)),
        _table("[wallet]", keypair_path=str(folder / WALLET_FILE)),
        _table("[jupiter]", url=network.jupiter_url, api_key_env=""),
        _table("[[solana.nodes]]", name=network.name, url=network.daemon_node_url),
        *(_table("[[tokens]]", symbol=t.symbol, mint=str(t.mint), max_amount=t.max_amount) for t in whitelist),
    ]
    return "\n".join(tables)


def _table(head: str, **values: str | int) -> str:
    """A table of TOML, whose strings and integers are written as JSON's are."""
    return "\n".join([head, *(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()), ""])

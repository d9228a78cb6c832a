"""`executor localnet`: a whole localnet in a process of its own."""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from solders.pubkey import Pubkey

from executor.localnet.admin import ADMIN_PATH
from executor.localnet.cluster import ClusterSettings
from executor.localnet.export import CannotExport, Wallet, bank, write_export
from executor.localnet.faults import Faults
from executor.localnet.jupiter import BASE_PATH, JupiterApi
from executor.localnet.market import Chain, Market
from executor.localnet.remote import COMMITMENTS, vaults
from executor.localnet.world import FUNDED_LAMPORTS, JupiterFace, Localnet, LocalnetSettings, funded_amounts

if TYPE_CHECKING:
    from executor.localnet.server import Listener

DESCRIPTION = """\
Run a Solana cluster, its JSON-RPC nodes, a market and a Jupiter API on this machine.

Nothing leaves the machine and nothing costs anything: the cluster runs on LiteSVM, the tokens stand at their mainnet addresses,
and our own swap program stands at Jupiter's. Point `rpc` and `jupiter` URLs at the addresses that are printed.
"""
EPILOG = """\
Every port also answers under /admin/: GET state, GET/POST/DELETE faults, POST fund, POST advance, POST fork, POST paid.
For example, the next two quotes fail with 429:
  curl -d '{"target":"jupiter","operation":"quote","count":2,"fault":{"kind":"status","status":429}}' 127.0.0.1:8899/admin/faults
"""
WARM_UP_SLOTS = 160
"""Slots that pass before the ports open, so that there are finalized blocks and recent fees as on a chain that has long run."""
NODE_PORT_STEP = 10
"""Between the ports of two nodes: Jupiter's 8901 lies between the first two."""
LAST_PORT = 65_535
USAGE_ERROR = 2


NO_STDIN = "--until-stdin-closes needs a pipe, a socket or a terminal as stdin"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's flags."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = DESCRIPTION
    parser.epilog = EPILOG
    where = parser.add_argument_group("where it listens")
    where.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    where.add_argument(
        "--rpc-port",
        type=_port,
        default=8899,
        metavar="PORT",
        help=f"port of the first node, the others follow in steps of {NODE_PORT_STEP}; 0 takes free ones (default: %(default)s)",
    )
    where.add_argument(
        "--jupiter-port",
        type=_port,
        default=8901,
        metavar="PORT",
        help="port of the Jupiter API; 0 takes a free one (default: 8901)",
    )
    where.add_argument("--nodes", type=_count, default=1, metavar="N", help="how many JSON-RPC nodes to run (default: 1)")
    chain = parser.add_argument_group("how the cluster behaves")
    chain.add_argument(
        "--slot-ms",
        type=_slot_ms,
        default=400,
        metavar="MS",
        help="length of a slot; 0: only /admin/advance moves on (default: 400)",
    )
    chain.add_argument(
        "--skip-rate", type=_rate, default=0.05, metavar="SHARE", help="share of slots without a block (default: 0.05)"
    )
    chain.add_argument(
        "--fork-rate", type=_rate, default=0.0, metavar="SHARE", help="share of slots that drop a block (default: 0)"
    )
    chain.add_argument("--confirmed-after", type=_slots, default=2, metavar="SLOTS", help="slots until confirmed (default: 2)")
    chain.add_argument("--finalized-after", type=_slots, default=32, metavar="SLOTS", help="slots until finalized (default: 32)")
    chain.add_argument(
        "--seed",
        type=int,
        default=1,
        help="of all chance: equal seeds make equal skips, forks and traders (default: %(default)s)",
    )
    chain.add_argument("--no-trader", action="store_true", help="nobody but you trades: prices stand still")
    parser.add_argument(
        "--fund",
        type=_address,
        action="append",
        default=[],
        metavar="ADDRESS",
        help="give this wallet SOL and every token before the start; may be repeated",
    )
    parser.add_argument(
        "--until-stdin-closes",
        action="store_true",
        help="end also when stdin closes: given a pipe, with the process that holds its other end",
    )
    remote = parser.add_argument_group(
        "another node's chain", "Run no cluster: serve the Jupiter API over the pools of a node that has loaded an --export."
    )
    remote.add_argument("--node", type=_url, metavar="URL", help="of its JSON-RPC")
    remote.add_argument(
        "--node-commitment",
        choices=COMMITMENTS,
        default="processed",
        help="at which the pools are read (default: %(default)s)",
    )
    remote.add_argument(
        "--node-max-age-ms",
        type=_age_ms,
        default=200,
        metavar="MS",
        help="how old what a quote is made from may be (default: %(default)s)",
    )
    remote.add_argument(
        "--relay",
        action="store_true",
        help="also listen on --rpc-port and pass calls on to the node, so that faults can be ordered",
    )
    parser.add_argument(
        "--export",
        type=Path,
        metavar="DIR",
        help="write the genesis as files that Agave's solana-test-validator loads, with the wallets of --fund, and exit",
    )
    parser.add_argument("--json", action="store_true", help="print the addresses as one line of JSON once everything listens")


def run(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT, or until stdin closes where that is asked for; returns the exit code."""
    if arguments.export is not None:
        return _export(arguments)
    try:
        import aiohttp  # noqa: F401 - the one package that only this command needs
    except ImportError:
        return _fail("the localnet needs aiohttp: pip install 'live-trade-executor[localnet]'")
    if arguments.node is not None:
        return asyncio.run(_serve_remote(arguments))
    if arguments.relay:
        return _fail("--relay needs --node")
    if arguments.confirmed_after > arguments.finalized_after:
        return _fail("--confirmed-after must not exceed --finalized-after")
    last_port = _node_ports(arguments)[-1]
    if last_port > LAST_PORT:
        return _fail(f"{arguments.nodes} nodes from port {arguments.rpc_port} on would need port {last_port}")
    return asyncio.run(_serve(arguments))


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command of its own."""
    parser = argparse.ArgumentParser(prog="executor localnet")
    add_arguments(parser)
    return run(parser.parse_args(argv))


def _export(arguments: argparse.Namespace) -> int:
    funded = [
        Wallet(name=f"fund-{number}", address=owner, keypair=None, lamports=FUNDED_LAMPORTS, amounts=funded_amounts())
        for number, owner in enumerate(dict.fromkeys(arguments.fund))
    ]
    seed: int = arguments.seed
    try:
        write_export(arguments.export, market=Market(seed=seed), seed=seed, wallets=[bank(seed), *funded])
    except CannotExport as error:
        return _fail(str(error))
    return 0


def _stop_event(arguments: argparse.Namespace) -> asyncio.Event:
    """What ends the process; set by signals, and by stdin where that is asked for. Raises OSError (see `_heed_stdin`)."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if arguments.until_stdin_closes:
        _heed_stdin(stop)
    return stop


async def _serve_remote(arguments: argparse.Namespace) -> int:
    from executor.localnet.admin import RemoteAdmin
    from executor.localnet.remote_server import RELAY_NAME, Eyes, RelayFace, RemoteJupiterFace, Upstream
    from executor.localnet.server import CannotListen, Listener, listen

    try:
        stop = _stop_event(arguments)
    except OSError:
        return _fail(NO_STDIN)
    market, faults, upstream = Market(seed=arguments.seed), Faults(), Upstream(arguments.node)
    eyes = Eyes(upstream, vaults(market), arguments.node_commitment, arguments.node_max_age_ms / 1000)
    rng = random.Random(f"jupiter {arguments.seed}")  # noqa: S311 - a reproducible API, not a secret

    def api_over(chain: Chain) -> JupiterApi:
        return JupiterApi(market=market, chain=chain, faults=faults, rng=rng, now_ns=time.time_ns)

    listeners = [Listener(face=RemoteJupiterFace(api_over, eyes), host=arguments.host, port=arguments.jupiter_port)]
    if arguments.relay:
        listeners.insert(0, Listener(face=RelayFace(upstream, faults), host=arguments.host, port=arguments.rpc_port))
    try:
        running = await listen(listeners, admin=RemoteAdmin(faults), faults=faults)
    except CannotListen as error:
        await upstream.close()
        return _fail(f"{error}; pass another --rpc-port or --jupiter-port, 0 takes a free one")
    try:
        _announce(arguments, [RELAY_NAME] if arguments.relay else [], running.ports)
        await stop.wait()
    finally:
        await running.close()
        await upstream.close()
    return 0


async def _serve(arguments: argparse.Namespace) -> int:
    from executor.localnet.admin import Admin
    from executor.localnet.server import CannotListen, listen

    try:
        stop = _stop_event(arguments)  # before the world is made: a signal during the start ends it in order as well
    except OSError:
        return _fail(NO_STDIN)
    localnet = _localnet(arguments)
    try:
        running = await listen(_listeners(arguments, localnet), admin=Admin(localnet), faults=localnet.faults)
    except CannotListen as error:
        return _fail(f"{error}; pass another --rpc-port or --jupiter-port, 0 takes a free one")
    try:
        _announce(arguments, [node.name for node in localnet.nodes], running.ports)
        await _pass_slots(localnet, arguments.slot_ms / 1000, stop)
    finally:
        await running.close()
    return 0


def _heed_stdin(stop: asyncio.Event) -> None:
    """Stop when the other end of stdin is closed; what comes before is ignored. Raises OSError for what cannot be waited on."""
    loop, stdin = asyncio.get_running_loop(), 0

    def read() -> None:
        try:
            found = os.read(stdin, 4096)
        except OSError:  # a terminal that has hung up
            found = b""
        if not found:
            loop.remove_reader(stdin)
            stop.set()

    loop.add_reader(stdin, read)


def _localnet(arguments: argparse.Namespace) -> Localnet:
    cluster = ClusterSettings(
        skip_rate=arguments.skip_rate,
        fork_rate=arguments.fork_rate,
        confirmed_after_slots=arguments.confirmed_after,
        finalized_after_slots=arguments.finalized_after,
    )
    settings = LocalnetSettings(seed=arguments.seed, nodes=arguments.nodes, trader=not arguments.no_trader, cluster=cluster)
    localnet = Localnet(settings, unix_ns=time.time_ns)
    for owner in arguments.fund:
        localnet.fund_fully(owner)
    for _ in range(WARM_UP_SLOTS):
        localnet.step()
    return localnet


def _listeners(arguments: argparse.Namespace, localnet: Localnet) -> "list[Listener]":
    from executor.localnet.server import Listener

    ports = _node_ports(arguments)
    nodes = [Listener(face=node, host=arguments.host, port=port) for node, port in zip(localnet.nodes, ports, strict=True)]
    return [*nodes, Listener(face=JupiterFace(localnet.jupiter), host=arguments.host, port=arguments.jupiter_port)]


def _node_ports(arguments: argparse.Namespace) -> list[int]:
    first: int = arguments.rpc_port
    return [first + NODE_PORT_STEP * i if first else 0 for i in range(arguments.nodes)]


async def _pass_slots(localnet: Localnet, slot_seconds: float, stop: asyncio.Event) -> None:
    """Let slots pass in their time until told to stop. A slot that came late is not made up for: time is the cluster's own."""
    if not slot_seconds:
        await stop.wait()
        return
    loop = asyncio.get_running_loop()
    due = loop.time() + slot_seconds
    while not stop.is_set():
        try:
            async with asyncio.timeout_at(due):
                await stop.wait()
        except TimeoutError:
            localnet.step()
            due = max(due + slot_seconds, loop.time())


def _announce(arguments: argparse.Namespace, names: Sequence[str], ports: Sequence[int]) -> None:
    """The nodes' ports come first, Jupiter's last; every port answers under /admin."""
    *nodes, jupiter = (f"http://{arguments.host}:{port}" for port in ports)
    admin = (nodes or [jupiter])[0] + ADMIN_PATH
    if arguments.json:
        named = [{"name": name, "url": url} for name, url in zip(names, nodes, strict=True)]
        print(json.dumps({"nodes": named, "jupiter": jupiter + BASE_PATH, "admin": admin}), flush=True)
        return
    for name, url in zip(names, nodes, strict=True):
        print(f"{name:10} {url}")
    print(f"{'jupiter':10} {jupiter}{BASE_PATH}")
    print(f"{'admin':10} {admin}", flush=True)


def _fail(sentence: str) -> int:
    print(f"executor localnet: {sentence}", file=sys.stderr)
    return USAGE_ERROR


# --- what flags hold ----------------------------------------------------------------------------------------------------------


def _port(value: str) -> int:
    return _within(value, 0, LAST_PORT)


def _count(value: str) -> int:
    return _within(value, 1, 32)


def _slots(value: str) -> int:
    return _within(value, 0, 150)


def _slot_ms(value: str) -> int:
    return _within(value, 0, 60_000)


def _age_ms(value: str) -> int:
    return _within(value, 0, 10_000)


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise argparse.ArgumentTypeError("must be a URL that begins with http:// or https://")
    return value


def _within(value: str, least: int, most: int) -> int:
    try:
        number = int(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{value!r} is no whole number") from error
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"must lie between {least} and {most}, not {value}")
    return number


def _rate(value: str) -> float:
    try:
        rate = float(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{value!r} is no number") from error
    if not 0 <= rate < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and less than 1, not {value}")
    return rate


def _address(value: str) -> Pubkey:
    try:
        return Pubkey.from_string(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{value!r} is no address") from error


if __name__ == "__main__":
    sys.exit(main())

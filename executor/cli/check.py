"""Find out what would fail before it does: the configuration, the data directory, the address, the wallet, nodes and Jupiter.

Nothing is sent and nothing is changed. A daemon that runs already uses its journal and its address, and is left in peace.
Exit code 0: all is well; 1: something would fail; 2: the configuration is wrong.
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable

import trio
from attrs import asdict, frozen
from solders.pubkey import Pubkey

from executor.chainstate.mints import Mints
from executor.cli.local import PlaceProblem, data_directory, listen_address
from executor.cli.output import say
from executor.cli.settings import add_config_argument, read_config
from executor.config import Config
from executor.errors import ConfigError
from executor.faults import TransportError, printable
from executor.log import make_log
from executor.network.http import TRANSPORTS
from executor.network.nodes import Nodes
from executor.network.retry import Retry
from executor.network.solana import Node
from executor.paths import expanded
from executor.supervisor import make_jupiter, make_nodes
from executor.units import ui_text
from executor.wallet.keystore import load_wallet

HELP = "find out what would fail, before it does"
NO_RETRY = Retry(max_retries=0)
QUOTE_AMOUNT_DIVISOR = 1_000
QUOTE_SLIPPAGE_BPS = 50
SOL_DECIMALS = 9


@frozen
class Finding:
    """One thing that was looked at."""

    subject: str
    ok: bool
    detail: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_config_argument(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    config = read_config(arguments.config)
    findings = [Finding("config", True, arguments.config or "the defaults that ship with the executor")]
    findings += [
        _place("data directory", lambda: data_directory(expanded(config.daemon.data_directory))),
        _place("listen address", lambda: listen_address(config.grpc.listen_address)),
    ]
    findings += trio.run(_look, config)
    well = all(finding.ok for finding in findings)
    if arguments.json:
        say(json.dumps({"ok": well, "findings": [asdict(finding) for finding in findings]}))
    else:
        say(*(f"{'ok  ' if f.ok else 'FAIL'}  {f.subject:<16} {f.detail}" for f in findings))
    return 0 if well else 1


async def _look(config: Config) -> list[Finding]:
    log = make_log(stream=sys.stderr, level="error", now_ns=time.time_ns)
    rng = random.SystemRandom()
    transport = TRANSPORTS[config.daemon.http_transport]
    nodes = make_nodes(config, transport=transport, retry=NO_RETRY, rng=rng, log=log)
    jupiter = make_jupiter(config, transport=transport, environment=os.environ, retry=NO_RETRY, rng=rng, log=log)
    findings: list[Finding] = []
    wallet = _wallet(config, findings)
    for node in nodes.all:
        findings.append(await _finding(f"node {node.name}", lambda node=node: _node(node)))  # type: ignore[misc]  # bound per round
    findings.append(await _finding("tokens", lambda: _tokens(config, nodes)))
    if wallet is not None:
        findings.append(await _finding("wallet balance", lambda: _balance(wallet, nodes, config)))
    findings.append(_key(config))

    async def quote() -> str:
        source, target = config.tokens[0], config.tokens[1]
        offer = await jupiter.quote(
            input_mint=source.mint,
            output_mint=target.mint,
            in_amount=max(source.max_amount // QUOTE_AMOUNT_DIVISOR, 1),
            slippage_bps=QUOTE_SLIPPAGE_BPS,
        )
        through = printable(", ".join(offer.route))  # by names that Jupiter gives
        return f"{jupiter.endpoint} quotes {source.symbol} -> {target.symbol} through {through}"

    findings.append(await _finding("jupiter", quote) if len(config.tokens) > 1 else _too_few_tokens(config))
    await nodes.aclose()
    await jupiter.aclose()
    return findings


async def _finding(subject: str, look: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(subject, True, await look())
    except (TransportError, ConfigError) as error:
        return Finding(subject, False, str(error))


def _place(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, True, look())
    except (PlaceProblem, ConfigError) as error:
        return Finding(subject, False, str(error))


def _wallet(config: Config, findings: list[Finding]) -> Pubkey | None:
    try:
        address = load_wallet(config.wallet.keypair_path).address
    except ConfigError as error:
        findings.append(Finding("wallet", False, "; ".join(error.problems)))
        return None
    findings.append(Finding("wallet", True, str(address)))
    return address


async def _node(node: Node) -> str:
    await node.health()
    blockhash = await node.latest_blockhash("confirmed")
    return f"{node.endpoint} is healthy, slot {blockhash.context_slot}"


async def _tokens(config: Config, nodes: Nodes) -> str:
    log = make_log(stream=sys.stderr, level="error", now_ns=time.time_ns)
    mints = Mints(nodes=nodes, whitelist={token.mint: token for token in config.tokens}, log=log)
    await mints.refresh()
    if mints.missing():
        raise ConfigError(mints.missing())
    return ", ".join(token.symbol for token in mints.known()) or "none: every trade would be refused"


async def _balance(wallet: Pubkey, nodes: Nodes, config: Config) -> str:
    answer = await nodes.ask(lambda node: node.accounts([wallet], commitment="confirmed"), operation="getMultipleAccounts")
    info = answer.values[0]
    lamports = 0 if info is None else info.lamports
    if lamports <= config.fees.reserve_lamports:
        raise ConfigError([f"{ui_text(lamports, SOL_DECIMALS)} SOL: not above the reserve of fees.reserve_lamports"])
    return f"{ui_text(lamports, SOL_DECIMALS)} SOL"


def _key(config: Config) -> Finding:
    name = config.jupiter.api_key_env
    if not name:
        return Finding("jupiter key", True, "none configured: keyless access is limited to 0.5 requests a second")
    given = bool(os.environ.get(name))
    return Finding("jupiter key", given, f"from ${name}" if given else f"${name} is not set (jupiter.api_key_env)")


def _too_few_tokens(config: Config) -> Finding:
    return Finding("jupiter", False, f"{len(config.tokens)} tokens are configured, a trade needs two")

"""Run the daemon until SIGTERM. Logs go to stderr, one JSON object a line; stdout gets one line once calls are taken.

With --localnet, a cluster of this machine's own is started beside it and everything points there. Unless the file of --config
names them, wallet and journal are made for the occasion, in a folder that is gone afterwards.
"""

import argparse
import json
import os
import random
import select
import signal
import sys
import time
import typing
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import trio

from executor.cli.localnet_process import UNTIL_WE_END, LocalnetAddresses, start_localnet
from executor.cli.output import Unwritable, say
from executor.cli.settings import GivenConfig, add_config_argument, read_given_config
from executor.config import Config, ListenAddress, NodeSettings
from executor.errors import ConfigError
from executor.log import make_log
from executor.rpc.pauses import shorten_pauses
from executor.rpc.server import CannotListen
from executor.settings import Rule, Unacceptable
from executor.supervisor import Surroundings, assemble
from executor.wallet.keystore import create_keypair_file, load_wallet

HELP = "run the daemon"
KEYPAIR_FILE = "wallet.json"
STDIN = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_config_argument(parser)
    parser.add_argument("--localnet", action="store_true", help="start a cluster of our own and trade on it")
    parser.add_argument(
        "--listen",
        type=_listen_address,
        metavar="ADDRESS",
        help="take calls there instead of at grpc.listen_address: host:port (port 0: any free one) or unix:/path",
    )
    parser.add_argument("--slot-ms", type=int, default=400, metavar="MS", help="slot time of --localnet (default 400)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of --localnet (default 1)")
    parser.add_argument(
        UNTIL_WE_END,
        action="store_true",
        help="drain and end also when stdin closes: given a pipe, with the process that holds its other end",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object when ready")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.until_stdin_closes and not _can_close(STDIN):
        raise ConfigError([f"{UNTIL_WE_END} needs a pipe, a socket or a terminal as stdin"])
    given = read_given_config(arguments.config)
    if arguments.listen is not None:
        grpc = attrs.evolve(given.config.grpc, listen_address=arguments.listen)
        given = attrs.evolve(given, config=attrs.evolve(given.config, grpc=grpc))
    if not arguments.localnet:
        return _serve(given.config, localnet=None, arguments=arguments)
    with _on_localnet(given, arguments) as (moved, addresses):
        return _serve(moved, localnet=addresses, arguments=arguments)


def _listen_address(text: str) -> str:
    """What the configuration accepts as grpc.listen_address, and nothing else."""
    rule: Rule = typing.get_args(ListenAddress)[1]
    try:
        return str(rule.accept(text))
    except Unacceptable:
        raise argparse.ArgumentTypeError(f"{text!r} is not {rule.allowed}") from None


def _can_close(descriptor: int) -> bool:
    """Whether it can be waited for, which is never said of a file."""
    with select.epoll() as waiting:
        try:
            waiting.register(descriptor)
        except PermissionError:
            return False
    return True


def _serve(config: Config, *, localnet: LocalnetAddresses | None, arguments: argparse.Namespace) -> int:
    log = make_log(stream=sys.stderr, level=config.daemon.log_level, now_ns=time.time_ns)
    signer = load_wallet(config.wallet.keypair_path)
    keypair_path, data_directory = map(os.path.expanduser, (config.wallet.keypair_path, config.daemon.data_directory))

    def ready(address: str) -> None:
        shorten_pauses()
        paths = {"keypair_path": keypair_path, "data_directory": data_directory}
        on = {"localnet": localnet.as_dict()} if localnet else {}
        facts = {"grpc": address, "wallet": str(signer.address), **paths, **on}
        words = f"ready on {address}, wallet {signer.address} of {keypair_path}, journal in {data_directory}"
        try:
            say(json.dumps(facts) if arguments.json else words)
        except Unwritable as error:  # whoever waits for the line has lost it; trades have not
            log.warning("daemon.ready_untold", problem=str(error))

    # Jitter has to differ between daemons that start at the same time, so the seed is the system's.
    surroundings = Surroundings(environment=os.environ, now_ns=time.time_ns, rng=random.SystemRandom(), log=log)

    async def main() -> None:
        daemon = assemble(config, signer=signer, surroundings=surroundings)
        try:
            async with trio.open_nursery() as watching:
                if arguments.until_stdin_closes:
                    watching.start_soon(_end_with_stdin)
                await daemon.run(on_ready=ready)
                watching.cancel_scope.cancel()
        finally:
            with trio.move_on_after(5, shield=True):
                await daemon.aclose()

    refused: list[str] = []
    try:
        trio.run(main)
    except* CannotListen as group:
        refused.append(f"cannot listen on {config.grpc.listen_address}: {_first(group).strerror}")
    if refused:
        raise ConfigError(refused)
    return 0


async def _end_with_stdin() -> None:
    """Drain as on SIGTERM once the other end of stdin is closed; what comes before is ignored."""
    found = b"..."
    while found:
        await trio.lowlevel.wait_readable(STDIN)
        try:
            found = os.read(STDIN, 4096)
        except OSError:  # a terminal that has hung up
            found = b""
    signal.raise_signal(signal.SIGTERM)


@contextmanager
def _on_localnet(given: GivenConfig, arguments: argparse.Namespace) -> Iterator[tuple[Config, LocalnetAddresses]]:
    """Start a localnet and point the configuration at it; its journal and wallet are gone afterwards unless named."""
    config = given.config
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="executor-localnet-")))
        keypair = config.wallet.keypair_path
        if not given.names("wallet", "keypair_path"):
            keypair = str(folder / KEYPAIR_FILE)
            create_keypair_file(keypair)
        if not given.names("daemon", "data_directory"):
            config = attrs.evolve(config, daemon=attrs.evolve(config.daemon, data_directory=str(folder)))
        wallet = load_wallet(keypair).address
        addresses = stack.enter_context(start_localnet(fund=[str(wallet)], slot_ms=arguments.slot_ms, seed=arguments.seed))
        nodes = tuple(NodeSettings(name=node.name, url=node.url) for node in addresses.nodes)
        moved = attrs.evolve(
            config,
            wallet=attrs.evolve(config.wallet, keypair_path=keypair),
            solana=attrs.evolve(config.solana, nodes=nodes),
            jupiter=attrs.evolve(config.jupiter, url=addresses.jupiter, api_key_env=""),
        )
        yield moved, addresses


def _first(group: ExceptionGroup[CannotListen]) -> CannotListen:
    error: CannotListen | ExceptionGroup[CannotListen] = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error

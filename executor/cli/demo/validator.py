"""Agave's own test validator as a process of the demo: found, unpacked if need be, and loaded with an export of the localnet."""

import json
import lzma
import os
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from attrs import frozen

import executor
from executor.cli.demo.chain import Json
from executor.cli.demo.children import Child, Children
from executor.cli.demo.failure import DemoFailed
from executor.cli.demo.web import fetch
from executor.localnet.export import ACCOUNTS_FOLDER, MANIFEST_FILE

VARIABLE = "SOLANA_TEST_VALIDATOR"
PROGRAM = "solana-test-validator"
PACKED = Path(executor.__file__).parents[2] / "shared" / "validator" / f"{PROGRAM}.xz"
"""Beside a checkout."""
HOW_TO_GET_ONE = f"""\
no {PROGRAM} here. One comes with the Solana CLI (https://docs.anza.xyz/cli/install), or from
  cargo install agave-validator@3.1.8 --locked --bin {PROGRAM}
Put it on PATH, or let {VARIABLE} name it."""
LOOPBACK = "127.0.0.1"
LAST_PORT = 65_535
START_SECONDS = 120.0
"""On a machine of one's own it takes 16."""
LOOK_SECONDS = 0.1
FIRST_SLOT = 2
"""The first confirmed slot at which lookup tables that stand in the genesis can be used."""
LEDGER_SHREDS = 100_000
LEDGER_FOLDER = "ledger"


class NoValidator(DemoFailed):
    """There is none on this machine."""


@frozen(kw_only=True)
class Validator:
    """A node that has loaded an export."""

    url: str
    export: Path
    process: Child | None
    """None: somebody else has started it, and ends it."""

    @property
    def manifest(self) -> Json:
        """What was loaded."""
        return json.loads((self.export / MANIFEST_FILE).read_text(encoding="utf-8"))

    def close(self) -> None:
        """End it, if it was started here."""
        if self.process is not None:
            self.process.require_alive()
            self.process.end()


def find_validator(environment: Mapping[str, str], *, unpack_into: Path, packed: Path = PACKED) -> Path:
    """The program: the one that the environment names, the first on PATH, or the packed one. Raises `NoValidator`."""
    named = environment.get(VARIABLE)
    if named:
        if not os.access(named, os.X_OK) or Path(named).is_dir():
            raise NoValidator(f"{VARIABLE} names {named}, which is no program")
        return Path(named).absolute()
    found = shutil.which(PROGRAM, path=environment.get("PATH", ""))
    if found is not None:
        return Path(found)
    if not packed.is_file():
        raise NoValidator(HOW_TO_GET_ONE)
    return _unpacked(packed, unpack_into / PROGRAM)


def _unpacked(packed: Path, target: Path) -> Path:
    with lzma.open(packed) as source, target.open("wb") as program:
        shutil.copyfileobj(source, program)
    target.chmod(0o700)
    return target


def start_validator(children: Children, program: Path, export: Path, *, seconds: float = START_SECONDS) -> Validator:
    """Start it on free ports with a new ledger, and return when it makes blocks. Raises DemoFailed."""
    rpc_port, faucet_port = free_ports()
    facts = json.loads((export / MANIFEST_FILE).read_text(encoding="utf-8"))["program"]
    command = [str(program), "--quiet", "--ledger", str(children.folder / LEDGER_FOLDER), "--bind-address", LOOPBACK]
    command += ["--rpc-port", str(rpc_port), "--faucet-port", str(faucet_port), "--limit-ledger-size", str(LEDGER_SHREDS)]
    command += ["--account-dir", str(export / ACCOUNTS_FOLDER), "--bpf-program", facts["address"], str(export / facts["file"])]
    process = children.start("validator", command, cwd=children.folder)
    url = f"http://{LOOPBACK}:{rpc_port}"
    _await_blocks(process, url, seconds)
    return Validator(url=url, export=export, process=process)


def _await_blocks(process: Child, url: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not _makes_blocks(url):
        process.require_alive(during="its start")
        if time.monotonic() > deadline:
            raise DemoFailed(f"the validator makes no blocks {seconds:g} s after its start")
        time.sleep(LOOK_SECONDS)


def _makes_blocks(url: str) -> bool:
    try:
        answer = fetch(url, {"jsonrpc": "2.0", "id": 1, "method": "getSlot", "params": [{"commitment": "confirmed"}]})
    except DemoFailed:
        return False  # not yet
    return bool(answer.get("result", 0) >= FIRST_SLOT)


def free_ports(is_free: Callable[[int], bool] | None = None) -> tuple[int, int]:
    """A port for the RPC whose successor is free as well, which is its WebSocket's; and one for the faucet."""
    is_free = is_free or _is_free
    while True:
        with ExitStack() as held:
            first, third = (held.enter_context(socket.create_server((LOOPBACK, 0))).getsockname()[1] for _ in range(2))
            if is_free(first + 1):
                return first, third


def _is_free(port: int) -> bool:
    if port > LAST_PORT:
        return False
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError:
        return False
    return True

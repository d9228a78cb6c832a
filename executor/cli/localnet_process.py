"""Starts the localnet as a process of its own, and stops it again. It does not outlive this process, however that ends."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from attrs import asdict, frozen

from executor.errors import ConfigError

STOP_SECONDS = 5.0
UNTIL_WE_END = "--until-stdin-closes"
"""With a pipe as its stdin, whose other end only we hold: the kernel closes it even when we are killed."""


@frozen
class LocalnetNode:
    """One of its JSON-RPC nodes."""

    name: str
    url: str


@frozen(kw_only=True)
class LocalnetAddresses:
    """Where a localnet listens."""

    nodes: tuple[LocalnetNode, ...]
    jupiter: str
    """Base URL of its swap API."""
    admin: str
    """Base URL of the endpoint that orders faults and funds wallets."""

    def as_dict(self) -> dict[str, object]:
        """As JSON's types."""
        return asdict(self)


@contextmanager
def start_localnet(*, fund: Sequence[str], slot_ms: int, seed: int, nodes: int = 1) -> Iterator[LocalnetAddresses]:
    """Start one on free ports and wait until it listens. Raises ConfigError with its own words if it does not."""
    command = [sys.executable, "-m", "executor", "localnet", "--json", "--rpc-port", "0", "--jupiter-port", "0", UNTIL_WE_END]
    command += ["--nodes", str(nodes), "--slot-ms", str(slot_ms), "--seed", str(seed)]
    for address in fund:
        command += ["--fund", address]
    # A terminal's Ctrl-C goes to the whole group: in a session of its own the localnet outlives the daemon's drain.
    pipe = subprocess.PIPE
    popen = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True)  # noqa: S603 - our own words
    with popen as process:  # leaving it waits for the end and closes the pipes
        try:
            yield _addresses(process)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _addresses(process: "subprocess.Popen[str]") -> LocalnetAddresses:
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise ConfigError([f"the localnet did not start (exit code {process.wait()}); its own message stands above"])
    facts = json.loads(line)
    return LocalnetAddresses(
        nodes=tuple(LocalnetNode(node["name"], node["url"]) for node in facts["nodes"]),
        jupiter=facts["jupiter"],
        admin=facts["admin"],
    )

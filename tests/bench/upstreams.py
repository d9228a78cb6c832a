"""What the daemon talks to: the Go stand-in of ../shared/bench/upstream, or else the localnet. Each a process of its own."""

import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen
from solders.keypair import Keypair

from tests.bench.places import Cores
from tests.support.localnet import fetch_json, start_localnet

LOCALNET_SLOT_MS = 100
FUNDS_LAMPORTS = 1_000 * 10**9
STOP_SECONDS = 5.0
_LISTENING = re.compile(r"listening on (\S+)")


@frozen(kw_only=True)
class Latency:
    """What the upstream adds to every answer."""

    jupiter_ms: int
    rpc_ms: int

    @property
    def name(self) -> str:
        """Key and title."""
        return f"{self.jupiter_ms}/{self.rpc_ms} ms"


@frozen(kw_only=True)
class Arrival:
    """What an upstream knows of a signature."""

    first_unix_ns: int
    swaps: int
    landed: bool


@frozen(kw_only=True)
class Seen:
    """What the upstream saw: the judge of what really happened."""

    swaps: int
    """Distinct ones, of all wallets."""
    arrivals: Mapping[str, Arrival] | None
    """By signature; None: it does not tell."""
    requests: Mapping[str, int]
    """By method; empty: it does not count."""
    cpu_ns: int
    """Its own; 0: it does not say."""


@frozen(kw_only=True)
class Upstream:
    """One that runs."""

    rpc_url: str
    jupiter_url: str
    seen: Callable[[], Seen]


def parse_stats(stats: Mapping[str, Any]) -> Seen:
    """Read `GET /stats`."""
    signatures = stats["transactions"].get("signatures") or {}
    return Seen(
        swaps=sum(wallet["swaps"] for wallet in stats["transactions"]["wallets"].values()),
        arrivals={
            signature: Arrival(first_unix_ns=one["first_unix_ns"], swaps=len(one["swaps"] or ()), landed=one["landed"])
            for signature, one in signatures.items()
        },
        requests=stats["requests"],
        cpu_ns=stats["cpu_ns"],
    )


@frozen(kw_only=True)
class ChainTimes:
    """From the first send to each level, of the stand-in."""

    land_ms: int
    confirm_ms: int


@contextmanager
def stand_in(program: Path, *, wallet: Keypair, latency: Latency, chain: ChainTimes, cores: Cores) -> Iterator[Upstream]:
    """Run the Go upstream on a free port."""
    command = [*cores.prefix(cores.others), str(program), "--listen", "127.0.0.1:0", "--jupiter-listen", "127.0.0.1:0"]
    command += ["--jupiter-latency-ms", str(latency.jupiter_ms), "--rpc-latency-ms", str(latency.rpc_ms)]
    command += ["--land-ms", str(chain.land_ms), "--confirm-ms", str(chain.confirm_ms), "--wallets", str(wallet.pubkey())]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={"GOMAXPROCS": "1"} if cores.others is not None else None
    )
    with process:
        try:
            line = process.stderr.readline() if process.stderr else ""
            found = _LISTENING.search(line)
            if found is None:
                raise RuntimeError(f"the upstream did not start: {line.strip()}")
            url = f"http://{found[1]}"
            yield Upstream(
                rpc_url=url, jupiter_url=f"{url}/swap/v1", seen=lambda: parse_stats(fetch_json(f"{url}/stats", method="GET"))
            )
        finally:
            _stop(process)


@contextmanager
def localnet(*, wallet: Keypair) -> Iterator[Upstream]:
    """Run the executor's own localnet. It adds no latency, and its own work is much slower than the stand-in's."""
    with start_localnet(slot_ms=LOCALNET_SLOT_MS, nodes=1) as chain:
        chain.fund(wallet.pubkey(), lamports=FUNDS_LAMPORTS)
        yield Upstream(
            rpc_url=chain.nodes[0],
            jupiter_url=chain.jupiter,
            seen=lambda: Seen(swaps=chain.transactions(), arrivals=None, requests={}, cpu_ns=0),
        )


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()

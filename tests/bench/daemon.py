"""The daemon under measurement: started as an operator would, watched through /proc and its own status."""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen
from solders.keypair import Keypair

from executor.rpc import trade_executor_pb2 as pb
from tests.bench.places import Cores, Tree
from tests.bench.upstreams import Upstream
from tests.support.callers import connected
from tests.support.waiting import wait_until

READY_SECONDS = 30.0
STOP_SECONDS = 60.0
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

CONFIG = """\
[grpc]
listen_address = "127.0.0.1:0"

[daemon]
data_directory = {data}

[wallet]
keypair_path = {wallet}

[jupiter]
url = {jupiter}
api_key_env = ""

[[solana.nodes]]
name = "bench"
url = {rpc}

[[tokens]]
symbol = "SOL"
mint = "So11111111111111111111111111111111111111112"
max_amount = 100_000_000_000

[[tokens]]
symbol = "USDC"
mint = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
max_amount = 20_000_000_000

[[tokens]]
symbol = "BONK"
mint = "DezXAZ8z7PnrnRJjz3wXBoRgixCa6xjnB7YaB1pPB263"
max_amount = 50_000_000_000_000
"""
"""Everything else is the default: what is measured is what an operator gets."""


@frozen(kw_only=True)
class Used:
    """What a process had used of the machine at a moment."""

    at: float
    """Monotonic seconds."""
    user_seconds: float
    system_seconds: float
    main_thread_seconds: float
    """Of the thread that trades; the rest is the journal's."""
    waited_seconds: float
    """That its main thread was ready to run and others had its core; 0 where the kernel does not say."""
    rss_bytes: int
    peak_rss_bytes: int

    @property
    def cpu_seconds(self) -> float:
        """Of all its threads."""
        return self.user_seconds + self.system_seconds


@frozen(kw_only=True)
class StageFigures:
    """A stage as the daemon measured it, waits included; over its last 1,024 trades."""

    count: int
    p50_ms: float
    p99_ms: float


@frozen(kw_only=True)
class Told:
    """What a daemon says of itself in its status."""

    stages: Mapping[str, StageFigures]
    commits: int
    """Of its journal, since its start; 0 of a daemon that does not tell."""


@frozen(kw_only=True)
class MeasuredDaemon:
    """A daemon that takes trades."""

    address: str
    pid: int

    def used(self) -> Used:
        """Read /proc."""
        proc = Path("/proc") / str(self.pid)
        return parse_used(
            (proc / "stat").read_text(),
            main_thread=(proc / "task" / str(self.pid) / "stat").read_text(),
            status=(proc / "status").read_text(),
            schedule=_text(proc / "schedstat"),
            at=time.monotonic(),
        )

    def told(self) -> Told:
        """Ask for its status."""
        with connected(self.address) as caller:
            status: pb.ExecutorStatus = caller.status()
        stages = {s.stage: StageFigures(count=s.count, p50_ms=s.p50_ms, p99_ms=s.p99_ms) for s in status.stages}
        return Told(stages=stages, commits=status.journal.commits)


def parse_used(stat: str, *, main_thread: str, status: str, schedule: str, at: float) -> Used:
    """Read the texts of /proc/PID/stat, /proc/PID/task/PID/stat, /proc/PID/status and /proc/PID/schedstat."""
    user, system = _seconds(stat)
    lines = (line.partition(":") for line in status.splitlines())
    kibibytes = {name: int(rest.split()[0]) for name, _, rest in lines if rest.endswith(" kB")}
    return Used(
        at=at,
        user_seconds=user,
        system_seconds=system,
        main_thread_seconds=sum(_seconds(main_thread)),
        waited_seconds=int((schedule or "0 0 0").split()[1]) / 1e9,
        rss_bytes=kibibytes["VmRSS"] * 1024,
        peak_rss_bytes=kibibytes["VmHWM"] * 1024,
    )


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _seconds(stat: str) -> tuple[float, float]:
    """User and system time. The command's name stands before them in parentheses, and may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) / _TICKS_PER_SECOND, int(fields[12]) / _TICKS_PER_SECOND


def write_config(folder: Path, *, wallet: Keypair, upstream: Upstream) -> Path:
    """Write config and key into a folder; returns the config's path."""
    key, config = folder / "wallet.json", folder / "config.toml"
    key.touch(mode=0o600)
    key.write_text(json.dumps(list(bytes(wallet))))
    values = {"data": folder / "data", "wallet": key, "jupiter": upstream.jupiter_url, "rpc": upstream.rpc_url}
    config.write_text(CONFIG.format(**{name: json.dumps(str(value)) for name, value in values.items()}))
    return config


@contextmanager
def running_daemon(
    tree: Tree, *, config: Path, cores: Cores, through: Sequence[str] = ("-m", "executor")
) -> Iterator[MeasuredDaemon]:
    """Run `executor serve` of a tree until the block ends; `through` is what the interpreter is given before `serve`."""
    command = [*cores.prefix(cores.daemon), str(tree.python), *through, "serve", "--config", str(config), "--json"]
    log = config.with_name("log")
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=tree.root, env=tree.environment()
        )
    with process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise RuntimeError(f"the daemon of {tree.name} did not start: {log.read_text()[-2000:]}")
            address = json.loads(line)["grpc"]
            _wait_for_trading(address)
            yield MeasuredDaemon(address=address, pid=process.pid)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for_trading(address: str) -> None:
    with connected(address) as caller:
        wait_until(lambda: caller.status().trading_allowed, "the daemon trades", seconds=READY_SECONDS)

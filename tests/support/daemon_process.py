"""The daemon as a real process: `python -m executor serve --config ...`, with its logs in a file."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field
from solders.keypair import Keypair

from tests.support.callers import Caller, Refused, connected
from tests.support.localnet import wait_until
from tests.support.settings import Place, Section

END_SECONDS = 20.0


@define
class DaemonProcess:
    """A daemon that was started."""

    place: Place
    process: "subprocess.Popen[str]" = field(repr=False)
    facts: Mapping[str, Any]
    """What it printed when it was ready."""
    log_path: Path

    @property
    def address(self) -> str:
        """Where it takes calls."""
        return str(self.facts["grpc"])

    def logs(self) -> str:
        """Everything that it wrote to stderr."""
        return self.log_path.read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Its log's events of that name."""
        found = [json.loads(line) for line in self.logs().splitlines() if line.endswith("}")]
        return [event for event in found if event["event"] == name]

    def wait_for_event(self, name: str, count: int = 1) -> dict[str, Any]:
        """Wait until an event was logged so many times; returns the last."""
        wait_until(lambda: len(self.events(name)) >= count, f"{count} x {name}")
        return self.events(name)[count - 1]

    def signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.process.pid, number)

    def terminate(self) -> int:
        """Ask it to end; returns its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; returns its exit code."""
        self.process.communicate(timeout=END_SECONDS)
        return self.process.returncode

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.signal(signal.SIGKILL)
        self.wait()


@contextmanager
def start_daemon(
    place: Place, wallet: Keypair, *, environment: Mapping[str, str] | None = None, **changes: Section
) -> Iterator[DaemonProcess]:
    """Run a daemon that is ready to trade while the block runs; then it is drained, unless it has ended before."""
    if not place.keypair_path.exists():
        place.write_wallet(wallet)
    config_path = place.folder / "config.toml"
    config_path.write_text(place.config_text(**changes))
    log_path = place.folder / "daemon.log"
    command = [sys.executable, "-m", "executor", "serve", "--config", str(config_path), "--json"]
    with log_path.open("a") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **(environment or {})}
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log_path.read_text()
        daemon = DaemonProcess(place, process, json.loads(line), log_path)
        with connected(daemon.address) as caller:
            wait_until(lambda: _trades(caller), "the daemon trades")
        yield daemon
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=END_SECONDS)


def _trades(caller: Caller) -> bool:
    try:
        status = caller.status()
    except Refused:
        return False
    return status.trading_allowed and len(status.wallet.balances) > 0

"""The daemon as a process of its own, started as an operator would."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen
from solders.keypair import Keypair

from tests.support.callers import Caller, connected
from tests.support.settings import Place, Section
from tests.support.waiting import wait_until

STOP_SECONDS = 20.0


@frozen(kw_only=True)
class DaemonProcess:
    """A daemon process that takes calls, and one caller of it."""

    address: str
    caller: Caller
    process: "subprocess.Popen[str]"
    log_path: Path

    def ended(self) -> int:
        """Wait for its end; returns the exit code."""
        self.process.communicate(timeout=STOP_SECONDS)
        return self.process.returncode

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's events of a name; the line that is being written is left out."""
        lines = self.log_path.read_text().splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in found if event["event"] == name]

    def is_in(self, event: str, request_id: str) -> bool:
        """Whether a trade has come as far as this event."""
        return any(found.get("request_id") == request_id for found in self.events(event))


def run_executor(*arguments: str, environment: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a command of the executor to its end."""
    command = [sys.executable, "-m", "executor", *arguments]
    env = {**os.environ, **(environment or {})}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=STOP_SECONDS, env=env)


@contextmanager
def daemon_process(
    place: Place, wallet: Keypair, *, environment: Mapping[str, str] | None = None, trading: bool = True, **changes: Section
) -> Iterator[DaemonProcess]:
    """Run `executor serve --config` until the block ends; then it gets SIGTERM, unless the test ended it already.

    The block begins when it trades, or, with `trading` off, when it takes calls.
    """
    place.write_wallet(wallet)
    config, log = place.folder / "config.toml", place.folder / "log"
    config.write_text(place.config_text(**changes))
    command = [sys.executable, "-m", "executor", "serve", "--config", str(config), "--json"]
    with log.open("w") as stderr:
        env = {**os.environ, **(environment or {})}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=env)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        with connected(json.loads(line)["grpc"]) as caller:
            wait_until(lambda: not trading or caller.status().trading_allowed, "the daemon trades")
            yield DaemonProcess(address=json.loads(line)["grpc"], caller=caller, process=process, log_path=log)
    finally:
        process.terminate()
        process.communicate(timeout=STOP_SECONDS)

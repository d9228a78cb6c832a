"""One life of the daemon: a process of its own on a journal that others have left behind."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from tests.support.callers import Caller, Refused, connected

START_SECONDS = 20.0
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.01


@frozen(kw_only=True)
class Life:
    """A process, dead or alive."""

    process: "subprocess.Popen[str]"
    mark: Path
    log: Path

    @property
    def reached(self) -> bool:
        """It came by its point and killed itself there."""
        return self.mark.exists()

    def is_over(self) -> bool:
        """It does not run any more."""
        return self.process.poll() is not None

    def kill(self) -> None:
        """From outside; nothing if it is dead."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def address(self) -> str | None:
        """Wait until it takes calls; None: it died before."""
        line = self.process.stdout.readline() if self.process.stdout else ""
        return json.loads(line)["grpc"] if line else None

    @contextmanager
    def caller(self, address: str) -> Iterator[Caller]:
        """A stock client, once the daemon trades or is dead."""
        with connected(address) as caller:
            deadline = time.monotonic() + START_SECONDS
            while not self.is_over() and time.monotonic() < deadline and not _trades(caller):
                time.sleep(LOOK_SECONDS)
            yield caller

    def drain(self) -> None:
        """Tell it to."""
        self.process.send_signal(signal.SIGTERM)


def _trades(caller: Caller) -> bool:
    try:
        return caller.status(seconds=2.0).trading_allowed
    except Refused:
        return False


@contextmanager
def born(config: Path, *, log: Path, mark: Path, module: Sequence[str]) -> Iterator[Life]:
    """Start a daemon that may leave a mark when it kills itself; at the end of the block it is dead in any case."""
    command = [sys.executable, "-m", *module, "serve", "--config", str(config), "--json"]
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    with process:
        life = Life(process=process, mark=mark, log=log)
        try:
            yield life
        finally:
            life.kill()

"""The processes of the demo: started with their output in files, watched, and ended whatever happens."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from attrs import define, field

from executor.cli.demo.failure import DemoFailed
from executor.cli.demo.interruption import Interruption

DYING_SECONDS = 0.5
LOOK_SECONDS = 0.02
ABORT_SECONDS = 3.0
LAST_WORDS = 300
EXECUTOR = (sys.executable, "-m", "executor")
"""How the demo starts the executor's other commands."""

Json = Any


@define(kw_only=True, eq=False)
class Child:
    """One process, the leader of a session of its own: a terminal's Ctrl-C does not reach it, and what it starts is found."""

    name: str
    log_path: Path
    """What it writes to stderr."""
    abort_seconds: float
    """For it to end in order when the demo is broken off; then it is killed."""
    _output_path: Path
    _process: "subprocess.Popen[bytes]"

    @property
    def pid(self) -> int:
        """Of the process, and of its group."""
        return self._process.pid

    def announcement(self, timeout_seconds: float) -> Json:
        """Wait for the line of JSON that it prints once it listens. Raises DemoFailed with its own last words."""
        first: list[str] = []

        def announced() -> bool:
            first[:] = self._output_path.read_text(encoding="utf-8").splitlines(keepends=True)[:1]
            self.require_alive(during="its start")
            return bool(first) and first[0].endswith("\n")

        if not _until(announced, timeout_seconds):
            raise DemoFailed(f"the {self.name} said nothing within {timeout_seconds:g} s of its start{self._last_words()}")
        return json.loads(first[0])

    def require_alive(self, *, during: str = "the demo") -> None:
        """Raise DemoFailed if it has ended."""
        code = self._process.poll()
        if code is not None:
            raise DemoFailed(f"the {self.name} ended during {during}, {_described(code)}{self._last_words()}")

    @property
    def has_ended(self) -> bool:
        """Whether it is gone."""
        return self._process.poll() is not None

    def ends_within(self, seconds: float) -> bool:
        """Wait for its end, and tell whether it came."""
        return _until(lambda: self.has_ended, seconds)

    def stop(self, timeout_seconds: float) -> None:
        """Send SIGTERM and wait. Raises DemoFailed: it takes longer, its exit code is not 0, or it leaves a process behind."""
        self.require_alive()
        self._process.terminate()
        if not self.ends_within(timeout_seconds):
            raise DemoFailed(f"the {self.name} did not end within {timeout_seconds:g} s of SIGTERM")
        if self._process.returncode:
            raise DemoFailed(f"the {self.name} ended on SIGTERM {_described(self._process.returncode)}{self._last_words()}")
        # What has ended but was not reaped yet by the system's first process is still in the group for a moment.
        if not _until(lambda: not self._has_group(), self.abort_seconds):
            raise DemoFailed(f"the {self.name} has left processes of its group {self.pid} behind")

    def end(self) -> None:
        """See to it that neither it nor anything that it started is there any more."""
        if self._process.poll() is None:
            self._process.terminate()
            self.ends_within(self.abort_seconds)
        if self._has_group():
            os.killpg(self.pid, signal.SIGKILL)
        self._process.communicate()  # waits, and closes the pipe

    def _has_group(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _last_words(self) -> str:
        lines = [line for line in self.log_path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return f"; its last words: {lines[-1][:LAST_WORDS]}" if lines else ""


@define
class Children:
    """All processes of the demo. Leaving the block ends them, the youngest first."""

    folder: Path
    interruption: Interruption
    abort_seconds: float = ABORT_SECONDS
    _started: list[Child] = field(factory=list)

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self.interruption.held():
            for child in reversed(self._started):
                child.end()

    def start(self, name: str, command: Sequence[str], *, cwd: Path | None = None) -> Child:
        """Run a command, in this folder unless told otherwise. Its stdin is a pipe that closes when we end, be it killed."""
        output_path, log_path = self.folder / f"{name}.out", self.folder / f"{name}.log"
        with self.interruption.held(), output_path.open("wb") as output, log_path.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - our own words
                command, stdin=subprocess.PIPE, stdout=output, stderr=log, start_new_session=True, cwd=cwd
            )
            child = Child(
                name=name, log_path=log_path, abort_seconds=self.abort_seconds, output_path=output_path, process=process
            )
            self._started.append(child)
        return child

    def require_alive(self) -> None:
        """Raise DemoFailed if one has ended."""
        for child in self._started:
            child.require_alive()

    def blame_the_dead(self) -> None:
        """Raise DemoFailed if one ends now: its connections break a moment before that is seen, and it is the better reason."""
        _until(lambda: any(child.has_ended for child in self._started), DYING_SECONDS)
        self.require_alive()


def _until(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True


def _described(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"

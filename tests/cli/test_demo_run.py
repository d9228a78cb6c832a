"""The whole demo, for real: what its reader is promised, and what is left when it is broken off or something dies."""

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from executor.cli import main
from executor.cli.demo.failure import DemoFailed
from executor.cli.demo.page import WIDTH, Page
from executor.cli.demo.show import Settings, perform
from executor.cli.demo.stage import Stage
from executor.cli.demo.summary import Summary
from executor.cli.demo.trades import Trade

pytestmark = pytest.mark.slow

MARK = "EXECUTOR_DEMO_TEST"
"""A variable of the environment, by which everything that a demo starts is found."""
QUICK = Settings(swaps=40, concurrency=8, seed=5, slot_ms=60)
COMMAND = [sys.executable, "-m", "executor", "demo", "--trades", "40", "--slot-ms", "60", "--seed", "5"]
SECONDS = 90
TOKENS = 6


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go; after the test nothing runs that was started in it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv(MARK, str(tmp_path))
    yield tmp_path
    assert running(tmp_path) == []


def running(folder: Path) -> list[str]:
    """Processes with the mark in their environment, except for this one, by their command lines."""
    mark = f"{MARK}={folder}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.name != str(os.getpid()) and mark in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


@define
class Watcher:
    """An audience that does something when so many trades have ended."""

    do: Callable[[Stage], None]
    after: int = 3
    stage: Stage | None = None
    seen: list[Trade] = field(factory=list)
    summary: Summary | None = None

    def opens(self) -> None:
        """Nothing to do."""

    def begins(self, stage: Stage) -> None:
        """Keep the stage."""
        self.stage = stage
        self._look()

    def sees(self, trade: Trade) -> None:
        """Count it."""
        self.seen.append(trade)
        self._look()

    def leaves(self, summary: Summary) -> None:
        """Keep the summary."""
        self.summary = summary

    def _look(self) -> None:
        if len(self.seen) == self.after and self.stage is not None:
            self.do(self.stage)


def test_the_demo_is_what_it_promises_to_be(folder: Path) -> None:
    """40 swaps over all pairs at all urgencies, the five cases among them, not one unit amiss, and nothing left behind."""
    ended = subprocess.run([*COMMAND, "--json"], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    *trades, summary = [json.loads(line) for line in ended.stdout.splitlines()]
    swaps = [line for line in trades if line["status"] == "SUCCESS"]
    counts = {name: summary[name] for name in ("trades", "success", "failed", "pending", "refused", "amount_mismatches")}
    assert counts == {"trades": 44, "success": 40, "failed": 1, "pending": 0, "refused": 3, "amount_mismatches": 0}
    assert 0 < summary["p50_broadcast_ms"] <= summary["p99_broadcast_ms"]
    assert (len(trades), summary["problems"], summary["wallet_unexplained"]) == (44, [], [])
    pairs = {(line["request"]["input_token"], line["request"]["output_token"]) for line in swaps}
    assert len(pairs) == TOKENS * (TOKENS - 1)
    assert len({line["request"]["urgency_level"] for line in swaps}) == 4
    assert sorted(line["case"] for line in trades if line["case"]) == [
        "empty balance",
        "foreign token",
        "lost send",
        "oversized amount",
        "stale quote",
    ]
    for line in swaps:
        for figure in ("executed_amount", "input_amount", "fees_paid", "rent_lamports"):
            assert line["result"][figure] == line["chain"][figure]
        assert line["result"]["input_amount"] == line["request"]["amount_lamports"]
    assert most_at_a_time(trades) == 8
    assert list(folder.iterdir()) == []


def most_at_a_time(trades: list[dict[str, Any]]) -> int:
    """How many were in flight together."""
    spans: list[tuple[float, float]] = [(line["began_seconds"], line["ended_seconds"]) for line in trades]
    return max(sum(began <= moment < ended for began, ended in spans) for moment, _ in spans)


def test_an_unexpected_end_fails_the_demo_and_names_the_trade(folder: Path) -> None:
    """Here a swap that has to succeed meets a quote that has gone stale; the page stays within its width all the same."""
    stale = {"target": "jupiter", "operation": "quote", "fault": {"kind": "stale-quote", "bps": 900}}
    page = io.StringIO()
    # Late enough that no case is left which asks for a quote and is refused all the same: it would meet it in a swap's place.
    watcher = Watcher(lambda stage: stage.network.order(stale), after=34)
    with pytest.raises(DemoFailed, match="should have ended as SUCCESS, ended as FAILED SLIPPAGE_EXCEEDED") as failure:
        perform(QUICK, Both(watcher, Page(page, QUICK)))
    assert watcher.summary is not None
    assert (watcher.summary.failed, watcher.summary.amount_mismatches, len(watcher.summary.problems)) == (2, 0, 1)
    assert max(map(len, page.getvalue().splitlines())) <= WIDTH
    (kept,) = folder.iterdir()
    assert [note for note in failure.value.__notes__ if str(kept / "daemon.log") in note and str(kept / "localnet.log") in note]
    assert "wallet.json" not in {path.name for path in kept.iterdir()}


@define
class Both:
    """Two audiences of one demo."""

    one: Watcher
    other: Page

    def opens(self) -> None:
        """Tell both."""
        self.other.opens()

    def begins(self, stage: Stage) -> None:
        """Tell both."""
        self.one.begins(stage)
        self.other.begins(stage)

    def sees(self, trade: Trade) -> None:
        """Tell both."""
        self.one.sees(trade)
        self.other.sees(trade)

    def leaves(self, summary: Summary) -> None:
        """Tell both."""
        self.one.leaves(summary)
        self.other.leaves(summary)


@pytest.mark.parametrize("name", ["daemon", "localnet"])
def test_a_process_that_dies_ends_the_demo(folder: Path, name: str) -> None:
    """At once, with a sentence that says which one and how."""

    def kill(stage: Stage) -> None:
        os.kill(stage.daemon.pid if name == "daemon" else stage.network.process.pid, signal.SIGKILL)

    watcher = Watcher(kill)
    with pytest.raises(DemoFailed, match=f"the {name} ended during the demo, killed by SIGKILL"):
        perform(QUICK, watcher)
    assert watcher.summary is None
    assert 3 <= len(watcher.seen) <= 3 + QUICK.concurrency


def test_a_localnet_that_cannot_start_is_told_in_its_own_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1, the reason on stderr, and the logs are there."""
    broken = folder / "site"
    broken.mkdir()
    (broken / "aiohttp.py").write_text("raise ImportError('not installed')\n")
    path = os.pathsep.join([str(broken), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)
    ended = subprocess.run([*COMMAND, "--json"], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    first, second = ended.stderr.splitlines()
    assert first.startswith("executor demo: the localnet ended during its start, with exit code 2; its last words: ")
    assert "pip install" in first
    assert second.startswith("logs are kept: ")
    assert Path(second.removeprefix("logs are kept: ")).is_file()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(folder: Path, number: signal.Signals) -> None:
    """In the middle of its trades: no process, no file, no stack trace."""
    process = subprocess.Popen([*COMMAND, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()
    process.send_signal(number)
    _, complaints = process.communicate(timeout=SECONDS)
    assert (process.returncode, complaints) == (130, "")
    assert list(folder.iterdir()) == []


def test_a_reader_who_leaves_ends_the_demo(folder: Path) -> None:
    """`executor demo | head -1` is no failure, and leaves as little behind."""
    process = subprocess.Popen([*COMMAND, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(SECONDS) == 0
    process.stderr.close()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--trades", "39"], "must lie between 40 and"),
        (["--slot-ms", "fast"], "'fast' is not a whole number"),
        (["--concurrency", "0"], "must lie between 1 and"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_starts(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and what is allowed."""
    with pytest.raises(SystemExit) as ended:
        main(["demo", *arguments])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err

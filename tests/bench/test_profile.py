"""The profiler counts what runs, and its tables put each sample where it belongs."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench.profile import REST, Frame, Sample, part_of, profile_of, profile_text, read_samples, stage_of
from tests.bench.sampler import Stack, sample_into, write

SITE = "/v/lib/python3.11/site-packages"
RUN = Frame(f"{SITE}/trio/_core/_run.py", 1, "run")
SOCKET = Frame(f"{SITE}/trio/_socket.py", 2, "send")
H11 = Frame(f"{SITE}/h11/_connection.py", 3, "send")
HTTP = Frame("/repo/executor/network/http.py", 4, "Http.request")
NODE = Frame("/repo/executor/network/solana.py", 5, "Node.simulate")
STAGE = Frame("/repo/executor/stages/simulation.py", 6, "simulate")
TRADE = Frame("/repo/executor/trade.py", 7, "run_trade")
JSON = Frame("/usr/lib/python3.11/json/decoder.py", 8, "raw_decode")
ATTRS = Frame("<attrs generated init executor.model.Order>", 9, "__init__")
SENDING = Sample(3, [SOCKET, H11, HTTP, NODE, STAGE, TRADE, RUN])
READING = Sample(2, [JSON, NODE, STAGE, TRADE, RUN])
IDLE = Sample(1, [RUN])
TRADING = Sample(4, [ATTRS, TRADE, RUN])


def test_a_sample_is_its_innermost_part_s() -> None:
    """A socket that the HTTP client writes to is the client's cost; trio alone is trio's."""
    assert [part_of(sample) for sample in (SENDING, READING, IDLE, TRADING)] == [
        "HTTP client",
        "JSON and reading answers",
        REST,
        "trade and desk",
    ]


def test_a_sample_is_its_outermost_stage_s() -> None:
    """Whatever it called."""
    assert [stage_of(sample) for sample in (SENDING, READING, IDLE, TRADING)] == [
        "stages/simulation",
        "stages/simulation",
        REST,
        "trade.py and desk.py",
    ]


def test_packages_are_named_by_where_they_were_installed() -> None:
    """The standard library's and generated functions, too."""
    assert [frame.package for frame in (SOCKET, H11, NODE, TRADE, JSON)] == [
        "trio",
        "h11",
        "executor/network",
        "executor/trade",
        "json",
    ]
    assert ATTRS.package == "attrs generated init executor.model.Order"


def test_all_tables_spread_the_same_time() -> None:
    """10 samples of 1 ms a trade."""
    profile = profile_of([SENDING, READING, IDLE, TRADING], cpu_seconds=0.1, trades=100)

    assert profile.samples == 10
    assert profile.microseconds_per_trade == pytest.approx(1_000.0)
    for costs in (profile.parts, profile.stages, profile.packages, profile.functions):
        assert sum(cost.microseconds for cost in costs) == pytest.approx(1_000.0)
    assert profile.parts[0].name == "trade and desk"
    by_name = {cost.name: cost.microseconds for cost in profile.cumulative}
    assert by_name[STAGE.title] == pytest.approx(500.0)
    assert by_name[RUN.title] == pytest.approx(1_000.0)
    assert "HTTP client" in profile_text(profile)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """Frames in their order, innermost first."""
    here: Stack = (test_what_is_written_is_read_again.__code__, make_stack.__code__)
    write(Counter({here: 7}), tmp_path / "stacks")

    (sample,) = read_samples(tmp_path / "stacks")
    assert sample.count == 7
    assert [frame.name for frame in sample.frames] == ["test_what_is_written_is_read_again", "make_stack"]


def make_stack() -> None:
    """Stands for any function."""


def test_time_is_counted_where_it_is_spent() -> None:
    """A loop that burns CPU time is what the sampler sees; the innermost frame is its own."""
    counts: Counter[Stack] = Counter()
    former = signal.getsignal(signal.SIGPROF)
    sample_into(counts)
    try:
        burn(lambda: sum(counts.values()) >= 3)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, former)

    assert any(code.co_name == "burn" for stack in counts for code in stack[:2])


def burn(enough: Callable[[], bool]) -> None:
    """Keep a core busy until it is enough, at most a second of it."""
    ticks = os.times()
    while not enough() and os.times().user - ticks.user < 1:
        sum(range(2_000))


def test_the_sampler_runs_any_command_of_the_executor(tmp_path: Path) -> None:
    """With its output and its exit code; without a signal it counts nothing."""
    stacks = tmp_path / "stacks"
    sampler = Path(__file__).with_name("sampler.py")
    done = subprocess.run(
        [sys.executable, str(sampler), str(stacks), "keygen", str(tmp_path / "key"), "--json"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(sampler.parents[2])},
    )

    assert json.loads(done.stdout)["path"] == str(tmp_path / "key")
    assert read_samples(stacks) == []

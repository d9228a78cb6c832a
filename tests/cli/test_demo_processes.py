"""Nothing that a demo starts outlives it, however it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.cli.demo.children import Child, Children
from executor.cli.demo.failure import DemoFailed
from executor.cli.demo.interruption import SIGNALS, Interruption

ABORT_SECONDS = 0.1
PATIENCE_SECONDS = 20.0
STUBBORN = "trap '' TERM; echo '{}'; while :; do sleep 0.05; done"
LEAVES_ONE_BEHIND = "sleep 60 & trap 'exit 0' TERM; echo '{}'; while :; do sleep 0.05; done"


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    """Processes that are ended after the test."""
    with Interruption() as interruption, Children(tmp_path, interruption, ABORT_SECONDS) as started:
        yield started


def shell(children: Children, script: str) -> Child:
    """Run a script of the shell's."""
    return children.start("script", ["sh", "-c", script])


def is_gone(group: int) -> bool:
    """No process of the group runs any more, at once or after a moment; what only waits to be reaped does not run."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(state not in "ZX" for state in states(group)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def states(group: int) -> Iterator[str]:
    """The states of a group's processes, as proc(5) has them."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == group:
            yield fields[0]


# --- children -----------------------------------------------------------------------------------------------------------------


def test_what_a_child_announces_is_read_once_its_line_is_whole(children: Children) -> None:
    """Half a line is no announcement; what follows it is none either."""
    child = shell(children, """printf '{"port"'; sleep 0.1; printf ': 1}\\n'; echo more; sleep 60""")
    assert child.announcement(PATIENCE_SECONDS) == {"port": 1}


def test_a_child_that_does_not_start_is_told_with_its_last_words(children: Children) -> None:
    """The reader learns what to do without opening a log."""
    child = shell(children, "echo first >&2; echo 'needs aiohttp' >&2; echo >&2; exit 2")
    with pytest.raises(DemoFailed, match="script ended during its start, with exit code 2; its last words: needs aiohttp"):
        child.announcement(PATIENCE_SECONDS)


def test_a_child_that_says_nothing_is_given_up(children: Children) -> None:
    """Waiting has an end."""
    with pytest.raises(DemoFailed, match=r"said nothing within 0\.05 s"):
        shell(children, "sleep 60").announcement(0.05)


def test_a_child_that_was_killed_is_told_with_its_signal(children: Children) -> None:
    """Who looks for the reason looks at the machine, then, and not at the log."""
    child = shell(children, "kill -KILL $$")
    assert child.ends_within(PATIENCE_SECONDS)
    with pytest.raises(DemoFailed, match=r"killed by SIGKILL$"):
        children.require_alive()


def test_a_child_that_ends_in_order_is_stopped(children: Children) -> None:
    """Exit code 0 after SIGTERM, and nothing is left."""
    child = shell(children, "trap 'exit 0' TERM; echo '{}'; while :; do sleep 0.01; done")
    child.announcement(PATIENCE_SECONDS)
    child.stop(PATIENCE_SECONDS)
    assert is_gone(child.pid)


@pytest.mark.parametrize(
    ("script", "seconds", "words"),
    [
        ("trap 'exit 3' TERM; echo '{}'; while :; do sleep 0.01; done", PATIENCE_SECONDS, "with exit code 3"),
        (STUBBORN, 0.05, "did not end within 0.05 s of SIGTERM"),
        (LEAVES_ONE_BEHIND, PATIENCE_SECONDS, "has left processes of its group"),
    ],
)
def test_a_child_that_does_not_end_as_it_must_is_a_failure(children: Children, script: str, seconds: float, words: str) -> None:
    """Another exit code, no end at all, and a process left behind."""
    child = shell(children, script)
    child.announcement(PATIENCE_SECONDS)
    with pytest.raises(DemoFailed, match=words):
        child.stop(seconds)


def test_a_child_that_has_ended_before_cannot_be_stopped(children: Children) -> None:
    """Even with exit code 0: it was not there when it was needed."""
    child = shell(children, "exit 0")
    assert child.ends_within(PATIENCE_SECONDS)
    with pytest.raises(DemoFailed, match="with exit code 0"):
        child.stop(PATIENCE_SECONDS)


@pytest.mark.parametrize("script", [STUBBORN, LEAVES_ONE_BEHIND, "sleep 60 & exit 1", "exit 0", "sleep 60"])
def test_leaving_the_block_ends_everything(tmp_path: Path, script: str) -> None:
    """Whoever ignores SIGTERM is killed, and so is what a child has left behind."""
    with Interruption() as interruption, Children(tmp_path, interruption, ABORT_SECONDS) as children:
        child = shell(children, script)
        time.sleep(0.05)
    assert is_gone(child.pid)


def test_children_write_into_files_of_their_own(tmp_path: Path, children: Children) -> None:
    """What they say is there for who looks for a reason."""
    child = children.start("python", [sys.executable, "-c", "import sys; print('{}'); print('words', file=sys.stderr)"])
    assert child.ends_within(PATIENCE_SECONDS)
    assert child.log_path.read_text() == "words\n"
    assert (tmp_path / "python.out").read_text() == "{}\n"


ON_A_LOCALNET = """
import pathlib, sys, time
from executor.cli.demo.children import Children
from executor.cli.demo.interruption import Interruption
from executor.cli.demo.stage import start_localnet
with Interruption() as interruption, Children(pathlib.Path(sys.argv[1]), interruption) as children:
    print(start_localnet(children, slot_ms=400, seed=1).process.pid, flush=True)
    time.sleep(60)
"""


def test_a_localnet_ends_with_its_demo(tmp_path: Path) -> None:
    """Even when the demo is killed and cannot end it."""
    command = [sys.executable, "-c", ON_A_LOCALNET, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        group = int(demo.stdout.readline())
        assert not any(state in "ZX" for state in states(group))
        demo.kill()
    assert is_gone(group)


ON_A_STAGE = """
import pathlib, sys, time
from functools import partial
from executor.cli.demo.children import Children
from executor.cli.demo.interruption import Interruption
from executor.cli.demo.stage import set_up, start_localnet
with Interruption() as interruption, Children(pathlib.Path(sys.argv[1]), interruption) as children:
    stage = set_up(children, partial(start_localnet, slot_ms=50, seed=1))
    print(stage.network.process.pid, stage.daemon.pid, flush=True)
    time.sleep(60)
"""


def test_a_daemon_ends_with_its_demo(tmp_path: Path) -> None:
    """As the localnet does, even when the demo is killed: nothing goes on trading that nobody sees."""
    command = [sys.executable, "-c", ON_A_STAGE, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        groups = [int(word) for word in demo.stdout.readline().split()]
        assert len(groups) == 2
        demo.kill()
    assert [is_gone(group) for group in groups] == [True, True]


# --- interruption -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_interrupts_once(number: signal.Signals) -> None:
    """The first ends what is being done; the following ones leave the cleanup in peace."""
    with Interruption():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)


def test_a_held_signal_waits_for_the_end_of_the_block() -> None:
    """Between the start of a process and its entry in the list of processes nothing can happen."""
    reached = []

    def be_signalled(interruption: Interruption) -> None:
        with interruption.held():
            os.kill(os.getpid(), signal.SIGTERM)
            reached.append("the end of the block")

    with Interruption() as interruption:
        with pytest.raises(KeyboardInterrupt):
            be_signalled(interruption)
        assert reached
        with interruption.held():
            pass  # it interrupts once


def test_signals_are_as_before_afterwards() -> None:
    """Also those that the caller ignores, which stay ignored in between: nohup would be of no use otherwise."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        known = [signal.getsignal(number) for number in SIGNALS]
        with Interruption():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not known[1]
        assert [signal.getsignal(number) for number in SIGNALS] == known
    finally:
        signal.signal(signal.SIGHUP, before)

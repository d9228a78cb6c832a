"""The command line itself: help, mistakes, and streams that nobody reads or that are closed."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from executor import __version__
from executor.cli import COMMANDS, main
from tests.cli.commands import (
    END_SECONDS,
    EXECUTOR,
    Capture,
    nobody_reads,
    redirected,
    run_aside,
)

NAMED = {
    "serve": ["--config", "--localnet", "--listen", "--slot-ms", "--seed", "--until-stdin-closes", "--json"],
    "localnet": ["--rpc-port", "--jupiter-port", "--nodes", "--slot-ms", "--seed", "--fund", "--until-stdin-closes", "--json"],
    "demo": ["--json"],
    "check": ["--config", "--json"],
    "trade": ["IN", "OUT", "AMOUNT", "--address", "--slippage-bps", "--urgency", "--request-id", "--timeout", "--json"],
    "trades": ["ID", "--config", "--state", "--open", "--source", "--since", "--until", "--token", "--limit", "--json"],
    "watch": ["REQUEST_ID", "--address", "--after", "--timeout", "--json"],
    "status": ["--address", "--timeout", "--json"],
    "halt": ["--address", "--why", "--timeout", "--json"],
    "resume": ["--address", "--why", "--timeout", "--json"],
    "keygen": ["path", "--json"],
}


def test_help_of_every_command(capsys: Capture) -> None:
    """--help of every command exits 0 and names its arguments."""
    assert set(NAMED) == set(COMMANDS)
    for command, words in NAMED.items():
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        page = capsys.readouterr().out
        assert ended.value.code == 0
        assert page.startswith(f"usage: executor {command} ")
        assert [word for word in words if word not in page] == []


def test_the_version_and_the_list_of_commands(capsys: Capture) -> None:
    """--version and --help exit 0; the one names the version, the other every command."""
    for words, expected in ((["--version"], [__version__]), (["--help"], list(COMMANDS))):
        with pytest.raises(SystemExit) as ended:
            main(words)
        page = capsys.readouterr().out
        assert (ended.value.code, [word for word in expected if word not in page]) == (0, [])


@pytest.mark.parametrize("words", [[], ["sell"], ["trade", "SOL"], ["status", "--timeout", "soon"]])
def test_a_command_line_that_makes_no_sense(words: list[str], capsys: Capture) -> None:
    """Exit code 2 and nothing on stdout."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert (ended.value.code, capsys.readouterr().out) == (2, "")


@pytest.mark.parametrize("buffering", [{}, {"PYTHONUNBUFFERED": "1"}])
@pytest.mark.parametrize("words", [["keygen", "FILE"], ["keygen", "--help"]])
def test_a_reader_that_has_gone(words: list[str], buffering: dict[str, str], tmp_path: Path) -> None:
    """`executor ... | head` succeeds without a word on stderr, whether or not output is buffered."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | buffering
    words = [word.replace("FILE", str(tmp_path / "wallet.json")) for word in words]
    with nobody_reads() as writer:
        ended = run_aside(*words, stdout=writer, stderr=subprocess.PIPE, env=environment)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("redirections", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_streams_that_are_closed(redirections: str, tmp_path: Path) -> None:
    """A command does its work without them: exit code 0, and the file that gets their numbers is not written to."""
    path = tmp_path / "wallet.json"
    ended = subprocess.run(redirected(redirections, "keygen", str(path)), capture_output=True, timeout=END_SECONDS, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert len(json.loads(path.read_text())) == 64


def test_a_disk_that_is_full_under_stdout(tmp_path: Path) -> None:
    """What was asked for cannot be told: exit code 1 and one sentence."""
    with Path("/dev/full").open("w") as full:
        ended = run_aside("keygen", str(tmp_path / "wallet.json"), stdout=full, stderr=subprocess.PIPE)
        page = run_aside("--help", stdout=full, stderr=subprocess.PIPE)
    assert (ended.returncode, ended.stderr) == (1, "stdout cannot be written: No space left on device\n")
    assert page.stderr == ended.stderr


@pytest.mark.parametrize("option", ["--request-id", "--source", "--address"])
def test_bytes_that_are_no_text(option: str, capsys: Capture) -> None:
    """They cannot go into a message: exit code 2 and a sentence that names the option."""
    with pytest.raises(SystemExit) as ended:
        main(["trade", "SOL", "USDC", "1", option, os.fsdecode(b"a\xff")])
    assert ended.value.code == 2
    assert f"{option}: 'a\\udcff' is not UTF-8 text" in capsys.readouterr().err


@pytest.mark.parametrize("timeout", ["nan", "-1", "0", "inf", "1e300", "soon"])
@pytest.mark.parametrize("words", [["status"], ["trade", "SOL", "USDC", "1"]])
def test_a_time_that_cannot_be_waited(words: list[str], timeout: str, capsys: Capture) -> None:
    """Exit code 2, and what is allowed."""
    with pytest.raises(SystemExit) as ended:
        main([*words, f"--timeout={timeout}"])
    assert ended.value.code == 2
    assert f"--timeout: must be more than 0 and at most 86400 seconds, is {timeout!r}" in capsys.readouterr().err


def test_ctrl_c_ends_a_waiting_command_quietly() -> None:
    """Exit code 130, as a shell expects of a command that a person interrupted, and no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(END_SECONDS)
        command = [*EXECUTOR, "status", "--timeout", "60", "--address", f"127.0.0.1:{silent.getsockname()[1]}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            connection, _ = silent.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=END_SECONDS)
    assert (process.returncode, out, err) == (130, "", "")

"""`executor serve` and `executor localnet`."""

import json
import os
import re
import signal
import socket
import subprocess
import urllib.error
from collections.abc import Sequence
from pathlib import Path

import pytest
from solders.keypair import Keypair

from executor.cli import localnet_process, main
from executor.cli.client import CallFailed
from executor.wallet.keystore import create_keypair_file
from tests.cli.commands import (
    END_SECONDS,
    EXECUTOR,
    Capture,
    nobody_reads,
    redirected,
    run_aside,
    serving,
    trades,
)
from tests.support.localnet import Localnet
from tests.support.settings import Place
from tests.support.waiting import wait_until


def test_sigterm_ends_a_daemon_in_order(ready: Place, wallet: Keypair) -> None:
    """It says where it listens and for which wallet, and exits 0 on SIGTERM; a second one on its data directory exits 2."""
    path = ready.folder / "config.toml"
    path.write_text(ready.config_text())
    with serving("--config", str(path)) as served:
        paths = {"keypair_path": str(ready.keypair_path), "data_directory": str(ready.data_directory)}
        assert served.facts == {"grpc": served.address, "wallet": str(wallet.pubkey()), **paths}
        second = run_aside("serve", "--config", str(path), capture_output=True)
        assert (second.returncode, second.stdout) == (2, "")
        assert "Traceback" not in second.stderr
        assert str(ready.data_directory) in second.stderr
        assert served.stop() == 0


def test_a_localnet_for_a_wallet_of_ones_own(ready: Place, wallet: Keypair) -> None:
    """--localnet with --config funds the wallet that the file names, keeps its data directory, and exits 0 on SIGINT."""
    path = ready.folder / "config.toml"
    path.write_text(ready.config_text())
    with serving("--localnet", "--config", str(path), "--slot-ms", "50") as served:
        assert served.facts["wallet"] == str(wallet.pubkey())
        assert served.facts["data_directory"] == str(ready.data_directory)
        assert served.localnet.nodes[0] not in ready.nodes
        assert served.localnet.holdings(wallet.pubkey()).lamports > 0
        assert served.stop(signal.SIGINT) == 0
    assert ready.journal_path.exists()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory with a wallet and nothing else, beside an empty directory for temporary files."""
    folder = tmp_path / "home"
    (tmp_path / "temporary").mkdir()
    create_keypair_file(str(folder / ".config/solana/id.json"))
    return folder


@pytest.mark.parametrize("named", [[], ["wallet"], ["daemon"]])
def test_a_localnet_touches_nothing_that_was_not_named(named: list[str], home: Path, place: Place) -> None:
    """serve --localnet --config: what the file does not name, wallet or journal, is temporary; both paths are told."""
    tables = {"wallet": f'keypair_path = "{place.keypair_path}"', "daemon": f'data_directory = "{place.data_directory}"'}
    place.write_wallet(Keypair())
    head, *tokens = place.config_text().split("[[tokens]]")
    nodes = head[head.index("[[solana.nodes]]") :]
    path = place.folder / "config.toml"
    path.write_text("\n".join([*(f"[{name}]\n{tables[name]}" for name in named), "[[tokens]]".join([nodes, *tokens])]))
    temporary = place.folder / "temporary"
    environment = {"HOME": str(home), "TMPDIR": str(temporary)}
    with serving("--localnet", "--config", str(path), environment=environment) as served:
        keypair_path, data_directory = Path(served.facts["keypair_path"]), Path(served.facts["data_directory"])
        numbers = json.loads(keypair_path.read_text())
        assert served.facts["wallet"] == str(Keypair.from_bytes(bytes(numbers)).pubkey())
        assert (data_directory / "journal.sqlite3").exists()
        assert served.stop() == 0
    assert (keypair_path == place.keypair_path) is ("wallet" in named)
    assert (data_directory == place.data_directory) is ("daemon" in named)
    assert temporary in keypair_path.parents or "wallet" in named
    assert temporary in data_directory.parents or "daemon" in named
    assert [file for file in home.rglob("*") if file.is_file()] == [home / ".config/solana/id.json"]
    assert list(temporary.iterdir()) == []


def test_a_localnet_ends_with_its_daemon(tmp_path: Path) -> None:
    """Even when the daemon is killed and cannot end it: nothing answers at its ports any more."""
    with serving("--localnet", environment={"TMPDIR": str(tmp_path)}) as served:
        localnet = served.localnet
        assert not is_silent(localnet)
        assert served.stop(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: is_silent(localnet), "the localnet ends")


def is_silent(localnet: Localnet) -> bool:
    """Nobody listens where it was."""
    try:
        localnet.state()
    except (urllib.error.URLError, ConnectionError):
        return True
    return False


@pytest.mark.parametrize("slot_ms", ["0", "50"])
def test_a_localnet_that_ends_with_its_stdin(slot_ms: str) -> None:
    """With --until-stdin-closes: exit code 0 once it closes, whatever was written before."""
    words = ["--until-stdin-closes", "--json", "--rpc-port", "0", "--jupiter-port", "0", "--slot-ms", slot_ms]
    pipe = subprocess.PIPE
    with subprocess.Popen([*EXECUTOR, "localnet", *words], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        process.stdin.write("words")
        process.stdin.flush()
        localnet = Localnet(tuple(node["url"] for node in facts["nodes"]), facts["jupiter"], facts["admin"], process)
        localnet.advance()
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(END_SECONDS) == 0


def test_a_localnet_that_ends_with_its_terminal() -> None:
    """A terminal that hangs up is a stdin that closes."""
    terminal, stdin = os.openpty()
    words = ["--until-stdin-closes", "--json", "--rpc-port", "0", "--jupiter-port", "0"]
    with subprocess.Popen([*EXECUTOR, "localnet", *words], stdin=stdin, stdout=subprocess.PIPE) as process:
        os.close(stdin)
        assert process.stdout is not None
        assert process.stdout.readline()
        os.close(terminal)
        assert process.wait(END_SECONDS) == 0


def test_a_stdin_that_cannot_close() -> None:
    """A file has no other end: exit code 2 and a sentence, rather than a localnet that nothing ends."""
    ended = run_aside("localnet", "--until-stdin-closes", stdin=subprocess.DEVNULL, capture_output=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "--until-stdin-closes" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_a_taken_port(words: Sequence[str], ready: Place, capsys: Capture) -> None:
    """Exit code 2, and a sentence that names the address."""
    path = ready.folder / "config.toml"
    path.write_text(ready.config_text())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run_aside("serve", "--config", str(path), "--listen", address, *words, capture_output=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines()[-1].startswith(f"cannot listen on {address}: ")


@pytest.mark.parametrize("address", ["50051", "127.0.0.1:99999", "unix:relative", "", " ", os.fsdecode(b"\xff:1")])
def test_an_address_that_is_none(address: str, capsys: Capture) -> None:
    """--listen takes what the configuration takes: exit code 2, and what is allowed."""
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--listen", address])
    assert ended.value.code == 2
    assert f"--listen: {address!r} is not host:port" in capsys.readouterr().err


FULL = ["> /dev/full", "2> /dev/full", "> /dev/full 2>&1"]
CLOSED = [">&-", "2>&-", ">&- 2>&- <&-"]
UNREAD = [">&0", "2>&0", ">&0 2>&0"]
"""Where stdin is the end of a pipe that nobody reads."""


@pytest.mark.parametrize("redirections", [*FULL, *CLOSED, *UNREAD])
def test_a_daemon_that_nobody_hears(redirections: str, ready: Place) -> None:
    """Its streams are full, closed, or read by nobody any more: it trades, and ends with 0."""
    address = f"unix:{ready.folder / 's'}"
    path = ready.folder / "config.toml"
    path.write_text(ready.config_text())
    with nobody_reads() as writer:
        command = redirected(redirections, "serve", "--listen", address, "--config", str(path))
        process = subprocess.Popen(command, stdin=writer)
    try:
        wait_until(lambda: process.poll() is not None or answers(address), "the daemon trades", seconds=END_SECONDS)
        assert main(["trade", "SOL", "USDC", "0.1", "--address", address]) == 0
    finally:
        process.terminate()
    assert process.wait(END_SECONDS) == 0
    assert ready.journal_path.read_bytes().startswith(b"SQLite format 3")


def answers(address: str) -> bool:
    """Whether a daemon that may not listen yet trades."""
    try:
        return trades(address)
    except CallFailed:
        return False


def test_a_daemon_that_ends_with_its_stdin(ready: Place) -> None:
    """With --until-stdin-closes it drains as on SIGTERM once it closes, whatever was written before: exit code 0."""
    path = ready.folder / "config.toml"
    path.write_text(ready.config_text())
    words = ["serve", "--json", "--until-stdin-closes", "--config", str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen([*EXECUTOR, *words], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["grpc"]
        process.stdin.write("words")
        process.stdin.flush()
        wait_until(lambda: answers(address), "the daemon trades", seconds=END_SECONDS)
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(END_SECONDS) == 0


def test_a_daemon_that_ends_with_its_terminal(ready: Place) -> None:
    """A terminal that hangs up is a stdin that closes; one that hung up before the daemon was ready, too."""
    path = ready.folder / "config.toml"
    path.write_text(ready.config_text())
    terminal, stdin = os.openpty()
    words = ["serve", "--until-stdin-closes", "--config", str(path)]
    with subprocess.Popen([*EXECUTOR, *words], stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        os.close(stdin)
        os.close(terminal)
        assert process.wait(END_SECONDS) == 0


@pytest.mark.parametrize("redirections", ["< /dev/null", "<&-"])
def test_a_stdin_of_a_daemon_that_cannot_close(redirections: str, tmp_path: Path) -> None:
    """It has no other end: exit code 2 and a sentence, rather than a daemon that nothing ends."""
    command = redirected(redirections, "serve", "--until-stdin-closes")
    ended = subprocess.run(command, capture_output=True, text=True, timeout=END_SECONDS, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "--until-stdin-closes needs a pipe, a socket or a terminal as stdin\n"


def test_a_socket_file(ready: Place, capsys: Capture) -> None:
    """unix:/path is an address like any other, in the file of --config and for the commands that call."""
    address = f"unix:{ready.folder / 's'}"
    path = ready.folder / "config.toml"
    path.write_text(ready.config_text(grpc={"listen_address": address}))
    with serving("--config", str(path), listen=None) as served:
        assert served.address == address
        wait_until(lambda: trades(address), "the daemon trades", seconds=END_SECONDS)
        assert main(["trade", "SOL", "USDC", "0.1", "--address", address]) == 0
        assert served.stop() == 0


def test_ready_in_words(ready: Place, wallet: Keypair) -> None:
    """Without --json the one line on stdout is a sentence with the address and the wallet."""
    path = ready.folder / "config.toml"
    path.write_text(ready.config_text())
    command = [*EXECUTOR, "serve", "--config", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
    paths = re.escape(f"of {ready.keypair_path}, journal in {ready.data_directory}")
    assert re.fullmatch(rf"ready on 127\.0\.0\.1:\d+, wallet {wallet.pubkey()} {paths}\n", line)
    assert process.returncode == 0


def test_the_shipped_defaults_are_a_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture) -> None:
    """Without --config the defaults count: serve looks for the wallet in the home directory, and exits 2 as there is none."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["serve"]) == 2
    assert str(tmp_path / ".config/solana/id.json") in capsys.readouterr().err


def test_a_localnet_that_does_not_start(capfd: pytest.CaptureFixture[str]) -> None:
    """serve --localnet exits 2; the localnet's own message stands above the sentence that says so."""
    assert main(["serve", "--localnet", "--slot-ms", "-5"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert "--slot-ms" in lines[-2]
    assert "exit code 2" in lines[-1]


def test_a_localnet_that_is_asked_for_wrongly(capsys: Capture) -> None:
    """Exit code 2 and a sentence that names the argument."""
    assert main(["localnet", "--confirmed-after", "40", "--finalized-after", "32"]) == 2
    assert "--confirmed-after" in capsys.readouterr().err


def children(word: str) -> list[int]:
    """Processes of ours with this argument."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            words = (process / "cmdline").read_text().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == os.getpid() and word in words:
            found.append(int(process.name))
    return found


def test_a_localnet_that_does_not_heed_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving the block leaves no process behind, whatever state it is in."""
    monkeypatch.setattr(localnet_process, "STOP_SECONDS", 0.1)
    with localnet_process.start_localnet(fund=[], slot_ms=400, seed=808_017, nodes=2) as addresses:
        assert [node.name for node in addresses.nodes] == ["node-0", "node-1"]
        (process,) = children("808017")
        os.kill(process, signal.SIGSTOP)
    assert children("808017") == []

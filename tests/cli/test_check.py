"""`executor check`."""

import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair

from executor.cli import main
from tests.cli.commands import END_SECONDS, EXECUTOR, Capture, free_port, printed, run_aside, serving, trades
from tests.support.daemon import in_thread
from tests.support.localnet import Localnet
from tests.support.relays import relay_jupiter
from tests.support.settings import Place
from tests.support.upstream import open_upstream
from tests.support.waiting import wait_until


def check(place: Place, capsys: Capture, text: str | None = None) -> tuple[int, dict[str, tuple[bool, str]]]:
    """`executor check --json` with this config.toml: the exit code, and for each subject whether it is well and why."""
    path = place.folder / "config.toml"
    path.write_text(place.config_text() if text is None else text)
    code = main(["check", "--json", "--config", str(path)])
    answer = printed(capsys)
    assert answer["ok"] == (code == 0)
    return code, {finding["subject"]: (finding["ok"], finding["detail"]) for finding in answer["findings"]}


def failing(findings: Mapping[str, tuple[bool, str]]) -> list[str]:
    """The subjects that are not well."""
    return [subject for subject, (ok, _) in findings.items() if not ok]


def test_all_is_well(ready: Place, wallet: Keypair, capsys: Capture) -> None:
    """Exit code 0; wallet, every node, tokens, balance, key and Jupiter were looked at."""
    code, findings = check(ready, capsys)
    places = ["data directory", "listen address"]
    subjects = ["config", *places, "wallet", "node node-0", "node node-1", "tokens", "wallet balance", "jupiter key", "jupiter"]
    assert (code, list(findings)) == (0, subjects)
    assert findings["wallet"] == (True, str(wallet.pubkey()))
    assert not ready.data_directory.exists()
    assert findings["wallet balance"] == (True, "1000 SOL")
    assert "SOL -> USDC" in findings["jupiter"][1]


def test_a_page_for_people(ready: Place, capsys: Capture) -> None:
    """Without --json it is a line for each subject, which begins with its state."""
    path = ready.folder / "config.toml"
    path.write_text(ready.config_text())
    ready.keypair_path.chmod(0o640)
    assert main(["check", "--config", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines][2:5] == [["ok", "listen"], ["FAIL", "wallet"], ["ok", "node"]]


def test_a_wallet_that_is_missing(place: Place, capsys: Capture) -> None:
    """Exit code 1; the wallet fails alone, and there is no balance to look at."""
    code, findings = check(place, capsys)
    assert (code, failing(findings)) == (1, ["wallet"])
    assert "wallet balance" not in findings


def test_a_wallet_that_others_can_read(ready: Place, capsys: Capture) -> None:
    """Exit code 1, and the remedy."""
    ready.keypair_path.chmod(0o644)
    code, findings = check(ready, capsys)
    assert (code, failing(findings)) == (1, ["wallet"])
    assert f"chmod 600 {ready.keypair_path}" in findings["wallet"][1]


@pytest.mark.parametrize("lamports", [0, 5_000_000])
def test_a_wallet_that_cannot_pay(lamports: int, chain: Localnet, place: Place, capsys: Capture) -> None:
    """A balance that is not above the reserve fails, whether the account exists or not."""
    place.write_wallet(chain.new_wallet(lamports=lamports, tokens={}) if lamports else Keypair())
    code, findings = check(place, capsys)
    assert (code, failing(findings)) == (1, ["wallet balance"])


def test_a_node_that_is_dead(ready: Place, capsys: Capture) -> None:
    """Exit code 1; the dead node fails under its name, and what the other one can answer is still well."""
    dead = f"http://127.0.0.1:{free_port()}"
    place = Place(folder=ready.folder, nodes=(ready.nodes[0], dead), jupiter=ready.jupiter)
    code, findings = check(place, capsys)
    assert (code, failing(findings)) == (1, ["node node-1"])


def test_no_node_lives(ready: Place, capsys: Capture) -> None:
    """Everything that a node has to answer fails; nothing else does."""
    place = Place(folder=ready.folder, nodes=(f"http://127.0.0.1:{free_port()}",), jupiter=ready.jupiter)
    code, findings = check(place, capsys)
    assert (code, failing(findings)) == (1, ["node node-0", "tokens", "wallet balance"])


def test_jupiter_is_dead(ready: Place, capsys: Capture) -> None:
    """Exit code 1; Jupiter fails alone."""
    place = Place(folder=ready.folder, nodes=ready.nodes, jupiter=f"http://127.0.0.1:{free_port()}/swap/v1")
    code, findings = check(place, capsys)
    assert (code, failing(findings)) == (1, ["jupiter"])


def test_a_mint_that_does_not_exist(ready: Place, capsys: Capture) -> None:
    """Exit code 1; the token is named by its symbol."""
    text = ready.config_text() + f'[[tokens]]\nsymbol = "GONE"\nmint = "{Keypair().pubkey()}"\nmax_amount = 1\n'
    code, findings = check(ready, capsys, text)
    assert (code, failing(findings)) == (1, ["tokens"])
    assert findings["tokens"][1] == "GONE does not exist on this cluster"


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_tokens(count: int, ready: Place, capsys: Capture) -> None:
    """A whitelist with which no trade is possible fails, and says how many tokens it has."""
    head, *tokens = ready.config_text().split("[[tokens]]")
    code, findings = check(ready, capsys, "[[tokens]]".join([head, *tokens[:count]]) if count else f"tokens = []\n{head}")
    assert (code, failing(findings)) == (1, ["jupiter"])
    assert findings["jupiter"][1].startswith(f"{count} tokens")


def test_the_key_of_jupiter(ready: Place, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is configured and missing fails; one that is set is well, and is not printed."""
    text = ready.config_text(jupiter={"api_key_env": "KEY_OF_THIS_TEST"})
    monkeypatch.delenv("KEY_OF_THIS_TEST", raising=False)
    code, findings = check(ready, capsys, text)
    assert (code, failing(findings)) == (1, ["jupiter key"])
    monkeypatch.setenv("KEY_OF_THIS_TEST", "very-secret")
    code, findings = check(ready, capsys, text)
    assert (code, findings["jupiter key"]) == (0, (True, "from $KEY_OF_THIS_TEST"))
    assert "very-secret" not in str(findings)


def test_a_daemon_that_runs_already(ready: Place, capsys: Capture) -> None:
    """Exit code 0: its journal and its address are in use, which is said; it is left in peace, and no file is made."""
    text = ready.config_text(grpc={"listen_address": f"127.0.0.1:{free_port()}"})
    (ready.folder / "config.toml").write_text(text)
    with serving("--config", str(ready.folder / "config.toml"), listen=None) as served:
        wait_until(lambda: trades(served.address), "the daemon trades", seconds=END_SECONDS)
        files = {*ready.folder.rglob("*")}
        code, findings = check(ready, capsys, text)
        assert {*ready.folder.rglob("*")} == files
        assert trades(served.address)
        assert served.stop() == 0
    assert (code, failing(findings)) == (0, [])
    in_use = "is in use by an executor that is running"
    assert findings["data directory"] == (True, f"{ready.data_directory} {in_use}")
    assert findings["listen address"] == (True, f"{served.address} {in_use}")


def test_places_that_cannot_be_used(ready: Place, capsys: Capture) -> None:
    """A data directory that is a file, and an address that is somebody else's: both fail, each with its setting."""
    ready.data_directory.write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, findings = check(ready, capsys, ready.config_text(grpc={"listen_address": address}))
    assert (code, failing(findings)) == (1, ["data directory", "listen address"])
    assert "daemon.data_directory" in findings["data directory"][1]
    assert "grpc.listen_address" in findings["listen address"][1]


def test_a_home_that_does_not_exist(ready: Place, capsys: Capture) -> None:
    """It fails as a finding: the others are looked at all the same."""
    code, findings = check(ready, capsys, ready.config_text(daemon={"data_directory": "~nobody-of-this-name/data"}))
    assert (code, failing(findings)) == (1, ["data directory"])


async def test_labels_of_jupiter_forge_no_line(ready: Place) -> None:
    """Exit code 0, and a line for each subject, whatever a market maker calls itself."""

    def renamed(quote: Any) -> Any:
        quote["routePlan"][0]["swapInfo"]["label"] = "\ud800\n\x1b[2Jok    all"
        return quote

    async with open_upstream() as jupiter:
        relay_jupiter(jupiter, ready.jupiter, quote=renamed)
        path = ready.folder / "config.toml"
        path.write_text(ready.config_text(jupiter={"url": jupiter.url}))
        ended = await in_thread(lambda: run_aside("check", "--config", str(path), capture_output=True))
    assert (ended.returncode, ended.stderr) == (0, "")
    *_, last = ended.stdout.splitlines()
    assert len(ended.stdout.splitlines()) == 10
    assert re.match(r"ok +jupiter .* SOL -> USDC through ", last)
    assert last.isprintable()


@contextmanager
def busy_port() -> Iterator[int]:
    """A port whose listener accepts nobody any more: who connects hangs."""
    with ExitStack() as opened:
        port = int(opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0)).getsockname()[1])
        while True:
            caller = opened.enter_context(socket.socket())
            caller.settimeout(0.1)
            try:
                caller.connect(("127.0.0.1", port))
            except TimeoutError:
                caller.close()
                break
        yield port


def connecting_to(port: int) -> bool:
    """Whether somebody waits for a connection to it, as proc_net_tcp(5) has it."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(int(remote.partition(":")[2], 16) == port and state == "02" for _, _, remote, state, *_ in rows)


def test_ctrl_c_ends_a_check_quietly(ready: Place) -> None:
    """Exit code 130 and no traceback, in the middle of connecting, which Trio does in a nursery."""
    with busy_port() as port:
        path = ready.folder / "config.toml"
        path.write_text(Place(folder=ready.folder, nodes=(f"http://127.0.0.1:{port}",), jupiter=ready.jupiter).config_text())
        command = [*EXECUTOR, "check", "--config", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            wait_until(lambda: connecting_to(port), "it connects")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=END_SECONDS)
    assert (process.returncode, out, err) == (130, "", "")


def test_every_mistake_of_a_config_at_once(place: Place, capsys: Capture) -> None:
    """Exit code 2, nothing on stdout, and a line on stderr for each mistake, with the file's name."""
    path = place.folder / "config.toml"
    path.write_text('nonsense = 1\n[daemon]\nlog_level = "loud"\n[limits]\nmax_slippage_bps = 10_001\n')
    assert main(["check", "--config", str(path)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    for word in ("nonsense", "log_level", "max_slippage_bps"):
        assert any(word in line and str(path) in line for line in output.err.splitlines()), output.err


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"[daemon\n"])
def test_a_config_that_cannot_be_read(content: bytes | None, tmp_path: Path, capsys: Capture) -> None:
    """Missing, not text, not TOML: exit code 2 and one sentence with the file's name."""
    path = tmp_path / "config.toml"
    if content is not None:
        path.write_bytes(content)
    assert main(["check", "--config", str(path)]) == 2
    assert capsys.readouterr().err.startswith(str(path))

"""The rehearsal's own parts: the validator is found or missed loudly, the bank pays, and whatever happens nothing is left behind.

What stands in for the validator here is a localnet that takes its arguments; tests/real_node has the real one.
"""

import json
import lzma
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from solders.hash import Hash
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from executor.cli import rehearse
from executor.cli.demo import validator
from executor.cli.demo.children import Children
from executor.cli.demo.failure import DemoFailed
from executor.cli.demo.interruption import Interruption
from executor.cli.demo.rehearsal import Bank, bank_key, export_genesis
from executor.cli.demo.validator import NoValidator, Validator, find_validator, free_ports, start_validator
from executor.localnet.tokens import BERN, SOL, USDC
from tests.cli.test_demo_run import MARK, running
from tests.support.localnet import Localnet
from tests.support.upstream import Upstream, open_upstream, rpc_error, rpc_result

SECONDS = 90
STAND_IN = """\
#!{python}
import json, os, pathlib, sys
arguments = sys.argv[1:]
def value(name):
    return arguments[arguments.index(name) + 1]
export = pathlib.Path(value("--account-dir")).parent
manifest = json.loads((export / "manifest.json").read_text())
bank = manifest["wallets"][0]["address"]
assert pathlib.Path(arguments[-1]).read_bytes()[:4] == bytes([127]) + b"ELF" and arguments[-2] == manifest["program"]["address"]
pathlib.Path(value("--ledger")).mkdir()
command = [sys.executable, "-m", "executor", "localnet", "--rpc-port", value("--rpc-port"), "--jupiter-port", "0", "--no-trader"]
command += ["--slot-ms", "60", "--skip-rate", "0", "--fund", bank, "--fund", bank]
os.environ["PYTHONPATH"] = {root!r}
os.execv(sys.executable, command)
"""
COMMAND = [sys.executable, "-m", "executor.cli.rehearse", "--json", "--trades", "40"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go; after the test nothing runs that was started in it."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv(MARK, str(temporary))
    yield temporary
    assert running(temporary) == []


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the environment names as the validator."""
    return program(
        tmp_path / "stand-in", STAND_IN.format(python=sys.executable, root=str(Path(rehearse.__file__).parents[2])), monkeypatch
    )


def program(path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that the environment names as the validator."""
    path.write_text(text)
    path.chmod(0o755)
    monkeypatch.setenv(validator.VARIABLE, str(path))
    return path


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    """Processes that are ended after the test."""
    with Interruption() as interruption, Children(tmp_path, interruption) as started:
        yield started


# --- finding a validator ------------------------------------------------------------------------------------------------------


def test_the_environment_names_the_validator(tmp_path: Path) -> None:
    """Before PATH and before the packed one."""
    assert find_validator({validator.VARIABLE: sys.executable}, unpack_into=tmp_path) == Path(sys.executable)


@pytest.mark.parametrize("named", ["/nowhere/at/all", "/", __file__])
def test_a_name_that_is_no_program_is_refused(named: str, tmp_path: Path) -> None:
    """Rather than another validator be taken than the one that was meant."""
    with pytest.raises(NoValidator, match=f"{validator.VARIABLE} names {named}"):
        find_validator({validator.VARIABLE: named, "PATH": "/bin"}, unpack_into=tmp_path)


def test_the_first_on_path_is_taken(tmp_path: Path) -> None:
    """When the environment names none."""
    found = tmp_path / validator.PROGRAM
    found.write_text("#!/bin/sh\n")
    found.chmod(0o755)
    assert find_validator({"PATH": f"/nowhere:{tmp_path}"}, unpack_into=tmp_path / "x") == found


def test_a_packed_one_is_unpacked(tmp_path: Path) -> None:
    """As a program of its owner's."""
    packed = tmp_path / "packed.xz"
    packed.write_bytes(lzma.compress(b"#!/bin/sh\n"))
    found = find_validator({}, unpack_into=tmp_path, packed=packed)
    assert (found.read_bytes(), found.stat().st_mode & 0o777) == (b"#!/bin/sh\n", 0o700)


def test_where_there_is_none_the_reader_learns_how_to_get_one(tmp_path: Path) -> None:
    """With the variable that names it."""
    with pytest.raises(NoValidator, match="cargo install agave-validator") as missing:
        find_validator({}, unpack_into=tmp_path, packed=tmp_path / "nothing")
    assert validator.VARIABLE in str(missing.value)


@pytest.mark.parametrize(("ci", "code"), [("", 2), ("true", 1)])
def test_without_a_validator_nothing_is_rehearsed(
    folder: Path, ci: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, as for every command that cannot be carried out; in CI it is a failure."""
    monkeypatch.setenv(validator.VARIABLE, "/nowhere")
    monkeypatch.setenv("CI", ci)
    assert rehearse.main(["--json"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "scripts/rehearse: SOLANA_TEST_VALIDATOR names /nowhere, which is no program\n"
    assert list(folder.iterdir()) == []


def test_a_node_and_its_export_need_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """One without the other is a mistake."""
    with pytest.raises(SystemExit) as ended:
        rehearse.main(["--node", "http://127.0.0.1:1"])
    assert ended.value.code == 2
    assert "need each other" in capsys.readouterr().err


# --- starting one -------------------------------------------------------------------------------------------------------------


def test_a_validator_that_dies_at_its_start_is_told_with_its_last_words(
    children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for."""
    broken = program(tmp_path / "broken", "#!/bin/sh\necho 'no such flag' >&2\nexit 3\n", monkeypatch)
    with pytest.raises(DemoFailed, match="validator ended during its start, with exit code 3; its last words: no such flag"):
        start_validator(children, broken, export_genesis(tmp_path / "export", seed=1))


def test_a_validator_that_makes_no_blocks_is_given_up(
    children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting has an end."""
    idle = program(tmp_path / "idle", "#!/bin/sh\nexec sleep 60\n", monkeypatch)
    with pytest.raises(DemoFailed, match=r"makes no blocks 0\.2 s after its start"):
        start_validator(children, idle, export_genesis(tmp_path / "export", seed=1), seconds=0.2)


def test_ports_are_free_and_the_second_follows_the_first() -> None:
    """The WebSocket's port is not ours to choose; when it is taken, another pair is."""
    rpc_port, faucet_port = free_ports()
    for port in (rpc_port, rpc_port + 1, faucet_port):
        socket.create_server(("127.0.0.1", port)).close()
    answers = iter([False, True])
    tried: list[int] = []

    def busy_at_first(port: int) -> bool:
        tried.append(port)
        return next(answers)

    assert free_ports(busy_at_first)[0] + 1 == tried[1]


def test_a_taken_port_is_not_free() -> None:
    """Nor is one beyond the last."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert not validator._is_free(taken.getsockname()[1])
    assert not validator._is_free(65_536)


# --- the bank -----------------------------------------------------------------------------------------------------------------


def test_the_bank_pays_lamports_and_tokens(chain: Localnet, tmp_path: Path) -> None:
    """By ordinary transactions, each confirmed; a token with a transfer fee arrives less that fee."""
    loaded = Validator(url=chain.nodes[0], export=export_genesis(tmp_path / "export", seed=1), process=None)
    keypair = bank_key(loaded)
    chain.fund(keypair.pubkey(), lamports=10**10, tokens={"USDC": 500, "BERN": 10_000})
    chain.advance(3)
    owner = Keypair().pubkey()
    Bank(node_url=chain.nodes[0], keypair=keypair).pay(owner, lamports=10**9, tokens={str(USDC.mint): 77, str(BERN.mint): 10_000})
    held = chain.holdings(owner)
    assert (held.lamports, held.tokens) == (10**9, {"USDC": 77, "BERN": 10_000 - 690})
    Bank(node_url=chain.nodes[0], keypair=keypair).pay(owner, lamports=0, tokens={str(USDC.mint): 1})
    assert (chain.holdings(owner).lamports, chain.holdings(owner).tokens["USDC"]) == (10**9, 78)
    loaded.close()  # somebody else's: nothing happens


def scripted(node: Upstream, *statuses: object) -> None:
    """A node that takes everything."""
    node.always("getLatestBlockhash", rpc_result({"value": {"blockhash": str(Hash.default()), "lastValidBlockHeight": 9}}))
    node.always("sendTransaction", rpc_result("5ig"))
    steps = [rpc_result({"value": [status]}) for status in statuses]
    node.script("getSignatureStatuses", *steps[:-1])
    node.always("getSignatureStatuses", steps[-1])


async def pay(node: Upstream, *, patience_seconds: float = 20.0) -> None:
    """Pay one lamport while this thread serves the node."""
    owner = Pubkey(b"\x66" * 32)
    bank = Bank(node_url=node.url, keypair=Keypair(), patience_seconds=patience_seconds, send_again_seconds=0.0)
    await trio.to_thread.run_sync(lambda: bank.pay(owner, lamports=1, tokens={str(SOL.mint): 0}))


async def test_a_payment_that_is_only_processed_is_waited_for() -> None:
    """And sent again meanwhile: the same bytes."""
    processed = {"err": None, "confirmationStatus": "processed"}
    async with open_upstream() as node:
        scripted(node, None, processed, {"err": None, "confirmationStatus": "confirmed"})
        await pay(node)
        wires = {request.json["params"][0] for request in node.received("sendTransaction")}
    assert (len(wires), len(node.received("sendTransaction"))) == (1, 3)


async def test_a_payment_that_fails_is_told() -> None:
    """With the chain's error."""
    async with open_upstream() as node:
        scripted(node, {"err": "AccountNotFound", "confirmationStatus": "processed"})
        with pytest.raises(DemoFailed, match="the bank cannot pay: AccountNotFound"):
            await pay(node)


async def test_a_payment_that_does_not_land_is_given_up() -> None:
    """Waiting has an end."""
    async with open_upstream() as node:
        scripted(node, None)
        with pytest.raises(DemoFailed, match="1 of the bank's transfers are not confirmed"):
            await pay(node, patience_seconds=0.15)


async def test_a_node_that_refuses_a_payment_is_told() -> None:
    """In its words."""
    async with open_upstream() as node:
        scripted(node, None)
        node.always("sendTransaction", rpc_error(-32602, "too large"))
        with pytest.raises(DemoFailed, match=r"refuses sendTransaction.*too large"):
            await pay(node)


# --- the whole ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_demo_is_played_on_what_the_environment_names(folder: Path, stand_in: Path) -> None:
    """From the first process to the last one's end: the demo's lines, its summary, and nothing left behind."""
    ended = subprocess.run(COMMAND, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    *trades, summary = [json.loads(line) for line in ended.stdout.splitlines()]
    counts = {name: summary[name] for name in ("trades", "success", "failed", "pending", "refused", "amount_mismatches")}
    assert counts == {"trades": 44, "success": 40, "failed": 1, "pending": 0, "refused": 3, "amount_mismatches": 0}
    assert (len(trades), summary["ok"]) == (44, True)
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_a_rehearsal_that_is_broken_off_leaves_nothing(folder: Path, stand_in: Path) -> None:
    """In the middle of its trades: no process, no file, no stack trace."""
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=SECONDS)
    assert (process.returncode, complaints) == (130, "")
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_a_person_who_leaves_early_ends_the_rehearsal(folder: Path, stand_in: Path) -> None:
    """The page says what is played and where; `| head` is no failure."""
    command = [argument for argument in COMMAND if argument != "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    head = [process.stdout.readline() for _ in range(5)]
    process.stdout.close()
    assert process.wait(SECONDS) == 0
    process.stderr.close()
    assert head[0].startswith("Live trade executor: a rehearsal")
    assert "Agave validator of this machine's own with slots of 400 ms." in " ".join(head[1:3]).replace("\n", "")
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_a_validator_that_dies_ends_the_rehearsal(folder: Path, stand_in: Path) -> None:
    """At once, with a sentence that says which one and how; the logs stay, keys and ledger do not."""
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()
    (pid,) = (int(path.name) for path in Path("/proc").glob("[0-9]*") if is_validator(path, folder))
    os.kill(pid, signal.SIGKILL)
    _, complaints = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert complaints.startswith("scripts/rehearse: the validator ended during the demo, killed by SIGKILL")
    (kept,) = folder.iterdir()
    assert not any(path.is_dir() or "wallet" in path.name for path in kept.iterdir())
    assert (kept / "validator.log").is_file()


def is_validator(path: Path, folder: Path) -> bool:
    """Whether a process is the stand-in of this test."""
    try:
        environment = (path / "environ").read_bytes().split(b"\0")
        return f"{MARK}={folder}".encode() in environment and b"--slot-ms\x0060" in (path / "cmdline").read_bytes()
    except OSError:
        return False

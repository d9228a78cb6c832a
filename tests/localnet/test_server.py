"""The localnet's process over real sockets: addresses, every fault on the wire, slots that pass, clean ends, clear refusals."""

import argparse
import asyncio
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from attrs import frozen
from solders.keypair import Keypair
from solders.rpc import responses

from executor.localnet import process, server
from executor.localnet.tokens import SOL, USDC

COMMAND = [sys.executable, "-m", "executor.localnet.process", "--rpc-port", "0", "--jupiter-port", "0"]
FUNDED = str(Keypair.from_seed(b"\7" * 32).pubkey())
EMPTY = str(Keypair.from_seed(b"\x08" * 32).pubkey())
PATIENCE_SECONDS = 10.0
PROCESSED = {"commitment": "processed"}


@frozen
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


def fetch(url: str, body: Any = None, *, method: str | None = None, timeout: float = PATIENCE_SECONDS) -> Answer:
    """One request on a connection of its own."""
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)) as connection:
        raw = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request(method or ("GET" if body is None else "POST"), target, raw, {"content-type": "application/json"})
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def call(method: str, *params: Any, number: int = 1) -> dict[str, Any]:
    """A JSON-RPC call."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}


class Running:
    """A localnet that runs."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        assert child.stdout is not None
        self.child = child
        self.addresses = json.loads(child.stdout.readline())
        self.nodes: list[str] = [node["url"] for node in self.addresses["nodes"]]
        self.admin: str = self.addresses["admin"]
        self.jupiter: str = self.addresses["jupiter"]

    def order(self, kind: str, *, target: str = "*", operation: str = "*", count: int | None = 1, **fields: Any) -> None:
        """Order a fault."""
        order = {"target": target, "operation": operation, "count": count, "fault": {"kind": kind, **fields}}
        assert fetch(f"{self.admin}/faults", order).status == 200

    def rpc(self, method: str, *params: Any, node: int = 0) -> Any:
        """The result of a call."""
        return fetch(self.nodes[node], call(method, *params)).json["result"]

    def advance(self, slots: int) -> Any:
        """Let slots pass; the state after them."""
        return fetch(f"{self.admin}/advance", {"slots": slots}).json

    def quote(self, *, timeout: float = PATIENCE_SECONDS) -> Answer:
        """Ask Jupiter for a quote."""
        query = f"inputMint={SOL.mint}&outputMint={USDC.mint}&amount=1000000000&slippageBps=50"
        return fetch(f"{self.jupiter}/quote?{query}", timeout=timeout)

    def airdrops(self) -> int:
        """The lamports of a wallet that only airdrops reach."""
        return int(self.rpc("getBalance", EMPTY, PROCESSED)["value"])


@contextmanager
def started(*flags: str) -> Iterator[Running]:
    """A localnet as a process of its own."""
    child = subprocess.Popen([*COMMAND, "--json", *flags], stdout=subprocess.PIPE, text=True)
    try:
        yield Running(child)
    finally:
        child.terminate()
        child.communicate(timeout=PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    """One localnet for the tests of this module, in which no slot passes by itself."""
    with started("--slot-ms", "0", "--skip-rate", "0", "--no-trader", "--nodes", "2", "--fund", FUNDED) as running:
        yield running


@pytest.fixture
def localnet(shared: Running) -> Iterator[Running]:
    """The shared localnet without faults."""
    yield shared
    assert fetch(f"{shared.admin}/faults", method="DELETE").status == 200


# --- addresses ----------------------------------------------------------------------------------------------------------------


def test_everything_listens_where_it_says(localnet: Running) -> None:
    """Two nodes, Jupiter and the admin endpoint on every port, all found through one line of JSON."""
    assert [node["name"] for node in localnet.addresses["nodes"]] == ["node-0", "node-1"]
    slots = [localnet.rpc("getSlot", node=number) for number in (0, 1)]
    assert slots[0] == slots[1] > 0
    assert localnet.quote().json["outputMint"] == str(USDC.mint)
    origin = localnet.jupiter.removesuffix("/swap/v1")
    assert fetch(f"{origin}/admin/state").json == fetch(f"{localnet.nodes[1]}/admin/state").json


def test_answers_come_as_from_a_node(localnet: Running) -> None:
    """JSON with a node's content type, read by solders; batches; a kept connection; the health path."""
    answer = fetch(localnet.nodes[0], call("getLatestBlockhash"))
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    parsed: Any = responses.GetLatestBlockhashResp.from_json(answer.body.decode())
    assert parsed.value.last_valid_block_height > 0
    batch = fetch(localnet.nodes[0], [call("getSlot", number=1), call("getHealth", number=2)]).json
    assert [part["id"] for part in batch] == [1, 2]
    assert fetch(f"{localnet.nodes[0]}/health").body == b"ok"


def test_funds_were_finalized_before_the_start(localnet: Running) -> None:
    """A funded wallet has SOL and tokens at finalized from the first call on, and there is a history of fees."""
    assert localnet.rpc("getBalance", FUNDED)["value"] == 1_000 * 10**9
    assert len(localnet.rpc("getTokenAccountsByOwner", FUNDED, {"mint": str(USDC.mint)}, {"encoding": "base64"})["value"]) == 1
    assert len(localnet.rpc("getRecentPrioritizationFees")) == 150


def test_bodies_are_bounded(localnet: Running) -> None:
    """A node takes as much as a real one, 50 KiB; no port takes more than 1 MiB."""
    assert fetch(localnet.nodes[0], b" " * (51 * 1024)).status == 413
    assert fetch(f"{localnet.admin}/faults", b" " * (2**20 + 1)).status == 413


def test_slots_are_advanced_by_hand(localnet: Running) -> None:
    """Without a slot length only the admin endpoint moves time."""
    before = localnet.rpc("getSlot", PROCESSED)
    assert localnet.rpc("getSlot", PROCESSED) == before
    state = localnet.advance(5)

    assert state["slots"]["processed"] == localnet.rpc("getSlot", PROCESSED) == before + 5


# --- faults on the wire -------------------------------------------------------------------------------------------------------


def test_latency_delays_one_call(localnet: Running) -> None:
    """The ordered call waits, the next one does not."""
    localnet.order("latency", target="node:node-0", operation="getSlot", seconds=0.2)
    started_at = time.monotonic()
    localnet.rpc("getSlot")
    slow = time.monotonic() - started_at
    localnet.rpc("getSlot")

    assert slow >= 0.2
    assert time.monotonic() - started_at - slow < 0.2


@pytest.mark.parametrize("executed", [False, True])
def test_a_hanging_call_never_answers(localnet: Running, executed: bool) -> None:
    """The caller waits in vain; whether the call was carried out is as ordered; others are served meanwhile."""
    before = localnet.airdrops()
    localnet.order("hang", operation="requestAirdrop", executed=executed)
    with pytest.raises(TimeoutError):
        fetch(localnet.nodes[0], call("requestAirdrop", EMPTY, 10**9), timeout=0.2)
    localnet.advance(1)

    assert localnet.airdrops() - before == (10**9 if executed else 0)


@pytest.mark.parametrize("executed", [False, True])
def test_a_reset_call_loses_its_answer(localnet: Running, executed: bool) -> None:
    """The connection ends with RST; whether the call was carried out is as ordered."""
    before = localnet.airdrops()
    localnet.order("reset", operation="requestAirdrop", executed=executed)
    with pytest.raises(ConnectionResetError):
        fetch(localnet.nodes[0], call("requestAirdrop", EMPTY, 10**9))
    localnet.advance(1)

    assert localnet.airdrops() - before == (10**9 if executed else 0)


def test_statuses_come_with_their_headers(localnet: Running) -> None:
    """429 with retry-after and rate limit headers, from Jupiter and from a node, twice; then all is well."""
    headers = {"retry-after": "2", "x-ratelimit-reset": "1795000000"}
    body = '{"code":429,"message":"[API Gateway] Too many requests"}'
    localnet.order("status", target="jupiter", operation="quote", count=2, status=429, headers=headers, body=body)
    localnet.order("status", target="node:node-1", status=503)
    answers = [localnet.quote() for _ in range(3)]

    assert [answer.status for answer in answers] == [429, 429, 200]
    assert headers.items() <= answers[0].headers.items()
    assert answers[0].json["code"] == 429
    assert fetch(localnet.nodes[0], call("getSlot")).status == 200
    assert fetch(localnet.nodes[1], call("getSlot")).status == 503


def test_truncated_answers_are_no_json(localnet: Running) -> None:
    """Half of the answer, as if it were whole; or half of what was announced, and then the end."""
    localnet.order("truncated", operation="getVersion")
    localnet.order("truncated", operation="getVersion", cut=True)
    half = fetch(localnet.nodes[0], call("getVersion"))
    assert half.status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(half.body)
    with pytest.raises(http.client.IncompleteRead):
        fetch(localnet.nodes[0], call("getVersion"))


def test_garbage_comes_under_status_200(localnet: Running) -> None:
    """A page in place of JSON."""
    localnet.order("garbage", target="jupiter")

    answer = localnet.quote()
    assert (answer.status, answer.body[:6]) == (200, b"<html>")


def test_faults_of_the_cores_work_over_the_wire(localnet: Running) -> None:
    """A JSON-RPC error, a lagging node and a quote that is too good, each for one call."""
    localnet.advance(40)
    localnet.order("rpc-error", code=-32005, message="Node is behind by 200 slots", data={"numSlotsBehind": 200})
    assert fetch(localnet.nodes[0], call("getSlot")).json["error"]["data"] == {"numSlotsBehind": 200}
    localnet.order("lag", target="node:node-1", operation="getSlot", slots=30)
    late, now = (localnet.rpc("getSlot", PROCESSED, node=1) for _ in range(2))
    assert now - late == 30
    localnet.order("stale-quote", bps=300)
    stale, true = (int(localnet.quote().json["outAmount"]) for _ in range(2))
    assert stale > true


def test_a_batch_meets_the_faults_of_its_calls(localnet: Running) -> None:
    """One request, struck as a whole by what was ordered of one call in it."""
    localnet.order("status", operation="getHealth", status=500)
    batch = [call("getSlot"), call("getHealth")]

    assert [fetch(localnet.nodes[0], batch).status for _ in range(2)] == [500, 200]


def test_a_drop_of_a_block_is_seen(localnet: Running) -> None:
    """An airdrop that was processed vanishes when its block is dropped by the admin endpoint."""
    before = localnet.airdrops()
    signature = localnet.rpc("requestAirdrop", EMPTY, 10**9)
    localnet.advance(1)
    assert localnet.rpc("getSignatureStatuses", [signature])["value"][0]["confirmationStatus"] == "processed"
    assert fetch(f"{localnet.admin}/fork", {"blocks": 1}).json == {"droppedBlocks": 1}

    assert localnet.rpc("getSignatureStatuses", [signature])["value"] == [None]
    assert localnet.airdrops() == before


def test_a_call_whose_caller_has_gone_just_ends() -> None:
    """Without a connection there is nothing to reset or to cut."""
    gone: Any = SimpleNamespace(transport=None)

    with pytest.raises(asyncio.CancelledError):
        server.transport(gone)


# --- the life of the process --------------------------------------------------------------------------------------------------


def test_slots_pass_by_themselves() -> None:
    """With a slot length the chain moves on, whoever asks."""
    with started("--slot-ms", "10", "--skip-rate", "0.1", "--seed", "4") as localnet:
        first = localnet.rpc("getSlot", PROCESSED)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while localnet.rpc("getSlot", PROCESSED) < first + 5:
            assert time.monotonic() < deadline
        state = fetch(f"{localnet.admin}/state").json

    assert state["seed"] == 4
    assert state["skippedSlots"] > 0
    assert state["transactions"] > 50  # of the trader


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_cleanly(number: signal.Signals) -> None:
    """Exit code 0 within a second or two, with a call that hangs and a connection that idles; nothing on stderr."""
    child = subprocess.Popen([*COMMAND, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    running = Running(child)
    running.order("hang")
    address = urlsplit(running.nodes[0])
    with socket.create_connection((address.hostname, address.port)) as hanging:
        body = json.dumps(call("getSlot")).encode()
        head = f"POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        hanging.sendall(head.encode() + body)
        while fetch(f"{running.admin}/faults").json["orders"]:
            pass
        child.send_signal(number)
        _, errors = child.communicate(timeout=PATIENCE_SECONDS)

    assert (child.returncode, errors) == (0, "")


def test_a_person_reads_the_addresses() -> None:
    """Without --json there is a line for each, ready to be copied."""
    child = subprocess.Popen([*COMMAND, "--slot-ms", "0"], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    lines = [child.stdout.readline().split() for _ in range(3)]
    child.terminate()
    child.communicate(timeout=PATIENCE_SECONDS)

    assert [name for name, _ in lines] == ["node-0", "jupiter", "admin"]
    assert lines[1][1].endswith("/swap/v1")
    assert child.returncode == 0


def test_a_taken_port_is_named(localnet: Running) -> None:
    """Exit code 2 and one sentence with the address."""
    port = str(urlsplit(localnet.nodes[0]).port)
    child = subprocess.run([*COMMAND, "--rpc-port", port], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)

    assert child.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in child.stderr
    assert "Traceback" not in child.stderr


def test_missing_aiohttp_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence that names the extra, exit code 2."""
    monkeypatch.setitem(sys.modules, "aiohttp", None)

    assert process.main(["--rpc-port", "0"]) == 2
    assert "pip install 'live-trade-executor[localnet]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--rpc-port", "70000"], "must lie between 0 and 65535, not 70000"),
        (["--nodes", "0"], "must lie between 1 and 32, not 0"),
        (["--slot-ms", "x"], "'x' is no whole number"),
        (["--skip-rate", "x"], "'x' is no number"),
        (["--skip-rate", "1"], "must be at least 0 and less than 1, not 1"),
        (["--fund", "me"], "'me' is no address"),
        (["--confirmed-after", "151"], "must lie between 0 and 150, not 151"),
    ],
)
def test_wrong_flags_are_refused(flags: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 with the reason."""
    with pytest.raises(SystemExit) as raised:
        process.main(flags)

    assert raised.value.code == 2
    assert sentence in capsys.readouterr().err


def test_commitments_must_be_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    """Confirmed cannot come after finalized."""
    assert process.main(["--confirmed-after", "5", "--finalized-after", "4"]) == 2
    assert "--confirmed-after" in capsys.readouterr().err


def test_ports_must_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """So many nodes from this port on would need ports beyond the last one."""
    assert process.main(["--rpc-port", "65530", "--nodes", "2"]) == 2
    assert "65540" in capsys.readouterr().err


def test_help_can_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    """What it is, every flag with its default, and how to order a fault."""
    with pytest.raises(SystemExit):
        process.main(["--help"])
    text = capsys.readouterr().out

    parser = argparse.ArgumentParser()
    process.add_arguments(parser)
    flags = [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]
    assert all(flag in text for flag in flags)
    assert "/admin/faults" in text

"""The commands that operators type, against a daemon and a localnet that are real processes.

A command runs in this process through `executor.cli.main`, unless a signal, a pipe or its end is what matters.
"""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from attrs import field, frozen
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from solders.keypair import Keypair

from executor import __version__
from executor.cli import COMMANDS, localnet_process, main
from executor.cli.client import SERVICE, CallFailed, connect
from executor.rpc import trade_executor_pb2 as pb
from executor.units import U64_MAX
from executor.wallet.keystore import create_keypair_file
from tests.support.daemon import in_thread
from tests.support.localnet import Localnet, mint
from tests.support.relays import relay_jupiter
from tests.support.settings import Place
from tests.support.upstream import open_upstream
from tests.support.waiting import wait_until

END_SECONDS = 30.0
EXECUTOR = (sys.executable, "-m", "executor")
Capture = pytest.CaptureFixture[str]


@frozen
class Served:
    """A daemon that runs as a process, and what it said when it was ready."""

    facts: Mapping[str, Any]
    process: "subprocess.Popen[str]" = field(repr=False)

    @property
    def address(self) -> str:
        """Where it takes calls."""
        return str(self.facts["grpc"])

    @property
    def localnet(self) -> Localnet:
        """The one that it started."""
        facts = self.facts["localnet"]
        return Localnet(tuple(node["url"] for node in facts["nodes"]), facts["jupiter"], facts["admin"], self.process)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to end; return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(END_SECONDS)


@contextmanager
def serving(*words: str, listen: str | None = "127.0.0.1:0", environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """`executor serve --json` until the block is left; it may have ended by then."""
    command = [*EXECUTOR, "serve", "--json", *(["--listen", listen] if listen else []), *words]
    env = {**os.environ, **(environment or {})}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            yield Served(json.loads(process.stdout.readline()), process)
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def daemon() -> Iterator[Served]:
    """`executor serve --localnet`, when it trades."""
    with serving("--localnet", "--slot-ms", "50") as served:
        wait_until(lambda: trades(served.address), "the daemon trades", seconds=END_SECONDS)
        yield served


def trades(address: str) -> bool:
    """Whether the daemon there says that it trades."""
    with connect(address) as client:
        return bool(client.status(timeout_seconds=END_SECONDS).trading_allowed)


def run_aside(*words: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a command as a process of its own, to its end."""
    return subprocess.run([*EXECUTOR, *words], text=True, timeout=END_SECONDS, check=False, **options)


def redirected(redirections: str, *words: str) -> list[str]:
    """A command whose streams a shell redirects."""
    return ["sh", "-c", f'exec "$@" {redirections}', "sh", *EXECUTOR, *words]


@contextmanager
def nobody_reads() -> Iterator[int]:
    """The end of a pipe whose other end is closed."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def printed(capsys: Capture) -> Any:
    """What a command with --json wrote: one line, one object."""
    (line,) = capsys.readouterr().out.splitlines()
    return json.loads(line)


@frozen
class Refusal:
    """An error status of something that speaks gRPC, with its trailing metadata."""

    code: grpc.StatusCode
    metadata: tuple[tuple[str, str | bytes], ...]


BUSY = Refusal(grpc.StatusCode.UNAVAILABLE, (("x-proxy", "busy"),))
"""By nothing that the executor knows."""
SOL_AND_USDC = pb.ExecutorStatus(
    trading_allowed=True,
    wallet=pb.WalletStatus(balances=[pb.WalletBalance(symbol=s, mint=mint(s), decimals=9) for s in ("SOL", "USDC")]),
)


@contextmanager
def telling(status: pb.ExecutorStatus | Refusal, trade: pb.TradeResult | Refusal = BUSY) -> Iterator[str]:
    """A gRPC server that answers every status and every trade alike."""

    def handler(answer: Message | Refusal, request: type[Message]) -> Any:
        def handle(_request: Message, context: Any) -> Message:
            if isinstance(answer, Refusal):
                context.set_trailing_metadata(answer.metadata)
                context.abort(answer.code, "not now")
            assert isinstance(answer, Message)
            return answer

        return grpc.unary_unary_rpc_method_handler(
            handle, request_deserializer=request.FromString, response_serializer=lambda reply: reply.SerializeToString()
        )

    handlers = {"GetExecutorStatus": handler(status, pb.Empty), "ExecuteTradeRequest": handler(trade, pb.TradeRequest)}
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE[1:], handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


# --- the command line itself --------------------------------------------------------------------------------------------------

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


# --- trade --------------------------------------------------------------------------------------------------------------------


def test_a_trade_by_symbol(daemon: Served, capsys: Capture) -> None:
    """SOL to USDC, whatever the case: SUCCESS, exit code 0, and a page with amounts, costs and the signature."""
    words = ["sol", "usdc", "0.25", "--address", daemon.address, "--request-id", "by-symbol", "--urgency", "high"]
    assert main(["trade", *words]) == 0
    page = capsys.readouterr().out
    assert page.startswith("SUCCESS  by-symbol\n")
    assert re.search(r"  0\.25 SOL -> \d+\.\d+ USDC  at \d", page)
    assert re.search(r"network fees \d+ lamports, rent 0\n", page)
    assert re.search(r"  signature [1-9A-HJ-NP-Za-km-z]{80,}\n$", page)


def test_a_trade_by_mint(daemon: Served, capsys: Capture) -> None:
    """USDC to SOL by their mints, as JSON: every figure is a number, and the same id later tells of the same trade."""
    words = ["trade", mint("USDC"), mint("SOL"), "12.5", "--address", daemon.address, "--json", "--request-id", "by-mint"]
    assert main(words) == 0
    result = printed(capsys)
    assert (result["status"], result["request_id"], result["input_amount"]) == ("TRADE_STATUS_SUCCESS", "by-mint", 12_500_000)
    assert result["executed_amount"] > 0
    assert main(words) == 0
    assert printed(capsys)["transaction_signature"] == result["transaction_signature"]
    with connect(daemon.address) as client:
        assert client.get("by-mint", timeout_seconds=5).transaction_signature == result["transaction_signature"]


def test_a_trade_that_fails(daemon: Served, capsys: Capture) -> None:
    """Jupiter answers nothing but 503: FAILED with the code, exit code 1, and no signature since nothing was sent."""
    daemon.localnet.order("status", target="jupiter", count=None, status=503)
    try:
        assert main(["trade", "SOL", "USDC", "0.1", "--address", daemon.address, "--request-id", "fails"]) == 1
    finally:
        daemon.localnet.clear()
    page = capsys.readouterr().out
    assert page.startswith("FAILED  fails\n  JUPITER_")
    assert "signature" not in page


def test_a_refused_trade_as_json(daemon: Served, capsys: Capture) -> None:
    """Exit code 1, and every field that is wrong with what is wrong about it; that nothing was traded is known."""
    words = ["--slippage-bps", "9999", "--source", "", "--json", "--request-id", "wrong", "--address", daemon.address]
    assert main(["trade", "SOL", "USDC", "0.1", *words]) == 1
    answer = printed(capsys)
    assert (answer["request_id"], answer["error_code"], answer["grpc_status"]) == ("wrong", "REQUEST_INVALID", "INVALID_ARGUMENT")
    assert set(answer["violations"]) == {"max_slippage_bps", "source_service"}
    assert answer["unknown"] is False


def test_a_refused_trade_in_words(daemon: Served, capsys: Capture) -> None:
    """Exit code 1, nothing on stdout, and on stderr the id and the reason."""
    assert main(["trade", "SOL", "USDC", "0.1", "--slippage-bps", "9999", "--address", daemon.address]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    named, refused = output.err.splitlines()
    assert named.startswith("request_id ")
    assert refused.startswith("refused: INVALID_ARGUMENT: ")


def test_a_trade_that_takes_longer_than_one_waits(daemon: Served, capsys: Capture) -> None:
    """Exit code 3, and under which id to ask again: the trade goes on."""
    words = ["trade", "SOL", "USDC", "0.1", "--address", daemon.address, "--request-id", "long"]
    assert main([*words, "--timeout", "0.01"]) == 3
    assert "--request-id long" in capsys.readouterr().err
    assert main(words) == 0


def test_a_trade_whose_end_is_not_known_in_time(daemon: Served, capsys: Capture) -> None:
    """PENDING is no failure: exit code 3, and a page with the signature to look for."""
    answer = pb.TradeResult(request_id="open", status=pb.TRADE_STATUS_PENDING, transaction_signature="5ig")
    with telling(SOL_AND_USDC, answer) as address:
        assert main(["trade", "SOL", "USDC", "0.1", "--address", address]) == 3
    assert capsys.readouterr().out == "PENDING  open\n  signature 5ig\n  to follow it: executor watch open\n"


def refused(code: grpc.StatusCode, domain: str = "") -> Refusal:
    """An error status, with google.rpc.ErrorInfo of this domain unless there is none."""
    info = AnyMessage()
    info.Pack(error_details_pb2.ErrorInfo(reason="SOME_REASON", domain=domain))
    details = status_pb2.Status(code=code.value[0], details=[info] if domain else []).SerializeToString()
    return Refusal(code, (("grpc-status-details-bin", details),))


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    ("refusal", "unknown"),
    [
        (refused(grpc.StatusCode.FAILED_PRECONDITION, "executor"), (False, False)),
        (refused(grpc.StatusCode.UNAVAILABLE, "executor"), (False, True)),
        (refused(grpc.StatusCode.ALREADY_EXISTS, "executor"), (False, True)),
        (refused(grpc.StatusCode.FAILED_PRECONDITION, "proxy.example"), (True, True)),
        (refused(grpc.StatusCode.RESOURCE_EXHAUSTED), (True, True)),
    ],
)
def test_only_the_executors_own_word_is_a_refusal(
    refusal: Refusal, unknown: tuple[bool, bool], named: bool, capsys: Capture
) -> None:
    """Whatever else ends the call, the trade may have been made: exit code 3, "unknown", and how to ask again.

    The same of an old id that is refused as UNAVAILABLE or ALREADY_EXISTS: neither says what became of the earlier call.
    """
    words = ["trade", "SOL", "USDC", "0.1", *(["--request-id", "old"] if named else [])]
    with telling(SOL_AND_USDC, refusal) as address:
        code = main([*words, "--address", address])
        told = capsys.readouterr().err.splitlines()
        assert main([*words, "--address", address, "--json"]) == code
    assert code == (3 if unknown[named] else 1)
    assert printed(capsys)["unknown"] is unknown[named]
    request_id = told[0].removeprefix("request_id ")
    assert told[1] == f"{'unknown' if unknown[named] else 'refused'}: {refusal.code.name}: not now"
    assert [f"--request-id {request_id}," in line for line in told[2:]] == [True] * unknown[named]
    assert (request_id == "old") is named


def test_a_trade_by_somebody_who_hears_nothing(daemon: Served) -> None:
    """A stderr that nobody reads keeps no trade from being made."""
    words = ["trade", "SOL", "USDC", "0.1", "--address", daemon.address, "--json"]
    with nobody_reads() as writer:
        ended = run_aside(*words, stdout=subprocess.PIPE, stderr=writer)
    assert (ended.returncode, json.loads(ended.stdout)["status"]) == (0, "TRADE_STATUS_SUCCESS")


ANSWERS = [
    (pb.TradeResult(status=pb.TRADE_STATUS_SUCCESS), 0),
    (pb.TradeResult(status=pb.TRADE_STATUS_FAILED), 1),
    (pb.TradeResult(status=pb.TRADE_STATUS_PENDING), 3),
    (BUSY, 3),
]


@pytest.mark.parametrize("buffering", [{}, {"PYTHONUNBUFFERED": "1"}])
@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize(("answer", "code"), ANSWERS)
def test_the_exit_code_tells_of_the_trade(
    answer: pb.TradeResult | Refusal, code: int, options: list[str], buffering: dict[str, str]
) -> None:
    """Nobody reads stdout, or its disk is full: that changes nothing about what became of the trade."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | buffering
    with telling(SOL_AND_USDC, answer) as address, nobody_reads() as writer, Path("/dev/full").open("w") as full:
        words = ["trade", "SOL", "USDC", "0.1", "--address", address, *options]
        codes = [run_aside(*words, stdout=out, stderr=subprocess.PIPE, env=environment).returncode for out in (writer, full)]
    assert codes == [code, code]


def test_the_words_of_others_forge_no_line(capsys: Capture) -> None:
    """What a daemon and its upstreams say is printed as one line each, whatever is in it."""
    evil = "x\n\x1b[2J\u202eSUCCESS"
    failed = pb.TradeResult(request_id="7", status=pb.TRADE_STATUS_FAILED, error_code="E", error_message=evil)
    status = pb.ExecutorStatus()
    status.CopyFrom(SOL_AND_USDC)
    status.trading_allowed = False
    status.not_allowed_because.append(evil)
    with telling(status, failed) as address:
        assert main(["trade", "SOL", "USDC", "0.1", "--address", address]) == 1
        assert capsys.readouterr().out == "FAILED  7\n  E: x\\n\\x1b[2J\\u202eSUCCESS\n"
        assert main(["status", "--address", address]) == 1
        assert capsys.readouterr().out.splitlines()[0].endswith("NOT TRADING: x\\n\\x1b[2J\\u202eSUCCESS")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["WIF", "USDC", "1"], "WIF"),
        (["SOL", "WIF", "1"], "WIF"),
        (["SOL", "USDC", "much"], "'much'"),
        (["SOL", "USDC", ""], "''"),
        (["SOL", "USDC", "nan"], "'nan'"),
        (["SOL", "USDC", "inf"], "'inf'"),
        (["SOL", "USDC", "1e999999"], "'1e999999'"),
        (["SOL", "USDC", "0"], "positive"),
        (["SOL", "USDC", "0.0000000001"], "9 decimals"),
        (["SOL", "USDC", "1.00000000000000000000000000001"], "9 decimals"),
        (["SOL", "USDC", "1e-999999"], "9 decimals"),
        (["SOL", "USDC", "1e12"], "at most 18446744073.709551615"),
        (["SOL", "USDC", "1e999990"], "at most 18446744073.709551615"),
        (["SOL", "USDC", os.fsdecode(b"\xff")], "'\\udcff'"),
        ([os.fsdecode(b"\xff"), "USDC", "1"], "\\udcff is not a token"),
        (["SOL", "USDC", "1", "--slippage-bps", "-1"], "-1"),
        (["SOL", "USDC", "1", "--slippage-bps", "4294967296"], "4294967296"),
    ],
)
def test_a_trade_that_is_asked_for_wrongly(words: list[str], named: str, daemon: Served, capsys: Capture) -> None:
    """Exit code 2 and one sentence that names what is wrong; an amount is never rounded, and nothing was asked of the daemon."""
    assert main(["trade", *words, "--address", daemon.address]) == 2
    output = capsys.readouterr()
    assert (output.out, len(output.err.splitlines()), named in output.err) == ("", 1, True)


# --- status -------------------------------------------------------------------------------------------------------------------


def test_the_status_page(daemon: Served, capsys: Capture) -> None:
    """Exit code 0 while it trades; the page shows upstreams, the wallet with balances, and latencies once it has traded."""
    assert main(["trade", "SOL", "USDC", "0.1", "--address", daemon.address]) == 0
    with connect(daemon.address) as client, pytest.raises(CallFailed):
        client.execute(pb.TradeRequest(), timeout_seconds=5)
    capsys.readouterr()
    assert main(["status", "--address", daemon.address]) == 0
    page = capsys.readouterr().out
    assert re.match(rf"executor {re.escape(__version__)}, up [\d.]+ \w+, trading\n", page)
    assert re.search(r"node-0 .* healthy\njupiter .* healthy\n", page)
    assert f"wallet {daemon.facts['wallet']}\n" in page
    assert re.search(r"  USDC +[\d.]+\n", page)
    assert re.search(r"stage +count.*\n\w+ +\d", page)
    assert re.search(r"errors by code\n(.*\n)*  REQUEST_INVALID +\d", page)
    assert re.search(r"  lately, by code and source +1 min +5 min +1 h\n(.*\n)*  REQUEST_INVALID +others +\d+ +\d+ +\d+\n", page)


def test_the_status_as_json(daemon: Served, capsys: Capture) -> None:
    """One object with the proto's names, and numbers where numbers are meant."""
    assert main(["status", "--json", "--address", daemon.address]) == 0
    status = printed(capsys)
    assert (status["trading_allowed"], status["wallet"]["address"]) == (True, daemon.facts["wallet"])
    assert {b["symbol"] for b in status["wallet"]["balances"]} >= {"SOL", "USDC"}
    assert all(isinstance(b["amount"], int) for b in status["wallet"]["balances"])


@pytest.mark.parametrize(("uptime_ms", "span"), [(119_900, "119.9 s"), (120_000, "2 min"), (9_000_000, "2.5 h")])
def test_the_status_of_a_daemon_that_does_not_trade(uptime_ms: int, span: str, capsys: Capture) -> None:
    """Exit code 1; why it does not stands in the first line, who fails beside the upstream, and the uptime in a fitting unit."""
    status = pb.ExecutorStatus(
        version="7",
        uptime_ms=uptime_ms,
        not_allowed_because=["no blockhash", "no tokens"],
        nodes=[pb.EndpointStatus(name="node-0", endpoint="http://127.0.0.1:1", healthy=False, problem="it refuses", age_ms=5)],
    )
    with telling(status) as address:
        assert main(["status", "--address", address]) == 1
    page = capsys.readouterr().out
    assert page.startswith(f"executor 7, up {span}, NOT TRADING: no blockhash; no tokens\n")
    assert re.search(r"node-0 .* FAILING: it refuses\n", page)
    assert page.endswith("no trade yet\n")


@pytest.mark.parametrize(
    ("problem", "end"), [("", "p99 2.50 ms"), ("the disk is full", "p99 2.50 ms   PROBLEM: the disk is full")]
)
def test_the_status_of_the_journal(problem: str, end: str, capsys: Capture) -> None:
    """What it wrote, how long that takes, and what is wrong with it."""
    journal = pb.JournalStatus(entries=9, commits=3, waiting=2, problem=problem, commit_p50_ms=1.25, commit_p99_ms=2.5)
    line = page_of(pb.ExecutorStatus(journal=journal), capsys)[3]

    assert line == f"journal: 9 entries in 3 commits, 2 waiting, commit p50 1.25 ms {end}"


def test_the_status_page_tells_why_and_since_when_it_is_halted(capsys: Capture) -> None:
    """Every cause of the circuit breaker, of an operator and of those who count."""
    causes = [
        pb.BreakerCause(kind="operator", cause="halted by an operator: the feed is down", since_unix_ms=1_795_000_000_999),
        pb.BreakerCause(kind="error_rate", cause="3 of 4 trades failed", since_unix_ms=1_795_000_060_000),
    ]
    page = page_of(pb.ExecutorStatus(breaker=pb.BREAKER_STATE_OPEN, breaker_causes=causes), capsys)

    first = page.index("circuit breaker OPEN")
    assert page[first + 1 : first + 3] == [
        "  operator         since 2026-11-18 11:06:40 UTC  halted by an operator: the feed is down",
        "  error_rate       since 2026-11-18 11:07:40 UTC  3 of 4 trades failed",
    ]


def never(kind: type[Message], field: str) -> list[dict[str, Any]]:
    """Every way in which an age can be said not to exist: as infinity, and by its absence where that can be told from 0."""
    descriptor: Any = kind.DESCRIPTOR
    return [{field: U64_MAX}, *([{}] if descriptor.fields_by_name[field].has_presence else [])]


def page_of(status: pb.ExecutorStatus, capsys: Capture) -> list[str]:
    """The lines that `executor status` prints of it."""
    with telling(status) as address:
        main(["status", "--address", address])
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("age", [None, *never(pb.BlockhashStatus, "age_ms")])
def test_no_blockhash_is_not_a_new_one(age: dict[str, Any] | None, capsys: Capture) -> None:
    """Neither where the status has none nor where it never came."""
    blockhash = None if age is None else pb.BlockhashStatus(fresh=True, **age)
    assert page_of(pb.ExecutorStatus(blockhash=blockhash), capsys)[2].startswith("no blockhash yet ")


def test_a_blockhash_that_is_too_old_says_so(capsys: Capture) -> None:
    """Its age alone tells only who knows the limit."""
    old, new = (pb.BlockhashStatus(age_ms=11_000, block_height=7, fresh=fresh) for fresh in (False, True))
    assert page_of(pb.ExecutorStatus(blockhash=old), capsys)[2].startswith("blockhash 11.0 s old (STALE), block height 7 ")
    assert page_of(pb.ExecutorStatus(blockhash=new), capsys)[2].startswith("blockhash 11.0 s old, block height 7 ")


@pytest.mark.parametrize("age", [{"oldest_age_ms": 0}, *never(pb.FeeCacheStatus, "oldest_age_ms")])
def test_an_empty_fee_cache_has_no_age(age: dict[str, Any], capsys: Capture) -> None:
    """Whatever stands in its place."""
    assert page_of(pb.ExecutorStatus(fee_cache=pb.FeeCacheStatus(**age)), capsys)[2].endswith("   fee cache: empty")
    full = pb.FeeCacheStatus(entries=3, oldest_age_ms=2_500)
    assert page_of(pb.ExecutorStatus(fee_cache=full), capsys)[2].endswith("   fee cache: 3 pairs, up to 2.5 s old")


@pytest.mark.parametrize("age", never(pb.EndpointStatus, "age_ms"))
def test_who_was_never_asked_is_not_healthy(age: dict[str, Any], capsys: Capture) -> None:
    """Jupiter before the first trade, say; and an upstream that the status does not hold has no line."""
    asked = pb.EndpointStatus(name="node-0", healthy=True, age_ms=5)
    page = page_of(pb.ExecutorStatus(nodes=[asked], jupiter=pb.EndpointStatus(name="jupiter", healthy=True, **age)), capsys)
    assert [line.split(maxsplit=1) for line in page[4:6]] == [["node-0", "healthy"], ["jupiter", "never asked"]]
    assert page_of(pb.ExecutorStatus(nodes=[asked]), capsys)[5] == ""


def test_balances_that_were_never_read_are_not_none(capsys: Capture) -> None:
    """An empty list would look like an empty wallet."""
    page = page_of(pb.ExecutorStatus(wallet=pb.WalletStatus(address="abc")), capsys)
    assert page[page.index("wallet abc") + 1] == "  no balance is known yet"


def test_tokens_that_cannot_be_traded_are_named(capsys: Capture) -> None:
    """With the reason; the others can, so that it trades."""
    status = pb.ExecutorStatus(trading_allowed=True, untradable_tokens=["GONE does not exist on this cluster", "ODD has a tax"])
    page = page_of(status, capsys)
    place = page.index("cannot be traded")
    assert page[place + 1 : place + 4] == ["  GONE does not exist on this cluster", "  ODD has a tax", ""]
    assert "cannot be traded" not in page_of(SOL_AND_USDC, capsys)


def test_no_token_is_known_yet(capsys: Capture) -> None:
    """A trade through a daemon that has not read its mints is refused with that reason."""
    with telling(pb.ExecutorStatus()) as address:
        assert main(["trade", "SOL", "USDC", "1", "--address", address]) == 2
    assert "none yet" in capsys.readouterr().err


def test_something_else_that_speaks_grpc(capsys: Capture) -> None:
    """A refusal without the executor's details, from a proxy say, is reported with what it does tell."""
    with telling(BUSY) as address:
        assert main(["status", "--address", address]) == 1
    assert capsys.readouterr().err.endswith(": UNAVAILABLE: not now\n")


def test_no_daemon(capsys: Capture) -> None:
    """status and trade exit 1 and say that nobody answers; trade --json says so in one object."""
    address = f"127.0.0.1:{free_port()}"
    assert main(["status", "--address", address]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert address in output.err
    assert main(["trade", "SOL", "USDC", "1", "--address", address]) == 1
    assert capsys.readouterr().err.startswith("not asked: UNAVAILABLE")
    assert main(["trade", "SOL", "USDC", "1", "--address", address, "--json"]) == 1
    answer = printed(capsys)
    assert (answer["grpc_status"], answer["error_code"], answer["violations"]) == ("UNAVAILABLE", "", {})
    assert answer["unknown"] is False


def test_no_daemon_to_ask_again(capsys: Capture) -> None:
    """Who names an id may have traded under it before, and a daemon that is not there does not tell: exit code 3."""
    words = ["trade", "SOL", "USDC", "1", "--address", f"127.0.0.1:{free_port()}", "--request-id", "old"]
    assert main([*words, "--json"]) == 3
    assert printed(capsys)["unknown"] is True
    assert main(words) == 3
    assert "--request-id old," in capsys.readouterr().err


# --- keygen -------------------------------------------------------------------------------------------------------------------


def test_a_new_wallet_is_its_owners_alone(tmp_path: Path, capsys: Capture) -> None:
    """The file is a Solana CLI keypair with mode 0600, and the address printed is its own; the key is not printed."""
    path = tmp_path / "keys" / "wallet.json"
    assert main(["keygen", str(path)]) == 0
    numbers = json.loads(path.read_text())
    page = capsys.readouterr().out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert f"address {Keypair.from_bytes(bytes(numbers)).pubkey()}\n" in page
    assert ", ".join(map(str, numbers[:4])) not in page


def test_a_wallet_is_never_overwritten(tmp_path: Path, capsys: Capture) -> None:
    """The second keygen exits 2, says why, and leaves the file as it was; --json tells path and address of the first."""
    path = tmp_path / "wallet.json"
    assert main(["keygen", "--json", str(path)]) == 0
    before = path.read_bytes()
    assert printed(capsys) == {"path": str(path), "address": str(Keypair.from_bytes(bytes(json.loads(before))).pubkey())}
    assert main(["keygen", str(path)]) == 2
    assert "never overwritten" in capsys.readouterr().err
    assert path.read_bytes() == before


# --- check --------------------------------------------------------------------------------------------------------------------


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


@pytest.fixture
def ready(place: Place, wallet: Keypair) -> Place:
    """Everything is there and well."""
    place.write_wallet(wallet)
    return place


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


# --- serve and localnet -------------------------------------------------------------------------------------------------------


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

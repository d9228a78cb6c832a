"""`executor trade`."""

import json
import os
import re
import subprocess
from pathlib import Path

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from executor.cli import main
from executor.cli.client import connect
from executor.rpc import trade_executor_pb2 as pb
from tests.cli.commands import (
    BUSY,
    SOL_AND_USDC,
    Capture,
    Refusal,
    Served,
    nobody_reads,
    printed,
    run_aside,
    telling,
)
from tests.support.localnet import mint


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

"""`executor watch`: a line for each change, through restarts of the daemon, and an exit code that tells how the trade ended."""

import json
import re
import signal
from collections.abc import Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from attrs import define, field
from solders.keypair import Keypair

from executor.cli import main, watch
from executor.rpc import trade_executor_pb2 as pb
from tests.cli.commands import answering
from tests.support.callers import make_request
from tests.support.localnet import Localnet
from tests.support.processes import daemon_process
from tests.support.settings import Place

Capture = pytest.CaptureFixture[str]
SUCCESS = pb.TradeResult(status=pb.TRADE_STATUS_SUCCESS, input_amount=5, executed_amount=7, slot=9, transaction_signature="5ig")
PENDING = pb.TradeResult(status=pb.TRADE_STATUS_PENDING, transaction_signature="5ig")
DENIED = pb.TradeResult(status=pb.TRADE_STATUS_FAILED, error_code="PRICE_MOVED", error_message="worse\n\x1b[2J")
AT_US = 1_790_000_000_123_456


def update(sequence: int, state: str, result: pb.TradeResult) -> pb.TradeUpdate:
    """A change as a daemon tells it."""
    return pb.TradeUpdate(sequence=sequence, state=f"TRADE_STATE_{state}", at_unix_us=AT_US, result=result)


LIFE = [update(3, "ACCEPTED", pb.TradeResult(status=pb.TRADE_STATUS_PENDING)), update(4, "SENT", PENDING)]
END = update(8, "SUCCEEDED", SUCCESS)


@define
class Script:
    """What a daemon tells, call by call: changes, or the status that breaks the call off. The last is for all calls after it."""

    calls: list[Sequence[pb.TradeUpdate | grpc.StatusCode]]
    asked: list[tuple[str, int]] = field(factory=list)

    def answer(self, request: pb.WatchTradeRequest, context: Any) -> Iterator[pb.TradeUpdate]:
        self.asked.append((request.request_id, request.after_sequence))
        for part in self.calls.pop(0) if len(self.calls) > 1 else self.calls[0]:
            if isinstance(part, grpc.StatusCode):
                context.abort(part, "not now")
            else:
                yield part


@contextmanager
def telling(script: Script) -> Iterator[str]:
    """A gRPC server that says it."""
    handler = grpc.unary_stream_rpc_method_handler(
        script.answer, pb.WatchTradeRequest.FromString, pb.TradeUpdate.SerializeToString
    )
    with answering({"WatchTrade": handler}) as address:
        yield address


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits in a test."""
    monkeypatch.setattr(watch, "PAUSE_SECONDS", 0.01)


def test_a_line_for_each_change(capsys: Capture) -> None:
    """Number, time and state; the signature once there is one, and at the end what was swapped."""
    with telling(Script([[*LIFE, END]])) as address:
        assert main(["watch", "r-1", "--address", address]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "       3  2026-09-21T14:13:20.123+00:00  ACCEPTED",
        "       4  2026-09-21T14:13:20.123+00:00  SENT       5ig",
        "       8  2026-09-21T14:13:20.123+00:00  SUCCEEDED  spent 5, received 7 (smallest units), slot 9",
    ]


def test_a_refusal_is_told_in_words(capsys: Capture) -> None:
    """Exit code 1, and the reason on one line, whatever is in it."""
    with telling(Script([[update(5, "DENIED", DENIED)]])) as address:
        assert main(["watch", "r-1", "--address", address]) == 1
    assert capsys.readouterr().out.endswith("  DENIED     PRICE_MOVED: worse\\n\\x1b[2J\n")


def test_a_json_object_for_each_change(capsys: Capture) -> None:
    """With every field, 64-bit integers as numbers."""
    with telling(Script([[*LIFE, END]])) as address:
        assert main(["watch", "r-1", "--address", address, "--json"]) == 0
    *_, last = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (last["sequence"], last["state"], last["at_unix_us"]) == (8, "TRADE_STATE_SUCCEEDED", AT_US)
    assert last["result"]["executed_amount"] == 7


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
def test_it_goes_on_where_it_was(code: grpc.StatusCode, capsys: Capture) -> None:
    """A daemon that restarts, or ends long calls, is asked again, for what comes after the last change: none is told twice."""
    script = Script([[*LIFE, code], [code], [END]])
    with telling(script) as address:
        assert main(["watch", "r-1", "--address", address, "--after", "2"]) == 0
    output = capsys.readouterr()
    assert script.asked == [("r-1", 2), ("r-1", 4), ("r-1", 4)]
    assert [line.split()[0] for line in output.out.splitlines()] == ["3", "4", "8"]
    assert output.err.splitlines() == [f"waiting for {address}: {code.name}: not now"]


@pytest.mark.parametrize(("last", "code"), [(END, 0), (update(9, "DENIED", DENIED), 1), (LIFE[1], 3)])
def test_the_exit_code_does_not_depend_on_what_was_seen_before(last: pb.TradeUpdate, code: int, capsys: Capture) -> None:
    """After the last change nothing is printed, and the exit code is the trade's all the same; PENDING is not known."""
    script = Script([[], [*LIFE, last]])
    with telling(script) as address:
        assert main(["watch", "r-1", "--address", address, "--after", "9"]) == code
    assert script.asked == [("r-1", 9), ("r-1", 0)]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNIMPLEMENTED])
def test_what_does_not_pass_is_unknown(code: grpc.StatusCode, capsys: Capture) -> None:
    """Exit code 3: none of them proves that nothing was swapped. And how to go on."""
    with telling(Script([[*LIFE, code], [code]])) as address:
        assert main(["watch", "a b", "--address", address]) == 3
        told = capsys.readouterr().err.splitlines()
        assert main(["watch", "a b", "--address", address, "--json"]) == 3
    facts = json.loads(capsys.readouterr().out)
    assert told == [f"unknown: {code.name}: not now", "to go on: executor watch 'a b' --after 4"]
    assert (facts["unknown"], facts["grpc_status"], facts["after_sequence"]) == (True, code.name, 0)


def test_it_waits_no_longer_than_told(capsys: Capture) -> None:
    """No daemon, or one that never comes to an end: exit code 3 after --timeout."""
    with telling(Script([[grpc.StatusCode.UNAVAILABLE]])) as address:
        assert main(["watch", "r-1", "--address", address, "--timeout", "0.1"]) == 3
    assert main(["watch", "r-1", "--address", address, "--timeout", "0.1"]) == 3
    assert capsys.readouterr().err.count("unknown: ") == 2


@pytest.mark.parametrize("after", ["-1", "18446744073709551616"])
def test_a_number_that_none_can_be(after: str, capsys: Capture) -> None:
    """Exit code 2 and one sentence."""
    assert main(["watch", "r-1", "--after", after]) == 2
    assert after in capsys.readouterr().err


@pytest.mark.slow
def test_a_trade_of_a_daemon_that_is_killed(chain: Localnet, wallet: Keypair, place: Place, capsys: Capture) -> None:
    """One watch, one SIGKILL, one restart at the same address: each of the four changes once, and exit code 0."""
    with futures.ThreadPoolExecutor(2) as others:
        # It never learns what came of its trade, which lands: however long the restart takes, nothing expires.
        deaf = {"poll_initial_seconds": 60.0, "poll_max_seconds": 60.0, "resend_seconds": 60.0}
        with daemon_process(place, wallet, confirmation=deaf) as first:
            trade = others.submit(first.caller.execute, make_request("killed", "SOL", "USDC", 1))
            updates = first.caller.watch("killed")
            while next(updates).state != pb.TRADE_STATE_SENT:
                pass
            following = others.submit(main, ["watch", "killed", "--address", first.address])
            first.process.send_signal(signal.SIGKILL)
            assert first.ended() == -signal.SIGKILL
            assert trade.exception() is not None
        with daemon_process(place, wallet, grpc={"listen_address": first.address}):
            assert following.result() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [re.split(r"\s+", line.strip())[2] for line in lines] == ["ACCEPTED", "SIGNED", "SENT", "SUCCEEDED"]

"""How the process starts, refuses to start, and ends."""

import json
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from attrs import evolve
from solders.keypair import Keypair

from executor.rpc import trade_executor_pb2 as pb
from tests.support.callers import NEVER, make_request
from tests.support.daemon import refuse_entries
from tests.support.localnet import Localnet
from tests.support.processes import DaemonProcess, daemon_process, run_executor
from tests.support.settings import Place, Section
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


def _serve(place: Place, wallet: Keypair, **changes: Section) -> "tuple[int, str, list[str]]":
    """Run a daemon that is expected to end by itself: exit code, stdout, the lines of stderr."""
    place.write_wallet(wallet)
    config = place.folder / "config.toml"
    config.write_text(place.config_text(**changes))
    completed = run_executor("serve", "--config", str(config), "--json")
    return completed.returncode, completed.stdout, completed.stderr.splitlines()


def _sentences(lines: list[str]) -> list[str]:
    """What is said to a person; the log's lines are JSON."""
    return [line for line in lines if not line.startswith("{")]


def test_a_wrong_configuration_is_a_list_and_exit_2(chain: Localnet, wallet: Keypair, place: Place) -> None:
    """Every mistake at once, each with its line; nothing is started."""
    code, out, lines = _serve(
        place,
        wallet,
        limits={"max_slippage_bps": "many", "max_trades": 3},
        retry={"max_retries": -1},
        grpc={"listen_address": "x"},
    )

    assert (code, out) == (2, "")
    assert len(lines) == 4
    assert all(line.startswith(f"{place.folder / 'config.toml'}:") for line in lines)
    for key in ("limits.max_slippage_bps", "limits.max_trades", "retry.max_retries", "grpc.listen_address"):
        assert any(f" {key}: " in line for line in lines)
    assert not place.data_directory.exists()


def test_a_wallet_that_others_can_read_is_refused(chain: Localnet, wallet: Keypair, place: Place) -> None:
    """Exit 2 and what to do about it."""
    place.write_wallet(wallet)
    place.keypair_path.chmod(0o644)
    code, out, lines = _serve(place, wallet)

    assert (code, out) == (2, "")
    (sentence,) = _sentences(lines)
    assert "chmod 600" in sentence
    assert stat.S_IMODE(place.keypair_path.stat().st_mode) == 0o644


def test_a_taken_port_and_a_taken_journal_end_the_second_daemon(chain: Localnet, wallet: Keypair, place: Place) -> None:
    """Exit 2 and one sentence each; the daemon that was there first goes on trading."""
    with daemon_process(place, wallet) as first:
        other = evolve(place, folder=place.folder / "other")
        port = _serve(other, wallet, grpc={"listen_address": first.address})
        journal = _serve(other, wallet, daemon={"data_directory": str(place.data_directory)})
        result = first.caller.execute(make_request("goes-on", "SOL", "USDC", 1))

    for (code, out, lines), words in ((port, first.address), (journal, "in use by another executor")):
        assert (code, out) == (2, "")
        (sentence,) = _sentences(lines)
        assert words in sentence
        assert "Traceback" not in "\n".join(lines)
    assert result.status == pb.TRADE_STATUS_SUCCESS


def test_a_second_daemon_finds_the_journal_free_after_a_kill(chain: Localnet, wallet: Keypair, place: Place) -> None:
    """SIGKILL leaves no lock behind, and results are still there."""
    with daemon_process(place, wallet) as first:
        told = first.caller.execute(make_request("kept", "SOL", "USDC", 1))
        first.process.kill()
        assert first.ended() == -signal.SIGKILL
    with daemon_process(place, wallet) as second:
        assert second.caller.get("kept") == told


@contextmanager
def _trading(chain: Localnet, daemon: DaemonProcess) -> "Iterator[subprocess.Popen[str]]":
    """`executor trade` as a process, in the middle of a trade that is sent and does not land."""
    chain.order("lost-send", target="node", count=None)
    command = [sys.executable, "-m", "executor", "trade", "SOL", "USDC", "1", "--address", daemon.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: daemon.events("send.answered"), "it is sent")
            yield process
        finally:
            process.kill()


def test_a_caller_of_a_daemon_that_is_killed_learns_how_to_ask_again(chain: Localnet, wallet: Keypair, place: Place) -> None:
    """A lost connection is no refusal: exit code 3 and the id, under which the next daemon knows the very same transaction."""
    with daemon_process(place, wallet) as first, _trading(chain, first) as caller:
        first.process.kill()
        out, err = caller.communicate(timeout=NEVER)
        named, unknown, advice = err.splitlines()
        request_id = named.removeprefix("request_id ")
        (signed,) = {event["signature"] for event in first.events("trade.sent")}

    assert (caller.returncode, out) == (3, "")
    assert unknown.startswith("unknown: UNAVAILABLE: ")
    assert f"--request-id {request_id}," in advice
    with daemon_process(place, wallet) as second:
        words = ["trade", "SOL", "USDC", "1", "--address", second.address, "--request-id", request_id, "--json"]
        told = json.loads(run_executor(*words).stdout)
    assert told["transaction_signature"] == signed


def test_who_interrupts_a_trade_learns_how_to_ask_again(chain: Localnet, wallet: Keypair, place: Place) -> None:
    """Ctrl-C ends the wait and not the trade: exit code 130, and the id, which stood there before."""
    with daemon_process(place, wallet) as daemon, _trading(chain, daemon) as caller:
        caller.send_signal(signal.SIGINT)
        out, err = caller.communicate(timeout=NEVER)
        named, unknown, advice = err.splitlines()
        request_id = named.removeprefix("request_id ")

        assert (caller.returncode, out, unknown) == (130, "", "unknown: interrupted")
        assert f"--request-id {request_id}," in advice
        assert daemon.caller.get(request_id).status == pb.TRADE_STATUS_PENDING
        chain.clear()
        wait_until(lambda: daemon.caller.get(request_id).status == pb.TRADE_STATUS_SUCCESS, "it lands with a later send")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_daemon_ends_with_0(number: signal.Signals, chain: Localnet, wallet: Keypair, place: Place) -> None:
    """A signal is the usual end, and no failure."""
    with daemon_process(place, wallet) as daemon:
        daemon.process.send_signal(number)
        assert daemon.ended() == 0
        assert len(daemon.events("daemon.stopped")) == 1


def test_sent_trades_resolve_before_the_end(chain: Localnet, wallet: Keypair, place: Place) -> None:
    """SIGTERM in mid-trade: the callers get their results, then the process ends with 0."""
    with daemon_process(place, wallet, confirmation={"resend_seconds": NEVER}) as daemon, ThreadPoolExecutor(4) as callers:
        chain.order("late-landing", target="node", operation="sendTransaction", count=8, slots=25)
        requests = [make_request(f"last-{i}", "SOL", "USDC", 0.1) for i in range(4)]
        trades = [callers.submit(daemon.caller.execute, request) for request in requests]
        wait_until(lambda: len(daemon.events("send.answered")) == 4, "all are sent")
        daemon.process.send_signal(signal.SIGTERM)
        results = [trade.result() for trade in trades]
        assert daemon.ended() == 0

    assert [result.status for result in results] == [pb.TRADE_STATUS_SUCCESS] * 4


def test_an_impatient_operator_gets_an_end_in_order(chain: Localnet, wallet: Keypair, place: Place) -> None:
    """Signal upon signal: the second ends the drain, others change nothing; callers have PENDING, the process ends with 0."""
    slow = {"drain_timeout_seconds": NEVER}
    with (
        daemon_process(place, wallet, daemon=slow, confirmation={"resend_seconds": NEVER}) as daemon,
        ThreadPoolExecutor(1) as callers,
    ):
        chain.order("lost-send", target="node", count=None)
        trade = callers.submit(daemon.caller.execute, make_request("open", "SOL", "USDC", 1))
        wait_until(lambda: daemon.events("send.answered"), "it is sent")
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: daemon.events("daemon.draining"), "the drain has begun")
        daemon.process.send_signal(signal.SIGINT)
        wait_until(lambda: daemon.events("daemon.left_open"), "the drain was cut short")
        for _ in range(3):
            daemon.process.send_signal(signal.SIGTERM)
        assert daemon.ended() == 0

    assert trade.result().status == pb.TRADE_STATUS_PENDING
    assert trade.result().transaction_signature


def test_a_disk_that_fails_at_signed_sends_nothing(chain: Localnet, wallet: Keypair, place: Place) -> None:
    """The whole process with a journal that SQLite cannot write at SIGNED: FAILED, and the chain has seen nothing."""
    with daemon_process(place, wallet) as daemon:
        landed = chain.transactions()
        refuse_entries(place.journal_path, "SIGNED")
        failed = daemon.caller.execute(make_request("unwritten", "SOL", "USDC", 1))
        chain.advance(5)

        assert (failed.status, failed.error_code) == (pb.TRADE_STATUS_FAILED, "JOURNAL_UNAVAILABLE")
        assert chain.transactions() == landed
        assert daemon.events("trade.sent") == []

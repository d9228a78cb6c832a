"""An operator halts and resumes trading on the command line; a restart changes nothing about it."""

import json

import pytest
from solders.keypair import Keypair

from executor.rpc import trade_executor_pb2 as pb
from tests.support.callers import make_request
from tests.support.localnet import Localnet
from tests.support.processes import DaemonProcess, daemon_process, run_executor
from tests.support.settings import Place
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

WHY = "the price feed is down"


def _refused(daemon: DaemonProcess, request_id: str) -> bool:
    """Whether a trade is refused for the operator's halt."""
    refused = daemon.caller.refusal(make_request(request_id, "SOL", "USDC", 1))
    return (refused.status, refused.reason) == ("UNAVAILABLE", "TRADING_HALTED") and WHY in refused.message


def test_a_halt_stands_until_it_is_taken_back(chain: Localnet, wallet: Keypair, place: Place) -> None:
    """Halted, refused, killed and started again, still refused, resumed, traded; status, pages and the log say why."""
    with daemon_process(place, wallet) as daemon:
        assert daemon.caller.execute(make_request("before", "SOL", "USDC", 1)).status == pb.TRADE_STATUS_SUCCESS
        halt = run_executor("halt", "--why", WHY, "--address", daemon.address)
        assert _refused(daemon, "halted")
        told = daemon.caller.execute(make_request("before", "SOL", "USDC", 1))  # it joins what is done
        daemon.process.kill()
        daemon.ended()

    with daemon_process(place, wallet, trading=False) as daemon:
        assert _refused(daemon, "still")
        page = run_executor("status", "--address", daemon.address)
        status = daemon.caller.status()
        (restored,) = daemon.events("breaker.restored")
        resumed = run_executor("resume", "--why", "it is back", "--address", daemon.address, "--json")
        wait_until(lambda: daemon.caller.status().trading_allowed, "the daemon trades")
        after = daemon.caller.execute(make_request("still", "SOL", "USDC", 1))
        changed = daemon.events("breaker.changed")
    with daemon_process(place, wallet) as daemon:
        assert daemon.caller.status().breaker == pb.BREAKER_STATE_CLOSED

    assert halt.returncode == 0
    assert halt.stdout.startswith("NOT TRADING\ncircuit breaker OPEN\n  operator ")
    assert told.status == pb.TRADE_STATUS_SUCCESS
    assert page.returncode == 1
    assert WHY in page.stdout.splitlines()[0]
    assert (status.trading_allowed, status.breaker) == (False, pb.BREAKER_STATE_OPEN)
    operator = status.breaker_causes[0]
    assert (operator.kind, WHY in operator.cause) == ("operator", True)
    assert restored["state"] == "OPEN"
    assert resumed.returncode == 0
    assert "operator" not in [cause["kind"] for cause in json.loads(resumed.stdout)["breaker_causes"]]
    assert after.status == pb.TRADE_STATUS_SUCCESS
    assert any("it is back" in event["because"] for event in changed)


def test_a_word_that_is_not_taken_fails(chain: Localnet, wallet: Keypair, place: Place) -> None:
    """Exit code 1, and what is wrong on stderr: of the reason, or that nobody answers."""
    with daemon_process(place, wallet) as daemon:
        wrong = run_executor("halt", "--why", "x" * 201, "--address", daemon.address)
        assert daemon.caller.status().trading_allowed
    nobody = run_executor("resume", "--why", "go", "--address", "127.0.0.1:1", "--timeout", "1")

    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "INVALID_ARGUMENT" in wrong.stderr
    assert "why: must have 1 to 200 characters, has 201" in wrong.stderr
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert nobody.stderr.startswith("not confirmed by 127.0.0.1:1: UNAVAILABLE")

"""SIGKILL of whoever stands beside the daemon, in mid-trade: every other trade goes on as if nothing had happened."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from solders.keypair import Keypair

from executor.rpc import trade_executor_pb2 as pb
from tests.support.callers import make_request
from tests.support.localnet import Localnet
from tests.support.processes import DaemonProcess, daemon_process
from tests.support.settings import Place
from tests.support.tcp_proxy import start_proxy
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

CLIENT = """
import sys
from tests.support.callers import connected, make_request
with connected(sys.argv[1]) as caller:
    caller.execute(make_request(sys.argv[2], "SOL", "USDC", 0.1), seconds=60)
"""


def _is_success(result: pb.TradeResult) -> bool:
    return result.status == pb.TRADE_STATUS_SUCCESS


def _hold_in_flight(chain: Localnet, trades: int) -> None:
    """Let the next sends be answered and forgotten: those trades wait for the re-send, some 200 ms."""
    chain.order("lost-send", target="node", operation="sendTransaction", count=trades)


def _wait_for(daemon: DaemonProcess, event: str, request_ids: list[str]) -> None:
    wait_until(lambda: all(daemon.is_in(event, request_id) for request_id in request_ids), f"{event} of {request_ids}")


def test_a_node_that_is_killed_harms_no_trade(chain: Localnet, wallet: Keypair, tmp_path: Path) -> None:
    """One of two nodes dies with trades before, during and after its send: all of them succeed through the other one."""
    with start_proxy(chain.nodes[0]) as proxy, ThreadPoolExecutor(12) as callers:
        place = Place(folder=tmp_path, nodes=(proxy.url, chain.nodes[1]), jupiter=chain.jupiter)
        with daemon_process(place, wallet) as daemon:
            _hold_in_flight(chain, 8)  # four trades, two nodes
            during = [callers.submit(daemon.caller.execute, make_request(f"during-{n}", "SOL", "USDC", 0.1)) for n in range(4)]
            _wait_for(daemon, "trade.sent", [f"during-{n}" for n in range(4)])
            proxy.kill()
            after = [callers.submit(daemon.caller.execute, make_request(f"after-{n}", "USDC", "SOL", 10)) for n in range(4)]

            assert all(_is_success(trade.result()) for trade in [*during, *after])
            status = daemon.caller.status()
            assert status.trading_allowed
            assert [(node.name, node.healthy) for node in status.nodes] == [("node-0", False), ("node-1", True)]


def test_jupiter_that_is_killed_harms_no_trade_that_has_its_route(chain: Localnet, wallet: Keypair, tmp_path: Path) -> None:
    """Trades that were sent succeed; a new one fails with a typed error and nothing sent; when Jupiter is back, all is well."""
    with start_proxy(chain.jupiter) as proxy, ThreadPoolExecutor(8) as callers:
        place = Place(folder=tmp_path, nodes=chain.nodes[:1], jupiter=proxy.url)
        with daemon_process(place, wallet) as daemon:
            _hold_in_flight(chain, 4)
            during = [callers.submit(daemon.caller.execute, make_request(f"during-{n}", "SOL", "USDC", 0.1)) for n in range(4)]
            _wait_for(daemon, "trade.sent", [f"during-{n}" for n in range(4)])
            proxy.kill()
            failed = daemon.caller.execute(make_request("without-jupiter", "SOL", "USDC", 0.1))

            assert (failed.status, failed.error_code) == (pb.TRADE_STATUS_FAILED, "JUPITER_UNREACHABLE")
            assert proxy.url.removesuffix("/swap/v1") in failed.error_message
            assert not failed.transaction_signature
            assert all(_is_success(trade.result()) for trade in during)

            proxy.restart()

            assert _is_success(daemon.caller.execute(make_request("with-jupiter", "SOL", "USDC", 0.1)))


def test_a_client_that_is_killed_harms_no_trade_not_even_its_own(chain: Localnet, wallet: Keypair, tmp_path: Path) -> None:
    """A caller dies while it waits: its trade is executed all the same, and so are those of the others."""
    place = Place(folder=tmp_path, nodes=chain.nodes[:1], jupiter=chain.jupiter)
    with ThreadPoolExecutor(8) as callers, daemon_process(place, wallet) as daemon:
        _hold_in_flight(chain, 4)
        victim = subprocess.Popen([sys.executable, "-c", CLIENT, daemon.address, "victim"])
        others = [callers.submit(daemon.caller.execute, make_request(f"other-{n}", "USDC", "SOL", 10)) for n in range(3)]
        _wait_for(daemon, "trade.sent", ["victim", "other-0", "other-1", "other-2"])
        victim.kill()
        victim.wait()

        assert all(_is_success(trade.result()) for trade in others)
        wait_until(lambda: _is_success(daemon.caller.get("victim")), "the victim's trade is resolved")
        assert daemon.caller.status().trades_in_flight == 0


def test_a_daemon_that_is_killed_does_not_trade_twice(chain: Localnet, wallet: Keypair, tmp_path: Path) -> None:
    """After SIGKILL between send and outcome, the next daemon sends the journalled bytes on: one swap, under that signature."""
    place = Place(folder=tmp_path, nodes=chain.nodes[:1], jupiter=chain.jupiter)
    request = make_request("once", "SOL", "USDC", 0.1)
    with ThreadPoolExecutor(1) as callers:
        with daemon_process(place, wallet) as daemon:
            chain.order("lost-send", target="node", operation="sendTransaction", count=None)
            lost = callers.submit(daemon.caller.execute, request)
            _wait_for(daemon, "trade.sent", ["once"])
            (sent,) = daemon.events("trade.sent")
            daemon.process.kill()
            daemon.process.wait()
            assert lost.exception() is not None
        chain.clear()
        before = chain.transactions()
        with daemon_process(place, wallet) as daemon:
            again = daemon.caller.execute(request)

            assert (again.status, again.transaction_signature) == (pb.TRADE_STATUS_SUCCESS, sent["signature"])
            assert daemon.events("trade.sent") == []
            assert chain.transactions() == before + 1

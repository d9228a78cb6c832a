"""The demo's own look at the node, the localnet and the daemon: real servers on the loopback that answer by a script."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trio

from executor.cli.client import CallFailed, connect
from executor.cli.demo.cases import Case
from executor.cli.demo.chain import TOKEN_PROGRAMS, Chain, Holdings
from executor.cli.demo.children import Child, Children
from executor.cli.demo.failure import DemoFailed
from executor.cli.demo.floor import Floor
from executor.cli.demo.interruption import Interruption
from executor.cli.demo.stage import Localnet, Stage, wait_until_trading
from executor.cli.demo.web import fetch
from executor.rpc import trade_executor_pb2 as pb
from tests.cli.commands import answering
from tests.cli.demo_values import WALLET, Account, planned_case, transaction
from tests.support.upstream import (
    Garbage,
    Received,
    Reply,
    Reset,
    Upstream,
    closed_port,
    json_reply,
    open_upstream,
    rpc_error,
    rpc_result,
)


async def in_thread(call: Any, *arguments: Any) -> Any:
    """The demo's calls block; the servers that answer run in this thread."""
    return await trio.to_thread.run_sync(call, *arguments)


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    """Processes that are ended after the test."""
    with Interruption() as interruption, Children(tmp_path, interruption) as started:
        yield started


def localnet_at(upstream: Upstream, process: Child) -> Localnet:
    """A localnet that is one scripted server."""
    return Localnet(process=process, node_url=upstream.url, jupiter_url=upstream.url, admin_url=upstream.url)


def stage_at(upstream: Upstream, process: Child) -> Stage:
    """A stage without a daemon."""
    address = f"127.0.0.1:{closed_port()}"
    return Stage(network=localnet_at(upstream, process), daemon=process, address=address, wallet=WALLET, tokens=())


# --- HTTP ---------------------------------------------------------------------------------------------------------------------


async def test_json_is_fetched_and_posted() -> None:
    """GET without a body, POST with one; the query goes along."""
    async with open_upstream() as upstream:
        upstream.always("quote", json_reply({"outAmount": "7"}))
        assert await in_thread(fetch, f"{upstream.url}/swap/v1/quote?amount=1") == {"outAmount": "7"}
        assert await in_thread(fetch, f"{upstream.url}/quote", {"slots": 2}) == {"outAmount": "7"}
    got, posted = upstream.requests
    assert (got.method, got.target) == ("GET", "/swap/v1/quote?amount=1")
    assert (posted.method, posted.json) == ("POST", {"slots": 2})


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Reset(), "no answer from"),
        (Garbage(b"SSH-2.0\r\n\r\n"), "no answer from"),
        (Reply(400, b'{"error": "amount"}'), "status 400.*amount"),
        (Reply(200, b"<html>"), "no JSON"),
    ],
)
async def test_what_is_no_answer_fails_the_demo(step: Any, words: str) -> None:
    """With the address and what came from there."""
    async with open_upstream() as upstream:
        upstream.always("quote", step)
        with pytest.raises(DemoFailed, match=words):
            await in_thread(fetch, f"{upstream.url}/quote")


def test_nobody_there_fails_the_demo() -> None:
    """A refused connection is told as such."""
    with pytest.raises(DemoFailed, match="Connection refused"):
        fetch(f"http://127.0.0.1:{closed_port()}/")


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loopback is behind no proxy."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    port = closed_port()
    with pytest.raises(DemoFailed, match=f"127.0.0.1:{port}"):
        fetch(f"http://127.0.0.1:{port}/")


# --- the chain ----------------------------------------------------------------------------------------------------------------


async def test_a_transaction_is_asked_for_until_the_node_knows_it() -> None:
    """A node writes it down a little after its status."""
    async with open_upstream() as upstream:
        upstream.script("getTransaction", rpc_result(None), rpc_result(transaction({WALLET: Account((9, 4))}, fee=5)))
        movement = await in_thread(Chain(upstream.url, WALLET).movement, "5ig")
    assert (movement.slot, movement.fee_lamports, movement.sol_lamports) == (77, 5, 0)
    signature, options = upstream.requests[1].json["params"]
    assert (signature, options["maxSupportedTransactionVersion"], options["commitment"]) == ("5ig", 0, "confirmed")


async def test_a_transaction_that_no_node_knows_fails_the_demo() -> None:
    """The daemon said that it has landed."""
    async with open_upstream() as upstream:
        upstream.always("getTransaction", rpc_result(None))
        with pytest.raises(DemoFailed, match="does not know the transaction 5ig"):
            await in_thread(Chain(upstream.url, WALLET, patience_seconds=0.1).movement, "5ig")


async def test_an_error_of_the_node_fails_the_demo() -> None:
    """In the node's words."""
    async with open_upstream() as upstream:
        upstream.always("getTransaction", rpc_error(-32602, "wrong size"))
        with pytest.raises(DemoFailed, match=r"refuses getTransaction.*wrong size"):
            await in_thread(Chain(upstream.url, WALLET).movement, "5ig")


async def test_holdings_are_of_both_token_programs() -> None:
    """Lamports of the wallet, lamports of its accounts, and amounts summed by mint."""
    rows = {
        TOKEN_PROGRAMS[0]: [("usdc", "5", 100), ("usdc", "6", 100)],
        TOKEN_PROGRAMS[1]: [("bern", "18446744073709551615", 120)],
    }

    def accounts(request: Received) -> Reply:
        (program,) = request.json["params"][1].values()
        return rpc_result({"value": [account(*row) for row in rows[program]]})

    async with open_upstream() as upstream:
        upstream.always("getBalance", rpc_result({"value": 42}))
        upstream.always("getTokenAccountsByOwner", accounts)
        holdings = await in_thread(Chain(upstream.url, WALLET).holdings)
    assert holdings == Holdings(lamports=42, in_accounts_lamports=320, tokens={"usdc": 11, "bern": 2**64 - 1})


def account(mint: str, amount: str, lamports: int) -> dict[str, Any]:
    """A row of getTokenAccountsByOwner."""
    parsed = {"info": {"mint": mint, "tokenAmount": {"amount": amount}}}
    return {"account": {"lamports": lamports, "data": {"parsed": parsed}}}


# --- the floor and the stage --------------------------------------------------------------------------------------------------


async def test_a_fault_that_does_not_strike_fails_the_demo(children: Children) -> None:
    """The trade after it must not meet it in its place."""
    idle = children.start("idle", ["sleep", "60"])
    async with open_upstream() as upstream:
        upstream.always("faults", json_reply({"orders": [{}]}))
        floor = Floor(stage=stage_at(upstream, idle), children=children, concurrency=1, fault_seconds=0.05)
        with pytest.raises(DemoFailed, match=r"the fault of the stale quote did not strike within 0\.05 s"):
            await in_thread(lambda: list(floor.run([planned_case(Case.STALE_QUOTE, 1)])))
    assert upstream.requests[0].json["fault"]["kind"] == "stale-quote"


async def test_a_daemon_that_does_not_answer_but_lives_is_a_trades_problem(children: Children) -> None:
    """The trade is told as it ended; that it is not as planned is for the summary to say."""
    idle = children.start("idle", ["sleep", "60"])
    async with open_upstream() as upstream:
        floor = Floor(stage=stage_at(upstream, idle), children=children, concurrency=1, death_seconds=0.05)
        (trade,) = await in_thread(lambda: list(floor.run([planned_case(Case.OVERSIZED, 1)])))
    assert trade.status == "UNAVAILABLE"
    assert trade.surprises()


async def test_a_daemon_that_dies_after_its_connections_is_told_as_dead(children: Children) -> None:
    """Its sockets close a little before its end can be seen; the trade that was cut off is not the news."""
    dying = children.start("daemon", ["sleep", "0.2"])
    async with open_upstream() as upstream:
        floor = Floor(stage=stage_at(upstream, dying), children=children, concurrency=1, death_seconds=20)
        with pytest.raises(DemoFailed, match="daemon ended during the demo"):
            await in_thread(lambda: list(floor.run([planned_case(Case.OVERSIZED, 1)])))


async def test_a_daemon_that_does_not_tell_its_counts_fails_the_demo(children: Children) -> None:
    """Without them nobody knows whether it has seen what its caller saw."""
    idle = children.start("idle", ["sleep", "60"])
    async with open_upstream() as upstream:
        with pytest.raises(DemoFailed, match="does not tell its status"):
            await in_thread(stage_at(upstream, idle).outcomes)


@contextmanager
def daemon_that_says(*statuses: pb.ExecutorStatus | grpc.StatusCode) -> Iterator[str]:
    """A gRPC server whose status is the first of these, then the next, and the last one for ever."""
    left = list(statuses)

    def answer(_: bytes, context: grpc.ServicerContext) -> pb.ExecutorStatus:
        status = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(status, grpc.StatusCode):
            context.abort(status, "busy")
        return status

    handler = grpc.unary_unary_rpc_method_handler(answer, response_serializer=pb.ExecutorStatus.SerializeToString)
    with answering({"GetExecutorStatus": handler}) as address:
        yield address


HALTED = pb.ExecutorStatus(trading_allowed=False, not_allowed_because=["no blockhash yet", "no node answers"])


def test_trading_begins_when_the_daemon_allows_it(children: Children) -> None:
    """Neither an error nor a halt is its last word."""
    idle = children.start("idle", ["sleep", "60"])
    trading = pb.ExecutorStatus(trading_allowed=True)
    with daemon_that_says(grpc.StatusCode.UNAVAILABLE, HALTED, trading) as address, connect(address) as client:
        wait_until_trading(client, idle)


def test_a_daemon_that_never_trades_is_told_with_its_reasons(children: Children) -> None:
    """All of them, after a time."""
    idle = children.start("idle", ["sleep", "60"])
    words = "does not trade 0.1 s after its start: no blockhash yet; no node answers"
    with daemon_that_says(HALTED) as address, connect(address) as client, pytest.raises(DemoFailed, match=words):
        wait_until_trading(client, idle, seconds=0.1)


def test_a_daemon_that_dies_at_its_start_is_not_waited_for(children: Children) -> None:
    """However long the patience is."""
    dead = children.start("daemon", ["false"])
    assert dead.ends_within(20)
    with connect(f"127.0.0.1:{closed_port()}") as client, pytest.raises(DemoFailed, match="daemon ended during its start"):
        wait_until_trading(client, dead)


def test_a_call_does_not_go_through_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon on the loopback is reached where a proxy is set for everything else."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with daemon_that_says(HALTED) as address, connect(address) as client:
        assert not client.status(timeout_seconds=5).trading_allowed
        with pytest.raises(CallFailed, match="UNIMPLEMENTED"):
            client.get("any", timeout_seconds=5)

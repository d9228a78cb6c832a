"""Several nodes as one."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio

from executor.errors import ErrorCode
from executor.faults import Reaction, TransportError
from executor.network.nodes import LAGGING_SLOTS, Nodes
from executor.network.solana import Node
from tests.support.clients import QUICK, seeded
from tests.support.events import RecordedLog
from tests.support.upstream import Hang, Reply, Reset, Script, Upstream, open_upstream, rpc_error, rpc_result


@asynccontextmanager
async def open_nodes(
    count: int, log: RecordedLog | None = None, *, first_timeout_seconds: float = 10.0
) -> AsyncIterator[tuple[Nodes, list[Upstream]]]:
    """That many scripted nodes and the clients of them; only the first one loses patience."""
    async with AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(open_upstream()) for _ in range(count)]
        timeouts = [first_timeout_seconds] + [10.0] * count
        clients = [Node(up.url, name=up.url, timeout_seconds=limit) for up, limit in zip(upstreams, timeouts, strict=False)]
        nodes = Nodes(clients, retry=QUICK, rng=seeded(), log=log or RecordedLog())
        stack.push_async_callback(nodes.aclose)
        yield nodes, upstreams


async def ask_slot(nodes: Nodes) -> int:
    """Any question."""
    return await nodes.ask(lambda node: node.slot(), operation="getSlot")


async def refused(nodes: Nodes) -> TransportError:
    """The error of a question."""
    with pytest.raises(TransportError) as caught:
        await ask_slot(nodes)
    return caught.value


def asked(upstreams: list[Upstream]) -> list[int]:
    """How often each node was asked."""
    return [len(upstream.requests) for upstream in upstreams]


async def test_the_preferred_node_answers() -> None:
    """While all is well only the first one is asked."""
    async with open_nodes(2) as (nodes, upstreams):
        upstreams[0].always("getSlot", rpc_result(5))

        assert [await ask_slot(nodes) for _ in range(3)] == [5, 5, 5]
        assert asked(upstreams) == [3, 0]


@pytest.mark.parametrize(
    "step", [Reset(), Hang(), Reply(503), Reply(401), Reply(404), Reply(429), Reply(body=b"?"), rpc_error(-32005, "behind")]
)
async def test_the_next_node_is_asked_at_once_and_stays_first(step: Script, log: RecordedLog) -> None:
    """A node that fails costs no pause, and is not asked first again while it has not answered since."""
    patience = 0.1 if step == Hang() else 10.0
    async with open_nodes(2, log, first_timeout_seconds=patience) as (nodes, upstreams):
        upstreams[0].script("getSlot", step)
        upstreams[1].always("getSlot", rpc_result(7))

        assert [await ask_slot(nodes) for _ in range(2)] == [7, 7]
        assert asked(upstreams) == [1, 2]
        assert log.named("retry.scheduled") == []


async def test_only_after_all_have_failed_there_is_a_pause(log: RecordedLog) -> None:
    """A whole round counts as one failure, and the event counts its attempts."""
    async with open_nodes(2, log) as (nodes, upstreams):
        for upstream in upstreams:
            upstream.script("getSlot", Reply(503))
            upstream.always("getSlot", rpc_result(7))

        assert await ask_slot(nodes) == 7
        assert sum(asked(upstreams)) == 3
        assert [event["attempts"] for event in log.named("retry.scheduled")] == [2]


async def test_the_error_names_every_node_and_all_attempts() -> None:
    """Where codes differ, no node is healthy."""
    async with open_nodes(2) as (nodes, upstreams):
        upstreams[0].always("getSlot", Reply(503))
        upstreams[1].always("getSlot", Reply(429))
        error = await refused(nodes)

        assert error.attempts == 8
        assert all(upstream.url in error.endpoint for upstream in upstreams)
        assert error.fault.code is ErrorCode.NODE_UNHEALTHY
        assert "HTTP 503" in str(error)
        assert "HTTP 429" in str(error)
        assert error.operation == "getSlot"


async def test_the_error_of_equal_faults_keeps_their_code() -> None:
    """Every node limits our rate: then that is what the caller hears."""
    async with open_nodes(2) as (nodes, upstreams):
        for upstream in upstreams:
            upstream.always("getSlot", Reply(429, headers=(("retry-after", "30"),)))
        error = await refused(nodes)

    assert error.fault.code is ErrorCode.NODE_RATE_LIMITED
    assert error.fault.retry_after_seconds == 30.0


async def test_a_refusal_of_the_call_ends_it_at_once() -> None:
    """Another node would refuse it as well; the error is that node's alone."""
    async with open_nodes(3) as (nodes, upstreams):
        upstreams[0].script("getSlot", Reset())
        upstreams[1].script("getSlot", rpc_error(-32602, "Invalid params"))
        error = await refused(nodes)

        assert (error.endpoint, error.attempts) == (upstreams[1].url, 2)
        assert error.fault.reaction is Reaction.REJECT
        assert asked(upstreams) == [1, 1, 0]


async def test_no_node_of_any_use_is_told_without_retries() -> None:
    """Wrong credentials everywhere do not mend themselves."""
    async with open_nodes(2) as (nodes, upstreams):
        for upstream in upstreams:
            upstream.always("getSlot", Reply(403))
        error = await refused(nodes)

        assert error.fault.code is ErrorCode.NODE_UNAUTHORIZED
        assert asked(upstreams) == [1, 1]


async def test_one_repeatable_fault_is_enough_for_a_retry() -> None:
    """A node that refuses our key does not spoil the one that is only busy."""
    async with open_nodes(2) as (nodes, upstreams):
        upstreams[0].always("getSlot", Reply(403))
        upstreams[1].script("getSlot", Reply(503), rpc_result(9))

        assert await ask_slot(nodes) == 9


async def test_a_blockhash_that_one_node_does_not_know_is_tried_on_another() -> None:
    """It lags; that is no refusal of the transaction."""
    async with open_nodes(2) as (nodes, upstreams):
        upstreams[0].script("getSlot", rpc_error(-32002, "failed", {"err": "BlockhashNotFound"}))
        upstreams[1].script("getSlot", rpc_result(9))

        assert await ask_slot(nodes) == 9


async def test_a_node_that_lags_is_asked_last() -> None:
    """The most recent node goes first; a few slots of difference change nothing."""
    async with open_nodes(2) as (nodes, upstreams):
        upstreams[0].always("getSlot", rpc_result(100))
        upstreams[1].script("getSlot", rpc_result(100 + LAGGING_SLOTS), rpc_result(101 + LAGGING_SLOTS))
        upstreams[1].always("getSlot", rpc_result(110))

        await nodes.every(lambda node: node.slot())
        assert await ask_slot(nodes) == 100
        await nodes.every(lambda node: node.slot())
        assert await ask_slot(nodes) == 110


async def ask_slot_once(nodes: Nodes) -> int | TransportError:
    """Any question, for one round; the error as a value, because the servers' nursery would wrap it."""
    try:
        return await nodes.ask_once(lambda node: node.slot(), operation="getSlot")
    except TransportError as error:
        return error


async def test_one_round_asks_every_node_once(log: RecordedLog) -> None:
    """Who asks again anyway gets the round's error at once: no pause, no retry, every node named."""
    async with open_nodes(2, log) as (nodes, upstreams):
        upstreams[0].always("getSlot", Reply(503))
        upstreams[1].always("getSlot", Reply(429, headers=(("retry-after", "30"),)))
        error = await ask_slot_once(nodes)

        assert isinstance(error, TransportError)
        assert (error.attempts, error.operation, error.fault.code) == (2, "getSlot", ErrorCode.NODE_UNHEALTHY)
        assert all(upstream.url in error.endpoint for upstream in upstreams)
        assert asked(upstreams) == [1, 1]
        assert log.named("retry.scheduled") == []


async def test_one_round_goes_on_to_the_node_that_answers() -> None:
    """From the healthiest on, like any question; and a refusal of the call itself ends the round."""
    async with open_nodes(3) as (nodes, upstreams):
        upstreams[0].script("getSlot", Reset())
        upstreams[1].script("getSlot", rpc_result(7), rpc_error(-32602, "Invalid params"))

        assert await ask_slot_once(nodes) == 7
        refusal = await ask_slot_once(nodes)
        assert isinstance(refusal, TransportError)
        assert (refusal.endpoint, refusal.fault.reaction) == (upstreams[1].url, Reaction.REJECT)
        assert asked(upstreams) == [1, 2, 0]


async def test_every_node_is_asked_at_the_same_time() -> None:
    """Answers and failures come back in the nodes' order; one that hangs costs no more than its own deadline."""
    async with open_nodes(3, first_timeout_seconds=0.1) as (nodes, upstreams):
        upstreams[0].script("getSlot", Hang())
        upstreams[1].script("getSlot", rpc_result(4))
        upstreams[2].script("getSlot", Reply(503))
        started = trio.current_time()
        first, second, third = await nodes.every(lambda node: node.slot())

        assert trio.current_time() - started < 5.0
        assert isinstance(first, TransportError)
        assert second == 4
        assert isinstance(third, TransportError)
        assert third.status == 503


async def test_a_cancelled_question_stays_cancelled() -> None:
    """The caller's deadline ends the search for a node."""
    async with open_nodes(2) as (nodes, upstreams):
        for upstream in upstreams:
            upstream.always("getSlot", Hang())
        with trio.move_on_after(0.02) as scope:
            await ask_slot(nodes)

        assert scope.cancelled_caught


def test_no_nodes_are_no_nodes() -> None:
    """A daemon without a node is a mistake of whoever builds it."""
    with pytest.raises(ValueError, match="at least one"):
        Nodes([], retry=QUICK, rng=seeded(), log=RecordedLog())

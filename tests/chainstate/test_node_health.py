"""Whether there is a node to trade with."""

from itertools import cycle

import trio
import trio.testing

from executor.chainstate.node_health import CHECK_SECONDS, NodeHealth
from executor.status import BreakerState
from tests.support.chain import FakeNode, fake_nodes, open_nodes
from tests.support.events import RecordedLog
from tests.support.risk import make_breaker
from tests.support.upstream import rpc_error, rpc_result
from tests.support.waiting import eventually


async def test_one_healthy_node_is_enough(autojump_clock: trio.testing.MockClock) -> None:
    """A problem only when all fail, naming each; every change is logged once, recoveries too."""
    one, other, log = FakeNode("one"), FakeNode("other"), RecordedLog()
    health = NodeHealth(nodes=fake_nodes(one, other), log=log)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(health.run)
        await trio.sleep(0.1)
        assert health.problem() is None

        one.failing = True
        await trio.sleep(3 * CHECK_SECONDS)
        assert health.problem() is None
        assert [event["node"] for event in log.named("node.unhealthy")] == ["one"]

        other.failing = True
        await trio.sleep(CHECK_SECONDS)
        problem = health.problem()
        assert problem is not None
        assert problem.startswith("no healthy node: one: ")
        assert "; other: " in problem

        one.failing = False
        await trio.sleep(CHECK_SECONDS)
        assert health.problem() is None
        assert [event["node"] for event in log.named("node.healthy")] == ["one"]
        nursery.cancel_scope.cancel()


async def test_a_hanging_node_does_not_hide_the_others(autojump_clock: trio.testing.MockClock) -> None:
    """Each is asked on its own."""
    slow, quick = FakeNode("slow"), FakeNode("quick")
    slow.takes_seconds = 1_000.0
    with trio.move_on_after(10 * CHECK_SECONDS + 0.1):
        await NodeHealth(nodes=fake_nodes(slow, quick), log=RecordedLog()).run()

    assert (len(slow.called("getHealth")), len(quick.called("getHealth"))) == (1, 11)


async def test_a_node_says_over_the_wire_that_it_lags() -> None:
    """Its health answer counts, and its slot is kept for choosing whom to ask."""
    async with open_nodes(2) as (nodes, (first, second)):
        first.always("getHealth", rpc_error(-32005, "Node is behind by 42 slots", {"numSlotsBehind": 42}))
        first.always("getSlot", rpc_result(1))
        second.always("getHealth", rpc_result("ok"))
        second.always("getSlot", rpc_result(77))
        health = NodeHealth(nodes=nodes, log=RecordedLog())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(health.run)
            await eventually(
                lambda: nodes.all[0].endpoint_health.failing and nodes.all[1].endpoint_health.last_slot, "both are asked"
            )
            nursery.cancel_scope.cancel()

    assert [node.endpoint_health.failing for node in nodes.all] == [True, False]
    assert nodes.all[1].endpoint_health.last_slot == 77
    assert health.problem() is None


async def test_what_a_node_says_of_itself_holds_beside_other_traffic() -> None:
    """Nodes that are behind answer all else: whenever anybody looks, trading is halted, until they say that they are well."""
    async with open_nodes(2) as (nodes, upstreams):
        for upstream in upstreams:
            upstream.always("getHealth", rpc_error(-32005, "Node is behind by 42 slots", {"numSlotsBehind": 42}))
            upstream.always("getSlot", rpc_result(1))
        health = NodeHealth(nodes=nodes, log=RecordedLog())
        breaker = make_breaker({"nodes": health.problem})

        async with trio.open_nursery() as nursery:
            nursery.start_soon(health.run)
            await eventually(lambda: health.problem() is not None, "all say that they are behind")
            looks = set()
            for node, _ in zip(cycle(nodes.all), range(20), strict=False):
                await node.slot()
                breaker.look()
                looks.add((breaker.state, node.endpoint_health.failing))
            problem = health.problem()
            nursery.cancel_scope.cancel()

        for upstream in upstreams:
            upstream.always("getHealth", rpc_result("ok"))
            upstream.always("getSlot", rpc_result(2))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(health.run)
            await eventually(lambda: [node.endpoint_health.last_slot for node in nodes.all] == [2, 2], "all are asked again")
            nursery.cancel_scope.cancel()

        breaker.look()

    assert looks == {(BreakerState.OPEN, True)}
    assert (breaker.state, health.problem()) == (BreakerState.CLOSED, None)
    assert problem is not None
    assert problem.count("Node is behind by 42 slots") == 2


async def test_a_node_that_calls_itself_unhealthy_is_asked_last() -> None:
    """Its answers are out of date, however promptly they come."""
    async with open_nodes(2) as (nodes, (first, second)):
        first.always("getHealth", rpc_error(-32005, "Node is behind by 3 slots", {"numSlotsBehind": 3}))
        second.always("getHealth", rpc_result("ok"))
        for number, upstream in enumerate((first, second)):
            upstream.always("getSlot", rpc_result(number))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(NodeHealth(nodes=nodes, log=RecordedLog()).run)
            await eventually(lambda: nodes.all[0].endpoint_health.failing, "the first says that it is behind")
            await eventually(lambda: nodes.all[1].endpoint_health.last_slot, "the second is well")
            nursery.cancel_scope.cancel()
        await nodes.all[0].slot()
        answers = [await nodes.ask(lambda node: node.slot(), operation="getSlot") for _ in range(3)]

    assert answers == [1, 1, 1]

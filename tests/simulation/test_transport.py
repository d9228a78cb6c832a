import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType

import pytest
import trio
from attrs import evolve
from solders.keypair import Keypair

from executor.faults import TransportKind
from executor.network.transport import Failure, HttpAnswer, HttpRequest
from tests.simulation.chance import chance
from tests.simulation.chronicle import Chronicle
from tests.simulation.climate import Climate
from tests.simulation.life import Life
from tests.simulation.transport import SimulatedTransport
from tests.simulation.world import World

CALM = Climate(nodes=1, slow_rate=0.0, trader=False)


def call(method: str, *params: object) -> HttpRequest:
    """A call as the daemon's client makes it."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
    return HttpRequest(method="POST", target="/", body=json.dumps(body).encode())


def airdrop(lamports: int) -> HttpRequest:
    """A call that leaves a trace in the cluster."""
    return call("requestAirdrop", str(Keypair.from_seed(bytes([9]) * 32).pubkey()), lamports)


@asynccontextmanager
async def wire(kind: str | None = None, climate: Climate = CALM) -> AsyncIterator[SimulatedTransport]:
    """A transport to node-0 on which every call meets that fate."""
    rates: Mapping[str, float] = MappingProxyType({kind: 1.0} if kind else {})
    wallet = Keypair.from_seed(bytes([1]) * 32)
    world = World(climate=evolve(climate, node_wire=rates), seed="test", chronicle=Chronicle(), wallet=wallet)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run)  # noqa: ASYNC113 - the line below lets it begin
        await trio.sleep(0.01)
        yield SimulatedTransport(
            endpoint=world.endpoints["node-0"],
            world=world,
            life=Life(1),
            headers={"content-type": "application/json"},
            rng=chance("wire"),
        )
        world.end()
        nursery.cancel_scope.cancel()


def carried_out(transport: SimulatedTransport) -> int:
    """How many airdrops the cluster has got."""
    cluster = transport.world.localnet.cluster
    return cluster.queued_count + cluster.transaction_count


async def test_a_call_is_answered_by_the_localnet(autojump_clock: trio.testing.MockClock) -> None:
    """As over HTTP, after the time that it takes."""
    async with wire() as transport:
        began = trio.current_time()
        answer = await transport.exchange(call("getHealth"))

        assert isinstance(answer, HttpAnswer)
        assert json.loads(answer.body)["result"] == "ok"
        assert trio.current_time() > began


@pytest.mark.parametrize(
    ("kind", "failure", "times"),
    [
        ("refused", TransportKind.CONNECT, 0),
        ("reset-before", TransportKind.RESET, 0),
        ("reset-after", TransportKind.RESET, 1),
        ("cut", TransportKind.PROTOCOL, 1),
    ],
)
async def test_a_failed_call_may_have_been_carried_out(
    kind: str, failure: TransportKind, times: int, autojump_clock: trio.testing.MockClock
) -> None:
    """The caller cannot see it from the failure."""
    async with wire(kind) as transport:
        answer = await transport.exchange(airdrop(1))

        assert isinstance(answer, Failure)
        assert answer.kind is failure
        assert carried_out(transport) == times


@pytest.mark.parametrize(("kind", "times"), [("lost-request", 0), ("lost-answer", 1)])
async def test_a_lost_message_leaves_its_caller_waiting(kind: str, times: int, autojump_clock: trio.testing.MockClock) -> None:
    """Until it waits no more."""
    async with wire(kind) as transport:
        with trio.move_on_after(2.0) as waiting:
            await transport.exchange(airdrop(1))

        assert waiting.cancelled_caught
        assert carried_out(transport) == times


@pytest.mark.parametrize(("kind", "status"), [("status-429", 429), ("garbage", 200), ("truncated", 200)])
async def test_a_bad_answer_comes_as_one(kind: str, status: int, autojump_clock: trio.testing.MockClock) -> None:
    """With its status, and nothing that could be read as a result."""
    async with wire(kind) as transport:
        answer = await transport.exchange(call("getSlot"))

        assert isinstance(answer, HttpAnswer)
        assert answer.status == status
        with pytest.raises(json.JSONDecodeError):
            json.loads(answer.body)


async def test_answers_can_be_mixed_up(autojump_clock: trio.testing.MockClock) -> None:
    """Each call is carried out and gets the answer to the one before."""
    async with wire("mixed-up") as transport:
        await transport.exchange(call("getHealth"))
        answer = await transport.exchange(airdrop(1))

        assert isinstance(answer, HttpAnswer)
        assert json.loads(answer.body)["result"] == "ok"
        assert carried_out(transport) == 1


async def test_any_machine_behind_a_url_may_answer(autojump_clock: trio.testing.MockClock) -> None:
    """One of the two is fifty slots behind."""
    async with wire(climate=evolve(CALM, machines=2)) as transport:
        await trio.sleep(40.0)
        transport.world.localnet.nodes[1].lag_slots = 50
        slots = []
        for _ in range(20):
            answer = await transport.exchange(call("getSlot"))
            assert isinstance(answer, HttpAnswer)
            slots.append(json.loads(answer.body)["result"])

        behind = [slot for slot in slots if slot < max(slots) - 40]
        assert 0 < len(behind) < len(slots)


@pytest.mark.parametrize("kind", ["duplicate", "proxied"])
async def test_a_request_may_be_carried_out_twice(kind: str, autojump_clock: trio.testing.MockClock) -> None:
    """By the network itself; its caller made one."""
    async with wire(kind) as transport:
        await transport.exchange(airdrop(1))
        await trio.sleep(10.0)

        assert carried_out(transport) == 2


async def test_what_has_left_arrives_though_its_sender_has_gone(autojump_clock: trio.testing.MockClock) -> None:
    """A daemon that dies while its bytes travel has sent them."""
    async with wire(climate=evolve(CALM, latency_seconds=(1.0, 1.0))) as transport:
        with trio.move_on_after(0.5):
            await transport.exchange(airdrop(1))
        before = carried_out(transport)
        await trio.sleep(2.0)

        assert (before, carried_out(transport)) == (0, 1)


async def test_the_dead_send_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """From the instant of the death on, whatever its tasks still do while they unwind."""
    async with wire() as transport:
        transport.life.ended.set()
        with trio.move_on_after(5.0):
            await transport.exchange(airdrop(1))

        assert carried_out(transport) == 0

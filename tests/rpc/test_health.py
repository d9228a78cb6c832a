"""The standard health service, asked by grpcio's own client of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
import trio
from attrs import define
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

from executor.log import NullLog
from executor.rpc.health import HealthService
from executor.rpc.server import GrpcServer
from tests.rpc.raw_peer import HEADERS, INITIAL_WINDOW_SIZE, call_headers, data, headers, prefixed, raw_peer, window_update
from tests.rpc.serving import QUICK, Probe, Served, call, channel_to, details, in_thread, until

TRADING = "trade_executor.v1.TradeExecutor"
SERVING, NOT_SERVING = pb.HealthCheckResponse.SERVING, pb.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = pb.HealthCheckResponse.SERVICE_UNKNOWN


@define
class Healthy:
    """A server with a health service, and whether trading is allowed."""

    address: str
    server: GrpcServer
    health: HealthService
    allowed: bool = True


@asynccontextmanager
async def healthy(max_watches: int = 64) -> AsyncIterator[Healthy]:
    """Serve a HealthService beside a Probe."""
    health = HealthService({TRADING: lambda: served.allowed}, max_watches=max_watches)
    server = GrpcServer("127.0.0.1:0", Probe(), health, log=NullLog(), limits=QUICK)
    async with trio.open_nursery() as nursery:
        served = Healthy(await nursery.start(server.serve), server, health)
        yield served
        nursery.cancel_scope.cancel()


def check(channel: grpc.Channel, service: str) -> int:
    """Ask with the stock client."""
    request = pb.HealthCheckRequest(service=service)
    status: int = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5).status
    return status


class Watch:
    """A watch of the stock client, read in threads."""

    def __init__(self, channel: grpc.Channel, service: str) -> None:
        self._answers = health_pb2_grpc.HealthStub(channel).Watch(pb.HealthCheckRequest(service=service), timeout=20)

    async def next(self) -> int:
        """Wait for the next status."""
        status: int = (await in_thread(lambda: next(self._answers))).status
        return status

    async def end(self) -> grpc.RpcError:
        """Wait for its end, before which nothing more may come."""
        try:
            answer = await self.next()
        except grpc.RpcError as error:
            return error
        raise AssertionError(f"there came {answer}")

    def cancel(self) -> None:
        """Give it up."""
        self._answers.cancel()


async def test_check_tells_process_and_trading_apart() -> None:
    """The process is SERVING while trading is halted; the trade service is not."""
    async with healthy() as served, channel_to(served.address) as channel:
        assert await in_thread(lambda: [check(channel, ""), check(channel, TRADING)]) == [SERVING, SERVING]
        served.allowed = False
        assert await in_thread(lambda: [check(channel, ""), check(channel, TRADING)]) == [SERVING, NOT_SERVING]


async def test_a_check_of_an_unknown_service_is_not_found() -> None:
    """A name that nobody serves is NOT_FOUND."""
    async with healthy() as served, channel_to(served.address) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            await in_thread(lambda: check(channel, "trade_executor.v1.Other"))

        assert raised.value.code() is grpc.StatusCode.NOT_FOUND


async def test_list_tells_of_every_service() -> None:
    """One call tells the health of all."""
    async with healthy() as served, channel_to(served.address) as channel:
        served.allowed = False
        stub = health_pb2_grpc.HealthStub(channel)
        listed = await in_thread(lambda: stub.List(pb.HealthListRequest(), timeout=5))

        assert {name: answer.status for name, answer in listed.statuses.items()} == {"": SERVING, TRADING: NOT_SERVING}


async def test_a_watch_tells_every_change() -> None:
    """It begins with what holds now; a halt and its end follow by themselves."""
    async with healthy() as served, channel_to(served.address) as channel:
        watch = Watch(channel, TRADING)
        assert await watch.next() == SERVING
        served.allowed = False
        assert await watch.next() == NOT_SERVING
        served.allowed = True
        assert await watch.next() == SERVING


async def test_a_watch_of_an_unknown_service_stays_open() -> None:
    """SERVICE_UNKNOWN is told and the watch goes on, as the protocol has it."""
    async with healthy() as served, channel_to(served.address) as channel:
        watch = Watch(channel, "nobody")
        assert await watch.next() == SERVICE_UNKNOWN
        assert served.health.watches == 1
        watch.cancel()
        await until(lambda: served.health.watches == 0)


async def test_the_end_is_told_before_anything_is_refused() -> None:
    """At shut_down all is NOT_SERVING, calls are still answered and watches stay; the drain then ends them as UNAVAILABLE."""
    async with healthy() as served, channel_to(served.address) as channel:
        process, trading, unknown = Watch(channel, ""), Watch(channel, TRADING), Watch(channel, "nobody")
        assert [await watch.next() for watch in (process, trading, unknown)] == [SERVING, SERVING, SERVICE_UNKNOWN]
        served.health.shut_down()
        with trio.fail_after(0.2):  # at once, not at the next look
            assert [await watch.next() for watch in (process, trading)] == [NOT_SERVING, NOT_SERVING]
        assert await in_thread(lambda: [check(channel, ""), check(channel, TRADING)]) == [NOT_SERVING, NOT_SERVING]
        assert await call(channel, "Echo") == "x"
        assert served.health.watches == 3
        with trio.fail_after(2):
            assert await served.server.drain(60.0) is True
        ends = [await watch.end() for watch in (process, trading, unknown)]

        assert [end.code() for end in ends] == [grpc.StatusCode.UNAVAILABLE] * 3
        assert details(ends[0])[0].reason == "EXECUTOR_DRAINING"


async def test_a_drain_alone_ends_watches_with_the_news() -> None:
    """A watch is told NOT_SERVING before it ends, also where nobody called shut_down, and if it begins only then."""
    async with healthy() as served, channel_to(served.address) as channel:
        watch = Watch(channel, "")
        assert await watch.next() == SERVING
        served.health.end_streams()
        late = Watch(channel, TRADING)

        assert [await watch.next(), await late.next()] == [NOT_SERVING, NOT_SERVING]
        assert {(await watch.end()).code(), (await late.end()).code()} == {grpc.StatusCode.UNAVAILABLE}


async def test_watches_are_bounded() -> None:
    """One watch too many is RESOURCE_EXHAUSTED; when another has ended there is room again."""
    async with healthy(max_watches=2) as served, channel_to(served.address) as channel:
        watches = [Watch(channel, ""), Watch(channel, TRADING)]
        assert [await watch.next() for watch in watches] == [SERVING, SERVING]
        refused = await Watch(channel, "").end()
        watches[0].cancel()
        await until(lambda: served.health.watches == 1)

        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await Watch(channel, "").next() == SERVING


async def test_nothing_is_queued_for_a_watch_that_is_not_read() -> None:
    """While its window is closed, changes come and go untold; when it opens the watch tells what was due, then what holds."""
    async with healthy() as served, raw_peer(Served(served.server, served.address, Probe(), trio.Event()), greet=False) as peer:
        await peer.greet({INITIAL_WINDOW_SIZE: 0})
        watch = headers(1, peer.encode(call_headers(changed={":path": "/grpc.health.v1.Health/Watch"})))
        await peer.send(watch, data(1, prefixed(b"\n\x1f" + TRADING.encode())))
        await until(lambda: served.health.watches == 1)
        for _ in range(3):
            served.allowed = not served.allowed
            await trio.sleep(0.05)
        served.health.shut_down()
        await peer.send(window_update(1, 1_000))
        told: list[bytes] = []
        with trio.fail_after(5):
            while len(told) < 2:
                frame = await peer.next_frame()
                assert frame is not None
                told += [frame.payload] if frame.stream_id == 1 and frame.kind != HEADERS else []

        assert told == [prefixed(b"\x08\x01"), prefixed(b"\x08\x02")]


async def test_a_check_is_answered_beside_as_many_watches_as_may_be() -> None:
    """Watches wait, and keep nobody else waiting."""
    async with healthy() as served, channel_to(served.address) as channel:
        watches = [Watch(channel, "") for _ in range(64)]
        await until(lambda: served.health.watches == 64)
        assert await in_thread(lambda: check(channel, "")) == SERVING
        for watch in watches:
            watch.cancel()
        await until(lambda: served.health.watches == 0)

"""The end of a server: calls in flight are answered, new ones are refused, and of none it is in doubt whether it was executed."""

import base64

import grpc
import pytest
import trio
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import error_details_pb2, status_pb2

from executor.rpc.rpc_status import RpcCode
from tests.rpc.raw_peer import GOAWAY, RawPeer, raw_peer
from tests.rpc.serving import Served, call, channel_to, failure, in_thread, quick, serving, unary, until

CALLERS = 32
UNAVAILABLE = str(RpcCode.UNAVAILABLE.value)


async def test_calls_in_flight_are_answered() -> None:
    """A drain waits for the calls in flight, then closes every connection; the server ends."""
    async with serving() as served, channel_to(served.address) as channel:
        waiting = unary(channel, "Wait").future(StringValue(value="waited for"))
        await served.begun()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_drain, served, 5.0, True)
            await trio.sleep(0.1)
            served.probe.release.set()

        assert (await in_thread(waiting.result)).value == "waited for"
        assert served.server.connections == 0
        await served.ended.wait()


async def _expect_drain(served: Served, grace_seconds: float, expected: bool) -> None:
    assert await served.server.drain(grace_seconds) is expected


@pytest.mark.slow
async def test_new_calls_on_an_old_connection_are_refused_with_the_reason() -> None:
    """A call that comes after the drain began is UNAVAILABLE, with the code that says so and the advice to try again."""
    async with serving() as served, raw_peer(served) as peer:
        await peer.call(1, "Wait")
        await served.begun()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.server.drain, 5.0)
            assert await _next_goaway(peer) == 2**31 - 1
            await peer.call(3)
            assert (await peer.status(3))["grpc-status"] == "0"
            assert await _next_goaway(peer) == 3
            await peer.call(5)
            refused = await peer.status(5)
            served.probe.release.set()

        assert (refused["grpc-status"], refused["grpc-message"]) == (UNAVAILABLE, "the executor is shutting down")
        assert (await peer.status(1))["grpc-status"] == "0"
        assert await peer.goaways() == []


async def _next_goaway(peer: RawPeer) -> int:
    while (received := await peer.next_frame()) is not None:
        if received.kind == GOAWAY:
            return int.from_bytes(received.payload[:4])
    raise AssertionError("closed")


@pytest.mark.slow
async def test_new_connections_are_refused() -> None:
    """Nobody can connect any more while the last calls are answered."""
    async with serving() as served, raw_peer(served) as peer:
        await peer.call(1, "Wait")
        await served.begun()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.server.drain, 5.0)
            await trio.sleep(0.02)
            async with channel_to(served.address) as channel:
                assert (await failure(channel, "Echo")).code() is grpc.StatusCode.UNAVAILABLE
            served.probe.release.set()


async def test_a_call_that_outlasts_the_grace_is_told_so() -> None:
    """When the grace is over, waiting callers get a status that tells them to ask later, not a broken connection."""
    async with serving() as served, channel_to(served.address) as channel:
        waiting = unary(channel, "Wait").future(StringValue(value="x"))
        await served.begun()
        await _expect_drain(served, 0.05, expected=False)
        with pytest.raises(grpc.RpcError) as raised:
            await in_thread(waiting.result)

        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "ask GetTrade" in raised.value.details()
        assert served.probe.cancelled == 1


@pytest.mark.slow
async def test_a_second_drain_shortens_the_grace() -> None:
    """A drain that takes too long can be cut short by another one."""
    async with serving() as served, raw_peer(served) as peer:
        await peer.call(1, "Wait")
        await served.begun()
        with trio.fail_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(served.server.drain, 60.0)
                nursery.start_soon(served.server.drain, 0.05)

        assert (await peer.status(1))["grpc-status"] == UNAVAILABLE


@pytest.mark.slow
async def test_a_handler_that_is_slow_to_stop_delays_the_end() -> None:
    """A handler that cleans up for longer than the grace is waited for, as trio cannot leave a task behind."""
    async with serving() as served, raw_peer(served) as peer:
        served.probe.shield = True
        await peer.call(1, "Wait")
        await served.begun()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.server.drain, 0.01)
            await trio.sleep(0.24)
            served.probe.release.set()

        assert served.server.connections == 0


async def test_an_idle_server_ends_at_once() -> None:
    """Without calls there is nothing to wait for."""
    async with serving(quick(settle_seconds=0)) as served:
        with trio.fail_after(0.2):
            await _expect_drain(served, 60.0, expected=True)
            await served.ended.wait()


@pytest.mark.slow
async def test_no_call_is_in_doubt() -> None:
    """Many callers in full swing: every call that was executed is answered, every other one is UNAVAILABLE."""
    answered = 0
    ends: list[grpc.StatusCode] = []

    async def keep_calling() -> None:
        nonlocal answered
        async with channel_to(served.address) as channel:
            try:
                while True:
                    await call(channel, "Echo")
                    answered += 1
            except grpc.RpcError as error:
                ends.append(error.code())

    async with serving() as served, trio.open_nursery() as nursery:
        for _ in range(CALLERS):
            nursery.start_soon(keep_calling)
        await until(lambda: answered > 10 * CALLERS)
        await _expect_drain(served, 5.0, expected=True)

    assert ends == [grpc.StatusCode.UNAVAILABLE] * CALLERS
    assert answered == served.probe.started


async def test_the_refusal_has_its_details() -> None:
    """Stock clients find the reason and the advice in the details of a refusal."""
    async with serving(quick(settle_seconds=0)) as served, raw_peer(served) as peer:
        await peer.call(1, "Wait")
        await served.begun()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.server.drain, 5.0)
            await _next_goaway(peer)
            await _next_goaway(peer)
            await peer.call(3)
            trailers = await peer.status(3)
            served.probe.release.set()
    status = status_pb2.Status.FromString(_unbase64(trailers["grpc-status-details-bin"]))
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()

    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == ("EXECUTOR_DRAINING", "executor")
    assert status.details[1].Unpack(retry)
    assert retry.retry_delay.seconds > 0


def _unbase64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))

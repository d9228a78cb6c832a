"""Hostile callers: they are cut off, what they used is given back, and a well-behaved caller is served meanwhile."""

from contextlib import suppress

import pytest
import trio

from executor.rpc.frame_gate import ENHANCE_YOUR_CALM, FRAME_SIZE_ERROR
from executor.rpc.rpc_status import RpcCode
from tests.rpc.raw_peer import (
    CONTINUATION,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PREFACE,
    PRIORITY,
    RawPeer,
    call_headers,
    data,
    frame,
    headers,
    message,
    prefixed,
    raw_peer,
    reset,
    settings,
    window_update,
)
from tests.rpc.serving import call, channel_to, quick, serving, until

OK = "0"
DEADLINE_EXCEEDED = str(RpcCode.DEADLINE_EXCEEDED.value)
MAX_WINDOW = 2**31 - 1

FLOODS = {
    "ping": frame(PING, payload=b"12345678"),
    "settings": settings({INITIAL_WINDOW_SIZE: 65_535}),
    "empty settings": settings({}),
    "unknown settings": settings(dict.fromkeys(range(100, 130), 1)),
    "priority": frame(PRIORITY, 1, (3).to_bytes(4) + b"\0"),
    "window updates": window_update(0, 1),
    "unknown frames": frame(0x77),
    "resets of nothing": reset(1),
}


def tasks() -> int:
    """Tasks that are alive in this run."""
    return trio.lowlevel.current_statistics().tasks_living


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_a_flood_of_frames_is_cut_off(flood: bytes) -> None:
    """Frames that ask for nothing end the connection; another caller is answered while they come."""
    async with serving() as served, channel_to(served.address) as channel:
        assert await call(channel, "Echo") == "x"
        async with raw_peer(served) as peer:
            await peer.call(1)
            assert (await peer.status(1))["grpc-status"] == OK
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send_until_cut, peer, flood * 1_000)
                assert await call(channel, "Echo", timeout=2) == "x"
                assert ENHANCE_YOUR_CALM in await peer.goaways()
        await until(lambda: served.server.connections == 1)


async def _send_until_cut(peer: RawPeer, frames: bytes) -> None:
    with suppress(trio.BrokenResourceError):
        while True:
            await peer.stream.send_all(frames)


async def test_unknown_settings_are_not_kept() -> None:
    """Settings that mean nothing here are forgotten, the same one twice in a breath too; a huge header table is not used."""
    async with serving() as served, raw_peer(served) as peer:
        await peer.send(settings({0x7777: 1}), settings({0x7777: 2, HEADER_TABLE_SIZE: 1 << 20}))
        peer.accept_header_table(1 << 20)
        await peer.call(1)

        assert (await peer.status(1))["grpc-status"] == OK


@pytest.mark.parametrize("size", [0, 1])
async def test_a_flood_of_small_data_is_cut_off(size: int) -> None:
    """Empty DATA frames, and frames of a byte, end the connection before they cost more than they may."""
    async with serving() as served, raw_peer(served) as peer:
        await peer.open(1, "Join")
        await peer.send(data(1, b"\0" * size, ends=False) * 5_000)

        assert ENHANCE_YOUR_CALM in await peer.goaways()


@pytest.mark.slow
async def test_rapid_resets_leak_nothing() -> None:
    """Two thousand calls that are reset at once: no handler begins, the connection is cut, no task is left."""
    async with serving() as served:
        before = tasks()
        async with raw_peer(served) as peer:
            ids = range(1, 4_001, 2)
            await peer.send(*[headers(number, peer.encode(call_headers())) + reset(number) for number in ids])
            assert ENHANCE_YOUR_CALM in await peer.goaways()
        await until(lambda: tasks() == before)

        assert served.probe.started == 0
        assert served.server.calls_in_flight == 0


@pytest.mark.slow
async def test_patient_resets_leak_nothing() -> None:
    """A thousand calls that are given up while their handlers wait: each handler is cancelled, nothing is left."""
    async with serving(quick(frame_burst=10_000, frames_on_trust=10_000)) as served, raw_peer(served) as peer:
        await peer.call(1)
        await peer.status(1)
        before = tasks()
        for stream_id in range(3, 2_003, 2):
            await peer.call(stream_id, "Wait")
            await peer.send(reset(stream_id))
        await peer.call(2_003)
        assert (await peer.status(2_003))["grpc-status"] == OK

        await until(lambda: tasks() == before)
        assert served.server.calls_in_flight == 0


async def test_callers_that_die_leak_nothing() -> None:
    """Two hundred callers that vanish between headers and message leave neither task nor connection."""
    async with serving() as served:
        before = tasks()
        for _ in range(200):
            async with raw_peer(served) as peer:
                await peer.open(1)
        await until(lambda: served.server.connections == 0)

        assert tasks() == before
        assert served.server.calls_in_flight == 0


@pytest.mark.parametrize("size", [0, 1, 16_384])
async def test_continuations_without_end_are_cut_off(size: int) -> None:
    """A header block that does not end is cut at its limit, long before it has filled the memory."""
    async with serving() as served, raw_peer(served) as peer:
        await peer.send(frame(HEADERS, 1, b"\0" * size))
        await _send_until_cut(peer, frame(CONTINUATION, 1, b"\0" * size) * 10)

        assert any(await peer.goaways())


async def test_a_frame_larger_than_announced_is_cut_off() -> None:
    """The length alone is enough: the frame is not waited for."""
    async with serving() as served, raw_peer(served) as peer:
        await peer.send((1 << 20).to_bytes(3) + b"\0\0\0\0\0\x01")

        assert await peer.goaways() == [FRAME_SIZE_ERROR]


async def test_a_header_bomb_is_cut_off() -> None:
    """A small block that unfolds into megabytes of headers ends the connection."""
    async with serving() as served, raw_peer(served) as peer:
        await peer.send(headers(1, peer.encode([*call_headers(), *[("bomb", "x" * 3_900)] * 4_000])))

        assert any(await peer.goaways())


async def test_bodies_beyond_the_window_end_the_connection() -> None:
    """A peer that sends more than the window allows breaks HTTP/2, and is cut off with little kept of it."""
    async with serving() as served, raw_peer(served) as peer:
        await peer.open(1)
        await peer.send(data(1, b"\0" + (60_000).to_bytes(4), ends=False))
        await _send_until_cut(peer, data(1, bytes(16_384), ends=False))

        assert any(await peer.goaways())


async def test_silence_is_cut_off_before_the_preface_and_within_it() -> None:
    """A connection that never becomes HTTP/2 is closed soon."""
    async with serving(quick(preface_seconds=0.1)) as served:
        async with raw_peer(served, greet=False) as silent, raw_peer(served, greet=False) as halting:
            await halting.send(PREFACE)
            assert await silent.goaways() == await halting.goaways() == [0]
        await until(lambda: served.server.connections == 0)


async def test_idleness_ends_only_connections_without_calls() -> None:
    """A silent connection is parted with, unless a call is open on it."""
    async with serving(quick(idle_seconds=0.05)) as served, raw_peer(served) as waiting, raw_peer(served) as idle:
        await waiting.call(1, "Wait")
        assert await idle.goaways() == [0]
        served.probe.release.set()

        assert (await waiting.status(1))["grpc-status"] == OK


async def test_a_slow_reader_is_not_buffered_for() -> None:
    """A stream of replies stops at the limit of unsent bytes when its reader stops, though the windows are wide open."""
    async with serving(quick(send_seconds=0.2)) as served, raw_peer(served, greet=False) as peer:
        await _ask_for_replies(peer, window=MAX_WINDOW)
        await served.begun()
        await until(lambda: served.server.connections == 0)

        assert served.probe.started < 400  # of 32 KiB each: what the kernel's buffers took, and the limit
        assert served.probe.cancelled == 1


async def test_a_closed_window_ends_the_call() -> None:
    """A peer that reads, but never opens its window, loses its call after a while, and only that."""
    async with serving(quick(send_seconds=0.1)) as served, raw_peer(served, greet=False) as peer:
        await _ask_for_replies(peer, window=0)
        status = await peer.status(1)
        await peer.send(settings({INITIAL_WINDOW_SIZE: 65_535}))
        await peer.call(3)

        assert status["grpc-message"] == "the reply was not read in time"
        assert (await peer.status(3))["grpc-status"] == OK


@pytest.mark.parametrize("opening", [window_update(1, 100), settings({INITIAL_WINDOW_SIZE: 100})], ids=["stream", "settings"])
async def test_a_window_that_opens_lets_the_reply_through(opening: bytes) -> None:
    """A reply waits for its window, however it is opened."""
    async with serving() as served, raw_peer(served, greet=False) as peer:
        await peer.greet({INITIAL_WINDOW_SIZE: 0})
        await peer.call(1)
        await served.begun()
        await trio.sleep(0.01)
        await peer.send(window_update(0, 1), opening)

        assert (await peer.status(1))["grpc-status"] == OK


async def _ask_for_replies(peer: RawPeer, *, window: int) -> None:
    await peer.greet({INITIAL_WINDOW_SIZE: window})
    how_many = prefixed(b"\x08\xff\xff\x03")  # a UInt32Value
    await peer.send(window_update(0, MAX_WINDOW - 65_535), headers(1, peer.encode(call_headers("Repeat"))), data(1, how_many))


@pytest.mark.slow
async def test_a_peer_that_never_reads_is_cut_off() -> None:
    """Answers to pings are not collected for one who does not read them: it is no longer read from, then cut."""
    limits = quick(frame_burst=10_000_000, frames_on_trust=10_000_000, send_seconds=0.2)
    async with serving(limits) as served, raw_peer(served) as peer, trio.open_nursery() as nursery:
        await peer.call(1)
        assert (await peer.status(1))["grpc-status"] == OK
        nursery.start_soon(_send_until_cut, peer, FLOODS["ping"] * 1_000)
        await until(lambda: served.server.connections == 0)


async def test_streams_beyond_the_limit_are_refused_for_another_try() -> None:
    """A peer that ignores the advertised limit of streams is refused in the way that lets clients try again."""
    async with serving(quick(streams_per_connection=2)) as served, raw_peer(served) as peer:
        for stream_id in (1, 3, 5):
            await peer.call(stream_id, "Wait")
        assert await peer.status(5) == {"reset": "7"}
        served.probe.release.set()

        assert (await peer.status(1))["grpc-status"] == OK


async def test_a_call_too_many_that_was_given_up_is_no_error() -> None:
    """A call that would be refused and is reset in the same breath leaves the connection in order."""
    async with serving(quick(streams_per_connection=1)) as served, raw_peer(served) as peer:
        await peer.call(1, "Wait")
        await served.begun()
        await peer.send(headers(3, peer.encode(call_headers())), reset(3))
        served.probe.release.set()

        assert (await peer.status(1))["grpc-status"] == OK


async def test_far_more_streams_than_the_limit_end_the_connection() -> None:
    """A peer that goes on in spite of it is cut off."""
    async with serving(quick(streams_per_connection=1)) as served, raw_peer(served) as peer:
        await peer.send(*[headers(stream_id, peer.encode(call_headers("Wait"))) for stream_id in range(1, 21, 2)])

        assert any(await peer.goaways())


async def test_refused_calls_earn_nothing() -> None:
    """Who calls only what does not exist is answered for a while, then cut off: a refusal is no proof of good will."""
    async with serving(quick(frame_burst=200)) as served, raw_peer(served) as peer:
        nowhere = headers(1, peer.encode(call_headers(changed={":path": "/no.Such/Method"})))[9:]
        calls = [frame(HEADERS, number, nowhere, flags=4) + data(number, message()) for number in range(1, 401, 2)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send, peer, b"".join(calls))
            assert ENHANCE_YOUR_CALM in await peer.goaways()


async def _send(peer: RawPeer, frames: bytes) -> None:
    with suppress(trio.BrokenResourceError):
        await peer.stream.send_all(frames)


async def test_a_silent_connection_makes_room_for_a_caller() -> None:
    """When all places are taken by peers that were never answered, the oldest of them is closed for a newcomer."""
    async with serving(quick(connections=2)) as served, raw_peer(served) as first, raw_peer(served, greet=False) as second:
        await until(lambda: served.server.connections == 2)
        async with channel_to(served.address) as channel:
            assert await call(channel, "Echo") == "x"
            assert await first.goaways() == []
            await second.greet()
            await second.call(1)
            assert (await second.status(1))["grpc-status"] == OK


async def test_a_connection_that_is_worked_for_is_not_sacrificed() -> None:
    """Neither an answered peer nor one whose first call is being executed has to give up its place."""
    async with serving(quick(connections=2)) as served, raw_peer(served) as answered, raw_peer(served) as waiting:
        await answered.call(1)
        assert (await answered.status(1))["grpc-status"] == OK
        await waiting.call(1, "Wait")
        await until(lambda: served.probe.started == 2)
        async with raw_peer(served) as third:
            assert await third.goaways() == []
        served.probe.release.set()

        assert (await waiting.status(1))["grpc-status"] == OK


async def test_a_peer_with_hundreds_of_calls_leaves_nothing() -> None:
    """When it is gone, all of its handlers are cancelled and all is given back, a few at a time."""
    async with serving() as served:
        before = tasks()
        async with raw_peer(served) as peer:
            for stream_id in range(1, 401, 2):
                await peer.call(stream_id, "Wait")
            await until(lambda: served.probe.started == 200)
        await until(lambda: served.server.connections == 0)

        assert served.probe.cancelled == 200
        assert tasks() == before


async def test_a_body_that_drips_ends_its_own_call() -> None:
    """A byte now and then does not extend the time that a request has to arrive."""
    async with serving(quick(body_seconds=0.1)) as served, raw_peer(served) as peer, trio.open_nursery() as nursery:
        await peer.open(1)
        nursery.start_soon(_drip, peer)
        assert (await peer.status(1))["grpc-status"] == DEADLINE_EXCEEDED
        nursery.cancel_scope.cancel()

        assert served.probe.started == 0


async def _drip(peer: RawPeer) -> None:
    while True:
        await peer.send(data(1, b"\0", ends=False))
        await trio.sleep(0.02)


async def test_a_window_that_opens_by_single_bytes_lets_the_reply_through() -> None:
    """A caller with the smallest windows gets its whole reply; another one is answered meanwhile."""
    async with serving() as served, raw_peer(served, greet=False) as peer, channel_to(served.address) as channel:
        await peer.greet({INITIAL_WINDOW_SIZE: 1})
        await peer.call(1)
        await served.begun()
        await peer.send(*[window_update(1, 1) for _ in range(len(message()))])
        assert await call(channel, "Echo") == "x"

        assert (await peer.status(1))["grpc-status"] == OK

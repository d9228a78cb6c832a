"""Broken callers: what is wrong ends the call that it is in, or at most its connection; the others never notice."""

import pytest
import trio

from executor.rpc.rpc_status import RpcCode
from tests.rpc.raw_peer import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PRIORITY,
    PUSH_PROMISE,
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
DEADLINE_EXCEEDED, EXHAUSTED = str(RpcCode.DEADLINE_EXCEEDED.value), str(RpcCode.RESOURCE_EXHAUSTED.value)
INTERNAL, UNIMPLEMENTED = str(RpcCode.INTERNAL.value), str(RpcCode.UNIMPLEMENTED.value)

MALFORMED: dict[str, dict[str, str | None]] = {
    "GET": {":method": "GET"},
    "no method": {":method": None},
    "ftp": {":scheme": "ftp"},
    "no path": {":path": None},
    "unknown pseudo-header": {":protocol": "x"},
    "no te": {"te": None},
    "te is gzip": {"te": "gzip"},
    "no content type": {"content-type": None},
    "content type of JSON": {"content-type": "application/json"},
    "content type of grpc-web": {"content-type": "application/grpc-web"},
    "name with a space": {"a b": "x"},
    "control character": {"note": "a\x01b"},
    "connection": {"connection": "close"},
    "bad timeout": {"grpc-timeout": "soon"},
    "timeout without unit": {"grpc-timeout": "5"},
    "negative timeout": {"grpc-timeout": "-5S"},
    "timeout of nine digits": {"grpc-timeout": "123456789S"},
    "bad base64": {"key-bin": "a"},
    "no base64 at all": {"key-bin": "(%)"},
}


@pytest.mark.parametrize("changed", MALFORMED.values(), ids=MALFORMED)
async def test_malformed_headers_end_their_own_call(changed: dict[str, str | None]) -> None:
    """Headers that no gRPC client sends are INTERNAL and say what is wrong; a call in flight on the connection is answered."""
    async with serving() as served, raw_peer(served) as peer:
        await peer.call(1, "Wait")
        await served.begun()
        await peer.call(3, changed=changed)
        status = await peer.status(3)
        served.probe.release.set()

        assert status["grpc-status"] == INTERNAL
        assert status["grpc-message"].startswith("malformed request headers: ")
        assert (await peer.status(1))["grpc-status"] == OK
        assert served.probe.started == 1


RAW_HEADERS: dict[str, tuple[list[tuple[bytes, bytes]], str]] = {
    "not ASCII": ([(b"note", b"\xff\xfe")], INTERNAL),
    "upper case": ([(b"Note", b"x")], INTERNAL),
    "te twice": ([(b"te", b"trailers")], INTERNAL),
    "a pseudo-header after the others": ([(b":authority", b"x")], INTERNAL),
    "many": ([(b"x", b"y" * 8)] * 2_000, EXHAUSTED),
    "70 kB": ([(b"x", b"y" * 70_000)], EXHAUSTED),
}


@pytest.mark.slow
@pytest.mark.parametrize(("extra", "code"), RAW_HEADERS.values(), ids=RAW_HEADERS)
async def test_malformed_raw_headers_end_their_own_call(extra: list[tuple[bytes, bytes]], code: str) -> None:
    """So are headers that are no text, stand twice or in the wrong place; too many of them are RESOURCE_EXHAUSTED."""
    async with serving() as served, raw_peer(served) as peer:
        await peer.call(1, "Wait")
        await served.begun()
        await peer.send(headers(3, peer.encode([*call_headers(), *extra])), data(3, message()))
        status = await peer.status(3)
        served.probe.release.set()

        assert status["grpc-status"] == code
        assert (await peer.status(1))["grpc-status"] == OK


@pytest.mark.parametrize("path", ["/", "Echo", "/Echo", "/test.v1.Test/Echo/more", "//Echo", "/test.v1.Test/", "*"])
async def test_a_path_that_is_no_method_is_unimplemented(path: str) -> None:
    """What is not /service/method cannot be called."""
    async with serving() as served, raw_peer(served) as peer:
        await peer.call(1, changed={":path": path})

        assert (await peer.status(1))["grpc-status"] == UNIMPLEMENTED


async def test_an_unknown_encoding_is_unimplemented_and_says_what_is_known() -> None:
    """A compressed request is refused with the encodings that are accepted."""
    async with serving() as served, raw_peer(served) as peer:
        await peer.call(1, changed={"grpc-encoding": "snappy"})
        status = await peer.status(1)

        assert (status["grpc-status"], status["grpc-accept-encoding"]) == (UNIMPLEMENTED, "identity")


BODIES = {
    "no message": (b"", INTERNAL),
    "half a prefix": (b"\0\0\0", INTERNAL),
    "half a message": (b"\0\0\0\0\x05ab", INTERNAL),
    "two messages": (message() * 2, INTERNAL),
    "no protobuf": (prefixed(b"\xff\xff"), INTERNAL),
    "compressed without an encoding": (b"\x01" + message()[1:], INTERNAL),
    "4 GiB": (b"\0\xff\xff\xff\xff", EXHAUSTED),
}


@pytest.mark.parametrize(("body", "code"), BODIES.values(), ids=BODIES)
async def test_a_broken_body_ends_its_own_call(body: bytes, code: str) -> None:
    """A request without exactly one whole message is refused; a call in flight on the connection is answered."""
    async with serving() as served, raw_peer(served) as peer:
        await peer.call(1, "Wait")
        await served.begun()
        await peer.open(3)
        await peer.send(data(3, body))
        status = await peer.status(3)
        served.probe.release.set()

        assert status["grpc-status"] == code
        assert (await peer.status(1))["grpc-status"] == OK


@pytest.mark.parametrize("changed", [{}, {"te": None}], ids=["well-formed", "malformed"])
async def test_headers_alone_end_their_own_call(changed: dict[str, str | None]) -> None:
    """A call that ends with its headers has no message, which is refused; the connection goes on."""
    async with serving() as served, raw_peer(served) as peer:
        await peer.send(headers(1, peer.encode(call_headers(changed=changed)), ends=True))
        assert (await peer.status(1))["grpc-status"] == INTERNAL
        await peer.call(3)

        assert (await peer.status(3))["grpc-status"] == OK


async def test_a_body_that_does_not_come_ends_its_own_call() -> None:
    """A caller that sends headers and no message is not waited for."""
    async with serving(quick(body_seconds=0.05)) as served, raw_peer(served) as peer:
        await peer.open(1)
        status = await peer.status(1)

        assert status["grpc-status"] == DEADLINE_EXCEEDED
        assert served.probe.started == 0


async def test_a_body_in_small_pieces_is_one_message() -> None:
    """A message may be cut anywhere."""
    async with serving() as served, raw_peer(served) as peer:
        await peer.open(1)
        for byte in message():
            await peer.send(data(1, bytes([byte]), ends=False))
        await peer.send(data(1, b""))

        assert (await peer.status(1))["grpc-status"] == OK


async def test_bodies_that_nobody_reads_do_not_use_up_the_window() -> None:
    """What is sent with calls that are refused is given back: more of it may come than the window holds."""
    limits = quick(unread_bytes_per_connection=70_000, frame_burst=10_000)
    async with serving(limits) as served, raw_peer(served) as peer:
        for stream_id in range(1, 41, 4):
            await peer.open(stream_id, changed={"te": None})
            await peer.send(data(stream_id, bytes(10_000)))
            assert (await peer.status(stream_id))["grpc-status"] == INTERNAL
            await peer.open(stream_id + 2)
            await peer.send(data(stream_id + 2, message() * 1_000))
            assert (await peer.status(stream_id + 2))["grpc-status"] == INTERNAL
        await peer.call(41)

        assert (await peer.status(41))["grpc-status"] == OK


@pytest.mark.slow
async def test_padding_does_not_use_up_the_window() -> None:
    """Padding counts against the window, and is given back."""
    async with serving(quick(unread_bytes_per_connection=70_000)) as served, raw_peer(served) as peer:
        for stream_id in range(1, 1001, 2):
            await peer.open(stream_id)
            await peer.send(frame(DATA, stream_id, b"\xfa" + message() + bytes(250), flags=PADDED | END_STREAM))
            assert (await peer.status(stream_id))["grpc-status"] == OK


async def test_trailers_of_a_client_are_ignored() -> None:
    """A client may end its request with trailers; they mean nothing here."""
    async with serving() as served, raw_peer(served) as peer:
        await peer.open(1)
        await peer.send(data(1, message(), ends=False), headers(1, peer.encode([("x", "y")]), ends=True))

        assert (await peer.status(1))["grpc-status"] == OK


async def test_a_goaway_of_a_client_does_not_end_its_calls() -> None:
    """A client that announces its end still gets the answers it waits for."""
    async with serving() as served, raw_peer(served) as peer:
        await peer.call(1, "Wait")
        await served.begun()
        await peer.send(frame(GOAWAY, payload=bytes(8)))
        await trio.sleep(0.02)
        served.probe.release.set()

        assert (await peer.status(1))["grpc-status"] == OK


async def test_late_frames_on_ended_calls_are_ignored() -> None:
    """Window updates and resets that cross with the end of a call do not hurt the connection, even after it was forgotten."""
    async with serving() as served, raw_peer(served) as peer:
        for stream_id in (1, 3, 5):
            await peer.call(stream_id)
            assert (await peer.status(stream_id))["grpc-status"] == OK
        await peer.send(window_update(1, 10), reset(1), window_update(5, 10))
        await peer.call(7)

        assert (await peer.status(7))["grpc-status"] == OK


async def test_a_reset_before_the_handler_began_keeps_it_from_beginning() -> None:
    """What was given up in the same breath is not executed: it might cost money."""
    async with serving() as served, raw_peer(served) as peer:
        await peer.send(headers(1, peer.encode(call_headers())), data(1, message()), reset(1))
        await peer.call(3)

        assert (await peer.status(3))["grpc-status"] == OK
        assert served.probe.started == 1


async def test_a_deadline_that_has_passed_keeps_the_handler_from_beginning() -> None:
    """A call that arrives too late is not executed."""
    async with serving() as served, raw_peer(served) as peer:
        await peer.call(1, changed={"grpc-timeout": "0n"})

        assert (await peer.status(1))["grpc-status"] == DEADLINE_EXCEEDED
        assert served.probe.started == 0


BROKEN_CONNECTIONS = {
    "DATA on a stream that was never opened": data(9, b"x"),
    "WINDOW_UPDATE on a stream that was never opened": window_update(9, 1),
    "WINDOW_UPDATE of nothing": window_update(0, 0),
    "WINDOW_UPDATE beyond the largest window": window_update(0, 2**31 - 1),
    "HEADERS that are no HPACK": headers(1, b"\xff\xff\xff\xff\xff\xff"),
    "HEADERS on an even stream": frame(HEADERS, 2, flags=END_HEADERS),
    "HEADERS on the connection": frame(HEADERS, 0, flags=END_HEADERS),
    "HEADERS with too much padding": frame(HEADERS, 1, b"\xff", flags=END_HEADERS | PADDED),
    "DATA within a header block": frame(HEADERS, 1) + data(1, b""),
    "CONTINUATION of nothing": frame(CONTINUATION, 1, flags=END_HEADERS),
    "PUSH_PROMISE": frame(PUSH_PROMISE, 1, bytes(4), flags=END_HEADERS),
    "PRIORITY on itself": frame(PRIORITY, 1, (1).to_bytes(4) + b"\0"),
    "SETTINGS that are not allowed": settings({4: 2**31}),
    "SETTINGS that are cut": frame(4, payload=b"abc"),
}


@pytest.mark.parametrize("frames", BROKEN_CONNECTIONS.values(), ids=BROKEN_CONNECTIONS)
async def test_a_broken_connection_is_told_so_and_closed(frames: bytes) -> None:
    """What leaves no common state ends the connection with a GOAWAY; other connections are unaffected."""
    async with serving() as served, channel_to(served.address) as channel:
        assert await call(channel, "Echo") == "x"
        async with raw_peer(served) as peer:
            await peer.send(frames)
            assert any(code != 0 for code in await peer.goaways())

        assert await call(channel, "Echo") == "x"
        await until(lambda: served.server.connections == 1)


@pytest.mark.parametrize("text", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01", b"\0" * 5_000])
async def test_what_is_no_http2_is_closed(text: bytes) -> None:
    """A browser, a TLS client or noise at the port is turned away."""
    async with serving() as served, raw_peer(served, greet=False) as peer:
        await peer.stream.send_all(text)
        await peer.goaways()
        await until(lambda: served.server.connections == 0)

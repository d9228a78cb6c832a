"""The server as stock clients see it."""

import errno
import os
import re
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
import trio
from google.protobuf.wrappers_pb2 import BytesValue, StringValue, UInt32Value
from google.rpc import error_details_pb2

from executor.rpc.rpc_status import RpcCode, RpcStatus
from executor.rpc.server import GrpcServer
from tests.rpc.raw_peer import raw_peer
from tests.rpc.serving import (
    PATH,
    QUICK,
    SECRET,
    Probe,
    call,
    channel_to,
    details,
    failure,
    in_thread,
    quick,
    serving,
    unary,
    until,
)
from tests.support.events import RecordedLog

PLAIN = {"request_serializer": lambda message: message.SerializeToString(), "response_deserializer": StringValue.FromString}


async def test_a_call_is_answered_and_the_handler_knows_its_caller() -> None:
    """A stock client gets its reply; the handler sees method, metadata, deadline and peer."""
    async with serving() as served, channel_to(served.address) as channel:
        assert await call(channel, "Echo", "hello", metadata=[("who", "me"), ("key-bin", b"\x00\xff")]) == "hello"

        (seen,) = served.probe.calls
        assert seen.head.path == "/test.v1.Test/Echo"
        assert ("who", "me") in seen.head.metadata
        assert ("key-bin", b"\x00\xff") in seen.head.metadata
        assert "grpc-python" in seen.head.user_agent
        assert seen.peer.address.startswith("127.0.0.1:")
        assert 0 < seen.deadline - trio.current_time() < 5


async def test_a_call_without_a_deadline_has_the_longest_one() -> None:
    """A caller that brings no deadline is given the limit's."""
    async with serving(quick(call_seconds=0.1)) as served, channel_to(served.address) as channel:
        error = await failure(channel, "Wait", timeout=None)

        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("code", [code for code in RpcCode if code is not RpcCode.OK])
async def test_every_status_reaches_the_caller(code: RpcCode) -> None:
    """Whatever status a handler raises, code and message arrive, special characters included."""
    async with serving() as served, channel_to(served.address) as channel:
        served.probe.to_raise = RpcStatus(code, "50 % of Ünïcode\n")
        error = await failure(channel, "Raise")

        assert error.code().value[0] == code
        assert error.details() == "50 % of Ünïcode\n"


async def test_details_and_trailers_reach_the_caller() -> None:
    """google.rpc details and trailers, text and binary, arrive as they were raised."""
    info = error_details_pb2.ErrorInfo(reason="R", domain="executor", metadata={"a": "1"})
    async with serving() as served, channel_to(served.address) as channel:
        trailers: list[tuple[str, str | bytes]] = [("x-note", "text"), ("x-note-bin", b"\x00\x01")]
        served.probe.to_raise = RpcStatus(RpcCode.ABORTED, "m", details=[info], trailers=trailers)
        error = await failure(channel, "Raise")

        assert details(error) == [info]
        assert ("x-note", "text") in error.trailing_metadata()
        assert ("x-note-bin", b"\x00\x01") in error.trailing_metadata()


async def test_details_that_a_client_would_not_accept_are_left_out() -> None:
    """A status with more details than stock clients take arrives with those that fit, in order."""
    small = error_details_pb2.ErrorInfo(reason="SMALL")
    large = error_details_pb2.ErrorInfo(reason="LARGE", metadata={"x": "y" * 10_000})
    async with serving() as served, channel_to(served.address) as channel:
        served.probe.to_raise = RpcStatus(RpcCode.ABORTED, "ü" * 5_000, details=[small, large])
        error = await failure(channel, "Raise")

        assert details(error) == [small]
        assert error.details() == "ü" * 512


@pytest.mark.parametrize("method", ["Raise", "RaiseInNursery"])
async def test_a_bug_in_a_handler_tells_the_caller_nothing(method: str) -> None:
    """An exception in a handler is INTERNAL without its text; the log has it."""
    log = RecordedLog()
    async with serving(log=log) as served, channel_to(served.address) as channel:
        served.probe.to_raise = ValueError(SECRET)
        error = await failure(channel, method)

        assert error.code() is grpc.StatusCode.INTERNAL
        assert error.details() == "internal error"
        assert SECRET not in str(error.trailing_metadata())
        assert [fields["method"] for fields in log.named("rpc.handler_failed")] == [PATH + method]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
async def test_an_interruption_in_a_handler_ends_the_server(interruption: type[BaseException]) -> None:
    """What is meant for the whole process is not taken for the failure of a call."""
    with pytest.raises(BaseExceptionGroup) as raised:  # noqa: ASYNC401 - RaisesGroup is newer than the oldest pytest we allow
        await _interrupted(interruption)

    assert raised.group_contains(interruption)


async def _interrupted(interruption: type[BaseException]) -> None:
    async with serving() as served, raw_peer(served) as peer:
        served.probe.to_raise = interruption()
        await peer.call(1, "Raise")
        await served.ended.wait()


async def test_a_status_raised_in_a_nursery_is_the_status() -> None:
    """A nursery in a handler wraps what it raises into a group; the caller gets the status all the same."""
    async with serving() as served, channel_to(served.address) as channel:
        served.probe.to_raise = RpcStatus(RpcCode.NOT_FOUND, "nothing there")
        error = await failure(channel, "RaiseInNursery")

        assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "nothing there")


async def test_a_deadline_ends_the_wait() -> None:
    """When the caller's deadline passes, the handler is cancelled; other calls of the connection go on."""
    async with serving() as served, channel_to(served.address) as channel:
        error = await failure(channel, "Wait", timeout=0.1)
        await until(lambda: served.probe.cancelled == 1)

        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert served.server.calls_in_flight == 0
        assert await call(channel, "Echo") == "x"


async def test_a_cancel_ends_the_wait() -> None:
    """When the caller cancels, the handler is cancelled."""
    async with serving() as served, channel_to(served.address) as channel:
        future = unary(channel, "Wait").future(StringValue(value="x"))
        await served.begun()
        future.cancel()
        await until(lambda: served.server.calls_in_flight == 0)

        assert served.probe.cancelled == 1


async def test_a_disconnect_ends_the_wait() -> None:
    """When the caller's connection is gone, the handler is cancelled and nothing is left of it."""
    async with serving() as served:
        async with channel_to(served.address) as channel:
            future = unary(channel, "Wait").future(StringValue(value="x"))
            await served.begun()
        await until(lambda: served.server.connections == 0)

        assert future.done()
        assert served.probe.cancelled == 1
        assert served.server.calls_in_flight == 0


async def test_an_unknown_method_is_unimplemented() -> None:
    """A method or service that does not exist ends its own call."""
    async with serving() as served, channel_to(served.address) as channel:
        assert (await failure(channel, "Missing")).code() is grpc.StatusCode.UNIMPLEMENTED
        stub = channel.unary_unary("/other.v1.Other/Echo", **PLAIN)
        with pytest.raises(grpc.RpcError) as raised:
            await in_thread(lambda: stub(StringValue(value="x"), timeout=5))

        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await call(channel, "Echo") == "x"


async def test_what_is_no_protobuf_ends_its_own_call() -> None:
    """A request that cannot be parsed is INTERNAL, as gRPC has it; a victim on the same connection is unaffected."""
    async with serving() as served, channel_to(served.address) as channel:
        victim = unary(channel, "Wait").future(StringValue(value="safe"))
        await served.begun()
        stub = channel.unary_unary(PATH + "Echo", request_serializer=bytes, response_deserializer=StringValue.FromString)
        with pytest.raises(grpc.RpcError) as raised:
            await in_thread(lambda: stub(b"\xff\xff\xff", timeout=5))
        served.probe.release.set()

        assert raised.value.code() is grpc.StatusCode.INTERNAL
        assert (await in_thread(victim.result)).value == "safe"


@pytest.mark.parametrize(("size", "code"), [(60_000, None), (70_000, "RESOURCE_EXHAUSTED"), (33 << 20, "RESOURCE_EXHAUSTED")])
async def test_an_oversized_message_ends_its_own_call(size: int, code: str | None) -> None:
    """A request above the limit is RESOURCE_EXHAUSTED at once; a victim on the same connection is unaffected."""
    unlimited = ("grpc.max_send_message_length", -1)
    async with serving() as served, channel_to(served.address, unlimited) as channel:
        victim = unary(channel, "Wait").future(StringValue(value="safe"))
        await served.begun()
        if code is None:
            assert len(await call(channel, "Echo", "x" * size)) == size
        else:
            assert (await failure(channel, "Echo", "x" * size)).code().name == code
        served.probe.release.set()

        assert (await in_thread(victim.result)).value == "safe"


async def test_a_reply_that_is_too_large_ends_its_own_call() -> None:
    """A handler's reply above the limit is RESOURCE_EXHAUSTED, not a broken connection."""
    async with serving(quick(reply_bytes=1_000)) as served, channel_to(served.address) as channel:
        stub = unary(channel, "Bytes", BytesValue)
        with pytest.raises(grpc.RpcError) as raised:
            await in_thread(lambda: stub(UInt32Value(value=2_000), timeout=5))

        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await call(channel, "Echo") == "x"


async def test_a_large_reply_passes_the_windows() -> None:
    """A reply larger than every window and buffer arrives whole."""
    async with serving() as served, channel_to(served.address) as channel:
        stub = unary(channel, "Bytes", BytesValue)
        reply = await in_thread(lambda: stub(UInt32Value(value=3_000_000), timeout=5))

        assert reply.value == bytes(3_000_000)


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compression_is_refused(algorithm: grpc.Compression) -> None:
    """A compressed request is UNIMPLEMENTED: nothing is ever decompressed here."""
    async with serving() as served, channel_to(served.address) as channel:
        error = await failure(channel, "Echo", "x" * 10_000, compression=algorithm)

        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await call(channel, "Echo") == "x"


@pytest.mark.parametrize(("size", "served_well"), [(9_000, True), (17_000, False), (70_000, False)])
async def test_oversized_metadata_ends_its_own_call(size: int, served_well: bool) -> None:
    """Metadata above the limit is refused; a victim on the same connection is unaffected."""
    unlimited = ("grpc.absolute_max_metadata_size", 1 << 20)
    async with serving() as served, channel_to(served.address, unlimited) as channel:
        victim = unary(channel, "Wait").future(StringValue(value="safe"))
        await served.begun()
        if served_well:
            assert await call(channel, "Echo", metadata=[("a", "x" * size)]) == "x"
        else:
            error = await failure(channel, "Echo", metadata=[("a", "x" * size)])
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        served.probe.release.set()

        assert (await in_thread(victim.result)).value == "safe"


async def test_requests_may_stream() -> None:
    """A stream of requests reaches the handler in order, and ends."""
    async with serving() as served, channel_to(served.address) as channel:
        join = channel.stream_unary(PATH + "Join", **PLAIN)
        reply = await in_thread(lambda: join(iter([StringValue(value=letter) for letter in "abc"]), timeout=5))

        assert reply.value == "abc"


async def test_requests_and_replies_may_stream() -> None:
    """In a conversation every reply follows its request."""
    async with serving() as served, channel_to(served.address) as channel:
        chat = channel.stream_stream(PATH + "Chat", **PLAIN)

        def talk() -> list[str]:
            return [reply.value for reply in chat(_letters(), timeout=5)]

        assert await in_thread(talk) == list("abc")


def _letters() -> Iterator[StringValue]:
    for letter in "abc":
        yield StringValue(value=letter)


async def test_a_stream_that_nobody_reads_any_more_is_closed() -> None:
    """When the reader of a stream of replies cancels, the handler ends and its cleanup runs."""
    async with serving() as served, channel_to(served.address) as channel:
        repeat = channel.unary_stream(PATH + "Repeat", PLAIN["request_serializer"], BytesValue.FromString)
        replies = repeat(UInt32Value(value=1_000_000))
        await in_thread(lambda: next(replies))
        replies.cancel()
        await until(lambda: served.server.calls_in_flight == 0)

        assert served.probe.cancelled == 1


async def test_too_many_calls_are_refused() -> None:
    """A call beyond the limit of calls in flight is RESOURCE_EXHAUSTED; those before it are answered."""
    async with serving(quick(calls_in_flight=1)) as served, channel_to(served.address) as channel:
        first = unary(channel, "Wait").future(StringValue(value="first"))
        await served.begun()
        error = await failure(channel, "Echo")
        served.probe.release.set()

        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await in_thread(first.result)).value == "first"


async def test_more_calls_than_streams_all_end_well() -> None:
    """A client that has more calls than the connection has streams for gets every one of them answered."""
    async with serving(quick(streams_per_connection=4)) as served, channel_to(served.address) as channel:
        futures = [unary(channel, "Echo").future(StringValue(value=str(n)), timeout=5) for n in range(40)]

        assert await in_thread(lambda: [future.result().value for future in futures]) == [str(n) for n in range(40)]


async def test_a_connection_too_many_is_closed() -> None:
    """Beyond the limit a connection is closed at once; when another has ended there is room again."""
    log = RecordedLog()
    async with serving(quick(connections=1), log=log) as served:
        async with channel_to(served.address) as first:
            assert await call(first, "Echo") == "x"
            async with channel_to(served.address) as second:
                assert (await failure(second, "Echo")).code() is grpc.StatusCode.UNAVAILABLE
            async with raw_peer(served) as third:
                assert await third.goaways() == []
        await until(lambda: served.server.connections == 0)
        async with channel_to(served.address) as fourth:
            assert await call(fourth, "Echo") == "x"

        assert len(log.named("rpc.connections_exceeded")) == 1


@pytest.mark.slow
async def test_keepalive_pings_are_answered() -> None:
    """A client that pings as often as it may keeps its connection, and an idle one too."""
    options = (
        ("grpc.keepalive_time_ms", 50),
        ("grpc.keepalive_timeout_ms", 200),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    )
    async with serving() as served, channel_to(served.address, *options) as channel:
        assert await call(channel, "Echo") == "x"
        await trio.sleep(0.25)
        assert await call(channel, "Echo") == "x"

        assert len({seen.peer.address for seen in served.probe.calls}) == 1


async def test_a_taken_port_is_refused() -> None:
    """A second server at the same port is refused, and the message says why."""
    async with serving() as served:
        second = GrpcServer(served.address, Probe(), log=RecordedLog(), limits=QUICK)
        with pytest.raises(OSError, match=re.escape(f"{served.address} is taken")) as raised:
            await second.serve()

        assert raised.value.errno == errno.EADDRINUSE


async def test_only_loopback_answers() -> None:
    """Bound to 127.0.0.1, the server does not answer at the machine's other addresses."""
    async with serving() as served:
        port = int(served.address.rpartition(":")[2])
        with trio.socket.socket() as stranger, pytest.raises(ConnectionRefusedError):
            await stranger.connect(("127.0.0.2", port))


@pytest.mark.parametrize(("address", "pattern"), [("localhost:0", r"127\.0\.0\.1:\d+"), ("[::1]:0", r"\[::1\]:\d+")])
async def test_names_and_ipv6_are_addresses(address: str, pattern: str) -> None:
    """A name is resolved, and an IPv6 address is reported so that a client can dial it."""
    if "::1" in address and not _has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    async with serving(address=address) as served, channel_to(served.address) as channel:
        assert re.fullmatch(pattern, served.address)
        assert await call(channel, "Echo") == "x"


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_an_address_of_others_is_refused() -> None:
    """An address that this machine does not have is refused, and the message names it."""
    with pytest.raises(OSError, match=re.escape("cannot listen at 192.0.2.1:0: ")):
        await GrpcServer("192.0.2.1:0", Probe(), log=RecordedLog()).serve()


async def test_a_unix_socket_serves_owner_and_group(tmp_path: Path) -> None:
    """A Unix socket serves stock clients, only those whom its mode admits, and is removed at the end."""
    path = tmp_path / "s"
    async with serving(address=f"unix:{path}") as served:
        async with channel_to(served.address) as channel:
            assert await call(channel, "Echo") == "x"
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert served.probe.calls[0].peer.address == "unix"

    assert not path.exists()


async def test_a_taken_unix_socket_is_refused(tmp_path: Path) -> None:
    """A second server at the same path is refused, and the first one still serves."""
    address = f"unix:{tmp_path / 's'}"
    async with serving(address=address) as served, channel_to(served.address) as channel:
        with pytest.raises(OSError, match="is taken"):
            await GrpcServer(address, Probe(), log=RecordedLog()).serve()

        assert await call(channel, "Echo") == "x"


async def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    """A socket file that a dead process left behind does not keep the server from starting."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with serving(address=f"unix:{path}") as served, channel_to(served.address) as channel:
        assert await call(channel, "Echo") == "x"


async def test_a_file_that_is_no_socket_is_kept(tmp_path: Path) -> None:
    """A file in the way is refused, not removed."""
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(OSError, match="is taken"):
        await GrpcServer(f"unix:{path}", Probe(), log=RecordedLog()).serve()

    assert path.read_text() == "precious"


@pytest.mark.slow
async def test_running_out_of_descriptors_is_survived() -> None:
    """A hundred connections to a server that may have sixty-four descriptors: it stays up, and serves when they are gone."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "tests.rpc.starved_server"]
    process = await trio.lowlevel.open_process(command, stdout=pipe, stderr=pipe, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        address = (await process.stdout.receive_some(100)).decode().strip()
        host, _, port = address.rpartition(":")
        crowd = [await trio.open_tcp_stream(host, int(port)) for _ in range(100)]
        await trio.sleep(0.2)
        for stream in crowd:
            await stream.aclose()
        async with channel_to(address) as channel:
            assert await call(channel, "Echo", wait_for_ready=True) == "x"
        process.terminate()

        assert b"Too many open files" in await process.stderr.receive_some(65536)
        assert await process.wait() == 0
    finally:
        process.kill()


async def test_a_listener_that_breaks_ends_the_server() -> None:
    """What accept() cannot recover from is raised, not repeated for ever."""
    with pytest.raises(ExceptionGroup) as raised:  # noqa: ASYNC401 - RaisesGroup is newer than the oldest pytest we allow
        await _serve_until_broken()

    assert raised.group_contains(OSError, match="Invalid argument")


async def _serve_until_broken() -> None:
    async with serving() as served:
        with _listening_socket(served.address) as listener:
            listener.shutdown(socket.SHUT_RDWR)
        await served.ended.wait()


def _listening_socket(address: str) -> socket.socket:
    """This process's socket that listens at an address, once more."""
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as found:
            host, _, port = address.rpartition(":")
            if found.getsockname() == (host, int(port)) and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return found.dup()
    raise AssertionError("not found")


async def test_a_caller_that_left_before_it_was_accepted_does_no_harm() -> None:
    """A connection that is reset while it waits to be accepted is let go."""
    async with serving() as served, channel_to(served.address) as channel:
        host, _, port = served.address.rpartition(":")
        for _ in range(3):
            with socket.create_connection((host, int(port))) as hasty:
                hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        assert await call(channel, "Echo") == "x"
        await until(lambda: served.server.connections == 1)


async def test_a_bug_beyond_a_call_costs_its_connection_only() -> None:
    """What goes wrong outside the handler closes the connection that it happens on; the log says so, the server goes on."""
    log = RecordedLog()
    async with serving(log=log) as served:
        served.probe.to_raise = RpcStatus(RpcCode.ABORTED, details=["no message"])  # type: ignore[list-item]  # the bug
        async with channel_to(served.address) as channel:
            assert (await failure(channel, "Raise")).code() is grpc.StatusCode.UNAVAILABLE
        # Another channel: the old one may put a call on the connection that is being closed.
        async with channel_to(served.address) as another:
            assert await call(another, "Echo") == "x"

        assert len(log.named("rpc.connection_failed")) == 1


@pytest.mark.parametrize("trailer", [(":status", "200"), ("Upper", "x"), ("x", b"x"), ("x-bin", "x"), ("x", "ü"), ("x", "\n")])
def test_trailers_that_cannot_be_sent_are_an_error_of_the_handler(trailer: tuple[str, str | bytes]) -> None:
    """A status is refused where it is made, not when it is on its way."""
    with pytest.raises(ValueError, match="trailer"):
        RpcStatus(RpcCode.ABORTED, trailers=[trailer])

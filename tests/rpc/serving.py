"""A server with a service that does what a test asks of it, and stock clients that block in threads."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import attrs
import grpc
import purerpc
import trio
from attrs import define, field
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BytesValue, StringValue, UInt32Value
from google.rpc import error_details_pb2, status_pb2

from executor.log import Log, NullLog
from executor.rpc.calls import Call
from executor.rpc.limits import ServerLimits
from executor.rpc.server import GrpcServer

PATH = "/test.v1.Test/"
SECRET = "secret-api-key-123"
CALL_SECONDS = 5.0

QUICK = ServerLimits(settle_seconds=0.05, part_seconds=0.2, lane_share=1.0, door_share=1.0)
"""Limits under which nothing makes a test wait. The lane counts the work of this thread, and here the hostile peer's is in it."""

Answered = TypeVar("Answered")


@define
class Probe:
    """A service whose methods do one thing each, and note that they did."""

    started: int = 0
    cancelled: int = 0
    """Handlers that were cancelled while they waited."""
    release: trio.Event = field(factory=trio.Event)
    """Ends `Wait`."""
    shield: bool = False
    """`Wait` ignores cancellation until it is released."""
    to_raise: BaseException | None = None
    calls: list[Call] = field(factory=list)
    begun: trio.Event = field(factory=trio.Event)

    @property
    def service(self) -> Any:
        service = purerpc.Service("test.v1.Test")
        one, many = purerpc.Cardinality.UNARY_UNARY, purerpc.Cardinality
        text = StringValue
        service.add_method("Echo", self.echo, purerpc.RPCSignature(one, text, text))
        service.add_method("Wait", self.wait, purerpc.RPCSignature(one, text, text))
        service.add_method("Raise", self.fail, purerpc.RPCSignature(one, text, text))
        service.add_method("RaiseInNursery", self.fail_in_nursery, purerpc.RPCSignature(one, text, text))
        service.add_method("Bytes", self.many_bytes, purerpc.RPCSignature(one, UInt32Value, BytesValue))
        service.add_method("Repeat", self.repeat, purerpc.RPCSignature(many.UNARY_STREAM, UInt32Value, BytesValue))
        service.add_method("Join", self.join, purerpc.RPCSignature(many.STREAM_UNARY, text, text))
        service.add_method("Chat", self.chat, purerpc.RPCSignature(many.STREAM_STREAM, text, text))
        return service

    def _begin(self, call: Call) -> None:
        self.started += 1
        self.calls.append(call)
        self.begun.set()

    async def echo(self, message: StringValue, request: Call) -> StringValue:
        self._begin(request)
        return message

    async def wait(self, message: StringValue, request: Call) -> StringValue:
        self._begin(request)
        try:
            with trio.CancelScope(shield=self.shield):
                await self.release.wait()
        except trio.Cancelled:
            self.cancelled += 1
            raise
        return message

    async def fail(self, _message: StringValue, request: Call) -> StringValue:
        self._begin(request)
        assert self.to_raise is not None
        raise self.to_raise

    async def fail_in_nursery(self, message: StringValue, request: Call) -> StringValue:
        async with trio.open_nursery() as nursery:  # noqa: ASYNC112 - that it wraps what is raised is the point
            nursery.start_soon(self.fail, message, request)
        return message

    async def many_bytes(self, size: UInt32Value, request: Call) -> BytesValue:
        self._begin(request)
        return BytesValue(value=bytes(size.value))

    async def repeat(self, count: UInt32Value, request: Call) -> AsyncIterator[BytesValue]:
        self._begin(request)
        try:
            for _ in range(count.value):
                yield BytesValue(value=bytes(32 * 1024))
                self.started += 1
        finally:
            self.cancelled += 1

    async def join(self, messages: AsyncIterator[StringValue], request: Call) -> StringValue:
        self._begin(request)
        return StringValue(value="".join([message.value async for message in messages]))

    async def chat(self, messages: AsyncIterator[StringValue]) -> AsyncIterator[StringValue]:
        async for message in messages:
            yield message


@define
class Served:
    """A server that runs."""

    server: GrpcServer
    address: str
    probe: Probe
    ended: trio.Event
    """`serve` has returned."""

    async def begun(self) -> None:
        """Wait until a handler has begun."""
        with trio.fail_after(CALL_SECONDS):
            await self.probe.begun.wait()


@asynccontextmanager
async def serving(
    limits: ServerLimits = QUICK, *, address: str = "127.0.0.1:0", log: Log | None = None, ssl_context: Any = None
) -> AsyncIterator[Served]:
    """Serve a Probe."""
    probe = Probe()
    server = GrpcServer(address, probe, log=log or NullLog(), limits=limits, ssl_context=ssl_context)
    ended = trio.Event()

    async def serve(*, task_status: trio.TaskStatus[str]) -> None:  # noqa: ASYNC128 - the server calls started()
        await server.serve(task_status=task_status)
        ended.set()

    async with trio.open_nursery() as nursery:
        bound = await nursery.start(serve)
        yield Served(server, bound, probe, ended)
        nursery.cancel_scope.cancel()


def quick(**limits: Any) -> ServerLimits:
    """Quick limits, some of them others."""
    return attrs.evolve(QUICK, **limits)


async def in_thread(function: Callable[[], Answered]) -> Answered:
    """Run what blocks; a test that is cancelled does not wait for it."""
    return await trio.to_thread.run_sync(function, abandon_on_cancel=True)


@asynccontextmanager
async def channel_to(address: str, *options: tuple[str, Any]) -> AsyncIterator[grpc.Channel]:
    """Open a stock client's channel, with a connection of its own."""
    channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1), *options])
    try:
        yield channel
    finally:
        channel.close()


def unary(channel: grpc.Channel, method: str, reply: type[Message] = StringValue) -> Any:
    """The stub of a method with one request and one reply."""
    return channel.unary_unary(
        PATH + method, request_serializer=lambda message: message.SerializeToString(), response_deserializer=reply.FromString
    )


async def call(channel: grpc.Channel, method: str, text: str = "x", **options: Any) -> str:
    """Call a method and return its reply; raises grpc.RpcError."""
    stub = unary(channel, method)
    reply = await in_thread(lambda: stub(StringValue(value=text), **{"timeout": CALL_SECONDS, **options}))
    value: str = reply.value
    return value


async def failure(channel: grpc.Channel, method: str, text: str = "x", **options: Any) -> grpc.RpcError:
    """Call a method that fails, and return how."""
    try:
        reply = await call(channel, method, text, **options)
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"{method} answered {reply!r}")


def details(error: grpc.RpcError) -> Sequence[Any]:
    """The google.rpc details of a failed call."""
    trailers = dict(error.trailing_metadata() or ())
    packed = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert packed.code == error.code().value[0]
    assert packed.message == error.details()
    return [_unpacked(detail) for detail in packed.details]


def _unpacked(detail: Any) -> Any:
    message = getattr(error_details_pb2, detail.TypeName().rpartition(".")[2])()
    assert detail.Unpack(message)
    return message


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for something that happens by itself soon."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - of what the server does inside, there is no event to wait for
            await trio.sleep(0.005)

"""From an open stream to its status: find the method, keep the deadline, run the handler, and answer whatever comes of it."""

import math
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from typing import Any, Protocol, runtime_checkable

import trio
from attrs import frozen
from google.protobuf.message import Message
from purerpc.rpc import Cardinality

from executor.log import Log
from executor.rpc.head import CallHead
from executor.rpc.limits import ServerLimits
from executor.rpc.rpc_status import INTERNAL_ERROR, OK, RpcCode, RpcStatus
from executor.rpc.session import Peer
from executor.rpc.stream import Stream


class Servicer(Protocol):
    """What purerpc's generated classes are."""

    @property
    def service(self) -> Any:
        """The purerpc.Service with its methods."""


@runtime_checkable
class Lasting(Protocol):
    """A servicer that has streams without an end of their own."""

    def end_streams(self) -> None:
        """End them, those to come as well."""


@frozen(kw_only=True)
class Call:
    """What a handler may know of its call beside the message; purerpc hands it to a second parameter named `request`."""

    head: CallHead
    peer: Peer
    deadline: float
    """On trio's clock; inf where there is none."""


class Calls:
    """All calls of the server."""

    def __init__(self, servicers: Iterable[Servicer], *, limits: ServerLimits, log: Log) -> None:
        services = [servicer.service for servicer in servicers]
        self._methods: Mapping[str, Any] = {
            f"/{service.name}/{name}": method for service in services for name, method in service.methods.items()
        }
        self._limits = limits
        self._log = log
        self._refusal: RpcStatus | None = None
        self._none_in_flight = trio.Event()
        self.in_flight = 0

    def refuse_new(self, status: RpcStatus) -> None:
        """Answer every call from now on with this status."""
        self._refusal = status

    async def wait_for_none(self) -> None:
        """Wait until no call is in flight."""
        while self.in_flight:
            await self._none_in_flight.wait()

    async def answer(self, stream: Stream, head: CallHead, peer: Peer) -> None:
        """Answer a call. Only Cancelled gets out of it, when the peer is gone or its connection is cut."""
        if not self.in_flight:
            self._none_in_flight = trio.Event()
        self.in_flight += 1
        try:
            stream.finish(await self._outcome(stream, head, peer))
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self._none_in_flight.set()

    async def _outcome(self, stream: Stream, head: CallHead, peer: Peer) -> RpcStatus:
        if self._refusal is not None:
            return self._refusal
        try:
            method = self._admit(head)
            stream.scope.deadline = trio.current_time() + min(
                self._limits.call_seconds, math.inf if head.timeout_seconds is None else head.timeout_seconds
            )
            with stream.scope:
                await _converse(stream, method, Call(head=head, peer=peer, deadline=stream.scope.deadline))
        except RpcStatus as status:
            return status
        except Exception as error:  # noqa: BLE001 - the boundary of a handler: its bugs end its own call, and only the log sees them
            return _only_status(error) or self._report(head, error)
        if stream.scope.cancelled_caught:
            return stream.ended_with or RpcStatus(RpcCode.DEADLINE_EXCEEDED, "the deadline has passed")
        return OK

    def _admit(self, head: CallHead) -> Any:
        if self.in_flight > self._limits.calls_in_flight:
            raise RpcStatus(RpcCode.RESOURCE_EXHAUSTED, "too many calls are in flight")
        try:
            return self._methods[head.path]
        except KeyError:
            raise RpcStatus(RpcCode.UNIMPLEMENTED, "there is no such method") from None

    def _report(self, head: CallHead, error: Exception) -> RpcStatus:
        self._log.error("rpc.handler_failed", method=head.path, exc_info=error)
        return INTERNAL_ERROR


async def _converse(stream: Stream, method: Any, call: Call) -> None:
    signature = method.signature
    stream.expect_message_type(signature.request_type)
    one_request = signature.cardinality in (Cardinality.UNARY_UNARY, Cardinality.UNARY_STREAM)
    one_reply = signature.cardinality in (Cardinality.UNARY_UNARY, Cardinality.STREAM_UNARY)
    request = await stream.receive_only_message() if one_request else _Requests(stream)
    # A call that was given up or is too late by now must not begin: what it asks for may cost money.
    await trio.lowlevel.checkpoint_if_cancelled()
    stream.admitted = True
    answer = method.method_fn(request, request=call)
    if one_reply:
        await stream.send_message(await answer)
        return
    async with aclosing(answer) as replies:
        async for reply in replies:
            await stream.send_message(reply)


@frozen
class _Requests:
    """The messages of a request. purerpc's generator of them has to be closed when a handler does not read to its end."""

    stream: Stream

    def __aiter__(self) -> "_Requests":
        return self

    async def __anext__(self) -> Message:
        await trio.lowlevel.checkpoint()  # thousands may have come in one frame
        message: Message | None = await self.stream.receive_message()
        if message is None:
            raise StopAsyncIteration
        return message


def _only_status(error: BaseException) -> RpcStatus | None:
    """The status that a handler raised within a nursery, which wraps even one exception into a group."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, RpcStatus) else None

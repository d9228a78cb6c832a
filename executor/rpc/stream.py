"""One call, between the bytes of its connection and the coroutine that answers it."""

import math
from typing import Any, Protocol

import trio
from google.protobuf.message import DecodeError, Message
from purerpc.grpc_proto import GRPCProtoStream
from purerpc.grpclib.events import MessageReceived, RequestEnded
from purerpc.grpclib.exceptions import MessageTooLargeError
from purerpc.grpclib.exceptions import ProtocolError as GrpcProtocolError
from purerpc.wrappers import extract_message_from_singleton_stream

from executor.rpc.body import PREFIX_BYTES, RequestBody
from executor.rpc.connection import Connection, ProtocolError
from executor.rpc.limits import ServerLimits
from executor.rpc.rpc_status import RpcCode, RpcStatus


class Output(Protocol):
    """Where a stream's bytes leave."""

    async def flush(self) -> None:
        """Send soon what the connection holds; wait while it holds too much."""

    def earn(self, frames: int) -> None:
        """Let the peer send as many frames more."""


class Stream(GRPCProtoStream):  # type: ignore[misc]  # purerpc has no types
    """purerpc's stream, with a bounded body, a response that starts with its first message, and an end that can be ordered."""

    def __init__(self, connection: Connection, stream_id: int, output: Output, limits: ServerLimits) -> None:
        super().__init__(connection, stream_id, output, None)
        # purerpc queues events here without a bound, one object for each message; `receive_event` reads from the body instead.
        for channel in self._incoming_events:
            channel.close()
        self.body = RequestBody(limits.request_bytes)
        self.scope = trio.CancelScope(deadline=math.inf)
        """Bounds the answering: whoever answers enters it and sets its deadline."""
        self.gone = False
        """Nobody waits for the answer any more."""
        self.admitted = False
        """A handler works, or has worked, for it."""
        self.ended_with: RpcStatus | None = None
        """The status that `end` ordered."""
        self._connection = connection
        self._output = output
        self._limits = limits
        self._arrival = trio.Event()

    # From the connection and the server.

    def body_arrived(self, data: bytes) -> None:
        """Take in a part of the request."""
        self.body.append(data)
        self._arrival.set()

    def request_ended(self) -> None:
        """Note that the peer has sent all of its request."""
        self.body.ended = True
        self._arrival.set()

    def window_opened(self) -> None:
        """Look again at how much may be sent."""
        self._flow_control_update_event.set()

    def reset(self) -> None:
        """Stop answering: the peer gave the call up."""
        self.gone = True
        self.scope.cancel()

    def end(self, status: RpcStatus) -> None:
        """Stop answering; the call ends with this status."""
        self.ended_with = status
        self.scope.cancel()

    # For the one who answers.

    async def receive_event(self) -> Any:
        """Wait for the next message or the end of the request; raise RpcStatus when what comes is no message."""
        while True:
            data = self.body.take_message()
            if data is not None:
                return await self._received(data)
            if self.body.ended:
                return RequestEnded(self._stream_id)
            self._arrival = trio.Event()
            await self._arrival.wait()

    async def _received(self, data: bytes) -> Any:
        size = PREFIX_BYTES + len(data)
        self._connection.acknowledge(self._stream_id, size)
        await self._output.flush()
        message = self._incoming_message_type()
        try:
            message.ParseFromString(data)
        except DecodeError:
            raise RpcStatus(RpcCode.INTERNAL, "the request message cannot be parsed") from None
        return MessageReceived(self._stream_id, message, size)

    async def receive_only_message(self) -> Message:
        """Wait for the message of a request that has only one; raise RpcStatus when it has not, or is too slow."""
        with trio.move_on_after(self._limits.body_seconds):
            try:
                message: Message = await extract_message_from_singleton_stream(self)
            except GrpcProtocolError:
                raise RpcStatus(RpcCode.INTERNAL, "the request has not exactly one message") from None
            return message
        raise RpcStatus(RpcCode.DEADLINE_EXCEEDED, "the request message did not arrive in time")

    async def send_message(self, message: Message) -> None:
        """Send a reply message; raise RpcStatus when it is too large, or the peer does not read."""
        try:
            if not self._response_started:
                await self.start_response()
            await super().send_message(message)
        except MessageTooLargeError:
            raise RpcStatus(RpcCode.RESOURCE_EXHAUSTED, "the reply is too large") from None
        except ProtocolError:
            # The peer's reset arrived in this very turn of the scheduler, too late to cancel us.
            raise RpcStatus(RpcCode.CANCELLED, "the caller is gone") from None
        self._output.earn(self._limits.frames_per_message)

    async def _wait_flow_control_update(self) -> None:
        # purerpc waits without a bound: a peer that opens no window would hold its call for ever.
        with trio.move_on_after(self._limits.send_seconds) as patience:
            await super()._wait_flow_control_update()
        if patience.cancelled_caught:
            raise RpcStatus(RpcCode.RESOURCE_EXHAUSTED, "the reply was not read in time")

    def finish(self, status: RpcStatus) -> None:
        """Tell the peer how the call ended, and let go of what it sent in vain."""
        self._connection.acknowledge(self._stream_id, len(self.body))
        if not self.gone:
            self._connection.answer(
                self._stream_id, status, response_started=self._response_started, request_ended=self.body.ended
            )
            if self.admitted:  # a refusal earns nothing: there are floods of calls that have to be refused
                self._output.earn(self._limits.frames_per_answer)

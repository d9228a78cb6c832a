"""One HTTP/2 connection of the server, without I/O: bytes in, events out, answers in, bytes out.

It is purerpc's, with these differences, each of which its parts cannot be configured for:
- headers are checked by `head.py`, so that a malformed call ends alone; `header_decoder.py` bounds the work that they make;
- message bodies are handed on as bytes (`body.py`);
- a reset is an event;
- settings are bounded, the peer's too;
- an answer may carry trailers and `grpc-status-details-bin`;
- a GOAWAY can be sent without ending the streams that are open.
"""

from typing import Any

import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from attrs import frozen
from hyperframe.frame import GoAwayFrame
from purerpc.grpclib.config import GRPCConfiguration
from purerpc.grpclib.connection import GRPCConnection
from purerpc.grpclib.events import RequestEnded, WindowUpdated

from executor.rpc.frame_gate import MAX_FRAME_BYTES
from executor.rpc.head import CallHead, parse_head
from executor.rpc.header_decoder import HeaderDecoder
from executor.rpc.limits import ServerLimits
from executor.rpc.rpc_status import RpcStatus

NO_ERROR, REFUSED_STREAM = 0x0, 0x7
DEFAULT_WINDOW_BYTES = 65_535
ENCODER_TABLE_BYTES = 4_096
MAX_STREAM_ID = 2**31 - 1

ProtocolError: type[Exception] = h2.exceptions.ProtocolError
"""What `receive_data` raises when a peer breaks HTTP/2. The GOAWAY that says so is then ready to be sent."""

Event = Any  # one of ours below, or of purerpc's RequestEnded and WindowUpdated, which have no types


@frozen
class CallBegan:
    """A peer opened a stream for a call."""

    stream_id: int
    head: CallHead


@frozen
class BodyArrived:
    """A part of a call's request messages."""

    stream_id: int
    data: bytes


@frozen
class CallReset:
    """A peer no longer wants the answer."""

    stream_id: int


class _Http2(h2.connection.H2Connection):  # type: ignore[misc]  # h2 3.2 has no types
    """h2, without two habits by which a peer's lawful frame ends calls that are open."""

    def _receive_goaway_frame(self, frame: Any) -> tuple[list[Any], list[Any]]:
        # h2 takes it for the end of the connection and sends nothing more, not even the answers to calls in flight. But it
        # only says that the client accepts no streams from us, and we never open one.
        return [], []

    def _receive_window_update_frame(self, frame: Any) -> tuple[list[Any], list[Any]]:
        # h2 3.2 ends the connection when the stream is closed and forgotten; RFC 9113 section 5.1 wants it ignored, as h2 4 does.
        try:
            result: tuple[list[Any], list[Any]] = super()._receive_window_update_frame(frame)
        except h2.exceptions.StreamClosedError:
            return [], []
        return result


class Connection(GRPCConnection):  # type: ignore[misc]  # purerpc has no types
    """The protocol state of one peer."""

    h2_connection: Any

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._output = bytearray()
        super().__init__(GRPCConfiguration(client_side=False, max_message_length=limits.reply_bytes))
        self._begin()

    def _begin(self) -> None:
        config = self.h2_connection.config
        config.header_encoding = None
        config.validate_inbound_headers = config.normalize_inbound_headers = False
        self.h2_connection = _Http2(config)
        self._set_h2_connection_local_settings()
        self.h2_connection.decoder = HeaderDecoder(self._limits.header_list_bytes)
        self.h2_connection.decoder.max_header_list_size = 2 * self._limits.header_block_bytes
        self.h2_connection.initiate_connection()
        self.h2_connection.increment_flow_control_window(self._limits.unread_bytes_per_connection - DEFAULT_WINDOW_BYTES)
        # h2 ends the connection at its limit of streams. With twice as many there, the session refuses what is too much.
        self.h2_connection.local_settings = self._settings(2 * self._limits.streams_per_connection)

    def _set_h2_connection_local_settings(self) -> None:
        self.h2_connection.local_settings = self._settings(self._limits.streams_per_connection)
        self.h2_connection.max_inbound_frame_size = MAX_FRAME_BYTES

    def _settings(self, streams: int) -> Any:
        codes = h2.settings.SettingCodes
        values = {
            codes.MAX_CONCURRENT_STREAMS: streams,
            codes.INITIAL_WINDOW_SIZE: max(DEFAULT_WINDOW_BYTES, 2 * self._limits.request_bytes),
            codes.MAX_FRAME_SIZE: MAX_FRAME_BYTES,
            codes.MAX_HEADER_LIST_SIZE: self._limits.header_list_bytes,
        }
        return h2.settings.Settings(client=False, initial_values=values)

    # What purerpc's receive_data calls for each of h2's events. It returns what all of them return, in order.

    def _request_received(self, event: Any) -> list[Event]:
        try:
            head = parse_head(event.headers, max_bytes=self._limits.header_list_bytes)
        except RpcStatus as status:
            self.answer(event.stream_id, status, response_started=False, request_ended=event.stream_ended is not None)
            return []
        return [CallBegan(event.stream_id, head)]

    def _trailers_received(self, event: Any) -> list[Event]:
        return []  # a client has nothing to say in them; the stream's end is an event of its own

    def _data_received(self, event: Any) -> list[Event]:
        # What the peer padded with is not for us, but counts.
        self.acknowledge(event.stream_id, event.flow_controlled_length - len(event.data))
        return [BodyArrived(event.stream_id, bytes(event.data))]

    def _stream_ended(self, event: Any) -> list[Event]:
        return [RequestEnded(event.stream_id)]

    def _stream_reset(self, event: Any) -> list[Event]:
        return [CallReset(event.stream_id)]

    def _remote_settings_changed(self, event: Any) -> list[Event]:
        # Unknown settings would be kept for good, and the peer chooses how large our table of headers may grow.
        for code in event.changed_settings:
            if not isinstance(code, h2.settings.SettingCodes):
                self.h2_connection.remote_settings.pop(code, None)
        if self.h2_connection.encoder.header_table_size > ENCODER_TABLE_BYTES:
            self.h2_connection.encoder.header_table_size = ENCODER_TABLE_BYTES
        return [WindowUpdated(stream_id=0, delta=1)]

    # What we do.

    @property
    def last_stream_id(self) -> int:
        """The last stream that the peer opened."""
        last: int = self.h2_connection.highest_inbound_stream_id
        return last

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Let the peer send as many bytes of bodies more."""
        if size > 0:
            self.acknowledge_received_data(stream_id, size)

    def answer(self, stream_id: int, status: RpcStatus, *, response_started: bool, request_ended: bool) -> None:
        """End a call with its status."""
        headers = [] if response_started else [(":status", "200"), ("content-type", "application/grpc+proto")]
        try:
            self.h2_connection.send_headers(stream_id, [*headers, *status.headers()], end_stream=True)
        except ProtocolError:
            return  # the peer has reset it, and waits for nothing
        if not request_ended:
            self.reset(stream_id, NO_ERROR)  # RFC 9113 section 8.1: no need to send the rest

    def reset(self, stream_id: int, code: int) -> None:
        """Close a stream without an answer."""
        try:
            self.reset_stream(stream_id, code)
        except ProtocolError:
            return  # it is closed

    def send_goaway(self, last_stream_id: int, code: int = NO_ERROR) -> None:
        """Tell the peer which calls are still served, and to open no more. h2's own way would close the streams that are open."""
        self._collect()
        self._output += GoAwayFrame(0, last_stream_id=last_stream_id, error_code=code).serialize()

    @property
    def unsent_bytes(self) -> int:
        """What `take_output` would return."""
        self._collect()
        return len(self._output)

    def take_output(self) -> bytes:
        """Take what is to be sent."""
        self._collect()
        output = bytes(self._output)
        self._output.clear()
        return output

    def _collect(self) -> None:
        self._output += self.data_to_send()

"""A client made of raw HTTP/2 frames, for what no stock client can be brought to send."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import hpack
import trio
from attrs import define, field, frozen
from google.protobuf.wrappers_pb2 import StringValue

from tests.rpc.serving import PATH, Served

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ANSWER_SECONDS = 5.0

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED = 0x1, 0x4, 0x8
HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE = 1, 4  # settings

Header = tuple[str | bytes, str | bytes]


def frame(kind: int, stream_id: int = 0, payload: bytes = b"", *, flags: int = 0) -> bytes:
    """Any frame."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream_id.to_bytes(4) + payload


def data(stream_id: int, payload: bytes, *, ends: bool = True) -> bytes:
    """A DATA frame."""
    return frame(DATA, stream_id, payload, flags=END_STREAM if ends else 0)


def headers(stream_id: int, block: bytes, *, ends: bool = False, size: int = 16_384) -> bytes:
    """A HEADERS frame around an encoded block, and CONTINUATION frames where it is too large for one."""
    first, *rest = [block[at : at + size] for at in range(0, len(block), size)]
    frames = frame(HEADERS, stream_id, first, flags=(END_STREAM if ends else 0) | (0 if rest else END_HEADERS))
    for number, part in enumerate(rest, 1):
        frames += frame(CONTINUATION, stream_id, part, flags=END_HEADERS if number == len(rest) else 0)
    return frames


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, payload=b"".join(code.to_bytes(2) + value.to_bytes(4) for code, value in values.items()))


def window_update(stream_id: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, stream_id, increment.to_bytes(4))


def reset(stream_id: int) -> bytes:
    """A RST_STREAM frame that gives a call up."""
    return frame(RST_STREAM, stream_id, (8).to_bytes(4))


def message(text: str = "x") -> bytes:
    """A request message as it stands in DATA frames."""
    return prefixed(StringValue(value=text).SerializeToString())


def prefixed(body: bytes) -> bytes:
    """A message behind its flag and length."""
    return b"\0" + len(body).to_bytes(4) + body


def call_headers(method: str = "Echo", changed: dict[str, str | None] | None = None) -> list[Header]:
    """The headers of a call, some of them others; None leaves one out."""
    plain: dict[str, str | None] = {
        ":method": "POST",
        ":scheme": "http",
        ":path": PATH + method,
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return [(name, value) for name, value in {**plain, **(changed or {})}.items() if value is not None]


@frozen
class Frame:
    """A frame that was received."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def error_code(self) -> int:
        """Of a RST_STREAM or GOAWAY."""
        return int.from_bytes(self.payload[:4] if self.kind == RST_STREAM else self.payload[4:8])


@define
class RawPeer:
    """Sends what it is told to, and reads frames as they come."""

    stream: trio.SocketStream
    _encoder: Any = field(factory=hpack.Encoder)
    _decoder: Any = field(factory=hpack.Decoder)
    _received: bytearray = field(factory=bytearray)

    def encode(self, block: Iterable[Header]) -> bytes:
        """Encode a header block. It must be sent, for the tables of both sides to stay equal."""
        encoded: bytes = self._encoder.encode(list(block))
        return encoded

    def accept_header_table(self, size: int) -> None:
        """Let the server's header table be as large, as a setting may have told it."""
        self._decoder.max_allowed_table_size = size

    async def greet(self, values: dict[int, int] | None = None) -> None:
        """Begin as every HTTP/2 client does."""
        await self.send(PREFACE, settings(values or {}))

    async def send(self, *frames: bytes) -> None:
        """Send frames in one write."""
        await self.stream.send_all(b"".join(frames))

    async def open(self, stream_id: int, method: str = "Echo", changed: dict[str, str | None] | None = None) -> None:
        """Send the headers of a call."""
        await self.send(headers(stream_id, self.encode(call_headers(method, changed))))

    async def call(self, stream_id: int, method: str = "Echo", changed: dict[str, str | None] | None = None) -> None:
        """Send a whole call."""
        await self.send(headers(stream_id, self.encode(call_headers(method, changed))), data(stream_id, message()))

    async def next_frame(self) -> Frame | None:
        """Wait for the next frame; None when the server has closed."""
        if not await self._receive(9):
            return None
        head = self._received[:9]
        length = int.from_bytes(head[:3])
        if not await self._receive(9 + length):
            return None
        payload = bytes(self._received[9 : 9 + length])
        del self._received[: 9 + length]
        return Frame(head[3], head[4], int.from_bytes(head[5:]), payload)

    async def _receive(self, size: int) -> bool:
        while len(self._received) < size:
            try:
                received = await self.stream.receive_some(65_536)
            except trio.BrokenResourceError:
                return False
            if not received:
                return False
            self._received += received
        return True

    async def status(self, stream_id: int) -> dict[str, str]:
        """Wait for the end of a call; return its trailers, or its reset as {"reset": code}."""
        with trio.fail_after(ANSWER_SECONDS):
            while (received := await self.next_frame()) is not None:
                # Every block has to be decoded, whichever call it is of.
                trailers = dict(self._decoder.decode(received.payload)) if received.kind == HEADERS else {}
                if received.stream_id != stream_id:
                    continue
                if received.kind == RST_STREAM:
                    return {"reset": str(received.error_code)}
                if received.kind == HEADERS and received.flags & END_STREAM:
                    return trailers
        raise AssertionError("the connection was closed before the answer")

    async def goaways(self) -> list[int]:
        """Read until the server closes; return the error codes that it gave as reasons."""
        codes = []
        with trio.fail_after(ANSWER_SECONDS):
            while (received := await self.next_frame()) is not None:
                if received.kind == GOAWAY:
                    codes.append(received.error_code)
        return codes


@asynccontextmanager
async def raw_peer(served: Served, *, greet: bool = True) -> AsyncIterator[RawPeer]:
    """Connect to a server."""
    host, _, port = served.address.rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        peer = RawPeer(stream)
        if greet:
            await peer.greet()
        yield peer

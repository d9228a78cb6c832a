"""How a call ends: a status of gRPC with its details, and what of it goes over the wire."""

import base64
import enum
import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import status_pb2

# Stock clients accept 8 KiB of trailers. Percent-encoding triples a message at worst, base64 adds a third to the details,
# and the details repeat the message.
MAX_MESSAGE_BYTES = 1024
MAX_DETAILS_BYTES = 3072

_TRAILER_NAME = re.compile(r"[0-9a-z_.-]+")
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


class RpcCode(enum.IntEnum):
    """The status codes of gRPC."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RpcStatus(Exception):
    """The explicit end of a call. A handler raises it; what it holds is all that the caller learns.

    `details` are messages such as `google.rpc.ErrorInfo`, most important first: those that do not fit are left out.
    `trailers` are metadata in lower case; the value of a `-bin` name is bytes. Raises ValueError when they are not.
    """

    def __init__(
        self,
        code: RpcCode,
        message: str = "",
        *,
        details: Sequence[Message] = (),
        trailers: Sequence[tuple[str, str | bytes]] = (),
    ) -> None:
        super().__init__(code, message)
        # Here, where it is an error of one handler. h2 would notice while it compresses, and lose the connection.
        for name, value in trailers:
            _check_trailer(name, value)
        self.code = code
        self.message = message.encode()[:MAX_MESSAGE_BYTES].decode(errors="ignore")
        self.details = tuple(details)
        self.trailers = tuple(trailers)

    def headers(self) -> Iterator[tuple[str, str]]:
        """Yield the HTTP/2 headers that tell this status."""
        yield "grpc-status", str(self.code.value)
        if self.message:
            yield "grpc-message", quote(self.message, safe=_PRINTABLE)
        if self.details:
            yield "grpc-status-details-bin", _base64(self._packed_details())
        for name, value in self.trailers:
            yield name, _base64(value) if isinstance(value, bytes) else value

    def _packed_details(self) -> bytes:
        status = status_pb2.Status(code=self.code.value, message=self.message)
        for detail in self.details:
            packed = AnyMessage()
            packed.Pack(detail)
            if status.ByteSize() + packed.ByteSize() > MAX_DETAILS_BYTES:
                break
            status.details.append(packed)
        serialized: bytes = status.SerializeToString()
        return serialized


OK = RpcStatus(RpcCode.OK)
INTERNAL_ERROR = RpcStatus(RpcCode.INTERNAL, "internal error")
"""What a caller learns of a bug: nothing. The log has the trace."""


def _check_trailer(name: str, value: str | bytes) -> None:
    if not _TRAILER_NAME.fullmatch(name) or name.endswith("-bin") != isinstance(value, bytes):
        raise ValueError(f"no name of a trailer, or not of this kind of value: {name!r}")
    if isinstance(value, str) and not (value.isascii() and value.isprintable()):
        raise ValueError(f"the value of the trailer {name!r} is not printable ASCII")


def _base64(value: bytes) -> str:
    return base64.b64encode(value).rstrip(b"=").decode()

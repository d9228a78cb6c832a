"""The metadata with which a call begins: HTTP/2 headers, read strictly.

purerpc's own reader raises whatever a malformed header provokes, and does it where the whole connection dies of it. h2's checks
do the same. So both are left out, and what is wrong ends this one call, with a status that says what it is.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Sequence

from attrs import frozen

from executor.rpc.rpc_status import RpcCode, RpcStatus

RawHeader = tuple[bytes, bytes]
HEADER_OVERHEAD_BYTES = 32  # RFC 9113 section 6.5.2 counts it for each header

_NAME = re.compile(r":?[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_CONTENT_TYPE = re.compile(r"application/grpc([+;].*)?")
_PATH = re.compile(r"/([^/]+)/([^/]+)")
_SECONDS_PER_UNIT = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}

_PSEUDO = {":method", ":scheme", ":path", ":authority"}
_SINGLE = _PSEUDO | {"te", "content-type", "grpc-timeout", "grpc-encoding", "user-agent"}
_HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}


@frozen(kw_only=True)
class CallHead:
    """What a caller says before the first message."""

    service: str
    method: str
    timeout_seconds: float | None
    user_agent: str
    metadata: tuple[tuple[str, str | bytes], ...]
    """The caller's own, in its order; the values of `-bin` names are bytes."""

    @property
    def path(self) -> str:
        """The method as gRPC writes it."""
        return f"/{self.service}/{self.method}"


def parse_head(raw: Sequence[RawHeader], *, max_bytes: int) -> CallHead:
    """Read the headers of a call; raise RpcStatus when they are too large or not those of a gRPC call."""
    _check_size(raw, max_bytes)
    headers = [_decode(name, value) for name, value in raw]
    single = _single_values(headers)
    _check_fixed_values(single)
    service, method = _parse_path(single[":path"])
    return CallHead(
        service=service,
        method=method,
        timeout_seconds=_parse_timeout(single.get("grpc-timeout")),
        user_agent=single.get("user-agent", ""),
        metadata=tuple(_metadata(headers)),
    )


def _malformed(problem: str) -> RpcStatus:
    return RpcStatus(RpcCode.INTERNAL, f"malformed request headers: {problem}")


def _check_size(raw: Sequence[RawHeader], max_bytes: int) -> None:
    size = sum(len(name) + len(value) + HEADER_OVERHEAD_BYTES for name, value in raw)
    if size > max_bytes:
        raise RpcStatus(RpcCode.RESOURCE_EXHAUSTED, f"{size} bytes of metadata; at most {max_bytes} are accepted")


def _decode(raw_name: bytes, raw_value: bytes) -> tuple[str, str]:
    name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
    if not _NAME.fullmatch(name):
        raise _malformed("a name is not in lower-case ASCII")
    if not _VALUE.fullmatch(value):
        raise _malformed("a value is not printable ASCII")
    return name, value.strip()


def _single_values(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    single: dict[str, str] = {}
    pseudo_allowed = True
    for name, value in headers:
        pseudo_allowed = pseudo_allowed and name.startswith(":")
        if name.startswith(":") and (name not in _PSEUDO or not pseudo_allowed):
            raise _malformed("a pseudo-header is unknown or out of place")
        if name in _HOP_BY_HOP:
            raise _malformed(f"{name} has no place in HTTP/2")
        if name in single:
            raise _malformed(f"{name} is given twice")
        if name in _SINGLE:
            single[name] = value
    return single


def _check_fixed_values(single: dict[str, str]) -> None:
    if single.get(":method") != "POST":
        raise _malformed(":method is not POST")
    if single.get(":scheme") not in {"http", "https"}:
        raise _malformed(":scheme is neither http nor https")
    if ":path" not in single:
        raise _malformed(":path is missing")
    if single.get("te") != "trailers":
        raise _malformed("te is not trailers")
    if not _CONTENT_TYPE.fullmatch(single.get("content-type", "")):
        raise _malformed("content-type is not application/grpc")
    if single.get("grpc-encoding", "identity") != "identity":
        raise RpcStatus(
            RpcCode.UNIMPLEMENTED, "compressed requests are not accepted", trailers=[("grpc-accept-encoding", "identity")]
        )


def _parse_path(path: str) -> tuple[str, str]:
    parts = _PATH.fullmatch(path)
    if parts is None:
        raise RpcStatus(RpcCode.UNIMPLEMENTED, "the path is not /service/method")
    return parts[1], parts[2]


def _parse_timeout(text: str | None) -> float | None:
    if text is None:
        return None
    parts = _TIMEOUT.fullmatch(text)
    if parts is None:
        raise _malformed("grpc-timeout is not a number and a unit")
    return int(parts[1]) * _SECONDS_PER_UNIT[parts[2]]


def _metadata(headers: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str | bytes]]:
    for name, value in headers:
        if name in _SINGLE or name.startswith("grpc-"):
            continue
        if name.endswith("-bin"):
            # Several binary values may share a header, which commas then separate.
            for part in value.split(","):
                yield name, _unbase64(part.strip())
        else:
            yield name, value


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except binascii.Error:
        raise _malformed("a -bin value is not base64") from None

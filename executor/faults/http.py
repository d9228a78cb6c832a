"""What befalls a connection, and what HTTP says."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType

from attrs import evolve

from executor.errors import ErrorCode
from executor.faults.model import Fault, Reaction, Source, TransportKind
from executor.faults.rows import Row, again, reject, unknown

TRANSPORT_ROWS: Mapping[TransportKind, Row] = MappingProxyType(
    {
        TransportKind.CONNECT: again(TransportKind.CONNECT.value, ErrorCode.NODE_UNREACHABLE),
        TransportKind.TIMEOUT: again(TransportKind.TIMEOUT.value, ErrorCode.NODE_UNREACHABLE),
        TransportKind.RESET: again(TransportKind.RESET.value, ErrorCode.NODE_UNREACHABLE),
        TransportKind.PROTOCOL: again(TransportKind.PROTOCOL.value, ErrorCode.NODE_ANSWER_INVALID, Reaction.OTHER_NODE),
        TransportKind.TOO_LARGE: again(TransportKind.TOO_LARGE.value, ErrorCode.NODE_ANSWER_INVALID, Reaction.OTHER_NODE),
        # A certificate does not mend itself within the time of a trade.
        TransportKind.TLS: reject(TransportKind.TLS.value, ErrorCode.NODE_UNREACHABLE),
    }
)

HTTP_ROWS: Mapping[int, Row] = MappingProxyType(
    {
        401: reject("HTTP 401: our credentials are refused", ErrorCode.NODE_UNAUTHORIZED),
        403: reject(
            "HTTP 403: our credentials are not good for this call, or a firewall refuses us", ErrorCode.NODE_UNAUTHORIZED
        ),
        404: reject("HTTP 404: nothing is at this address; check the configured URL", ErrorCode.NODE_REFUSED),
        408: again("HTTP 408: the request took too long", ErrorCode.NODE_UNREACHABLE),
        410: reject("HTTP 410: this address was given up; check the configured URL", ErrorCode.NODE_REFUSED),
        413: reject("HTTP 413: the request is too large", ErrorCode.NODE_REFUSED),
        429: again("HTTP 429: rate limited", ErrorCode.NODE_RATE_LIMITED, Reaction.OTHER_NODE),
        500: again("HTTP 500: internal error", ErrorCode.NODE_UNHEALTHY),
        502: again("HTTP 502: bad gateway", ErrorCode.NODE_UNREACHABLE),
        503: again("HTTP 503: unavailable", ErrorCode.NODE_UNREACHABLE),
        504: again("HTTP 504: gateway timeout", ErrorCode.NODE_UNREACHABLE),
    }
)

_CODES_OF_JUPITER: Mapping[ErrorCode, ErrorCode] = MappingProxyType(
    {
        ErrorCode.NODE_UNREACHABLE: ErrorCode.JUPITER_UNREACHABLE,
        ErrorCode.NODE_UNHEALTHY: ErrorCode.JUPITER_UNREACHABLE,
        ErrorCode.NODE_RATE_LIMITED: ErrorCode.JUPITER_RATE_LIMITED,
        ErrorCode.NODE_UNAUTHORIZED: ErrorCode.JUPITER_UNAUTHORIZED,
        ErrorCode.NODE_REFUSED: ErrorCode.JUPITER_REFUSED,
        ErrorCode.NODE_ANSWER_INVALID: ErrorCode.JUPITER_ANSWER_INVALID,
    }
)


def _from(source: Source, fault: Fault) -> Fault:
    """Give a fault of the common tables the code of its source; Jupiter has no other node to go to."""
    if source is Source.NODE:
        return fault
    reaction = Reaction.SAME if fault.reaction is Reaction.OTHER_NODE else fault.reaction
    return evolve(fault, code=_CODES_OF_JUPITER[fault.code], reaction=reaction)


def transport_fault(kind: TransportKind, source: Source = Source.NODE, said: str = "") -> Fault:
    """Classify a connection that failed. `said` must come from us: a library's words could hold a URL with a key."""
    return _from(source, TRANSPORT_ROWS[kind].fault(said))


def http_fault(status: int, headers: Mapping[str, str], source: Source) -> Fault:
    """Classify an HTTP status that is not 200. `headers` have lower-case names."""
    row = HTTP_ROWS.get(status)
    if row is None and status >= 500:
        row = again(f"HTTP {status}: the server fails", ErrorCode.NODE_UNREACHABLE)
    if row is None:
        return _from(source, unknown(f"unknown HTTP status {status}", "", ErrorCode.NODE_REFUSED))
    return _from(source, row.fault(retry_after_seconds=retry_after_seconds(headers)))


def answer_fault(source: Source, said: str, *, repeat: bool = True) -> Fault:
    """Classify an answer that cannot be read or does not fit; `repeat` = asking again may bring a better one."""
    meaning = "the answer is invalid"
    row = (
        again(meaning, ErrorCode.NODE_ANSWER_INVALID, Reaction.OTHER_NODE)
        if repeat
        else reject(meaning, ErrorCode.NODE_ANSWER_INVALID)
    )
    return _from(source, row.fault(said))


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Read how long to wait from `retry-after` or `x-ratelimit-reset`; None where neither says so.

    Absolute times are read against the answer's own `date`, so that our clock and theirs need not agree.
    """
    answered = _http_date(headers.get("date", ""))
    asked = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", asked, re.ASCII):
        return float(asked)
    until = _http_date(asked)
    reset = headers.get("x-ratelimit-reset", "").strip()
    if until is None and re.fullmatch(r"\d{1,11}", reset, re.ASCII):
        until = datetime.fromtimestamp(int(reset), UTC)
    if until is None or answered is None:
        return None
    return max(0.0, (until - answered).total_seconds())


def _http_date(text: str) -> datetime | None:
    try:
        read = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)

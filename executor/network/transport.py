"""What carries requests to one endpoint: the interface of the transports, and how they tell what went wrong.

A transport returns failures instead of raising them, so that no library's exception, whose text may hold a key, becomes the
context of ours.
"""

import errno
import ssl
from collections.abc import Iterator, Mapping
from typing import Protocol
from urllib.parse import quote

from attrs import frozen

from executor.errors import ExecutorError
from executor.faults import TransportKind

MAX_CONNECTIONS = 64
"""To one endpoint; what is more waits, within its deadline."""
KEEP_ALIVE_SECONDS = 30.0
"""A connection that was idle for longer is not used again: servers and what stands between close them without a word."""

HTTP_PORT, HTTPS_PORT = 80, 443

_UNTOUCHED = "%:@!$&'()*+,;=/?~"
"""Besides letters, digits and -._: what a target may hold as it is; the rest is percent-encoded."""


@frozen(kw_only=True)
class Origin:
    """Where an endpoint's connections go."""

    host: str
    """A name or an address; an IPv6 address without brackets."""
    port: int
    tls: bool

    @property
    def host_header(self) -> str:
        """The host, and the port where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (HTTPS_PORT if self.tls else HTTP_PORT) else f"{host}:{self.port}"


@frozen(kw_only=True)
class HttpRequest:
    """One request; `target` is path and query as they go onto the wire."""

    method: str
    target: str
    body: bytes | None


@frozen
class HttpAnswer:
    """A whole answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class ForeignError(ExecutorError):
    """Stands for a library's exception as the cause of ours: its types and no word of its text, which may hold a key."""


@frozen
class Failure:
    """There is no whole answer; the request may have been carried out unless there was no connection."""

    kind: TransportKind
    said: str = ""
    """A word from a fixed list."""
    cause: ForeignError | None = None


class Transport(Protocol):
    """A bounded pool of kept-alive connections to one origin."""

    async def exchange(self, request: HttpRequest) -> HttpAnswer | Failure:
        """Send a request and read its whole answer. The caller bounds the time; a cancelled exchange harms no other."""

    async def aclose(self) -> None:
        """Close every connection; exchanges under way fail."""


class MakeTransport(Protocol):
    """Makes the transport of an endpoint. Simulations make their own."""

    def __call__(self, origin: Origin, *, headers: Mapping[str, str], max_body_bytes: int) -> Transport:
        """`headers` go with every request; an answer with a larger body than `max_body_bytes` is a failure."""


def encoded_target(path: str, query: str) -> str:
    """Make a request's target of a path and a query that may be encoded already."""
    target = quote(path or "/", safe=_UNTOUCHED.replace("?", ""))
    return f"{target}?{quote(query, safe=_UNTOUCHED)}" if query else target


def too_large(max_body_bytes: int) -> Failure:
    """The failure of an answer that was not read to its end."""
    return Failure(TransportKind.TOO_LARGE, f"more than {max_body_bytes} bytes")


def failure_of(error: BaseException, *, connecting: bool, kind: TransportKind | None = None) -> Failure:
    """Tell a library's exception as a failure of that kind; without one, as that of a connection."""
    chain = list(chain_of(error))
    cause = ForeignError(" < ".join(f"{type(e).__module__}.{type(e).__qualname__}" for e in chain))
    if any(isinstance(e, ssl.SSLError) for e in chain):
        kind = TransportKind.TLS
    return Failure(kind or (TransportKind.CONNECT if connecting else TransportKind.RESET), _known_reason(chain), cause)


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """All that led to an exception; of a group, as of attempts on several addresses, its first member."""
    while error is not None:
        yield error
        grouped = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else None
        error = grouped or error.__cause__ or error.__context__


def _known_reason(chain: list[BaseException]) -> str:
    """Name the reason where it comes from a fixed list: an errno, or OpenSSL's own name for what went wrong."""
    for error in chain:
        if isinstance(error, ssl.SSLError):
            return error.reason or ""
        if isinstance(error, OSError) and error.errno:
            return errno.errorcode.get(error.errno, "")
    return ""

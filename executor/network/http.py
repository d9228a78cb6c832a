"""The one place that knows the HTTP library. Above it there are requests, answers and `TransportError`.

A request has one deadline in all, a bounded answer, no redirect, no cookie and no proxy from the environment. The library's
transport is used bare: its client would add exactly those, and would log every URL, in which RPC providers hide our keys.
"""

import base64
import errno
import logging
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from functools import cache
from types import MappingProxyType
from urllib.parse import SplitResult, unquote, urlencode, urlsplit, urlunsplit

import httpx  # noqa: ASYNC127 - what the project depends on; only this module would change
import trio
from attrs import evolve, frozen

from executor.errors import ConfigError, ExecutorError
from executor.faults import Fault, Source, TransportError, TransportKind, transport_fault

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_CONNECTIONS = 64
"""To one endpoint; what is more waits, within its deadline."""
KEEP_ALIVE_SECONDS = 30.0

REDACTED = "[redacted]"
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_SHORTEST_SECRET = 4
_SHORTEST_SECRET_IN_PATH = 8  # shorter ones are the names of APIs ("swap", "v1")


@frozen
class HttpAnswer:
    """A whole answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class ForeignError(ExecutorError):
    """Stands for a library's exception as the cause of ours: its types and no word of its text, which may hold a key."""


class Http:
    """One endpoint with its own pool of kept-alive connections.

    `url` may carry credentials in any part and query fields of its own; they go with every request and never into an error.
    Raises ConfigError for a URL or a header that no request could be made of.
    """

    def __init__(
        self,
        url: str,
        *,
        source: Source,
        timeout_seconds: float,
        headers: Mapping[str, str] = MappingProxyType({}),
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self.endpoint = endpoint_name(url)
        self._url = urlsplit(url)
        self._source = source
        self._timeout_seconds = timeout_seconds
        self._max_body_bytes = max_body_bytes
        self._headers = _checked_headers({**_STANDING_HEADERS, **_basic_auth(self._url), **headers}, self.endpoint)
        self._secrets = _secrets(self._url, headers)
        self._transport = _transport(self._url.scheme)

    async def request(
        self,
        method: str,
        suffix: str = "",
        *,
        operation: str,
        query: Mapping[str, str] = MappingProxyType({}),
        body: bytes | None = None,
    ) -> HttpAnswer:
        """Send one request and read its whole answer; `suffix` is appended to the URL's path.

        Raises TransportError when there is no whole answer in time. If cancelled, the request may have been carried out.
        """
        request = httpx.Request(method, self._target(suffix, query), headers=self._headers, content=body)
        answer = await self._exchange(request)
        if isinstance(answer, _Failure):
            raise self.error(operation, answer.fault) from answer.cause
        return answer

    def error(self, operation: str, fault: Fault, status: int | None = None) -> TransportError:
        """Make the error of an operation at this endpoint; secrets that an upstream echoed are cut out of its words."""
        fault = evolve(fault, detail=self.redacted(fault.detail))
        return TransportError(endpoint=self.endpoint, operation=operation, fault=fault, status=status)

    def redacted(self, text: str) -> str:
        """Cut this endpoint's secrets out of an upstream's words."""
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return text

    async def aclose(self) -> None:
        """Close every connection; requests under way fail."""
        await self._transport.aclose()

    def _target(self, suffix: str, query: Mapping[str, str]) -> str:
        path = f"{self._url.path.rstrip('/')}/{suffix}" if suffix else self._url.path
        fields = "&".join(part for part in (self._url.query, urlencode(query)) if part)
        return urlunsplit((self._url.scheme, self._url.netloc.rpartition("@")[2], path, fields, ""))

    async def _exchange(self, request: httpx.Request) -> "HttpAnswer | _Failure":
        """Return failures instead of raising them, so that no library's exception becomes the context of ours."""
        try:
            with trio.fail_after(self._timeout_seconds):
                response = await self._transport.handle_async_request(request)
                async with aclosing(response):
                    body = await self._body(response)
        except trio.TooSlowError:
            return self._failure(TransportKind.TIMEOUT, said=f"{self._timeout_seconds:g} s")
        except _FOREIGN_ERRORS as error:
            chain = list(_chain(error))
            return self._failure(_kind(chain), said=_known_reason(chain), chain=chain)
        if body is None:
            return self._failure(TransportKind.TOO_LARGE, said=f"more than {self._max_body_bytes} bytes")
        headers = MappingProxyType({name.lower(): value for name, value in response.headers.items()})
        return HttpAnswer(response.status_code, headers, body)

    async def _body(self, response: httpx.Response) -> bytes | None:
        body = bytearray()
        with trio.CancelScope() as enough:
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > self._max_body_bytes:
                    enough.cancel()  # not `break`: the library's nested generators unwind only from within
        return None if len(body) > self._max_body_bytes else bytes(body)

    def _failure(self, kind: TransportKind, *, said: str, chain: "list[BaseException] | None" = None) -> "_Failure":
        cause = ForeignError(" < ".join(f"{type(e).__module__}.{type(e).__qualname__}" for e in chain)) if chain else None
        return _Failure(transport_fault(kind, self._source, said), cause)


@frozen
class _Failure:
    fault: Fault
    cause: ForeignError | None


def endpoint_name(url: str) -> str:
    """Name an endpoint for logs and errors: scheme://host[:port] and nothing else. Raises ConfigError if it is no HTTP URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
        httpx.URL(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, "")))
    except (ValueError, httpx.InvalidURL):
        parts, port = SplitResult("", "", "", "", ""), None
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host):
        # The URL itself is not repeated: it may hold a key.
        raise ConfigError(["an endpoint is not a URL of the form http(s)://host[:port][/path]"])
    return f"{parts.scheme}://" + (f"[{host}]" if ":" in host else host) + ("" if port is None else f":{port}")


# An encoded body could be a small one that unfolds to a huge one.
_STANDING_HEADERS = MappingProxyType(
    {"accept": "application/json", "accept-encoding": "identity", "content-type": "application/json", "user-agent": "executor"}
)


def _checked_headers(headers: Mapping[str, str], endpoint: str) -> Mapping[str, str]:
    wrong = [name for name, value in headers.items() if not (value.isascii() and value.isprintable())]
    if wrong:
        raise ConfigError([f"{endpoint}: the value of the header {name} cannot be sent" for name in wrong])
    return headers


def _basic_auth(url: SplitResult) -> Mapping[str, str]:
    if url.username is None and url.password is None:
        return {}
    pair = f"{unquote(url.username or '')}:{unquote(url.password or '')}"
    return {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def _secrets(url: SplitResult, headers: Mapping[str, str]) -> tuple[str, ...]:
    """Collect whatever may be a credential, longest first, so that no part of one is left by the removal of another."""
    found = {value for value in (url.username, url.password, *headers.values(), *_basic_auth(url).values()) if value}
    found |= {part.partition("=")[2] or part for part in url.query.split("&")}
    found |= {segment for segment in url.path.split("/") if len(segment) >= _SHORTEST_SECRET_IN_PATH}
    found |= {unquote(value) for value in found} | {value.removeprefix("Basic ") for value in found}
    return tuple(sorted((value for value in found if len(value) >= _SHORTEST_SECRET), key=len, reverse=True))


def _transport(scheme: str) -> httpx.AsyncHTTPTransport:
    # The library's debug logs show the targets of requests, and with them the keys in URLs.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    limits = httpx.Limits(
        max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS, keepalive_expiry=KEEP_ALIVE_SECONDS
    )
    # Without TLS the certificates, some 20 ms of loading, are not needed: a context that trusts nobody stands in.
    tls = _trusting_context() if scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits)


@cache
def _trusting_context() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


_FOREIGN_ERRORS = (httpx.HTTPError, httpx.StreamError, OSError, trio.BrokenResourceError, trio.ClosedResourceError)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """All that led to an exception; of a group, as of attempts on several addresses, its first member."""
    while error is not None:
        yield error
        grouped = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else None
        error = grouped or error.__cause__ or error.__context__


def _kind(chain: list[BaseException]) -> TransportKind:
    if any(isinstance(error, ssl.SSLError) for error in chain):
        return TransportKind.TLS
    if isinstance(chain[0], httpx.ConnectError | OSError):
        return TransportKind.CONNECT
    # The parser's own complaint; without one, the server closed a connection before it answered.
    if any(type(error).__module__.startswith("h11") for error in chain):
        return TransportKind.PROTOCOL
    return TransportKind.RESET


def _known_reason(chain: list[BaseException]) -> str:
    """Name the reason where it comes from a fixed list: an errno, or OpenSSL's own name for what went wrong."""
    for error in chain:
        if isinstance(error, ssl.SSLError):
            return error.reason or ""
        if isinstance(error, OSError) and error.errno:
            return errno.errorcode.get(error.errno, "")
    return ""

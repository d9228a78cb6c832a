"""One HTTP endpoint. Above it there are requests, answers and `TransportError`; below it, a transport and its library.

A request has one deadline in all, a bounded answer, no redirect, no cookie and no proxy from the environment.
"""

import base64
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import SplitResult, unquote, urlencode, urlsplit

import trio
from attrs import evolve

from executor.errors import ConfigError
from executor.faults import Fault, Source, TransportError, TransportKind, transport_fault
from executor.network.httpx_transport import HttpxTransport
from executor.network.transport import (
    HTTP_PORT,
    HTTPS_PORT,
    Failure,
    HttpAnswer,
    HttpRequest,
    MakeTransport,
    Origin,
    Transport,
    encoded_target,
)
from executor.network.trio_transport import TrioTransport

MAX_BODY_BYTES = 4 * 1024 * 1024

REDACTED = "[redacted]"
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*")
_SHORTEST_SECRET = 4
_SHORTEST_SECRET_IN_PATH = 8  # shorter ones are the names of APIs ("swap", "v1")

TRANSPORTS: Final[Mapping[str, MakeTransport]] = MappingProxyType({"trio": TrioTransport, "httpx": HttpxTransport})
"""By the name that the configuration gives them."""


class Http:
    """One endpoint with its own pool of kept-alive connections.

    `url` may carry credentials in any part and query fields of its own; they go with every request and never into an error.
    `transport` makes what carries the requests. Raises ConfigError for a URL or a header that no request could be made of.
    """

    def __init__(
        self,
        url: str,
        *,
        source: Source,
        timeout_seconds: float,
        headers: Mapping[str, str] = MappingProxyType({}),
        max_body_bytes: int = MAX_BODY_BYTES,
        transport: MakeTransport = TrioTransport,
    ) -> None:
        self.endpoint = endpoint_name(url)
        self._url = urlsplit(url)
        self._source = source
        self._timeout_seconds = timeout_seconds
        self._secrets = _secrets(self._url, headers)
        standing = _checked_headers({**_STANDING_HEADERS, **_basic_auth(self._url), **headers}, self.endpoint)
        self._transport: Transport = transport(_origin(self._url), headers=standing, max_body_bytes=max_body_bytes)

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
        answer = await self._exchange(HttpRequest(method=method, target=self._target(suffix, query), body=body))
        if isinstance(answer, Failure):
            raise self.error(operation, transport_fault(answer.kind, self._source, answer.said)) from answer.cause
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
        return encoded_target(path, fields)

    async def _exchange(self, request: HttpRequest) -> HttpAnswer | Failure:
        with trio.move_on_after(self._timeout_seconds):
            return await self._transport.exchange(request)
        return Failure(TransportKind.TIMEOUT, f"{self._timeout_seconds:g} s")


def endpoint_name(url: str) -> str:
    """Name an endpoint for logs and errors: scheme://host[:port] and nothing else. Raises ConfigError if it is no HTTP URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = SplitResult("", "", "", "", ""), None
    host = parts.hostname or ""
    # Control characters are looked for first of all: the parser drops some of them without a word.
    if not url.isprintable() or parts.scheme not in ("http", "https") or not _HOST.fullmatch(host):
        # The URL itself is not repeated: it may hold a key.
        raise ConfigError(["an endpoint is not a URL of the form http(s)://host[:port][/path]"])
    return f"{parts.scheme}://" + (f"[{host}]" if ":" in host else host) + ("" if port is None else f":{port}")


def _origin(url: SplitResult) -> Origin:
    tls = url.scheme == "https"
    return Origin(host=url.hostname or "", port=url.port or (HTTPS_PORT if tls else HTTP_PORT), tls=tls)


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

"""The library's transport, for whoever prefers it to ours: `http_transport = "httpx"`.

It is used bare: the library's client would add redirects, cookies and proxies from the environment, and would log every URL, in
which RPC providers hide our keys.
"""

import logging
import ssl
from collections.abc import Mapping
from contextlib import aclosing
from functools import cache
from types import MappingProxyType

import httpx  # noqa: ASYNC127 - what the project depends on; only this module would change
import trio

from executor.faults import TransportKind
from executor.network.transport import (
    KEEP_ALIVE_SECONDS,
    MAX_CONNECTIONS,
    Failure,
    HttpAnswer,
    HttpRequest,
    Origin,
    chain_of,
    failure_of,
    too_large,
)

_UNREACHABLE = (httpx.ConnectError, httpx.InvalidURL, OSError, UnicodeError)
_FOREIGN_ERRORS = (*_UNREACHABLE, httpx.HTTPError, httpx.StreamError, trio.BrokenResourceError, trio.ClosedResourceError)


class HttpxTransport:
    """httpx's connection pool to one origin."""

    def __init__(self, origin: Origin, *, headers: Mapping[str, str], max_body_bytes: int) -> None:
        self._base = f"{'https' if origin.tls else 'http'}://{origin.host_header}"
        self._headers = dict(headers)
        self._max_body_bytes = max_body_bytes
        self._transport = _pool(origin)

    async def exchange(self, request: HttpRequest) -> HttpAnswer | Failure:
        """Send a request and read its whole answer."""
        try:
            sent = httpx.Request(request.method, self._base + request.target, headers=self._headers, content=request.body)
            response = await self._transport.handle_async_request(sent)
            async with aclosing(response):
                body = await self._body(response)
        except _FOREIGN_ERRORS as error:
            return _failure(error)
        if body is None:
            return too_large(self._max_body_bytes)
        headers = MappingProxyType({name.lower(): value for name, value in response.headers.items()})
        return HttpAnswer(response.status_code, headers, body)

    async def aclose(self) -> None:
        """Close every connection; exchanges under way fail."""
        await self._transport.aclose()

    async def _body(self, response: httpx.Response) -> bytes | None:
        body = bytearray()
        with trio.CancelScope() as enough:
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > self._max_body_bytes:
                    enough.cancel()  # not `break`: the library's nested generators unwind only from within
        return None if len(body) > self._max_body_bytes else bytes(body)


def _failure(error: BaseException) -> Failure:
    # The parser's own complaint; without one, the server closed a connection before it answered.
    not_http = any(type(e).__module__.startswith("h11") for e in chain_of(error))
    connecting = isinstance(error, _UNREACHABLE)
    return failure_of(error, connecting=connecting, kind=TransportKind.PROTOCOL if not_http and not connecting else None)


def _pool(origin: Origin) -> httpx.AsyncHTTPTransport:
    # The library's debug logs show the targets of requests, and with them the keys in URLs.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    limits = httpx.Limits(
        max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS, keepalive_expiry=KEEP_ALIVE_SECONDS
    )
    # Without TLS the certificates, some 20 ms of loading, are not needed: a context that trusts nobody stands in.
    tls = _trusting_context() if origin.tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits)


@cache
def _trusting_context() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)

"""The transport of the trade path: connections on bare Trio and a parser in C.

It exists because of what it costs: see "What a call costs" in docs/performance.md for both transports side by side.
"""

import ssl
from collections.abc import Mapping
from functools import cache

import certifi
import trio
from attrs import define, field

from executor.faults import TransportKind
from executor.network.answer_parser import AnswerParser, BodyTooLargeError, NotHttpError
from executor.network.transport import (
    KEEP_ALIVE_SECONDS,
    MAX_CONNECTIONS,
    Failure,
    HttpAnswer,
    HttpRequest,
    Origin,
    failure_of,
    too_large,
)

RECEIVE_BYTES = 64 * 1024
# A UnicodeError: a name that cannot be encoded for the name service.
_FOREIGN_ERRORS = (OSError, UnicodeError, ssl.CertificateError, trio.BrokenResourceError, trio.ClosedResourceError)


@define(eq=False)
class _Connection:
    stream: "trio.SocketStream | trio.SSLStream[trio.SocketStream]"
    socket: trio.socket.SocketType
    idle_since: float = field(init=False, default=0.0)

    def usable(self) -> bool:
        """Whether an idle connection still stands; readable means that the server has ended it, or says what nobody asked."""
        return trio.current_time() - self.idle_since < KEEP_ALIVE_SECONDS and not self.socket.is_readable()

    def close(self) -> None:
        """At once, without the goodbye of TLS: answers carry their own length, and who waits is woken."""
        self.socket.close()


class TrioTransport:
    """Kept-alive HTTP/1.1 connections to one origin; the one that was used last is used next."""

    def __init__(self, origin: Origin, *, headers: Mapping[str, str], max_body_bytes: int) -> None:
        self._origin = origin
        self._fields = "".join(f"{name}: {value}\r\n" for name, value in {"host": origin.host_header, **headers}.items())
        self._max_body_bytes = max_body_bytes
        self._turns = trio.Semaphore(MAX_CONNECTIONS)
        self._idle: list[_Connection] = []
        self._in_use: set[_Connection] = set()
        self._closed = False

    async def exchange(self, request: HttpRequest) -> HttpAnswer | Failure:
        """Send a request and read its whole answer."""
        await self._take_turn()
        try:
            connection = self._kept() or await self._connect()
            if isinstance(connection, Failure):
                return connection
            return await self._carry(connection, request)
        finally:
            self._turns.release()

    async def aclose(self) -> None:
        """Close every connection; exchanges under way fail."""
        self._closed = True
        for connection in (*self._idle, *self._in_use):
            connection.close()
        self._idle.clear()
        await trio.lowlevel.checkpoint()

    async def _take_turn(self) -> None:
        try:
            self._turns.acquire_nowait()  # nearly always: spares a round through the scheduler
        except trio.WouldBlock:
            await self._turns.acquire()

    def _kept(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable():
                return connection
            connection.close()
        return None

    async def _connect(self) -> _Connection | Failure:
        if self._closed:
            return Failure(TransportKind.CONNECT, "closed")
        try:
            return await _open(self._origin)
        except _FOREIGN_ERRORS as error:
            return failure_of(error, connecting=True)

    async def _carry(self, connection: _Connection, request: HttpRequest) -> HttpAnswer | Failure:
        parser = AnswerParser(self._max_body_bytes)
        self._in_use.add(connection)
        try:
            return await _exchange(connection, self._bytes(request), parser)
        except BodyTooLargeError:
            return too_large(self._max_body_bytes)
        except NotHttpError as error:
            return failure_of(error, connecting=False, kind=TransportKind.PROTOCOL)
        except _FOREIGN_ERRORS as error:
            return failure_of(error, connecting=False)
        finally:
            self._in_use.remove(connection)
            self._keep(connection) if parser.reusable and not self._closed else connection.close()

    def _keep(self, connection: _Connection) -> None:
        connection.idle_since = trio.current_time()
        self._idle.append(connection)

    def _bytes(self, request: HttpRequest) -> bytes:
        length = "" if request.body is None else f"content-length: {len(request.body)}\r\n"
        head = f"{request.method} {request.target} HTTP/1.1\r\n{self._fields}{length}\r\n"
        return head.encode("ascii") + (request.body or b"")


async def _exchange(connection: _Connection, request: bytes, parser: AnswerParser) -> HttpAnswer | Failure:
    await connection.stream.send_all(request)
    while not parser.complete:
        data = await connection.stream.receive_some(RECEIVE_BYTES)
        if data:
            parser.feed(data)
        elif parser.started:
            parser.end()
        else:
            return Failure(TransportKind.RESET)
    return parser.answer()


async def _open(origin: Origin) -> _Connection:
    tcp = await trio.open_tcp_stream(origin.host, origin.port)
    if not origin.tls:
        return _Connection(tcp, tcp.socket)
    tls = trio.SSLStream(tcp, _trusting_context(), server_hostname=origin.host, https_compatible=True)
    try:
        await tls.do_handshake()
    except BaseException:
        tcp.socket.close()
        raise
    return _Connection(tls, tcp.socket)


@cache
def _trusting_context() -> ssl.SSLContext:
    """Made once, at the first connection that needs it: loading the certificates takes some 20 ms."""
    context = ssl.create_default_context(cafile=certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context

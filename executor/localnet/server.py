"""The HTTP servers of a localnet, on aiohttp: they read requests, let the core answer, and carry out faults on the wire."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from aiohttp import web
from attrs import frozen

from executor.localnet.admin import ADMIN_PATH, Switchboard
from executor.localnet.carriage import Carriage, Ending, carriage
from executor.localnet.faults import Faults
from executor.localnet.http import HttpReply, HttpRequest, text_reply
from executor.localnet.node import Exchange

SHUTDOWN_SECONDS = 0.5
"""How long calls in flight may take at the end; hanging ones are cut off then."""
MAX_BODY_BYTES = 2**20


@frozen(kw_only=True)
class RemoteExchange:
    """As `Exchange`, but whoever answers has to ask somebody else first."""

    operations: Sequence[str]
    """What is called, for orders of faults."""
    fetch: Callable[[], Awaitable[HttpReply]]


class Face(Protocol):
    """What listens on a port."""

    @property
    def target(self) -> str:
        """Its name in orders of faults."""
        ...

    def read(self, request: HttpRequest) -> Exchange | RemoteExchange:
        """Read a request without carrying it out."""
        ...


@frozen(kw_only=True)
class Listener:
    """A face and where it shall listen; port 0 takes a free one."""

    face: Face
    host: str
    port: int


class CannotListen(Exception):
    """An address is taken or cannot be used."""


async def listen(listeners: Sequence[Listener], *, admin: Switchboard, faults: Faults) -> "Running":
    """Open every port, or none. Raises `CannotListen`."""
    running = Running()
    for listener in listeners:
        refusal = await running.add(listener, admin, faults)
        if refusal is not None:
            await running.close()
            reason = refusal.strerror or str(refusal)
            raise CannotListen(f"cannot listen on {listener.host}:{listener.port}: {reason}") from refusal
    return running


class Running:
    """The open ports, in the order of their listeners."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self._runners: list[web.ServerRunner] = []

    async def add(self, listener: Listener, admin: Switchboard, faults: Faults) -> OSError | None:
        """Open one port; returns why it cannot be opened."""
        handler = Handler(listener.face, admin, faults)
        # With handler_cancellation a call that hangs ends when its caller goes away.
        server = web.Server(handler.handle, handler_cancellation=True)
        runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_SECONDS, access_log=None)
        await runner.setup()
        self._runners.append(runner)
        try:
            await web.TCPSite(runner, listener.host, listener.port).start()
        except OSError as error:
            return error
        self.ports.append(runner.addresses[0][1])
        return None

    async def close(self) -> None:
        """Close every port and end what is still in flight."""
        for runner in self._runners:
            await runner.cleanup()


class Handler:
    """Answers the requests of one port."""

    def __init__(self, face: Face, admin: Switchboard, faults: Faults) -> None:
        self._face = face
        self._admin = admin
        self._faults = faults

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _response(text_reply("request body size exceeds allowed maximum", status=413))
        asked = HttpRequest(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body,
        )
        if asked.path == ADMIN_PATH or asked.path.startswith(ADMIN_PATH + "/"):
            return _response(self._admin.answer(asked))
        return await self._carried(request, asked)

    async def _carried(self, request: web.BaseRequest, asked: HttpRequest) -> web.StreamResponse:
        exchange = self._face.read(asked)
        taken = [
            fault for operation in exchange.operations for fault in self._faults.take_transport(self._face.target, operation)
        ]
        plan = carriage(taken)
        if plan.delay_seconds:
            await asyncio.sleep(plan.delay_seconds)
        reply = await _carried_out(exchange) if plan.executed else None
        reply = plan.replacement or reply or HttpReply(status=200)
        return await _ended(request, reply, plan)


async def _carried_out(exchange: Exchange | RemoteExchange) -> HttpReply:
    return await exchange.fetch() if isinstance(exchange, RemoteExchange) else exchange.answer()


async def _ended(request: web.BaseRequest, reply: HttpReply, plan: Carriage) -> web.StreamResponse:
    if plan.ending is Ending.HANG:
        await asyncio.Event().wait()  # until the caller goes away or the server ends
    if plan.ending is Ending.RESET:
        return _reset(request)
    half = reply.body[: len(reply.body) // 2]
    if plan.ending is Ending.CUT:
        return await _cut(request, reply, half)
    return _response(HttpReply(status=reply.status, headers=reply.headers, body=half) if plan.halved else reply)


def _response(reply: HttpReply) -> web.Response:
    return web.Response(status=reply.status, headers=dict(reply.headers), body=reply.body)


def _reset(request: web.BaseRequest) -> web.Response:
    connection = transport(request)
    # Closing with a linger time of zero sends RST in place of FIN.
    linger = struct.pack("ii", 1, 0)
    connection.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connection.abort()
    return web.Response(status=500)  # goes nowhere


async def _cut(request: web.BaseRequest, reply: HttpReply, half: bytes) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers=dict(reply.headers))
    response.content_length = len(reply.body)
    await response.prepare(request)
    await response.write(half)
    transport(request).close()
    return response


def transport(request: web.BaseRequest) -> asyncio.Transport:
    """The connection of a request; when its caller has just gone, the call ends as it would have a moment later."""
    if request.transport is None:
        raise asyncio.CancelledError
    return request.transport

"""A real HTTP/1.1 server on 127.0.0.1 that answers by a script: the fake behind every test of a client.

    async with open_upstream() as upstream:
        upstream.script("getSlot", Reset(), Reply(503), rpc_result(42))   # in this order, one per request
        upstream.always("quote", json_reply({"outAmount": "1"}))          # whenever the script of the operation is used up
        node = Node(upstream.url, ...)

The operation of a request is its JSON-RPC method, or else the last segment of its path ("quote", "swap-instructions"). What
came in stands in `upstream.requests`, in order of arrival. A request that no script foresees fails the test. Connections are
kept alive as a real server does; those of a fault end with it. Leaving the block closes the port and whatever still hangs.
"""

import json
import socket
import struct
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import h11
import trio
from attrs import define, evolve, field, frozen


@frozen
class Received:
    """A request as it came over the wire."""

    method: str
    target: str
    """The path with the query, undecoded."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The query's fields, decoded."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def operation(self) -> str:
        """The JSON-RPC method, or the last segment of the path."""
        if self.body:
            try:
                return str(self.json["method"])
            except (ValueError, TypeError, KeyError):
                pass
        return self.path.rstrip("/").rpartition("/")[2]


@frozen
class Reply:
    """A whole answer. `delay_seconds` passes before its first byte."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    delay_seconds: float = 0.0
    rpc: bool = False
    """The body is JSON without an id, and gets the request's."""


@frozen
class Hang:
    """Take the request and never answer."""


@frozen
class Reset:
    """Take the request and reset the connection (RST)."""


@frozen
class Close:
    """Take the request and close the connection without a byte (FIN)."""


@frozen
class Truncated:
    """Announce a whole answer, send that many bytes of its body and close."""

    reply: Reply
    body_bytes: int


@frozen
class Slow:
    """Send the body one byte at a time with that much time between them."""

    reply: Reply
    pause_seconds: float


@frozen
class Oversized:
    """Send an endless body in chunks, until the other side has had enough."""

    chunk: bytes = b" " * 65_536


@frozen
class Garbage:
    """Send these bytes in place of an HTTP answer and close."""

    raw: bytes


Step: TypeAlias = Reply | Hang | Reset | Close | Truncated | Slow | Oversized | Garbage
Script: TypeAlias = Step | Callable[[Received], Step]
"""What happens to one request; a function decides by the request itself."""


def json_reply(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Answer with a JSON body."""
    return Reply(status, json.dumps(value).encode(), tuple((headers or {}).items()))


def rpc_result(result: object) -> Reply:
    """Answer a JSON-RPC call with this result."""
    return Reply(body=json.dumps({"jsonrpc": "2.0", "result": result}).encode(), rpc=True)


def rpc_error(code: int, message: str, data: object = None) -> Reply:
    """Answer a JSON-RPC call with this error."""
    error = {"code": code, "message": message, "data": data}
    return Reply(body=json.dumps({"jsonrpc": "2.0", "error": error}).encode(), rpc=True)


def rpc_wrong_id(result: object) -> Reply:
    """Answer a JSON-RPC call as if it had been another one."""
    return json_reply({"jsonrpc": "2.0", "id": "another", "result": result})


@define
class Upstream:
    """One scripted server. Made by `open_upstream`."""

    port: int
    requests: list[Received] = field(factory=list)
    connections: int = 0
    """How many were ever accepted; with keep-alive fewer than requests."""
    _scripts: dict[str, deque[Script]] = field(factory=lambda: defaultdict(deque))
    _defaults: dict[str, Script] = field(factory=dict)

    @property
    def url(self) -> str:
        """Where it listens, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    def script(self, operation: str, *steps: Script) -> None:
        """Append what happens to the next requests of this operation."""
        self._scripts[operation].extend(steps)

    def always(self, operation: str, step: Script) -> None:
        """Set what happens whenever the operation's script is used up."""
        self._defaults[operation] = step

    def received(self, operation: str) -> list[Received]:
        """All requests of an operation, in order."""
        return [request for request in self.requests if request.operation == operation]

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer one connection until either side ends it."""
        self.connections += 1
        async with stream:
            connection = h11.Connection(h11.SERVER)
            try:
                while await self._exchange(stream, connection):
                    connection.start_next_cycle()
            except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
                return  # the client left or never spoke HTTP: its tests say what they expect of that

    async def _exchange(self, stream: trio.SocketStream, connection: h11.Connection) -> bool:
        """Take one request, do what the script says; True when another may follow on the connection."""
        request = await _receive(stream, connection)
        if request is None:
            return False
        self.requests.append(request)
        step = self._next_step(request)
        if not isinstance(step, Reply):
            await _misbehave(step, request, stream)
            return False
        await trio.sleep(step.delay_seconds)
        await stream.send_all(_answer_bytes(connection, _addressed(step, request)))
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE

    def _next_step(self, request: Received) -> Step:
        operation = request.operation
        waiting = self._scripts[operation]
        step = waiting.popleft() if waiting else self._defaults.get(operation)
        if step is None:
            raise AssertionError(f"no script for {operation!r}: {request.method} {request.target}")
        return step(request) if callable(step) else step


@asynccontextmanager
async def open_upstream() -> AsyncIterator[Upstream]:
    """Serve on a free port of 127.0.0.1 while the block runs."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        upstream = Upstream(listeners[0].socket.getsockname()[1])
        await nursery.start(trio.serve_listeners, upstream.serve, listeners)
        yield upstream
        nursery.cancel_scope.cancel()


def closed_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _receive(stream: trio.SocketStream, connection: h11.Connection) -> Received | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(65_536))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
            return Received(head.method.decode(), head.target.decode(), headers, bytes(body))
        else:
            return None


async def _misbehave(step: Step, request: Received, stream: trio.SocketStream) -> None:
    match step:
        case Hang():
            await trio.sleep_forever()
        case Reset():
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        case Garbage(raw=raw):
            await stream.send_all(raw)
        case Truncated(reply=reply, body_bytes=kept):
            head, body = _split_answer(_addressed(reply, request))
            await stream.send_all(head + body[:kept])
        case Slow(reply=reply, pause_seconds=pause_seconds):
            head, body = _split_answer(_addressed(reply, request))
            await stream.send_all(head)
            for byte in body:
                await trio.sleep(pause_seconds)
                await stream.send_all(bytes([byte]))
        case Oversized(chunk=chunk):
            await stream.send_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            while True:
                await stream.send_all(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        case _:
            pass  # Close: leaving the caller's block does it


def _addressed(reply: Reply, request: Received) -> Reply:
    """Give a JSON-RPC answer the id of the question."""
    if not reply.rpc:
        return reply
    return evolve(reply, body=json.dumps({**json.loads(reply.body), "id": request.json["id"]}).encode())


def _answer_bytes(connection: h11.Connection, reply: Reply) -> bytes:
    headers = [("content-length", str(len(reply.body))), *reply.headers]
    head = connection.send(h11.Response(status_code=reply.status, headers=headers))
    body = connection.send(h11.Data(data=reply.body))
    end = connection.send(h11.EndOfMessage())
    return (head or b"") + (body or b"") + (end or b"")


def _split_answer(reply: Reply) -> tuple[bytes, bytes]:
    """Head and body of an answer that needs no connection's state."""
    lines = [f"HTTP/1.1 {reply.status} Scripted", f"content-length: {len(reply.body)}"]
    lines += [f"{name}: {value}" for name, value in reply.headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode(), reply.body

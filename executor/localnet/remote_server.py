"""`executor localnet --node URL`: the Jupiter API over the pools of another node, and on request a relay in front of that node.

The relay passes every call on and lets ordered faults strike it: a real node loses no send on demand.
"""

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus

import aiohttp
from attrs import define, field
from solders.pubkey import Pubkey

from executor.localnet import jsonrpc
from executor.localnet.faults import Faults, LostSend, RpcFault
from executor.localnet.http import HttpReply, HttpRequest, json_reply
from executor.localnet.jsonrpc import Call, RpcError
from executor.localnet.jupiter import TARGET, JupiterApi
from executor.localnet.market import Chain
from executor.localnet.remote import NodeUnusable, Sight, questions, read_sight, sent_signature
from executor.localnet.server import RemoteExchange

NODE_SECONDS = 3.0
"""For one call to the node."""
RELAY_NAME = "relay"
_PASSED_ON = ("content-type", "accept")


class Upstream:
    """The node, over HTTP. To be made and used within one event loop."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=NODE_SECONDS))

    async def call(self, body: bytes) -> bytes:
        """Make a JSON-RPC call. Raises `NodeUnusable`."""
        request = HttpRequest(method="POST", path="", headers={"content-type": "application/json"}, body=body)
        reply = await self.forward(request)
        if reply.status != HTTPStatus.OK:
            raise NodeUnusable(f"the node answers with status {reply.status}")
        return reply.body

    async def forward(self, request: HttpRequest) -> HttpReply:
        """Make a request as it came. Raises `NodeUnusable` when there is no answer."""
        url = self._url if request.path in ("", "/") else self._url.rstrip("/") + request.path
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        try:
            async with self._session.request(request.method, url, data=request.body or None, headers=headers) as answer:
                kept = {"content-type": answer.headers["content-type"]} if "content-type" in answer.headers else {}
                return HttpReply(status=answer.status, headers=kept, body=await answer.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            # Not the error's own words: they name the URL, which may hold a key.
            raise NodeUnusable(f"the node does not answer ({type(error).__name__})") from error

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()


@define
class Eyes:
    """Looks at accounts of the node; a sight is used until it has an age, and one look serves all who wait for it."""

    _upstream: Upstream
    _addresses: Sequence[Pubkey]
    _commitment: str
    _max_age_seconds: float
    _sight: Sight | None = None
    _looked_at: float = 0.0
    _looking: asyncio.Lock = field(factory=asyncio.Lock)

    async def look(self) -> Sight:
        """Return a sight that is young enough. Raises `NodeUnusable` when there is none."""
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if self._sight is None or now - self._looked_at >= self._max_age_seconds:
                self._sight = None  # an old one must not outlive a look that fails
                accounts, blockhash = await self._answers()
                self._sight = read_sight(self._addresses, accounts, blockhash)
                self._looked_at = now  # when it was asked for: what comes back is at most that old
            return self._sight

    async def _answers(self) -> list[bytes]:
        calls = questions(self._addresses, self._commitment)
        answers = await asyncio.gather(*(self._upstream.call(body) for body in calls), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in answers if isinstance(answer, bytes)]


@define
class RemoteJupiterFace:
    """The Jupiter API as the server sees it; before each answer it looks at the node."""

    _api_over: Callable[[Chain], JupiterApi]
    _eyes: Eyes
    target: str = TARGET

    def read(self, request: HttpRequest) -> RemoteExchange:
        """Read a request without carrying it out."""
        return RemoteExchange(operations=(request.path.rpartition("/")[2],), fetch=lambda: self._answer(request))

    async def _answer(self, request: HttpRequest) -> HttpReply:
        try:
            sight = await self._eyes.look()
        except NodeUnusable as error:
            document = {"code": int(HTTPStatus.SERVICE_UNAVAILABLE), "message": f"[API Gateway] Service unavailable: {error}"}
            return json_reply(document, status=HTTPStatus.SERVICE_UNAVAILABLE)
        return self._api_over(sight).answer(request)


@define
class RelayFace:
    """The node itself, with faults in front of it. In a batch only those of the wire can strike."""

    _upstream: Upstream
    _faults: Faults
    target: str = f"node:{RELAY_NAME}"

    def read(self, request: HttpRequest) -> RemoteExchange:
        """Read a request without carrying it out."""
        try:
            document = jsonrpc.parse(request.body)
        except RpcError:  # no call can be made out; the node says so itself
            return RemoteExchange(operations=(), fetch=lambda: self._forward(request))
        operations = tuple(call.method for call in document.calls)
        if document.batch or not operations[0]:
            return RemoteExchange(operations=operations, fetch=lambda: self._forward(request))
        return RemoteExchange(operations=operations, fetch=lambda: self._one(request, document.calls[0]))

    async def _one(self, request: HttpRequest, call: Call) -> HttpReply:
        for fault in self._faults.take(self.target, call.method):
            if isinstance(fault, RpcFault):
                if fault.executed:
                    await self._forward(request)
                return _answer(call, RpcError(fault.code, fault.message, fault.data))
            if isinstance(fault, LostSend) and (signature := sent_signature(call.params)) is not None:
                return _answer(call, signature)
        return await self._forward(request)

    async def _forward(self, request: HttpRequest) -> HttpReply:
        try:
            return await self._upstream.forward(request)
        except NodeUnusable as error:
            return HttpReply(status=HTTPStatus.BAD_GATEWAY, headers={"content-type": "text/plain"}, body=str(error).encode())


def _answer(call: Call, result: object) -> HttpReply:
    return jsonrpc.reply(jsonrpc.Document(calls=(call,), batch=False), [jsonrpc.answer(call, result)])

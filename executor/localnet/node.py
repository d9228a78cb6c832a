"""A JSON-RPC node: one face of the cluster, with a lag and faults of its own. No I/O."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from attrs import frozen

from executor.localnet import jsonrpc, reads, sends
from executor.localnet.cluster import Cluster
from executor.localnet.faults import Fault, Faults, Lag, RpcFault
from executor.localnet.http import HttpReply, HttpRequest, text_reply
from executor.localnet.jsonrpc import Call, Document, RpcError
from executor.localnet.params import counted
from executor.localnet.visit import NodeSettings, Visit

MAX_BODY_BYTES = 50 * 1024
"""As a node accepts unless it is told otherwise."""
METHODS = {**reads.methods(), **sends.methods()}
_JSON = re.compile(r"application/json\s*(;.*)?", re.IGNORECASE)

Json = Any


@frozen(kw_only=True)
class Exchange:
    """A request that was read and not yet carried out: the server asks for faults in between."""

    operations: Sequence[str]
    """What is called, for orders of faults."""
    answer: Callable[[], HttpReply]


class Node:
    """A node of the cluster. `lag_slots` is how many slots it is behind; an order of `Lag` adds to it."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        *,
        faults: Faults | None = None,
        settings: NodeSettings | None = None,
        lag_slots: int = 0,
    ) -> None:
        self.name = name
        self.lag_slots = lag_slots
        self._cluster = cluster
        self._faults = faults or Faults()
        self._settings = settings or NodeSettings()

    @property
    def target(self) -> str:
        """The node's name in orders of faults."""
        return f"node:{self.name}"

    def read(self, request: HttpRequest) -> Exchange:
        """Read a request without carrying it out."""
        refusal = self._refusal(request)
        if refusal is not None:
            return Exchange(operations=(), answer=lambda: refusal)
        try:
            document = jsonrpc.parse(request.body)
        except RpcError as error:
            refused = jsonrpc.refusal_reply(error)
            return Exchange(operations=(), answer=lambda: refused)
        methods = tuple(call.method for call in document.calls)
        return Exchange(operations=methods, answer=lambda: self.carry_out(document))

    def answer(self, request: HttpRequest) -> HttpReply:
        """Answer a request."""
        return self.read(request).answer()

    def call(self, method: str, *params: Json) -> Json:
        """Call one method in-process: its result, or the `RpcError` that a caller would get, raised."""
        return self._run(Call(method=method, params=params))

    def carry_out(self, document: Document) -> HttpReply:
        """Carry out every call of a document, in order."""
        answers = [(call, self._outcome(call)) for call in document.calls]
        return jsonrpc.reply(document, [jsonrpc.answer(call, outcome) for call, outcome in answers if not call.notification])

    def _outcome(self, call: Call) -> Json:
        try:
            return self._run(call)
        except RpcError as error:
            return error

    def _run(self, call: Call) -> Json:
        if call.error is not None:
            raise call.error
        method = METHODS.get(call.method)
        if method is None:
            raise RpcError(jsonrpc.METHOD_NOT_FOUND, "Method not found")
        faults = self._faults.take(self.target, call.method)
        error = next((fault for fault in faults if isinstance(fault, RpcFault)), None)
        run = partial(method.run, self._visit(faults), counted(call.params, method.least, method.most))
        if error is None:
            return run()
        if error.executed:
            run()
        raise RpcError(error.code, error.message, error.data)

    def _visit(self, faults: Sequence[Fault]) -> Visit:
        lag = self.lag_slots + sum(fault.slots for fault in faults if isinstance(fault, Lag))
        return Visit(cluster=self._cluster, settings=self._settings, behind=lag, faults=tuple(faults))

    def _refusal(self, request: HttpRequest) -> HttpReply | None:
        """What is answered before any JSON is looked at."""
        if request.method == "GET" and request.path == "/health":
            return self._health()
        if request.method == "OPTIONS":
            return HttpReply(status=200, headers={"allow": "OPTIONS, POST", "accept": "application/json"})
        if request.method != "POST":
            return text_reply("Used HTTP Method is not allowed. POST or OPTIONS is required\n", status=405)
        if not _JSON.fullmatch(request.headers.get("content-type", "")):
            text = "Supplied content type is not allowed. Content-Type: application/json is required\n"
            return text_reply(text, status=415)
        if len(request.body) > MAX_BODY_BYTES:
            return text_reply("request body size exceeds allowed maximum", status=413)
        try:
            request.body.decode()
        except UnicodeDecodeError as error:
            return text_reply(f"utf-8 encoding error at byte {error.start} in request body", status=400)
        return None

    def _health(self) -> HttpReply:
        try:
            self._run(Call(method="getHealth"))
        except RpcError:
            return text_reply("behind", status=200)
        return text_reply("ok", status=200)

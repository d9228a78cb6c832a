"""JSON-RPC 2.0 as a node speaks it: requests, batches, and the errors with a node's codes and words (Agave 3.1.8)."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import field, frozen

from executor.localnet.http import HttpReply, compact_json

Json = Any

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
PREFLIGHT_FAILURE = -32002
SIGNATURE_VERIFICATION_FAILURE = -32003
NODE_UNHEALTHY = -32005
UNSUPPORTED_TRANSACTION_VERSION = -32015
MIN_CONTEXT_SLOT_NOT_REACHED = -32016


class RpcError(Exception):
    """An error answer. `data` None leaves the member out."""

    def __init__(self, code: int, message: str, data: Json = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    @property
    def json(self) -> Json:
        """The error member of an answer."""
        error = {"code": self.code, "message": self.message}
        return error if self.data is None else {**error, "data": self.data}


def invalid_params(message: str, data: Json = None) -> RpcError:
    """The caller's arguments are wrong."""
    return RpcError(INVALID_PARAMS, message, data)


@frozen(kw_only=True)
class Call:
    """One call of a document. A notification is carried out and not answered."""

    method: str = ""
    params: tuple[Json, ...] = ()
    id: Json = None
    notification: bool = False
    versioned: bool = True
    error: RpcError | None = field(default=None, eq=False)
    """The call is refused before its method is looked up."""


@frozen(kw_only=True)
class Document:
    """A request body: one call, or a batch of them."""

    calls: tuple[Call, ...]
    batch: bool


def parse(body: bytes) -> Document:
    """Read a request body. Raises `RpcError` when no call can be made out."""
    try:
        value = _decoded(body)
    except (ValueError, RecursionError) as error:
        raise RpcError(PARSE_ERROR, "Parse error") from error
    if isinstance(value, list):
        return Document(calls=tuple(_call(item) for item in value), batch=True)
    return Document(calls=(_call(value),), batch=False)


def _call(value: Json) -> Call:
    if not isinstance(value, dict) or not _is_id(value.get("id")):
        raise RpcError(PARSE_ERROR, "Parse error")
    known = {"jsonrpc", "method", "params", "id"}
    version, params = value.get("jsonrpc"), value.get("params")
    well_formed = known.issuperset(value) and isinstance(value.get("method"), str) and version in (None, "2.0")
    if not well_formed or not isinstance(params, (list, dict, type(None))):
        return Call(id=value.get("id"), error=RpcError(INVALID_REQUEST, "Invalid request"))
    refusal = None
    if version is None:
        refusal = RpcError(INVALID_REQUEST, "Unsupported JSON-RPC protocol version")
    elif isinstance(params, dict):
        refusal = invalid_params("`params` should be an array")
    return Call(
        method=value["method"],
        params=tuple(params) if isinstance(params, list) else (),
        id=value.get("id"),
        notification="id" not in value,
        versioned=version is not None,
        error=refusal,
    )


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _decoded(body: bytes) -> Json:
    """As `json.loads`, which would make a decoder for every body."""
    return _DECODER.decode(body.decode(json.detect_encoding(body), "surrogatepass"))


def _is_id(value: Json) -> bool:
    return value is None or isinstance(value, str) or (type(value) is int and value >= 0)


def answer(call: Call, result: Json) -> Json:
    """The answer to a call; `result` may be an `RpcError`."""
    outcome: Mapping[str, Json] = {"error": result.json} if isinstance(result, RpcError) else {"result": result}
    return {**({"jsonrpc": "2.0"} if call.versioned else {}), **outcome, "id": call.id}


def reply(document: Document, answers: Iterable[Json]) -> HttpReply:
    """The reply to a document; its body is empty when nothing in it wants an answer."""
    listed = list(answers)
    if not listed:
        return json_body(b"")
    shown = listed if document.batch else listed[0]
    return json_body(compact_json(shown).encode() + b"\n")


def refusal_reply(error: RpcError) -> HttpReply:
    """The reply to a body in which no call can be made out."""
    return reply(Document(calls=(), batch=False), [answer(Call(), error)])


def json_body(body: bytes) -> HttpReply:
    """A body under a node's content type."""
    return HttpReply(status=200, headers={"content-type": "application/json; charset=utf-8"}, body=body)

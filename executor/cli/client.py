"""A caller of the daemon: the stock gRPC client, as any other service would use it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from attrs import frozen
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from executor.rpc import trade_executor_pb2 as pb
from executor.rpc.refusal import ERROR_DOMAIN

SERVICE = "/trade_executor.v1.TradeExecutor"


@frozen
class CallFailed(Exception):
    """The daemon answered with an error status, or did not answer."""

    status: str
    message: str
    reason: str
    """The executor's own code. Empty: the executor has refused nothing, so whatever was asked for may have happened."""
    violations: tuple[tuple[str, str], ...]
    """Field and problem, of an INVALID_ARGUMENT."""

    def __str__(self) -> str:
        return f"{self.status}: {self.message}"


class Client:
    """The calls. Each blocks, at most for its timeout."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._execute = _stub(channel.unary_unary, "ExecuteTradeRequest", pb.TradeRequest, pb.TradeResult)
        self._get = _stub(channel.unary_unary, "GetTrade", pb.GetTradeRequest, pb.TradeResult)
        self._watch = _stub(channel.unary_stream, "WatchTrade", pb.WatchTradeRequest, pb.TradeUpdate)
        self._status = _stub(channel.unary_unary, "GetExecutorStatus", pb.Empty, pb.ExecutorStatus)
        self._halt = _stub(channel.unary_unary, "HaltTrading", pb.HaltTradingRequest, pb.ExecutorStatus)
        self._resume = _stub(channel.unary_unary, "ResumeTrading", pb.ResumeTradingRequest, pb.ExecutorStatus)

    def execute(self, request: pb.TradeRequest, *, timeout_seconds: float) -> pb.TradeResult:
        """Trade. Raises CallFailed."""
        with _failing():
            result: pb.TradeResult = self._execute(request, timeout=timeout_seconds)
        return result

    def get(self, request_id: str, *, timeout_seconds: float) -> pb.TradeResult:
        """Ask what became of a request. Raises CallFailed."""
        with _failing():
            result: pb.TradeResult = self._get(pb.GetTradeRequest(request_id=request_id), timeout=timeout_seconds)
        return result

    def watch(self, request_id: str, *, after_sequence: int, timeout_seconds: float) -> Iterator[pb.TradeUpdate]:
        """Yield the changes of a trade until its end. Raises CallFailed."""
        request = pb.WatchTradeRequest(request_id=request_id, after_sequence=after_sequence)
        with _failing():
            yield from self._watch(request, timeout=timeout_seconds)

    def status(self, *, timeout_seconds: float) -> pb.ExecutorStatus:
        """Ask how the daemon is. Raises CallFailed."""
        with _failing():
            status: pb.ExecutorStatus = self._status(pb.Empty(), timeout=timeout_seconds)
        return status

    def halt(self, why: str, *, timeout_seconds: float) -> pb.ExecutorStatus:
        """Halt trading. Raises CallFailed."""
        with _failing():
            status: pb.ExecutorStatus = self._halt(pb.HaltTradingRequest(why=why), timeout=timeout_seconds)
        return status

    def resume(self, why: str, *, timeout_seconds: float) -> pb.ExecutorStatus:
        """Close the circuit breaker. Raises CallFailed."""
        with _failing():
            status: pb.ExecutorStatus = self._resume(pb.ResumeTradingRequest(why=why), timeout=timeout_seconds)
        return status


def _stub(kind: Callable[..., Any], method: str, request: type[Message], reply: type[Message]) -> Any:
    return kind(f"{SERVICE}/{method}", request_serializer=request.SerializeToString, response_deserializer=reply.FromString)


@contextmanager
def connect(address: str) -> Iterator[Client]:
    """Open a channel to host:port or unix:/path, never through a proxy of the environment."""
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        yield Client(channel)


def as_dict(message: Message) -> dict[str, object]:
    """A message as JSON's types, with every field and the proto's own names; 64-bit integers as numbers."""
    values: dict[str, object] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return _numbered(values, message.DESCRIPTOR)


def _numbered(values: dict[str, Any], descriptor: Any) -> dict[str, object]:
    """Protobuf's JSON writes 64-bit integers as text; the reader of a command's output wants numbers."""
    # The stubs know two classes of descriptors that have nothing in common.
    fields = descriptor.fields_by_name
    return {name: _field_numbered(value, fields[name]) for name, value in values.items()}


def _field_numbered(value: Any, field: FieldDescriptor) -> object:
    if isinstance(value, list):
        return [_field_numbered(item, field) for item in value]
    if field.cpp_type in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64):
        return int(value)
    if field.message_type is None:
        return value
    if field.message_type.GetOptions().map_entry:
        of_value = field.message_type.fields_by_name["value"]
        return {key: _field_numbered(item, of_value) for key, item in value.items()}
    return _numbered(value, field.message_type)


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        raise _call_failed(error) from None


def _call_failed(error: grpc.RpcError) -> CallFailed:
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                detail.Unpack(info)
                detail.Unpack(bad)
    return CallFailed(
        status=error.code().name,
        message=error.details() or "",
        reason=info.reason if info.domain == ERROR_DOMAIN else "",  # what lies between may add details of its own
        violations=tuple((v.field, v.description) for v in bad.field_violations),
    )

"""A strategy service, as the daemon's stranger: the stock grpcio client, and what it can read out of an answer."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from attrs import field, frozen
from google.rpc import error_details_pb2, status_pb2

from executor.rpc import trade_executor_pb2 as pb
from tests.support.localnet import BY_SYMBOL, mint

SERVICE = "/trade_executor.v1.TradeExecutor"
ANSWER_SECONDS = 20.0
SUCCESS, FAILED, PENDING = pb.TRADE_STATUS_SUCCESS, pb.TRADE_STATUS_FAILED, pb.TRADE_STATUS_PENDING
NEVER = 60.0
"""Seconds; for what must not happen within a test."""


@frozen(kw_only=True)
class Refused(Exception):
    """An error status with its google.rpc details."""

    status: str
    message: str
    reason: str = ""
    figures: Mapping[str, str] = field(factory=dict)
    fields: tuple[str, ...] = ()
    """Of an INVALID_ARGUMENT: every field that is wrong."""
    retry_seconds: int | None = None


@frozen
class Caller:
    """One client with one channel. Every call blocks; a refusal is raised as `Refused`."""

    channel: grpc.Channel

    def execute(self, request: pb.TradeRequest, *, seconds: float = ANSWER_SECONDS) -> pb.TradeResult:
        """Trade."""
        answer: pb.TradeResult = self._call("ExecuteTradeRequest", request, pb.TradeResult, seconds)
        return answer

    def refusal(self, request: pb.TradeRequest) -> Refused:
        """Trade, expecting an error status."""
        with pytest.raises(Refused) as caught:
            self.execute(request)
        return caught.value

    def get(self, request_id: str, *, seconds: float = ANSWER_SECONDS) -> pb.TradeResult:
        """Ask what became of a trade."""
        answer: pb.TradeResult = self._call("GetTrade", pb.GetTradeRequest(request_id=request_id), pb.TradeResult, seconds)
        return answer

    def watch(self, request_id: str, *, after: int = 0, seconds: float = ANSWER_SECONDS) -> Iterator[pb.TradeUpdate]:
        """Follow a trade to its end."""
        stub = self.channel.unary_stream(
            f"{SERVICE}/WatchTrade",
            request_serializer=pb.WatchTradeRequest.SerializeToString,
            response_deserializer=pb.TradeUpdate.FromString,
        )
        try:
            yield from stub(pb.WatchTradeRequest(request_id=request_id, after_sequence=after), timeout=seconds)
        except grpc.RpcError as error:
            raise _refused(error) from None

    def status(self, *, seconds: float = ANSWER_SECONDS) -> pb.ExecutorStatus:
        """Ask how the daemon is."""
        answer: pb.ExecutorStatus = self._call("GetExecutorStatus", pb.Empty(), pb.ExecutorStatus, seconds)
        return answer

    def _call(self, method: str, request: Any, reply: Any, seconds: float) -> Any:
        stub = self.channel.unary_unary(
            f"{SERVICE}/{method}", request_serializer=lambda m: m.SerializeToString(), response_deserializer=reply.FromString
        )
        try:
            return stub(request, timeout=seconds)
        except grpc.RpcError as error:
            raise _refused(error) from None


@contextmanager
def connected(address: str) -> Iterator[Caller]:
    """A caller with a connection of its own."""
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield Caller(channel)


def make_request(request_id: str, source: str, target: str, amount: float, /, **changes: Any) -> pb.TradeRequest:
    """A request for a swap of so much of a token, given by symbols and in whole tokens."""
    fields: dict[str, Any] = {
        "request_id": request_id,
        "source_service": "tests",
        "input_token": mint(source),
        "output_token": mint(target),
        "amount_lamports": round(amount * 10 ** BY_SYMBOL[source].decimals),
        "max_slippage_bps": 50,
    }
    return pb.TradeRequest(**{**fields, **changes})


def _refused(error: grpc.RpcError) -> Refused:
    found: dict[str, Any] = {}
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            found = _details(status_pb2.Status.FromString(value))
    return Refused(status=error.code().name, message=error.details() or "", **found)


def _details(packed: status_pb2.Status) -> dict[str, Any]:
    found: dict[str, Any] = {}
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for detail in packed.details:
        if detail.Unpack(info):
            found |= {"reason": info.reason, "figures": dict(info.metadata)}
        elif detail.Unpack(bad):
            found["fields"] = tuple(violation.field for violation in bad.field_violations)
        elif detail.Unpack(retry):
            found["retry_seconds"] = retry.retry_delay.seconds
    return found

"""A refusal as callers get it: the gRPC status and the google.rpc details of an error."""

from collections.abc import Iterator

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from executor.errors import Denied, ErrorCode, InvalidRequest, ReplyStatus, TradeError
from executor.rpc.rpc_status import RpcCode, RpcStatus

ERROR_DOMAIN = "executor"
RETRY_DELAY_SECONDS = 1
NS_PER_SECOND = 1_000_000_000
MAX_VALUE_CHARACTERS = 200

# Refusals that pass by themselves. A price that moved may come back too, but nobody knows when.
_PASSING = {ReplyStatus.RESOURCE_EXHAUSTED, ReplyStatus.UNAVAILABLE}


def refusal(error: TradeError, status: ReplyStatus) -> RpcStatus:
    """The status that tells a caller why its request was refused."""
    return RpcStatus(RpcCode[status.name], error.message, details=tuple(_details(error, status)))


def draining() -> RpcStatus:
    """The status of whatever comes, or has no end of its own, when the daemon shuts down."""
    return refusal(Denied(ErrorCode.EXECUTOR_DRAINING, "the executor is shutting down"), ReplyStatus.UNAVAILABLE)


def _details(error: TradeError, status: ReplyStatus) -> Iterator[Message]:
    yield error_details_pb2.ErrorInfo(
        reason=error.code.name,
        domain=ERROR_DOMAIN,
        metadata={name: str(value)[:MAX_VALUE_CHARACTERS] for name, value in error.context.items()},
    )
    if isinstance(error, InvalidRequest):
        violations = error_details_pb2.BadRequest.FieldViolation
        yield error_details_pb2.BadRequest(
            field_violations=[violations(field=problem.field, description=problem.problem) for problem in error.problems]
        )
    if error.code.facts.retryable and status in _PASSING:
        yield error_details_pb2.RetryInfo(retry_delay=_retry_delay(error))


def _retry_delay(error: TradeError) -> Duration:
    """When a call may help: the figure of the refusal, which is text once the journal has held it, or soon."""
    seconds = float(str(error.context.get("retry_after_seconds", RETRY_DELAY_SECONDS)))
    return Duration(seconds=int(seconds), nanos=int(seconds % 1 * NS_PER_SECOND))

"""The executor's own service: proto <-> model, and errors to statuses. Nothing else of the daemon knows the proto."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from typing import Protocol

import trio
from attrs import define, field

from executor.errors import TradeError
from executor.log import Log
from executor.model import Outcome, OutcomeStatus, TradeRequest, Urgency
from executor.rpc import trade_executor_pb2 as pb
from executor.rpc.calls import Call
from executor.rpc.refusal import draining, refusal
from executor.rpc.rpc_status import INTERNAL_ERROR, RpcCode, RpcStatus
from executor.rpc.status_reply import status_to_proto
from executor.rpc.trade_executor_grpc import TradeExecutorServicer
from executor.status import ExecutorStatus
from executor.units import U64_MAX
from executor.watching import Update

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
U32_MAX = 2**32 - 1
I32_MAX, I64_MAX = 2**31 - 1, 2**63 - 1
MAX_LOGGED_CHARACTERS = 128
MAX_WATCHES = 256
"""In all connections together: each takes one of the calls that the server may have, and trades need them more."""

_URGENCY_FROM_PROTO = {
    pb.URGENCY_LEVEL_LOW: Urgency.LOW,
    pb.URGENCY_LEVEL_NORMAL: Urgency.NORMAL,
    pb.URGENCY_LEVEL_HIGH: Urgency.HIGH,
    pb.URGENCY_LEVEL_CRITICAL: Urgency.CRITICAL,
}
_STATUS_TO_PROTO = {
    OutcomeStatus.SUCCESS: pb.TRADE_STATUS_SUCCESS,
    OutcomeStatus.FAILED: pb.TRADE_STATUS_FAILED,
    OutcomeStatus.PENDING: pb.TRADE_STATUS_PENDING,
}


class Executor(Protocol):
    """The daemon, as narrow as its callers see it."""

    async def execute(self, request: TradeRequest) -> Outcome:
        """Execute a trade, or join it. Raises TradeError when it is refused. Cancelled, only the wait ends."""
        ...

    async def find(self, request_id: str) -> Outcome:
        """Return what is known of a trade. Raises TradeError when no such request was accepted."""
        ...

    def watch(self, request_id: str, *, after_sequence: int) -> AsyncGenerator[Update, None]:
        """Yield the changes of a trade until its end. Raises TradeError as `find` does."""
        ...

    def status(self) -> ExecutorStatus:
        """Return the daemon's state."""
        ...

    async def halt(self, why: str) -> ExecutorStatus:
        """Halt trading; return when that is durable. Raises TradeError."""
        ...

    async def resume(self, why: str) -> ExecutorStatus:
        """Close the circuit breaker; return when that is durable. Raises TradeError."""
        ...


class TradeExecutorService(TradeExecutorServicer):
    """Submits and waits: a call that ends early ends nothing but itself."""

    def __init__(self, executor: Executor, *, log: Log, max_watches: int = MAX_WATCHES) -> None:
        self._executor = executor
        self._log = log
        self._watches = _Watches(max_watches)

    def end_streams(self) -> None:
        """End all watches that wait, those to come as well."""
        self._watches.end()

    # purerpc hands the call to a second parameter of the name `request`; its generated signatures do not show it.

    async def ExecuteTradeRequest(self, input_message: pb.TradeRequest, request: Call) -> pb.TradeResult:  # type: ignore[override]
        """Execute one swap."""
        asked = request_from_proto(input_message)
        with self._audited(request, **_shown(asked)) as reply:
            outcome = await self._executor.execute(asked)
            reply.outcome = outcome
            return result_to_proto(outcome)

    async def GetTrade(self, input_message: pb.GetTradeRequest, request: Call) -> pb.TradeResult:  # type: ignore[override]
        """Tell what became of a request."""
        with self._audited(request, request_id=_short(input_message.request_id)) as reply:
            outcome = await self._executor.find(input_message.request_id)
            reply.outcome = outcome
            return result_to_proto(outcome)

    async def WatchTrade(self, input_message: pb.WatchTradeRequest, request: Call) -> AsyncIterator[pb.TradeUpdate]:  # type: ignore[override]
        """Tell the changes of a trade until its end."""
        asked, after = input_message.request_id, input_message.after_sequence
        with self._audited(request, request_id=_short(asked), after_sequence=after) as reply, self._watches.place():
            async with aclosing(self._executor.watch(asked, after_sequence=min(after, I64_MAX))) as updates:
                while (update := await self._watches.next(updates)) is not None:
                    reply.outcome = update.outcome
                    yield update_to_proto(update)  # noqa: ASYNC119 - `calls.py` closes it

    async def GetExecutorStatus(self, input_message: pb.Empty, request: Call) -> pb.ExecutorStatus:  # type: ignore[override]
        """Tell how the daemon is."""
        with self._audited(request):
            return status_to_proto(self._executor.status())

    async def HaltTrading(self, input_message: pb.HaltTradingRequest, request: Call) -> pb.ExecutorStatus:  # type: ignore[override]
        """Take no more trades, at an operator's word."""
        with self._audited(request, why=_short(input_message.why)):
            return status_to_proto(await self._executor.halt(input_message.why))

    async def ResumeTrading(self, input_message: pb.ResumeTradingRequest, request: Call) -> pb.ExecutorStatus:  # type: ignore[override]
        """Close the circuit breaker, at an operator's word."""
        with self._audited(request, why=_short(input_message.why)):
            return status_to_proto(await self._executor.resume(input_message.why))

    @contextmanager
    def _audited(self, call: Call, **fields: object) -> Iterator["_Reply"]:
        """Log the request and, however it ends, the reply; turn refusals into their statuses."""
        log = self._log.bind(method=call.head.method, peer=call.peer.address, **fields)
        log.info("rpc.request", user_agent=_short(call.head.user_agent), certificate_name=call.peer.certificate_name)
        reply = _Reply()
        try:
            yield reply
            reply.code = RpcCode.OK
        except TradeError as error:
            raise reply.refuse(error, log) from error
        except RpcStatus as status:
            reply.code = status.code
            raise
        except Exception:
            reply.code = RpcCode.INTERNAL
            raise
        finally:
            log.info("rpc.reply", **reply.fields())


@define(eq=False)
class _Watches:
    """Those that there are, and the end of those that wait."""

    _most: int
    _count: int = 0
    _waits: set[trio.CancelScope] = field(factory=set)
    _ended: bool = False

    @contextmanager
    def place(self) -> Iterator[None]:
        if self._count >= self._most:
            raise RpcStatus(RpcCode.RESOURCE_EXHAUSTED, f"there are {self._count} watches already")
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1

    def end(self) -> None:
        self._ended = True
        for wait in self._waits:
            wait.cancel()

    async def next(self, updates: AsyncIterator[Update]) -> Update | None:
        """Wait for the next one; None: there is none any more."""
        with trio.CancelScope() as wait:
            if self._ended:
                wait.cancel()  # what is told already is told all the same
            self._waits.add(wait)
            try:
                return await anext(updates, None)
            finally:
                self._waits.discard(wait)
        raise draining()


@define
class _Reply:
    """What the log says of a reply. Without any other end, it was not waited for."""

    code: RpcCode = RpcCode.CANCELLED
    outcome: Outcome | None = None
    error: TradeError | None = None
    _began_at: float = field(init=False, factory=trio.current_time)

    def refuse(self, error: TradeError, log: Log) -> RpcStatus:
        status = error.code.facts.reply_status
        if status is None:
            # After acceptance the answer is a result, which holds the signature; an error here would lose it.
            log.error("rpc.outcome_raised", error_code=error.code.name, exc_info=error)
            self.code = RpcCode.INTERNAL
            return RpcStatus(INTERNAL_ERROR.code, INTERNAL_ERROR.message)
        self.error = error
        answer = refusal(error, status)
        self.code = answer.code
        return answer

    def fields(self) -> dict[str, object]:
        fields: dict[str, object] = {"code": self.code.name, "seconds": round(trio.current_time() - self._began_at, 6)}
        if self.error is not None:
            fields |= {"error_code": self.error.code.name, "error_message": self.error.message}
        if self.outcome is not None:
            error_code = self.outcome.error_code
            fields |= {
                "status": self.outcome.status,
                "signature": self.outcome.signature,
                "error_code": error_code and error_code.name,
            }
        return fields


def request_from_proto(message: pb.TradeRequest) -> TradeRequest:
    """Read a request as it stands: what is wrong with it, validation says, all of it at once."""
    return TradeRequest(
        request_id=message.request_id,
        source_service=message.source_service,
        input_mint=message.input_token,
        output_mint=message.output_token,
        in_amount=message.amount_lamports,
        max_slippage_bps=message.max_slippage_bps,
        urgency=_URGENCY_FROM_PROTO.get(message.urgency_level, Urgency.NORMAL),
        expected_price=message.expected_price,
        fee_account=message.fee_account if message.HasField("fee_account") else None,
        tracking_account=message.tracking_account if message.HasField("tracking_account") else None,
    )


def result_to_proto(outcome: Outcome) -> pb.TradeResult:
    """Tell an outcome. Figures that a field cannot hold are told as its nearest: the signature must get through."""
    code = outcome.error_code
    return pb.TradeResult(
        request_id=outcome.request_id,
        status=_STATUS_TO_PROTO[outcome.status],
        transaction_signature=outcome.signature,
        executed_amount=_u64(outcome.executed_amount),
        executed_price=0.0 if outcome.executed_price is None else float(outcome.executed_price),
        slippage_bps=_within(outcome.signed_slippage_bps, 0, U32_MAX),
        fees_paid=_u64(outcome.fees_paid_lamports),
        priority_fee=_u64(outcome.priority_fee_lamports),
        execution_time_ms=_u64(_rounded(outcome.execution_ns, NS_PER_MS)),
        error_message=outcome.error_message,
        mev_protected=outcome.mev_protected,
        confirmation_time_ms=_u64(_rounded(outcome.confirmation_ns, NS_PER_MS)),
        error_code="" if code is None else code.name,
        retryable=code is not None and code.facts.retryable,
        error_stage="" if outcome.error_stage is None else outcome.error_stage.value,
        signed_slippage_bps=_within(outcome.signed_slippage_bps, -I32_MAX, I32_MAX),
        rent_lamports=_within(outcome.rent_lamports, -I64_MAX, I64_MAX),
        broadcast_time_us=_u64(_rounded(outcome.broadcast_ns, NS_PER_US)),
        mev_protection=outcome.mev_protection,
        shared_accounts=outcome.shared_accounts,
        slot=_u64(outcome.slot),
        compute_units_consumed=_u64(outcome.units_consumed),
        input_amount=_u64(outcome.input_amount),
        quoted_amount=_u64(outcome.quoted_amount),
        last_valid_block_height=_u64(outcome.last_valid_block_height),
        tip_lamports=_u64(outcome.tip_lamports),
    )


def update_to_proto(update: Update) -> pb.TradeUpdate:
    """Tell a change."""
    return pb.TradeUpdate(
        sequence=_u64(update.sequence),
        state=f"TRADE_STATE_{update.state.name}",
        at_unix_us=_u64(_rounded(update.at_unix_ns, NS_PER_US)),
        result=result_to_proto(update.outcome),
    )


def _rounded(nanoseconds: int, unit: int) -> int:
    return (nanoseconds + unit // 2) // unit


def _u64(value: int) -> int:
    return _within(value, 0, U64_MAX)


def _within(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


def _shown(request: TradeRequest) -> dict[str, object]:
    """A request for the audit trail. Any text may come in, so each is cut."""
    return {
        "request_id": _short(request.request_id),
        "source_service": _short(request.source_service),
        "input_mint": _short(request.input_mint),
        "output_mint": _short(request.output_mint),
        "in_amount": request.in_amount,
        "max_slippage_bps": request.max_slippage_bps,
        "urgency": request.urgency,
        "expected_price": request.expected_price,
        "fee_account": _short(request.fee_account),
        "tracking_account": _short(request.tracking_account),
    }


def _short(text: str | None) -> str | None:
    return text if text is None else text[:MAX_LOGGED_CHARACTERS]

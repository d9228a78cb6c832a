"""The executor's service as callers see it: requests as they were meant, results whole, refusals with their reasons."""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from fractions import Fraction
from functools import partial
from typing import Any

import attrs
import grpc
import pytest
import trio
from attrs import define, field
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import Denied, ErrorCode, FieldProblem, InvalidRequest, Rejected, ReplyStatus, TradeError
from executor.log import Log, NullLog
from executor.model import Outcome, OutcomeStatus, Stage, TradeRequest, Urgency
from executor.rpc import trade_executor_pb2 as pb
from executor.rpc.server import GrpcServer
from executor.rpc.service import TradeExecutorService, request_from_proto, result_to_proto
from executor.rpc.status_reply import status_to_proto
from executor.states import State
from executor.status import (
    BlockhashStatus,
    BreakerCause,
    BreakerState,
    EndpointStatus,
    ErrorCount,
    ErrorRate,
    ExecutorStatus,
    FeeCacheStatus,
    FeePercentile,
    JournalStatus,
    OutcomeCounts,
    StageLatency,
    WalletBalance,
    WalletStatus,
)
from executor.units import MicroLamports
from executor.watching import Update
from tests.rpc.serving import QUICK, SECRET, channel_to, details, in_thread, until
from tests.support.events import RecordedLog

SERVICE = "/trade_executor.v1.TradeExecutor/"

REQUEST = pb.TradeRequest(
    request_id="r-1",
    source_service="momentum",
    input_token="So11111111111111111111111111111111111111112",
    output_token="EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v",
    amount_lamports=1_000_000_000,
    max_slippage_bps=50,
    urgency_level=pb.URGENCY_LEVEL_HIGH,
    expected_price=171.5,
    fee_account="F",
    tracking_account="T",
)

SUCCESS = Outcome(
    request_id="r-1",
    status=OutcomeStatus.SUCCESS,
    signature="5" * 88,
    executed_amount=171_000_000,
    input_amount=1_000_000_000,
    executed_price=Fraction(171),
    signed_slippage_bps=30,
    fees_paid_lamports=15_000,
    priority_fee_lamports=9_000,
    tip_lamports=1_000,
    rent_lamports=2_039_280,
    quoted_amount=171_500_000,
    slot=123,
    units_consumed=80_000,
    last_valid_block_height=456,
    shared_accounts=True,
    mev_protected=True,
    mev_protection="marker",
    execution_ns=1_499_499_999,
    broadcast_ns=49_999_499,
    confirmation_ns=1_400_500_000,
)

STATUS = ExecutorStatus(
    version="0.1",
    uptime_seconds=12.5,
    trading_allowed=False,
    not_allowed_because=("the breaker is open",),
    breaker=BreakerState.OPEN,
    breaker_causes=(BreakerCause(kind="operator", cause="halted", since_unix_ns=1_790_000_000_123_999_999),),
    trades_in_flight=3,
    outcomes=OutcomeCounts(success=1, failed=2, pending=3, refused=4),
    journal=JournalStatus(entries=9, commits=3, waiting=2, problem="no", commit_p50_seconds=0.001, commit_p99_seconds=0.002),
    error_counts=(ErrorCount(code=ErrorCode.PRICE_MOVED, count=7),),
    error_rates=(
        ErrorRate(code=ErrorCode.NODE_UNREACHABLE, source="node n", last_minute=1, last_5_minutes=2, last_hour=9),
        ErrorRate(code=ErrorCode.PRICE_MOVED, source="strategy", last_minute=0, last_5_minutes=3, last_hour=4),
    ),
    stages=(StageLatency(stage=Stage.SIGN, count=9, p50_seconds=0.001, p90_seconds=0.002, p99_seconds=0.003),),
    blockhash=BlockhashStatus(blockhash="B", last_valid_block_height=150, block_height=1, age_seconds=0.4, fresh=True),
    fee_cache=FeeCacheStatus(
        entries=2,
        oldest_age_seconds=3.0,
        percentiles=tuple(FeePercentile(urgency=urgency, price_micro_lamports=MicroLamports(5)) for urgency in Urgency),
    ),
    nodes=(
        EndpointStatus(name="n", endpoint="http://127.0.0.1:8899", healthy=False, problem="behind", age_seconds=math.inf, slot=8),
        EndpointStatus(name="m", endpoint="http://127.0.0.1:8898", healthy=None, age_seconds=math.inf),
    ),
    jupiter=EndpointStatus(name="jupiter", endpoint="https://api.jup.ag", healthy=True, age_seconds=0.25),
    wallet=WalletStatus(address="W", age_seconds=1.0, balances=(WalletBalance(symbol="SOL", mint="So1", amount=5, decimals=9),)),
    untradable_tokens=("BONK does not exist",),
)


def _set_event() -> trio.Event:
    event = trio.Event()
    event.set()
    return event


@define
class Answering:
    """An executor that gives or raises what a test says, and keeps what it was asked."""

    answer: Outcome | Exception = SUCCESS
    release: trio.Event = field(factory=_set_event)
    """`execute` waits for it, and so does the end of `watch`; it is set unless a test says otherwise."""
    updates: Sequence[Update] = ()
    asked: list[TradeRequest | str] = field(factory=list)
    cancelled: int = 0

    async def execute(self, request: TradeRequest) -> Outcome:
        self.asked.append(request)
        try:
            await self.release.wait()
        except trio.Cancelled:
            self.cancelled += 1
            raise
        return self._give()

    async def find(self, request_id: str) -> Outcome:
        self.asked.append(request_id)
        return self._give()

    async def watch(self, request_id: str, *, after_sequence: int) -> AsyncGenerator[Update, None]:
        self.asked.append(f"{request_id} after {after_sequence}")
        for update in self.updates:
            yield update
        try:
            await self.release.wait()
        except trio.Cancelled:
            self.cancelled += 1
            raise
        self._give()

    def status(self) -> ExecutorStatus:
        return STATUS

    async def halt(self, why: str) -> ExecutorStatus:
        return await self._hear("halt", why)

    async def resume(self, why: str) -> ExecutorStatus:
        return await self._hear("resume", why)

    async def _hear(self, word: str, why: str) -> ExecutorStatus:
        self.asked.append(f"{word}: {why}")
        await trio.lowlevel.checkpoint()
        self._give()
        return STATUS

    def _give(self) -> Outcome:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def _exchange(
    executor: Answering, method: str, request: Message, reply: type[Message], log: Log | None = None
) -> Message | grpc.RpcError:
    """Call a method of a service that stands before this executor, with a stock client."""
    logged = log or NullLog()
    server = GrpcServer("127.0.0.1:0", TradeExecutorService(executor, log=logged), log=logged, limits=QUICK)
    async with trio.open_nursery() as nursery:
        address = await nursery.start(server.serve)
        async with channel_to(address) as channel:
            stub = channel.unary_unary(
                SERVICE + method, request_serializer=type(request).SerializeToString, response_deserializer=reply.FromString
            )
            answer: Message | grpc.RpcError = await in_thread(partial(_blocking, stub, request))
        nursery.cancel_scope.cancel()
    return answer


def _blocking(stub: Callable[..., Message], request: Message) -> Message | grpc.RpcError:
    try:
        return stub(request, timeout=5)
    except grpc.RpcError as error:
        return error


async def _ask(executor: Answering, method: str, request: Message, reply: type[Message], log: Log | None = None) -> Message:
    answer = await _exchange(executor, method, request, reply, log)
    assert isinstance(answer, Message), answer
    return answer


async def _refusal(error: Exception, log: Log | None = None) -> grpc.RpcError:
    refused = await _exchange(Answering(error), "ExecuteTradeRequest", REQUEST, pb.TradeResult, log)
    assert isinstance(refused, grpc.RpcError)
    return refused


async def test_a_request_arrives_as_it_was_meant() -> None:
    """Every field of a request reaches the executor."""
    executor = Answering()
    await _ask(executor, "ExecuteTradeRequest", REQUEST, pb.TradeResult)

    assert executor.asked == [
        TradeRequest(
            request_id="r-1",
            source_service="momentum",
            input_mint="So11111111111111111111111111111111111111112",
            output_mint="EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v",
            in_amount=1_000_000_000,
            max_slippage_bps=50,
            urgency=Urgency.HIGH,
            expected_price=171.5,
            fee_account="F",
            tracking_account="T",
        )
    ]


@pytest.mark.parametrize(
    ("level", "urgency"),
    [(0, Urgency.NORMAL), (1, Urgency.LOW), (2, Urgency.NORMAL), (3, Urgency.HIGH), (4, Urgency.CRITICAL), (77, Urgency.NORMAL)],
)
def test_an_unknown_urgency_is_normal(level: int, urgency: Urgency) -> None:
    """Every level has its urgency; what is absent or unknown is NORMAL."""
    message = pb.TradeRequest.FromString(b"\x38" + bytes([level]))

    assert request_from_proto(message).urgency is urgency


def test_absent_accounts_are_not_empty_ones() -> None:
    """An account that is not given is None; one that is given empty is left for the validation to refuse."""
    absent = request_from_proto(pb.TradeRequest())
    empty = request_from_proto(pb.TradeRequest(fee_account="", tracking_account=""))

    assert (absent.fee_account, absent.tracking_account) == (None, None)
    assert (empty.fee_account, empty.tracking_account) == ("", "")


@pytest.mark.parametrize("price", [math.nan, math.inf, -1.0])
def test_a_price_that_is_none_is_left_for_the_validation(price: float) -> None:
    """Whatever double came in is handed on: what is wrong with it is said together with all other wrong fields."""
    assert str(request_from_proto(pb.TradeRequest(expected_price=price)).expected_price) == str(price)


async def test_a_result_is_told_whole() -> None:
    """Every field of an outcome has its place in the result."""
    result = await _ask(Answering(), "ExecuteTradeRequest", REQUEST, pb.TradeResult)

    assert result == pb.TradeResult(
        request_id="r-1",
        status=pb.TRADE_STATUS_SUCCESS,
        transaction_signature="5" * 88,
        executed_amount=171_000_000,
        executed_price=171.0,
        slippage_bps=30,
        fees_paid=15_000,
        priority_fee=9_000,
        execution_time_ms=1_499,
        mev_protected=True,
        confirmation_time_ms=1_401,
        signed_slippage_bps=30,
        rent_lamports=2_039_280,
        broadcast_time_us=49_999,
        mev_protection="marker",
        shared_accounts=True,
        slot=123,
        compute_units_consumed=80_000,
        input_amount=1_000_000_000,
        quoted_amount=171_500_000,
        last_valid_block_height=456,
        tip_lamports=1_000,
    )


def test_a_failure_is_told_with_its_reason() -> None:
    """A failed outcome has code, sentence, stage and whether a new request may help; a better price is no shortfall."""
    failed = Outcome(
        request_id="r-1",
        status=OutcomeStatus.FAILED,
        signed_slippage_bps=-20,
        error_code=ErrorCode.SLIPPAGE_EXCEEDED,
        error_message="the price moved",
        error_stage=Stage.SIMULATE,
    )

    assert result_to_proto(failed) == pb.TradeResult(
        request_id="r-1",
        status=pb.TRADE_STATUS_FAILED,
        signed_slippage_bps=-20,
        error_code="SLIPPAGE_EXCEEDED",
        error_message="the price moved",
        error_stage="simulate",
        retryable=True,
    )


def test_a_pending_trade_is_told_with_its_signature() -> None:
    """PENDING has the signature; what is not known is absent or zero."""
    pending = Outcome(request_id="r-1", status=OutcomeStatus.PENDING, signature="s", error_code=ErrorCode.CONFIRMATION_TIMEOUT)
    result = result_to_proto(pending)

    assert (result.status, result.transaction_signature, result.retryable) == (pb.TRADE_STATUS_PENDING, "s", False)
    assert not result.HasField("error_message")
    assert not result_to_proto(attrs.evolve(pending, signature=None)).HasField("transaction_signature")


_FIGURES = [a.name for a in attrs.fields(Outcome) if a.type is int or a.name.endswith("_lamports")]


@given(st.fixed_dictionaries({name: st.integers(min_value=-(2**70), max_value=2**70) for name in _FIGURES}))
def test_no_figure_loses_a_signature(figures: dict[str, Any]) -> None:
    """Whatever figures an outcome has, even impossible ones, the signature gets through."""
    outcome = attrs.evolve(SUCCESS, signature="s", **figures)

    assert pb.TradeResult.FromString(result_to_proto(outcome).SerializeToString()).transaction_signature == "s"


REFUSALS = [code for code in ErrorCode if code.facts.reply_status is not None]


@pytest.mark.parametrize("code", REFUSALS, ids=lambda code: code.name)
async def test_every_refusal_has_its_status_and_details(code: ErrorCode) -> None:
    """A refusal is its code's status, with the code and figures in ErrorInfo, and RetryInfo where it passes by itself."""
    error = await _refusal(Denied(code, "the reason", limit=5, mint="M"))
    info, *others = details(error)
    status = code.facts.reply_status

    assert status is not None
    assert (error.code().name, error.details()) == (status.name, "the reason")
    expected = {"limit": "5", "mint": "M"}
    assert info == error_details_pb2.ErrorInfo(reason=code.name, domain="executor", metadata=expected)
    passing = code.facts.retryable and status in (ReplyStatus.RESOURCE_EXHAUSTED, ReplyStatus.UNAVAILABLE)
    assert [type(detail).__name__ for detail in others] == (["RetryInfo"] if passing else [])


@pytest.mark.parametrize(("figure", "told"), [(0.25, (0, 250_000_000)), (90.5, (90, 500_000_000)), ("2.5", (2, 500_000_000))])
async def test_a_refusal_that_knows_its_end_tells_when_to_come_back(figure: object, told: tuple[int, int]) -> None:
    """In RetryInfo, to the nanosecond; also of a refusal that stood in the journal, where figures are text."""
    error = await _refusal(Denied(ErrorCode.RATE_EXCEEDED, "too fast", retry_after_seconds=figure))
    _, retry = details(error)

    assert (retry.retry_delay.seconds, retry.retry_delay.nanos) == told


@pytest.mark.parametrize(("method", "word"), [("HaltTrading", "halt"), ("ResumeTrading", "resume")])
async def test_an_operators_word_is_passed_on(method: str, word: str) -> None:
    """As it came; the answer is the status, or the refusal."""
    request = pb.HaltTradingRequest if word == "halt" else pb.ResumeTradingRequest
    executor = Answering()
    status = await _ask(executor, method, request(why="the feed is down"), pb.ExecutorStatus)
    executor.answer = InvalidRequest([FieldProblem("why", "is empty")])
    refused = await _exchange(executor, method, request(), pb.ExecutorStatus)

    assert isinstance(status, pb.ExecutorStatus)
    assert [cause.kind for cause in status.breaker_causes] == ["operator"]
    assert executor.asked == [f"{word}: the feed is down", f"{word}: "]
    assert isinstance(refused, grpc.RpcError)
    assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in details(refused)[1].field_violations] == ["why"]


async def test_an_invalid_request_names_every_wrong_field() -> None:
    """INVALID_ARGUMENT has a violation for each wrong field."""
    error = await _refusal(InvalidRequest([FieldProblem("request_id", "is empty"), FieldProblem("input_token", "is no mint")]))
    _, bad = details(error)

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [(found.field, found.description) for found in bad.field_violations] == [
        ("request_id", "is empty"),
        ("input_token", "is no mint"),
    ]


async def test_long_figures_are_cut() -> None:
    """A figure that is too long for a trailer is cut, not the details with it."""
    (info,) = details(await _refusal(Denied(ErrorCode.PRICE_MOVED, "m", note="x" * 5_000)))

    assert info.metadata["note"] == "x" * 200


@pytest.mark.parametrize(
    ("error", "event"),
    [(Rejected(ErrorCode.NODE_REFUSED, SECRET), "rpc.outcome_raised"), (ValueError(SECRET), "rpc.handler_failed")],
)
async def test_what_should_not_have_been_raised_is_internal(error: Exception, event: str) -> None:
    """An error that had to be an outcome, or any other bug, tells the caller nothing; the log has it."""
    log = RecordedLog()
    refused = await _refusal(error, log)

    assert (refused.code(), refused.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    assert SECRET not in str(refused.trailing_metadata())
    assert len(log.named(event)) == 1
    assert [fields["code"] for fields in log.named("rpc.reply")] == ["INTERNAL"]


async def test_a_trade_is_found_by_its_request_id() -> None:
    """GetTrade asks for the id, and answers as the call itself would have."""
    executor = Answering()
    result = await _ask(executor, "GetTrade", pb.GetTradeRequest(request_id="r-1"), pb.TradeResult)

    assert executor.asked == ["r-1"]
    assert result == result_to_proto(SUCCESS)


async def test_a_trade_that_is_unknown_is_not_found() -> None:
    """GetTrade of an id that was never accepted is NOT_FOUND."""
    unknown: TradeError = Denied(ErrorCode.REQUEST_NOT_FOUND, "never accepted")
    refused = await _exchange(Answering(unknown), "GetTrade", pb.GetTradeRequest(request_id="r-2"), pb.TradeResult)

    assert isinstance(refused, grpc.RpcError)
    assert refused.code() is grpc.StatusCode.NOT_FOUND


def _update(sequence: int, state: State) -> Update:
    return Update(sequence=sequence, state=state, at_unix_ns=1_790_000_000_000_000_500 + sequence, outcome=SUCCESS)


@asynccontextmanager
async def _watchable(executor: Answering, log: Log, **limits: int) -> AsyncIterator[tuple[GrpcServer, Any]]:
    """A server before this executor, and the stub of WatchTrade."""
    server = GrpcServer("127.0.0.1:0", TradeExecutorService(executor, log=log, **limits), log=log, limits=QUICK)
    async with trio.open_nursery() as nursery:
        address = await nursery.start(server.serve)
        async with channel_to(address) as channel:
            serialize, parse = pb.WatchTradeRequest.SerializeToString, pb.TradeUpdate.FromString
            yield server, channel.unary_stream(SERVICE + "WatchTrade", serialize, parse)
        nursery.cancel_scope.cancel()


def _seen(stub: Any, request: pb.WatchTradeRequest) -> tuple[list[pb.TradeUpdate], grpc.StatusCode]:
    """Read a stream to its end."""
    stream = stub(request, timeout=5)
    seen: list[pb.TradeUpdate] = []
    with suppress(grpc.RpcError):  # `code` tells it
        seen.extend(stream)
    return seen, stream.code()


async def test_every_change_of_a_trade_is_told() -> None:
    """WatchTrade hands on what was seen; each change has its sequence, state, time and result; then the stream ends with OK."""
    executor = Answering(updates=[_update(number, state) for number, state in enumerate(State, 1)])
    log = RecordedLog()
    async with _watchable(executor, log) as (_, stub):
        request = pb.WatchTradeRequest(request_id="r-1", after_sequence=7)
        seen, code = await in_thread(lambda: _seen(stub, request))

    assert code is grpc.StatusCode.OK
    assert executor.asked == ["r-1 after 7"]
    assert [(u.sequence, pb.TradeState.Name(u.state)) for u in seen] == [
        (number, f"TRADE_STATE_{state.name}") for number, state in enumerate(State, 1)
    ]
    assert seen[0].at_unix_us == 1_790_000_000_000_001
    assert seen[0].result == result_to_proto(SUCCESS)
    (reply,) = log.named("rpc.reply")
    assert (reply["code"], reply["signature"]) == ("OK", "5" * 88)


async def test_a_sequence_that_no_journal_has_is_a_late_one() -> None:
    """The largest number of the wire does not fit into the journal's integers, and is asked for as their largest."""
    executor = Answering()
    async with _watchable(executor, NullLog()) as (_, stub):
        request = pb.WatchTradeRequest(request_id="r-1", after_sequence=2**64 - 1)
        _, code = await in_thread(lambda: _seen(stub, request))

    assert (code, executor.asked) == (grpc.StatusCode.OK, [f"r-1 after {2**63 - 1}"])


async def test_a_watch_of_what_is_unknown_is_not_found() -> None:
    """What the executor refuses is the stream's status."""
    log = RecordedLog()
    async with _watchable(Answering(Denied(ErrorCode.REQUEST_NOT_FOUND, "never accepted")), log) as (_, stub):
        _, code = await in_thread(lambda: _seen(stub, pb.WatchTradeRequest(request_id="r-2")))

    assert code is grpc.StatusCode.NOT_FOUND
    assert [reply["code"] for reply in log.named("rpc.reply")] == ["NOT_FOUND"]


async def test_watches_are_bounded_and_leave_no_trace() -> None:
    """One too many is refused; a watcher that leaves ends its watch, and makes room for the next one."""
    log = RecordedLog()
    executor = Answering(updates=[_update(1, State.ACCEPTED)], release=trio.Event())
    async with _watchable(executor, log, max_watches=1) as (_, stub):
        request = pb.WatchTradeRequest(request_id="r-1")
        first = stub(request, timeout=5)
        assert (await in_thread(lambda: next(first))).sequence == 1
        _, refused = await in_thread(lambda: _seen(stub, request))
        first.cancel()
        await until(lambda: executor.cancelled == 1)
        executor.release.set()
        await until(lambda: len(log.named("rpc.reply")) == 2)
        seen, code = await in_thread(lambda: _seen(stub, request))

    assert refused is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (len(seen), code) == (1, grpc.StatusCode.OK)
    assert sorted(str(reply["code"]) for reply in log.named("rpc.reply")) == ["CANCELLED", "OK", "RESOURCE_EXHAUSTED"]


async def test_a_drain_ends_watches() -> None:
    """They have no end of their own that a shutdown could wait for: UNAVAILABLE, with the reason; what was told stays."""
    executor = Answering(updates=[_update(1, State.ACCEPTED)], release=trio.Event())
    async with _watchable(executor, NullLog()) as (server, stub):
        stream = stub(pb.WatchTradeRequest(request_id="r-1"), timeout=5)
        assert (await in_thread(lambda: next(stream))).sequence == 1
        assert await server.drain(1.0)
        with pytest.raises(grpc.RpcError) as ended:
            await in_thread(lambda: next(stream))

    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert details(ended.value)[0].reason == "EXECUTOR_DRAINING"
    assert executor.cancelled == 1


async def test_a_watch_that_begins_in_a_drain_is_told_what_is_known() -> None:
    """It does not wait: a client that takes its stream up again at the last moment still learns how its trade ended."""
    executor = Answering(updates=[_update(1, State.SUCCEEDED)], release=trio.Event())
    service = TradeExecutorService(executor, log=NullLog())
    service.end_streams()
    server = GrpcServer("127.0.0.1:0", service, log=NullLog(), limits=QUICK)
    async with trio.open_nursery() as nursery:
        address = await nursery.start(server.serve)
        async with channel_to(address) as channel:
            serialize, parse = pb.WatchTradeRequest.SerializeToString, pb.TradeUpdate.FromString
            stub = channel.unary_stream(SERVICE + "WatchTrade", serialize, parse)
            seen, code = await in_thread(lambda: _seen(stub, pb.WatchTradeRequest(request_id="r-1")))
        nursery.cancel_scope.cancel()

    assert [update.sequence for update in seen] == [1]
    assert code is grpc.StatusCode.UNAVAILABLE


async def test_the_status_is_told_whole() -> None:
    """Every part of the status has its place in the reply."""
    status = await _ask(Answering(), "GetExecutorStatus", pb.Empty(), pb.ExecutorStatus)

    assert status == pb.ExecutorStatus(
        version="0.1",
        uptime_ms=12_500,
        trading_allowed=False,
        not_allowed_because=["the breaker is open"],
        breaker=pb.BREAKER_STATE_OPEN,
        breaker_causes=[pb.BreakerCause(kind="operator", cause="halted", since_unix_ms=1_790_000_000_123)],
        trades_in_flight=3,
        outcomes=pb.OutcomeCounts(success=1, failed=2, pending=3, refused=4),
        error_counts={"PRICE_MOVED": 7},
        error_rates=[
            pb.ErrorRate(error_code="NODE_UNREACHABLE", source="node n", last_minute=1, last_5_minutes=2, last_hour=9),
            pb.ErrorRate(error_code="PRICE_MOVED", source="strategy", last_5_minutes=3, last_hour=4),
        ],
        stages=[pb.StageLatency(stage="sign", count=9, p50_ms=1.0, p90_ms=2.0, p99_ms=3.0)],
        blockhash=pb.BlockhashStatus(blockhash="B", last_valid_block_height=150, block_height=1, age_ms=400, fresh=True),
        fee_cache=pb.FeeCacheStatus(
            entries=2,
            oldest_age_ms=3_000,
            percentiles=[
                pb.FeePercentile(urgency_level=pb.UrgencyLevel.Name(level), price_micro_lamports=5) for level in (1, 2, 3, 4)
            ],
        ),
        nodes=[
            pb.EndpointStatus(name="n", endpoint="http://127.0.0.1:8899", healthy=False, problem="behind", slot=8),
            pb.EndpointStatus(name="m", endpoint="http://127.0.0.1:8898"),
        ],
        jupiter=pb.EndpointStatus(name="jupiter", endpoint="https://api.jup.ag", healthy=True, age_ms=250),
        wallet=pb.WalletStatus(
            address="W", age_ms=1_000, balances=[pb.WalletBalance(symbol="SOL", mint="So1", amount=5, decimals=9)]
        ),
        untradable_tokens=["BONK does not exist"],
        journal=pb.JournalStatus(entries=9, commits=3, waiting=2, problem="no", commit_p50_ms=1.0, commit_p99_ms=2.0),
    )


@pytest.mark.parametrize("state", BreakerState)
def test_what_is_not_known_yet_is_absent(state: BreakerState) -> None:
    """A daemon that has just started tells what it knows."""
    young = attrs.evolve(STATUS, breaker=state, blockhash=None, fee_cache=None, jupiter=None, wallet=None)
    reply = status_to_proto(young)

    assert pb.BreakerState.Name(reply.breaker) == f"BREAKER_STATE_{state.name}"
    assert not any(reply.HasField(part) for part in ("blockhash", "fee_cache", "jupiter", "wallet"))


def test_an_age_that_is_not_known_is_no_number() -> None:
    """Nothing that was never read or asked has an age, and whoever was never asked is not called healthy, nor unhealthy."""
    unknown = EndpointStatus(name="jupiter", endpoint="https://api.jup.ag", healthy=None, age_seconds=math.inf)
    reply = status_to_proto(
        attrs.evolve(
            STATUS,
            jupiter=unknown,
            fee_cache=FeeCacheStatus(entries=0, oldest_age_seconds=math.inf),
            wallet=WalletStatus(address="W", age_seconds=math.inf),
        )
    )

    assert not any(reply.jupiter.HasField(field) for field in ("healthy", "age_ms"))
    assert not reply.fee_cache.HasField("oldest_age_ms")
    assert not reply.wallet.HasField("age_ms")


def test_an_age_of_nothing_is_a_number() -> None:
    """What was read just now is known, and so is that an endpoint fails."""
    failing = EndpointStatus(name="jupiter", endpoint="https://api.jup.ag", healthy=False, problem="x", age_seconds=0.0)
    reply = status_to_proto(attrs.evolve(STATUS, jupiter=failing))

    assert all(reply.jupiter.HasField(field) for field in ("healthy", "age_ms"))


async def test_every_request_and_reply_is_logged() -> None:
    """The audit trail has a line for each request with what was asked, and one for each reply with how it ended."""
    log = RecordedLog()
    await _ask(Answering(), "ExecuteTradeRequest", REQUEST, pb.TradeResult, log)
    await _refusal(Denied(ErrorCode.TRADING_HALTED, "halted"), log)
    asked, _ = log.named("rpc.request")
    told, refused = log.named("rpc.reply")

    assert {name: asked[name] for name in ("method", "request_id", "in_amount", "urgency", "fee_account")} == {
        "method": "ExecuteTradeRequest",
        "request_id": "r-1",
        "in_amount": 1_000_000_000,
        "urgency": Urgency.HIGH,
        "fee_account": "F",
    }
    assert (told["code"], told["signature"], told["request_id"]) == ("OK", "5" * 88, "r-1")
    assert (refused["code"], refused["error_code"]) == ("UNAVAILABLE", "TRADING_HALTED")


async def test_what_is_logged_is_cut() -> None:
    """A caller cannot fill the log with long texts."""
    log = RecordedLog()
    request = pb.TradeRequest(request_id="x" * 50_000, input_token="y" * 10_000)
    await _ask(Answering(), "ExecuteTradeRequest", request, pb.TradeResult, log)

    assert len(repr(log.events)) < 5_000


async def test_a_caller_that_leaves_ends_only_its_wait() -> None:
    """When the caller gives up, the wait is cancelled and the log says so; the executor is asked once and told nothing."""
    log = RecordedLog()
    executor = Answering(release=trio.Event())
    server = GrpcServer("127.0.0.1:0", TradeExecutorService(executor, log=log), log=log, limits=QUICK)
    async with trio.open_nursery() as nursery:
        address = await nursery.start(server.serve)
        async with channel_to(address) as channel:
            stub = channel.unary_unary(SERVICE + "ExecuteTradeRequest", pb.TradeRequest.SerializeToString, None)
            future = stub.future(REQUEST)
            await until(lambda: len(executor.asked) == 1)
            future.cancel()
            await until(lambda: executor.cancelled == 1)
        nursery.cancel_scope.cancel()

    assert [fields["code"] for fields in log.named("rpc.reply")] == ["CANCELLED"]

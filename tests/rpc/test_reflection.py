"""Server reflection, asked by grpcio's own client of v1alpha, and in the messages of v1."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import grpc
import pytest
import trio
from attrs import define
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from hypothesis import given
from hypothesis import strategies as st

from executor.log import NullLog
from executor.rpc import health_pb2, reflection, reflection_v1_pb2, reflection_v1alpha_pb2, trade_executor_pb2
from executor.rpc.calls import Lasting
from executor.rpc.health import HealthService
from executor.rpc.reflection import Files, answer, reflection_services
from executor.rpc.rpc_status import RpcCode
from executor.rpc.server import GrpcServer
from tests.rpc.serving import CALL_SECONDS, QUICK, Probe, call, channel_to, in_thread

TRADE_FILE = "executor/rpc/trade_executor.proto"
SERVED = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "trade_executor.v1.TradeExecutor",
]
VERSIONS = {"v1": reflection_v1_pb2, "v1alpha": reflection_v1alpha_pb2}
pb = reflection_v1_pb2


@define
class Reflecting:
    """A server that tells of itself."""

    address: str
    server: GrpcServer


@asynccontextmanager
async def reflecting() -> AsyncIterator[Reflecting]:
    """Serve what the daemon does, with a Probe in the trade service's place."""
    services = reflection_services(trade_executor_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR)
    server = GrpcServer("127.0.0.1:0", Probe(), HealthService({}), *services, log=NullLog(), limits=QUICK)
    async with trio.open_nursery() as nursery:
        yield Reflecting(await nursery.start(server.serve), server)
        nursery.cancel_scope.cancel()


def converse(channel: grpc.Channel, version: str, requests: Iterator[Any], messages: ModuleType) -> Any:
    """Begin a conversation; returns its answers, which block."""
    method = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=messages.ServerReflectionResponse.FromString,
    )
    return method(requests, timeout=CALL_SECONDS)


async def test_a_stock_client_learns_every_service_and_its_messages() -> None:
    """grpcio's database of descriptors, filled over the wire, describes services and error details as their protos do."""

    def learn(channel: grpc.Channel) -> tuple[list[str], Any, list[Any]]:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        found = [pool.FindMessageTypeByName(name) for name in ("grpc.health.v1.HealthCheckRequest", "google.rpc.RetryInfo")]
        return list(database.get_services()), pool.FindServiceByName(SERVED[3]), found

    async with reflecting() as served, channel_to(served.address) as channel:
        services, trade, found = await in_thread(lambda: learn(channel))

    assert services == SERVED
    assert [method.name for method in trade.methods] == [
        method.name for method in trade_executor_pb2.DESCRIPTOR.services_by_name["TradeExecutor"].methods
    ]
    amount = trade.methods_by_name["ExecuteTradeRequest"].input_type.fields_by_name["amount_lamports"]
    assert (amount.number, amount.type) == (5, amount.TYPE_UINT64)
    assert [field.name for message in found for field in message.fields] == ["service", "retry_delay"]


async def test_a_stock_client_is_told_what_is_unknown() -> None:
    """For a name that is not served the stock client has a KeyError, or None for an extension."""

    def ask(channel: grpc.Channel) -> Iterator[bool]:
        database = ProtoReflectionDescriptorDatabase(channel)
        questions: list[Callable[[], Any]] = [
            lambda: database.FindFileByName("no.proto"),
            lambda: database.FindFileContainingSymbol("no.Symbol"),
            lambda: database.FindFileContainingExtension("trade_executor.v1.Empty", 7),
            lambda: database.FindAllExtensionNumbers("no.Message"),
        ]
        for question in questions:
            try:
                yield question() is None
            except KeyError:
                yield True

    async with reflecting() as served, channel_to(served.address) as channel:
        assert await in_thread(lambda: list(ask(channel))) == [True] * 4


@pytest.mark.parametrize("version", VERSIONS)
async def test_both_versions_answer_a_conversation(version: str) -> None:
    """Requests of one conversation are answered in order, each with its host and itself; an error does not end it."""
    messages: Any = VERSIONS[version]
    request = messages.ServerReflectionRequest
    asked = [
        request(host="h", list_services="x"),
        request(file_by_filename="no.proto"),
        request(file_by_filename=TRADE_FILE),
        request(),
    ]
    async with reflecting() as served, channel_to(served.address) as channel:
        answers = await in_thread(lambda: list(converse(channel, version, iter(asked), messages)))

    assert [one.original_request for one in answers] == asked
    assert answers[0].valid_host == "h"
    assert [service.name for service in answers[0].list_services_response.service] == SERVED
    assert answers[1].error_response.error_code == RpcCode.NOT_FOUND
    assert FileDescriptorProto.FromString(answers[2].file_descriptor_response.file_descriptor_proto[0]).name == TRADE_FILE
    assert answers[3].error_response.error_code == RpcCode.INVALID_ARGUMENT


FILES = Files([trade_executor_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR])


@pytest.mark.parametrize(
    "symbol",
    [
        "TradeExecutor",
        "TradeExecutor.GetTrade",
        "TradeRequest",
        "TradeRequest.request_id",
        "TradeRequest._fee_account",
        "ExecutorStatus.ErrorCountsEntry",
        "ExecutorStatus.ErrorCountsEntry.key",
        "TradeStatus",
        "TRADE_STATUS_PENDING",
    ],
)
def test_every_kind_of_symbol_is_found(symbol: str) -> None:
    """Services, methods, messages, fields, oneofs, enums and their values are known by their full names."""
    assert FILES.defining(f"trade_executor.v1.{symbol}").name == TRADE_FILE


def test_symbols_within_a_message_are_found() -> None:
    """The values of an enum that stands in a message are named beside it."""
    inner = "grpc.health.v1.HealthCheckResponse"
    assert {FILES.defining(f"{inner}.{name}").name for name in ("ServingStatus", "SERVING")} == {"grpc/health/v1/health.proto"}


@pytest.mark.parametrize("symbol", ["", ".", "trade_executor.v1", ".trade_executor.v1.Empty", "google.rpc.ErrorInfo"])
def test_what_is_not_served_is_not_told(symbol: str) -> None:
    """Packages, other spellings, and files that the process has loaded for itself are unknown."""
    with pytest.raises(KeyError):
        FILES.defining(symbol)


def _files_with_extensions() -> Files:
    """A message that may be extended, in a file that another one imports; that one extends it by 100 and 200."""
    base = FileDescriptorProto(name="base.proto", package="t", syntax="proto2")
    base.message_type.add(name="Base").extension_range.add(start=100, end=300)
    top = FileDescriptorProto(name="top.proto", package="t", syntax="proto2", dependency=["base.proto"])
    scope = top.message_type.add(name="Scope")
    kinds: dict[str, Any] = {"type": FieldDescriptorProto.TYPE_INT32, "label": FieldDescriptorProto.LABEL_OPTIONAL}
    kinds["extendee"] = ".t.Base"
    top.extension.add(name="one", number=200, **kinds)
    scope.extension.add(name="two", number=100, **kinds)
    stranger = FileDescriptorProto(name="stranger.proto", package="t", syntax="proto2", dependency=["base.proto"])
    stranger.extension.add(name="three", number=250, **kinds)
    pool = DescriptorPool()
    for file in (base, top, stranger):
        pool.AddSerializedFile(file.SerializeToString())
    return Files([pool.FindFileByName("top.proto")])


def test_extensions_are_told() -> None:
    """Their numbers, and the file of each with what it imports; those of files that are not served are not."""
    files = _files_with_extensions()
    one = pb.ServerReflectionRequest(
        file_containing_extension=pb.ExtensionRequest(containing_type="t.Base", extension_number=100)
    )
    told = answer(one, files).file_descriptor_response.file_descriptor_proto
    numbers = answer(pb.ServerReflectionRequest(all_extension_numbers_of_type="t.Base"), files).all_extension_numbers_response

    assert [FileDescriptorProto.FromString(file).name for file in told] == ["top.proto", "base.proto"]
    assert (numbers.base_type_name, list(numbers.extension_number)) == ("t.Base", [100, 200])
    assert {files.defining(name).name for name in ("t.one", "t.Scope.two")} == {"top.proto"}


def test_a_message_without_extensions_has_none() -> None:
    """No numbers are an answer; a number that is not among them is NOT_FOUND."""
    name = "trade_executor.v1.Empty"
    none = answer(pb.ServerReflectionRequest(all_extension_numbers_of_type=name), FILES)
    one = pb.ExtensionRequest(containing_type=name, extension_number=5)

    assert none.all_extension_numbers_response == pb.ExtensionNumberResponse(base_type_name=name)
    assert answer(pb.ServerReflectionRequest(file_containing_extension=one), FILES).error_response.error_code == RpcCode.NOT_FOUND


names = st.one_of(st.text(), st.sampled_from([*SERVED, TRADE_FILE, "trade_executor.v1.Empty"]))


@given(
    st.one_of(
        st.builds(pb.ServerReflectionRequest, host=names),
        st.builds(pb.ServerReflectionRequest, list_services=names),
        st.builds(pb.ServerReflectionRequest, file_by_filename=names),
        st.builds(pb.ServerReflectionRequest, file_containing_symbol=names),
        st.builds(pb.ServerReflectionRequest, all_extension_numbers_of_type=names),
        st.builds(
            pb.ServerReflectionRequest,
            file_containing_extension=st.builds(
                pb.ExtensionRequest, containing_type=names, extension_number=st.integers(-(2**31), 2**31 - 1)
            ),
        ),
    )
)
def test_every_request_has_an_answer(request: pb.ServerReflectionRequest) -> None:
    """Whatever is asked for is told or refused, and the answer repeats the question."""
    reply = answer(request, FILES)

    assert reply.WhichOneof("message_response") is not None
    assert reply.original_request == request


async def test_conversations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many at a time is RESOURCE_EXHAUSTED, and a silent one ends: neither keeps calls from being taken."""
    monkeypatch.setattr(reflection, "REQUEST_SECONDS", 0.2)
    async with reflecting() as served, channel_to(served.address) as channel:
        release = threading.Event()
        conversations = [converse(channel, "v1", _silent(release), pb) for _ in range(reflection.MAX_CONVERSATIONS)]
        await in_thread(lambda: [next(one) for one in conversations])
        refused = await _end(converse(channel, "v1", _silent(release), pb))
        assert await call(channel, "Echo") == "x"
        ends = [await _end(one) for one in conversations]
        release.set()

    assert refused is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert set(ends) == {grpc.StatusCode.DEADLINE_EXCEEDED}


async def test_a_conversation_does_not_hold_up_the_end() -> None:
    """One that waits for its caller is ended by a drain, and so is one that comes late."""
    async with reflecting() as served, channel_to(served.address) as channel:
        release = threading.Event()
        waiting = converse(channel, "v1", _silent(release), pb)
        await in_thread(lambda: next(waiting))
        with trio.fail_after(2):
            assert await served.server.drain(60.0) is True
        release.set()

        assert await _end(waiting) is grpc.StatusCode.UNAVAILABLE


async def test_a_conversation_that_begins_at_the_end_is_refused() -> None:
    """Once the streams were ended no other begins."""
    first, *_ = reflection_services(trade_executor_pb2.DESCRIPTOR)
    assert isinstance(first, Lasting)
    first.end_streams()
    server = GrpcServer("127.0.0.1:0", first, log=NullLog(), limits=QUICK)
    async with trio.open_nursery() as nursery:
        async with channel_to(await nursery.start(server.serve)) as channel:
            assert await _end(converse(channel, "v1", iter([]), pb)) is grpc.StatusCode.UNAVAILABLE
        nursery.cancel_scope.cancel()


def _silent(release: threading.Event) -> Iterator[Any]:
    """A caller that asks once and then says nothing."""
    yield pb.ServerReflectionRequest(list_services="")
    release.wait(10)


async def _end(conversation: Any) -> grpc.StatusCode:
    """How a conversation ends, after what it still tells."""
    try:
        await in_thread(lambda: list(conversation))
    except grpc.RpcError as error:
        return error.code()
    raise AssertionError("it ended well")

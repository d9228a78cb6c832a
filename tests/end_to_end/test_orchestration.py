"""The daemon as an orchestrator and a curious operator see it: health and reflection, asked by gRPC's own clients."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from solders.keypair import Keypair

from executor.cli.client import connect
from executor.rpc import trade_executor_pb2 as pb
from tests.support.callers import make_request
from tests.support.localnet import Localnet
from tests.support.processes import DaemonProcess, daemon_process
from tests.support.settings import Place
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

TRADING = "trade_executor.v1.TradeExecutor"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def _check(daemon: DaemonProcess, service: str) -> int:
    """The health of a service."""
    stub = health_pb2_grpc.HealthStub(daemon.caller.channel)
    status: int = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status
    return status


def _watch(daemon: DaemonProcess, service: str) -> Iterator[int]:
    """The health of a service now, then at every change, until the daemon ends it."""
    stub = health_pb2_grpc.HealthStub(daemon.caller.channel)
    try:
        for answer in stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=60):
            yield answer.status
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - what a generator raises ends the test just as well


def test_a_halt_is_told_and_the_process_is_well(chain: Localnet, wallet: Keypair, place: Place) -> None:
    """While trading is halted the trade service is NOT_SERVING and the process is SERVING; afterwards both serve."""
    with daemon_process(place, wallet) as daemon:
        watch = _watch(daemon, TRADING)
        assert next(watch) == SERVING
        with connect(daemon.address) as operator:
            operator.halt("maintenance", timeout_seconds=5)
        assert next(watch) == NOT_SERVING
        assert [_check(daemon, ""), _check(daemon, TRADING)] == [SERVING, NOT_SERVING]
        assert not daemon.caller.status().trading_allowed
        with connect(daemon.address) as operator:
            operator.resume("it is done", timeout_seconds=5)
        assert next(watch) == SERVING


def test_the_end_is_told_first_and_the_last_trade_is_answered(chain: Localnet, wallet: Keypair, place: Place) -> None:
    """At SIGTERM all is NOT_SERVING while a trade that was sent still resolves; then the watch ends and the process with 0."""
    with daemon_process(place, wallet, confirmation={"resend_seconds": 60.0}) as daemon, ThreadPoolExecutor(1) as callers:
        watch = _watch(daemon, "")
        assert next(watch) == SERVING
        chain.order("late-landing", target="node", operation="sendTransaction", count=8, slots=50)
        trade = callers.submit(daemon.caller.execute, make_request("last", "SOL", "USDC", 0.1))
        wait_until(lambda: daemon.events("send.answered"), "it is sent")
        daemon.process.terminate()
        assert next(watch) == NOT_SERVING
        assert not trade.done()
        assert _check(daemon, TRADING) == NOT_SERVING
        assert daemon.caller.get("last").status == pb.TRADE_STATUS_PENDING
        assert trade.result().status == pb.TRADE_STATUS_SUCCESS
        assert list(watch) == []
        assert daemon.ended() == 0


def test_a_caller_needs_no_proto(chain: Localnet, wallet: Keypair, place: Place) -> None:
    """Whoever knows only the address learns services and messages from the daemon, as grpcurl does."""
    with daemon_process(place, wallet) as daemon:
        database = ProtoReflectionDescriptorDatabase(daemon.caller.channel)
        trading = DescriptorPool(database).FindServiceByName(TRADING)
        services = list(database.get_services())

    assert TRADING in services
    assert "grpc.health.v1.Health" in services
    expected = pb.DESCRIPTOR.services_by_name["TradeExecutor"]
    assert [method.name for method in trading.methods] == [method.name for method in expected.methods]

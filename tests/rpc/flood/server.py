"""The daemon's gRPC edge as `executor serve` has it, above a desk that answers at once: `python -m tests.rpc.flood.server`.

So what a caller measures is the edge and nothing else. One method more tells what the process holds.
"""

import gc
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator
from typing import Any

import attrs
import purerpc
import trio
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct

from executor.log import make_log
from executor.model import Outcome, OutcomeStatus, TradeRequest
from executor.rpc import health_pb2, trade_executor_pb2
from executor.rpc.health import HealthService
from executor.rpc.pauses import shorten_pauses
from executor.rpc.reflection import reflection_services
from executor.rpc.server import GrpcServer
from executor.rpc.service import TradeExecutorService
from executor.status import ExecutorStatus
from executor.watching import Update

TRADING = "trade_executor.v1.TradeExecutor"


class Desk:
    """Answers every request with a success."""

    async def execute(self, request: TradeRequest) -> Outcome:
        await trio.lowlevel.checkpoint()
        return Outcome(request_id=request.request_id, status=OutcomeStatus.SUCCESS, signature="5" * 88)

    async def find(self, request_id: str) -> Outcome:
        await trio.lowlevel.checkpoint()
        return Outcome(request_id=request_id, status=OutcomeStatus.PENDING)

    def watch(self, request_id: str, *, after_sequence: int) -> AsyncGenerator[Update, None]:
        raise NotImplementedError

    def status(self) -> ExecutorStatus:
        raise NotImplementedError

    async def halt(self, why: str) -> ExecutorStatus:
        raise NotImplementedError

    async def resume(self, why: str) -> ExecutorStatus:
        raise NotImplementedError


@attrs.define
class Inspection:
    """Tells what the process holds."""

    server: GrpcServer | None = None

    @property
    def service(self) -> Any:
        service = purerpc.Service("test.v1.Inspection")
        service.add_method("Figures", self.figures, purerpc.RPCSignature(purerpc.Cardinality.UNARY_UNARY, Empty, Struct))
        return service

    async def figures(self, _message: Empty) -> Struct:
        assert self.server is not None
        gc.collect()
        figures = Struct()
        figures.update(
            {
                "tasks": trio.lowlevel.current_statistics().tasks_living,
                "descriptors": len(os.listdir("/proc/self/fd")),
                "objects": len(gc.get_objects()),
                "resident_kib": _resident_kib(),
                "connections": self.server.connections,
                "calls": self.server.calls_in_flight,
            }
        )
        return figures


def _resident_kib() -> int:
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith("VmRSS:"))
    return int(line.split()[1])


async def main() -> None:
    """Print the address and serve until SIGTERM."""
    log = make_log(stream=sys.stderr, level="info", now_ns=time.time_ns)
    inspection = Inspection()
    reflection = reflection_services(trade_executor_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR)
    trading = TradeExecutorService(Desk(), log=log)
    server = GrpcServer("127.0.0.1:0", trading, HealthService({TRADING: lambda: True}), *reflection, inspection, log=log)
    inspection.server = server
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            address = await nursery.start(server.serve)
            shorten_pauses()
            print(address, flush=True)
            await anext(aiter(signals))
            await server.drain(1.0)


if __name__ == "__main__":
    trio.run(main)

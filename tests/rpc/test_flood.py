"""A minute of all abuses at once: a well-behaved caller hardly notices, and afterwards nothing is left of it.

FLOOD_SECONDS makes it shorter or longer, for work on it; CI runs the whole minute.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from attrs import frozen
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct

from executor.rpc import trade_executor_pb2 as pb
from tests.rpc.flood.abuses import ABUSES
from tests.support.waiting import wait_until

FLOOD_SECONDS = float(os.environ.get("FLOOD_SECONDS", "60"))
QUIET_SECONDS = FLOOD_SECONDS / 4
WARM_UP_SECONDS = 2.0
FLOOD_BEGINS_SECONDS = 2.0
CALLS_PER_SECOND = 50
WINDOW_SECONDS = 5
RECOVERY_SECONDS = 60.0

MOST_SLOWDOWN = 3.0
MORE_OBJECTS = 5_000
"""Of those that are not as old as the process. Thousands of connections came, each of them hundreds of objects."""
MORE_KIB = 48 * 1024
"""Of memory that Python keeps for later, having needed it once. How little of it is in use, the number of objects tells."""

ROOT = Path(__file__).parents[2]
REQUEST = pb.TradeRequest(
    request_id="4c0c1c9a-2f7b-4f0e-9d5e-0d6f2f3b7a11",
    source_service="momentum",
    input_token="So11111111111111111111111111111111111111112",
    output_token="EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v",
    amount_lamports=1_000_000_000,
    max_slippage_bps=50,
)


@frozen
class Caller:
    """A strategy service that calls at a fixed rate, whether or not it was answered."""

    address: str
    channel: grpc.Channel

    def latencies(self, seconds: float) -> list[float]:
        """Call for so long; return how long each call took, from when it was due. A call that fails, fails the test."""
        stub = self._stub("/trade_executor.v1.TradeExecutor/ExecuteTradeRequest", pb.TradeResult)
        took: list[float] = []
        futures = []
        began = time.perf_counter()
        for number in range(round(seconds * CALLS_PER_SECOND)):
            due = began + number / CALLS_PER_SECOND
            time.sleep(max(0.0, due - time.perf_counter()))
            future = stub.future(REQUEST, timeout=10)
            future.add_done_callback(lambda _, due=due: took.append(time.perf_counter() - due))
            futures.append(future)
        for future in futures:
            assert future.result().status == pb.TRADE_STATUS_SUCCESS
        wait_until(lambda: len(took) == len(futures), "every call is counted")
        return took

    def figures(self) -> dict[str, float]:
        """What the server holds."""
        figures = self._stub("/test.v1.Inspection/Figures", Struct)(Empty(), timeout=10)
        return dict(figures)

    def _stub(self, path: str, reply: Any) -> Any:
        return self.channel.unary_unary(
            path, request_serializer=lambda message: message.SerializeToString(), response_deserializer=reply.FromString
        )


@contextmanager
def _caller() -> Iterator[Caller]:
    """A server in a process of its own, and its caller."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.rpc.flood.server"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
    ) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        try:
            with grpc.insecure_channel(address) as channel:
                yield Caller(address, channel)
        finally:
            server.terminate()


@contextmanager
def _flood(address: str) -> Iterator[dict[str, int]]:
    """All abuses, from a process of their own; afterwards the block's value says how often each was begun."""
    begun: dict[str, int] = {}
    command = [sys.executable, "-m", "tests.rpc.flood.abuses", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as peers:
        try:
            yield begun
        finally:
            peers.terminate()
            out, _ = peers.communicate(timeout=RECOVERY_SECONDS)
    begun |= json.loads(out)


def _p99(latencies: list[float]) -> float:
    """The median, over windows of some seconds, of each window's p99.

    A flood is there in every window; what else a shared machine does for a second or two is in one or two of them.
    """
    size = CALLS_PER_SECOND * WINDOW_SECONDS
    windows = [sorted(latencies[begin : begin + size]) for begin in range(0, len(latencies), size)]
    return statistics.median(window[len(window) * 99 // 100] for window in windows)


@pytest.mark.flood
@pytest.mark.slow
@pytest.mark.timeout(4 * FLOOD_SECONDS + 120)
def test_a_well_behaved_caller_hardly_notices_a_flood(record_property: Any) -> None:
    """Its p99 (see `_p99`) is within three times the quiet one, no call fails; then tasks, descriptors and memory are back."""
    with _caller() as caller:
        caller.latencies(WARM_UP_SECONDS)
        before = caller.figures()
        quiet = caller.latencies(QUIET_SECONDS)
        with _flood(caller.address) as begun:
            time.sleep(FLOOD_BEGINS_SECONDS)
            flooded = caller.latencies(FLOOD_SECONDS)
        wait_until(lambda: caller.figures()["connections"] == 1, "the flood is over", seconds=RECOVERY_SECONDS, every=0.5)
        # What else the machine does is not the server's fault, and hits both: so quiet is before and after.
        quiet += caller.latencies(QUIET_SECONDS)
        after = caller.figures()
    measured = {"quiet_p99_ms": _p99(quiet) * 1e3, "flood_p99_ms": _p99(flooded) * 1e3, "before": before, "after": after}
    record_property("measured", measured)
    print(json.dumps(measured))  # pytest shows it when the test fails, or with -s

    assert set(begun) == set(ABUSES)
    assert _p99(flooded) <= MOST_SLOWDOWN * _p99(quiet)
    assert (after["tasks"], after["descriptors"], after["calls"]) == (before["tasks"], before["descriptors"], before["calls"])
    assert sum(begun.values()) > 10 * FLOOD_SECONDS
    assert after["objects"] <= before["objects"] + MORE_OBJECTS
    assert after["resident_kib"] <= before["resident_kib"] + MORE_KIB

"""The caller, in a process of its own: grpcio's stock client, at a rate whatever the answers do, or so many callers at a time.

    python -m tests.bench.load '{"address": "127.0.0.1:50051", "rate": 100, "seconds": 10}'

prints one JSON object: a row a trade, in the order in which they were begun. Every request has its own id and its own amount.
"""

import json
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import grpc
from attrs import asdict, define, field, frozen

from executor.rpc import trade_executor_pb2 as pb

METHOD = "/trade_executor.v1.TradeExecutor/ExecuteTradeRequest"
SOL = "So11111111111111111111111111111111111111112"
USDC = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
BASE_LAMPORTS = 10_000_000
CHANNELS = 4
"""Connections; the callers take turns on them."""


@frozen(kw_only=True)
class Load:
    """What to do. Either `rate` (an open loop, trades a second) or `callers` (a closed loop); until `seconds` or `count`."""

    address: str
    rate: float = 0.0
    callers: int = 0
    seconds: float = 0.0
    count: int = 0
    """Of a closed loop: stop after so many trades; 0: by the time alone."""
    first_number: int = 0
    """The amount of the first trade is BASE_LAMPORTS and this; no two trades of one wallet may be equal."""
    answer_seconds: float = 40.0


@frozen(kw_only=True)
class Row:
    """One trade as its caller saw it."""

    request_id: str
    amount: int
    lag_ns: int
    """How much later than it should have it was begun: the generator's own delay."""
    started_unix_ns: int
    ended_unix_ns: int
    code: str
    """The gRPC status; OK with a result."""
    status: str
    """The trade's status; empty without a result."""
    error: str
    signature: str
    broadcast_us: int
    """From receipt to first send, as the daemon says."""


@define
class Generator:
    """Begins trades and keeps a row of each."""

    load: Load
    channels: list[grpc.Channel]
    rows: dict[int, Row] = field(factory=dict)
    _begun: int = 0
    _ended: int = 0
    _change: threading.Condition = field(factory=threading.Condition)
    _stubs: list[Any] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._stubs = [
            channel.unary_unary(
                METHOD, request_serializer=pb.TradeRequest.SerializeToString, response_deserializer=pb.TradeResult.FromString
            )
            for channel in self.channels
        ]

    def run(self) -> list[Row]:
        """Return when every trade has been answered."""
        if self.load.rate:
            self._open_loop()
        else:
            self._closed_loop()
        with self._change:
            self._change.wait_for(lambda: self._ended == self._begun)
        return [self.rows[number] for number in sorted(self.rows)]

    def _open_loop(self) -> None:
        begin = time.monotonic_ns()
        for number in range(round(self.load.rate * self.load.seconds)):
            due = begin + round(number * 1e9 / self.load.rate)
            time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
            self._start(max(0, time.monotonic_ns() - due))

    def _closed_loop(self) -> None:
        """One thread begins all: a caller's next trade is begun when an earlier one has been answered."""
        until = time.monotonic() + self.load.seconds if self.load.seconds else float("inf")
        while time.monotonic() < until and not (self.load.count and self._begun >= self.load.count):
            with self._change:
                self._change.wait_for(lambda: self._begun - self._ended < self.load.callers)
            self._start(0)

    def _start(self, lag_ns: int) -> None:
        number, self._begun = self._begun, self._begun + 1
        amount = BASE_LAMPORTS + self.load.first_number + number
        request = pb.TradeRequest(
            request_id=str(uuid.uuid4()),
            source_service="bench",
            input_token=SOL,
            output_token=USDC,
            amount_lamports=amount,
            max_slippage_bps=50,
            urgency_level=pb.URGENCY_LEVEL_NORMAL,
        )
        started = time.time_ns()
        call = self._stubs[number % len(self._stubs)].future(request, timeout=self.load.answer_seconds)

        def ended(done: Any) -> None:
            row = _row(done, request, lag_ns=lag_ns, started_unix_ns=started, ended_unix_ns=time.time_ns())
            with self._change:
                self.rows[number] = row
                self._ended += 1
                self._change.notify()

        call.add_done_callback(ended)


def _row(done: Any, request: pb.TradeRequest, *, lag_ns: int, started_unix_ns: int, ended_unix_ns: int) -> Row:
    failed = done.code() is not grpc.StatusCode.OK
    result = pb.TradeResult() if failed else done.result()
    return Row(
        request_id=request.request_id,
        amount=request.amount_lamports,
        lag_ns=lag_ns,
        started_unix_ns=started_unix_ns,
        ended_unix_ns=ended_unix_ns,
        code=done.code().name,
        status="" if failed else pb.TradeStatus.Name(result.status).removeprefix("TRADE_STATUS_"),
        error=(done.details() or "") if failed else f"{result.error_code} {result.error_message}".strip(),
        signature=result.transaction_signature,
        broadcast_us=result.broadcast_time_us,
    )


def parse_rows(printed: str) -> list[Row]:
    """What this program printed, as rows."""
    found: Mapping[str, Iterable[Mapping[str, Any]]] = json.loads(printed)
    return [Row(**row) for row in found["rows"]]


def main(argument: str) -> None:
    """Run one load and print its rows."""
    load = Load(**json.loads(argument))
    with ExitStack() as stack:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
        channels = [stack.enter_context(grpc.insecure_channel(load.address, options=options)) for _ in range(CHANNELS)]
        for channel in channels:
            grpc.channel_ready_future(channel).result(timeout=load.answer_seconds)
        rows = Generator(load, channels).run()
    print(json.dumps({"rows": [asdict(row) for row in rows]}))


if __name__ == "__main__":
    main(sys.argv[1])

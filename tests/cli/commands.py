"""What the tests of the commands that operators type share: daemons and localnets that are real processes, and strangers.

A command runs in this process through `executor.cli.main`, unless a signal, a pipe or its end is what matters.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from attrs import field, frozen
from google.protobuf.message import Message

from executor.cli.client import SERVICE, connect
from executor.rpc import trade_executor_pb2 as pb
from tests.support.localnet import Localnet, mint

END_SECONDS = 30.0
EXECUTOR = (sys.executable, "-m", "executor")
Capture = pytest.CaptureFixture[str]


@frozen
class Served:
    """A daemon that runs as a process, and what it said when it was ready."""

    facts: Mapping[str, Any]
    process: "subprocess.Popen[str]" = field(repr=False)

    @property
    def address(self) -> str:
        """Where it takes calls."""
        return str(self.facts["grpc"])

    @property
    def localnet(self) -> Localnet:
        """The one that it started."""
        facts = self.facts["localnet"]
        return Localnet(tuple(node["url"] for node in facts["nodes"]), facts["jupiter"], facts["admin"], self.process)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to end; return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(END_SECONDS)


@contextmanager
def serving(*words: str, listen: str | None = "127.0.0.1:0", environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """`executor serve --json` until the block is left; it may have ended by then."""
    command = [*EXECUTOR, "serve", "--json", *(["--listen", listen] if listen else []), *words]
    env = {**os.environ, **(environment or {})}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            yield Served(json.loads(process.stdout.readline()), process)
        finally:
            process.terminate()


def trades(address: str) -> bool:
    """Whether the daemon there says that it trades."""
    with connect(address) as client:
        return bool(client.status(timeout_seconds=END_SECONDS).trading_allowed)


def run_aside(*words: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a command as a process of its own, to its end."""
    return subprocess.run([*EXECUTOR, *words], text=True, timeout=END_SECONDS, check=False, **options)


def redirected(redirections: str, *words: str) -> list[str]:
    """A command whose streams a shell redirects."""
    return ["sh", "-c", f'exec "$@" {redirections}', "sh", *EXECUTOR, *words]


@contextmanager
def nobody_reads() -> Iterator[int]:
    """The end of a pipe whose other end is closed."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def printed(capsys: Capture) -> Any:
    """What a command with --json wrote: one line, one object."""
    (line,) = capsys.readouterr().out.splitlines()
    return json.loads(line)


@contextmanager
def answering(handlers: Mapping[str, grpc.RpcMethodHandler]) -> Iterator[str]:
    """A gRPC server that answers these methods of the executor's service; its address."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE[1:], handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@frozen
class Refusal:
    """An error status of something that speaks gRPC, with its trailing metadata."""

    code: grpc.StatusCode
    metadata: tuple[tuple[str, str | bytes], ...]


BUSY = Refusal(grpc.StatusCode.UNAVAILABLE, (("x-proxy", "busy"),))
"""By nothing that the executor knows."""
SOL_AND_USDC = pb.ExecutorStatus(
    trading_allowed=True,
    wallet=pb.WalletStatus(balances=[pb.WalletBalance(symbol=s, mint=mint(s), decimals=9) for s in ("SOL", "USDC")]),
)


@contextmanager
def telling(status: pb.ExecutorStatus | Refusal, trade: pb.TradeResult | Refusal = BUSY) -> Iterator[str]:
    """A gRPC server that answers every status and every trade alike."""

    def handler(answer: Message | Refusal, request: type[Message]) -> Any:
        def handle(_request: Message, context: Any) -> Message:
            if isinstance(answer, Refusal):
                context.set_trailing_metadata(answer.metadata)
                context.abort(answer.code, "not now")
            assert isinstance(answer, Message)
            return answer

        return grpc.unary_unary_rpc_method_handler(
            handle, request_deserializer=request.FromString, response_serializer=lambda reply: reply.SerializeToString()
        )

    handlers = {"GetExecutorStatus": handler(status, pb.Empty), "ExecuteTradeRequest": handler(trade, pb.TradeRequest)}
    with answering(handlers) as address:
        yield address

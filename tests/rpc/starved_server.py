"""A server that may have few descriptors, as a process of its own: `python -m tests.rpc.starved_server`."""

import resource
import signal
import sys
import time

import trio

from executor.log import make_log
from executor.rpc.server import GrpcServer
from tests.rpc.serving import QUICK, Probe

DESCRIPTORS = 64


async def main() -> None:
    """Print the address and serve until SIGTERM."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    log = make_log(stream=sys.stderr, level="info", now_ns=time.time_ns)
    server = GrpcServer("127.0.0.1:0", Probe(), log=log, limits=QUICK)
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            print(await nursery.start(server.serve), flush=True)
            await anext(aiter(signals))
            await server.drain(1.0)


if __name__ == "__main__":
    trio.run(main)

"""A process that carries bytes between a port and a server: the stand-in for "one node" or "Jupiter" that a test kills with -9.

with start_proxy(localnet.jupiter) as proxy:
    ... proxy.url ...
    proxy.kill()                      # its connections are reset, its port refuses: as if the machine behind it had died
    proxy.restart()                   # the same port again
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import trio
from attrs import define, field

CHUNK_BYTES = 65_536


@define
class Proxy:
    """A proxy process and where it listens."""

    target: str
    """URL of the server behind it."""
    port: int = 0
    _process: "subprocess.Popen[str] | None" = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The target's URL with this port in place of its own."""
        parts = urlsplit(self.target)
        return parts._replace(netloc=f"127.0.0.1:{self.port}").geturl()

    def start(self) -> None:
        """Listen; on the same port as before, if there was one."""
        target = urlsplit(self.target)
        command = [sys.executable, __file__, str(self.port), str(target.hostname), str(target.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        """End the process with SIGKILL and wait until it is gone."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        self._process = None

    def restart(self) -> None:
        """Come back on the same port."""
        self.start()

    def close(self) -> None:
        """End the process if it runs."""
        if self._process is not None:
            self.kill()


@contextmanager
def start_proxy(target: str) -> Iterator[Proxy]:
    """Run a proxy on a free port in front of a server."""
    proxy = Proxy(target)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.close()


async def _serve(port: int, host: str, target_port: int) -> None:
    async def carry(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        while data := await source.receive_some(CHUNK_BYTES):
            await sink.send_all(data)
        await sink.send_eof()

    async def connect(client: trio.SocketStream) -> None:
        try:
            async with await trio.open_tcp_stream(host, target_port) as server, trio.open_nursery() as nursery:
                nursery.start_soon(carry, server, client)
                await carry(client, server)
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # one end has left, and the other is closed with it

    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    print(listeners[0].socket.getsockname()[1], flush=True)
    await trio.serve_listeners(connect, listeners)


if __name__ == "__main__":
    trio.run(_serve, int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))

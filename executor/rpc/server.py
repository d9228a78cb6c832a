"""The daemon's gRPC server: purerpc's services and protocol behind a listener of our own, fenced.

purerpc's own server binds a taken port, answers a handler's exception with its text, never enforces a deadline, and lets one bad
frame end every call of a connection without a word. What of it is sound is used (generated services, h2, messages, flow control);
the rest is in this package, each part with its reason:

    listener    where callers connect            frame_gate  floods, before h2 sees them
    session     one connection: time and bytes   lane        peers that have earned nothing share it
    head, body  what a caller sends, read strictly and bounded
    connection  its HTTP/2 state                 stream      one call's messages
    calls       from a stream to its status      rpc_status  how a call ends
    health, reflection                           gRPC's standard services, which purerpc has not
"""

import errno
import os
import select
import ssl
from contextlib import suppress
from functools import partial

import trio

from executor.log import Log
from executor.rpc.calls import Calls, Lasting, Servicer
from executor.rpc.lane import Lane
from executor.rpc.limits import ServerLimits
from executor.rpc.listener import bound_address, host_and_port, open_listener, unix_path
from executor.rpc.refusal import draining
from executor.rpc.rpc_status import RpcCode, RpcStatus
from executor.rpc.session import Peer, Session

# What accept() reports of a connection that is lost already, and of this process or host running short: then a pause, for others
# to give back what they hold. Anything else is a bug, and ends the server.
_PAUSE_SECONDS = dict.fromkeys((errno.ECONNABORTED, errno.EPROTO, errno.EPERM), 0.0)
_PAUSE_SECONDS |= dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM), 0.1)

_KEEPALIVE_IDLE_SECONDS, _KEEPALIVE_INTERVAL_SECONDS, _KEEPALIVE_PROBES = 60, 15, 4
_UNACKNOWLEDGED_MILLISECONDS = 60_000


class CannotListen(OSError):
    """The address cannot be had: it is another process's, not this machine's, or not allowed; `strerror` says it."""


class GrpcServer:
    """Serves services at one address: host:port, where port 0 picks a free one, or unix:/path."""

    def __init__(
        self,
        address: str,
        *servicers: Servicer,
        log: Log,
        limits: ServerLimits | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.address = address
        self._log = log
        self._limits = limits or ServerLimits()
        self._ssl_context = ssl_context
        if ssl_context is not None:
            ssl_context.set_alpn_protocols(["h2"])  # gRPC clients insist on it
        self._lasting = [servicer for servicer in servicers if isinstance(servicer, Lasting)]
        self._calls = Calls(servicers, limits=self._limits, log=log)
        self._door, self._lane = Lane(self._limits.door_share), Lane(self._limits.lane_share)
        self._sessions: dict[Session, None] = {}  # in the order of their coming
        self._no_sessions = trio.Event()
        self._accepting = trio.CancelScope()
        self._is_full = False

    @property
    def calls_in_flight(self) -> int:
        """Calls that were begun and not answered yet."""
        return self._calls.in_flight

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._sessions)

    async def serve(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `drain` has ended, or until cancelled, which ends every call at once.

        Reports the address once callers can connect: as given, with the port that was found. Raises CannotListen when the
        address cannot be had.
        """
        try:
            listener = await open_listener(self.address)
        except OSError as error:
            raise CannotListen(error.errno, error.strerror or str(error)) from error
        try:
            async with trio.open_nursery() as sessions:
                with self._accepting:
                    task_status.started(bound_address(listener))
                    await self._accept(listener, sessions)
                self._close(listener)
        finally:
            self._close(listener)

    async def drain(self, grace_seconds: float) -> bool:
        """Stop: take no more connections and calls, let those in flight end, then part with every peer.

        Calls that are in flight when the grace is over are ended as UNAVAILABLE. Returns whether there were none. A second call
        may set a shorter grace. After it `serve` returns.
        """
        self._accepting.cancel()
        # First ask callers to go elsewhere while their calls are still served, then refuse: nothing that was on its way is lost.
        self._announce_end(final=False)
        await trio.sleep(self._limits.settle_seconds)
        self._calls.refuse_new(draining())
        for servicer in self._lasting:
            servicer.end_streams()
        self._announce_end(final=True)
        with trio.move_on_after(grace_seconds) as grace:
            await self._calls.wait_for_none()
        if grace.cancelled_caught:
            await self._end_calls()
        await self._part()
        return not grace.cancelled_caught

    def _announce_end(self, *, final: bool) -> None:
        for session in self._sessions:
            session.announce_end(final=final)

    async def _end_calls(self) -> None:
        message = "the executor shut down before the answer was known; ask GetTrade once it is back"
        for session in self._sessions:
            session.end_calls(RpcStatus(RpcCode.UNAVAILABLE, message))
        with trio.move_on_after(self._limits.part_seconds):
            await self._calls.wait_for_none()

    async def _part(self) -> None:
        for session in self._sessions:
            session.close()
        while self._sessions:  # a session bounds its own parting
            await self._no_sessions.wait()

    def _close(self, listener: trio.SocketListener) -> None:
        path = unix_path(self.address)
        if path is not None and listener.socket.fileno() >= 0:
            os.unlink(path)
        listener.socket.close()

    async def _accept(self, listener: trio.SocketListener, sessions: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                await self._survive(error)
                continue
            try:
                async with self._door.turn():
                    self._admit(stream, sessions)
                    await trio.lowlevel.checkpoint()  # what begins by it belongs to the turn
            except trio.Cancelled:
                stream.socket.close()
                raise

    def _admit(self, stream: trio.SocketStream, sessions: trio.Nursery) -> None:
        if self._has_room():
            self._begin(stream, sessions)
        else:
            stream.socket.close()
            self._note_full()

    def _has_room(self) -> bool:
        """Whether one more connection may be; a place may have to be cleared for it."""
        if len(self._sessions) < self._limits.connections:
            self._is_full = False
            return True
        expendable = next((session for session in self._sessions if session.is_expendable), None)
        if expendable is None:
            return False
        expendable.cut()
        del self._sessions[expendable]
        return True

    async def _survive(self, error: OSError) -> None:
        pause_seconds = _PAUSE_SECONDS.get(error.errno or 0)
        if pause_seconds is None:
            raise error
        self._log.error("rpc.accept_failed", problem=error.strerror, connections=len(self._sessions))
        await trio.sleep(pause_seconds)

    def _note_full(self) -> None:
        if not self._is_full:  # once, however many knock
            self._log.warning("rpc.connections_exceeded", limit=self._limits.connections)
        self._is_full = True

    def _begin(self, stream: trio.SocketStream, sessions: trio.Nursery) -> None:
        transport: trio.abc.Stream = stream
        if self._ssl_context is not None:
            transport = trio.SSLStream(stream, self._ssl_context, server_side=True, https_compatible=True)
        session = Session(
            transport,
            peer=Peer(address=_peer_address(stream)),
            answer=self._calls.answer,
            lane=self._lane,
            has_left=partial(_has_left, stream),
            limits=self._limits,
            log=self._log,
        )
        if not self._sessions:
            self._no_sessions = trio.Event()
        self._sessions[session] = None  # before its task runs: a drain in between has to know it
        sessions.start_soon(self._serve, session, stream)

    async def _serve(self, session: Session, stream: trio.SocketStream) -> None:
        try:
            _keep_alive(stream)
            await session.run()
        except Exception as error:  # noqa: BLE001 - a bug here or in h2 ends the connection that met it, not the daemon
            self._log.error("rpc.connection_failed", peer=session.peer.address, exc_info=error)
        finally:
            stream.socket.close()
            self._sessions.pop(session, None)
            if not self._sessions:
                self._no_sessions.set()


def _has_left(stream: trio.SocketStream) -> bool:
    """Whether the peer has closed, which a read would tell only after all that it sent before."""
    poll = select.poll()
    poll.register(stream.socket.fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))


def _peer_address(stream: trio.SocketStream) -> str:
    try:
        name = stream.socket.getpeername()
    except OSError:  # it left already
        return "unknown"
    return host_and_port(name) if isinstance(name, tuple) else "unix"


def _keep_alive(stream: trio.SocketStream) -> None:
    """Let the kernel find out that a peer is gone without a word."""
    if stream.socket.family == trio.socket.AF_UNIX:
        return
    with suppress(OSError):  # it left already, which the first read will tell
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_KEEPALIVE, 1)
        stream.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_SECONDS)
        stream.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL_SECONDS)
        stream.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)
        stream.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MILLISECONDS)

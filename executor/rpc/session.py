"""One peer: its bytes in and out, and the calls that it has open.

purerpc's counterpart (GRPCSocket, SocketWrapper) knows no resets, no time limits, no bound on what waits to be sent, and no end
but the peer's. A session is made of just those, so nothing of it could be kept.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import attrs
import trio
from attrs import frozen
from purerpc.grpclib.events import RequestEnded, WindowUpdated

from executor.log import Log
from executor.rpc.connection import (
    MAX_STREAM_ID,
    REFUSED_STREAM,
    BodyArrived,
    CallBegan,
    CallReset,
    Connection,
    Event,
    ProtocolError,
)
from executor.rpc.frame_gate import AbusiveConnection, FrameGate
from executor.rpc.head import CallHead
from executor.rpc.lane import Lane
from executor.rpc.limits import ServerLimits
from executor.rpc.rpc_status import RpcStatus
from executor.rpc.stream import Stream

RECEIVE_BYTES = 16_384
CALLS_PER_TURN = 4
MAX_LINGERING_BYTES = 1 << 20

_PEER_IS_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


@frozen(kw_only=True)
class Peer:
    """Who is at the other end, as far as the connection tells."""

    address: str
    certificate_name: str | None = None
    """The common name in the certificate that the peer proved to own; None where none was asked for."""


Answer = Callable[[Stream, CallHead, Peer], Awaitable[None]]
"""Answers a call to its end. It raises nothing; cancelled, it only stops."""


class Session:
    """A connection being served. `run` is its whole life; the other methods may be called at any time."""

    def __init__(
        self,
        transport: trio.abc.Stream,
        *,
        peer: Peer,
        answer: Answer,
        lane: Lane,
        has_left: Callable[[], bool],
        limits: ServerLimits,
        log: Log,
    ) -> None:
        self.peer = peer
        self._transport = transport
        self._answer = answer
        self._lane = lane
        self._has_left = has_left
        self._limits = limits
        self._log = log.bind(peer=peer.address)
        self._connection = Connection(limits)
        self._began_at = trio.current_time()
        self._gate = FrameGate(limits=limits, now=self._began_at)
        self._streams: dict[int, Stream] = {}
        self._life = trio.CancelScope()
        self._reading = trio.CancelScope()
        self._parting = False
        # `_wanted` wakes the writer; `_drained` wakes those who wait for it.
        self._wanted = trio.Event()
        self._drained = trio.Event()
        self._bytes_in_hand = 0

    async def run(self) -> None:
        """Serve the peer until it leaves, is cut off or `close` is called. Its calls end with it."""
        with self._life, suppress(*_PEER_IS_GONE, trio.TooSlowError):
            await self._shake_hands()
            # The writer outlives the calls, so that what they leave is sent; not for long, whatever the peer does.
            async with trio.open_nursery() as writing:
                writing.start_soon(self._write)
                async with trio.open_nursery() as calls:
                    with self._reading:
                        await self._read(calls)
                    await self._give_up_calls()
                self._parting = True
                self._wanted.set()
                writing.cancel_scope.deadline = trio.current_time() + self._limits.part_seconds
            await self._linger()

    def announce_end(self, *, final: bool) -> None:
        """Tell the peer to open no more calls; final: that those it opened from now on are refused."""
        self._connection.send_goaway(self._connection.last_stream_id if final else MAX_STREAM_ID)
        self._wanted.set()

    def end_calls(self, status: RpcStatus) -> None:
        """End every open call with this status."""
        for stream in self._streams.values():
            stream.end(status)

    @property
    def is_expendable(self) -> bool:
        """The peer was never answered, and no handler works for it."""
        return not self._gate.proven and not any(stream.admitted for stream in self._streams.values())

    def cut(self) -> None:
        """End at once, without a word."""
        self._life.cancel()

    def close(self) -> None:
        """Stop reading, cancel what is open, send what is ready, and part."""
        self._reading.cancel()

    # What streams call.

    async def flush(self) -> None:
        """Wake the writer; wait while more is unsent than one peer may have."""
        self._wanted.set()
        while self._connection.unsent_bytes + self._bytes_in_hand > self._limits.unsent_bytes_per_connection:
            await self._drained.wait()

    def earn(self, frames: int) -> None:
        """Let the peer send as many frames more."""
        self._gate.earn(frames)

    # The bytes.

    async def _shake_hands(self) -> None:
        if isinstance(self._transport, trio.SSLStream):
            with trio.fail_after(self._limits.preface_seconds):
                await self._transport.do_handshake()
            self.peer = attrs.evolve(self.peer, certificate_name=_common_name(self._transport.getpeercert()))

    async def _write(self) -> None:
        try:
            while data := await self._next_output():
                with trio.fail_after(self._limits.send_seconds):
                    await self._transport.send_all(data)
        except (*_PEER_IS_GONE, trio.TooSlowError):
            self._reading.cancel()

    async def _next_output(self) -> bytes:
        self._bytes_in_hand = 0
        self._drained.set()
        self._drained = trio.Event()
        while not (data := self._connection.take_output()):
            if self._parting:
                return b""
            self._wanted = trio.Event()
            await self._wanted.wait()
        self._bytes_in_hand = len(data)
        return data

    async def _read(self, calls: trio.Nursery) -> None:
        try:
            while data := await self._receive():
                for turn in self._gate.turns(data, now=trio.current_time()):
                    await self._take_turn(turn, calls)
                    await self.flush()
        except _PEER_IS_GONE:
            return
        except AbusiveConnection as abuse:
            self._connection.send_goaway(self._connection.last_stream_id, abuse.code)
            self._log.warning("rpc.connection_cut", problem=str(abuse))
        except ProtocolError as error:
            self._log.warning("rpc.connection_cut", problem=f"{type(error).__name__}: {error}")

    async def _take_turn(self, turn: bytes, calls: trio.Nursery) -> None:
        if self._gate.trusted:
            self._take_in(turn, calls)
            await trio.lowlevel.checkpoint()
            return
        async with self._lane.turn():
            if self._has_left():
                raise trio.BrokenResourceError  # whatever it sent before: nobody would read the answers
            self._take_in(turn, calls)
            await trio.lowlevel.checkpoint()  # the handlers that begin by it belong to the turn

    def _take_in(self, turn: bytes, calls: trio.Nursery) -> None:
        for event in self._connection.receive_data(turn):
            self._take(event, calls)

    async def _receive(self) -> bytes:
        """Wait for bytes; return none when the peer has left, or has been silent for too long without a call."""
        while True:
            with trio.move_on_after(self._patience_seconds()):
                return bytes(await self._transport.receive_some(RECEIVE_BYTES))
            if not self._gate.greeted or not self._streams:
                self.announce_end(final=True)
                return b""

    def _patience_seconds(self) -> float:
        if self._gate.greeted:
            return self._limits.idle_seconds
        return self._began_at + self._limits.preface_seconds - trio.current_time()

    async def _linger(self) -> None:
        # Closing a socket while bytes wait in it resets the connection, and the peer may lose what we sent last.
        with trio.move_on_after(self._limits.part_seconds):
            if isinstance(self._transport, trio.abc.HalfCloseableStream):
                await self._transport.send_eof()
            left = MAX_LINGERING_BYTES
            while left > 0 and (data := await self._transport.receive_some(RECEIVE_BYTES)):
                left -= len(data)

    # The calls.

    def _take(self, event: Event, calls: trio.Nursery) -> None:
        if isinstance(event, CallBegan):
            self._begin_call(event, calls)
        elif isinstance(event, WindowUpdated) and event.stream_id == 0:
            for stream in self._streams.values():
                stream.window_opened()
        elif event.stream_id in self._streams:
            _tell(self._streams[event.stream_id], event)
        elif isinstance(event, BodyArrived):
            self._connection.acknowledge(event.stream_id, len(event.data))  # of a call that was refused

    def _begin_call(self, call: CallBegan, calls: trio.Nursery) -> None:
        if len(self._streams) >= self._limits.streams_per_connection:
            self._connection.reset(call.stream_id, REFUSED_STREAM)
            return
        stream = self._streams[call.stream_id] = Stream(self._connection, call.stream_id, self, self._limits)
        calls.start_soon(self._call, stream, call.head)

    async def _give_up_calls(self) -> None:
        """Cancel what is open, a few calls at a time: hundreds would all run at once, and keep every other connection waiting."""
        for number, stream in enumerate(tuple(self._streams.values()), 1):
            stream.reset()
            if number % CALLS_PER_TURN == 0:
                async with self._lane.turn():
                    await trio.lowlevel.checkpoint()

    async def _call(self, stream: Stream, head: CallHead) -> None:
        try:
            await self._answer(stream, head, self.peer)
        finally:
            del self._streams[stream.stream_id]
            self._wanted.set()


def _tell(stream: Stream, event: Event) -> None:
    if isinstance(event, BodyArrived):
        stream.body_arrived(event.data)
    elif isinstance(event, CallReset):
        stream.reset()
    elif isinstance(event, RequestEnded):
        stream.request_ended()
    else:
        stream.window_opened()


def _common_name(certificate: Any) -> str | None:  # ssl describes a certificate as nested dicts and tuples; None: no certificate
    names = [value for part in (certificate or {}).get("subject", ()) for key, value in part if key == "commonName"]
    return names[0] if names else None

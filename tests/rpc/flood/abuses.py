"""Every abuse at once, again and again, until SIGTERM: `python -m tests.rpc.flood.abuses HOST:PORT [NAME ...]`.

It prints one JSON object at the end: how often each abuse was begun. Its niceness is the lowest: hostile callers have machines of
their own, and what they take from the processor here must not be blamed on the server.
"""

import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import hpack
import trio

from executor.rpc import trade_executor_pb2 as pb
from tests.rpc.raw_peer import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PREFACE,
    PRIORITY,
    Header,
    call_headers,
    data,
    frame,
    headers,
    prefixed,
    reset,
    settings,
    window_update,
)

TRADE = "/trade_executor.v1.TradeExecutor/ExecuteTradeRequest"
GET = "/trade_executor.v1.TradeExecutor/GetTrade"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECT = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
MAX_WINDOW = 2**31 - 1
PATIENCE_SECONDS = 1.0, 5.0
"""How long one attempt lasts, from and to, unless the server ends it."""
PAUSE_SECONDS = 0.05
GREETING = PREFACE + settings({})
LIST_SERVICES = prefixed(b"\x3a\x01x")

Abuse = Callable[[trio.SocketStream], Awaitable[None]]


def block(path: str, *extra: Header, **changed: str | None) -> bytes:
    """An encoded header block that leaves no trace in the table of headers, so that it may be sent at any time."""
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    named = {name.replace("_", "-"): value for name, value in changed.items()}
    encoded: bytes = encoder.encode([*call_headers(changed={":path": path, **named}), *extra])
    return encoded


def calls(path: str, then: Callable[[int], bytes], *extra: Header, count: int = 200, **changed: str | None) -> bytes:
    """Many calls, each followed by the same."""
    encoded = block(path, *extra, **changed)
    return b"".join(headers(stream_id, encoded) + then(stream_id) for stream_id in range(1, 2 * count, 2))


def pouring(*frames: bytes, first: bytes = b"") -> Abuse:
    """Send the same frames for ever, and read nothing."""
    begin, again = GREETING + first, b"".join(frames)
    again *= max(1, 32_768 // len(again))

    async def abuse(stream: trio.SocketStream) -> None:
        await stream.send_all(begin)
        while True:
            await stream.send_all(again)

    return abuse


def asking(frames: bytes, *, pause_seconds: float = 0.0) -> Abuse:
    """Send some frames once, and read what comes of it until the server closes."""

    async def abuse(stream: trio.SocketStream) -> None:
        await stream.send_all(GREETING + frames)
        while await stream.receive_some(65_536):  # noqa: ASYNC110 - the pause is what makes a slow reader
            await trio.sleep(pause_seconds)

    return abuse


def dripping(frames: bytes, drop: bytes, *, every_seconds: float) -> Abuse:
    """Begin as frames do, then send a little now and then."""

    async def abuse(stream: trio.SocketStream) -> None:
        await stream.send_all(frames)
        while True:
            await trio.sleep(every_seconds)
            await stream.send_all(drop)

    return abuse


async def silence(_stream: trio.SocketStream) -> None:
    """Connect and say nothing."""
    await trio.sleep_forever()


async def churn(_stream: trio.SocketStream) -> None:
    """Connect and leave."""
    await trio.lowlevel.checkpoint()


TRADE_BODY = data(1, prefixed(pb.TradeRequest(request_id="r").SerializeToString()))
OPEN_TRADE = headers(1, block(TRADE))
CLOSED_WINDOW = PREFACE + settings({INITIAL_WINDOW_SIZE: 0})

ABUSES: dict[str, Abuse] = {
    "pings": pouring(frame(PING, payload=bytes(8))),
    "settings": pouring(settings({INITIAL_WINDOW_SIZE: 65_535})),
    "unknown settings": pouring(settings(dict.fromkeys(range(100, 130), 1))),
    "window updates": pouring(window_update(0, 1)),
    "window overflow": pouring(window_update(0, MAX_WINDOW)),
    "priorities": pouring(frame(PRIORITY, 1, (3).to_bytes(4) + b"\0")),
    "unknown frames": pouring(frame(0x77)),
    "resets of nothing": pouring(reset(1)),
    "continuations": pouring(frame(CONTINUATION, 1), first=frame(HEADERS, 1)),
    "large continuations": pouring(frame(CONTINUATION, 1, bytes(16_384)), first=frame(HEADERS, 1)),
    "empty data": pouring(data(1, b"", ends=False), first=OPEN_TRADE),
    "tiny data": pouring(data(1, b"\0", ends=False), first=OPEN_TRADE),
    "padded data": pouring(frame(DATA, 1, b"\xfa" + bytes(251), flags=8), first=OPEN_TRADE),
    "bodies beyond the window": pouring(data(1, bytes(16_384), ends=False), first=OPEN_TRADE),
    "rapid resets": asking(calls(TRADE, reset, count=2_000)),
    "late resets": asking(calls(WATCH, lambda one: data(one, prefixed(b"")) + reset(one), count=500)),
    "unknown methods": asking(calls("/no.Such/Method", lambda one: data(one, prefixed(b"")), count=500)),
    "malformed calls": asking(calls(TRADE, lambda one: data(one, prefixed(b"")), count=500, te="gzip")),
    "compressed calls": asking(calls(TRADE, lambda one: data(one, b"\1" + bytes(99)), count=500, grpc_encoding="deflate")),
    "broken messages": asking(calls(GET, lambda one: data(one, prefixed(b"\xff\xff")), count=500)),
    "large metadata": asking(calls(TRADE, reset, ("x", "y" * 70_000), count=20)),
    "text that is none": asking(calls(TRADE, reset, (b"x", b"\xff\xfe" * 20_000), count=20)),
    "header bomb": asking(headers(1, hpack.Encoder().encode([*call_headers(), *[("bomb", "x" * 3_900)] * 4_000]))),
    "too many streams": asking(calls(TRADE, lambda _: b"", count=600)),
    "messages too large": asking(calls(TRADE, lambda one: data(one, b"\0\xff\xff\xff\xff"), count=300)),
    "watches": asking(calls(WATCH, lambda one: data(one, prefixed(b"")), count=250)),
    "conversations": asking(calls(REFLECT, lambda one: data(one, LIST_SERVICES * 50, ends=False), count=50)),
    "answers that are not read": pouring(data(1, LIST_SERVICES * 100, ends=False), first=headers(1, block(REFLECT))),
    "a closed window": asking(settings({INITIAL_WINDOW_SIZE: 0}) + calls(GET, lambda one: data(one, prefixed(b"")), count=100)),
    "a window of a byte": dripping(
        CLOSED_WINDOW + headers(1, block(GET)) + data(1, prefixed(b"")), window_update(1, 1), every_seconds=0.01
    ),
    "a slow preface": dripping(PREFACE[:1], b"", every_seconds=0.5),
    "a slow body": dripping(GREETING + OPEN_TRADE, data(1, b"\0", ends=False), every_seconds=0.1),
    "a slow header": dripping(GREETING + frame(HEADERS, 1, b"\0"), frame(CONTINUATION, 1, b"\0"), every_seconds=0.1),
    "slow reading": asking(calls(REFLECT, lambda one: data(one, LIST_SERVICES * 200), count=10), pause_seconds=0.2),
    "noise": pouring(bytes(range(256))),
    "silence": silence,
    "silence after the greeting": dripping(GREETING, b"", every_seconds=60.0),
    "coming and going": churn,
    "no end of headers": asking(frame(HEADERS, 1, block(TRADE), flags=END_HEADERS) * 50),
}
AT_ONCE = {"silence": 60, "silence after the greeting": 30, "coming and going": 2}
"""How many of a kind go on at a time, where it is not one."""


async def keep_abusing(name: str, host: str, port: int, begun: Counter[str], rng: random.Random) -> None:
    """Repeat one abuse for ever."""
    while True:
        with suppress(OSError, trio.BrokenResourceError), trio.move_on_after(rng.uniform(*PATIENCE_SECONDS)):
            async with await trio.open_tcp_stream(host, port) as stream:
                begun[name] += 1
                await ABUSES[name](stream)
        await trio.sleep(PAUSE_SECONDS)


async def main(address: str, names: list[str]) -> None:
    """Abuse a server in the named ways, or in all."""
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    os.nice(19)
    host, _, port = address.rpartition(":")
    begun: Counter[str] = Counter()
    rng = random.Random(1)  # noqa: S311 - not for secrets
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            for name in names or ABUSES:
                for _ in range(AT_ONCE.get(name, 1)):
                    nursery.start_soon(keep_abusing, name, host, int(port), begun, rng)
            await anext(aiter(signals))
            nursery.cancel_scope.cancel()
    print(json.dumps(begun))


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2:])

"""What carries the daemon's calls in place of sockets: a wire with delays, losses and lies; its other end is the localnet's core.

Faults end as on the localnet's real server (`carriage`): a call is carried out or not, its answer comes whole, halved, replaced
or never. A request that has left arrives, whatever becomes of the one who sent it.
"""

import functools
import random
import zlib
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

import trio
from attrs import define, evolve, frozen

from executor.faults import TransportKind
from executor.localnet.carriage import Carriage, Ending, carriage
from executor.localnet.faults import (
    DroppedBlock,
    DuplicateLanding,
    Fault,
    Garbage,
    Hang,
    LateLanding,
    Latency,
    LostSend,
    Order,
    Reset,
    RpcFault,
    Status,
    Truncated,
)
from executor.localnet.http import HttpReply
from executor.localnet.http import HttpRequest as WireRequest
from executor.localnet.node import Exchange
from executor.network.transport import Failure, HttpAnswer, HttpRequest, Origin
from tests.simulation.chance import chance
from tests.simulation.climate import Rates
from tests.simulation.clock import nap
from tests.simulation.life import Life
from tests.simulation.world import JUPITER_HOST, Endpoint, Late, World

SEND = "sendTransaction"
ANSWER_DELAY_RATE = 0.3
"""The other answers come at once: the time of the way there stands for both."""
MAX_SLOW_SECONDS = 3.0
MAX_DUPLICATE_SECONDS = 8.0
MAX_PROXY_SECONDS = 1.8
LAST_MOMENT_SLOTS = (135, 175)
"""After a send: around the slot of the last valid block, with some slots skipped."""
LAST_BLOCK_SLOTS = (142, 147)
"""The same where none is skipped."""

_NODE_ERRORS = ((-32005, "Node is behind by 42 slots"), (-32603, "Internal error"), (-32004, "Block not available for slot"))
_JUPITER_ERRORS = (
    (400, '{"error":"Could not find any route","errorCode":"COULD_NOT_FIND_ANY_ROUTE"}'),
    (422, '{"error":"failed to get swap and account metas","errorCode":"FAILED_TO_GET_SWAP_AND_ACCOUNT_METAS"}'),
    (500, "upstream connect error"),
)


@frozen
class Fate:
    """What becomes of one call."""

    plan: Carriage
    core: Fault | None = None
    """What the node does wrong with it."""
    repeated_after_seconds: float | None = None
    """The request is carried out once more, later."""
    proxied_seconds: float | None = None
    """The request is carried out at once, and again after this time by a proxy, whose answer is the second one."""
    refused: bool = False
    """There is no connection."""
    mixed_up: bool = False
    """The request is carried out, and what comes back is the answer to another one."""


_FINE = Fate(Carriage())


@define(kw_only=True, eq=False)
class SimulatedTransport:
    """One endpoint's connections in one life of the daemon."""

    endpoint: Endpoint
    world: World
    life: Life
    headers: Mapping[str, str]
    rng: random.Random

    async def exchange(self, request: HttpRequest) -> HttpAnswer | Failure:
        """Carry a request there and its answer back."""
        if self.life.is_over():
            await trio.sleep_forever()  # the dead send nothing
        wire = self._wire_request(request)
        exchange = self._read(wire)
        operation = exchange.operations[0] if exchange.operations else request.target
        fate = self._fate(operation)
        if fate.refused:
            await nap(self.rng.uniform(*self.world.climate.latency_seconds))
            return Failure(TransportKind.CONNECT, "ECONNREFUSED")
        self._leave(exchange, fate)
        if operation == SEND and self.rng.random() < self.world.climate.crash_at_send:
            self.life.strike("send")
        await self._travel(exchange, fate)
        if fate.proxied_seconds is not None:
            self._strike(operation, fate)
            exchange.answer()
            await nap(fate.proxied_seconds)
            exchange, fate = self._read(wire), evolve(fate, core=None)
        reply = self._carry_out(exchange, operation, fate)
        if self.life.is_over():
            await trio.sleep_forever()
        if self.rng.random() < ANSWER_DELAY_RATE:
            await nap(self.rng.uniform(*self.world.climate.latency_seconds))
        return await self._ended(reply, fate.plan)

    async def aclose(self) -> None:
        """Nothing is open."""

    # --- the way there ---

    def _read(self, wire: WireRequest) -> Exchange:
        exchange = self.endpoint.machine(self.rng).read(wire)
        assert isinstance(exchange, Exchange)
        return exchange

    def _wire_request(self, request: HttpRequest) -> WireRequest:
        path, query = _split(request.target)
        return WireRequest(
            method=request.method,
            path=path,
            query=query,
            headers=self.headers,
            body=request.body or b"",
        )

    def _leave(self, exchange: Exchange, fate: Fate) -> None:
        if fate.repeated_after_seconds is not None:
            self.world.deliver(Late(trio.current_time() + fate.repeated_after_seconds, self.endpoint, exchange))

    async def _travel(self, exchange: Exchange, fate: Fate) -> None:
        began = trio.current_time()
        seconds = fate.plan.delay_seconds or self.rng.uniform(*self.world.climate.latency_seconds)
        try:
            await nap(seconds)
        except trio.Cancelled:
            if fate.plan.executed:
                self.world.deliver(Late(began + seconds, self.endpoint, exchange))
            raise

    def _carry_out(self, exchange: Exchange, operation: str, fate: Fate) -> HttpReply:
        if not fate.plan.executed:
            return fate.plan.replacement or HttpReply(status=200)
        self._strike(operation, fate)
        reply = exchange.answer()
        self.world.chronicle.note("wire", self.life.number, self.endpoint.host, operation, reply.status, zlib.crc32(reply.body))
        another, self.endpoint.last_reply = self.endpoint.last_reply, reply
        if fate.mixed_up and another is not None:
            return another
        return fate.plan.replacement or reply

    def _strike(self, operation: str, fate: Fate) -> None:
        if fate.core is not None:
            target = "jupiter" if self._is_jupiter else "node"  # it strikes the next call, which is the one that is meant
            self.world.localnet.faults.order(Order(fault=fate.core, target=target, operation=operation))

    # --- the way back ---

    async def _ended(self, reply: HttpReply, plan: Carriage) -> HttpAnswer | Failure:
        if plan.ending is Ending.HANG:
            await trio.sleep_forever()
        if plan.ending is Ending.RESET:
            return Failure(TransportKind.RESET, "ECONNRESET")
        if plan.ending is Ending.CUT:
            return Failure(TransportKind.PROTOCOL, "broken off")
        body = reply.body[: len(reply.body) // 2] if plan.halved else reply.body
        return HttpAnswer(reply.status, {name.lower(): value for name, value in reply.headers.items()}, body)

    # --- what goes wrong ---

    def _fate(self, operation: str) -> Fate:
        climate, rng = self.world.climate, self.rng
        node_wire = climate.send_wire or climate.node_wire if operation == SEND else climate.node_wire
        kind = self.endpoint.trouble or _drawn(climate.jupiter_wire if self._is_jupiter else node_wire, rng)
        core = _send_fault(_drawn(climate.send, rng), rng) if operation == SEND and climate.send else None
        slow = rng.random() < climate.slow_rate
        if kind is None and core is None and not slow:
            return _FINE
        if core is not None:
            self.world.chronicle.fault(core.kind, self.endpoint.host)
        if slow:
            self.world.chronicle.fault("slow", self.endpoint.host, operation)
        delay = [Latency(seconds=rng.uniform(0.1, MAX_SLOW_SECONDS))] if slow else []
        if kind is None:
            return Fate(carriage(delay), core)
        self.world.chronicle.fault(kind, self.endpoint.host, operation)
        if kind == "refused":
            return Fate(Carriage(executed=False), refused=True)
        if kind == "duplicate":
            return Fate(carriage(delay), core, repeated_after_seconds=rng.uniform(0.0, MAX_DUPLICATE_SECONDS))
        if kind == "proxied":
            return Fate(carriage(delay), core, proxied_seconds=rng.uniform(0.0, MAX_PROXY_SECONDS))
        if kind == "mixed-up":
            return Fate(carriage(delay), core, mixed_up=True)
        if kind == "rpc-error" and not self._is_jupiter:
            code, message = rng.choice(_NODE_ERRORS)
            return Fate(carriage(delay), RpcFault(code=code, message=message))
        return Fate(carriage([*delay, self._wire_fault(kind)]), core)

    @property
    def _is_jupiter(self) -> bool:
        return self.endpoint.host == JUPITER_HOST

    def _wire_fault(self, kind: str) -> Fault:
        rng = self.rng
        match kind:
            case "lost-request":
                return Hang(executed=False)
            case "lost-answer":
                return Hang(executed=True)
            case "reset-before":
                return Reset(executed=False)
            case "reset-after":
                return Reset(executed=True)
            case "truncated":
                return Truncated()
            case "cut":
                return Truncated(cut=True)
            case "garbage":
                return Garbage()
            case "status-429":
                return Status(status=429, headers=rng.choice(({}, {"retry-after": "1"})))
            case "status-5xx":
                return Status(status=rng.choice((500, 502, 503, 504)))
            case "rpc-error":
                status, body = rng.choice(_JUPITER_ERRORS)
                return Status(status=status, body=body)
            case _:
                raise AssertionError(kind)


@functools.lru_cache(maxsize=64)
def _split(target: str) -> tuple[str, Mapping[str, str]]:
    parts = urlsplit(target)
    return parts.path, dict(parse_qsl(parts.query))


def _drawn(rates: Rates, rng: random.Random) -> str | None:
    """At most one kind, by its rate."""
    if not rates:
        return None
    left = rng.random()
    for kind, rate in rates.items():
        left -= rate
        if left < 0:
            return kind
    return None


def _send_fault(kind: str | None, rng: random.Random) -> Fault | None:
    match kind:
        case None:
            return None
        case "lost-send":
            return LostSend()
        case "late-landing":
            return LateLanding(slots=rng.randint(1, 20))
        case "very-late-landing":
            return LateLanding(slots=rng.randint(20, 140))
        case "last-moment-landing":
            return LateLanding(slots=rng.randint(*LAST_MOMENT_SLOTS))
        case "last-block-landing":
            return LateLanding(slots=rng.randint(*LAST_BLOCK_SLOTS))
        case "duplicate-landing":
            return DuplicateLanding(slots=rng.randint(0, 20))
        case "dropped-block":
            return DroppedBlock()
        case "dropped-block-requeued":
            return DroppedBlock(requeue=True)
        case _:
            raise AssertionError(kind)


@frozen
class Wires:
    """Makes the transports of one life; a MakeTransport."""

    world: World
    life: Life
    seed: str

    def __call__(self, origin: Origin, *, headers: Mapping[str, str], max_body_bytes: int) -> SimulatedTransport:
        """Connect to an endpoint of the world by its host."""
        return SimulatedTransport(
            endpoint=self.world.endpoints[origin.host],
            world=self.world,
            life=self.life,
            headers=dict(headers),
            rng=chance(f"{self.seed} wire {origin.host}"),
        )

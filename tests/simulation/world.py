"""The world around the daemon: the localnet's core with its nodes and Jupiter, what is on its way to them, and its troubles."""

import gc
import random
from collections.abc import Mapping

import trio
from attrs import define, field, frozen
from solders.keypair import Keypair

from executor.localnet.cluster import ClusterSettings
from executor.localnet.faults import Order, StaleQuote
from executor.localnet.http import HttpReply
from executor.localnet.market import worth
from executor.localnet.node import Exchange
from executor.localnet.server import Face
from executor.localnet.tokens import SOL, TOKENS
from executor.localnet.visit import NodeSettings
from executor.localnet.world import JupiterFace, Localnet, LocalnetSettings
from tests.simulation.chance import chance
from tests.simulation.chronicle import Chronicle
from tests.simulation.climate import Climate
from tests.simulation.clock import WallClock, true_unix_ns

SLOT_SECONDS = 0.4
TIDY_SECONDS = 2.0
TRADER_RATE = 0.2
"""Slots in which others trade, too; what they do is not what is looked at, and costs time."""
POOR_LAMPORTS = 400_000_000
POOR_USD = 40
JUPITER_HOST = "jupiter"
MAX_LAG_SLOTS = 300
MAX_LAG_SECONDS = 60.0
MAX_OUTAGE_SECONDS = 40.0


@define(eq=False)
class Endpoint:
    """A node or Jupiter, as somebody on the wire meets it: one machine, or several behind a balancer."""

    host: str
    machines: tuple[Face, ...]
    trouble: str | None = None
    """What it does to every call at the moment: a kind of wire fault."""
    last_reply: HttpReply | None = None

    def machine(self, rng: random.Random) -> Face:
        """Whichever the balancer takes."""
        return self.machines[0] if len(self.machines) == 1 else rng.choice(self.machines)


@frozen
class Late:
    """A message whose sender no longer waits for it."""

    at: float
    endpoint: Endpoint
    exchange: Exchange


@define(kw_only=True, eq=False)
class World:
    """Everything but the daemon and its callers. Made inside of trio's run: its genesis takes the time."""

    climate: Climate
    seed: str
    chronicle: Chronicle
    wallet: Keypair
    clock: WallClock = field(factory=WallClock)
    localnet: Localnet = field(init=False)
    endpoints: Mapping[str, Endpoint] = field(init=False)
    _rng: random.Random = field(init=False)
    _nursery: trio.Nursery | None = None
    _episodes: trio.CancelScope = field(factory=trio.CancelScope)

    def __attrs_post_init__(self) -> None:
        climate = self.climate
        self._rng = chance(f"{self.seed} world")
        settings = LocalnetSettings(
            seed=self._rng.getrandbits(32),
            nodes=climate.nodes * climate.machines,
            trader=climate.trader,
            cluster=ClusterSettings(
                skip_rate=climate.skip_rate, fork_rate=climate.fork_rate, fork_requeue_rate=climate.fork_requeue_rate
            ),
            node=NodeSettings(transaction_delay_slots=climate.transaction_delay_slots),
        )
        self.localnet = Localnet(settings, unix_ns=true_unix_ns)
        endpoints = [Endpoint(f"node-{i}", self.localnet.nodes[i :: climate.nodes]) for i in range(climate.nodes)]
        endpoints.append(Endpoint(JUPITER_HOST, (JupiterFace(self.localnet.jupiter),)))
        self.endpoints = {endpoint.host: endpoint for endpoint in endpoints}
        self._fund()

    def _fund(self) -> None:
        owner = self.wallet.pubkey()
        if not self.climate.poor:
            self.localnet.fund_fully(owner)
            return
        amounts = {token.mint: worth(token, POOR_USD) for token in TOKENS if token != SOL}
        self.localnet.fund(owner, lamports=POOR_LAMPORTS, tokens=amounts)

    async def run(self) -> None:
        """Let slots pass and troubles come, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._pass_slots)
            nursery.start_soon(_tidy_up)
            with self._episodes:
                async with trio.open_nursery() as episodes:
                    for node in self.localnet.nodes:
                        episodes.start_soon(self._lag, node.name)
                    for endpoint in self.endpoints.values():
                        episodes.start_soon(self._fail, endpoint)
                    episodes.start_soon(self._jump)

    def calm(self) -> None:
        """End all troubles; what is on its way still arrives."""
        self._episodes.cancel()
        self.climate = self.climate.calmed()
        self.localnet.faults.clear()
        self.clock.offset_ns = 0
        for endpoint in self.endpoints.values():
            endpoint.trouble = None
        for node in self.localnet.nodes:
            node.lag_slots = 0
        self.chronicle.note("calm")

    def end(self) -> None:
        """Nothing arrives any more."""
        self._nursery = None

    def deliver(self, late: Late) -> None:
        """Let a message arrive that nobody waits for any more."""
        if self._nursery is not None:
            self._nursery.start_soon(self._deliver, late)

    async def _deliver(self, late: Late) -> None:
        await trio.sleep_until(late.at)
        late.exchange.answer()
        self.chronicle.note("arrived-late", late.endpoint.host, *late.exchange.operations)

    async def _pass_slots(self) -> None:
        while True:
            await trio.sleep(SLOT_SECONDS)
            self._strike_quotes()
            if self.climate.trader and self._rng.random() < TRADER_RATE:
                self.localnet.step()
            else:
                self.localnet.cluster.tick()

    def _strike_quotes(self) -> None:
        """The market moves between quote and landing; here the quote is better than the pools, which is the same."""
        if self._rng.random() < self.climate.stale_quote_rate:
            order = Order(fault=StaleQuote(bps=self._rng.choice((5, 50, 400))), target="jupiter", operation="quote", count=1)
            if len(self.localnet.faults.in_force()) < 10:
                self.localnet.faults.order(order)
                self.chronicle.fault("stale-quote")

    async def _lag(self, name: str) -> None:
        """A node falls behind, and catches up or is restarted."""
        node = next(node for node in self.localnet.nodes if node.name == name)
        while self.climate.lag_episodes:
            await trio.sleep(self._rng.expovariate(self.climate.lag_episodes))
            node.lag_slots = round(MAX_LAG_SLOTS ** self._rng.random())
            self.chronicle.fault("lag", name, node.lag_slots)
            await trio.sleep(self._rng.uniform(0.0, MAX_LAG_SECONDS))
            node.lag_slots = 0
            self.chronicle.note("caught-up", name)

    async def _fail(self, endpoint: Endpoint) -> None:
        while self.climate.outage_episodes:
            await trio.sleep(self._rng.expovariate(self.climate.outage_episodes))
            endpoint.trouble = self._rng.choice(
                ("lost-request", "lost-answer", "refused", "status-5xx", "status-429", "reset-after")
            )
            self.chronicle.fault("outage", endpoint.host, endpoint.trouble)
            await trio.sleep(MAX_OUTAGE_SECONDS ** self._rng.random())
            endpoint.trouble = None
            self.chronicle.note("recovered", endpoint.host)

    async def _jump(self) -> None:
        while self.climate.clock_jumps:
            await trio.sleep(self._rng.expovariate(self.climate.clock_jumps))
            self.chronicle.fault("clock-jump", self.clock.jump(self._rng))


async def _tidy_up() -> None:
    """Collect young garbage at times of the history's own; left to the interpreter, it would be when other histories decide."""
    while True:
        await trio.sleep(TIDY_SECONDS)
        gc.collect(1)

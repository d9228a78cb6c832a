"""How bad a world is: the rates of everything that can go wrong, drawn from a history's seed.

A history is calm at its base and has a few moods on top, so that every kind of trouble is met alone and beside others. The
rates are bounded such that most trades still succeed.
"""

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType

from attrs import evolve, frozen

Rates = Mapping[str, float]

NONE: Rates = MappingProxyType({})


@frozen(kw_only=True)
class Climate:
    """Rates are chances per call, unless their names say otherwise."""

    moods: tuple[str, ...] = ()
    nodes: int = 2
    machines: int = 1
    """Behind the URL of each node, any of which may answer a call."""
    trades_per_second: float = 40.0
    latency_seconds: tuple[float, float] = (0.004, 0.09)
    """From the request's leaving to its being carried out."""
    slow_rate: float = 0.01
    """Calls that take up to three seconds: longer than their callers wait."""
    node_wire: Rates = NONE
    """What the wire does to calls to nodes, by kind."""
    send_wire: Rates = NONE
    """The same to sends, in place of `node_wire` where there is any."""
    jupiter_wire: Rates = NONE
    send: Rates = NONE
    """What becomes of a sent transaction behind the node that took it."""
    skip_rate: float = 0.05
    fork_rate: float = 0.0
    """Per slot."""
    fork_requeue_rate: float = 0.5
    transaction_delay_slots: int = 0
    trader: bool = True
    stale_quote_rate: float = 0.0
    lag_episodes: float = 0.0
    """Per node and second; a node is then up to 300 slots behind for up to a minute."""
    outage_episodes: float = 0.0
    """Per endpoint and second; it is then deaf, refuses or answers errors for up to forty seconds."""
    clock_jumps: float = 0.0
    """Per second."""
    disk_seconds: tuple[float, float] = (0.002, 0.010)
    disk_slow_rate: float = 0.0
    """Commits that take up to six seconds."""
    disk_failures: float = 0.0
    """Per second; no or not every commit succeeds for up to five seconds."""
    disk_deaths: float = 0.0
    """Per second; a sync fails, nothing is written from then on, and after up to five seconds the machine is started anew."""
    crash_steps: int = 0
    """The mean number of steps of a daemon's tasks in its life; 0: it dies of nothing."""
    crash_at_commit: float = 0.0
    crash_at_send: float = 0.0
    stops: float = 0.0
    """Orderly restarts, per second."""
    halts: float = 0.0
    """Per second; an operator resumes after up to eight."""
    breaker: bool = False
    """It opens on errors, losses and slowness, as configured by default; else only on what nobody can switch off."""
    poor: bool = False
    """The wallet holds little."""
    preflight: bool = False
    """The daemon lets nodes check what it sends."""
    tight: float = 0.0
    """Requests that allow no slippage at all."""
    callers_impatient: float = 0.1
    callers_several: float = 0.08
    """Requests that several callers ask for at once."""
    callers_again: float = 0.08
    """Requests that are asked for again after they have ended."""
    callers_other: float = 0.02
    """Requests whose request_id is used once more with other content."""

    def calmed(self) -> "Climate":
        """The same world after all troubles."""
        return Climate(
            nodes=self.nodes,
            machines=self.machines,
            breaker=self.breaker,
            trader=False,
            skip_rate=self.skip_rate,
            preflight=self.preflight,
            slow_rate=0.0,
        )


def _wire(scale: float) -> Rates:
    weights = {
        "lost-request": 2,
        "lost-answer": 3,
        "refused": 2,
        "reset-before": 2,
        "reset-after": 3,
        "duplicate": 4,
        "proxied": 3,
        "truncated": 1,
        "cut": 1,
        "garbage": 1,
        "mixed-up": 2,
        "status-429": 3,
        "status-5xx": 3,
        "rpc-error": 2,
    }
    total = sum(weights.values())
    return {kind: scale * weight / total for kind, weight in weights.items()}


def _lossy(c: Climate, rng: random.Random) -> Climate:
    return evolve(c, node_wire=_wire(rng.uniform(0.02, 0.15)), slow_rate=0.03)


def _sick_jupiter(c: Climate, rng: random.Random) -> Climate:
    return evolve(c, jupiter_wire=_wire(rng.uniform(0.05, 0.25)), stale_quote_rate=rng.uniform(0.0, 0.08))


def _laggy(c: Climate, rng: random.Random) -> Climate:
    return evolve(c, nodes=max(c.nodes, 2), lag_episodes=rng.uniform(0.01, 0.08), transaction_delay_slots=1)


def _balanced(c: Climate, rng: random.Random) -> Climate:
    """What one machine says says nothing of the next one that answers."""
    lag = max(c.lag_episodes, rng.uniform(0.01, 0.1))
    return evolve(c, nodes=rng.choice((1, 2)), machines=rng.choice((2, 3)), lag_episodes=lag, transaction_delay_slots=1)


def _forky(c: Climate, rng: random.Random) -> Climate:
    return evolve(c, fork_rate=rng.uniform(0.03, 0.25), skip_rate=rng.uniform(0.0, 0.3), fork_requeue_rate=rng.random())


def _congested(c: Climate, rng: random.Random) -> Climate:
    names = ("lost-send", "late-landing", "very-late-landing", "duplicate-landing")
    forks = ("dropped-block", "dropped-block-requeued")  # each takes the transactions of its whole block back
    return evolve(
        c,
        send={**{name: rng.uniform(0.0, 0.05) for name in names}, **{name: rng.uniform(0.0, 0.004) for name in forks}},
    )


def _lost(c: Climate, rng: random.Random) -> Climate:
    """Few transactions land at once, some never: proofs of expiry are what is tried."""
    rates = {"lost-send": rng.uniform(0.8, 0.98), "last-moment-landing": rng.uniform(0.0, 0.02)}
    return evolve(c, send=rates, nodes=min(c.nodes, 2), trades_per_second=20.0)


def _last_moment(c: Climate, rng: random.Random) -> Climate:
    """They land when they are about to expire, while nodes are behind: whoever believes one of them is wrong."""
    rates = {"last-block-landing": 0.4, "lost-send": rng.uniform(0.59, 0.6)}  # a few land at once, or no price would ever move
    lag, machines = rng.uniform(0.02, 0.1), max(c.machines, rng.choice((1, 2, 2, 3)))
    nodes = max(c.nodes, 2) if machines == 1 else 1  # so that nobody else holds against what the machines say
    return evolve(c, send=rates, nodes=nodes, machines=machines, lag_episodes=lag, skip_rate=0.0, trades_per_second=20.0)


def _jumpy(c: Climate, rng: random.Random) -> Climate:
    return evolve(c, clock_jumps=rng.uniform(0.1, 2.0))


def _slow_disk(c: Climate, rng: random.Random) -> Climate:
    return evolve(c, disk_seconds=(0.01, rng.uniform(0.02, 0.3)), disk_slow_rate=0.004)


def _full_disk(c: Climate, rng: random.Random) -> Climate:
    return evolve(c, disk_failures=rng.uniform(0.05, 0.4))


def _dying_disk(c: Climate, rng: random.Random) -> Climate:
    return evolve(c, disk_deaths=rng.uniform(0.1, 0.5))


def _crashy(c: Climate, rng: random.Random) -> Climate:
    steps = round(10 ** rng.uniform(3.0, 4.1))
    commit, send = (rng.choice((0.0, 0.006)) for _ in range(2))
    return evolve(c, crash_steps=steps, crash_at_commit=commit, crash_at_send=send)


def _restarting(c: Climate, rng: random.Random) -> Climate:
    return evolve(c, stops=rng.uniform(0.03, 0.2))


def _halting(c: Climate, rng: random.Random) -> Climate:
    return evolve(c, halts=rng.uniform(0.05, 0.3))


def _outages(c: Climate, rng: random.Random) -> Climate:
    return evolve(c, outage_episodes=rng.uniform(0.01, 0.06))


def _poor(c: Climate, rng: random.Random) -> Climate:
    return evolve(c, poor=True, callers_several=0.2)


def _checking(c: Climate, rng: random.Random) -> Climate:
    """Proxies ask twice, and what the first preflight let pass is under way when the second one refuses it."""
    node_wire = c.node_wire or {"proxied": 0.04}
    send_wire = {**node_wire, "proxied": rng.choice((0.1, 0.5))}
    send = {"late-landing": 0.3, **c.send}
    return evolve(c, preflight=True, node_wire=node_wire, send_wire=send_wire, send=send, trader=True, tight=0.5)


MOODS: Mapping[str, Callable[[Climate, random.Random], Climate]] = MappingProxyType(
    {
        "lossy": _lossy,
        "sick-jupiter": _sick_jupiter,
        "laggy": _laggy,
        "balanced": _balanced,
        "forky": _forky,
        "congested": _congested,
        "lost": _lost,
        "last-moment": _last_moment,
        "jumpy": _jumpy,
        "slow-disk": _slow_disk,
        "full-disk": _full_disk,
        "dying-disk": _dying_disk,
        "crashy": _crashy,
        "restarting": _restarting,
        "halting": _halting,
        "outages": _outages,
        "poor": _poor,
        "checking": _checking,
    }
)
_WEIGHTS: Mapping[str, int] = MappingProxyType(
    {"crashy": 6, "lossy": 2, "congested": 2, "lost": 2, "last-moment": 2, "slow-disk": 2, "checking": 3}
)


def draw(rng: random.Random) -> Climate:
    """Draw the climate of one history: up to four moods on a calm base."""
    climate = Climate(
        nodes=rng.choice((1, 1, 2, 2, 2, 3)),
        trader=rng.random() < 0.6,
        breaker=rng.random() < 0.3,
        trades_per_second=rng.choice((25.0, 50.0, 80.0)),
        transaction_delay_slots=rng.choice((0, 0, 1)),
    )
    names = list(MOODS)
    weights = [_WEIGHTS.get(name, 1) for name in names]
    moods = sorted(set(rng.choices(names, weights, k=rng.choice((0, 1, 2, 3, 4)))), key=names.index)
    for name in moods:
        climate = MOODS[name](climate, rng)
    return evolve(climate, moods=tuple(moods))

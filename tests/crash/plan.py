"""What happens in each round: a pure function of the seed and the round's number, so that a round can be made again."""

import random
from collections.abc import Mapping

from attrs import frozen

from tests.crash import points

UNIQUE_TRADES = 5
EQUAL_TRADES = 3
WAYS = (("SOL", "USDC"), ("USDC", "SOL"), ("JitoSOL", "USDC"), ("RAY", "SOL"), ("USDC", "RAY"))
BASE_AMOUNTS = {"SOL": 20_000_000, "USDC": 3_000_000, "JitoSOL": 20_000_000, "RAY": 1_000_000, "BONK": 0}
"""Raw; to it a number is added that no other request of the run has."""
AMOUNTS_PER_ROUND = 20
HOPELESS_PRICE = 1e9
"""A caller's expectation that no quote meets: the trade is denied."""
FAULTS: tuple[Mapping[str, object], ...] = (
    {"kind": "lost-send", "count": 4},
    {"kind": "lost-send", "count": None},
    {"kind": "dropped-block", "requeue": True, "count": 2},
    {"kind": "dropped-block", "requeue": False, "count": 2},
    {"kind": "late-landing", "slots": 6, "count": 3},
    {"kind": "duplicate-landing", "slots": 2, "count": 3},
    {"kind": "reset", "operation": "sendTransaction", "executed": True, "count": 3},
    {"kind": "reset", "operation": "sendTransaction", "count": 3},
    {"kind": "hang", "operation": "sendTransaction", "executed": True, "count": 2},
    {"kind": "garbage", "operation": "getSignatureStatuses", "count": 2},
    {"kind": "lag", "operation": "getSignatureStatuses", "slots": 4, "count": 3},
    {"kind": "truncated", "operation": "getTransaction", "count": 2},
    {"kind": "status", "operation": "getMultipleAccounts", "status": 429, "count": 2},
    {"kind": "latency", "operation": "simulateTransaction", "seconds": 0.1, "count": 3},
    {"kind": "truncated", "operation": "sendTransaction", "cut": True, "count": 3},
    {"kind": "rpc-error", "operation": "sendTransaction", "code": -32005, "count": 3},
    {"kind": "hang", "operation": "getSignatureStatuses", "count": 2},
    {"kind": "reset", "operation": "getTransaction", "executed": True, "count": 3},
    {"kind": "lag", "target": "node:node-1", "slots": 12, "count": None},
    {"kind": "status", "target": "node:node-0", "status": 503, "count": None},
    {"kind": "status", "status": 503, "count": 20},
    {"kind": "stale-quote", "target": "jupiter", "bps": 400, "count": 3},
)
"""Of both nodes, unless one is named."""
KEEPS_IN_FLIGHT: Mapping[str, object] = {"kind": "lost-send", "count": None}
"""Nothing lands: for drains that must not end early, and for expiries."""


@frozen(kw_only=True)
class Planned:
    """One request, and how many callers make it at the same time."""

    request_id: str
    source: str
    target: str
    amount: int
    """Raw."""
    expected_price: float = 0.0
    max_slippage_bps: int = 300
    callers: int = 1


@frozen(kw_only=True)
class Round:
    """One life of the daemon, and how it ends."""

    number: int
    point: str
    count: int
    """At which time that the point is reached."""
    when: str
    """From when on the point counts."""
    after_seconds: float
    """When it is killed at random, or told to drain."""
    expires: bool
    """Blockhashes die in the middle of it."""
    drains: bool
    slots_without_daemon: int
    """How long nobody watches afterwards; 160 outlast a blockhash, 400 what a node has at hand without a search."""
    faults: tuple[Mapping[str, object], ...]
    requests: tuple[Planned, ...]


def plan_round(seed: int, number: int) -> Round:
    """Plan a round; the first is 0. Each point has its turn within as many rounds as there are points."""
    point = _point(seed, number)
    rng = random.Random(f"round {seed} {number}")  # noqa: S311 - repeatable on purpose
    drains, expires = point in points.DRAIN, point in points.EXPIRING
    faults = rng.sample(FAULTS, rng.choice((0, 0, 1, 1, 2)))
    return Round(
        number=number,
        point=point,
        count=1 if drains or expires or point in points.RECOVERY else rng.choice((1, 1, 2, 3)),
        when=points.FROM_THE_START if point in points.RECOVERY or rng.random() < 0.2 else points.ONCE_READY,
        after_seconds=rng.uniform(0.05, 0.5) if point != points.AT_START else rng.uniform(0.05, 0.9),
        expires=expires,
        drains=drains,
        slots_without_daemon=rng.choice((0, 0, 0, 0, 0, 0, 160, 400, 900)),
        faults=(KEEPS_IN_FLIGHT,) if drains or expires else tuple(faults),
        requests=_requests(rng, number),
    )


def _point(seed: int, number: int) -> str:
    deck = list(points.ALL)
    turn, place = divmod(number, len(deck))
    random.Random(f"deck {seed} {turn}").shuffle(deck)  # noqa: S311 - repeatable on purpose
    return deck[place]


def _requests(rng: random.Random, number: int) -> tuple[Planned, ...]:
    first = 1 + number * AMOUNTS_PER_ROUND
    unique = [_planned(rng, f"r{number}-{i}", first + i) for i in range(UNIQUE_TRADES)]
    way = rng.choice(WAYS)
    equal = [_planned(rng, f"r{number}-equal-{i}", first + UNIQUE_TRADES, way) for i in range(EQUAL_TRADES)]
    denied = _planned(rng, f"r{number}-denied", first + UNIQUE_TRADES + 1, expected_price=HOPELESS_PRICE)
    # A few of the smallest units of BONK are worth nothing: no route.
    rejected = _planned(rng, f"r{number}-rejected", first + UNIQUE_TRADES + 2, ("BONK", "USDC"))
    planned = [*unique, *equal, denied, rejected]
    rng.shuffle(planned)
    return tuple(planned)


def _planned(
    rng: random.Random, request_id: str, addition: int, way: tuple[str, str] | None = None, *, expected_price: float = 0.0
) -> Planned:
    source, target = way or rng.choice(WAYS)
    return Planned(
        request_id=request_id,
        source=source,
        target=target,
        amount=BASE_AMOUNTS[source] + addition,
        expected_price=expected_price,
        # Without any leeway a swap reverts as soon as another one lands between its simulation and itself.
        max_slippage_bps=rng.choice((300, 300, 0)),
        callers=rng.choice((1, 1, 2, 3)),
    )

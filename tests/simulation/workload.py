"""Who asks for what, and when: drawn from the seed, trade by trade; a shorter history is the beginning of a longer one."""

import random
from collections.abc import Iterator
from fractions import Fraction

from attrs import evolve, frozen

from executor.localnet.market import USD_PRICES
from executor.localnet.tokens import BERN, BONK, JITOSOL, RAY, SOL, USDC, Token
from executor.model import TradeRequest, Urgency
from tests.simulation.chance import chance
from tests.simulation.climate import Climate

UNIQUE = 10_000
"""The last digits of an amount are the number of its trade: what lands can be told apart without the journal."""
EQUAL_RATE = 0.03
"""Groups of requests that differ in nothing but their request_id."""
MAX_EQUAL = 5
SOURCES = ("arbitrage", "rebalancer", "desk-7")
_PAIRS = (
    (SOL, USDC),
    (USDC, SOL),
    (SOL, BONK),
    (BONK, SOL),
    (SOL, JITOSOL),
    (JITOSOL, SOL),
    (USDC, RAY),
    (RAY, USDC),
    (BONK, RAY),
    (BERN, SOL),
    (USDC, BERN),
)
_STALE = (Fraction(102, 100), Fraction(120, 100))


@frozen(kw_only=True)
class Plan:
    """One trade to come."""

    number: int
    after_seconds: float
    """After the trade before it."""
    request: TradeRequest
    seed: str
    """Of what its callers do."""


def plans(seed: str, climate: Climate, trades: int) -> Iterator[Plan]:
    """Draw that many trades."""
    equal: TradeRequest | None = None
    left = 0
    for number in range(trades):
        rng = chance(f"{seed} trade {number}")
        pause = rng.expovariate(climate.trades_per_second)
        if left:
            left, pause = left - 1, 0.0
        else:
            equal = _request(number, rng)
            if rng.random() < climate.tight:
                equal = evolve(equal, max_slippage_bps=0)
            left = rng.randint(1, MAX_EQUAL - 1) if rng.random() < EQUAL_RATE else 0
        assert equal is not None
        request = evolve(equal, request_id=f"{seed.replace(' ', '-')}-{number}")
        yield Plan(number=number, after_seconds=pause, request=request, seed=f"{seed} callers {number}")


def other_content(request: TradeRequest) -> TradeRequest:
    """The same request_id for something else; its amount is nobody else's."""
    return evolve(request, in_amount=request.in_amount + UNIQUE // 2)


def _request(number: int, rng: random.Random) -> TradeRequest:
    given, taken = rng.choice(_PAIRS)
    usd = Fraction(rng.randint(50, 800), 100)
    return TradeRequest(
        request_id="",
        source_service=rng.choice(SOURCES),
        input_mint=str(given.mint),
        output_mint=str(taken.mint),
        in_amount=_unique(int(usd / USD_PRICES[given] * 10**given.decimals), number),
        max_slippage_bps=rng.choice((0, 3, 10, 30, 50, 100, 100, 200, 300, 301)) if rng.random() < 0.9 else 100,
        urgency=rng.choice(tuple(Urgency)),
        expected_price=_price(given, taken, rng),
    )


def _unique(amount: int, number: int) -> int:
    return max(amount // UNIQUE, 1) * UNIQUE + number


def _price(given: Token, taken: Token, rng: random.Random) -> float:
    """Mostly none; sometimes what one may expect, sometimes one that was true long ago."""
    if rng.random() < 0.8:
        return 0.0
    fair = USD_PRICES[given] / USD_PRICES[taken] * Fraction(90 if BERN in (given, taken) else 99, 100)
    return float(fair if rng.random() < 0.6 else fair * rng.choice(_STALE))

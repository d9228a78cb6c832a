"""Which trades a demo asks for, and in which order. Pure: equal seeds and tokens give equal plans."""

import itertools
import random
from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from executor.cli.demo.cases import SUCCESS, Case, Expected
from executor.rpc import trade_executor_pb2 as pb

LEAST_SWAPS = 40
CENTS = (300, 6_000)
"""What a swap is worth, in cents of a dollar: from 3 to 60 dollars."""
MAX_SLIPPAGE_BPS = 200
"""Wide, for the lost send: prices move on while it is not there. A stale quote is far outside of it."""
URGENCIES = ("LOW", "NORMAL", "HIGH", "CRITICAL")
BOUGHT_SYMBOL = "RAY"
"""The wallet starts without any of it, and buys it in the demo."""
OVER_LIMIT = 2
"""The oversized amount, in limits."""
# Where in the plan the special cases stand, as a share of it. The lost send takes longest, so it is not among the last.
PLACES = {
    Case.EMPTY_BALANCE: 0.08,
    Case.STALE_QUOTE: 0.25,
    Case.FOREIGN_TOKEN: 0.4,
    Case.LOST_SEND: 0.5,
    Case.OVERSIZED: 0.75,
}


@frozen(kw_only=True)
class Token:
    """A token that is traded."""

    symbol: str
    mint: str
    decimals: int
    ten_dollars: int
    """Raw amount that ten dollars buy."""
    max_amount: int
    """The configured limit of one trade, raw."""

    def worth(self, cents: int) -> int:
        """A raw amount worth about so much, with three digits that count: what a person would ask for."""
        amount = max(self.ten_dollars * cents // 1_000, 1)
        unit: int = 10 ** max(len(str(amount)) - 3, 0)
        return amount // unit * unit


FOREIGN = Token(
    symbol="USDT", mint="Es9vMFrzaCERmJfrF4H2FYD4KCoNkY11McCe8BenwNYB", decimals=6, ten_dollars=10_000_000, max_amount=0
)
"""On mainnet the most traded token that is not on the default whitelist; the localnet does not know it at all."""


@frozen(kw_only=True)
class Planned:
    """One trade that is to be asked for."""

    source: Token
    target: Token
    in_amount: int
    urgency: str = "NORMAL"
    case: Case | None = None
    fills_wallet: bool = False
    """Buys the token that the wallet has none of; whoever sells it has to wait."""
    number: int = 0

    @property
    def expected(self) -> Expected:
        """How it has to end."""
        return self.case.facts.expected if self.case else SUCCESS

    @property
    def touches_bought(self) -> bool:
        """It buys or sells the token that the wallet starts without."""
        return BOUGHT_SYMBOL in {self.source.symbol, self.target.symbol}

    @property
    def needs_filled_wallet(self) -> bool:
        """It sells what has to be bought before."""
        return self.source.symbol == BOUGHT_SYMBOL and self.case is not Case.EMPTY_BALANCE

    def request(self) -> pb.TradeRequest:
        """As the daemon gets it. No expected price: the quote is the reference."""
        return pb.TradeRequest(
            request_id=f"demo-{self.number:03}",
            source_service="demo",
            input_token=self.source.mint,
            output_token=self.target.mint,
            amount_lamports=self.in_amount,
            max_slippage_bps=MAX_SLIPPAGE_BPS,
            urgency_level=f"URGENCY_LEVEL_{self.urgency}",
        )


def make_plan(tokens: Sequence[Token], *, swaps: int, seed: int) -> tuple[Planned, ...]:
    """So many swaps that have to succeed, every ordered pair of tokens among them, and the cases that must not."""
    rng = random.Random(f"demo {seed}")  # noqa: S311 - a reproducible plan, not a secret
    ordinary = _in_order(_swaps(tokens, swaps - 1, rng), rng)
    named = {token.symbol: token for token in tokens}
    plan = _with_cases(ordinary, _purchase(named, ordinary), cases=_cases(named))
    return tuple(
        evolve(planned, number=number, urgency=URGENCIES[number % len(URGENCIES)]) for number, planned in enumerate(plan, start=1)
    )


def _swaps(tokens: Sequence[Token], count: int, rng: random.Random) -> list[Planned]:
    """Every ordered pair, then chance."""
    pairs = list(itertools.permutations(tokens, 2))
    chosen = [*pairs, *(rng.choice(pairs) for _ in range(count - len(pairs)))]
    return [Planned(source=a, target=b, in_amount=a.worth(rng.randint(*CENTS))) for a, b in chosen]


def _in_order(swaps: list[Planned], rng: random.Random) -> list[Planned]:
    """Shuffled, but the token that the wallet has none of is bought after the empty balance, and sold in the second half."""
    rng.shuffle(swaps)
    ordered = [planned for planned in swaps if not planned.touches_bought]
    for planned in swaps:
        if planned.touches_bought:
            earliest = len(ordered) // 2 if planned.needs_filled_wallet else _place(Case.EMPTY_BALANCE, swaps)
            ordered.insert(rng.randint(earliest, len(ordered)), planned)
    return ordered


def _place(case: Case, ordinary: Sequence[Planned]) -> int:
    return round(PLACES[case] * len(ordinary))


def _purchase(named: Mapping[str, Token], ordinary: Sequence[Planned]) -> Planned:
    """Half more than what is going to be sold of it."""
    sol = named["SOL"]
    cents = sum(planned.in_amount * 1_000 // planned.source.ten_dollars for planned in ordinary if planned.needs_filled_wallet)
    return Planned(source=sol, target=named[BOUGHT_SYMBOL], in_amount=sol.worth(cents * 3 // 2), fills_wallet=True)


def _cases(named: Mapping[str, Token]) -> Mapping[Case, Planned]:
    sol, usdc, bought = named["SOL"], named["USDC"], named[BOUGHT_SYMBOL]
    return {
        Case.EMPTY_BALANCE: Planned(source=bought, target=usdc, in_amount=bought.worth(2_500)),
        Case.STALE_QUOTE: Planned(source=sol, target=usdc, in_amount=sol.worth(4_000)),
        Case.FOREIGN_TOKEN: Planned(source=usdc, target=FOREIGN, in_amount=usdc.worth(2_500)),
        Case.OVERSIZED: Planned(source=sol, target=usdc, in_amount=OVER_LIMIT * sol.max_amount),
    }


def _with_cases(ordinary: list[Planned], purchase: Planned, *, cases: Mapping[Case, Planned]) -> list[Planned]:
    """Put the cases and the purchase among the ordinary swaps; one of these is the one whose first send is lost."""
    plan = list(ordinary)
    for case in PLACES:
        at = _place(case, ordinary)
        if case in cases:
            plan.insert(at, evolve(cases[case], case=case))
        else:
            plan[at] = evolve(plan[at], case=case)
        if case is Case.EMPTY_BALANCE:
            plan.insert(at + 1, purchase)
    return plan

"""The localnet's router: which way through the pools gives most, to the unit that the swap program will pay."""

import enum
from collections.abc import Callable, Collection, Sequence
from fractions import Fraction
from typing import Final

from attrs import frozen
from solders.pubkey import Pubkey

from executor.errors import ExecutorError
from executor.localnet.formula import (
    FeeSide,
    NotSwappable,
    PlatformFee,
    RouteAmounts,
    maximum_in,
    route_exact_in,
    route_exact_out,
)
from executor.localnet.market import MIDDLE_TOKENS, POOL_LABEL, Market, Path
from executor.localnet.program.layout import ACCOUNTS_PER_HOP, TOKEN_2022_PROGRAM
from executor.localnet.tokens import SOL, TOKENS, USDC, Token
from executor.units import BPS_PER_WHOLE, U64_MAX, minimum_out

Reserves = Callable[[Pubkey], int]

MAX_ACCOUNTS: Final = 64


class SwapMode(enum.Enum):
    """Which amount is exact; the value is Jupiter's name of it."""

    EXACT_IN = "ExactIn"
    EXACT_OUT = "ExactOut"


class Refusal(ExecutorError):
    """A request that Jupiter answers with an error: the status, the sentence, and the code if it has one."""

    def __init__(self, error: str, code: str | None = None, *, status: int = 400) -> None:
        super().__init__(error)
        self.error = error
        self.code = code
        self.status = status


@frozen(kw_only=True)
class QuoteRequest:
    """What is asked for, read and within its ranges."""

    token_in: Token
    token_out: Token
    amount: int
    mode: SwapMode = SwapMode.EXACT_IN
    slippage_bps: int = 50
    platform_fee_bps: int = 0
    direct_only: bool = False
    any_middle_token: bool = False
    dexes: Collection[str] | None = None
    """The only labels that are allowed; None: all."""
    excluded_dexes: Collection[str] = ()
    max_accounts: int = MAX_ACCOUNTS
    legacy_transaction: bool = False


@frozen(kw_only=True)
class PricedRoute:
    """A way through the pools with what it takes and gives."""

    path: Path
    amounts: RouteAmounts
    spot_out_amount: Fraction
    """What the same input would give if it did not move the pools' prices."""

    @property
    def price_impact(self) -> Fraction:
        """The part of the output that the pools' depth costs, never below 0."""
        return max(Fraction(0), 1 - self.amounts.hops[-1].out_amount / self.spot_out_amount)


def best_route(request: QuoteRequest, *, market: Market, reserves: Reserves) -> PricedRoute:
    """The route that gives most for an exact input, or takes least for an exact output. Raises `Refusal` when there is none."""
    if request.token_in == request.token_out:
        raise Refusal("Input and output mints are not allowed to be equal", "CIRCULAR_ARBITRAGE_IS_DISABLED")
    paths = _allowed_paths(request, market)
    if not paths:
        raise Refusal("No routes found", "NO_ROUTES_FOUND")
    priced = [(path, amounts) for path in paths if (amounts := _amounts(request, path, reserves)) is not None]
    if not priced:
        raise _no_amounts(request, paths, reserves)
    path, amounts = min(priced, key=_cost)
    return PricedRoute(
        path=path, amounts=amounts, spot_out_amount=_spot(path, amounts.hops[0].in_amount, reserves, after_fees=True)
    )


def direct_outputs(request: QuoteRequest, *, market: Market, reserves: Reserves) -> dict[str, int]:
    """What every pool of just these two tokens gives for an exact input, by its address; nothing for an exact output."""
    if request.mode is SwapMode.EXACT_OUT:
        return {}
    paths = market.paths(request.token_in, request.token_out, ())
    priced = ((path, _amounts(request, path, reserves)) for path in paths)
    return {str(path[0].pool.address): amounts.out_amount for path, amounts in priced if amounts is not None}


def threshold(mode: SwapMode, *, in_amount: int, out_amount: int, slippage_bps: int) -> int:
    """What the program holds the other amount against: the least output, or the most input. Raises `Refusal` beyond 100 %."""
    if slippage_bps > BPS_PER_WHOLE:
        raise Refusal("Cannot compute other amount threshold", "CANNOT_COMPUTE_OTHER_AMOUNT_THRESHOLD")
    if mode is SwapMode.EXACT_OUT:
        return maximum_in(in_amount, slippage_bps)
    return minimum_out(out_amount, slippage_bps)


def usd_value(token: Token, amount: int, *, market: Market, reserves: Reserves) -> Fraction:
    """What an amount is worth at the pools' prices, in dollars."""
    path = () if token == USDC else market.paths(token, USDC, (SOL,))[0]
    return _spot(path, amount, reserves, after_fees=False) / USDC.raw(1)


def meets_token_2022(path: Path) -> bool:
    """Tell whether a mint on the way belongs to Token-2022."""
    return any(TOKEN_2022_PROGRAM in (step.token_in.program, step.token_out.program) for step in path)


def _allowed_paths(request: QuoteRequest, market: Market) -> Sequence[Path]:
    allowed = request.dexes is None or POOL_LABEL in request.dexes
    if not allowed or POOL_LABEL in request.excluded_dexes:
        return []
    middle_tokens = () if request.direct_only else TOKENS if request.any_middle_token else MIDDLE_TOKENS
    paths = market.paths(request.token_in, request.token_out, middle_tokens)
    return [path for path in paths if len(path) * ACCOUNTS_PER_HOP <= request.max_accounts]


def _amounts(request: QuoteRequest, path: Path, reserves: Reserves) -> RouteAmounts | None:
    hops = [step.hop(reserves) for step in path]
    try:
        if request.mode is SwapMode.EXACT_OUT:
            return route_exact_out(hops, request.amount, platform_fee_bps=request.platform_fee_bps)
        fee = PlatformFee(bps=request.platform_fee_bps, side=FeeSide.OUTPUT)
        return route_exact_in(hops, request.amount, platform_fee=fee)
    except NotSwappable:
        return None


def _cost(priced: tuple[Path, RouteAmounts]) -> tuple[int, int]:
    """What to minimise: of all routes either the input is the same or the output; of equals the shorter."""
    path, amounts = priced
    return amounts.in_amount - amounts.out_amount, len(path)


def _no_amounts(request: QuoteRequest, paths: Sequence[Path], reserves: Reserves) -> Refusal:
    room = max(U64_MAX - reserves(path[0].vault_in) for path in paths)
    if request.mode is SwapMode.EXACT_IN and request.amount > room:
        return Refusal("The route plan does not consume all the amount", "ROUTE_PLAN_DOES_NOT_CONSUME_ALL_THE_AMOUNT")
    return Refusal("Could not find any route", "COULD_NOT_FIND_ANY_ROUTE")


def _spot(path: Path, in_amount: int, reserves: Reserves, *, after_fees: bool) -> Fraction:
    amount = Fraction(in_amount)
    for step in path:
        amount *= Fraction(reserves(step.vault_out), reserves(step.vault_in))
        if after_fees:
            for fee_bps in (step.pool.state.fee_bps, step.token_in.transfer_fee.bps, step.token_out.transfer_fee.bps):
                amount *= Fraction(BPS_PER_WHOLE - fee_bps, BPS_PER_WHOLE)
    return amount

"""What the swap program will do, to the unit, without running it.

The market quotes with these functions and the tests hold them against the program. All divisions round in the pool's favour: an
output down, an input up. Every refusal carries the code with which the program would refuse.
"""

import enum
from collections.abc import Sequence

from attrs import frozen

from executor.errors import ExecutorError
from executor.localnet.program.layout import ProgramError
from executor.units import BPS_PER_WHOLE, U64_MAX, ceil_div


class NotSwappable(ExecutorError):
    """The program would refuse these amounts."""

    def __init__(self, code: ProgramError, message: str) -> None:
        super().__init__(message)
        self.code = code


@frozen(kw_only=True)
class TransferFee:
    """What a Token-2022 mint withholds from every transfer between two accounts, in the epoch that is meant."""

    bps: int
    maximum: int

    def withheld(self, amount: int) -> int:
        """The part of a sent amount that the receiver does not get."""
        return min(ceil_div(amount * self.bps, BPS_PER_WHOLE), self.maximum)

    def arriving(self, amount: int) -> int:
        """What the receiver gets of a sent amount."""
        return amount - self.withheld(amount)

    def sending(self, arriving: int) -> int:
        """The least amount to send so that exactly `arriving` arrives. One unit more adds 0 or 1 to it, so that there is one."""
        capped = arriving + self.maximum
        if self.bps == BPS_PER_WHOLE:
            return capped if arriving else 0
        return min(ceil_div(arriving * BPS_PER_WHOLE, BPS_PER_WHOLE - self.bps), capped)


NO_TRANSFER_FEE = TransferFee(bps=0, maximum=0)


@frozen(kw_only=True)
class Hop:
    """A pool as a swap in one direction finds it."""

    reserve_in: int
    reserve_out: int
    fee_bps: int
    in_transfer_fee: TransferFee = NO_TRANSFER_FEE
    out_transfer_fee: TransferFee = NO_TRANSFER_FEE


@frozen(kw_only=True)
class HopAmounts:
    """What left the input account of a hop and what arrived in its output account."""

    in_amount: int
    out_amount: int


class FeeSide(enum.Enum):
    """In which mint the platform fee is paid."""

    INPUT = enum.auto()
    OUTPUT = enum.auto()


@frozen(kw_only=True)
class PlatformFee:
    """The share of the one who sent the user; an exact-out route pays it in the input mint only."""

    bps: int
    side: FeeSide


NO_PLATFORM_FEE = PlatformFee(bps=0, side=FeeSide.INPUT)


@frozen(kw_only=True)
class Passage:
    """Which transfers stand around the hops, each of which may be charged by a Token-2022 mint."""

    head: bool
    """From the user's account to the program's, before the hops."""
    tail: bool
    """From the last hop's account to where the output goes."""


DIRECT = Passage(head=False, tail=False)
"""`route` and `exact_out_route`, between the user's own accounts."""
FORWARDED = Passage(head=False, tail=True)
"""The same, with a destination_token_account."""
SHARED = Passage(head=True, tail=True)
"""The two shared instructions."""


@frozen(kw_only=True)
class RouteAmounts:
    """A whole route. `in_amount` is the program's return value of an exact-out route, `out_amount` that of an exact-in route."""

    in_amount: int
    """Leaves the user's account, platform fee included."""
    out_amount: int
    """Arrives where the output goes, net of every fee."""
    platform_fee_amount: int
    hops: tuple[HopAmounts, ...]


def hop_exact_in(hop: Hop, in_amount: int) -> HopAmounts:
    """Swap an amount that leaves the input account."""
    _require_pool(hop)
    received = hop.in_transfer_fee.arriving(in_amount)
    if hop.reserve_in + received > U64_MAX:
        raise NotSwappable(ProgramError.INVALID_CALCULATION, "the input overflows the pool")
    after_fee = received * (BPS_PER_WHOLE - hop.fee_bps) // BPS_PER_WHOLE
    paid = hop.reserve_out * after_fee // (hop.reserve_in + after_fee)
    out_amount = hop.out_transfer_fee.arriving(paid)
    return HopAmounts(in_amount=in_amount, out_amount=_positive(out_amount, "the input is too small to give any output"))


def hop_exact_out(hop: Hop, out_amount: int) -> HopAmounts:
    """Find the least input that makes exactly `out_amount` arrive in the output account."""
    _require_pool(hop)
    paid = _amount(hop.out_transfer_fee.sending(_positive(out_amount, "the output is 0")))
    if paid >= hop.reserve_out:
        raise NotSwappable(ProgramError.INVALID_CALCULATION, "the output exceeds the pool")
    after_fee = _amount(ceil_div(hop.reserve_in * paid, hop.reserve_out - paid))
    received = _amount(ceil_div(after_fee * BPS_PER_WHOLE, BPS_PER_WHOLE - hop.fee_bps))
    _amount(hop.reserve_in + received)
    return HopAmounts(in_amount=_amount(hop.in_transfer_fee.sending(received)), out_amount=out_amount)


def route_exact_in(
    hops: Sequence[Hop], in_amount: int, *, passage: Passage = DIRECT, platform_fee: PlatformFee = NO_PLATFORM_FEE
) -> RouteAmounts:
    """Swap all that the user gives, through one hop after the other."""
    fee_in = fee_of(in_amount, platform_fee.bps) if platform_fee.side is FeeSide.INPUT else 0
    amount = _positive(in_amount, "the input is 0") - fee_in
    if passage.head:
        amount = hops[0].in_transfer_fee.arriving(amount)
    done = []
    for hop in hops:
        done.append(hop_exact_in(hop, _positive(amount, "nothing arrives at the hop")))
        amount = done[-1].out_amount
    fee_out = fee_of(amount, platform_fee.bps) if platform_fee.side is FeeSide.OUTPUT else 0
    amount -= fee_out
    if passage.tail:
        amount = hops[-1].out_transfer_fee.arriving(amount)
    out_amount = _positive(amount, "nothing arrives at the destination")
    return RouteAmounts(in_amount=in_amount, out_amount=out_amount, platform_fee_amount=fee_in + fee_out, hops=tuple(done))


def route_exact_out(
    hops: Sequence[Hop], out_amount: int, *, passage: Passage = DIRECT, platform_fee_bps: int = 0
) -> RouteAmounts:
    """Find the least input that makes exactly `out_amount` arrive, through one hop after the other."""
    amount = _positive(out_amount, "the output is 0")
    if passage.tail:
        amount = _amount(hops[-1].out_transfer_fee.sending(amount))
    done = []
    for hop in reversed(hops):
        done.append(hop_exact_out(hop, amount))
        amount = done[-1].in_amount
    if passage.head:
        amount = _amount(hops[0].in_transfer_fee.sending(amount))
    fee = fee_on_top(amount, platform_fee_bps)
    in_amount = _amount(amount + fee)
    return RouteAmounts(in_amount=in_amount, out_amount=out_amount, platform_fee_amount=fee, hops=tuple(reversed(done)))


def fee_of(amount: int, bps: int) -> int:
    """The platform fee that is taken out of an amount."""
    return amount * bps // BPS_PER_WHOLE


def fee_on_top(amount: int, bps: int) -> int:
    """The platform fee that is added to what the hops cost: `bps` of the sum of both, as the recorded exact-out route pays it."""
    return amount * bps // (BPS_PER_WHOLE - bps)


def maximum_in(quoted_in_amount: int, slippage_bps: int) -> int:
    """The most that an exact-out route may spend."""
    return min(quoted_in_amount * (BPS_PER_WHOLE + slippage_bps) // BPS_PER_WHOLE, U64_MAX)


def _require_pool(hop: Hop) -> None:
    if not hop.reserve_in or not hop.reserve_out:
        raise NotSwappable(ProgramError.INVALID_CALCULATION, "the pool is empty")


def _positive(amount: int, otherwise: str) -> int:
    if amount <= 0:
        raise NotSwappable(ProgramError.INVALID_CALCULATION, otherwise)
    return amount


def _amount(amount: int) -> int:
    """An amount that a token account can hold; the program takes 2**64 - 1 for an overflow as well."""
    if amount >= U64_MAX:
        raise NotSwappable(ProgramError.INVALID_CALCULATION, "the amount does not fit into 64 bits")
    return amount

"""Money and its arithmetic. Integers only; the unit is in the name.

An amount of a token is an `int` in the token's smallest unit ("raw"), beside its mint and decimals. A price is output per
input in UI units, held as an exact `Fraction`. `Decimal` and `float` appear only in what a person reads.
"""

from decimal import Decimal
from fractions import Fraction
from typing import NewType

Lamports = NewType("Lamports", int)
MicroLamports = NewType("MicroLamports", int)
"""Per compute unit, as the compute budget program takes it."""
Bps = NewType("Bps", int)

LAMPORTS_PER_SOL = 1_000_000_000
LAMPORTS_PER_SIGNATURE = Lamports(5_000)
MICRO_LAMPORTS_PER_LAMPORT = 1_000_000
MAX_COMPUTE_UNIT_LIMIT = 1_400_000
BPS_PER_WHOLE = 10_000
U64_MAX = 2**64 - 1
PACKET_BYTES = 1_232
"""The largest transaction that the network carries."""


def ceil_div(numerator: int, denominator: int) -> int:
    """Divide, rounding towards plus infinity."""
    return -(-numerator // denominator)


def minimum_out(quoted_out_amount: int, slippage_bps: int) -> int:
    """The least output that the swap program accepts: ceil(out * (10000 - bps) / 10000), as in every recorded quote."""
    return ceil_div(quoted_out_amount * (BPS_PER_WHOLE - slippage_bps), BPS_PER_WHOLE)


def price_for_fee(fee_lamports: int, compute_unit_limit: int) -> MicroLamports:
    """The highest price per compute unit whose total for this limit does not exceed the fee."""
    return MicroLamports(fee_lamports * MICRO_LAMPORTS_PER_LAMPORT // compute_unit_limit)


def priority_fee(price_micro_lamports: int, compute_unit_limit: int) -> Lamports:
    """What the network charges: ceil(price * min(limit, 1.4M) / 1e6), exact on every recorded mainnet transaction."""
    units = min(compute_unit_limit, MAX_COMPUTE_UNIT_LIMIT)
    return Lamports(ceil_div(price_micro_lamports * units, MICRO_LAMPORTS_PER_LAMPORT))


def exact_price(in_amount: int, in_decimals: int, out_amount: int, out_decimals: int) -> Fraction:
    """Output per input in UI units."""
    return Fraction(out_amount * 10**in_decimals, in_amount * 10**out_decimals)


def out_at_price(price: Fraction, in_amount: int, in_decimals: int, out_decimals: int) -> int:
    """The raw output that a price promises for a raw input, rounded down."""
    return int(price * in_amount * 10**out_decimals / 10**in_decimals)


def shortfall_bps(reference_out_amount: int, out_amount: int) -> int:
    """How far the output lies below the reference, in bps rounded up; negative when it is better. Reference 0 gives 0."""
    if reference_out_amount <= 0:
        return 0
    return ceil_div((reference_out_amount - out_amount) * BPS_PER_WHOLE, reference_out_amount)


def ui_text(amount: int, decimals: int) -> str:
    """A raw amount as a person reads it: 1500000 with 6 decimals is '1.5'."""
    text = format(Decimal(amount).scaleb(-decimals), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text

from decimal import Decimal
from fractions import Fraction

from hypothesis import assume, given
from hypothesis import strategies as st

from executor import units

amounts = st.integers(0, units.U64_MAX)
some = st.integers(1, units.U64_MAX)
decimals = st.integers(0, 18)
slippages = st.integers(0, units.BPS_PER_WHOLE)
limits = st.integers(1, units.MAX_COMPUTE_UNIT_LIMIT)


@given(st.integers(), st.integers(min_value=1))
def test_ceil_div_is_the_least_integer_that_is_not_below(numerator: int, denominator: int) -> None:
    """ceil_div rounds up, also below zero and beyond what a float holds."""
    quotient = units.ceil_div(numerator, denominator)
    assert (quotient - 1) * denominator < numerator <= quotient * denominator


@given(amounts, slippages)
def test_minimum_out_is_the_least_amount_within_the_slippage(out_amount: int, bps: int) -> None:
    """One unit less than the minimum would exceed the slippage; the minimum does not."""
    kept = out_amount * (units.BPS_PER_WHOLE - bps)
    minimum = units.minimum_out(out_amount, bps)
    assert (minimum - 1) * units.BPS_PER_WHOLE < kept <= minimum * units.BPS_PER_WHOLE
    assert 0 <= minimum <= out_amount


@given(amounts, slippages)
def test_minimum_out_and_shortfall_agree(out_amount: int, bps: int) -> None:
    """What passes the minimum is never reported as more slippage than was allowed."""
    assert units.shortfall_bps(out_amount, units.minimum_out(out_amount, bps)) <= bps


@given(st.integers(0, units.LAMPORTS_PER_SOL), limits)
def test_a_priority_fee_never_exceeds_the_fee_it_was_made_for(fee_lamports: int, limit: int) -> None:
    """price_for_fee gives the highest price whose charge stays within the fee."""
    price = units.price_for_fee(fee_lamports, limit)
    assert units.priority_fee(price, limit) <= fee_lamports
    assert units.priority_fee(price + 1, limit) > fee_lamports


def test_the_price_of_a_fee_as_the_documentation_has_it() -> None:
    """A limit of 250k and 10,000 lamports are 40,000 micro-lamports a unit."""
    assert units.price_for_fee(10_000, 250_000) == 40_000


@given(st.integers(0, 10**9), st.integers(1, 2**32 - 1))
def test_a_limit_above_the_networks_costs_no_more(price: int, limit: int) -> None:
    """The network charges for 1.4 million units at most, whatever limit was asked for."""
    assert units.priority_fee(price, limit) <= units.priority_fee(price, units.MAX_COMPUTE_UNIT_LIMIT)


def test_a_priority_fee_is_rounded_up() -> None:
    """A fraction of a lamport is charged as one."""
    assert units.priority_fee(1, 1) == 1
    assert units.priority_fee(0, 1_400_000) == 0
    assert units.priority_fee(1_000_000, 200_000) == 200_000


@given(some, decimals, some, decimals)
def test_a_price_gives_back_the_amount_that_made_it(in_amount: int, in_decimals: int, out_amount: int, out_decimals: int) -> None:
    """Prices are exact: the output of a fill is what its price promises for its input."""
    price = units.exact_price(in_amount, in_decimals, out_amount, out_decimals)
    assert units.out_at_price(price, in_amount, in_decimals, out_decimals) == out_amount


@given(some, decimals, st.fractions(min_value=0, max_value=10**12), decimals)
def test_a_price_never_promises_more_than_it_says(in_amount: int, in_decimals: int, price: Fraction, out_decimals: int) -> None:
    """out_at_price rounds down by less than one unit."""
    promised = price * in_amount * 10**out_decimals / 10**in_decimals
    assert 0 <= promised - units.out_at_price(price, in_amount, in_decimals, out_decimals) < 1


def test_a_price_is_output_per_input_as_people_write_them() -> None:
    """2 SOL for 300 USDC is 150, whatever the decimals."""
    assert units.exact_price(2 * 10**9, 9, 300 * 10**6, 6) == 150


@given(some, amounts)
def test_a_shortfall_is_rounded_against_us(reference: int, out_amount: int) -> None:
    """The shortfall in bps is never understated, by less than one bps overstated, and below zero only when more came out."""
    shortfall = units.shortfall_bps(reference, out_amount)
    missing = (reference - out_amount) * units.BPS_PER_WHOLE
    assert (shortfall - 1) * reference < missing <= shortfall * reference
    assert shortfall <= 0 or out_amount < reference


@given(st.integers(max_value=0), amounts)
def test_without_a_reference_there_is_no_shortfall(reference: int, out_amount: int) -> None:
    """A reference of zero gives zero, not a division by it."""
    assert units.shortfall_bps(reference, out_amount) == 0


@given(amounts, decimals)
def test_a_readable_amount_says_exactly_the_amount(amount: int, places: int) -> None:
    """What a person reads is the amount, without loss, without exponent and without trailing zeros."""
    text = units.ui_text(amount, places)
    assert Decimal(text).scaleb(places) == amount
    assert set(text) <= set("0123456789.")
    assume("." in text)
    assert text[-1] not in "0."


def test_a_readable_amount_keeps_the_zeros_of_an_integer() -> None:
    """Zeros before the point are no padding."""
    assert units.ui_text(1_500_000, 6) == "1.5"
    assert units.ui_text(100, 0) == "100"
    assert units.ui_text(0, 9) == "0"
    assert units.ui_text(1_000_000_000, 9) == "1"

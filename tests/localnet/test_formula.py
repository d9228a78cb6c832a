import json
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st

from executor.localnet.formula import (
    DIRECT,
    FORWARDED,
    NO_TRANSFER_FEE,
    SHARED,
    FeeSide,
    Hop,
    NotSwappable,
    Passage,
    PlatformFee,
    TransferFee,
    fee_of,
    fee_on_top,
    hop_exact_in,
    hop_exact_out,
    maximum_in,
    route_exact_in,
    route_exact_out,
)
from executor.localnet.program.layout import ProgramError
from executor.units import U64_MAX

RECORDED = Path(__file__).parents[3] / "shared" / "recorded"

exactly = settings(derandomize=True, deadline=None)

amounts = st.integers(0, 62).flatmap(lambda bits: st.integers(1, 2**bits))
"""Amounts of every magnitude."""
transfer_fees = st.builds(TransferFee, bps=st.integers(1, 10_000), maximum=amounts) | st.just(NO_TRANSFER_FEE)
hops = st.builds(
    Hop,
    reserve_in=amounts,
    reserve_out=amounts,
    fee_bps=st.integers(0, 9_999),
    in_transfer_fee=transfer_fees,
    out_transfer_fee=transfer_fees,
)
passages = st.sampled_from((DIRECT, FORWARDED, SHARED))


@exactly
@given(fee=transfer_fees, amount=amounts)
def test_withheld_fee(fee: TransferFee, amount: int) -> None:
    """A transfer fee is rounded up, never above its maximum nor above the amount."""
    withheld = fee.withheld(amount)

    assert withheld <= min(fee.maximum, amount)
    assert withheld == fee.maximum or withheld * 10_000 >= amount * fee.bps > (withheld - 1) * 10_000


@exactly
@given(fee=transfer_fees, arriving=st.integers(0, 2**62))
@example(fee=TransferFee(bps=10_000, maximum=5), arriving=0)
@example(fee=TransferFee(bps=10_000, maximum=5), arriving=1)
def test_sending_inverts_arriving(fee: TransferFee, arriving: int) -> None:
    """What must be sent is the least amount of which exactly the wanted one arrives, and nothing for nothing."""
    sent = fee.sending(arriving)

    assert fee.arriving(sent) == arriving
    assert sent == 0 or fee.arriving(sent - 1) < arriving


@exactly
@given(hop=hops, in_amount=amounts)
def test_a_swap_never_costs_the_pool(hop: Hop, in_amount: int) -> None:
    """The product of the reserves never falls, and the pool never runs dry."""
    try:
        done = hop_exact_in(hop, in_amount)
    except NotSwappable:
        return
    received = hop.in_transfer_fee.arriving(in_amount)
    paid = hop.out_transfer_fee.sending(done.out_amount)

    assert 0 < paid < hop.reserve_out
    assert (hop.reserve_in + received) * (hop.reserve_out - paid) >= hop.reserve_in * hop.reserve_out


@exactly
@given(hop=hops, in_amount=amounts)
def test_there_and_back_is_no_profit(hop: Hop, in_amount: int) -> None:
    """Whoever swaps and swaps back has not gained a unit."""
    plain = evolve(hop, in_transfer_fee=NO_TRANSFER_FEE, out_transfer_fee=NO_TRANSFER_FEE)
    try:
        out_amount = hop_exact_in(plain, in_amount).out_amount
        back = evolve(plain, reserve_in=plain.reserve_out - out_amount, reserve_out=plain.reserve_in + in_amount)
        returned = hop_exact_in(back, out_amount).out_amount
    except NotSwappable:
        return

    assert returned <= in_amount


@exactly
@given(hop=hops, out_amount=amounts)
def test_exact_out_is_the_least_input(hop: Hop, out_amount: int) -> None:
    """An exact-out hop asks for no unit more than an exact-in hop needs to give as much."""
    try:
        in_amount = hop_exact_out(hop, out_amount).in_amount
    except NotSwappable:
        return

    assert output(hop, in_amount - 1) < out_amount <= output(hop, in_amount)


def output(hop: Hop, in_amount: int) -> int:
    """What an exact-in hop gives, 0 when it refuses."""
    try:
        return hop_exact_in(hop, in_amount).out_amount
    except NotSwappable:
        return 0


@exactly
@given(
    route=st.lists(hops, min_size=1, max_size=2),
    out_amount=amounts,
    passage=passages,
    fee_bps=st.integers(0, 255),
)
def test_exact_out_route_buys_its_output(route: list[Hop], out_amount: int, passage: Passage, fee_bps: int) -> None:
    """Spending what an exact-out route costs before its platform fee gives at least its output, hop by hop linked to the next."""
    try:
        bought = route_exact_out(route, out_amount, passage=passage, platform_fee_bps=fee_bps)
    except NotSwappable:
        return
    swapped = bought.in_amount - bought.platform_fee_amount

    assert bought.out_amount == out_amount
    assert [hop.out_amount for hop in bought.hops[:-1]] == [hop.in_amount for hop in bought.hops[1:]]
    assert bought.platform_fee_amount == fee_on_top(swapped, fee_bps)
    assert fee_of(bought.in_amount, fee_bps) - bought.platform_fee_amount in (0, 1)
    assert route_exact_in(route, swapped, passage=passage).out_amount >= out_amount


@exactly
@given(route=st.lists(hops, min_size=1, max_size=2), in_amount=amounts, fee_bps=st.integers(0, 255))
def test_platform_fee_sides(route: list[Hop], in_amount: int, fee_bps: int) -> None:
    """An output fee is a share of what the route gives without it; an input fee never reaches the first hop."""
    try:
        free = route_exact_in(route, in_amount)
        on_output = route_exact_in(route, in_amount, platform_fee=PlatformFee(bps=fee_bps, side=FeeSide.OUTPUT))
        on_input = route_exact_in(route, in_amount, platform_fee=PlatformFee(bps=fee_bps, side=FeeSide.INPUT))
    except NotSwappable:
        return

    assert on_output.platform_fee_amount == fee_of(free.out_amount, fee_bps)
    assert on_output.out_amount == free.out_amount - on_output.platform_fee_amount
    assert on_input.hops[0].in_amount == in_amount - fee_of(in_amount, fee_bps)
    assert on_input.in_amount == in_amount


@exactly
@given(hop=hops, in_amount=amounts)
def test_every_passage_is_charged(hop: Hop, in_amount: int) -> None:
    """A mint that withholds a fee takes it once more for every transfer around the hops, in the order of the transfers."""
    try:
        shared = route_exact_in([hop], in_amount, passage=SHARED)
    except NotSwappable:
        return
    inside = hop_exact_in(hop, hop.in_transfer_fee.arriving(in_amount))

    assert shared.hops == (inside,)
    assert shared.out_amount == hop.out_transfer_fee.arriving(inside.out_amount)


def test_an_example_by_hand() -> None:
    """A pool of 1000 : 2000 at 1 % gives 180 for 100: 99 are left after the fee, 2000 * 99 / 1099 = 180.1, rounded down."""
    hop = Hop(reserve_in=1000, reserve_out=2000, fee_bps=100)

    assert hop_exact_in(hop, 100).out_amount == 180
    assert hop_exact_out(hop, 180).in_amount == 100


@pytest.mark.parametrize(
    ("hop", "in_amount"),
    [
        (Hop(reserve_in=0, reserve_out=1, fee_bps=0), 1),
        (Hop(reserve_in=1, reserve_out=0, fee_bps=0), 1),
        (Hop(reserve_in=10, reserve_out=10, fee_bps=0), 0),
        (Hop(reserve_in=10**9, reserve_out=10, fee_bps=0), 1),
        (Hop(reserve_in=1, reserve_out=10, fee_bps=0), U64_MAX),
        (Hop(reserve_in=1, reserve_out=9, fee_bps=0, out_transfer_fee=TransferFee(bps=10_000, maximum=10)), 9),
    ],
    ids=["no input reserve", "no output reserve", "no input", "dust", "overflow", "all withheld"],
)
def test_exact_in_refusals(hop: Hop, in_amount: int) -> None:
    """What gives nothing is refused with the program's own code."""
    with pytest.raises(NotSwappable) as refusal:
        route_exact_in([hop], in_amount)

    assert refusal.value.code is ProgramError.INVALID_CALCULATION


@pytest.mark.parametrize(
    ("hop", "out_amount"),
    [
        (Hop(reserve_in=0, reserve_out=1, fee_bps=0), 1),
        (Hop(reserve_in=10, reserve_out=10, fee_bps=0), 0),
        (Hop(reserve_in=10, reserve_out=10, fee_bps=0), 10),
        (Hop(reserve_in=2**63, reserve_out=10, fee_bps=0), 9),
        (Hop(reserve_in=2**60, reserve_out=10, fee_bps=9_999), 5),
        (Hop(reserve_in=1, reserve_out=U64_MAX, fee_bps=0, out_transfer_fee=TransferFee(bps=5_000, maximum=U64_MAX)), 2**63),
    ],
    ids=["empty", "no output", "all of the pool", "curve overflow", "fee overflow", "transfer fee overflow"],
)
def test_exact_out_refusals(hop: Hop, out_amount: int) -> None:
    """What cannot be bought is refused with the program's own code."""
    with pytest.raises(NotSwappable) as refusal:
        route_exact_out([hop], out_amount)

    assert refusal.value.code is ProgramError.INVALID_CALCULATION


def test_maximum_in() -> None:
    """The most that may be spent is rounded down, and a limit that fits no account is no limit."""
    assert maximum_in(1_001, 50) == 1_006
    assert maximum_in(1_001, 0) == 1_001
    assert maximum_in(U64_MAX, 10_000) == U64_MAX


def test_platform_fee_of_the_recorded_exact_out_route() -> None:
    """The real program's fee on a recorded swap at 20 bps is what we compute from its other figures."""
    path = RECORDED / "get-transaction" / "EXPECTED.json"
    if not path.exists():
        pytest.skip(f"recorded data is absent: {path}")
    recorded = json.loads(path.read_text())["rotki_exact_out_route_s5sthr57.json"]
    swap, fee = recorded["jup_events"]

    assert fee["amount"] == fee_on_top(swap["in"], 20)
    assert recorded["jup_program_return_u64"] == [swap["in"] + fee["amount"]]

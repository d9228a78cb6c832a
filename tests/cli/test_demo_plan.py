"""What a demo asks for."""

from collections import Counter
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.cli.demo.cases import Case
from executor.cli.demo.plan import CENTS, Planned, make_plan
from executor.rpc import trade_executor_pb2 as pb
from tests.cli.demo_values import BONK, SOL, TOKENS, USDC

seeds = st.integers(-(2**31), 2**31)
counts = st.integers(40, 200)


def ordinary(plan: tuple[Planned, ...]) -> list[Planned]:
    """Swaps that are to succeed."""
    return [planned for planned in plan if planned.expected.status == "SUCCESS"]


@given(seeds, counts)
def test_every_plan_has_what_a_demo_must_show(seed: int, swaps: int) -> None:
    """So many swaps, every ordered pair, one of each case, every urgency, and numbers that make request ids unique."""
    plan = make_plan(TOKENS, swaps=swaps, seed=seed)
    assert len(ordinary(plan)) == swaps
    assert {(planned.source.symbol, planned.target.symbol) for planned in ordinary(plan)} == set(
        permutations([token.symbol for token in TOKENS], 2)
    )
    assert Counter(planned.case for planned in plan if planned.case) == Counter(Case)
    assert len(plan) == swaps + len(Case) - 1  # the lost send is one of the swaps
    assert {planned.urgency for planned in ordinary(plan)} == {"LOW", "NORMAL", "HIGH", "CRITICAL"}
    assert [planned.number for planned in plan] == list(range(1, len(plan) + 1))


@given(seeds, counts)
def test_a_plan_sells_nothing_that_it_has_not_bought(seed: int, swaps: int) -> None:
    """The wallet starts without one of the tokens: the empty balance comes first, then the purchase of more than is sold."""
    plan = make_plan(TOKENS, swaps=swaps, seed=seed)
    empty = next(planned.number for planned in plan if planned.case is Case.EMPTY_BALANCE)
    (purchase,) = [planned for planned in plan if planned.fills_wallet]
    sales = [planned for planned in plan if planned.needs_filled_wallet]
    assert empty == purchase.number - 1
    assert not any(planned.touches_bought for planned in plan[: empty - 1])
    assert all(planned.number > purchase.number for planned in sales)
    bought_cents = purchase.in_amount * 1_000 // SOL.ten_dollars
    assert sum(planned.in_amount * 1_000 // planned.source.ten_dollars for planned in sales) < bought_cents


@given(seeds)
def test_amounts_are_worth_some_dollars(seed: int) -> None:
    """From 3 to 60, and within the limit of a trade; the oversized one is not."""
    plan = make_plan(TOKENS, swaps=44, seed=seed)
    for planned in ordinary(plan):
        assert 0 < planned.in_amount <= planned.source.max_amount
        if not planned.fills_wallet:
            assert CENTS[0] * 0.99 <= planned.in_amount * 1_000 / planned.source.ten_dollars <= CENTS[1]
    (oversized,) = [planned for planned in plan if planned.case is Case.OVERSIZED]
    assert oversized.in_amount > oversized.source.max_amount


def test_equal_seeds_make_equal_plans() -> None:
    """And another seed another one."""
    assert make_plan(TOKENS, swaps=44, seed=1) == make_plan(TOKENS, swaps=44, seed=1)
    assert make_plan(TOKENS, swaps=44, seed=1) != make_plan(TOKENS, swaps=44, seed=2)


def test_the_foreign_token_is_none_of_the_others() -> None:
    """Or it would not be foreign."""
    (foreign,) = [planned for planned in make_plan(TOKENS, swaps=40, seed=1) if planned.case is Case.FOREIGN_TOKEN]
    assert foreign.target.mint not in {token.mint for token in TOKENS}


@pytest.mark.parametrize(("cents", "amount"), [(1_000, 81_300_000_000), (1, 81_300_000), (123, 9_990_000_000)])
def test_amounts_have_three_digits_that_count(cents: int, amount: int) -> None:
    """As a person would ask: 813,000 BONK, not 813,008.13008."""
    assert BONK.worth(cents) == amount


def test_no_amount_is_zero() -> None:
    """The least is one unit, however little it is worth."""
    assert SOL.worth(0) == 1


def test_a_plan_becomes_a_request() -> None:
    """Every field that the daemon needs, the urgency by its name, and no expected price."""
    request = Planned(number=7, source=SOL, target=USDC, in_amount=5, urgency="HIGH").request()
    assert (request.request_id, request.source_service) == ("demo-007", "demo")
    assert (request.input_token, request.output_token, request.amount_lamports) == (SOL.mint, USDC.mint, 5)
    assert (request.urgency_level, request.expected_price) == (pb.URGENCY_LEVEL_HIGH, 0.0)

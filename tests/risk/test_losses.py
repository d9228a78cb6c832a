"""What was lost within a day, by token."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import ErrorCode
from executor.model import Outcome, OutcomeStatus
from executor.risk.losses import BUCKET_NS, Losses
from tests.support.risk import WallClock, failure, make_tokens, success
from tests.support.values import BONK, SOL, USDC, make_order

HALF_AN_HOUR = BUCKET_NS / 10**9
BUY_USDC, BUY_SOL = make_order(SOL, USDC), make_order(USDC, SOL)


def make_losses(clock: WallClock | None = None, limit: int = 100) -> Losses:
    """Every token may lose the same."""
    return Losses(tokens=make_tokens(max_loss_per_day=limit), now_ns=clock or WallClock())


def short_by(amount: int) -> Outcome:
    """A trade that received so much less than was quoted."""
    return success(quoted_amount=1_000_000, executed_amount=1_000_000 - amount)


def test_shortfalls_count_in_the_token_that_was_bought() -> None:
    """Each token for itself; gains are losses below zero."""
    books = make_losses()
    for order, amount in ((BUY_USDC, 70), (BUY_SOL, 30), (BUY_USDC, -20), (BUY_USDC, 0)):
        books.count(order, short_by(amount))

    assert [books.lost(token.mint) for token in (USDC, SOL, BONK)] == [50, 30, 0]
    assert books.problem() is None


def test_fees_of_what_reverted_count_in_lamports() -> None:
    """Whatever was to be bought; what never landed cost nothing, and what is not known counts when it is."""
    books = make_losses()
    pending = Outcome(request_id="r", status=OutcomeStatus.PENDING, error_code=ErrorCode.CONFIRMATION_TIMEOUT)
    for outcome in (
        failure(ErrorCode.SWAP_REVERTED, slot=5, fees_paid_lamports=5_001),
        failure(ErrorCode.TRANSACTION_EXPIRED),
        pending,
    ):
        books.count(BUY_USDC, outcome)

    assert (books.lost(SOL.mint), books.lost(USDC.mint)) == (5_001, 0)


@pytest.mark.parametrize(
    ("reference", "quoted", "executed", "lost"),
    [
        (6_000_000, 6_000_000, 5_990_000, 10_000),
        (6_050_000, 6_000_000, 5_990_000, 60_000),  # short of what was expected
        (50_000, 6_000_000, 5_990_000, 10_000),  # an expectation that is far too low makes no gain
        (6_000_000, 5_950_000, 6_050_000, -50_000),
        (0, 0, 5_990_000, 0),  # nothing was promised
    ],
)
def test_what_is_promised(reference: int, quoted: int, executed: int, lost: int) -> None:
    """What slippage is measured against, or the quote where that is more: exactly, in the smallest unit."""
    books = make_losses()
    books.count(BUY_USDC, success(reference_amount=reference, quoted_amount=quoted, executed_amount=executed))

    assert books.lost(USDC.mint) == lost


def test_the_limit_is_told_with_its_figures() -> None:
    """One sentence for all tokens that are above theirs; at the limit none is."""
    books = make_losses(limit=100)
    books.count(BUY_USDC, short_by(100))
    assert books.problem() is None
    books.count(BUY_USDC, short_by(1))
    books.count(BUY_SOL, short_by(200))
    problem = books.problem()

    assert problem is not None
    assert "101 of the smallest unit of USDC were lost within 24 hours, the limit is 100" in problem
    assert "200 of the smallest unit of SOL" in problem


def test_a_day_rolls_by() -> None:
    """A loss counts for a day, and for at most half an hour more."""
    clock = WallClock()
    books = make_losses(clock)
    books.count(BUY_USDC, short_by(70))
    clock.move(12 * 3600)
    books.count(BUY_USDC, short_by(40))
    assert books.problem() is not None
    clock.move(12 * 3600 - 1)
    assert books.lost(USDC.mint) == 110
    clock.move(HALF_AN_HOUR + 1)
    assert books.lost(USDC.mint) == 40
    assert books.problem() is None


def test_tokens_without_a_limit_are_not_counted() -> None:
    """Nor are those that are not on the whitelist any more; nothing is to be saved for them."""
    books = Losses(tokens={**make_tokens(SOL, max_loss_per_day=1), **make_tokens(USDC)}, now_ns=WallClock())
    books.count(BUY_USDC, short_by(10**9))
    books.count(make_order(SOL, BONK), short_by(10**9))

    assert (books.lost(USDC.mint), books.lost(BONK.mint), books.is_unsaved) == (0, 0, False)


def test_what_was_saved_is_taken_up() -> None:
    """With the time at which it was lost; saving is asked for only after a change."""
    clock = WallClock()
    books = make_losses(clock)
    books.count(BUY_USDC, short_by(70))
    unsaved = [books.is_unsaved]
    clock.move(20 * 3600)
    books.count(BUY_SOL, short_by(-5))
    text = books.saved()
    unsaved.append(books.is_unsaved)
    assert unsaved == [True, False]
    clock.move(3 * 3600)
    again = make_losses(clock)
    again.restore(text)

    assert [again.lost(token.mint) for token in (USDC, SOL)] == [70, -5]
    clock.move(2 * 3600)
    assert [again.lost(token.mint) for token in (USDC, SOL)] == [0, -5]
    again.forgive()
    assert again.lost(SOL.mint) == 0
    assert '"buckets": {}' in again.saved()


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 6 * 3600)), max_size=30))
def test_never_less_than_the_last_day_and_never_more_than_half_an_hour_longer(steps: list[tuple[int, int]]) -> None:
    """Against a plain list, with restarts in between: only losses, so that more time is never less."""
    clock = WallClock()
    books, plain = make_losses(clock), list[tuple[int, int]]()
    for amount, pause in steps:
        books.count(BUY_USDC, short_by(abs(amount)))
        plain.append((clock.unix_ns, abs(amount)))
        clock.move(pause)
        text, books = books.saved(), make_losses(clock)
        books.restore(text)
        day, longer = clock.unix_ns - 24 * 3600 * 10**9, clock.unix_ns - 24 * 3600 * 10**9 - BUCKET_NS
        assert sum(a for at, a in plain if at > day) <= books.lost(USDC.mint) <= sum(a for at, a in plain if at >= longer)
        assert len(books._buckets) <= 49

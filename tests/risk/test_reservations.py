"""The books of one wallet: what is in flight is never counted on twice."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from executor.errors import ExecutorError
from executor.risk.reservations import REMEMBER_RELEASED_SECONDS, Reservations, Ticket
from tests.support.values import BONK, USDC

LAMPORTS: Pubkey | None = None
SLOT = 100


@contextmanager
def holding(books: Reservations, amount: int, key: Pubkey | None = LAMPORTS) -> Iterator[Ticket]:
    """A trade that may spend that much."""
    with books.ticket() as ticket:
        books.hold(ticket, {key: amount})
        yield ticket


async def test_others_hold_and_one_s_own_does_not_count(autojump_clock: trio.testing.MockClock) -> None:  # noqa: ASYNC124 - the books read trio's clock
    """By mint, and lamports apart from them; a trade is not in its own way."""
    books, now = Reservations(), trio.current_time()
    with holding(books, 5) as one, holding(books, 7) as other, holding(books, 11, USDC.mint) as third:
        assert books.held(LAMPORTS, slot=SLOT, as_of=now, but=one) == 7
        assert books.held(LAMPORTS, slot=SLOT, as_of=now, but=other) == 5
        assert books.held(LAMPORTS, slot=SLOT, as_of=now, but=third) == 12
        assert books.held(USDC.mint, slot=SLOT, as_of=now, but=one) == 11
        assert books.held(BONK.mint, slot=SLOT, as_of=now, but=one) == 0


async def test_a_release_counts_only_against_later_questions(autojump_clock: trio.testing.MockClock) -> None:
    """A balance that was asked for before the trade's end may be older than what the trade spent."""
    books = Reservations()
    began = trio.current_time()
    with holding(books, 5):
        await trio.sleep(1)
    with books.ticket() as later:
        assert books.held(LAMPORTS, slot=SLOT, as_of=began, but=later) == 5
        assert books.held(LAMPORTS, slot=SLOT, as_of=began + 1, but=later) == 5
        assert books.held(LAMPORTS, slot=SLOT, as_of=began + 1.001, but=later) == 0


async def test_a_trade_that_ends_badly_is_released_too(autojump_clock: trio.testing.MockClock) -> None:
    """By an error and by a cancellation."""
    books = Reservations()
    with pytest.raises(ZeroDivisionError), holding(books, 5):
        raise ZeroDivisionError
    with trio.move_on_after(1), holding(books, 5):
        await trio.sleep_forever()
    await trio.sleep(1)
    with books.ticket() as ticket:
        assert books.held(LAMPORTS, slot=SLOT, as_of=trio.current_time(), but=ticket) == 0


async def test_a_ticket_holds_once_and_not_after_its_release(autojump_clock: trio.testing.MockClock) -> None:  # noqa: ASYNC124 - the books read trio's clock
    """Both are bugs, and change nothing."""
    books = Reservations()
    with holding(books, 5) as ticket:
        with pytest.raises(ExecutorError):
            books.hold(ticket, {LAMPORTS: 6})
        assert ticket.needs == {LAMPORTS: 5}
    with books.ticket() as empty:
        pass
    with pytest.raises(ExecutorError):
        books.hold(empty, {LAMPORTS: 6})


async def test_what_is_held_is_a_copy(autojump_clock: trio.testing.MockClock) -> None:  # noqa: ASYNC124 - the books read trio's clock
    """Nobody changes the books by changing what he handed in."""
    books, needs = Reservations(), {LAMPORTS: 5}
    with books.ticket() as ticket, books.ticket() as other:
        books.hold(ticket, needs)
        needs[LAMPORTS] = 0
        assert books.held(LAMPORTS, slot=SLOT, as_of=trio.current_time(), but=other) == 5


async def test_a_landing_counts_until_a_balance_has_seen_it(autojump_clock: trio.testing.MockClock) -> None:
    """What a node that lags a little does not know of yet stays held, and is no reason to refuse its answer."""
    books = Reservations()
    with holding(books, 5) as ticket:
        books.settled(ticket, SLOT)
    await trio.sleep(1)
    with books.ticket() as later:
        now = trio.current_time()
        assert books.held(LAMPORTS, as_of=now, slot=SLOT - 1, but=later) == 5
        assert books.held(LAMPORTS, as_of=now, slot=SLOT, but=later) == 0
        assert books.forgotten_slot == 0


async def test_the_slots_of_what_is_forgotten_count_forever(autojump_clock: trio.testing.MockClock) -> None:
    """The newest of them, whatever the order in which trades landed: older balances may miss what nobody holds any more."""
    books = Reservations()
    for slot in (7, 9, 8):
        with holding(books, 5) as ticket:
            books.settled(ticket, slot)
    await trio.sleep(REMEMBER_RELEASED_SECONDS)
    for _look in range(2):
        with books.ticket():
            assert books.forgotten_slot == 9


async def test_the_books_are_bounded(autojump_clock: trio.testing.MockClock) -> None:
    """Old releases are forgotten, and what never held anything is not even noted: an empty wallet must not fill the memory."""
    books = Reservations()
    for _round in range(10):
        for _trade in range(100):
            with holding(books, 1), books.ticket():
                pass
        assert len(books._released) <= 300
        await trio.sleep(REMEMBER_RELEASED_SECONDS / 2)


async def test_what_is_held_costs_the_same_however_many_trades_there_are(autojump_clock: trio.testing.MockClock) -> None:
    """Every trade asks before its quote is used: thousands in flight, or ended just now, are not added up one by one."""
    books = Reservations()
    with ExitStack() as in_flight:
        for _ in range(2_000):
            with holding(books, 3):
                pass
            in_flight.enter_context(holding(books, 5))
        await trio.sleep(1)
        as_of = trio.current_time()
        with holding(books, 7):
            pass
        with books.ticket() as ticket, counted_calls() as calls:
            held = books.held(LAMPORTS, as_of=as_of, slot=SLOT, but=ticket)

    assert held == 2_000 * 5 + 7
    assert len(calls) < 20


@contextmanager
def counted_calls() -> Iterator[list[str]]:
    """Every call, of Python's functions and of C's, that the block makes."""
    calls: list[str] = []
    before = sys.getprofile()
    sys.setprofile(lambda _frame, event, _arg: calls.append(event) if event in ("call", "c_call") else None)
    try:
        yield calls
    finally:
        sys.setprofile(before)


async def check_books(steps: list[tuple[str, int]]) -> None:
    """Do the steps, and hold the books against plain lists after each."""
    books, open_trades = Reservations(), list[tuple[ExitStack, Ticket, int]]()
    gone: list[tuple[float, int]] = []
    for step, number in steps:
        if step == "come":
            stack = ExitStack()
            ticket = stack.enter_context(books.ticket())
            books.hold(ticket, {LAMPORTS: number})
            open_trades.append((stack, ticket, number))
        elif step == "go" and open_trades:
            stack, _ticket, amount = open_trades.pop(number % len(open_trades))
            stack.close()
            gone.append((trio.current_time(), amount))
        await trio.sleep(number % 3)
        in_flight = sum(amount for _stack, _ticket, amount in open_trades)
        for as_of in (0.0, trio.current_time() - 1, trio.current_time() + 1):
            expected = in_flight + sum(amount for at, amount in gone if at >= as_of)
            assert books.held(LAMPORTS, slot=SLOT, as_of=as_of, but=Ticket()) == expected
            for _stack, ticket, amount in open_trades:
                assert books.held(LAMPORTS, slot=SLOT, as_of=as_of, but=ticket) == expected - amount
    for stack, _ticket, _amount in open_trades:
        stack.close()


@given(st.lists(st.tuples(st.sampled_from(["come", "go", "wait"]), st.integers(1, 9)), max_size=20))
def test_the_books_agree_with_a_plain_list(steps: list[tuple[str, int]]) -> None:
    """Trades come and go in any order, and balances are read at any time."""
    trio.run(check_books, steps, clock=trio.testing.MockClock(autojump_threshold=0))


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 6), st.integers(0, 2)), max_size=20),
    st.integers(0, 20),
    st.integers(0, 6),
)
def test_no_landing_is_missed_whatever_the_order_of_releases(gone: list[tuple[int, int, int]], age: int, slot: int) -> None:
    """Trades are released in any order of the slots that they landed in: exactly what a balance may not show is held."""

    async def main() -> None:
        books, expected = Reservations(), []
        for amount, landed_slot, seconds in gone:
            with holding(books, amount) as ticket:
                books.settled(ticket, landed_slot)
            expected.append((trio.current_time(), landed_slot, amount))
            await trio.sleep(seconds)
        as_of = trio.current_time() - age
        unseen = sum(amount for at, landed_slot, amount in expected if at >= as_of or landed_slot > slot)
        with books.ticket() as asker:
            assert books.held(LAMPORTS, as_of=as_of, slot=slot, but=asker) == unseen

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))

"""What is refused because of what else was asked for: trades in flight, rates, and amounts a day."""

from collections.abc import Iterator
from typing import cast

import pytest
import trio
import trio.testing
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st

from executor.config import LimitSettings
from executor.errors import Denied, ErrorCode
from executor.journal import records
from executor.journal.journal import Entry
from executor.model import Order, Outcome, OutcomeStatus
from executor.risk import rates, volumes
from executor.risk.limits import Limits
from executor.risk.rates import Rates
from executor.risk.volumes import Volumes
from executor.states import State
from tests.support.risk import DAY_NS, NOON_NS, WallClock, failure, make_tokens, success
from tests.support.values import BONK, SOL, USDC, make_order, make_request

MockClock = trio.testing.MockClock
PENDING = Outcome(request_id="r", status=OutcomeStatus.PENDING)


def make_limits(clock: WallClock | None = None, *, of_all: int = 0, of_source: int = 0, **settings: int) -> Limits:
    """No limit but those that are named."""
    tokens = make_tokens(SOL, USDC, max_amount_per_day=of_all, max_amount_per_source_per_day=of_source)
    return Limits(settings=evolve(LimitSettings(), **settings), volumes=Volumes(tokens=tokens, now_ns=clock or WallClock()))


def an_order(name: str, amount: int = 1, *, source: str = "a", at_unix_ns: int = NOON_NS) -> Order:
    """So much of SOL for USDC."""
    request = make_request(request_id=name, source_service=source, in_amount=amount)
    return evolve(make_order(in_amount=amount), request=request, received_unix_ns=at_unix_ns)


def refusal(limits: Limits, order: Order) -> Denied:
    """Why an order is not taken."""
    with pytest.raises(Denied) as caught:
        limits.take(order)
    return caught.value


# --- trades in flight ---


async def test_trades_in_flight_are_limited_in_all(autojump_clock: MockClock) -> None:  # noqa: ASYNC124 - rates read trio's clock
    """With the figures; when one has ended, however, there is room again. Those of earlier processes count, too."""
    limits = make_limits(max_trades_in_flight=2)
    limits.take_up(an_order("old"))
    limits.take(an_order("new", source="b"))
    refused = refusal(limits, an_order("more"))
    limits.ended(an_order("old"), None)
    limits.take(an_order("more"))

    assert refused.code is ErrorCode.TRADES_IN_FLIGHT_EXCEEDED
    assert (refused.context["in_flight"], refused.context["limit"]) == (2, 2)
    assert "the limit is 2" in refused.message


async def test_trades_in_flight_are_limited_by_source(autojump_clock: MockClock) -> None:  # noqa: ASYNC124 - the same
    """One source that is full is not in the way of another."""
    limits = make_limits(max_trades_in_flight_per_source=1)
    limits.take(an_order("a-1", source="a"))
    refused = refusal(limits, an_order("a-2", source="a"))
    limits.take(an_order("b-1", source="b"))
    limits.ended(an_order("a-1", source="a"), success())
    limits.take(an_order("a-2", source="a"))

    assert refused.code is ErrorCode.TRADES_IN_FLIGHT_EXCEEDED
    assert "'a'" in refused.message


async def test_nothing_is_kept_of_trades_that_ended(autojump_clock: MockClock) -> None:  # noqa: ASYNC124 - the same
    """Sources name themselves: their names must not fill the memory."""
    limits = make_limits(max_trades_in_flight_per_source=5, of_source=10)
    for number in range(500):
        order = an_order("r", source=f"s-{number}")
        limits.take(order)
        limits.ended(order, failure(ErrorCode.TRANSACTION_EXPIRED))

    assert (limits._claims, dict(limits._in_flight), dict(limits.volumes._of_sources)) == ({}, {}, {})


# --- rates ---


async def test_a_source_that_is_too_fast_is_told_when_to_come_back(autojump_clock: MockClock) -> None:
    """A burst at once, then one for every interval; it is taken at the time that it was told. Others are not slowed down."""
    limits = make_limits(requests_per_second_per_source=10, request_burst_per_source=3)
    for number in range(3):
        limits.take(an_order(f"burst-{number}"))
    refused = refusal(limits, an_order("fast"))
    limits.take(an_order("other", source="b"))
    assert refused.code is ErrorCode.RATE_EXCEEDED
    assert refused.context["retry_after_seconds"] == pytest.approx(0.1)
    await trio.sleep(cast(float, refused.context["retry_after_seconds"]))
    limits.take(an_order("fast"))
    refusal(limits, an_order("again"))
    await trio.sleep(60)
    for number in range(3):
        limits.take(an_order(f"later-{number}"))

    assert refusal(limits, an_order("later-3")).code is ErrorCode.RATE_EXCEEDED


def test_no_rate_is_no_limit() -> None:
    """And nothing is remembered."""
    buckets = Rates(per_second=0, burst=1)
    assert [buckets.take("a", 0.0) for _ in range(1_000)] == [0.0] * 1_000
    assert not buckets._full_again_at


def test_sources_are_remembered_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was not heard of for the longest begins anew; the others are held to their rate."""
    monkeypatch.setattr(rates, "MAX_SOURCES", 3)
    buckets = Rates(per_second=1, burst=1)
    for source in ("a", "b", "c", "a", "d"):
        buckets.take(source, 0.0)

    assert set(buckets._full_again_at) == {"c", "a", "d"}
    assert [buckets.take(source, 0.0) > 0 for source in ("a", "c", "d", "b")] == [True, True, True, False]


@given(st.integers(1, 50), st.integers(1, 20), st.lists(st.integers(0, 400), max_size=60))
def test_no_span_has_more_requests_than_its_rate_and_a_burst(per_second: int, burst: int, pauses_ms: list[int]) -> None:
    """Whenever they come: what is taken within any span fits, and one that waits as long as it is told is taken."""
    buckets, now, taken = Rates(per_second=per_second, burst=burst), 0.0, list[float]()
    for pause_ms in pauses_ms:
        now += pause_ms / 1_000
        wait = buckets.take("a", now)
        if wait:
            now += wait
            assert buckets.take("a", now) == 0.0
        taken.append(now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - taken[first]) * per_second + 1e-3


# --- amounts a day ---


async def test_a_day_has_its_amount(autojump_clock: MockClock) -> None:  # noqa: ASYNC124 - rates read trio's clock
    """All sources together; the refusal has the figures and says when the next day begins."""
    clock = WallClock()
    limits = make_limits(clock, of_all=100)
    limits.take(an_order("one", 60, source="a"))
    refused = refusal(limits, an_order("two", 41, source="b"))
    limits.take(an_order("three", 40, source="b"))

    assert refused.code is ErrorCode.DAILY_LIMIT_EXCEEDED
    assert refused.context == {"amount": 41, "used": 60, "limit": 100, "left": 40, "retry_after_seconds": 43_200.0}
    clock.move(43_200)
    limits.take(an_order("tomorrow", 100))


async def test_a_source_has_its_own_amount(autojump_clock: MockClock) -> None:  # noqa: ASYNC124 - the same
    """One that has used its own leaves those of others as they are; tokens are counted apart, and BONK has no limit."""
    limits = make_limits(of_source=100)
    limits.take(an_order("one", 100, source="a"))
    refused = refusal(limits, an_order("two", 1, source="a"))
    limits.take(an_order("three", 100, source="b"))
    usdc = make_request(request_id="four", source_service="a", input_mint=str(USDC.mint), in_amount=100)
    limits.take(evolve(make_order(USDC, SOL, in_amount=100), request=usdc))

    assert (refused.code, refused.context["left"]) == (ErrorCode.DAILY_LIMIT_EXCEEDED, 0)
    assert "source 'a'" in refused.message


@pytest.mark.parametrize(
    ("answer", "is_given_back"),
    [
        (Denied(ErrorCode.PRICE_MOVED, "no"), True),
        (failure(ErrorCode.SIMULATION_FAILED), True),
        (failure(ErrorCode.TRANSACTION_EXPIRED), True),
        (failure(ErrorCode.SWAP_REVERTED, slot=5), True),
        (success(), False),
        (PENDING, False),
        (None, False),
    ],
)
async def test_what_was_not_spent_is_given_back(  # noqa: ASYNC124 - the same
    answer: Outcome | Denied | None,
    is_given_back: bool,
    autojump_clock: MockClock,
) -> None:
    """When that is certain, and once: what is not known counts as spent."""
    limits = make_limits(of_all=100, of_source=100)
    order = an_order("one", 100)
    limits.take(order)
    limits.ended(order, answer)
    if is_given_back:
        limits.take(an_order("two", 100))
    assert refusal(limits, an_order("three", 1)).context["left"] == 0


async def test_what_ends_tomorrow_gives_nothing_back_to_tomorrow(autojump_clock: MockClock) -> None:  # noqa: ASYNC124 - the same
    """It was counted on the day of its acceptance."""
    clock = WallClock()
    limits = make_limits(clock, of_all=100)
    late = an_order("late", 100)
    limits.take(late)
    clock.move(86_400)
    limits.take(an_order("early", 100))
    limits.ended(late, failure(ErrorCode.TRANSACTION_EXPIRED))

    assert refusal(limits, an_order("more", 1)).context["left"] == 0


async def test_a_clock_that_is_set_back_gives_nothing_back(autojump_clock: MockClock) -> None:  # noqa: ASYNC124 - the same
    """What was spent stays spent, and what comes then counts as well."""
    clock = WallClock()
    limits = make_limits(clock, of_all=100)
    limits.take(an_order("one", 60))
    clock.move(-86_400)
    limits.take(an_order("two", 30, at_unix_ns=clock.unix_ns))

    assert refusal(limits, an_order("three", 11, at_unix_ns=clock.unix_ns)).context["left"] == 10


async def test_more_sources_than_are_counted_are_refused(  # noqa: ASYNC124 - the same
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
) -> None:
    """Forgetting one would give it its amount anew; known ones trade on, and a new day begins with empty books."""
    monkeypatch.setattr(volumes, "MAX_ENTRIES", 2)
    clock = WallClock()
    limits = make_limits(clock, of_source=100)
    limits.take(an_order("1", source="a"))
    limits.take(an_order("2", source="b"))
    refused = refusal(limits, an_order("3", source="c"))
    limits.take(an_order("4", source="a"))
    clock.move(86_400)
    limits.take(an_order("5", source="c"))

    assert (refused.code, refused.context["limit"]) == (ErrorCode.DAILY_LIMIT_EXCEEDED, 2)


async def test_tokens_that_left_the_whitelist_are_not_counted(autojump_clock: MockClock) -> None:  # noqa: ASYNC124 - the same
    """A trade of one may still be open after a restart with other settings."""
    limits = make_limits(of_all=100)
    request = make_request(request_id="bonk", input_mint=str(BONK.mint))
    order = evolve(make_order(BONK, SOL), request=request)
    limits.take_up(order)
    limits.ended(order, success())

    assert dict(limits.volumes._of_all) == {}


# --- a restart ---


@define
class Accepted:
    """A journal with acceptances; keeps since when it was asked."""

    held: list[tuple[Entry, State]]
    asked: list[int] = field(factory=list)

    def accepted_since(self, at_unix_ns: int) -> Iterator[tuple[Entry, State]]:
        self.asked.append(at_unix_ns)
        yield from ((entry, state) for entry, state in self.held if entry.at_unix_ns >= at_unix_ns)


async def test_a_restart_knows_what_was_spent_today(autojump_clock: MockClock) -> None:  # noqa: ASYNC124 - the same
    """What succeeded, and what is still open once it is taken up; that is given back when it spent nothing."""
    states = {"done": State.SUCCEEDED, "sent": State.SENT, "yesterday": State.SUCCEEDED} | {
        state.name: state for state in (State.DENIED, State.REJECTED, State.EXPIRED, State.REVERTED)
    }
    orders = {name: an_order(name, 30, at_unix_ns=NOON_NS - (DAY_NS if name == "yesterday" else 0)) for name in states}
    journal = Accepted([(records.accepted(orders[name]), state) for name, state in states.items()])
    limits = make_limits(of_all=100, of_source=90)
    limits.restore(journal)
    limits.take_up(orders["sent"])
    old = an_order("from-yesterday", 99, at_unix_ns=NOON_NS - DAY_NS)
    limits.take_up(old)
    assert refusal(limits, an_order("new", 41)).context["left"] == 40
    assert refusal(limits, an_order("new", 31)).context["left"] == 30
    limits.ended(orders["sent"], failure(ErrorCode.TRANSACTION_EXPIRED))
    limits.ended(old, failure(ErrorCode.TRANSACTION_EXPIRED))
    assert refusal(limits, an_order("new", 71)).context["left"] == 70
    assert journal.asked == [NOON_NS - DAY_NS // 2]


def test_a_journal_is_not_read_for_limits_that_are_not_set() -> None:
    """A long day of trades would keep the daemon from being ready."""
    journal = Accepted([])
    make_limits().restore(journal)

    assert journal.asked == []

"""The circuit breaker: closed is trading, open is halted, half-open lets a few trades probe."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import pytest
import trio
import trio.testing
from attrs import define

from executor.errors import Denied, ErrorCode, InvalidRequest
from executor.journal.journal import Note
from executor.model import Outcome, OutcomeStatus
from executor.risk.breaker import MAX_WHY, NOTE_KIND, PROBE_PATIENCE_SECONDS, WATCH_SECONDS, Breaker
from executor.risk.diary import MAX_WAITING_NOTES
from executor.status import BreakerState, CauseKind
from tests.support.events import RecordedLog
from tests.support.risk import KeptNotes, WallClock, failure, make_breaker, success, take, trade
from tests.support.values import make_order

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
EXPIRED = failure(ErrorCode.TRANSACTION_EXPIRED)
REVERTED = failure(ErrorCode.SWAP_REVERTED, slot=5, fees_paid_lamports=5_000)
SLIPPED = failure(ErrorCode.SLIPPAGE_EXCEEDED)
OPEN_SECONDS = 30.0

MockClock = trio.testing.MockClock


@asynccontextmanager
async def watching(breaker: Breaker) -> AsyncIterator[None]:
    """Let its watcher run."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.run)  # noqa: ASYNC113 - it takes no task_status; it has begun once nothing else is left to do
        await trio.testing.wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


def kinds(breaker: Breaker) -> list[str]:
    """Of its causes, in order."""
    return [cause.kind for cause in breaker.causes]


def refusal(breaker: Breaker) -> Denied:
    """What the next trade is told."""
    with pytest.raises(Denied) as caught:
        breaker.require_trading()
    assert caught.value.code is ErrorCode.TRADING_HALTED
    return caught.value


def trip(breaker: Breaker, count: int = 2) -> None:
    """Open one that trips on the second transaction that reverts."""
    for number in range(count):
        trade(breaker, f"reverted-{number}", REVERTED)


# --- what opens it ---


async def test_it_is_closed_until_something_is_found(autojump_clock: MockClock) -> None:  # noqa: ASYNC124 - it reads trio's clock
    """Trading is allowed, without a cause; what is let through may sign."""
    breaker = make_breaker({"blockhash": lambda: None})
    breaker.look()
    take(breaker, "a")
    breaker.require_pass("a")

    assert (breaker.state, breaker.causes, breaker.reasons()) == (CLOSED, (), ())


async def test_the_checks_open_it_at_once_and_close_it_again(autojump_clock: MockClock) -> None:
    """It opens soon after a check fails, with every cause, and closes soon after the last one is well."""
    found: dict[str, str | None] = {"blockhash": None, "nodes": None, "journal": None}
    log = RecordedLog()
    breaker = make_breaker({name: partial(found.get, name) for name in found}, log=log)
    states = []
    async with watching(breaker):
        for name, cause in [("nodes", "down"), ("blockhash", "old"), ("nodes", None), ("blockhash", None), ("journal", "full")]:
            found[name] = cause
            await trio.sleep(WATCH_SECONDS * 1.1)
            states.append((breaker.state, breaker.reasons()))

    assert states == [
        (OPEN, ("down",)),
        (OPEN, ("old", "down")),
        (OPEN, ("old",)),
        (CLOSED, ()),
        (OPEN, ("full",)),
    ]
    assert [event["causes"] for event in log.named("breaker.changed")] == [["down"], ["old", "down"], ["old"], [], ["full"]]


async def test_since_when_is_told_and_new_words_are_no_change(autojump_clock: MockClock) -> None:
    """An age in a cause grows; the cause has stood since it was found, and is journalled once."""
    ages, clock, notes = iter(["1 s old", "2 s old"]), WallClock(), KeptNotes()
    breaker = make_breaker({"blockhash": lambda: next(ages)}, now_ns=clock, notes=notes)
    began = clock.unix_ns
    breaker.look()
    clock.move(1)
    breaker.look()
    with trio.move_on_after(0.1):
        await breaker.diary.run()

    (cause,) = breaker.causes
    assert (cause.kind, cause.cause, cause.since_unix_ns) == ("blockhash", "2 s old", began)
    assert len(notes.kept) == 1


async def test_failed_trades_in_a_window_open_it(autojump_clock: MockClock) -> None:
    """By their share, once there are enough of them; those before the window have been forgotten."""
    breaker = make_breaker(error_rate_percent=50, error_rate_min_trades=4, window_seconds=60.0)
    for answer in (EXPIRED, EXPIRED, EXPIRED):
        trade(breaker, "early", answer)
    await trio.sleep(61)
    for answer in (success(), success(), EXPIRED):
        trade(breaker, "later", answer)
        assert breaker.state is CLOSED
    trade(breaker, "last", failure(ErrorCode.NODE_UNREACHABLE))

    assert (breaker.state, kinds(breaker)) == (OPEN, ["error_rate"])
    assert "2 of 4 trades failed within 60 s, the limit is 50 %" in refusal(breaker).message


async def test_so_many_failures_open_it(autojump_clock: MockClock) -> None:
    """However many trades succeeded."""
    breaker = make_breaker(error_count=2)
    for answer in (*[success()] * 50, EXPIRED, *[success()] * 50):
        trade(breaker, "r", answer)
    assert breaker.state is CLOSED
    await trio.sleep(1)
    trade(breaker, "r", EXPIRED)

    assert kinds(breaker) == ["error_count"]


async def test_reverts_in_a_row_open_it(autojump_clock: MockClock) -> None:  # noqa: ASYNC124 - it reads trio's clock
    """A success between them begins the row anew; what never landed does not."""
    breaker = make_breaker(landed_failures=3)
    for answer in (REVERTED, REVERTED, success(), REVERTED, EXPIRED, REVERTED):
        trade(breaker, "r", answer)
    assert breaker.state is CLOSED
    trade(breaker, "r", failure(ErrorCode.SLIPPAGE_EXCEEDED, slot=9))

    assert kinds(breaker) == ["landed_failures"]


async def test_slow_sends_open_it(autojump_clock: MockClock) -> None:  # noqa: ASYNC124 - it reads trio's clock
    """By the 99th percentile of the latest trades that were sent, of which there must be enough; unsent ones are none."""
    breaker = make_breaker(slow_broadcast_p99_seconds=1.0, slow_broadcast_trades=100)
    quick, slow = success(broadcast_ns=900_000_000), success(broadcast_ns=1_100_000_000)
    for answer in (*[quick] * 99, failure(ErrorCode.JUPITER_UNREACHABLE), slow):
        trade(breaker, "r", answer)
    assert breaker.state is CLOSED
    trade(breaker, "r", slow)

    assert kinds(breaker) == ["slow_broadcast"]


async def test_a_loss_above_its_limit_opens_it_and_closes_it_again(autojump_clock: MockClock) -> None:
    """At once when the trade ends, and of itself once the loss is a day old: no probe could tell."""
    clock = WallClock()
    breaker = make_breaker(max_loss_per_day=100, now_ns=clock)
    async with watching(breaker):
        trade(breaker, "a", success(quoted_amount=1_000, executed_amount=900))
        assert breaker.state is CLOSED
        trade(breaker, "b", success(quoted_amount=1_000, executed_amount=999))
        assert kinds(breaker) == ["loss"]
        clock.move(23.9 * 3600)
        await trio.sleep(1)
        assert breaker.state is OPEN
        clock.move(0.7 * 3600)
        await trio.sleep(1)
        assert breaker.state is CLOSED


async def test_a_gain_closes_what_a_loss_opened(autojump_clock: MockClock) -> None:
    """Trades in flight may still win it back."""
    breaker = make_breaker(max_loss_per_day=100)
    order = take(breaker, "winner")
    trade(breaker, "loser", success(quoted_amount=1_000, executed_amount=800))
    assert breaker.state is OPEN
    breaker.ended(order, success(quoted_amount=1_000, executed_amount=1_150))
    async with watching(breaker):
        assert breaker.state is CLOSED


async def test_losses_of_earlier_processes_count_and_their_failures_do_not(autojump_clock: MockClock) -> None:  # noqa: ASYNC124 - it reads trio's clock
    """A trade that was taken up after a restart may have failed for the restart; what it lost is lost."""
    breaker = make_breaker(max_loss_per_day=9_999, landed_failures=1)
    breaker.ended(make_order(), REVERTED)
    assert breaker.state is CLOSED
    breaker.ended(make_order(), REVERTED)

    assert kinds(breaker) == ["loss"]


async def test_several_causes_are_all_listed(autojump_clock: MockClock) -> None:
    """In the status and in the refusal, the operator's word first."""
    breaker = make_breaker({"nodes": lambda: "no node"}, landed_failures=2, error_count=2)
    orders = [take(breaker, str(number)) for number in range(3)]
    async with watching(breaker):
        await breaker.halt("maintenance")
        for order in orders:
            breaker.ended(order, REVERTED)

        assert kinds(breaker) == ["operator", "nodes", "error_count", "landed_failures"]
        message = refusal(breaker).message
    assert all(cause.cause in message for cause in breaker.causes)


async def test_callers_mistakes_never_open_it(autojump_clock: MockClock) -> None:  # noqa: ASYNC124 - it reads trio's clock
    """However many, and however sensitive it is."""
    breaker = make_breaker(error_rate_percent=1, error_rate_min_trades=1, error_count=1, landed_failures=1)
    pending = Outcome(request_id="r", status=OutcomeStatus.PENDING, error_code=ErrorCode.CONFIRMATION_TIMEOUT)
    refusals = [Denied(code, "no") for code in ErrorCode if code.facts.reply_status is not None]
    for answer in (*refusals, SLIPPED, failure(ErrorCode.ROUTE_NOT_FOUND), pending, None):
        for number in range(50):
            trade(breaker, f"r-{number}", answer)

    assert breaker.state is CLOSED


# --- half open ---


async def test_after_its_time_enough_successes_close_it(autojump_clock: MockClock) -> None:
    """Not before its time; then so many trades at once and no more; the last success that is needed closes it."""
    breaker = make_breaker(landed_failures=2, probe_trades=2, probe_successes=3)
    trip(breaker)
    await trio.sleep(OPEN_SECONDS - 0.01)
    early = refusal(breaker)
    await trio.sleep(0.01)
    first, second = take(breaker, "probe-1"), take(breaker, "probe-2")
    assert breaker.state is HALF_OPEN
    full = refusal(breaker)
    breaker.require_pass("probe-1")
    breaker.ended(first, success())
    third = take(breaker, "probe-3")
    breaker.ended(second, success())
    assert breaker.state is HALF_OPEN
    breaker.ended(third, success())

    assert (breaker.state, breaker.causes) == (CLOSED, ())
    assert early.context["retry_after_seconds"] == pytest.approx(0.01)
    assert "probed by 2 trades" in full.message
    assert "retry_after_seconds" not in full.context


async def test_a_probe_that_fails_opens_it_for_twice_as_long(autojump_clock: MockClock) -> None:
    """Up to the longest time; the probe's failure is told. Once it has closed, the time begins anew."""
    breaker = make_breaker(landed_failures=2, open_seconds=30.0, max_open_seconds=100.0, probe_successes=1)
    trip(breaker)
    waited = []
    for number in range(4):
        waited.append(cast(float, refusal(breaker).context["retry_after_seconds"]))
        await trio.sleep(waited[-1])
        trade(breaker, f"probe-{number}", EXPIRED)
        assert "the last probe failed: TRANSACTION_EXPIRED" in breaker.causes[0].cause
    await trio.sleep(100)
    trade(breaker, "good", success())
    assert breaker.state is CLOSED
    trip(breaker)

    assert waited == [30.0, 60.0, 100.0, 100.0]
    assert refusal(breaker).context["retry_after_seconds"] == 30.0


async def test_a_probe_that_is_never_proved_gives_its_place_up(autojump_clock: MockClock) -> None:
    """Its transaction was lost and one node is gone for good: that must not halt trading for ever."""
    breaker = make_breaker(landed_failures=2, probe_trades=1, probe_successes=1)
    trip(breaker)
    await trio.sleep(OPEN_SECONDS)
    take(breaker, "lost")
    await trio.sleep(PROBE_PATIENCE_SECONDS - 0.01)
    refusal(breaker)
    await trio.sleep(0.01)
    breaker.ended(take(breaker, "another"), success())

    assert breaker.state is CLOSED


async def test_a_failed_probe_undoes_the_successes_before_it(autojump_clock: MockClock) -> None:
    """Only so many in one round close it."""
    breaker = make_breaker(landed_failures=2, probe_successes=2)
    trip(breaker)
    await trio.sleep(OPEN_SECONDS)
    trade(breaker, "good", success())
    trade(breaker, "bad", EXPIRED)
    await trio.sleep(2 * OPEN_SECONDS)
    trade(breaker, "good-again", success())
    assert breaker.state is HALF_OPEN
    trade(breaker, "better", success())

    assert breaker.state is CLOSED


async def test_a_slow_probe_fails_where_slow_sends_are_watched(autojump_clock: MockClock) -> None:
    """A success that was sent too late does not close what slow sends may have opened."""
    breaker = make_breaker(slow_broadcast_p99_seconds=1.0, slow_broadcast_trades=1)
    slow = success(broadcast_ns=1_500_000_000)
    trade(breaker, "r", slow)
    await trio.sleep(OPEN_SECONDS)
    trade(breaker, "probe", slow)

    assert breaker.state is OPEN
    assert "sent after 1.500 s" in breaker.causes[0].cause


@pytest.mark.parametrize("answer", [Denied(ErrorCode.PRICE_MOVED, "no"), SLIPPED, None])
async def test_a_callers_mistake_frees_the_probes_place(autojump_clock: MockClock, answer: Any) -> None:
    """It proves nothing either way: another trade probes."""
    breaker = make_breaker(landed_failures=2, probe_successes=1)
    trip(breaker)
    await trio.sleep(OPEN_SECONDS)
    trade(breaker, "mistaken", answer)
    assert breaker.state is HALF_OPEN
    trade(breaker, "good", success())

    assert breaker.state is CLOSED


async def test_a_probe_of_an_earlier_round_decides_nothing(autojump_clock: MockClock) -> None:
    """But it holds its place until it has ended, so that never more probe than may."""
    breaker = make_breaker(landed_failures=2, probe_trades=2, probe_successes=1)
    trip(breaker)
    await trio.sleep(OPEN_SECONDS)
    slow, bad = take(breaker, "slow"), take(breaker, "bad")
    breaker.ended(bad, EXPIRED)
    await trio.sleep(2 * OPEN_SECONDS)
    current = take(breaker, "current")
    refusal(breaker)
    with pytest.raises(Denied):
        breaker.require_pass("slow")
    breaker.ended(slow, success())
    assert breaker.state is HALF_OPEN
    breaker.ended(current, success())

    assert breaker.state is CLOSED


async def test_trades_from_before_the_halt_say_nothing_about_now(autojump_clock: MockClock) -> None:
    """They may expire a minute later: while trades probe, and after it has closed again."""
    breaker = make_breaker(landed_failures=2, error_count=3, probe_successes=1)
    early, late = [take(breaker, f"early-{n}") for n in range(5)], [take(breaker, f"late-{n}") for n in range(5)]
    trip(breaker)
    await trio.sleep(OPEN_SECONDS)
    probe = take(breaker, "probe")
    for order in early:
        breaker.ended(order, EXPIRED)
    assert (breaker.state, kinds(breaker)) == (HALF_OPEN, ["landed_failures"])
    breaker.ended(probe, success())
    for order in late:
        breaker.ended(order, EXPIRED)

    assert breaker.state is CLOSED


async def test_what_was_taken_and_not_signed_is_stopped(autojump_clock: MockClock) -> None:
    """By any cause, right before it would be signed; a probe may sign while it is half open, and others may not."""
    breaker = make_breaker(landed_failures=2)
    take(breaker, "taken")
    trip(breaker)
    with pytest.raises(Denied, match="nothing was sent"):
        breaker.require_pass("taken")
    await trio.sleep(OPEN_SECONDS)
    take(breaker, "probe")
    breaker.require_pass("probe")
    with pytest.raises(Denied, match="nothing was sent"):
        breaker.require_pass("taken")


# --- the operator ---


async def test_an_operators_halt_stands_until_it_is_taken_back(autojump_clock: MockClock) -> None:
    """Time does not end it, and no probe is let through, whatever else stands beneath it."""
    notes = KeptNotes()
    breaker = make_breaker(landed_failures=2, notes=notes)
    async with watching(breaker):
        trip(breaker)
        await breaker.halt("the feed is down")
        assert json.loads(notes.kept[-1].body)["operator"]["cause"] == "halted by an operator: the feed is down"
        await trio.sleep(1_000)
        assert breaker.state is OPEN
        halted = refusal(breaker)
        await breaker.resume("it is back")
        assert breaker.state is CLOSED
        trade(breaker, "r", REVERTED)
        assert breaker.state is CLOSED

    assert "the feed is down" in halted.message
    assert "retry_after_seconds" not in halted.context


async def test_resuming_keeps_what_the_checks_find(autojump_clock: MockClock) -> None:
    """What is still wrong is still wrong; but losses are forgiven, or trading could not be resumed for a day."""
    breaker = make_breaker({"nodes": lambda: "no node"}, max_loss_per_day=10)
    breaker.ended(make_order(), success(quoted_amount=1_000, executed_amount=900))
    async with watching(breaker):
        await breaker.halt("stop")
        assert kinds(breaker) == ["operator", "nodes", "loss"]
        await breaker.resume("go")
        assert kinds(breaker) == ["nodes"]
        await trio.sleep(1)
        assert kinds(breaker) == ["nodes"]


@pytest.mark.parametrize("why", ["", " ", "x" * (MAX_WHY + 1), "two\nlines", "\x1b[2J"])
async def test_a_reason_is_asked_for(autojump_clock: MockClock, why: str) -> None:
    """1 to 200 printable characters, or nothing is changed."""
    breaker = make_breaker()
    for word in (breaker.halt, breaker.resume):
        with pytest.raises(InvalidRequest) as caught:
            await word(why)
        assert [problem.field for problem in caught.value.problems] == ["why"]

    assert breaker.state is CLOSED


async def test_a_halt_that_cannot_be_journalled_takes_effect(autojump_clock: MockClock) -> None:
    """The operator is told that a restart may not know it; it is written as soon as the disk is well."""
    notes = KeptNotes(is_full=True)
    breaker = make_breaker(notes=notes, landed_failures=2)
    async with watching(breaker):
        trip(breaker)  # its note waits before the operator's
        await trio.sleep(3)
        with pytest.raises(Denied, match="trading is halted, but not on disk yet") as caught:
            await breaker.halt("stop")
        assert breaker.state is OPEN
        assert not notes.kept
        notes.is_full = False
        await trio.sleep(1)

    assert caught.value.code is ErrorCode.JOURNAL_UNAVAILABLE
    assert json.loads(notes.kept[-1].body)["state"] == "OPEN"


# --- a restart ---


def restarted(notes: KeptNotes, **settings: Any) -> Breaker:
    """A breaker of the next process."""
    breaker = make_breaker(notes=notes, landed_failures=2, **settings)
    breaker.restore()
    return breaker


async def test_a_restart_keeps_an_open_breaker_with_what_is_left_of_its_time(autojump_clock: MockClock) -> None:
    """By the wall clock, with its causes, their beginning and how often it was opened again."""
    notes, clock = KeptNotes(), WallClock()
    breaker = make_breaker(notes=notes, now_ns=clock, landed_failures=2)
    async with watching(breaker):
        trip(breaker)
        await trio.sleep(OPEN_SECONDS)
        clock.move(OPEN_SECONDS)
        trade(breaker, "probe", EXPIRED)
    clock.move(20)
    log = RecordedLog()
    again = restarted(notes, now_ns=clock, log=log)

    assert (again.state, again.causes) == (OPEN, breaker.causes)
    assert refusal(again).context["retry_after_seconds"] == pytest.approx(2 * OPEN_SECONDS - 20)
    assert len(log.named("breaker.restored")) == 1
    clock.move(1_000)
    assert restarted(notes, now_ns=clock).state is HALF_OPEN
    clock.move(-1_000_000)
    assert refusal(restarted(notes, now_ns=clock)).context["retry_after_seconds"] == 2 * OPEN_SECONDS


async def test_a_restart_keeps_an_operators_halt_and_a_resumption(autojump_clock: MockClock) -> None:
    """For as long as it takes; and what was resumed is not halted again."""
    notes = KeptNotes()
    breaker = make_breaker(notes=notes)
    async with watching(breaker):
        await breaker.halt("stop")
    await trio.sleep(80_000)
    again = restarted(notes)
    assert (again.state, again.causes) == (OPEN, breaker.causes)
    async with watching(again):
        await again.resume("go")

    assert restarted(notes).state is CLOSED


async def test_a_restart_keeps_losses(autojump_clock: MockClock) -> None:
    """Those that opened it, and those that did not yet; forgiven ones stay forgiven."""
    notes = KeptNotes()
    breaker = restarted(notes, max_loss_per_day=100)
    async with watching(breaker):
        for _ in range(10):
            trade(breaker, "r", success(quoted_amount=1_000, executed_amount=991))
    again = restarted(notes, max_loss_per_day=100)
    again.look()
    assert again.state is CLOSED
    async with watching(again):
        trade(again, "r", success(quoted_amount=1_000, executed_amount=989))
    third = restarted(notes, max_loss_per_day=100)
    third.look()
    assert kinds(third) == ["loss"]
    async with watching(third):
        await third.resume("we know")
    fourth = restarted(notes, max_loss_per_day=100)
    fourth.look()

    assert fourth.state is CLOSED


async def test_losses_are_kept_when_a_trade_ends(autojump_clock: MockClock) -> None:
    """At once after a pause, and together with what follows within the watcher's next look: a crash loses no more than that."""
    notes = KeptNotes()
    breaker = make_breaker(notes=notes, max_loss_per_day=100)
    for _ in range(5):
        trade(breaker, "r", success(quoted_amount=1_000, executed_amount=999))
    assert len(notes.notes("loss", last=9)) == 1
    async with watching(breaker):
        assert len(notes.notes("loss", last=9)) == 2
    again = restarted(notes, max_loss_per_day=100)

    assert again.losses.lost(make_order().output.mint) == 5
    assert all(note.replaces for note in notes.notes("loss", last=9))


async def test_every_change_is_journalled_with_its_cause(autojump_clock: MockClock) -> None:
    """In order: what it is now, what changed it, and every cause."""
    notes = KeptNotes()
    breaker = make_breaker(notes=notes, landed_failures=2, probe_successes=1)
    async with watching(breaker):
        trip(breaker)
        await trio.sleep(OPEN_SECONDS + WATCH_SECONDS)
        trade(breaker, "probe", success())
        await breaker.halt("stop")
        await breaker.resume("go")
    bodies = [json.loads(note.body) for note in notes.notes(NOTE_KIND, last=100)]

    assert [(body["state"], [cause["kind"] for cause in body["causes"]]) for body in bodies] == [
        ("OPEN", ["landed_failures"]),
        ("HALF_OPEN", ["landed_failures"]),
        ("CLOSED", []),
        ("OPEN", ["operator"]),
        ("CLOSED", []),
    ]
    assert [body["because"] for body in bodies][3:] == ["an operator: stop", "an operator: go"]


async def test_changes_that_cannot_be_written_are_bounded(autojump_clock: MockClock) -> None:
    """Every note holds all, so the newest are enough; whoever waits for a dropped one is told."""
    notes = KeptNotes(is_full=True)
    breaker = make_breaker(notes=notes)
    told: list[Denied] = []

    async def halt() -> None:
        try:
            await breaker.halt("again")
        except Denied as denied:
            told.append(denied)

    async with trio.open_nursery() as nursery:
        for _ in range(MAX_WAITING_NOTES + 5):
            nursery.start_soon(halt)
        await trio.testing.wait_all_tasks_blocked()
        assert len(told) == 5  # those that were dropped
        nursery.start_soon(breaker.run)
        await trio.sleep(1)
        notes.is_full = False
        await trio.sleep(1)
        nursery.cancel_scope.cancel()

    assert len(told) == MAX_WAITING_NOTES + 5
    assert len(notes.notes(NOTE_KIND, last=1_000)) == MAX_WAITING_NOTES


@define
class SlowNotes(KeptNotes):
    """A disk that takes a second."""

    async def note(self, note: Note) -> None:
        await trio.sleep(1)
        await super().note(note)


async def halt_in_vain(breaker: Breaker) -> None:
    """Give a word that is overtaken before it is written."""
    with pytest.raises(Denied, match="newer changes took its place"):
        await breaker.halt("first")


async def test_a_slow_disk_does_not_hold_changes_up(autojump_clock: MockClock) -> None:
    """They take effect at once; even where the one that is being written is dropped for newer ones, the newest is written."""
    notes = SlowNotes()
    breaker = make_breaker(notes=notes)
    async with watching(breaker), trio.open_nursery() as nursery:
        nursery.start_soon(halt_in_vain, breaker)
        await trio.sleep(0.5)
        for number in range(MAX_WAITING_NOTES):
            nursery.start_soon(breaker.halt, f"again {number}")
        await trio.testing.wait_all_tasks_blocked()
        assert "again" in breaker.causes[0].cause

    written = [json.loads(note.body)["operator"]["cause"] for note in notes.kept]
    assert len(written) == MAX_WAITING_NOTES + 1
    assert written[0].endswith("first")
    assert written[-1] == breaker.causes[0].cause


async def test_what_is_not_written_yet_is_handed_over_at_the_end(autojump_clock: MockClock) -> None:
    """The journal's writer outlives the watcher; where even that fails the log says so, and the end is in order."""
    for is_full in (False, True):
        notes, log = KeptNotes(is_full=True), RecordedLog()
        breaker = make_breaker(notes=notes, log=log, landed_failures=2, max_loss_per_day=10**9)
        async with watching(breaker):
            trip(breaker)
            await trio.testing.wait_all_tasks_blocked()
            notes.is_full = is_full
        assert [note.kind for note in notes.kept] == ([] if is_full else ["breaker", "loss"])
        assert bool(log.named("breaker.losses_not_journalled")) is is_full or log.named("breaker.not_journalled")


async def test_its_notes_do_not_make_a_journal_look_well(autojump_clock: MockClock) -> None:
    """While the journal is unwell only an operator's word is written at once; the changes follow, in order, when it is well."""
    problems: dict[str, str | None] = {"journal": "full"}
    notes = KeptNotes()
    breaker = make_breaker({"journal": lambda: problems["journal"]}, notes=notes, max_loss_per_day=10**9)
    order = take(breaker, "in-flight")
    async with watching(breaker):
        breaker.ended(order, REVERTED)
        await trio.sleep(5)
        assert not notes.kept
        problems["journal"] = None
        await trio.sleep(2)
        assert [json.loads(note.body)["state"] for note in notes.notes(NOTE_KIND, last=9)] == ["OPEN", "CLOSED"]
        assert len(notes.notes("loss", last=9)) == 1
        problems["journal"] = "full"
        await trio.sleep(2)
        await breaker.halt("stop")
        written = [json.loads(note.body)["because"] for note in notes.notes(NOTE_KIND, last=9)]

    assert written[2:] == ["the checks", "an operator: stop"]


async def test_it_forgets_trades_that_ended(autojump_clock: MockClock) -> None:
    """What it holds is bounded by the trades in flight and by its settings."""
    breaker = make_breaker(error_rate_percent=100, landed_failures=10**6, slow_broadcast_p99_seconds=1.0, max_loss_per_day=10**15)
    for number in range(3_000):
        trade(breaker, f"r-{number}", success() if number % 2 else REVERTED)
        await trio.sleep(1)

    assert not breaker._passes
    assert len(breaker._triggers._slots) <= 60
    assert len(breaker._triggers._broadcasts) <= 100
    assert len(breaker.losses._buckets) <= 49


def test_kinds_are_stable() -> None:
    """Journals, dashboards and callers hold them."""
    assert [str(kind) for kind in CauseKind] == [
        "error_rate",
        "error_count",
        "landed_failures",
        "slow_broadcast",
        "blockhash",
        "nodes",
        "cluster",
        "journal",
        "loss",
        "operator",
    ]

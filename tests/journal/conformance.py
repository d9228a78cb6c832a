"""What any backend of the journal has to keep. A backend's tests subclass `JournalConformance` and say how it is opened."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Protocol

import pytest
import trio
import trio.testing
from attrs import evolve

from executor.errors import ConfigError
from executor.journal.journal import MAX_WAITING, Entry, EntryRefused, Journal, JournalError, Note
from executor.states import TERMINAL, State
from executor.status import JournalStatus
from tests.journal.entries import accepted, life, note, signed, step
from tests.support.waiting import PATIENCE_SECONDS, eventually

NOT_ACCEPTED = [state for state in State if state is not State.ACCEPTED]
OPEN = [state for state in State if state not in TERMINAL]


class OpenJournal(Journal, Protocol):
    """A journal with what runs it."""

    async def run(self) -> None:
        """Commit what is handed over, until cancelled."""

    def problem(self) -> str | None:
        """Why entries cannot be made durable."""

    def statistics(self) -> JournalStatus:
        """What was committed since the start."""

    def close(self) -> None:
        """Release what it is kept in."""


class Backend(Protocol):
    """One place where a journal can be kept, and opened again."""

    def open(self) -> OpenJournal:
        """Open it; what was durable when it was last closed is there. Raises ConfigError when it is open."""
        ...

    def failing(self) -> AbstractContextManager[None]:
        """Let every commit fail meanwhile, for a reason that passes."""
        ...


@asynccontextmanager
async def running(backend: Backend) -> AsyncIterator[OpenJournal]:
    """A journal whose writer runs."""
    with closing(backend.open()) as journal, trio.fail_after(PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.run)  # noqa: ASYNC113 - entries may be handed over before it runs
            yield journal
            nursery.cancel_scope.cancel()


async def append_all(journal: Journal, entries: Sequence[Entry]) -> None:
    """One after the other."""
    for entry in entries:
        await journal.append(entry)


async def ended(backend: Backend, *before: Entry) -> OpenJournal:
    """A journal whose writer has ended, and that is still open."""
    journal = backend.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(journal.run)
        await append_all(journal, before)
        nursery.cancel_scope.cancel()
    return journal


class JournalConformance:
    """The promises, one test each."""

    def backend(self, folder: Path) -> Backend:
        """Make a place of its own for each test."""
        raise NotImplementedError

    @pytest.fixture
    def place(self, tmp_path: Path) -> Backend:
        """A place where a journal is kept."""
        return self.backend(tmp_path)

    # --- what was told to be durable is, in order ---

    async def test_what_was_appended_is_there_after_a_reopen(self, place: Backend) -> None:
        """Every field of every entry, oldest first, and nothing of other requests."""
        entries = [accepted("a", '{"x":"ü"}'), signed("a", "sig"), step("a", State.SENT), step("a", State.SUCCEEDED)]
        async with running(place) as journal:
            await append_all(journal, [*entries[:2], accepted("b"), *entries[2:]])

            assert list(journal.entries("a")) == entries
        async with running(place) as journal:
            assert list(journal.entries("a")) == entries
            assert list(journal.entries("nobody")) == []

    async def test_entries_are_numbered_in_the_order_in_which_they_were_taken(self, place: Backend) -> None:
        """Across requests and across processes; a number takes no part in a comparison."""
        async with running(place) as journal:
            await append_all(journal, [accepted("a"), accepted("b")])
        async with running(place) as journal:
            await append_all(journal, [signed("a", "sig"), signed("b", "other")])
            numbers = [entry.seq for name in "ab" for entry in journal.entries(name)]

        assert numbers[0] > 0
        assert sorted(numbers) == [numbers[0], numbers[2], numbers[1], numbers[3]]
        assert len(set(numbers)) == len(numbers)
        assert evolve(accepted("a"), seq=7) == accepted("a")

    async def test_an_entry_that_was_handed_over_is_durable_with_the_next_one(self, place: Backend) -> None:
        """`append_soon` keeps the order: what it took stands before what was appended later."""
        async with running(place) as journal:
            journal.append_soon(accepted("a"))
            assert list(journal.entries("a")) == []
            await journal.append(signed("a", "sig"))

            assert [entry.state for entry in journal.entries("a")] == [State.ACCEPTED, State.SIGNED]

    async def test_what_waits_together_shares_a_commit(self, place: Backend) -> None:
        """Entries and notes; and all of them are counted."""
        told: list[str] = []

        async def append(name: str) -> None:
            await journal.append(accepted(name))
            told.append(name)

        async def note_too() -> None:
            await journal.note(note(1))
            told.append("note")

        with closing(place.open()) as journal, trio.fail_after(PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(append, f"r{number}")
                nursery.start_soon(note_too)
                await trio.testing.wait_all_tasks_blocked()
                waiting = journal.statistics().waiting
                nursery.start_soon(journal.run)
                await eventually(lambda: len(told) == 21, "everybody is told")
                statistics = journal.statistics()
                nursery.cancel_scope.cancel()

        assert waiting == 21
        assert (statistics.entries, statistics.commits, statistics.waiting, statistics.problem) == (21, 1, 0, "")

    async def test_a_cancelled_waiter_s_entry_becomes_durable(self, place: Backend) -> None:
        """Also when the trade was cancelled before it began to wait; a note's likewise."""
        async with running(place) as journal:
            with trio.CancelScope() as scope:
                scope.cancel()
                await journal.append(accepted("a"))
            with trio.CancelScope() as scope:
                scope.cancel()
                await journal.note(note(1))

        async with running(place) as journal:
            assert len(journal.entries("a")) == 1
            assert len(journal.notes("breaker", last=9)) == 1

    # --- what is refused ---

    async def test_a_second_acceptance_refuses_only_itself(self, place: Backend) -> None:
        """The others of the same commit are sound, and the first acceptance stands."""
        refused: list[str] = []

        async def append(entry: Entry) -> None:
            try:
                await journal.append(entry)
            except EntryRefused as error:
                refused.append(str(error))

        async with running(place) as journal:
            await journal.append(accepted("a", '{"first":1}'))
            async with trio.open_nursery() as nursery:
                for entry in (accepted("a", '{"second":1}'), accepted("b"), accepted("b"), accepted("c")):
                    nursery.start_soon(append, entry)

            assert len(refused) == 2
            assert [entry.body for entry in journal.entries("a")] == ['{"first":1}']
            assert [len(journal.entries(name)) for name in "bc"] == [1, 1]
            assert journal.problem() is None

    async def test_a_signature_belongs_to_one_request(self, place: Backend) -> None:
        """Two equal requests under one blockhash would be one transaction: the second must not be sent."""
        async with running(place) as journal:
            await append_all(journal, [accepted("a"), accepted("b"), signed("a", "same")])
            with pytest.raises(EntryRefused):
                await journal.append(signed("b", "same"))
            await journal.append(signed("b", "other"))

            assert [entry.signature for entry in journal.entries("b")] == [None, "other"]

    async def test_a_signature_stays_its_life_s_own(self, place: Backend) -> None:
        """Also after a denial and an end: equal bytes in two lives would be one transaction."""
        async with running(place) as journal:
            await append_all(journal, [*life("a", State.SUCCEEDED), *life("b", State.DENIED), accepted("b")])
            with pytest.raises(EntryRefused):
                await journal.append(signed("b", "of a"))

    @pytest.mark.parametrize("state", NOT_ACCEPTED)
    async def test_nothing_is_taken_of_a_request_whose_acceptance_is_missing(self, state: State, place: Backend) -> None:
        """It would be a trade that nobody can read again."""
        async with running(place) as journal:
            with pytest.raises(EntryRefused):
                await journal.append(signed("a", "sig") if state is State.SIGNED else step("a", state))

            assert list(journal.entries("a")) == []

    async def test_a_denied_request_may_be_accepted_anew(self, place: Backend) -> None:
        """Nothing was signed, and what stood in the way may have passed; as often as it takes, also by a later process."""
        lives = [*life("a", State.DENIED), *life("a", State.DENIED)]
        async with running(place) as journal:
            await append_all(journal, lives)
        last = life("a", State.SUCCEEDED)
        async with running(place) as journal:
            await append_all(journal, last)

            assert list(journal.entries("a")) == [*lives, *last]

    async def test_a_request_is_read_life_by_life(self, place: Backend) -> None:
        """The last one, or the first of which something was not seen yet: none of another, none twice."""
        async with running(place) as journal:
            await append_all(journal, life("a", State.DENIED))
            await append_all(journal, life("b", State.SIGNED))
            await append_all(journal, life("a", State.DENIED))
            await append_all(journal, life("a", State.SIGNED))
            every = journal.entries("a")
            first, second, last = every[:2], every[2:4], every[4:]

            assert journal.life("a") == journal.life("a", after_sequence=2**63 - 1) == last == life("a", State.SIGNED)
            assert journal.life("a", after_sequence=0) == journal.life("a", after_sequence=first[0].seq) == first
            assert journal.life("a", after_sequence=first[-1].seq) == journal.life("a", after_sequence=second[0].seq) == second
            assert journal.life("a", after_sequence=second[-1].seq) == journal.life("a", after_sequence=last[-1].seq) == last
            assert journal.life("b") == life("b", State.SIGNED)
            assert journal.life("nobody") == []

    async def test_the_end_and_the_new_beginning_may_share_a_commit(self, place: Backend) -> None:
        """A caller who asks again at once is faster than the disk."""
        with closing(place.open()) as journal, trio.fail_after(PATIENCE_SECONDS):
            for entry in (*life("a", State.DENIED), accepted("a"), signed("a", "sig")):
                journal.append_soon(entry)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(journal.run)
                nursery.cancel_scope.cancel()

            assert journal.statistics().commits == 1
            assert [entry.state.name for entry in journal.entries("a")] == ["ACCEPTED", "DENIED", "ACCEPTED", "SIGNED"]

    @pytest.mark.parametrize("last", [state for state in State if state is not State.DENIED])
    async def test_after_anything_but_a_denial_nothing_is_accepted_anew(self, last: State, place: Backend) -> None:
        """It may have been signed, and what was signed may land: a second life could be a second swap."""
        async with running(place) as journal:
            await append_all(journal, life("a", last))
            with pytest.raises(EntryRefused):
                await journal.append(accepted("a"))

            assert list(journal.entries("a")) == life("a", last)

    @pytest.mark.parametrize("last", [state for state in State if state in TERMINAL - {State.DENIED}])
    @pytest.mark.parametrize("state", NOT_ACCEPTED)
    async def test_a_life_has_one_end(self, last: State, state: State, place: Backend) -> None:
        """Whatever comes after it, were it the same once more, is refused: two ends would be two truths."""
        async with running(place) as journal:
            await append_all(journal, life("a", last))
            with pytest.raises(EntryRefused):
                await journal.append(signed("a", "another") if state is State.SIGNED else step("a", state))

            assert list(journal.entries("a")) == life("a", last)

    @pytest.mark.parametrize("state", NOT_ACCEPTED)
    async def test_a_denied_request_takes_nothing_before_it_is_accepted_anew(self, state: State, place: Backend) -> None:
        """Whose new acceptance the disk lost must not be signed on the strength of the old one."""
        async with running(place) as journal:
            await append_all(journal, life("a", State.DENIED))
            with place.failing():
                journal.append_soon(accepted("a"))
                with pytest.raises(JournalError):
                    await journal.append(accepted("b"))
            with pytest.raises(EntryRefused):
                await journal.append(signed("a", "sig") if state is State.SIGNED else step("a", state))

            assert list(journal.entries("a")) == life("a", State.DENIED)

    async def test_the_denial_of_one_request_opens_no_other(self, place: Backend) -> None:
        """Each request has its own lives."""
        async with running(place) as journal:
            await append_all(journal, [accepted("b"), *life("a", State.DENIED)])
            with pytest.raises(EntryRefused):
                await journal.append(accepted("b"))
            await journal.append(signed("b", "sig"))

    async def test_a_full_waiting_list_refuses_and_then_drains(self, place: Backend) -> None:
        """Overload is refused, not buffered, entries and notes alike; whatever had been taken becomes durable."""
        with closing(place.open()) as journal, trio.fail_after(PATIENCE_SECONDS):
            for number in range(MAX_WAITING):
                journal.append_soon(accepted(f"r{number}"))
            with pytest.raises(JournalError, match="waiting for the disk"):
                journal.append_soon(accepted("one too many"))
            with pytest.raises(JournalError, match="waiting for the disk"):
                journal.note_soon(note(1))
            with pytest.raises(JournalError, match="waiting for the disk"):
                await journal.append(accepted("one too many"))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(journal.run)
                await trio.testing.wait_all_tasks_blocked()
                await journal.append(accepted("room again"))
                nursery.cancel_scope.cancel()

            assert len(journal.open_requests()) == MAX_WAITING + 1

    def test_a_second_instance_is_refused_while_the_first_lives(self, place: Backend) -> None:
        """Two writers would trade twice. When the first is gone, however, the place is free."""
        first = place.open()
        with pytest.raises(ConfigError, match="in use by another executor"):
            place.open()
        first.close()

        place.open().close()

    # --- what fails ---

    async def test_a_failing_disk_is_an_error_and_not_for_ever(self, place: Backend) -> None:
        """Nobody is told that an entry is durable which is not; when the disk is well again, the journal works again."""
        async with running(place) as journal:
            await journal.append(accepted("before"))
            with place.failing():
                for name in ("during", "during too"):
                    with pytest.raises(JournalError, match="cannot be written"):
                        await journal.append(accepted(name))
                with pytest.raises(JournalError, match="cannot be written"):
                    await journal.note(note(1))
                problem = journal.problem()
            await journal.append(accepted("after"))

            assert problem is not None
            assert "cannot be written" in problem
            assert journal.problem() is None
            assert (journal.statistics().entries, journal.statistics().commits) == (2, 2)
        async with running(place) as journal:
            assert [len(journal.entries(name)) for name in ("before", "during", "during too", "after")] == [1, 0, 0, 1]
            assert list(journal.notes("breaker", last=1)) == []

    async def test_a_disk_that_is_well_again_is_found_out_without_any_trade(self, place: Backend) -> None:
        """While there is a problem, no new trade is taken: so the journal itself has to try."""
        async with running(place) as journal:
            with place.failing():
                with pytest.raises(JournalError):
                    await journal.append(accepted("a"))
                assert journal.statistics().problem != ""
            await eventually(lambda: journal.problem() is None, "it has tried")

            assert journal.statistics().problem == ""
            assert list(journal.entries("a")) == []

    async def test_everybody_in_a_failed_commit_is_told(self, place: Backend) -> None:
        """None of them was written, so each of them gets the error."""
        failed: list[str] = []

        async def append(name: str) -> None:
            try:
                await journal.append(accepted(name))
            except JournalError:
                failed.append(name)

        async with running(place) as journal:
            with place.failing():
                async with trio.open_nursery() as nursery:
                    for name in "abc":
                        nursery.start_soon(append, name)

        assert sorted(failed) == ["a", "b", "c"]

    # --- how it ends ---

    async def test_what_waits_when_the_writer_is_cancelled_is_still_committed(self, place: Backend) -> None:
        """The writer ends after the last entry, not before it."""
        with closing(place.open()) as journal, trio.fail_after(PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.cancel_scope.cancel()
                nursery.start_soon(journal.run)
                for number in range(3):
                    journal.append_soon(accepted(f"r{number}"))
                journal.note_soon(note(1))

            assert all(journal.entries(f"r{number}") for number in range(3))
            assert len(journal.notes("breaker", last=9)) == 1

    async def test_after_the_writer_has_ended_nothing_is_taken_and_everything_can_be_read(self, place: Backend) -> None:
        """Nobody waits for ever; and what is there stays there."""
        with closing(await ended(place, accepted("a"))) as journal, trio.fail_after(PATIENCE_SECONDS):
            with pytest.raises(JournalError, match="has ended"):
                journal.append_soon(accepted("late"))
            with pytest.raises(JournalError, match="has ended"):
                journal.note_soon(note(1))
            with pytest.raises(JournalError, match="has ended"):
                await journal.append(accepted("late"))
            with pytest.raises(JournalError, match="has ended"):
                await journal.note(note(1))

            assert "has ended" in (journal.problem() or "")
            assert list(journal.entries("a")) == [accepted("a")]
            assert list(journal.open_requests()) == ["a"]

    # --- what is open, and what was accepted when ---

    async def test_what_is_open_is_told_in_the_order_of_acceptance(self, place: Backend) -> None:
        """An end takes a request off, a new life puts it back, at its end; also to a later process."""
        async with running(place) as journal:
            await append_all(journal, [*life("d", State.DENIED), accepted("b"), accepted("a")])
            await append_all(journal, [*life("e", State.SUCCEEDED), accepted("d"), signed("a", "sig")])

            assert list(journal.open_requests()) == ["b", "a", "d"]
        async with running(place) as journal:
            await journal.append(step("b", State.REJECTED))

            assert list(journal.open_requests()) == ["a", "d"]

    @pytest.mark.parametrize("last", list(State))
    async def test_a_request_is_open_until_its_end(self, last: State, place: Backend) -> None:
        """Whatever its end is."""
        async with running(place) as journal:
            await append_all(journal, life("a", last))

            assert list(journal.open_requests()) == (["a"] if last in OPEN else [])

    async def test_what_was_not_taken_opens_and_ends_nothing(self, place: Backend) -> None:
        """Neither an entry that was refused nor one that the disk lost."""
        async with running(place) as journal:
            await journal.append(accepted("a"))
            with pytest.raises(EntryRefused):
                await journal.append(step("b", State.REJECTED))
            with place.failing():
                for entry in (accepted("c"), step("a", State.REJECTED)):
                    with pytest.raises(JournalError):
                        await journal.append(entry)

            assert list(journal.open_requests()) == ["a"]

    async def test_acceptances_since_a_moment_come_with_the_state_of_their_life(self, place: Backend) -> None:
        """In the order in which they were taken, whatever the clock said; a life that was followed by another was denied."""
        async with running(place) as journal:
            await append_all(journal, [accepted("early", at_unix_ns=9), *life("x", State.SUCCEEDED)])
            await append_all(journal, [accepted("a", at_unix_ns=12), step("a", State.DENIED), accepted("b", at_unix_ns=10)])
            await append_all(journal, [signed("b", "sig"), accepted("a", '{"second":1}', at_unix_ns=11), signed("a", "of a")])
            found = list(journal.accepted_since(10))

            assert [(entry.request_id, entry.body, state) for entry, state in found] == [
                ("a", "{}", State.DENIED),
                ("b", "{}", State.SIGNED),
                ("a", '{"second":1}', State.SIGNED),
            ]
            assert [entry for entry, _state in found][1] == accepted("b", at_unix_ns=10)
            assert list(journal.accepted_since(13)) == []

    # --- notes ---

    async def test_notes_are_kept_by_kind(self, place: Backend) -> None:
        """The last ones, newest last, each as it was; a later process finds them."""
        async with running(place) as journal:
            for number in range(3):
                journal.note_soon(note(number))
            await journal.note(note(9, kind="other"))

        async with running(place) as journal:
            assert list(journal.notes("breaker", last=2)) == [note(1), note(2)]
            assert list(journal.notes("breaker", last=9)) == [note(0), note(1), note(2)]
            assert list(journal.notes("unheard of", last=9)) == []
            assert _rising([found.seq for found in journal.notes("breaker", last=9)])

    async def test_a_note_may_replace_the_earlier_ones_of_its_kind(self, place: Backend) -> None:
        """Others stay; what replaces is numbered behind all that there was, and later ones add to it again."""
        newest = evolve(note(3), replaces=True)
        async with running(place) as journal:
            for earlier in (note(0), note(1), note(2, kind="other")):
                await journal.note(earlier)
            replaced = journal.notes("breaker", last=1)
            await journal.note(newest)

        async with running(place) as journal:
            assert list(journal.notes("breaker", last=9)) == [newest]
            assert list(journal.notes("other", last=9)) == [note(2, kind="other")]
            await journal.note(note(4))
            assert list(journal.notes("breaker", last=9)) == [newest, note(4)]
            assert _rising([found.seq for found in (*replaced, *journal.notes("breaker", last=9))])

    async def test_a_note_stands_beside_what_is_refused(self, place: Backend) -> None:
        """In the same commit."""
        async with running(place) as journal:
            await journal.append(accepted("a"))
            journal.note_soon(note(1))
            with pytest.raises(EntryRefused):
                await journal.append(accepted("a"))

            assert list(journal.notes("breaker", last=1)) == [note(1)]

    # --- following ---

    async def test_a_follower_is_told_of_every_commit_of_its_request(self, place: Backend) -> None:
        """Also when it came before anybody waited; once for what came meanwhile, and not for other requests."""
        async with running(place) as journal:
            await journal.append(accepted("a"))
            with journal.following("a") as following:
                await append_all(journal, [accepted("b"), signed("b", "of b")])
                assert await _is_quiet(following.changed)
                await append_all(journal, [signed("a", "of a"), step("a", State.SENT)])
                await following.changed()
                assert await _is_quiet(following.changed)
                journal.append_soon(step("a", State.SUCCEEDED))
                await following.changed()
                assert journal.entries("a")[-1].state is State.SUCCEEDED

    async def test_a_follower_is_told_of_nothing_that_did_not_become_durable(self, place: Backend) -> None:
        """Neither of a refusal nor of a lost entry, nor of notes."""
        async with running(place) as journal:
            await journal.append(accepted("a"))
            with journal.following("a") as following:
                with place.failing(), pytest.raises(JournalError):
                    await journal.append(signed("a", "sig"))
                with pytest.raises(EntryRefused):
                    await journal.append(accepted("a"))
                await journal.note(Note(kind="a", at_unix_ns=1, body="{}"))

                assert await _is_quiet(following.changed)

    async def test_all_who_follow_a_request_are_told(self, place: Backend) -> None:
        """Each for itself, and those that left do not trouble the others."""
        async with running(place) as journal:
            with journal.following("a") as first, journal.following("a") as second:
                with journal.following("a"):
                    await journal.append(accepted("a"))
                await first.changed()
                await second.changed()
                await journal.append(signed("a", "sig"))
                await second.changed()
                await first.changed()

    async def test_the_end_of_the_writer_wakes_those_who_follow(self, place: Backend) -> None:
        """What was committed last can still be read; nobody waits for what cannot come."""
        woken: list[str] = []

        async def follow(name: str) -> None:
            with journal.following(name) as following, pytest.raises(JournalError, match="has ended"):
                await following.changed()
            woken.append(name)

        with closing(place.open()) as journal, trio.fail_after(PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(follow, "a")
                nursery.start_soon(follow, "b")
                await trio.testing.wait_all_tasks_blocked()
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await journal.run()
            await follow("late")

        assert sorted(woken) == ["a", "b", "late"]


async def _is_quiet(changed: Callable[[], Awaitable[None]]) -> bool:
    """Whether nobody is woken within a moment."""
    with trio.move_on_after(0.02):
        await changed()
        return False
    return True


def _rising(numbers: Sequence[int]) -> bool:
    return all(earlier < later for earlier, later in itertools.pairwise(numbers))

"""The changes of a trade, told one by one as they become durable: what WatchTrade answers.

Only the journal is read, so a watch can be broken off and taken up again anywhere: with the sequence of the last change that was
seen, by another client, at another process of the daemon. A watch that is not read holds its place and the changes of one life.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

import trio
from attrs import frozen

from executor import outcomes
from executor.errors import Denied, ErrorCode, TradeError
from executor.journal import records
from executor.journal.journal import Entry, Following, Journal, JournalError
from executor.model import Outcome, OutcomeStatus
from executor.states import TERMINAL, State

EndOfFlight = Callable[[], trio.Event | None]
"""Finds what is set when the trade of the request has ended in this process; None: there is none in flight."""


@frozen(kw_only=True)
class Update:
    """A change of a trade's state that is on disk."""

    sequence: int
    """Grows within the journal."""
    state: State
    at_unix_ns: int
    outcome: Outcome
    """What was known of the trade then. A refusal is told as FAILED here."""


async def updates(
    request_id: str, *, after_sequence: int, journal: Journal, end_of_flight: EndOfFlight
) -> AsyncGenerator[Update, None]:
    """Yield every change of a request with a later sequence, through all its lives; end when nobody works for it any more.

    The last one is terminal then, unless it is a trade that this process could not take up, or has lost. Raises
    Denied(REQUEST_NOT_FOUND, JOURNAL_UNAVAILABLE). To be closed by whoever does not read to the end.
    """
    told = after_sequence
    try:
        with journal.following(request_id) as following:
            while True:
                # Asked before the journal is read: what has ended by now has written its end.
                ended = end_of_flight()
                entries = journal.life(request_id, after_sequence=told)
                if not entries and ended is None:
                    raise not_found(request_id)
                news = list(_untold(entries, told, is_flying=ended is not None))
                for update in news:
                    yield update  # noqa: ASYNC119 - closed by its reader; all that is left open here is a place in a list
                    told = update.sequence
                if not news and ended is None:
                    return
                if not news and ended is not None:
                    await _either(following, ended)
    except JournalError as error:
        raise Denied(ErrorCode.JOURNAL_UNAVAILABLE, str(error)) from error


def not_found(request_id: str) -> TradeError:
    """The refusal of who asks for a request that nobody knows."""
    return Denied(ErrorCode.REQUEST_NOT_FOUND, f"no request {request_id!r} was ever accepted")


def _untold(entries: Sequence[Entry], told: int, *, is_flying: bool) -> Iterator[Update]:
    """Yield what was not told yet of a life."""
    for index, entry in enumerate(entries):
        if entry.seq > told:
            goes_on = is_flying or index < len(entries) - 1
            yield Update(
                sequence=entry.seq,
                state=entry.state,
                at_unix_ns=entry.at_unix_ns,
                outcome=_known(entries[: index + 1], goes_on=goes_on),
            )


def _known(entries: Sequence[Entry], *, goes_on: bool) -> Outcome:
    """What GetTrade told when these entries were all that there was."""
    stored = records.stored(entries)
    if stored is None:
        raise AssertionError("there is one at least")
    request_id = stored.request.request_id
    if stored.refusal is not None:
        code, message = stored.refusal.code, stored.refusal.message
        return Outcome(request_id=request_id, status=OutcomeStatus.FAILED, error_code=code, error_message=message)
    if stored.state not in TERMINAL and goes_on:
        return outcomes.being_executed(request_id, known=stored.outcome)
    if stored.outcome is None:
        raise AssertionError("an end without a refusal has an outcome")
    return stored.outcome


async def _either(following: Following, ended: trio.Event) -> None:
    """Return when there is news, or nobody is left to write any."""
    failure: JournalError | None = None
    async with trio.open_nursery() as nursery:

        async def changed() -> None:
            nonlocal failure
            try:
                await following.changed()
            except JournalError as error:  # the nursery would wrap it
                failure = error
            nursery.cancel_scope.cancel()

        nursery.start_soon(changed)
        await ended.wait()
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure

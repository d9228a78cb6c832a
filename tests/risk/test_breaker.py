"""The circuit breaker: closed is trading, open is halted."""

from functools import partial

import pytest
import trio
import trio.testing

from executor.errors import Denied, ErrorCode
from executor.risk.breaker import WATCH_SECONDS, Breaker
from executor.status import BreakerState
from tests.support.events import RecordedLog


def make_breaker(causes: dict[str, str | None], log: RecordedLog | None = None) -> Breaker:
    """One check a name; each says what stands in the dictionary at that time."""
    return Breaker(checks={name: partial(causes.get, name) for name in causes}, log=log or RecordedLog())


def test_it_is_closed_until_something_is_found() -> None:
    """Trading is allowed, without a cause."""
    breaker = make_breaker({"blockhash": None, "nodes": None})
    breaker.look()
    breaker.require_closed()

    assert (breaker.state, breaker.causes) == (BreakerState.CLOSED, ())


def test_open_it_refuses_with_every_cause() -> None:
    """The code says that a later request may help; the sentence says what is missing."""
    breaker = make_breaker({"blockhash": "no blockhash", "fees": None, "nodes": "no healthy node"})
    breaker.look()
    with pytest.raises(Denied, match="no blockhash; no healthy node") as caught:
        breaker.require_closed()

    assert caught.value.code is ErrorCode.TRADING_HALTED
    assert (breaker.state, breaker.causes) == (BreakerState.OPEN, ("no blockhash", "no healthy node"))


async def test_it_watches_and_logs_every_change(autojump_clock: trio.testing.MockClock) -> None:
    """It opens soon after a check fails and closes soon after the last one is well; other causes are no change."""
    causes: dict[str, str | None] = {"blockhash": None, "nodes": None}
    log = RecordedLog()
    breaker = make_breaker(causes, log)
    states = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.run)
        for name, cause in [("nodes", None), ("nodes", "down"), ("blockhash", "old"), ("nodes", None), ("blockhash", None)]:
            causes[name] = cause
            await trio.sleep(WATCH_SECONDS * 1.1)
            states.append((breaker.state.name, breaker.causes))
        nursery.cancel_scope.cancel()

    assert states == [
        ("CLOSED", ()),
        ("OPEN", ("down",)),
        ("OPEN", ("old", "down")),
        ("OPEN", ("old",)),
        ("CLOSED", ()),
    ]
    assert [event["state"] for event in log.named("breaker.changed")] == ["OPEN", "CLOSED"]

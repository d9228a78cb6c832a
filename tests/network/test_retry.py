"""Retries: how often, after how long, and of what."""

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import ErrorCode
from executor.faults import Source, TransportError, http_fault
from executor.network.retry import Retry, retrying
from tests.support.clients import seeded
from tests.support.events import RecordedLog

POLICY = Retry(max_retries=3, initial_delay_seconds=0.1, jitter=0.0)


class Calls:
    """Fails with these statuses in turn, then returns how often it was called."""

    def __init__(self, *statuses: int, retry_after: str = "") -> None:
        self.statuses = list(statuses)
        self.headers = {"retry-after": retry_after}
        self.times: list[float] = []

    async def __call__(self) -> int:
        self.times.append(trio.current_time())
        if self.statuses:
            status = self.statuses.pop(0)
            fault = http_fault(status, self.headers, Source.NODE)
            raise TransportError(endpoint="http://127.0.0.1:1", operation="x", fault=fault, status=status)
        return len(self.times)

    @property
    def pauses(self) -> list[float]:
        return [round(later - earlier, 6) for earlier, later in zip(self.times, self.times[1:], strict=False)]


async def run(calls: Calls, policy: Retry = POLICY, log: RecordedLog | None = None) -> int:
    """Make the calls under the policy."""
    return await retrying(calls, policy=policy, rng=seeded(), log=log or RecordedLog(), operation="getSlot")


async def test_transient_faults_are_retried_at_doubling_intervals(autojump_clock: trio.testing.MockClock) -> None:
    """Three retries after 100, 200 and 400 ms; the fourth attempt counts."""
    calls = Calls(503, 502, 429)

    assert await run(calls) == 4
    assert calls.pauses == [0.1, 0.2, 0.4]


async def test_retries_end_and_the_error_says_how_many_there_were(autojump_clock: trio.testing.MockClock) -> None:
    """After the last retry its error comes out with the attempts of all."""
    calls = Calls(503, 503, 503, 504)

    with pytest.raises(TransportError) as caught:
        await run(calls)

    assert caught.value.attempts == len(calls.times) == 4
    assert caught.value.status == 504
    assert "after 4 attempts" in str(caught.value)


async def test_a_permanent_fault_ends_it_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """No second attempt, and no event."""
    calls, log = Calls(401), RecordedLog()

    with pytest.raises(TransportError) as caught:
        await run(calls, log=log)

    assert caught.value.fault.code is ErrorCode.NODE_UNAUTHORIZED
    assert caught.value.attempts == 1
    assert log.events == []


async def test_a_permanent_fault_after_a_transient_one_ends_it(autojump_clock: trio.testing.MockClock) -> None:
    """Each failure is judged by itself."""
    calls = Calls(503, 404)

    with pytest.raises(TransportError) as caught:
        await run(calls)

    assert caught.value.attempts == 2


async def test_every_retry_is_an_event_with_its_figures(autojump_clock: trio.testing.MockClock) -> None:
    """`retry.scheduled` tells operation, endpoint, code, problem, attempts and pause."""
    log = RecordedLog()
    await run(Calls(503), log=log)

    assert log.named("retry.scheduled") == [
        {
            "operation": "getSlot",
            "endpoint": "http://127.0.0.1:1",
            "code": "NODE_UNREACHABLE",
            "problem": "HTTP 503: unavailable",
            "attempts": 1,
            "delay_seconds": 0.1,
        }
    ]


@pytest.mark.parametrize(("asked", "pause"), [("0.05", 0.1), ("0.7", 0.7), ("3600", 2.0)])
async def test_an_upstreams_wish_is_honoured_up_to_the_cap(
    asked: str, pause: float, autojump_clock: trio.testing.MockClock
) -> None:
    """Never earlier than the doubling says, and never longer than a trade can wait."""
    calls = Calls(429, retry_after=asked)
    await run(calls)

    assert calls.pauses == [pause]


async def test_no_retries_may_be_configured() -> None:
    """0 means one attempt."""
    calls = Calls(503)

    with pytest.raises(TransportError):
        await run(calls, Retry(max_retries=0))

    assert len(calls.times) == 1


async def test_a_cancelled_pause_stays_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    """The caller's deadline ends the waiting."""
    calls = Calls(503, 503, 503)
    with trio.move_on_after(0.15) as scope:
        await run(calls)

    assert scope.cancelled_caught
    assert len(calls.times) == 2


@given(
    failures=st.integers(1, 10_000),
    retry_after=st.none() | st.floats(0, 1e9),
    seed=st.integers(),
    jitter=st.floats(0, 1),
)
def test_the_pause_is_bounded_and_never_early(failures: int, retry_after: float | None, seed: int, jitter: float) -> None:
    """For every number of failures and every wish: nominal <= pause <= nominal * (1 + jitter)."""
    policy = Retry(jitter=jitter)
    nominal = min(2.0, max(0.1 * 2.0 ** min(failures - 1, 64), retry_after or 0.0))

    assert nominal <= policy.delay_seconds(failures, retry_after, seeded(seed)) <= nominal * (1 + jitter)

"""The lane: a burst passes, then turns wait for their share, one after the other."""

import time

import pytest
import trio
import trio.testing

from executor.rpc.lane import BURST_SECONDS, Lane

SHARE = 0.1


def work(seconds: float) -> None:
    """Use the processor."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


@pytest.fixture
def lane() -> Lane:
    """A lane."""
    return Lane(SHARE)


async def test_what_is_cheap_does_not_wait(lane: Lane, autojump_clock: trio.testing.MockClock) -> None:
    """Turns that use little in all pass at once."""
    began = trio.current_time()
    for _ in range(100):
        async with lane.turn():
            await trio.lowlevel.checkpoint()

    assert trio.current_time() == began


async def test_work_beyond_the_burst_waits_for_its_share(lane: Lane, autojump_clock: trio.testing.MockClock) -> None:
    """What was used beyond the burst has to be made up for, at the rate of the share; then the lane is open again."""
    async with lane.turn():
        work(BURST_SECONDS + 0.01)
    began = trio.current_time()
    async with lane.turn():
        waited = trio.current_time() - began

    assert waited >= 0.01 / SHARE
    await trio.sleep(2 * BURST_SECONDS / SHARE)
    rested = trio.current_time()
    async with lane.turn():
        assert trio.current_time() == rested


async def test_a_turn_that_fails_counts_and_lets_the_next_one_in(lane: Lane, autojump_clock: trio.testing.MockClock) -> None:
    """An error in a turn is passed on, and what it used is not forgotten."""
    with pytest.raises(ValueError, match="mine"):
        await _fail(lane)
    began = trio.current_time()
    async with lane.turn():
        assert trio.current_time() - began >= 0.01 / SHARE


async def _fail(lane: Lane) -> None:
    async with lane.turn():
        work(BURST_SECONDS + 0.01)
        raise ValueError("mine")


async def test_turns_are_taken_in_order(lane: Lane, autojump_clock: trio.testing.MockClock) -> None:
    """One at a time, first come first served."""
    order: list[int] = []

    async def one(number: int) -> None:
        async with lane.turn():
            order.append(number)
            await trio.sleep(1)
            order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(one, number)
            await trio.testing.wait_all_tasks_blocked()

    assert order == [0, 0, 1, 1, 2, 2]

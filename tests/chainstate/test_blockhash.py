"""The blockhash to sign with: fresh, or none."""

import pytest
import trio
import trio.testing

from executor.chainstate.blockhash import Blockhashes
from executor.errors import Denied, ErrorCode
from executor.faults import TransportError
from tests.support.chain import FakeNode, context, fake_nodes, open_nodes
from tests.support.events import RecordedLog
from tests.support.upstream import Reset, rpc_result
from tests.support.values import hash_of


def make_blockhashes(*nodes: FakeNode) -> Blockhashes:
    """Refreshed every second, good for ten."""
    return Blockhashes(nodes=fake_nodes(*nodes), refresh_seconds=1.0, max_age_seconds=10.0, log=RecordedLog())


def test_nothing_is_signed_before_the_first_answer() -> None:
    """Trades are refused with the reason, and heights are unknown."""
    blockhashes = make_blockhashes(FakeNode())

    assert blockhashes.peek() is None
    assert (blockhashes.age_seconds(), blockhashes.block_height()) == (None, 0)
    assert blockhashes.problem() == "no blockhash was received from any node yet"
    with pytest.raises(Denied, match="no blockhash was received") as caught:
        blockhashes.current()
    assert caught.value.code is ErrorCode.CHAIN_STATE_STALE


async def test_the_newest_one_is_current(autojump_clock: trio.testing.MockClock) -> None:
    """With the height at `confirmed` that follows from it, asked for at `confirmed`."""
    node = FakeNode()
    blockhashes = make_blockhashes(node)
    await blockhashes.refresh()

    assert blockhashes.current().blockhash == hash_of(1_000)
    assert (blockhashes.current().last_valid_block_height, blockhashes.block_height()) == (1_150, 1_000)
    assert (blockhashes.age_seconds(), blockhashes.problem()) == (0.0, None)
    assert [call.asked for call in node.calls] == ["confirmed"]


async def test_the_age_counts_from_the_question(autojump_clock: trio.testing.MockClock) -> None:
    """An answer that took two seconds is two seconds old when it comes."""
    node = FakeNode()
    node.takes_seconds = 2.0
    blockhashes = make_blockhashes(node)
    await blockhashes.refresh()

    assert blockhashes.age_seconds() == 2.0


async def test_a_lagging_node_does_not_replace_what_is_held(autojump_clock: trio.testing.MockClock) -> None:
    """Its hash would be nearly expired; and it does not count as an answer, so the held value keeps its age."""
    node = FakeNode()
    blockhashes = make_blockhashes(node)
    await blockhashes.refresh()
    node.context_slot, node.height = 1_099, 999
    await trio.sleep(3)
    await blockhashes.refresh()

    assert blockhashes.current().blockhash == hash_of(1_000)
    assert blockhashes.age_seconds() == 3.0

    node.context_slot, node.height = 1_100, 1_001
    await blockhashes.refresh()

    assert blockhashes.current().blockhash == hash_of(1_001)
    assert blockhashes.age_seconds() == 0.0


async def test_a_slot_that_was_a_lie_does_not_stop_trading_for_good(autojump_clock: trio.testing.MockClock) -> None:
    """One answer from far in the future makes all others look old: they count again when it is too old to sign with."""
    node = FakeNode()
    blockhashes = make_blockhashes(node)
    node.context_slot = 10_000_000
    await blockhashes.refresh()
    node.context_slot, node.height = 1_101, 1_001
    await trio.sleep(9)
    await blockhashes.refresh()
    assert blockhashes.current().blockhash == hash_of(1_000)
    await trio.sleep(2)
    await blockhashes.refresh()

    assert blockhashes.current().blockhash == hash_of(1_001)
    assert blockhashes.age_seconds() == 0.0


async def test_blocks_go_by(autojump_clock: trio.testing.MockClock) -> None:
    """`passed` waits for the first height above the one that is named."""
    node = FakeNode()
    blockhashes = make_blockhashes(node)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(blockhashes.run)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(5) as scope:
            await blockhashes.passed(1_000)
        assert scope.cancelled_caught
        node.height, node.context_slot = 1_001, 1_200
        await blockhashes.passed(1_000)
        assert trio.current_time() - began < 8
        nursery.cancel_scope.cancel()


async def test_failing_nodes_leave_the_old_value_with_its_age(autojump_clock: trio.testing.MockClock) -> None:
    """Until it is older than its limit: then trades are refused, and the value is still there to look at."""
    node = FakeNode()
    blockhashes = make_blockhashes(node)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(blockhashes.run)
        await trio.sleep(0.5)
        node.failing = True
        await trio.sleep(9.5)
        at_the_limit = (blockhashes.age_seconds(), blockhashes.problem())
        await trio.sleep(0.5)

        assert at_the_limit == (10.0, None)
        assert blockhashes.problem() == "the newest blockhash is 10.5 s old, the limit is 10 s"
        with pytest.raises(Denied, match=r"10\.5 s old"):
            blockhashes.current()
        held = blockhashes.peek()
        assert held is not None
        assert held.latest.blockhash == hash_of(1_000)

        node.failing = False
        await trio.sleep(1)
        assert blockhashes.problem() is None
        nursery.cancel_scope.cancel()


async def test_it_comes_over_the_wire() -> None:
    """From whichever node answers; when none does, the refresh fails and what is held stays."""
    async with open_nodes(2) as (nodes, (first, second)):
        blockhashes = Blockhashes(nodes=nodes, refresh_seconds=1.0, max_age_seconds=10.0, log=RecordedLog())
        first.always("getLatestBlockhash", Reset())
        second.script("getLatestBlockhash", rpc_result(context({"blockhash": str(hash_of(7)), "lastValidBlockHeight": 300}, 9)))
        second.always("getLatestBlockhash", Reset())
        await blockhashes.refresh()
        with pytest.raises(TransportError):
            await blockhashes.refresh()

        current = blockhashes.current()
        assert (current.blockhash, current.last_valid_block_height, current.context_slot) == (hash_of(7), 300, 9)

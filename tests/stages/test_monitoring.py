"""The chain's word, or the proof that there will be none."""

import pytest
import trio
import trio.testing

from executor.chainstate.blockhash import Blockhashes
from executor.chainstate.confirmations import Confirmations
from executor.errors import ErrorCode, Expired
from executor.faults import JsonValue
from executor.model import Landed
from executor.network.solana import SignatureStatus
from executor.stages.monitoring import monitor
from tests.support.chain import FakeNode, any_node, fake_nodes
from tests.support.events import RecordedLog
from tests.support.values import hash_of, make_sent, make_signed


async def make_confirmations(node: FakeNode) -> Confirmations:
    """A poller over one node, whose height the daemon knows."""
    nodes, log = fake_nodes(node), RecordedLog()
    blockhashes = Blockhashes(nodes=nodes, refresh_seconds=1.0, max_age_seconds=10.0, log=log)
    await blockhashes.refresh()
    return Confirmations(
        nodes=nodes, blockhashes=blockhashes, is_ours=any_node, poll_initial_seconds=0.1, poll_max_seconds=1.0, log=log
    )


@pytest.mark.parametrize(("error", "reverted"), [(None, False), ("AccountInUse", True)])
async def test_a_confirmation_is_passed_on(error: JsonValue, reverted: bool, autojump_clock: trio.testing.MockClock) -> None:
    """Of the signature that was sent, and whether it succeeded or failed."""
    sent, node = make_sent(), FakeNode()
    node.recent[sent.signed.signature] = SignatureStatus(slot=777, confirmation="confirmed", error=error)
    confirmations = await make_confirmations(node)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(confirmations.run)
        landed = await monitor(sent, confirmations=confirmations)
        nursery.cancel_scope.cancel()

    assert landed == Landed(slot=777, reverted=reverted, confirmed_at=landed.confirmed_at)


async def test_a_proof_of_expiry_ends_the_trade(autojump_clock: trio.testing.MockClock) -> None:
    """With the height until which it could have landed: the transaction's own, not a newer one."""
    sent, node = make_sent(make_signed(last_valid_block_height=999)), FakeNode()
    confirmations = await make_confirmations(node)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(confirmations.run)
        with pytest.raises(Expired, match="block height 999 has passed") as caught:
            await monitor(sent, confirmations=confirmations)
        nursery.cancel_scope.cancel()

    assert caught.value.code is ErrorCode.TRANSACTION_EXPIRED
    assert caught.value.context["last_valid_block_height"] == 999
    asked = node.called("isBlockhashValid")
    assert asked
    assert {call.asked for call in asked} == {(sent.signed.blockhash, "confirmed", node.context_slot)}


async def test_a_blockhash_that_is_still_valid_is_no_expiry(autojump_clock: trio.testing.MockClock) -> None:
    """Of the transaction that was sent: while a node says that it could land, its last height proves nothing."""
    sent, node = make_sent(make_signed(blockhash=77, last_valid_block_height=999)), FakeNode()
    node.valid_blockhashes.add(hash_of(77))
    confirmations = await make_confirmations(node)
    expired: list[Expired] = []

    async def watch() -> None:
        try:
            await monitor(sent, confirmations=confirmations)
        except Expired as error:
            expired.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(confirmations.run)
        nursery.start_soon(watch)
        await trio.sleep(60)
        assert expired == []
        node.valid_blockhashes.clear()
        await trio.sleep(60)
        nursery.cancel_scope.cancel()

    assert [error.code for error in expired] == [ErrorCode.TRANSACTION_EXPIRED]


async def test_it_waits_without_a_limit_of_its_own(autojump_clock: trio.testing.MockClock) -> None:
    """Deadlines are the trade's; cancelled, nothing is concluded and nobody asks any more."""
    sent, node = make_sent(), FakeNode()
    confirmations = await make_confirmations(node)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(confirmations.run)
        with trio.move_on_after(3_600) as scope:
            await monitor(sent, confirmations=confirmations)
        assert scope.cancelled_caught
        assert confirmations.watched() == 0
        nursery.cancel_scope.cancel()

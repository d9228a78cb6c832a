"""The chain's word, or the proof that there will be none."""

import pytest
import trio
import trio.testing

from executor.chainstate.blockhash import Blockhashes
from executor.chainstate.confirmations import Confirmations
from executor.errors import ErrorCode, Expired
from executor.model import Landed
from executor.network.solana import SignatureStatus
from executor.stages.monitoring import monitor
from tests.support.chain import FakeNode, fake_nodes
from tests.support.events import RecordedLog
from tests.support.values import make_sent, make_signed


async def make_confirmations(node: FakeNode) -> Confirmations:
    """A poller over one node, whose height the daemon knows."""
    nodes, log = fake_nodes(node), RecordedLog()
    blockhashes = Blockhashes(nodes=nodes, refresh_seconds=1.0, max_age_seconds=10.0, log=log)
    await blockhashes.refresh()
    return Confirmations(nodes=nodes, blockhashes=blockhashes, poll_initial_seconds=0.1, poll_max_seconds=1.0, log=log)


async def test_a_confirmation_is_passed_on(autojump_clock: trio.testing.MockClock) -> None:
    """Of the signature that was sent, succeeded or failed."""
    sent, node = make_sent(), FakeNode()
    node.recent[sent.signed.signature] = SignatureStatus(slot=777, confirmation="confirmed", error="AccountInUse")
    confirmations = await make_confirmations(node)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(confirmations.run)
        landed = await monitor(sent, confirmations=confirmations)
        nursery.cancel_scope.cancel()

    assert landed == Landed(slot=777, confirmed_at=landed.confirmed_at)


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

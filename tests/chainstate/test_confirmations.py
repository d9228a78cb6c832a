"""The poller: batches, patience, and when a transaction is proved to have expired."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from attrs import define, field
from solders.signature import Signature

from executor.chainstate.blockhash import Blockhashes
from executor.chainstate.confirmations import PROOF_RETRY_SECONDS, SURELY_KEPT_BLOCKS, Confirmations
from executor.faults.rpc import rpc_fault
from executor.model import Landed
from executor.network.nodes import Nodes
from executor.network.solana import Commitment, SignatureStatus
from tests.support.chain import FakeNode, any_node, context, fake_nodes, open_nodes
from tests.support.events import RecordedLog
from tests.support.upstream import Received, Reply, Reset, rpc_result
from tests.support.values import hash_of, signature_of
from tests.support.waiting import PATIENCE_SECONDS

LAST_VALID = 1_150
CONTEXT_SLOT = 1_100
SIGNATURE = signature_of(1)
BLOCKHASH = hash_of(7)


def status(confirmation: Commitment = "confirmed", *, slot: int = 900, failed: bool = False) -> SignatureStatus:
    """What a node knows of a transaction that landed."""
    return SignatureStatus(
        slot=slot, confirmation=confirmation, error={"InstructionError": [2, {"Custom": 6001}]} if failed else None
    )


@define
class Polling:
    """A poller with its nodes, in virtual time."""

    confirmations: Confirmations
    nodes: list[FakeNode]
    log: RecordedLog
    began: float = field(factory=trio.current_time)

    def asked_at(self, node: int = 0) -> list[float]:
        """When a node was asked for statuses, in seconds since the start."""
        return [round(call.at - self.began, 3) for call in self.nodes[node].called("getSignatureStatuses")]

    async def landed(self, signature: Signature = SIGNATURE) -> Landed | None:
        """Wait for a signature."""
        return await self.confirmations.landed(
            signature, blockhash=BLOCKHASH, last_valid_block_height=LAST_VALID, context_slot=CONTEXT_SLOT
        )

    async def rise(self, height: int, but: int | None = None) -> None:
        """Let the chain grow to a block height on every node but one, and the daemon's blockhash with it."""
        for index, node in enumerate(self.nodes):
            if index != but:
                node.height, node.context_slot = height, height + 100
            await node.slot()  # so that one that lags is seen to lag
        await self.confirmations.blockhashes.refresh()


@asynccontextmanager
async def polling(count: int = 1) -> AsyncIterator[Polling]:
    """A running poller over that many fake nodes, all at height 1000."""
    nodes = [FakeNode(f"n{index}") for index in range(count)]
    together, log = fake_nodes(*nodes), RecordedLog()
    blockhashes = Blockhashes(nodes=together, refresh_seconds=1.0, max_age_seconds=10.0, log=log)
    await blockhashes.refresh()
    confirmations = make_confirmations(together, blockhashes, log)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(confirmations.run)  # noqa: ASYNC113 - it looks at what waits whenever it starts
        yield Polling(confirmations, nodes, log)
        nursery.cancel_scope.cancel()


def make_confirmations(nodes: Nodes, blockhashes: Blockhashes, log: RecordedLog) -> Confirmations:
    """As specified: from 100 ms to 1 s."""
    return Confirmations(
        nodes=nodes, blockhashes=blockhashes, is_ours=any_node, poll_initial_seconds=0.1, poll_max_seconds=1.0, log=log
    )


# --- looking ---


async def test_the_pauses_grow_from_100_ms_to_1_s(autojump_clock: trio.testing.MockClock) -> None:
    """The first look after 100 ms, then after 100, 200, 400, 800 ms, then every second."""
    async with polling() as p:
        with trio.move_on_after(5):
            await p.landed()

        assert p.asked_at() == [0.1, 0.2, 0.4, 0.8, 1.6, 2.6, 3.6, 4.6]
        assert p.nodes[0].called("history") == []


@pytest.mark.parametrize("confirmation", ["confirmed", "finalized"])
@pytest.mark.parametrize("failed", [False, True])
async def test_confirmed_has_landed(confirmation: Commitment, failed: bool, autojump_clock: trio.testing.MockClock) -> None:
    """With its slot and the time at which we learned it, whether it succeeded or not: the transaction itself says that."""
    async with polling() as p:
        p.nodes[0].recent[SIGNATURE] = status(confirmation, slot=901, failed=failed)
        landed = await p.landed()

        assert landed == Landed(slot=901, reverted=failed, confirmed_at=p.began + 0.1)
        assert p.confirmations.watched() == 0


async def test_processed_is_not_success_and_may_vanish(autojump_clock: trio.testing.MockClock) -> None:
    """Processed, then null because its fork died, then confirmed on another one: only the last counts."""
    async with polling() as p:
        node, results = p.nodes[0], []

        async def wait() -> None:
            results.append(await p.landed())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            node.recent[SIGNATURE] = status("processed", slot=900)
            await trio.sleep(0.5)
            assert results == []
            del node.recent[SIGNATURE]
            await trio.sleep(0.5)
            assert results == []
            node.recent[SIGNATURE] = status("confirmed", slot=905)

        assert results == [Landed(slot=905, reverted=False, confirmed_at=p.began + 1.6)]


async def test_a_failing_node_is_no_answer(autojump_clock: trio.testing.MockClock) -> None:
    """Nothing is concluded from it; the pauses go on growing, and the answer counts when it comes."""
    async with polling() as p:
        p.nodes[0].failing = True
        p.nodes[0].recent[SIGNATURE] = status()
        results = []

        async def wait() -> None:
            results.append(await p.landed())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(3)
            assert results == []
            p.nodes[0].failing = False

        assert p.asked_at() == [0.1, 0.2, 0.4, 0.8, 1.6, 2.6, 3.6]
        assert len(p.log.named("confirmations.poll_failed")) == 6
        assert results[0] is not None


async def test_all_trades_share_one_call(autojump_clock: trio.testing.MockClock) -> None:
    """At most 256 signatures in each; what becomes due within 10 ms rides along."""
    async with polling() as p:
        signatures = [signature_of(number) for number in range(600)]
        p.nodes[0].recent |= dict.fromkeys(signatures, status())
        async with trio.open_nursery() as nursery:
            for signature in signatures[:300]:
                nursery.start_soon(p.landed, signature)
            await trio.sleep(0.005)
            for signature in signatures[300:]:
                nursery.start_soon(p.landed, signature)

        asked = [call.asked for call in p.nodes[0].called("getSignatureStatuses")]
        assert [len(part) for part in asked if isinstance(part, tuple)] == [256, 256, 88]
        assert {signature for part in asked if isinstance(part, tuple) for signature in part} == set(signatures)
        assert p.confirmations.watched() == 0


async def test_a_newer_trade_is_looked_at_more_often_than_an_older_one(autojump_clock: trio.testing.MockClock) -> None:
    """Each has its own pauses; a new trade wakes a poller that sleeps for long."""
    async with polling() as p:
        with trio.move_on_after(4.05):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(p.landed, signature_of(1))
                await trio.sleep(3)
                nursery.start_soon(p.landed, signature_of(2))

        asked = [call.asked for call in p.nodes[0].called("getSignatureStatuses")]
        assert asked[6:] == [
            (signature_of(2),),  # 3.1
            (signature_of(2),),  # 3.2
            (signature_of(2),),  # 3.4
            (signature_of(1),),  # 3.6
            (signature_of(2),),  # 3.8
        ]


async def test_a_cancelled_wait_is_forgotten(autojump_clock: trio.testing.MockClock) -> None:
    """Nobody asks for what nobody waits for."""
    async with polling() as p:
        with trio.move_on_after(0.15):
            await p.landed()
        assert p.confirmations.watched() == 0
        await trio.sleep(5)

        assert p.asked_at() == [0.1]


async def test_two_may_wait_for_one_signature(autojump_clock: trio.testing.MockClock) -> None:
    """Both are told, also when a third gives up waiting."""
    async with polling() as p:
        p.nodes[0].recent[SIGNATURE] = status("processed")
        results = []

        async def wait() -> None:
            results.append(await p.landed())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(wait)
            with trio.move_on_after(1):
                await p.landed()
            p.nodes[0].recent[SIGNATURE] = status("confirmed")

        assert [result.slot for result in results if result] == [900, 900]


# --- expiry ---


async def test_expired_when_every_node_proves_it(autojump_clock: trio.testing.MockClock) -> None:
    """Each node's own height at `confirmed` has passed, and then its history knows nothing: in this order, on each."""
    async with polling(2) as p:
        await p.rise(LAST_VALID + 1)
        landed = await p.landed()

        assert landed is None
        for node in p.nodes:
            operations = [call.operation for call in node.calls]
            assert operations.index("getEpochInfo") < operations.index("isBlockhashValid") < operations.index("history")
            assert [call.asked for call in node.called("getEpochInfo")] == ["confirmed"]
            assert [call.asked for call in node.called("isBlockhashValid")] == [(BLOCKHASH, "confirmed", LAST_VALID + 101)]
            assert [call.asked for call in node.called("history")] == [(SIGNATURE,)]


@pytest.mark.parametrize("height", [1_000, LAST_VALID - 1, LAST_VALID])
async def test_before_its_last_valid_height_nothing_expires(height: int, autojump_clock: trio.testing.MockClock) -> None:
    """However long it takes in seconds: blocks decide. In the last valid block itself it may still land."""
    async with polling() as p:
        await p.rise(height)
        with trio.move_on_after(3_600) as scope:
            await p.landed()

        assert scope.cancelled_caught
        assert p.nodes[0].called("history") == []


async def test_our_own_height_alone_proves_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """It is what one node said a second ago: here that node has been exchanged for one that is behind."""
    async with polling() as p:
        await p.rise(LAST_VALID + 1)
        p.nodes[0].height = LAST_VALID
        with trio.move_on_after(60) as scope:
            await p.landed()

        assert scope.cancelled_caught
        assert p.nodes[0].called("history") == []


@pytest.mark.parametrize("odd", [0, 1, 2])
async def test_one_lagging_node_leaves_it_unresolved(odd: int, autojump_clock: trio.testing.MockClock) -> None:
    """It is asked again every two seconds; when it has caught up and knows nothing either, that is the proof."""
    async with polling(3) as p:
        await p.rise(LAST_VALID + 5, but=odd)
        results = []

        async def wait() -> None:
            results.append(await p.landed())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(3 * PROOF_RETRY_SECONDS)
            assert results == []
            p.nodes[odd].height = LAST_VALID + 1

        assert results == [None]
        assert len(p.log.named("confirmations.expiry_not_proved")) == 3
        assert p.nodes[odd].called("history") == [call for call in p.nodes[odd].calls if call.at > p.began + 6][-2:-1]


@pytest.mark.parametrize("odd", [0, 1])
async def test_a_last_valid_height_that_was_a_lie_is_no_proof(odd: int, autojump_clock: trio.testing.MockClock) -> None:
    """One node told us the height, too low; as long as any node takes the blockhash, the transaction may land."""
    async with polling(2) as p:
        await p.rise(LAST_VALID + 1)
        p.nodes[odd].valid_blockhashes.add(BLOCKHASH)
        with trio.move_on_after(60) as scope:
            await p.landed()
        assert scope.cancelled_caught

        p.nodes[odd].valid_blockhashes.clear()
        assert await p.landed() is None


@pytest.mark.parametrize("lagging", ["statuses_slot", "validity_slot"])
async def test_two_machines_behind_one_url_are_no_proof(lagging: str, autojump_clock: trio.testing.MockClock) -> None:
    """The height comes from a machine that has passed it, and what is missing from one that is a slot behind."""
    async with polling(2) as p:
        await p.rise(LAST_VALID + 1)
        setattr(p.nodes[1], lagging, p.nodes[1].context_slot - 1)
        with trio.move_on_after(60) as scope:
            await p.landed()
        assert scope.cancelled_caught
        assert len(p.log.named("confirmations.expiry_not_proved")) > 20

        setattr(p.nodes[1], lagging, p.nodes[1].context_slot)
        assert await p.landed() is None


@pytest.mark.parametrize("odd", [0, 1])
async def test_one_failing_node_leaves_it_unresolved(odd: int, autojump_clock: trio.testing.MockClock) -> None:
    """What it would say is not guessed."""
    async with polling(2) as p:
        await p.rise(LAST_VALID + 5)
        p.nodes[odd].failing = True
        with trio.move_on_after(60) as scope:
            await p.landed()

        assert scope.cancelled_caught
        assert len(p.nodes[1 - odd].called("history")) > 20

        p.nodes[odd].failing = False
        assert await p.landed() is None


async def test_what_landed_late_is_found_in_a_history(autojump_clock: trio.testing.MockClock) -> None:
    """The recent statuses of all nodes had forgotten it, one node's history has not: it landed, whatever the others say."""
    async with polling(3) as p:
        p.nodes[2].history[SIGNATURE] = status("finalized", slot=1_201)
        await p.rise(LAST_VALID + 1)
        landed = await p.landed()

        assert landed is not None
        assert landed.slot == 1_201


async def test_a_history_that_knows_it_unconfirmed_is_no_proof(autojump_clock: trio.testing.MockClock) -> None:
    """It landed in the last valid block, whose fate is open on one node."""
    async with polling(2) as p:
        p.nodes[1].history[SIGNATURE] = status("processed")
        await p.rise(LAST_VALID + 1)
        with trio.move_on_after(60) as scope:
            await p.landed()
        assert scope.cancelled_caught

        del p.nodes[1].history[SIGNATURE]
        assert await p.landed() is None


async def test_a_trade_that_lands_during_the_proof_has_landed(autojump_clock: trio.testing.MockClock) -> None:
    """The poll goes on meanwhile."""
    async with polling(2) as p:
        await p.rise(LAST_VALID + 1)
        p.nodes[1].takes_seconds = 5.0
        results = []

        async def wait() -> None:
            results.append(await p.landed())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(1)
            p.nodes[0].recent[SIGNATURE] = status()

        assert results[0] is not None
        assert results[0].confirmed_at - p.began < 2


async def test_a_node_that_hangs_in_a_proof_does_not_hold_up_other_trades(autojump_clock: trio.testing.MockClock) -> None:
    """While one trade's expiry is being proved, another one's confirmation is learned as quickly as ever."""
    async with polling(2) as p:
        await p.rise(LAST_VALID + 1)
        p.nodes[1].takes_seconds = 30.0
        other = signature_of(2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(p.landed)
            await trio.sleep(10)
            p.nodes[0].recent[other] = status()
            landed = await p.confirmations.landed(
                other, blockhash=BLOCKHASH, last_valid_block_height=LAST_VALID + 100, context_slot=CONTEXT_SLOT
            )

            assert landed == Landed(slot=900, reverted=False, confirmed_at=p.began + 10.1)
            assert len(p.nodes[1].called("getEpochInfo")) == 1
            nursery.cancel_scope.cancel()


# --- over the wire ---


def statuses(known: Mapping[Signature, object]) -> Callable[[Received], Reply]:
    """Answer getSignatureStatuses."""

    def answer(request: Received) -> Reply:
        signatures, _options = request.json["params"]
        return rpc_result(context([known.get(Signature.from_string(s)) for s in signatures]))

    return answer


CONFIRMED: dict[str, object] = {"slot": 900, "confirmations": 1, "err": None, "confirmationStatus": "confirmed"}


async def test_confirmation_and_expiry_over_real_sockets() -> None:
    """One trade is confirmed, whichever node answers; the other has expired, as both nodes prove."""
    landed, lost = signature_of(1), signature_of(2)
    log, results = RecordedLog(), {}
    async with open_nodes(2) as (nodes, upstreams):
        for upstream in upstreams:
            upstream.always("getEpochInfo", rpc_result({"absoluteSlot": 500, "blockHeight": LAST_VALID + 1}))
            upstream.always("isBlockhashValid", rpc_result(context(value=False)))
            upstream.always("getFirstAvailableBlock", rpc_result(0))
            upstream.always("getSignatureStatuses", statuses({landed: CONFIRMED}))
            value = {"blockhash": str(hash_of(1)), "lastValidBlockHeight": LAST_VALID + 151}
            upstream.always("getLatestBlockhash", rpc_result(context(value)))
        upstreams[0].script("getSignatureStatuses", Reset())
        blockhashes = Blockhashes(nodes=nodes, refresh_seconds=1.0, max_age_seconds=10.0, log=log)
        await blockhashes.refresh()
        confirmations = Confirmations(
            nodes=nodes, blockhashes=blockhashes, is_ours=any_node, poll_initial_seconds=0.01, poll_max_seconds=0.05, log=log
        )

        async def wait(signature: Signature) -> None:
            results[signature] = await confirmations.landed(
                signature, blockhash=BLOCKHASH, last_valid_block_height=LAST_VALID, context_slot=CONTEXT_SLOT
            )

        with trio.fail_after(PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(confirmations.run)
                async with trio.open_nursery() as waiting:
                    for signature in (landed, lost):
                        waiting.start_soon(wait, signature)
                nursery.cancel_scope.cancel()

    assert results[landed] is not None
    assert results[lost] is None


async def test_a_history_that_does_not_reach_back_proves_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """The daemon rested for days and a node has purged the blocks in which it may have landed: finding nothing is no proof."""
    async with polling(count=2) as p:
        await p.rise(LAST_VALID + SURELY_KEPT_BLOCKS + 1)
        p.nodes[1].first_available = CONTEXT_SLOT + 1
        with trio.move_on_after(60) as scope:
            await p.landed()
        assert scope.cancelled_caught
        p.nodes[1].first_available = CONTEXT_SLOT

        assert await p.landed() is None


async def test_a_node_that_began_a_moment_ago_proves_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """A machine that a provider put in the place of another knows nothing of what landed before its snapshot."""
    async with polling() as p:
        await p.rise(LAST_VALID + 1)
        p.nodes[0].first_available = CONTEXT_SLOT + 1
        with trio.move_on_after(60) as scope:
            await p.landed()
        assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("code", "blocks", "is_proof"),
    [(-32601, SURELY_KEPT_BLOCKS, True), (-32601, SURELY_KEPT_BLOCKS + 1, False), (-32005, SURELY_KEPT_BLOCKS, False)],
)
async def test_who_does_not_tell_how_far_back_its_history_reaches(
    code: int, blocks: int, is_proof: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """A provider that does not offer the call is believed shortly after the expiry; who fails just now is asked again."""
    async with polling() as p:
        await p.rise(LAST_VALID + blocks)
        p.nodes[0].history_refusal = rpc_fault(code, "no", None)
        with trio.move_on_after(60) as scope:
            await p.landed()

    assert scope.cancelled_caught != is_proof

"""After the first byte only the chain decides: late, lost, refused, reverted, forked away, expired."""

from typing import Any

import pytest
import trio
from attrs import evolve
from solders.keypair import Keypair

from executor.rpc import trade_executor_pb2 as pb
from tests.support.callers import FAILED, NEVER, PENDING, SUCCESS, make_request
from tests.support.daemon import (
    HTTPX_BODIES,
    collect,
    journalled,
    running,
)
from tests.support.localnet import Localnet
from tests.support.settings import Place
from tests.support.upstream import closed_port
from tests.support.waiting import eventually

pytestmark = [HTTPX_BODIES, pytest.mark.slow]

SIGNATURE_LAMPORTS = 5_000


async def test_a_late_confirmation_is_pending_then_success(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """After the timeout the caller has PENDING with the signature; GetTrade and joining tell the success when it is known."""
    request = make_request("late", "SOL", "USDC", 1)
    async with running(place, wallet, confirmation={"timeout_seconds": 0.1, "resend_seconds": NEVER}) as daemon:
        chain.order("late-landing", target="node", count=2, slots=40)
        told = await daemon.trade(request)
        joined = await daemon.trade(request)
        pending = (await daemon.status()).outcomes.pending
        resolved = await daemon.resolved("late")
        again = await daemon.trade(request)

    assert told.status == joined.status == PENDING
    assert told.error_code == "CONFIRMATION_TIMEOUT"
    assert not told.retryable
    assert pending == 1
    assert resolved.status == SUCCESS
    assert again == resolved
    assert told.transaction_signature == resolved.transaction_signature
    assert str(told.last_valid_block_height) in told.error_message


async def test_expiry_is_proved_by_every_node(still_chain: Localnet, place: Place) -> None:
    """Every send is lost: when the block height has passed at every node, the trade is FAILED for good and cost nothing."""
    wallet = still_chain.new_wallet()
    quiet = evolve(place, nodes=still_chain.nodes, jupiter=still_chain.jupiter)
    async with running(quiet, wallet) as daemon:
        before = still_chain.holdings(wallet.pubkey())
        still_chain.order("lost-send", target="node", count=None)
        answers: list[pb.TradeResult] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, daemon, make_request("lost", "SOL", "USDC", 1), answers)
            await daemon.event("trade.sent")
            still_chain.advance(140)
            await trio.sleep(0.25)
            assert answers == []
            still_chain.advance(20)

    assert (answers[0].status, answers[0].error_code) == (FAILED, "TRANSACTION_EXPIRED")
    assert answers[0].retryable
    assert answers[0].transaction_signature
    assert answers[0].fees_paid == 0
    assert still_chain.holdings(wallet.pubkey()) == before
    assert journalled(place.journal_path, "lost") == ["ACCEPTED", "SIGNED", "SENT", "EXPIRED"]


async def test_one_lagging_node_prevents_the_proof_of_expiry(still_chain: Localnet, place: Place) -> None:
    """While one node has not seen the height pass, nothing is proved: PENDING; FAILED comes with the last node's word."""
    wallet = still_chain.new_wallet()
    quiet = evolve(place, nodes=still_chain.nodes, jupiter=still_chain.jupiter)
    async with running(quiet, wallet, confirmation={"timeout_seconds": 0.1}) as daemon:
        still_chain.order("lost-send", target="node", count=None)
        still_chain.order("lag", target="node:node-1", operation="getEpochInfo", count=None, slots=200)
        told = await daemon.trade(make_request("lag", "SOL", "USDC", 1))
        still_chain.advance(170)
        await daemon.event("confirmations.expiry_not_proved")
        held = await daemon.get("lag")
        still_chain.advance(200)
        resolved = await daemon.resolved("lag")

    assert told.status == held.status == PENDING
    assert (resolved.status, resolved.error_code) == (FAILED, "TRANSACTION_EXPIRED")


async def test_a_status_from_a_lagging_machine_proves_no_expiry(still_chain: Localnet, place: Place) -> None:
    """Behind one URL stand machines that see the height pass and ones that lag: it landed, and is never called FAILED."""
    wallet = still_chain.new_wallet()
    quiet = evolve(place, nodes=still_chain.nodes, jupiter=still_chain.jupiter)
    async with running(quiet, wallet, confirmation={"timeout_seconds": 0.1}) as daemon:
        still_chain.order("lag", target="node", operation="getSignatureStatuses", count=None, slots=400)
        told = await daemon.trade(make_request("lag", "SOL", "USDC", 1))
        still_chain.advance(170)
        await daemon.event("confirmations.expiry_not_proved")
        held = await daemon.get("lag")
        still_chain.clear()
        resolved = await daemon.resolved("lag")

    assert told.status == held.status == PENDING
    assert resolved.status == SUCCESS


async def test_a_fork_that_takes_the_block_away_is_no_end(still_chain: Localnet, place: Place) -> None:
    """Processed, dropped with its fork, unknown again, landed again by the re-send: one success, one swap."""
    wallet = still_chain.new_wallet()
    owner = wallet.pubkey()
    quiet = evolve(place, nodes=still_chain.nodes, jupiter=still_chain.jupiter)
    async with running(quiet, wallet) as daemon:
        before = still_chain.holdings(owner)
        landed = still_chain.transactions()
        answers: list[pb.TradeResult] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, daemon, make_request("fork", "SOL", "USDC", 1), answers)
            await daemon.event("send.answered")
            still_chain.advance(1)
            assert still_chain.transactions() == landed + 1
            assert still_chain.fork(blocks=1) == 1
            assert still_chain.transactions() == landed
            assert answers == []
            await eventually(lambda: still_chain.state()["queued"], "the same bytes are sent again")
            still_chain.advance(4)

    assert answers[0].status == SUCCESS
    assert still_chain.transactions() == landed + 1
    assert still_chain.holdings(owner).tokens["USDC"] - before.tokens["USDC"] == answers[0].executed_amount
    assert journalled(place.journal_path, "fork") == ["ACCEPTED", "SIGNED", "SENT", "SUCCEEDED"]


async def test_a_landed_revert_is_failed_and_costs_its_fee(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """The price moves between simulation and landing: FAILED with the slippage code, the signature, and the fee that was paid."""
    async with running(place, wallet, confirmation={"resend_seconds": NEVER}) as daemon:
        before = chain.holdings(wallet.pubkey())
        chain.order("late-landing", target="node", count=2, slots=15)
        answers: list[pb.TradeResult] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, daemon, make_request("late", "RAY", "USDC", 10, max_slippage_bps=1), answers)
            await daemon.event("send.answered")
            mover = await daemon.trade(make_request("mover", "RAY", "USDC", 4_000))
        after = chain.holdings(wallet.pubkey())

    reverted = answers[0]
    assert mover.status == SUCCESS
    assert (reverted.status, reverted.error_code) == (FAILED, "SLIPPAGE_EXCEEDED")
    assert reverted.executed_amount == reverted.input_amount == 0
    assert reverted.fees_paid == SIGNATURE_LAMPORTS + reverted.priority_fee
    assert reverted.slot > 0
    assert before.lamports - after.lamports == reverted.fees_paid + mover.fees_paid
    assert before.tokens["RAY"] - after.tokens["RAY"] == 4_000 * 10**6
    assert journalled(place.journal_path, "late")[-1] == "REVERTED"


async def test_a_lost_send_is_recovered_by_sending_again(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Both nodes forget the first send; the same bytes again, the same signature, one swap."""
    async with running(place, wallet) as daemon:
        landed = chain.transactions()
        chain.order("lost-send", target="node", count=2)
        result = await daemon.trade(make_request("lost", "SOL", "USDC", 1))

    assert result.status == SUCCESS
    assert chain.orders() == []
    assert chain.transactions() == landed + 1
    assert result.confirmation_time_ms >= 200  # resend_seconds


REFUSALS: dict[str, dict[str, Any]] = {
    "NODE_REFUSED": {"code": -32602, "message": "too bad"},
    "SLIPPAGE_EXCEEDED": {
        "code": -32002,
        "message": "Transaction simulation failed",
        "data": {
            "err": {"InstructionError": [3, {"Custom": 6001}]},
            "logs": ["Program JUP6LkbZbjS1jKKwapdHNy74zcZ3tLUZoi5QNyVTaV4 failed: custom program error: 0x1771"],
        },
    },
}


@pytest.mark.parametrize("code", REFUSALS)
async def test_what_every_node_refuses_is_not_sent_again_and_proved_expired(
    code: str, still_chain: Localnet, place: Place
) -> None:
    """With preflight, a price that moved after our simulation is found by the nodes: no fee is paid; the end says who refused."""
    wallet = still_chain.new_wallet()
    quiet = evolve(place, nodes=still_chain.nodes, jupiter=still_chain.jupiter)
    async with running(quiet, wallet, confirmation={"timeout_seconds": 0.3}, solana={"skip_preflight": False}) as daemon:
        before = still_chain.holdings(wallet.pubkey())
        still_chain.order("rpc-error", target="node", operation="sendTransaction", count=2, **REFUSALS[code])
        told = await daemon.trade(make_request("refused", "SOL", "USDC", 1))
        still_chain.advance(170)
        resolved = await daemon.resolved("refused")

    for result in (told, resolved):
        assert f"it failed every node's preflight ({code}: {quiet.nodes[0]}: sendTransaction failed" in result.error_message
    assert (told.status, told.error_code) == (PENDING, "CONFIRMATION_TIMEOUT")
    assert (resolved.status, resolved.error_code, resolved.fees_paid) == (FAILED, code, 0)
    assert still_chain.holdings(wallet.pubkey()) == before
    assert daemon.log.named("send.repeated") == []
    assert journalled(place.journal_path, "refused") == ["ACCEPTED", "SIGNED", "SENT", "EXPIRED"]


async def test_what_every_node_refuses_without_a_preflight_is_sent_again(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """A gateway that knows nobody for a moment is no reason to give up what costs nothing to send again."""
    async with running(place, wallet, confirmation={"resend_seconds": 0.2}) as daemon:
        chain.order("status", target="node", operation="sendTransaction", count=2, status=403)
        result = await daemon.trade(make_request("again", "SOL", "USDC", 1))

    assert result.status == SUCCESS
    assert daemon.log.named("send.repeated")


async def test_a_refusal_by_every_node_is_no_proof(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """A proxy lost the first answer and asked again: the refusal that arrives is the second one, and the first ask landed."""
    async with running(place, wallet, solana={"skip_preflight": False}) as daemon:
        chain.order(
            "rpc-error", target="node", operation="sendTransaction", count=None, executed=True, **REFUSALS["SLIPPAGE_EXCEEDED"]
        )
        result = await daemon.trade(make_request("proxied", "SOL", "USDC", 1))

    assert result.status == SUCCESS
    assert chain.transaction(result.transaction_signature) is not None
    assert journalled(place.journal_path, "proxied") == ["ACCEPTED", "SIGNED", "SENT", "SUCCEEDED"]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("rpc-error", {"code": -32005}),
        ("rpc-error", {"code": -32603}),
        ("hang", {}),
        ("reset", {}),
        ("garbage", {}),
        ("status", {"status": 429}),
    ],
)
async def test_one_node_that_fails_is_made_up_for_by_the_other(
    kind: str, fields: dict[str, Any], chain: Localnet, place: Place, wallet: Keypair
) -> None:
    """The preferred node refuses, hangs or talks nonsense in every call; the other one carries the trade."""
    async with running(place, wallet, solana={"request_timeout_seconds": 0.2}) as daemon:
        chain.order(kind, target="node:node-0", count=None, **fields)
        result = await daemon.trade(make_request("one", "SOL", "USDC", 1))
        chain.clear()

    assert result.status == SUCCESS
    assert chain.transaction(result.transaction_signature) is not None


async def test_one_node_that_refuses_the_send_is_made_up_for_by_the_other(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """A refusal of one node proves something about that node only."""
    async with running(place, wallet) as daemon:
        chain.order("rpc-error", target="node:node-0", operation="sendTransaction", count=None, code=-32602)
        result = await daemon.trade(make_request("one", "SOL", "USDC", 1))

    assert result.status == SUCCESS


async def test_one_dead_node_is_made_up_for_by_the_other(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Nobody listens at the preferred node's port: the other one carries the trade."""
    dead = f"http://127.0.0.1:{closed_port()}"
    async with running(evolve(place, nodes=(dead, chain.nodes[1])), wallet) as daemon:
        result = await daemon.trade(make_request("one", "SOL", "USDC", 1))

    assert result.status == SUCCESS


@pytest.mark.parametrize("kind", ["hang", "reset", "truncated"])
async def test_an_answer_to_a_send_that_is_lost_proves_nothing(kind: str, chain: Localnet, place: Place, wallet: Keypair) -> None:
    """The nodes carry the send out and their answers never arrive: the trade is watched, lands, and is a success."""
    fields: dict[str, Any] = {} if kind == "truncated" else {"executed": True}
    async with running(place, wallet, solana={"request_timeout_seconds": 0.3}) as daemon:
        landed = chain.transactions()
        chain.order(kind, target="node", operation="sendTransaction", count=None, **fields)
        result = await daemon.trade(make_request("unheard", "SOL", "USDC", 1))

    assert result.status == SUCCESS
    assert chain.transactions() == landed + 1


async def test_the_fill_is_waited_for(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """A confirmed transaction that no node tells yet: its amounts are not guessed, they are asked for again."""
    async with running(place, wallet) as daemon:
        chain.order("rpc-error", target="node", operation="getTransaction", count=8, code=-32603)
        result = await daemon.trade(make_request("fill", "SOL", "USDC", 1))

    assert result.status == SUCCESS
    assert result.executed_amount == result.quoted_amount

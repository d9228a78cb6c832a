"""What upstreams that lie, or that were mixed up, cannot do: make a trade FAILED that lands, or take the daemon with them."""

import base64
from typing import Any

import pytest
import trio
from attrs import define, evolve
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from executor.desk import Flight
from executor.journal.journal import Entry
from executor.rpc import trade_executor_pb2 as pb
from executor.states import State
from tests.support.callers import FAILED, PENDING, SUCCESS, make_request
from tests.support.daemon import HTTPX_BODIES, RunningDaemon, accept_entries, collect, journalled, refuse_entries, running
from tests.support.journals import PassingOn
from tests.support.localnet import Localnet
from tests.support.relays import relay_jupiter, relay_node
from tests.support.settings import Place
from tests.support.upstream import Upstream, open_upstream
from tests.support.waiting import eventually

pytestmark = [HTTPX_BODIES, pytest.mark.slow]

MEMO = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"
BIG = 70_000


def _with_a_huge_memo(answer: Any) -> Any:
    memo = {"programId": MEMO, "accounts": [], "data": base64.b64encode(bytes(BIG)).decode()}
    return {**answer, "otherInstructions": [memo]}


def _with_a_huge_plan(answer: Any) -> Any:
    """The amounts of `route` are read from its end: whatever is in the middle is the plan."""
    swap = answer["swapInstruction"]
    data = base64.b64decode(swap["data"])
    return {**answer, "swapInstruction": {**swap, "data": base64.b64encode(data[:12] + bytes(BIG) + data[12:]).decode()}}


@pytest.mark.parametrize("lie", [_with_a_huge_memo, _with_a_huge_plan])
async def test_what_no_transaction_can_hold_ends_one_trade(lie: Any, chain: Localnet, place: Place, wallet: Keypair) -> None:
    """The library under us panics at 64 KiB: it is not asked. The next trade is well."""
    async with open_upstream() as jupiter:
        relay_jupiter(jupiter, chain.jupiter, swap_instructions=lie)
        async with running(evolve(place, jupiter=jupiter.url), wallet) as daemon:
            failed = await daemon.trade(make_request("huge", "SOL", "USDC", 1))
            relay_jupiter(jupiter, chain.jupiter)
            fine = await daemon.trade(make_request("fine", "SOL", "USDC", 1))

    assert (failed.status, failed.error_code) == (FAILED, "TRANSACTION_TOO_LARGE")
    assert fine.status == SUCCESS


class Panic(BaseException):
    """What a library in Rust raises when it panics: no Exception."""


@define
class BreakingSigner:
    """Signs for a wallet, and breaks once."""

    wallet: Keypair
    broken: bool = False

    @property
    def address(self) -> Pubkey:
        return self.wallet.pubkey()

    def sign(self, message: bytes) -> Any:
        if not self.broken:
            self.broken = True
            raise Panic
        return self.wallet.sign_message(message)


async def test_a_panic_ends_one_trade(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """It is a bug like any other: FAILED before the send, and the daemon goes on."""
    async with running(place, wallet, signer=BreakingSigner(wallet)) as daemon:
        failed = await daemon.trade(make_request("panic", "SOL", "USDC", 1))
        fine = await daemon.trade(make_request("fine", "SOL", "USDC", 1))

    assert (failed.status, failed.error_code, failed.error_stage) == (FAILED, "INTERNAL_ERROR", "sign")
    assert fine.status == SUCCESS


@define
class OddJournal(PassingOn):
    """The real journal, but with a bug or a slow disk at entries of one state."""

    state: State
    takes_seconds: float | None
    """None: a bug instead."""

    async def append(self, entry: Entry) -> None:
        if entry.state is self.state:
            if self.takes_seconds is None:
                raise ValueError("a bug in the journal")
            with trio.CancelScope(shield=True):
                await trio.sleep(self.takes_seconds)
        await self.journal.append(entry)


async def test_a_bug_at_the_end_ends_one_trade(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """It landed, but that cannot be noted: PENDING with the signature; what it may spend is held until it cannot land."""

    def odd(line: Any) -> Any:
        return evolve(line, journal=OddJournal(line.journal, State.SUCCEEDED, None))

    async with running(place, wallet, adjust=odd) as daemon:
        told = await daemon.trade(make_request("unnoted", "SOL", "USDC", 1))
        height = daemon.daemon.blockhashes.block_height()
        assert daemon.daemon.desk.in_flight() == 1
        chain.advance(170)
        await eventually(lambda: not daemon.daemon.desk.in_flight(), "its blockhash has expired")

    assert (told.status, told.error_code) == (PENDING, "INTERNAL_ERROR")
    assert told.transaction_signature
    assert height <= told.last_valid_block_height
    assert journalled(place.journal_path, "unnoted") == ["ACCEPTED", "SIGNED", "SENT"]


async def test_a_bug_that_also_breaks_the_refusal_ends_one_trade(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Nothing was sent, and the journal says no more than ACCEPTED: FAILED, and the daemon goes on."""

    def odd(line: Any) -> Any:
        return evolve(line, journal=OddJournal(line.journal, State.REJECTED, None))

    async with running(place, wallet, adjust=odd) as daemon:
        chain.order("status", target="jupiter", operation="quote", count=1, status=400)
        failed = await daemon.trade(make_request("broken", "SOL", "USDC", 1))
        await eventually(lambda: not daemon.daemon.desk.in_flight(), "the trade has ended")
        fine = await daemon.trade(make_request("fine", "SOL", "USDC", 1))

    assert (failed.status, failed.error_code, failed.transaction_signature) == (FAILED, "INTERNAL_ERROR", "")
    assert fine.status == SUCCESS


async def test_a_bug_behind_the_outcome_unmakes_nothing(
    chain: Localnet, place: Place, wallet: Keypair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was told stays told: the caller has its SUCCESS, the journal too, and the daemon goes on."""
    tell = Flight.tell

    def tell_and_break(flight: Flight, answer: Any) -> None:
        tell(flight, answer)
        monkeypatch.undo()
        raise ValueError("a bug")

    async with running(place, wallet) as daemon:
        monkeypatch.setattr(Flight, "tell", tell_and_break)
        told = await daemon.trade(make_request("told", "SOL", "USDC", 1))
        await eventually(lambda: not daemon.daemon.desk.in_flight(), "the trade has ended")
        asked = await daemon.get("told")
        fine = await daemon.trade(make_request("fine", "SOL", "USDC", 1))

    assert told.status == fine.status == SUCCESS
    assert asked == told
    assert journalled(place.journal_path, "told")[-1] == "SUCCEEDED"


async def test_a_slow_disk_uses_up_the_budget(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """The wait for SIGNED cannot be cut short, but what is late then is not sent."""

    def odd(line: Any) -> Any:
        return evolve(line, journal=OddJournal(line.journal, State.SIGNED, 0.6))

    async with running(place, wallet, adjust=odd, limits={"pre_send_budget_seconds": 0.5}) as daemon:
        landed = chain.transactions()
        failed = await daemon.trade(make_request("slow", "SOL", "USDC", 1))

    assert (failed.status, failed.error_code) == (FAILED, "PRE_SEND_BUDGET_EXCEEDED")
    assert daemon.log.named("trade.sent") == []
    assert chain.transactions() == landed
    assert journalled(place.journal_path, "slow") == ["ACCEPTED", "SIGNED", "REJECTED"]


async def test_a_last_valid_height_that_is_too_low_expires_nothing(still_chain: Localnet, place: Place) -> None:
    """One of two nodes tells it: by its number the transaction is dead at birth, by the chain it lands."""
    wallet = still_chain.new_wallet()

    def lower(answer: Any) -> Any:
        answer["result"]["value"]["lastValidBlockHeight"] -= 151
        return answer

    async with open_upstream() as node:
        relay_node(node, still_chain.nodes[0], getLatestBlockhash=lower)
        two = evolve(place, nodes=(node.url, still_chain.nodes[1]), jupiter=still_chain.jupiter)
        async with running(two, wallet) as daemon:
            answers: list[pb.TradeResult] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(collect, daemon, make_request("low", "SOL", "USDC", 1), answers)
                await daemon.event("trade.sent")
                relay_node(node, still_chain.nodes[0])
                await daemon.event("confirmations.expiry_not_proved")
                assert answers == []
                still_chain.advance(4)

    assert answers[0].status == SUCCESS


def _refusal_of_another_call(answer: Any) -> Any:
    return {"jsonrpc": "2.0", "id": answer["id"] - 1, "error": {"code": -32602, "message": "invalid transaction"}}


def _refusal_of_nobody(answer: Any) -> Any:
    return {**_refusal_of_another_call(answer), "id": None}


@pytest.mark.parametrize("lie", [_refusal_of_another_call, _refusal_of_nobody])
async def test_a_refusal_that_answers_another_call_proves_nothing(
    lie: Any, chain: Localnet, place: Place, wallet: Keypair
) -> None:
    """A proxy that mixes answers up: the transaction was forwarded, and lands."""
    async with open_upstream() as node:
        relay_node(node, chain.nodes[0], sendTransaction=lie)
        async with running(evolve(place, nodes=(node.url,)), wallet) as daemon:
            result = await daemon.trade(make_request("mixed", "SOL", "USDC", 1))

    assert result.status == SUCCESS


def _reverted(answer: Any) -> Any:
    if answer["result"] is not None:
        answer["result"]["meta"]["err"] = {"InstructionError": [2, {"Custom": 6001}]}
    return answer


def _another_one(answer: Any) -> Any:
    if answer["result"] is not None:
        answer["result"]["transaction"]["signatures"] = [str(Keypair().sign_message(b"another"))]
    return answer


@pytest.mark.parametrize("lie", [_reverted, _another_one])
async def test_the_transaction_has_to_be_ours_and_to_agree_with_its_status(
    lie: Any, chain: Localnet, place: Place, wallet: Keypair
) -> None:
    """One node tells of another transaction, or that ours failed: it is not believed, the other node's word is what counts."""
    async with open_upstream() as node:
        relay_node(node, chain.nodes[0], getTransaction=lie)
        async with running(evolve(place, nodes=(node.url, chain.nodes[1])), wallet) as daemon:
            result = await _resolved_when_honest(daemon, node, chain)

    assert result.status == SUCCESS
    assert result.executed_amount == result.quoted_amount


async def _resolved_when_honest(daemon: RunningDaemon, node: Upstream, chain: Localnet) -> pb.TradeResult:
    answers: list[pb.TradeResult] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, daemon, make_request("lie", "SOL", "USDC", 1), answers)
        await eventually(lambda: node.received("getTransaction"), "the lie was told")
        await eventually(lambda: answers or daemon.log.named("fill.contradicts"), "the lie was heard")
        relay_node(node, chain.nodes[0])
    return answers[0]


async def test_a_false_confirmation_is_found_out(still_chain: Localnet, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node says confirmed, none has the transaction: its bytes are sent again until it has really landed."""
    monkeypatch.setattr("executor.stages.filling.FETCH_SECONDS", 0.3)
    wallet = still_chain.new_wallet()
    false = {"slot": 5, "confirmations": 1, "err": None, "status": {"Ok": None}, "confirmationStatus": "confirmed"}

    def confirm(answer: Any) -> Any:
        answer["result"]["value"] = [false for _ in answer["result"]["value"]]
        return answer

    async with open_upstream() as node:
        relay_node(node, still_chain.nodes[0], getSignatureStatuses=confirm)
        place = evolve(place, nodes=(node.url,), jupiter=still_chain.jupiter)
        async with running(place, wallet, confirmation={"timeout_seconds": 0.2, "resend_seconds": 0.1}) as daemon:
            still_chain.order("lost-send", target="node", count=3)
            told = await daemon.trade(make_request("false", "SOL", "USDC", 1))
            await daemon.event("trade.unread")
            relay_node(node, still_chain.nodes[0])
            await eventually(lambda: still_chain.state()["queued"], "the same bytes are sent again")
            still_chain.advance(4)
            resolved = await daemon.resolved("false")

    assert told.status == PENDING
    assert "none has shown the transaction" in told.error_message
    assert resolved.status == SUCCESS


async def test_pending_is_told_in_time_while_a_failure_of_our_own_cannot_be_written(
    chain: Localnet, place: Place, wallet: Keypair
) -> None:
    """The disk was too slow, and no byte left; but it says SIGNED, which a restart would send: the caller hears PENDING."""

    def odd(line: Any) -> Any:
        return evolve(line, journal=OddJournal(line.journal, State.SIGNED, 0.6))

    soon, budget = {"timeout_seconds": 0.3}, {"pre_send_budget_seconds": 0.5}
    async with running(place, wallet, adjust=odd, confirmation=soon, limits=budget) as daemon:
        refuse_entries(place.journal_path, "REJECTED")
        answers: list[pb.TradeResult] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, daemon, make_request("slow", "SOL", "USDC", 1), answers)
            await eventually(lambda: answers, "it is told")
            accept_entries(place.journal_path, "REJECTED")
        resolved = await daemon.resolved("slow")

    assert answers[0].status == PENDING
    assert answers[0].transaction_signature
    assert (resolved.status, resolved.error_code) == (FAILED, "PRE_SEND_BUDGET_EXCEEDED")
    assert daemon.log.named("trade.sent") == []
    assert journalled(place.journal_path, "slow") == ["ACCEPTED", "SIGNED", "REJECTED"]

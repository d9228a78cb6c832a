"""What a restart makes of the trades that the process before it left open: each goes on to its one outcome, its one signature.

A process that dies is a cancelled one here, which writes no less than a killed one may have written; tests/crash kills real ones.
"""

import sqlite3
from collections.abc import Callable
from functools import partial

import pytest
import trio
from attrs import define, evolve
from solders.keypair import Keypair

from executor.journal.journal import Entry
from executor.life import Line
from executor.rpc import trade_executor_pb2 as pb
from executor.states import State
from tests.support.callers import FAILED, NEVER, PENDING, SUCCESS, Refused, make_request
from tests.support.daemon import HTTPX_BODIES, RunningDaemon, collect, gather, journalled, refusal, running
from tests.support.journals import PassingOn
from tests.support.localnet import Localnet, start_localnet
from tests.support.relays import relay_node
from tests.support.settings import Place
from tests.support.upstream import open_upstream
from tests.support.waiting import eventually

pytestmark = [HTTPX_BODIES, pytest.mark.slow]

DEAF = {"poll_initial_seconds": NEVER, "poll_max_seconds": NEVER, "resend_seconds": NEVER}
"""It sends once and never learns what came of it."""


@define
class Deadly(PassingOn):
    """The real journal; once an entry of a state is on the disk, whoever waits for it waits for ever: the process dies there."""

    at: State

    async def append(self, entry: Entry) -> None:
        await self.journal.append(entry)
        if entry.state is self.at:
            await trio.sleep_forever()


def dying_at(state: State) -> Callable[[Line], Line]:
    """Let trades get no further than that entry."""
    return lambda line: evolve(line, journal=Deadly(line.journal, state))


async def leave_open(daemon: RunningDaemon, request: pb.TradeRequest, *, until: Callable[[], object]) -> None:
    """Ask for a trade, and let the daemon's end, which follows, find it as it is then."""

    async def ask() -> None:
        with pytest.raises(Refused):
            await daemon.trade(request)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await eventually(until, f"{request.request_id} is where it shall be left")
        nursery.cancel_scope.cancel()


def has_signed(place: Place, request_id: str) -> bool:
    """Whether SIGNED of a request is on the disk."""
    return "SIGNED" in journalled(place.journal_path, request_id)


def signature_in(place: Place, request_id: str) -> str:
    """What the journal holds as signed."""
    with sqlite3.connect(place.journal_path) as connection:
        query = "SELECT signature FROM entries WHERE request_id = ? AND state = 'SIGNED'"
        ((signature,),) = connection.execute(query, (request_id,)).fetchall()
    connection.close()
    return str(signature)


async def test_what_was_signed_and_perhaps_not_sent_is_sent(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Death between the commit of SIGNED and the first byte: the next process sends those bytes, and tells every caller."""
    request = make_request("unsent", "SOL", "USDC", 1)
    before = chain.transactions()
    async with running(place, wallet, adjust=dying_at(State.SIGNED)) as daemon:
        await leave_open(daemon, request, until=partial(has_signed, place, "unsent"))
    assert chain.transactions() == before
    async with running(place, wallet) as daemon:
        told = await gather(*(partial(daemon.caller.execute, request) for _ in range(5)))
        asked = await daemon.get("unsent")

    assert [result.status for result in told] == [SUCCESS] * 5
    assert {result.transaction_signature for result in told} == {signature_in(place, "unsent")}
    assert told[0] == asked
    assert chain.transactions() == before + 1
    assert told[0].slippage_bps == 0
    assert told[0].quoted_amount == told[0].executed_amount > 0
    assert told[0].execution_time_ms > told[0].confirmation_time_ms > 0
    assert journalled(place.journal_path, "unsent") == ["ACCEPTED", "SIGNED", "SENT", "SUCCEEDED"]


async def leave_lost(chain: Localnet, place: Place, wallet: Keypair, request: pb.TradeRequest) -> None:
    """Let a process die when it has sent a trade, and no leader has got it."""
    async with running(place, wallet, confirmation=DEAF) as daemon:
        chain.order("lost-send", target="node", count=None)
        await leave_open(daemon, request, until=lambda: daemon.log.named("send.answered"))
    chain.clear()


async def test_what_landed_meanwhile_is_a_success(still_chain: Localnet, place: Place) -> None:
    """Death after the send; it lands, and is long final when the next process looks: amounts, price and fee are the chain's."""
    wallet = still_chain.new_wallet()
    quiet = evolve(place, nodes=still_chain.nodes, jupiter=still_chain.jupiter)
    async with running(quiet, wallet, confirmation=DEAF) as daemon:
        before = still_chain.holdings(wallet.pubkey())
        request = make_request("landed", "SOL", "USDC", 1)
        await leave_open(daemon, request, until=lambda: daemon.log.named("send.answered"))
    still_chain.advance(400)
    after = still_chain.holdings(wallet.pubkey())
    async with running(quiet, wallet) as daemon:
        told = await daemon.trade(request)

    assert told.status == SUCCESS
    assert told.executed_amount == after.tokens["USDC"] - before.tokens["USDC"]
    assert before.lamports - after.lamports == told.input_amount + told.fees_paid
    assert journalled(place.journal_path, "landed") == ["ACCEPTED", "SIGNED", "SENT", "SUCCEEDED"]


async def test_what_expired_meanwhile_is_proved(still_chain: Localnet, place: Place) -> None:
    """Every send was lost and the height has passed: FAILED, and the caller may trade anew."""
    wallet = still_chain.new_wallet()
    quiet = evolve(place, nodes=still_chain.nodes, jupiter=still_chain.jupiter)
    request = make_request("expired", "SOL", "USDC", 1)
    await leave_lost(still_chain, quiet, wallet, request)
    still_chain.advance(400)
    async with running(quiet, wallet) as daemon:
        told = await daemon.trade(request)

    assert (told.status, told.error_code) == (FAILED, "TRANSACTION_EXPIRED")
    assert journalled(place.journal_path, "expired") == ["ACCEPTED", "SIGNED", "SENT", "EXPIRED"]


async def test_what_was_not_signed_is_closed(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Nothing was sent, which is written down: a caller that asks much later, or an auditor, finds an end."""
    async with running(place, wallet, jupiter={"timeout_seconds": NEVER}) as daemon:
        chain.order("hang", target="jupiter", operation="quote")
        request = make_request("unsigned", "SOL", "USDC", 1)
        await leave_open(daemon, request, until=lambda: journalled(place.journal_path, "unsigned"))
    async with running(place, wallet) as daemon:
        await eventually(lambda: len(journalled(place.journal_path, "unsigned")) > 1, "it is closed")
        told = await daemon.trade(request)

    assert (told.status, told.error_code, told.retryable) == (FAILED, "EXECUTOR_RESTARTED", True)
    assert journalled(place.journal_path, "unsigned") == ["ACCEPTED", "REJECTED"]


async def test_a_refusal_proves_nothing_about_earlier_sends(still_chain: Localnet, place: Place) -> None:
    """The process before may have sent them to whoever refuses them now: what became of them is found by the chain alone."""
    wallet = still_chain.new_wallet()
    quiet = evolve(place, nodes=still_chain.nodes, jupiter=still_chain.jupiter)
    request = make_request("doubtful", "SOL", "USDC", 1)
    async with running(quiet, wallet, confirmation=DEAF) as daemon:
        await leave_open(daemon, request, until=lambda: daemon.log.named("send.answered"))
    still_chain.order("rpc-error", target="node", operation="sendTransaction", count=None, code=-32602, message="refused")
    async with running(quiet, wallet) as daemon:
        await daemon.event("send.answered")
        assert (await daemon.get("doubtful")).status == PENDING
        still_chain.advance(4)
        told = await daemon.trade(request)

    assert told.status == SUCCESS


async def test_what_is_refused_after_a_restart_and_never_landed_expires(still_chain: Localnet, place: Place) -> None:
    """The earlier send was lost, and no preflight lets the bytes pass now: FAILED once that is proved, with their reason."""
    wallet = still_chain.new_wallet()
    quiet = evolve(place, nodes=still_chain.nodes, jupiter=still_chain.jupiter)
    request = make_request("hopeless", "SOL", "USDC", 1)
    await leave_lost(still_chain, quiet, wallet, request)
    refused = {"code": -32002, "message": "no", "data": {"err": "InsufficientFundsForFee", "logs": []}}
    still_chain.order("rpc-error", target="node", operation="sendTransaction", count=None, **refused)
    async with running(quiet, wallet, solana={"skip_preflight": False}) as daemon:
        await daemon.event("send.answered")
        await trio.sleep(0.5)  # more than resend_seconds
        still_chain.advance(170)
        told = await daemon.trade(request)

    assert (told.status, told.error_code) == (FAILED, "FUNDS_INSUFFICIENT")
    assert "it failed every node's preflight" in told.error_message
    assert daemon.log.named("send.repeated") == []


async def test_what_is_open_stays_reserved(chain: Localnet, place: Place) -> None:
    """The wallet can pay one of two trades; the first is still open after the restart, so the second one is refused."""
    wallet = chain.new_wallet(lamports=15 * 10**8)
    async with running(place, wallet, confirmation=DEAF) as daemon:
        chain.order("lost-send", target="node", operation="sendTransaction", count=None)
        first = make_request("first", "SOL", "USDC", 1)
        await leave_open(daemon, first, until=lambda: daemon.log.named("send.answered"))
    async with running(place, wallet) as daemon:
        refused = await refusal(daemon, make_request("second", "SOL", "USDC", 1))
        open_now = (await daemon.status()).trades_in_flight
        chain.clear()
        told = await daemon.trade(first)

    assert refused.reason == "BALANCE_INSUFFICIENT"
    assert "held for trades in flight" in refused.message
    assert open_now == 1
    assert told.status == SUCCESS


async def test_a_drain_waits_for_what_was_taken_up(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """A resumed trade is like any other: a late confirmation is told as PENDING first, and the drain waits for its end."""
    async with running(place, wallet, adjust=dying_at(State.SIGNED)) as daemon:
        request = make_request("late", "SOL", "USDC", 1)
        await leave_open(daemon, request, until=partial(has_signed, place, "late"))
    chain.order("late-landing", target="node", operation="sendTransaction", count=None, slots=20)
    async with running(place, wallet, confirmation={"timeout_seconds": 0.05}) as daemon:
        answers: list[pb.TradeResult] = []
        await collect(daemon, request, answers)
        pending = (await daemon.status()).outcomes.pending
        await daemon.daemon.desk.drain()

    assert [answer.status for answer in answers] == [PENDING]
    assert pending == 1
    assert journalled(place.journal_path, "late")[-1] == "SUCCEEDED"


@pytest.mark.parametrize(("where", "what"), [("$.wire", None), ("$.blockhash", "none"), ("$.reserved", 1)])
async def test_an_entry_that_cannot_be_read_keeps_no_other_back(
    where: str, what: str | int | None, chain: Localnet, place: Place, wallet: Keypair
) -> None:
    """It stays open and is told as PENDING, with its signature: somebody has to look; the trades beside it go on."""
    async with running(place, wallet, adjust=dying_at(State.SIGNED)) as daemon:
        for name in ("damaged", "sound"):
            request = make_request(name, "SOL", "USDC", 1)
            await leave_open(daemon, request, until=partial(has_signed, place, name))
    with sqlite3.connect(place.journal_path) as connection:
        query = "UPDATE entries SET body = json_set(body, ?, ?) WHERE request_id = 'damaged' AND state = 'SIGNED'"
        connection.execute(query, (where, what))
    connection.close()
    async with running(place, wallet) as daemon:
        sound = await daemon.resolved("sound")
        damaged = await daemon.get("damaged")

    assert sound.status == SUCCESS
    assert (damaged.status, damaged.transaction_signature) == (PENDING, signature_in(place, "damaged"))
    assert journalled(place.journal_path, "damaged") == ["ACCEPTED", "SIGNED"]


async def test_the_bytes_are_the_same_to_the_last(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """What the second process sends is what the first one signed."""
    async with open_upstream() as node:
        relay_node(node, chain.nodes[0])
        through = evolve(place, nodes=(node.url,))
        async with running(through, wallet, confirmation=DEAF) as daemon:
            chain.order("lost-send", target="node", operation="sendTransaction")
            request = make_request("same", "SOL", "USDC", 1)
            await leave_open(daemon, request, until=lambda: daemon.log.named("send.answered"))
        async with running(through, wallet) as daemon:
            told = await daemon.trade(request)
        sends = [send.json["params"][0] for send in node.received("sendTransaction")]

    assert told.status == SUCCESS
    assert len(sends) >= 2
    assert len(set(sends)) == 1


class OddAtSend(PassingOn):
    """The real journal, with a bug at SENT."""

    def append_soon(self, entry: Entry) -> None:
        if entry.state is State.SENT:
            raise ValueError("a bug in the journal")
        self.journal.append_soon(entry)


async def test_a_bug_while_it_is_taken_up_proves_nothing(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """This process sent nothing, but the one before it may have: PENDING, and open for the next one, which sends it."""
    async with running(place, wallet, adjust=dying_at(State.SIGNED)) as daemon:
        request = make_request("odd", "SOL", "USDC", 1)
        await leave_open(daemon, request, until=partial(has_signed, place, "odd"))
    async with running(place, wallet, adjust=lambda line: evolve(line, journal=OddAtSend(line.journal))) as daemon:
        told = await daemon.trade(request)
    async with running(place, wallet) as daemon:
        resolved = await daemon.trade(request)

    assert (told.status, told.error_code) == (PENDING, "INTERNAL_ERROR")
    assert told.transaction_signature == resolved.transaction_signature == signature_in(place, "odd")
    assert resolved.status == SUCCESS


async def test_another_wallet_takes_up_what_the_old_one_signed(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """The operator changed the key: the amounts told are those of the wallet that paid, and nothing of the new one is held."""
    async with running(place, wallet, adjust=dying_at(State.SIGNED)) as daemon:
        request = make_request("changed", "SOL", "USDC", 1)
        await leave_open(daemon, request, until=partial(has_signed, place, "changed"))
    before = chain.holdings(wallet.pubkey())
    successor = chain.new_wallet(lamports=15 * 10**8)
    async with running(place, successor, confirmation=DEAF) as daemon, trio.open_nursery() as nursery:
        nursery.start_soon(collect, daemon, make_request("new", "SOL", "USDC", 1), [])
        await daemon.event("trade.sent", 2)
        nursery.cancel_scope.cancel()
    async with running(place, successor) as daemon:
        told = await daemon.trade(request)
    after = chain.holdings(wallet.pubkey())

    assert told.status == SUCCESS
    assert told.executed_amount == after.tokens["USDC"] - before.tokens["USDC"] > 0
    assert told.input_amount == 10**9


async def test_another_cluster_proves_nothing(still_chain: Localnet, place: Place) -> None:
    """It landed; the next configuration names a node of another cluster, which never saw it: not FAILED, and no new trade."""
    wallet = still_chain.new_wallet()
    quiet = evolve(place, nodes=still_chain.nodes, jupiter=still_chain.jupiter)
    request = make_request("abroad", "SOL", "USDC", 1)
    async with running(quiet, wallet, confirmation=DEAF) as daemon:
        await leave_open(daemon, request, until=lambda: daemon.log.named("send.answered"))
    still_chain.advance(400)
    with start_localnet(slot_ms=0) as other:
        while other.rpc("getBlockHeight") <= still_chain.rpc("getBlockHeight"):
            other.advance(200)
        async with running(evolve(quiet, nodes=other.nodes), wallet, trading=False) as daemon:
            await daemon.event("confirmations.expiry_not_proved")
            await eventually(lambda: "cluster" in {cause.kind for cause in daemon.daemon.breaker.causes}, "it is noticed")
            abroad = await daemon.get("abroad")
            refused = await refusal(daemon, make_request("new", "SOL", "USDC", 1))
    async with running(quiet, wallet) as daemon:
        told = await daemon.trade(request)

    assert abroad.status == PENDING
    assert refused.reason == "TRADING_HALTED"
    assert told.status == SUCCESS

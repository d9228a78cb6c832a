"""The desk: one request_id is one trade, whoever asks, however often, and whatever becomes of the callers and the daemon."""

import sqlite3
from collections import Counter

import grpc
import pytest
import trio
from attrs import astuple
from solders.keypair import Keypair

from executor.rpc import trade_executor_pb2 as pb
from tests.support.callers import FAILED, NEVER, PENDING, SUCCESS, Refused, make_request
from tests.support.daemon import (
    HTTPX_BODIES,
    RunningDaemon,
    accept_entries,
    collect,
    gather,
    in_thread,
    journalled,
    ready_to_trade,
    refusal,
    refuse_entries,
    running,
)
from tests.support.localnet import Localnet
from tests.support.settings import Place
from tests.support.waiting import eventually

pytestmark = [HTTPX_BODIES, pytest.mark.slow]


# --- one request_id, one trade ---


async def test_the_same_request_joins_the_trade_in_flight(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Ten callers with one request at once, and one later: one swap, and every one of them has its result."""
    request = make_request("join", "SOL", "USDC", 1)
    async with running(place, wallet) as daemon:
        landed = chain.transactions()
        results = await gather(*[lambda: daemon.caller.execute(request)] * 10)
        later = await daemon.trade(request)
        told = await daemon.get("join")

    assert [result.SerializeToString() for result in results] == [later.SerializeToString()] * 10
    assert later.status == SUCCESS
    assert told == later
    assert chain.transactions() == landed + 1


async def test_other_content_under_a_used_request_id_is_refused(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """ALREADY_EXISTS while the trade flies, after it has ended, and after a restart; the trade itself is untouched."""
    async with running(place, wallet) as daemon:
        chain.order("latency", target="jupiter", operation="quote", seconds=0.2)
        answers: list[pb.TradeResult] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, daemon, make_request("once", "SOL", "USDC", 1), answers)
            await daemon.event("trade.accepted")
            in_flight = await refusal(daemon, make_request("once", "SOL", "USDC", 2))
        ended = await refusal(daemon, make_request("once", "SOL", "RAY", 1))
    async with running(place, wallet) as daemon:
        restarted = await refusal(daemon, make_request("once", "SOL", "USDC", 1, max_slippage_bps=51))

    for refused in (in_flight, ended, restarted):
        assert (refused.status, refused.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
        assert "'once'" in refused.message
    assert answers[0].status == SUCCESS


async def test_results_and_refusals_outlive_the_daemon(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """A restart on the same journal answers every known request as before, and trades none of them again."""
    good, poor = make_request("good", "SOL", "USDC", 1), make_request("moved", "SOL", "USDC", 1, expected_price=200.0)
    unroutable = make_request("unroutable", "SOL", "USDC", 1)
    async with running(place, wallet, retry={"max_retries": 0}) as daemon:
        success = await daemon.trade(good)
        refused = await refusal(daemon, poor)
        chain.order("status", target="jupiter", operation="quote", status=401)
        failed = await daemon.trade(unroutable)
    landed = chain.transactions()
    async with running(place, wallet) as daemon:
        again = await daemon.trade(good)
        refused_again = await refusal(daemon, poor)
        failed_again = await daemon.trade(unroutable)
        told = await daemon.get("good")

    assert (success.status, failed.status) == (SUCCESS, FAILED)
    assert again == told == success
    assert failed_again == failed
    assert astuple(refused_again) == astuple(refused)
    assert chain.transactions() == landed


async def test_a_trade_that_a_crash_left_signed_is_not_traded_again(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """The daemon dies between send and confirmation: the next one tells how that very transaction ended, and signs no other."""
    request = make_request("left", "SOL", "USDC", 1)
    deaf = {"poll_initial_seconds": NEVER, "poll_max_seconds": NEVER, "resend_seconds": NEVER}
    async with running(place, wallet, confirmation=deaf) as daemon:
        landed = chain.transactions()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_ignore_the_end, daemon, request)
            await daemon.event("send.answered")
            signature = daemon.log.named("trade.sent")[0]["signature"]
            nursery.cancel_scope.cancel()
    async with running(place, wallet) as daemon:
        again = await daemon.trade(request)
        told = await daemon.get("left")
        await eventually(lambda: chain.transactions() == landed + 1, "what was sent lands")
        chain.advance(5)

    assert again == told
    assert (again.status, again.transaction_signature) == (SUCCESS, signature)
    assert chain.transactions() == landed + 1


async def _ignore_the_end(daemon: RunningDaemon, request: pb.TradeRequest) -> None:
    with pytest.raises(Refused):
        await daemon.trade(request)


async def test_a_request_that_a_crash_left_unsigned_is_known_to_have_failed(
    chain: Localnet, place: Place, wallet: Keypair
) -> None:
    """ACCEPTED and nothing after it: nothing was sent, so the request is FAILED after the restart, and stays so."""
    request = make_request("left", "SOL", "USDC", 1)
    async with running(place, wallet, jupiter={"timeout_seconds": NEVER}) as daemon:
        chain.order("hang", target="jupiter", operation="quote")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_ignore_the_end, daemon, request)
            await daemon.event("trade.accepted")
            await eventually(lambda: journalled(place.journal_path, "left"), "ACCEPTED is durable")
            nursery.cancel_scope.cancel()
    async with running(place, wallet) as daemon:
        landed = chain.transactions()
        again = await daemon.trade(request)

    assert again.status == FAILED
    assert "nothing was sent" in again.error_message
    assert again.transaction_signature == ""
    assert chain.transactions() == landed


# --- callers that leave ---


async def test_a_caller_that_leaves_ends_nothing_but_its_wait(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """A caller's deadline and a caller's cancellation: the trades go on, and GetTrade tells how they ended."""
    chain.order("late-landing", target="node", operation="sendTransaction", count=4, slots=100)
    async with running(place, wallet, confirmation={"resend_seconds": NEVER}) as daemon:
        impatient, cancelled = make_request("impatient", "SOL", "USDC", 1), make_request("cancelled", "SOL", "USDC", 1)
        with pytest.raises(Refused) as late:
            await in_thread(lambda: daemon.caller.execute(impatient, seconds=1.0))
        await _call_and_cancel(daemon, cancelled)
        so_far = await daemon.get("cancelled")
        results = [await daemon.resolved(name) for name in ("impatient", "cancelled")]

    assert late.value.status == "DEADLINE_EXCEEDED"
    assert so_far.status == PENDING
    assert so_far.error_message == "the trade is being executed"
    assert so_far.transaction_signature == results[1].transaction_signature != ""
    assert [result.status for result in results] == [SUCCESS, SUCCESS]


async def _call_and_cancel(daemon: RunningDaemon, request: pb.TradeRequest) -> None:
    """Begin a call, and cancel it once its trade is signed."""
    stub = daemon.caller.channel.unary_unary(
        "/trade_executor.v1.TradeExecutor/ExecuteTradeRequest",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=pb.TradeResult.FromString,
    )
    call = stub.future(request)
    await daemon.event("trade.sent", 2)
    call.cancel()
    with pytest.raises(grpc.FutureCancelledError):
        await in_thread(call.result)


async def test_get_trade_of_a_trade_that_is_not_signed_yet(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """PENDING without a signature, as long as there is none."""
    async with running(place, wallet, jupiter={"timeout_seconds": NEVER}) as daemon:
        chain.order("latency", target="jupiter", operation="quote", seconds=0.3)
        answers: list[pb.TradeResult] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, daemon, make_request("early", "SOL", "USDC", 1), answers)
            await daemon.event("trade.accepted")
            early = await daemon.get("early")

    assert early.status == PENDING
    assert early.transaction_signature == ""
    assert answers[0].status == SUCCESS


async def test_get_trade_of_a_request_that_was_never_accepted(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """NOT_FOUND, also for a request that was refused as malformed: its name is still free."""
    async with running(place, wallet) as daemon:
        refused = await refusal(daemon, make_request("free", "SOL", "USDC", 1, max_slippage_bps=5_000))
        with pytest.raises(Refused) as asked:
            await daemon.get("free")
        result = await daemon.trade(make_request("free", "SOL", "USDC", 1))

    assert refused.status == "INVALID_ARGUMENT"
    assert refused.fields == ("max_slippage_bps",)
    assert (asked.value.status, asked.value.reason) == ("NOT_FOUND", "REQUEST_NOT_FOUND")
    assert "'free'" in asked.value.message
    assert result.status == SUCCESS


# --- limits and halts ---


async def test_more_trades_than_allowed_in_flight_are_refused(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """RESOURCE_EXHAUSTED with the limit and the advice to wait; when one has ended there is room again."""
    async with running(place, wallet, limits={"max_trades_in_flight": 2}, jupiter={"timeout_seconds": NEVER}) as daemon:
        chain.order("latency", target="jupiter", operation="quote", count=2, seconds=0.3)
        answers: list[pb.TradeResult] = []
        async with trio.open_nursery() as nursery:
            for i in range(2):
                nursery.start_soon(collect, daemon, make_request(f"fits-{i}", "SOL", "USDC", 1), answers)
            await daemon.event("trade.accepted", 2)
            refused = await refusal(daemon, make_request("over", "SOL", "USDC", 1))
            joining = await gather(lambda: daemon.caller.execute(make_request("fits-0", "SOL", "USDC", 1)))
        after = await daemon.trade(make_request("over", "SOL", "USDC", 1))

    assert (refused.status, refused.reason) == ("RESOURCE_EXHAUSTED", "TRADES_IN_FLIGHT_EXCEEDED")
    assert "the limit is 2" in refused.message
    assert refused.retry_seconds == 1
    assert Counter(result.status for result in (*answers, *joining, after)) == {SUCCESS: 4}


async def test_trades_in_flight_do_not_count_on_the_same_money(chain: Localnet, place: Place) -> None:
    """Of five trades at once that each need most of the wallet one is executed; the others say what is held for it."""
    wallet = chain.new_wallet(lamports=10**9, tokens={"USDC": 100 * 10**6})
    async with running(place, wallet) as daemon:
        requests = [make_request(f"greedy-{i}", "USDC", "RAY", 60) for i in range(5)]
        answers = await gather(*(lambda request=request: _told(daemon, request) for request in requests))

    refusals = [answer for answer in answers if isinstance(answer, Refused)]
    assert len(refusals) == 4
    assert {refused.reason for refused in refusals} == {"BALANCE_INSUFFICIENT"}
    assert any("60 of it held for trades in flight" in refused.message for refused in refusals)
    assert chain.holdings(wallet.pubkey()).tokens["USDC"] == 40 * 10**6


def _told(daemon: RunningDaemon, request: pb.TradeRequest) -> pb.TradeResult | Refused:
    try:
        return daemon.caller.execute(request)
    except Refused as refused:
        return refused


async def test_trading_halts_without_nodes_and_goes_on_with_them(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """No node answers: the blockhash grows old, the breaker opens, UNAVAILABLE with the causes. They are back: it closes."""
    stale = {"blockhash_refresh_seconds": 0.05, "max_blockhash_age_seconds": 0.2, "request_timeout_seconds": 0.2}
    async with running(place, wallet, solana=stale, retry={"max_retries": 0}) as daemon:
        chain.order("status", target="node", count=None, status=503)
        await eventually(lambda: len(daemon.daemon.breaker.causes) == 2, "the breaker opens")
        halted = await daemon.status()
        refused = await refusal(daemon, make_request("halted", "SOL", "USDC", 1))
        chain.clear()
        await eventually(lambda: not daemon.daemon.breaker.causes, "the breaker closes")
        result = await daemon.trade(make_request("halted", "SOL", "USDC", 1))

    assert (refused.status, refused.reason, refused.retry_seconds) == ("UNAVAILABLE", "TRADING_HALTED", 1)
    assert "blockhash is" in refused.message
    assert "no healthy node: node-0: " in refused.message
    assert (halted.trading_allowed, halted.breaker) == (False, pb.BREAKER_STATE_OPEN)
    assert len(halted.not_allowed_because) == 2
    assert not any(node.healthy for node in halted.nodes)
    assert result.status == SUCCESS


async def test_a_trade_before_the_chain_is_known_is_refused(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Just started, with nodes that do not answer: UNAVAILABLE with all that is missing, and never a bug."""
    chain.order("hang", target="node", count=None)
    async with running(place, wallet, trading=False, solana={"request_timeout_seconds": 0.2}) as daemon:
        refused = await refusal(daemon, make_request("early", "SOL", "USDC", 1))
        status = await daemon.status()
        chain.clear()
        await eventually(lambda: daemon.daemon.desk.status().trading_allowed, "the daemon is ready", seconds=5)

    assert (refused.status, refused.reason) == ("UNAVAILABLE", "TRADING_HALTED")
    assert "no blockhash was received from any node yet" in refused.message
    assert not status.trading_allowed
    assert not status.HasField("blockhash")
    assert "unknown mints: SOL" in "; ".join(status.not_allowed_because)


async def test_a_mint_that_is_not_read_yet_is_refused(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """All else is well, and trading is allowed: UNAVAILABLE, with the mint; it may be asked for again."""
    chain.order("rpc-error", target="node", operation="getMultipleAccounts", count=None, code=-32603)
    async with running(place, wallet, trading=False) as daemon:
        await eventually(lambda: not daemon.daemon.breaker.causes, "the breaker is closed")
        refused = await refusal(daemon, make_request("early", "SOL", "USDC", 1))

    assert (refused.status, refused.reason) == ("UNAVAILABLE", "CHAIN_STATE_STALE")
    assert "the mint So11111111111111111111111111111111111111112" in refused.message


# --- the journal cannot be read ---


async def test_a_journal_that_cannot_be_read_refuses(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Whether a request is known cannot be said: UNAVAILABLE, nothing is traded under its name, and what flies goes on."""
    async with running(place, wallet) as daemon:
        chain.order("late-landing", target="node", operation="sendTransaction", count=2, slots=20)
        answers: list[pb.TradeResult] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, daemon, make_request("flies", "SOL", "USDC", 1), answers)
            await daemon.event("send.answered")
            _rename_entries(place, "entries", "elsewhere")
            refused = await refusal(daemon, make_request("unknown", "SOL", "USDC", 1))
            with pytest.raises(Refused) as asked:
                await daemon.get("unknown")
            so_far = await daemon.get("flies")
            _rename_entries(place, "elsewhere", "entries")

    for told in (refused, asked.value):
        assert (told.status, told.reason) == ("UNAVAILABLE", "JOURNAL_UNAVAILABLE")
    assert so_far.status == PENDING
    assert answers[0].status == SUCCESS
    assert journalled(place.journal_path, "unknown") == []


def _rename_entries(place: Place, source: str, target: str) -> None:
    with sqlite3.connect(place.journal_path) as connection:
        connection.execute(f"ALTER TABLE {source} RENAME TO {target}")
    connection.close()


# --- what is counted ---


async def test_the_status_counts_every_end(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Success, failure, refusal before and after acceptance, and an unwritten success: each is counted once, errors by code."""
    async with running(place, wallet, retry={"max_retries": 0}) as daemon:
        await daemon.trade(make_request("good", "SOL", "USDC", 1))
        chain.order("status", target="jupiter", operation="quote", status=401)
        await daemon.trade(make_request("bad", "SOL", "USDC", 1))
        await refusal(daemon, make_request("malformed", "SOL", "SOL", 1))
        await refusal(daemon, make_request("moved", "SOL", "USDC", 1, expected_price=200.0))
        refuse_entries(place.journal_path, "SUCCEEDED")
        await daemon.trade(make_request("unwritten", "SOL", "USDC", 1))
        accept_entries(place.journal_path, "SUCCEEDED")
        await eventually(lambda: not daemon.daemon.desk.in_flight(), "the outcome is written")
        await ready_to_trade(daemon.daemon)
        status = await daemon.status()

    outcomes = status.outcomes
    assert (outcomes.success, outcomes.failed, outcomes.pending, outcomes.refused) == (2, 1, 0, 2)
    assert dict(status.error_counts) == {"JUPITER_UNAUTHORIZED": 1, "REQUEST_INVALID": 1, "PRICE_MOVED": 1}
    asked_by = make_request("who", "SOL", "USDC", 1).source_service
    assert [(row.error_code, row.source) for row in status.error_rates if row.last_minute == 1] == [
        ("JUPITER_UNAUTHORIZED", "jupiter"),
        ("JUPITER_UNAUTHORIZED", asked_by),
        ("PRICE_MOVED", asked_by),
        ("REQUEST_INVALID", asked_by),
    ]
    assert status.trades_in_flight == 0
    stages = {row.stage: row.count for row in status.stages}
    assert (stages["validation"], stages["quote"], stages["sign"], stages["record"]) == (4, 4, 2, 2)
    assert status.blockhash.fresh
    assert status.fee_cache.entries == 1
    assert [balance.symbol for balance in status.wallet.balances] == ["SOL", "USDC", "BONK", "JitoSOL", "RAY", "BERN"]


async def test_callers_at_once_do_not_disturb_each_other(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Good, refused and failing trades at the same time from many threads: everyone has the answer to its own request."""
    async with running(place, wallet, limits={"max_slippage_bps": 100}) as daemon:
        requests = [
            make_request(f"mix-{i}", "SOL", "USDC", 0.1, **({"expected_price": 200.0} if i % 3 == 0 else {})) for i in range(24)
        ]
        answers = await gather(*(lambda request=request: _told(daemon, request) for request in requests))

    for request, answer in zip(requests, answers, strict=True):
        if request.expected_price:
            assert isinstance(answer, Refused)
            assert answer.reason == "PRICE_MOVED"
        else:
            assert isinstance(answer, pb.TradeResult)
            assert (answer.request_id, answer.status) == (request.request_id, SUCCESS)

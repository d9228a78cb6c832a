"""One request_id is one trade: whoever calls, how often, at the same time, and through a death of the daemon."""

import asyncio
import signal
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import grpc
import grpc.aio
import pytest
import trio
from attrs import evolve, frozen
from solders.keypair import Keypair

from executor.rpc import trade_executor_pb2 as pb
from tests.support.callers import FAILED, SERVICE, SUCCESS, Refused, make_request
from tests.support.daemon import HTTPX_BODIES, RunningDaemon, gather, journalled, refusal, running
from tests.support.localnet import Localnet, start_localnet
from tests.support.processes import daemon_process
from tests.support.settings import Place
from tests.support.waiting import wait_until

pytestmark = [HTTPX_BODIES, pytest.mark.slow]

REQUESTS, CALLERS, CHANNELS = 100, 10, 5
WHOLE_LIFE = ["ACCEPTED", "SIGNED", "SENT", "SUCCEEDED"]
PATIENT = {"pre_send_budget_seconds": 30.0}
"""A hundred trades at once on a machine that does other things, too: what is tested is no time."""
DEAF = {"poll_initial_seconds": 60.0, "poll_max_seconds": 60.0, "resend_seconds": 60.0}
"""It sends once and never learns what came of it."""
CALL_SECONDS, AGAIN_SECONDS = 60.0, 0.05
OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
)

Told = dict[str, list[bytes]]
"""Every answer, as it stood on the wire, by the request_id."""


async def _call_all(address: str, requests: Sequence[pb.TradeRequest]) -> Told:
    """Make all calls at once, as stock clients with a few connections; who loses the daemon asks again."""
    told: Told = defaultdict(list)
    async with AsyncExitStack() as opened:
        channels = [
            await opened.enter_async_context(grpc.aio.insecure_channel(address, options=OPTIONS)) for _ in range(CHANNELS)
        ]
        stubs = [
            channel.unary_unary(f"{SERVICE}/ExecuteTradeRequest", request_serializer=pb.TradeRequest.SerializeToString)
            for channel in channels
        ]

        async def call(number: int, request: pb.TradeRequest) -> None:
            while True:
                try:
                    answer = await stubs[number % CHANNELS](request, timeout=CALL_SECONDS)
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise
                    await asyncio.sleep(AGAIN_SECONDS)
                else:
                    told[request.request_id].append(answer)
                    return

        await asyncio.gather(*(call(number, request) for number, request in enumerate(requests)))
    return told


def _requests() -> list[pb.TradeRequest]:
    """A hundred that differ in nothing but their ids, ten times each, those of one id far from each other."""
    ids = [f"same-{n:03}" for n in range(REQUESTS)] * CALLERS
    return [make_request(request_id, "SOL", "USDC", 0.01, max_slippage_bps=300) for request_id in ids]


@frozen
class Written:
    """What a journal says, request by request."""

    states: dict[str, list[str]]
    signatures: dict[str, list[str]]

    @classmethod
    def read(cls, path: Path) -> "Written":
        states, signatures = defaultdict(list), defaultdict(list)
        with sqlite3.connect(path) as connection:
            for request_id, state, signature in connection.execute(
                "SELECT request_id, state, signature FROM entries ORDER BY seq"
            ):
                states[request_id].append(state)
                if signature is not None:
                    signatures[request_id].append(signature)
        connection.close()
        return cls(states, signatures)


def _one_answer_each(told: Told) -> dict[str, pb.TradeResult]:
    """All ten callers of each request have got the same, to the last byte."""
    assert Counter({request_id: len(answers) for request_id, answers in told.items()}) == Counter(
        {f"same-{n:03}": CALLERS for n in range(REQUESTS)}
    )
    assert {len(set(answers)) for answers in told.values()} == {1}
    return {request_id: pb.TradeResult.FromString(answers[0]) for request_id, answers in told.items()}


def _spent_sol(before: int, after: int, results: Sequence[pb.TradeResult]) -> int:
    """What the wallet has less of SOL, network fees and rent put aside."""
    return before - after - sum(result.fees_paid + result.rent_lamports for result in results)


def test_a_thousand_calls_of_a_hundred_requests(chain: Localnet, wallet: Keypair, place: Place) -> None:
    """Equal to the last byte but for the id, all at once: 100 swaps with 100 signatures, each told to its ten callers."""
    with daemon_process(place, wallet, limits=PATIENT, daemon={"log_level": "info"}) as daemon:
        before, held = chain.transactions(), chain.holdings(wallet.pubkey())
        results = _one_answer_each(asyncio.run(_call_all(daemon.address, _requests())))
        landed, holds = chain.transactions() - before, chain.holdings(wallet.pubkey())
        status = daemon.caller.status()
    written = Written.read(place.journal_path)

    assert {result.status for result in results.values()} == {SUCCESS}
    assert landed == REQUESTS
    assert written.states == dict.fromkeys(results, WHOLE_LIFE)
    assert written.signatures == {request_id: [result.transaction_signature] for request_id, result in results.items()}
    assert len({result.transaction_signature for result in results.values()}) == REQUESTS
    assert _spent_sol(held.lamports, holds.lamports, list(results.values())) == REQUESTS * 10**7
    assert holds.tokens["USDC"] - held.tokens["USDC"] == sum(result.executed_amount for result in results.values())
    assert (status.outcomes.success, status.outcomes.refused, status.trades_in_flight) == (REQUESTS, 0, 0)


def test_a_thousand_calls_and_a_kill(tmp_path: Path) -> None:
    """SIGKILL in the midst of them, and a restart: callers who ask again get one answer for each request, true on the chain.

    What was not signed at the death is FAILED, and says so; nothing is traded twice for it.
    """
    with start_localnet(slot_ms=200) as chain, ThreadPoolExecutor(1) as others:  # what is signed stays valid for 30 s
        wallet = chain.new_wallet()
        place = Place(folder=tmp_path, nodes=chain.nodes, jupiter=chain.jupiter)
        with daemon_process(place, wallet, limits=PATIENT, daemon={"log_level": "info"}) as first:
            before, held = chain.transactions(), chain.holdings(wallet.pubkey())
            calls: Future[Told] = others.submit(lambda: asyncio.run(_call_all(first.address, _requests())))
            wait_until(lambda: len(first.events("trade.sent")) >= REQUESTS // 4, "a quarter is sent")
            first.process.send_signal(signal.SIGKILL)
            assert first.ended() == -signal.SIGKILL
        same = {"listen_address": first.address}
        with daemon_process(place, wallet, limits=PATIENT, grpc=same, daemon={"log_level": "info"}) as second:
            results = _one_answer_each(calls.result())
            resumed = len(second.events("trade.resumed"))
        landed, holds = chain.transactions() - before, chain.holdings(wallet.pubkey())
    written = Written.read(place.journal_path)
    made = {request_id: result for request_id, result in results.items() if result.status == SUCCESS}
    lost = {request_id: result for request_id, result in results.items() if result.status != SUCCESS}

    assert resumed > 0
    assert len(made) == landed >= REQUESTS // 4
    assert {(result.status, result.error_code) for result in lost.values()} <= {(FAILED, "EXECUTOR_RESTARTED")}
    assert written.signatures == {request_id: [result.transaction_signature] for request_id, result in made.items()}
    assert len({result.transaction_signature for result in made.values()}) == len(made)
    assert [written.states[request_id] for request_id in lost] == [["ACCEPTED", "REJECTED"]] * len(lost)
    assert _spent_sol(held.lamports, holds.lamports, list(made.values())) == len(made) * 10**7
    assert holds.tokens["USDC"] - held.tokens["USDC"] == sum(result.executed_amount for result in made.values())


async def test_ten_callers_of_what_a_restart_found_open(still_chain: Localnet, place: Place) -> None:
    """Sent, not known to have landed: all ten wait for the one outcome, and other content is refused meanwhile."""
    wallet, request = still_chain.new_wallet(), make_request("open", "SOL", "USDC", 1)
    quiet = evolve(place, nodes=still_chain.nodes, jupiter=still_chain.jupiter)
    async with running(quiet, wallet, confirmation={**DEAF, "timeout_seconds": 0.05}) as daemon:
        left = await daemon.trade(request)
    async with running(quiet, wallet) as daemon:
        other = await refusal(daemon, make_request("open", "SOL", "USDC", 2))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_land, daemon, still_chain)
            answers = await gather(*[partial(daemon.caller.execute, request)] * CALLERS)
    before = still_chain.transactions()
    async with running(quiet, wallet) as daemon:
        later = await refusal(daemon, make_request("open", "SOL", "USDC", 2))

    assert left.status == pb.TRADE_STATUS_PENDING
    assert [(answer.status, answer.transaction_signature) for answer in answers] == [
        (SUCCESS, left.transaction_signature)
    ] * CALLERS
    assert {(refused.status, refused.reason) for refused in (other, later)} == {("ALREADY_EXISTS", "REQUEST_ID_REUSED")}
    assert journalled(place.journal_path, "open") == WHOLE_LIFE
    assert still_chain.transactions() == before


async def _land(daemon: RunningDaemon, chain: Localnet) -> None:
    """Let time pass once all have called, one more than ten by then."""
    await daemon.event("rpc.request", CALLERS + 1)
    chain.advance(32)


async def test_ten_callers_of_what_was_denied(chain: Localnet, place: Place) -> None:
    """The wallet was empty, and is not any more: ten who ask anew at once begin one new life, with one swap."""
    wallet, request = chain.new_wallet(lamports=10**7), make_request("anew", "SOL", "USDC", 1)
    async with running(place, wallet) as daemon:
        denied = await refusal(daemon, request)
        chain.fund(wallet.pubkey(), lamports=10**10)
        chain.advance(3)
        before = chain.transactions()
        results = await gather(*[partial(daemon.caller.execute, request)] * CALLERS)
        landed = chain.transactions() - before

    assert denied.reason == "BALANCE_INSUFFICIENT"
    assert {result.status for result in results} == {SUCCESS}
    assert len({result.SerializeToString() for result in results}) == landed == 1
    assert journalled(place.journal_path, "anew") == ["ACCEPTED", "DENIED", *WHOLE_LIFE]


async def test_ten_contents_of_one_id(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Ten callers who chose the same id for ten trades: one is made, the others are told that the id is taken."""
    requests = [make_request("chosen", "SOL", "USDC", 0.1 * number) for number in range(1, CALLERS + 1)]
    async with running(place, wallet) as daemon:
        before = chain.transactions()

        def ask(request: pb.TradeRequest) -> pb.TradeResult | Refused:
            try:
                return daemon.caller.execute(request)
            except Refused as refused:
                return refused

        answers = await gather(*(partial(ask, request) for request in requests))
        landed = chain.transactions() - before

    (made,) = (answer for answer in answers if isinstance(answer, pb.TradeResult))
    assert (made.status, landed) == (SUCCESS, 1)
    assert made.input_amount == requests[answers.index(made)].amount_lamports
    assert [refused.reason for refused in answers if isinstance(refused, Refused)] == ["REQUEST_ID_REUSED"] * (CALLERS - 1)
    assert journalled(place.journal_path, "chosen") == WHOLE_LIFE

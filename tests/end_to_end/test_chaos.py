"""Everything goes wrong at once, and the books still balance: what callers were told adds up to what the wallet's balances say.

Faults are drawn by a seed; which trade meets which of them is up to the machine. So of a single trade nothing is expected but
that it ends, once, with an outcome; and of all trades together that no lamport and no token is unaccounted for.
"""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
import trio
from solders.keypair import Keypair

from executor.rpc import trade_executor_pb2 as pb
from tests.support.callers import Refused, make_request
from tests.support.clients import seeded
from tests.support.daemon import HTTPX_BODIES, RunningDaemon, running
from tests.support.localnet import Localnet
from tests.support.settings import Place
from tests.support.waiting import eventually

pytestmark = [HTTPX_BODIES, pytest.mark.slow]

TRADES = 64
CALLERS = 8
WAYS = (("SOL", "USDC", 0.1), ("USDC", "SOL", 10), ("JitoSOL", "USDC", 0.1), ("RAY", "SOL", 5), ("USDC", "BERN", 5))
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "lost-send"},
    {"kind": "dropped-block", "requeue": True},
    {"kind": "dropped-block", "requeue": False},
    {"kind": "duplicate-landing", "slots": 2},
    {"kind": "late-landing", "slots": 8},
    {"kind": "reset", "operation": "sendTransaction", "executed": True},
    {"kind": "reset", "operation": "sendTransaction"},
    {"kind": "rpc-error", "operation": "sendTransaction", "code": -32005},
    {"kind": "rpc-error", "operation": "sendTransaction", "code": -32602},
    {"kind": "garbage", "operation": "getSignatureStatuses"},
    {"kind": "lag", "operation": "getSignatureStatuses", "slots": 4},
    {"kind": "truncated", "operation": "getTransaction"},
    {"kind": "status", "operation": "getMultipleAccounts", "status": 429},
    {"kind": "latency", "operation": "simulateTransaction", "seconds": 0.05},
    {"kind": "stale-quote", "target": "jupiter", "bps": 150},
    {"kind": "status", "operation": "quote", "target": "jupiter", "status": 503},
    {"kind": "truncated", "operation": "swap-instructions", "target": "jupiter", "cut": True},
)


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_trade_ends_once_and_the_books_balance(seed: int, chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Lost, doubled, late and dropped sends, lying and limping upstreams: no swap is lost, doubled or denied."""
    rng = seeded(seed)
    answers: dict[str, pb.TradeResult | Refused] = {}
    async with running(place, wallet, solana={"request_timeout_seconds": 0.3}) as daemon:
        before = chain.holdings(wallet.pubkey())
        ways = {f"chaos-{i}": rng.choice(WAYS) for i in range(TRADES)}
        requests = iter([make_request(request_id, *way, max_slippage_bps=100) for request_id, way in ways.items()])
        async with trio.open_nursery() as nursery:
            for _ in range(CALLERS):
                nursery.start_soon(_keep_trading, daemon, requests, chain, rng, answers)
        chain.clear()
        for request_id, answer in answers.items():
            if isinstance(answer, pb.TradeResult):
                answers[request_id] = await daemon.resolved(request_id)
        chain.advance(5)
        await eventually(lambda: not daemon.daemon.desk.in_flight(), "all trades have ended")
        after = chain.holdings(wallet.pubkey())

    results = [answer for answer in answers.values() if isinstance(answer, pb.TradeResult)]
    succeeded = [result for result in results if result.status == pb.TRADE_STATUS_SUCCESS]
    assert len(answers) == TRADES
    assert len(succeeded) > TRADES / 2
    assert {result.status for result in results} <= {pb.TRADE_STATUS_SUCCESS, pb.TRADE_STATUS_FAILED}
    moved = dict.fromkeys((*before.tokens, "SOL"), 0)
    for result in succeeded:
        source, target, _ = ways[result.request_id]
        moved[source] -= result.input_amount
        moved[target] += result.executed_amount
    costs = sum(result.fees_paid + result.rent_lamports for result in results)
    assert {symbol: after.tokens[symbol] - before.tokens[symbol] for symbol in before.tokens} == {
        symbol: moved[symbol] for symbol in before.tokens
    }
    assert after.lamports - before.lamports == moved["SOL"] - costs


async def _keep_trading(
    daemon: RunningDaemon,
    requests: Iterator[pb.TradeRequest],
    chain: Localnet,
    rng: Random,
    answers: dict[str, pb.TradeResult | Refused],
) -> None:
    for request in requests:
        for fault in rng.sample(FAULTS, 3):
            chain.order(**{"target": "node", **fault})
        answers[request.request_id] = await _answer(daemon, request)


async def _answer(daemon: RunningDaemon, request: pb.TradeRequest) -> pb.TradeResult | Refused:
    """Trade; when trading is halted because both nodes have just failed, wait and ask again, as a caller should."""
    while True:
        try:
            return await daemon.trade(request)
        except Refused as refused:
            if refused.reason != "TRADING_HALTED":
                return refused
            await trio.sleep(0.1)

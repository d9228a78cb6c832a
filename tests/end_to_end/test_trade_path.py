"""The whole path as a strategy service sees it: daemon and localnet as processes, a stock client, the chain as witness."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair

from executor.rpc import trade_executor_pb2 as pb
from tests.support.callers import Refused, make_request
from tests.support.localnet import BY_SYMBOL, Holdings, Localnet
from tests.support.processes import daemon_process
from tests.support.settings import Place

pytestmark = pytest.mark.slow

SUCCESS = pb.TRADE_STATUS_SUCCESS
WAY = ("SOL", "USDC", "BONK", "JitoSOL", "RAY", "BERN", "SOL", "BERN", "RAY", "JitoSOL", "BONK", "USDC", "SOL")
"""Every token follows and precedes others, in both directions; hops of one and of two pools, with and without a transfer fee."""
SPENT = {"SOL": 2, "USDC": 20, "BONK": 400_000, "JitoSOL": 0.02, "RAY": 1, "BERN": 500}


def test_every_token_in_both_directions_as_the_chain_says(chain: Localnet, tmp_path: Path) -> None:
    """Starting with SOL alone: what each trade spent, brought, paid and locked up as rent is what the wallet's balances say."""
    wallet = chain.new_wallet(lamports=10 * 10**9, tokens={})
    owner = wallet.pubkey()
    urgencies = [pb.URGENCY_LEVEL_LOW, pb.URGENCY_LEVEL_NORMAL, pb.URGENCY_LEVEL_HIGH, pb.URGENCY_LEVEL_CRITICAL]
    with daemon_process(Place(folder=tmp_path, nodes=chain.nodes, jupiter=chain.jupiter), wallet) as daemon:
        before = chain.holdings(owner)
        for number, (source, target) in enumerate(pairwise(WAY)):
            request = make_request(f"{number}", source, target, SPENT[source], urgency_level=urgencies[number % 4])
            result = daemon.caller.execute(request)
            after = chain.holdings(owner)

            assert result.status == SUCCESS, result
            assert _gained(before, after, source, result) == -request.amount_lamports == -result.input_amount
            assert _gained(before, after, target, result) == result.executed_amount
            assert (after.accounts_lamports - before.accounts_lamports) == result.rent_lamports
            assert 1_000 <= result.priority_fee <= 10_000
            before = after

    assert set(before.tokens) == set(BY_SYMBOL) - {"SOL"}  # the accounts of wrapped SOL were closed each time


def _gained(before: Holdings, after: Holdings, symbol: str, result: pb.TradeResult) -> int:
    """What the wallet has more of a token; of SOL: network fees and rent put aside."""
    if symbol == "SOL":
        return after.lamports - before.lamports + result.fees_paid + result.rent_lamports
    return after.tokens.get(symbol, 0) - before.tokens.get(symbol, 0)


def test_eight_at_a_time_add_up(chain: Localnet, wallet: Keypair, tmp_path: Path) -> None:
    """Trades at once, from eight clients: each has its own result, and together they are what the wallet's balances say."""
    owner = wallet.pubkey()
    with daemon_process(Place(folder=tmp_path, nodes=chain.nodes, jupiter=chain.jupiter), wallet) as daemon:
        before = chain.holdings(owner)
        ways = [("SOL", "USDC", 0.1), ("USDC", "SOL", 10), ("JitoSOL", "RAY", 0.1), ("BERN", "USDC", 1_000)] * 6
        requests = [make_request(f"many-{i}", *way, max_slippage_bps=200) for i, way in enumerate(ways)]
        with ThreadPoolExecutor(8) as callers:
            results = list(callers.map(daemon.caller.execute, requests))
        after = chain.holdings(owner)

    assert [result.status for result in results] == [SUCCESS] * len(requests)
    assert len({result.transaction_signature for result in results}) == len(requests)
    moved = dict.fromkeys(BY_SYMBOL, 0)
    for (source, target, _), result in zip(ways, results, strict=True):
        moved[source] -= result.input_amount
        moved[target] += result.executed_amount
    fees, rent = sum(result.fees_paid for result in results), sum(result.rent_lamports for result in results)
    assert after.lamports - before.lamports == moved["SOL"] - fees - rent
    assert {symbol: after.tokens[symbol] - before.tokens[symbol] for symbol in before.tokens} == {
        symbol: moved[symbol] for symbol in before.tokens
    }


def test_a_malformed_request_names_every_wrong_field(chain: Localnet, wallet: Keypair, tmp_path: Path) -> None:
    """INVALID_ARGUMENT with a violation for each field, all at once; and each field alone is found as well."""
    wrong: dict[str, Any] = {
        "request_id": "",
        "source_service": "x" * 51,
        "input_token": "no mint",
        "output_token": "SOL",
        "amount_lamports": 0,
        "max_slippage_bps": 301,
        "expected_price": float("nan"),
        "fee_account": "",
        "tracking_account": "nobody",
    }
    with daemon_process(Place(folder=tmp_path, nodes=chain.nodes, jupiter=chain.jupiter), wallet) as daemon:
        with pytest.raises(Refused) as everything:
            daemon.caller.execute(pb.TradeRequest(**wrong))
        alone: dict[str, tuple[str, ...]] = {}
        for name, value in wrong.items():
            with pytest.raises(Refused) as one:
                daemon.caller.execute(make_request("wrong", "SOL", "USDC", 1, **{name: value}))
            assert one.value.status == "INVALID_ARGUMENT"
            alone[name] = one.value.fields
        with pytest.raises(Refused) as same:
            daemon.caller.execute(make_request("same", "SOL", "SOL", 1, request_id="é"))

    refused = everything.value
    assert (refused.status, refused.reason, refused.retry_seconds) == ("INVALID_ARGUMENT", "REQUEST_INVALID", None)
    assert set(refused.fields) == set(wrong)
    assert all(name in refused.message for name in wrong)
    assert alone == {name: (name,) for name in wrong}
    assert same.value.fields == ("request_id", "output_token")

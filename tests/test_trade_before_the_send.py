"""What ends a trade before its first byte: upstreams that fail or lie, a blockhash too old, too little, too late.

Whatever it is: nothing is sent, nothing unread is signed, and the caller is told FAILED with the cause.
"""

from collections.abc import Callable
from typing import Any

import pytest
import trio
from attrs import evolve, field, frozen
from solders.keypair import Keypair

from executor.errors import Denied, ErrorCode
from executor.gate import Gate
from tests.support.callers import NEVER, SUCCESS, make_request
from tests.support.daemon import (
    HTTPX_BODIES,
    failure,
    journalled,
    ready_to_trade,
    refusal,
    running,
    sent,
)
from tests.support.localnet import Localnet
from tests.support.relays import relay_jupiter
from tests.support.settings import Place
from tests.support.signers import CountingSigner
from tests.support.upstream import open_upstream
from tests.support.values import STRANGER

pytestmark = [HTTPX_BODIES, pytest.mark.slow]


@frozen(kw_only=True)
class Trouble:
    """A fault of an upstream, and what becomes of the trade that meets it."""

    kind: str
    target: str
    operation: str
    fields: dict[str, Any] = field(factory=dict)
    code: str
    stage: str
    retryable: bool = True


def _jupiter(kind: str, code: str, operation: str = "quote", /, *, retryable: bool = True, **fields: object) -> Trouble:
    stage = "quote" if operation == "quote" else "build"
    return Trouble(kind=kind, target="jupiter", operation=operation, fields=fields, code=code, stage=stage, retryable=retryable)


def _node(kind: str, code: str, operation: str, stage: str, /, *, retryable: bool = True, **fields: object) -> Trouble:
    return Trouble(kind=kind, target="node", operation=operation, fields=fields, code=code, stage=stage, retryable=retryable)


NO_ROUTE = '{"error": "Could not find any route", "errorCode": "COULD_NOT_FIND_ANY_ROUTE"}'
TROUBLES = (
    _jupiter("reset", "JUPITER_UNREACHABLE"),
    _jupiter("hang", "JUPITER_UNREACHABLE"),
    _jupiter("status", "JUPITER_RATE_LIMITED", status=429),
    _jupiter("status", "JUPITER_UNAUTHORIZED", status=401, retryable=False),
    _jupiter("status", "ROUTE_NOT_FOUND", status=400, body=NO_ROUTE),
    _jupiter("garbage", "JUPITER_ANSWER_INVALID"),
    _jupiter("truncated", "JUPITER_ANSWER_INVALID"),
    _jupiter("truncated", "JUPITER_ANSWER_INVALID", "swap-instructions", cut=True),
    _jupiter("status", "JUPITER_UNREACHABLE", "swap-instructions", status=503),
    _jupiter("garbage", "JUPITER_ANSWER_INVALID", "swap-instructions"),
    _node("rpc-error", "NODE_UNHEALTHY", "getMultipleAccounts", "balances", code=-32005),
    _node("status", "NODE_RATE_LIMITED", "getMultipleAccounts", "balances", status=429),
    _node("garbage", "NODE_ANSWER_INVALID", "getMultipleAccounts", "balances"),
    _node("rpc-error", "NODE_REFUSED", "simulateTransaction", "simulate", retryable=False, code=-32602),
    _node("reset", "NODE_UNREACHABLE", "simulateTransaction", "simulate"),
    _node("truncated", "NODE_ANSWER_INVALID", "simulateTransaction", "simulate"),
    Trouble(kind="stale-quote", target="jupiter", operation="quote", code="SLIPPAGE_EXCEEDED", stage="simulate"),
)


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda t: f"{t.operation}-{t.kind}-{t.code}")
async def test_a_failing_upstream_fails_the_trade_and_nothing_is_sent(
    trouble: Trouble, chain: Localnet, place: Place, wallet: Keypair
) -> None:
    """A typed error that names endpoint, operation and stage; no byte leaves, it is journalled, and the next trade is well."""
    async with running(
        place,
        wallet,
        jupiter={"timeout_seconds": 0.1},
        solana={"request_timeout_seconds": 0.3},
        retry={"max_retries": 1, "initial_delay_seconds": 0.01},
    ) as daemon:
        landed = chain.transactions()
        chain.order(trouble.kind, target=trouble.target, operation=trouble.operation, count=None, **trouble.fields)
        failed = await failure(daemon, make_request("fails", "SOL", "USDC", 1))
        chain.clear()
        await ready_to_trade(daemon.daemon)
        fine = await daemon.trade(make_request("next", "SOL", "USDC", 1))

    endpoints = [place.jupiter] if trouble.target == "jupiter" else list(place.nodes)
    assert (failed.error_code, failed.error_stage, failed.retryable) == (trouble.code, trouble.stage, trouble.retryable)
    if trouble.kind != "stale-quote":
        assert any(endpoint.removesuffix("/swap/v1") in failed.error_message for endpoint in endpoints)
        assert trouble.operation in failed.error_message
    assert failed.transaction_signature == ""
    assert failed.broadcast_time_us == 0
    assert journalled(place.journal_path, "fails") == ["ACCEPTED", "REJECTED"]
    assert fine.status == SUCCESS
    assert chain.transactions() == landed + 1


Instructions = dict[str, Any]


def _pay_someone_else(answer: Instructions) -> Instructions:
    answer["swapInstruction"]["accounts"][6]["pubkey"] = STRANGER  # shared_accounts_route: destination_token_account
    return answer


def _drain_sol(answer: Instructions) -> Instructions:
    answer["otherInstructions"] = [*answer["otherInstructions"], answer["setupInstructions"][1]]
    return answer


def _want_another_signer(answer: Instructions) -> Instructions:
    answer["swapInstruction"]["accounts"][0]["isSigner"] = True
    return answer


def _foreign_program(answer: Instructions) -> Instructions:
    answer["otherInstructions"] = [{"programId": STRANGER, "accounts": [], "data": ""}]
    return answer


@pytest.mark.parametrize("alter", [_pay_someone_else, _drain_sol, _want_another_signer, _foreign_program])
async def test_instructions_that_do_something_else_are_never_signed(
    alter: Callable[[Instructions], Instructions], chain: Localnet, place: Place, wallet: Keypair
) -> None:
    """A lying Jupiter: what was not asked for is TRANSACTION_FOREIGN, and the key does not touch it."""
    async with open_upstream() as lying:
        relay_jupiter(lying, place.jupiter, swap_instructions=alter)
        signer = CountingSigner(wallet)
        async with running(evolve(place, jupiter=lying.url), wallet, signer=signer) as daemon:
            failed = await failure(daemon, make_request("lie", "SOL", "USDC", 1))

    assert (failed.error_code, failed.error_stage, failed.retryable) == ("TRANSACTION_FOREIGN", "verify", False)
    assert signer.signed == 0
    assert sent(daemon) == []


async def test_a_quote_for_other_amounts_is_refused(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """A quote that is not for what was asked names the field, and is never built on."""

    def lie(quote: Any) -> Any:
        return {**quote, "inAmount": str(int(quote["inAmount"]) * 2)}

    async with open_upstream() as lying:
        relay_jupiter(lying, place.jupiter, quote=lie)
        async with running(evolve(place, jupiter=lying.url), wallet) as daemon:
            failed = await failure(daemon, make_request("lie", "SOL", "USDC", 1))

    assert (failed.error_code, failed.error_stage) == ("JUPITER_ANSWER_INVALID", "quote")
    assert "inAmount" in failed.error_message
    assert lying.received("swap-instructions") == []


async def test_a_blockhash_that_grows_old_on_the_way_is_not_signed_with(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """The nodes fall silent while Jupiter takes its time: UNAVAILABLE, with the age, and nothing is sent."""
    stale = {"blockhash_refresh_seconds": 0.05, "max_blockhash_age_seconds": 0.2, "request_timeout_seconds": 0.1}
    async with running(place, wallet, solana=stale, jupiter={"timeout_seconds": NEVER}) as daemon:
        chain.order("latency", target="jupiter", operation="quote", seconds=0.5)
        chain.order("status", target="node", operation="getLatestBlockhash", count=None, status=503)
        refused = await refusal(daemon, make_request("old", "SOL", "USDC", 1))

    assert (refused.status, refused.reason) == ("UNAVAILABLE", "CHAIN_STATE_STALE")
    assert "0.2 s" in refused.message
    assert sent(daemon) == []


async def test_a_refused_balance_does_not_wait_for_the_quote(chain: Localnet, place: Place) -> None:
    """Balances run beside the quote: what the wallet cannot pay is refused while Jupiter still hangs."""
    wallet = chain.new_wallet(lamports=10**9)
    async with running(place, wallet, jupiter={"timeout_seconds": NEVER}) as daemon:
        chain.order("hang", target="jupiter", operation="quote", count=None)
        with trio.fail_after(2):
            refused = await refusal(daemon, make_request("poor", "SOL", "USDC", 1))

    assert refused.reason == "BALANCE_INSUFFICIENT"
    assert "has 1, 0.005 of it kept in reserve" in refused.message


@pytest.mark.parametrize(
    ("target", "operation", "stage"),
    [("jupiter", "quote", "quote"), ("node", "getMultipleAccounts", "balances"), ("node", "simulateTransaction", "simulate")],
)
async def test_the_budget_before_the_send(
    target: str, operation: str, stage: str, chain: Localnet, place: Place, wallet: Keypair
) -> None:
    """A trade that is not ready in time is given up: nothing is sent, and the caller is told which stage took so long."""
    async with running(
        place,
        wallet,
        limits={"pre_send_budget_seconds": 0.2},
        solana={"request_timeout_seconds": NEVER},
        jupiter={"timeout_seconds": NEVER},
    ) as daemon:
        chain.order("hang", target=target, operation=operation, count=None)
        with trio.fail_after(3):
            failed = await failure(daemon, make_request("slow", "SOL", "USDC", 1))

    assert (failed.error_code, failed.error_stage) == ("PRE_SEND_BUDGET_EXCEEDED", stage)
    assert "0.2 s" in failed.error_message
    assert failed.retryable
    assert sent(daemon) == []
    assert journalled(place.journal_path, "slow") == ["ACCEPTED", "REJECTED"]


async def test_the_gate_is_closed_to_those_who_come_late() -> None:
    """A trade that was admitted before the drain began, and runs its first step after it, is stopped at its first wait."""
    gate = Gate(NEVER)
    gate.close()
    with pytest.raises(Denied) as refused, gate.before_send(trio.current_time()):
        await trio.lowlevel.checkpoint()

    assert refused.value.code is ErrorCode.EXECUTOR_DRAINING

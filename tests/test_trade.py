"""The line of a trade, over real sockets: a localnet as a process, the daemon in this one, callers as grpcio clients in threads.

Every test looks at three witnesses: what the caller was told, what the chain says, and what the journal holds.
"""

import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import trio
from attrs import define, evolve, field, frozen
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature

from executor import trade
from executor.errors import Denied, ErrorCode
from executor.gate import Gate
from executor.journal.journal import Entry, JournalError
from executor.life import Line
from executor.model import Stage
from executor.rpc import trade_executor_pb2 as pb
from executor.states import State
from executor.wallet.signer import KeypairSigner
from tests.support.callers import Refused, make_request
from tests.support.daemon import (
    HTTPX_BODIES,
    RunningDaemon,
    accept_entries,
    collect,
    gather,
    journalled,
    ready_to_trade,
    refusal,
    refuse_entries,
    running,
)
from tests.support.events import RecordedLog
from tests.support.journals import PassingOn
from tests.support.localnet import Localnet, mint
from tests.support.relays import relay_jupiter, relay_node
from tests.support.settings import Place
from tests.support.upstream import closed_port, open_upstream
from tests.support.waiting import eventually

pytestmark = [HTTPX_BODIES, pytest.mark.slow]

SUCCESS, FAILED, PENDING = pb.TRADE_STATUS_SUCCESS, pb.TRADE_STATUS_FAILED, pb.TRADE_STATUS_PENDING
SIGNATURE_LAMPORTS = 5_000
NEVER = 60.0
"""Seconds; for what must not happen within a test."""


async def failure(daemon: RunningDaemon, request: pb.TradeRequest) -> pb.TradeResult:
    """Trade, expecting the answer FAILED, without a swap."""
    result = await daemon.trade(request)

    assert result.status == FAILED
    assert result.executed_amount == 0
    assert result.error_message
    return result


def sent(daemon: RunningDaemon) -> list[dict[str, object]]:
    """Every trade of which a byte left."""
    return daemon.log.named("trade.sent")


# --- what should happen ---


async def test_a_swap_there_and_back_is_what_the_chain_says(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Both directions of SOL: amounts and fees are those of the wallet's own balances, and the journal tells the whole life."""
    owner = wallet.pubkey()
    async with running(place, wallet) as daemon:
        before = chain.holdings(owner)
        sold = await daemon.trade(make_request("there", "SOL", "USDC", 2))
        between = chain.holdings(owner)
        bought = await daemon.trade(make_request("back", "USDC", "SOL", 100))
        after = chain.holdings(owner)

    assert sold.status == bought.status == SUCCESS
    assert sold.executed_amount == sold.quoted_amount == between.tokens["USDC"] - before.tokens["USDC"]
    assert before.lamports - between.lamports == 2 * 10**9 + sold.fees_paid
    assert sold.input_amount == 2 * 10**9
    assert between.tokens["USDC"] - after.tokens["USDC"] == bought.input_amount == 100 * 10**6
    assert after.lamports - between.lamports == bought.executed_amount - bought.fees_paid
    assert sold.executed_price == pytest.approx(sold.executed_amount / 10**6 / 2)
    assert sold.fees_paid == SIGNATURE_LAMPORTS + sold.priority_fee
    assert chain.transaction(sold.transaction_signature)["meta"]["fee"] == sold.fees_paid  # type: ignore[index]  # it landed
    assert 0 < sold.broadcast_time_us / 1000 < sold.execution_time_ms
    assert 0 < sold.confirmation_time_ms <= sold.execution_time_ms
    assert journalled(place.journal_path, "there") == ["ACCEPTED", "SIGNED", "SENT", "SUCCEEDED"]


async def test_urgency_decides_the_priority_fee(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Without data each urgency pays its fallback, UNSPECIFIED as NORMAL does, and the chain charges exactly what is told."""
    urgencies = {
        pb.URGENCY_LEVEL_LOW: 1_000,
        pb.URGENCY_LEVEL_UNSPECIFIED: 2_500,
        pb.URGENCY_LEVEL_NORMAL: 2_500,
        pb.URGENCY_LEVEL_HIGH: 5_000,
        pb.URGENCY_LEVEL_CRITICAL: 10_000,
    }
    async with running(place, wallet, fees={"cache_seconds": 600.0}) as daemon:
        requests = [make_request(f"u{level}", "SOL", "USDC", 0.1, urgency_level=level) for level in urgencies]
        results = await gather(*(lambda request=request: daemon.caller.execute(request) for request in requests))

    assert [result.status for result in results] == [SUCCESS] * 5
    assert [result.priority_fee for result in results] == list(urgencies.values())
    for result in results:
        landed = chain.transaction(result.transaction_signature)
        assert landed is not None
        assert landed["meta"]["fee"] == result.fees_paid == result.priority_fee + SIGNATURE_LAMPORTS


@pytest.mark.parametrize("share", [0.99, 1.002])
async def test_slippage_is_measured_against_the_expected_price(
    share: float, chain: Localnet, place: Place, wallet: Keypair
) -> None:
    """Better than expected is a negative figure, and 0 in the field without a sign; fractions go to the trade's disadvantage."""
    async with running(place, wallet) as daemon:
        quoted = await daemon.trade(make_request("quoted", "JitoSOL", "USDC", 1))
        expected = quoted.executed_price * share
        result = await daemon.trade(make_request("expecting", "JitoSOL", "USDC", 1, expected_price=expected))

    exact = (1 - result.executed_price / expected) * 10_000
    assert (quoted.slippage_bps, quoted.signed_slippage_bps) == (0, 0)
    assert exact - 0.01 <= result.signed_slippage_bps < exact + 1.01
    assert result.slippage_bps == max(0, result.signed_slippage_bps)
    assert (exact > 0) == (share > 1)


async def test_a_fee_and_a_tracking_account_are_honoured(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """The configured share goes to the caller's fee account, the caller gets the rest, and the tracking account is passed on."""
    other = chain.new_wallet()
    account = chain.token_account(other.pubkey(), "USDC")
    before = chain.holdings(other.pubkey()).tokens["USDC"]
    tracking = Keypair().pubkey()
    async with running(place, wallet, jupiter={"platform_fee_bps": 20}) as daemon:
        result = await daemon.trade(
            make_request("fee", "SOL", "USDC", 1, fee_account=str(account), tracking_account=str(tracking))
        )

    share = chain.holdings(other.pubkey()).tokens["USDC"] - before
    assert result.status == SUCCESS
    assert result.executed_amount == result.quoted_amount
    assert share == pytest.approx(result.executed_amount * 20 / 9_980, abs=2)
    assert str(tracking) in str(chain.transaction(result.transaction_signature))


async def test_fifty_equal_requests_are_fifty_swaps(still_chain: Localnet, place: Place) -> None:
    """Equal content under one blockhash would be one transaction: of fifty at once every one lands under its own signature."""
    wallet = still_chain.new_wallet()
    before = still_chain.holdings(wallet.pubkey()).tokens["USDC"]
    requests = [make_request(f"equal-{i}", "SOL", "USDC", 0.01) for i in range(50)]
    async with running(evolve(place, nodes=still_chain.nodes, jupiter=still_chain.jupiter), wallet) as daemon:
        results: list[pb.TradeResult] = []
        async with trio.open_nursery() as nursery:
            for request in requests:
                nursery.start_soon(collect, daemon, request, results)
            await daemon.event("send.answered", 50)
            still_chain.advance(4)

    assert Counter(result.status for result in results) == {SUCCESS: 50}
    assert len({result.transaction_signature for result in results}) == 50
    assert len({result.last_valid_block_height for result in results}) == 1
    received = still_chain.holdings(wallet.pubkey()).tokens["USDC"] - before
    assert received == sum(result.executed_amount for result in results)


# --- refused by a rule ---


@frozen(kw_only=True)
class Rule:
    """A request that a rule refuses, and what its caller is told."""

    name: str
    source: str = "SOL"
    target: str = "USDC"
    amount: float = 1
    fields: dict[str, Any] = field(factory=dict)
    status: str = "FAILED_PRECONDITION"
    reason: str
    words: tuple[str, ...]
    figures: dict[str, str] = field(factory=dict)


STRANGER = str(Pubkey.from_bytes(bytes(range(32))))
RULES = (
    Rule(
        name="foreign",
        fields={"output_token": STRANGER},
        reason="MINT_NOT_WHITELISTED",
        words=(STRANGER,),
        figures={"output_token": STRANGER},
    ),
    Rule(
        name="oversized",
        amount=100.5,
        reason="AMOUNT_ABOVE_LIMIT",
        words=("100.5 SOL", "100 SOL"),
        figures={"amount": "100500000000", "max_amount": "100000000000"},
    ),
    Rule(name="poor", source="RAY", amount=4_000, reason="BALANCE_INSUFFICIENT", words=("needs 4000 RAY", "has 1000")),
    Rule(
        name="moved",
        fields={"expected_price": 200.0},
        reason="PRICE_MOVED",
        words=("121.", "200", "50 bps"),
        figures={"expected_amount": "200000000", "max_slippage_bps": "50"},
    ),
    Rule(
        name="wallet-as-fee-account",
        fields={"fee_account": STRANGER},
        reason="FEE_ACCOUNT_INVALID",
        words=(STRANGER, "does not exist"),
        figures={"fee_account": STRANGER},
    ),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
async def test_a_refusal_names_the_figures(rule: Rule, chain: Localnet, place: Place) -> None:
    """What a rule refuses is an error status with a code, a sentence and its figures; nothing is sent, the fee is not paid."""
    wallet = chain.new_wallet(tokens={"RAY": 1_000 * 10**6})
    async with running(place, wallet) as daemon:
        landed = chain.transactions()
        refused = await refusal(daemon, make_request(rule.name, rule.source, rule.target, rule.amount, **rule.fields))

    assert (refused.status, refused.reason) == (rule.status, rule.reason)
    assert [word for word in rule.words if word not in refused.message] == []
    assert {name: refused.figures[name] for name in rule.figures} == rule.figures
    assert sent(daemon) == []
    assert chain.transactions() == landed
    assert daemon.daemon.desk.in_flight() == 0


async def test_a_refusal_after_acceptance_is_journalled_and_may_be_asked_again(
    chain: Localnet, place: Place, wallet: Keypair
) -> None:
    """It is remembered, also across a restart, but it is no result: the same request may find what stood in the way gone."""
    request = make_request("drained", "SOL", "USDC", 1)
    async with running(place, wallet, jupiter={"timeout_seconds": NEVER}) as daemon:
        chain.order("hang", target="jupiter", operation="quote", count=1)
        refusals: list[Refused] = []

        async def ask() -> None:
            refusals.append(await refusal(daemon, request))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await daemon.event("trade.accepted")
            signal.raise_signal(signal.SIGTERM)
    async with running(place, wallet) as daemon:
        with pytest.raises(Refused) as asked:
            await daemon.get("drained")
        result = await daemon.trade(request)
        again = await daemon.trade(request)

    assert refusals[0].reason == asked.value.reason == "EXECUTOR_DRAINING"
    assert result.status == SUCCESS
    assert again == result
    assert journalled(place.journal_path, "drained") == ["ACCEPTED", "DENIED", "ACCEPTED", "SIGNED", "SENT", "SUCCEEDED"]


# --- stages that fail before the send ---


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


@define
class CountingSigner:
    """Signs, and counts how often."""

    _wallet: Keypair
    signed: int = 0
    breaks_at: int | None = None

    @property
    def address(self) -> Pubkey:
        return self._wallet.pubkey()

    def sign(self, message: bytes) -> Signature:
        self.signed += 1
        if self.signed == self.breaks_at:
            raise ValueError("a bug in the signer")
        return KeypairSigner(self._wallet).sign(message)


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


# --- the journal fails ---


async def test_nothing_is_sent_when_signed_cannot_be_written(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """The disk fails at SIGNED: the node never sees the transaction. When the disk is well again, so is trading.

    A commit that failed may be on the disk all the same, and a restart would send what it finds there. So the caller is told
    FAILED only once the journal says that it is over.
    """
    async with open_upstream() as node:
        relay_node(node, chain.nodes[0])
        async with running(evolve(place, nodes=(node.url,)), wallet) as daemon:
            refuse_entries(place.journal_path, "SIGNED", "REJECTED")
            answers: list[pb.TradeResult] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(collect, daemon, make_request("unwritten", "SOL", "USDC", 1), answers)
                await eventually(lambda: daemon.daemon.breaker.causes, "the breaker opens")
                halted = await refusal(daemon, make_request("halted", "SOL", "USDC", 1))
                so_far = await daemon.get("unwritten")
                sends = node.received("sendTransaction")
                accept_entries(place.journal_path, "SIGNED", "REJECTED")
            await eventually(lambda: daemon.daemon.desk.status().trading_allowed, "the breaker closes again")
            fine = await daemon.trade(make_request("written", "SOL", "USDC", 1))

    assert so_far.status == PENDING
    assert (answers[0].status, answers[0].error_code) == (FAILED, "JOURNAL_UNAVAILABLE")
    assert "nothing was sent" in answers[0].error_message
    assert (halted.status, halted.reason) == ("UNAVAILABLE", "TRADING_HALTED")
    assert "the journal cannot be written" in halted.message
    assert sends == []
    assert fine.status == SUCCESS
    assert len(node.received("sendTransaction")) >= 1
    assert journalled(place.journal_path, "unwritten") == ["ACCEPTED", "REJECTED"]


class OneSignature(PassingOn):
    """The real journal, told of one signature for all, as of transactions that are not made unique."""

    async def append(self, entry: Entry) -> None:
        await self.journal.append(evolve(entry, signature="of-all") if entry.state is State.SIGNED else entry)


async def test_a_signature_that_is_another_request_s_is_not_told(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """It may have landed: who is told of it would take his own trade for done. It is a refusal, and may be asked for again."""
    async with running(place, wallet, adjust=lambda line: evolve(line, journal=OneSignature(line.journal))) as daemon:
        owner = await daemon.trade(make_request("owner", "SOL", "USDC", 1))
        refused = await refusal(daemon, make_request("other", "SOL", "USDC", 1))

    assert owner.status == SUCCESS
    assert (refused.status, refused.reason) == ("UNAVAILABLE", "JOURNAL_UNAVAILABLE")
    assert len(sent(daemon)) == 1
    assert journalled(place.journal_path, "other") == ["ACCEPTED", "DENIED"]


async def test_an_acceptance_that_the_disk_lost_is_written_with_the_outcome(
    chain: Localnet, place: Place, wallet: Keypair
) -> None:
    """Nobody waited for it. FAILED is told when the journal knows of both, so that the request is never taken for a new one."""
    async with running(place, wallet) as daemon:
        refuse_entries(place.journal_path, "ACCEPTED")
        chain.order("status", target="jupiter", operation="quote", status=401)
        answers: list[pb.TradeResult] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, daemon, make_request("lost", "SOL", "USDC", 1), answers)
            await daemon.event("trade.outcome_not_journalled")
            assert answers == []
            accept_entries(place.journal_path, "ACCEPTED")
        again = await daemon.trade(make_request("lost", "SOL", "USDC", 1))

    assert (answers[0].status, answers[0].error_code) == (FAILED, "JUPITER_UNAUTHORIZED")
    assert again == answers[0]
    assert journalled(place.journal_path, "lost") == ["ACCEPTED", "REJECTED"]


async def test_an_outcome_that_cannot_be_written_is_not_forgotten(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """The disk fails at the outcome: the caller hears of the success at once, and the journal when it is well again."""
    async with running(place, wallet) as daemon:
        refuse_entries(place.journal_path, "SUCCEEDED")
        told = await daemon.trade(make_request("full", "SOL", "USDC", 1))
        asked = await daemon.get("full")
        assert journalled(place.journal_path, "full") == ["ACCEPTED", "SIGNED", "SENT"]
        accept_entries(place.journal_path, "SUCCEEDED")
        await eventually(lambda: not daemon.daemon.desk.in_flight(), "the outcome is written")
    async with running(place, wallet) as restarted:
        stored = await restarted.get("full")

    assert told.status == SUCCESS
    assert told == asked == stored
    assert journalled(place.journal_path, "full") == ["ACCEPTED", "SIGNED", "SENT", "SUCCEEDED"]


@define(eq=False)
class FullJournal(PassingOn):
    """The real journal, but too full to take entries of some states."""

    _states: frozenset[State]

    def append_soon(self, entry: Entry) -> None:
        if entry.state in self._states:
            raise JournalError("the journal has too many entries waiting for the disk")
        self.journal.append_soon(entry)


def _full(*states: State) -> Callable[[Line], Line]:
    return lambda line: evolve(line, journal=FullJournal(line.journal, frozenset(states)))


async def test_a_full_journal_refuses_the_trade(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """An acceptance that cannot even be handed over is a refusal of this one trade, not the end of the daemon."""
    async with running(place, wallet, adjust=_full(State.ACCEPTED)) as daemon:
        refused = await refusal(daemon, make_request("full", "SOL", "USDC", 1))
        with pytest.raises(Refused) as asked:
            await daemon.get("full")

    assert (refused.status, refused.reason) == ("UNAVAILABLE", "JOURNAL_UNAVAILABLE")
    assert "nothing was sent" in refused.message
    assert sent(daemon) == []
    assert asked.value.reason == "REQUEST_NOT_FOUND"


async def test_a_signed_trade_is_sent_though_the_journal_is_full(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """SIGNED is durable and is enough for a restart: that SENT cannot be handed over stops nothing."""
    async with running(place, wallet, adjust=_full(State.SENT)) as daemon:
        result = await daemon.trade(make_request("full", "SOL", "USDC", 1))

    assert result.status == SUCCESS
    assert journalled(place.journal_path, "full") == ["ACCEPTED", "SIGNED", "SUCCEEDED"]


# --- after the send: only the chain decides ---


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


# --- bugs ---


@define
class BreakingObserver:
    """Counts for nobody, and breaks once when a stage has taken its time."""

    breaks_at: Stage
    broke: bool = False

    def stage_took(self, stage: Stage, seconds: float) -> None:
        if stage is self.breaks_at and not self.broke:
            self.broke = True
            raise ValueError("a bug in the observer")


@pytest.mark.parametrize("stage", [Stage.BALANCES, Stage.QUOTE, Stage.VERIFY, Stage.SIGN, Stage.JOURNAL])
async def test_a_bug_before_the_send_ends_one_trade_only(stage: Stage, chain: Localnet, place: Place, wallet: Keypair) -> None:
    """FAILED with INTERNAL_ERROR and the stage, nothing is sent; every other trade in flight is unharmed."""
    observer = BreakingObserver(stage)
    async with running(place, wallet, adjust=lambda line: evolve(line, observer=observer)) as daemon:
        results = await _four(daemon)

    (failed,) = [result for result in results if result.status == FAILED]
    assert Counter(result.status for result in results) == {SUCCESS: 3, FAILED: 1}
    assert (failed.error_code, failed.error_stage, failed.retryable) == ("INTERNAL_ERROR", stage.value, False)
    assert "observer" not in failed.error_message
    assert len(sent(daemon)) == 3
    assert journalled(place.journal_path, failed.request_id)[-1] == "REJECTED"


async def _four(daemon: RunningDaemon) -> list[pb.TradeResult]:
    requests = [make_request(f"trade-{i}", "SOL", "USDC", 0.5) for i in range(4)]
    return await gather(*(lambda request=request: daemon.caller.execute(request) for request in requests))


@pytest.mark.parametrize("stage", [Stage.SEND, Stage.MONITOR, Stage.RECORD])
async def test_a_bug_after_the_send_proves_nothing(stage: Stage, chain: Localnet, place: Place, wallet: Keypair) -> None:
    """The transaction is out and may land: PENDING with the signature, open in the journal; the others are unharmed."""
    observer = BreakingObserver(stage)
    async with running(place, wallet, adjust=lambda line: evolve(line, observer=observer)) as daemon:
        results = await _four(daemon)
        (unproved,) = [result for result in results if result.status == PENDING]
        later = await daemon.get(unproved.request_id)

    assert Counter(result.status for result in results) == {SUCCESS: 3, PENDING: 1}
    assert (unproved.error_code, unproved.retryable) == ("INTERNAL_ERROR", False)
    assert later.status == PENDING
    assert unproved.transaction_signature == later.transaction_signature != ""
    assert journalled(place.journal_path, unproved.request_id) == ["ACCEPTED", "SIGNED", "SENT"]


async def test_a_bug_in_the_signer_ends_one_trade_only(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """A collaborator that raises what nobody foresaw: one FAILED trade, the next one is well."""
    async with running(place, wallet, signer=CountingSigner(wallet, breaks_at=1)) as daemon:
        failed = await failure(daemon, make_request("first", "SOL", "USDC", 1))
        fine = await daemon.trade(make_request("second", "SOL", "USDC", 1))

    assert (failed.error_code, failed.error_stage) == ("INTERNAL_ERROR", "sign")
    assert fine.status == SUCCESS
    assert mint("SOL") not in failed.error_message


def test_a_bug_beside_an_end_is_not_lost() -> None:
    """The end goes on alone, and the log has the bug; an end alone is nothing to tell."""
    bug, end, log = ValueError("a bug"), KeyboardInterrupt(), RecordedLog()
    with pytest.RaisesGroup(pytest.RaisesGroup(KeyboardInterrupt)):
        trade._raise_cancellations(BaseExceptionGroup("both", [bug, end]), log=log)
    with pytest.RaisesGroup(KeyboardInterrupt):
        trade._raise_cancellations(end, log=log)

    assert len(log.named("trade.bug")) == 1

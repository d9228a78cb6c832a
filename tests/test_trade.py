"""The line of a trade, over real sockets: a localnet as a process, the daemon in this one, callers as grpcio clients in threads.

Every test looks at three witnesses: what the caller was told, what the chain says, and what the journal holds.
"""

import signal
from collections import Counter
from typing import Any

import pytest
import trio
from attrs import define, evolve, field, frozen
from solders.keypair import Keypair

from executor import trade
from executor.model import Stage
from executor.rpc import trade_executor_pb2 as pb
from tests.support.callers import FAILED, NEVER, PENDING, SUCCESS, Refused, make_request
from tests.support.daemon import (
    HTTPX_BODIES,
    RunningDaemon,
    collect,
    failure,
    gather,
    journalled,
    refusal,
    running,
    sent,
)
from tests.support.events import RecordedLog
from tests.support.localnet import Localnet, mint
from tests.support.settings import Place
from tests.support.signers import CountingSigner
from tests.support.values import STRANGER

pytestmark = [HTTPX_BODIES, pytest.mark.slow]

SIGNATURE_LAMPORTS = 5_000


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

"""Offers that come to nothing before anything is signed: asked for anew, differently where that helps, three times at most.

A localnet, the daemon in this process, and scripted servers between them that keep every question; what the chain would say of a
simulated transaction is altered there.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from attrs import define, evolve, field, frozen
from solders.keypair import Keypair

from executor.programs import JUPITER_PROGRAM
from executor.rpc import trade_executor_pb2 as pb
from executor.units import minimum_out
from tests.support.callers import FAILED, SUCCESS, make_request
from tests.support.daemon import HTTPX_BODIES, RunningDaemon, journalled, refusal, refuse_entries, running
from tests.support.localnet import Localnet
from tests.support.relays import Alter, relay_jupiter, relay_node, unaltered
from tests.support.settings import Place
from tests.support.upstream import Upstream, open_upstream

pytestmark = [HTTPX_BODIES, pytest.mark.slow]

POOL_PROGRAM = "whirLbMiicVdio4qvUfM5KAg6Ct8VwpYzGff3uctyCc"
MOVED = {"InstructionError": [4, {"Custom": 6001}]}
STALE_BPS = 300
ORDINARY = ["ACCEPTED", "SIGNED", "SENT", "SUCCEEDED"]


@define
class Simulations:
    """Alters what simulations say: one failure after the other, and then the truth."""

    failures: list[tuple[Any, str]] = field(factory=list)

    def fail(self, error: Any, *, program: str = str(JUPITER_PROGRAM), times: int = 1) -> None:
        """Let the next ones fail."""
        self.failures += [(error, program)] * times

    def __call__(self, answer: Any) -> Any:
        if self.failures:
            error, program = self.failures.pop(0)
            answer["result"]["value"] |= {"err": error, "logs": [f"Program {program} failed: custom program error: 0x1"]}
        return answer


@frozen(kw_only=True)
class Floor:
    """A daemon, and what stands between it and the localnet."""

    daemon: RunningDaemon
    jupiter: Upstream
    node: Upstream
    simulations: Simulations

    def questions(self) -> list[dict[str, str]]:
        """What Jupiter was asked for."""
        return [request.query for request in self.jupiter.received("quote")]

    def builds(self) -> list[dict[str, Any]]:
        """What Jupiter was asked to build."""
        return [request.json for request in self.jupiter.received("swap-instructions")]

    def signed(self) -> int:
        """How many transactions were ever signed and journalled."""
        return len(self.daemon.log.named("trade.signed"))


@asynccontextmanager
async def floor(place: Place, wallet: Keypair, *, quote: Alter = unaltered) -> AsyncIterator[Floor]:
    """Run a daemon behind relays while the block runs."""
    simulations = Simulations()
    async with open_upstream() as jupiter, open_upstream() as node:
        relay_jupiter(jupiter, place.jupiter, quote=quote)
        relay_node(node, place.nodes[0], simulateTransaction=simulations)
        async with running(evolve(place, jupiter=jupiter.url, nodes=(node.url,)), wallet) as daemon:
            yield Floor(daemon=daemon, jupiter=jupiter, node=node, simulations=simulations)


def stale_quotes(chain: Localnet, count: int | None = 1, bps: int = STALE_BPS) -> None:
    """Let Jupiter promise more than the pools give."""
    chain.order("stale-quote", target="jupiter", operation="quote", count=count, bps=bps)


def of_another_dex(quote: Any) -> Any:
    """A label that may be excluded without excluding the only DEX that the localnet has."""
    for hop in quote["routePlan"]:
        hop["swapInfo"]["label"] = "Simple"
    return quote


# --- the market moves ---


async def test_a_quote_that_has_gone_stale_is_asked_for_anew(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """At the price that the caller expects the second offer is as good as a first; one transaction is signed, and it lands."""
    async with floor(place, wallet) as at:
        price = (await at.daemon.trade(make_request("price", "SOL", "USDC", 1))).executed_price
        stale_quotes(chain)
        result = await at.daemon.trade(make_request("stale", "SOL", "USDC", 1, expected_price=price * 0.999))

    assert result.status == SUCCESS
    assert result.executed_amount == result.quoted_amount
    assert len(at.questions()) == len(at.builds()) == 1 + 2
    assert at.questions()[1] == at.questions()[2]  # the same question: no other pools, no more slippage
    assert at.signed() == 2
    assert [event["offer"] for event in at.daemon.log.named("trade.asks_again")] == [2]
    assert journalled(place.journal_path, "stale") == ORDINARY


async def test_an_offer_far_below_the_first_is_not_taken(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Without an expected price the first offer is what slippage is measured against, and the market is beyond it."""
    async with floor(place, wallet) as at:
        stale_quotes(chain)
        result = await at.daemon.trade(make_request("slid", "SOL", "USDC", 1))

    assert (result.status, result.error_code, result.error_stage) == (FAILED, "SLIPPAGE_EXCEEDED", "quote")
    assert "that the first quote promises; at most 50 bps are allowed" in result.error_message
    assert result.error_message.endswith("; this was offer 2 of at most 3")
    assert [question["slippageBps"] for question in at.questions()] == ["50", "50"]
    assert len(at.builds()) == 1
    assert at.signed() == 0
    assert journalled(place.journal_path, "slid") == ["ACCEPTED", "REJECTED"]


async def test_an_offer_far_below_the_expected_price_is_not_taken(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """The caller's own rule holds for the second offer as it would have for the first."""
    async with floor(place, wallet) as at:
        price = (await at.daemon.trade(make_request("price", "SOL", "USDC", 1))).executed_price
        stale_quotes(chain)
        refused = await refusal(at.daemon, make_request("slid", "SOL", "USDC", 1, expected_price=price * 1.02))

    assert (refused.status, refused.reason) == ("FAILED_PRECONDITION", "PRICE_MOVED")
    assert refused.figures["offers"] == "2"
    assert at.signed() == 1
    assert journalled(place.journal_path, "slid") == ["ACCEPTED", "DENIED"]


async def test_a_later_offer_may_bring_no_less_than_the_first(still_chain: Localnet, place: Place) -> None:
    """30 of 50 bps are gone since the first offer: the second is built with the rest, and no less may arrive."""
    wallet = still_chain.new_wallet()
    quiet = evolve(place, nodes=still_chain.nodes, jupiter=still_chain.jupiter)
    answers: list[pb.TradeResult] = []
    async with floor(quiet, wallet) as at:
        stale_quotes(still_chain, bps=30)
        at.simulations.fail(MOVED)
        async with trio.open_nursery() as nursery:

            async def trade() -> None:
                answers.append(await at.daemon.trade(make_request("slower", "SOL", "USDC", 1)))

            nursery.start_soon(trade)
            await at.daemon.event("send.answered")
            still_chain.advance(4)
        first, second = (build["quoteResponse"] for build in at.builds())

    (result,) = answers
    assert result.status == SUCCESS
    assert (first["slippageBps"], second["slippageBps"]) == (50, 20)
    assert int(second["outAmount"]) < int(first["outAmount"])
    assert minimum_out(int(second["outAmount"]), 20) >= int(first["otherAmountThreshold"])
    assert result.executed_amount >= int(first["otherAmountThreshold"])
    assert result.signed_slippage_bps == 30  # against the first offer, whatever the last one said


async def test_three_offers_are_enough(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """A market that turns down each of them is told so, by the last failure and with their number."""
    async with floor(place, wallet) as at:
        stale_quotes(chain, count=None)
        result = await at.daemon.trade(make_request("always", "SOL", "USDC", 1))

    assert (result.status, result.error_code, result.error_stage) == (FAILED, "SLIPPAGE_EXCEEDED", "simulate")
    assert result.error_message.endswith("; this was offer 3 of at most 3")
    assert len(at.questions()) == len(at.builds()) == 3
    assert at.signed() == 0
    assert [event["offer"] for event in at.daemon.log.named("trade.asks_again")] == [2, 3]
    assert {event["code"] for event in at.daemon.log.named("trade.asks_again")} == {"SLIPPAGE_EXCEEDED"}


async def test_the_budget_before_the_send_is_that_of_all_offers(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """It is not renewed: each question takes its time, and three of them have not got it."""
    async with running(place, wallet, limits={"pre_send_budget_seconds": 0.4}) as daemon:
        stale_quotes(chain, count=None)
        chain.order("latency", target="jupiter", operation="quote", count=None, seconds=0.15)
        result = await daemon.trade(make_request("slow", "SOL", "USDC", 1))

    assert (result.status, result.error_code) == (FAILED, "PRE_SEND_BUDGET_EXCEEDED")
    assert daemon.log.named("trade.signed") == []
    assert len(daemon.log.named("trade.asks_again")) < 3


async def test_the_wallet_is_read_and_held_once(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """What a trade may spend does not depend on the offer."""
    async with floor(place, wallet) as at:
        at.simulations.fail(MOVED, times=2)
        result = await at.daemon.trade(make_request("thrice", "SOL", "USDC", 1))
    asked = [request.json["params"][0] for request in at.node.received("getMultipleAccounts")]
    accounts = [str(wallet.pubkey()), *(str(chain.token_account(wallet.pubkey(), symbol)) for symbol in ("SOL", "USDC"))]

    assert result.status == SUCCESS
    assert len(at.questions()) == 3
    assert asked.count(accounts) == 1


async def test_a_failure_after_the_second_offer_is_told_of_its_own_stage(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """That an offer failed before is history."""
    async with floor(place, wallet) as at:
        at.simulations.fail(MOVED)
        refuse_entries(place.journal_path, "SIGNED")
        result = await at.daemon.trade(make_request("refused", "SOL", "USDC", 1))

    assert (result.status, result.error_code, result.error_stage) == (FAILED, "JOURNAL_UNAVAILABLE", "journal")
    assert len(at.questions()) == 2


# --- what is asked for differently ---


@frozen(kw_only=True)
class Cure:
    """Failures of one kind, and what the questions after them say."""

    error: Any
    program: str = str(JUPITER_PROGRAM)
    times: int = 1
    asked: Sequence[dict[str, str]]
    """Beyond the first question, of each."""
    shared: Sequence[bool]


CURES = {
    "slippage": Cure(error=MOVED, asked=[{}, {}], shared=[True, True]),
    "too many accounts": Cure(
        error="TooManyAccountLocks",
        times=2,
        asked=[{}, {"maxAccounts": "32"}, {"maxAccounts": "16"}],
        shared=[True, True, True],
    ),
    "Jupiter's program refuses": Cure(
        error={"InstructionError": [4, {"Custom": 6016}]}, asked=[{}, {"excludeDexes": "Simple"}], shared=[True, False]
    ),
    "accounts of a pool": Cure(
        error={"InstructionError": [4, {"Custom": 3005}]},
        program=POOL_PROGRAM,
        asked=[{}, {"excludeDexes": "Simple"}],
        shared=[True, True],
    ),
    "a pool refuses": Cure(
        error={"InstructionError": [4, {"Custom": 6038}]}, program=POOL_PROGRAM, asked=[{}, {}], shared=[True, True]
    ),
    "a pool refuses twice": Cure(
        error={"InstructionError": [4, {"Custom": 6038}]},
        program=POOL_PROGRAM,
        times=2,
        asked=[{}, {}, {"excludeDexes": "Simple"}],
        shared=[True, True, True],
    ),
    "an account is missing": Cure(error={"InstructionError": [4, "UninitializedAccount"]}, asked=[{}, {}], shared=[True, True]),
}


@pytest.mark.parametrize("name", CURES)
async def test_the_cure_of_an_error_is_asked_of_jupiter(name: str, chain: Localnet, place: Place, wallet: Keypair) -> None:
    """As its API calls it; then the trade succeeds as if nothing had been."""
    cure = CURES[name]
    async with floor(place, wallet, quote=of_another_dex) as at:
        at.simulations.fail(cure.error, program=cure.program, times=cure.times)
        result = await at.daemon.trade(make_request("cured", "SOL", "USDC", 1))
    first = at.questions()[0]

    assert result.status == SUCCESS
    assert at.questions() == [first | more for more in cure.asked]
    assert [build["useSharedAccounts"] for build in at.builds()] == list(cure.shared)
    assert at.signed() == 1
    assert journalled(place.journal_path, "cured") == ORDINARY


async def test_a_dex_that_is_excluded_is_not_gone_through(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Here there is no other: no route, which says that it was the second offer; nothing is signed."""
    async with floor(place, wallet) as at:
        at.simulations.fail({"InstructionError": [4, {"Custom": 3005}]}, program=POOL_PROGRAM)
        result = await at.daemon.trade(make_request("nowhere", "SOL", "USDC", 1))

    assert (result.status, result.error_code, result.error_stage) == (FAILED, "ROUTE_NOT_FOUND", "quote")
    assert result.error_message.endswith("; this was offer 2 of at most 3")
    assert [question.get("excludeDexes") for question in at.questions()] == [None, "Localnet"]
    assert at.signed() == 0


async def test_tables_that_the_chain_refuses_are_read_again(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Once, with another offer."""
    async with floor(place, wallet) as at:
        at.simulations.fail("AddressLookupTableNotFound")
        result = await at.daemon.trade(make_request("tables", "SOL", "USDC", 1))
    (tables, again) = [build["quoteResponse"] for build in at.builds()]
    asked = [request.json["params"][0] for request in at.node.received("getMultipleAccounts")]
    reads = [addresses for addresses in asked if str(wallet.pubkey()) not in addresses and len(addresses) == 2]

    assert result.status == SUCCESS
    assert tables["outAmount"] == again["outAmount"]
    assert len(reads) == 2
    assert reads[0] == reads[1]


@pytest.mark.parametrize("error", ["AddressLookupTableNotFound", {"InstructionError": [4, "UninitializedAccount"]}])
async def test_what_is_worth_one_more_offer_gets_one(error: Any, chain: Localnet, place: Place, wallet: Keypair) -> None:
    """It did not help: the second is the last."""
    async with floor(place, wallet) as at:
        at.simulations.fail(error, times=3)
        result = await at.daemon.trade(make_request("once", "SOL", "USDC", 1))

    assert (result.status, result.error_code, result.error_stage) == (FAILED, "SIMULATION_FAILED", "simulate")
    assert result.error_message.endswith("; this was offer 2 of at most 3")
    assert len(at.questions()) == 2


@pytest.mark.parametrize(
    ("code", "shared"),
    [
        ("FAILED_TO_GET_SWAP_AND_ACCOUNT_METAS", [True, False, True]),
        ("MARKET_NOT_FOUND", [True, False, False]),
    ],
)
async def test_an_offer_that_jupiter_cannot_build_any_more(
    code: str, shared: list[bool], chain: Localnet, place: Place, wallet: Keypair
) -> None:
    """Neither with nor without shared accounts: another offer; where it may be their fault, without them from then on."""
    async with floor(place, wallet) as at:
        body = f'{{"error": "it is gone", "errorCode": "{code}"}}'
        chain.order("status", target="jupiter", operation="swap-instructions", count=2, status=400, body=body)
        result = await at.daemon.trade(make_request("gone", "SOL", "USDC", 1))

    assert result.status == SUCCESS
    assert len(at.questions()) == 2
    assert [build["useSharedAccounts"] for build in at.builds()] == shared


Break = Callable[[Localnet, Simulations], None]


def _unknown_error(_chain: Localnet, simulations: Simulations) -> None:
    simulations.fail({"InstructionError": [4, "SomethingNew"]})


def _compute(_chain: Localnet, simulations: Simulations) -> None:
    simulations.fail({"InstructionError": [4, "ComputationalBudgetExceeded"]})


def _data_size(_chain: Localnet, simulations: Simulations) -> None:
    simulations.fail("MaxLoadedAccountsDataSizeExceeded")


def _no_funds(_chain: Localnet, simulations: Simulations) -> None:
    simulations.fail("InsufficientFundsForFee")


def _no_route(chain: Localnet, _simulations: Simulations) -> None:
    body = '{"error": "Could not find any route", "errorCode": "COULD_NOT_FIND_ANY_ROUTE"}'
    chain.order("status", target="jupiter", operation="quote", status=400, body=body)


def _new_refusal(chain: Localnet, _simulations: Simulations) -> None:
    body = '{"error": "Something new", "errorCode": "SOMETHING_NEW"}'
    chain.order("status", target="jupiter", operation="swap-instructions", count=2, status=400, body=body)


@pytest.mark.parametrize("break_it", [_unknown_error, _compute, _data_size, _no_funds, _no_route, _new_refusal])
async def test_what_no_other_offer_mends_ends_the_trade(break_it: Break, chain: Localnet, place: Place, wallet: Keypair) -> None:
    """One question, one refusal, and no word of offers."""
    async with floor(place, wallet) as at:
        break_it(chain, at.simulations)
        result = await at.daemon.trade(make_request("final", "SOL", "USDC", 1))

    assert result.status == FAILED
    assert "this was offer" not in result.error_message
    assert len(at.questions()) == 1
    assert at.daemon.log.named("trade.asks_again") == []

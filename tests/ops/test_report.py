"""The status: put together from what is known anyway, before there is anything and after."""

import math
from collections.abc import Sequence
from contextlib import suppress

import trio
import trio.testing
from attrs import define

from executor import __version__
from executor.chainstate.blockhash import Blockhashes
from executor.chainstate.fees import Fees
from executor.chainstate.holdings import Holdings
from executor.chainstate.mints import Mints
from executor.config import FeeSettings, TokenSettings
from executor.errors import ErrorCode
from executor.faults import TransportError
from executor.model import Stage, Token, Urgency
from executor.network.jupiter import Jupiter
from executor.network.solana import AccountInfo, SlotFee
from executor.ops.metrics import Metrics
from executor.ops.report import Report
from executor.status import (
    BlockhashStatus,
    BreakerState,
    EndpointStatus,
    ErrorCount,
    ErrorRate,
    FeeCacheStatus,
    FeePercentile,
    JournalStatus,
    OutcomeCounts,
    WalletBalance,
    WalletStatus,
)
from executor.units import MicroLamports
from tests.support.api import open_jupiter, quote_json
from tests.support.chain import FakeNode, fake_nodes, mint_data, token_info, wallet_info
from tests.support.clients import QUICK, seeded
from tests.support.events import RecordedLog
from tests.support.risk import make_breaker
from tests.support.swaps import ata
from tests.support.upstream import Reply, json_reply
from tests.support.values import BONK, SOL, USDC, WALLET, hash_of, key, make_order

JOURNAL = JournalStatus(entries=9, commits=3, waiting=2, problem="", commit_p50_seconds=0.001, commit_p99_seconds=0.002)


@define
class World:
    """Everything that a report reads, over one fake node."""

    node: FakeNode
    report: Report

    @property
    def metrics(self) -> Metrics:
        """What was counted."""
        return self.report.metrics

    def make_known(self) -> None:
        """Put mints and balances on the chain."""
        self.node.held = {
            **{t.mint: AccountInfo(lamports=1, owner=t.program, data=mint_data(decimals=t.decimals)) for t in (SOL, USDC)},
            WALLET: wallet_info(5_000_000_000),
            ata(WALLET, USDC): token_info(USDC.mint, WALLET, 7_000_000),
        }


def make_world(jupiter: Jupiter | None = None, *, tokens: Sequence[Token] = (SOL, USDC)) -> World:
    """A daemon that has just started."""
    node, log = FakeNode("primary"), RecordedLog()
    nodes = fake_nodes(node)
    whitelist = {t.mint: TokenSettings(symbol=t.symbol, mint=t.mint, max_amount=1) for t in tokens}
    blockhashes = Blockhashes(nodes=nodes, refresh_seconds=1.0, max_age_seconds=10.0, log=log)
    mints = Mints(nodes=nodes, whitelist=whitelist, log=log)
    url = "http://user:pass@127.0.0.1:9/swap/v1?api-key=secret"
    report = Report(
        blockhashes=blockhashes,
        fees=Fees(nodes=nodes, settings=FeeSettings(), log=log),
        nodes=nodes,
        jupiter=jupiter or Jupiter(url, api_key="k" * 20, timeout_seconds=1.0, retry=QUICK, rng=seeded(), log=log),
        holdings=Holdings(nodes=nodes, wallet=WALLET, mints=mints, log=log),
        breaker=make_breaker({"blockhash": blockhashes.problem}),
        metrics=Metrics(),
        journal=lambda: JOURNAL,
    )
    return World(node, report)


async def test_before_anything_is_known(autojump_clock: trio.testing.MockClock) -> None:
    """Nothing is invented: parts are None or empty, ages are infinite, and trading is not allowed, with the reasons."""
    world = make_world()
    world.report.breaker.look()
    await trio.sleep(3)
    status = world.report.of(in_flight=0, pending=0, draining=False)

    assert (status.version, status.uptime_seconds) == (__version__, 3.0)
    assert status.journal == JOURNAL
    assert (status.trading_allowed, status.breaker) == (False, BreakerState.OPEN)
    assert status.not_allowed_because == (
        "no blockhash was received from any node yet",
        "the whitelisted tokens were not read yet; "
        "unknown mints: SOL was not read from any node yet, USDC was not read from any node yet",
    )
    assert (status.blockhash, status.fee_cache) == (None, FeeCacheStatus(entries=0, oldest_age_seconds=math.inf))
    assert status.wallet == WalletStatus(address=str(WALLET), age_seconds=math.inf)
    assert status.nodes == (EndpointStatus(name="primary", endpoint="http://127.0.0.1:9", healthy=None, age_seconds=math.inf),)
    assert status.jupiter == EndpointStatus(name="jupiter", endpoint="http://127.0.0.1:9", healthy=None, age_seconds=math.inf)
    assert (status.outcomes, status.error_counts, status.error_rates, status.stages) == (OutcomeCounts(), (), (), ())


async def test_when_all_is_well(autojump_clock: trio.testing.MockClock) -> None:
    """Every value with its age, without a call to anybody."""
    world = make_world()
    world.make_known()
    world.node.fees = (SlotFee(slot=1, price_micro_lamports=MicroLamports(42)),)
    report = world.report
    await report.blockhashes.refresh()
    await report.holdings.mints.refresh()
    await report.holdings.refresh()
    report.fees.price(make_order(), [key("pool")])
    await report.fees.refresh()
    report.breaker.look()
    report.metrics.success = 3
    report.metrics.error(ErrorCode.PRICE_MOVED, "strategy")
    report.metrics.stage_took(Stage.QUOTE, 0.25)
    calls = len(world.node.calls)
    await trio.sleep(4)
    status = report.of(in_flight=5, pending=2, draining=False)

    assert len(world.node.calls) == calls
    assert (status.trading_allowed, status.not_allowed_because, status.breaker) == (True, (), BreakerState.CLOSED)
    assert (status.trades_in_flight, status.outcomes) == (5, OutcomeCounts(success=3, pending=2))
    assert status.error_counts == (ErrorCount(code=ErrorCode.PRICE_MOVED, count=1),)
    assert status.error_rates == (
        ErrorRate(code=ErrorCode.PRICE_MOVED, source="strategy", last_minute=1, last_5_minutes=1, last_hour=1),
    )
    assert [(row.stage, row.count, row.p50_seconds) for row in status.stages] == [(Stage.QUOTE, 1, 0.25)]
    assert status.blockhash == BlockhashStatus(
        blockhash=str(hash_of(1_000)), last_valid_block_height=1_150, block_height=1_000, age_seconds=4.0, fresh=True
    )
    assert status.fee_cache == FeeCacheStatus(
        entries=1,
        oldest_age_seconds=4.0,
        percentiles=tuple(FeePercentile(urgency=u, price_micro_lamports=MicroLamports(42)) for u in Urgency),
    )
    assert status.wallet == WalletStatus(
        address=str(WALLET),
        balances=(
            WalletBalance(symbol="SOL", mint=str(SOL.mint), amount=5_000_000_000, decimals=9),
            WalletBalance(symbol="USDC", mint=str(USDC.mint), amount=7_000_000, decimals=6),
        ),
        age_seconds=4.0,
    )
    assert status.nodes == (
        EndpointStatus(name="primary", endpoint="http://127.0.0.1:9", healthy=True, age_seconds=4.0, slot=1_100),
    )


async def test_when_the_nodes_are_gone(autojump_clock: trio.testing.MockClock) -> None:
    """The old values are shown with their age, no longer fresh; the node's problem is told."""
    world = make_world()
    world.make_known()
    await world.report.holdings.mints.refresh()
    await world.report.blockhashes.refresh()
    world.node.failing = True
    with trio.move_on_after(20):
        await world.report.blockhashes.run()
    world.report.breaker.look()
    status = world.report.of(in_flight=0, pending=0, draining=False)

    assert status.blockhash is not None
    assert (status.blockhash.fresh, status.blockhash.age_seconds) == (False, 20.0)
    assert not status.trading_allowed
    assert status.not_allowed_because == ("the newest blockhash is 20.0 s old, the limit is 10 s",)
    (node,) = status.nodes
    assert (node.healthy, node.slot) == (False, 1_100)
    assert "no answer in time" in node.problem
    assert node.age_seconds < 1.1


async def test_a_token_that_cannot_be_traded_leaves_the_others_alone(autojump_clock: trio.testing.MockClock) -> None:
    """Trading is allowed while any pair can be traded; what cannot is listed apart, with why."""
    world = make_world(tokens=(SOL, BONK, USDC))
    world.make_known()
    await world.report.holdings.mints.refresh()
    status = world.report.of(in_flight=0, pending=0, draining=False)

    assert (status.trading_allowed, status.not_allowed_because) == (True, ())
    assert status.untradable_tokens == ("BONK does not exist on this cluster",)


async def test_a_single_token_cannot_be_traded(autojump_clock: trio.testing.MockClock) -> None:
    """One that is known alone, or one that is whitelisted alone: there is nothing to get for it."""
    world, alone = make_world(tokens=(SOL, BONK)), make_world(tokens=(SOL,))
    for each in (world, alone):
        each.make_known()
        await each.report.holdings.mints.refresh()
    status, of_one = (each.report.of(in_flight=0, pending=0, draining=False) for each in (world, alone))

    assert not status.trading_allowed
    assert status.not_allowed_because == (
        "no two whitelisted tokens can be traded; unknown mints: BONK does not exist on this cluster",
    )
    assert of_one.not_allowed_because == ("no two whitelisted tokens can be traded",)


async def test_draining_is_a_reason_of_its_own(autojump_clock: trio.testing.MockClock) -> None:
    """First of all, whatever else is well."""
    world = make_world()
    world.make_known()
    await world.report.holdings.mints.refresh()
    status = world.report.of(in_flight=1, pending=0, draining=True)

    assert (status.trading_allowed, status.not_allowed_because) == (False, ("the daemon is shutting down",))


async def test_jupiter_as_it_was_seen_last() -> None:
    """A refusal of a request is an answer; a server that fails is a problem, until it answers again."""
    seen = []
    async with open_jupiter() as (jupiter, upstream):
        report = make_world(jupiter).report
        upstream.script("quote", Reply(401), json_reply(quote_json(make_order())))
        for _call in range(2):
            with suppress(TransportError):
                await jupiter.quote(input_mint=SOL.mint, output_mint=USDC.mint, in_amount=50_000_000, slippage_bps=50)
            seen.append(report.of(in_flight=0, pending=0, draining=False).jupiter)

    failed, well = seen
    assert failed is not None
    assert well is not None
    assert (failed.healthy, well.healthy, well.problem) == (False, True, "")
    assert "401" in failed.problem
    assert 0 <= well.age_seconds < 5

"""Puts the daemon's status together from those who know."""

import math
from collections.abc import Callable, Sequence

import trio
from attrs import define, field

from executor import __version__
from executor.chainstate.blockhash import Blockhashes
from executor.chainstate.fees import Fees
from executor.chainstate.holdings import Holding, Holdings
from executor.network.health import EndpointHealth
from executor.network.jupiter import Jupiter
from executor.network.nodes import Nodes
from executor.ops.metrics import Metrics
from executor.risk.breaker import Breaker
from executor.status import (
    BlockhashStatus,
    EndpointStatus,
    ExecutorStatus,
    FeeCacheStatus,
    FeePercentile,
    JournalStatus,
    WalletBalance,
    WalletStatus,
)
from executor.units import MicroLamports

TOKENS_OF_A_TRADE = 2


@define(kw_only=True, eq=False)
class Report:
    """Reads what is known anyway: a status costs no call to anybody."""

    blockhashes: Blockhashes
    fees: Fees
    nodes: Nodes
    jupiter: Jupiter
    holdings: Holdings
    breaker: Breaker
    metrics: Metrics
    journal: Callable[[], JournalStatus]
    _started_at: float = field(factory=trio.current_time)

    def of(self, *, in_flight: int, pending: int, draining: bool) -> ExecutorStatus:
        """The whole status, with what only the desk knows."""
        reasons = self.reasons(draining=draining)
        return ExecutorStatus(
            version=__version__,
            uptime_seconds=trio.current_time() - self._started_at,
            trading_allowed=not reasons,
            not_allowed_because=reasons,
            breaker=self.breaker.state,
            breaker_causes=self.breaker.causes,
            trades_in_flight=in_flight,
            outcomes=self.metrics.outcomes(pending=pending),
            error_counts=self.metrics.error_counts(),
            error_rates=self.metrics.rates.latest(),
            stages=self.metrics.latencies(),
            blockhash=self._blockhash(),
            fee_cache=self._fee_cache(),
            nodes=tuple(_endpoint(node.endpoint_health) for node in self.nodes.all),
            jupiter=_endpoint(self.jupiter.endpoint_health),
            wallet=self._wallet(),
            journal=self.journal(),
            untradable_tokens=self.holdings.mints.missing(),
        )

    def reasons(self, *, draining: bool) -> tuple[str, ...]:
        """Why any trade would be refused now."""
        return (
            *(["the daemon is shutting down"] if draining else []),
            *self.breaker.reasons(),
            *self._nothing_to_trade(),
        )

    def _nothing_to_trade(self) -> Sequence[str]:
        """A token that cannot be traded is no obstacle to the others, as long as they are two."""
        mints = self.holdings.mints
        if not mints.loaded.is_set():
            what = "the whitelisted tokens were not read yet"
        elif len(mints.known()) < TOKENS_OF_A_TRADE:
            what = "no two whitelisted tokens can be traded"
        else:
            return []
        missing = mints.missing()
        return [f"{what}; unknown mints: {', '.join(missing)}" if missing else what]

    def _blockhash(self) -> BlockhashStatus | None:
        held = self.blockhashes.peek()
        if held is None:
            return None
        return BlockhashStatus(
            blockhash=str(held.latest.blockhash),
            last_valid_block_height=held.latest.last_valid_block_height,
            block_height=self.blockhashes.block_height(),
            age_seconds=trio.current_time() - held.fetched_at,
            fresh=self.blockhashes.problem() is None,
        )

    def _fee_cache(self) -> FeeCacheStatus:
        age = self.fees.oldest_age_seconds()
        return FeeCacheStatus(
            entries=self.fees.entries(),
            oldest_age_seconds=math.inf if age is None else age,
            percentiles=tuple(
                FeePercentile(urgency=urgency, price_micro_lamports=MicroLamports(price))
                for urgency, price in self.fees.latest_prices().items()
            ),
        )

    def _wallet(self) -> WalletStatus:
        age = self.holdings.age_seconds()
        return WalletStatus(
            address=str(self.holdings.wallet),
            balances=tuple(_balance(holding) for holding in self.holdings.current()),
            age_seconds=math.inf if age is None else age,
        )


def _endpoint(health: EndpointHealth) -> EndpointStatus:
    seen_at = health.seen_at
    return EndpointStatus(
        name=health.name,
        endpoint=health.endpoint,
        healthy=None if seen_at is None else not health.failing,
        problem=health.problem or "",
        age_seconds=math.inf if seen_at is None else trio.current_time() - seen_at,
        slot=health.last_slot or 0,
    )


def _balance(holding: Holding) -> WalletBalance:
    token = holding.token
    return WalletBalance(symbol=token.symbol, mint=str(token.mint), amount=holding.amount, decimals=token.decimals)

"""Puts the daemon's status together from those who know."""

import math

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
    WalletBalance,
    WalletStatus,
)
from executor.units import MicroLamports


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
    _started_at: float = field(factory=trio.current_time)

    def of(self, *, in_flight: int, pending: int, draining: bool) -> ExecutorStatus:
        """The whole status, with what only the desk knows."""
        reasons = self._reasons(draining=draining)
        return ExecutorStatus(
            version=__version__,
            uptime_seconds=trio.current_time() - self._started_at,
            trading_allowed=not reasons,
            not_allowed_because=reasons,
            breaker=self.breaker.state,
            trades_in_flight=in_flight,
            outcomes=self.metrics.outcomes(pending=pending),
            error_counts=self.metrics.error_counts(),
            stages=self.metrics.latencies(),
            blockhash=self._blockhash(),
            fee_cache=self._fee_cache(),
            nodes=tuple(_endpoint(node.endpoint_health) for node in self.nodes.all),
            jupiter=_endpoint(self.jupiter.endpoint_health),
            wallet=self._wallet(),
        )

    def _reasons(self, *, draining: bool) -> tuple[str, ...]:
        """Why a trade would be refused now."""
        missing = self.holdings.mints.missing()
        return (
            *(["the daemon is shutting down"] if draining else []),
            *self.breaker.causes,
            *([f"unknown mints: {', '.join(missing)}"] if missing else []),
        )

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
            oldest_age_seconds=0.0 if age is None else age,
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
    seen = [at for at in (health.last_answer_at, health.last_problem_at) if at is not None]
    return EndpointStatus(
        name=health.name,
        endpoint=health.endpoint,
        healthy=not health.failing,
        problem=health.problem or "",
        age_seconds=trio.current_time() - max(seen) if seen else math.inf,
        slot=health.last_slot or 0,
    )


def _balance(holding: Holding) -> WalletBalance:
    token = holding.token
    return WalletBalance(symbol=token.symbol, mint=str(token.mint), amount=holding.amount, decimals=token.decimals)

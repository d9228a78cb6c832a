"""The daemon's status, in the proto's words."""

import math

from executor.model import Urgency
from executor.rpc import trade_executor_pb2 as pb
from executor.status import (
    BlockhashStatus,
    BreakerCause,
    BreakerState,
    EndpointStatus,
    ErrorRate,
    ExecutorStatus,
    FeeCacheStatus,
    JournalStatus,
    StageLatency,
    WalletStatus,
)

MS_PER_SECOND = 1_000
NS_PER_MS = 1_000_000

_BREAKER = {
    BreakerState.CLOSED: pb.BREAKER_STATE_CLOSED,
    BreakerState.OPEN: pb.BREAKER_STATE_OPEN,
    BreakerState.HALF_OPEN: pb.BREAKER_STATE_HALF_OPEN,
}
_URGENCY = {
    Urgency.LOW: pb.URGENCY_LEVEL_LOW,
    Urgency.NORMAL: pb.URGENCY_LEVEL_NORMAL,
    Urgency.HIGH: pb.URGENCY_LEVEL_HIGH,
    Urgency.CRITICAL: pb.URGENCY_LEVEL_CRITICAL,
}


def status_to_proto(status: ExecutorStatus) -> pb.ExecutorStatus:
    """Tell the status. Parts that are not known yet stay absent, and so does an age of inf."""
    return pb.ExecutorStatus(
        version=status.version,
        uptime_ms=_ms(status.uptime_seconds),
        trading_allowed=status.trading_allowed,
        not_allowed_because=status.not_allowed_because,
        breaker=_BREAKER[status.breaker],
        breaker_causes=[_cause(cause) for cause in status.breaker_causes],
        trades_in_flight=status.trades_in_flight,
        outcomes=pb.OutcomeCounts(
            success=status.outcomes.success,
            failed=status.outcomes.failed,
            pending=status.outcomes.pending,
            refused=status.outcomes.refused,
        ),
        error_counts={error.code.name: error.count for error in status.error_counts},
        error_rates=[_error_rate(rate) for rate in status.error_rates],
        stages=[_stage(stage) for stage in status.stages],
        blockhash=None if status.blockhash is None else _blockhash(status.blockhash),
        fee_cache=None if status.fee_cache is None else _fee_cache(status.fee_cache),
        nodes=[_endpoint(node) for node in status.nodes],
        jupiter=None if status.jupiter is None else _endpoint(status.jupiter),
        wallet=None if status.wallet is None else _wallet(status.wallet),
        untradable_tokens=status.untradable_tokens,
        journal=_journal(status.journal),
    )


def _journal(journal: JournalStatus) -> pb.JournalStatus:
    return pb.JournalStatus(
        entries=journal.entries,
        commits=journal.commits,
        waiting=journal.waiting,
        problem=journal.problem,
        commit_p50_ms=journal.commit_p50_seconds * MS_PER_SECOND,
        commit_p99_ms=journal.commit_p99_seconds * MS_PER_SECOND,
    )


def _error_rate(rate: ErrorRate) -> pb.ErrorRate:
    return pb.ErrorRate(
        error_code=rate.code.name,
        source=rate.source,
        last_minute=rate.last_minute,
        last_5_minutes=rate.last_5_minutes,
        last_hour=rate.last_hour,
    )


def _cause(cause: BreakerCause) -> pb.BreakerCause:
    return pb.BreakerCause(kind=cause.kind, cause=cause.cause, since_unix_ms=cause.since_unix_ns // NS_PER_MS)


def _stage(latency: StageLatency) -> pb.StageLatency:
    return pb.StageLatency(
        stage=latency.stage.value,
        count=latency.count,
        p50_ms=latency.p50_seconds * MS_PER_SECOND,
        p90_ms=latency.p90_seconds * MS_PER_SECOND,
        p99_ms=latency.p99_seconds * MS_PER_SECOND,
    )


def _blockhash(blockhash: BlockhashStatus) -> pb.BlockhashStatus:
    return pb.BlockhashStatus(
        blockhash=blockhash.blockhash,
        last_valid_block_height=blockhash.last_valid_block_height,
        block_height=blockhash.block_height,
        age_ms=_ms(blockhash.age_seconds),
        fresh=blockhash.fresh,
    )


def _fee_cache(fees: FeeCacheStatus) -> pb.FeeCacheStatus:
    return pb.FeeCacheStatus(
        entries=fees.entries,
        oldest_age_ms=_age_ms(fees.oldest_age_seconds),
        percentiles=[
            pb.FeePercentile(urgency_level=_URGENCY[fee.urgency], price_micro_lamports=fee.price_micro_lamports)
            for fee in fees.percentiles
        ],
    )


def _endpoint(endpoint: EndpointStatus) -> pb.EndpointStatus:
    return pb.EndpointStatus(
        name=endpoint.name,
        endpoint=endpoint.endpoint,
        healthy=endpoint.healthy,
        problem=endpoint.problem,
        age_ms=_age_ms(endpoint.age_seconds),
        slot=endpoint.slot,
    )


def _wallet(wallet: WalletStatus) -> pb.WalletStatus:
    return pb.WalletStatus(
        address=wallet.address,
        balances=[
            pb.WalletBalance(symbol=balance.symbol, mint=balance.mint, amount=balance.amount, decimals=balance.decimals)
            for balance in wallet.balances
        ],
        age_ms=_age_ms(wallet.age_seconds),
    )


def _ms(seconds: float) -> int:
    return round(seconds * MS_PER_SECOND)


def _age_ms(seconds: float) -> int | None:
    return None if math.isinf(seconds) else _ms(seconds)

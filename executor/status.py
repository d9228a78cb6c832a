"""What the daemon says of itself. Durations and ages in seconds; an age of inf means: never."""

import enum

from attrs import frozen

from executor.errors import ErrorCode
from executor.model import Stage, Urgency
from executor.units import MicroLamports


class BreakerState(enum.Enum):
    """The circuit breaker, in the usual words."""

    CLOSED = "closed"
    """Trading."""
    OPEN = "open"
    """Halted."""
    HALF_OPEN = "half_open"
    """Probing."""


class CauseKind(enum.StrEnum):
    """What may open the circuit breaker. Stable: journals, dashboards and callers hold them."""

    ERROR_RATE = "error_rate"
    ERROR_COUNT = "error_count"
    LANDED_FAILURES = "landed_failures"
    SLOW_BROADCAST = "slow_broadcast"
    BLOCKHASH = "blockhash"
    NODES = "nodes"
    CLUSTER = "cluster"
    JOURNAL = "journal"
    LOSS = "loss"
    OPERATOR = "operator"


@frozen(kw_only=True)
class BreakerCause:
    """Why the circuit breaker is not closed."""

    kind: str
    """A CauseKind."""
    cause: str
    """One sentence."""
    since_unix_ns: int


@frozen(kw_only=True)
class OutcomeCounts:
    """How trades ended, since the start."""

    success: int = 0
    failed: int = 0
    pending: int = 0
    """Answered PENDING and not resolved yet."""
    refused: int = 0
    """Answered with an error status."""


@frozen(kw_only=True)
class ErrorCount:
    """How often an error code was given, since the start."""

    code: ErrorCode
    count: int


@frozen(kw_only=True)
class ErrorRate:
    """How often an error code came lately, and whose it was. A window may be longer by a twelfth."""

    code: ErrorCode
    source: str
    """`node NAME`, `jupiter`, or the calling source_service; `others` where those are too many."""
    last_minute: int
    last_5_minutes: int
    last_hour: int


@frozen(kw_only=True)
class StageLatency:
    """How long a stage of the line takes."""

    stage: Stage
    count: int
    """Since the start; the percentiles are over the last ones only."""
    p50_seconds: float
    p90_seconds: float
    p99_seconds: float


@frozen(kw_only=True)
class JournalStatus:
    """What was made durable since the start, entries and notes, and how long the last commits took."""

    entries: int
    commits: int
    waiting: int
    """Handed over and not durable yet."""
    problem: str
    """Why nothing can be made durable; empty: it can."""
    commit_p50_seconds: float
    commit_p99_seconds: float


@frozen(kw_only=True)
class BlockhashStatus:
    """The blockhash that the next trade would be signed with."""

    blockhash: str
    last_valid_block_height: int
    block_height: int
    age_seconds: float
    fresh: bool


@frozen(kw_only=True)
class FeePercentile:
    """What an urgency pays."""

    urgency: Urgency
    price_micro_lamports: MicroLamports
    """Per compute unit."""


@frozen(kw_only=True)
class FeeCacheStatus:
    """The recent priority fees that are kept."""

    entries: int
    """Sets of accounts that are watched."""
    oldest_age_seconds: float
    """inf: nothing was read yet."""
    percentiles: tuple[FeePercentile, ...] = ()
    """Of the set that was asked for last."""


@frozen(kw_only=True)
class EndpointStatus:
    """An upstream as we saw it last."""

    name: str
    endpoint: str
    """Scheme, host and port; never a path, a query or a credential."""
    healthy: bool | None
    """None: it was never asked, so nobody knows."""
    problem: str = ""
    """Empty while none is known."""
    age_seconds: float
    """Since the last answer, good or bad."""
    slot: int = 0
    """Of a node."""


@frozen(kw_only=True)
class WalletBalance:
    """What the wallet holds of a token."""

    symbol: str
    mint: str
    amount: int
    """Smallest unit; native lamports for SOL."""
    decimals: int


@frozen(kw_only=True)
class WalletStatus:
    """The wallet that pays."""

    address: str
    balances: tuple[WalletBalance, ...] = ()
    age_seconds: float


@frozen(kw_only=True)
class ExecutorStatus:
    """The whole. A part is None until it is known."""

    version: str
    uptime_seconds: float
    trading_allowed: bool
    """False while no trade at all would be taken."""
    not_allowed_because: tuple[str, ...] = ()
    breaker: BreakerState
    breaker_causes: tuple[BreakerCause, ...] = ()
    trades_in_flight: int
    outcomes: OutcomeCounts
    journal: JournalStatus
    error_counts: tuple[ErrorCount, ...] = ()
    error_rates: tuple[ErrorRate, ...] = ()
    """The most frequent of the last hour first."""
    stages: tuple[StageLatency, ...] = ()
    blockhash: BlockhashStatus | None = None
    fee_cache: FeeCacheStatus | None = None
    nodes: tuple[EndpointStatus, ...] = ()
    jupiter: EndpointStatus | None = None
    wallet: WalletStatus | None = None
    untradable_tokens: tuple[str, ...] = ()
    """Whitelisted tokens that cannot be traded, and why; the others can."""

from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UrgencyLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    URGENCY_LEVEL_UNSPECIFIED: _ClassVar[UrgencyLevel]
    URGENCY_LEVEL_LOW: _ClassVar[UrgencyLevel]
    URGENCY_LEVEL_NORMAL: _ClassVar[UrgencyLevel]
    URGENCY_LEVEL_HIGH: _ClassVar[UrgencyLevel]
    URGENCY_LEVEL_CRITICAL: _ClassVar[UrgencyLevel]

class TradeStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRADE_STATUS_UNSPECIFIED: _ClassVar[TradeStatus]
    TRADE_STATUS_SUCCESS: _ClassVar[TradeStatus]
    TRADE_STATUS_FAILED: _ClassVar[TradeStatus]
    TRADE_STATUS_PENDING: _ClassVar[TradeStatus]

class TradeState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRADE_STATE_UNSPECIFIED: _ClassVar[TradeState]
    TRADE_STATE_ACCEPTED: _ClassVar[TradeState]
    TRADE_STATE_SIGNED: _ClassVar[TradeState]
    TRADE_STATE_SENT: _ClassVar[TradeState]
    TRADE_STATE_SUCCEEDED: _ClassVar[TradeState]
    TRADE_STATE_REVERTED: _ClassVar[TradeState]
    TRADE_STATE_EXPIRED: _ClassVar[TradeState]
    TRADE_STATE_DENIED: _ClassVar[TradeState]
    TRADE_STATE_REJECTED: _ClassVar[TradeState]

class BreakerState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BREAKER_STATE_UNSPECIFIED: _ClassVar[BreakerState]
    BREAKER_STATE_CLOSED: _ClassVar[BreakerState]
    BREAKER_STATE_OPEN: _ClassVar[BreakerState]
    BREAKER_STATE_HALF_OPEN: _ClassVar[BreakerState]
URGENCY_LEVEL_UNSPECIFIED: UrgencyLevel
URGENCY_LEVEL_LOW: UrgencyLevel
URGENCY_LEVEL_NORMAL: UrgencyLevel
URGENCY_LEVEL_HIGH: UrgencyLevel
URGENCY_LEVEL_CRITICAL: UrgencyLevel
TRADE_STATUS_UNSPECIFIED: TradeStatus
TRADE_STATUS_SUCCESS: TradeStatus
TRADE_STATUS_FAILED: TradeStatus
TRADE_STATUS_PENDING: TradeStatus
TRADE_STATE_UNSPECIFIED: TradeState
TRADE_STATE_ACCEPTED: TradeState
TRADE_STATE_SIGNED: TradeState
TRADE_STATE_SENT: TradeState
TRADE_STATE_SUCCEEDED: TradeState
TRADE_STATE_REVERTED: TradeState
TRADE_STATE_EXPIRED: TradeState
TRADE_STATE_DENIED: TradeState
TRADE_STATE_REJECTED: TradeState
BREAKER_STATE_UNSPECIFIED: BreakerState
BREAKER_STATE_CLOSED: BreakerState
BREAKER_STATE_OPEN: BreakerState
BREAKER_STATE_HALF_OPEN: BreakerState

class Empty(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TradeRequest(_message.Message):
    __slots__ = ("request_id", "source_service", "input_token", "output_token", "amount_lamports", "max_slippage_bps", "urgency_level", "expected_price", "fee_account", "tracking_account")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_SERVICE_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_LAMPORTS_FIELD_NUMBER: _ClassVar[int]
    MAX_SLIPPAGE_BPS_FIELD_NUMBER: _ClassVar[int]
    URGENCY_LEVEL_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_PRICE_FIELD_NUMBER: _ClassVar[int]
    FEE_ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    TRACKING_ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    source_service: str
    input_token: str
    output_token: str
    amount_lamports: int
    max_slippage_bps: int
    urgency_level: UrgencyLevel
    expected_price: float
    fee_account: str
    tracking_account: str
    def __init__(self, request_id: _Optional[str] = ..., source_service: _Optional[str] = ..., input_token: _Optional[str] = ..., output_token: _Optional[str] = ..., amount_lamports: _Optional[int] = ..., max_slippage_bps: _Optional[int] = ..., urgency_level: _Optional[_Union[UrgencyLevel, str]] = ..., expected_price: _Optional[float] = ..., fee_account: _Optional[str] = ..., tracking_account: _Optional[str] = ...) -> None: ...

class TradeResult(_message.Message):
    __slots__ = ("request_id", "status", "transaction_signature", "executed_amount", "executed_price", "slippage_bps", "fees_paid", "priority_fee", "execution_time_ms", "error_message", "mev_protected", "confirmation_time_ms", "error_code", "retryable", "error_stage", "signed_slippage_bps", "rent_lamports", "broadcast_time_us", "mev_protection", "shared_accounts", "slot", "compute_units_consumed", "input_amount", "quoted_amount", "last_valid_block_height", "tip_lamports")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    EXECUTED_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    EXECUTED_PRICE_FIELD_NUMBER: _ClassVar[int]
    SLIPPAGE_BPS_FIELD_NUMBER: _ClassVar[int]
    FEES_PAID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FEE_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    MEV_PROTECTED_FIELD_NUMBER: _ClassVar[int]
    CONFIRMATION_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    ERROR_STAGE_FIELD_NUMBER: _ClassVar[int]
    SIGNED_SLIPPAGE_BPS_FIELD_NUMBER: _ClassVar[int]
    RENT_LAMPORTS_FIELD_NUMBER: _ClassVar[int]
    BROADCAST_TIME_US_FIELD_NUMBER: _ClassVar[int]
    MEV_PROTECTION_FIELD_NUMBER: _ClassVar[int]
    SHARED_ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_UNITS_CONSUMED_FIELD_NUMBER: _ClassVar[int]
    INPUT_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    QUOTED_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_VALID_BLOCK_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    TIP_LAMPORTS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    status: TradeStatus
    transaction_signature: str
    executed_amount: int
    executed_price: float
    slippage_bps: int
    fees_paid: int
    priority_fee: int
    execution_time_ms: int
    error_message: str
    mev_protected: bool
    confirmation_time_ms: int
    error_code: str
    retryable: bool
    error_stage: str
    signed_slippage_bps: int
    rent_lamports: int
    broadcast_time_us: int
    mev_protection: str
    shared_accounts: bool
    slot: int
    compute_units_consumed: int
    input_amount: int
    quoted_amount: int
    last_valid_block_height: int
    tip_lamports: int
    def __init__(self, request_id: _Optional[str] = ..., status: _Optional[_Union[TradeStatus, str]] = ..., transaction_signature: _Optional[str] = ..., executed_amount: _Optional[int] = ..., executed_price: _Optional[float] = ..., slippage_bps: _Optional[int] = ..., fees_paid: _Optional[int] = ..., priority_fee: _Optional[int] = ..., execution_time_ms: _Optional[int] = ..., error_message: _Optional[str] = ..., mev_protected: _Optional[bool] = ..., confirmation_time_ms: _Optional[int] = ..., error_code: _Optional[str] = ..., retryable: _Optional[bool] = ..., error_stage: _Optional[str] = ..., signed_slippage_bps: _Optional[int] = ..., rent_lamports: _Optional[int] = ..., broadcast_time_us: _Optional[int] = ..., mev_protection: _Optional[str] = ..., shared_accounts: _Optional[bool] = ..., slot: _Optional[int] = ..., compute_units_consumed: _Optional[int] = ..., input_amount: _Optional[int] = ..., quoted_amount: _Optional[int] = ..., last_valid_block_height: _Optional[int] = ..., tip_lamports: _Optional[int] = ...) -> None: ...

class GetTradeRequest(_message.Message):
    __slots__ = ("request_id",)
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    def __init__(self, request_id: _Optional[str] = ...) -> None: ...

class WatchTradeRequest(_message.Message):
    __slots__ = ("request_id", "after_sequence")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    after_sequence: int
    def __init__(self, request_id: _Optional[str] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class TradeUpdate(_message.Message):
    __slots__ = ("sequence", "state", "at_unix_us", "result")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    AT_UNIX_US_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    state: TradeState
    at_unix_us: int
    result: TradeResult
    def __init__(self, sequence: _Optional[int] = ..., state: _Optional[_Union[TradeState, str]] = ..., at_unix_us: _Optional[int] = ..., result: _Optional[_Union[TradeResult, _Mapping]] = ...) -> None: ...

class HaltTradingRequest(_message.Message):
    __slots__ = ("why",)
    WHY_FIELD_NUMBER: _ClassVar[int]
    why: str
    def __init__(self, why: _Optional[str] = ...) -> None: ...

class ResumeTradingRequest(_message.Message):
    __slots__ = ("why",)
    WHY_FIELD_NUMBER: _ClassVar[int]
    why: str
    def __init__(self, why: _Optional[str] = ...) -> None: ...

class ExecutorStatus(_message.Message):
    __slots__ = ("version", "uptime_ms", "trading_allowed", "not_allowed_because", "breaker", "trades_in_flight", "outcomes", "error_counts", "stages", "blockhash", "fee_cache", "nodes", "jupiter", "wallet", "untradable_tokens", "breaker_causes", "error_rates", "journal")
    class ErrorCountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    UPTIME_MS_FIELD_NUMBER: _ClassVar[int]
    TRADING_ALLOWED_FIELD_NUMBER: _ClassVar[int]
    NOT_ALLOWED_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    BREAKER_FIELD_NUMBER: _ClassVar[int]
    TRADES_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    ERROR_COUNTS_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    BLOCKHASH_FIELD_NUMBER: _ClassVar[int]
    FEE_CACHE_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    JUPITER_FIELD_NUMBER: _ClassVar[int]
    WALLET_FIELD_NUMBER: _ClassVar[int]
    UNTRADABLE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    BREAKER_CAUSES_FIELD_NUMBER: _ClassVar[int]
    ERROR_RATES_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_FIELD_NUMBER: _ClassVar[int]
    version: str
    uptime_ms: int
    trading_allowed: bool
    not_allowed_because: _containers.RepeatedScalarFieldContainer[str]
    breaker: BreakerState
    trades_in_flight: int
    outcomes: OutcomeCounts
    error_counts: _containers.ScalarMap[str, int]
    stages: _containers.RepeatedCompositeFieldContainer[StageLatency]
    blockhash: BlockhashStatus
    fee_cache: FeeCacheStatus
    nodes: _containers.RepeatedCompositeFieldContainer[EndpointStatus]
    jupiter: EndpointStatus
    wallet: WalletStatus
    untradable_tokens: _containers.RepeatedScalarFieldContainer[str]
    breaker_causes: _containers.RepeatedCompositeFieldContainer[BreakerCause]
    error_rates: _containers.RepeatedCompositeFieldContainer[ErrorRate]
    journal: JournalStatus
    def __init__(self, version: _Optional[str] = ..., uptime_ms: _Optional[int] = ..., trading_allowed: _Optional[bool] = ..., not_allowed_because: _Optional[_Iterable[str]] = ..., breaker: _Optional[_Union[BreakerState, str]] = ..., trades_in_flight: _Optional[int] = ..., outcomes: _Optional[_Union[OutcomeCounts, _Mapping]] = ..., error_counts: _Optional[_Mapping[str, int]] = ..., stages: _Optional[_Iterable[_Union[StageLatency, _Mapping]]] = ..., blockhash: _Optional[_Union[BlockhashStatus, _Mapping]] = ..., fee_cache: _Optional[_Union[FeeCacheStatus, _Mapping]] = ..., nodes: _Optional[_Iterable[_Union[EndpointStatus, _Mapping]]] = ..., jupiter: _Optional[_Union[EndpointStatus, _Mapping]] = ..., wallet: _Optional[_Union[WalletStatus, _Mapping]] = ..., untradable_tokens: _Optional[_Iterable[str]] = ..., breaker_causes: _Optional[_Iterable[_Union[BreakerCause, _Mapping]]] = ..., error_rates: _Optional[_Iterable[_Union[ErrorRate, _Mapping]]] = ..., journal: _Optional[_Union[JournalStatus, _Mapping]] = ...) -> None: ...

class BreakerCause(_message.Message):
    __slots__ = ("kind", "cause", "since_unix_ms")
    KIND_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    SINCE_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    cause: str
    since_unix_ms: int
    def __init__(self, kind: _Optional[str] = ..., cause: _Optional[str] = ..., since_unix_ms: _Optional[int] = ...) -> None: ...

class ErrorRate(_message.Message):
    __slots__ = ("error_code", "source", "last_minute", "last_5_minutes", "last_hour")
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LAST_MINUTE_FIELD_NUMBER: _ClassVar[int]
    LAST_5_MINUTES_FIELD_NUMBER: _ClassVar[int]
    LAST_HOUR_FIELD_NUMBER: _ClassVar[int]
    error_code: str
    source: str
    last_minute: int
    last_5_minutes: int
    last_hour: int
    def __init__(self, error_code: _Optional[str] = ..., source: _Optional[str] = ..., last_minute: _Optional[int] = ..., last_5_minutes: _Optional[int] = ..., last_hour: _Optional[int] = ...) -> None: ...

class JournalStatus(_message.Message):
    __slots__ = ("entries", "commits", "waiting", "problem", "commit_p50_ms", "commit_p99_ms")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    COMMITS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    COMMIT_P50_MS_FIELD_NUMBER: _ClassVar[int]
    COMMIT_P99_MS_FIELD_NUMBER: _ClassVar[int]
    entries: int
    commits: int
    waiting: int
    problem: str
    commit_p50_ms: float
    commit_p99_ms: float
    def __init__(self, entries: _Optional[int] = ..., commits: _Optional[int] = ..., waiting: _Optional[int] = ..., problem: _Optional[str] = ..., commit_p50_ms: _Optional[float] = ..., commit_p99_ms: _Optional[float] = ...) -> None: ...

class OutcomeCounts(_message.Message):
    __slots__ = ("success", "failed", "pending", "refused")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    success: int
    failed: int
    pending: int
    refused: int
    def __init__(self, success: _Optional[int] = ..., failed: _Optional[int] = ..., pending: _Optional[int] = ..., refused: _Optional[int] = ...) -> None: ...

class StageLatency(_message.Message):
    __slots__ = ("stage", "count", "p50_ms", "p90_ms", "p99_ms")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    P50_MS_FIELD_NUMBER: _ClassVar[int]
    P90_MS_FIELD_NUMBER: _ClassVar[int]
    P99_MS_FIELD_NUMBER: _ClassVar[int]
    stage: str
    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    def __init__(self, stage: _Optional[str] = ..., count: _Optional[int] = ..., p50_ms: _Optional[float] = ..., p90_ms: _Optional[float] = ..., p99_ms: _Optional[float] = ...) -> None: ...

class BlockhashStatus(_message.Message):
    __slots__ = ("blockhash", "last_valid_block_height", "block_height", "age_ms", "fresh")
    BLOCKHASH_FIELD_NUMBER: _ClassVar[int]
    LAST_VALID_BLOCK_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    BLOCK_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    FRESH_FIELD_NUMBER: _ClassVar[int]
    blockhash: str
    last_valid_block_height: int
    block_height: int
    age_ms: int
    fresh: bool
    def __init__(self, blockhash: _Optional[str] = ..., last_valid_block_height: _Optional[int] = ..., block_height: _Optional[int] = ..., age_ms: _Optional[int] = ..., fresh: _Optional[bool] = ...) -> None: ...

class FeeCacheStatus(_message.Message):
    __slots__ = ("entries", "oldest_age_ms", "percentiles")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    OLDEST_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    PERCENTILES_FIELD_NUMBER: _ClassVar[int]
    entries: int
    oldest_age_ms: int
    percentiles: _containers.RepeatedCompositeFieldContainer[FeePercentile]
    def __init__(self, entries: _Optional[int] = ..., oldest_age_ms: _Optional[int] = ..., percentiles: _Optional[_Iterable[_Union[FeePercentile, _Mapping]]] = ...) -> None: ...

class FeePercentile(_message.Message):
    __slots__ = ("urgency_level", "price_micro_lamports")
    URGENCY_LEVEL_FIELD_NUMBER: _ClassVar[int]
    PRICE_MICRO_LAMPORTS_FIELD_NUMBER: _ClassVar[int]
    urgency_level: UrgencyLevel
    price_micro_lamports: int
    def __init__(self, urgency_level: _Optional[_Union[UrgencyLevel, str]] = ..., price_micro_lamports: _Optional[int] = ...) -> None: ...

class EndpointStatus(_message.Message):
    __slots__ = ("name", "endpoint", "healthy", "problem", "age_ms", "slot")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    name: str
    endpoint: str
    healthy: bool
    problem: str
    age_ms: int
    slot: int
    def __init__(self, name: _Optional[str] = ..., endpoint: _Optional[str] = ..., healthy: _Optional[bool] = ..., problem: _Optional[str] = ..., age_ms: _Optional[int] = ..., slot: _Optional[int] = ...) -> None: ...

class WalletStatus(_message.Message):
    __slots__ = ("address", "balances", "age_ms")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    BALANCES_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    address: str
    balances: _containers.RepeatedCompositeFieldContainer[WalletBalance]
    age_ms: int
    def __init__(self, address: _Optional[str] = ..., balances: _Optional[_Iterable[_Union[WalletBalance, _Mapping]]] = ..., age_ms: _Optional[int] = ...) -> None: ...

class WalletBalance(_message.Message):
    __slots__ = ("symbol", "mint", "amount", "decimals")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    MINT_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    DECIMALS_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    mint: str
    amount: int
    decimals: int
    def __init__(self, symbol: _Optional[str] = ..., mint: _Optional[str] = ..., amount: _Optional[int] = ..., decimals: _Optional[int] = ...) -> None: ...

"""The values that travel down the line of a trade. Frozen; each stage returns the next one.

`TradeRequest -> Order -> Quoted -> Built -> Verified -> Simulated -> Signed -> Sent -> Outcome`
"""

import enum
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from attrs import frozen
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.instruction import Instruction
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature

from executor.errors import ErrorCode
from executor.units import Bps, Lamports, MicroLamports

NATIVE_MINT = Pubkey.from_string("So11111111111111111111111111111111111111112")
"""Wrapped SOL. Trades of it start and end as native lamports: Jupiter wraps and unwraps."""


class Urgency(enum.Enum):
    """How much a caller cares to be in the next block."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"


class Stage(enum.Enum):
    """The stages of a trade, in order. Their names stand in logs, results and the status."""

    VALIDATION = "validation"
    BALANCES = "balances"
    QUOTE = "quote"
    BUILD = "build"
    VERIFY = "verify"
    SIMULATE = "simulate"
    SIGN = "sign"
    JOURNAL = "journal"
    SEND = "send"
    MONITOR = "monitor"
    RECORD = "record"


@frozen(kw_only=True)
class Token:
    """A mint with the facts that amounts and accounts depend on."""

    mint: Pubkey
    symbol: str
    decimals: int
    program: Pubkey
    """The token program that owns the mint: Token or Token-2022."""
    account_rent_lamports: Lamports
    """What an associated token account of this mint costs to create; Token-2022 extensions make it larger."""

    @property
    def is_native(self) -> bool:
        """Wrapped SOL, paid from and to the wallet's lamports."""
        return self.mint == NATIVE_MINT


@frozen(kw_only=True)
class TradeRequest:
    """A call as it came in, before anything was checked."""

    request_id: str
    source_service: str
    input_mint: str
    output_mint: str
    in_amount: int
    max_slippage_bps: int
    urgency: Urgency
    expected_price: float
    """Output per input in UI units; 0 = none. As it stood on the wire; an `Order` holds it exactly."""
    fee_account: str | None = None
    tracking_account: str | None = None


@frozen(kw_only=True)
class Order:
    """A request that passed every rule that needs no I/O."""

    request: TradeRequest
    received_at: float
    """trio.current_time() of the receipt."""
    received_unix_ns: int
    input: Token
    output: Token
    in_amount: int
    max_slippage_bps: Bps
    urgency: Urgency
    expected_price: Fraction | None
    fee_account: Pubkey | None
    tracking_account: Pubkey | None

    @classmethod
    def of(cls, request: TradeRequest, *, tokens: tuple[Token, Token], received_at: float, received_unix_ns: int) -> "Order":
        """Read a request whose fields are sound; `tokens` are its input and its output."""
        source, target = tokens
        return cls(
            request=request,
            received_at=received_at,
            received_unix_ns=received_unix_ns,
            input=source,
            output=target,
            in_amount=request.in_amount,
            max_slippage_bps=Bps(request.max_slippage_bps),
            urgency=request.urgency,
            expected_price=_exact(request.expected_price),
            fee_account=_optional_key(request.fee_account),
            tracking_account=_optional_key(request.tracking_account),
        )

    @property
    def request_id(self) -> str:
        """The caller's id, global to the daemon."""
        return self.request.request_id


def _exact(price: float) -> Fraction | None:
    """The price as the caller wrote it: the shortest decimal that stands for this double, not its binary expansion."""
    return Fraction(Decimal(repr(price))) if price else None


def _optional_key(text: str | None) -> Pubkey | None:
    return None if text is None else Pubkey.from_string(text)


@frozen(kw_only=True)
class Quote:
    """Jupiter's offer. `raw` is its answer byte for byte: it goes back as it came."""

    input_mint: Pubkey
    output_mint: Pubkey
    in_amount: int
    out_amount: int
    """Net of pool and platform fees, before slippage."""
    other_amount_threshold: int
    slippage_bps: int
    platform_fee_bps: int
    context_slot: int
    route: tuple[str, ...]
    """The labels of the hops."""
    raw: bytes


@frozen(kw_only=True)
class Quoted:
    """An order with the offer that it accepts."""

    order: Order
    quote: Quote
    reference_out_amount: int
    """What slippage is measured against: the caller's expected price, or the quote where none was given."""
    minimum_out_amount: int
    """The least that may arrive: within the slippage of the quote, and of the expected price."""


@frozen(kw_only=True)
class SwapInstructions:
    """Jupiter's instructions for a quote, without its compute budget: ours replaces it."""

    setup: tuple[Instruction, ...]
    swap: Instruction
    cleanup: tuple[Instruction, ...]
    other: tuple[Instruction, ...]
    lookup_tables: tuple[Pubkey, ...]


@frozen(kw_only=True)
class ComputeBudget:
    """Our own limit and price."""

    unit_limit: int
    unit_price: MicroLamports


@frozen(kw_only=True)
class Built:
    """An unsigned transaction: instructions without the compute budget, which the simulation decides."""

    quoted: Quoted
    instructions: tuple[Instruction, ...]
    lookup_tables: tuple[AddressLookupTableAccount, ...]
    shared_accounts: bool
    fee_price: MicroLamports | None
    """The market's price per compute unit for the order's urgency; None where no data is at hand."""


@frozen(kw_only=True)
class Verified:
    """An unsigned transaction of which every instruction was read and is what was asked for: only `verify` makes it."""

    built: Built


@frozen(kw_only=True)
class Simulated:
    """A transaction that the chain would accept now, with the budget it needs."""

    built: Built
    budget: ComputeBudget
    priority_fee_lamports: Lamports
    units_consumed: int


@frozen(kw_only=True)
class Signed:
    """The bytes that may land, and all that is needed to follow them and to tell how they ended. Only the chain decides now.

    Every part of it stands in the journal: a restart takes the trade up where it was.
    """

    order: Order
    signature: Signature
    message: MessageV0
    wire: bytes
    blockhash: Hash
    last_valid_block_height: int
    context_slot: int
    """The slot of the answer that brought the blockhash: in no earlier block can it have landed."""
    budget: ComputeBudget
    priority_fee_lamports: Lamports
    reference_out_amount: int
    quoted_out_amount: int
    shared_accounts: bool

    @property
    def wallet(self) -> Pubkey:
        """Who pays: the fee payer. After a restart the daemon's own wallet may be another one."""
        return self.message.account_keys[0]


@frozen(kw_only=True)
class LeftOpen:
    """A trade that a process left without an outcome, as the journal tells it."""

    order: Order
    signed: Signed | None
    """None: nothing was signed, so nothing was sent."""
    first_sent_at: float | None
    """On this process's trio clock; None: no entry says that a byte left, though one may have."""
    needs: Mapping[Pubkey | None, int]
    """What it may spend, as it was reserved: raw amounts by mint, None stands for lamports."""


@frozen(kw_only=True)
class Sent:
    """At least one byte left the process."""

    signed: Signed
    first_sent_at: float
    """trio.current_time() just before the first byte left."""


@frozen(kw_only=True)
class Landed:
    """A signature at `confirmed` or `finalized`."""

    slot: int
    reverted: bool
    """What its status says; the transaction itself has to agree."""
    confirmed_at: float
    """trio.current_time() when we learned it."""


@frozen(kw_only=True)
class Fill:
    """What a confirmed transaction did to the wallet, read from the chain."""

    slot: int
    in_amount: int
    out_amount: int
    fee_lamports: Lamports
    """Signature fees and priority fee, without tips."""
    priority_fee_lamports: Lamports
    rent_lamports: int
    """Lamports that went into accounts of ours that this transaction created; negative when it got some back."""
    units_consumed: int
    error_code: ErrorCode | None = None
    """Why it reverted; None: it did what it should."""
    error_detail: str = ""


class OutcomeStatus(enum.Enum):
    """What a caller is told."""

    SUCCESS = "success"
    FAILED = "failed"
    PENDING = "pending"


@frozen(kw_only=True)
class Outcome:
    """How a trade ended, or what is known of it so far (PENDING)."""

    request_id: str
    status: OutcomeStatus
    signature: str | None = None
    executed_amount: int = 0
    input_amount: int = 0
    executed_price: Fraction | None = None
    signed_slippage_bps: int = 0
    fees_paid_lamports: int = 0
    priority_fee_lamports: int = 0
    tip_lamports: int = 0
    rent_lamports: int = 0
    quoted_amount: int = 0
    reference_amount: int = 0
    """The output that slippage is measured against; 0 when nothing was signed."""
    slot: int = 0
    units_consumed: int = 0
    last_valid_block_height: int = 0
    shared_accounts: bool = False
    mev_protected: bool = False
    mev_protection: str = ""
    execution_ns: int = 0
    """Receipt to outcome."""
    broadcast_ns: int = 0
    """Receipt to first send; 0 when nothing was sent."""
    confirmation_ns: int = 0
    """First send to confirmed."""
    error_code: ErrorCode | None = None
    error_message: str | None = None
    error_stage: Stage | None = None

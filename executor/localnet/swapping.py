"""From a quote to the instructions that execute it, as Jupiter writes them, and to an unsigned transaction."""

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from attrs import field, frozen
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import Instruction
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from executor.localnet.formula import maximum_in
from executor.localnet.market import TRADER_UNIT_PRICES, Path
from executor.localnet.program.layout import AUTHORITY_IDS, RouteCall, RouteKind
from executor.localnet.quoting import Refusal, SwapMode, meets_token_2022
from executor.localnet.tokens import (
    SOL,
    Token,
    associated_address,
    close_account,
    create_associated,
    sync_native,
    transfer_lamports,
)
from executor.units import MAX_COMPUTE_UNIT_LIMIT, MICRO_LAMPORTS_PER_LAMPORT, PACKET_BYTES

# With dynamicComputeUnitLimit: 1.4 times what the instructions were measured to use at most, rounded up.
SETUP_UNITS: Final = 30_000  # an associated account that must be created, with an unlucky bump
HOP_UNITS: Final = 30_000

AUTO_FEE_LAMPORTS: Final = 100_000
"""The most that the default, "auto", spends; so does the recorded answer."""
_sorted_prices = sorted(TRADER_UNIT_PRICES)
LEVEL_PRICES: Final = {  # Jupiter's levels are percentiles of what landed; here of what the market's trader bids
    "medium": _sorted_prices[len(_sorted_prices) * 25 // 100],
    "high": _sorted_prices[len(_sorted_prices) * 50 // 100],
    "veryHigh": _sorted_prices[len(_sorted_prices) * 75 // 100],
}
JITO_TIP_ACCOUNTS: Final = tuple(
    map(
        Pubkey.from_string,
        (
            "96gYZGLnJYVFmbjzopPSU6QiEV5fGqZNyN9nmNhvrZU5",
            "HFqU5x63VTqvQss8hp11i4wVV8bD44PvwucfZ2bU7gRe",
            "Cw8CFyM9FkoMi7K7Crf6HNQqf4uEMzpKw6QNghXLvLkY",
            "ADaUMid9yfUytqMBgopwjb2DTLSokTSzL1zt6iGPaS49",
            "DfXygSm4jCyNCybVYYK6DwvWqjKee8pbDmJGcLWNDXjh",
            "ADuUkR4vqLUMWXxW9gh6D6L8pMSawimctcNZ5pGwDcEt",
            "DttWaMuVvTiduZRnguLF7jNxTgiMBZ1hyAumKUiL2KRL",
            "3AVi9Tg9Uo68tJfuvoKvqKNWKkC5wPdSSdeBnizKZ6jT",
        ),
    )
)


@frozen(kw_only=True)
class Quoted:
    """What a quote that came back says; nothing else of it goes on chain."""

    mode: SwapMode
    in_amount: int
    out_amount: int
    slippage_bps: int
    platform_fee_bps: int
    path: Path


@frozen(kw_only=True)
class Priority:
    """What the caller wants to pay the leader, in one of four ways; none of them is the default."""

    unit_price_micro_lamports: int | None = None
    fee_lamports: int | None = None
    level: str = "veryHigh"
    max_lamports: int = AUTO_FEE_LAMPORTS
    tip_lamports: int | None = None
    tip_payer: Pubkey | None = None


@frozen(kw_only=True)
class SwapRequest:
    """What /swap and /swap-instructions are asked for, read and free of contradictions."""

    user: Pubkey
    quoted: Quoted
    payer: Pubkey
    wrap_sol: bool = True
    shared_accounts: bool | None = None
    """None: the router decides."""
    fee_account: Pubkey | None = None
    tracking_account: Pubkey | None = None
    destination: Pubkey | None = None
    """A token account that gets the output in place of the user's own."""
    priority: Priority = field(factory=Priority)
    dynamic_unit_limit: bool = False
    legacy_transaction: bool = False


@frozen(kw_only=True)
class BudgetedFee:
    """What the compute budget says and what it costs."""

    unit_limit: int
    unit_price_micro_lamports: int | None
    """None: a tip is paid in its place."""
    estimated_micro_lamports: int | None
    lamports: int


@frozen(kw_only=True)
class SwapPlan:
    """The instructions of a swap, and the lookup tables that shorten them."""

    payer: Pubkey
    compute_budget: tuple[Instruction, ...]
    setup: tuple[Instruction, ...]
    swap: Instruction
    cleanup: Instruction | None
    other: tuple[Instruction, ...]
    tables: tuple[AddressLookupTableAccount, ...]
    fee: BudgetedFee

    @property
    def instructions(self) -> list[Instruction]:
        """All of them, in the order in which they run."""
        cleanup = () if self.cleanup is None else (self.cleanup,)
        return [*self.compute_budget, *self.setup, self.swap, *cleanup, *self.other]


def plan_swap(request: SwapRequest, *, tables: Sequence[AddressLookupTableAccount], rng: random.Random) -> SwapPlan:
    """Write the instructions. Raises `Refusal` for what the program cannot do."""
    quoted = request.quoted
    if quoted.platform_fee_bps and request.fee_account is None:
        raise Refusal("feeAccount is required for swap with platformFee", "NOT_SUPPORTED")
    shared = _uses_shared_accounts(request)
    setup = tuple(_setup(request, shared=shared))
    fee = _budgeted_fee(request.priority, unit_limit=_unit_limit(request, len(setup)))
    swap = _route_call(request, shared=shared, rng=rng).instruction
    return SwapPlan(
        payer=request.payer,
        compute_budget=_compute_budget(fee),
        setup=setup,
        swap=swap,
        cleanup=_cleanup(request, shared=shared),
        other=_tip(request, rng),
        tables=() if request.legacy_transaction else tuple(_useful(tables, swap)),
        fee=fee,
    )


def compile_swap(plan: SwapPlan, blockhash: Hash, *, legacy: bool) -> bytes:
    """The plan as a transaction without signatures. Raises `Refusal` when it does not fit into a packet."""
    message: Message | MessageV0
    if legacy:
        message = Message.new_with_blockhash(plan.instructions, plan.payer, blockhash)
    else:
        message = MessageV0.try_compile(plan.payer, plan.instructions, plan.tables, blockhash)
    unsigned = [Signature.default()] * message.header.num_required_signatures
    wire = bytes(VersionedTransaction.populate(message, unsigned))
    if len(wire) > PACKET_BYTES:
        raise Refusal(f"Transaction too large: {len(wire)} bytes", "FAILED_TO_GET_SWAP_AND_ACCOUNT_METAS")
    return wire


# ---- the swap itself


def _uses_shared_accounts(request: SwapRequest) -> bool:
    """Left to decide, the router takes the program's accounts where they spare the user an account of the middle token.

    A mint with a transfer fee would charge the two further transfers, for which the quote does not allow.
    """
    charged = meets_token_2022(request.quoted.path)
    if request.shared_accounts and charged:
        raise Refusal("Simple AMMs are not supported with shared accounts", "NOT_SUPPORTED")
    if request.destination is not None and charged:
        raise Refusal("destinationTokenAccount is not supported with token 2022 mints", "NOT_SUPPORTED")
    if request.shared_accounts is None:
        return not charged and (len(request.quoted.path) > 1 or request.destination is not None)
    return request.shared_accounts


def _route_call(request: SwapRequest, *, shared: bool, rng: random.Random) -> RouteCall:
    quoted = request.quoted
    token_in, token_out = quoted.path[0].token_in, quoted.path[-1].token_out
    exact_out = quoted.mode is SwapMode.EXACT_OUT
    amounts = (quoted.out_amount, quoted.in_amount) if exact_out else (quoted.in_amount, quoted.out_amount)
    own_destination = associated_address(request.user, token_out)
    return RouteCall(
        kind=_KINDS[shared, quoted.mode],
        user=request.user,
        source=associated_address(request.user, token_in),
        destination=request.destination or own_destination if shared else own_destination,
        legs=tuple(step.leg for step in quoted.path),
        amount=amounts[0],
        quoted_amount=amounts[1],
        slippage_bps=quoted.slippage_bps,
        platform_fee_bps=quoted.platform_fee_bps,
        platform_fee_account=request.fee_account,
        forward_to=None if shared else request.destination,
        authority_id=rng.choice(AUTHORITY_IDS),
        tracking_account=request.tracking_account,
    )


_KINDS: Final = {
    (False, SwapMode.EXACT_IN): RouteKind.ROUTE,
    (False, SwapMode.EXACT_OUT): RouteKind.EXACT_OUT_ROUTE,
    (True, SwapMode.EXACT_IN): RouteKind.SHARED_ACCOUNTS_ROUTE,
    (True, SwapMode.EXACT_OUT): RouteKind.SHARED_ACCOUNTS_EXACT_OUT_ROUTE,
}


# ---- around the swap


def _setup(request: SwapRequest, *, shared: bool) -> Iterator[Instruction]:
    """Create what the swap needs of the user's accounts; the input's is there already unless it is wrapped SOL."""
    path = request.quoted.path
    if path[0].token_in == SOL:
        yield _create(request, SOL)
        if request.wrap_sol:
            wrapped = associated_address(request.user, SOL)
            yield transfer_lamports(source=request.user, destination=wrapped, lamports=_largest_input(request.quoted))
            yield sync_native(wrapped)
    if not shared:
        for step in path[:-1]:
            yield _create(request, step.token_out)
    if request.destination is None or not shared:
        yield _create(request, path[-1].token_out)


def _create(request: SwapRequest, token: Token) -> Instruction:
    return create_associated(payer=request.payer, owner=request.user, token=token)


def _largest_input(quoted: Quoted) -> int:
    """What an exact-out route may take at most is wrapped; what it leaves comes back when the account is closed."""
    if quoted.mode is SwapMode.EXACT_IN:
        return quoted.in_amount
    return maximum_in(quoted.in_amount, quoted.slippage_bps)


def _cleanup(request: SwapRequest, *, shared: bool) -> Instruction | None:
    """Close the wrapped-SOL account that the swap has used, even one that was there before. So does Jupiter."""
    path = request.quoted.path
    used = {path[0].token_in} | (set() if shared else {step.token_out for step in path[:-1]})
    if request.destination is None:
        used.add(path[-1].token_out)
    if not request.wrap_sol or SOL not in used:
        return None
    wrapped = associated_address(request.user, SOL)
    return close_account(token=SOL, account=wrapped, destination=request.user, owner=request.user)


def _useful(tables: Iterable[AddressLookupTableAccount], swap: Instruction) -> Iterator[AddressLookupTableAccount]:
    """The tables that hold more than one account of the swap: a table costs more than an address."""
    keys = {meta.pubkey for meta in swap.accounts}
    return (table for table in tables if len(keys.intersection(table.addresses)) > 1)


# ---- what it costs


def _unit_limit(request: SwapRequest, setup_count: int) -> int:
    if not request.dynamic_unit_limit:
        return MAX_COMPUTE_UNIT_LIMIT
    return SETUP_UNITS * setup_count + HOP_UNITS * len(request.quoted.path)


def _budgeted_fee(priority: Priority, *, unit_limit: int) -> BudgetedFee:
    if priority.tip_lamports is not None:
        return BudgetedFee(
            unit_limit=unit_limit,
            unit_price_micro_lamports=None,
            estimated_micro_lamports=None,
            lamports=priority.tip_lamports,
        )
    estimate = LEVEL_PRICES[priority.level]
    price = priority.unit_price_micro_lamports
    if price is None:
        fee = priority.fee_lamports
        if fee is None:
            fee = min(priority.max_lamports, estimate * unit_limit // MICRO_LAMPORTS_PER_LAMPORT)
        price = fee * MICRO_LAMPORTS_PER_LAMPORT // unit_limit
    return BudgetedFee(
        unit_limit=unit_limit,
        unit_price_micro_lamports=price,
        estimated_micro_lamports=estimate,
        lamports=price * unit_limit // MICRO_LAMPORTS_PER_LAMPORT,
    )


def _compute_budget(fee: BudgetedFee) -> tuple[Instruction, ...]:
    limit = set_compute_unit_limit(fee.unit_limit)
    if fee.unit_price_micro_lamports is None:
        return (limit,)
    return (limit, set_compute_unit_price(fee.unit_price_micro_lamports))


def _tip(request: SwapRequest, rng: random.Random) -> tuple[Instruction, ...]:
    tip_lamports = request.priority.tip_lamports
    if tip_lamports is None:
        return ()
    source = request.priority.tip_payer or request.user
    return (transfer_lamports(source=source, destination=rng.choice(JITO_TIP_ACCOUNTS), lamports=tip_lamports),)

"""From an offer to an unsigned transaction: Jupiter's instructions, our own compute budget, the lookup tables."""

from collections.abc import Sequence

from attrs import frozen
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from executor.chainstate.fees import Fees
from executor.chainstate.lookup_tables import LookupTables
from executor.errors import ErrorCode
from executor.faults import TransportError
from executor.model import Built, Order, Quoted, SwapInstructions
from executor.network.jupiter import Jupiter
from executor.programs import associated_token_address
from executor.stages.routes import uses_shared_accounts
from executor.stages.upstream import rejecting_offer

_NOT_ABOUT_THE_ROUTE = frozenset({ErrorCode.JUPITER_UNAUTHORIZED, ErrorCode.JUPITER_RATE_LIMITED})


@frozen(kw_only=True)
class BuildSettings:
    """How instructions are asked for."""

    wallet: Pubkey
    use_shared_accounts: bool


async def build(quoted: Quoted, *, jupiter: Jupiter, lookup_tables: LookupTables, fees: Fees, settings: BuildSettings) -> Built:
    """Ask for the instructions of an offer and put them together. Raises Stale, Rejected."""
    with rejecting_offer():
        swap = await _instructions(quoted, jupiter=jupiter, settings=settings)
        tables = await lookup_tables.get(swap.lookup_tables)
    return Built(
        quoted=quoted,
        instructions=(*swap.setup, swap.swap, *swap.cleanup, *swap.other),
        lookup_tables=tables,
        shared_accounts=uses_shared_accounts(swap.swap),
        fee_price=fees.price(quoted.order, _contended_accounts(swap, quoted.order, settings.wallet)),
    )


async def _instructions(quoted: Quoted, *, jupiter: Jupiter, settings: BuildSettings) -> SwapInstructions:
    """Shared accounts as configured; where the router refuses them (simple pools do), once more without."""
    try:
        return await _ask(quoted, jupiter=jupiter, wallet=settings.wallet, shared=settings.use_shared_accounts)
    except TransportError as error:
        if not (settings.use_shared_accounts and _may_be_about_shared_accounts(error)):
            raise
    return await _ask(quoted, jupiter=jupiter, wallet=settings.wallet, shared=False)


async def _ask(quoted: Quoted, *, jupiter: Jupiter, wallet: Pubkey, shared: bool) -> SwapInstructions:
    return await jupiter.swap_instructions(
        user=wallet,
        quote=quoted.quote,
        use_shared_accounts=shared,
        fee_account=quoted.order.fee_account,
        tracking_account=quoted.order.tracking_account,
    )


def _may_be_about_shared_accounts(error: TransportError) -> bool:
    refused = error.status is not None and 400 <= error.status < 500
    return refused and error.fault.code not in _NOT_ABOUT_THE_ROUTE


def _contended_accounts(swap: SwapInstructions, order: Order, wallet: Pubkey) -> Sequence[Pubkey]:
    """What the swap writes and others write too: their fees decide how soon it lands. Our own accounts say nothing."""
    own = {
        wallet,
        associated_token_address(wallet, order.input.mint, order.input.program),
        associated_token_address(wallet, order.output.mint, order.output.program),
    }
    return _unique_writable(swap.swap, own)


def _unique_writable(instruction: Instruction, but: set[Pubkey]) -> list[Pubkey]:
    return list(dict.fromkeys(a.pubkey for a in instruction.accounts if a.is_writable and a.pubkey not in but))

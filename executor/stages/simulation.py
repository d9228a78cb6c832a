"""Would the chain accept it now, what would it cost, and would it move what the quote says? Never skipped."""

from collections.abc import Sequence

from attrs import frozen
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from executor.chainstate.fees import choose_fee
from executor.config import FeeSettings
from executor.errors import ErrorCode, Rejected
from executor.faults import transaction_fault
from executor.model import Built, ComputeBudget, Simulated, Verified
from executor.network.nodes import Nodes
from executor.network.solana import Simulation
from executor.stages.changes import WalletChanges, wallet_changes
from executor.stages.message import compile_message, to_wire
from executor.stages.upstream import refused_offer, rejecting_offer
from executor.units import MAX_COMPUTE_UNIT_LIMIT, Lamports, ceil_div, price_for_fee, ui_text

LIMIT_HEADROOM_PERCENT = 120
"""Jupiter's own recommendation: the limit is 1.2 times what the simulation used."""
MARKS = 1_024
"""Compute unit limits are multiples of this, plus the transaction's mark: so no two transactions are the same bytes."""
LAST_LOG_LINES = 3


@frozen(kw_only=True)
class SimulationSettings:
    """What the simulation is run and judged with."""

    wallet: Pubkey
    fees: FeeSettings


async def simulate(verified: Verified, *, nodes: Nodes, blockhash: Hash, mark: int, settings: SimulationSettings) -> Simulated:
    """Run the transaction on a node without signing it; decide the compute budget. Raises Stale, Rejected.

    `mark`, 0 to MARKS - 1, must differ between transactions that are equal otherwise and may share a blockhash.
    """
    built = verified.built
    trial = _trial_budget(built, settings.fees)
    message = compile_message(built, trial, payer=settings.wallet, blockhash=blockhash)
    wire = to_wire(message, Signature.default())
    with rejecting_offer():
        simulation = await nodes.ask(lambda node: node.simulate(wire, commitment="processed"), operation="simulateTransaction")
    _require_success(simulation)
    changes = _changes(simulation, message.account_keys, settings.wallet)
    _require_agreement(built, simulation, changes)
    budget, fee = _budget(built, simulation.units_consumed, mark, settings.fees)
    return Simulated(
        built=built,
        budget=budget,
        priority_fee_lamports=fee,
        units_consumed=simulation.units_consumed,
    )


def _trial_budget(built: Built, fees: FeeSettings) -> ComputeBudget:
    """As much compute as there is, at a price that costs no more than the real transaction may."""
    fee = choose_fee(built.fee_price, MAX_COMPUTE_UNIT_LIMIT, built.quoted.order.urgency, fees)
    return ComputeBudget(unit_limit=MAX_COMPUTE_UNIT_LIMIT, unit_price=price_for_fee(fee, MAX_COMPUTE_UNIT_LIMIT))


def _budget(built: Built, units_consumed: int, mark: int, fees: FeeSettings) -> tuple[ComputeBudget, Lamports]:
    wanted = ceil_div(units_consumed * LIMIT_HEADROOM_PERCENT, 100)
    steps = min(ceil_div(wanted, MARKS), MAX_COMPUTE_UNIT_LIMIT // MARKS - 1)
    limit = steps * MARKS + mark % MARKS
    fee = choose_fee(built.fee_price, limit, built.quoted.order.urgency, fees)
    return ComputeBudget(unit_limit=limit, unit_price=price_for_fee(fee, limit)), fee


def _require_success(simulation: Simulation) -> None:
    if simulation.error is None and simulation.units_consumed > 0:
        return
    if simulation.error is None:
        raise Rejected(ErrorCode.NODE_ANSWER_INVALID, "the node says that the swap used no compute units, which no swap can")
    fault = transaction_fault(simulation.error, simulation.logs)
    raise refused_offer(
        fault,
        f"the simulated transaction failed: {fault.detail}",
        error=simulation.error_text,
        logs=list(simulation.logs[-LAST_LOG_LINES:]),
    )


def _changes(simulation: Simulation, static_keys: Sequence[Pubkey], wallet: Pubkey) -> WalletChanges:
    if simulation.balances is None:
        raise Rejected(
            ErrorCode.NODE_ANSWER_INVALID,
            "the node does not report balances with a simulation (Agave does since 3.1): nothing can be compared with the quote",
        )
    sheet = simulation.balances
    if sheet.keys[: len(static_keys)] != tuple(static_keys):
        raise AssertionError("the sheet is made from our own message")
    return wallet_changes(sheet, wallet=wallet)


def _require_agreement(built: Built, simulation: Simulation, changes: WalletChanges) -> None:
    """What leaves is what was ordered, what arrives is within the slippage, and nothing else of ours moves."""
    order, least = built.quoted.order, built.quoted.minimum_out_amount
    fee = simulation.fee_lamports
    spent = -changes.of(order.input.mint, fee_lamports=fee)
    out_amount = changes.of(order.output.mint, fee_lamports=fee)
    problems = []
    if spent != order.in_amount:
        problems.append(f"{ui_text(spent, order.input.decimals)} {order.input.symbol} leave the wallet")
    if out_amount < least:
        problems.append(
            f"{ui_text(out_amount, order.output.decimals)} {order.output.symbol} arrive, at least "
            f"{ui_text(least, order.output.decimals)} must"
        )
    problems += _strays(built, changes, fee)
    if problems:
        raise Rejected(ErrorCode.SIMULATION_DISAGREES, "the simulated transaction differs from the quote: " + "; ".join(problems))


def _strays(built: Built, changes: WalletChanges, fee_lamports: int) -> list[str]:
    """What moves though it is on neither side of the swap."""
    sides = {built.quoted.order.input, built.quoted.order.output}
    mints = {token.mint for token in sides}
    strays = [f"{change} of {mint}" for mint, change in changes.tokens.items() if change and mint not in mints]
    lamports = changes.swap_lamports(fee_lamports)
    if lamports and not any(token.is_native for token in sides):
        strays.append(f"{lamports} lamports")
    return [f"{stray} move besides" for stray in strays]

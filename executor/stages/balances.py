"""Whether the wallet can pay: amount, fees and rent, less what other trades in flight may spend."""

from collections.abc import Sequence

import trio
from attrs import frozen
from solders.pubkey import Pubkey

from executor.config import FeeSettings
from executor.errors import Denied, ErrorCode
from executor.model import Order
from executor.network.nodes import Nodes
from executor.network.solana import AccountInfo
from executor.programs import associated_token_address, parse_token_account
from executor.risk.reservations import Needs, Reservations, Ticket
from executor.stages.upstream import rejecting
from executor.units import LAMPORTS_PER_SIGNATURE, Lamports, ui_text

LAMPORTS_DECIMALS = 9


@frozen(kw_only=True)
class Accounts:
    """The accounts that decide whether a trade can be paid."""

    wallet: Pubkey
    input: Pubkey
    output: Pubkey
    fee: Pubkey | None

    @property
    def asked(self) -> list[Pubkey]:
        """In the order in which they are read."""
        return [self.wallet, self.input, self.output, *([self.fee] if self.fee else [])]


@frozen(kw_only=True)
class Wealth:
    """What the wallet held when it was asked."""

    as_of: float
    slot: int
    lamports: int
    input_amount: int
    rent_lamports: Lamports
    """For the accounts that the swap has to create; that of a wrapped SOL account comes back, but must be there."""


async def check_balances(
    order: Order,
    *,
    wallet: Pubkey,
    nodes: Nodes,
    reservations: Reservations,
    ticket: Ticket,
    fees: FeeSettings,
) -> None:
    """Hold what the trade may spend at worst. Raises Denied(BALANCE_INSUFFICIENT, FEE_ACCOUNT_INVALID) or Rejected."""
    accounts = Accounts(
        wallet=wallet,
        input=associated_token_address(wallet, order.input.mint, order.input.program),
        output=associated_token_address(wallet, order.output.mint, order.output.program),
        fee=order.fee_account,
    )
    as_of = trio.current_time()
    with rejecting():
        answer = await nodes.ask(
            lambda node: node.accounts(
                accounts.asked, commitment="confirmed", min_context_slot=reservations.forgotten_slot or None
            ),
            operation="getMultipleAccounts",
        )
    infos = answer.values
    if order.fee_account is not None:
        _require_fee_account(order, infos[-1])
    wealth = _wealth(order, infos, as_of=as_of, slot=answer.slot)
    needs = _needs(order, wealth, fees)
    _require_affordable(order, wealth, needs, reservations=reservations, ticket=ticket, fees=fees)
    reservations.hold(ticket, needs)


def _require_fee_account(order: Order, info: AccountInfo | None) -> None:
    """Jupiter takes its share in the input or the output mint of an exact-in swap, into an account that must be there."""
    address = order.fee_account
    account = None if info is None else parse_token_account(info.owner, info.data)
    if info is None:
        reason = "it does not exist"
    elif account is None:
        reason = "it is not a token account (a wallet's address is not one: use its associated token account)"
    elif not account.is_initialized:
        reason = "it is not initialised, or frozen"
    elif account.mint not in {order.input.mint, order.output.mint}:
        reason = f"its mint is {account.mint}, which is neither the input nor the output token"
    else:
        return
    raise Denied(ErrorCode.FEE_ACCOUNT_INVALID, f"fee_account {address} cannot be used: {reason}", fee_account=str(address))


def _wealth(order: Order, infos: Sequence[AccountInfo | None], *, as_of: float, slot: int) -> Wealth:
    wallet, source, target = infos[0], infos[1], infos[2]
    held = None if source is None else parse_token_account(source.owner, source.data)
    missing = [token for token, info in ((order.input, source), (order.output, target)) if info is None]
    return Wealth(
        as_of=as_of,
        slot=slot,
        lamports=0 if wallet is None else wallet.lamports,
        input_amount=0 if held is None else held.amount,
        rent_lamports=Lamports(sum(token.account_rent_lamports for token in missing)),
    )


def _needs(order: Order, wealth: Wealth, fees: FeeSettings) -> Needs:
    costs = LAMPORTS_PER_SIGNATURE + fees.max_priority_fee_lamports + wealth.rent_lamports
    if order.input.is_native:
        return {None: order.in_amount + costs}
    return {None: costs, order.input.mint: order.in_amount}


def _require_affordable(
    order: Order, wealth: Wealth, needs: Needs, *, reservations: Reservations, ticket: Ticket, fees: FeeSettings
) -> None:
    shortfalls: list[str] = []
    figures: dict[str, object] = {}
    for key, needed in needs.items():
        has = wealth.lamports if key is None else wealth.input_amount
        held = reservations.held(key, as_of=wealth.as_of, slot=wealth.slot, but=ticket)
        kept = fees.reserve_lamports if key is None else 0
        if needed > has - held - kept:
            shortfalls.append(_shortfall(order, key, needed=needed, has=has, held=held, kept=kept))
            unit = "lamports" if key is None else "amount"
            figures |= {f"needed_{unit}": needed, f"balance_{unit}": has, f"held_{unit}": held}
            figures |= {"reserve_lamports": kept} if key is None else {"mint": key}
    if shortfalls:
        raise Denied(ErrorCode.BALANCE_INSUFFICIENT, "the wallet cannot pay: " + "; ".join(shortfalls), **figures)


def _shortfall(order: Order, key: Pubkey | None, *, needed: int, has: int, held: int, kept: int) -> str:
    symbol, decimals = ("SOL", LAMPORTS_DECIMALS) if key is None else (order.input.symbol, order.input.decimals)
    parts = [f"needs {ui_text(needed, decimals)} {symbol}", f"has {ui_text(has, decimals)}"]
    if held:
        parts.append(f"{ui_text(held, decimals)} of it held for trades in flight")
    if kept:
        parts.append(f"{ui_text(kept, decimals)} of it kept in reserve")
    return ", ".join(parts)

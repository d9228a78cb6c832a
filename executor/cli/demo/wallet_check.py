"""Whether the wallet, before and after the whole demo, differs by exactly what all results together say. Pure."""

from collections import defaultdict
from collections.abc import Iterable

from executor.cli.demo.chain import Holdings
from executor.cli.demo.movement import WRAPPED_SOL
from executor.cli.demo.trades import Trade


def unexplained(before: Holdings, after: Holdings, trades: Iterable[Trade]) -> list[str]:
    """Differences that no result explains, or results that the wallet does not show; to the unit, and empty is good.

    A trade that was refused or is not known to have landed must have moved nothing.
    """
    told: dict[str, int] = defaultdict(int)
    rent_lamports = fees_lamports = 0
    for trade in trades:
        if trade.result is not None:
            told[trade.planned.source.mint] -= trade.result.input_amount
            told[trade.planned.target.mint] += trade.result.executed_amount
            fees_lamports += trade.result.fees_paid
            rent_lamports += trade.result.rent_lamports
    # Rent leaves the wallet for its own accounts, and so does SOL that is wrapped: neither changes the sum of both.
    sol = after.lamports + after.in_accounts_lamports - before.lamports - before.in_accounts_lamports
    wrapped = after.tokens.get(WRAPPED_SOL, 0) - before.tokens.get(WRAPPED_SOL, 0)
    rent = after.in_accounts_lamports - before.in_accounts_lamports - wrapped
    pairs = {
        "SOL, in lamports": (sol, told.pop(WRAPPED_SOL, 0) - fees_lamports),
        "rent, in lamports": (rent, rent_lamports),
    }
    for mint in sorted({*before.tokens, *after.tokens, *told} - {WRAPPED_SOL}):
        pairs[mint] = (after.tokens.get(mint, 0) - before.tokens.get(mint, 0), told[mint])
    return [
        f"{name}: the wallet says {found:+}, the results say {said:+}" for name, (found, said) in pairs.items() if found != said
    ]

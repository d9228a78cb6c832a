"""One offer after another, before anything is signed: what a failed offer teaches the next one.

What may arrive never gets worse on the way: the expected price, or the first offer where none is given, stays what slippage is
measured against. A market that falls a little with every question must not carry the trade down with it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from attrs import evolve, frozen

from executor.errors import TradeError
from executor.faults import JUPITER_PROGRAM, Remedy
from executor.model import Quoted
from executor.stages.upstream import Stale

MAX_OFFERS: Final = 3
"""One, a second for what a moment has changed, and a third because some pools are excluded only when they fail twice.

More would not fit into the time before the send, and a market that turns down three offers in a row is none to trade in.
"""
JUPITER_MAX_ACCOUNTS: Final = 64
"""What Jupiter takes where nothing is said."""


@frozen(kw_only=True)
class Attempt:
    """How the next offer is asked for."""

    number: int = 1
    reference_out_amount: int | None = None
    """What the first offer's slippage was measured against; None: this is the first."""
    excluded_dexes: tuple[str, ...] = ()
    max_accounts: int | None = None
    without_shared_accounts: bool = False
    suspects: frozenset[str | None] = frozenset()
    """Programs of pools that have failed once."""
    spent: frozenset[Remedy | None] = frozenset()
    """The remedies of what is worth a single try, and has had it."""

    def after(self, stale: Stale, quoted: Quoted) -> "Attempt | None":
        """Say how to ask when this offer came to nothing; None: no more."""
        if self.number == MAX_OFFERS or (stale.once and stale.remedy in self.spent):
            return None
        following = evolve(
            self,
            number=self.number + 1,
            reference_out_amount=quoted.reference_out_amount,
            spent=self.spent | {stale.remedy} if stale.once else self.spent,
        )
        return _remedied(following, stale, quoted.quote.route)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Say in a refusal by which the block ends that this was not the first offer."""
        try:
            yield
        except TradeError as error:
            if self.number > 1:
                error.add(f"; this was offer {self.number} of at most {MAX_OFFERS}", offers=self.number)
            raise


def _remedied(attempt: Attempt, stale: Stale, route: Sequence[str]) -> Attempt:
    match stale.remedy:
        case Remedy.LOWER_MAX_ACCOUNTS:
            return evolve(attempt, max_accounts=(attempt.max_accounts or JUPITER_MAX_ACCOUNTS) // 2)
        case Remedy.WITHOUT_SHARED_ACCOUNTS:
            return evolve(attempt, without_shared_accounts=True)
        case Remedy.EXCLUDE_DEX:
            return _without_dex(attempt, stale.program, route)
        case Remedy.EXCLUDE_DEX_SECOND_TIME if stale.program in attempt.suspects:
            return _without_dex(attempt, stale.program, route)
        case Remedy.EXCLUDE_DEX_SECOND_TIME:
            return evolve(attempt, suspects=attempt.suspects | {stale.program})
        case _:  # a new offer is the remedy; lookup tables are forgotten as soon as a transaction with them fails
            return attempt


def _without_dex(attempt: Attempt, program: str | None, route: Sequence[str]) -> Attempt:
    """Exclude the one DEX of the route. Of several nobody says which label belongs to the program that failed: just ask anew.

    What Jupiter's own program refuses may also be the shared accounts, which simple pools do not support.
    """
    labels = tuple(dict.fromkeys(route))
    return evolve(
        attempt,
        excluded_dexes=attempt.excluded_dexes + labels if len(labels) == 1 else attempt.excluded_dexes,
        without_shared_accounts=attempt.without_shared_accounts or program == JUPITER_PROGRAM,
    )

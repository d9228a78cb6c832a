"""What was lost within a day, by token: the loss limit of the circuit breaker.

A loss is what a trade received less than it was promised, in the token that it bought, and the network fee of a transaction that
landed and failed, in lamports. What a trade received beyond the promise counts against it. Promised is what its slippage is
measured against, or the quote where that is more: an expected price far below the market must not make a gain of every trade.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping

from attrs import define, field
from solders.pubkey import Pubkey

from executor.config import TokenSettings
from executor.model import NATIVE_MINT, Order, Outcome, OutcomeStatus

BUCKET_NS = 1_800 * 1_000_000_000
BUCKETS_OF_A_DAY = 48
"""And the one that has begun: a loss counts for 24 hours, and for up to half an hour more."""


@define(kw_only=True, eq=False)
class Losses:
    """The books, by the wall clock, so that they outlive a restart. Bounded by the tokens that have a limit, and a day."""

    tokens: Mapping[Pubkey, TokenSettings]
    now_ns: Callable[[], int]
    is_unsaved: bool = False
    """Something was counted since the last `saved`."""
    _buckets: dict[int, Counter[str]] = field(factory=dict)
    """Raw amounts by the mint's text, negative for gains."""

    def count(self, order: Order, outcome: Outcome) -> None:
        """Count how a trade ended, once for each."""
        if outcome.status is OutcomeStatus.SUCCESS:
            promised = max(outcome.reference_amount, outcome.quoted_amount)
            if promised > 0:
                self._add(order.output.mint, promised - outcome.executed_amount)
        elif outcome.status is OutcomeStatus.FAILED:
            self._add(NATIVE_MINT, outcome.fees_paid_lamports)

    def lost(self, mint: Pubkey) -> int:
        """The loss of the last day in the token's smallest unit; negative when more was gained."""
        self._forget_old()
        return sum(bucket[str(mint)] for bucket in self._buckets.values())

    def problem(self) -> str | None:
        """Which tokens lost more than their limit; None while none did."""
        lost = {mint: self.lost(mint) for mint, token in self.tokens.items() if token.max_loss_per_day}
        above = [
            f"{amount} of the smallest unit of {self.tokens[mint].symbol} were lost within 24 hours, "
            f"the limit is {self.tokens[mint].max_loss_per_day}"
            for mint, amount in lost.items()
            if amount > self.tokens[mint].max_loss_per_day
        ]
        return "; ".join(above) or None

    def forgive(self) -> None:
        """Begin anew, at an operator's word."""
        self._buckets.clear()
        self.is_unsaved = True

    def saved(self) -> str:
        """The books as JSON; they count as saved."""
        self._forget_old()
        self.is_unsaved = False
        return json.dumps({"buckets": {str(number): dict(bucket) for number, bucket in self._buckets.items()}})

    def restore(self, text: str) -> None:
        """Take up books that were saved."""
        self._buckets = {int(number): Counter(bucket) for number, bucket in json.loads(text)["buckets"].items()}
        self._forget_old()

    def _add(self, mint: Pubkey, amount: int) -> None:
        settings = self.tokens.get(mint)
        if settings is None or not settings.max_loss_per_day or not amount:
            return
        self._forget_old()
        self._buckets.setdefault(self._number(), Counter())[str(mint)] += amount
        self.is_unsaved = True

    def _number(self) -> int:
        return self.now_ns() // BUCKET_NS

    def _forget_old(self) -> None:
        oldest = self._number() - BUCKETS_OF_A_DAY
        for number in [number for number in self._buckets if number < oldest]:
            del self._buckets[number]

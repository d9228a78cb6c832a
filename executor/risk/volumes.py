"""What was spent in a UTC day: in all, and by each source, token by token."""

from collections import Counter
from collections.abc import Callable, Mapping

from attrs import define, field, frozen
from solders.pubkey import Pubkey

from executor.config import TokenSettings
from executor.errors import Denied, ErrorCode
from executor.model import Order, TradeRequest

NS_PER_SECOND = 1_000_000_000
NS_PER_DAY = 86_400 * NS_PER_SECOND
MAX_ENTRIES = 10_000
"""Pairs of a source and a token with a limit. Sources name themselves: those that come when the books are full are refused."""


@frozen
class Claim:
    """What a trade may spend, in the books of its day."""

    day: int
    source: str
    mint: Pubkey
    amount: int


@define(kw_only=True, eq=False)
class Volumes:
    """The books of one day. Amounts are in the token's smallest unit."""

    tokens: Mapping[Pubkey, TokenSettings]
    now_ns: Callable[[], int]
    _day: int = 0
    _of_all: Counter[Pubkey] = field(factory=Counter)
    _of_sources: Counter[tuple[str, Pubkey]] = field(factory=Counter)

    def require_room(self, order: Order) -> None:
        """Raise Denied(DAILY_LIMIT_EXCEEDED) when an order does not fit into what is left of the day."""
        self._turn_page()
        mint, source = order.input.mint, order.request.source_service
        settings = self.tokens[mint]
        self._require(order, self._of_all[mint], settings.max_amount_per_day, "all sources")
        if settings.max_amount_per_source_per_day and (source, mint) not in self._of_sources:
            self._require_entry()
        self._require(order, self._of_sources[source, mint], settings.max_amount_per_source_per_day, f"source {source!r}")

    def take(self, request: TradeRequest, day: int) -> Claim:
        """Count a request on a day, where that has not passed."""
        self._turn_page()
        claim = Claim(day, request.source_service, Pubkey.from_string(request.input_mint), request.in_amount)
        self._count(claim, claim.amount)
        return claim

    def give_back(self, claim: Claim) -> None:
        """Uncount what was taken, once, because nothing was spent."""
        self._turn_page()
        self._count(claim, -claim.amount)

    @property
    def day(self) -> int:
        """The day of the books, in days since 1970."""
        self._turn_page()
        return self._day

    @property
    def is_limited(self) -> bool:
        """Whether any token has a limit."""
        return any(token.max_amount_per_day or token.max_amount_per_source_per_day for token in self.tokens.values())

    def _count(self, claim: Claim, amount: int) -> None:
        settings = self.tokens.get(claim.mint)
        if settings is None or claim.day != self._day:
            return
        if settings.max_amount_per_day:
            self._of_all[claim.mint] += amount
        if settings.max_amount_per_source_per_day:
            key = claim.source, claim.mint
            self._of_sources[key] += amount
            if not self._of_sources[key]:
                del self._of_sources[key]  # or sources that trade nothing would fill the books

    def _turn_page(self) -> None:
        """Begin a new day. A clock that was set back begins none: what was spent stays spent."""
        today = self.now_ns() // NS_PER_DAY
        if today > self._day:
            self._day = today
            self._of_all.clear()
            self._of_sources.clear()

    def _require(self, order: Order, used: int, limit: int, who: str) -> None:
        left = max(limit - used, 0)
        if not limit or order.in_amount <= left:
            return
        raise self._full(
            f"{order.in_amount} of the smallest unit of {order.input.symbol} exceed the {left} that are left of the limit of "
            f"{limit} a UTC day for {who}",
            amount=order.in_amount,
            used=used,
            limit=limit,
            left=left,
        )

    def _require_entry(self) -> None:
        if len(self._of_sources) >= MAX_ENTRIES:
            raise self._full(f"{MAX_ENTRIES} sources have traded on this UTC day, and no more are counted", limit=MAX_ENTRIES)

    def _full(self, message: str, **figures: int) -> Denied:
        seconds = ((self._day + 1) * NS_PER_DAY - self.now_ns()) / NS_PER_SECOND
        return Denied(ErrorCode.DAILY_LIMIT_EXCEEDED, message, **figures, retry_after_seconds=seconds)

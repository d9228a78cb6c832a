"""Recent priority fees, per trading pair, refreshed in the background: the path of a trade only ever reads.

A node reports, per slot, the lowest price per compute unit that landed while writing to the accounts it was asked about. Slots
without such a transaction report 0, which says nothing of the price of being included, so percentiles are taken over the
others. Asking without accounts is useless (votes make it 0), so each pair is asked about with the accounts that its last swap
wrote to. Before the first answer for a pair the caller falls back on fixed fees.
"""

from collections.abc import Mapping, Sequence
from typing import NoReturn

import trio
from attrs import define, field, frozen
from solders.pubkey import Pubkey

from executor.chainstate.refresher import refresh_forever
from executor.config import FeeSettings
from executor.faults import TransportError
from executor.log import Log
from executor.model import Order, Urgency
from executor.network.nodes import Nodes
from executor.network.solana import MAX_FEE_ACCOUNTS_PER_CALL
from executor.percentile import nearest_rank
from executor.units import Lamports, MicroLamports, priority_fee

FORGET_PAIR_SECONDS = 300.0

FALLBACK_LAMPORTS: Mapping[Urgency, int] = {
    Urgency.LOW: 1_000,
    Urgency.NORMAL: 2_500,
    Urgency.HIGH: 5_000,
    Urgency.CRITICAL: 10_000,
}
"""Total priority fee while a pair has no data."""

Pair = tuple[Pubkey, Pubkey]


def choose_fee(price: int | None, unit_limit: int, urgency: Urgency, settings: FeeSettings) -> Lamports:
    """The total priority fee for a limit: the market's price, or the fallback, clamped to the configured range."""
    wanted = FALLBACK_LAMPORTS[urgency] if price is None else priority_fee(price, unit_limit)
    return Lamports(min(max(wanted, settings.min_priority_fee_lamports), settings.max_priority_fee_lamports))


@frozen
class FeeReading:
    """Prices that landed in recent slots, ascending, without zeros."""

    prices: tuple[int, ...]
    fetched_at: float


@define(eq=False)
class _Watched:
    accounts: tuple[Pubkey, ...]
    wanted_at: float
    reading: FeeReading | None = None


@define(kw_only=True, eq=False)
class Fees:
    """The fee cache and its refresher."""

    nodes: Nodes
    settings: FeeSettings
    log: Log
    _pairs: dict[Pair, _Watched] = field(factory=dict)
    _latest: Pair | None = None

    async def run(self) -> NoReturn:
        """Refresh until cancelled: every pair once per cache period, a new one within a tenth of it."""
        await refresh_forever(self.refresh, every_seconds=self.settings.cache_seconds / 10, name="priority fees", log=self.log)

    async def refresh(self) -> None:
        """Fetch what is due; forget pairs that nobody traded for a while."""
        now = trio.current_time()
        self._pairs = {pair: w for pair, w in self._pairs.items() if now - w.wanted_at < FORGET_PAIR_SECONDS}
        for watched in list(self._pairs.values()):
            if self._is_due(watched, now):
                await self._fetch(watched)

    def price(self, order: Order, writable: Sequence[Pubkey]) -> MicroLamports | None:
        """The market's price per compute unit for the order's urgency, or None; the accounts are watched from now on."""
        now, pair = trio.current_time(), (order.input.mint, order.output.mint)
        watched = self._pairs.get(pair)
        accounts = tuple(writable[:MAX_FEE_ACCOUNTS_PER_CALL])
        self._latest = pair
        if watched is None:
            self._pairs[pair] = _Watched(accounts, now)
            return None
        watched.accounts, watched.wanted_at = accounts, now
        return self._price(watched.reading, order.urgency, now)

    def entries(self) -> int:
        """How many pairs are watched."""
        return len(self._pairs)

    def oldest_age_seconds(self) -> float | None:
        """The age of the oldest reading that is held; None without any."""
        readings = [w.reading.fetched_at for w in self._pairs.values() if w.reading is not None]
        return trio.current_time() - min(readings) if readings else None

    def latest_prices(self) -> Mapping[Urgency, int]:
        """What each urgency would pay now for the pair that was asked for last; empty without data."""
        watched = self._pairs.get(self._latest) if self._latest else None
        reading = watched.reading if watched else None
        prices = {urgency: self._price(reading, urgency, trio.current_time()) for urgency in Urgency}
        return {urgency: price for urgency, price in prices.items() if price is not None}

    def _is_due(self, watched: _Watched, now: float) -> bool:
        return watched.reading is None or now - watched.reading.fetched_at >= self.settings.cache_seconds

    async def _fetch(self, watched: _Watched) -> None:
        accounts = watched.accounts
        try:
            fees = await self.nodes.ask(lambda node: node.prioritization_fees(accounts), operation="getRecentPrioritizationFees")
        except TransportError as error:
            self.log.warning("fees.unavailable", problem=str(error))
            return
        prices = sorted(fee.price_micro_lamports for fee in fees if fee.price_micro_lamports > 0)
        watched.reading = FeeReading(tuple(prices), trio.current_time())

    def _price(self, reading: FeeReading | None, urgency: Urgency, now: float) -> MicroLamports | None:
        if reading is None or not reading.prices or now - reading.fetched_at > 2 * self.settings.cache_seconds:
            return None
        return MicroLamports(nearest_rank(reading.prices, self._percent(urgency)))

    def _percent(self, urgency: Urgency) -> int:
        settings = self.settings
        return {
            Urgency.LOW: settings.percentile_low,
            Urgency.NORMAL: settings.percentile_normal,
            Urgency.HIGH: settings.percentile_high,
            Urgency.CRITICAL: settings.percentile_critical,
        }[urgency]

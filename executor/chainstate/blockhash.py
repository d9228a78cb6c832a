"""The blockhash that the next transaction is signed with, refreshed in the background."""

from typing import NoReturn

import trio
from attrs import define, frozen

from executor.chainstate.refresher import refresh_forever
from executor.errors import Denied, ErrorCode
from executor.log import Log
from executor.network.nodes import Nodes
from executor.network.solana import LatestBlockhash

BLOCKHASH_LIFE_BLOCKS = 150


@frozen
class AgedBlockhash:
    """A blockhash and when it was fetched, in trio's time."""

    latest: LatestBlockhash
    fetched_at: float


@define(kw_only=True, eq=False)
class Blockhashes:
    """Holds the newest blockhash at `confirmed`: finalized ones have lost 13 s of their life, 5 % of processed ones die."""

    nodes: Nodes
    refresh_seconds: float
    max_age_seconds: float
    log: Log
    _newest: AgedBlockhash | None = None

    async def run(self) -> NoReturn:
        """Refresh until cancelled."""
        await refresh_forever(self.refresh, every_seconds=self.refresh_seconds, name="blockhash", log=self.log)

    async def refresh(self) -> None:
        """Fetch one. A node that lags behind what we hold does not count as an answer: the held value keeps ageing.

        Until it is too old to sign with: then the node that gave it was the odd one, and would halt the trade for good.
        """
        asked_at = trio.current_time()
        latest = await self.nodes.ask(lambda node: node.latest_blockhash("confirmed"), operation="getLatestBlockhash")
        held = self._newest
        if held is None or latest.context_slot >= held.latest.context_slot or self.problem() is not None:
            self._newest = AgedBlockhash(latest, asked_at)

    def peek(self) -> AgedBlockhash | None:
        """What is held, however old."""
        return self._newest

    def age_seconds(self) -> float | None:
        """Seconds since the held blockhash was asked for; None before the first one."""
        return None if self._newest is None else trio.current_time() - self._newest.fetched_at

    def problem(self) -> str | None:
        """Why there is nothing to sign with; None while there is."""
        age = self.age_seconds()
        if age is None:
            return "no blockhash was received from any node yet"
        if age > self.max_age_seconds:
            return f"the newest blockhash is {age:.1f} s old, the limit is {self.max_age_seconds:g} s"
        return None

    def current(self) -> LatestBlockhash:
        """Return the blockhash to sign with. Raises Denied(CHAIN_STATE_STALE) when no node gave a fresh one in time."""
        problem = self.problem()
        if self._newest is None or problem is not None:
            raise Denied(ErrorCode.CHAIN_STATE_STALE, f"{problem}; see the nodes' problems in the status")
        return self._newest.latest

    async def passed(self, height: int) -> None:
        """Wait until blocks go by above a height, as far as the held blockhash tells."""
        while self.block_height() <= height:  # noqa: ASYNC110 - heights come in with the refreshes, there is no event to wait for
            await trio.sleep(self.refresh_seconds)

    def block_height(self) -> int:
        """The block height at `confirmed` that follows from the held blockhash; a trigger, never a proof. 0 when unknown."""
        return 0 if self._newest is None else self._newest.latest.last_valid_block_height - BLOCKHASH_LIFE_BLOCKS

"""Asks the daemon for the planned trades, several at a time, and looks at the chain after each."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from attrs import define, field

from executor.cli.client import CallFailed, Client, connect
from executor.cli.demo.chain import Chain
from executor.cli.demo.children import Children
from executor.cli.demo.failure import DemoFailed
from executor.cli.demo.plan import Planned
from executor.cli.demo.stage import Stage
from executor.cli.demo.trades import Trade

CALL_SECONDS = 60.0
"""Above the daemon's confirmation timeout: it answers PENDING before this."""
WATCH_SECONDS = 0.25
"""How often the processes are looked at while no trade ends."""
LOOK_SECONDS = 0.01

Running = dict["Future[Trade]", Planned]


@define(kw_only=True)
class Floor:
    """Where the trades of one demo are made."""

    stage: Stage
    children: Children
    concurrency: int
    fault_seconds: float = 10.0
    """For an ordered fault to meet its trade."""
    death_seconds: float = 1.0
    """Between the end of a daemon's connections and its own."""
    _began_at: float = field(factory=time.monotonic)

    def run(self, plan: Sequence[Planned]) -> Iterator[Trade]:
        """Yield each trade as it ends. Raises DemoFailed when a process dies or the chain does not know what has landed."""
        # The channel is closed first: that ends the calls in flight, on which the pool's threads would wait otherwise.
        with ThreadPoolExecutor(self.concurrency) as pool, connect(self.stage.address) as client:
            running: Running = {}
            for planned in plan:
                while self._must_wait(planned, running):
                    yield from self._ended(running)
                self._order_fault(planned)
                running[pool.submit(self._trade, client, planned)] = planned
                self._await_fault(planned)
            while running:
                yield from self._ended(running)

    def _must_wait(self, planned: Planned, running: Running) -> bool:
        """A fault strikes the next call that it fits, so its trade starts when no other can meet it in its place."""
        if planned.case is not None and planned.case.facts.fault is not None:
            return bool(running)
        filling = planned.needs_filled_wallet and any(other.fills_wallet for other in running.values())
        return filling or len(running) >= self.concurrency

    def _order_fault(self, planned: Planned) -> None:
        if planned.case is not None and planned.case.facts.fault is not None:
            self.stage.network.order(planned.case.facts.fault)

    def _await_fault(self, planned: Planned) -> None:
        """Return when the ordered fault has struck: from then on other trades cannot meet it any more."""
        if planned.case is None or planned.case.facts.fault is None:
            return
        deadline = time.monotonic() + self.fault_seconds
        while self.stage.network.orders_in_force():
            self.children.require_alive()
            if time.monotonic() > deadline:
                raise DemoFailed(f"the fault of the {planned.case.facts.title} did not strike within {self.fault_seconds:g} s")
            time.sleep(LOOK_SECONDS)

    def _ended(self, running: Running) -> Iterator[Trade]:
        """Wait until one or more have ended."""
        done, _ = wait(running, timeout=WATCH_SECONDS, return_when=FIRST_COMPLETED)
        self.children.require_alive()
        for future in done:
            del running[future]
        trades = [future.result() for future in done]
        if any(_is_cut_off(trade) for trade in trades) and self.stage.daemon.ends_within(self.death_seconds):
            self.children.require_alive()
        yield from sorted(trades, key=lambda trade: trade.ended_seconds)

    def _trade(self, client: Client, planned: Planned) -> Trade:
        began = self._seconds()
        try:
            result = client.execute(planned.request(), timeout_seconds=CALL_SECONDS)
        except CallFailed as failure:
            return Trade(planned=planned, began_seconds=began, ended_seconds=self._seconds(), refusal=failure)
        ended = self._seconds()
        chain = Chain(self.stage.network.node_url, self.stage.wallet)
        movement = chain.movement(result.transaction_signature) if result.slot and result.transaction_signature else None
        return Trade(planned=planned, began_seconds=began, ended_seconds=ended, result=result, movement=movement)

    def _seconds(self) -> float:
        return time.monotonic() - self._began_at


def _is_cut_off(trade: Trade) -> bool:
    """No answer of the daemon's own: it would say why."""
    return trade.refusal is not None and trade.refusal.status == "UNAVAILABLE" and not trade.refusal.reason

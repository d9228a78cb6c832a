"""The circuit breaker under any order of trades, ends, halts, failing checks, pauses and restarts."""

from collections.abc import Sequence
from typing import Any

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.errors import Denied, ErrorCode
from executor.model import Order, Outcome, OutcomeStatus
from executor.risk.breaker import PROBE_PATIENCE_SECONDS, WATCH_SECONDS, Breaker
from executor.status import BreakerState
from tests.support.risk import KeptNotes, failure, make_breaker, success, take

PROBES = 2
SETTINGS: dict[str, Any] = {
    "error_rate_percent": 60,
    "error_rate_min_trades": 4,
    "landed_failures": 2,
    "slow_broadcast_p99_seconds": 1.0,
    "slow_broadcast_trades": 5,
    "open_seconds": 10.0,
    "max_open_seconds": 40.0,
    "probe_trades": PROBES,
    "probe_successes": 2,
    "max_loss_per_day": 1_000,
}
ENDS: dict[str, Any] = {
    "success": success(quoted_amount=1_000, executed_amount=1_000),
    "loss": success(quoted_amount=1_000, executed_amount=600),
    "slow": success(quoted_amount=1_000, executed_amount=1_000, broadcast_ns=2 * 10**9),
    "reverted": failure(ErrorCode.SWAP_REVERTED, slot=5),
    "expired": failure(ErrorCode.TRANSACTION_EXPIRED),
    "mistake": Denied(ErrorCode.PRICE_MOVED, "no"),
    "unknown": Outcome(request_id="r", status=OutcomeStatus.PENDING),
}
STEPS = st.one_of(
    st.tuples(st.just("take"), st.integers(1, 6)),
    st.tuples(st.just("end"), st.sampled_from(sorted(ENDS))),
    st.tuples(st.just("end"), st.just("success")),
    st.tuples(st.just("wait"), st.sampled_from([0.3, 3.0, 11.0, 45.0])),
    st.tuples(st.just("trip"), st.sampled_from([0.0, 11.0, 45.0])),
    st.tuples(st.sampled_from(["halt", "resume", "nodes fail", "nodes are well", "restart"]), st.just(0)),
)


class World:
    """A breaker, the trades that it let through, and what must be true of them, told independently."""

    def __init__(self) -> None:
        self.notes = KeptNotes()
        self.nodes: str | None = None
        self.is_halted = False
        self.open: list[tuple[Order, float]] = []
        """With until when it holds the place of a probe; 0: it is none."""
        self.taken = 0
        self.breaker = self.make()

    def make(self) -> Breaker:
        breaker = make_breaker({"nodes": lambda: self.nodes}, notes=self.notes, **SETTINGS)
        breaker.restore()
        breaker.look()
        return breaker

    async def run(self, steps: Sequence[tuple[str, Any]]) -> None:
        remaining = list(steps)
        while remaining:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.breaker.run)  # noqa: ASYNC113 - it takes no task_status
                while remaining:
                    step, what = remaining.pop(0)
                    if step == "restart":
                        break
                    await self.do(step, what)
                    self.check()
                nursery.cancel_scope.cancel()
            self.restart()

    async def do(self, step: str, what: Any) -> None:
        if step == "take":
            self.take(what)
        elif step == "end" and self.open:
            order, _ = self.open.pop(0)
            self.breaker.ended(order, ENDS[what])
        elif step == "wait":
            await trio.sleep(what)
        elif step == "trip":
            await self.trip(what)
        elif step in ("halt", "resume"):
            await getattr(self.breaker, step)("because")
            self.is_halted = step == "halt"
        elif step.startswith("nodes"):
            self.nodes = "down" if step == "nodes fail" else None
            await trio.sleep(2 * WATCH_SECONDS)

    def take(self, count: int) -> None:
        """Have trades let through, one after the other."""
        for _ in range(count):
            self.taken += 1
            try:
                order = take(self.breaker, f"r-{self.taken}")
            except Denied:
                assert self.breaker.reasons()
                return
            assert self.breaker.state is not BreakerState.OPEN
            self.breaker.require_pass(order.request_id)
            is_probe = self.breaker.state is BreakerState.HALF_OPEN
            self.open.append((order, trio.current_time() + PROBE_PATIENCE_SECONDS if is_probe else 0.0))

    async def trip(self, pause: float) -> None:
        """Have all that were let through end badly, and two more; then time passes."""
        self.take(2)
        for order, _ in self.open:
            self.breaker.ended(order, ENDS["reverted"])
        self.open.clear()
        await trio.sleep(pause)

    def restart(self) -> None:
        """Only what the journal holds is known: the same state and causes, whatever is found anew. Its trades are gone."""
        before, kinds = self.breaker.state, {cause.kind for cause in self.breaker.causes}
        self.open.clear()
        self.breaker = self.make()
        assert {cause.kind for cause in self.breaker.causes} == kinds
        assert self.breaker.state is before or before is BreakerState.OPEN is not self.breaker.state  # its time has come
        self.check()

    def check(self) -> None:
        """What is always true."""
        breaker = self.breaker
        assert sum(until > trio.current_time() for _, until in self.open) <= PROBES
        assert (breaker.state is BreakerState.CLOSED) == (not breaker.causes)
        if self.is_halted:
            assert breaker.state is BreakerState.OPEN
            assert breaker.causes[0].kind == "operator"
        if breaker.state is BreakerState.OPEN:
            for order, _ in self.open:
                try:
                    breaker.require_pass(order.request_id)
                except Denied:
                    continue
                raise AssertionError("an open breaker lets nobody sign")
        assert len(breaker._passes) == len(self.open)
        assert len(breaker.diary._waiting) <= 64
        assert len(breaker.causes) <= 9
        assert len(breaker._triggers._slots) <= 60
        assert len(breaker._triggers._broadcasts) <= 5


@settings(max_examples=150)
@given(st.lists(STEPS, min_size=5, max_size=60))
def test_it_keeps_its_promises_whatever_happens(steps: list[tuple[str, Any]]) -> None:
    """Never more probes than may; never closed while an operator's halt stands; the same after a restart; and bounded."""
    trio.run(_run, steps, clock=trio.testing.MockClock(autojump_threshold=0))


async def _run(steps: Sequence[tuple[str, Any]]) -> None:
    await World().run(steps)

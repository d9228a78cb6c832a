"""What is run: loads, latencies, lengths, and in which order."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from attrs import evolve, frozen

from tests.bench.upstreams import ChainTimes, Latency

NO_LATENCY = Latency(jupiter_ms=0, rpc_ms=0)
USUAL_LATENCY = Latency(jupiter_ms=20, rpc_ms=10)
REALISTIC = ChainTimes(land_ms=400, confirm_ms=800)
AT_ONCE = ChainTimes(land_ms=0, confirm_ms=0)
"""For closed loops: a caller who waits for the chain measures the chain."""
SUSTAINED_RATE, SUSTAINED_SECONDS = 100, 60.0

T = TypeVar("T")


@frozen(kw_only=True)
class Cell:
    """One load on one upstream; runs of the same cell are comparable."""

    rate: int = 0
    callers: int = 0
    latency: Latency
    chain: ChainTimes
    seconds: float
    sustained: bool = False

    @property
    def name(self) -> str:
        """For people."""
        load = f"{self.rate}/s" if self.rate else f"{self.callers} caller{'s' * (self.callers != 1)}"
        return f"{load} at {self.latency.name}{', sustained' * self.sustained}"


@frozen(kw_only=True)
class Plan:
    """Cells, and how often."""

    cells: Sequence[Cell]
    repeats: int


def full_plan(*, rates: Sequence[int] = (25, 50, 100), repeats: int = 3) -> Plan:
    """Under 8 minutes."""
    cells = [_open(rate, USUAL_LATENCY, 12.0 if rate >= 100 else 8.0) for rate in rates]
    cells += [_open(max(rates), NO_LATENCY, 10.0)]
    cells += [_closed(callers, NO_LATENCY, 6.0 if callers > 1 else 3.0) for callers in (1, 32)]
    cells += [_closed(callers, USUAL_LATENCY, 6.0 if callers > 1 else 3.0) for callers in (1, 32)]
    sustained = evolve(_open(SUSTAINED_RATE, USUAL_LATENCY, SUSTAINED_SECONDS), sustained=True)
    return Plan(cells=[*cells, sustained], repeats=repeats)


def quick_plan(*, rates: Sequence[int] = (25, 100), repeats: int = 1) -> Plan:
    """Under a minute: enough to see whether something is badly off."""
    cells = [_open(rate, USUAL_LATENCY, 5.0) for rate in rates]
    return Plan(cells=[*cells, _closed(32, NO_LATENCY, 5.0)], repeats=repeats)


def on_localnet(plan: Plan) -> Plan:
    """The localnet adds no latency and has its own time to confirm: each load once."""
    cells = [evolve(cell, latency=NO_LATENCY, chain=REALISTIC) for cell in plan.cells if not cell.sustained]
    return evolve(plan, cells=list(dict.fromkeys(cells)))


def lasting(plan: Plan, seconds: float) -> Plan:
    """The same with another length of every run but the sustained one."""
    return evolve(plan, cells=[cell if cell.sustained else evolve(cell, seconds=seconds) for cell in plan.cells])


def in_order(plan: Plan, trees: Sequence[T]) -> Iterator[tuple[Cell, T]]:
    """All runs: cell by cell, the trees in turns (A B, B A, A B ...), so that what slows the machine down slows both.

    What is sustained is run once, and of the first tree.
    """
    for cell in plan.cells:
        if cell.sustained:
            yield cell, trees[0]
            continue
        for repeat in range(plan.repeats):
            for tree in trees if repeat % 2 == 0 else list(reversed(trees)):
                yield cell, tree


def _open(rate: int, latency: Latency, seconds: float) -> Cell:
    return Cell(rate=rate, latency=latency, chain=REALISTIC, seconds=seconds)


def _closed(callers: int, latency: Latency, seconds: float) -> Cell:
    return Cell(callers=callers, latency=latency, chain=AT_ONCE, seconds=seconds)

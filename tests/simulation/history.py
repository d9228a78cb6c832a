"""One history: a world, a daemon in it that is killed and started again, and its callers; then the judgement.

Everything in it follows from its seed and the number of its trades: run twice, it is the same, byte for byte.
"""

import gc
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio
from attrs import define, field, frozen
from solders.keypair import Keypair

from executor.supervisor import Daemon
from tests.simulation.callers import Asked, Callers
from tests.simulation.chance import chance
from tests.simulation.chronicle import Chronicle
from tests.simulation.climate import Climate, draw
from tests.simulation.clock import SimulatedClock, nap
from tests.simulation.daemon import Keeper
from tests.simulation.judge import Judgement, judge
from tests.simulation.syncs import SYNCS
from tests.simulation.workload import Plan, plans
from tests.simulation.world import World

MEMORY = Path("/dev/shm")  # noqa: S108 - where there is a disk in memory; each history has a directory of its own there
SETTLING_SECONDS = 900.0
"""How long after all troubles have ended a trade may still be open; far more than two lives of a blockhash."""
LOOK_SECONDS = 1.0
REST_SECONDS = 3.0
"""For what was told last to be written down."""


class NeverReady(Exception):
    """A daemon without any trouble around it does not start."""


@frozen(kw_only=True)
class HistorySeed:
    """What a history follows from."""

    seed: int
    number: int
    trades: int

    @property
    def text(self) -> str:
        """For what is derived from it."""
        return f"{self.seed} {self.number}"


@frozen(kw_only=True)
class HistoryResult:
    """How it went."""

    of: HistorySeed
    climate: Climate
    digest: str
    crashes: int
    faults: int
    judgement: Judgement
    lines: tuple[str, ...] = ()


@define(kw_only=True, eq=False)
class _History:
    of: HistorySeed
    climate: Climate
    chronicle: Chronicle
    folder: Path
    callers: list[Callers] = field(factory=list)
    judgement: Judgement | None = None

    async def run(self) -> None:
        seed = self.of.text
        wallet = Keypair.from_seed(chance(f"{seed} wallet").randbytes(32))
        world = World(climate=self.climate, seed=seed, chronicle=self.chronicle, wallet=wallet)
        keeper = Keeper(world=world, folder=self.folder, seed=seed, wallet=wallet)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.run)
            nursery.start_soon(keeper.run)
            try:
                await self._play(world, keeper)
            except NeverReady as error:
                self.judgement = Judgement(counts={"bugs": 1}, sentences=(str(error),), succeeded=0, words={})
            finally:
                keeper.end()
                world.end()
            nursery.cancel_scope.cancel()

    async def _play(self, world: World, keeper: Keeper) -> None:
        async with trio.open_nursery() as troubles:
            troubles.start_soon(keeper.fail_disk)
            troubles.start_soon(keeper.kill_disk)
            troubles.start_soon(keeper.stop_now_and_then)
            troubles.start_soon(keeper.halt_now_and_then)
            await self._trade(keeper)
            troubles.cancel_scope.cancel()
        keeper.disk_fails = keeper.disk_dies = keeper.may_die = False
        world.calm()
        daemon = await self._settle(keeper)
        for callers in self.callers:
            await callers.look_back()
        asked = [callers.asked for callers in self.callers]
        self.judgement = judge(asked=asked, world=world, keeper=keeper, daemon=daemon, chronicle=self.chronicle)

    async def _trade(self, keeper: Keeper) -> None:
        await nap(5.0)
        async with trio.open_nursery() as callers:
            for plan in plans(self.of.text, self.climate, self.of.trades):
                await nap(plan.after_seconds)
                callers.start_soon(self._call(plan, keeper).run)

    def _call(self, plan: Plan, keeper: Keeper) -> Callers:
        callers = Callers(plan=plan, keeper=keeper, asked=Asked(plan.request))
        self.callers.append(callers)
        return callers

    async def _settle(self, keeper: Keeper) -> Daemon:
        """Wait until nothing is open any more, or too long."""
        daemon = await self._opened(keeper)
        with trio.move_on_after(SETTLING_SECONDS):
            await keeper.resume()
            daemon = await keeper.until_open()
            while daemon.desk.in_flight():
                await nap(LOOK_SECONDS)
                daemon = await keeper.until_open()
        await nap(REST_SECONDS)
        return await self._opened(keeper)

    async def _opened(self, keeper: Keeper) -> Daemon:
        with trio.move_on_after(SETTLING_SECONDS):
            return await keeper.until_open()
        raise NeverReady(f"{self.of}: the daemon does not start again: {keeper.bugs}")


def run_history(of: HistorySeed, *, keep_lines: bool = False, climate: Climate | None = None) -> HistoryResult:
    """Run it."""
    climate = climate or draw(chance(f"{of.text} climate"))
    chronicle = Chronicle(keep=keep_lines)
    with _folder() as folder, SYNCS.installed(), _deterministic(of.text):
        history = _History(of=of, climate=climate, chronicle=chronicle, folder=folder)
        trio.run(history.run, clock=SimulatedClock())
    assert history.judgement is not None
    return HistoryResult(
        of=of,
        climate=climate,
        digest=chronicle.digest(),
        crashes=chronicle.crashes,
        faults=chronicle.faults.total(),
        judgement=history.judgement,
        lines=tuple(chronicle.lines),
    )


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="simulation-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def _deterministic(seed: str) -> Iterator[None]:
    """Let trio order each batch of tasks by a seed, as it does under Hypothesis; and no collector run in between."""
    run = trio._core._run
    allowed, gc_was_on = run._ALLOW_DETERMINISTIC_SCHEDULING, gc.isenabled()
    run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    run._r.seed(f"{seed} schedule")
    gc.disable()
    try:
        yield
    finally:
        run._ALLOW_DETERMINISTIC_SCHEDULING = allowed  # type: ignore[misc]
        if gc_was_on:
            gc.enable()
        gc.collect()

"""The real daemon in the simulated world: started, called, stopped, killed at any step of any of its tasks, and started again."""

import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import trio
from attrs import define, field
from solders.keypair import Keypair

from executor.config import Config, load
from executor.desk import Desk
from executor.errors import TradeError
from executor.localnet.jupiter import BASE_PATH
from executor.supervisor import Daemon, Surroundings, assemble
from executor.wallet.signer import KeypairSigner
from tests.simulation.chance import chance
from tests.simulation.clock import nap
from tests.simulation.disk import Disk
from tests.simulation.life import Life
from tests.simulation.transport import Wires
from tests.simulation.watchful_log import WatchfulLog
from tests.simulation.world import JUPITER_HOST, World
from tests.support.settings import Place

DATA = "data"
MAX_CRASHES = 40
"""Of one history: who dies again and again would never be done with its trades."""
MAX_DOWN_SECONDS = 4.0
MAX_LONG_DOWN_SECONDS = 160.0
"""Longer than nodes keep statuses at hand: what landed meanwhile is found in their history only."""
LONG_DOWN_RATE = 0.08
SOON_RATE = 0.3
"""Lives that end before or shortly after the daemon is ready."""
SOON_STEPS = 400
FAILING_SECONDS = 5.0
MAX_HALT_SECONDS = 8.0
BREAKER_OFF = {"error_rate_percent": 0, "landed_failures": 0, "slow_broadcast_p99_seconds": 0}

T = TypeVar("T")


class Cut(Exception):
    """Nobody answers: the daemon is down, or died before it answered."""


class Door:
    """Stands for the gRPC server: callers reach the desk while it is open."""

    async def serve(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Be open."""
        task_status.started("simulated")
        await trio.sleep_forever()

    async def drain(self, grace_seconds: float) -> bool:
        """Answers take no time here: nothing is owed."""
        return True


class Reaper(trio.abc.Instrument):
    """Counts the steps of the daemon's tasks, and kills it at one of them."""

    def __init__(self) -> None:
        self._tasks: set[trio.lowlevel.Task] = set()
        self._steps_left = 0
        self._life: Life | None = None

    @contextmanager
    def watching(self, life: Life, steps: int) -> Iterator[None]:
        """Take the current task and all that it starts for the daemon; 0 steps: it is not killed."""
        if not steps:
            yield
            return
        self._tasks = {trio.lowlevel.current_task()}
        self._life, self._steps_left = life, steps
        trio.lowlevel.add_instrument(self)
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(self)

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Children are the daemon's as well."""
        nursery = task.parent_nursery
        if nursery is not None and nursery.parent_task in self._tasks:
            self._tasks.add(task)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """Forget it."""
        self._tasks.discard(task)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count."""
        if self._steps_left and task in self._tasks:
            self._steps_left -= 1
            if self._steps_left == 0 and self._life is not None:
                self._life.strike("step")


@define(kw_only=True, eq=False)
class Keeper:
    """Keeps a daemon running, as systemd would, and is where callers find it."""

    world: World
    folder: Path
    seed: str
    wallet: Keypair
    bugs: list[str] = field(factory=list)
    """What the daemon called a bug of its own, and what made it fall over."""
    daemon: Daemon | None = None
    """While it takes calls."""
    life: Life = field(factory=lambda: Life(0))
    may_die: bool = True
    disk_fails: bool = False
    """At this moment."""
    disk_dies: bool = False
    """At this moment."""
    disk_is_bad: bool = field(init=False)
    """It fails or dies now and then in this history."""
    _rng: random.Random = field(init=False)
    _calls: set[trio.CancelScope] = field(factory=set)
    _scope: trio.CancelScope = field(factory=trio.CancelScope)
    _disk: Disk | None = None
    _open: trio.Event = field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self._rng = chance(f"{self.seed} keeper")
        self.disk_is_bad = self.world.climate.disk_failures + self.world.climate.disk_deaths > 0

    async def run(self) -> None:
        """Start the daemon again and again, until cancelled."""
        directory = self.folder / "life-0"
        while True:
            self.life = Life(self.life.number + 1, strike=self._strike)
            await self._live(directory)
            if self.life.is_over():
                directory = self.folder / f"life-{self.life.number}"
            await nap(self._down_seconds())

    async def call(self, ask: Callable[[Desk], Awaitable[T]]) -> T:
        """Ask the desk. Raises Cut when there is no answer, whatever became of the question, and what the desk raises."""
        daemon, life = self.daemon, self.life
        if daemon is None or life.is_over():
            raise Cut
        with trio.CancelScope() as scope:
            self._calls.add(scope)
            try:
                return await self._answer(daemon, life, ask)
            finally:
                self._calls.discard(scope)
        raise Cut

    async def _answer(self, daemon: Daemon, life: Life, ask: Callable[[Desk], Awaitable[T]]) -> T:
        try:
            answer = await ask(daemon.desk)
        except Exception:
            if life.is_over():
                raise Cut from None
            raise
        if life.is_over():
            raise Cut
        return answer

    async def until_open(self) -> Daemon:
        """Wait until the daemon takes calls."""
        while self.daemon is None:
            await self._open.wait()
        return self.daemon

    def stop(self) -> None:
        """Ask it to end in good order, as SIGTERM does."""
        if self.daemon is not None:
            self.world.chronicle.fault("stop", self.life.number)
            self.daemon._stopping.set()

    def end(self) -> None:
        """The history is over: nothing that the daemon still does counts."""
        self.life.ended.set()

    async def fail_disk(self) -> None:
        """Let the disk fail now and then, until cancelled."""
        while rate := self.world.climate.disk_failures:
            await trio.sleep(self._rng.expovariate(rate))
            self.disk_fails = True
            self.world.chronicle.fault("disk-fails")
            await trio.sleep(self._rng.uniform(0.0, FAILING_SECONDS))
            self.disk_fails = False
            self.world.chronicle.note("disk-works")

    async def kill_disk(self) -> None:
        """Let the disk die now and then, until cancelled."""
        while rate := self.world.climate.disk_deaths:
            await trio.sleep(self._rng.expovariate(rate))
            self.disk_dies = True
            self.world.chronicle.fault("disk-dies")
            await trio.sleep(self._rng.uniform(0.0, FAILING_SECONDS))
            self._strike("disk")
            self.disk_dies = False

    async def stop_now_and_then(self) -> None:
        """Restart it in good order now and then, until cancelled."""
        while rate := self.world.climate.stops:
            await trio.sleep(self._rng.expovariate(rate))
            self.stop()

    async def halt_now_and_then(self) -> None:
        """Halt trading at an operator's word now and then, until cancelled; it may stay halted then."""
        while rate := self.world.climate.halts:
            await trio.sleep(self._rng.expovariate(rate))
            await self._tell("halt", lambda desk: desk.halt("simulated"))
            await trio.sleep(self._rng.uniform(0.0, MAX_HALT_SECONDS))
            await self.resume()

    async def resume(self) -> None:
        """Resume trading at an operator's word."""
        await self._tell("resume", lambda desk: desk.resume("simulated"))

    async def _tell(self, word: str, tell: Callable[[Desk], Awaitable[object]]) -> None:
        """An operator's word, until it is taken and on disk."""
        while True:
            await self.until_open()
            try:
                await self.call(tell)
            except (Cut, TradeError) as error:
                self.world.chronicle.note(word, repr(error))
                await nap(0.1)
            else:
                return self.world.chronicle.fault(word, self.life.number)

    # --- one life ---

    async def _live(self, directory: Path) -> None:
        life = self.life
        self._disk = Disk(
            directory=directory,
            life=life,
            chronicle=self.world.chronicle,
            rng=chance(f"{self.seed} disk {life.number}"),
            climate=lambda: self.world.climate,
            failing=lambda: self.disk_fails,
            dying=lambda: self.disk_dies,
        )
        self._scope = trio.CancelScope()
        try:
            with Reaper().watching(life, self._fatal_step()), self._scope:
                await self._run_daemon(directory, life)
        except Exception as error:  # noqa: BLE001 - a daemon that falls over is what we are looking for
            if not life.is_over():
                self.bugs.append(f"the daemon fell over: {error!r}")
                self._strike("bug")
        self._shut()

    async def _run_daemon(self, directory: Path, life: Life) -> None:
        seed = f"{self.seed} life {life.number}"
        surroundings = Surroundings(
            environment={},
            now_ns=self.world.clock.now_ns,
            rng=chance(seed),
            log=WatchfulLog(life, self.bugs),
            transport=Wires(self.world, life, seed),
            run_commit=self._disk.run_commit if self._disk else None,  # type: ignore[arg-type]
        )
        daemon = assemble(self._config(directory), signer=KeypairSigner(self.wallet), surroundings=surroundings)
        daemon.server = Door()
        try:
            await daemon.live(on_ready=lambda _address: self._ready(daemon, life))
        finally:
            if not life.is_over():
                self._shut()
            with trio.CancelScope(shield=True):
                await daemon.aclose()

    def _ready(self, daemon: Daemon, life: Life) -> None:
        if not life.is_over():
            self.world.chronicle.note("ready", life.number)
            self.daemon = daemon
            self._open.set()

    def _shut(self) -> None:
        """Who waits for the daemon goes on waiting for the next one."""
        self.daemon = None
        if self._open.is_set():
            self._open = trio.Event()

    def _config(self, directory: Path) -> Config:
        hosts = tuple(f"http://{host}" for host in self.world.endpoints if host != JUPITER_HOST)
        place = Place(folder=directory, nodes=hosts, jupiter=f"http://{JUPITER_HOST}{BASE_PATH}")
        breaker = {} if self.world.climate.breaker else BREAKER_OFF
        text = place.config_text(
            breaker=breaker,
            daemon={"data_directory": str(directory), "drain_timeout_seconds": 5.0},
            solana={"blockhash_refresh_seconds": 1.0, "skip_preflight": not self.world.climate.preflight},
            confirmation={"poll_initial_seconds": 0.1, "poll_max_seconds": 1.0, "resend_seconds": 5.0},
            retry={"initial_delay_seconds": 0.1},
        )
        return load(text, environment={}, source="simulated")

    # --- its end ---

    def _fatal_step(self) -> int:
        mean = self.world.climate.crash_steps
        if not mean or not self.may_die:
            return 0
        if self._rng.random() < SOON_RATE:
            return self._rng.randint(1, SOON_STEPS)
        return 1 + round(self._rng.expovariate(1 / mean))

    def _down_seconds(self) -> float:
        longest = MAX_LONG_DOWN_SECONDS if self._rng.random() < LONG_DOWN_RATE else MAX_DOWN_SECONDS
        return self._rng.uniform(0.05, longest)

    def _strike(self, why: str) -> None:
        """Kill it: void all that it does from now on, keep what its disk holds, and let it unwind unheard."""
        life = self.life
        if life.is_over() or (not self.may_die and why != "bug"):
            return
        life.ended.set()
        left = self._disk.leave(self.folder / f"life-{life.number}") if self._disk else "nothing"
        self.world.chronicle.crashes += 1
        self.may_die = self.may_die and self.world.chronicle.crashes < MAX_CRASHES
        self.world.chronicle.note("crash", life.number, why, left)
        self._shut()
        for scope in self._calls:
            scope.cancel()
        self._scope.cancel()

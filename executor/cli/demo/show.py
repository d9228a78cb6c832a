"""A whole demo, from the first process to the last one's end."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

from attrs import frozen

from executor.cli.demo.chain import Chain
from executor.cli.demo.children import Children
from executor.cli.demo.failure import DemoFailed
from executor.cli.demo.floor import Floor
from executor.cli.demo.interruption import Interruption
from executor.cli.demo.plan import make_plan
from executor.cli.demo.stage import WALLET_FILE, Localnet, Stage, set_up, start_localnet
from executor.cli.demo.summary import Summary, summarise
from executor.cli.demo.trades import Trade
from executor.cli.demo.wallet_check import unexplained


@frozen(kw_only=True)
class Settings:
    """What a caller may choose."""

    swaps: int
    """That have to succeed; the trades that must not come on top."""
    concurrency: int
    seed: int
    slot_ms: int


class Audience(Protocol):
    """Who is told what happens, while it happens."""

    def opens(self) -> None:
        """Everything is about to be started."""
        ...

    def begins(self, stage: Stage) -> None:
        """The daemon allows trading; the first trade follows."""
        ...

    def sees(self, trade: Trade) -> None:
        """A trade has ended."""
        ...

    def leaves(self, summary: Summary) -> None:
        """All have ended, and so has everything that was started."""
        ...


def perform(settings: Settings, audience: Audience, start_network: Callable[[Children], Localnet] | None = None) -> None:
    """Play it, on a localnet unless told otherwise. Main thread only.

    Raises DemoFailed when anything is not as it must be; the logs are kept then, and named.
    """
    with Interruption() as interruption, _temporary_folder(interruption) as folder, Children(folder, interruption) as children:
        audience.opens()
        stage = set_up(children, start_network or partial(start_localnet, slot_ms=settings.slot_ms, seed=settings.seed))
        summary = _play(stage, children, settings, audience)
        audience.leaves(summary)
        if summary.problems:
            raise DemoFailed("not everything is as it must be:\n" + "\n".join(f"  {problem}" for problem in summary.problems))


def _play(stage: Stage, children: Children, settings: Settings, audience: Audience) -> Summary:
    chain = Chain(stage.network.node_url, stage.wallet)
    before = chain.holdings()
    audience.begins(stage)
    trades = []
    floor = Floor(stage=stage, children=children, concurrency=settings.concurrency)
    try:
        for trade in floor.run(make_plan(stage.tokens, swaps=settings.swaps, seed=settings.seed)):
            audience.sees(trade)
            trades.append(trade)
    except DemoFailed:
        children.blame_the_dead()
        raise
    counted = stage.outcomes()
    stage.drain()
    after = chain.holdings()
    stage.close()
    return summarise(trades, wallet_unexplained=unexplained(before, after, trades), counted=counted)


@contextmanager
def _temporary_folder(interruption: Interruption) -> Iterator[Path]:
    """A folder that is gone afterwards. When the demo fails the logs stay, and the failure says where."""
    folder = Path(tempfile.mkdtemp(prefix="executor-demo-"))
    kept = False
    try:
        yield folder
    except BrokenPipeError:  # `executor demo | head` is no failure of ours
        raise
    except Exception as error:
        logs = sorted(folder.glob("*.log"))
        kept = bool(logs)
        (folder / WALLET_FILE).unlink(missing_ok=True)
        for subfolder in filter(Path.is_dir, folder.iterdir()):  # keys of other wallets, a chain of hundreds of megabytes
            shutil.rmtree(subfolder)
        if logs:
            error.add_note("logs are kept: " + " and ".join(map(str, logs)))
        raise
    finally:
        if not kept:
            with interruption.held():
                shutil.rmtree(folder)

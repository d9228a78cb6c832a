"""One run: upstream, daemon and caller, each a process of its own, new for every run."""

import json
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen
from solders.keypair import Keypair

from tests.bench import upstreams
from tests.bench.daemon import MeasuredDaemon, Used, running_daemon, write_config
from tests.bench.figures import Evidence
from tests.bench.load import Row, parse_rows
from tests.bench.places import CACHE, ROOT, Cores, Tree, own_tree
from tests.bench.plan import Cell
from tests.bench.upstreams import Upstream

SAMPLER = Path(__file__).with_name("sampler.py")
WARM_UP_TRADES, WARM_UP_CALLERS = 24, 4
"""They open connections and fill caches; their amounts are smaller than those of the run."""
FSYNCS = 20


@frozen(kw_only=True)
class Rig:
    """What all runs share."""

    program: Path | None
    """The stand-in; None: the localnet."""
    cores: Cores


@frozen(kw_only=True)
class Profiled:
    """A run under the sampler."""

    evidence: Evidence
    stacks: Path

    @property
    def cpu_seconds(self) -> float:
        """Of the daemon, in the run."""
        return self.evidence.after.cpu_seconds - self.evidence.before.cpu_seconds


def run_cell(cell: Cell, tree: Tree, *, rig: Rig) -> Evidence:
    """Run a cell with a new daemon of a tree."""
    with _folder() as folder, _upstream(cell, rig) as (wallet, upstream):
        config = write_config(folder, wallet=wallet, upstream=upstream)
        with running_daemon(tree, config=config, cores=rig.cores) as daemon:
            return _measure(cell, daemon, upstream, rig=rig)


@contextmanager
def profiled_cell(cell: Cell, tree: Tree, *, rig: Rig) -> Iterator[Profiled]:
    """Run a cell under the sampler; its stacks are there while the block runs."""
    with _folder() as folder:
        stacks = folder / "stacks.json"
        with _upstream(cell, rig) as (wallet, upstream):
            config = write_config(folder, wallet=wallet, upstream=upstream)
            with running_daemon(tree, config=config, cores=rig.cores, through=(str(SAMPLER), str(stacks))) as daemon:
                evidence = _measure(cell, daemon, upstream, rig=rig, sample=True)
        yield Profiled(evidence=evidence, stacks=stacks)


def _measure(cell: Cell, daemon: MeasuredDaemon, upstream: Upstream, *, rig: Rig, sample: bool = False) -> Evidence:
    warm = _load(rig, address=daemon.address, callers=WARM_UP_CALLERS, count=WARM_UP_TRADES)
    if not any(row.status == "SUCCESS" for row in warm):
        raise RuntimeError(f"the warm-up failed: {[row.error for row in warm if row.error][:1]}")
    if sample:
        os.kill(daemon.pid, signal.SIGUSR1)
    seen_before, told_before, before = upstream.seen(), daemon.told(), daemon.used()
    rows = _load(
        rig,
        address=daemon.address,
        rate=cell.rate,
        callers=cell.callers,
        seconds=cell.seconds,
        first_number=WARM_UP_TRADES,
    )
    after: Used = daemon.used()
    told = daemon.told()
    return Evidence(
        latency=cell.latency,
        rows=rows,
        before=before,
        after=after,
        seen_before=seen_before,
        seen_after=upstream.seen(),
        stages=told.stages,
        commits=told.commits - told_before.commits,
    )


def _load(rig: Rig, **load: object) -> list[Row]:
    own = own_tree()  # the caller is always this tree's, whatever daemon it calls
    command = [*rig.cores.prefix(rig.cores.others), str(own.python), "-m", "tests.bench.load", json.dumps(load)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, env=own.environment())
    return parse_rows(done.stdout)


@contextmanager
def _upstream(cell: Cell, rig: Rig) -> Iterator[tuple[Keypair, Upstream]]:
    wallet = Keypair()
    made = (
        upstreams.localnet(wallet=wallet)
        if rig.program is None
        else upstreams.stand_in(rig.program, wallet=wallet, latency=cell.latency, chain=cell.chain, cores=rig.cores)
    )
    with made as upstream:
        yield wallet, upstream


@contextmanager
def _folder() -> Iterator[Path]:
    """On the disk of this tree: in a temporary file system an fsync costs nothing."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=CACHE, prefix="run-") as folder:
        yield Path(folder)


def machine_facts() -> Mapping[str, object]:
    """What a figure depends on besides us."""
    models = [
        line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else "unknown",
        "cores": os.cpu_count(),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "fsync_ms": round(_fsync_ms(), 3),
    }


def _fsync_ms() -> float:
    """The median time of an fsync after 4 KiB, where the journal lies."""
    took = []
    with _folder() as folder, (folder / "probe").open("wb", buffering=0) as probe:
        for _ in range(FSYNCS):
            probe.write(bytes(4096))
            began = time.perf_counter()
            os.fsync(probe.fileno())
            took.append((time.perf_counter() - began) * 1e3)
    return statistics.median(took)

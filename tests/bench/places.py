"""Where things run: cores, the upstream's program, the tree whose daemon is measured."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "bench"
UPSTREAM_SOURCE = ROOT.parent / "shared" / "bench" / "upstream"
GO_PLACES = ("/usr/local/go/bin/go",)
"""Where Go's own installer puts it, often outside PATH."""


@frozen(kw_only=True)
class Cores:
    """Which core does what; None: wherever the kernel likes."""

    daemon: int | None
    others: int | None
    """Upstream and caller."""

    def prefix(self, core: int | None) -> list[str]:
        """What to put before a command."""
        return [] if core is None else ["taskset", "-c", str(core)]

    def text(self, *, localnet: bool) -> str:
        """For people."""
        if self.daemon is None:
            return "nothing is pinned (taskset and two cores are needed)"
        if localnet:
            return f"daemon on core {self.daemon}; caller on core {self.others}; the localnet on any"
        return f"daemon on core {self.daemon}; upstream (GOMAXPROCS=1) and caller on core {self.others}"


def find_cores() -> Cores:
    """The last core for the daemon, the first for the others, if there are two."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2 or shutil.which("taskset") is None:
        return Cores(daemon=None, others=None)
    return Cores(daemon=cores[-1], others=cores[0])


@frozen(kw_only=True)
class Tree:
    """A checkout whose daemon is measured, and the interpreter that has what it depends on."""

    name: str
    root: Path
    python: Path

    def environment(self) -> Mapping[str, str]:
        """So that this tree's packages are found before the installed ones."""
        return {**os.environ, "PYTHONPATH": str(self.root)}


def own_tree() -> Tree:
    """The tree that this file belongs to, changes that are not committed included."""
    return Tree(name=_described(), root=ROOT, python=ROOT / ".venv" / "bin" / "python")


def _described() -> str:
    try:
        return _git("describe", "--always", "--dirty", "--abbrev=10")
    except (OSError, subprocess.CalledProcessError):
        return "this tree"


@contextmanager
def checked_out(revision: str) -> Iterator[Tree]:
    """Another revision, in a folder that is gone afterwards; with its own venv where its dependencies are others.

    Raises ValueError for a revision that git does not know.
    """
    try:
        commit = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except subprocess.CalledProcessError as error:
        raise ValueError(f"git knows no revision {revision!r}") from error
    with TemporaryDirectory(prefix="executor-bench-") as folder:
        root = Path(folder) / "tree"
        _git("worktree", "add", "--quiet", "--detach", str(root), commit)
        try:
            yield Tree(name=revision, root=root, python=_interpreter(root))
        finally:
            _git("worktree", "remove", "--force", str(root))


def _interpreter(root: Path) -> Path:
    same = (root / "setup.cfg").read_bytes() == (ROOT / "setup.cfg").read_bytes()
    if not same:
        subprocess.run([str(root / "scripts" / "install"), "localnet"], check=True)
    return (ROOT if same else root) / ".venv" / "bin" / "python"


def build_upstream() -> Path | str:
    """The upstream's program, built if it is not yet; or why there is none."""
    go = find_go()
    if not UPSTREAM_SOURCE.is_dir():
        return "../shared/bench/upstream is not there"
    if go is None:
        return "Go is not there"
    CACHE.mkdir(parents=True, exist_ok=True)
    program = CACHE / "upstream"
    built = subprocess.run(
        [go, "build", "-o", str(program), "."], cwd=UPSTREAM_SOURCE, capture_output=True, text=True, check=False
    )
    return program if built.returncode == 0 else f"the upstream cannot be built: {built.stderr.strip()[:400]}"


def find_go() -> str | None:
    """Go's command."""
    return shutil.which("go") or next((path for path in GO_PLACES if os.access(path, os.X_OK)), None)


def _git(*words: str) -> str:
    command: Sequence[str] = ["git", "-C", str(ROOT), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

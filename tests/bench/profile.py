"""Reads the sampler's stacks: where the CPU time of a trade goes, by part, by package, by function and by stage."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from attrs import frozen

TOP_FUNCTIONS = 25
_PACKAGE = re.compile(r"/(?:site|dist)-packages/([^/]+?)(?:\.py)?(?:/|$)")
_OURS = re.compile(r"/(executor/.+)\.py$")
_STANDARD = re.compile(r"/lib/python3\.\d+/([^/]+?)(?:\.py)?(?:/|$)")


@frozen
class Frame:
    """A function."""

    file: str
    line: int
    name: str

    @property
    def place(self) -> str:
        """Where it is from: executor/journal/journal, trio, json (standard library) ..."""
        for pattern in (_OURS, _PACKAGE, _STANDARD):
            found = pattern.search(self.file)
            if found:
                return found[1]
        return self.file.strip("<>") if self.file.startswith("<") else Path(self.file).stem

    @property
    def package(self) -> str:
        """Its top-level package; of ours the first two levels."""
        parts = self.place.split("/")
        return "/".join(parts[:2]) if parts[0] == "executor" else parts[0]

    @property
    def title(self) -> str:
        """For a table."""
        return f"{self.place}:{self.line} {self.name}"


@frozen
class Sample:
    """A stack, innermost frame first, and how often it was seen."""

    count: int
    frames: Sequence[Frame]


def read_samples(path: Path) -> list[Sample]:
    """Read what the sampler wrote."""
    return [Sample(row["count"], [Frame(*frame) for frame in row["frames"]]) for row in json.loads(path.read_text())]


PARTS: Mapping[str, tuple[str, ...]] = {
    "HTTP client": (
        "httpx",
        "httpcore",
        "h11",
        "anyio",
        "sniffio",
        "httptools",
        "executor/network/http",
        "executor/network/transport",
        "executor/network/trio_transport",
        "executor/network/httpx_transport",
    ),
    "JSON and reading answers": ("json", "executor/network/reader", "executor/network/solana", "executor/network/jupiter"),
    "gRPC server": ("purerpc", "h2", "hpack", "hyperframe", "executor/rpc", "google", "async_generator"),
    "log": ("structlog", "executor/log"),
    "journal": ("sqlite3", "executor/journal"),
    "retries and choice of node": ("executor/network",),
    "stages": ("executor/stages", "executor/programs", "executor/outcomes", "executor/model", "executor/units"),
    "background values": ("executor/chainstate", "executor/risk", "executor/wallet"),
    "trade and desk": ("executor/trade", "executor/desk", "executor/ops", "executor/states"),
}
"""A sample belongs to the part of its innermost frame that is in one; what is called from there (trio, attrs) counts with it."""
REST = "trio: scheduler, sockets, threads"


def part_of(sample: Sample) -> str:
    """Whose work it was."""
    for frame in sample.frames:
        if frame.package == "trio":
            continue
        for part, prefixes in PARTS.items():
            if any(frame.place == prefix or frame.place.startswith(f"{prefix}/") for prefix in prefixes):
                return part
    return REST


def stage_of(sample: Sample) -> str:
    """The stage of the trade, or who else asked for the work: the outermost of our own frames that tells."""
    for frame in reversed(sample.frames):
        if frame.place.startswith("executor/stages/"):
            return frame.place.removeprefix("executor/")
        if frame.place.startswith(("executor/rpc", "executor/chainstate", "executor/journal")):
            return "/".join(frame.place.split("/")[:3]).removeprefix("executor/")
    return "trade.py and desk.py" if any(f.place in ("executor/trade", "executor/desk") for f in sample.frames) else REST


@frozen
class Cost:
    """What something costs."""

    name: str
    share: float
    microseconds: float
    """Of CPU time, a trade."""


@frozen(kw_only=True)
class Profile:
    """Four views of the same samples."""

    samples: int
    microseconds_per_trade: float
    parts: Sequence[Cost]
    stages: Sequence[Cost]
    packages: Sequence[Cost]
    functions: Sequence[Cost]
    """By their own time."""
    cumulative: Sequence[Cost]
    """With what they call."""


def profile_of(samples: Sequence[Sample], *, cpu_seconds: float, trades: int) -> Profile:
    """Spread the CPU time of a run, as the kernel counted it, over its samples."""
    total = sum(sample.count for sample in samples)
    per_trade = cpu_seconds * 1e6 / trades

    def costs(names: Callable[[Sample], Iterable[str]], top: int | None = None) -> list[Cost]:
        counts: Counter[str] = Counter()
        for sample in samples:
            for name in names(sample):
                counts[name] += sample.count
        return [Cost(name, count / total, per_trade * count / total) for name, count in counts.most_common(top)]

    return Profile(
        samples=total,
        microseconds_per_trade=per_trade,
        parts=costs(lambda sample: [part_of(sample)]),
        stages=costs(lambda sample: [stage_of(sample)]),
        packages=costs(lambda sample: [sample.frames[0].package]),
        functions=costs(lambda sample: [sample.frames[0].title], TOP_FUNCTIONS),
        cumulative=costs(lambda sample: {frame.title for frame in sample.frames}, TOP_FUNCTIONS * 2),
    )


def profile_text(profile: Profile) -> str:
    """All tables."""
    tables = {
        "by part": profile.parts,
        "by stage, and what else asks for work": profile.stages,
        "by package, own time": profile.packages,
        f"top {TOP_FUNCTIONS} functions, own time": profile.functions,
        f"top {TOP_FUNCTIONS * 2} functions, with what they call": profile.cumulative,
    }
    head = f"{profile.samples} samples, {profile.microseconds_per_trade:.0f} us of CPU time a trade"
    return "\n\n".join([head, *(_table(title, costs) for title, costs in tables.items())])


def _table(title: str, costs: Sequence[Cost]) -> str:
    rows = [f"{cost.microseconds:9.0f} us {cost.share:6.1%}  {cost.name}" for cost in costs if cost.share >= 0.001]
    return "\n".join([f"-- {title}", *rows])

"""A sampling profiler inside the daemon's process: started in place of `python -m executor`, it changes nothing of what runs.

    python sampler.py STACKS serve --config FILE ...

Every few milliseconds of CPU time (ITIMER_PROF, as fine as the kernel's tick) the main thread's stack is counted; at the end
the counts are written to STACKS as JSON, innermost frame first. cProfile would slow small functions several times over, and the
figures with them. Imports nothing of the tests: the daemon may be another revision's.
"""

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

INTERVAL_SECONDS = 0.001
MAX_FRAMES = 64

Stack = tuple[CodeType, ...]


def sample_into(counts: Counter[Stack]) -> None:
    """Count stacks from now on."""

    def count(_signal: int, frame: FrameType | None) -> None:
        stack: list[CodeType] = []
        while frame is not None and len(stack) < MAX_FRAMES:
            stack.append(frame.f_code)
            frame = frame.f_back
        counts[tuple(stack)] += 1

    signal.signal(signal.SIGPROF, count)
    # A system call that a sample interrupts goes on by itself.
    signal.siginterrupt(signal.SIGPROF, False)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)


def write(counts: Counter[Stack], path: Path) -> None:
    """Write the stacks: file, first line and name of each frame."""
    rows = [
        {"count": count, "frames": [[code.co_filename, code.co_firstlineno, code.co_qualname] for code in stack]}
        for stack, count in counts.items()
    ]
    path.write_text(json.dumps(rows))


def main(stacks: str, *arguments: str) -> int:
    """Run a command of the executor under the sampler."""
    from executor.cli import main as run

    counts: Counter[Stack] = Counter()
    # The first samples are taken when the daemon is told to: what it does at its start is nobody's trade.
    signal.signal(signal.SIGUSR1, lambda *_: sample_into(counts))
    try:
        return run(arguments)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        write(counts, Path(stacks))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

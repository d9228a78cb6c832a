"""Many histories under one seed, their sum, and, where one fails, the shortest beginning of it that still does."""

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

from attrs import evolve, field, frozen

from tests.simulation.history import HistoryResult, HistorySeed, run_history
from tests.simulation.syncs import SYNCS

TRADES_PER_HISTORY = 500
SHOWN_VIOLATIONS = 10
COUNTED = (
    "duplicates",
    "lost",
    "false_failed",
    "false_success",
    "amount_mismatches",
    "leaked_reservations",
    "contradictions",
    "illegal_moves",
    "bugs",
)

Tell = Callable[[str], None]


@frozen(kw_only=True)
class Sum:
    """What all histories of a run come to."""

    seed: int
    trades: int
    crashes: int
    faults: int
    counts: Counter[str]
    digest: str
    failed: tuple[HistoryResult, ...] = field(factory=tuple)

    def json(self) -> str:
        """One line, the same for every run of the seed."""
        figures = {"trades": self.trades, "crashes": self.crashes, "faults": self.faults}
        counts = {kind: self.counts[kind] for kind in COUNTED}
        return json.dumps({**figures, **counts, "history": self.digest, "seed": self.seed})


def seeds(seed: int, trades: int, per_history: int = TRADES_PER_HISTORY) -> Iterator[HistorySeed]:
    """Cut a run into its histories."""
    for number, start in enumerate(range(0, trades, per_history)):
        yield HistorySeed(seed=seed, number=number, trades=min(per_history, trades - start))


def run(seed: int, trades: int, *, tell: Tell) -> Sum:
    """Run all of them; `tell` is told how far it has come, and what is wrong."""
    digest = hashlib.blake2b(digest_size=16)
    counts: Counter[str] = Counter()
    results: list[HistoryResult] = []
    crashes = faults = done = 0
    if not SYNCS.can_fail:
        tell("this Python hides the functions of its SQLite: no sync fails in these histories, everything else does")
    began = time.process_time()
    for of in seeds(seed, trades):
        result = run_history(of)
        digest.update(result.digest.encode())
        counts.update(result.judgement.counts)
        crashes, faults, done = crashes + result.crashes, faults + result.faults, done + of.trades
        milliseconds = (time.process_time() - began) / done * 1_000
        tell(f"{done} of {trades} trades, {crashes} crashes, {faults} faults, {milliseconds:.1f} ms of CPU a trade")
        if not result.judgement.sound:
            results.append(result)
            tell(words(result))
    return Sum(
        seed=seed,
        trades=done,
        crashes=crashes,
        faults=faults,
        counts=counts,
        digest=digest.hexdigest(),
        failed=tuple(results),
    )


def words(result: HistoryResult) -> str:
    """Say what is wrong with a history, and how to see it again."""
    found = result.judgement.sentences
    listed = [f"  {sentence}" for sentence in found[:SHOWN_VIOLATIONS]]
    left = len(found) - len(listed)
    more = [f"  and {left} more"] if left > 0 else []
    return "\n".join(
        [f"history {result.of.number} ({', '.join(result.climate.moods) or 'calm'}):", *listed, *more, replay(result.of)]
    )


def replay(of: HistorySeed) -> str:
    """The command that runs one history again and shows all that happened."""
    return f"  replay: scripts/chaos simulate --seed {of.seed} --history {of.number} --trades {of.trades} --show"


def shortest(result: HistoryResult, *, tell: Tell) -> HistoryResult:
    """Look for the shortest beginning of a history that still fails, by halves."""
    passes, fails = 0, result
    while fails.of.trades - passes > 1:
        middle = (passes + fails.of.trades) // 2
        tried = run_history(evolve(result.of, trades=middle))
        if tried.judgement.sound:
            passes = middle
        else:
            fails = tried
        tell(f"{middle} trades {'pass' if tried.judgement.sound else 'fail'}")
    return fails


def to_stderr(line: str) -> None:
    """Tell a person."""
    print(line, file=sys.stderr, flush=True)

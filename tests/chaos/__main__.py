"""scripts/chaos: machines that try to break the promises.

simulate: the daemon's real code in a simulated world, under one seed. crash: the real process, killed. planted: what both find.
"""

import argparse
import os
import secrets
import sys
from collections.abc import Sequence

from tests.simulation import run
from tests.simulation.history import HistorySeed, run_history

HASH_SEED = "0"


def main(arguments: Sequence[str]) -> int:
    """Run a command; returns the exit code."""
    if arguments[:1] == ["crash"]:
        from tests.crash.run import main as crash

        return int(crash(list(arguments[1:])))
    options = _parser().parse_args(arguments)
    _fix_hashes()
    return int(options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(required=True)
    simulate = commands.add_parser("simulate", help="simulate trades under one seed")
    simulate.add_argument("--trades", type=int, default=5_000)
    simulate.add_argument("--seed", type=int, help="a fresh one unless it is given; it is printed")
    simulate.add_argument("--history", type=int, help="run this one only; --trades is then how many it has")
    simulate.add_argument("--show", action="store_true", help="with --history: print all that happened")
    simulate.add_argument("--json", action="store_true", help="print one line of JSON at the end, and progress to stderr")
    simulate.set_defaults(run=_simulate)
    planted = commands.add_parser("planted", help="plant bugs, one at a time, and count the trades until they are found")
    planted.add_argument("--only", help="the name of one bug")
    planted.add_argument("--json", action="store_true", help="print JSON")
    planted.set_defaults(run=_planted)
    commands.add_parser("crash", help="kill the real process at named points: see its own --help", add_help=False)
    return parser


def _fix_hashes() -> None:
    """Start anew with a fixed hash seed: the order of sets of strings is part of a history."""
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        environment = {**os.environ, "PYTHONHASHSEED": HASH_SEED}
        os.execve(sys.executable, [sys.executable, "-m", "tests.chaos", *sys.argv[1:]], environment)  # noqa: S606 - ourselves


def _simulate(options: argparse.Namespace) -> int:
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    if options.history is not None:
        return _one(HistorySeed(seed=seed, number=options.history, trades=options.trades), show=options.show)
    run.to_stderr(f"seed {seed}")
    found = run.run(seed, options.trades, tell=run.to_stderr)
    for result in found.failed[:1]:
        shortest = run.shortest(result, tell=run.to_stderr)
        run.to_stderr(f"the shortest beginning that fails has {shortest.of.trades} trades:\n{run.words(shortest)}")
    print(found.json() if options.json else _text(found))
    return 1 if found.failed else 0


def _text(found: run.Sum) -> str:
    verdict = "not sound" if found.failed else "sound"
    return f"{verdict}: {found.trades} trades, {found.crashes} crashes, {found.faults} faults; history {found.digest}"


def _one(of: HistorySeed, *, show: bool) -> int:
    result = run_history(of, keep_lines=show)
    sys.stdout.writelines(result.lines)
    print(f"{result.climate}\n{result.judgement.words}\nhistory {result.digest}")
    if result.judgement.sound:
        return 0
    print(run.words(result))
    return 1


def _planted(options: argparse.Namespace) -> int:
    from tests.simulation import planted

    return planted.report(only=options.only, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

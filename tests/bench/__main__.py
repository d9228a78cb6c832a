"""Measure the daemon under load: `scripts/bench --help`."""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from attrs import asdict, evolve, frozen

from tests.bench.figures import Result, result_of, summary_of
from tests.bench.judge import judge
from tests.bench.places import Tree, build_upstream, checked_out, find_cores, own_tree
from tests.bench.plan import (
    NO_LATENCY,
    REALISTIC,
    USUAL_LATENCY,
    Cell,
    Plan,
    full_plan,
    in_order,
    lasting,
    on_localnet,
    quick_plan,
)
from tests.bench.profile import Profile, profile_of, profile_text, read_samples
from tests.bench.report import Measured, as_json, comparison, comparison_text, row_text, table_text
from tests.bench.run import Rig, machine_facts, profiled_cell, run_cell

PROFILE_RATE, PROFILE_SECONDS = 40, 15.0


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure the unchanged daemon under load, on ../shared/bench/upstream if it and Go are there, else on the "
        "localnet. Exit code 1: a trade was made twice, lost or told wrongly; or, with --judge, a limit of the specification was "
        "missed.",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a run, and a last one with everything")
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--judge", action="store_true", help="fail when a limit of the specification is missed")
    parser.add_argument("--against", metavar="REV", help="run another revision in turns with this tree, and compare")
    parser.add_argument("--profile", action="store_true", help="show where the CPU time of a trade goes instead")
    parser.add_argument("--localnet", action="store_true", help="use the localnet, whatever else is there")
    parser.add_argument("--repeats", type=int, metavar="N", help="runs of each kind (3; --quick: 1)")
    parser.add_argument("--seconds", type=float, metavar="N", help="length of each run, except the sustained one")
    parser.add_argument("--rates", metavar="R,R", help="trades a second (25,50,100; --quick: 25,100; --profile: 40)")
    return parser


@frozen(kw_only=True)
class Voice:
    """Where words go: with --json, stdout is for programs only."""

    as_json: bool

    def tell(self, text: str) -> None:
        """Say something to people."""
        print(text, file=sys.stderr if self.as_json else sys.stdout, flush=True)

    def give(self, value: object) -> None:
        """Give a program a line."""
        if self.as_json:
            print(json.dumps(value), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    arguments = make_parser().parse_args(argv)
    voice = Voice(as_json=arguments.json)
    rig, without = _rig(localnet=arguments.localnet)
    upstream = "../shared/bench/upstream" if rig.program else f"localnet ({without})"
    voice.tell(f"upstream: {upstream}; {rig.cores.text(localnet=rig.program is None)}")
    if arguments.profile:
        return _profile(arguments, rig=rig, voice=voice)
    plan = _plan(arguments, rig)
    with ExitStack() as stack:
        trees = [own_tree()]
        if arguments.against:
            try:
                trees.append(stack.enter_context(checked_out(arguments.against)))
            except ValueError as error:
                voice.tell(str(error))
                return 2
        results = _run_all(plan, trees, rig=rig, voice=voice)
    return _conclude(results, trees, judged=arguments.judge, rig=rig, voice=voice)


def _rig(*, localnet: bool) -> tuple[Rig, str]:
    found = "as asked" if localnet else build_upstream()
    return Rig(program=None if isinstance(found, str) else found, cores=find_cores()), found if isinstance(found, str) else ""


def _plan(arguments: argparse.Namespace, rig: Rig) -> Plan:
    make: Callable[..., Plan] = quick_plan if arguments.quick else full_plan
    plan = make(rates=_rates(arguments)) if arguments.rates else make()
    if arguments.repeats:
        plan = evolve(plan, repeats=arguments.repeats)
    if arguments.seconds:
        plan = lasting(plan, arguments.seconds)
    return plan if rig.program else on_localnet(plan)


def _rates(arguments: argparse.Namespace) -> list[int]:
    return [int(rate) for rate in arguments.rates.split(",")]


Results = dict[str, dict[Cell, list[Result]]]


def _run_all(plan: Plan, trees: Sequence[Tree], *, rig: Rig, voice: Voice) -> Results:
    results: Results = {tree.name: defaultdict(list) for tree in trees}
    for cell, tree in in_order(plan, trees):
        result = result_of(run_cell(cell, tree, rig=rig))
        results[tree.name][cell].append(result)
        voice.tell(row_text(cell, tree.name, result))
        voice.give(
            {"run": cell.name, "tree": tree.name, **asdict(result.figures), "failures": result.failures, "lies": result.lies}
        )
    return results


def _conclude(results: Results, trees: Sequence[Tree], *, judged: bool, rig: Rig, voice: Voice) -> int:
    measured = [
        Measured(tree=tree.name, summaries={cell: summary_of(runs) for cell, runs in results[tree.name].items()})
        for tree in trees
    ]
    lies = [lie for cells in results.values() for runs in cells.values() for result in runs for lie in result.lies]
    verdicts = judge(measured[0].summaries) if rig.program else []  # the limits are set for the stand-in
    facts = {
        "upstream": "stand-in" if rig.program else "localnet",
        "ran": rig.cores.text(localnet=rig.program is None),
        **machine_facts(),
    }
    last = as_json(measured[0], facts=facts, verdicts=verdicts, lies=lies)
    for one in measured:
        voice.tell("\n" + table_text(one))
    if len(measured) == 2:
        own, other = measured
        ratios = comparison(own, other)
        voice.tell("\n" + comparison_text(ratios, own, other))
        last["against"] = {**as_json(other, facts={}, verdicts=[], lies=[]), "ratios": ratios}
    voice.tell("\n" + "\n".join(verdict.text() for verdict in verdicts))
    voice.tell(
        "\n".join(f"LIE: {lie}" for lie in lies) or "every answer is true: one swap for each SUCCESS, none for anything else"
    )
    voice.tell(", ".join(f"{name} {value}" for name, value in facts.items()))
    voice.give(last)
    return 1 if lies or (judged and not all(verdict.met for verdict in verdicts)) else 0


def _profile(arguments: argparse.Namespace, *, rig: Rig, voice: Voice) -> int:
    cell = Cell(
        rate=_rates(arguments)[0] if arguments.rates else PROFILE_RATE,
        latency=USUAL_LATENCY if rig.program else NO_LATENCY,
        chain=REALISTIC,
        seconds=arguments.seconds or PROFILE_SECONDS,
    )
    with profiled_cell(cell, own_tree(), rig=rig) as profiled:
        result = result_of(profiled.evidence)
        voice.tell(row_text(cell, own_tree().name, result))
        samples = read_samples(profiled.stacks)
        found: Profile = profile_of(samples, cpu_seconds=profiled.cpu_seconds, trades=len(profiled.evidence.rows))
    voice.tell(profile_text(found))
    voice.give({**asdict(found), "run": asdict(result.figures)})
    return 1 if result.lies else 0


if __name__ == "__main__":
    sys.exit(main())

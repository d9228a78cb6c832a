"""A real daemon is killed at its worst moments and keeps its promises; one with a planted bug is found out.

`scripts/chaos crash` kills it as often as is asked for, at every point; here it dies a few times, so that the killer is tested.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from tests.chaos.checker import Kind, Verdict
from tests.crash import points
from tests.crash.plan import Round, plan_round
from tests.crash.run import Score, main, run_rounds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SEED = 11


def rounds(*at: str) -> list[Round]:
    """Rounds without faults that end at these points, the first time that they are reached."""
    plans = [plan_round(SEED, number) for number in range(len(at))]
    return [
        evolve(
            plan,
            point=point,
            count=1,
            when=_when(point),
            faults=(),
            drains=point in points.DRAIN,
            expires=False,
            slots_without_daemon=0,
        )
        for plan, point in zip(plans, at, strict=True)
    ]


def _when(point: str) -> str:
    return points.FROM_THE_START if point in points.RECOVERY else points.ONCE_READY


def test_a_daemon_that_dies_at_its_worst_moments_loses_nothing_and_trades_nothing_twice(tmp_path: Path) -> None:
    """Between the disk and the first byte, in the middle of the bytes, in its recovery, and in a drain."""
    at = (
        "after the commit of signed",
        "after the first byte to node-0",
        "before a resumed trade is sent",
        "before pending is told",
    )
    score = run_rounds(rounds(*at), seed=SEED, folder=tmp_path)

    assert score.problems == []
    # Before the recovery dies, another life leaves it something to take up.
    assert score.reached == {**dict.fromkeys(at, 1), "before sending again": 1}
    assert score.crashes == len(at) + 1
    assert score.verdict.trades > 20
    assert score.verdict.succeeded > 10


@pytest.mark.parametrize(
    ("bug", "kind"), [("gives up what it has signed", Kind.FALSE_FAILED), ("sends before it is durable", Kind.LOST)]
)
def test_a_daemon_with_a_planted_bug_is_found_out(bug: str, kind: Kind, tmp_path: Path) -> None:
    """The journal, which such a daemon has written itself, is not believed."""
    plans = rounds("after every node answered", "before the caller is told")
    score = run_rounds(plans, seed=SEED, folder=tmp_path, child=("tests.crash.careless_child", bug))

    assert score.verdict.count(kind) > 0
    assert any("r0-" in problem for problem in score.problems)


def test_a_daemon_that_keeps_what_it_has_reserved_is_found_out(tmp_path: Path) -> None:
    """What it holds by mistake cannot be traded any more."""
    score = run_rounds([], seed=SEED, folder=tmp_path, child=("tests.crash.careless_child", "keeps what it has reserved"))

    assert score.leaks
    assert all("BALANCE_INSUFFICIENT" in leak for leak in score.leaks)
    assert score.verdict.sound


def test_a_run_that_fails_says_how_to_see_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, every problem in a sentence, the seed, and the folder with the journal, which is kept."""
    kept = tmp_path / "kept"
    kept.mkdir()
    monkeypatch.setattr("tests.crash.run.tempfile.mkdtemp", lambda prefix: str(kept))
    monkeypatch.setattr(
        "tests.crash.run.run_rounds", lambda *_plans, **_options: _score(ends=("the daemon of round 7 ended with exit code 1",))
    )
    code, out, err = _run(capsys, "--seed", "9", "--rounds", "1", "--json")

    assert code == 1
    assert json.loads(out)["unexpected_ends"] == 1
    assert "the daemon of round 7 ended with exit code 1" in err
    assert str(kept) in err
    assert "scripts/chaos crash --seed 9 --from-round 6 --rounds 3" in err
    assert kept.exists()


def test_a_long_run_that_never_came_by_a_point_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A point that is never reached tests nothing; short runs cannot reach them all."""
    kept = tmp_path / "kept"
    kept.mkdir()
    monkeypatch.setattr("tests.crash.run.tempfile.mkdtemp", lambda prefix: str(kept))
    reached = dict.fromkeys(points.ALL[1:], 5)
    for count, expected in ((20, 0), (200, 1)):
        score = _score(rounds=count, reached=reached)
        monkeypatch.setattr("tests.crash.run.run_rounds", lambda *_plans, _score=score, **_options: _score)
        kept.mkdir(exist_ok=True)
        code, _out, err = _run(capsys, "--rounds", str(count))

        assert code == expected
        assert (points.ALL[0] in err) == bool(expected)
        assert kept.exists() == bool(expected)


def _score(**changes: Any) -> Score:
    verdict = Verdict(trades=10, succeeded=5, landed=5, violations=())
    sound = Score(
        seed=9, rounds=1, crashes=1, faults=0, verdict=verdict, leaks=(), ends=(), reached={points.ALL[0]: 1}, seconds=1.0
    )
    return evolve(sound, **changes)


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    told = capsys.readouterr()
    return code, told.out, told.err

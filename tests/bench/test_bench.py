"""The benchmark itself, from its command line to its last line: real processes, short runs."""

import json
from pathlib import Path

import pytest

from tests.bench.__main__ import main
from tests.bench.places import build_upstream, checked_out

HAS_UPSTREAM = isinstance(build_upstream(), Path)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_UPSTREAM, reason="needs ../shared/bench/upstream and Go")
def test_a_short_run_on_the_stand_in(capsys: pytest.CaptureFixture[str]) -> None:
    """Every trade is SUCCESS with one swap; the last line has rates, closed loops and stages, and says who ran where."""
    assert main(["--quick", "--json", "--rates", "20", "--seconds", "1.5"]) == 0

    *runs, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [run["run"] for run in runs] == ["20/s at 20/10 ms", "32 callers at 0/0 ms"]
    assert all(run["succeeded"] == run["trades"] for run in runs)
    assert last["rates"]["20"]["broadcast_p50_ms"] > last["rates"]["20"]["own_p50_ms"] > 0
    assert last["rates"]["20"]["broadcast_p50_ms"] > 50  # that much was injected
    assert last["closed"]["32"]["per_s"] > 0
    assert last["stages"]["validation"]["p99_ms"] > 0
    assert (last["lies"], last["upstream"]) == ([], "stand-in")


@pytest.mark.slow
def test_a_short_run_on_the_localnet(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no Go the figures are the localnet's as well, and it is said."""
    assert main(["--quick", "--json", "--localnet", "--rates", "5", "--seconds", "1"]) == 0

    captured = capsys.readouterr()
    last = json.loads(captured.out.splitlines()[-1])
    assert last["upstream"] == "localnet"
    assert last["rates"]["5"]["succeeded"] == 5
    assert "localnet (as asked)" in captured.err


@pytest.mark.slow
def test_a_profile_names_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the daemon as it runs, sampled from within."""
    assert main(["--profile", "--json", "--rates", "20", "--seconds", "2", *([] if HAS_UPSTREAM else ["--localnet"])]) == 0

    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"HTTP client", "gRPC server", "JSON and reading answers"} <= {part["name"] for part in found["parts"]}
    assert sum(part["share"] for part in found["parts"]) == pytest.approx(1.0)


def test_an_unknown_revision_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is run."""
    with pytest.raises(ValueError, match="no revision"), checked_out("no-such-revision"):
        raise AssertionError("it is not there")

"""The demo's trades on a real validator, through the unchanged daemon."""

import json
import subprocess
import sys

import pytest

from executor.cli.demo.validator import Validator

SECONDS = 250


@pytest.mark.slow
@pytest.mark.timeout(300)  # a validator that starts on a busy machine, too
def test_the_demo_is_played_on_a_real_validator(validator: Validator) -> None:
    """Every swap lands or is refused as it must be, the five cases among them, and the chain confirms every amount."""
    command = [
        sys.executable,
        "-m",
        "executor.cli.rehearse",
        "--json",
        "--node",
        validator.url,
        "--export",
        str(validator.export),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    *trades, summary = [json.loads(line) for line in ended.stdout.splitlines()]
    counts = {name: summary[name] for name in ("trades", "success", "failed", "pending", "refused", "amount_mismatches")}
    assert counts == {"trades": 48, "success": 44, "failed": 1, "pending": 0, "refused": 3, "amount_mismatches": 0}
    assert 0 < summary["p50_broadcast_ms"] <= summary["p99_broadcast_ms"]
    assert (summary["problems"], summary["wallet_unexplained"]) == ([], [])
    assert {trade["case"] for trade in trades if trade["case"]} == {
        "empty balance",
        "foreign token",
        "lost send",
        "oversized amount",
        "stale quote",
    }

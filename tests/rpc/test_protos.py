"""The generated code is what the proto says."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("grpc_tools") is None, reason="grpcio-tools is not installed")
def test_the_generated_code_is_up_to_date() -> None:
    """`scripts/protos --check` finds no difference."""
    command = [str(ROOT / "scripts" / "protos"), "--check"]
    done = subprocess.run(command, env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

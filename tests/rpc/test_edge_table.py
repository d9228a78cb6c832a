"""docs/grpc-edge.md promises a test for each of its rows."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    line.strip("|").split("|") for line in (ROOT / "docs" / "grpc-edge.md").read_text().splitlines() if line.startswith("| ")
][1:]


@pytest.mark.parametrize("row", ROWS, ids=[row[0].strip() for row in ROWS])
def test_every_row_names_tests_that_exist(row: list[str]) -> None:
    """Each name in the last column is a test in tests/rpc."""
    named = [re.fullmatch(r"(test_\w+\.py)::(test_\w+)", name.strip()) for name in row[2].split(",")]

    for name in named:
        assert name is not None
        tree = ast.parse((Path(__file__).parent / name[1]).read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name[2] in functions

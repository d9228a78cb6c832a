"""docs/errors.md is what the code says."""

from pathlib import Path

import pytest

from executor.errors import ErrorCode
from executor.faults import FaultClass, Reaction, Remedy
from executor.faults.http import HTTP_ROWS
from executor.faults.jupiter import JUPITER_ROWS
from executor.faults.programs import PROGRAM_ROWS
from executor.faults.rpc import RPC_ROWS
from executor.faults.transaction import INSTRUCTION_ROWS, TRANSACTION_ROWS
from tests.docs.errors_page import CLASSES, PAGE, PROGRAM_NAMES, REACTIONS, REMEDIES, main, page


def test_the_committed_page_is_what_the_code_gives() -> None:
    """Otherwise scripts/errors has to be run."""
    assert PAGE.read_text() == page()


def test_every_code_is_on_the_page() -> None:
    """With its cause, what the daemon does, and what to do."""
    text = page()
    for code in ErrorCode:
        section = text[text.index(f"### {code.name}\n") :]
        for words in (code.facts.cause, code.facts.reaction, code.facts.advice):
            assert words in section[: section.index("\n\n")]


def test_every_row_of_every_table_is_on_the_page() -> None:
    """With its meaning and code."""
    text = page()
    rows = [*RPC_ROWS.items(), *TRANSACTION_ROWS.items(), *INSTRUCTION_ROWS.items(), *JUPITER_ROWS.items()]
    for error, row in rows + [item for table in PROGRAM_ROWS.values() for item in table.items()]:
        assert f"| {error} | {row.meaning} | {row.code.name} | " in text
    assert all(f"| HTTP {status} | " in text for status in HTTP_ROWS)
    assert set(PROGRAM_NAMES) == set(PROGRAM_ROWS)
    assert (set(CLASSES), set(REACTIONS), set(REMEDIES)) == (set(FaultClass), set(Reaction), set(Remedy))


def test_the_check_fails_when_the_page_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And shows how; it writes nothing. What was just written passes."""
    file = tmp_path / "errors.md"

    assert main(["--check"], file=file) == 1
    assert not file.exists()
    assert main([], file=file) == 0
    assert main(["--check"], file=file) == 0
    file.write_text(page().replace("TransactionError", "TransactionErrors", 1))
    assert main(["--check"], file=file) == 1
    assert "-TransactionErrors" not in (told := capsys.readouterr()).err
    assert "TransactionErrors" in told.out
    assert "out of date" in told.err

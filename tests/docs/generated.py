"""Pages of docs/ that are made from the code: writes one, or says whether the committed one is up to date."""

import argparse
import sys
from collections.abc import Sequence
from difflib import unified_diff
from pathlib import Path


def write_or_check(file: Path, wanted: str, arguments: Sequence[str] | None, *, script: str, description: str | None) -> int:
    """Write the page; with --check, only say whether it is what the code gives. Returns the exit code of the script."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the committed page differs")
    if not parser.parse_args(arguments).check:
        file.write_text(wanted)
        return 0
    written = file.read_text() if file.is_file() else ""
    if written == wanted:
        return 0
    sys.stdout.writelines(unified_diff(written.splitlines(True), wanted.splitlines(True), file.name, "from the code"))
    sys.stderr.write(f"{script}: {file.name} is out of date; run {script}\n")
    return 1

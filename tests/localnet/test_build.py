import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from executor.localnet.program import build, swap_elf
from executor.localnet.program.linker import link
from tests.localnet.test_linker import ENTRY, EXIT, assemble, text_part

compiler = build.find_compiler()
needs_compiler = pytest.mark.skipif(
    compiler is None or not compiler.is_the_one,
    reason=f"the committed program was made by clang {build.COMPILER_VERSION}, here is {compiler}",
)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sources and the built file in another directory, in which the command then works."""
    directory = tmp_path / "another" / "directory"
    shutil.copytree(build.SOURCE_DIRECTORY, directory, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    monkeypatch.setattr(build, "SOURCE_DIRECTORY", directory)
    monkeypatch.setattr(build, "BUILT_FILE", directory / "swap.so")
    return directory


@needs_compiler
def test_the_committed_program_is_what_the_source_gives() -> None:
    """Whoever builds the program again gets the committed file; the documented command tells."""
    command = [sys.executable, "-m", "executor.localnet.program.build", "--check"]

    assert subprocess.run(command, check=False).returncode == 0


@needs_compiler
def test_the_directory_does_not_matter(elsewhere: Path) -> None:
    """The same source gives the same bytes wherever it lies, and the command writes them."""
    (elsewhere / "swap.so").unlink()

    assert build.main([]) == 0
    assert (elsewhere / "swap.so").read_bytes() == swap_elf()


@needs_compiler
def test_a_changed_source_is_noticed(elsewhere: Path) -> None:
    """The check fails when the source says something else than the built file, and leaves the file alone."""
    formula = elsewhere / "arithmetic.h"
    formula.write_text(formula.read_text().replace("#define BPS_PER_WHOLE 10000ull", "#define BPS_PER_WHOLE 10001ull"))

    assert build.main(["--check"]) == 1
    assert (elsewhere / "swap.so").read_bytes() == swap_elf()


def test_without_a_compiler(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no compiler is installed the command says so by its exit status, and writes nothing."""
    monkeypatch.setattr(build, "COMPILERS", ("no-such-compiler",))

    assert build.main([]) == build.main(["--check"]) == 2
    assert (elsewhere / "swap.so").read_bytes() == swap_elf()


def test_another_compiler(elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler of another version may build, but its bytes are not held against the committed ones."""
    (elsewhere / "object").write_bytes(assemble([text_part(EXIT)], [ENTRY]))
    script = tmp_path / "clang-of-tomorrow"
    script.write_text("#!/bin/sh\nif [ $1 = -dumpversion ]; then echo 99.0.0; else cat object; fi\n")
    script.chmod(0o700)
    monkeypatch.setattr(build, "COMPILERS", (str(script),))

    assert build.main(["--check"]) == 2
    assert build.main([]) == 0
    assert (elsewhere / "swap.so").read_bytes() == link(assemble([text_part(EXIT)], [ENTRY]))

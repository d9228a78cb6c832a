"""Build the swap program from its source: `python -m executor.localnet.program.build [--check]`.

Needs clang with the BPF target. The committed `swap.so` was made by Debian's clang 14.0.6, which gives the same bytes in whatever
directory and however often. Debian's 19.1.7 makes other bytes that pass the same tests; so `--check` is for 14.0.6 only.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from executor.localnet.program.linker import link

SOURCE_DIRECTORY = Path(__file__).parent
BUILT_FILE = SOURCE_DIRECTORY / "swap.so"
COMPILERS = ("clang", "clang-14")
COMPILER_VERSION = "14.0.6"
FLAGS = (
    "--target=bpfel",
    "-mcpu=v2",  # what V0 programs may use; v3 has 32-bit jumps, which the loader refuses
    "-std=c11",
    "-O2",
    "-ffreestanding",
    "-nostdlib",
    "-fno-strict-aliasing",  # the runtime changes accounts' data behind the compiler's back
    "-fno-builtin",  # there is no memcpy to call
    "-fno-stack-protector",
    "-fno-jump-tables",
    "-fno-asynchronous-unwind-tables",
    "-fno-ident",
    "-Wall",
    "-Wextra",
    "-Werror",
)


@frozen(kw_only=True)
class Compiler:
    """A clang that is installed."""

    command: str
    version: str

    @property
    def is_the_one(self) -> bool:
        """It makes the committed bytes."""
        return self.version == COMPILER_VERSION


def find_compiler() -> Compiler | None:
    """The clang that makes the committed bytes, else any, else None."""
    installed = [compiler for command in COMPILERS if (compiler := _ask_version(command)) is not None]
    return max(installed, key=lambda compiler: compiler.is_the_one, default=None)


def _ask_version(command: str) -> Compiler | None:
    try:
        answer = subprocess.run([command, "-dumpversion"], check=True, capture_output=True, text=True)  # noqa: S603 - our own command
    except FileNotFoundError:
        return None
    return Compiler(command=command, version=answer.stdout.strip())


def build(compiler: Compiler) -> bytes:
    """Compile and link; raises CalledProcessError, with clang's own words on stderr."""
    # Compiled where the source lies, under its bare name, so that no path can get into the object.
    command = [compiler.command, *FLAGS, "-c", "swap.c", "-o", "-"]
    compiled = subprocess.run(command, cwd=SOURCE_DIRECTORY, check=True, stdout=subprocess.PIPE)  # noqa: S603 - our own command
    return link(compiled.stdout)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write `swap.so`, or with `--check` only say whether it is what the source gives: 0 yes, 1 no, 2 no compiler to tell it."""
    parser = argparse.ArgumentParser(prog="python -m executor.localnet.program.build", description="Build the swap program.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when swap.so is not what the source gives")
    check: bool = parser.parse_args(arguments).check
    compiler = find_compiler()
    if compiler is None or (check and not compiler.is_the_one):
        print(f"clang {COMPILER_VERSION} is needed, found {compiler.version if compiler else 'none'}", file=sys.stderr)
        return 2
    built = build(compiler)
    if not check:
        BUILT_FILE.write_bytes(built)
        print(f"{BUILT_FILE.name}: {len(built)} bytes by clang {compiler.version}")
    elif built != BUILT_FILE.read_bytes():
        print(f"{BUILT_FILE.name} is not what the source gives", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

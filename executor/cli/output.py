"""What the commands print: printable lines, on streams that may be closed, full, or read by nobody any more."""

import io
import os
import sys
from typing import TextIO

from executor.errors import ExecutorError


class Unwritable(ExecutorError):
    """stdout does not take what was to be printed, for another reason than that nobody reads it."""


def prepare_streams() -> None:
    """Put devnull in the place of a standard stream that is closed, and see to it that no character fails to be encoded."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one: otherwise the journal, say, would get it, and with it what is written to stderr.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - it lives as long as the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115 - the same
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def plain(text: str) -> str:
    """Escape what is not printable: no word of somebody else's forges a line or moves the cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def say(*lines: str) -> None:
    """Print on stdout at once. Nobody reads it: the lines are dropped. Raises Unwritable, and drops all that follow, too."""
    error = _write(sys.stdout, lines)
    if error is not None and not isinstance(error, BrokenPipeError):  # `executor status | head` is no failure of ours
        raise Unwritable(f"stdout cannot be written: {error.strerror}") from error


def tell(*lines: str) -> None:
    """Print on stderr at once, or drop the lines."""
    _write(sys.stderr, lines)


def finish() -> bool:
    """Write what is still buffered: it would otherwise fail as the interpreter ends. False: stdout did not take all of it."""
    try:
        say()
    except Unwritable as error:
        tell(str(error))
        return False
    finally:
        tell()
    return True


def _write(stream: TextIO, lines: tuple[str, ...]) -> OSError | None:
    try:
        stream.write("".join(f"{plain(line)}\n" for line in lines))
        stream.flush()
    except OSError as error:
        _abandon(stream)
        return error
    return None


def _abandon(stream: TextIO) -> None:
    """Let what is buffered, and all that follows, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)

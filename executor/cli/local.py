"""What the daemon takes of this machine, its data directory and its address: whether it could, found out without taking it."""

import errno
import fcntl
import os
import socket
import stat
from pathlib import Path

from executor.cli.client import CallFailed, connect
from executor.errors import ExecutorError
from executor.rpc.listener import unix_path
from executor.supervisor import JOURNAL_FILE

ANSWER_SECONDS = 2.0
IN_USE = "in use by an executor that is running"
LOCK_FILE = f"{JOURNAL_FILE}.lock"
"""The journal's, held for as long as a daemon lives."""


class PlaceProblem(ExecutorError):
    """A daemon could not start there."""


def data_directory(folder: Path) -> str:
    """Tell how a daemon would find the folder. Raises PlaceProblem. Nothing is made, and a running daemon does not notice."""
    try:
        if not os.path.lexists(folder):
            _require_writable(next(parent for parent in folder.parents if os.path.lexists(parent)))
            return f"{folder} will be made"
        _require_writable(folder)
        _require_usable(folder / JOURNAL_FILE)
        return f"{folder} is {IN_USE}" if _is_locked(folder / LOCK_FILE) else f"{folder} can be written, and no executor uses it"
    except OSError as error:
        raise PlaceProblem(f"{folder}: {_reason(error)} (daemon.data_directory)") from error


def listen_address(address: str) -> str:
    """Tell whether host:port or unix:/path can be had. Raises PlaceProblem. It is not listened at, and no file is made."""
    path = unix_path(address)
    try:
        if path is None:
            _require_free_port(address)
        else:
            _require_free_path(Path(path))
    except OSError as error:
        if error.errno == errno.EADDRINUSE and _is_executor(address):
            return f"{address} is {IN_USE}"
        raise PlaceProblem(f"{address}: {_reason(error)} (grpc.listen_address)") from error
    return f"{address} is free"


def _require_writable(folder: Path) -> None:
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600))  # a file without a name leaves nothing behind
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):  # file systems and kernels that have no such files
            raise
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None


def _require_usable(journal: Path) -> None:
    """Not by opening it with SQLite, which would make files beside it."""
    if journal.exists() and not os.access(journal, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, f"{journal.name} cannot be read and written")


def _is_locked(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # A daemon that starts in the very moment for which this is held is refused, and would have to be started again.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _require_free_port(address: str) -> None:
    """Bind as the listener does, and do not listen: nobody can connect, and a daemon that starts meanwhile gets the port."""
    host, _, port = address.rpartition(":")
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, *_, name = sorted(found, key=lambda info: info[0] != socket.AF_INET)[0]
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(name)


def _require_free_path(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(ANSWER_SECONDS)
        try:
            sock.connect(str(path))
        except FileNotFoundError:
            pass
        except ConnectionRefusedError:  # what a dead process has left behind is replaced
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise FileExistsError(errno.EEXIST, "a file that is no socket stands there") from None
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    _require_writable(path.parent)


def _is_executor(address: str) -> bool:
    try:
        with connect(address) as client:
            client.status(timeout_seconds=ANSWER_SECONDS)
    except CallFailed as failure:
        return bool(failure.reason)  # one that drains, say
    return True


def _reason(error: OSError) -> str:
    return error.strerror or str(error)

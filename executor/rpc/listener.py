"""Where callers find the server: a TCP address or a Unix socket, held by this process alone."""

import errno
import os
import stat

import trio

BACKLOG = 128
UNIX_PREFIX = "unix:"
# The owner and the group may connect: with Unix sockets, who may trade is decided by the file's permissions.
UNIX_MODE = 0o660


async def open_listener(address: str) -> trio.SocketListener:
    """Listen at host:port (port 0: any free one) or unix:/path; raise OSError, saying why, when that cannot be had.

    There is no SO_REUSEPORT: two daemons at one port would share its callers between them. A socket file that a dead process
    left behind is replaced.
    """
    path = unix_path(address)
    sock = await _open_tcp(address) if path is None else await _open_unix(path)
    sock.listen(BACKLOG)
    return trio.SocketListener(sock)


def unix_path(address: str) -> str | None:
    """The file of a Unix address; None of any other."""
    return address.removeprefix(UNIX_PREFIX) if address.startswith(UNIX_PREFIX) else None


def bound_address(listener: trio.SocketListener) -> str:
    """The address as a client dials it: with the port that was found."""
    name = listener.socket.getsockname()
    return f"{UNIX_PREFIX}{name}" if isinstance(name, str) else host_and_port(name)


def host_and_port(name: tuple[str, int]) -> str:
    """Write a socket's name as host:port."""
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _open_tcp(address: str) -> trio.socket.SocketType:
    host, _, port = address.rpartition(":")
    found = await trio.socket.getaddrinfo(host.strip("[]"), port, type=trio.socket.SOCK_STREAM, flags=trio.socket.AI_PASSIVE)
    # A name such as localhost has several addresses, and a client may try any: the first of IPv4 is what they agree on.
    family, *_, name = sorted(found, key=lambda info: info[0] != trio.socket.AF_INET)[0]
    sock = trio.socket.socket(family, trio.socket.SOCK_STREAM)
    try:
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)  # rebind while old connections fade out
        await sock.bind(name)
    except OSError as error:
        sock.close()
        raise _refused(address, error) from error
    return sock


async def _open_unix(path: str) -> trio.socket.SocketType:
    await _remove_stale(path)
    sock = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    try:
        await sock.bind(path)
        os.chmod(path, UNIX_MODE)  # nobody can connect before listen()
    except OSError as error:
        sock.close()
        raise _refused(UNIX_PREFIX + path, error) from error
    return sock


async def _remove_stale(path: str) -> None:
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if is_socket and not await _is_answered(path):
        os.unlink(path)


async def _is_answered(path: str) -> bool:
    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM) as sock:
        try:
            await sock.connect(path)
        except ConnectionRefusedError:
            return False
    return True


def _refused(address: str, error: OSError) -> OSError:
    if error.errno == errno.EADDRINUSE:
        return OSError(errno.EADDRINUSE, f"{address} is taken by another process, or by a file that is no socket")
    return OSError(error.errno, f"cannot listen at {address}: {error.strerror}")

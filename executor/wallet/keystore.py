"""Reads and makes keypair files. A file that others could read or replace is refused; no message holds a byte of a key."""

import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature

from executor.errors import ConfigError
from executor.paths import expanded
from executor.wallet.signer import KeypairSigner

KEYPAIR_BYTES = 64
"""The secret half (the seed), then the public half."""
SEED_BYTES = 32
MAX_FILE_BYTES = 4_096
OTHERS = stat.S_IRWXG | stat.S_IRWXO


class WalletError(ConfigError):
    """The wallet cannot be used; the message names the file and the remedy."""

    def __init__(self, problem: str) -> None:
        super().__init__([problem])


def load_wallet(path: str | Path) -> KeypairSigner:
    """Read a keypair file: a JSON array of 64 numbers, as the Solana CLI writes it, or the base58 text of the 64 bytes.

    Symbolic links are followed; what they lead to is checked. Blocks on the disk. Raises WalletError.
    """
    given = expanded(path)
    try:
        real = Path(os.path.realpath(given, strict=True))
        _check_directories(real, given)
        content = _read_private(real)
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise WalletError(f"wallet {given}: cannot be read: {_reason(error)}") from error
    return KeypairSigner(parse_keypair(content, source=str(given)))


def _read_private(real: Path) -> bytes:
    # What is checked is what was opened: the path may lead elsewhere a moment later. O_NONBLOCK: a pipe must not hold us up.
    descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _check_private(real, os.fstat(descriptor))
        return os.read(descriptor, MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)


def _check_private(real: Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise WalletError(f"wallet {real}: is not a regular file")
    if facts.st_uid != os.geteuid():
        raise WalletError(f"wallet {real}: belongs to user {facts.st_uid}, but the executor runs as user {os.geteuid()}")
    if facts.st_mode & OTHERS:
        mode = stat.S_IMODE(facts.st_mode)
        raise WalletError(f"wallet {real}: others can use it (mode {mode:04o}); allow its owner only: chmod 600 {real}")


def _check_directories(*files: Path) -> None:
    """Refuse directories in which anyone could put another file in the place of ours."""
    for folder in _folders(files):
        mode = folder.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise WalletError(
                f"wallet directory {folder}: everyone can replace files in it; use another one, or chmod o-w {folder}"
            )


def _folders(files: Iterable[Path]) -> Iterable[Path]:
    nearest = [Path(os.path.realpath(file.parent, strict=True)) for file in files]
    return dict.fromkeys(folder for near in nearest for folder in (near, *near.parents))


def parse_keypair(content: bytes, *, source: str) -> Keypair:
    """Read the content of a keypair file. `source` is its name in messages. Raises WalletError."""
    text = content.strip()
    if len(content) > MAX_FILE_BYTES:
        raise WalletError(f"wallet {source}: is too long for a keypair file")
    secret = _from_json(text) if text.startswith(b"[") else _from_base58(text)
    if secret is None:
        raise WalletError(
            f"wallet {source}: is neither a JSON array of {KEYPAIR_BYTES} numbers from 0 to 255 nor base58 of that many bytes"
        )
    if len(secret) != KEYPAIR_BYTES:
        raise WalletError(
            f"wallet {source}: holds {len(secret)} bytes; a keypair has {KEYPAIR_BYTES}, the secret half and the public half"
        )
    keypair = Keypair.from_seed(secret[:SEED_BYTES])
    if bytes(keypair) != secret:
        raise WalletError(f"wallet {source}: its public half does not belong to its secret half; the file is damaged")
    return keypair


# Both parsers return None instead of raising: the exceptions of json hold the text that they were given, which is the key.
def _from_json(text: bytes) -> bytes | None:
    try:
        numbers = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= 255 for number in numbers):
        return None
    return bytes(numbers)


def _from_base58(text: bytes) -> bytes | None:
    # A signature is 64 bytes in base58 as well, and its parser refuses politely. An address tells a lone half from nonsense.
    for kind in (Signature, Pubkey):
        try:
            return bytes(kind.from_string(text.decode("ascii")))
        except ValueError:
            continue
    return None


def create_keypair_file(path: str | Path) -> Pubkey:
    """Make a new key and write it as the Solana CLI does, durably and for its owner only; return its address.

    Missing directories are made. An existing file is never touched. Raises WalletError.
    """
    target = expanded(path)
    keypair = Keypair()
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_directories(target)
        _write_new(target, json.dumps(list(bytes(keypair)), separators=(",", ":")).encode())
    except FileExistsError:
        raise WalletError(f"wallet {target}: exists already and is never overwritten") from None
    except (OSError, ValueError) as error:
        raise WalletError(f"wallet {target}: cannot be written: {_reason(error)}") from error
    return keypair.pubkey()


def _write_new(target: Path, content: bytes) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)  # whatever the umask says
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        target.unlink()  # half a key is none, and would stand in the way of the next attempt
        raise
    _sync_directory(target.parent)


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: Exception) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)

import base64
import json
import os
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from solders.keypair import Keypair

from executor.errors import ConfigError
from executor.log import describe_exception
from executor.wallet.keystore import MAX_FILE_BYTES, WalletError, create_keypair_file, load_wallet, parse_keypair

KEYPAIR = Keypair.from_seed(bytes(range(7, 39)))
AS_JSON = json.dumps(list(bytes(KEYPAIR))).encode()
AS_BASE58 = str(KEYPAIR).encode()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A keypair file as it should be."""
    path = tmp_path / "id.json"
    path.write_bytes(AS_JSON)
    path.chmod(0o600)
    return path


def refusal(path: str | Path) -> str:
    """Why this file is no wallet."""
    with pytest.raises(WalletError) as refused:
        load_wallet(path)
    assert isinstance(refused.value, ConfigError)
    (problem,) = refused.value.problems
    return problem


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
@pytest.mark.parametrize("content", [AS_JSON, AS_BASE58, b" " + AS_BASE58 + b"\n", b"\n" + AS_JSON + b"\n"])
def test_a_private_file_is_a_wallet(file: Path, content: bytes, mode: int) -> None:
    """The Solana CLI's JSON and plain base58 are read, from a file that its owner alone can use."""
    file.write_bytes(content)
    file.chmod(mode)
    assert load_wallet(file).address == KEYPAIR.pubkey()
    assert load_wallet(str(file)).address == KEYPAIR.pubkey()


def test_a_tilde_is_the_users_home(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path may begin with ~, as the config's default does."""
    monkeypatch.setenv("HOME", str(file.parent))
    assert load_wallet("~/id.json").address == KEYPAIR.pubkey()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o666])
def test_a_file_that_others_can_use_is_refused(file: Path, mode: int) -> None:
    """Any right of the group or of others is one too many; the message says how to mend it."""
    file.chmod(mode)
    assert f"chmod 600 {file}" in refusal(file)


def test_a_file_of_someone_else_is_refused(file: Path) -> None:
    """Whoever owns the file can change it under us."""
    foreign = file
    if os.geteuid() == 0:
        os.chown(file, 12345, -1)
    else:
        foreign = Path("/etc/passwd")
    assert f"but the executor runs as user {os.geteuid()}" in refusal(foreign)


def test_a_link_is_followed_and_its_target_is_checked(file: Path, tmp_path: Path) -> None:
    """A symbolic link to a good file is good; what counts is the file behind it."""
    link = tmp_path / "link"
    link.symlink_to(file)
    assert load_wallet(link).address == KEYPAIR.pubkey()
    file.chmod(0o644)
    assert f"chmod 600 {file}" in refusal(link)


@pytest.mark.parametrize("kind", ["directory", "pipe", "missing", "dangling link", "loop", "null byte"])
def test_what_is_not_a_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    """A directory, a pipe that nobody writes to or nothing at all is refused at once."""
    path = tmp_path / "thing"
    prepare: dict[str, Callable[[], object]] = {
        "directory": lambda: path.mkdir(mode=0o700),
        "pipe": lambda: os.mkfifo(path, 0o600),
        "dangling link": lambda: path.symlink_to(tmp_path / "nowhere"),
        "loop": lambda: path.symlink_to(path),
    }
    prepare.get(kind, lambda: None)()
    expected = "not a regular file" if kind in ("directory", "pipe") else "cannot be read"
    assert expected in refusal(str(path) + "\0" if kind == "null byte" else path)


@contextmanager
def world_writable(folder: Path, *, sticky: bool) -> Iterator[None]:
    """Let everyone write into a directory for a while."""
    before = stat.S_IMODE(folder.stat().st_mode)
    folder.chmod(0o1777 if sticky else 0o777)
    try:
        yield
    finally:
        folder.chmod(before)


@pytest.mark.parametrize("above", [1, 2])
def test_a_file_that_anyone_could_replace_is_refused(tmp_path: Path, above: int) -> None:
    """A world-writable directory on the way is refused, except a sticky one like /tmp, where only owners replace files."""
    folder = tmp_path / "outer" / "inner"
    create_keypair_file(folder / "id.json")
    open_folder = (folder / "id.json").parents[above - 1]
    with world_writable(open_folder, sticky=False):
        assert f"chmod o-w {open_folder}" in refusal(folder / "id.json")
        with pytest.raises(WalletError, match="everyone can replace"):
            create_keypair_file(folder / "second.json")
    with world_writable(open_folder, sticky=True):
        load_wallet(folder / "id.json")


def test_a_link_that_anyone_could_replace_is_refused(file: Path, tmp_path: Path) -> None:
    """The directory of the link counts as well as that of the file."""
    folder = tmp_path / "open"
    folder.mkdir()
    link = folder / "link"
    link.symlink_to(file)
    with world_writable(folder, sticky=False):
        assert f"chmod o-w {folder}" in refusal(link)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "neither a JSON array"),
        (b"\xff\xfe", "neither a JSON array"),
        (b"not a key", "neither a JSON array"),
        (b"{}", "neither a JSON array"),
        (b"[", "neither a JSON array"),
        (b"[" * 4_000, "neither a JSON array"),
        (json.dumps([256] * 64).encode(), "neither a JSON array"),
        (json.dumps([-1] * 64).encode(), "neither a JSON array"),
        (json.dumps([True] * 64).encode(), "neither a JSON array"),
        (json.dumps([1.0] * 64).encode(), "neither a JSON array"),
        (json.dumps(["1"] * 64).encode(), "neither a JSON array"),
        (b"[]", "holds 0 bytes"),
        (json.dumps(list(range(32))).encode(), "holds 32 bytes"),
        (json.dumps([1] * 65).encode(), "holds 65 bytes"),
        (str(KEYPAIR.pubkey()).encode(), "holds 32 bytes"),
        (json.dumps([1] * 64).encode(), "public half does not belong"),
        (AS_JSON + b" " * MAX_FILE_BYTES, "too long"),
    ],
)
def test_what_holds_no_keypair_is_refused(file: Path, content: bytes, expected: str) -> None:
    """Wrong text, wrong length and halves that do not fit are told apart, with the file's name."""
    file.write_bytes(content)
    problem = refusal(file)
    assert expected in problem
    assert str(file) in problem


@given(st.integers(0, 63), st.integers(1, 255))
def test_one_wrong_byte_is_noticed(place: int, change: int) -> None:
    """A keypair with any byte changed is refused, in both notations, instead of signing for another wallet."""
    damaged = bytearray(bytes(KEYPAIR))
    damaged[place] ^= change
    with pytest.raises(WalletError, match="public half"):
        parse_keypair(json.dumps(list(damaged)).encode(), source="id.json")


def shown(error: BaseException) -> str:
    """Everything that a log or a traceback could show of an exception, its causes and contexts included."""
    texts = []
    chain: BaseException | None = error
    while chain is not None:
        texts.append(f"{chain} {chain!r} {vars(chain)}")
        chain = chain.__cause__ or chain.__context__
    return " ".join(texts) + json.dumps(describe_exception(error))


@given(st.data())
def test_no_refusal_holds_a_byte_of_the_key(data: st.DataObject) -> None:
    """Whatever is wrong with a file, neither the message nor any exception behind it quotes its content."""
    content = data.draw(st.sampled_from([AS_JSON, AS_BASE58, base64.b64encode(bytes(KEYPAIR))]))
    place = data.draw(st.integers(0, len(content)))
    damaged = content[:place] + data.draw(st.sampled_from([b"", b"x", b"]", b'"', b"0, 0", b"\xff"])) + content[place + 3 :]
    assume(damaged != content)
    with pytest.raises(WalletError) as refused:
        parse_keypair(damaged, source="id.json")
    quoted = shown(refused.value)
    pieces = (damaged[start : start + 12].decode("latin1") for start in range(0, len(damaged) - 12, 6))
    assert not [piece for piece in pieces if piece in quoted]


def test_a_new_keypair_file_is_private_and_loads(tmp_path: Path) -> None:
    """keygen writes what the Solana CLI writes, and makes missing directories."""
    path = tmp_path / "new" / "deep" / "id.json"
    address = create_keypair_file(path)
    assert load_wallet(path).address == address
    assert Keypair.from_json(path.read_text()).pubkey() == address


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_the_umask_does_not_decide_who_reads_a_key(tmp_path: Path, umask: int) -> None:
    """A careless umask opens nothing, a strict one does not lock out the owner."""
    before = os.umask(umask)
    try:
        create_keypair_file(tmp_path / "id.json")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "id.json").stat().st_mode) == 0o600


def test_two_new_keys_differ(tmp_path: Path) -> None:
    """Every new wallet is its own."""
    assert create_keypair_file(tmp_path / "a") != create_keypair_file(tmp_path / "b")


@pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
def test_an_existing_file_is_never_overwritten(file: Path, tmp_path: Path, kind: str) -> None:
    """A key that is overwritten is money lost, so whatever stands there stays."""
    target = file
    if kind != "file":
        target = tmp_path / "link"
        target.symlink_to(file if kind == "link" else tmp_path / "nowhere")
    with pytest.raises(WalletError, match="never overwritten"):
        create_keypair_file(target)
    assert file.read_bytes() == AS_JSON
    assert not (tmp_path / "nowhere").exists()


def test_a_place_that_cannot_be_written_is_named(file: Path) -> None:
    """A directory that cannot be made is a clear refusal."""
    with pytest.raises(WalletError, match="cannot be written"):
        create_keypair_file(file / "below" / "id.json")


def test_half_a_key_is_not_left_behind(tmp_path: Path) -> None:
    """When the disk takes only a part, the file goes away and the next attempt succeeds."""
    path = tmp_path / "id.json"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))  # as a full disk, but for this process only
    try:
        with pytest.raises(WalletError, match="cannot be written"):
            create_keypair_file(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not path.exists()
    assert create_keypair_file(path) == load_wallet(path).address

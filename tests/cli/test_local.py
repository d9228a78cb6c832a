"""What a daemon would find of its data directory and its address, found out from outside."""

import errno
import os
import socket
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from executor.cli import local
from executor.cli.local import IN_USE, PlaceProblem, data_directory, listen_address
from executor.journal.journal import SqliteJournal
from executor.supervisor import JOURNAL_FILE


def problem_of(folder: Path) -> str:
    """Why the folder cannot be used."""
    with pytest.raises(PlaceProblem) as raised:
        data_directory(folder)
    return str(raised.value)


# --- the data directory -------------------------------------------------------------------------------------------------------


def test_a_folder_that_would_be_made(tmp_path: Path) -> None:
    """Also below others that do not exist; none is made."""
    assert data_directory(tmp_path / "a" / "b").endswith("will be made")
    assert [*tmp_path.iterdir()] == []


def test_a_folder_that_is_there(tmp_path: Path) -> None:
    """Nothing is left in it."""
    assert "can be written" in data_directory(tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_what_is_no_folder(tmp_path: Path) -> None:
    """A file, below a file, and a link that leads nowhere."""
    file, link = tmp_path / "file", tmp_path / "link"
    file.touch()
    link.symlink_to(tmp_path / "nowhere")
    for folder in (file, file / "below", link):
        assert problem_of(folder).startswith(f"{folder}: ")


def test_a_folder_that_only_others_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails, also on a file system that has no files without names."""
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    assert "Permission denied" in problem_of(tmp_path)
    monkeypatch.setattr(os, "open", unsupported)
    assert "Permission denied" in problem_of(tmp_path)


def unsupported(*_: object, **__: object) -> int:
    """What NFS says to O_TMPFILE."""
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


@pytest.mark.parametrize(("allowed", "words"), [(True, "will be made"), (False, "Permission denied")])
def test_a_file_system_without_nameless_files(allowed: bool, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions decide there."""
    monkeypatch.setattr(os, "open", unsupported)
    monkeypatch.setattr(os, "access", lambda *_: allowed)
    told = data_directory(tmp_path / "new") if allowed else problem_of(tmp_path)
    assert words in told


def test_a_journal_of_somebody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that root has made, say, when the daemon was first tried."""
    (tmp_path / JOURNAL_FILE).touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert JOURNAL_FILE in problem_of(tmp_path)


def test_a_journal_that_is_in_use(tmp_path: Path) -> None:
    """Told as long as it is, and whoever asks takes nothing: the folder looks as before, and the lock can be had afterwards."""
    journal = SqliteJournal(tmp_path / JOURNAL_FILE)
    files = {*tmp_path.iterdir()}
    assert data_directory(tmp_path) == f"{tmp_path} is {IN_USE}"
    assert {*tmp_path.iterdir()} == files
    journal.close()
    assert "can be written" in data_directory(tmp_path)
    SqliteJournal(tmp_path / JOURNAL_FILE).close()


# --- the address --------------------------------------------------------------------------------------------------------------


def refusal_of(address: str) -> str:
    """Why the address cannot be had."""
    with pytest.raises(PlaceProblem) as raised:
        listen_address(address)
    return str(raised.value)


@pytest.fixture
def stranger() -> Iterator[str]:
    """A gRPC server that is no executor."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_ports(stranger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A free one, one of somebody else, and an address of another machine."""
    monkeypatch.setattr(local, "ANSWER_SECONDS", 0.2)
    assert listen_address("127.0.0.1:0").endswith("is free")
    assert listen_address("[::1]:0").endswith("is free")
    assert "in use" in refusal_of(stranger)
    assert "an executor" not in refusal_of(stranger)
    assert "Cannot assign" in refusal_of("192.0.2.1:50051")


def test_socket_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None yet, one that a dead process left behind, one of a living one, and a file that is no socket; none is touched."""
    monkeypatch.setattr(local, "ANSWER_SECONDS", 0.2)
    path, file = tmp_path / "s", tmp_path / "file"
    assert listen_address(f"unix:{path}").endswith("is free")
    assert not path.exists()
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()
        assert "in use" in refusal_of(f"unix:{path}")
    assert listen_address(f"unix:{path}").endswith("is free")
    assert path.is_socket()
    file.touch()
    assert "no socket" in refusal_of(f"unix:{file}")
    assert "No such file" in refusal_of(f"unix:{tmp_path / 'nowhere' / 's'}")
    assert "too long" in refusal_of(f"unix:{tmp_path / ('s' * 120)}")

"""The journal's file: what is opened is whole, and what is not is refused untouched, with what to do about it."""

import fcntl
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import pytest
import trio

from executor.errors import ConfigError
from executor.journal import file as journal_file
from executor.journal.file import SCHEMA_VERSION, Acknowledged, Ends, open_to_read
from executor.journal.journal import Entry, JournalError, SqliteJournal
from executor.states import State
from tests.journal.entries import accepted, life, note, signed
from tests.support.waiting import eventually

PAGE_BYTES = 4_096
FRAME_HEADER_BYTES = 24
WAL_HEADER_BYTES = 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal lies; its folder does not exist yet."""
    return tmp_path / "data" / "journal.sqlite3"


async def inline(commit: Callable[[], None]) -> None:  # noqa: ASYNC124 - what the journal asks for
    """Commit at once."""
    commit()


def write(path: Path, *commits: Entry, after_each: Callable[[], None] = lambda: None) -> None:
    """Append entries, each in a commit of its own, and close the journal."""

    async def append_all() -> None:
        with closing(SqliteJournal(path, run_commit=inline)) as journal:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(journal.run)
                for entry in commits:
                    await journal.append(entry)
                    after_each()
                nursery.cancel_scope.cancel()

    trio.run(append_all)


def read(path: Path, request_id: str) -> list[Entry]:
    """What a later process finds."""
    with closing(SqliteJournal(path)) as journal:
        return list(journal.entries(request_id))


Image = dict[str, bytes]
"""The files of a journal, by name."""


def image_of(path: Path) -> Image:
    """What is left of them when the process dies now; what readers and writers share in memory is left out."""
    return {file.name: file.read_bytes() for file in path.parent.iterdir() if not file.name.endswith(("-shm", ".lock"))}


def restore(image: Image, path: Path) -> None:
    """Put the files back."""
    for file in path.parent.iterdir():
        file.unlink()
    for name, content in image.items():
        (path.parent / name).write_bytes(content)


def crashes(path: Path, commits: list[Entry]) -> list[Image]:
    """What is left after each of the commits."""
    images: list[Image] = []
    write(path, *commits, after_each=lambda: images.append(image_of(path)))
    return images


def places_in(wal: bytes, begin: int) -> list[int]:
    """Offsets all over a write-ahead log from `begin` on, among them the ends of its frames and what is beside them."""
    frames = range(WAL_HEADER_BYTES, len(wal), FRAME_HEADER_BYTES + PAGE_BYTES)
    beside = {offset + by for offset in frames for by in (-1, 0, 1, 23, 24)}
    return sorted(offset for offset in beside | set(range(begin, len(wal), 509)) if begin <= offset < len(wal))


def cut(content: bytes, at: int) -> bytes:
    """Nothing from there on was written."""
    return content[:at]


def garbled(content: bytes, at: int) -> bytes:
    """A byte is another one."""
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


DAMAGES = [cut, garbled]
WAL = "journal.sqlite3-wal"
ACKNOWLEDGED = "journal.sqlite3.acknowledged"


# --- what a crash leaves behind ---


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_torn_last_commit_that_nobody_was_told_of_is_lost_as_a_whole(damage: Callable[[bytes, int], bytes], path: Path) -> None:
    """Wherever its write was torn: the journal opens, and holds every commit that had returned."""
    entries = life("a", State.SENT)
    images = crashes(path, entries)
    last, before = images[-1], images[-2]
    places = places_in(last[WAL], begin=len(before[WAL]))
    for at in places:
        restore({**last, WAL: damage(last[WAL], at), ACKNOWLEDGED: before[ACKNOWLEDGED]}, path)

        assert read(path, "a") == entries[:-1], at
    assert len(places) > 10


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_acknowledged_is_there_or_its_loss_is_told(damage: Callable[[bytes, int], bytes], path: Path) -> None:
    """SQLite itself would take a log that ends earlier for a whole one. What is left stays as it is."""
    image = crashes(path, life("a", State.SENT))[-1]
    places = places_in(image[WAL], begin=0)
    for at in places:
        broken = {**image, WAL: damage(image[WAL], at)}
        restore(broken, path)
        with pytest.raises(ConfigError, match=r"is damaged: .*docs/journal\.md"):
            SqliteJournal(path)

        assert image_of(path) == broken, at
    assert len(places) > 100
    restore(image, path)
    assert read(path, "a") == life("a", State.SENT)


@pytest.mark.parametrize("lost", [[WAL], ["journal.sqlite3"], ["journal.sqlite3", WAL]])
def test_a_file_that_is_gone_is_missed(lost: list[str], path: Path) -> None:
    """Also when nothing is left that could be damaged."""
    image = crashes(path, life("a", State.SENT))[-1]
    restore({name: content for name, content in image.items() if name not in lost}, path)

    with pytest.raises(ConfigError, match=r"ends at entry 0 and note 0, but was written up to entry 3 and note 0"):
        SqliteJournal(path)


def test_an_older_copy_is_not_taken_for_the_journal(path: Path) -> None:
    """Trades that it does not know of may have been sent. Without the note, which whoever knows better removes, it is."""
    write(path, accepted("a"))
    older = image_of(path)
    write(path, accepted("b"))
    restore({**older, ACKNOWLEDGED: image_of(path)[ACKNOWLEDGED]}, path)

    with pytest.raises(ConfigError, match=r"ends at entry 1 .* up to entry 2"):
        SqliteJournal(path)
    path.with_name(ACKNOWLEDGED).unlink()
    assert read(path, "a") == [accepted("a")]


def test_a_note_that_is_missing_is_missed(path: Path) -> None:
    """What the circuit breaker wrote counts as well."""

    async def write_notes() -> None:
        with closing(SqliteJournal(path)) as journal:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(journal.run)
                await journal.note(note(1))
                images.append(image_of(path))
                await journal.note(note(2))
                images.append(image_of(path))
                nursery.cancel_scope.cancel()

    images: list[Image] = []
    trio.run(write_notes)
    restore({**images[0], ACKNOWLEDGED: images[1][ACKNOWLEDGED]}, path)

    with pytest.raises(ConfigError, match="ends at entry 0 and note 1, but was written up to entry 0 and note 2"):
        SqliteJournal(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 50, b"entries 1 no"])
def test_what_cannot_be_read_of_the_acknowledgements_is_no_evidence(content: bytes, path: Path) -> None:
    """A loss of power may leave anything of a file that is not synced; the journal itself is whole."""
    image = crashes(path, life("a", State.SENT))[-1]
    restore({**image, ACKNOWLEDGED: content}, path)

    assert read(path, "a") == life("a", State.SENT)
    assert path.with_name(ACKNOWLEDGED).read_bytes().startswith(image[ACKNOWLEDGED])


def test_acknowledgements_that_cannot_be_written_stop_nothing(path: Path) -> None:
    """They say less, then: the entries are on disk all the same."""
    path.parent.mkdir()
    path.touch()
    with path.open("rb") as only_readable:
        acknowledged = Acknowledged(only_readable)
        acknowledged.write(Ends(entries=1))

        assert acknowledged.read() == Ends()


def test_a_start_that_was_broken_off_is_no_obstacle(path: Path) -> None:
    """The schema is made in one transaction: a file without any is as good as none."""
    path.parent.mkdir()
    path.touch()
    SqliteJournal(path).close()
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = WAL")

    write(path, accepted("a"))
    assert read(path, "a") == [accepted("a")]


# --- a file that is damaged ---


def test_a_cut_file_is_refused(path: Path) -> None:
    """Wherever it ends, and untouched. The end of the last page, which holds nothing yet, is no loss."""
    write(path, *life("a", State.SENT))
    image = image_of(path)
    whole = image[path.name]
    for length in range(0, len(whole) - PAGE_BYTES + 1, 1_000):
        broken = {**image, path.name: whole[:length]}
        restore(broken, path)
        with pytest.raises(ConfigError, match="is damaged"):
            SqliteJournal(path)

        assert image_of(path) == broken, length


def test_a_page_of_rubbish_is_found_at_the_start(path: Path) -> None:
    """Whichever it is: better no start than a trade whose entries cannot be read."""
    write(path, *life("a", State.SENT))
    image = image_of(path)
    whole = image[path.name]
    for begin in range(0, len(whole), PAGE_BYTES):
        restore({**image, path.name: whole[:begin] + b"\xa5" * PAGE_BYTES + whole[begin + PAGE_BYTES :]}, path)
        with pytest.raises(ConfigError, match="is damaged"):
            SqliteJournal(path)


@pytest.mark.parametrize(
    "change",
    ["DELETE FROM open_requests", "INSERT INTO open_requests VALUES ('b', 9)", "UPDATE open_requests SET request_id = 'b'"],
)
def test_a_list_of_open_requests_that_is_wrong_is_refused(change: str, path: Path) -> None:
    """What is not on it would be looked after by nobody."""
    write(path, accepted("a"))
    with closing(sqlite3.connect(path)) as other, other:
        other.execute(change)

    with pytest.raises(ConfigError, match=r"its list of open requests and its entries differ in [12]"):
        SqliteJournal(path)


def test_a_large_file_is_looked_at_in_part(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of open requests, on which the recovery relies, is sound; the rest is found out when it is read."""
    write(path, *life("a", State.SENT))
    monkeypatch.setattr(journal_file, "MAX_CHECKED_BYTES", 4_096)

    assert read(path, "a") == life("a", State.SENT)


@pytest.mark.parametrize("what", ["TRIGGER one_acceptance", "INDEX one_owner_of_a_signature"])
def test_a_schema_that_lacks_a_guard_is_refused(what: str, path: Path) -> None:
    """The guards are what keeps a request from being traded twice."""
    SqliteJournal(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"DROP {what}")

    with pytest.raises(ConfigError, match=f"its schema lacks {what.split()[1]}"):
        SqliteJournal(path)


# --- a file that is none of ours ---


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    """With the path, and untouched; the lock is given back."""
    path.parent.mkdir()
    path.write_bytes(b"this is a letter to my aunt, not a database" * 100)

    for _attempt in range(2):
        with pytest.raises(ConfigError, match="is damaged: file is not a database"):
            SqliteJournal(path)
    assert path.read_bytes().startswith(b"this is a letter")


def test_another_program_s_database_is_refused(path: Path) -> None:
    """Nothing is made in it."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE letters (text TEXT)")

    with pytest.raises(ConfigError, match="is a database of something else"):
        SqliteJournal(path)


@pytest.mark.parametrize(("version", "words"), [(99, ""), (2, "no earlier one was ever released: start with an empty")])
def test_a_journal_of_an_unknown_version_is_refused(version: int, words: str, path: Path) -> None:
    """Left alone; both versions are named, and the lock is given back."""
    SqliteJournal(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {version}")

    for _attempt in range(2):
        with pytest.raises(ConfigError, match=f"version {version}; this executor knows {SCHEMA_VERSION}.*{words}"):
            SqliteJournal(path)


@pytest.mark.parametrize("name", ["what?", "50%20", "a#b", "ü b"])
def test_a_folder_may_have_any_name(name: str, tmp_path: Path) -> None:
    """Also one that means something in an address."""
    path = tmp_path / name / "journal.sqlite3"
    write(path, accepted("a"), signed("a", "sig"))

    assert read(path, "a") == [accepted("a"), signed("a", "sig")]
    assert path.exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "data").write_text("")

    with pytest.raises(ConfigError, match=r"data/journal\.sqlite3 cannot be opened"):
        SqliteJournal(tmp_path / "data" / "journal.sqlite3")


def test_a_folder_in_the_place_of_the_file_is_named(path: Path) -> None:
    """Neither SQLite's nor Python's words for it are lost."""
    path.mkdir(parents=True)
    with pytest.raises(ConfigError, match="cannot be used"):
        SqliteJournal(path)
    path.rmdir()
    path.with_name(ACKNOWLEDGED).unlink()
    path.with_name(ACKNOWLEDGED).mkdir()
    with pytest.raises(ConfigError, match="cannot be used: Is a directory"):
        SqliteJournal(path)


# --- reading beside the daemon ---


def test_reading_beside_a_daemon_takes_nothing_and_leaves_nothing(path: Path) -> None:
    """While it runs, after it ended, and after it died: no lock, no file, no byte."""

    def look() -> None:
        with open_to_read(path) as reader:
            counts.append(reader.execute("SELECT count(*) FROM entries").fetchone())
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                reader.execute("DELETE FROM entries")

    counts: list[tuple[int]] = []
    write(path, *life("a", State.SENT), after_each=look)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    look()

    assert counts == [(1,), (2,), (3,), (3,)]
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
    assert sorted(before) == ["journal.sqlite3", "journal.sqlite3.acknowledged", "journal.sqlite3.lock"]


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Obey the permissions of files also when the tests run as root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(user)


@contextmanager
def read_only_folder() -> Iterator[Path]:
    """A folder that everybody may enter and nobody may write, with a journal in it that is nobody's but readable."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        SqliteJournal(folder / "old.sqlite3").close()
        for file in folder.iterdir():
            file.chmod(0o666)
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)


def test_a_read_only_folder_is_refused_at_the_start() -> None:
    """Neither a new journal nor an old one that could not be written: better no start than the first trade's failure."""
    with read_only_folder() as folder:
        for name in ("new.sqlite3", "old.sqlite3"):
            with ordinary_user(), pytest.raises(ConfigError, match=r"sqlite3 cannot be (opened|used)"):
                SqliteJournal(folder / name)


WRITE_UNTIL_KILLED = """
import sys, trio
from pathlib import Path
from executor.journal.journal import Entry, JournalError, SqliteJournal
from executor.states import State

async def main():
    journal = SqliteJournal(Path(sys.argv[1]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(journal.run)
        for number in range(1_000_000):
            await journal.append(Entry(request_id=f"r{number}", state=State.ACCEPTED, at_unix_ns=number, body="{}"))
            print(number, flush=True)

trio.run(main)
"""


@pytest.mark.slow
def test_a_kill_loses_nothing_that_was_acknowledged(path: Path) -> None:
    """SIGKILL in the middle of the work: every entry whose `append` had returned is there, and the lock is free."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(
        [sys.executable, "-c", WRITE_UNTIL_KILLED, str(path)], stdout=subprocess.PIPE, cwd=root, env=environment
    ) as writer:
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(20)]
        writer.kill()
        acknowledged += [int(line) for line in writer.stdout if line.endswith(b"\n")]

    with closing(SqliteJournal(path)) as journal:
        assert [len(journal.entries(f"r{number}")) for number in acknowledged] == [1] * len(acknowledged)


def test_without_the_file_of_the_lock_there_is_one_daemon_all_the_same(path: Path) -> None:
    """Two on one journal would land one request twice."""
    with closing(SqliteJournal(path)):
        path.with_name("journal.sqlite3.lock").unlink()
        with pytest.raises(ConfigError, match="in use by another executor"):
            SqliteJournal(path)
    with closing(SqliteJournal(path)):
        pass


def test_a_folder_that_cannot_be_locked_is_no_obstacle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on NFS; the file of the lock is locked all the same."""
    real = fcntl.flock

    def flock(file: int | IO[bytes], operation: int) -> None:
        if isinstance(file, int):
            raise OSError("no locks of folders here")
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with closing(SqliteJournal(path)), pytest.raises(ConfigError, match="in use by another executor"):
        SqliteJournal(path)


@pytest.mark.parametrize("name", ["journal.sqlite3", "journal.sqlite3-wal", "journal.sqlite3.lock", ""])
async def test_what_no_restart_would_find_is_not_durable(path: Path, name: str) -> None:
    """A file, or the folder, is moved away while the journal is open: nothing is told to be on disk until it is back."""
    there, away = path.parent / name, path.parent.parent / "away"
    with closing(SqliteJournal(path, run_commit=inline, probe_seconds=0.01)) as journal:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.run)
            await journal.append(accepted("before"))
            there.rename(away)
            problem = journal.problem()
            with pytest.raises(JournalError, match="removed or replaced"):
                await journal.append(accepted("lost"))
            away.rename(there)
            await eventually(lambda: journal.problem() is None, "the journal is well again")
            await journal.append(accepted("after"))
            nursery.cancel_scope.cancel()

    assert problem is not None
    assert (name or "journal.sqlite3") in problem
    assert [len(read(path, request_id)) for request_id in ("before", "lost", "after")] == [1, 0, 1]


async def test_a_file_that_is_removed_during_a_commit_fails_it(path: Path) -> None:
    """Whether it was there to the end is looked at after the commit, too."""

    async def cut_short(commit: Callable[[], None]) -> None:  # noqa: ASYNC124 - what the journal asks for
        with closing(sqlite3.connect(path, check_same_thread=False)) as busy:

            def remove() -> None:
                path.unlink()
                busy.rollback()

            busy.execute("BEGIN IMMEDIATE")  # the commit waits for its end
            remover = threading.Timer(0.05, remove)
            remover.start()
            commit()
            remover.join()

    with closing(SqliteJournal(path, run_commit=cut_short)) as journal:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.run)
            with pytest.raises(JournalError, match="removed or replaced"):
                await journal.append(accepted("lost"))
            nursery.cancel_scope.cancel()

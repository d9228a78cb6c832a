"""Every backend keeps the same promises; the suite knows none of them."""

from contextlib import AbstractContextManager
from pathlib import Path

from attrs import define

from executor.journal.journal import SqliteJournal
from tests.journal.conformance import Backend, JournalConformance, OpenJournal
from tests.support.full_disk import no_space_left
from tests.support.memory_journal import Disk


@define
class SqliteBackend:
    """A file in a folder that does not exist yet."""

    path: Path

    def open(self) -> OpenJournal:
        return SqliteJournal(self.path, probe_seconds=0.01)

    def failing(self) -> AbstractContextManager[None]:
        return no_space_left()


class TestSqliteJournal(JournalConformance):
    """The one that the daemon uses."""

    def backend(self, folder: Path) -> Backend:
        return SqliteBackend(folder / "data" / "journal.sqlite3")


class TestMemoryJournal(JournalConformance):
    """One that has nothing in common with it: the suite asks for nothing of SQLite's own."""

    def backend(self, folder: Path) -> Backend:
        return Disk()

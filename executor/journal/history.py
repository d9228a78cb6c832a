"""Reading a journal from outside, beside the daemon that writes it or after its end: no lock is taken and nothing is written."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from attrs import define

from executor.journal.file import open_to_read
from executor.journal.journal import ENTRY_COLUMNS, Entry, entry_of

_INT64_MAX = 2**63 - 1
_ENTRIES_OF_A_REQUEST = f"SELECT {ENTRY_COLUMNS} FROM entries WHERE request_id = ? AND seq >= ? ORDER BY seq"  # noqa: S608 - constants
# The times of acceptance are indexed, so the newest ones are found without looking at all.
# One that another follows was denied, and accepted anew: the last life is told.
_ACCEPTANCES = """
SELECT request_id, seq FROM entries a WHERE state = 'ACCEPTED' AND at_unix_ns >= ? AND at_unix_ns < ?
AND NOT EXISTS (SELECT 1 FROM entries e WHERE e.request_id = a.request_id AND e.seq > a.seq AND e.state = 'ACCEPTED')
ORDER BY at_unix_ns DESC, seq DESC
"""
_OPEN_ACCEPTANCES = """
SELECT o.request_id, o.accepted_seq FROM open_requests o JOIN entries e ON e.seq = o.accepted_seq
WHERE e.at_unix_ns >= ? AND e.at_unix_ns < ? ORDER BY e.at_unix_ns DESC, e.seq DESC
"""


@define(eq=False)
class History:
    """What a journal held when it was opened: later entries are not seen."""

    _reader: sqlite3.Connection

    def entries(self, request_id: str, *, since_sequence: int = 0) -> Sequence[Entry]:
        """Every entry of a request, oldest first; none: it was never accepted."""
        with closing(self._reader.execute(_ENTRIES_OF_A_REQUEST, (request_id, since_sequence))) as rows:
            return [entry_of(row) for row in rows]

    def last_lives(
        self, *, since_unix_ns: int = 0, until_unix_ns: int = _INT64_MAX, only_open: bool = False
    ) -> Iterator[Sequence[Entry]]:
        """Yield the entries of the last life of each request that was accepted then or later and before `until`, newest first."""
        query = _OPEN_ACCEPTANCES if only_open else _ACCEPTANCES
        with closing(self._reader.execute(query, (since_unix_ns, until_unix_ns))) as acceptances:
            for request_id, seq in acceptances:
                yield self.entries(request_id, since_sequence=seq)


@contextmanager
def open_history(path: Path) -> Iterator[History]:
    """Open a journal to read it. Raises ConfigError: it cannot be read, is damaged, or of an unknown version."""
    with open_to_read(path) as reader:
        reader.execute("BEGIN")
        yield History(reader)

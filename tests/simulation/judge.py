"""The judgement of a history at rest: the checker over chain, journal and answers, and a look into the daemon's own books."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from attrs import evolve, frozen

from executor.supervisor import JOURNAL_FILE, Daemon
from tests.chaos.chain_facts import landings_of_cluster
from tests.chaos.checker import FINAL, Kind, Request, Row, Swap, Told, Verdict, Word, check
from tests.simulation.callers import Asked
from tests.simulation.chronicle import Chronicle
from tests.simulation.daemon import Keeper
from tests.simulation.world import World

OUR_OWN = frozenset({"PRE_SEND_BUDGET_EXCEEDED", "JOURNAL_UNAVAILABLE", "INTERNAL_ERROR"})
"""Of a FAILED that only the process knew: it counts when it is on disk, not before."""
MAX_REMEMBERED = 64
"""More entries than this in a book that should be empty or bounded by the number of tokens have piled up."""


@frozen(kw_only=True)
class Judgement:
    """What was found; every sentence is a violation."""

    counts: dict[str, int]
    """By kind, as the checker calls them, and `leaked_reservations`, `bugs`."""
    sentences: tuple[str, ...]
    succeeded: int
    words: dict[str, int]
    """How many requests ended in which state of the journal."""

    @property
    def sound(self) -> bool:
        """Nothing is wrong."""
        return not self.sentences


def judge(*, asked: Sequence[Asked], world: World, keeper: Keeper, daemon: Daemon, chronicle: Chronicle) -> Judgement:
    """Judge; nothing moves any more."""
    rows = _rows(Path(daemon.config.daemon.data_directory) / JOURNAL_FILE)
    landings = landings_of_cluster(world.localnet.cluster, world.wallet.pubkey())
    contents, mixed = _contents(asked, rows)
    if keeper.disk_is_bad:
        contents = [evolve(request, told=_as_a_bad_disk_allows(request.told)) for request in contents]
    verdict = check(requests=contents, rows=rows, landings=landings)
    leaks = list(_leaks(daemon))
    wrong = [sentence for one in asked for sentence in one.wrong]
    _note(chronicle, rows, verdict)
    for landing in landings:
        chronicle.note(
            "landed", landing.signature, landing.slot, landing.failed, landing.left, landing.arrived, landing.fee_lamports
        )
    counts = verdict.counts()
    counts[Kind.CONTRADICTION.value] += len(mixed)
    return Judgement(
        counts={**counts, "leaked_reservations": len(leaks), "bugs": len(keeper.bugs) + len(wrong)},
        sentences=(*map(str, verdict.violations), *mixed, *leaks, *wrong, *keeper.bugs),
        succeeded=verdict.succeeded,
        words=_last_states(rows),
    )


def _rows(path: Path) -> list[Row]:
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT seq, request_id, state, at_unix_ns, signature, body FROM entries ORDER BY seq")
        names = ("seq", "request_id", "state", "at_unix_ns", "signature", "body")
        return [Row(**dict(zip(names, row, strict=True))) for row in found]


def _contents(asked: Iterable[Asked], rows: Iterable[Row]) -> tuple[list[Request], list[str]]:
    """Each request with the content that the journal took, and what callers of other contents were told in spite of it."""
    taken: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        if row.state == "ACCEPTED":
            taken[row.request_id].add(json.loads(row.body)["request"]["in_amount"])
    requests, mixed = [], []
    for one in asked:
        amounts = taken.get(one.request.request_id, {one.request.in_amount})
        if len(amounts) > 1:
            mixed.append(f"request {one.request.request_id} was accepted with several contents")
        amount = min(amounts)
        # Who asks by the id alone is told of whatever was taken under it.
        told: list[Told] = [said for request, said in one.calls if request is None or request.in_amount == amount]
        swap = Swap(input_mint=one.request.input_mint, output_mint=one.request.output_mint, in_amount=amount)
        requests.append(Request(request_id=one.request.request_id, swap=swap, told=tuple(told)))
        for request, said in one.calls:
            if request is not None and request.in_amount != amount and said.word not in (Word.REFUSED, Word.NOTHING):
                mixed.append(f"request {request.request_id} with other content was told {said.word}")
    return requests, mixed


def _as_a_bad_disk_allows(answers: Sequence[Told]) -> tuple[Told, ...]:
    """What the chain proved is told though the disk refuses it, and is lost with the process; then the chain tells it again.

    So it may be PENDING after it was SUCCESS, or proved to have failed: under its own signature, which nobody gives up.
    """
    final: Told | None = None
    allowed: list[Told] = []
    for told in answers:
        proved = final is not None and final.code not in OUR_OWN and final.signature is not None
        is_again = final is not None and proved and told.word is Word.PENDING and told.signature == final.signature
        allowed.append(Told(word=Word.NOTHING, asked_after=told.asked_after) if is_again else told)
        final = final or (told if told.word in FINAL else None)
    return tuple(allowed)


def _leaks(daemon: Daemon) -> Iterable[str]:
    """What is left in books that should be empty, or bounded."""
    line = daemon.line
    totals = {str(mint): amount for mint, amount in line.reservations._totals.items() if amount}
    if totals:
        yield f"reservations are left: {totals}"
    left = {
        "flights": daemon.desk.in_flight(),
        "watches": daemon.confirmations.watched(),
        "scopes before the send": len(line.gate._scopes),
        "entries that wait for the disk": len(daemon.journal._waiting),
    }
    yield from (f"{count} {name} are left" for name, count in left.items() if count)
    bounded = {"pairs of fees": daemon.fees.entries()}
    yield from (f"{count} {name} are remembered" for name, count in bounded.items() if count > MAX_REMEMBERED)


def _note(chronicle: Chronicle, rows: Iterable[Row], verdict: Verdict) -> None:
    for row in rows:
        chronicle.note("row", row.seq, row.request_id, row.state, row.at_unix_ns, row.signature, row.body)
    for violation in verdict.violations:
        chronicle.note("violation", violation)


def _last_states(rows: Iterable[Row]) -> dict[str, int]:
    last = {row.request_id: row.state for row in rows}
    counts: dict[str, int] = {}
    for state in last.values():
        counts[state] = counts.get(state, 0) + 1
    return counts

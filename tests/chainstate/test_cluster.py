"""Of which cluster the nodes are: kept with the journal, for what one cluster has never seen may have landed on another."""

from contextlib import closing
from pathlib import Path

import trio
import trio.testing

from executor.chainstate.cluster import CHECK_SECONDS, FIRST_CHECK_SECONDS, Cluster
from executor.journal.journal import Note, Notes, SqliteJournal
from tests.support.chain import FakeNode, fake_nodes
from tests.support.events import RecordedLog
from tests.support.risk import KeptNotes
from tests.support.values import hash_of


def make_cluster(journal: Notes, *nodes: FakeNode) -> Cluster:
    """As a daemon that starts has it."""
    cluster = Cluster(nodes=fake_nodes(*nodes), journal=journal, now_ns=lambda: 1, log=RecordedLog())
    cluster.restore()
    return cluster


async def asked(cluster: Cluster, *, seconds: float = FIRST_CHECK_SECONDS / 2) -> None:
    """Let it ask for a while."""
    with trio.move_on_after(seconds):
        await cluster.run()


async def test_nothing_is_signed_before_a_node_told_its_cluster(autojump_clock: trio.testing.MockClock) -> None:
    """Then it is kept, and all nodes that tell the same are of it."""
    journal, nodes = KeptNotes(), [FakeNode("a"), FakeNode("b")]
    cluster = make_cluster(journal, *nodes)
    before = cluster.problem(), [cluster.includes(node) for node in nodes]
    await asked(cluster)

    assert before == ("no node has told its genesis hash yet", [False, False])
    assert cluster.problem() is None
    assert [cluster.includes(node) for node in nodes] == [True, True]
    assert len(journal.kept) == 1


async def test_another_cluster_is_noticed_after_a_restart(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """The configuration names other nodes now: none of them is of the journal's cluster, and the problem says so."""
    ours, other = FakeNode("ours"), FakeNode("other")
    other.genesis = hash_of(1)
    for nodes, includes in (([ours], [True]), ([other], [False]), ([other, ours], [False, True]), ([ours], [True])):
        with closing(SqliteJournal(tmp_path / "journal.sqlite3")) as journal:
            cluster = make_cluster(journal, *nodes)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(asked, cluster)
                nursery.start_soon(cluster.journal.run)  # type: ignore[attr-defined]  # the journal's own
                await trio.sleep(FIRST_CHECK_SECONDS)
                nursery.cancel_scope.cancel()

        assert [cluster.includes(node) for node in nodes] == includes
        problem = cluster.problem()
        assert (problem is None) == all(includes)
        assert problem is None or f"other (genesis hash {hash_of(1)})" in problem


async def test_a_node_that_does_not_answer_is_asked_again(autojump_clock: trio.testing.MockClock) -> None:
    """Meanwhile it proves nothing, and keeps nobody from trading."""
    well, failing = FakeNode("well"), FakeNode("failing")
    failing.failing = True
    cluster = make_cluster(KeptNotes(), well, failing)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cluster.run)
        await trio.sleep(FIRST_CHECK_SECONDS * 1.5)
        early = cluster.problem(), cluster.includes(failing)
        failing.failing = False
        await trio.sleep(FIRST_CHECK_SECONDS)
        nursery.cancel_scope.cancel()

    assert early == (None, False)
    assert cluster.includes(failing)


async def test_a_node_that_changes_its_cluster_is_noticed(autojump_clock: trio.testing.MockClock) -> None:
    """Its name leads elsewhere now."""
    node = FakeNode()
    cluster = make_cluster(KeptNotes(), node)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cluster.run)
        await trio.sleep(FIRST_CHECK_SECONDS)
        node.genesis = hash_of(1)
        await trio.sleep(CHECK_SECONDS)
        nursery.cancel_scope.cancel()

    assert not cluster.includes(node)
    assert cluster.problem() is not None


async def test_what_cannot_be_kept_is_not_known(autojump_clock: trio.testing.MockClock) -> None:
    """Trades that are signed must find it after a restart."""
    journal, node = KeptNotes(), FakeNode()
    journal.is_full = True
    cluster = make_cluster(journal, node)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cluster.run)
        await trio.sleep(FIRST_CHECK_SECONDS / 2)
        early = cluster.includes(node), cluster.problem() is None
        journal.is_full = False
        await trio.sleep(FIRST_CHECK_SECONDS)
        nursery.cancel_scope.cancel()

    assert early == (False, False)
    assert (cluster.includes(node), cluster.problem()) == (True, None)
    assert len(journal.kept) == 1


class SlowNotes(KeptNotes):
    """Each takes its time to the disk."""

    async def note(self, note: Note) -> None:
        await trio.sleep(FIRST_CHECK_SECONDS)
        await super().note(note)


async def test_nothing_is_signed_before_it_is_on_disk(autojump_clock: trio.testing.MockClock) -> None:
    """A disk that loses the note while it takes SIGNED would let any other cluster pass for ours; the first answer counts."""
    journal, first, second = SlowNotes(), FakeNode("first"), FakeNode("second")
    second.takes_seconds, second.genesis = FIRST_CHECK_SECONDS / 4, hash_of(1)
    cluster = make_cluster(journal, first, second)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cluster.run)
        await trio.sleep(FIRST_CHECK_SECONDS / 2)
        early = cluster.includes(first), cluster.problem()
        await trio.sleep(FIRST_CHECK_SECONDS)
        nursery.cancel_scope.cancel()

    assert early == (False, "no node has told its genesis hash yet")
    assert (cluster.includes(first), cluster.includes(second)) == (True, False)
    assert len(journal.kept) == 1

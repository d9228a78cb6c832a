"""Which cluster the trades of the journal belong to, and which nodes are known to be of it.

A node of another cluster, which a changed configuration may name, has never seen what landed on ours, and would prove that all of
it has expired. So the genesis hash that the first node told is kept in the journal, before anything is signed. A node that was
not asked yet, or is of another cluster, proves nothing; while there is one of another cluster, nothing is signed.
"""

import json
from collections.abc import Callable
from typing import NoReturn

import trio
from attrs import define, field
from solders.hash import Hash

from executor.faults import TransportError
from executor.journal.journal import JournalError, Note, Notes
from executor.log import Log
from executor.network.nodes import Nodes
from executor.network.solana import Node

NOTE_KIND = "cluster"
FIRST_CHECK_SECONDS = 1.0
CHECK_SECONDS = 60.0
"""A name may lead to other machines in time."""


@define(kw_only=True, eq=False)
class Cluster:
    """Asks every node for its genesis hash in the background."""

    nodes: Nodes
    journal: Notes
    now_ns: Callable[[], int]
    log: Log
    _ours: Hash | None = None
    _keeping: trio.Lock = field(factory=trio.Lock)
    _told: dict[str, Hash] = field(factory=dict)
    """By node, what it answered last."""

    def restore(self) -> None:
        """Take up what the journal holds: before the first trade. Raises JournalError."""
        for note in self.journal.notes(NOTE_KIND, last=1):
            self._ours = Hash.from_string(json.loads(note.body)["genesis_hash"])

    async def run(self) -> NoReturn:
        """Ask until cancelled, every node on its own: a hanging one must not hide the others."""
        async with trio.open_nursery() as nursery:
            for node in self.nodes.all:
                nursery.start_soon(self._ask_forever, node)
        raise AssertionError("the questions do not end")

    def includes(self, node: Node) -> bool:
        """Whether this node is known to be of the cluster."""
        return self._ours is not None and self._told.get(node.name) == self._ours

    def problem(self) -> str | None:
        """Why nothing may be signed; None when a node is of the cluster, and none is of another."""
        foreign = [f"{name} (genesis hash {told})" for name, told in self._told.items() if told != self._ours]
        if foreign:
            words = f"not of the cluster of this journal's trades (genesis hash {self._ours}): {', '.join(foreign)}"
            return f"{words}; another cluster needs another daemon.data_directory"
        return None if self._told else "no node has told its genesis hash yet"

    async def _ask_forever(self, node: Node) -> NoReturn:
        while True:
            await self._ask(node)
            await trio.sleep(CHECK_SECONDS if node.name in self._told else FIRST_CHECK_SECONDS)

    async def _ask(self, node: Node) -> None:
        try:
            told = await node.genesis_hash()
            await self._keep(told)
        except (TransportError, JournalError) as error:
            self.log.warning("cluster.unknown", node=node.name, problem=str(error))
            return
        self._told[node.name] = told
        if told != self._ours:
            self.log.error("cluster.foreign", node=node.name, genesis_hash=str(told), ours=str(self._ours))

    async def _keep(self, told: Hash) -> None:
        """Count the first answer as ours once it is on disk: what is signed before that a restart could take for another's."""
        async with self._keeping:
            if self._ours is None:
                body = json.dumps({"genesis_hash": str(told)})
                await self.journal.note(Note(kind=NOTE_KIND, at_unix_ns=self.now_ns(), body=body))
                self._ours = told

"""Whether the nodes are fit to trade with, asked in the background."""

from contextlib import suppress
from typing import NoReturn

import trio
from attrs import define

from executor.faults import TransportError
from executor.log import Log
from executor.network.nodes import Nodes
from executor.network.solana import Node

CHECK_SECONDS = 2.0


@define(kw_only=True, eq=False)
class NodeHealth:
    """Asks every node for its health. The verdict is kept with the node, beside what other calls tell of it."""

    nodes: Nodes
    log: Log

    async def run(self) -> NoReturn:
        """Check until cancelled, every node on its own: a hanging one must not hide the others."""
        async with trio.open_nursery() as nursery:
            for node in self.nodes.all:
                nursery.start_soon(self._check_forever, node)
        raise AssertionError("the checks do not end")

    async def _check_forever(self, node: Node) -> NoReturn:
        was_failing = False
        while True:
            await _check(node)
            health = node.endpoint_health
            if health.failing and not was_failing:
                self.log.warning("node.unhealthy", node=node.name, problem=health.problem)
            if was_failing and not health.failing:
                self.log.info("node.healthy", node=node.name)
            was_failing = health.failing
            await trio.sleep(CHECK_SECONDS)

    def problem(self) -> str | None:
        """Why no node can be used; None while at least one can."""
        healths = [node.endpoint_health for node in self.nodes.all]
        problems = [f"{health.name}: {health.problem}" for health in healths if health.failing]
        return None if len(problems) < len(healths) else "no healthy node: " + "; ".join(problems)


async def _check(node: Node) -> None:
    """Ask for the node's own word, the only thing that may take an earlier one back, and for its slot."""
    try:
        await node.health()
    except TransportError as error:
        node.endpoint_health = node.endpoint_health.refused_health(error)
        return
    node.endpoint_health = node.endpoint_health.healthy_by_its_word()
    with suppress(TransportError):  # the client keeps it
        await node.slot("processed")

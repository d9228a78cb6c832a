"""Whether the nodes are fit to trade with, asked in the background."""

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
    """Asks every node for its health; the answer is kept by the node itself, as that of every other call."""

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
            try:
                await node.health()
                await node.slot("processed")
            except TransportError as error:
                if not was_failing:
                    self.log.warning("node.unhealthy", node=node.name, problem=str(error))
            failing = node.endpoint_health.failing
            if was_failing and not failing:
                self.log.info("node.healthy", node=node.name)
            was_failing = failing
            await trio.sleep(CHECK_SECONDS)

    def problem(self) -> str | None:
        """Why no node can be used; None while at least one can."""
        healths = [node.endpoint_health for node in self.nodes.all]
        problems = [f"{health.name}: {health.last_problem}" for health in healths if health.failing]
        return None if len(problems) < len(healths) else "no healthy node: " + "; ".join(problems)

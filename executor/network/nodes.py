"""Several nodes as one: ask whoever answers, or ask everybody."""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio
from attrs import evolve

from executor.errors import ErrorCode
from executor.faults import Fault, Reaction, TransportError
from executor.log import Log
from executor.network.retry import Retry, retrying
from executor.network.solana import Node

T = TypeVar("T")

LAGGING_SLOTS = 8
"""A node that showed nothing newer than this behind the newest is asked after the others. 8 slots are 3 seconds."""


class Nodes:
    """The configured nodes, in order of preference."""

    def __init__(self, nodes: Sequence[Node], *, retry: Retry, rng: random.Random, log: Log) -> None:
        if not nodes:
            raise ValueError("at least one node is needed")
        self.all = tuple(nodes)
        self._retry = retry
        self._rng = rng
        self._log = log

    async def ask(self, call: Callable[[Node], Awaitable[T]], *, operation: str) -> T:
        """Return the first answer, from the healthiest node on; a node that fails is followed by the next one at once.

        Only when all have failed is there a pause, by the retry policy. A refusal of the call itself ends it: another node
        would refuse it as well. Raises TransportError, which names every node that was tried. Use it for what may be repeated.
        """
        return await retrying(
            lambda: self._round(call, operation), policy=self._retry, rng=self._rng, log=self._log, operation=operation
        )

    async def ask_once(self, call: Callable[[Node], Awaitable[T]], *, operation: str) -> T:
        """Like `ask`, one round without a pause: for who asks again anyway."""
        return await self._round(call, operation)

    async def every(self, call: Callable[[Node], Awaitable[T]]) -> tuple[T | TransportError, ...]:
        """Ask all nodes at the same time and wait for all; in their order, failures as values. No retries."""
        answers: dict[int, T | TransportError] = {}

        async def one(index: int, node: Node) -> None:
            try:
                answers[index] = await call(node)
            except TransportError as error:
                answers[index] = error

        async with trio.open_nursery() as nursery:
            for index, node in enumerate(self.all):
                nursery.start_soon(one, index, node)
        return tuple(answers[index] for index in range(len(self.all)))

    def newest_slot(self) -> int:
        """The newest slot that any node has shown; 0 before the first."""
        return max(node.endpoint_health.last_slot or 0 for node in self.all)

    async def aclose(self) -> None:
        """Close every connection."""
        for node in self.all:
            await node.aclose()

    async def _round(self, call: Callable[[Node], Awaitable[T]], operation: str) -> T:
        errors: list[TransportError] = []
        for node in self._by_health():
            try:
                return await call(node)
            except TransportError as error:
                errors.append(error)
                if _is_final(error):
                    break
        raise _of_round(errors, operation) from errors[-1].__cause__

    def _by_health(self) -> list[Node]:
        """The working before the failing, then those that keep up; the configured order decides between equals."""
        slots = {node.name: node.endpoint_health.last_slot or 0 for node in self.all}
        newest = self.newest_slot()
        return sorted(self.all, key=lambda node: (node.endpoint_health.failing, newest - slots[node.name] > LAGGING_SLOTS))


def _is_final(error: TransportError) -> bool:
    """Whether the node understood the call and refuses it. What fails below that (HTTP, TLS) says nothing of other nodes."""
    return error.status == 200 and error.fault.reaction not in (Reaction.SAME, Reaction.OTHER_NODE)


def _of_round(errors: Sequence[TransportError], operation: str) -> TransportError:
    """One error for a round: a refusal as it is, or else one that names every node."""
    last = errors[-1]
    fault, endpoint = last.fault, last.endpoint
    if len(errors) > 1 and not _is_final(last):
        fault = _of_all([error.fault for error in errors])
        endpoint = ", ".join(dict.fromkeys(error.endpoint for error in errors))
        fault = evolve(fault, detail="; ".join(f"{error.endpoint}: {error.fault.detail}" for error in errors))
    attempts = sum(error.attempts for error in errors)
    return TransportError(endpoint=endpoint, operation=operation, fault=fault, attempts=attempts, status=last.status)


def _of_all(faults: Sequence[Fault]) -> Fault:
    """Repeatable if any node's fault was; "no node is healthy" where the codes differ."""
    told = next((fault for fault in faults if fault.worth_repeating), faults[-1])
    code = told.code if len({fault.code for fault in faults}) == 1 else ErrorCode.NODE_UNHEALTHY
    soonest = min(fault.retry_after_seconds or 0.0 for fault in faults)  # the first node that is ready again can answer
    return evolve(told, code=code, retry_after_seconds=soonest or None)

"""The daemon with a death sentence: `python -m tests.crash.child POINT COUNT WHEN MARK serve ...`.

One function of the daemon is wrapped so that the process kills itself at the COUNT-th time that it comes by the point, from its
start on or, where WHEN says so, once it takes calls: else resumed trades would come by first, and few others ever. Just before,
the point's name is written to the file MARK. The production code has no hooks and knows nothing of it.
"""

import contextvars
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import define

from executor import cli, desk, supervisor, trade
from executor.cli import serve
from executor.journal.journal import SqliteJournal
from executor.network import solana, trio_transport
from tests.crash import points

Reached = Callable[[], None]


@define
class Sentence:
    """Executed at the given time that a point is reached."""

    point: str
    left: int
    mark: Path
    armed: bool = True

    def arm(self) -> None:
        """From now on the point counts."""
        self.armed = True

    def reached(self) -> None:
        """Come by the point."""
        self.left -= self.armed
        if self.armed and self.left == 0:
            self.mark.write_text(self.point)
            os.kill(os.getpid(), signal.SIGKILL)


def _before(owner: object, name: str, reached: Reached, *, only: Callable[..., bool] = lambda *_args: True) -> None:
    """Come by whenever a function is called (with arguments that count)."""
    wrapped = getattr(owner, name)

    def around(*args: Any, **kwargs: Any) -> Any:
        if only(*args):
            reached()
        return wrapped(*args, **kwargs)

    setattr(owner, name, around)


def _after(owner: object, name: str, reached: Reached, *, only: Callable[..., bool] = lambda *_args: True) -> None:
    """Come by whenever a function has returned."""
    wrapped = getattr(owner, name)

    def around(*args: Any, **kwargs: Any) -> Any:
        result = wrapped(*args, **kwargs)
        if only(*args):
            reached()
        return result

    setattr(owner, name, around)


def _after_awaited(owner: object, name: str, reached: Reached) -> None:
    """Come by whenever a coroutine has returned."""
    wrapped: Callable[..., Awaitable[Any]] = getattr(owner, name)

    async def around(*args: Any, **kwargs: Any) -> Any:
        result = await wrapped(*args, **kwargs)
        reached()
        return result

    setattr(owner, name, around)


def _holds(states: Sequence[str]) -> Callable[..., bool]:
    """Whether a commit writes one of these entries."""

    def holds(_journal: SqliteJournal, batch: Sequence[Any]) -> bool:
        written = (getattr(waiting.item, "state", None) for waiting in batch)
        return any(state is not None and state.value in states for state in written)

    return holds


def _is_node(name: str) -> Callable[..., bool]:
    return lambda node, *_args: bool(node.name == name)


_sending_to: contextvars.ContextVar[str] = contextvars.ContextVar("sending_to", default="")


def _after_bytes_to(node: str, reached: Reached, *, share: slice) -> None:
    """Come by when a part of a send's bytes has been handed to the system, and the others not."""
    send, exchange = solana.Node.send, trio_transport._exchange

    async def named_send(self: solana.Node, *args: Any, **kwargs: Any) -> str:
        token = _sending_to.set(self.name)
        try:
            return await send(self, *args, **kwargs)
        finally:
            _sending_to.reset(token)

    async def torn_exchange(connection: Any, request: bytes, parser: Any) -> Any:
        if _sending_to.get() != node:
            return await exchange(connection, request, parser)
        first, rest = request[share], request[len(request[share]) :]
        await connection.stream.send_all(first)
        reached()
        return await exchange(connection, rest, parser)

    solana.Node.send = named_send  # type: ignore[method-assign]  # this is how it is wrapped
    trio_transport._exchange = torn_exchange


def _of_commits(reached: Reached, point: str) -> None:
    for what, states in points.COMMITTED.items():
        if point == f"before the commit of {what}":
            _before(SqliteJournal, "_commit", reached, only=_holds(states))
        elif point == f"after the commit of {what}":
            _after(SqliteJournal, "_commit", reached, only=_holds(states))


def _of_bytes(reached: Reached, point: str) -> None:
    for node in points.NODES:
        if point == f"before the first byte to {node}":
            _before(solana.Node, "send", reached, only=_is_node(node))
        elif point == f"after the first byte to {node}":
            _after_bytes_to(node, reached, share=slice(1))
        elif point == f"after the last byte to {node}":
            _after_bytes_to(node, reached, share=slice(None))


_OTHERS: dict[str, Callable[[Reached], None]] = {
    "after the first node answered": lambda reached: _after_awaited(solana.Node, "send", reached),
    "after every node answered": lambda reached: _after_awaited(trade, "send", reached),
    "before sending again": lambda reached: _before(trade, "send_again", reached),
    "after the status was seen": lambda reached: _after_awaited(trade, "monitor", reached),
    "after the fill was read": lambda reached: _after_awaited(trade, "read_fill", reached),
    "before the caller is told": lambda reached: _before(trade, "_tell", reached),
    "before the recovery": lambda reached: _before(desk.Desk, "recover", reached),
    "after the first trade was taken up": lambda reached: _after_awaited(desk.Desk, "_take_up", reached),
    "after the recovery": lambda reached: _after_awaited(desk.Desk, "recover", reached),
    "before a resumed trade is sent": lambda reached: _after_awaited(trade, "_recall", reached),
    "at the start of the drain": lambda reached: _before(desk.Desk, "drain", reached),
    "before pending is told": lambda reached: _before(desk.Desk, "tell_pending", reached),
    "after pending was told": lambda reached: _after(desk.Desk, "tell_pending", reached),
    "before the journal is closed": lambda reached: _before(supervisor.Daemon, "aclose", reached),
}


def condemn(sentence: Sentence) -> None:
    """Wrap the function of the sentence's point. Raises ValueError for a point that is none of a child's."""
    if sentence.point in points.COMMITS:
        _of_commits(sentence.reached, sentence.point)
    elif sentence.point in _OTHERS:
        _OTHERS[sentence.point](sentence.reached)
    elif sentence.point in points.SENDS:
        _of_bytes(sentence.reached, sentence.point)
    else:
        raise ValueError(f"no such point: {sentence.point!r}")


def main(arguments: Sequence[str]) -> int:
    """Run the daemon under its sentence."""
    point, count, when, mark, *command = arguments
    sentence = Sentence(point, int(count), Path(mark), armed=when == points.FROM_THE_START)
    condemn(sentence)
    _after(serve, "say", sentence.arm)
    return cli.main(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

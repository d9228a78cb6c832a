"""Planted bugs that the killer has to find: `python -m tests.crash.careless_child BUG POINT COUNT WHEN MARK serve ...`."""

import sys
from collections.abc import Callable, Mapping

import trio

from executor import trade
from executor.errors import ErrorCode, Expired, Rejected
from executor.journal import records
from executor.life import Life
from executor.model import Signed
from executor.risk.reservations import Needs, Reservations, Ticket
from executor.states import State
from tests.crash import child

LATER_SECONDS = 0.5


async def give_up(life: Life, _nursery: trio.Nursery, _ticket: Ticket) -> Signed:
    """Stand in for `_recall`: after a restart, unknown is taken for failed."""
    await trio.lowlevel.checkpoint()
    if life.sent is not None:
        raise Expired(ErrorCode.TRANSACTION_EXPIRED, "the daemon died; surely it never landed")
    raise Rejected(ErrorCode.EXECUTOR_RESTARTED, "the daemon died; surely nothing was sent")


async def sign_first(self: Life, signed: Signed, *, needs: Needs) -> None:
    """Stand in for `Life.sign`: the disk is not waited for."""
    await trio.lowlevel.checkpoint()
    entry = records.signed(signed, needs=needs, at_unix_ns=self.line.now_ns())

    async def append_later() -> None:
        await trio.sleep(LATER_SECONDS)
        self.line.journal.append_soon(entry)

    trio.lowlevel.spawn_system_task(append_later)
    self.signed, self.state = signed, State.SIGNED


def _give_up() -> None:
    trade._recall = give_up


def _sign_first() -> None:
    Life.sign = sign_first  # type: ignore[method-assign]  # this is how it is planted


def _keep() -> None:
    Reservations._release = lambda self, ticket: None  # type: ignore[method-assign]  # this is how it is planted


BUGS: Mapping[str, Callable[[], None]] = {
    "gives up what it has signed": _give_up,
    "sends before it is durable": _sign_first,
    "keeps what it has reserved": _keep,
}

if __name__ == "__main__":
    bug, *arguments = sys.argv[1:]
    BUGS[bug]()
    sys.exit(child.main(arguments))

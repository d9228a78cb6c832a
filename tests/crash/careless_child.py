"""A planted bug: after a restart, what was signed is given up as never sent. The killer has to find it."""

import sys

import trio

from executor import trade
from executor.errors import ErrorCode, Rejected
from executor.life import Life
from executor.model import Signed
from executor.risk.reservations import Ticket
from tests.crash import child


async def give_up(life: Life, _nursery: trio.Nursery, _ticket: Ticket) -> Signed:
    """Stand in for `_recall`: unknown is taken for failed."""
    await trio.lowlevel.checkpoint()
    raise Rejected(ErrorCode.EXECUTOR_RESTARTED, "the daemon died; surely nothing was sent")


if __name__ == "__main__":
    trade._recall = give_up
    sys.exit(child.main(sys.argv[1:]))

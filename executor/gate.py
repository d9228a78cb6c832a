"""The door between a trade and its first byte."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio
from attrs import define, field

from executor.errors import Denied, ErrorCode, Rejected, TradeError


def _nobody_objects(_request_id: str) -> None:
    pass


@define(eq=False)
class Gate:
    """Every trade has the same time to get through, and nobody gets through once the daemon drains."""

    budget_seconds: float
    require_pass: Callable[[str], None] = _nobody_objects
    """For right before SIGNED: raises Denied where trading was halted since the trade of a request_id was taken."""
    draining: bool = False
    _scopes: set[trio.CancelScope] = field(factory=set)

    @contextmanager
    def before_send(self, received_at: float) -> Iterator[None]:
        """Run what must be done before the send, within the budget from the receipt on.

        Raises Rejected(PRE_SEND_BUDGET_EXCEEDED) or Denied(EXECUTOR_DRAINING); nothing was sent. A budget that ends while the
        disk is waited for, which nothing can cut short, has ended all the same: the quote is as old as the disk was slow.
        """
        deadline = received_at + self.budget_seconds
        with trio.move_on_at(deadline) as scope:
            self._scopes.add(scope)
            if self.draining:
                scope.cancel()
            try:
                yield
            finally:
                self._scopes.discard(scope)
        if scope.cancelled_caught and self.draining:
            raise Denied(ErrorCode.EXECUTOR_DRAINING, "the daemon is shutting down; nothing was sent")
        if scope.cancelled_caught or trio.current_time() >= deadline:
            raise self._too_late()

    def close(self) -> None:
        """Stop every trade that has not been signed yet."""
        self.draining = True
        for scope in self._scopes:
            scope.cancel()

    def _too_late(self) -> TradeError:
        message = f"not ready to send within {self.budget_seconds:g} s (limits.pre_send_budget_seconds); nothing was sent"
        return Rejected(ErrorCode.PRE_SEND_BUDGET_EXCEEDED, message)

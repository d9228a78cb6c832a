"""Where an upstream's failure becomes a trade's."""

from collections.abc import Iterator
from contextlib import contextmanager

from executor.errors import ErrorCode, Rejected
from executor.faults import Fault, Reaction, Remedy, TransportError


class Stale(Rejected):
    """This offer came to nothing, another one may not: the same trade is worth asking for anew. Nothing was signed."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        remedy: Remedy | None = None,
        once: bool = False,
        program: str | None = None,
        **context: object,
    ) -> None:
        super().__init__(code, message, **context)
        self.remedy = remedy
        """What to ask for differently."""
        self.once = once
        """Worth a single try."""
        self.program = program
        """The program that failed, where it is known."""


@contextmanager
def rejecting() -> Iterator[None]:
    """Turn a TransportError into Rejected. Only before the send: after it, a failing upstream proves nothing."""
    try:
        yield
    except TransportError as error:
        raise Rejected(error.fault.code, str(error), endpoint=error.endpoint, operation=error.operation) from error


@contextmanager
def rejecting_offer() -> Iterator[None]:
    """Turn a TransportError into Stale where the error tables say to ask for another offer, else into Rejected."""
    try:
        yield
    except TransportError as error:
        raise refused_offer(error.fault, str(error), endpoint=error.endpoint, operation=error.operation) from error


def refused_offer(fault: Fault, message: str, **context: object) -> Rejected:
    """Make the refusal of what became of an offer.

    The reactions that build a transaction anew (REBUILD) are for one with too small a limit on compute or on loaded data. Ours
    is tried with all the compute there is and limits no data, so that before the send there is nothing to build differently.
    """
    if fault.reaction is not Reaction.REQUOTE:
        return Rejected(fault.code, message, **context)
    return Stale(fault.code, message, remedy=fault.remedy, once=fault.once, program=fault.program, **context)

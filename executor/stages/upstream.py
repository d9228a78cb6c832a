"""Where an upstream's failure becomes a trade's."""

from collections.abc import Iterator
from contextlib import contextmanager

from executor.errors import Rejected
from executor.faults import TransportError


@contextmanager
def rejecting() -> Iterator[None]:
    """Turn a TransportError into Rejected. Only before the send: after it, a failing upstream proves nothing."""
    try:
        yield
    except TransportError as error:
        raise Rejected(error.fault.code, str(error), endpoint=error.endpoint, operation=error.operation) from error

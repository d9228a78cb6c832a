"""What is known of an endpoint from the calls that were made anyway."""

from collections.abc import Callable

from attrs import evolve, frozen

from executor.errors import ErrorCode
from executor.faults import TransportError

_OF_THE_ENDPOINT = frozenset(
    {
        ErrorCode.NODE_UNREACHABLE,
        ErrorCode.NODE_RATE_LIMITED,
        ErrorCode.NODE_UNAUTHORIZED,
        ErrorCode.NODE_UNHEALTHY,
        ErrorCode.NODE_ANSWER_INVALID,
        ErrorCode.JUPITER_UNREACHABLE,
        ErrorCode.JUPITER_RATE_LIMITED,
        ErrorCode.JUPITER_UNAUTHORIZED,
        ErrorCode.JUPITER_ANSWER_INVALID,
    }
)
OnFailure = Callable[[str, TransportError], None]
"""Is told of every call that failed, and whose it was: NODE_PREFIX and the node's name, or JUPITER. Must not raise."""
NODE_PREFIX = "node "
JUPITER = "jupiter"

_NOTHING_HERE = frozenset({404, 410})


@frozen(kw_only=True)
class EndpointHealth:
    """For the status, and for choosing whom to ask. Times are trio.current_time()."""

    name: str
    endpoint: str
    """scheme://host:port."""
    last_answer_at: float | None = None
    """A refusal of what we asked is an answer, too."""
    last_problem: str | None = None
    """The latest problem of the endpoint itself, however long ago."""
    last_problem_at: float | None = None
    last_slot: int | None = None
    """The highest slot that a node showed, whatever the commitment."""
    last_call_failed: bool = False
    """The last call ended with a problem of the endpoint itself."""
    says_unhealthy: str | None = None
    """A node's own word, which outlasts the answers to other calls: a node that is behind answers them all, out of date."""

    @property
    def failing(self) -> bool:
        """It does not answer, or says that it should not be asked."""
        return self.last_call_failed or self.says_unhealthy is not None

    @property
    def problem(self) -> str | None:
        """What is wrong now; None while nothing is."""
        return self.last_problem if self.last_call_failed else self.says_unhealthy

    @property
    def seen_at(self) -> float | None:
        """When a call last ended, good or bad; None: it was never asked."""
        return max((at for at in (self.last_answer_at, self.last_problem_at) if at is not None), default=None)

    def answered(self, at: float) -> "EndpointHealth":
        """Note a call that was answered."""
        return evolve(self, last_answer_at=at, last_call_failed=False)

    def failed(self, error: TransportError, at: float) -> "EndpointHealth":
        """Note a call that failed: as an answer, unless the endpoint itself is the problem."""
        if error.fault.code not in _OF_THE_ENDPOINT and error.status not in _NOTHING_HERE:
            return self.answered(at)
        return evolve(self, last_problem=str(error), last_problem_at=at, last_call_failed=True)

    def healthy_by_its_word(self) -> "EndpointHealth":
        """Note that a node was asked for its health, and called it good."""
        return evolve(self, says_unhealthy=None)

    def refused_health(self, error: TransportError) -> "EndpointHealth":
        """Note how a node failed to call its health good. Only its word counts: a connection that broke is no verdict."""
        return evolve(self, says_unhealthy=str(error)) if error.fault.code is ErrorCode.NODE_UNHEALTHY else self

    def at_slot(self, slot: int) -> "EndpointHealth":
        """Note the slot of an answer."""
        return evolve(self, last_slot=max(slot, self.last_slot or 0))


def tell_nobody(source: str, error: TransportError) -> None:
    """Let a failure be the caller's business alone."""

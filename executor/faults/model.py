"""What a fault is: how sure it is, what to do about it, and the one exception that carries it."""

import enum
import json
from typing import TypeAlias

from attrs import evolve, frozen

from executor.errors import ErrorCode, ExecutorError

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
"""What json.loads returns."""

MAX_DETAIL_CHARACTERS = 300


class FaultClass(enum.Enum):
    """How sure the fault is."""

    PERMANENT = "permanent"
    """The same call fails again."""
    TRANSIENT = "transient"
    """The same call, or the same trade with a new quote, may succeed."""
    AMBIGUOUS = "ambiguous"
    """Proves nothing about the transaction."""
    SUCCESS_PATH = "success_path"
    """Not a failure: the transaction is known already."""


class Reaction(enum.Enum):
    """What to do next."""

    SAME = "same"
    """The same call, the same bytes, again."""
    OTHER_NODE = "other_node"
    """The same call, the same bytes, to another node."""
    REBUILD = "rebuild"
    """A new transaction for the same quote; only while the old one provably cannot land."""
    REQUOTE = "requote"
    """A new quote and transaction; only while the old one provably cannot land."""
    REJECT = "reject"
    """Give up and say why."""
    PENDING = "pending"
    """The outcome is unknown: keep watching the signature, keep sending the same bytes."""
    LOOK_UP = "look_up"
    """Ask for the signature's status."""


class Remedy(enum.Enum):
    """What to do differently when a reaction builds anew."""

    LOWER_MAX_ACCOUNTS = "lower_max_accounts"
    WITHOUT_SHARED_ACCOUNTS = "without_shared_accounts"
    EXCLUDE_DEX = "exclude_dex"
    EXCLUDE_DEX_SECOND_TIME = "exclude_dex_second_time"
    """Exclude the DEX when it fails once more."""
    LARGER_COMPUTE_LIMIT = "larger_compute_limit"
    HIGHER_FEE = "higher_fee"
    REFETCH_TABLES = "refetch_tables"
    WITHOUT_DATA_SIZE_LIMIT = "without_data_size_limit"


class Source(enum.Enum):
    """Whose answer it was; decides the error code."""

    NODE = "node"
    JUPITER = "jupiter"


class TransportKind(enum.Enum):
    """How a connection failed; the value says it to a person."""

    CONNECT = "no connection"
    TIMEOUT = "no answer in time"
    RESET = "the connection was lost"
    PROTOCOL = "the answer broke off or was not HTTP"
    TOO_LARGE = "the answer is too large"
    TLS = "the TLS handshake failed"


@frozen(kw_only=True)
class Fault:
    """One error, classified."""

    code: ErrorCode
    fault_class: FaultClass
    reaction: Reaction
    detail: str
    """For a person: what the table says and what the upstream said, cut and printable."""
    retry_after_seconds: float | None = None
    """How long the upstream asks us to wait."""
    remedy: Remedy | None = None
    once: bool = False
    """The reaction is worth a single try."""
    program: str | None = None
    """The program that failed, where the logs name it."""
    known: bool = True
    """False: no table has it."""

    @property
    def worth_repeating(self) -> bool:
        """Whether the same call may succeed if it is made again, here or on another node."""
        return self.fault_class is FaultClass.TRANSIENT and self.reaction in (Reaction.SAME, Reaction.OTHER_NODE)


class TransportError(ExecutorError):
    """An upstream did not do what it was asked; raised by the clients in `network/` only.

    Its text names the endpoint, the operation and what was tried. It holds no path, query, user info or key, and no foreign
    exception's words.
    """

    def __init__(self, *, endpoint: str, operation: str, fault: Fault, attempts: int = 1, status: int | None = None) -> None:
        super().__init__(endpoint, operation)
        self.endpoint = endpoint
        """scheme://host:port, or several of them."""
        self.operation = operation
        self.fault = fault
        self.attempts = attempts
        """Calls that were made in all."""
        self.status = status
        """The HTTP status, where there was one."""

    def __str__(self) -> str:
        tried = "" if self.attempts == 1 else f" after {self.attempts} attempts"
        return f"{self.endpoint}: {self.operation} failed{tried}: {self.fault.detail}"

    def __repr__(self) -> str:
        return f"TransportError({str(self)!r}, code={self.fault.code.name}, status={self.status})"


def printable(text: str) -> str:
    """Cut an upstream's words to what fits into a log line and a reply: printable, one line, of bounded length."""
    shown = "".join(c if c.isprintable() else " " for c in text[: MAX_DETAIL_CHARACTERS + 1])
    return shown if len(shown) <= MAX_DETAIL_CHARACTERS else shown[: MAX_DETAIL_CHARACTERS - 3] + "..."


def json_text(value: JsonValue) -> str:
    """Write what an upstream sent as JSON again; never raises, however deep it nests."""
    try:
        return json.dumps(value)
    except RecursionError:
        return "<too deeply nested>"


def after_send(fault: Fault) -> Fault:
    """Read a fault of `sendTransaction` itself: what does not say that the node refused the bytes leaves them pending.

    A refusal proves nothing either: behind one URL another machine may have taken them before.
    """
    if fault.reaction in (Reaction.SAME, Reaction.OTHER_NODE) or not fault.known:
        return evolve(fault, fault_class=FaultClass.AMBIGUOUS, reaction=Reaction.PENDING)
    return fault

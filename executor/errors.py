"""Every way in which the executor says no, and the codes by which others know them.

Codes are CATEGORY_CONDITION and append-only: the journal, the proto, dashboards and callers hold them. Foreign exceptions are
mapped at the client that meets them (`raise ... from`), so that nothing outside `network/` knows what an HTTP library raises.
"""

import enum
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from attrs import frozen


class ReplyStatus(enum.Enum):
    """The gRPC status under which a refusal is answered; its value is the status's name."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    UNAVAILABLE = "UNAVAILABLE"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    NOT_FOUND = "NOT_FOUND"


@frozen
class CodeFacts:
    """What a code means to the one who gets it."""

    reply_status: ReplyStatus | None
    """Answered as this error status; None: as an OK reply whose TradeResult says FAILED or PENDING."""
    retryable: bool
    """A new request may help without anything else being changed first."""
    meaning: str


@enum.unique  # equal facts would make one code an alias of another
class ErrorCode(enum.Enum):
    """Stable codes. Never remove, rename or reuse one."""

    # Refused by our own rules, before anything left the process.
    REQUEST_INVALID = CodeFacts(ReplyStatus.INVALID_ARGUMENT, False, "one or more fields of the request are wrong")
    REQUEST_ID_REUSED = CodeFacts(ReplyStatus.ALREADY_EXISTS, False, "the request_id was used for a request with other content")
    REQUEST_NOT_FOUND = CodeFacts(ReplyStatus.NOT_FOUND, False, "no request with this request_id was accepted")
    MINT_NOT_WHITELISTED = CodeFacts(ReplyStatus.FAILED_PRECONDITION, False, "the token is not on the whitelist")
    AMOUNT_ABOVE_LIMIT = CodeFacts(ReplyStatus.FAILED_PRECONDITION, False, "the amount exceeds the configured limit")
    BALANCE_INSUFFICIENT = CodeFacts(ReplyStatus.FAILED_PRECONDITION, False, "the wallet cannot pay the amount, fees and rent")
    PRICE_MOVED = CodeFacts(ReplyStatus.FAILED_PRECONDITION, True, "the quote is worse than the expected price allows")
    FEE_ACCOUNT_INVALID = CodeFacts(ReplyStatus.FAILED_PRECONDITION, False, "the fee account cannot receive the fee")
    TRADES_IN_FLIGHT_EXCEEDED = CodeFacts(ReplyStatus.RESOURCE_EXHAUSTED, True, "too many trades are in flight")
    RATE_EXCEEDED = CodeFacts(ReplyStatus.RESOURCE_EXHAUSTED, True, "the source sends requests faster than its configured rate")
    DAILY_LIMIT_EXCEEDED = CodeFacts(ReplyStatus.RESOURCE_EXHAUSTED, True, "the amount exceeds what is left of a limit per day")
    TRADING_HALTED = CodeFacts(ReplyStatus.UNAVAILABLE, True, "the circuit breaker is open")
    EXECUTOR_DRAINING = CodeFacts(ReplyStatus.UNAVAILABLE, True, "the daemon is shutting down")
    CHAIN_STATE_STALE = CodeFacts(ReplyStatus.UNAVAILABLE, True, "no fresh blockhash or token facts from any node")

    JOURNAL_UNAVAILABLE = CodeFacts(ReplyStatus.UNAVAILABLE, True, "the journal cannot be written, so nothing may be sent")

    # An upstream refused, failed or lied; proved: nothing was sent, or nothing that was sent can land.
    JUPITER_UNREACHABLE = CodeFacts(None, True, "Jupiter did not answer")
    JUPITER_RATE_LIMITED = CodeFacts(None, True, "Jupiter limits our rate")
    JUPITER_UNAUTHORIZED = CodeFacts(None, False, "Jupiter refuses our key")
    JUPITER_REFUSED = CodeFacts(None, False, "Jupiter refuses the request")
    JUPITER_ANSWER_INVALID = CodeFacts(None, True, "Jupiter's answer does not fit the request or cannot be read")
    ROUTE_NOT_FOUND = CodeFacts(None, True, "Jupiter finds no route for this amount")
    TOKEN_NOT_TRADABLE = CodeFacts(None, False, "Jupiter does not trade this token")
    NODE_UNREACHABLE = CodeFacts(None, True, "no node answered")
    NODE_RATE_LIMITED = CodeFacts(None, True, "every node limits our rate")
    NODE_UNAUTHORIZED = CodeFacts(None, False, "a node refuses our credentials")
    NODE_REFUSED = CodeFacts(None, False, "a node refuses the call")
    NODE_UNHEALTHY = CodeFacts(None, True, "no node is healthy")
    NODE_ANSWER_INVALID = CodeFacts(None, True, "a node's answer cannot be read")
    TRANSACTION_FOREIGN = CodeFacts(None, False, "the transaction does something that was not asked for")
    TRANSACTION_TOO_LARGE = CodeFacts(None, True, "the transaction does not fit into a packet")
    SIMULATION_FAILED = CodeFacts(None, True, "the simulated transaction failed")
    SIMULATION_DISAGREES = CodeFacts(None, True, "the simulated transaction moves other amounts than the quote says")
    SLIPPAGE_EXCEEDED = CodeFacts(None, True, "the price moved beyond the slippage limit")
    FUNDS_INSUFFICIENT = CodeFacts(None, False, "the chain says that the wallet cannot pay")
    EXECUTOR_RESTARTED = CodeFacts(None, True, "the daemon died before the transaction was signed; nothing was sent")
    PRE_SEND_BUDGET_EXCEEDED = CodeFacts(None, True, "the time before the send ran out")

    # After the send.
    SWAP_REVERTED = CodeFacts(None, True, "the transaction landed and failed: the network fee is paid, no swap happened")
    TRANSACTION_EXPIRED = CodeFacts(None, True, "proved: the transaction did not land and never will")
    CONFIRMATION_TIMEOUT = CodeFacts(None, False, "not proved either way yet; the daemon keeps watching the signature")

    INTERNAL_ERROR = CodeFacts(None, False, "a bug in the executor")

    @property
    def facts(self) -> CodeFacts:
        """What the code means and how it is answered."""
        value: CodeFacts = self.value
        return value


class ExecutorError(Exception):
    """The root of everything that the executor raises on purpose."""


class ConfigError(ExecutorError):
    """The configuration cannot be used; `problems` lists every reason, each with its place."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@frozen
class FieldProblem:
    """One wrong field of a request."""

    field: str
    problem: str


class TradeError(ExecutorError):
    """A trade ended without a swap. `context` holds the figures, ready for logs and error details; no secrets."""

    def __init__(self, code: ErrorCode, message: str, **context: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.context: Mapping[str, object] = MappingProxyType(context)

    def add(self, words: str, **context: object) -> None:
        """Say more, once it is known."""
        self.message += words
        self.args = (self.message,)
        self.context = MappingProxyType({**self.context, **context})


class Denied(TradeError):
    """Ours: a rule refused, and nothing was sent."""


class InvalidRequest(Denied):
    """Malformed; `problems` names every wrong field at once."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        listed = "; ".join(f"{p.field}: {p.problem}" for p in problems)
        super().__init__(ErrorCode.REQUEST_INVALID, f"invalid request: {listed}")
        self.problems = tuple(problems)


class Rejected(TradeError):
    """Theirs: proved not accepted, and nothing was sent that could still land."""


class Expired(TradeError):
    """Proved never to land: the block height passed and no node knows the signature."""

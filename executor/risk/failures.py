"""Which ends of trades the circuit breaker counts.

What it counts is a sign that the next trade would fare no better: the upstreams, the chain or the executor itself are not well.
What a caller did wrong, or what the rules refused, is none: otherwise any caller could halt all the others.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType

from executor.errors import ErrorCode, TradeError
from executor.model import Outcome, OutcomeStatus


class Ending(enum.Enum):
    """What the end of a trade says to the circuit breaker."""

    SUCCEEDED = "succeeded"
    REVERTED = "reverted"
    """Landed and failed; that always counts, its fee is paid."""
    FAILED = "failed"
    """Ended without landing, for a reason that counts."""
    SILENT = "silent"
    """Nothing: refused by a rule, or for the caller's own mistake, or not known."""


COUNTS: Mapping[ErrorCode, bool] = MappingProxyType(
    {
        # Rules of ours.
        ErrorCode.REQUEST_INVALID: False,
        ErrorCode.REQUEST_ID_REUSED: False,
        ErrorCode.REQUEST_NOT_FOUND: False,
        ErrorCode.MINT_NOT_WHITELISTED: False,
        ErrorCode.AMOUNT_ABOVE_LIMIT: False,
        ErrorCode.BALANCE_INSUFFICIENT: False,
        ErrorCode.PRICE_MOVED: False,
        ErrorCode.FEE_ACCOUNT_INVALID: False,
        ErrorCode.TRADES_IN_FLIGHT_EXCEEDED: False,
        ErrorCode.RATE_EXCEEDED: False,
        ErrorCode.DAILY_LIMIT_EXCEEDED: False,
        ErrorCode.TRADING_HALTED: False,
        ErrorCode.EXECUTOR_DRAINING: False,
        # These are watched directly: the checks of blockhash, nodes and journal.
        ErrorCode.CHAIN_STATE_STALE: False,
        ErrorCode.JOURNAL_UNAVAILABLE: False,
        # Jupiter.
        ErrorCode.JUPITER_UNREACHABLE: True,
        ErrorCode.JUPITER_RATE_LIMITED: True,
        ErrorCode.JUPITER_UNAUTHORIZED: True,
        ErrorCode.JUPITER_REFUSED: False,  # the request as such: an amount, say, for which it can compute no threshold
        ErrorCode.JUPITER_ANSWER_INVALID: True,
        ErrorCode.ROUTE_NOT_FOUND: False,  # the caller's pair and amount
        ErrorCode.TOKEN_NOT_TRADABLE: False,
        # Nodes.
        ErrorCode.NODE_UNREACHABLE: True,
        ErrorCode.NODE_RATE_LIMITED: True,
        ErrorCode.NODE_UNAUTHORIZED: True,
        ErrorCode.NODE_REFUSED: True,
        ErrorCode.NODE_UNHEALTHY: True,
        ErrorCode.NODE_ANSWER_INVALID: True,
        # The transaction.
        ErrorCode.TRANSACTION_FOREIGN: True,
        ErrorCode.TRANSACTION_TOO_LARGE: True,
        ErrorCode.SIMULATION_FAILED: True,
        ErrorCode.SIMULATION_DISAGREES: True,
        ErrorCode.SLIPPAGE_EXCEEDED: False,  # before it landed: the caller allows less than the market moves
        ErrorCode.FUNDS_INSUFFICIENT: False,
        ErrorCode.EXECUTOR_RESTARTED: False,
        ErrorCode.PRE_SEND_BUDGET_EXCEEDED: True,
        # After the send.
        ErrorCode.SWAP_REVERTED: True,
        ErrorCode.TRANSACTION_EXPIRED: True,
        ErrorCode.CONFIRMATION_TIMEOUT: False,  # not known is not failed
        ErrorCode.INTERNAL_ERROR: True,
    }
)
"""Whether a trade that ended with this code, and did not land, counts as failed. One that landed and failed always does."""


def ending_of(answer: Outcome | TradeError | None) -> Ending:
    """What the last answer to a trade's callers says; None: it never got one."""
    if not isinstance(answer, Outcome):
        return Ending.SILENT
    if answer.status is OutcomeStatus.SUCCESS:
        return Ending.SUCCEEDED
    if answer.status is OutcomeStatus.PENDING or answer.error_code is None:
        return Ending.SILENT
    if answer.slot:
        return Ending.REVERTED
    return Ending.FAILED if COUNTS[answer.error_code] else Ending.SILENT


def spent_nothing(answer: Outcome | TradeError | None) -> bool:
    """Whether it is certain that a trade took nothing of what it was to spend, network fees apart."""
    return isinstance(answer, TradeError) or (isinstance(answer, Outcome) and answer.status is OutcomeStatus.FAILED)

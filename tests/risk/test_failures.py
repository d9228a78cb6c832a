"""What the circuit breaker counts: signs that the next trade would fare no better, and nothing that a caller did wrong."""

import pytest

from executor.errors import Denied, ErrorCode, InvalidRequest, ReplyStatus, TradeError
from executor.model import Outcome, OutcomeStatus
from executor.risk.failures import COUNTS, Ending, ending_of, spent_nothing
from tests.support.risk import failure, success

PENDING = Outcome(request_id="r", status=OutcomeStatus.PENDING, error_code=ErrorCode.CONFIRMATION_TIMEOUT)
OURS_TO_CALLERS = {
    ErrorCode.JUPITER_REFUSED,
    ErrorCode.ROUTE_NOT_FOUND,
    ErrorCode.TOKEN_NOT_TRADABLE,
    ErrorCode.SLIPPAGE_EXCEEDED,
    ErrorCode.FUNDS_INSUFFICIENT,
}


def test_every_code_has_been_decided() -> None:
    """A code that is added later must be put into the table, too."""
    assert set(COUNTS) == set(ErrorCode)


@pytest.mark.parametrize("code", [code for code in ErrorCode if code.facts.reply_status is not None])
def test_a_refusal_of_ours_never_counts(code: ErrorCode) -> None:
    """Whatever is answered with an error status was refused by a rule of ours: by no way of answering does it count."""
    assert not COUNTS[code]
    assert ending_of(Denied(code, "no")) is Ending.SILENT
    assert ending_of(failure(code)) is Ending.SILENT


@pytest.mark.parametrize("code", [code for code in ErrorCode if code in OURS_TO_CALLERS])
def test_what_a_caller_asked_wrongly_counts_only_once_it_cost_a_fee(code: ErrorCode) -> None:
    """An amount, a pair, a slippage that is too narrow: no caller can halt the others with them before it lands."""
    assert ending_of(failure(code)) is Ending.SILENT
    assert ending_of(failure(code, slot=5)) is Ending.REVERTED


def test_all_other_failures_count() -> None:
    """Upstreams, the chain and bugs of ours."""
    silent = OURS_TO_CALLERS | {ErrorCode.CONFIRMATION_TIMEOUT, ErrorCode.EXECUTOR_RESTARTED}
    for code in ErrorCode:
        if code.facts.reply_status is None and code not in silent:
            assert ending_of(failure(code)) is Ending.FAILED, code


def test_ends_that_say_nothing() -> None:
    """Not known is not failed; a trade that was never answered says nothing; a success is one."""
    assert [ending_of(answer) for answer in (None, PENDING, success())] == [Ending.SILENT, Ending.SILENT, Ending.SUCCEEDED]
    assert ending_of(InvalidRequest([])) is Ending.SILENT
    assert InvalidRequest([]).code.facts.reply_status is ReplyStatus.INVALID_ARGUMENT


def test_what_is_certain_to_have_spent_nothing() -> None:
    """A refusal, and a failure that is proved; not what is unknown, and not a success."""
    spent: list[Outcome | None] = [None, PENDING, success()]
    kept: list[Outcome | TradeError] = [
        Denied(ErrorCode.PRICE_MOVED, "no"),
        failure(ErrorCode.TRANSACTION_EXPIRED),
        failure(ErrorCode.SWAP_REVERTED, slot=3),
    ]

    assert [spent_nothing(answer) for answer in spent] == [False] * 3
    assert [spent_nothing(answer) for answer in kept] == [True] * 3

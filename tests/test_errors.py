import re

import pytest

from executor.errors import (
    ConfigError,
    Denied,
    ErrorCode,
    ExecutorError,
    Expired,
    FieldProblem,
    InvalidRequest,
    Rejected,
    ReplyStatus,
    TradeError,
)

# Callers, journals and dashboards hold these: a new code comes in here as well, and none ever leaves.
PUBLISHED = frozenset(
    re.findall(
        "[A-Z_]+",
        """
REQUEST_INVALID REQUEST_ID_REUSED REQUEST_NOT_FOUND MINT_NOT_WHITELISTED AMOUNT_ABOVE_LIMIT BALANCE_INSUFFICIENT PRICE_MOVED
FEE_ACCOUNT_INVALID TRADES_IN_FLIGHT_EXCEEDED TRADING_HALTED EXECUTOR_DRAINING CHAIN_STATE_STALE JUPITER_UNREACHABLE
JUPITER_RATE_LIMITED JUPITER_UNAUTHORIZED JUPITER_REFUSED JUPITER_ANSWER_INVALID ROUTE_NOT_FOUND TOKEN_NOT_TRADABLE
NODE_UNREACHABLE NODE_RATE_LIMITED NODE_UNAUTHORIZED NODE_REFUSED NODE_UNHEALTHY NODE_ANSWER_INVALID TRANSACTION_FOREIGN
TRANSACTION_TOO_LARGE SIMULATION_FAILED SIMULATION_DISAGREES SLIPPAGE_EXCEEDED FUNDS_INSUFFICIENT PRE_SEND_BUDGET_EXCEEDED
SWAP_REVERTED TRANSACTION_EXPIRED CONFIRMATION_TIMEOUT INTERNAL_ERROR JOURNAL_UNAVAILABLE RATE_EXCEEDED DAILY_LIMIT_EXCEEDED
EXECUTOR_RESTARTED
""",
    )
)


def test_no_published_code_was_removed_or_renamed() -> None:
    """Codes are append-only."""
    assert {code.name for code in ErrorCode} >= PUBLISHED


def test_codes_are_category_and_condition() -> None:
    """A code is at least two words in capitals, and short enough for a column."""
    for code in ErrorCode:
        assert re.fullmatch("[A-Z]+(_[A-Z]+)+", code.name)
        assert len(code.name) <= 50


def test_each_code_means_one_thing() -> None:
    """No two codes share their facts: one of them would silently become an alias of the other."""
    assert len({code.facts.meaning for code in ErrorCode}) == len(ErrorCode.__members__)
    assert len({code.facts for code in ErrorCode}) == len(ErrorCode.__members__)


@pytest.mark.parametrize("code", ErrorCode)
def test_facts_agree_with_the_status(code: ErrorCode) -> None:
    """What the caller did wrong does not mend itself by repetition; what the daemon lacks for a while does."""
    facts = code.facts
    assert re.fullmatch(r"[a-zA-Z].*[^.]", facts.meaning)
    if facts.reply_status in (ReplyStatus.INVALID_ARGUMENT, ReplyStatus.ALREADY_EXISTS, ReplyStatus.NOT_FOUND):
        assert not facts.retryable
    if facts.reply_status in (ReplyStatus.RESOURCE_EXHAUSTED, ReplyStatus.UNAVAILABLE):
        assert facts.retryable


@pytest.mark.parametrize("code", ErrorCode)
def test_whoever_gets_a_code_is_told_what_to_do(code: ErrorCode) -> None:
    """Cause, what the daemon does and what to do: whole sentences, that fit into a terminal, on every code."""
    facts = code.facts
    for words in (facts.cause, facts.reaction, facts.advice):
        assert re.fullmatch(r"[A-Za-z].*\.", words)
        assert len(words) < 300
    assert len({facts.cause, facts.reaction, facts.advice}) == 3


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_says_how_it_is_answered(code: ErrorCode) -> None:
    """As an error status or in a result; a retryable one is never PENDING: what may still land is not asked for again."""
    facts = code.facts
    assert facts.reply_status is not None or facts.results
    assert set(facts.results) <= {"FAILED", "PENDING"}
    assert not (facts.retryable and "PENDING" in facts.results)


def test_an_unknown_outcome_is_not_to_be_tried_again() -> None:
    """A caller that repeats what may still land would trade twice."""
    assert not ErrorCode.CONFIRMATION_TIMEOUT.facts.retryable
    assert ErrorCode.CONFIRMATION_TIMEOUT.facts.reply_status is None
    assert not ErrorCode.INTERNAL_ERROR.facts.retryable


def test_a_reply_status_is_its_name() -> None:
    """The value of a status is what gRPC calls it."""
    assert all(status.value == status.name for status in ReplyStatus)


@pytest.mark.parametrize("kind", [Denied, Rejected, Expired])
def test_a_trade_error_carries_code_message_and_figures(kind: type[TradeError]) -> None:
    """Every way in which a trade ends without a swap has a code, a sentence and figures that nobody changes."""
    error = kind(ErrorCode.PRICE_MOVED, "the price moved", quoted=1, wanted=2)
    assert isinstance(error, ExecutorError)
    assert (error.code, error.message, str(error)) == (ErrorCode.PRICE_MOVED, "the price moved", "the price moved")
    assert dict(error.context) == {"quoted": 1, "wanted": 2}
    with pytest.raises(TypeError):
        error.context["quoted"] = 3  # type: ignore[index]  # refused at run time as well


def test_more_can_be_said_of_a_trade_error() -> None:
    """Words and figures are added to those that it has."""
    error = Rejected(ErrorCode.SLIPPAGE_EXCEEDED, "the price moved", bps=3)
    error.add(", three times", offers=3)
    assert (error.message, str(error)) == ("the price moved, three times",) * 2
    assert dict(error.context) == {"bps": 3, "offers": 3}
    with pytest.raises(TypeError):
        error.context["bps"] = 4  # type: ignore[index]  # refused at run time as well


def test_an_invalid_request_names_every_field() -> None:
    """All wrong fields stand in the error, each with what is wrong."""
    error = InvalidRequest([FieldProblem("input_mint", "is empty"), FieldProblem("amount_lamports", "is 0")])
    assert isinstance(error, Denied)
    assert error.code is ErrorCode.REQUEST_INVALID
    assert [problem.field for problem in error.problems] == ["input_mint", "amount_lamports"]
    assert "input_mint: is empty; amount_lamports: is 0" in str(error)


def test_a_config_error_lists_its_problems() -> None:
    """Each problem is a line of the message."""
    error = ConfigError(["one", "two"])
    assert isinstance(error, ExecutorError)
    assert error.problems == ("one", "two")
    assert str(error) == "one\ntwo"

"""What callers note: answers as the checker reads them, and what has to be asked again."""

import pytest
from attrs import evolve

from executor.rpc import trade_executor_pb2 as pb
from tests.chaos.checker import Request, Swap, Told, Word
from tests.crash.book import Book
from tests.crash.plan import Planned
from tests.support.callers import Refused
from tests.support.localnet import mint

PLANNED = Planned(request_id="a", source="SOL", target="USDC", amount=5)
LOST = Refused(status="UNAVAILABLE", message="Connection reset")
HALTED = Refused(status="UNAVAILABLE", message="", reason="TRADING_HALTED")
DENIED = Refused(status="FAILED_PRECONDITION", message="", reason="PRICE_MOVED")
PENDING = pb.TradeResult(status=pb.TRADE_STATUS_PENDING, transaction_signature="s", error_code="CONFIRMATION_TIMEOUT")
SUCCESS = pb.TradeResult(
    status=pb.TRADE_STATUS_SUCCESS, transaction_signature="s", executed_amount=1, input_amount=2, fees_paid=3, slot=4
)
FAILED = pb.TradeResult(status=pb.TRADE_STATUS_FAILED, error_code="ROUTE_NOT_FOUND")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (LOST, Told(word=Word.NOTHING, code="UNAVAILABLE")),
        (HALTED, Told(word=Word.REFUSED, code="TRADING_HALTED")),
        (Refused(status="INTERNAL", message=""), Told(word=Word.REFUSED, code="INTERNAL")),
        (PENDING, Told(word=Word.PENDING, signature="s", code="CONFIRMATION_TIMEOUT")),
        (
            SUCCESS,
            Told(word=Word.SUCCESS, signature="s", executed_amount=1, input_amount=2, fees_paid_lamports=3, slot=4),
        ),
        (FAILED, Told(word=Word.FAILED, code="ROUTE_NOT_FOUND")),
    ],
)
def test_an_answer_is_noted_as_what_it_says(answer: pb.TradeResult | Refused, told: Told) -> None:
    """A connection that was lost says nothing; any other error status is a word, also without a reason of the daemon's."""
    book = Book()
    book.open(PLANNED)
    book.note("a", answer, asked_after=0)

    (request,) = book.requests()
    swap = Swap(input_mint=mint("SOL"), output_mint=mint("USDC"), in_amount=5)
    assert request == Request(request_id="a", swap=swap, told=(evolve(told, asked_after=0),))


@pytest.mark.parametrize(
    ("answers", "settled"),
    [
        ([], False),
        ([LOST], False),
        ([HALTED], False),
        ([PENDING], False),
        ([DENIED], True),
        ([FAILED], True),
        ([SUCCESS, LOST], True),
        ([PENDING, SUCCESS], True),
        ([DENIED, PENDING], False),
    ],
)
def test_what_is_not_known_is_asked_again(answers: list[pb.TradeResult | Refused], settled: bool) -> None:
    """A caller goes by the last word that it was told."""
    book = Book()
    book.open(PLANNED)
    for answer in answers:
        book.note("a", answer, asked_after=book.answers("a"))

    assert (book.unsettled() == []) is settled


def test_the_newest_final_answers_are_looked_up_again() -> None:
    """No others: what was refused or is pending may change."""
    book = Book()
    for request_id, answer in (("a", SUCCESS), ("b", DENIED), ("c", FAILED), ("d", PENDING), ("e", SUCCESS)):
        book.open(evolve(PLANNED, request_id=request_id))
        book.note(request_id, answer, asked_after=0)

    assert [planned.request_id for planned in book.last_final(2)] == ["c", "e"]
    assert [planned.request_id for planned in book.last_final(9)] == ["a", "c", "e"]
    assert [planned.request_id for planned in book.last_refused(9)] == ["b"]

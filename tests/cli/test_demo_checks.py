"""How the demo judges: a result against the chain and the plan, the wallet against all results, and the sum of it."""

from typing import Any

import pytest
from attrs import evolve

from executor.cli.demo.cases import Case
from executor.cli.demo.chain import Holdings
from executor.cli.demo.movement import WRAPPED_SOL
from executor.cli.demo.summary import summarise
from executor.cli.demo.trades import Trade
from executor.cli.demo.wallet_check import unexplained
from executor.rpc import trade_executor_pb2 as pb
from tests.cli.demo_values import MOVED, RENT, SWAP, planned_case, refused, success, trade

NOTHING_COUNTED = pb.OutcomeCounts()


# --- one trade ----------------------------------------------------------------------------------------------------------------


def test_a_true_result_is_neither_a_mismatch_nor_a_surprise() -> None:
    """A success that the chain confirms to the unit."""
    assert (trade().mismatches(), trade().surprises()) == ([], [])


@pytest.mark.parametrize("field", ["executed_amount", "input_amount", "fees_paid", "priority_fee", "rent_lamports"])
def test_a_figure_that_is_one_unit_off_is_a_mismatch(field: str) -> None:
    """Every reported amount is held against the chain, and one unit is enough."""
    told = success()
    off = success(**{field: getattr(told, field) + 1})
    assert [text.partition(":")[0] for text in trade(off).mismatches()] == [field]


def test_movements_besides_the_swap_are_a_mismatch() -> None:
    """What leaves in a token that was not asked for shows, even when both sides of the swap are right."""
    assert trade(movement=evolve(MOVED, tokens={**MOVED.tokens, "bonk": -1})).mismatches() == [
        "other tokens: reported 0, on chain 1"
    ]


def test_a_tip_is_part_of_the_fees_and_not_of_the_swap() -> None:
    """It leaves as lamports like the SOL leg does, but is no network fee in the transaction's metadata."""
    tipped = evolve(MOVED, sol_lamports=MOVED.sol_lamports - 1_000)
    assert trade(success(fees_paid=8_500, tip_lamports=1_000), tipped).mismatches() == []
    assert len(trade(success(), tipped).mismatches()) == 1


@pytest.mark.parametrize(
    ("changed", "moved", "words"),
    [
        ({"request_id": "another"}, {}, "another request"),
        ({"input_amount": 1}, {}, "another amount"),
        ({"slot": 78}, {}, "slot"),
        ({}, {"failed": True}, "failed on chain"),
    ],
)
def test_a_success_that_is_not_what_was_asked_for_is_a_surprise(
    changed: dict[str, Any], moved: dict[str, Any], words: str
) -> None:
    """Its status alone is not believed."""
    (surprise,) = trade(success(**changed), evolve(MOVED, **moved)).surprises()
    assert words in surprise


def test_a_success_without_a_transaction_is_a_surprise() -> None:
    """Nothing can be checked then, so nothing is taken for true."""
    assert len(trade(movement=None).surprises()) == 1


def test_another_end_than_the_planned_one_is_a_surprise_in_the_daemons_words() -> None:
    """Whoever reads it learns what was expected, what came and why."""
    failed = success(status=pb.TRADE_STATUS_FAILED, error_code="SLIPPAGE_EXCEEDED", error_message="moved", slot=0)
    assert trade(failed, movement=None).surprises() == ["should have ended as SUCCESS, ended as FAILED SLIPPAGE_EXCEEDED: moved"]
    assert refused(SWAP, code="TRADING_HALTED", message="halted").surprises() == [
        "should have ended as SUCCESS, ended as FAILED_PRECONDITION TRADING_HALTED: halted"
    ]


@pytest.mark.parametrize("case", [case for case in Case if case.facts.expected.status == "FAILED_PRECONDITION"])
def test_a_refusal_has_to_have_the_planned_code(case: Case) -> None:
    """The right status for another reason is no success of the demo."""
    planned = planned_case(case, 1)
    assert refused(planned, code=case.facts.expected.code).surprises() == []
    assert len(refused(planned, code="REQUEST_INVALID").surprises()) == 1


def test_a_stale_quote_must_not_have_been_sent() -> None:
    """A failure with a signature would have cost a fee."""
    planned = planned_case(Case.STALE_QUOTE, 1)
    stopped = pb.TradeResult(request_id="demo-001", status=pb.TRADE_STATUS_FAILED, error_code="SLIPPAGE_EXCEEDED")
    assert trade(stopped, None, planned).surprises() == []
    stopped.transaction_signature = "5ig"
    assert len(trade(stopped, None, planned).surprises()) == 1


def test_a_trade_without_an_answer_has_no_status() -> None:
    """It compares as unequal to every expectation."""
    silent = Trade(planned=SWAP, began_seconds=0, ended_seconds=1)
    assert (silent.status, silent.code, silent.message) == ("", "", "")
    assert len(silent.surprises()) == 1


# --- the wallet ---------------------------------------------------------------------------------------------------------------

BEFORE = Holdings(lamports=10**12, in_accounts_lamports=RENT, tokens={"usdc": 50})


def after(**changed: Any) -> Holdings:
    """BEFORE, when SWAP has made an account."""
    values = {
        "lamports": 10**12 - 250_000_000 - 7_500 - RENT,
        "in_accounts_lamports": 2 * RENT,
        "tokens": {"usdc": 50 + 30_540_104},
    }
    return Holdings(**{**values, **changed})


def test_a_wallet_that_shows_what_the_results_say_is_explained() -> None:
    """Input, output, fee and rent account for everything; a refusal for nothing."""
    assert unexplained(BEFORE, after(), [trade(success(rent_lamports=RENT)), refused(SWAP)]) == []


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"lamports": after().lamports + 1}, "SOL"),
        ({"tokens": {"usdc": 50 + 30_540_105}}, "usdc"),
        ({"tokens": {**after().tokens, "gift": 1}}, "gift"),
    ],
)
def test_one_unit_that_no_result_explains_is_found(changed: dict[str, Any], name: str) -> None:
    """In SOL, in a traded token, and in one that nobody traded."""
    (difference,) = unexplained(BEFORE, after(**changed), [trade(success(rent_lamports=RENT))])
    assert difference.startswith(name)


def test_rent_that_was_not_reported_is_found() -> None:
    """Rent moves between the wallet and its own accounts, so only the accounts show it."""
    (difference,) = unexplained(BEFORE, after(), [trade()])
    assert difference == f"rent, in lamports: the wallet says {RENT:+}, the results say +0"


def test_a_result_without_a_movement_is_found() -> None:
    """A daemon that reports a swap which never was is caught by the wallet."""
    assert [text.partition(":")[0] for text in unexplained(BEFORE, BEFORE, [trade()])] == ["SOL, in lamports", "usdc"]


def test_wrapped_sol_is_sol() -> None:
    """Wrapping changes neither the sum nor the rent, and unwrapping neither."""
    wrapped = evolve(
        BEFORE, lamports=BEFORE.lamports - 900, in_accounts_lamports=RENT + 900, tokens={**BEFORE.tokens, WRAPPED_SOL: 900}
    )
    assert unexplained(BEFORE, wrapped, []) == unexplained(wrapped, BEFORE, []) == []


# --- the sum ------------------------------------------------------------------------------------------------------------------


def test_the_summary_counts_trades_by_how_they_ended() -> None:
    """Each trade is in one count; latencies are of those that were sent."""
    failed = pb.TradeResult(request_id="demo-001", status=pb.TRADE_STATUS_FAILED, error_code="SLIPPAGE_EXCEEDED")
    pending = success(
        status=pb.TRADE_STATUS_PENDING, error_code="CONFIRMATION_TIMEOUT", slot=0, fees_paid=0, broadcast_time_us=9_000
    )
    trades = [
        trade(),
        trade(success(executed_amount=1)),
        trade(failed, None, planned_case(Case.STALE_QUOTE, 1)),
        trade(pending, None),
        refused(planned_case(Case.OVERSIZED, 1), code="AMOUNT_ABOVE_LIMIT"),
    ]
    counted = pb.OutcomeCounts(success=2, failed=1, pending=1, refused=1)
    summary = summarise(trades, wallet_unexplained=[], counted=counted)
    assert (summary.trades, summary.success, summary.failed, summary.pending, summary.refused) == (5, 2, 1, 1, 1)
    assert (summary.amount_mismatches, summary.fees_lamports) == (1, 15_000)
    assert (summary.p50_broadcast_ms, summary.p99_broadcast_ms, summary.p50_confirmation_ms) == (32.5, 32.5, 414)
    assert len(summary.problems) == 2  # the amount, and that one is pending


def test_the_summary_names_every_problem() -> None:
    """Of the wallet, and where the daemon has counted otherwise than its caller."""
    summary = summarise([trade()], wallet_unexplained=["usdc: 1 too many"], counted=NOTHING_COUNTED)
    assert summary.problems == ("wallet, usdc: 1 too many", "the daemon counts 0 SUCCESS, its caller 1")


def test_a_summary_of_nothing_is_zero() -> None:
    """No division by the number of trades."""
    summary = summarise([], wallet_unexplained=[], counted=NOTHING_COUNTED)
    assert (summary.trades, summary.p99_broadcast_ms, summary.seconds, summary.problems) == (0, 0.0, 0.0, ())


def test_a_summary_s_percentiles_are_values_that_were_measured() -> None:
    """In milliseconds, the middle one and the slowest, whatever the order of the trades."""
    trades = [trade(success(broadcast_time_us=us, confirmation_time_ms=ms)) for us, ms in ((3_500, 30), (1_500, 10), (2_500, 20))]
    summary = summarise(trades, wallet_unexplained=[], counted=NOTHING_COUNTED)

    assert (summary.p50_broadcast_ms, summary.p99_broadcast_ms) == (2.5, 3.5)
    assert (summary.p50_confirmation_ms, summary.p99_confirmation_ms) == (20, 30)

"""The checker finds each kind of lie: a history that is sound in everything, with one thing wrong."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from attrs import evolve

from executor.states import MOVES as MOVES_OF_THE_DAEMON
from executor.states import TERMINAL, State
from tests.chaos.checker import MOVES, WORD_OF_STATE, Kind, Landing, Request, Row, Swap, Told, Verdict, Word, check

SWAP = Swap(input_mint="SOL", output_mint="USDC", in_amount=1_000)
OTHER = evolve(SWAP, in_amount=2_000)
EQUAL = evolve(SWAP, in_amount=3_000)
FEE = 6_000


def landed(signature: str, swap: Swap | None = SWAP, *, slot: int = 70, failed: bool = False) -> Landing:
    """A swap that stands on the chain; a failed one moved nothing but its fee."""
    left = 0 if failed or swap is None else swap.in_amount
    return Landing(signature=signature, slot=slot, failed=failed, swap=swap, left=left, arrived=left // 10, fee_lamports=FEE)


def success(signature: str, swap: Swap = SWAP, **changes: Any) -> Told:
    """What the caller of a swap that landed is told."""
    fields: dict[str, Any] = {
        "signature": signature,
        "input_amount": swap.in_amount,
        "executed_amount": swap.in_amount // 10,
        "fees_paid_lamports": FEE,
        "slot": 70,
    }
    return Told(word=Word.SUCCESS, **{**fields, **changes})


def failed(signature: str | None = None, **changes: Any) -> Told:
    """What the caller of a trade that moved nothing is told."""
    return Told(word=Word.FAILED, signature=signature, **changes)


REVERTED = failed("r", fees_paid_lamports=FEE, slot=70)
PENDING = Told(word=Word.PENDING, signature="a")
REFUSED = Told(word=Word.REFUSED, code="INSUFFICIENT_BALANCE")


def journal(request_id: str, *states: str, signature: str = "a", outcome: Told | None = None) -> list[Row]:
    """The rows of one request. Their numbers do not matter between requests."""
    rows = []
    for seq, state in enumerate(states):
        body: dict[str, Any] = {}
        if outcome is not None and state in WORD_OF_STATE and state != "DENIED":
            body = {
                "outcome": {
                    "status": outcome.word.value,
                    "signature": outcome.signature,
                    "executed_amount": outcome.executed_amount,
                    "input_amount": outcome.input_amount,
                    "fees_paid_lamports": outcome.fees_paid_lamports,
                    "slot": outcome.slot,
                }
            }
        held = signature if state == "SIGNED" else None
        rows.append(Row(seq=seq, request_id=request_id, state=state, at_unix_ns=seq, signature=held, body=json.dumps(body)))
    return rows


SENT = ("ACCEPTED", "SIGNED", "SENT")


def succeeded(request_id: str, told: Told) -> list[Row]:
    """The rows of a trade that landed."""
    return journal(request_id, *SENT, "SUCCEEDED", signature=told.signature or "", outcome=told)


def judged(*told: Told, rows: Sequence[Row], landings: Sequence[Landing] = (), swap: Swap = SWAP) -> Verdict:
    """A history of one request, called one."""
    return check(requests=[Request(request_id="one", swap=swap, told=told)], rows=rows, landings=landings)


def kinds(verdict: Verdict) -> set[Kind]:
    """What was found."""
    return {violation.kind for violation in verdict.violations}


GOOD = success("a")
ROWS = succeeded("one", GOOD)
CHAIN = [landed("a")]
NOT_SENT = journal("one", "ACCEPTED", "REJECTED", outcome=failed())
EXPIRED = journal("one", *SENT, "EXPIRED", outcome=failed("a"))


# --- sound histories ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "rows", "landings"),
    [
        ((GOOD,), ROWS, CHAIN),
        ((Told(word=Word.NOTHING), PENDING, GOOD, GOOD), ROWS, CHAIN),
        ((GOOD, evolve(PENDING, asked_after=0)), ROWS, CHAIN),
        ((GOOD, Told(word=Word.REFUSED, code="JOURNAL_UNAVAILABLE")), ROWS, CHAIN),
        ((Told(word=Word.NOTHING),), [], []),
        ((REFUSED,), [], []),
        ((REFUSED,), journal("one", "ACCEPTED", "DENIED"), []),
        ((REFUSED, GOOD), [*journal("one", "ACCEPTED", "DENIED"), *(evolve(row, seq=row.seq + 9) for row in ROWS)], CHAIN),
        ((failed(), failed(code="PRICE")), NOT_SENT, []),
        ((PENDING, failed("a")), EXPIRED, []),
        ((REVERTED,), journal("one", *SENT, "REVERTED", signature="r", outcome=REVERTED), [landed("r", failed=True)]),
        ((GOOD,), succeeded("one", GOOD)[:2] + succeeded("one", GOOD)[3:], CHAIN),
    ],
)
def test_a_sound_history_is_found_sound(told: tuple[Told, ...], rows: list[Row], landings: list[Landing]) -> None:
    """Whatever may happen to a trade that is kept to its promises is no violation."""
    verdict = judged(*told, rows=rows, landings=landings)

    assert verdict.violations == ()
    assert verdict.sound
    assert verdict.counts() == dict.fromkeys(Kind, 0)


def test_what_was_seen_is_counted() -> None:
    """Trades are those that the journal knows; the others never were one."""
    other = success("b", OTHER)
    verdict = check(
        requests=[
            Request(request_id="one", swap=SWAP, told=(GOOD,)),
            Request(request_id="two", swap=OTHER, told=(other,)),
            Request(request_id="three", swap=EQUAL, told=(REFUSED,)),
        ],
        rows=[*ROWS, *succeeded("two", other)],
        landings=[*CHAIN, landed("b", OTHER)],
    )

    assert (verdict.trades, verdict.succeeded, verdict.landed, verdict.violations) == (2, 2, 2, ())


# --- duplicates ---------------------------------------------------------------------------------------------------------------


def test_a_request_that_landed_twice_is_a_duplicate() -> None:
    """Whether the journal knows the second signature does not matter: the swap itself tells whose it is."""
    verdict = judged(GOOD, rows=ROWS, landings=[*CHAIN, landed("b", slot=71)])

    assert verdict.count(Kind.DUPLICATE) == 1
    assert any("one" in str(violation) and "b" in str(violation) for violation in verdict.violations)


def test_a_swap_after_a_revert_is_a_duplicate() -> None:
    """A request that was reverted has its outcome; another signature for it is one too many."""
    verdict = judged(GOOD, rows=ROWS, landings=[landed("z", failed=True, slot=60), *CHAIN])

    assert verdict.count(Kind.DUPLICATE) == 1


@pytest.mark.parametrize("swap", [OTHER, None])
def test_a_transaction_that_nobody_asked_for_is_a_duplicate(swap: Swap | None) -> None:
    """Every transaction of the wallet is explained by a request."""
    verdict = judged(GOOD, rows=ROWS, landings=[*CHAIN, landed("b", swap)])

    assert kinds(verdict) == {Kind.DUPLICATE}


# --- lost ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("states", [("ACCEPTED",), ("ACCEPTED", "SIGNED"), SENT])
def test_an_accepted_request_without_an_outcome_is_lost(states: tuple[str, ...]) -> None:
    """However far it came."""
    assert kinds(judged(PENDING, rows=journal("one", *states))) == {Kind.LOST}


def test_a_second_life_without_an_outcome_is_lost() -> None:
    """What counts is the last life."""
    assert kinds(judged(REFUSED, rows=journal("one", "ACCEPTED", "DENIED", "ACCEPTED"))) == {Kind.LOST}


@pytest.mark.parametrize("told", [PENDING, failed()])
def test_a_result_that_the_journal_does_not_hold_is_lost(told: Told) -> None:
    """Whoever was told of a transaction or an outcome finds it again."""
    assert kinds(judged(told, rows=[])) == {Kind.LOST}


def test_a_landed_transaction_that_the_journal_does_not_know_is_lost() -> None:
    """Nothing leaves before it is durable."""
    told = success("b")

    assert kinds(judged(told, rows=journal("one", *SENT, "SUCCEEDED", outcome=told), landings=[landed("b")])) == {Kind.LOST}


# --- false words --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("states", [(*SENT, "EXPIRED"), (*SENT, "REVERTED"), (*SENT[:-1], "REJECTED")])
def test_a_failure_whose_swap_landed_is_found_in_the_journal(states: Sequence[str]) -> None:
    """Also when no caller was told so."""
    assert kinds(judged(rows=journal("one", *states, outcome=failed("a")), landings=CHAIN)) == {Kind.FALSE_FAILED}


def test_a_failure_whose_swap_landed_is_found_in_an_answer() -> None:
    """Also when the journal found the truth afterwards; then the answers contradict each other, too."""
    verdict = judged(failed("a"), GOOD, rows=ROWS, landings=CHAIN)

    assert kinds(verdict) == {Kind.FALSE_FAILED, Kind.CONTRADICTION}


def test_a_refusal_whose_swap_landed_is_a_false_failure() -> None:
    """The caller would trade again."""
    assert kinds(judged(REFUSED, rows=ROWS, landings=CHAIN)) == {Kind.FALSE_FAILED}


def test_a_success_that_did_not_land_is_false() -> None:
    """In the answer, and in the journal."""
    assert kinds(judged(GOOD, rows=ROWS)) == {Kind.FALSE_SUCCESS}
    assert kinds(judged(rows=ROWS)) == {Kind.FALSE_SUCCESS}


def test_a_success_that_reverted_is_false() -> None:
    """Its fee is all that was paid."""
    assert kinds(judged(GOOD, rows=ROWS, landings=[landed("a", failed=True)])) == {Kind.FALSE_SUCCESS}


def test_a_success_of_another_swap_is_false() -> None:
    """The signature stands on the chain, and swaps something else than was asked for."""
    assert Kind.FALSE_SUCCESS in kinds(judged(GOOD, rows=ROWS, landings=[landed("a", OTHER)]))


# --- amounts ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["executed_amount", "input_amount", "fees_paid_lamports", "slot"])
def test_a_figure_that_is_not_the_chains_is_found(field: str) -> None:
    """In the answer, and in the journal, by one."""
    wrong = evolve(GOOD, **{field: getattr(GOOD, field) + 1})

    assert kinds(judged(wrong, rows=ROWS, landings=CHAIN)) == {Kind.AMOUNT_MISMATCH}
    assert kinds(judged(rows=succeeded("one", wrong), landings=CHAIN)) == {Kind.AMOUNT_MISMATCH}


@pytest.mark.parametrize("field", ["fees_paid_lamports", "slot"])
def test_a_figure_of_a_revert_that_is_not_the_chains_is_found(field: str) -> None:
    """What was paid for nothing is told as well."""
    wrong = evolve(REVERTED, **{field: getattr(REVERTED, field) + 1})
    rows = journal("one", *SENT, "REVERTED", signature="r", outcome=REVERTED)

    assert kinds(judged(wrong, rows=rows, landings=[landed("r", failed=True)])) == {Kind.AMOUNT_MISMATCH}


def test_an_expiry_that_cost_a_fee_is_found() -> None:
    """It landed after all, and reverted: no swap, but the fee is paid."""
    assert kinds(judged(rows=EXPIRED, landings=[landed("a", failed=True)])) == {Kind.AMOUNT_MISMATCH}


def test_a_revert_that_never_landed_is_found() -> None:
    """A fee is told that nobody paid."""
    rows = journal("one", *SENT, "REVERTED", signature="r", outcome=REVERTED)

    assert kinds(judged(REVERTED, rows=rows)) == {Kind.AMOUNT_MISMATCH}


# --- contradictions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("later", [PENDING, REFUSED, evolve(PENDING, asked_after=1)])
def test_a_success_that_is_taken_back_is_a_contradiction(later: Told) -> None:
    """A final word stands for ever. A refusal as the last word denies the swap besides."""
    assert Kind.CONTRADICTION in kinds(judged(GOOD, later, rows=ROWS, landings=CHAIN))


def test_two_failures_with_different_signatures_contradict_each_other() -> None:
    """One request, one transaction."""
    assert kinds(judged(failed(), failed("a"), rows=EXPIRED)) == {Kind.CONTRADICTION}


def test_an_answer_that_is_not_the_journals_is_a_contradiction() -> None:
    """Whoever asks again after a restart is told from the journal."""
    assert kinds(judged(failed(), rows=journal("one", "ACCEPTED", "DENIED"))) == {Kind.CONTRADICTION}


def test_a_state_and_an_outcome_that_differ_are_a_contradiction() -> None:
    """Within one row of the journal."""
    assert Kind.CONTRADICTION in kinds(judged(rows=journal("one", *SENT, "REVERTED", outcome=GOOD), landings=CHAIN))


# --- moves --------------------------------------------------------------------------------------------------------------------


def test_the_table_is_the_daemons() -> None:
    """The copy is literal so that a wrong change there is noticed here; what it adds are the first move and the next life."""
    copied = {state: set(MOVES[state.value]) for state in State}
    daemon = {state: {following.value for following in ways} for state, ways in MOVES_OF_THE_DAEMON.items()}

    assert copied == {**daemon, State.DENIED: {"ACCEPTED"}}
    assert set(WORD_OF_STATE) == {state.value for state in TERMINAL}


@pytest.mark.parametrize(
    "rows",
    [
        journal("one", "SIGNED", "SENT", "SUCCEEDED", outcome=GOOD),
        [*ROWS, evolve(ROWS[-1], seq=9)],
        journal("one", "ACCEPTED", "SIGNED", "SIGNED", "SENT", "SUCCEEDED", outcome=GOOD),
        journal("one", "ACCEPTED", "SIGNED", "DREAMT", "SENT", "SUCCEEDED", outcome=GOOD),
    ],
)
def test_a_move_that_the_table_does_not_know_is_found(rows: list[Row]) -> None:
    """Without ACCEPTED, after the end, signed twice, or by a state that nobody knows."""
    assert kinds(judged(GOOD, rows=rows, landings=CHAIN)) == {Kind.ILLEGAL_MOVE}


def test_a_signed_row_without_a_signature_is_found() -> None:
    """A restart could not look it up."""
    rows = [evolve(row, signature=None) for row in EXPIRED]

    assert kinds(judged(rows=rows)) == {Kind.ILLEGAL_MOVE}


def test_a_request_that_nobody_made_is_found() -> None:
    """The journal is about what was asked for."""
    assert kinds(judged(GOOD, rows=[*ROWS, *journal("two", "ACCEPTED", "DENIED")], landings=CHAIN)) == {Kind.ILLEGAL_MOVE}


# --- equal requests -----------------------------------------------------------------------------------------------------------

TWO = (success("a", EQUAL), success("b", EQUAL))
TWO_ROWS = [*succeeded("one", TWO[0]), *succeeded("two", TWO[1])]
TWO_LANDINGS = [landed("a", EQUAL), landed("b", EQUAL)]


def judged_group(*told: Told, rows: Sequence[Row], landings: Sequence[Landing]) -> Verdict:
    """Two equal requests, called one and two, with one answer each."""
    requests = [Request(request_id=name, swap=EQUAL, told=(word,)) for name, word in zip(("one", "two"), told, strict=True)]
    return check(requests=requests, rows=rows, landings=landings)


def test_equal_requests_that_landed_once_each_are_sound() -> None:
    """As many swaps as successes; one of them may as well have failed."""
    one_expired = [*succeeded("one", TWO[0]), *journal("two", *SENT, "EXPIRED", signature="b", outcome=failed("b"))]

    assert judged_group(*TWO, rows=TWO_ROWS, landings=TWO_LANDINGS).sound
    assert judged_group(TWO[0], failed("b"), rows=one_expired, landings=TWO_LANDINGS[:1]).sound


def test_equal_requests_that_share_a_signature_are_found() -> None:
    """One swap for two successes, although each of them stands on the chain."""
    rows = [*succeeded("one", TWO[0]), *succeeded("two", TWO[0])]
    verdict = judged_group(TWO[0], TWO[0], rows=rows, landings=TWO_LANDINGS[:1])

    assert kinds(verdict) == {Kind.FALSE_SUCCESS, Kind.ILLEGAL_MOVE}
    assert verdict.count(Kind.FALSE_SUCCESS) == 1


def test_a_swap_too_many_in_a_group_is_a_duplicate() -> None:
    """Three swaps for two successes; nobody knows the third one's signature."""
    verdict = judged_group(*TWO, rows=TWO_ROWS, landings=[*TWO_LANDINGS, landed("c", EQUAL)])

    assert kinds(verdict) == {Kind.DUPLICATE, Kind.LOST}
    assert verdict.count(Kind.DUPLICATE) == 1


def test_a_false_failure_in_a_group_is_no_duplicate() -> None:
    """Two swaps for one success: the other one was told as FAILED with its own signature."""
    rows = [*succeeded("one", TWO[0]), *journal("two", *SENT, "EXPIRED", signature="b", outcome=failed("b"))]
    verdict = judged_group(TWO[0], failed("b"), rows=rows, landings=TWO_LANDINGS)

    assert kinds(verdict) == {Kind.FALSE_FAILED}


def test_a_member_of_a_group_that_landed_twice_is_found() -> None:
    """Two swaps under the signatures of one member, none for the other."""
    rows = [*succeeded("one", TWO[0]), *journal("two", "ACCEPTED", "REJECTED", outcome=failed())]
    told = Told(word=Word.PENDING, signature="b")
    requests = [
        Request(request_id="one", swap=EQUAL, told=(told, TWO[0])),
        Request(request_id="two", swap=EQUAL, told=(failed(),)),
    ]
    verdict = check(requests=requests, rows=rows, landings=TWO_LANDINGS)

    assert Kind.DUPLICATE in kinds(verdict)

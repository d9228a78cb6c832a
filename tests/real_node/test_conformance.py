"""That the localnet answers as a real validator, and that the comparison sees it where it does not."""

from pathlib import Path

import pytest
from solders.keypair import Keypair

from executor.cli.demo.children import Children
from executor.cli.demo.validator import Validator
from tests.real_node import normal
from tests.real_node.compare import ABSENT, compare, differences
from tests.real_node.conformance import check
from tests.real_node.differences import ACCEPTED, Accepted, as_markdown
from tests.real_node.normal import Normal
from tests.real_node.side import Answer, Json, Side

QUESTIONS = 590
RESULT = {"context": {"slot": 7, "apiVersion": "3.1.8"}, "value": {"blockhash": "abc", "lastValidBlockHeight": 9}}


@pytest.mark.slow
@pytest.mark.timeout(300)  # a validator that starts on a busy machine, too
def test_the_localnet_answers_as_a_validator(validator: Validator, validator_children: Children) -> None:
    """Every difference stands in the list with its reason, and everything in the list occurs."""
    outcome = check(validator_children, validator)
    assert [str(difference) for difference in outcome.unexplained] == []
    assert outcome.obsolete == ()
    assert outcome.questions >= QUESTIONS
    assert outcome.equal >= outcome.questions * 95 // 100


def side(**answers: Json) -> Side:
    """A side that has given these answers."""
    return Side("", Keypair(), answers={name: Answer(200, "application/json", body) for name, body in answers.items()})


def test_every_accepted_difference_has_a_reason() -> None:
    """A sentence, and no entry twice."""
    assert all(len(entry.reason.split()) > 4 for entry in ACCEPTED)
    assert len({(entry.question, entry.place) for entry in ACCEPTED}) == len(ACCEPTED)


def test_the_documentation_shows_the_list_and_the_normalisation() -> None:
    """Word for word; `python -m tests.real_node.conformance --list` prints what has to stand there."""
    page = (Path(__file__).parents[2] / "docs" / "localnet-conformance.md").read_text()
    assert as_markdown() in page
    assert normal.__doc__ is not None
    assert normal.__doc__.partition("\n\n")[2].strip() in page


def test_a_difference_that_is_not_listed_is_unexplained() -> None:
    """With the question, the place and both values."""
    outcome = compare(side(q={"a": [1, {"b": 2}]}), side(q={"a": [1, {"b": 3}]}), accepted=())
    (found,) = outcome.unexplained
    assert (found.question, found.place, found.localnet, found.validator) == ("q", "body.a.1.b", 2, 3)
    assert not outcome.holds


def test_a_difference_that_is_listed_is_accepted_and_an_entry_that_does_not_occur_is_not() -> None:
    """So that the list stays true."""
    listed, stale = Accepted("q", "body.*", "because"), Accepted("r*", "*", "because")
    outcome = compare(side(q={"a": 1}), side(q={"a": 2}), accepted=(listed, stale))
    assert (len(outcome.accepted), outcome.unexplained, outcome.obsolete) == (1, (), (stale,))
    assert not outcome.holds
    assert compare(side(q={"a": 1}), side(q={"a": 2}), accepted=(listed,)).holds


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {}, [("a", 1, ABSENT)]),
        ({"a": None}, {}, [("a", None, ABSENT)]),
        ([1, 2], [1], [("", [1, 2], [1])]),
        ([1], [True], [("0", 1, True)]),
        (1, 1.0, [("", 1, 1.0)]),
    ],
)
def test_values_differ_in_value_type_and_presence(ours: Json, theirs: Json, found: list[Json]) -> None:
    """1, 1.0 and true are three things; null is not absence."""
    assert list(differences(ours, theirs)) == found


def test_what_differs_between_any_two_clusters_is_made_equal() -> None:
    """Slots, blockhashes, names of signatures, units, statuses, programs' lamports, logs."""
    one = side(
        **{
            "getLatestBlockhash: x": {"result": RESULT},
            "getSlot: x": {"result": 5},
            "status": {"confirmationStatus": "finalized", "confirmations": None},
            "sig": "5ig",
            "meta": {
                "unitsConsumed": 7,
                "loadedAccountsDataSize": 8,
                "preBalances": [1, 2],
                "logs": ["Program log: Instruction: Transfer", "Program A consumed 1 of 2 compute units"],
            },
            "text": "InvalidCharacter { character: 'I', index: 3 }",
            "getRecentPrioritizationFees: x": {"result": [{"slot": 2, "prioritizationFee": 4}]},
        }
    )
    one.names["5ig"] = "<signature of it>"
    one.program_lamports = {2}
    reader = Normal(one)
    bodies = {name: reader.answer(name)["body"] for name in one.answers}
    assert bodies == {
        "getLatestBlockhash: x": {
            "result": {
                "context": {"slot": "<number>", "apiVersion": "3.1.8"},
                "value": {"blockhash": "<blockhash>", "lastValidBlockHeight": "<number>"},
            }
        },
        "getSlot: x": {"result": "<number>"},
        "status": {"confirmationStatus": "<landed>", "confirmations": "<landed>"},
        "sig": "<signature of it>",
        "meta": {
            "unitsConsumed": "<units>",
            "loadedAccountsDataSize": "<bytes>",
            "preBalances": [1, "<program lamports>"],
            "logs": ["Program A consumed <units> of <units> compute units"],
        },
        "text": "InvalidCharacter <somewhere>",
        "getRecentPrioritizationFees: x": {
            "result": {"members": ["prioritizationFee", "slot"], "in order": True, "at most 150": True, "most": 4}
        },
    }


def test_zero_units_and_processed_stay_what_they_are() -> None:
    """A transaction that did not run is not one that ran; one that may vanish is not one that has landed."""
    one = side(x={"unitsConsumed": 0, "loadedAccountsDataSize": 0, "confirmationStatus": "processed"})
    assert Normal(one).answer("x")["body"] == {"unitsConsumed": 0, "loadedAccountsDataSize": 0, "confirmationStatus": "processed"}

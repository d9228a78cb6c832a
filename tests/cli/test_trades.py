"""`executor trades`, on journals as the daemon writes them."""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve

from executor.cli import main
from executor.errors import Denied, ErrorCode
from executor.journal import records
from executor.journal.journal import Entry, SqliteJournal
from executor.model import Order, Outcome, OutcomeStatus
from executor.states import State
from tests.support.settings import Place
from tests.support.values import SOL, USDC, make_order, make_signed, make_simulated

Capture = pytest.CaptureFixture[str]
MINUTE_NS = 60 * 1_000_000_000
NOON_NS = 1_795_435_200 * 1_000_000_000
"""2026-11-23 12:00 UTC."""


def order(request_id: str, minute: int, *, source: str = "tests", from_usdc: bool = False) -> Order:
    """0.05 SOL for USDC, or 50 USDC for SOL, asked for so many minutes after noon."""
    tokens = (USDC, SOL) if from_usdc else (SOL, USDC)
    made = make_order(*tokens, request_id=request_id)
    request = evolve(made.request, source_service=source)
    return evolve(made, request=request, received_unix_ns=NOON_NS + minute * MINUTE_NS)


def signed(asked: Order) -> Entry:
    """Its signed entry, with a signature of its own."""
    transaction = evolve(make_signed(make_simulated()), order=asked)
    entry = records.signed(transaction, needs={}, at_unix_ns=asked.received_unix_ns + 1_500_000)
    return evolve(entry, signature=f"signature-of-{asked.request_id}")


def succeeded(asked: Order) -> list[Entry]:
    """A life that ended well."""
    outcome = Outcome(
        request_id=asked.request_id,
        status=OutcomeStatus.SUCCESS,
        signature=f"signature-of-{asked.request_id}",
        input_amount=50_000_000,
        executed_amount=6_100_000,
        executed_price=Fraction(122),
        signed_slippage_bps=-3,
        fees_paid_lamports=7_500,
        rent_lamports=2_039_280,
        slot=431,
        units_consumed=80_000,
    )
    ns = asked.received_unix_ns
    sent = records.sent(asked.request_id, at_unix_ns=ns + 2_000_000)
    end = records.ended(State.SUCCEEDED, outcome, at_unix_ns=ns + 900_000_000)
    return [records.accepted(asked), signed(asked), sent, end]


def denied(asked: Order) -> list[Entry]:
    """A life that ended before it was signed."""
    error = Denied(ErrorCode.BALANCE_INSUFFICIENT, "the wallet holds too little")
    return [
        records.accepted(asked),
        records.refused(State.DENIED, asked.request_id, error, at_unix_ns=asked.received_unix_ns + 1),
    ]


def old(asked: Order) -> Entry:
    """An acceptance without the tokens' facts."""
    entry = records.accepted(asked)
    return evolve(entry, body=json.dumps({"request": json.loads(entry.body)["request"]}))


LIVES = [
    *succeeded(order("good", 0)),
    *denied(order("poor", 1, source="bot")),
    *denied(order("twice", 2)),
    *[records.accepted(order("open", 3, source="bot", from_usdc=True)), signed(order("open", 3))],
    *succeeded(order("twice", 4)),
    old(order("old", 5)),
]
NEWEST_FIRST = ["old", "twice", "open", "poor", "good"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A configured folder."""
    place = Place(folder=tmp_path, nodes=("http://127.0.0.1:1",), jupiter="http://127.0.0.1:1")
    (tmp_path / "config.toml").write_text(place.config_text())
    return place


async def inline(commit: Callable[[], None]) -> None:  # noqa: ASYNC124 - what the journal asks for
    """Commit at once."""
    commit()


def write(place: Place, entries: Sequence[Entry], *, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Fill a journal, as the daemon does, and do something before it is closed."""

    async def append() -> None:
        with closing(SqliteJournal(place.journal_path, run_commit=inline)) as journal:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(journal.run)
                for entry in entries:
                    await journal.append(entry)
                meanwhile()
                nursery.cancel_scope.cancel()

    trio.run(append)


def trades(place: Place, *words: str) -> int:
    """Run the command."""
    return main(["trades", "--config", str(place.folder / "config.toml"), *words])


def ids(place: Place, capsys: Capture, *words: str) -> list[str]:
    """What it lists."""
    assert trades(place, "--json", *words) == 0
    return [json.loads(line)["request_id"] for line in capsys.readouterr().out.splitlines()]


def facts(place: Place, capsys: Capture, *words: str) -> list[dict[str, Any]]:
    """What it prints as JSON."""
    assert trades(place, "--json", *words) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


# --- the list ---


def test_the_list_is_newest_first_one_line_a_trade(place: Place, capsys: Capture) -> None:
    """With what was spent and received in whole tokens where that is known, and with the reason where there is none."""
    write(place, LIVES)
    assert trades(place) == 0
    head, *lines = capsys.readouterr().out.splitlines()

    assert head.split() == ["ACCEPTED", "STATE", "REQUEST", "SOURCE", "TRADE"]
    assert [" ".join(line.split()) for line in lines] == [
        f"2026-11-23 12:05:00 ACCEPTED old tests 50000000 raw of {SOL.mint} -> {USDC.mint}",
        "2026-11-23 12:04:00 SUCCEEDED twice tests 0.05 SOL -> 6.1 USDC",
        "2026-11-23 12:03:00 SIGNED open bot 50 USDC -> SOL",
        "2026-11-23 12:01:00 DENIED poor bot 0.05 SOL -> USDC BALANCE_INSUFFICIENT",
        "2026-11-23 12:00:00 SUCCEEDED good tests 0.05 SOL -> 6.1 USDC",
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], NEWEST_FIRST),
        (["--limit", "2"], ["old", "twice"]),
        (["--open"], ["old", "open"]),
        (["--open", "--since", "2026-11-23T12:04"], ["old"]),
        (["--state", "SUCCEEDED"], ["twice", "good"]),
        (["--state", "SUCCEEDED", "--state", "DENIED"], ["twice", "poor", "good"]),
        (["--source", "bot"], ["open", "poor"]),
        (["--since", "2026-11-23T12:03"], ["old", "twice", "open"]),
        (["--until", "2026-11-23T13:03+01:00"], ["poor", "good"]),
        (["--since", "2026-11-23T12:01", "--until", "2026-11-23T12:04:00.000001", "--state", "SUCCEEDED"], ["twice"]),
        (["--since", "2026-11-24"], []),
        (["--token", "USDC", "--state", "SIGNED"], ["open"]),
        (["--token", str(SOL.mint)], NEWEST_FIRST),
        (["--token", "BONK"], []),
    ],
)
def test_filters(words: list[str], expected: list[str], place: Place, capsys: Capture) -> None:
    """Each takes away what does not fit, and all of them together; of a request, its last life counts."""
    write(place, LIVES)

    assert ids(place, capsys, *words) == expected


def test_a_line_of_json_holds_what_the_table_shows(place: Place, capsys: Capture) -> None:
    """Amounts as they are and in whole tokens; what is not known is null."""
    write(place, LIVES)
    by_id = {line["request_id"]: line for line in facts(place, capsys)}

    assert by_id["good"] == {
        "request_id": "good",
        "state": "SUCCEEDED",
        "accepted_at": "2026-11-23 12:00:00.000000Z",
        "accepted_unix_ns": NOON_NS,
        "source_service": "tests",
        "input": {"mint": str(SOL.mint), "symbol": "SOL", "amount_raw": 50_000_000, "amount": "0.05"},
        "output": {"mint": str(USDC.mint), "symbol": "USDC", "amount_raw": 6_100_000, "amount": "6.1"},
        "signature": "signature-of-good",
        "error_code": None,
        "error_message": None,
    }
    assert (by_id["poor"]["error_code"], by_id["poor"]["error_message"]) == (
        "BALANCE_INSUFFICIENT",
        "the wallet holds too little",
    )
    assert by_id["poor"]["signature"] is None
    assert by_id["open"]["output"] == {"mint": str(SOL.mint), "symbol": "SOL", "amount_raw": None, "amount": None}
    assert by_id["old"]["input"] == {"mint": str(SOL.mint), "symbol": None, "amount_raw": 50_000_000, "amount": None}


def test_a_list_without_a_trade_says_so(place: Place, capsys: Capture) -> None:
    """Which is no failure."""
    write(place, [])

    assert trades(place) == 0
    assert capsys.readouterr().out == "no trade\n"
    assert ids(place, capsys) == []


# --- one trade ---


def test_a_life_is_shown_step_by_step(place: Place, capsys: Capture) -> None:
    """Every entry with its time, what was signed, and what the chain made of it."""
    write(place, LIVES)
    assert trades(place, "good") == 0

    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        "request good",
        "2026-11-23 12:00:00.000000Z ACCEPTED 0.05 SOL -> USDC, from tests",
        "slippage at most 50 bps, urgency normal",
        "2026-11-23 12:00:00.001500Z SIGNED signature signature-of-good",
        f"blockhash {make_signed().blockhash}, valid up to block height 1150",
        "compute budget 100000 units at 25000 micro-lamports: priority fee 2500 lamports",
        "quoted 6.096091 USDC",
        "2026-11-23 12:00:00.002000Z SENT",
        "2026-11-23 12:00:00.900000Z SUCCEEDED 0.05 SOL -> 6.1 USDC, slippage -3 bps",
        "slot 431, 80000 compute units, fees 7500 lamports, rent 2039280 lamports",
    ]


def test_every_life_of_a_request_is_shown(place: Place, capsys: Capture) -> None:
    """Each with its own end."""
    write(place, LIVES)
    assert trades(place, "twice") == 0
    page = capsys.readouterr().out

    assert [word for word in page.split() if word in State.__members__] == [
        *("ACCEPTED", "DENIED"),
        *("ACCEPTED", "SIGNED", "SENT", "SUCCEEDED"),
    ]
    assert "BALANCE_INSUFFICIENT: the wallet holds too little" in page


def test_a_life_s_entries_as_json(place: Place, capsys: Capture) -> None:
    """One line an entry, whole."""
    write(place, LIVES)
    lines = facts(place, capsys, "good")

    assert [line["state"] for line in lines] == ["ACCEPTED", "SIGNED", "SENT", "SUCCEEDED"]
    assert [line["seq"] for line in lines] == [1, 2, 3, 4]
    assert lines[1]["signature"] == "signature-of-good"
    assert lines[1]["body"]["last_valid_block_height"] == 1_150
    assert lines[3]["at"] == "2026-11-23 12:00:00.900000Z"


def test_a_failure_is_shown_with_its_reason(place: Place, capsys: Capture) -> None:
    """Its code and what was said of it."""
    asked = order("failed", 0)
    outcome = Outcome(
        request_id="failed",
        status=OutcomeStatus.FAILED,
        error_code=ErrorCode.EXECUTOR_DRAINING,
        error_message="too late",
    )
    write(place, [records.accepted(asked), records.ended(State.REJECTED, outcome, at_unix_ns=NOON_NS)])
    assert trades(place, "failed") == 0

    assert capsys.readouterr().out.splitlines()[-1] == "2026-11-23 12:00:00.000000Z  REJECTED   EXECUTOR_DRAINING: too late"


def test_an_end_without_words_has_none(place: Place, capsys: Capture) -> None:
    """An outcome that failed without a reason is its state and nothing more."""
    asked = order("odd", 0)
    outcome = Outcome(request_id="odd", status=OutcomeStatus.FAILED)
    write(place, [records.accepted(asked), records.ended(State.REJECTED, outcome, at_unix_ns=NOON_NS)])
    assert trades(place, "odd") == 0

    assert capsys.readouterr().out.splitlines()[-1] == "2026-11-23 12:00:00.000000Z  REJECTED"


def test_a_trade_that_nobody_knows(place: Place, capsys: Capture) -> None:
    """Exit code 1, and nothing on stdout."""
    write(place, LIVES)

    assert trades(place, "nobody") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "'nobody'" in captured.err


# --- where it reads ---


def test_it_reads_beside_the_daemon_and_leaves_no_trace(place: Place, capsys: Capture) -> None:
    """What is durable is seen at once; the daemon goes on, and after its end nothing is left that was not there before."""
    seen: list[list[str]] = []
    write(place, LIVES, meanwhile=lambda: seen.append(ids(place, capsys)))
    before = sorted(file.name for file in place.data_directory.iterdir())

    assert seen == [NEWEST_FIRST]
    assert ids(place, capsys) == NEWEST_FIRST
    assert sorted(file.name for file in place.data_directory.iterdir()) == before


def test_without_a_journal_there_is_nothing_to_show(place: Place, capsys: Capture) -> None:
    """Exit code 1, the path is named, and none is made."""
    assert trades(place) == 1
    assert str(place.journal_path) in capsys.readouterr().err
    assert not place.data_directory.exists()


def test_a_file_that_cannot_be_read_is_told_of(place: Place, capsys: Capture) -> None:
    """Exit code 2, as with everything that has to be put right before."""
    place.data_directory.mkdir()
    place.journal_path.write_text("a letter to my aunt, who is no database" * 100)

    assert trades(place) == 2
    assert "is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--since soon", "--until 9999999", "--limit 0", "--limit many", "--state x"])
def test_a_filter_that_makes_no_sense(words: str, place: Place, capsys: Capture) -> None:
    """Exit code 2 and nothing on stdout."""
    with pytest.raises(SystemExit) as ended:
        trades(place, *words.split())
    assert (ended.value.code, capsys.readouterr().out) == (2, "")

"""What a demo shows: the page for people and the lines for programs."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from executor.cli.demo import program_name
from executor.cli.demo.cases import Case
from executor.cli.demo.children import Child, Children
from executor.cli.demo.interruption import Interruption
from executor.cli.demo.json_lines import JsonLines
from executor.cli.demo.page import WIDTH, Page, wants_colour
from executor.cli.demo.plan import Planned
from executor.cli.demo.rows import amount_text, price_text
from executor.cli.demo.show import Audience, Settings
from executor.cli.demo.stage import Localnet, Stage
from executor.cli.demo.summary import summarise
from executor.cli.demo.trades import Trade
from executor.rpc import trade_executor_pb2 as pb
from tests.cli.demo_values import BONK, JITOSOL, SOL, TOKENS, USDC, planned_case, refused, success, trade

SETTINGS = Settings(swaps=44, concurrency=8, seed=1, slot_ms=100)
ESCAPE = "\x1b["
LONG = "not on the whitelist: output_token Es9vMFrzaCERmJfrF4H2FYD4KCoNkY11McCe8BenwNYB, and a good many words more"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A stage on which one process stands for all."""
    with running(tmp_path) as child:
        localnet = Localnet(
            process=child,
            node_url="http://127.0.0.1:65535",
            jupiter_url="http://127.0.0.1:65535/swap/v1",
            admin_url="http://127.0.0.1:65535/admin",
        )
        yield Stage(network=localnet, daemon=child, address="127.0.0.1:65535", wallet="9" * 44, tokens=TOKENS)


@contextmanager
def running(folder: Path) -> Iterator[Child]:
    """A process that does nothing."""
    with Interruption() as interruption, Children(folder, interruption) as children:
        yield children.start("idle", ["sleep", "60"])


def wide_trades() -> list[Trade]:
    """One of each kind, with figures as wide as they come."""
    stale = pb.TradeResult(
        request_id="demo-001", status=pb.TRADE_STATUS_FAILED, error_code="SLIPPAGE_EXCEEDED", error_message=LONG
    )
    reverted = success(status=pb.TRADE_STATUS_FAILED, error_code="SWAP_REVERTED", executed_amount=0, input_amount=0)
    to_bonk = Planned(number=1, source=JITOSOL, target=BONK, in_amount=999_000_000)
    many = success(executed_amount=987_654_321_012, executed_price=12_345_678.9, signed_slippage_bps=-200, fees_paid=15_000)
    return [
        trade(),
        evolve(trade(many, None, to_bonk), ended_seconds=99.99),
        trade(success(executed_price=1.2345e-08, executed_amount=1)),
        trade(reverted, None),
        refused(planned_case(Case.FOREIGN_TOKEN, 4), code="MINT_NOT_WHITELISTED", message=LONG),
        trade(stale, None, planned_case(Case.STALE_QUOTE, 5)),
        trade(success(confirmation_time_ms=12_616), planned=planned_case(Case.LOST_SEND, 6)),
    ]


def show(audience: Audience, stage: Stage, trades: list[Trade], wallet_unexplained: tuple[str, ...] = ()) -> None:
    """Play these trades to an audience."""
    counted = pb.OutcomeCounts(success=4, failed=2, refused=1)
    audience.opens()
    audience.begins(stage)
    for seen in trades:
        audience.sees(seen)
    audience.leaves(summarise(trades, wallet_unexplained=wallet_unexplained, counted=counted))


def test_nothing_on_the_page_is_wider_than_a_hundred_columns(stage: Stage) -> None:
    """Whatever the trades' figures and however long the daemon's messages are."""
    out = io.StringIO()
    show(
        Page(out, SETTINGS, program=".venv/bin/executor"), stage, wide_trades(), ("usdc: the wallet says +1, the results say +0",)
    )
    assert max(map(len, out.getvalue().splitlines())) <= WIDTH == 100


def test_a_line_of_the_page_has_every_figure_of_its_trade() -> None:
    """When, what for what, price, slippage, fee, both times, and how it ended."""
    out = io.StringIO()
    Page(out, SETTINGS).sees(trade())
    figures = ["0.55", "0.25", "SOL", "->", "30.540104", "USDC", "122.160", "-1", "7500", "32", "414", "success"]
    assert out.getvalue().split() == figures


def test_the_five_are_marked_and_explained_with_the_daemons_own_words(stage: Stage) -> None:
    """A number at the line, and under it the story and what the daemon said."""
    out = io.StringIO()
    show(Page(out, SETTINGS), stage, wide_trades())
    words = " ".join(out.getvalue().split())
    assert "refused (1)" in words
    assert f"(1) foreign token: {Case.FOREIGN_TOKEN.facts.story}" in words
    assert f"-> FAILED_PRECONDITION, MINT_NOT_WHITELISTED: {LONG}" in words
    assert "-> SUCCESS, confirmed 12,616 ms after the first send" in words


@pytest.mark.parametrize(
    ("seen", "word"),
    [
        (trade(success(fees_paid=1)), "MISMATCH"),
        (trade(success(slot=1)), "UNEXPECTED"),
        (refused(planned_case(Case.OVERSIZED, 1)), "UNEXPECTED"),
        (refused(planned_case(Case.OVERSIZED, 1), code="AMOUNT_ABOVE_LIMIT"), "refused"),
    ],
)
def test_the_outcome_says_when_something_is_wrong(seen: Trade, word: str) -> None:
    """A success with a wrong figure is not shown as one."""
    out = io.StringIO()
    Page(out, SETTINGS).sees(seen)
    assert word in out.getvalue()


def test_the_page_says_when_amounts_or_the_wallet_are_wrong(stage: Stage) -> None:
    """The sentences that promise correctness stand only where it holds."""
    good, bad = io.StringIO(), io.StringIO()
    show(Page(good, SETTINGS), stage, [trade(success(fees_paid=7_500))])
    show(Page(bad, SETTINGS), stage, [trade(success(fees_paid=1))], ("usdc: 1 too many",))
    assert "to the unit" in " ".join(good.getvalue().split())
    assert "1 trades report other amounts" in bad.getvalue()
    assert "usdc: 1 too many" in bad.getvalue()
    assert "each as it should" not in bad.getvalue()


def test_other_slots_than_mainnets_are_said(stage: Stage) -> None:
    """Who sees quick confirmations should know why; at mainnet's own pace there is nothing to say."""
    for slot_ms, said in ((100, True), (400, False)):
        out = io.StringIO()
        show(Page(out, evolve(SETTINGS, slot_ms=slot_ms)), stage, [])
        assert ("mainnet: 400" in out.getvalue()) is said


def test_colours_only_where_they_are_wanted(stage: Stage) -> None:
    """Good, special and bad outcomes differ; without colour there is not one escape."""
    plain, coloured = io.StringIO(), io.StringIO()
    trades = [trade(), refused(planned_case(Case.OVERSIZED, 2), code="AMOUNT_ABOVE_LIMIT"), trade(success(fees_paid=1))]
    show(Page(plain, SETTINGS), stage, trades)
    show(Page(coloured, SETTINGS, coloured=True), stage, trades)
    assert ESCAPE not in plain.getvalue()
    assert all(
        f"{ESCAPE}{colour}m{word}" in coloured.getvalue() for colour, word in ((32, "success"), (33, "refused"), (31, "MIS"))
    )


@pytest.mark.parametrize(
    ("stream", "environment", "wanted"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_who_wants_colour(stream: io.StringIO, environment: dict[str, str], wanted: bool) -> None:
    """A terminal that can, unless NO_COLOR is set to something."""
    assert wants_colour(stream, environment) is wanted


@pytest.mark.parametrize(
    ("amount", "text"), [(250_000_000, "0.25 SOL"), (1_234_567_000_000_001, "1,234,567.000000001 SOL"), (10**9, "1 SOL")]
)
def test_amounts_are_exact_and_readable(amount: int, text: str) -> None:
    """Thousands are parted, and no digit is lost."""
    assert amount_text(amount, SOL) == text


@pytest.mark.parametrize(
    ("price", "text"),
    [(122.160416, "122.160"), (12_398_374.1, "12,398,374"), (0.000306599, "0.000306599"), (8.06e-8, "8.0600e-08")],
)
def test_prices_fit_their_column(price: float, text: str) -> None:
    """From a fraction of a cent to millions."""
    assert price_text(price) == text


def test_the_reader_is_told_how_to_call_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name where the shell finds it, else by the path that was used, else by its module."""
    (tmp_path / "executor").touch(mode=0o700)
    typed = str(tmp_path / "executor")
    monkeypatch.setenv("PATH", "/nowhere")
    assert [program_name(typed), program_name("/site/executor/__main__.py")] == [typed, "python -m executor"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program_name(typed) == "executor"


# --- lines for programs -------------------------------------------------------------------------------------------------------

SUMMARY_KEYS = ["trades", "success", "failed", "pending", "refused", "amount_mismatches", "p50_broadcast_ms", "p99_broadcast_ms"]


def lines_of(stage: Stage, trades: list[Trade]) -> list[dict[str, Any]]:
    """What a program reads."""
    out = io.StringIO()
    show(JsonLines(out, SETTINGS), stage, trades)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_program_reads_a_line_for_each_trade_and_the_summary_last(stage: Stage) -> None:
    """The summary begins with the promised keys in their order, and stdout holds nothing else."""
    *trades, summary = lines_of(stage, wide_trades())
    assert [line["number"] for line in trades] == [seen.planned.number for seen in wide_trades()]
    assert list(summary)[: len(SUMMARY_KEYS)] == SUMMARY_KEYS
    assert summary["ok"] is not bool(summary["problems"])


def test_a_trades_line_has_request_result_expectation_and_what_the_chain_says(stage: Stage) -> None:
    """With amounts as numbers, and texts as texts even when they look like numbers."""
    line, _ = lines_of(stage, [trade()])
    assert line["request"]["amount_lamports"] == 250_000_000
    assert line["expected"] == {"status": "SUCCESS", "code": ""}
    assert line["result"]["executed_amount"] == line["chain"]["executed_amount"] == 30_540_104
    assert line["result"]["fees_paid"] == line["chain"]["fees_paid"] == 7_500
    assert (line["refusal"], line["case"], line["mismatches"], line["surprises"]) == (None, None, [], [])


def test_a_refusals_line_has_its_status_and_code(stage: Stage) -> None:
    """There is neither a result nor anything on the chain."""
    line, _ = lines_of(stage, [refused(planned_case(Case.OVERSIZED, 3), code="AMOUNT_ABOVE_LIMIT", message="too much")])
    assert line["refusal"] == {"status": "FAILED_PRECONDITION", "code": "AMOUNT_ABOVE_LIMIT", "message": "too much"}
    assert (line["case"], line["result"], line["chain"]) == ("oversized amount", None, None)
    assert USDC.mint == line["request"]["output_token"]

"""`executor status`."""

import re
from typing import Any

import pytest
from google.protobuf.message import Message

from executor import __version__
from executor.cli import main
from executor.cli.client import CallFailed, connect
from executor.rpc import trade_executor_pb2 as pb
from executor.units import U64_MAX
from tests.cli.commands import BUSY, SOL_AND_USDC, Capture, Served, free_port, printed, telling


def test_the_status_page(daemon: Served, capsys: Capture) -> None:
    """Exit code 0 while it trades; the page shows upstreams, the wallet with balances, and latencies once it has traded."""
    assert main(["trade", "SOL", "USDC", "0.1", "--address", daemon.address]) == 0
    with connect(daemon.address) as client, pytest.raises(CallFailed):
        client.execute(pb.TradeRequest(), timeout_seconds=5)
    capsys.readouterr()
    assert main(["status", "--address", daemon.address]) == 0
    page = capsys.readouterr().out
    assert re.match(rf"executor {re.escape(__version__)}, up [\d.]+ \w+, trading\n", page)
    assert re.search(r"node-0 .* healthy\njupiter .* healthy\n", page)
    assert f"wallet {daemon.facts['wallet']}\n" in page
    assert re.search(r"  USDC +[\d.]+\n", page)
    assert re.search(r"stage +count.*\n\w+ +\d", page)
    assert re.search(r"errors by code\n(.*\n)*  REQUEST_INVALID +\d", page)
    assert re.search(r"  lately, by code and source +1 min +5 min +1 h\n(.*\n)*  REQUEST_INVALID +others +\d+ +\d+ +\d+\n", page)


def test_the_status_as_json(daemon: Served, capsys: Capture) -> None:
    """One object with the proto's names, and numbers where numbers are meant."""
    assert main(["status", "--json", "--address", daemon.address]) == 0
    status = printed(capsys)
    assert (status["trading_allowed"], status["wallet"]["address"]) == (True, daemon.facts["wallet"])
    assert {b["symbol"] for b in status["wallet"]["balances"]} >= {"SOL", "USDC"}
    assert all(isinstance(b["amount"], int) for b in status["wallet"]["balances"])


@pytest.mark.parametrize(("uptime_ms", "span"), [(119_900, "119.9 s"), (120_000, "2 min"), (9_000_000, "2.5 h")])
def test_the_status_of_a_daemon_that_does_not_trade(uptime_ms: int, span: str, capsys: Capture) -> None:
    """Exit code 1; why it does not stands in the first line, who fails beside the upstream, and the uptime in a fitting unit."""
    status = pb.ExecutorStatus(
        version="7",
        uptime_ms=uptime_ms,
        not_allowed_because=["no blockhash", "no tokens"],
        nodes=[pb.EndpointStatus(name="node-0", endpoint="http://127.0.0.1:1", healthy=False, problem="it refuses", age_ms=5)],
    )
    with telling(status) as address:
        assert main(["status", "--address", address]) == 1
    page = capsys.readouterr().out
    assert page.startswith(f"executor 7, up {span}, NOT TRADING: no blockhash; no tokens\n")
    assert re.search(r"node-0 .* FAILING: it refuses\n", page)
    assert page.endswith("no trade yet\n")


@pytest.mark.parametrize(
    ("problem", "end"), [("", "p99 2.50 ms"), ("the disk is full", "p99 2.50 ms   PROBLEM: the disk is full")]
)
def test_the_status_of_the_journal(problem: str, end: str, capsys: Capture) -> None:
    """What it wrote, how long that takes, and what is wrong with it."""
    journal = pb.JournalStatus(entries=9, commits=3, waiting=2, problem=problem, commit_p50_ms=1.25, commit_p99_ms=2.5)
    line = page_of(pb.ExecutorStatus(journal=journal), capsys)[3]

    assert line == f"journal: 9 entries in 3 commits, 2 waiting, commit p50 1.25 ms {end}"


def test_the_status_page_tells_why_and_since_when_it_is_halted(capsys: Capture) -> None:
    """Every cause of the circuit breaker, of an operator and of those who count."""
    causes = [
        pb.BreakerCause(kind="operator", cause="halted by an operator: the feed is down", since_unix_ms=1_795_000_000_999),
        pb.BreakerCause(kind="error_rate", cause="3 of 4 trades failed", since_unix_ms=1_795_000_060_000),
    ]
    page = page_of(pb.ExecutorStatus(breaker=pb.BREAKER_STATE_OPEN, breaker_causes=causes), capsys)

    first = page.index("circuit breaker OPEN")
    assert page[first + 1 : first + 3] == [
        "  operator         since 2026-11-18 11:06:40 UTC  halted by an operator: the feed is down",
        "  error_rate       since 2026-11-18 11:07:40 UTC  3 of 4 trades failed",
    ]


def never(kind: type[Message], field: str) -> list[dict[str, Any]]:
    """Every way in which an age can be said not to exist: as infinity, and by its absence where that can be told from 0."""
    descriptor: Any = kind.DESCRIPTOR
    return [{field: U64_MAX}, *([{}] if descriptor.fields_by_name[field].has_presence else [])]


def page_of(status: pb.ExecutorStatus, capsys: Capture) -> list[str]:
    """The lines that `executor status` prints of it."""
    with telling(status) as address:
        main(["status", "--address", address])
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("age", [None, *never(pb.BlockhashStatus, "age_ms")])
def test_no_blockhash_is_not_a_new_one(age: dict[str, Any] | None, capsys: Capture) -> None:
    """Neither where the status has none nor where it never came."""
    blockhash = None if age is None else pb.BlockhashStatus(fresh=True, **age)
    assert page_of(pb.ExecutorStatus(blockhash=blockhash), capsys)[2].startswith("no blockhash yet ")


def test_a_blockhash_that_is_too_old_says_so(capsys: Capture) -> None:
    """Its age alone tells only who knows the limit."""
    old, new = (pb.BlockhashStatus(age_ms=11_000, block_height=7, fresh=fresh) for fresh in (False, True))
    assert page_of(pb.ExecutorStatus(blockhash=old), capsys)[2].startswith("blockhash 11.0 s old (STALE), block height 7 ")
    assert page_of(pb.ExecutorStatus(blockhash=new), capsys)[2].startswith("blockhash 11.0 s old, block height 7 ")


@pytest.mark.parametrize("age", [{"oldest_age_ms": 0}, *never(pb.FeeCacheStatus, "oldest_age_ms")])
def test_an_empty_fee_cache_has_no_age(age: dict[str, Any], capsys: Capture) -> None:
    """Whatever stands in its place."""
    assert page_of(pb.ExecutorStatus(fee_cache=pb.FeeCacheStatus(**age)), capsys)[2].endswith("   fee cache: empty")
    full = pb.FeeCacheStatus(entries=3, oldest_age_ms=2_500)
    assert page_of(pb.ExecutorStatus(fee_cache=full), capsys)[2].endswith("   fee cache: 3 pairs, up to 2.5 s old")


@pytest.mark.parametrize("age", never(pb.EndpointStatus, "age_ms"))
def test_who_was_never_asked_is_not_healthy(age: dict[str, Any], capsys: Capture) -> None:
    """Jupiter before the first trade, say; and an upstream that the status does not hold has no line."""
    asked = pb.EndpointStatus(name="node-0", healthy=True, age_ms=5)
    page = page_of(pb.ExecutorStatus(nodes=[asked], jupiter=pb.EndpointStatus(name="jupiter", healthy=True, **age)), capsys)
    assert [line.split(maxsplit=1) for line in page[4:6]] == [["node-0", "healthy"], ["jupiter", "never asked"]]
    assert page_of(pb.ExecutorStatus(nodes=[asked]), capsys)[5] == ""


def test_balances_that_were_never_read_are_not_none(capsys: Capture) -> None:
    """An empty list would look like an empty wallet."""
    page = page_of(pb.ExecutorStatus(wallet=pb.WalletStatus(address="abc")), capsys)
    assert page[page.index("wallet abc") + 1] == "  no balance is known yet"


def test_tokens_that_cannot_be_traded_are_named(capsys: Capture) -> None:
    """With the reason; the others can, so that it trades."""
    status = pb.ExecutorStatus(trading_allowed=True, untradable_tokens=["GONE does not exist on this cluster", "ODD has a tax"])
    page = page_of(status, capsys)
    place = page.index("cannot be traded")
    assert page[place + 1 : place + 4] == ["  GONE does not exist on this cluster", "  ODD has a tax", ""]
    assert "cannot be traded" not in page_of(SOL_AND_USDC, capsys)


def test_no_token_is_known_yet(capsys: Capture) -> None:
    """A trade through a daemon that has not read its mints is refused with that reason."""
    with telling(pb.ExecutorStatus()) as address:
        assert main(["trade", "SOL", "USDC", "1", "--address", address]) == 2
    assert "none yet" in capsys.readouterr().err


def test_something_else_that_speaks_grpc(capsys: Capture) -> None:
    """A refusal without the executor's details, from a proxy say, is reported with what it does tell."""
    with telling(BUSY) as address:
        assert main(["status", "--address", address]) == 1
    assert capsys.readouterr().err.endswith(": UNAVAILABLE: not now\n")


def test_no_daemon(capsys: Capture) -> None:
    """status and trade exit 1 and say that nobody answers; trade --json says so in one object."""
    address = f"127.0.0.1:{free_port()}"
    assert main(["status", "--address", address]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert address in output.err
    assert main(["trade", "SOL", "USDC", "1", "--address", address]) == 1
    assert capsys.readouterr().err.startswith("not asked: UNAVAILABLE")
    assert main(["trade", "SOL", "USDC", "1", "--address", address, "--json"]) == 1
    answer = printed(capsys)
    assert (answer["grpc_status"], answer["error_code"], answer["violations"]) == ("UNAVAILABLE", "", {})
    assert answer["unknown"] is False


def test_no_daemon_to_ask_again(capsys: Capture) -> None:
    """Who names an id may have traded under it before, and a daemon that is not there does not tell: exit code 3."""
    words = ["trade", "SOL", "USDC", "1", "--address", f"127.0.0.1:{free_port()}", "--request-id", "old"]
    assert main([*words, "--json"]) == 3
    assert printed(capsys)["unknown"] is True
    assert main(words) == 3
    assert "--request-id old," in capsys.readouterr().err

import errno
import io
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from attrs import field, frozen
from hypothesis import example, given
from hypothesis import strategies as st
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from executor.errors import ErrorCode
from executor.log import LEVELS, MAX_ITEMS, MAX_TEXT, REDACTED, Log, NullLog, cut_urls, make_log, rfc3339
from executor.model import Stage

NOW_NS = 1_700_000_000_123_456_789


def written(stream: io.StringIO) -> list[dict[str, Any]]:
    """Every record of a stream."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def logged(**fields: object) -> dict[str, Any]:
    """The one record that these fields make."""
    stream = io.StringIO()
    make_log(stream=stream, level="debug", now_ns=lambda: NOW_NS).info("test.event", **fields)
    (record,) = written(stream)
    return record


def raised(error: BaseException) -> dict[str, Any]:
    """What a log says of an exception while it is handled."""
    stream = io.StringIO()
    try:
        raise error
    except type(error):
        make_log(stream=stream, level="debug", now_ns=lambda: NOW_NS).exception("test.failed")
    (record,) = written(stream)
    assert record["level"] == "error"
    described: dict[str, Any] = record["exception"]
    return described


def test_a_record_is_one_line_with_time_level_and_event_first() -> None:
    """An event is one line of JSON: time, level, event, then the fields in the order in which they were given."""
    stream = io.StringIO()
    log = make_log(stream=stream, level="info", now_ns=lambda: NOW_NS).bind(trade_id="t-1")
    log.info("trade.sent", slot=5, note="two\nlines")
    assert stream.getvalue().count("\n") == 1
    (record,) = written(stream)
    assert list(record.items()) == [
        ("time", "2023-11-14T22:13:20.123456Z"),
        ("level", "info"),
        ("event", "trade.sent"),
        ("trade_id", "t-1"),
        ("slot", 5),
        ("note", "two\nlines"),
    ]


@pytest.mark.parametrize("level", LEVELS)
def test_less_severe_events_are_dropped(level: str) -> None:
    """A log writes its own level and everything above it, nothing below."""
    stream = io.StringIO()
    log = make_log(stream=stream, level=level, now_ns=lambda: 0)
    for method in (log.debug, log.info, log.warning, log.error):
        method("event")
    assert [record["level"] for record in written(stream)] == list(LEVELS)[list(LEVELS).index(level) :]


def test_binding_leaves_the_first_log_as_it_was() -> None:
    """`bind` makes another log; fields of a call win over bound ones."""
    stream = io.StringIO()
    first = make_log(stream=stream, level="info", now_ns=lambda: 0)
    second = first.bind(trade_id="a").bind(stage="quote")
    first.info("one")
    second.info("two", stage="build")
    one, two = written(stream)
    assert "trade_id" not in one
    assert (two["trade_id"], two["stage"]) == ("a", "build")


def test_a_field_cannot_overwrite_what_every_record_has() -> None:
    """A field called like one of the three fixed keys is kept under a name of its own."""
    record = logged(level="high", time="later")
    assert (record["level"], record["level_"], record["time_"]) == ("info", "high", "later")


@given(st.integers(0, 4_102_444_800_000_000_000))
def test_times_are_written_to_the_microsecond(unix_ns: int) -> None:
    """The fraction of a second is exact to the microsecond for any time: no float comes near it."""
    text = rfc3339(unix_ns)
    assert len(text) == len("2023-11-14T22:13:20.123456Z")
    assert int(text[-7:-1]) == unix_ns // 1_000 % 1_000_000


@frozen
class Sample:
    amount: int
    raw: bytes
    url: str = field(default="https://host/key", repr=False)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (2**64 - 1, 2**64 - 1),
        (2**300, "<an integer of 301 bits>"),
        (1.5, 1.5),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (b"wire bytes", "<10 bytes>"),
        (bytearray(3), "<3 bytes>"),
        (Fraction(1, 3), "1/3"),
        (Decimal("1.50"), "1.50"),
        (Pubkey.default(), "1" * 32),
        (Stage.QUOTE, "quote"),
        (ErrorCode.PRICE_MOVED, "PRICE_MOVED"),
        (ValueError("wrong"), "ValueError: wrong"),
        ((1, "a", b"bc"), [1, "a", "<2 bytes>"]),
        ({"a": {"secret": 1}}, {"a": {"secret": REDACTED}}),
        ({1: "a"}, {"1": "a"}),
        (frozenset([1]), [1]),
        (Sample(amount=1, raw=b"xy"), {"amount": 1, "raw": "<2 bytes>"}),
        ("\ud800", "\ud800"),
    ],
)
def test_every_value_becomes_json(value: object, shown: object) -> None:
    """Numbers, texts and truth stay what they are, containers keep their shape, bytes show their length, the rest is text."""
    assert logged(value=value)["value"] == shown


def test_what_has_no_text_does_not_lose_the_event() -> None:
    """A value whose __str__ raises is replaced, in a field and in an exception alike."""

    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert "unprintable" in logged(value=Unprintable())["value"]
    assert "unprintable" in raised(Unprintable())["message"]


def test_what_an_upstream_sends_cannot_flood_the_log() -> None:
    """Long texts, long lists and deep nesting are cut, and the cut is visible."""
    started = time.perf_counter()
    deep: object = "bottom"
    for _ in range(100):
        deep = [deep]
    record = logged(text="x" * 1_000_000, items=list(range(1_000)), table={str(n): n for n in range(1_000)}, deep=deep)
    assert record["text"] == "x" * MAX_TEXT + "... (1000000 characters)"
    assert record["items"][-1] == "... (1000 items)"
    assert len(record["items"]) == MAX_ITEMS + 1
    assert record["table"]["..."] == 1_000
    assert len(json.dumps(record["deep"])) < 100
    assert time.perf_counter() - started < 5  # a quadratic search takes minutes here


SECRET_NAMES = [
    *(
        "api_key",
        "apiKey",
        "x-api-key",
        "jupiter_api_key",
        "apikey",
        "secret",
        "client_secret",
        "token",
        "auth_token",
        "accessToken",
    ),
    *(
        "password",
        "db_password",
        "authorization",
        "Authorization",
        "keypair",
        "private_key",
        "privateKey",
        "secret_key",
        "cookie",
    ),
]
PLAIN_NAMES = [
    *("mint", "input_mint", "output_mint", "token_mint", "mint_token", "input_token", "tokens", "token_account", "token_program"),
    *("api_key_env", "keypair_path", "public_key", "request_id", "signature", "idempotency_key", "monkey"),
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_values_with_a_secret_name_are_hidden(name: str) -> None:
    """A field whose name speaks of a credential shows no value, at the top and nested in headers."""
    record = logged(**{name: "hunter2"}, headers={name: ["hunter2"]})
    assert record[name] == REDACTED
    assert record["headers"] == {name: REDACTED}


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_names_of_the_trade_are_not_hidden(name: str) -> None:
    """Mints, accounts and paths are what an operator searches for, so they stay."""
    assert logged(**{name: "value"})[name] == "value"


def test_a_keypair_is_hidden_wherever_it_stands() -> None:
    """The text of a solders Keypair is its secret, so it never becomes text."""
    keypair = Keypair()
    record = logged(wallet=keypair, several=[keypair])
    assert record["wallet"] == REDACTED
    assert record["several"] == [REDACTED]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://host.example/v1?api-key=abc", "https://host.example"),
        ("https://user:pass@host.example:8899/path", "https://host.example:8899"),
        ("http://[::1]:8899/", "http://[::1]:8899"),
        ("wss://host", "wss://host"),
        ("GET 'https://host/x' failed", "GET 'https://host failed"),
        ('{"url": "https://host/x", "ok": 1}', '{"url": "https://host", "ok": 1}'),
        ("https://user:pa/ss@host/x", "https://[redacted]"),
        ("https://@pass?@host/x", "https://[redacted]"),
        ("https://", "https://[redacted]"),
        ("no url at all: a//b", "no url at all: a//b"),
    ],
)
def test_urls_are_cut_to_their_host(text: str, shown: str) -> None:
    """Of a URL in any text only scheme, host and port remain."""
    assert cut_urls(text) == shown
    assert logged(text=text)["text"] == shown


MARKER = "HUNTER2"


@given(
    before=st.sampled_from(
        ["https://{}@host.example/rpc", "https://u:{}@h:1/", "http://h/{}", "http://h:1?k={}", "wss://[::1]#{}"]
    ),
    left=st.text("abc019/:@?#&=%+.-_~!$'()*,;\\", max_size=6),
    right=st.text("abc019/:@?#&=%+.-_~!$'()*,;\\", max_size=6),
)
@example(before="https://u:{}@h:1/", left="a/", right="@b")
@example(before="https://{}@host.example/rpc", left="@", right="?")
def test_no_secret_of_a_url_is_written(before: str, left: str, right: str) -> None:
    """Whatever a credential in a URL looks like, none of it reaches the log: not as a field, not in an exception."""
    url = before.format(left + MARKER + right)
    record = logged(url=url, text=f"cannot reach <{url}>", nested=[{"a": url}], error=OSError(url))
    assert MARKER not in json.dumps(record)
    assert MARKER not in json.dumps(raised(OSError(f"cannot reach {url}")))


@pytest.mark.parametrize(
    "text", [f"Bearer {MARKER}", f"{{'x-api-key': '{MARKER}'}}", f"?api-key={MARKER}&x=1", f"Authorization: Basic {MARKER}"]
)
def test_headers_in_a_text_are_hidden(text: str) -> None:
    """A header or a query that got into a message loses its credential."""
    assert MARKER not in json.dumps(logged(text=text))


def test_an_exception_is_written_with_its_trace() -> None:
    """A trace is a list of file, line and function; the exception's kind and message stand beside it."""
    described = raised(KeyError("missing"))
    assert (described["type"], described["message"]) == ("KeyError", "'missing'")
    (frame,) = described["trace"]
    assert frame.startswith("tests/test_log.py:")
    assert frame.endswith(" raised")


def test_causes_and_groups_are_written() -> None:
    """Of an exception group every member is written, and of each exception what caused it."""
    cause = ValueError("cause")
    member = OSError("member")
    member.__cause__ = KeyError("cause of the member")
    group = ExceptionGroup("several", [member])
    group.__cause__ = cause
    described = raised(group)
    assert described["cause"]["message"] == "cause"
    assert described["exceptions"][0]["cause"]["type"] == "KeyError"


def test_a_context_is_written_unless_it_was_suppressed() -> None:
    """An exception that came up while another was handled shows it; `from None` hides it."""
    plain, silent = OSError("plain"), OSError("silent")
    plain.__context__ = silent.__context__ = ValueError("first")
    silent.__suppress_context__ = True
    assert raised(plain)["cause"]["message"] == "first"
    assert "cause" not in raised(silent)


def test_a_long_chain_of_causes_is_cut() -> None:
    """A chain of causes is followed a few steps only."""
    error = ValueError("0")
    for number in range(1, 1_000):
        following = ValueError(str(number))
        following.__cause__ = error
        error = following
    assert len(json.dumps(raised(error))) < 2_000


def test_exception_outside_a_handler_is_an_error_without_trace() -> None:
    """`exception` does not need an exception to be useful, and takes one that was kept."""
    stream = io.StringIO()
    log = make_log(stream=stream, level="info", now_ns=lambda: 0)
    log.exception("nothing.handled")
    log.exception("kept", exc_info=ValueError("kept"))
    nothing, kept = written(stream)
    assert "exception" not in nothing
    assert kept["exception"]["message"] == "kept"


@pytest.fixture
def abandoned_pipe() -> Iterator[io.TextIOWrapper]:
    """A stream whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = open(writer, "w")  # noqa: SIM115 - closing it raises too, which is what the last lines are for
    yield stream
    with suppress(BrokenPipeError):
        stream.close()


def test_a_reader_that_went_away_does_not_hurt_the_caller(abandoned_pipe: io.TextIOWrapper) -> None:
    """When nobody reads standard output any more, trading goes on."""
    log = make_log(stream=abandoned_pipe, level="info", now_ns=lambda: 0)
    for _ in range(1_000):
        log.info("still.alive", padding="x" * 100)


def test_a_closed_stream_does_not_hurt_the_caller() -> None:
    """A log outlives its stream."""
    stream = io.StringIO()
    log = make_log(stream=stream, level="info", now_ns=lambda: 0)
    stream.close()
    log.info("still.alive")


class Disk(io.StringIO):
    """A stream that may be full."""

    full = False

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(text)


def test_events_that_were_dropped_are_counted() -> None:
    """The first event that gets through again says how many did not; the next one says nothing."""
    stream = Disk()
    log = make_log(stream=stream, level="info", now_ns=lambda: 0)
    for _ in range(2):
        stream.full = True
        for _ in range(3):
            log.info("dropped")
        log.debug("never meant to be written")
        stream.full = False
        log.info("first")
        log.bind(a=1).info("second")
    assert [record.get("unwritten_lines") for record in written(stream)] == [3, None, 3, None]


def test_lines_of_several_threads_do_not_mix(tmp_path: Any) -> None:
    """Threads that share a stream write whole lines."""
    with open(tmp_path / "log", "w+") as stream:
        log = make_log(stream=stream, level="info", now_ns=lambda: 0)

        def write(name: int) -> None:
            for number in range(200):
                log.bind(thread=name).info("line", number=number, padding="x" * 50)

        threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stream.seek(0)
        records = [json.loads(line) for line in stream]
    assert len(records) == 800
    assert {(r["thread"], r["number"]) for r in records} == {(t, n) for t in range(4) for n in range(200)}


def test_two_logs_share_nothing() -> None:
    """There is no global state: each log has its own stream, clock and level."""
    first, second = io.StringIO(), io.StringIO()
    quiet = make_log(stream=first, level="error", now_ns=lambda: 0)
    loud = make_log(stream=second, level="debug", now_ns=lambda: NOW_NS)
    quiet.info("dropped")
    loud.debug("kept")
    assert written(first) == []
    assert [record["time"] for record in written(second)] == ["2023-11-14T22:13:20.123456Z"]


def test_a_null_log_is_a_log() -> None:
    """Where nothing should be logged, NullLog stands in."""
    log: Log = NullLog()
    for method in (log.debug, log.info, log.warning, log.error, log.exception):
        method("event", field=1)
    assert log.bind(a=1) is log

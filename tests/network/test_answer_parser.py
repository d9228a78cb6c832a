"""One answer off a connection: every way to frame it, every bound, and when the connection may be used again."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.network.answer_parser import MAX_HEAD_BYTES, AnswerParser, BodyTooLargeError, NotHttpError

LIMIT = 1_000
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Thing: 1\r\nx-thing: 2\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nRetry-After: 9\r\n\r\n"
TO_THE_END = b"HTTP/1.1 200 OK\r\n\r\nhello"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


def parsed(*pieces: bytes) -> AnswerParser:
    """Feed pieces one after the other."""
    parser = AnswerParser(LIMIT)
    for piece in pieces:
        parser.feed(piece)
    return parser


@pytest.mark.parametrize("wire", [PLAIN, CHUNKED])
@given(cuts=st.lists(st.integers(0, 120), max_size=6))
def test_an_answer_is_the_same_however_it_is_cut(wire: bytes, cuts: list[int]) -> None:
    """TCP cuts where it likes."""
    places = [0, *sorted(cuts), len(wire)]
    parser = parsed(*(wire[a:b] for a, b in pairwise(places)))

    assert parser.complete
    assert parser.reusable
    assert (parser.answer().status, parser.answer().body) == (200, b"hello")


def test_repeated_fields_are_one_list_and_names_are_lower_case() -> None:
    """As RFC 9110 5.3 says."""
    assert parsed(PLAIN).answer().headers == {"content-length": "5", "x-thing": "1, 2"}


def test_what_stands_behind_the_body_is_no_header() -> None:
    """A trailer does not pretend to be one."""
    assert parsed(CHUNKED).answer().headers == {"transfer-encoding": "chunked"}


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    """And only then; the connection is gone with it."""
    parser = parsed(TO_THE_END)
    before = parser.complete
    parser.end()

    assert (before, parser.complete, parser.reusable) == (False, True, False)
    assert parser.answer().body == b"hello"


def test_an_answer_without_a_body() -> None:
    """204 has none and is complete at once."""
    parser = parsed(NO_CONTENT)

    assert (parser.complete, parser.answer().status, parser.answer().body) == (True, 204, b"")


@pytest.mark.parametrize("wire", [PLAIN[:-1], CHUNKED[:-8], PLAIN[:30], b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_an_answer_that_breaks_off_is_none(wire: bytes) -> None:
    """Where a length was announced, or before the body, the end of the connection is a failure."""
    with pytest.raises(NotHttpError):
        parsed(wire).end()


def test_informational_answers_are_passed_over() -> None:
    """The answer follows them, and nothing of theirs is in it."""
    parser = parsed(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + PLAIN)

    assert parser.complete
    assert "link" not in parser.answer().headers
    assert parser.answer().body == b"hello"


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_an_answer_is_refused(wire: bytes) -> None:
    """Another protocol, lengths that contradict each other, chunks without a size: none of it is guessed at."""
    with pytest.raises(NotHttpError):
        parsed(wire)


@pytest.mark.parametrize(
    "wire",
    [
        PLAIN.replace(b"\r\nX", b"\r\nConnection: close\r\nX"),
        PLAIN.replace(b"1.1", b"1.0"),
        PLAIN + b"HTTP/1.1 200 OK\r\n",
        PLAIN + b"surplus",
        PLAIN.replace(b"\r\nX", b"\r\nConnection: close\r\nX") + b"surplus",
    ],
)
def test_a_connection_that_says_more_or_goodbye_is_not_used_again(wire: bytes) -> None:
    """The answer stands; what came behind it could be taken for the next one."""
    parser = parsed(wire)

    assert parser.complete
    assert not parser.reusable
    assert parser.answer().body == b"hello"


def test_a_body_has_a_bound() -> None:
    """Of exactly the limit it is read, a byte more is refused while it comes, and not kept."""
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    assert not parsed(head, b"x" * LIMIT).complete
    with pytest.raises(BodyTooLargeError):
        parsed(head, b"x" * LIMIT, b"x")


@pytest.mark.parametrize(
    ("start", "endless"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-Thing: 1\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Thing: 1\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x"),
    ],
)
def test_what_is_no_body_has_a_bound_as_well(start: bytes, endless: bytes) -> None:
    """Headers, informational answers, trailers and chunk extensions do not go on for ever."""
    pieces = (MAX_HEAD_BYTES // 1_000 + 2) * [endless * (1_000 // len(endless) + 1)]
    with pytest.raises(NotHttpError):
        parsed(start, *pieces)

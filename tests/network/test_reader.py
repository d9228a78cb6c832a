"""Reading what strangers wrote: each field is right, or named."""

import base64
import json
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from executor.faults import JsonValue
from executor.network.reader import Reader, WrongField, read_json
from executor.units import U64_MAX

ADDRESS = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
SIGNATURE = str(Signature.new_unique())


def reader(value: object) -> Reader:
    """A value at `at` of a document."""
    return read_json(json.dumps({"at": value}).encode()).get("at")


RIGHT: list[tuple[object, Callable[[Reader], object], object]] = [
    ("x", Reader.text, "x"),
    (True, Reader.flag, True),
    (0, Reader.integer, 0),
    (U64_MAX, Reader.integer, U64_MAX),
    ("0", Reader.amount, 0),
    (str(U64_MAX), Reader.amount, U64_MAX),
    (ADDRESS, Reader.pubkey, Pubkey.from_string(ADDRESS)),
    (ADDRESS, Reader.blockhash, Hash.from_string(ADDRESS)),
    (SIGNATURE, Reader.signature, SIGNATURE),
    ("AAE=", Reader.base64_bytes, b"\0\1"),
    (["AAE=", "base64"], Reader.encoded_bytes, b"\0\1"),
    ({"a": 1, "b": 2}, Reader.names, ["a", "b"]),
]


@pytest.mark.parametrize(("value", "read", "expected"), RIGHT)
def test_a_right_value_is_read(value: object, read: Callable[[Reader], object], expected: object) -> None:
    """Each kind of field comes out as its type."""
    assert read(reader(value)) == expected


WRONG: list[tuple[object, Callable[[Reader], object]]] = [
    (1, Reader.text),
    (None, Reader.text),
    (1, Reader.flag),
    (True, Reader.integer),
    (1.0, Reader.integer),
    ("1", Reader.integer),
    (-1, Reader.integer),
    (U64_MAX + 1, Reader.integer),
    (1, Reader.amount),
    ("-1", Reader.amount),
    ("1.0", Reader.amount),
    ("", Reader.amount),
    ("\u0661", Reader.amount),
    (str(U64_MAX + 1), Reader.amount),
    ("9" * 10_000, Reader.amount),
    ("x", Reader.pubkey),
    (ADDRESS + "1", Reader.pubkey),
    ("0", Reader.blockhash),
    (ADDRESS, Reader.signature),
    ("AAE", Reader.base64_bytes),
    ("\u00e9", Reader.base64_bytes),
    (["AAE=", "base58"], Reader.encoded_bytes),
    (["AAE="], Reader.encoded_bytes),
    ({}, Reader.items),
    ([], Reader.names),
]


@pytest.mark.parametrize(("value", "read"), WRONG)
def test_a_wrong_value_is_named_and_not_quoted(value: object, read: Callable[[Reader], object]) -> None:
    """The error says where it stands and what it is not."""
    with pytest.raises(WrongField, match=r"^at is not "):
        read(reader(value))


def test_fields_and_items_are_named_by_their_path() -> None:
    """A reader of the error finds the place in the document."""
    document = read_json(b'{"result": {"value": [{"lamports": "x"}], "none": null}}')

    with pytest.raises(WrongField, match=r"^result\.value\[0\]\.lamports is not an integer"):
        document.get("result").get("value").items()[0].get("lamports").integer()
    with pytest.raises(WrongField, match=r"^result\.slot is missing$"):
        document.get("result").get("slot")
    with pytest.raises(WrongField, match=r"^the answer is not a string$"):
        document.text()
    assert document.get("result").maybe("none") is None
    assert document.get("result").maybe("slot") is None
    assert document.get("result").get("none").raw is None


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ("x", "at is not an array"),
        ([1, 2], "at has 2 items instead of 3"),
        ([1, 2, 3, 4], "at has 4 items instead of 3"),
        ([1, -1, 3], "at[1] is not an integer"),
        ([1, 2, True], "at[2] is not an integer"),
        ([1.0, 2, 3], "at[0] is not an integer"),
        ([1, 2, U64_MAX + 1], "at[2] is not an integer"),
    ],
)
def test_a_wrong_row_of_numbers_is_named(values: object, problem: str) -> None:
    """By its length, or by the first number that is none."""
    with pytest.raises(WrongField, match=rf"^{re.escape(problem)}"):
        reader(values).integers(3)


def test_a_row_of_numbers_is_read_whole() -> None:
    """From 0 to the largest."""
    assert reader([0, 7, U64_MAX]).integers(3) == (0, 7, U64_MAX)
    assert reader([]).integers(0) == ()
    with pytest.raises(WrongField, match=r"^at is not an array$"):
        reader("x").integers(0)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a": NaN}', b"[" * 100_000, b"1" * 10_000, "\ufeff{}".encode("utf-16")])
def test_what_is_not_json_is_not_read(body: bytes) -> None:
    """Garbage, foreign encodings, endless nesting and numbers are one and the same error."""
    with pytest.raises(WrongField, match=r"^the body is not JSON$"):
        read_json(body)


@given(st.binary())
def test_base64_is_read_back(data: bytes) -> None:
    """Any bytes survive."""
    assert reader(base64.b64encode(data).decode()).base64_bytes() == data


@given(st.text() | st.integers() | st.none() | st.lists(st.integers()))
def test_no_value_breaks_a_reader(value: JsonValue) -> None:
    """Whatever stands there, a method returns or raises WrongField."""
    for _, read, _ in RIGHT:
        try:
            read(Reader(value))
        except WrongField:
            continue

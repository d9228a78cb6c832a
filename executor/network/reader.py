"""Reads JSON that strangers wrote: every field is there and of its type, or the error names it."""

import base64
import json
from typing import NoReturn

from solders.hash import Hash, ParseHashError
from solders.pubkey import Pubkey
from solders.signature import Signature

from executor.faults import JsonValue
from executor.units import U64_MAX


class WrongField(Exception):
    """A field is missing or wrong; the clients turn it into a TransportError. The text never quotes the value."""


def read_json(body: bytes) -> "Reader":
    """Parse a body. Raises WrongField if it is not JSON in UTF-8."""
    try:
        return Reader(_DECODER.decode(body.decode()))
    except (ValueError, RecursionError):
        raise WrongField("the body is not JSON") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
"""`json.loads` would make one for every body."""


class Reader:
    """One value of a document, and where it stands. Every method raises WrongField.

    Where it stands is put in words only when something is wrong: a transaction has hundreds of values, nearly always right ones.
    """

    __slots__ = ("_above", "_name", "raw")

    def __init__(self, raw: JsonValue, above: "Reader | None" = None, name: str | int = "") -> None:
        self.raw = raw
        self._above = above
        self._name = name

    def get(self, name: str) -> "Reader":
        """Return a field that must be there; its value may be null."""
        fields = self._object()
        if name not in fields:
            raise WrongField(f"{Reader(None, self, name).path} is missing")
        return Reader(fields[name], self, name)

    def maybe(self, name: str) -> "Reader | None":
        """Return a field, or None where it is missing or null."""
        value = self._object().get(name)
        return None if value is None else Reader(value, self, name)

    def names(self) -> list[str]:
        """The names of an object's fields."""
        return list(self._object())

    def items(self) -> "list[Reader]":
        """The items of an array."""
        if not isinstance(self.raw, list):
            self.refuse("is not an array")
        return [Reader(item, self, index) for index, item in enumerate(self.raw)]

    def integers(self, count: int) -> tuple[int, ...]:
        """An array of this many integers from 0 to 2^64 - 1."""
        if isinstance(self.raw, list) and len(self.raw) == count:
            right = tuple(value for value in self.raw if type(value) is int and 0 <= value <= U64_MAX)
            if len(right) == count:
                return right
        return tuple(item.integer() for item in self.exactly(count))  # says what is wrong

    def exactly(self, count: int) -> "list[Reader]":
        """The items of an array of this length."""
        items = self.items()
        if len(items) != count:
            self.refuse(f"has {len(items)} items instead of {count}")
        return items

    def text(self) -> str:
        """A string."""
        if not isinstance(self.raw, str):
            self.refuse("is not a string")
        return self.raw

    def flag(self) -> bool:
        """A boolean."""
        if not isinstance(self.raw, bool):
            self.refuse("is not a boolean")
        return self.raw

    def integer(self, high: int = U64_MAX) -> int:
        """An integer from 0 to `high`."""
        if type(self.raw) is not int or not 0 <= self.raw <= high:
            self.refuse(f"is not an integer from 0 to {high}")
        return self.raw

    def amount(self) -> int:
        """An integer that JSON carries as decimal digits, because it may exceed what floats hold."""
        text = self.text()
        if not (text.isascii() and text.isdigit()) or len(text) > len(str(U64_MAX)) or int(text) > U64_MAX:
            self.refuse("is not an amount in decimal digits")
        return int(text)

    def pubkey(self) -> Pubkey:
        """An address."""
        try:
            return Pubkey.from_string(self.text())
        except ValueError:
            self.refuse("is not an address")

    def blockhash(self) -> Hash:
        """A blockhash."""
        try:
            return Hash.from_string(self.text())
        except ParseHashError:
            self.refuse("is not a hash")

    def signature(self) -> str:
        """A signature, in base58."""
        try:
            return str(Signature.from_string(self.text()))
        except ValueError:
            self.refuse("is not a signature")

    def base64_bytes(self) -> bytes:
        """Bytes in base64."""
        try:
            return base64.b64decode(self.text(), validate=True)
        except ValueError:
            self.refuse("is not base64")

    def encoded_bytes(self) -> bytes:
        """Bytes as nodes carry those of accounts: [data, "base64"]."""
        parts = self.items()
        if len(parts) != 2 or parts[1].raw != "base64":
            self.refuse("is not [data, base64]")
        return parts[0].base64_bytes()

    def refuse(self, problem: str) -> NoReturn:
        """Say what is wrong with this value."""
        raise WrongField(f"{self.path or 'the answer'} {problem}")

    def _object(self) -> dict[str, JsonValue]:
        if not isinstance(self.raw, dict):
            self.refuse("is not an object")
        return self.raw

    @property
    def path(self) -> str:
        """Where it stands in the document, as in `value.items[2].name`."""
        if self._above is None:
            return ""
        above = self._above.path
        if isinstance(self._name, int):
            return f"{above}[{self._name}]"
        return f"{above}.{self._name}" if above else self._name

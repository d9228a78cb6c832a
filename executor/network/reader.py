"""Reads JSON that strangers wrote: every field is there and of its type, or the error names it."""

import base64
import json
from typing import NoReturn

from attrs import frozen
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


@frozen
class Reader:
    """One value of a document, and where it stands. Every method raises WrongField."""

    raw: JsonValue
    path: str = ""

    def get(self, name: str) -> "Reader":
        """Return a field that must be there; its value may be null."""
        fields = self._object()
        if name not in fields:
            raise WrongField(f"{self._below(name)} is missing")
        return Reader(fields[name], self._below(name))

    def maybe(self, name: str) -> "Reader | None":
        """Return a field, or None where it is missing or null."""
        value = self._object().get(name)
        return None if value is None else Reader(value, self._below(name))

    def names(self) -> list[str]:
        """The names of an object's fields."""
        return list(self._object())

    def items(self) -> "list[Reader]":
        """The items of an array."""
        if not isinstance(self.raw, list):
            self.refuse("is not an array")
        return [Reader(item, f"{self.path}[{index}]") for index, item in enumerate(self.raw)]

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

    def _below(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

"""Reads the arguments of a call and refuses wrong ones in the words of the library that a node uses (serde)."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from solders.pubkey import Pubkey
from solders.signature import Signature

from executor.localnet.encoding import Base58Invalid, base58_decode
from executor.localnet.jsonrpc import RpcError, invalid_params
from executor.units import U64_MAX

Json = Any
PUBKEY_BYTES, PUBKEY_CHARACTERS = 32, 44
SIGNATURE_BYTES, SIGNATURE_CHARACTERS = 64, 88


def described(value: Json) -> str:
    """A value as serde names it."""
    match value:
        case None:
            return "null"
        case bool():
            return f"boolean `{str(value).lower()}`"
        case int():
            return f"integer `{value}`"
        case float():
            return f"floating point `{value!r}`".replace("e+", "e")
        case str():
            return f'string "{value}"'
        case list() | tuple():
            return "sequence"
        case _:
            return "map"


def wrong_type(value: Json, expected: str) -> RpcError:
    """The refusal of a value of the wrong type."""
    return invalid_params(f"Invalid params: invalid type: {described(value)}, expected {expected}.")


def text(value: Json) -> str:
    """A string."""
    if not isinstance(value, str):
        raise wrong_type(value, "a string")
    return value


def sequence(value: Json) -> Sequence[Json]:
    """An array."""
    if not isinstance(value, list):
        raise wrong_type(value, "a sequence")
    return value


def unsigned(value: Json, kind: str = "u64") -> int:
    """A number that fits into 64 bits."""
    if type(value) is not int:
        raise wrong_type(value, kind)
    if value > U64_MAX:  # beyond what its JSON library counts in
        raise wrong_type(float(value), kind)
    if value < 0:
        raise invalid_params(f"Invalid params: invalid value: integer `{value}`, expected {kind}.")
    return value


def bounded(values: Sequence[Json], most: int) -> Sequence[Json]:
    """An array that is not longer than a node accepts."""
    if len(values) > most:
        raise invalid_params(f"Too many inputs provided; max {most}")
    return values


def pubkey(value: Json, prefix: str = "Invalid param: ") -> Pubkey:
    """An address in base58."""
    return Pubkey(fixed_base58(text(value), PUBKEY_BYTES, PUBKEY_CHARACTERS, prefix))


def signature(value: Json) -> Signature:
    """A signature in base58."""
    return Signature(fixed_base58(text(value), SIGNATURE_BYTES, SIGNATURE_CHARACTERS))


@functools.lru_cache(maxsize=8_192)  # a poller asks for the same signatures again and again
def fixed_base58(value: str, size: int, characters: int, prefix: str = "Invalid param: ") -> bytes:
    """So many bytes in base58."""
    if len(value) > characters:
        raise invalid_params(f"{prefix}WrongSize")
    try:
        decoded = base58_decode(value)
    except Base58Invalid as error:
        raise invalid_params(f"{prefix}Invalid") from error
    if len(decoded) != size:
        raise invalid_params(f"{prefix}WrongSize")
    return decoded


COMMITMENTS = ("processed", "confirmed", "finalized")


@frozen
class Config:
    """The options object at the end of a call; absent or null is an empty one."""

    values: Mapping[str, Json]

    def unsigned(self, name: str, kind: str = "u64") -> int | None:
        """An optional number."""
        value = self.values.get(name)
        return None if value is None else unsigned(value, kind)

    def flag(self, name: str) -> bool:
        """An optional switch, off by default."""
        value = self.values.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise wrong_type(value, "a boolean")
        return value

    def choice(self, name: str, variants: Sequence[str]) -> str | None:
        """An optional name out of a list."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, dict) and len(value) != 1:
            raise invalid_params("Invalid params: invalid value: map, expected map with a single key.")
        if not isinstance(value, str):
            raise wrong_type(value, "string or map")
        if value not in variants:
            listed = ", ".join(f"`{variant}`" for variant in variants)
            raise invalid_params(f"Invalid params: unknown variant `{value}`, expected one of {listed}.")
        return str(value)

    def commitment(self, name: str = "commitment") -> str | None:
        """An optional commitment. As at a node, `commitment` may be anything, and what is no such word is none."""
        if name != "commitment":
            return self.choice(name, COMMITMENTS)
        value = self.values.get(name)
        return value if isinstance(value, str) and value in COMMITMENTS else None

    def nested(self, name: str, struct: str) -> "Config | None":
        """An optional object within."""
        value = self.values.get(name)
        return None if value is None else config(value, struct)


def config(value: Json, struct: str) -> Config:
    """Read an options object."""
    if value is None:
        return Config({})
    if not isinstance(value, dict):
        raise wrong_type(value, f"struct {struct}")
    return Config(value)


@frozen
class Params:
    """The arguments of a call, counted before."""

    values: tuple[Json, ...]

    def __getitem__(self, index: int) -> Json:
        return self.values[index] if index < len(self.values) else None

    def config(self, index: int, struct: str) -> Config:
        """The options object at a place."""
        return config(self[index], struct)


def counted(values: tuple[Json, ...], least: int, most: int) -> Params:
    """Check how many arguments there are."""
    if len(values) < least:
        raise invalid_params(f"`params` should have at least {least} argument(s)")
    if len(values) > most and most == 0:
        shown = ", ".join(_debug(value) for value in values)
        raise invalid_params("Invalid parameters: No parameters were expected", f"Array([{shown}])")
    if len(values) > most:
        message = f"Invalid parameters: Expected from {least} to {most} parameters."
        raise invalid_params(message, f'"Got: {len(values)}"')
    return Params(values)


def _debug(value: Json) -> str:
    """A JSON value as Rust prints it for debugging."""
    match value:
        case None:
            return "Null"
        case bool():
            return f"Bool({str(value).lower()})"
        case int() | float():
            return f"Number({value})"
        case str():
            return f'String("{value}")'
        case list():
            return f"Array [{', '.join(_debug(item) for item in value)}]"
        case _:
            return f"Object {{{', '.join(f'{name!r}: {_debug(item)}' for name, item in value.items())}}}".replace("'", '"')

"""Reads a TOML document into settings classes whose fields declare what they may hold, and collects every problem with its line.

It knows no setting of the executor: `config.py` declares them. A field is `Annotated[type, Rule]`, another settings class (a
table) or a tuple of one (an array of tables).
"""

import difflib
import itertools
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs
from attrs import define, field, frozen
from solders.pubkey import Pubkey

from executor.log import cut_urls
from executor.toml_lines import KeyPath, nearest_line


class Unacceptable(Exception):
    """A value breaks its rule; the message says what is wrong, and no more: the reader adds what was found."""


class Rule(Protocol):
    """What a setting may be."""

    @property
    def allowed(self) -> str:
        """What is allowed, for the one who has to correct the file."""

    @property
    def hidden(self) -> bool:
        """Whether a wrong value may be a secret in the wrong place, so that problems do not quote it."""

    def accept(self, value: object) -> object:
        """Return the setting's value, or raise Unacceptable."""


@frozen
class Flag:
    """True or false."""

    allowed = "true or false"
    hidden = False

    def accept(self, value: object) -> object:
        """Accept a boolean."""
        if not isinstance(value, bool):
            raise Unacceptable("wrong type")
        return value


@frozen
class Whole:
    """An integer from `low` to `high`."""

    low: int
    high: int
    hidden = False

    @property
    def allowed(self) -> str:
        """The range."""
        return f"an integer from {self.low} to {self.high}"

    def accept(self, value: object) -> object:
        """Accept an integer in the range; a boolean is none."""
        if not isinstance(value, int) or isinstance(value, bool):
            raise Unacceptable("wrong type")
        if not self.low <= value <= self.high:
            raise Unacceptable("out of range")
        return value


@frozen
class Duration:
    """Seconds from `low` to `high`, with or without a fraction."""

    low: float
    high: float
    hidden = False

    @property
    def allowed(self) -> str:
        """The range."""
        return f"seconds from {self.low:g} to {self.high:g}"

    def accept(self, value: object) -> object:
        """Accept a number in the range; neither a boolean nor nan is one."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise Unacceptable("wrong type")
        if not self.low <= value <= self.high:
            raise Unacceptable("out of range")
        return float(value)


@frozen(kw_only=True)
class Text:
    """A string that a pattern matches as a whole, after ${NAME} was replaced in it where `expanded`."""

    pattern: str
    allowed: str
    hidden: bool = False
    expanded: bool = False

    def accept(self, value: object) -> object:
        """Accept a string that the pattern matches."""
        if not isinstance(value, str):
            raise Unacceptable("wrong type")
        if re.fullmatch(self.pattern, value) is None:
            raise Unacceptable("wrong form")
        return value


@frozen
class Address:
    """An address on the chain."""

    allowed = "an address: 32 bytes in base58"
    hidden = False

    def accept(self, value: object) -> object:
        """Accept an address and return it as such."""
        if not isinstance(value, str):
            raise Unacceptable("wrong type")
        try:
            return Pubkey.from_string(value)
        except ValueError:
            raise Unacceptable("not an address") from None


@define
class Reader:
    """One reading of one document: what was read so far, and what was wrong with it."""

    lines: Mapping[KeyPath, int]
    environment: Mapping[str, str]
    problems: list[tuple[int, str]] = field(factory=list)
    """Line and text, in the order in which they were found."""
    values: dict[KeyPath, Any] = field(factory=dict)
    """Everything that was read without a problem, defaults included; of an array the number of its elements."""

    def read_table(self, path: KeyPath, kind: type[Any], table: Mapping[str, object]) -> object:
        """Read the settings of a class; None as soon as there is any problem anywhere."""
        hints = typing.get_type_hints(kind, include_extras=True)
        for key in table:
            if key not in hints:
                self._report((*path, key), f"unknown key, {_suggestion(key, list(hints))}")
        arguments = {one.name: self._read((*path, one.name), hints[one.name], one, table) for one in attrs.fields(kind)}
        return None if self.problems else kind(**arguments)

    def _read(self, path: KeyPath, hint: Any, attribute: "attrs.Attribute[Any]", table: Mapping[str, object]) -> object:
        if typing.get_origin(hint) is tuple:
            return self._read_array(path, typing.get_args(hint)[0], table.get(attribute.name, []))
        if attrs.has(hint):
            return self._read_subtable(path, hint, table.get(attribute.name, {}))
        rule: Rule = hint.__metadata__[0]
        if attribute.name in table:
            return self._read_value(path, rule, table[attribute.name])
        if attribute.default is attrs.NOTHING:
            self._report(path, f"missing, allowed is {rule.allowed}")
        else:
            self.values[path] = attribute.default
        return attribute.default

    def _read_array(self, path: KeyPath, kind: type[Any], value: object) -> object:
        if not isinstance(value, list):
            self._report(path, f"wrong type, found {_shown(value)}, allowed is an array of tables, [[{dotted(path)}]]")
            return None
        self.values[path] = len(value)
        return tuple([self._read_subtable((*path, index), kind, element) for index, element in enumerate(value)])

    def _read_subtable(self, path: KeyPath, kind: type[Any], value: object) -> object:
        if not isinstance(value, Mapping):
            self._report(path, f"wrong type, found {_shown(value)}, allowed is a table")
            return None
        return self.read_table(path, kind, value)

    def _read_value(self, path: KeyPath, rule: Rule, value: object) -> object:
        missing = self._missing_variables(rule, value)
        for name in missing:
            self._report(
                path, f"the environment variable {name} is not set, found ${{{name}}}, allowed is a variable that is set"
            )
        if missing:
            return None
        try:
            self.values[path] = rule.accept(self._expand(rule, value))
        except Unacceptable as error:
            found = "a string that is not shown here" if rule.hidden and isinstance(value, str) else _shown(value)
            self._report(path, f"{error}, found {found}, allowed is {rule.allowed}")
            return None
        return self.values[path]

    def _missing_variables(self, rule: Rule, value: object) -> Sequence[str]:
        if not _is_expanded(rule, value):
            return []
        return [name for name in dict.fromkeys(_VARIABLE.findall(str(value))) if not self.environment.get(name)]

    def _expand(self, rule: Rule, value: object) -> object:
        if not _is_expanded(rule, value):
            return value
        return _VARIABLE.sub(lambda variable: self.environment[variable[1]], str(value))

    def require_element(self, array: KeyPath, keys: str) -> None:
        """Report an array that has no element."""
        if self.values.get(array) == 0:
            self._report(array, f"missing, found none, allowed is at least one [[{dotted(array)}]] with {keys}")

    def require_order(self, paths: Sequence[KeyPath]) -> None:
        """Report a setting that exceeds the next one."""
        known = [path for path in paths if path in self.values]
        for lower, upper in itertools.pairwise(known):
            if self.values[lower] > self.values[upper]:
                place = lower if lower in self.lines else upper  # the other one is a default
                allowed = f"at most {dotted(upper)}, which is {self.values[upper]}"
                self._report(lower, f"too large, found {self.values[lower]}, allowed is {allowed}", place)

    def require_unique(self, array: KeyPath, key: str) -> None:
        """Report a value that an earlier element of an array has; people do not tell sol from SOL."""
        first: dict[object, KeyPath] = {}
        for index in range(self.values.get(array, 0)):
            path: KeyPath = (*array, index, key)
            if path in self.values:
                value = self.values[path]
                earlier = first.setdefault(value.casefold() if isinstance(value, str) else value, path)
                if earlier != path:
                    line = nearest_line(self.lines, earlier)
                    self._report(path, f"duplicate, found {value} as in line {line}, allowed is one that no other has")

    def _report(self, path: KeyPath, problem: str, place: KeyPath | None = None) -> None:
        self.problems.append((nearest_line(self.lines, place or path), f"{dotted(path)}: {problem}"))


_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_TYPES: Mapping[type, str] = {
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    str: "a string",
    list: "an array",
    dict: "a table",
}


def _is_expanded(rule: Rule, value: object) -> bool:
    return isinstance(rule, Text) and rule.expanded and isinstance(value, str)


def _shown(value: object) -> str:
    """A value as a problem quotes it: short, on one line, without what could be a credential."""
    kind = _TYPES.get(type(value), "a date or a time")
    match value:
        case bool():
            return f"{str(value).lower()} ({kind})"
        case int() if value.bit_length() > 128:
            return f"an integer of {value.bit_length()} bits"
        case int() | float():
            return f"{value} ({kind})"
        case str():
            return f"{_quoted(value)} ({kind})"
    return kind


def _quoted(text: str) -> str:
    safe = cut_urls(text)
    return ascii(safe if len(safe) <= 60 else f"{safe[:60]}...")


def dotted(path: KeyPath) -> str:
    """A path as a person writes it: solana.nodes[1].url is the url of the first node."""
    return "".join(f"[{part + 1}]" if isinstance(part, int) else f".{_bare(part)}" for part in path).removeprefix(".")


def _bare(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]{1,60}", key) else _quoted(key)


def _suggestion(key: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {nearest[0]}?" if nearest else f"allowed is {', '.join(known)}"

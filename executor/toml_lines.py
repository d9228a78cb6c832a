"""Where a key stands in a TOML text. `tomllib` forgets it, and "max_retries is wrong" is no help in a file of 100 lines."""

import re
import tomllib
from collections.abc import Iterator, Mapping

KeyPath = tuple[str | int, ...]
"""Table names and keys as `tomllib` nests them; an int is the place in an array of tables, from 0."""

# In this order: a multi-line string also begins like an ordinary one, and may end in up to two quotes of its own.
_TOKEN = re.compile(
    r'''(?P<string> """(?:\\.|[^\\])*?"""(?:"{0,2}) | \'\'\'.*?\'\'\'(?:\'{0,2}) | "(?:\\.|[^"\\\n])*" | '[^'\n]*' )
    | (?P<skipped> \#[^\n]* | [ \t\r]+ ) | (?P<end>\n) | (?P<bare>[A-Za-z0-9_-]+) | (?P<mark>.)''',
    re.VERBOSE | re.DOTALL,
)
_DEPTH: Mapping[str, int] = {"[": 1, "{": 1, "]": -1, "}": -1}


def find_lines(text: str) -> dict[KeyPath, int]:
    """Map every table, every element of an array of tables and every key to its line, from 1, of a text that is valid TOML.

    What stands in an inline table or in an array has no line of its own: look for the longest prefix of its path.
    """
    lines: dict[KeyPath, int] = {}
    last: dict[KeyPath, int] = {}  # array of tables -> its newest element, which [array.table] and [[array.array]] mean
    table: KeyPath = ()
    for line, tokens in _statements(text):
        if tokens[:2] == ["[", "["]:
            array = _resolve((), _keys(tokens[2:-2]), last, but_last=True)
            last[array] = last.get(array, -1) + 1
            table = (*array, last[array])
            found = table
        elif tokens[0] == "[":
            table = found = _resolve((), _keys(tokens[1:-1]), last)
        else:
            found = _resolve(table, _keys(tokens[: tokens.index("=")]), last)
        for length in range(1, len(found) + 1):
            lines.setdefault(found[:length], line)
    return lines


def _statements(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each table header and each key with its value as tokens, without comments and white space, and its first line."""
    line, first, depth = 1, 1, 0
    tokens: list[str] = []
    for match in _TOKEN.finditer(text + "\n"):
        token = match[0]
        if match.lastgroup == "end" and depth == 0 and tokens:
            yield first, tokens
            tokens = []
        elif match.lastgroup not in ("end", "skipped"):
            first = first if tokens else line
            tokens.append(token)
            depth += _DEPTH.get(token, 0)
        line += token.count("\n")


def _keys(tokens: list[str]) -> Iterator[str]:
    """Yield the parts of a dotted key; quoted ones are TOML strings, so `tomllib` reads them."""
    for token in tokens:
        if token[0] in "\"'":
            yield tomllib.loads(f"key = {token}")["key"]
        elif token != ".":  # noqa: S105 - a token of the text
            yield token


def _resolve(start: KeyPath, keys: Iterator[str], last: Mapping[KeyPath, int], *, but_last: bool = False) -> KeyPath:
    path = start
    for key in keys:
        path = (*path, last[path], key) if path in last else (*path, key)
    return path if but_last or path not in last else (*path, last[path])


def nearest_line(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """The line of this path, or of the nearest thing around it; 1 when nothing around it is in the text."""
    return next((lines[path[:length]] for length in range(len(path), 0, -1) if path[:length] in lines), 1)

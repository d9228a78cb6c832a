"""Structured logs: one JSON object a line, an event name and fields, no secret.

Nobody should hand a secret to a log call. `_clean` is the second line of defence: it hides values by the name of their field,
cuts URLs down to their host, and shows bytes by their length only.
"""

import enum
import json
import math
import re
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Protocol, TextIO

import attrs
import structlog
from attrs import define, frozen
from solders.keypair import Keypair

LEVELS: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
REDACTED = "[redacted]"

# An upstream decides how long an answer is and how deep it nests; a line of the log stays readable and cheap whatever it sent.
MAX_TEXT = 4_096
MAX_ITEMS = 256
MAX_DEPTH = 6
MAX_FRAMES = 48
MAX_INT_BITS = 256  # json.dumps raises above some 14,000


class Log(Protocol):
    """Where events go. A call never raises, and never waits for anything but the stream.

    What the stream does not take is dropped; the next event that it takes says in `unwritten_lines` how many that were.
    """

    def debug(self, event: str, /, **fields: object) -> None:
        """Note what only a developer looks for."""

    def info(self, event: str, /, **fields: object) -> None:
        """Note a step of normal work."""

    def warning(self, event: str, /, **fields: object) -> None:
        """Note what went wrong and was dealt with."""

    def error(self, event: str, /, **fields: object) -> None:
        """Note what an operator should look at."""

    def exception(self, event: str, /, **fields: object) -> None:
        """Note an error together with the exception that is being handled."""

    def bind(self, **fields: object) -> "Log":
        """Return a log that adds these fields to every event."""


class NullLog:
    """A log that keeps nothing."""

    def debug(self, event: str, /, **fields: object) -> None:
        """Drop the event."""

    info = warning = error = exception = debug

    def bind(self, **fields: object) -> "NullLog":
        """Return the same log."""
        return self


def make_log(*, stream: TextIO, level: str, now_ns: Callable[[], int]) -> Log:
    """Build a log that writes events of this level (a key of `LEVELS`) and above, stamped with `now_ns`, wall time."""
    lines = _Lines(stream=stream, minimum=LEVELS[level])
    # The processors are passed on, not configured: structlog's own configuration is global to the process.
    return _StreamLog(lines, [_Arrange(now_ns), structlog.processors.JSONRenderer(serializer=_as_json)], {})


_ENCODER = json.JSONEncoder(default=repr)


def _as_json(record: object, **_of_structlog: object) -> str:
    """Write a record; `json.dumps` would make an encoder for every line."""
    return _ENCODER.encode(record)


@define
class _Lines:
    """The stream, shared by every log that was bound from the first one."""

    stream: TextIO
    minimum: int
    lock: threading.Lock = attrs.field(factory=threading.Lock)
    _untold: int = 0

    def take_untold(self) -> int:
        """How many lines the stream did not take and none that it took has told of: the caller's line does."""
        with self.lock:
            untold, self._untold = self._untold, 0
        return untold

    def write(self, line: str, *, tells: int) -> None:
        """Write a line that tells of so many unwritten ones."""
        with self.lock:
            # A reader that went away (EPIPE), a full disk (ENOSPC) or a stream that was closed must not end a trade.
            try:
                self.stream.write(line + "\n")
                self.stream.flush()
            except (OSError, ValueError):
                self._untold += tells + 1


class _StreamLog(structlog.BoundLoggerBase):
    _logger: _Lines

    def debug(self, event: str, /, **fields: object) -> None:
        self._emit("debug", event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        self._emit("info", event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        self._emit("warning", event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        self._emit("error", event, fields)

    def exception(self, event: str, /, **fields: object) -> None:
        self._emit("error", event, {"exc_info": True, **fields})

    def _emit(self, level: str, event: str, fields: dict[str, object]) -> None:
        if LEVELS[level] >= self._logger.minimum:
            untold = self._logger.take_untold()
            extra = {"unwritten_lines": untold} if untold else {}
            ((line,), _) = self._process_event(level, None, {**fields, **extra, "event": event})
            self._logger.write(line, tells=untold)


@frozen
class _Arrange:
    """Stamp an event, put its keys in order and make every value safe for JSON and for eyes."""

    now_ns: Callable[[], int]

    def __call__(self, _logger: object, level: str, fields: MutableMapping[str, object]) -> Mapping[str, object]:
        record: dict[str, object] = {"time": rfc3339(self.now_ns()), "level": level, "event": _text(str(fields.pop("event")))}
        failure = _failure(fields.pop("exc_info", None))
        for name, value in fields.items():
            record[name if name not in record else f"{name}_"] = _clean(name, value)
        if failure is not None:
            record["exception"] = describe_exception(failure)
        return record


def rfc3339(unix_ns: int) -> str:
    """Write a wall time as RFC 3339 in UTC with microseconds, rounded down."""
    seconds, nanoseconds = divmod(unix_ns, 1_000_000_000)
    return f"{_whole_second(seconds)}.{nanoseconds // 1_000:06d}Z"


@lru_cache(maxsize=4)
def _whole_second(unix_seconds: int) -> str:
    return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def _failure(exc_info: object) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    return sys.exception() if exc_info else None


def describe_exception(error: BaseException, depth: int = 0) -> dict[str, object]:
    """Render an exception, its trace, its causes and, of a group, its members; redacted, without source lines or locals."""
    described: dict[str, object] = {"type": type(error).__qualname__, "message": _text(_printed(error))}
    frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
    described["trace"] = ["/".join(f.filename.split("/")[-2:]) + f":{f.lineno} {f.name}" for f in frames]
    if depth < MAX_DEPTH:
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is not None:
            described["cause"] = describe_exception(cause, depth + 1)
        if isinstance(error, BaseExceptionGroup):
            described["exceptions"] = [describe_exception(e, depth + 1) for e in error.exceptions[:MAX_ITEMS]]
    return described


def _clean(name: str, value: object, depth: int = 0) -> object:
    if is_secret_name(name) or isinstance(value, Keypair):  # str() of a Keypair is its secret
        return REDACTED
    match value:
        case None | bool():
            return value
        case int():
            return value if value.bit_length() <= MAX_INT_BITS else f"<an integer of {value.bit_length()} bits>"
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            return _text(value)
        case bytes() | bytearray():
            return f"<{len(value)} bytes>"
        case enum.Enum():
            return value.value if isinstance(value.value, str) else value.name
        case BaseException():
            return _text(f"{type(value).__qualname__}: {_printed(value)}")
    return _clean_members(name, value, depth) if depth < MAX_DEPTH else _text(f"<{type(value).__qualname__}>")


def _clean_members(name: str, value: object, depth: int) -> object:
    """Clean what holds other values. Their str() would show what `_clean` hides."""
    kind: type = type(value)
    if attrs.has(kind):
        return {
            field.name: _clean(field.name, getattr(value, field.name), depth + 1) for field in attrs.fields(kind) if field.repr
        }
    if isinstance(value, Mapping):
        pairs = ((_text(_printed(key)), item) for key, item in islice(value.items(), MAX_ITEMS))
        return {key: _clean(key, item, depth + 1) for key, item in pairs} | (
            {"...": len(value)} if len(value) > MAX_ITEMS else {}
        )
    if isinstance(value, list | tuple | AbstractSet):
        items = [_clean(name, item, depth + 1) for item in islice(value, MAX_ITEMS)]
        return items + ([f"... ({len(value)} items)"] if len(value) > MAX_ITEMS else [])
    return _text(_printed(value))


def _printed(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - whatever a foreign __str__ raises, the event is worth more than the value
        return f"<{type(value).__qualname__}, unprintable: {type(error).__qualname__}>"


# The last words of a name decide: `jupiter_api_key` and `x-api-key` hide their values, `api_key_env` and `keypair_path` do not.
_SECRET_NAME = re.compile(
    r"""(^|_)( (api|private|secret|signing|access|auth)_?keys? | secrets? | password | passwd | passphrase | mnemonic
    | seed_phrase | authorization | credentials? | cookie | bearer | keypair | (?<!input_)(?<!output_)(?<!mint_)token )$""",
    re.VERBOSE,
)


@lru_cache(maxsize=512)  # the names of our own fields, again and again; a stranger's come and go
def is_secret_name(name: str) -> bool:
    """Whether a field of this name is hidden. A `token` is a credential here; a token of the chain is a mint or a symbol."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_")
    return _SECRET_NAME.search(snake) is not None


_URL = re.compile(r"""://([^\s"<>]*)""")  # without the scheme: looking for its beginning takes quadratic time in a long text
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-]+)(:[0-9]+)?")
_CREDENTIAL = re.compile(
    r"""(?i)\b(bearer\s+|(?:api[-_]?key|authorization)['"]?\s*[=:]\s*['"]?(?:bearer\s+|basic\s+)?)[^\s"',&]+"""
)


def cut_urls(text: str) -> str:
    """Cut every URL down to scheme://host[:port]: keys stand in user names, passwords, paths and queries."""
    return _URL.sub(lambda found: f"://{_host(found[1])}", text)


def _host(rest: str) -> str:
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    if "@" in rest[len(authority) :]:
        return REDACTED  # perhaps a password with a slash in it: then what looks like the host is part of the secret
    host = _HOST.match(authority.rpartition("@")[2])
    return host[0] if host else REDACTED


def _text(text: str) -> str:
    shown = _CREDENTIAL.sub(lambda found: found[1] + REDACTED, cut_urls(text))
    return shown if len(shown) <= MAX_TEXT else f"{shown[:MAX_TEXT]}... ({len(shown)} characters)"

"""HTTP as the localnet's cores see it: a request that has been read whole, and the reply to it. No I/O."""

import json
from collections.abc import Mapping

from attrs import field, frozen


@frozen(kw_only=True)
class HttpRequest:
    """One request. Header names are lower case; of a repeated query parameter or header the last one counts."""

    method: str
    path: str
    """Without the query string, percent-decoded."""
    query: Mapping[str, str] = field(factory=dict)
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes = b""


@frozen(kw_only=True)
class HttpReply:
    """What goes back. The server adds content-length itself."""

    status: int
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes = b""


_ENCODER = json.JSONEncoder(separators=(",", ":"))


def compact_json(value: object) -> str:
    """Write JSON without blanks; `json.dumps` would make an encoder for every document."""
    return _ENCODER.encode(value)


def json_reply(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> HttpReply:
    """Answer with a JSON document."""
    body = compact_json(value).encode()
    return HttpReply(status=status, headers={"content-type": "application/json", **(headers or {})}, body=body)


def text_reply(text: str, *, status: int) -> HttpReply:
    """Answer with plain text."""
    return HttpReply(status=status, headers={"content-type": "text/plain; charset=utf-8"}, body=text.encode())

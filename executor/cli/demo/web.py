"""HTTP as any stranger speaks it: the standard library, without a proxy, and nothing of the daemon's clients."""

import http.client
import json
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from executor.cli.demo.failure import DemoFailed

TIMEOUT_SECONDS = 5.0
SHOWN_BYTES = 300

Json = Any


def fetch(url: str, body: Json = None) -> Json:
    """GET, or POST a body as JSON; return the answer's JSON. Raises DemoFailed for anything else than a 200 with JSON."""
    place = urlsplit(url)
    target = place.path + (f"?{place.query}" if place.query else "")
    content = None if body is None else json.dumps(body)
    with closing(http.client.HTTPConnection(place.hostname or "", place.port, timeout=TIMEOUT_SECONDS)) as connection:
        try:
            connection.request("GET" if content is None else "POST", target, content, {"content-type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise DemoFailed(f"no answer from {url}: {error}") from error
    if answer.status != http.HTTPStatus.OK:
        raise DemoFailed(f"{url} answered with status {answer.status}: {text[:SHOWN_BYTES]!r}")
    try:
        return json.loads(text)
    except ValueError as error:
        raise DemoFailed(f"{url} answered with something that is no JSON: {text[:SHOWN_BYTES]!r}") from error

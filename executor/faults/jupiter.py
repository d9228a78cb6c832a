"""What Jupiter's API says no with."""

import json
import re
from collections.abc import Mapping
from types import MappingProxyType

from executor.errors import ErrorCode
from executor.faults.http import HTTP_ROWS, http_fault
from executor.faults.model import Fault, FaultClass, JsonValue, Reaction, Remedy, Source, json_text
from executor.faults.rows import Row, reject, requote, unknown

NO_ROUTE = Row(
    ErrorCode.ROUTE_NOT_FOUND,
    FaultClass.PERMANENT,
    Reaction.REQUOTE,
    "no route was found",
    Remedy.WITHOUT_SHARED_ACCOUNTS,
    once=True,
)
STALE_QUOTE = requote("Jupiter cannot build the swap of this quote", once=True)
OWN_SIMULATION_FAILED = requote("Jupiter's own simulation failed", once=True)


def _invalid_request(meaning: str) -> Row:
    return reject(meaning, ErrorCode.JUPITER_REFUSED)


JUPITER_ROWS: Mapping[str, Row] = MappingProxyType(
    {
        "NO_ROUTES_FOUND": NO_ROUTE,
        "COULD_NOT_FIND_ANY_ROUTE": NO_ROUTE,
        "MARKET_NOT_FOUND": NO_ROUTE,
        "TOKEN_NOT_TRADABLE": reject("the token is not tradable", ErrorCode.TOKEN_NOT_TRADABLE),
        "CIRCULAR_ARBITRAGE_IS_DISABLED": _invalid_request("input and output are the same token"),
        "CANNOT_COMPUTE_OTHER_AMOUNT_THRESHOLD": _invalid_request("Jupiter cannot compute the threshold"),
        "MAX_ACCOUNT_GREATER_THAN_MAX": _invalid_request("maxAccounts is too large"),
        "INVALID_COMPUTE_UNIT_PRICE_AND_PRIORITIZATION_FEE": _invalid_request("price and fee exclude each other"),
        "NOT_SUPPORTED": _invalid_request("Jupiter does not support the request"),
        "ZodError": _invalid_request("Jupiter calls the request invalid"),
        "ROUTE_PLAN_DOES_NOT_CONSUME_ALL_THE_AMOUNT": reject("the amount is too large for any route", ErrorCode.ROUTE_NOT_FOUND),
        "FAILED_TO_GET_SWAP_AND_ACCOUNT_METAS": STALE_QUOTE,
    }
)
_NO_ROUTE_TEXT = re.compile(r"(?i)no routes? found|route not found|could not find any route")
_AUTHORITATIVE = frozenset({401, 403, 429})


def jupiter_fault(status: int, body: bytes, headers: Mapping[str, str]) -> Fault:
    """Classify an answer of Jupiter's API that is an error, by its code, its words or its status. 200 may carry one, too."""
    code, said, status_in_body = _jupiter_error(body)
    status = status_in_body if status == 200 and status_in_body else status
    if status in _AUTHORITATIVE:
        return http_fault(status, headers, Source.JUPITER)
    row = JUPITER_ROWS.get(code)
    if row is None and _NO_ROUTE_TEXT.search(said):
        row = NO_ROUTE
    if row is None and status == 422:
        row = STALE_QUOTE
    if row is not None:
        return row.fault(said)
    if status >= 500 or status in HTTP_ROWS:
        return http_fault(status, headers, Source.JUPITER)
    return unknown(f"unknown answer with HTTP status {status}", f"{code} {said}".strip(), ErrorCode.JUPITER_REFUSED)


def simulation_error_fault(error: JsonValue) -> Fault:
    """Classify the `simulationError` of a swap answer that came with status 200; `error` must not be None."""
    return OWN_SIMULATION_FAILED.fault(json_text(error))


def _jupiter_error(body: bytes) -> tuple[str, str, int]:
    """Read code, words and status from the three shapes of error bodies, or the words of a body that is plain text."""
    text = body[:65_536].decode(errors="replace")
    try:
        read: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        return "", text, 0
    if not isinstance(read, dict):
        return "", text, 0
    error, status = read.get("error"), read.get("code")
    if isinstance(error, dict):  # {"success": false, "error": {"issues": [...], "name": "ZodError"}}
        return str(error.get("name", "")), json_text(error.get("issues", error)), 0
    said = error if isinstance(error, str) else read.get("message")
    number = status if isinstance(status, int) else 0
    return str(read.get("errorCode", "")), said if isinstance(said, str) else text, number

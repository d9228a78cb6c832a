"""What a node says no with: the error objects of JSON-RPC."""

from collections.abc import Mapping
from types import MappingProxyType

from executor.errors import ErrorCode
from executor.faults.model import Fault, FaultClass, JsonValue, Reaction, Remedy
from executor.faults.rows import Row, again, elsewhere, reject, unknown
from executor.faults.transaction import transaction_fault

PREFLIGHT_FAILED = -32002

RPC_ROWS: Mapping[int, Row] = MappingProxyType(
    {
        -32429: again("rate limited", ErrorCode.NODE_RATE_LIMITED, Reaction.OTHER_NODE),
        -32700: reject("the node cannot parse our call", ErrorCode.NODE_REFUSED),
        -32600: reject("the node calls our request invalid", ErrorCode.NODE_REFUSED),
        -32601: reject("the node does not know the method", ErrorCode.NODE_REFUSED),
        -32602: reject("the node calls our parameters invalid", ErrorCode.NODE_REFUSED),
        -32603: again("internal error of the node", ErrorCode.NODE_UNHEALTHY),
        -32001: elsewhere("block cleaned up"),
        -32004: elsewhere("block not available"),
        -32007: elsewhere("slot skipped"),
        -32008: elsewhere("no snapshot"),
        -32009: elsewhere("slot skipped or missing in long-term storage"),
        -32011: elsewhere("transaction history not available"),
        -32012: elsewhere("scan error"),
        -32014: elsewhere("block status not available yet"),
        -32016: elsewhere("the node has not reached the minimum context slot"),
        -32019: elsewhere("long-term storage unreachable"),
        -32021: elsewhere("no slot history"),
        -32005: elsewhere("the node is unhealthy"),
        -32003: reject("signature verification failed", ErrorCode.INTERNAL_ERROR),
        -32013: reject("wrong length of a signature", ErrorCode.INTERNAL_ERROR),
        -32006: reject("precompile verification failed", ErrorCode.NODE_REFUSED),
        -32010: reject("the key is excluded from the node's secondary index", ErrorCode.NODE_REFUSED),
        -32015: reject("transaction version not supported by the call", ErrorCode.NODE_REFUSED),
        -32017: reject("epoch rewards period active", ErrorCode.NODE_REFUSED),
        -32018: reject("slot is not an epoch boundary", ErrorCode.NODE_REFUSED),
        -32020: reject("filter transaction not found", ErrorCode.NODE_REFUSED),
    }
)

TOO_LARGE = Row(
    ErrorCode.TRANSACTION_TOO_LARGE,
    FaultClass.PERMANENT,
    Reaction.REQUOTE,
    "the transaction is too large",
    Remedy.LOWER_MAX_ACCOUNTS,
)


def rpc_fault(code: int, message: str, data: JsonValue) -> Fault:
    """Classify a JSON-RPC error object. A failed preflight is classified by the transaction error that it carries."""
    if code == PREFLIGHT_FAILED:
        return _preflight_fault(message, data)
    if code == -32602 and "too large" in message:
        return TOO_LARGE.fault(message)
    row = RPC_ROWS.get(code)
    if row is None:
        return unknown(f"unknown JSON-RPC error {code}", message, ErrorCode.NODE_REFUSED)
    return row.fault(message)


def _preflight_fault(message: str, data: JsonValue) -> Fault:
    if not isinstance(data, dict) or data.get("err") is None:
        return unknown("preflight failed and the node does not say how", message, ErrorCode.SIMULATION_FAILED)
    logs = data.get("logs")
    lines = [line for line in logs if isinstance(line, str)] if isinstance(logs, list) else []
    return transaction_fault(data["err"], lines)

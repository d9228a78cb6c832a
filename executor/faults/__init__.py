"""What every error of the outside world means and what to do about it: the tables, and the functions that read them.

The tables follow one page of facts about the network, error by error. Two rules stand behind them. Whether a fault is
transient says only that the same call may succeed later; what it means for a trade depends on whether bytes have left, which
only the caller knows (`after_send`). And what no table knows is permanent before a send, and says that it is unknown.

docs/errors.md is made of them (scripts/errors).
"""

from executor.faults.http import answer_fault, http_fault, retry_after_seconds, transport_fault
from executor.faults.jupiter import jupiter_fault, simulation_error_fault
from executor.faults.model import (
    MAX_DETAIL_CHARACTERS,
    Fault,
    FaultClass,
    JsonValue,
    Reaction,
    Remedy,
    Source,
    TransportError,
    TransportKind,
    after_send,
    json_text,
    printable,
)
from executor.faults.programs import (
    ASSOCIATED_TOKEN_PROGRAM,
    JUPITER_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
    failing_program,
)
from executor.faults.rpc import rpc_fault
from executor.faults.transaction import transaction_fault

__all__ = [
    "ASSOCIATED_TOKEN_PROGRAM",
    "JUPITER_PROGRAM",
    "MAX_DETAIL_CHARACTERS",
    "SYSTEM_PROGRAM",
    "TOKEN_2022_PROGRAM",
    "TOKEN_PROGRAM",
    "Fault",
    "FaultClass",
    "JsonValue",
    "Reaction",
    "Remedy",
    "Source",
    "TransportError",
    "TransportKind",
    "after_send",
    "answer_fault",
    "failing_program",
    "http_fault",
    "json_text",
    "jupiter_fault",
    "printable",
    "retry_after_seconds",
    "rpc_fault",
    "simulation_error_fault",
    "transaction_fault",
    "transport_fault",
]

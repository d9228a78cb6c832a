"""Writes docs/errors.md from the error codes and the tables of faults: scripts/errors."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from executor.errors import CodeFacts, ErrorCode
from executor.faults import (
    ASSOCIATED_TOKEN_PROGRAM,
    JUPITER_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
    Fault,
    FaultClass,
    Reaction,
    Remedy,
    Source,
    TransportKind,
    answer_fault,
    http_fault,
    transport_fault,
)
from executor.faults.http import HTTP_ROWS
from executor.faults.jupiter import JUPITER_ROWS, OWN_SIMULATION_FAILED, STALE_QUOTE
from executor.faults.programs import (
    ACCOUNTS_OF_DEX,
    ACCOUNTS_OF_JUPITER,
    ANCHOR_ACCOUNT_ERRORS,
    OTHER_DEX,
    OUR_FEE_ACCOUNT,
    PROGRAM_ROWS,
)
from executor.faults.rows import Row
from executor.faults.rpc import RPC_ROWS, TOO_LARGE
from executor.faults.transaction import COMPUTE_EXHAUSTED, INSTRUCTION_ROWS, TRANSACTION_ROWS
from tests.docs.generated import write_or_check

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"

PROGRAM_NAMES: Mapping[str, str] = {
    JUPITER_PROGRAM: "Jupiter",
    TOKEN_PROGRAM: "SPL Token",
    TOKEN_2022_PROGRAM: "Token-2022",
    SYSTEM_PROGRAM: "System",
    ASSOCIATED_TOKEN_PROGRAM: "Associated Token",
}
CLASSES: Mapping[FaultClass, str] = {
    FaultClass.PERMANENT: "the same call fails again",
    FaultClass.TRANSIENT: "the same call, or the same trade with a new quote, may succeed",
    FaultClass.AMBIGUOUS: "proves nothing about the transaction",
    FaultClass.SUCCESS_PATH: "no failure: the transaction is known already",
}
REACTIONS: Mapping[Reaction, str] = {
    Reaction.SAME: "the same call with the same bytes again; a simulation that ends so is not repeated: the trade is given up",
    Reaction.OTHER_NODE: "the same call with the same bytes to another node",
    Reaction.REBUILD: "a new transaction with a limit lifted; ours have no smaller limit than there is, so it is given up",
    Reaction.REQUOTE: "a new quote and transaction, while nothing is signed, within slippage and budget, three offers in all",
    Reaction.REJECT: "give up and say why",
    Reaction.PENDING: "the outcome is unknown: watch the signature and send the same bytes on",
    Reaction.LOOK_UP: "ask for the signature's status",
}
REMEDIES: Mapping[Remedy, str] = {
    Remedy.LOWER_MAX_ACCOUNTS: "with fewer accounts",
    Remedy.WITHOUT_SHARED_ACCOUNTS: "without shared accounts",
    Remedy.EXCLUDE_DEX: "without that DEX",
    Remedy.EXCLUDE_DEX_SECOND_TIME: "without that DEX from the second time on",
    Remedy.LARGER_COMPUTE_LIMIT: "with a larger compute limit",
    Remedy.HIGHER_FEE: "with a higher fee in the next transaction",
    Remedy.REFETCH_TABLES: "with lookup tables read anew",
    Remedy.WITHOUT_DATA_SIZE_LIMIT: "without a limit on loaded data",
}
OUTCOMES: Sequence[tuple[str, str, ErrorCode | None]] = (
    ("confirmed or finalized, without an error", "SUCCESS", None),
    ("confirmed or finalized, with an error", "FAILED, the fee is paid", ErrorCode.SWAP_REVERTED),
    (
        "confirmed or finalized, below the minimum (Jupiter's 6001 or 6017)",
        "FAILED, the fee is paid",
        ErrorCode.SLIPPAGE_EXCEEDED,
    ),
    ("processed only, or unknown, when the time is over", "PENDING, watched on", ErrorCode.CONFIRMATION_TIMEOUT),
    ("every node: the last valid height has passed, and nothing in its history", "FAILED", ErrorCode.TRANSACTION_EXPIRED),
    ("the same, but a node lags, disagrees or does not answer", "PENDING, watched on", ErrorCode.CONFIRMATION_TIMEOUT),
)
"""Rows of tests/test_confirmation_outcomes.py."""
HEAD = """\
# Errors
Made by `scripts/errors` from `executor/errors.py` and `executor/faults/`; change those, not this page. `scripts/check` holds it.

A refusal by the executor's own rules is answered as an error status whose `google.rpc.ErrorInfo` has the code as `reason`; then
nothing was sent. Everything else is answered OK with a `TradeResult`: FAILED is proved, PENDING is not proved either way yet.
"Retryable" means that a new request may help without anything else being changed first. `executor status` counts errors by code
since the start, and by code and source over the last minute, five minutes and hour.
"""


def page() -> str:
    """The whole page."""
    parts = (HEAD, _index(), *map(_code, ErrorCode), _legend(), *_upstream(), _outcomes())
    return "\n".join(parts).rstrip("\n") + "\n"


# --- our codes ---


def _index() -> str:
    rows = [[f"[{c.name}](#{c.name.lower()})", _answer(c.facts), _yes(c.facts.retryable), c.facts.meaning] for c in ErrorCode]
    return "## Codes\n" + _table(["code", "answered as", "retryable", "meaning"], rows)


def _code(code: ErrorCode) -> str:
    facts = code.facts
    return (
        f"### {code.name}\n"
        f"{facts.meaning[0].upper()}{facts.meaning[1:]}. Answered as {_answer(facts)}; "
        f"{'retryable' if facts.retryable else 'not retryable'}.\n"
        f"- Cause: {facts.cause}\n"
        f"- The daemon: {facts.reaction}\n"
        f"- You: {facts.advice}\n"
    )


def _answer(facts: CodeFacts) -> str:
    status = [] if facts.reply_status is None else [f"status {facts.reply_status.value}"]
    return " or ".join([*status, *(f"result {result}" for result in facts.results)])


def _yes(value: bool) -> str:
    return "yes" if value else "no"


# --- errors of others ---


def _legend() -> str:
    classes = "\n".join(f"- {fault_class.value.replace('_', ' ')}: {CLASSES[fault_class]}." for fault_class in FaultClass)
    reactions = "\n".join(f"- {_word(reaction)}: {REACTIONS[reaction]}." for reaction in Reaction)
    return (
        "## Errors of nodes, programs and Jupiter\n"
        "What each means before the first byte of a transaction has left. After that only the chain ends a trade: what says\n"
        "SAME or OTHER NODE, or what no table knows, is then ambiguous; what fails every node's preflight is not sent again.\n\n"
        f"Classes:\n{classes}\n\nReactions:\n{reactions}\n\n"
        "What no table has is permanent before a send: the trade is given up, and the message says that the error is unknown.\n"
    )


def _upstream() -> Iterator[str]:
    head = ["error", "of a node", "of Jupiter", "class", "reaction"]
    words = "Jupiter has no other node to go to: SAME instead of OTHER NODE."
    yield f"### Connections and HTTP\n{words}\n\n" + _table(head, _both(_connections()))
    yield _rows(
        "JSON-RPC", {**_words(RPC_ROWS), "-32602, too large": TOO_LARGE}, "-32002 is a preflight: see below by its error."
    )
    yield _rows(
        "TransactionError", _words(TRANSACTION_ROWS), "In a preflight, a simulation or a status. InstructionError: see below."
    )
    exhausted = {"ProgramFailedToComplete, compute used up": COMPUTE_EXHAUSTED}
    yield _rows("InstructionError", {**_words(INSTRUCTION_ROWS), **exhausted}, "Custom numbers: see below by the program.")
    whose = "The innermost program that the logs call failed; the index of the instruction does not count."
    for program, rows in PROGRAM_ROWS.items():
        yield _rows(f"Custom errors of {PROGRAM_NAMES[program]}", _words(rows), f"`{program}`. {whose}")
    anchor = f"{ANCHOR_ACCOUNT_ERRORS.start}-{ANCHOR_ACCOUNT_ERRORS.stop - 1}"
    anchor_rows = {
        f"{anchor} on our fee account, in Jupiter": OUR_FEE_ACCOUNT,
        f"{anchor} otherwise in Jupiter": ACCOUNTS_OF_JUPITER,
        f"{anchor} in any other program": ACCOUNTS_OF_DEX,
        "any other number in any other program": OTHER_DEX,
    }
    yield _rows("Custom errors of Anchor and of pools", anchor_rows, whose)
    jupiter = {**_words(JUPITER_ROWS), "HTTP 422": STALE_QUOTE, "simulationError": OWN_SIMULATION_FAILED}
    yield _rows(
        "Jupiter's API", jupiter, "By `errorCode` or by its words, whatever the status; 401, 403 and 429 by their status."
    )


def _outcomes() -> str:
    rows = [[said, outcome, "" if code is None else code.name] for said, outcome, code in OUTCOMES]
    return "### What the chain says of what was sent\n" + _table(["the nodes say", "outcome", "code"], rows)


def _connections() -> Iterator[tuple[str, Fault, Fault]]:
    for kind in TransportKind:
        yield kind.value, transport_fault(kind), transport_fault(kind, Source.JUPITER)
    for status in HTTP_ROWS:
        yield f"HTTP {status}", http_fault(status, {}, Source.NODE), http_fault(status, {}, Source.JUPITER)
    yield "another 5xx", http_fault(599, {}, Source.NODE), http_fault(599, {}, Source.JUPITER)
    yield "an answer that cannot be read", answer_fault(Source.NODE, ""), answer_fault(Source.JUPITER, "")
    mismatch = answer_fault(Source.NODE, "", repeat=False), answer_fault(Source.JUPITER, "", repeat=False)
    yield "an answer to another question", *mismatch
    yield "unknown status", http_fault(418, {}, Source.NODE), http_fault(418, {}, Source.JUPITER)


def _both(connections: Iterable[tuple[str, Fault, Fault]]) -> list[list[str]]:
    return [
        [error, node.code.name, jupiter.code.name, _class(node.fault_class), _reaction(node)]
        for error, node, jupiter in connections
    ]


def _words(rows: Mapping[str, Row] | Mapping[int, Row]) -> dict[str, Row]:
    return {str(error): row for error, row in rows.items()}


def _rows(title: str, rows: Mapping[str, Row], words: str) -> str:
    cells = [[error, row.meaning, row.code.name, _class(row.fault_class), _reaction(row)] for error, row in rows.items()]
    return f"### {title}\n{words}\n\n" + _table(["error", "meaning", "code", "class", "reaction"], cells)


def _class(fault_class: FaultClass) -> str:
    return fault_class.value.replace("_", " ")


def _reaction(row: Row | Fault) -> str:
    once = " once" if row.once else ""
    remedy = "" if row.remedy is None else f", {REMEDIES[row.remedy]}"
    return _word(row.reaction) + once + remedy


def _word(reaction: Reaction) -> str:
    return reaction.name.replace("_", " ")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(arguments: Sequence[str] | None = None, *, file: Path = PAGE) -> int:
    """Write the page, or check it."""
    return write_or_check(file, page(), arguments, script="scripts/errors", description=__doc__)


if __name__ == "__main__":
    sys.exit(main())

"""Section 5 of the page of facts, row by row, written down once more and independently of the tables: an error as it comes on
the wire, and what it means. In both directions: no row of the page and no variant of the SDK without a case, and no row of a
table without one either.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from attrs import frozen
from solders.transaction_status import InstructionErrorFieldless, TransactionErrorFieldless

from executor.errors import ErrorCode
from executor.faults import (
    Fault,
    FaultClass,
    JsonValue,
    Reaction,
    Remedy,
    Source,
    TransportKind,
    after_send,
    http_fault,
    jupiter_fault,
    rpc_fault,
    simulation_error_fault,
    transaction_fault,
    transport_fault,
)
from executor.faults.http import HTTP_ROWS, TRANSPORT_ROWS
from executor.faults.jupiter import JUPITER_ROWS
from executor.faults.programs import PROGRAM_ROWS
from executor.faults.rpc import PREFLIGHT_FAILED, RPC_ROWS
from executor.faults.transaction import INSTRUCTION_ROWS, TRANSACTION_ROWS
from tests.support.recorded import RECORDED

PAGE = RECORDED.parent / "docs" / "SOLANA.md"

PERMANENT, TRANSIENT, AMBIGUOUS, SUCCESS_PATH = FaultClass
SAME, OTHER_NODE, REBUILD, REQUOTE, REJECT, PENDING, LOOK_UP = Reaction

# Addresses of the programs, as any explorer shows them.
JUPITER: Final = "JUP6LkbZbjS1jKKwapdHNy74zcZ3tLUZoi5QNyVTaV4"
TOKEN: Final = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"
TOKEN_2022: Final = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"
SYSTEM: Final = "11111111111111111111111111111111"
ASSOCIATED_TOKEN: Final = "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL"
METEORA: Final = "LBUZKhRxPF3XUpBCjp4YzTKgLccjZhTSDM9YuVaPwxo"


@frozen
class Verdict:
    """What the page says of an error."""

    fault_class: FaultClass
    reaction: Reaction
    code: ErrorCode
    remedy: Remedy | None = None
    once: bool = False


def verdict(fault: Fault) -> Verdict:
    """What we say of it."""
    return Verdict(fault.fault_class, fault.reaction, fault.code, fault.remedy, fault.once)


# --- transport / JSON-RPC ---

UNREACHABLE = Verdict(TRANSIENT, SAME, ErrorCode.NODE_UNREACHABLE)
UNREADABLE = Verdict(TRANSIENT, OTHER_NODE, ErrorCode.NODE_ANSWER_INVALID)
LIMITED = Verdict(TRANSIENT, OTHER_NODE, ErrorCode.NODE_RATE_LIMITED)
UNAUTHORIZED = Verdict(PERMANENT, REJECT, ErrorCode.NODE_UNAUTHORIZED)
NODE_REFUSES = Verdict(PERMANENT, REJECT, ErrorCode.NODE_REFUSED)
NODE_FAILS = Verdict(TRANSIENT, SAME, ErrorCode.NODE_UNHEALTHY)
ELSEWHERE = Verdict(TRANSIENT, OTHER_NODE, ErrorCode.NODE_UNHEALTHY)
OUR_BUG = Verdict(PERMANENT, REJECT, ErrorCode.INTERNAL_ERROR)

TRANSPORT: list[tuple[TransportKind, Verdict]] = [
    (TransportKind.CONNECT, UNREACHABLE),
    (TransportKind.TIMEOUT, UNREACHABLE),
    (TransportKind.RESET, UNREACHABLE),
    (TransportKind.PROTOCOL, UNREADABLE),
    (TransportKind.TOO_LARGE, UNREADABLE),
    (TransportKind.TLS, Verdict(PERMANENT, REJECT, ErrorCode.NODE_UNREACHABLE)),
]

HTTP: list[tuple[int, Verdict]] = [
    (401, UNAUTHORIZED),
    (403, UNAUTHORIZED),
    (404, NODE_REFUSES),
    (408, UNREACHABLE),
    (410, NODE_REFUSES),
    (413, NODE_REFUSES),
    (429, LIMITED),
    (500, NODE_FAILS),
    (502, UNREACHABLE),
    (503, UNREACHABLE),
    (504, UNREACHABLE),
]

RPC: list[tuple[int, str, Verdict]] = [
    (-32429, "rate limit exceeded", LIMITED),
    (-32700, "Parse error", NODE_REFUSES),
    (-32600, "Invalid request", NODE_REFUSES),
    (-32601, "Method not found", NODE_REFUSES),
    (-32602, "Invalid params: unable to parse", NODE_REFUSES),
    (
        -32602,
        "base64 encoded solana_transaction::versioned::VersionedTransaction too large: 1652 bytes (max: encoded/raw 1644/1232)",
        Verdict(PERMANENT, REQUOTE, ErrorCode.TRANSACTION_TOO_LARGE, Remedy.LOWER_MAX_ACCOUNTS),
    ),
    (-32603, "Internal error", NODE_FAILS),
    (-32001, "Block 5 cleaned up, does not exist on node. First available block: 9", ELSEWHERE),
    (-32003, "Transaction signature verification failure", OUR_BUG),
    (-32004, "Block not available for slot 5", ELSEWHERE),
    (-32005, "Node is unhealthy", ELSEWHERE),
    (-32006, "Transaction precompile verification failure InvalidAccountIndex", NODE_REFUSES),
    (-32007, "Slot 5 was skipped, or missing due to ledger jump to recent snapshot", ELSEWHERE),
    (-32008, "No snapshot", ELSEWHERE),
    (-32009, "Slot 5 was skipped, or missing in long-term storage", ELSEWHERE),
    (-32010, "key excluded from account secondary indexes; this RPC method unavailable for key", NODE_REFUSES),
    (-32011, "Transaction history is not available from this node", ELSEWHERE),
    (-32012, "scan aborted", ELSEWHERE),
    (-32013, "Transaction signature length mismatch", OUR_BUG),
    (-32014, "Block status not yet available for slot 5", ELSEWHERE),
    (-32015, "Transaction version (0) is not supported by the requesting client", NODE_REFUSES),
    (-32016, "Minimum context slot has not been reached", ELSEWHERE),
    (-32017, "Epoch rewards period still active at slot 5", NODE_REFUSES),
    (-32018, "Rewards cannot be found because slot 5 is not the epoch boundary", NODE_REFUSES),
    (-32019, "Failed to query long-term storage; please try again", ELSEWHERE),
    (-32020, "Transaction 5x not found", NODE_REFUSES),
    (-32021, "No slot history", ELSEWHERE),
]


@pytest.mark.parametrize(("kind", "expected"), TRANSPORT)
def test_every_way_in_which_a_connection_fails(kind: TransportKind, expected: Verdict) -> None:
    """Before a send the call is made again where that may help; what has left by then is pending."""
    fault = transport_fault(kind)

    assert verdict(fault) == expected
    if expected.fault_class is TRANSIENT:
        assert after_send(fault).fault_class is AMBIGUOUS
        assert after_send(fault).reaction is PENDING


@pytest.mark.parametrize(("status", "expected"), HTTP)
def test_every_http_status_of_a_node(status: int, expected: Verdict) -> None:
    """Each status means what the page says; what may be repeated leaves sent bytes pending."""
    fault = http_fault(status, {}, Source.NODE)

    assert verdict(fault) == expected
    assert (after_send(fault).reaction is PENDING) == (expected.reaction in (SAME, OTHER_NODE))


@pytest.mark.parametrize(("code", "message", "expected"), RPC, ids=[f"{row[0]} {row[1][:20]}" for row in RPC])
def test_every_json_rpc_code(code: int, message: str, expected: Verdict) -> None:
    """Each code means what the page says, with the node's own words; what may be repeated leaves sent bytes pending."""
    fault = rpc_fault(code, message, None)

    assert verdict(fault) == expected
    assert fault.known
    assert message[:20] in fault.detail
    assert (after_send(fault).reaction is PENDING) == (expected.reaction in (SAME, OTHER_NODE))


# --- TransactionError ---

BUSY = Verdict(TRANSIENT, SAME, ErrorCode.SIMULATION_FAILED)
FULL = Verdict(TRANSIENT, SAME, ErrorCode.SIMULATION_FAILED, Remedy.HIGHER_FEE)
UNPAYABLE = Verdict(PERMANENT, REJECT, ErrorCode.FUNDS_INSUFFICIENT)
TABLES = Verdict(TRANSIENT, REQUOTE, ErrorCode.SIMULATION_FAILED, Remedy.REFETCH_TABLES, once=True)
TOO_MUCH_DATA = Verdict(PERMANENT, REBUILD, ErrorCode.SIMULATION_FAILED, Remedy.WITHOUT_DATA_SIZE_LIMIT)

TRANSACTION: list[tuple[JsonValue, Verdict]] = [
    ("AlreadyProcessed", Verdict(SUCCESS_PATH, LOOK_UP, ErrorCode.CONFIRMATION_TIMEOUT)),
    ("BlockhashNotFound", Verdict(AMBIGUOUS, OTHER_NODE, ErrorCode.NODE_UNHEALTHY)),
    ("AccountInUse", BUSY),
    ("AccountBorrowOutstanding", BUSY),
    ("ClusterMaintenance", BUSY),
    ("ResanitizationNeeded", BUSY),
    ({"ProgramExecutionTemporarilyRestricted": {"account_index": 3}}, BUSY),
    ("ProgramCacheHitMaxLimit", BUSY),  # of the SDK, not on the page
    ("CommitCancelled", BUSY),  # of the SDK, not on the page
    ("WouldExceedMaxBlockCostLimit", FULL),
    ("WouldExceedMaxAccountCostLimit", FULL),
    ("WouldExceedAccountDataBlockLimit", FULL),
    ("WouldExceedMaxVoteCostLimit", FULL),
    ("WouldExceedAccountDataTotalLimit", FULL),
    ("InsufficientFundsForFee", UNPAYABLE),
    ("AccountNotFound", UNPAYABLE),
    ("InvalidAccountForFee", UNPAYABLE),
    ({"InsufficientFundsForRent": {"account_index": 1}}, UNPAYABLE),
    ("InvalidRentPayingAccount", UNPAYABLE),
    ("SignatureFailure", OUR_BUG),
    ("MissingSignatureForFee", OUR_BUG),
    ("SanitizeFailure", OUR_BUG),
    ("InvalidAccountIndex", OUR_BUG),
    ("AccountLoadedTwice", OUR_BUG),
    ({"DuplicateInstruction": 2}, OUR_BUG),
    ("CallChainTooDeep", OUR_BUG),
    ("UnsupportedVersion", OUR_BUG),
    ("TooManyAccountLocks", Verdict(PERMANENT, REQUOTE, ErrorCode.SIMULATION_FAILED, Remedy.LOWER_MAX_ACCOUNTS)),
    ("InvalidProgramForExecution", OUR_BUG),
    ("ProgramAccountNotFound", OUR_BUG),
    ("InvalidWritableAccount", OUR_BUG),
    ("UnbalancedTransaction", OUR_BUG),
    ("AddressLookupTableNotFound", TABLES),
    ("InvalidAddressLookupTableOwner", TABLES),
    ("InvalidAddressLookupTableData", TABLES),
    ("InvalidAddressLookupTableIndex", TABLES),
    ("MaxLoadedAccountsDataSizeExceeded", TOO_MUCH_DATA),
    ("InvalidLoadedAccountsDataSizeLimit", TOO_MUCH_DATA),
]


@pytest.mark.parametrize(("err", "expected"), TRANSACTION, ids=[json.dumps(row[0]) for row in TRANSACTION])
def test_every_transaction_error(err: JsonValue, expected: Verdict) -> None:
    """In a simulation and in the preflight of a send alike; a preflight that is no refusal of the bytes leaves them pending."""
    fault = transaction_fault(err, [])
    sent = after_send(rpc_fault(-32002, "Transaction simulation failed", {"err": err, "logs": []}))

    assert verdict(fault) == expected
    assert fault.known
    assert sent.reaction is (PENDING if expected.reaction in (SAME, OTHER_NODE) else expected.reaction)


# --- InstructionError ---

CHAIN_REFUSES = Verdict(PERMANENT, REJECT, ErrorCode.SIMULATION_FAILED)
NEW_QUOTE = Verdict(TRANSIENT, REQUOTE, ErrorCode.SIMULATION_FAILED)
NEW_QUOTE_ONCE = Verdict(TRANSIENT, REQUOTE, ErrorCode.SIMULATION_FAILED, once=True)
MORE_COMPUTE = Verdict(PERMANENT, REBUILD, ErrorCode.SIMULATION_FAILED, Remedy.LARGER_COMPUTE_LIMIT, once=True)
OUT_OF_COMPUTE = f"Program {METEORA} failed: exceeded CUs meter at BPF instruction"
CRASHED = f"Program {METEORA} failed: Access violation in stack frame 3"

INSTRUCTION: list[tuple[JsonValue, Sequence[str], Verdict]] = [
    ("ComputationalBudgetExceeded", [], MORE_COMPUTE),
    ("ProgramFailedToComplete", [OUT_OF_COMPUTE], MORE_COMPUTE),
    ("ProgramFailedToComplete", [CRASHED], CHAIN_REFUSES),
    ("InsufficientFunds", [], UNPAYABLE),
    ("AccountAlreadyInitialized", [], NEW_QUOTE),
    ("MissingRequiredSignature", [], CHAIN_REFUSES),
    ("PrivilegeEscalation", [], CHAIN_REFUSES),
    ("IncorrectProgramId", [], CHAIN_REFUSES),
    ("InvalidAccountData", [], NEW_QUOTE_ONCE),
    ("UninitializedAccount", [], NEW_QUOTE_ONCE),
    ("InvalidAccountOwner", [], NEW_QUOTE_ONCE),
    ({"BorshIoError": "Unknown"}, [], CHAIN_REFUSES),  # nodes of before 2.1 say more
    # "others REJECT"
    ("GenericError", [], CHAIN_REFUSES),
    ("InvalidArgument", [], CHAIN_REFUSES),
    ("InvalidInstructionData", [], CHAIN_REFUSES),
    ("AccountDataTooSmall", [], CHAIN_REFUSES),
    ("UnbalancedInstruction", [], CHAIN_REFUSES),
    ("ModifiedProgramId", [], CHAIN_REFUSES),
    ("ExternalAccountLamportSpend", [], CHAIN_REFUSES),
    ("ExternalAccountDataModified", [], CHAIN_REFUSES),
    ("ReadonlyLamportChange", [], CHAIN_REFUSES),
    ("ReadonlyDataModified", [], CHAIN_REFUSES),
    ("DuplicateAccountIndex", [], CHAIN_REFUSES),
    ("ExecutableModified", [], CHAIN_REFUSES),
    ("RentEpochModified", [], CHAIN_REFUSES),
    ("NotEnoughAccountKeys", [], CHAIN_REFUSES),
    ("AccountDataSizeChanged", [], CHAIN_REFUSES),
    ("AccountNotExecutable", [], CHAIN_REFUSES),
    ("AccountBorrowFailed", [], CHAIN_REFUSES),
    ("AccountBorrowOutstanding", [], CHAIN_REFUSES),
    ("DuplicateAccountOutOfSync", [], CHAIN_REFUSES),
    ("InvalidError", [], CHAIN_REFUSES),
    ("ExecutableDataModified", [], CHAIN_REFUSES),
    ("ExecutableLamportChange", [], CHAIN_REFUSES),
    ("ExecutableAccountNotRentExempt", [], CHAIN_REFUSES),
    ("UnsupportedProgramId", [], CHAIN_REFUSES),
    ("CallDepth", [], CHAIN_REFUSES),
    ("MissingAccount", [], CHAIN_REFUSES),
    ("ReentrancyNotAllowed", [], CHAIN_REFUSES),
    ("MaxSeedLengthExceeded", [], CHAIN_REFUSES),
    ("InvalidSeeds", [], CHAIN_REFUSES),
    ("InvalidRealloc", [], CHAIN_REFUSES),
    ("ProgramEnvironmentSetupFailure", [], CHAIN_REFUSES),
    ("ProgramFailedToCompile", [], CHAIN_REFUSES),
    ("Immutable", [], CHAIN_REFUSES),
    ("IncorrectAuthority", [], CHAIN_REFUSES),
    ("AccountNotRentExempt", [], CHAIN_REFUSES),
    ("ArithmeticOverflow", [], CHAIN_REFUSES),
    ("UnsupportedSysvar", [], CHAIN_REFUSES),
    ("IllegalOwner", [], CHAIN_REFUSES),
    ("MaxAccountsDataAllocationsExceeded", [], CHAIN_REFUSES),
    ("MaxAccountsExceeded", [], CHAIN_REFUSES),
    ("MaxInstructionTraceLengthExceeded", [], CHAIN_REFUSES),
    ("BuiltinProgramsMustConsumeComputeUnits", [], CHAIN_REFUSES),
    ("BorshIoError", [], CHAIN_REFUSES),
]


@pytest.mark.parametrize(
    ("error", "logs", "expected"), INSTRUCTION, ids=[f"{json.dumps(row[0])}-{len(row[1])}" for row in INSTRUCTION]
)
def test_every_instruction_error(error: JsonValue, logs: Sequence[str], expected: Verdict) -> None:
    """Each named error means what the page says; in a preflight all of them are refusals of the bytes."""
    fault = transaction_fault({"InstructionError": [3, error]}, logs)

    assert verdict(fault) == expected
    assert fault.known
    assert after_send(fault) == fault


# --- custom errors, by the program that failed ---

SLIPPED = Verdict(TRANSIENT, REQUOTE, ErrorCode.SLIPPAGE_EXCEEDED)
OTHER_ROUTE = Verdict(TRANSIENT, REQUOTE, ErrorCode.SIMULATION_FAILED, Remedy.EXCLUDE_DEX)
OTHER_ROUTE_NEXT_TIME = Verdict(TRANSIENT, REQUOTE, ErrorCode.SIMULATION_FAILED, Remedy.EXCLUDE_DEX_SECOND_TIME)
NO_FEE_ACCOUNT = Verdict(PERMANENT, REJECT, ErrorCode.FEE_ACCOUNT_INVALID)

OF_JUPITER: list[tuple[int, Verdict]] = [
    (6000, CHAIN_REFUSES),  # in the program's interface, not on the page
    (6001, SLIPPED),
    (6002, OTHER_ROUTE),
    (6003, NO_FEE_ACCOUNT),
    (6004, CHAIN_REFUSES),
    (6005, CHAIN_REFUSES),  # in the program's interface, not on the page
    (6006, CHAIN_REFUSES),  # in the program's interface, not on the page
    (6007, CHAIN_REFUSES),  # in the program's interface, not on the page
    (6008, NEW_QUOTE_ONCE),
    (6009, CHAIN_REFUSES),  # in the program's interface, not on the page
    (6010, OTHER_ROUTE),
    (6011, NO_FEE_ACCOUNT),
    (6012, CHAIN_REFUSES),  # in the program's interface, not on the page
    (6013, CHAIN_REFUSES),  # in the program's interface, not on the page
    (6014, CHAIN_REFUSES),
    (6015, CHAIN_REFUSES),  # in the program's interface, not on the page
    (6016, OTHER_ROUTE),
    (6017, SLIPPED),
    (6018, CHAIN_REFUSES),
    (6019, CHAIN_REFUSES),  # in the program's interface, not on the page
    (6020, CHAIN_REFUSES),  # in the program's interface, not on the page
    (6021, NEW_QUOTE_ONCE),
    (6022, NO_FEE_ACCOUNT),
    (6023, CHAIN_REFUSES),
    (6024, UNPAYABLE),
    (6025, NEW_QUOTE_ONCE),
    (6026, OTHER_ROUTE),
]
OF_TOKEN: list[tuple[int, Verdict]] = [
    (0, CHAIN_REFUSES),
    (1, UNPAYABLE),
    (2, CHAIN_REFUSES),  # in the program's interface, not on the page
    (3, CHAIN_REFUSES),
    (4, CHAIN_REFUSES),
    (5, CHAIN_REFUSES),  # in the program's interface, not on the page
    (6, CHAIN_REFUSES),  # in the program's interface, not on the page
    (7, CHAIN_REFUSES),  # in the program's interface, not on the page
    (8, CHAIN_REFUSES),  # in the program's interface, not on the page
    (9, NEW_QUOTE_ONCE),
    (10, CHAIN_REFUSES),  # in the program's interface, not on the page
    (11, NEW_QUOTE),
    (12, CHAIN_REFUSES),  # in the program's interface, not on the page
    (13, CHAIN_REFUSES),  # in the program's interface, not on the page
    (14, CHAIN_REFUSES),
    (15, CHAIN_REFUSES),  # in the program's interface, not on the page
    (16, CHAIN_REFUSES),  # in the program's interface, not on the page
    (17, CHAIN_REFUSES),
    (18, CHAIN_REFUSES),
    (19, CHAIN_REFUSES),  # in the program's interface, not on the page
]
OF_TOKEN_2022: list[tuple[int, Verdict]] = [  # in the program's interface, not on the page
    (31, CHAIN_REFUSES),
    (32, CHAIN_REFUSES),
    (36, CHAIN_REFUSES),
    (37, CHAIN_REFUSES),
    (42, CHAIN_REFUSES),
    (67, CHAIN_REFUSES),
]
OF_ANY_POOL: list[tuple[int, Verdict]] = [
    *((number, OTHER_ROUTE) for number in (2000, 2001, 2003, 2012, 2999, 3005, 3007, 3012, 3999)),
    *((number, OTHER_ROUTE_NEXT_TIME) for number in (0, 1, 38, 1999, 4100, 6000, 6001, 6024, 6038)),
]
CUSTOM: list[tuple[str, int, Verdict]] = [
    *((JUPITER, number, expected) for number, expected in OF_JUPITER),
    *((TOKEN, number, expected) for number, expected in OF_TOKEN),
    *((TOKEN_2022, number, expected) for number, expected in [*OF_TOKEN, *OF_TOKEN_2022]),
    (SYSTEM, 0, NEW_QUOTE),
    (SYSTEM, 1, UNPAYABLE),
    (ASSOCIATED_TOKEN, 0, CHAIN_REFUSES),
    *((METEORA, number, expected) for number, expected in OF_ANY_POOL),
    # Anchor's own errors inside of Jupiter are not a pool's.
    *((JUPITER, number, CHAIN_REFUSES) for number in (2003, 3005, 3007, 3012)),
]


def failing_inside(program: str, number: int) -> list[str]:
    """The logs of a swap that failed in a program that Jupiter called, or in Jupiter."""
    failed = f"failed: custom program error: {number:#x}"
    if program == JUPITER:
        return [f"Program {JUPITER} invoke [1]", f"Program {METEORA} success", f"Program {JUPITER} {failed}"]
    return [
        f"Program {JUPITER} invoke [1]",
        f"Program {program} invoke [2]",
        f"Program {program} {failed}",
        f"Program {JUPITER} {failed}",
    ]


@pytest.mark.parametrize(("program", "number", "expected"), CUSTOM, ids=[f"{row[0][:6]}-{row[1]}" for row in CUSTOM])
def test_every_custom_error_belongs_to_its_program(program: str, number: int, expected: Verdict) -> None:
    """The index is Jupiter's in all of them: only the logs tell whose number it is."""
    fault = transaction_fault({"InstructionError": [4, {"Custom": number}]}, failing_inside(program, number))

    assert verdict(fault) == expected
    assert fault.program == program
    assert fault.known
    assert after_send(fault) == fault


@pytest.mark.parametrize("number", [2003, 3005, 3007, 3012])
def test_anchor_s_errors_on_our_fee_account_are_refused(number: int) -> None:
    """They reject, and say that it is the fee account."""
    logs = [
        f"Program {JUPITER} invoke [1]",
        "Program log: AnchorError caused by account: platform_fee_account. Error Code: AccountNotInitialized.",
        f"Program {JUPITER} failed: custom program error: {number:#x}",
    ]

    assert verdict(transaction_fault({"InstructionError": [4, {"Custom": number}]}, logs)) == NO_FEE_ACCOUNT


# --- Jupiter HTTP ---

NO_ROUTE = Verdict(PERMANENT, REQUOTE, ErrorCode.ROUTE_NOT_FOUND, Remedy.WITHOUT_SHARED_ACCOUNTS, once=True)
NOT_SO = Verdict(PERMANENT, REJECT, ErrorCode.JUPITER_REFUSED)
JUPITER_FAILS = Verdict(TRANSIENT, SAME, ErrorCode.JUPITER_UNREACHABLE)
JUPITER_LIMITS = Verdict(TRANSIENT, SAME, ErrorCode.JUPITER_RATE_LIMITED)
NO_KEY = Verdict(PERMANENT, REJECT, ErrorCode.JUPITER_UNAUTHORIZED)

JUPITER_CODES: list[tuple[str, Verdict]] = [
    ("NO_ROUTES_FOUND", NO_ROUTE),
    ("COULD_NOT_FIND_ANY_ROUTE", NO_ROUTE),
    ("MARKET_NOT_FOUND", NO_ROUTE),
    ("TOKEN_NOT_TRADABLE", Verdict(PERMANENT, REJECT, ErrorCode.TOKEN_NOT_TRADABLE)),
    ("CIRCULAR_ARBITRAGE_IS_DISABLED", NOT_SO),
    ("CANNOT_COMPUTE_OTHER_AMOUNT_THRESHOLD", NOT_SO),
    ("MAX_ACCOUNT_GREATER_THAN_MAX", NOT_SO),
    ("INVALID_COMPUTE_UNIT_PRICE_AND_PRIORITIZATION_FEE", NOT_SO),
    ("NOT_SUPPORTED", NOT_SO),
    ("ROUTE_PLAN_DOES_NOT_CONSUME_ALL_THE_AMOUNT", Verdict(PERMANENT, REJECT, ErrorCode.ROUTE_NOT_FOUND)),
    ("FAILED_TO_GET_SWAP_AND_ACCOUNT_METAS", NEW_QUOTE_ONCE),
]
ZOD = b'{"success": false, "error": {"issues": [{"code": "invalid_type", "path": ["amount"]}], "name": "ZodError"}}'

JUPITER_ANSWERS: list[tuple[int, bytes, Verdict]] = [
    *((400, json.dumps({"error": "words", "errorCode": code}).encode(), expected) for code, expected in JUPITER_CODES),
    *((200, json.dumps({"error": "words", "errorCode": code}).encode(), expected) for code, expected in JUPITER_CODES),
    (400, ZOD, NOT_SO),
    (429, b'{"code": 429, "message": "[API Gateway] Too many requests"}', JUPITER_LIMITS),
    (200, b'{"code": 429, "message": "[API Gateway] Too many requests"}', JUPITER_LIMITS),
    (401, b'{"code": 401, "message": "Unauthorized"}', NO_KEY),
    (403, b"<html>Forbidden</html>", NO_KEY),
    (500, b"", JUPITER_FAILS),
    (502, b"", JUPITER_FAILS),
    (503, b"", JUPITER_FAILS),
    (504, b"", JUPITER_FAILS),
    (520, b"", JUPITER_FAILS),
    (422, b'{"error": "words"}', NEW_QUOTE_ONCE),
    (404, b"Route not found", NO_ROUTE),
    (404, b"<html>Not Found</html>", NOT_SO),
    (410, b"", NOT_SO),
    (413, b"", NOT_SO),
    (408, b"", JUPITER_FAILS),
]


@pytest.mark.parametrize(
    ("status", "body", "expected"), JUPITER_ANSWERS, ids=[f"{row[0]}-{row[1].decode()[:60]}" for row in JUPITER_ANSWERS]
)
def test_every_answer_of_jupiter(status: int, body: bytes, expected: Verdict) -> None:
    """Its codes, also with status 200, its statuses, and the three shapes of its bodies."""
    fault = jupiter_fault(status, body, {})

    assert verdict(fault) == expected
    assert fault.known


def test_a_simulation_that_failed_at_jupiter_s_asks_for_a_new_quote_once() -> None:
    """A non-null simulationError comes with status 200."""
    assert verdict(simulation_error_fault({"errorCode": "TRANSACTION_ERROR", "error": "words"})) == NEW_QUOTE_ONCE


JUPITER_CONNECTIONS: list[tuple[TransportKind, Verdict]] = [
    (TransportKind.CONNECT, JUPITER_FAILS),
    (TransportKind.TIMEOUT, JUPITER_FAILS),
    (TransportKind.RESET, JUPITER_FAILS),
    (TransportKind.PROTOCOL, Verdict(TRANSIENT, SAME, ErrorCode.JUPITER_ANSWER_INVALID)),
    (TransportKind.TOO_LARGE, Verdict(TRANSIENT, SAME, ErrorCode.JUPITER_ANSWER_INVALID)),
    (TransportKind.TLS, Verdict(PERMANENT, REJECT, ErrorCode.JUPITER_UNREACHABLE)),
]


@pytest.mark.parametrize(("kind", "expected"), JUPITER_CONNECTIONS)
def test_every_way_in_which_a_connection_to_jupiter_fails(kind: TransportKind, expected: Verdict) -> None:
    """It has no other node to go to."""
    assert verdict(transport_fault(kind, Source.JUPITER)) == expected


# --- nothing is missing ---


def names(errors: Sequence[JsonValue]) -> list[str]:
    """The variants of errors, without their data."""
    return [str(next(iter(error)) if isinstance(error, dict) else error) for error in errors]


def variants(kind: type) -> set[str]:
    """What the SDK lists."""
    return {name for name, value in vars(kind).items() if isinstance(value, kind)}


def test_no_row_of_a_table_is_without_its_case() -> None:
    """Whatever is added to a table is added here as well, and nothing here has lost its row."""
    assert {kind for kind, _ in TRANSPORT} == {kind for kind, _ in JUPITER_CONNECTIONS} == set(TRANSPORT_ROWS)
    assert set(TRANSPORT_ROWS) == set(TransportKind)
    assert {status for status, _ in HTTP} == set(HTTP_ROWS)
    assert {code for code, _, _ in RPC} == set(RPC_ROWS)
    assert set(names([err for err, _ in TRANSACTION])) == set(TRANSACTION_ROWS)
    assert set(names([error for error, _, _ in INSTRUCTION])) == set(INSTRUCTION_ROWS)
    assert {code for code, _ in JUPITER_CODES} | {"ZodError"} == set(JUPITER_ROWS)
    for program, rows in PROGRAM_ROWS.items():
        anchor = {2003, 3005, 3007, 3012} if program == JUPITER else set()
        assert {number for of, number, _ in CUSTOM if of == program} == set(rows) | anchor


def test_no_case_stands_twice() -> None:
    """A second one would hide that another is missing."""
    for cases in (
        names([err for err, _ in TRANSACTION]),
        [(program, number) for program, number, _ in CUSTOM],
        [(code, message) for code, message, _ in RPC],
        [(status, body) for status, body, _ in JUPITER_ANSWERS],
    ):
        assert len(set(cases)) == len(cases)


def test_every_variant_of_the_sdk_has_its_case() -> None:
    """All that a node of this version can say, and what older ones say beyond it is left to the unknown."""
    of_transactions = variants(TransactionErrorFieldless) | {
        "DuplicateInstruction",
        "InsufficientFundsForRent",
        "ProgramExecutionTemporarilyRestricted",
    }

    assert len(of_transactions) >= 38
    assert of_transactions == set(names([err for err, _ in TRANSACTION]))
    assert len(variants(InstructionErrorFieldless)) >= 53
    assert variants(InstructionErrorFieldless) == set(names([error for error, _, _ in INSTRUCTION]))


def section_5() -> str:
    """The page's own words, where it lies beside the repository."""
    if not Path(PAGE).is_file():
        pytest.skip(f"no page of facts: {PAGE} does not exist")
    found = re.search(r"^## 5\. Error classification$(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_every_number_on_the_page_has_its_case() -> None:
    """JSON-RPC codes and custom errors, as the page writes them."""
    page = section_5()
    codes = {int(code) for code in re.findall(r"-32\d{3}", page)}
    of_jupiter = re.search(r"^- Jupiter: (.*)$", page, re.MULTILINE)
    of_token = re.search(r"^- SPL Token/2022: (.*)\(", page, re.MULTILINE)
    of_anchor = re.search(r"^- Anchor framework(.*)$", page, re.MULTILINE)
    assert of_jupiter
    assert of_token
    assert of_anchor

    assert len(codes) >= 26
    assert codes <= {code for code, _, _ in RPC} | {PREFLIGHT_FAILED}
    assert set(map(int, re.findall(r"\d{4}", of_jupiter[1]))) <= {number for number, _ in OF_JUPITER}
    assert set(map(int, re.findall(r"(?:^|, )(\d+) ", of_token[1]))) <= {number for number, _ in OF_TOKEN}
    anchor = {int(number) for number in re.findall(r"\b3\d{3}\b", of_anchor[1])}
    assert len(anchor) == 3
    assert anchor <= {number for number, _ in OF_ANY_POOL}


def test_every_name_on_the_page_has_its_case() -> None:
    """Variants of the runtime and codes of Jupiter's, as the page writes them."""
    page = section_5()
    runtime = page[page.index("### TransactionError") : page.index("### Jupiter HTTP")]
    listed = runtime.replace("InvalidAddressLookupTable{Owner,Data,Index}", "")
    variants_there = set(re.findall(r"\b[A-Z][a-z]+(?:[A-Z][A-Za-z]+)+\b", listed))
    # Names of programs, their errors and documents: those are numbers, and have their own test.
    others = {"TransactionError", "InstructionError", "NotRentExempt", "MintMismatch", "OwnerMismatch", "UninitializedState"}
    others |= {"NonNativeHasBalance", "AccountFrozen", "MintDecimalsMismatch", "InvalidOwner", "AccountNotEnoughKeys"}
    others |= {"AccountNotInitialized"}
    cases = set(names([err for err, _ in TRANSACTION])) | set(names([error for error, _, _ in INSTRUCTION]))
    codes = {code.removesuffix("_") for code in re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", page[page.index("### Jupiter HTTP") :])}

    assert len(variants_there - others) >= 40
    assert variants_there - others <= cases
    assert len(codes) >= 7
    assert codes <= {code for code, _ in JUPITER_CODES} | {"MAX_ACCOUNT", "INVALID_COMPUTE_UNIT"}

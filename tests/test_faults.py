"""Every row of the classification of errors, written down once more and independently of the tables."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import ErrorCode
from executor.faults import (
    ASSOCIATED_TOKEN_PROGRAM,
    JUPITER_PROGRAM,
    MAX_DETAIL_CHARACTERS,
    SYSTEM_PROGRAM,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
    Fault,
    FaultClass,
    JsonValue,
    Reaction,
    Remedy,
    Source,
    TransportError,
    TransportKind,
    after_send,
    answer_fault,
    failing_program,
    http_fault,
    json_text,
    jupiter_fault,
    printable,
    retry_after_seconds,
    rpc_fault,
    simulation_error_fault,
    transaction_fault,
    transport_fault,
)
from tests.support.recorded import recorded, recorded_names

PERMANENT, TRANSIENT, AMBIGUOUS, SUCCESS_PATH = FaultClass
SAME, OTHER_NODE, REBUILD, REQUOTE, REJECT, PENDING, LOOK_UP = Reaction
Judged = tuple[FaultClass, Reaction, ErrorCode]

METEORA = "LBUZKhRxPF3XUpBCjp4YzTKgLccjZhTSDM9YuVaPwxo"
TOKEN_PROGRAMS = (TOKEN_PROGRAM, TOKEN_2022_PROGRAM)
RAYDIUM = "675kPX9MHTjS2zt1qfr1NYHuzeLXfQM9H24wFSUt1Mp8"


def judged(fault: Fault) -> Judged:
    """What every test looks at."""
    return fault.fault_class, fault.reaction, fault.code


def failed(*programs: str) -> list[str]:
    """The logs of a call chain that failed; the innermost program last."""
    invoked = [f"Program {program} invoke [{depth}]" for depth, program in enumerate(programs, 1)]
    return invoked + [f"Program {program} failed: custom program error: 0x1" for program in reversed(programs)]


# --- transport and HTTP ---


@pytest.mark.parametrize("kind", [TransportKind.CONNECT, TransportKind.TIMEOUT, TransportKind.RESET])
def test_a_lost_connection_is_transient_and_pending_after_a_send(kind: TransportKind) -> None:
    """Before a send the call is repeated; after one the same bytes are sent on and the signature is watched."""
    fault = transport_fault(kind)

    assert judged(fault) == (TRANSIENT, SAME, ErrorCode.NODE_UNREACHABLE)
    assert fault.worth_repeating
    assert judged(after_send(fault)) == (AMBIGUOUS, PENDING, ErrorCode.NODE_UNREACHABLE)
    assert transport_fault(kind, Source.JUPITER).code is ErrorCode.JUPITER_UNREACHABLE


@pytest.mark.parametrize("kind", [TransportKind.PROTOCOL, TransportKind.TOO_LARGE])
def test_an_unreadable_answer_sends_us_to_another_node(kind: TransportKind) -> None:
    """What is no answer is asked for elsewhere; Jupiter has no elsewhere."""
    assert judged(transport_fault(kind)) == (TRANSIENT, OTHER_NODE, ErrorCode.NODE_ANSWER_INVALID)
    assert judged(transport_fault(kind, Source.JUPITER)) == (TRANSIENT, SAME, ErrorCode.JUPITER_ANSWER_INVALID)


def test_a_certificate_does_not_mend_itself() -> None:
    """A failed TLS handshake is not repeated, and its fixed reason is told."""
    fault = transport_fault(TransportKind.TLS, said="CERTIFICATE_VERIFY_FAILED")

    assert judged(fault) == (PERMANENT, REJECT, ErrorCode.NODE_UNREACHABLE)
    assert not fault.worth_repeating
    assert "CERTIFICATE_VERIFY_FAILED" in fault.detail


HTTP: list[tuple[int, Judged]] = [
    (401, (PERMANENT, REJECT, ErrorCode.NODE_UNAUTHORIZED)),
    (403, (PERMANENT, REJECT, ErrorCode.NODE_UNAUTHORIZED)),
    (404, (PERMANENT, REJECT, ErrorCode.NODE_REFUSED)),
    (408, (TRANSIENT, SAME, ErrorCode.NODE_UNREACHABLE)),
    (410, (PERMANENT, REJECT, ErrorCode.NODE_REFUSED)),
    (413, (PERMANENT, REJECT, ErrorCode.NODE_REFUSED)),
    (429, (TRANSIENT, OTHER_NODE, ErrorCode.NODE_RATE_LIMITED)),
    (500, (TRANSIENT, SAME, ErrorCode.NODE_UNHEALTHY)),
    (502, (TRANSIENT, SAME, ErrorCode.NODE_UNREACHABLE)),
    (503, (TRANSIENT, SAME, ErrorCode.NODE_UNREACHABLE)),
    (504, (TRANSIENT, SAME, ErrorCode.NODE_UNREACHABLE)),
    (529, (TRANSIENT, SAME, ErrorCode.NODE_UNREACHABLE)),
]


@pytest.mark.parametrize(("status", "expected"), HTTP)
def test_every_http_status_of_a_node(status: int, expected: Judged) -> None:
    """Each status means what the facts page says."""
    assert judged(http_fault(status, {}, Source.NODE)) == expected


@pytest.mark.parametrize("status", [301, 418])
def test_an_unknown_http_status_is_permanent_and_says_so(status: int) -> None:
    """Nothing is repeated that no table knows; after a send it proves nothing."""
    fault = http_fault(status, {}, Source.NODE)

    assert judged(fault) == (PERMANENT, REJECT, ErrorCode.NODE_REFUSED)
    assert not fault.known
    assert f"unknown HTTP status {status}" in fault.detail
    assert after_send(fault).reaction is PENDING


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "Mon, 23 Nov 2026 10:00:07 GMT", "date": "Mon, 23 Nov 2026 10:00:00 GMT"}, 7.0),
        ({"retry-after": "Mon, 23 Nov 2026 10:00:07", "date": "Mon, 23 Nov 2026 10:00:00 -0000"}, 7.0),
        ({"retry-after": "Mon, 23 Nov 2026 10:00:07 GMT"}, None),
        ({"x-ratelimit-reset": "1795428005", "date": "Mon, 23 Nov 2026 10:00:00 GMT"}, 5.0),
        ({"x-ratelimit-reset": "1795427000", "date": "Mon, 23 Nov 2026 10:00:00 GMT"}, 0.0),
        ({"x-ratelimit-reset": "1795428005"}, None),
        ({"x-ratelimit-reset": "99999999999999", "date": "Mon, 23 Nov 2026 10:00:00 GMT"}, None),
        ({"retry-after": "2", "x-ratelimit-reset": "1795428005", "date": "Mon, 23 Nov 2026 10:00:00 GMT"}, 2.0),
    ],
)
def test_how_long_an_upstream_asks_us_to_wait(headers: dict[str, str], expected: float | None) -> None:
    """Seconds, dates and the reset of a window are read against the upstream's own clock; nonsense is ignored."""
    assert retry_after_seconds(headers) == expected
    assert http_fault(429, headers, Source.NODE).retry_after_seconds == expected


def test_an_answer_that_does_not_fit() -> None:
    """A node's answer is asked for elsewhere; a quote that is not what was asked for is refused."""
    assert judged(answer_fault(Source.NODE, "result.value is missing")) == (TRANSIENT, OTHER_NODE, ErrorCode.NODE_ANSWER_INVALID)
    assert judged(answer_fault(Source.JUPITER, "inAmount is not 1", repeat=False)) == (
        PERMANENT,
        REJECT,
        ErrorCode.JUPITER_ANSWER_INVALID,
    )


# --- JSON-RPC ---

READ_ELSEWHERE = (TRANSIENT, OTHER_NODE, ErrorCode.NODE_UNHEALTHY)
REFUSED = (PERMANENT, REJECT, ErrorCode.NODE_REFUSED)
RPC: list[tuple[int, Judged]] = [
    (-32429, (TRANSIENT, OTHER_NODE, ErrorCode.NODE_RATE_LIMITED)),
    (-32700, REFUSED),
    (-32600, REFUSED),
    (-32601, REFUSED),
    (-32602, REFUSED),
    (-32603, (TRANSIENT, SAME, ErrorCode.NODE_UNHEALTHY)),
    (-32001, READ_ELSEWHERE),
    (-32004, READ_ELSEWHERE),
    (-32007, READ_ELSEWHERE),
    (-32008, READ_ELSEWHERE),
    (-32009, READ_ELSEWHERE),
    (-32011, READ_ELSEWHERE),
    (-32012, READ_ELSEWHERE),
    (-32014, READ_ELSEWHERE),
    (-32016, READ_ELSEWHERE),
    (-32019, READ_ELSEWHERE),
    (-32021, READ_ELSEWHERE),
    (-32003, (PERMANENT, REJECT, ErrorCode.INTERNAL_ERROR)),
    (-32013, (PERMANENT, REJECT, ErrorCode.INTERNAL_ERROR)),
    (-32005, (TRANSIENT, OTHER_NODE, ErrorCode.NODE_UNHEALTHY)),
    (-32006, REFUSED),
    (-32010, REFUSED),
    (-32015, REFUSED),
    (-32017, REFUSED),
    (-32018, REFUSED),
    (-32020, REFUSED),
]


@pytest.mark.parametrize(("code", "expected"), RPC)
def test_every_json_rpc_code(code: int, expected: Judged) -> None:
    """Each code means what the facts page says, and the node's own words are kept."""
    fault = rpc_fault(code, "the node's words", None)

    assert judged(fault) == expected
    assert fault.known
    assert "the node's words" in fault.detail


def test_a_transaction_that_is_too_large_needs_another_route() -> None:
    """-32602 is also how nodes refuse an encoded transaction above the packet size."""
    fault = rpc_fault(-32602, "base64 encoded solana_transaction too large: 1652 bytes (max: encoded/raw 1644/1232)", None)

    assert judged(fault) == (PERMANENT, REQUOTE, ErrorCode.TRANSACTION_TOO_LARGE)
    assert fault.remedy is Remedy.LOWER_MAX_ACCOUNTS


def test_an_unknown_json_rpc_code_is_permanent_and_says_so() -> None:
    """Providers invent codes; none of them is repeated on a guess, and none is taken for a refusal after a send."""
    fault = rpc_fault(-31999, "quota", None)

    assert judged(fault) == REFUSED
    assert "unknown JSON-RPC error -31999: quota" in fault.detail
    assert after_send(fault).reaction is PENDING


@pytest.mark.parametrize("data", [None, "text", {}, {"err": None, "logs": []}])
def test_a_preflight_that_does_not_say_how_it_failed_is_unknown(data: JsonValue) -> None:
    """-32002 without a transaction error is not guessed at."""
    fault = rpc_fault(-32002, "Transaction simulation failed", data)

    assert judged(fault) == (PERMANENT, REJECT, ErrorCode.SIMULATION_FAILED)
    assert not fault.known


@pytest.mark.parametrize("logs", [None, "text", [1, None]])
def test_a_preflight_is_classified_by_its_transaction_error_even_without_logs(logs: JsonValue) -> None:
    """Logs that are absent or broken cost the program's name only."""
    fault = rpc_fault(-32002, "failed", {"err": "AlreadyProcessed", "logs": logs})

    assert judged(fault) == (SUCCESS_PATH, LOOK_UP, ErrorCode.CONFIRMATION_TIMEOUT)


RECORDED_RPC: dict[str, Judged] = {
    "solders_node_unhealthy.json": (TRANSIENT, OTHER_NODE, ErrorCode.NODE_UNHEALTHY),
    "solders_node_unhealthy_behind_42.json": (TRANSIENT, OTHER_NODE, ErrorCode.NODE_UNHEALTHY),
    "solders_preflight_account_not_found.json": (PERMANENT, REJECT, ErrorCode.FUNDS_INSUFFICIENT),
    "solders_preflight_custom1.json": (PERMANENT, REJECT, ErrorCode.FUNDS_INSUFFICIENT),
}


@pytest.mark.parametrize("name", recorded_names("rpc-errors"))
def test_recorded_json_rpc_errors(name: str) -> None:
    """Errors of real nodes are classified as the facts page says."""
    error = recorded("rpc-errors", name)["error"]

    assert judged(rpc_fault(error["code"], error["message"], error.get("data"))) == RECORDED_RPC[name]


# --- transactions ---

BUSY = (TRANSIENT, SAME, ErrorCode.SIMULATION_FAILED)
UNPAYABLE = (PERMANENT, REJECT, ErrorCode.FUNDS_INSUFFICIENT)
OURS = (PERMANENT, REJECT, ErrorCode.INTERNAL_ERROR)
NEW_QUOTE = (TRANSIENT, REQUOTE, ErrorCode.SIMULATION_FAILED)
NO_HELP = (PERMANENT, REJECT, ErrorCode.SIMULATION_FAILED)
NEW_TRANSACTION = (PERMANENT, REBUILD, ErrorCode.SIMULATION_FAILED)
TRANSACTION: list[tuple[JsonValue, Judged, Remedy | None]] = [
    ("AlreadyProcessed", (SUCCESS_PATH, LOOK_UP, ErrorCode.CONFIRMATION_TIMEOUT), None),
    ("BlockhashNotFound", (AMBIGUOUS, OTHER_NODE, ErrorCode.NODE_UNHEALTHY), None),
    ("AccountInUse", BUSY, None),
    ("AccountBorrowOutstanding", BUSY, None),
    ("ClusterMaintenance", BUSY, None),
    ("ResanitizationNeeded", BUSY, None),
    ({"ProgramExecutionTemporarilyRestricted": {"account_index": 3}}, BUSY, None),
    ("WouldExceedMaxBlockCostLimit", BUSY, Remedy.HIGHER_FEE),
    ("WouldExceedMaxAccountCostLimit", BUSY, Remedy.HIGHER_FEE),
    ("WouldExceedAccountDataBlockLimit", BUSY, Remedy.HIGHER_FEE),
    ("WouldExceedMaxVoteCostLimit", BUSY, Remedy.HIGHER_FEE),
    ("WouldExceedAccountDataTotalLimit", BUSY, Remedy.HIGHER_FEE),
    ("InsufficientFundsForFee", UNPAYABLE, None),
    ("AccountNotFound", UNPAYABLE, None),
    ("InvalidAccountForFee", UNPAYABLE, None),
    ({"InsufficientFundsForRent": {"account_index": 1}}, UNPAYABLE, None),
    ("InvalidRentPayingAccount", UNPAYABLE, None),
    ("SignatureFailure", OURS, None),
    ("MissingSignatureForFee", OURS, None),
    ("SanitizeFailure", OURS, None),
    ("InvalidAccountIndex", OURS, None),
    ("AccountLoadedTwice", OURS, None),
    ({"DuplicateInstruction": 2}, OURS, None),
    ("CallChainTooDeep", OURS, None),
    ("UnsupportedVersion", OURS, None),
    ("TooManyAccountLocks", (PERMANENT, REQUOTE, ErrorCode.SIMULATION_FAILED), Remedy.LOWER_MAX_ACCOUNTS),
    ("InvalidProgramForExecution", OURS, None),
    ("ProgramAccountNotFound", OURS, None),
    ("InvalidWritableAccount", OURS, None),
    ("UnbalancedTransaction", OURS, None),
    ("AddressLookupTableNotFound", NEW_QUOTE, Remedy.REFETCH_TABLES),
    ("InvalidAddressLookupTableOwner", NEW_QUOTE, Remedy.REFETCH_TABLES),
    ("InvalidAddressLookupTableData", NEW_QUOTE, Remedy.REFETCH_TABLES),
    ("InvalidAddressLookupTableIndex", NEW_QUOTE, Remedy.REFETCH_TABLES),
    ("MaxLoadedAccountsDataSizeExceeded", NEW_TRANSACTION, Remedy.WITHOUT_DATA_SIZE_LIMIT),
    ("InvalidLoadedAccountsDataSizeLimit", NEW_TRANSACTION, Remedy.WITHOUT_DATA_SIZE_LIMIT),
]


@pytest.mark.parametrize(("err", "expected", "remedy"), TRANSACTION, ids=[json.dumps(row[0]) for row in TRANSACTION])
def test_every_transaction_error(err: JsonValue, expected: Judged, remedy: Remedy | None) -> None:
    """Each variant, with or without data of its own, means what the facts page says."""
    fault = transaction_fault(err, [])

    assert judged(fault) == expected
    assert fault.remedy is remedy
    assert fault.once is (remedy is Remedy.REFETCH_TABLES)


@pytest.mark.parametrize("err", ["NewKind", {"NewKind": 1}, {}, [], 7, {"InstructionError": 1}, {"InstructionError": [1]}])
def test_an_unknown_transaction_error_is_permanent_and_says_so(err: JsonValue) -> None:
    """New variants and broken shapes are shown as they came."""
    fault = transaction_fault(err, [])

    assert judged(fault) == NO_HELP
    assert not fault.known
    assert json.dumps(err) in fault.detail


def test_a_blockhash_that_one_node_does_not_know_proves_nothing_after_a_send() -> None:
    """It may be that node's lag: the bytes stay pending."""
    assert after_send(transaction_fault("BlockhashNotFound", [])).reaction is PENDING


@pytest.mark.parametrize(
    ("err", "reaction"),
    [
        ("AlreadyProcessed", LOOK_UP),
        ("InsufficientFundsForFee", REJECT),
        ({"InstructionError": [0, "InsufficientFunds"]}, REJECT),
    ],
)
def test_a_refusal_in_preflight_stays_one_after_a_send(err: JsonValue, reaction: Reaction) -> None:
    """That node forwarded nothing, and says why."""
    assert after_send(transaction_fault(err, [])).reaction is reaction


# --- instructions ---

INSTRUCTION: list[tuple[str, Judged, bool]] = [
    ("ComputationalBudgetExceeded", NEW_TRANSACTION, True),
    ("InsufficientFunds", UNPAYABLE, False),
    ("AccountAlreadyInitialized", NEW_QUOTE, False),
    ("MissingRequiredSignature", NO_HELP, False),
    ("PrivilegeEscalation", NO_HELP, False),
    ("IncorrectProgramId", NO_HELP, False),
    ("InvalidAccountData", NEW_QUOTE, True),
    ("UninitializedAccount", NEW_QUOTE, True),
    ("InvalidAccountOwner", NEW_QUOTE, True),
]


@pytest.mark.parametrize(("name", "expected", "once"), INSTRUCTION)
def test_every_instruction_error(name: str, expected: Judged, once: bool) -> None:
    """Each named instruction error means what the facts page says."""
    fault = transaction_fault({"InstructionError": [3, name]}, [])

    assert judged(fault) == expected
    assert fault.once is once
    assert fault.known


@pytest.mark.parametrize("error", ["GenericError", {"BorshIoError": "x"}, {}, 5, {"Custom": "6001"}, {"Custom": True}])
def test_other_instruction_errors_are_refused(error: JsonValue) -> None:
    """Others reject, and say that no table knows them."""
    fault = transaction_fault({"InstructionError": [0, error]}, failed(JUPITER_PROGRAM))

    assert judged(fault) == NO_HELP
    assert not fault.known
    assert fault.program == JUPITER_PROGRAM


@pytest.mark.parametrize(
    "line",
    [
        f"Program {METEORA} failed: exceeded CUs meter at BPF instruction",
        "Program failed to complete: exceeded maximum number of instructions allowed (200000)",
    ],
)
def test_a_program_that_ran_out_of_compute_gets_more_once(line: str) -> None:
    """ProgramFailedToComplete with an exhausted meter is the same as a compute budget that was exceeded."""
    fault = transaction_fault({"InstructionError": [2, "ProgramFailedToComplete"]}, [line])

    assert judged(fault) == NEW_TRANSACTION
    assert fault.remedy is Remedy.LARGER_COMPUTE_LIMIT


@pytest.mark.parametrize("line", ["Program log: exceeded CUs meter", f"Program {METEORA} failed: panicked"])
def test_a_program_that_failed_to_complete_otherwise_is_refused(line: str) -> None:
    """More compute does not cure a crash, and a program cannot talk us into giving more."""
    fault = transaction_fault({"InstructionError": [2, "ProgramFailedToComplete"]}, [line])

    assert judged(fault) == NO_HELP


NO_FEE = (PERMANENT, REJECT, ErrorCode.FEE_ACCOUNT_INVALID)
SLIPPED = (TRANSIENT, REQUOTE, ErrorCode.SLIPPAGE_EXCEEDED)
CUSTOM: list[tuple[str, int, Judged, Remedy | None, bool]] = [
    *((JUPITER_PROGRAM, number, SLIPPED, None, False) for number in (6001, 6017)),
    (JUPITER_PROGRAM, 6024, UNPAYABLE, None, False),
    *((JUPITER_PROGRAM, number, NEW_QUOTE, None, True) for number in (6008, 6025, 6021)),
    *((JUPITER_PROGRAM, number, NEW_QUOTE, Remedy.EXCLUDE_DEX, False) for number in (6016, 6010, 6002, 6026)),
    *((JUPITER_PROGRAM, number, NO_FEE, None, False) for number in (6003, 6011, 6022)),
    *((JUPITER_PROGRAM, number, NO_HELP, None, False) for number in (6004, 6014, 6018, 6023)),
    *((JUPITER_PROGRAM, number, NO_HELP, None, False) for number in (2003, 3005, 3007, 3012)),
    (SYSTEM_PROGRAM, 1, UNPAYABLE, None, False),
    (SYSTEM_PROGRAM, 0, NEW_QUOTE, None, False),
    (ASSOCIATED_TOKEN_PROGRAM, 0, NO_HELP, None, False),
    *((METEORA, number, NEW_QUOTE, Remedy.EXCLUDE_DEX, False) for number in (2000, 2003, 3005, 3007, 3012)),
    *((METEORA, number, NEW_QUOTE, Remedy.EXCLUDE_DEX_SECOND_TIME, False) for number in (6001, 6003, 6024, 38, 1)),
    *((program, number, NO_HELP, None, False) for program in TOKEN_PROGRAMS for number in (0, 3, 4, 14, 17, 18)),
    *((program, 1, UNPAYABLE, None, False) for program in TOKEN_PROGRAMS),
    *((program, 9, NEW_QUOTE, None, True) for program in TOKEN_PROGRAMS),
    *((program, 11, NEW_QUOTE, None, False) for program in TOKEN_PROGRAMS),
]


@pytest.mark.parametrize(("program", "number", "expected", "remedy", "once"), CUSTOM)
def test_every_custom_error_belongs_to_its_program(
    program: str, number: int, expected: Judged, remedy: Remedy | None, once: bool
) -> None:
    """The same number means other things in other programs."""
    fault = transaction_fault({"InstructionError": [4, {"Custom": number}]}, failed(program))

    assert judged(fault) == expected
    assert (fault.remedy, fault.once, fault.program, fault.known) == (remedy, once, program, True)


@pytest.mark.parametrize(("program", "number"), [(JUPITER_PROGRAM, 6000), (JUPITER_PROGRAM, 4100), (TOKEN_PROGRAM, 2)])
def test_a_number_that_a_known_program_does_not_use_is_permanent_and_says_so(program: str, number: int) -> None:
    """No guessing within the programs whose errors we know."""
    fault = transaction_fault({"InstructionError": [4, {"Custom": number}]}, failed(program))

    assert judged(fault) == NO_HELP
    assert not fault.known


def test_a_fee_account_that_is_none_is_named() -> None:
    """Anchor names the account that it refuses; where it is our fee account, the caller hears that."""
    logs = [
        f"Program {JUPITER_PROGRAM} invoke [1]",
        "Program log: AnchorError caused by account: platform_fee_account. Error Code: AccountNotInitialized.",
        f"Program {JUPITER_PROGRAM} failed: custom program error: 0xbc4",
    ]

    assert judged(transaction_fault({"InstructionError": [4, {"Custom": 3012}]}, logs)) == NO_FEE


def test_the_innermost_program_failed_not_the_instruction_of_the_index() -> None:
    """A pool's error comes out of Jupiter's instruction with the pool's number."""
    logs = ["Program log: swap", *failed(JUPITER_PROGRAM, METEORA)]
    fault = transaction_fault({"InstructionError": [4, {"Custom": 6001}]}, logs)

    assert failing_program(logs) == METEORA
    assert fault.program == METEORA
    assert fault.code is ErrorCode.SIMULATION_FAILED


def test_a_program_that_succeeded_inside_does_not_take_the_blame() -> None:
    """When Jupiter itself refuses after its hops, Jupiter is the one."""
    logs = [
        f"Program {JUPITER_PROGRAM} invoke [1]",
        f"Program {RAYDIUM} invoke [2]",
        f"Program {RAYDIUM} success",
        f"Program {JUPITER_PROGRAM} failed: custom program error: 0x1771",
    ]

    assert judged(transaction_fault({"InstructionError": [4, {"Custom": 6001}]}, logs)) == SLIPPED


def test_a_program_cannot_put_words_into_the_mouth_of_the_runtime() -> None:
    """What a program logs is marked as such, even with a line break in it."""
    forged = [
        f"Program log: Program {JUPITER_PROGRAM} failed: custom program error: 0x1771",
        f"Program log: x\nProgram {JUPITER_PROGRAM} failed: custom program error: 0x1771",
        f"Program data: Program {JUPITER_PROGRAM} failed: ",
    ]

    assert failing_program([*forged, *failed(METEORA)]) == METEORA
    assert failing_program(forged) is None


def test_a_custom_error_without_logs_is_not_guessed_at() -> None:
    """Truncated logs name nobody: the number alone means nothing."""
    fault = transaction_fault({"InstructionError": [4, {"Custom": 6001}]}, ["Log truncated"])

    assert judged(fault) == NO_HELP
    assert not fault.known
    assert fault.program is None


def test_a_recorded_slippage_failure_is_recognised() -> None:
    """A swap of mainnet that landed and failed with 6001."""
    meta = recorded("get-transaction", "metamask_swap_failed_transaction.json")["meta"]

    assert judged(transaction_fault(meta["err"], meta["logMessages"])) == SLIPPED


def test_a_recorded_failed_simulation_is_classified() -> None:
    """A program without a table is taken for a pool."""
    value = recorded("simulate-transaction", "solders_custom0_vote.json")["result"]["value"]

    assert transaction_fault(value["err"], value["logs"]).program == "Vote111111111111111111111111111111111111111"


json_values: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(json_values, st.lists(st.text(), max_size=5))
def test_no_transaction_error_breaks_the_table(err: JsonValue, logs: list[str]) -> None:
    """Whatever a node sends, there is an answer with a bounded, printable detail."""
    for fault in (transaction_fault(err, logs), transaction_fault({"InstructionError": [0, err]}, logs)):
        assert fault.detail.isprintable()
        assert len(fault.detail) < 2 * MAX_DETAIL_CHARACTERS


@given(st.integers(min_value=100, max_value=599), st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_answer_of_jupiter_breaks_the_table(status: int, body: bytes) -> None:
    """Whatever Jupiter sends, there is an answer with a bounded, printable detail."""
    fault = jupiter_fault(status, body, {})

    assert fault.detail.isprintable()
    assert len(fault.detail) < 2 * MAX_DETAIL_CHARACTERS


# --- Jupiter's API ---

NO_ROUTE = (PERMANENT, REQUOTE, ErrorCode.ROUTE_NOT_FOUND)
INVALID_REQUEST = (PERMANENT, REJECT, ErrorCode.JUPITER_REFUSED)
STALE_QUOTE = (TRANSIENT, REQUOTE, ErrorCode.SIMULATION_FAILED)
JUPITER_CODES: list[tuple[str, Judged]] = [
    ("NO_ROUTES_FOUND", NO_ROUTE),
    ("COULD_NOT_FIND_ANY_ROUTE", NO_ROUTE),
    ("MARKET_NOT_FOUND", NO_ROUTE),
    ("TOKEN_NOT_TRADABLE", (PERMANENT, REJECT, ErrorCode.TOKEN_NOT_TRADABLE)),
    ("CIRCULAR_ARBITRAGE_IS_DISABLED", INVALID_REQUEST),
    ("CANNOT_COMPUTE_OTHER_AMOUNT_THRESHOLD", INVALID_REQUEST),
    ("MAX_ACCOUNT_GREATER_THAN_MAX", INVALID_REQUEST),
    ("INVALID_COMPUTE_UNIT_PRICE_AND_PRIORITIZATION_FEE", INVALID_REQUEST),
    ("NOT_SUPPORTED", INVALID_REQUEST),
    ("ROUTE_PLAN_DOES_NOT_CONSUME_ALL_THE_AMOUNT", (PERMANENT, REJECT, ErrorCode.ROUTE_NOT_FOUND)),
    ("FAILED_TO_GET_SWAP_AND_ACCOUNT_METAS", STALE_QUOTE),
]


@pytest.mark.parametrize(("code", "expected"), JUPITER_CODES)
def test_every_error_code_of_jupiter(code: str, expected: Judged) -> None:
    """Each errorCode means what the facts page says, also when it comes with status 200, and Jupiter's words are kept."""
    body = json.dumps({"error": "Jupiter's words", "errorCode": code}).encode()

    for status in (400, 200):
        fault = jupiter_fault(status, body, {})
        assert judged(fault) == expected
        assert "Jupiter's words" in fault.detail
    assert fault.once is (expected in (NO_ROUTE, STALE_QUOTE))


def test_no_route_may_be_the_fault_of_shared_accounts() -> None:
    """The retry goes without them."""
    assert jupiter_fault(400, b'{"errorCode": "NO_ROUTES_FOUND"}', {}).remedy is Remedy.WITHOUT_SHARED_ACCOUNTS


JUPITER_HTTP: list[tuple[int, bytes, Judged]] = [
    (401, b"", (PERMANENT, REJECT, ErrorCode.JUPITER_UNAUTHORIZED)),
    (403, b"<html>", (PERMANENT, REJECT, ErrorCode.JUPITER_UNAUTHORIZED)),
    (429, b"{}", (TRANSIENT, SAME, ErrorCode.JUPITER_RATE_LIMITED)),
    (200, b'{"code": 429, "message": "[API Gateway] Too many requests"}', (TRANSIENT, SAME, ErrorCode.JUPITER_RATE_LIMITED)),
    (200, b'{"code": 503, "message": "x"}', (TRANSIENT, SAME, ErrorCode.JUPITER_UNREACHABLE)),
    (500, b"oops", (TRANSIENT, SAME, ErrorCode.JUPITER_UNREACHABLE)),
    (502, b"", (TRANSIENT, SAME, ErrorCode.JUPITER_UNREACHABLE)),
    (520, b"", (TRANSIENT, SAME, ErrorCode.JUPITER_UNREACHABLE)),
    (500, b'{"errorCode": "TOKEN_NOT_TRADABLE"}', (PERMANENT, REJECT, ErrorCode.TOKEN_NOT_TRADABLE)),
    (404, b"nothing here", INVALID_REQUEST),
    (404, b"Route not found", NO_ROUTE),
    (400, b'"No routes found"', NO_ROUTE),
    (400, b'{"error": "Could not find any route"}', NO_ROUTE),
    (422, b"", STALE_QUOTE),
    (422, b'{"error": "x", "errorCode": "NEW"}', STALE_QUOTE),
    (400, b'{"success": false, "error": {"issues": [{"path": ["amount"]}], "name": "ZodError"}}', INVALID_REQUEST),
]


@pytest.mark.parametrize(("status", "body", "expected"), JUPITER_HTTP)
def test_every_status_and_shape_of_jupiter(status: int, body: bytes, expected: Judged) -> None:
    """Statuses, plain text and the three JSON shapes of errors."""
    fault = jupiter_fault(status, body, {})

    assert judged(fault) == expected
    assert fault.known


def test_a_rate_limit_of_jupiter_says_until_when() -> None:
    """The reset of the window is the right moment to come back."""
    headers = {"x-ratelimit-reset": "1795428005", "date": "Mon, 23 Nov 2026 10:00:00 GMT"}

    assert jupiter_fault(429, b"", headers).retry_after_seconds == 5.0


@pytest.mark.parametrize(
    "body",
    [
        b'{"errorCode": "NEW", "error": "words"}',
        b'{"errorCode": 7, "message": "words"}',
        b'{"success": false, "error": {"name": "NewError", "text": "words"}}',
        b'{"something": "words"}',
        b"words",
        b"[" * 100_000 + b"words",
        b'{"errorCode": ["words"]}',
    ],
)
def test_an_unknown_error_of_jupiter_is_permanent_and_says_so(body: bytes) -> None:
    """Its words are kept as far as they are short."""
    fault = jupiter_fault(400, body, {})

    assert judged(fault) == INVALID_REQUEST
    assert not fault.known
    assert "unknown answer with HTTP status 400" in fault.detail


def test_a_simulation_error_of_jupiter_asks_for_a_new_quote() -> None:
    """Once: the quote was stale, or the route is broken."""
    fault = simulation_error_fault({"errorCode": "TRANSACTION_ERROR", "error": "insufficient funds"})

    assert judged(fault) == STALE_QUOTE
    assert fault.once


RECORDED_JUPITER: dict[str, Judged] = {
    "could_not_find_any_route.json": NO_ROUTE,
    "no_routes_found.json": NO_ROUTE,
    "rate_limit_429.json": (TRANSIENT, SAME, ErrorCode.JUPITER_RATE_LIMITED),
    "token_not_tradable.json": (PERMANENT, REJECT, ErrorCode.TOKEN_NOT_TRADABLE),
}


@pytest.mark.parametrize("name", recorded_names("jupiter-errors"))
def test_recorded_errors_of_jupiter(name: str) -> None:
    """Errors of the real API are classified as the facts page says."""
    answer: dict[str, Any] = recorded("jupiter-errors", name)

    assert judged(jupiter_fault(answer["http_status"], json.dumps(answer["body"]).encode(), {})) == RECORDED_JUPITER[name]


# --- words ---


def test_an_upstreams_words_become_one_printable_line() -> None:
    """Line breaks, control and direction marks and lone surrogates do not reach logs or replies; length is bounded."""
    assert printable("a\nb\x1b[31m\u202e\ud800c") == "a b [31m  c"
    assert printable("x" * MAX_DETAIL_CHARACTERS) == "x" * MAX_DETAIL_CHARACTERS
    assert printable("x" * 10_000) == "x" * (MAX_DETAIL_CHARACTERS - 3) + "..."


def test_deep_nesting_does_not_break_the_words() -> None:
    """What is too deep to be written again is said to be so."""
    nested: JsonValue = []
    for _ in range(100_000):
        nested = [nested]

    assert json_text(nested) == "<too deeply nested>"


def test_a_transport_error_names_endpoint_operation_and_what_was_tried() -> None:
    """Its text is enough for an operator."""
    error = TransportError(
        endpoint="http://127.0.0.1:8899", operation="getSlot", fault=http_fault(503, {}, Source.NODE), attempts=4, status=503
    )

    assert str(error) == "http://127.0.0.1:8899: getSlot failed after 4 attempts: HTTP 503: unavailable"
    assert "NODE_UNREACHABLE" in repr(error)
    error.attempts = 1
    assert str(error) == "http://127.0.0.1:8899: getSlot failed: HTTP 503: unavailable"

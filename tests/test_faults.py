"""What is read from errors besides their row, which tests/test_faults_rows.py has: words, waits, logs, shapes, the unknown."""

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
    transaction_fault,
    transport_fault,
)
from tests.support.recorded import recorded, recorded_names

PERMANENT, TRANSIENT, AMBIGUOUS, SUCCESS_PATH = FaultClass
SAME, OTHER_NODE, REBUILD, REQUOTE, REJECT, PENDING, LOOK_UP = Reaction
Judged = tuple[FaultClass, Reaction, ErrorCode]

METEORA = "LBUZKhRxPF3XUpBCjp4YzTKgLccjZhTSDM9YuVaPwxo"
RAYDIUM = "675kPX9MHTjS2zt1qfr1NYHuzeLXfQM9H24wFSUt1Mp8"


def judged(fault: Fault) -> Judged:
    """What every test looks at."""
    return fault.fault_class, fault.reaction, fault.code


def failed(*programs: str) -> list[str]:
    """The logs of a call chain that failed; the innermost program last."""
    invoked = [f"Program {program} invoke [{depth}]" for depth, program in enumerate(programs, 1)]
    return invoked + [f"Program {program} failed: custom program error: 0x1" for program in reversed(programs)]


# --- transport and HTTP ---


def test_a_certificate_does_not_mend_itself() -> None:
    """A failed TLS handshake is not repeated, and its fixed reason is told."""
    fault = transport_fault(TransportKind.TLS, said="CERTIFICATE_VERIFY_FAILED")

    assert judged(fault) == (PERMANENT, REJECT, ErrorCode.NODE_UNREACHABLE)
    assert not fault.worth_repeating
    assert "CERTIFICATE_VERIFY_FAILED" in fault.detail


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

REFUSED = (PERMANENT, REJECT, ErrorCode.NODE_REFUSED)


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

NO_HELP = (PERMANENT, REJECT, ErrorCode.SIMULATION_FAILED)


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
    """It is told apart from what a node could not answer."""
    assert after_send(transaction_fault(err, [])).reaction is reaction


# --- instructions ---


@pytest.mark.parametrize("error", ["NewError", {"NewError": "x"}, {}, 5, {"Custom": "6001"}, {"Custom": True}])
def test_an_unknown_instruction_error_is_permanent_and_says_so(error: JsonValue) -> None:
    """New variants and broken shapes are refused before a send; after one they prove nothing."""
    fault = transaction_fault({"InstructionError": [0, error]}, failed(JUPITER_PROGRAM))

    assert judged(fault) == NO_HELP
    assert not fault.known
    assert fault.program == JUPITER_PROGRAM
    assert "unknown instruction error" in fault.detail
    assert after_send(fault).reaction is PENDING


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

    assert judged(fault) == (PERMANENT, REBUILD, ErrorCode.SIMULATION_FAILED)
    assert fault.remedy is Remedy.LARGER_COMPUTE_LIMIT


@pytest.mark.parametrize("line", ["Program log: exceeded CUs meter", f"Program {METEORA} failed: panicked"])
def test_a_program_that_failed_to_complete_otherwise_is_refused(line: str) -> None:
    """More compute does not cure a crash, and a program cannot talk us into giving more."""
    fault = transaction_fault({"InstructionError": [2, "ProgramFailedToComplete"]}, [line])

    assert judged(fault) == NO_HELP


SLIPPED = (TRANSIENT, REQUOTE, ErrorCode.SLIPPAGE_EXCEEDED)
UNUSED_NUMBERS = [
    (JUPITER_PROGRAM, 6027),
    (JUPITER_PROGRAM, 4100),
    (TOKEN_PROGRAM, 20),
    (TOKEN_2022_PROGRAM, 1_000),
    (SYSTEM_PROGRAM, 2),
    (ASSOCIATED_TOKEN_PROGRAM, 1),
]


@pytest.mark.parametrize(("program", "number"), UNUSED_NUMBERS)
def test_a_number_that_a_known_program_does_not_use_is_permanent_and_says_so(program: str, number: int) -> None:
    """No guessing within the programs whose errors we know; after a send it proves nothing."""
    fault = transaction_fault({"InstructionError": [4, {"Custom": number}]}, failed(program))

    assert judged(fault) == NO_HELP
    assert not fault.known
    assert "unknown custom error" in fault.detail
    assert after_send(fault).reaction is PENDING


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


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (500, b'{"errorCode": "TOKEN_NOT_TRADABLE"}', (PERMANENT, REJECT, ErrorCode.TOKEN_NOT_TRADABLE)),
        (400, b'"No routes found"', NO_ROUTE),
        (400, b'{"error": "Could not find any route"}', NO_ROUTE),
        (422, b'{"error": "x", "errorCode": "NEW"}', STALE_QUOTE),
        (200, b'{"code": 503, "message": "x"}', (TRANSIENT, SAME, ErrorCode.JUPITER_UNREACHABLE)),
        (429, b'{"errorCode": "TOKEN_NOT_TRADABLE"}', (TRANSIENT, SAME, ErrorCode.JUPITER_RATE_LIMITED)),
    ],
)
def test_which_part_of_an_answer_of_jupiter_counts(status: int, body: bytes, expected: Judged) -> None:
    """Refused keys and limits by their status; then the code, then the words, then the status, or the one in the body."""
    assert judged(jupiter_fault(status, body, {})) == expected


def test_jupiter_s_words_are_kept() -> None:
    """They tell a person which token, which amount, which account."""
    body = b'{"error": "Jupiter\'s words", "errorCode": "TOKEN_NOT_TRADABLE"}'

    assert "Jupiter's words" in jupiter_fault(400, body, {}).detail


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

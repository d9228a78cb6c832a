"""What every error of the outside world means and what to do about it: the tables, and the functions that read them.

The tables follow one page of facts about the network, error by error. Two rules stand behind them. Whether a fault is
transient says only that the same call may succeed later; what it means for a trade depends on whether bytes have left, which
only the caller knows (`after_send`). And what no table knows is permanent before a send, and says that it is unknown.
"""

import enum
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Final, TypeAlias

from attrs import evolve, frozen

from executor.errors import ErrorCode, ExecutorError

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
"""What json.loads returns."""

MAX_DETAIL_CHARACTERS = 300

JUPITER_PROGRAM: Final = "JUP6LkbZbjS1jKKwapdHNy74zcZ3tLUZoi5QNyVTaV4"
SYSTEM_PROGRAM: Final = "11111111111111111111111111111111"
TOKEN_PROGRAM: Final = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"  # noqa: S105 - the address of a program
TOKEN_2022_PROGRAM: Final = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"  # noqa: S105 - the address of a program
ASSOCIATED_TOKEN_PROGRAM: Final = "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL"  # noqa: S105 - the address of a program


class FaultClass(enum.Enum):
    """How sure the fault is."""

    PERMANENT = "permanent"
    """The same call fails again."""
    TRANSIENT = "transient"
    """The same call, or the same trade with a new quote, may succeed."""
    AMBIGUOUS = "ambiguous"
    """Proves nothing about the transaction."""
    SUCCESS_PATH = "success_path"
    """Not a failure: the transaction is known already."""


class Reaction(enum.Enum):
    """What to do next."""

    SAME = "same"
    """The same call, the same bytes, again."""
    OTHER_NODE = "other_node"
    """The same call, the same bytes, to another node."""
    REBUILD = "rebuild"
    """A new transaction for the same quote; only while the old one provably cannot land."""
    REQUOTE = "requote"
    """A new quote and transaction; only while the old one provably cannot land."""
    REJECT = "reject"
    """Give up and say why."""
    PENDING = "pending"
    """The outcome is unknown: keep watching the signature, keep sending the same bytes."""
    LOOK_UP = "look_up"
    """Ask for the signature's status."""


class Remedy(enum.Enum):
    """What to do differently when a reaction builds anew."""

    LOWER_MAX_ACCOUNTS = "lower_max_accounts"
    WITHOUT_SHARED_ACCOUNTS = "without_shared_accounts"
    EXCLUDE_DEX = "exclude_dex"
    EXCLUDE_DEX_SECOND_TIME = "exclude_dex_second_time"
    """Exclude the DEX when it fails once more."""
    LARGER_COMPUTE_LIMIT = "larger_compute_limit"
    HIGHER_FEE = "higher_fee"
    REFETCH_TABLES = "refetch_tables"
    WITHOUT_DATA_SIZE_LIMIT = "without_data_size_limit"


class Source(enum.Enum):
    """Whose answer it was; decides the error code."""

    NODE = "node"
    JUPITER = "jupiter"


class TransportKind(enum.Enum):
    """How a connection failed; the value says it to a person."""

    CONNECT = "no connection"
    TIMEOUT = "no answer in time"
    RESET = "the connection was lost"
    PROTOCOL = "the answer broke off or was not HTTP"
    TOO_LARGE = "the answer is too large"
    TLS = "the TLS handshake failed"


@frozen(kw_only=True)
class Fault:
    """One error, classified."""

    code: ErrorCode
    fault_class: FaultClass
    reaction: Reaction
    detail: str
    """For a person: what the table says and what the upstream said, cut and printable."""
    retry_after_seconds: float | None = None
    """How long the upstream asks us to wait."""
    remedy: Remedy | None = None
    once: bool = False
    """The reaction is worth a single try."""
    program: str | None = None
    """The program that failed, where the logs name it."""
    known: bool = True
    """False: no table has it."""

    @property
    def worth_repeating(self) -> bool:
        """Whether the same call may succeed if it is made again, here or on another node."""
        return self.fault_class is FaultClass.TRANSIENT and self.reaction in (Reaction.SAME, Reaction.OTHER_NODE)


@frozen
class Row:
    """What a table says about one error."""

    code: ErrorCode
    fault_class: FaultClass
    reaction: Reaction
    meaning: str
    remedy: Remedy | None = None
    once: bool = False

    def fault(self, said: str = "", *, retry_after_seconds: float | None = None, program: str | None = None) -> Fault:
        """Make the fault of this row; `said` are the upstream's own words."""
        words = printable(said)
        return Fault(
            code=self.code,
            fault_class=self.fault_class,
            reaction=self.reaction,
            detail=f"{self.meaning}: {words}" if words else self.meaning,
            retry_after_seconds=retry_after_seconds,
            remedy=self.remedy,
            once=self.once,
            program=program,
        )


class TransportError(ExecutorError):
    """An upstream did not do what it was asked; raised by the clients in `network/` only.

    Its text names the endpoint, the operation and what was tried. It holds no path, query, user info or key, and no foreign
    exception's words.
    """

    def __init__(self, *, endpoint: str, operation: str, fault: Fault, attempts: int = 1, status: int | None = None) -> None:
        super().__init__(endpoint, operation)
        self.endpoint = endpoint
        """scheme://host:port, or several of them."""
        self.operation = operation
        self.fault = fault
        self.attempts = attempts
        """Calls that were made in all."""
        self.status = status
        """The HTTP status, where there was one."""

    def __str__(self) -> str:
        tried = "" if self.attempts == 1 else f" after {self.attempts} attempts"
        return f"{self.endpoint}: {self.operation} failed{tried}: {self.fault.detail}"

    def __repr__(self) -> str:
        return f"TransportError({str(self)!r}, code={self.fault.code.name}, status={self.status})"


def printable(text: str) -> str:
    """Cut an upstream's words to what fits into a log line and a reply: printable, one line, of bounded length."""
    shown = "".join(c if c.isprintable() else " " for c in text[: MAX_DETAIL_CHARACTERS + 1])
    return shown if len(shown) <= MAX_DETAIL_CHARACTERS else shown[: MAX_DETAIL_CHARACTERS - 3] + "..."


def json_text(value: JsonValue) -> str:
    """Write what an upstream sent as JSON again; never raises, however deep it nests."""
    try:
        return json.dumps(value)
    except RecursionError:
        return "<too deeply nested>"


def after_send(fault: Fault) -> Fault:
    """Read a fault of `sendTransaction` itself: what does not prove that the node refused the bytes leaves them pending."""
    if fault.reaction in (Reaction.SAME, Reaction.OTHER_NODE) or not fault.known:
        return evolve(fault, fault_class=FaultClass.AMBIGUOUS, reaction=Reaction.PENDING)
    return fault


# --- rows by their shape; most errors differ in nothing but their words ---

_Code, _Class, _Do = ErrorCode, FaultClass, Reaction


def _reject(meaning: str, code: ErrorCode) -> Row:
    return Row(code, _Class.PERMANENT, _Do.REJECT, meaning)


def _requote(meaning: str, remedy: Remedy | None = None, *, once: bool = False, code: ErrorCode = _Code.SIMULATION_FAILED) -> Row:
    return Row(code, _Class.TRANSIENT, _Do.REQUOTE, meaning, remedy, once)


def _again(meaning: str, code: ErrorCode, reaction: Reaction = _Do.SAME, remedy: Remedy | None = None) -> Row:
    return Row(code, _Class.TRANSIENT, reaction, meaning, remedy)


def _elsewhere(meaning: str) -> Row:
    return _again(meaning, _Code.NODE_UNHEALTHY, _Do.OTHER_NODE)


def _unknown(meaning: str, said: str, code: ErrorCode, *, program: str | None = None) -> Fault:
    return evolve(_reject(meaning, code).fault(said, program=program), known=False)


# --- transport and HTTP ---

_TRANSPORT: Mapping[TransportKind, Row] = MappingProxyType(
    {
        TransportKind.CONNECT: _again(TransportKind.CONNECT.value, _Code.NODE_UNREACHABLE),
        TransportKind.TIMEOUT: _again(TransportKind.TIMEOUT.value, _Code.NODE_UNREACHABLE),
        TransportKind.RESET: _again(TransportKind.RESET.value, _Code.NODE_UNREACHABLE),
        TransportKind.PROTOCOL: _again(TransportKind.PROTOCOL.value, _Code.NODE_ANSWER_INVALID, _Do.OTHER_NODE),
        TransportKind.TOO_LARGE: _again(TransportKind.TOO_LARGE.value, _Code.NODE_ANSWER_INVALID, _Do.OTHER_NODE),
        # A certificate does not mend itself within the time of a trade.
        TransportKind.TLS: _reject(TransportKind.TLS.value, _Code.NODE_UNREACHABLE),
    }
)

HTTP_ROWS: Mapping[int, Row] = MappingProxyType(
    {
        401: _reject("HTTP 401: our credentials are refused", _Code.NODE_UNAUTHORIZED),
        403: _reject("HTTP 403: our credentials are not good for this call, or a firewall refuses us", _Code.NODE_UNAUTHORIZED),
        404: _reject("HTTP 404: nothing is at this address; check the configured URL", _Code.NODE_REFUSED),
        408: _again("HTTP 408: the request took too long", _Code.NODE_UNREACHABLE),
        410: _reject("HTTP 410: this address was given up; check the configured URL", _Code.NODE_REFUSED),
        413: _reject("HTTP 413: the request is too large", _Code.NODE_REFUSED),
        429: _again("HTTP 429: rate limited", _Code.NODE_RATE_LIMITED, _Do.OTHER_NODE),
        500: _again("HTTP 500: internal error", _Code.NODE_UNHEALTHY),
        502: _again("HTTP 502: bad gateway", _Code.NODE_UNREACHABLE),
        503: _again("HTTP 503: unavailable", _Code.NODE_UNREACHABLE),
        504: _again("HTTP 504: gateway timeout", _Code.NODE_UNREACHABLE),
    }
)

_CODES_OF_JUPITER: Mapping[ErrorCode, ErrorCode] = MappingProxyType(
    {
        _Code.NODE_UNREACHABLE: _Code.JUPITER_UNREACHABLE,
        _Code.NODE_UNHEALTHY: _Code.JUPITER_UNREACHABLE,
        _Code.NODE_RATE_LIMITED: _Code.JUPITER_RATE_LIMITED,
        _Code.NODE_UNAUTHORIZED: _Code.JUPITER_UNAUTHORIZED,
        _Code.NODE_REFUSED: _Code.JUPITER_REFUSED,
        _Code.NODE_ANSWER_INVALID: _Code.JUPITER_ANSWER_INVALID,
    }
)


def _from(source: Source, fault: Fault) -> Fault:
    """Give a fault of the common tables the code of its source; Jupiter has no other node to go to."""
    if source is Source.NODE:
        return fault
    reaction = Reaction.SAME if fault.reaction is Reaction.OTHER_NODE else fault.reaction
    return evolve(fault, code=_CODES_OF_JUPITER[fault.code], reaction=reaction)


def transport_fault(kind: TransportKind, source: Source = Source.NODE, said: str = "") -> Fault:
    """Classify a connection that failed. `said` must come from us: a library's words could hold a URL with a key."""
    return _from(source, _TRANSPORT[kind].fault(said))


def http_fault(status: int, headers: Mapping[str, str], source: Source) -> Fault:
    """Classify an HTTP status that is not 200. `headers` have lower-case names."""
    row = HTTP_ROWS.get(status)
    if row is None and status >= 500:
        row = _again(f"HTTP {status}: the server fails", _Code.NODE_UNREACHABLE)
    if row is None:
        return _from(source, _unknown(f"unknown HTTP status {status}", "", _Code.NODE_REFUSED))
    return _from(source, row.fault(retry_after_seconds=retry_after_seconds(headers)))


def answer_fault(source: Source, said: str, *, repeat: bool = True) -> Fault:
    """Classify an answer that cannot be read or does not fit; `repeat` = asking again may bring a better one."""
    meaning = "the answer is invalid"
    row = _again(meaning, _Code.NODE_ANSWER_INVALID, _Do.OTHER_NODE) if repeat else _reject(meaning, _Code.NODE_ANSWER_INVALID)
    return _from(source, row.fault(said))


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Read how long to wait from `retry-after` or `x-ratelimit-reset`; None where neither says so.

    Absolute times are read against the answer's own `date`, so that our clock and theirs need not agree.
    """
    answered = _http_date(headers.get("date", ""))
    asked = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", asked, re.ASCII):
        return float(asked)
    until = _http_date(asked)
    reset = headers.get("x-ratelimit-reset", "").strip()
    if until is None and re.fullmatch(r"\d{1,11}", reset, re.ASCII):
        until = datetime.fromtimestamp(int(reset), UTC)
    if until is None or answered is None:
        return None
    return max(0.0, (until - answered).total_seconds())


def _http_date(text: str) -> datetime | None:
    try:
        read = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


# --- JSON-RPC ---

PREFLIGHT_FAILED = -32002

RPC_ROWS: Mapping[int, Row] = MappingProxyType(
    {
        -32429: _again("rate limited", _Code.NODE_RATE_LIMITED, _Do.OTHER_NODE),
        -32700: _reject("the node cannot parse our call", _Code.NODE_REFUSED),
        -32600: _reject("the node calls our request invalid", _Code.NODE_REFUSED),
        -32601: _reject("the node does not know the method", _Code.NODE_REFUSED),
        -32602: _reject("the node calls our parameters invalid", _Code.NODE_REFUSED),
        -32603: _again("internal error of the node", _Code.NODE_UNHEALTHY),
        -32001: _elsewhere("block cleaned up"),
        -32004: _elsewhere("block not available"),
        -32007: _elsewhere("slot skipped"),
        -32008: _elsewhere("no snapshot"),
        -32009: _elsewhere("slot skipped or missing in long-term storage"),
        -32011: _elsewhere("transaction history not available"),
        -32012: _elsewhere("scan error"),
        -32014: _elsewhere("block status not available yet"),
        -32016: _elsewhere("the node has not reached the minimum context slot"),
        -32019: _elsewhere("long-term storage unreachable"),
        -32021: _elsewhere("no slot history"),
        -32005: _elsewhere("the node is unhealthy"),
        -32003: _reject("signature verification failed", _Code.INTERNAL_ERROR),
        -32013: _reject("wrong length of a signature", _Code.INTERNAL_ERROR),
        -32006: _reject("precompile verification failed", _Code.NODE_REFUSED),
        -32010: _reject("the key is excluded from the node's secondary index", _Code.NODE_REFUSED),
        -32015: _reject("transaction version not supported by the call", _Code.NODE_REFUSED),
        -32017: _reject("epoch rewards period active", _Code.NODE_REFUSED),
        -32018: _reject("slot is not an epoch boundary", _Code.NODE_REFUSED),
        -32020: _reject("filter transaction not found", _Code.NODE_REFUSED),
    }
)

_TOO_LARGE = Row(
    _Code.TRANSACTION_TOO_LARGE, _Class.PERMANENT, _Do.REQUOTE, "the transaction is too large", Remedy.LOWER_MAX_ACCOUNTS
)


def rpc_fault(code: int, message: str, data: JsonValue) -> Fault:
    """Classify a JSON-RPC error object. A failed preflight is classified by the transaction error that it carries."""
    if code == PREFLIGHT_FAILED:
        return _preflight_fault(message, data)
    if code == -32602 and "too large" in message:
        return _TOO_LARGE.fault(message)
    row = RPC_ROWS.get(code)
    if row is None:
        return _unknown(f"unknown JSON-RPC error {code}", message, _Code.NODE_REFUSED)
    return row.fault(message)


def _preflight_fault(message: str, data: JsonValue) -> Fault:
    if not isinstance(data, dict) or data.get("err") is None:
        return _unknown("preflight failed and the node does not say how", message, _Code.SIMULATION_FAILED)
    logs = data.get("logs")
    lines = [line for line in logs if isinstance(line, str)] if isinstance(logs, list) else []
    return transaction_fault(data["err"], lines)


# --- transactions ---


def _busy(meaning: str, remedy: Remedy | None = None) -> Row:
    return _again(meaning, _Code.SIMULATION_FAILED, remedy=remedy)


def _unpayable(meaning: str) -> Row:
    return _reject(meaning, _Code.FUNDS_INSUFFICIENT)


def _ours(meaning: str) -> Row:
    return _reject(f"{meaning}; the transaction was built wrongly", _Code.INTERNAL_ERROR)


def _refused(meaning: str) -> Row:
    return _reject(meaning, _Code.SIMULATION_FAILED)


_MISSING_TABLE = "a lookup table cannot be used"
_DATA_SIZE = Row(
    _Code.SIMULATION_FAILED, _Class.PERMANENT, _Do.REBUILD, "the limit on loaded account data", Remedy.WITHOUT_DATA_SIZE_LIMIT
)
_FULL_BLOCK = "the block is full"

TRANSACTION_ROWS: Mapping[str, Row] = MappingProxyType(
    {
        # The code is what a caller may be told while nothing more is known: the trade is pending.
        "AlreadyProcessed": Row(
            _Code.CONFIRMATION_TIMEOUT, _Class.SUCCESS_PATH, _Do.LOOK_UP, "the transaction was processed already"
        ),
        "BlockhashNotFound": Row(
            _Code.NODE_UNHEALTHY, _Class.AMBIGUOUS, _Do.OTHER_NODE, "the node does not know the blockhash: it lags or it expired"
        ),
        "AccountInUse": _busy("an account is in use"),
        "AccountBorrowOutstanding": _busy("an account is borrowed"),
        "ClusterMaintenance": _busy("the cluster is in maintenance"),
        "ResanitizationNeeded": _busy("the transaction must be sanitized again"),
        "ProgramExecutionTemporarilyRestricted": _busy("a program is restricted for now"),
        "WouldExceedMaxBlockCostLimit": _busy(_FULL_BLOCK, Remedy.HIGHER_FEE),
        "WouldExceedMaxAccountCostLimit": _busy(_FULL_BLOCK, Remedy.HIGHER_FEE),
        "WouldExceedAccountDataBlockLimit": _busy(_FULL_BLOCK, Remedy.HIGHER_FEE),
        "WouldExceedMaxVoteCostLimit": _busy(_FULL_BLOCK, Remedy.HIGHER_FEE),
        "WouldExceedAccountDataTotalLimit": _busy(_FULL_BLOCK, Remedy.HIGHER_FEE),
        "InsufficientFundsForFee": _unpayable("the wallet cannot pay the fee"),
        "AccountNotFound": _unpayable("the wallet has no SOL"),
        "InvalidAccountForFee": _unpayable("the wallet's account cannot pay fees"),
        "InsufficientFundsForRent": _unpayable("an account would fall below its rent"),
        "InvalidRentPayingAccount": _unpayable("an account would fall below its rent"),
        "SignatureFailure": _ours("a signature is wrong"),
        "MissingSignatureForFee": _ours("the fee payer's signature is missing"),
        "SanitizeFailure": _ours("the transaction is malformed"),
        "InvalidAccountIndex": _ours("an account index is out of range"),
        "AccountLoadedTwice": _ours("an account is listed twice"),
        "DuplicateInstruction": _ours("an instruction of the compute budget is doubled"),
        "CallChainTooDeep": _ours("the call chain is too deep"),
        "UnsupportedVersion": _ours("the transaction's version is not supported"),
        "InvalidProgramForExecution": _ours("an account that is no program is called"),
        "ProgramAccountNotFound": _ours("a program does not exist"),
        "InvalidWritableAccount": _ours("an account cannot be writable"),
        "UnbalancedTransaction": _ours("lamports do not add up"),
        "TooManyAccountLocks": Row(
            _Code.SIMULATION_FAILED, _Class.PERMANENT, _Do.REQUOTE, "too many accounts", Remedy.LOWER_MAX_ACCOUNTS
        ),
        "AddressLookupTableNotFound": _requote(_MISSING_TABLE, Remedy.REFETCH_TABLES, once=True),
        "InvalidAddressLookupTableOwner": _requote(_MISSING_TABLE, Remedy.REFETCH_TABLES, once=True),
        "InvalidAddressLookupTableData": _requote(_MISSING_TABLE, Remedy.REFETCH_TABLES, once=True),
        "InvalidAddressLookupTableIndex": _requote(_MISSING_TABLE, Remedy.REFETCH_TABLES, once=True),
        "MaxLoadedAccountsDataSizeExceeded": _DATA_SIZE,
        "InvalidLoadedAccountsDataSizeLimit": _DATA_SIZE,
    }
)

_COMPUTE_EXHAUSTED = Row(
    _Code.SIMULATION_FAILED,
    _Class.PERMANENT,
    _Do.REBUILD,
    "the compute limit was used up",
    Remedy.LARGER_COMPUTE_LIMIT,
    once=True,
)

INSTRUCTION_ROWS: Mapping[str, Row] = MappingProxyType(
    {
        "ComputationalBudgetExceeded": _COMPUTE_EXHAUSTED,
        "InsufficientFunds": _unpayable("insufficient funds"),
        "AccountAlreadyInitialized": _requote("an account was created meanwhile"),
        "MissingRequiredSignature": _refused("a signature is required that is not ours"),
        "PrivilegeEscalation": _refused("a program asks for privileges that it was not given"),
        "IncorrectProgramId": _refused("a program that is not the expected one"),
        "InvalidAccountData": _requote("the data of an account is wrong; a token or fee account may be missing", once=True),
        "UninitializedAccount": _requote("an account is missing, perhaps a token or fee account", once=True),
        "InvalidAccountOwner": _requote("an account has the wrong owner; a token or fee account may be missing", once=True),
    }
)

_NO_FEE_ACCOUNT = _Code.FEE_ACCOUNT_INVALID
_OTHER_ROUTE = Remedy.EXCLUDE_DEX

JUPITER_PROGRAM_ROWS: Mapping[int, Row] = MappingProxyType(
    {
        6001: _requote("slippage tolerance exceeded", code=_Code.SLIPPAGE_EXCEEDED),
        6002: _requote("invalid calculation", _OTHER_ROUTE),
        6003: _reject("the platform fee account is missing", _NO_FEE_ACCOUNT),
        6004: _refused("invalid slippage"),
        6008: _requote("not enough account keys", once=True),
        6010: _requote("invalid route plan", _OTHER_ROUTE),
        6011: _reject("invalid referral authority", _NO_FEE_ACCOUNT),
        6014: _refused("incorrect token program, as when a fee is taken in a Token-2022 mint by a V1 instruction"),
        6016: _requote("swap not supported", _OTHER_ROUTE),
        6017: _requote("exact-out amount not matched", code=_Code.SLIPPAGE_EXCEEDED),
        6018: _refused("source and destination mint are the same"),
        6021: _requote("invalid output token account", once=True),
        6022: _reject("invalid fee wallet", _NO_FEE_ACCOUNT),
        6023: _refused("invalid authority"),
        6024: _unpayable("insufficient funds"),
        6025: _requote("invalid token account", once=True),
        6026: _requote("the bonding curve is complete", _OTHER_ROUTE),
    }
)

TOKEN_PROGRAM_ROWS: Mapping[int, Row] = MappingProxyType(
    {
        0: _refused("a token account would not be rent exempt"),
        1: _unpayable("insufficient funds in a token account"),
        3: _refused("a token account is of another mint"),
        4: _refused("a token account has another owner"),
        9: _requote("a token account is not initialised", once=True),
        11: _requote("a wrapped SOL account holds a balance"),
        14: _refused("an amount overflows"),
        17: _refused("a token account is frozen"),
        18: _refused("the mint has other decimals"),
    }
)

SYSTEM_PROGRAM_ROWS: Mapping[int, Row] = MappingProxyType(
    {0: _requote("an account is in use already"), 1: _unpayable("insufficient lamports for a transfer")}
)

ASSOCIATED_TOKEN_PROGRAM_ROWS: Mapping[int, Row] = MappingProxyType({0: _refused("a token account has an invalid owner")})

PROGRAM_ROWS: Mapping[str, Mapping[int, Row]] = MappingProxyType(
    {
        JUPITER_PROGRAM: JUPITER_PROGRAM_ROWS,
        TOKEN_PROGRAM: TOKEN_PROGRAM_ROWS,
        TOKEN_2022_PROGRAM: TOKEN_PROGRAM_ROWS,
        SYSTEM_PROGRAM: SYSTEM_PROGRAM_ROWS,
        ASSOCIATED_TOKEN_PROGRAM: ASSOCIATED_TOKEN_PROGRAM_ROWS,
    }
)

_OUR_FEE_ACCOUNT = _reject("the fee account is not an initialised token account of the right mint", _NO_FEE_ACCOUNT)
_ACCOUNTS_OF_DEX = _requote("a pool's accounts do not fit", _OTHER_ROUTE)
_OTHER_DEX = _requote("a pool refuses the swap", Remedy.EXCLUDE_DEX_SECOND_TIME)

# Anchor numbers the errors of its framework below 6000: 2xxx constraints, 3xxx accounts. From 6000 on they are the program's own.
_ANCHOR_ACCOUNT_ERRORS = range(2000, 4000)
# A program's own words begin with "Program log: ", so that no program can forge these lines.
_FAILED_LINE = re.compile(r"Program ([1-9A-HJ-NP-Za-km-z]{32,44}) failed: ")
_EXHAUSTED_LINE = re.compile(r"(?!Program (log|data): ).*exceeded (CUs|maximum number of instructions)")
_FEE_ACCOUNT_LINE = re.compile(r"Program log: AnchorError caused by account: \w*fee\w*\.")


def failing_program(logs: Sequence[str]) -> str | None:
    """Name the innermost program that failed: the first to say so, because a failure unwinds from the inside."""
    return next((found[1] for line in logs if (found := _FAILED_LINE.match(line))), None)


def transaction_fault(err: JsonValue, logs: Sequence[str]) -> Fault:
    """Classify a TransactionError of a preflight, a simulation or a status; `err` must not be None.

    A custom error belongs to the innermost program that failed in the logs, not to the instruction whose index it carries.
    """
    name, inner = next(iter(err.items())) if isinstance(err, dict) and err else (err, None)
    if name == "InstructionError" and isinstance(inner, list) and len(inner) == 2:
        return _instruction_fault(inner[0], inner[1], logs)
    row = TRANSACTION_ROWS.get(name) if isinstance(name, str) else None
    if row is None:
        return _unknown("unknown transaction error", json_text(err), _Code.SIMULATION_FAILED)
    return row.fault(json_text(err))


def _instruction_fault(index: JsonValue, error: JsonValue, logs: Sequence[str]) -> Fault:
    program = failing_program(logs)
    where = f"{json_text(error)} in {program or 'an unnamed program'}, instruction {json_text(index)}"
    name, number = next(iter(error.items())) if isinstance(error, dict) and error else (error, None)
    if name == "Custom" and type(number) is int:
        return _custom_fault(number, program, logs, where)
    row = INSTRUCTION_ROWS.get(name) if isinstance(name, str) else None
    if name == "ProgramFailedToComplete" and any(_EXHAUSTED_LINE.match(line) for line in logs):
        row = _COMPUTE_EXHAUSTED
    if row is None:
        return _unknown("unknown instruction error", where, _Code.SIMULATION_FAILED, program=program)
    return row.fault(where, program=program)


def _custom_fault(number: int, program: str | None, logs: Sequence[str], where: str) -> Fault:
    if program is None:
        return _unknown("custom error of a program that the logs do not name", where, _Code.SIMULATION_FAILED)
    rows = PROGRAM_ROWS.get(program)
    row = _pool_row(number) if rows is None else rows.get(number)
    if row is None and program == JUPITER_PROGRAM and number in _ANCHOR_ACCOUNT_ERRORS:
        row = _OUR_FEE_ACCOUNT if any(_FEE_ACCOUNT_LINE.match(line) for line in logs) else _refused("an account does not fit")
    if row is None:
        return _unknown("unknown custom error", where, _Code.SIMULATION_FAILED, program=program)
    return row.fault(where, program=program)


def _pool_row(number: int) -> Row:
    """The row of any program that has no table: a pool, behind Jupiter."""
    return _ACCOUNTS_OF_DEX if number in _ANCHOR_ACCOUNT_ERRORS else _OTHER_DEX


# --- Jupiter's API ---

_NO_ROUTE = Row(
    _Code.ROUTE_NOT_FOUND, _Class.PERMANENT, _Do.REQUOTE, "no route was found", Remedy.WITHOUT_SHARED_ACCOUNTS, once=True
)
_STALE_QUOTE = _requote("Jupiter cannot build the swap of this quote", once=True)


def _invalid_request(meaning: str) -> Row:
    return _reject(meaning, _Code.JUPITER_REFUSED)


JUPITER_ROWS: Mapping[str, Row] = MappingProxyType(
    {
        "NO_ROUTES_FOUND": _NO_ROUTE,
        "COULD_NOT_FIND_ANY_ROUTE": _NO_ROUTE,
        "MARKET_NOT_FOUND": _NO_ROUTE,
        "TOKEN_NOT_TRADABLE": _reject("the token is not tradable", _Code.TOKEN_NOT_TRADABLE),
        "CIRCULAR_ARBITRAGE_IS_DISABLED": _invalid_request("input and output are the same token"),
        "CANNOT_COMPUTE_OTHER_AMOUNT_THRESHOLD": _invalid_request("Jupiter cannot compute the threshold"),
        "MAX_ACCOUNT_GREATER_THAN_MAX": _invalid_request("maxAccounts is too large"),
        "INVALID_COMPUTE_UNIT_PRICE_AND_PRIORITIZATION_FEE": _invalid_request("price and fee exclude each other"),
        "NOT_SUPPORTED": _invalid_request("Jupiter does not support the request"),
        "ZodError": _invalid_request("Jupiter calls the request invalid"),
        "ROUTE_PLAN_DOES_NOT_CONSUME_ALL_THE_AMOUNT": _reject("the amount is too large for any route", _Code.ROUTE_NOT_FOUND),
        "FAILED_TO_GET_SWAP_AND_ACCOUNT_METAS": _STALE_QUOTE,
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
        row = _NO_ROUTE
    if row is None and status == 422:
        row = _STALE_QUOTE
    if row is not None:
        return row.fault(said)
    if status >= 500 or status in HTTP_ROWS:
        return http_fault(status, headers, Source.JUPITER)
    return _unknown(f"unknown answer with HTTP status {status}", f"{code} {said}".strip(), _Code.JUPITER_REFUSED)


def simulation_error_fault(error: JsonValue) -> Fault:
    """Classify the `simulationError` of a swap answer that came with status 200; `error` must not be None."""
    return _requote("Jupiter's own simulation failed", once=True).fault(json_text(error))


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

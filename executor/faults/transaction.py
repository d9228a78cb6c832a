"""What the runtime says of a transaction, and of an instruction of it, in a preflight, a simulation or a status."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from executor.errors import ErrorCode
from executor.faults.model import Fault, FaultClass, JsonValue, Reaction, Remedy, json_text
from executor.faults.programs import custom_fault, failing_program
from executor.faults.rows import Row, again, refused, reject, requote, unknown, unpayable

# A program's own words begin with "Program log: ", so that no program can forge this line.
_EXHAUSTED_LINE = re.compile(r"(?!Program (log|data): ).*exceeded (CUs|maximum number of instructions)")


def _busy(meaning: str, remedy: Remedy | None = None) -> Row:
    return again(meaning, ErrorCode.SIMULATION_FAILED, remedy=remedy)


def _ours(meaning: str) -> Row:
    return reject(f"{meaning}; the transaction was built wrongly", ErrorCode.INTERNAL_ERROR)


_MISSING_TABLE = "a lookup table cannot be used"
_OVER_DATA_SIZE = Row(
    ErrorCode.SIMULATION_FAILED,
    FaultClass.PERMANENT,
    Reaction.REBUILD,
    "the transaction loads more account data than its limit",
    Remedy.WITHOUT_DATA_SIZE_LIMIT,
)
_FULL_BLOCK = "the block is full"

TRANSACTION_ROWS: Mapping[str, Row] = MappingProxyType(
    {
        # The code is what a caller may be told while nothing more is known: the trade is pending.
        "AlreadyProcessed": Row(
            ErrorCode.CONFIRMATION_TIMEOUT, FaultClass.SUCCESS_PATH, Reaction.LOOK_UP, "the transaction was processed already"
        ),
        "BlockhashNotFound": Row(
            ErrorCode.NODE_UNHEALTHY,
            FaultClass.AMBIGUOUS,
            Reaction.OTHER_NODE,
            "the node does not know the blockhash: it lags or it expired",
        ),
        "AccountInUse": _busy("an account is in use"),
        "AccountBorrowOutstanding": _busy("an account is borrowed"),
        "ClusterMaintenance": _busy("the cluster is in maintenance"),
        "ResanitizationNeeded": _busy("the transaction must be sanitized again"),
        # The page of facts does not have these two: a leader meets them while it makes a block, and puts the transaction back.
        "ProgramCacheHitMaxLimit": _busy("the node's cache of programs is full"),
        "CommitCancelled": _busy("the node gave the execution up"),
        "ProgramExecutionTemporarilyRestricted": _busy("a program is restricted for now"),
        "WouldExceedMaxBlockCostLimit": _busy(_FULL_BLOCK, Remedy.HIGHER_FEE),
        "WouldExceedMaxAccountCostLimit": _busy(_FULL_BLOCK, Remedy.HIGHER_FEE),
        "WouldExceedAccountDataBlockLimit": _busy(_FULL_BLOCK, Remedy.HIGHER_FEE),
        "WouldExceedMaxVoteCostLimit": _busy(_FULL_BLOCK, Remedy.HIGHER_FEE),
        "WouldExceedAccountDataTotalLimit": _busy(_FULL_BLOCK, Remedy.HIGHER_FEE),
        "InsufficientFundsForFee": unpayable("the wallet cannot pay the fee"),
        "AccountNotFound": unpayable("the wallet has no SOL"),
        "InvalidAccountForFee": unpayable("the wallet's account cannot pay fees"),
        "InsufficientFundsForRent": unpayable("an account would fall below its rent"),
        "InvalidRentPayingAccount": unpayable("an account would fall below its rent"),
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
            ErrorCode.SIMULATION_FAILED, FaultClass.PERMANENT, Reaction.REQUOTE, "too many accounts", Remedy.LOWER_MAX_ACCOUNTS
        ),
        "AddressLookupTableNotFound": requote(_MISSING_TABLE, Remedy.REFETCH_TABLES, once=True),
        "InvalidAddressLookupTableOwner": requote(_MISSING_TABLE, Remedy.REFETCH_TABLES, once=True),
        "InvalidAddressLookupTableData": requote(_MISSING_TABLE, Remedy.REFETCH_TABLES, once=True),
        "InvalidAddressLookupTableIndex": requote(_MISSING_TABLE, Remedy.REFETCH_TABLES, once=True),
        "MaxLoadedAccountsDataSizeExceeded": _OVER_DATA_SIZE,
        "InvalidLoadedAccountsDataSizeLimit": _OVER_DATA_SIZE,
    }
)

COMPUTE_EXHAUSTED = Row(
    ErrorCode.SIMULATION_FAILED,
    FaultClass.PERMANENT,
    Reaction.REBUILD,
    "the compute limit was used up",
    Remedy.LARGER_COMPUTE_LIMIT,
    once=True,
)

INSTRUCTION_ROWS: Mapping[str, Row] = MappingProxyType(
    {
        "ComputationalBudgetExceeded": COMPUTE_EXHAUSTED,
        "InsufficientFunds": unpayable("insufficient funds"),
        "AccountAlreadyInitialized": requote("an account was created meanwhile"),
        "MissingRequiredSignature": refused("a signature is required that is not ours"),
        "PrivilegeEscalation": refused("a program asks for privileges that it was not given"),
        "IncorrectProgramId": refused("a program that is not the expected one"),
        "InvalidAccountData": requote("the data of an account is wrong; a token or fee account may be missing", once=True),
        "UninitializedAccount": requote("an account is missing, perhaps a token or fee account", once=True),
        "InvalidAccountOwner": requote("an account has the wrong owner; a token or fee account may be missing", once=True),
        # All the others, as the SDK lists them. ProgramFailedToComplete is COMPUTE_EXHAUSTED where the logs say so.
        "GenericError": refused("a program failed and does not say why"),
        "InvalidArgument": refused("a program calls an argument invalid"),
        "InvalidInstructionData": refused("a program cannot read its instruction"),
        "AccountDataTooSmall": refused("the data of an account is too small"),
        "UnbalancedInstruction": refused("lamports do not add up"),
        "ModifiedProgramId": refused("a program changed the owner of an account that is not its own"),
        "ExternalAccountLamportSpend": refused("a program spent lamports of an account that is not its own"),
        "ExternalAccountDataModified": refused("a program changed the data of an account that is not its own"),
        "ReadonlyLamportChange": refused("a program changed the lamports of a read-only account"),
        "ReadonlyDataModified": refused("a program changed the data of a read-only account"),
        "DuplicateAccountIndex": refused("an account is listed twice"),
        "ExecutableModified": refused("a program changed whether an account is a program"),
        "RentEpochModified": refused("a program changed the rent epoch of an account"),
        "NotEnoughAccountKeys": refused("a program was given too few accounts"),
        "AccountDataSizeChanged": refused("a program changed the size of an account that is not its own"),
        "AccountNotExecutable": refused("an account that is no program is called"),
        "AccountBorrowFailed": refused("an account is borrowed already"),
        "AccountBorrowOutstanding": refused("an account was not given back"),
        "DuplicateAccountOutOfSync": refused("an account that is listed twice has two contents"),
        "InvalidError": refused("a program failed with an error that means nothing"),
        "ExecutableDataModified": refused("a program changed a program's data"),
        "ExecutableLamportChange": refused("a program changed a program's lamports"),
        "ExecutableAccountNotRentExempt": refused("a program would not be rent exempt"),
        "UnsupportedProgramId": refused("a program is not supported"),
        "CallDepth": refused("programs call each other too deeply"),
        "MissingAccount": refused("an account that is needed was not given"),
        "ReentrancyNotAllowed": refused("a program called back into one that was under way"),
        "MaxSeedLengthExceeded": refused("a seed of an address is too long"),
        "InvalidSeeds": refused("an address does not follow from its seeds"),
        "InvalidRealloc": refused("an account cannot be resized so"),
        "ProgramEnvironmentSetupFailure": refused("a program's environment cannot be set up"),
        "ProgramFailedToComplete": refused("a program crashed"),
        "ProgramFailedToCompile": refused("a program does not compile"),
        "Immutable": refused("an account cannot be changed"),
        "IncorrectAuthority": refused("an authority is not the right one"),
        "AccountNotRentExempt": refused("an account would not be rent exempt"),
        "ArithmeticOverflow": refused("an amount overflows"),
        "UnsupportedSysvar": refused("a sysvar is not supported"),
        "IllegalOwner": refused("an account has an owner that is not allowed"),
        "MaxAccountsDataAllocationsExceeded": refused("the transaction allocates too much account data"),
        "MaxAccountsExceeded": refused("too many accounts"),
        "MaxInstructionTraceLengthExceeded": refused("too many instructions"),
        "BuiltinProgramsMustConsumeComputeUnits": refused("a built-in program used no compute units"),
        "BorshIoError": refused("a program cannot read or write its data"),
    }
)


def transaction_fault(err: JsonValue, logs: Sequence[str]) -> Fault:
    """Classify a TransactionError of a preflight, a simulation or a status; `err` must not be None.

    A custom error belongs to the innermost program that failed in the logs, not to the instruction whose index it carries.
    """
    name, inner = next(iter(err.items())) if isinstance(err, dict) and err else (err, None)
    if name == "InstructionError" and isinstance(inner, list) and len(inner) == 2:
        return _instruction_fault(inner[0], inner[1], logs)
    row = TRANSACTION_ROWS.get(name) if isinstance(name, str) else None
    if row is None:
        return unknown("unknown transaction error", json_text(err), ErrorCode.SIMULATION_FAILED)
    return row.fault(json_text(err))


def _instruction_fault(index: JsonValue, error: JsonValue, logs: Sequence[str]) -> Fault:
    program = failing_program(logs)
    where = f"{json_text(error)} in {program or 'an unnamed program'}, instruction {json_text(index)}"
    name, number = next(iter(error.items())) if isinstance(error, dict) and error else (error, None)
    if name == "Custom" and type(number) is int:
        return custom_fault(number, program, logs, where)
    row = INSTRUCTION_ROWS.get(name) if isinstance(name, str) else None
    if name == "ProgramFailedToComplete" and any(_EXHAUSTED_LINE.match(line) for line in logs):
        row = COMPUTE_EXHAUSTED
    if row is None:
        return unknown("unknown instruction error", where, ErrorCode.SIMULATION_FAILED, program=program)
    return row.fault(where, program=program)

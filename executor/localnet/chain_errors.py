"""The chain's own errors, as JSON-RPC shows them and as a node words them (solana-sdk's Display, read 2026-11-23)."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from attrs import frozen


@frozen
class ChainError:
    """A TransactionError. `detail` is what its variant carries, decoded JSON; None for a variant without a payload."""

    name: str
    detail: Any = None

    @classmethod
    def from_json(cls, value: Any) -> "ChainError":
        """Read `"AccountNotFound"` or `{"InstructionError": [0, {"Custom": 1}]}`."""
        if isinstance(value, str):
            return cls(value)
        (name, detail), *_ = value.items()
        return cls(name, detail)

    @classmethod
    def from_solders(cls, failed: Any) -> "ChainError":
        """Read the error of a FailedTransactionMetadata; its own JSON is the RPC's."""
        return cls.from_json(json.loads(failed.to_json())["err"])

    @property
    def json(self) -> Any:
        """The error as `err` stands in an answer."""
        return self.name if self.detail is None else {self.name: self.detail}

    def __str__(self) -> str:
        if self.name == "InstructionError":
            index, error = self.detail
            return f"Error processing Instruction {index}: {_instruction_text(error)}"
        if self.name == "DuplicateInstruction":
            return f"Transaction contains a duplicate instruction ({self.detail}) that is not allowed"
        text = TRANSACTION_TEXTS.get(self.name, self.name)
        return text.format(**self.detail) if isinstance(self.detail, dict) else text


def _instruction_text(error: Any) -> str:
    if isinstance(error, dict) and "Custom" in error:
        return f"custom program error: {error['Custom']:#x}"
    return INSTRUCTION_TEXTS.get(error, error) if isinstance(error, str) else json.dumps(error)


BLOCKHASH_NOT_FOUND = ChainError("BlockhashNotFound")
ALREADY_PROCESSED = ChainError("AlreadyProcessed")
SIGNATURE_FAILURE = ChainError("SignatureFailure")
SANITIZE_FAILURE = ChainError("SanitizeFailure")
NO_PROGRAM = ChainError("InvalidProgramForExecution")
PROGRAM_NOT_FOUND = ChainError("ProgramAccountNotFound")
LOADED_DATA_TOO_LARGE = ChainError("MaxLoadedAccountsDataSizeExceeded")

TRANSACTION_TEXTS: Mapping[str, str] = MappingProxyType(
    {
        "AccountInUse": "Account in use",
        "AccountLoadedTwice": "Account loaded twice",
        "AccountNotFound": "Attempt to debit an account but found no record of a prior credit.",
        "ProgramAccountNotFound": "Attempt to load a program that does not exist",
        "InsufficientFundsForFee": "Insufficient funds for fee",
        "InvalidAccountForFee": "This account may not be used to pay transaction fees",
        "AlreadyProcessed": "This transaction has already been processed",
        "BlockhashNotFound": "Blockhash not found",
        "CallChainTooDeep": "Loader call chain is too deep",
        "MissingSignatureForFee": "Transaction requires a fee but has no signature present",
        "InvalidAccountIndex": "Transaction contains an invalid account reference",
        "SignatureFailure": "Transaction did not pass signature verification",
        "InvalidProgramForExecution": "This program may not be used for executing instructions",
        "SanitizeFailure": "Transaction failed to sanitize accounts offsets correctly",
        "ClusterMaintenance": "Transactions are currently disabled due to cluster maintenance",
        "AccountBorrowOutstanding": "Transaction processing left an account with an outstanding borrowed reference",
        "WouldExceedMaxBlockCostLimit": "Transaction would exceed max Block Cost Limit",
        "UnsupportedVersion": "Transaction version is unsupported",
        "InvalidWritableAccount": "Transaction loads a writable account that cannot be written",
        "WouldExceedMaxAccountCostLimit": "Transaction would exceed max account limit within the block",
        "WouldExceedAccountDataBlockLimit": "Transaction would exceed account data limit within the block",
        "TooManyAccountLocks": "Transaction locked too many accounts",
        "AddressLookupTableNotFound": "Transaction loads an address table account that doesn't exist",
        "InvalidAddressLookupTableOwner": "Transaction loads an address table account with an invalid owner",
        "InvalidAddressLookupTableData": "Transaction loads an address table account with invalid data",
        "InvalidAddressLookupTableIndex": "Transaction address table lookup uses an invalid index",
        "InvalidRentPayingAccount": "Transaction leaves an account with a lower balance than rent-exempt minimum",
        "WouldExceedMaxVoteCostLimit": "Transaction would exceed max Vote Cost Limit",
        "WouldExceedAccountDataTotalLimit": "Transaction would exceed total account data limit",
        "InsufficientFundsForRent": "Transaction results in an account ({account_index}) with insufficient funds for rent",
        "MaxLoadedAccountsDataSizeExceeded": "Transaction exceeded max loaded accounts data size cap",
        "InvalidLoadedAccountsDataSizeLimit": "LoadedAccountsDataSizeLimit set for transaction must be greater than 0.",
        "ProgramExecutionTemporarilyRestricted": (
            "Execution of the program referenced by account at index {account_index} is temporarily restricted."
        ),
        "UnbalancedTransaction": "Sum of account balances before and after transaction do not match",
        "ProgramCacheHitMaxLimit": "Program cache hit max limit",
    }
)

INSTRUCTION_TEXTS: Mapping[str, str] = MappingProxyType(
    {
        "GenericError": "generic instruction error",
        "InvalidArgument": "invalid program argument",
        "InvalidInstructionData": "invalid instruction data",
        "InvalidAccountData": "invalid account data for instruction",
        "AccountDataTooSmall": "account data too small for instruction",
        "InsufficientFunds": "insufficient funds for instruction",
        "IncorrectProgramId": "incorrect program id for instruction",
        "MissingRequiredSignature": "missing required signature for instruction",
        "AccountAlreadyInitialized": "instruction requires an uninitialized account",
        "UninitializedAccount": "instruction requires an initialized account",
        "UnbalancedInstruction": "sum of account balances before and after instruction do not match",
        "ModifiedProgramId": "instruction illegally modified the program id of an account",
        "ExternalAccountLamportSpend": "instruction spent from the balance of an account it does not own",
        "ExternalAccountDataModified": "instruction modified data of an account it does not own",
        "ReadonlyLamportChange": "instruction changed the balance of a read-only account",
        "ReadonlyDataModified": "instruction modified data of a read-only account",
        "DuplicateAccountIndex": "instruction contains duplicate accounts",
        "ExecutableModified": "instruction changed executable bit of an account",
        "RentEpochModified": "instruction modified rent epoch of an account",
        "NotEnoughAccountKeys": "insufficient account keys for instruction",
        "AccountDataSizeChanged": "program other than the account's owner changed the size of the account data",
        "AccountNotExecutable": "instruction expected an executable account",
        "AccountBorrowFailed": "instruction tries to borrow reference for an account which is already borrowed",
        "AccountBorrowOutstanding": "instruction left account with an outstanding borrowed reference",
        "DuplicateAccountOutOfSync": "instruction modifications of multiply-passed account differ",
        "InvalidError": "program returned invalid error code",
        "ExecutableDataModified": "instruction changed executable accounts data",
        "ExecutableLamportChange": "instruction changed the balance of an executable account",
        "ExecutableAccountNotRentExempt": "executable accounts must be rent exempt",
        "UnsupportedProgramId": "Unsupported program id",
        "CallDepth": "Cross-program invocation call depth too deep",
        "MissingAccount": "An account required by the instruction is missing",
        "ReentrancyNotAllowed": "Cross-program invocation reentrancy not allowed for this instruction",
        "MaxSeedLengthExceeded": "Length of the seed is too long for address generation",
        "InvalidSeeds": "Provided seeds do not result in a valid address",
        "InvalidRealloc": "Failed to reallocate account data",
        "ComputationalBudgetExceeded": "Computational budget exceeded",
        "PrivilegeEscalation": "Cross-program invocation with unauthorized signer or writable account",
        "ProgramEnvironmentSetupFailure": "Failed to create program execution environment",
        "ProgramFailedToComplete": "Program failed to complete",
        "ProgramFailedToCompile": "Program failed to compile",
        "Immutable": "Account is immutable",
        "IncorrectAuthority": "Incorrect authority provided",
        "BorshIoError": "Failed to serialize or deserialize account data",
        "AccountNotRentExempt": "An account does not have enough lamports to be rent-exempt",
        "InvalidAccountOwner": "Invalid account owner",
        "ArithmeticOverflow": "Program arithmetic overflowed",
        "UnsupportedSysvar": "Unsupported sysvar",
        "IllegalOwner": "Provided owner is not allowed",
        "MaxAccountsDataAllocationsExceeded": "Accounts data allocations exceeded the maximum allowed per transaction",
        "MaxAccountsExceeded": "Max accounts exceeded",
        "MaxInstructionTraceLengthExceeded": "Max instruction trace length exceeded",
        "BuiltinProgramsMustConsumeComputeUnits": "Builtin programs must consume compute units",
    }
)

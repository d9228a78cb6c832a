"""What programs say: numbers that mean something only together with the program that failed."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from executor.errors import ErrorCode
from executor.faults.model import Fault, Remedy
from executor.faults.rows import Row, refused, reject, requote, unknown, unpayable

JUPITER_PROGRAM: Final = "JUP6LkbZbjS1jKKwapdHNy74zcZ3tLUZoi5QNyVTaV4"
SYSTEM_PROGRAM: Final = "11111111111111111111111111111111"
TOKEN_PROGRAM: Final = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"  # noqa: S105 - the address of a program
TOKEN_2022_PROGRAM: Final = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"  # noqa: S105 - the address of a program
ASSOCIATED_TOKEN_PROGRAM: Final = "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL"  # noqa: S105 - the address of a program

_NO_FEE_ACCOUNT = ErrorCode.FEE_ACCOUNT_INVALID
_OTHER_ROUTE = Remedy.EXCLUDE_DEX

JUPITER_PROGRAM_ROWS: Mapping[int, Row] = MappingProxyType(
    {
        6000: refused("the route is empty"),
        6001: requote("slippage tolerance exceeded", code=ErrorCode.SLIPPAGE_EXCEEDED),
        6002: requote("invalid calculation", _OTHER_ROUTE),
        6003: reject("the platform fee account is missing", _NO_FEE_ACCOUNT),
        6004: refused("invalid slippage"),
        6005: refused("the percentages of a route do not add up"),
        6006: refused("an input index of the route is invalid"),
        6007: refused("an output index of the route is invalid"),
        6008: requote("not enough account keys", once=True),
        6009: refused("a minimum output other than 0 is not supported"),
        6010: requote("invalid route plan", _OTHER_ROUTE),
        6011: reject("invalid referral authority", _NO_FEE_ACCOUNT),
        6012: refused("the ledger is of another token account"),
        6013: refused("the token ledger is invalid"),
        6014: refused("incorrect token program, as when a fee is taken in a Token-2022 mint by a V1 instruction"),
        6015: refused("a token program is missing"),
        6016: requote("swap not supported", _OTHER_ROUTE),
        6017: requote("exact-out amount not matched", code=ErrorCode.SLIPPAGE_EXCEEDED),
        6018: refused("source and destination mint are the same"),
        6019: refused("a mint is invalid"),
        6020: refused("the authority of the shared accounts is invalid"),
        6021: requote("invalid output token account", once=True),
        6022: reject("invalid fee wallet", _NO_FEE_ACCOUNT),
        6023: refused("invalid authority"),
        6024: unpayable("insufficient funds"),
        6025: requote("invalid token account", once=True),
        6026: requote("the bonding curve is complete", _OTHER_ROUTE),
    }
)

TOKEN_PROGRAM_ROWS: Mapping[int, Row] = MappingProxyType(
    {
        0: refused("a token account would not be rent exempt"),
        1: unpayable("insufficient funds in a token account"),
        2: refused("the mint is invalid"),
        3: refused("a token account is of another mint"),
        4: refused("a token account has another owner"),
        5: refused("the supply of the token is fixed"),
        6: refused("a token account is in use already"),
        7: refused("the number of signers given is wrong"),
        8: refused("the number of signers required is wrong"),
        9: requote("a token account is not initialised", once=True),
        10: refused("the instruction is not for wrapped SOL"),
        11: requote("a wrapped SOL account holds a balance"),
        12: refused("the token program does not know the instruction"),
        13: refused("the state of a token account does not allow it"),
        14: refused("an amount overflows"),
        15: refused("an account has no authority of this type"),
        16: refused("the mint cannot freeze accounts"),
        17: refused("a token account is frozen"),
        18: refused("the mint has other decimals"),
        19: refused("the instruction is for wrapped SOL only"),
    }
)

# The numbers of the older program, and those of its own that a swap can meet (solana-program/token-2022, error.rs).
TOKEN_2022_PROGRAM_ROWS: Mapping[int, Row] = MappingProxyType(
    {
        **TOKEN_PROGRAM_ROWS,
        31: refused("the token can only be moved by an instruction that names its mint"),
        32: refused("the fee on the transfer is not the expected one"),
        36: refused("the receiving token account demands a memo"),
        37: refused("the token cannot be transferred"),
        42: refused("the token account's CPI guard forbids programs to move its tokens"),
        67: refused("the mint is paused"),
    }
)

SYSTEM_PROGRAM_ROWS: Mapping[int, Row] = MappingProxyType(
    {0: requote("an account is in use already"), 1: unpayable("insufficient lamports for a transfer")}
)

ASSOCIATED_TOKEN_PROGRAM_ROWS: Mapping[int, Row] = MappingProxyType({0: refused("a token account has an invalid owner")})

PROGRAM_ROWS: Mapping[str, Mapping[int, Row]] = MappingProxyType(
    {
        JUPITER_PROGRAM: JUPITER_PROGRAM_ROWS,
        TOKEN_PROGRAM: TOKEN_PROGRAM_ROWS,
        TOKEN_2022_PROGRAM: TOKEN_2022_PROGRAM_ROWS,
        SYSTEM_PROGRAM: SYSTEM_PROGRAM_ROWS,
        ASSOCIATED_TOKEN_PROGRAM: ASSOCIATED_TOKEN_PROGRAM_ROWS,
    }
)

OUR_FEE_ACCOUNT = reject("the fee account is not an initialised token account of the right mint", _NO_FEE_ACCOUNT)
ACCOUNTS_OF_JUPITER = refused("an account does not fit")
ACCOUNTS_OF_DEX = requote("a pool's accounts do not fit", _OTHER_ROUTE)
OTHER_DEX = requote("a pool refuses the swap", Remedy.EXCLUDE_DEX_SECOND_TIME)

# Anchor numbers the errors of its framework below 6000: 2xxx constraints, 3xxx accounts. From 6000 on they are the program's own.
ANCHOR_ACCOUNT_ERRORS = range(2000, 4000)
# A program's own words begin with "Program log: ", so that no program can forge these lines.
_FAILED_LINE = re.compile(r"Program ([1-9A-HJ-NP-Za-km-z]{32,44}) failed: ")
_FEE_ACCOUNT_LINE = re.compile(r"Program log: AnchorError caused by account: \w*fee\w*\.")


def failing_program(logs: Sequence[str]) -> str | None:
    """Name the innermost program that failed: the first to say so, because a failure unwinds from the inside."""
    return next((found[1] for line in logs if (found := _FAILED_LINE.match(line))), None)


def custom_fault(number: int, program: str | None, logs: Sequence[str], where: str) -> Fault:
    """Classify a program's number; `program` is the one that the logs name, None where they name none."""
    if program is None:
        return unknown("custom error of a program that the logs do not name", where, ErrorCode.SIMULATION_FAILED)
    rows = PROGRAM_ROWS.get(program)
    row = _pool_row(number) if rows is None else rows.get(number)
    if row is None and program == JUPITER_PROGRAM and number in ANCHOR_ACCOUNT_ERRORS:
        row = OUR_FEE_ACCOUNT if any(_FEE_ACCOUNT_LINE.match(line) for line in logs) else ACCOUNTS_OF_JUPITER
    if row is None:
        return unknown("unknown custom error", where, ErrorCode.SIMULATION_FAILED, program=program)
    return row.fault(where, program=program)


def _pool_row(number: int) -> Row:
    """The row of any program that has no table: a pool, behind Jupiter."""
    return ACCOUNTS_OF_DEX if number in ANCHOR_ACCOUNT_ERRORS else OTHER_DEX

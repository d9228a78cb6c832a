"""Nothing unread is signed: every instruction is decoded and held against the request (DESIGN.md section 7).

A quote server that lies, or that is no longer Jupiter's, must not be able to move anything but what the caller asked for. So
everything is refused that is not on this page: the programs, the instructions, and for each of them the accounts and amounts.
The compute budget is ours alone and is added later.
"""

from collections.abc import Callable, Mapping

from attrs import frozen
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from executor.errors import ErrorCode, Rejected
from executor.model import NATIVE_MINT, Built, Order, Verified
from executor.programs import (
    ASSOCIATED_TOKEN_PROGRAM,
    COMPUTE_BUDGET_PROGRAM,
    JUPITER_EVENT_AUTHORITY,
    JUPITER_PROGRAM,
    MEMO_PROGRAMS,
    SYSTEM_PROGRAM,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
    TOKEN_PROGRAMS,
    associated_token_address,
)
from executor.stages.routes import Route, decode_route
from executor.units import minimum_out

MAX_CREATED_ACCOUNTS = 4
"""Input, output and two mints on the way; each created account costs rent."""

_SYSTEM_TRANSFER = (2).to_bytes(4, "little")
_SYNC_NATIVE = b"\x11"
_CLOSE_ACCOUNT = b"\x09"
_ATA_CREATE = (b"", b"\x00", b"\x01")

Problem = str | None


@frozen(kw_only=True)
class Expectation:
    """What the instructions of one order may say."""

    order: Order
    wallet: Pubkey
    source: Pubkey
    destination: Pubkey
    wrapped_sol: Pubkey
    minimum_out_amount: int
    platform_fee_bps: int


def verify(built: Built, *, wallet: Pubkey) -> Verified:
    """Return if the instructions do what was asked and nothing else. Raises Rejected(TRANSACTION_FOREIGN): all that is wrong."""
    expected = _expectation(built, wallet)
    problems = [
        f"instruction {index} ({instruction.program_id}): {problem}"
        for index, instruction in enumerate(built.instructions)
        if (problem := _instruction_problem(instruction, expected))
    ]
    problems += _whole_problems(built.instructions, expected)
    problems += _table_problems(built.lookup_tables, expected)
    if problems:
        raise Rejected(
            ErrorCode.TRANSACTION_FOREIGN, "the transaction is not what was asked for, it was not signed: " + "; ".join(problems)
        )
    return Verified(built=built)


def _expectation(built: Built, wallet: Pubkey) -> Expectation:
    order, quote = built.quoted.order, built.quoted.quote
    return Expectation(
        order=order,
        wallet=wallet,
        source=associated_token_address(wallet, order.input.mint, order.input.program),
        destination=associated_token_address(wallet, order.output.mint, order.output.program),
        wrapped_sol=associated_token_address(wallet, NATIVE_MINT, TOKEN_PROGRAM),
        minimum_out_amount=built.quoted.minimum_out_amount,
        platform_fee_bps=quote.platform_fee_bps,
    )


def _instruction_problem(instruction: Instruction, expected: Expectation) -> Problem:
    strangers = [str(a.pubkey) for a in instruction.accounts if a.is_signer and a.pubkey != expected.wallet]
    if strangers:
        return f"asks for the signature of {', '.join(strangers)}"
    if instruction.program_id in MEMO_PROGRAMS:
        return None
    check = _CHECKS.get(instruction.program_id)
    return "a program that has no place in a swap" if check is None else check(instruction, expected)


def _whole_problems(instructions: tuple[Instruction, ...], expected: Expectation) -> list[str]:
    """What only shows over all instructions."""
    programs = [instruction.program_id for instruction in instructions]
    problems = []
    if (swaps := programs.count(JUPITER_PROGRAM)) != 1:
        problems.append(f"{swaps} swaps instead of one")
    if (created := programs.count(ASSOCIATED_TOKEN_PROGRAM)) > MAX_CREATED_ACCOUNTS:
        problems.append(f"{created} token accounts are created, at most {MAX_CREATED_ACCOUNTS} can be needed")
    wraps = programs.count(SYSTEM_PROGRAM)
    if wraps != (1 if expected.order.input.is_native else 0):
        problems.append(f"{wraps} transfers of SOL, of which {int(expected.order.input.is_native)} can wrap the input")
    return problems


def _table_problems(tables: tuple[AddressLookupTableAccount, ...], expected: Expectation) -> list[str]:
    """A table is what a node says that it is: had it lied, the chain would put a stranger in the place of what we looked up."""
    own = {expected.wallet, expected.source, expected.destination, expected.wrapped_sol, expected.order.fee_account}
    return [f"the lookup table {table.key} stands for accounts of ours" for table in tables if own & set(table.addresses)]


def _system_problem(instruction: Instruction, expected: Expectation) -> Problem:
    """Only wrapping the input into our own wrapped SOL account."""
    if instruction.data[:4] != _SYSTEM_TRANSFER or len(instruction.data) != 12 or len(instruction.accounts) != 2:
        return "is not a plain transfer"
    source, target = (account.pubkey for account in instruction.accounts)
    lamports = int.from_bytes(instruction.data[4:12], "little")
    if (source, target) != (expected.wallet, expected.wrapped_sol) or not expected.order.input.is_native:
        return f"transfers {lamports} lamports from {source} to {target}, which was not asked for"
    if lamports != expected.order.in_amount:
        return f"wraps {lamports} lamports instead of {expected.order.in_amount}"
    return None


def _token_problem(instruction: Instruction, expected: Expectation) -> Problem:
    """Only syncing and closing our own wrapped SOL account, to us."""
    accounts = [account.pubkey for account in instruction.accounts]
    if instruction.data == _SYNC_NATIVE and accounts == [expected.wrapped_sol]:
        return None
    if instruction.data == _CLOSE_ACCOUNT and accounts == [expected.wrapped_sol, expected.wallet, expected.wallet]:
        return None
    return f"token instruction {instruction.data[:1].hex() or 'without data'} on {', '.join(map(str, accounts))}"


def _associated_token_problem(instruction: Instruction, expected: Expectation) -> Problem:
    """Only creating token accounts of our own wallet."""
    if instruction.data not in _ATA_CREATE or len(instruction.accounts) < 6:
        return "does not create a token account"
    payer, account, owner, mint, _system, token_program = (a.pubkey for a in instruction.accounts[:6])
    if owner != expected.wallet or payer != expected.wallet:
        return f"creates a token account of {owner} at the cost of {payer}"
    if token_program not in TOKEN_PROGRAMS or account != associated_token_address(owner, mint, token_program):
        return f"{account} is not our associated account of {mint}"
    return None


def _jupiter_problem(instruction: Instruction, expected: Expectation) -> Problem:
    route = decode_route(instruction)
    if isinstance(route, str):
        return route
    return "; ".join(_amount_problems(route, expected) + _account_problems(route, expected)) or None


def _amount_problems(route: Route, expected: Expectation) -> list[str]:
    problems = []
    if route.in_amount != expected.order.in_amount:
        problems.append(f"swaps {route.in_amount} instead of {expected.order.in_amount}")
    if route.may_swap(expected.order.in_amount):  # of another input amount the simulation tells
        problems.append("has the input amount twice, so which of its limits count is not certain")
    least = minimum_out(route.quoted_out_amount, route.slippage_bps) if route.slippage_bps <= 10_000 else 0
    if least < expected.minimum_out_amount:
        problems.append(f"is content with {least} out, the request with no less than {expected.minimum_out_amount}")
    if route.platform_fee_bps != expected.platform_fee_bps:
        problems.append(f"takes a fee of {route.platform_fee_bps} bps instead of {expected.platform_fee_bps}")
    if expected.platform_fee_bps and route.layout.platform_fee is None:
        problems.append(f"is a {route.layout.name}, which does not show into which account the platform fee goes")
    if route.positive_slippage_bps:
        problems.append(f"takes {route.positive_slippage_bps} bps of a better price")
    return problems


def _account_problems(route: Route, expected: Expectation) -> list[str]:
    layout, order = route.layout, expected.order
    absent = JUPITER_PROGRAM  # how Anchor writes an optional account that is not given
    fee_accounts = {order.fee_account} if expected.platform_fee_bps else {order.fee_account, absent}
    wanted: dict[str, tuple[int | None, frozenset[Pubkey]]] = {
        "authority": (layout.authority, frozenset({expected.wallet})),
        "source account": (layout.source, frozenset({expected.source})),
        "destination account": (layout.destination, frozenset({expected.destination})),
        "other destination": (layout.other_destination, frozenset({absent, expected.destination})),
        "source mint": (layout.source_mint, frozenset({order.input.mint})),
        "destination mint": (layout.destination_mint, frozenset({order.output.mint})),
        "platform fee account": (layout.platform_fee, frozenset(filter(None, fee_accounts))),
        "event authority": (layout.event_authority, frozenset({JUPITER_EVENT_AUTHORITY})),
        "program": (layout.program, frozenset({JUPITER_PROGRAM})),
    }
    wanted |= {f"token program {n}": (index, TOKEN_PROGRAMS | {absent}) for n, index in enumerate(layout.token_programs)}
    return [
        f"its {role} is {route.accounts[index]}"
        for role, (index, allowed) in wanted.items()
        if index is not None and route.accounts[index] not in allowed
    ]


def _budget_problem(_instruction: Instruction, _expected: Expectation) -> Problem:
    return "a compute budget that is not ours"


_CHECKS: Mapping[Pubkey, Callable[[Instruction, Expectation], Problem]] = {
    COMPUTE_BUDGET_PROGRAM: _budget_problem,
    SYSTEM_PROGRAM: _system_problem,
    TOKEN_PROGRAM: _token_problem,
    TOKEN_2022_PROGRAM: _token_problem,
    ASSOCIATED_TOKEN_PROGRAM: _associated_token_problem,
    JUPITER_PROGRAM: _jupiter_problem,
}

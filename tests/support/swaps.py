"""The instructions of a swap as Jupiter writes them, byte by byte from the program's IDL: the tests' own encoder.

Tests take a good transaction from here, and change one thing.
"""

import enum
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from executor.model import Built, Order, Quote, Quoted, SwapInstructions, Token
from tests.support.values import SOL, USDC, WALLET, key, make_built, make_order, make_quoted

SYSTEM = Pubkey.from_string("11111111111111111111111111111111")
TOKEN = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022 = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
ASSOCIATED = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
COMPUTE_BUDGET = Pubkey.from_string("ComputeBudget111111111111111111111111111111")
MEMO = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
JUPITER = Pubkey.from_string("JUP6LkbZbjS1jKKwapdHNy74zcZ3tLUZoi5QNyVTaV4")
EVENT_AUTHORITY = Pubkey.from_string("D8cy77BBepLMngZx6ZukaTff5hCt1HrWyKk3Hnd9oitf")

PLAN = bytes.fromhex("010000001a640001")
"""One hop: u32 count, then {pool kind, percent, input index, output index}."""


class Kind(enum.Enum):
    """The exact-in swaps of the program, by discriminator."""

    ROUTE = "e517cb977ae3ad2a"
    SHARED = "c1209b3341d69c81"
    ROUTE_V2 = "bb64facc31c4af14"
    SHARED_V2 = "d19853937cfed8e9"

    @property
    def shared(self) -> bool:
        """Whether it goes through Jupiter's own accounts."""
        return self in (Kind.SHARED, Kind.SHARED_V2)

    @property
    def is_v2(self) -> bool:
        """Whether the amounts stand before the plan."""
        return self in (Kind.ROUTE_V2, Kind.SHARED_V2)


_WRITABLE = {"source", "destination", "other_destination", "platform_fee", "program_source", "program_destination"}
ROLES: Mapping[Kind, Sequence[str]] = {
    Kind.ROUTE: (
        "token_program",
        "authority",
        "source",
        "destination",
        "other_destination",
        "destination_mint",
        "platform_fee",
        "event_authority",
        "program",
    ),
    Kind.SHARED: (
        "token_program",
        "program_authority",
        "authority",
        "source",
        "program_source",
        "program_destination",
        "destination",
        "source_mint",
        "destination_mint",
        "platform_fee",
        "token_2022_program",
        "event_authority",
        "program",
    ),
    Kind.ROUTE_V2: (
        "authority",
        "source",
        "destination",
        "source_mint",
        "destination_mint",
        "source_token_program",
        "destination_token_program",
        "other_destination",
        "event_authority",
        "program",
    ),
    Kind.SHARED_V2: (
        "program_authority",
        "authority",
        "source",
        "program_source",
        "program_destination",
        "destination",
        "source_mint",
        "destination_mint",
        "source_token_program",
        "destination_token_program",
        "event_authority",
        "program",
    ),
}


def ata(owner: Pubkey, token: Token) -> Pubkey:
    """An owner's associated account of a token."""
    return Pubkey.find_program_address([bytes(owner), bytes(token.program), bytes(token.mint)], ASSOCIATED)[0]


WRAPPED_SOL = ata(WALLET, SOL)


def readonly(account: Pubkey) -> AccountMeta:
    """Neither signs nor changes."""
    return AccountMeta(account, is_signer=False, is_writable=False)


def writable(account: Pubkey) -> AccountMeta:
    """Changes."""
    return AccountMeta(account, is_signer=False, is_writable=True)


def signing(account: Pubkey) -> AccountMeta:
    """Signs and pays."""
    return AccountMeta(account, is_signer=True, is_writable=True)


def create_ata(token: Token, owner: Pubkey = WALLET, payer: Pubkey = WALLET, data: bytes = b"\x01") -> Instruction:
    """Create an associated account."""
    accounts = [signing(payer), writable(ata(owner, token)), *map(readonly, (owner, token.mint, SYSTEM, token.program))]
    return Instruction(ASSOCIATED, data, accounts)


def transfer(lamports: int, target: Pubkey = WRAPPED_SOL, source: Pubkey = WALLET) -> Instruction:
    """Move lamports."""
    data = (2).to_bytes(4, "little") + lamports.to_bytes(8, "little")
    return Instruction(SYSTEM, data, [signing(source), writable(target)])


def sync_native(account: Pubkey = WRAPPED_SOL) -> Instruction:
    """Count the lamports of a wrapped SOL account as its amount."""
    return Instruction(TOKEN, b"\x11", [writable(account)])


def close_account(account: Pubkey = WRAPPED_SOL, target: Pubkey = WALLET, owner: Pubkey = WALLET) -> Instruction:
    """Close a token account."""
    return Instruction(TOKEN, b"\x09", [writable(account), writable(target), signing(owner)])


def swap_data(kind: Kind, *, in_amount: int, out_amount: int, slippage_bps: int, **fields: Any) -> bytes:
    """A swap's data. `fields`: platform_fee_bps, positive_slippage_bps, plan, authority_id."""
    head = bytes.fromhex(kind.value) + (bytes([fields.get("authority_id", 3)]) if kind.shared else b"")
    plan: bytes = fields.get("plan", PLAN)
    amounts = in_amount.to_bytes(8, "little") + out_amount.to_bytes(8, "little") + slippage_bps.to_bytes(2, "little")
    fee: int = fields.get("platform_fee_bps", 0)
    if kind.is_v2:
        positive: int = fields.get("positive_slippage_bps", 0)
        return head + amounts + fee.to_bytes(2, "little") + positive.to_bytes(2, "little") + plan
    return head + plan + amounts + fee.to_bytes(1, "little")


def swap_accounts(kind: Kind, order: Order, **roles: Pubkey) -> list[AccountMeta]:
    """A swap's accounts by role, and those of one hop."""
    everyone = {
        "token_program": TOKEN,
        "program_authority": key("program authority"),
        "authority": WALLET,
        "source": ata(WALLET, order.input),
        "destination": ata(WALLET, order.output),
        "other_destination": JUPITER,  # absent
        "program_source": key("program source"),
        "program_destination": key("program destination"),
        "source_mint": order.input.mint,
        "destination_mint": order.output.mint,
        "platform_fee": order.fee_account or JUPITER,
        "token_2022_program": JUPITER,
        "source_token_program": order.input.program,
        "destination_token_program": order.output.program,
        "event_authority": EVENT_AUTHORITY,
        "program": JUPITER,
        **roles,
    }
    fixed = [AccountMeta(everyone[role], is_signer=role == "authority", is_writable=role in _WRITABLE) for role in ROLES[kind]]
    return [*fixed, readonly(key("pool program")), writable(key("pool")), writable(key("vault 1")), writable(key("vault 2"))]


def swap(order: Order, quote: Quote, kind: Kind = Kind.SHARED, **fields: Any) -> Instruction:
    """The swap of an order; `fields` go to the data, or are roles with other accounts."""
    roles = {name: value for name, value in fields.items() if isinstance(value, Pubkey)}
    amounts = {
        "in_amount": order.in_amount,
        "out_amount": quote.out_amount,
        "slippage_bps": quote.slippage_bps,
        "platform_fee_bps": quote.platform_fee_bps,
    }
    data = swap_data(kind, **(amounts | {name: value for name, value in fields.items() if name not in roles}))
    return Instruction(JUPITER, data, swap_accounts(kind, order, **roles))


def swap_instructions(order: Order, quote: Quote, kind: Kind = Kind.SHARED, **fields: Any) -> SwapInstructions:
    """All instructions of an order's swap: accounts, wrapping, the swap, unwrapping."""
    sides = [token for token in (order.input, order.output) if not (kind.shared and token is order.input and token is not SOL)]
    setup = [create_ata(token) for token in sides]
    if order.input is SOL:
        setup += [transfer(order.in_amount), sync_native()]
    return SwapInstructions(
        setup=tuple(setup),
        swap=swap(order, quote, kind, **fields),
        cleanup=(close_account(),) if SOL in (order.input, order.output) else (),
        other=(),
        lookup_tables=(),
    )


def make_swap(source: Token = SOL, target: Token = USDC, kind: Kind = Kind.SHARED, **changes: Any) -> Built:
    """A good transaction; `changes` are of the order."""
    return built_of(make_quoted(make_order(source, target, **changes)), kind)


def built_of(quoted: Quoted, kind: Kind = Kind.SHARED, **fields: Any) -> Built:
    """The good transaction of an offer."""
    parts = swap_instructions(quoted.order, quoted.quote, kind, **fields)
    instructions = (*parts.setup, parts.swap, *parts.cleanup)
    return make_built(quoted, instructions=instructions, shared_accounts=kind.shared)


def position(built: Built, program: Pubkey = JUPITER) -> int:
    """Where the first instruction of a program stands."""
    return [instruction.program_id for instruction in built.instructions].index(program)


def with_instruction(built: Built, index: int, *replacements: Instruction) -> Built:
    """Put other instructions in the place of one."""
    return evolve(built, instructions=(*built.instructions[:index], *replacements, *built.instructions[index + 1 :]))


def with_account(instruction: Instruction, index: int, account: Pubkey) -> Instruction:
    """Put another account in the place of one, with the same privileges."""
    accounts = list(instruction.accounts)
    accounts[index] = AccountMeta(account, is_signer=accounts[index].is_signer, is_writable=accounts[index].is_writable)
    return Instruction(instruction.program_id, instruction.data, accounts)


def with_data(instruction: Instruction, data: bytes) -> Instruction:
    """Say something else."""
    return Instruction(instruction.program_id, data, list(instruction.accounts))

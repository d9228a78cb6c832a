"""How Jupiter's swap instructions are laid out (the program's IDL; SOLANA.md 1.6).

Only exact-in swaps whose amount stands in the instruction are here: they are all that we ask for. The token-ledger variants
swap whatever has arrived meanwhile and are refused, as is everything unknown.

The route plan in the middle is never parsed: its steps have payloads of different size, and new ones appear without notice. V1
instructions are read from their end, V2 instructions from their start.

Reading V1 from the end has a trap. The program parses from the start, and Anchor ignores what follows an instruction's arguments:
amounts that please us may hang behind those that count. Where the latter could stand is in `Route.before_amounts`.
"""

from collections.abc import Mapping

from attrs import frozen
from solders.instruction import Instruction
from solders.pubkey import Pubkey

DISCRIMINATOR_BYTES = 8
_V1_TAIL_BYTES = 19
_V1_PLAN_LENGTH_BYTES = 4
_AMOUNT_BYTES = 8
_V2_HEAD_BYTES = 22


@frozen(kw_only=True)
class RouteLayout:
    """Where an instruction's accounts stand. None: the instruction has no such account."""

    name: str
    is_v2: bool
    shared: bool
    authority: int
    source: int
    destination: int
    other_destination: int | None
    source_mint: int | None
    destination_mint: int
    platform_fee: int | None
    token_programs: tuple[int, ...]
    event_authority: int
    program: int


LAYOUTS: Mapping[bytes, RouteLayout] = {
    bytes.fromhex("e517cb977ae3ad2a"): RouteLayout(
        name="route",
        is_v2=False,
        shared=False,
        authority=1,
        source=2,
        destination=3,
        other_destination=4,
        source_mint=None,
        destination_mint=5,
        platform_fee=6,
        token_programs=(0,),
        event_authority=7,
        program=8,
    ),
    bytes.fromhex("c1209b3341d69c81"): RouteLayout(
        name="shared_accounts_route",
        is_v2=False,
        shared=True,
        authority=2,
        source=3,
        destination=6,
        other_destination=None,
        source_mint=7,
        destination_mint=8,
        platform_fee=9,
        token_programs=(0, 10),
        event_authority=11,
        program=12,
    ),
    bytes.fromhex("bb64facc31c4af14"): RouteLayout(
        name="route_v2",
        is_v2=True,
        shared=False,
        authority=0,
        source=1,
        destination=2,
        other_destination=7,
        source_mint=3,
        destination_mint=4,
        platform_fee=None,
        token_programs=(5, 6),
        event_authority=8,
        program=9,
    ),
    bytes.fromhex("d19853937cfed8e9"): RouteLayout(
        name="shared_accounts_route_v2",
        is_v2=True,
        shared=True,
        authority=1,
        source=2,
        destination=5,
        other_destination=None,
        source_mint=6,
        destination_mint=7,
        platform_fee=None,
        token_programs=(8, 9),
        event_authority=10,
        program=11,
    ),
}


@frozen(kw_only=True)
class Route:
    """What a swap instruction says that it does."""

    layout: RouteLayout
    accounts: tuple[Pubkey, ...]
    in_amount: int
    quoted_out_amount: int
    slippage_bps: int
    platform_fee_bps: int
    positive_slippage_bps: int
    before_amounts: bytes
    """V1: from the first place where the amounts could begin up to the one where we read them, and what an input amount that
    begins just before it would cover. V2: nothing."""

    def may_swap(self, in_amount: int) -> bool:
        """Whether the program may find this input amount before the place where we read it."""
        return in_amount.to_bytes(_AMOUNT_BYTES, "little") in self.before_amounts


def uses_shared_accounts(instruction: Instruction) -> bool:
    """Whether the swap goes through Jupiter's shared accounts; False for an unknown instruction."""
    layout = LAYOUTS.get(instruction.data[:DISCRIMINATOR_BYTES])
    return layout is not None and layout.shared


def decode_route(instruction: Instruction) -> Route | str:
    """Read a swap instruction; a text says why it cannot be read."""
    layout = LAYOUTS.get(instruction.data[:DISCRIMINATOR_BYTES])
    if layout is None:
        return f"unknown instruction {instruction.data[:DISCRIMINATOR_BYTES].hex()}"
    if len(instruction.accounts) <= layout.program:
        return f"{layout.name} with only {len(instruction.accounts)} accounts"
    read = _decode_v2 if layout.is_v2 else _decode_v1
    return read(layout, instruction) or f"{layout.name} with only {len(instruction.data)} bytes of data"


def _decode_v1(layout: RouteLayout, instruction: Instruction) -> Route | None:
    data = instruction.data
    earliest = DISCRIMINATOR_BYTES + layout.shared + _V1_PLAN_LENGTH_BYTES
    if len(data) < earliest + _V1_TAIL_BYTES:
        return None
    tail = data[-_V1_TAIL_BYTES:]
    return Route(
        layout=layout,
        accounts=tuple(account.pubkey for account in instruction.accounts),
        in_amount=_integer(tail[0:8]),
        quoted_out_amount=_integer(tail[8:16]),
        slippage_bps=_integer(tail[16:18]),
        platform_fee_bps=tail[18],
        positive_slippage_bps=0,
        before_amounts=data[earliest : len(data) - _V1_TAIL_BYTES + _AMOUNT_BYTES - 1],
    )


def _decode_v2(layout: RouteLayout, instruction: Instruction) -> Route | None:
    head = instruction.data[DISCRIMINATOR_BYTES + layout.shared :]
    if len(head) < _V2_HEAD_BYTES:
        return None
    return Route(
        layout=layout,
        accounts=tuple(account.pubkey for account in instruction.accounts),
        in_amount=_integer(head[0:8]),
        quoted_out_amount=_integer(head[8:16]),
        slippage_bps=_integer(head[16:18]),
        platform_fee_bps=_integer(head[18:20]),
        positive_slippage_bps=_integer(head[20:22]),
        before_amounts=b"",
    )


def _integer(data: bytes) -> int:
    return int.from_bytes(data, "little")

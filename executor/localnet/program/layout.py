"""The swap program as its callers see it: addresses, bytes, accounts and events.

The instructions are Jupiter V6's: same discriminators, account order and data tail. What a hop looks like and what a pool is are
ours: a hop is a `TokenSwap` step of the route plan, which the real program has too and which has no payload, and the ten accounts
of `Leg`. `swap.c` is the other half of this file.
"""

import enum
import hashlib
import struct
from collections.abc import Iterable, Sequence

from attrs import field, frozen
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

PROGRAM_ID = Pubkey.from_string("JUP6LkbZbjS1jKKwapdHNy74zcZ3tLUZoi5QNyVTaV4")
TOKEN_PROGRAM = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022_PROGRAM = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
ASSOCIATED_TOKEN_PROGRAM = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
EVENT_AUTHORITY = Pubkey.find_program_address([b"__event_authority"], PROGRAM_ID)[0]

POOL_MAGIC = b"LNPOOL01"
POOL_BYTES = 144
ACCOUNTS_PER_HOP = 10
MAX_HOPS = 2
TOKEN_SWAP_VARIANT = 3
AUTHORITY_IDS = (3, 5)
"""The shared authorities that the recorded mainnet answers use; the market funds their token accounts."""

_POOL = struct.Struct("<8sBxH4x32s32s32s32s")
_STEP = struct.Struct("<BBBB")
_TAIL = struct.Struct("<QQHB")


class ProgramError(enum.IntEnum):
    """The custom errors that the program answers: Anchor's own below 6000, Jupiter's from there."""

    INSTRUCTION_FALLBACK_NOT_FOUND = 101
    INSTRUCTION_DID_NOT_DESERIALIZE = 102
    CONSTRAINT_MUT = 2000
    CONSTRAINT_SIGNER = 2002
    CONSTRAINT_SEEDS = 2006
    ACCOUNT_DISCRIMINATOR_MISMATCH = 3002
    ACCOUNT_NOT_ENOUGH_KEYS = 3005
    ACCOUNT_OWNED_BY_WRONG_PROGRAM = 3007
    INVALID_PROGRAM_ID = 3008
    ACCOUNT_NOT_SIGNER = 3010
    ACCOUNT_NOT_INITIALIZED = 3012
    EMPTY_ROUTE = 6000
    SLIPPAGE_TOLERANCE_EXCEEDED = 6001
    INVALID_CALCULATION = 6002
    MISSING_PLATFORM_FEE_ACCOUNT = 6003
    INVALID_SLIPPAGE = 6004
    NOT_ENOUGH_ACCOUNT_KEYS = 6008
    INVALID_ROUTE_PLAN = 6010
    INCORRECT_TOKEN_PROGRAM_ID = 6014
    TOKEN_PROGRAM_NOT_PROVIDED = 6015
    SWAP_NOT_SUPPORTED = 6016
    EXACT_OUT_AMOUNT_NOT_MATCHED = 6017
    SOURCE_AND_DESTINATION_MINT_CANNOT_BE_THE_SAME = 6018
    INVALID_MINT = 6019
    INVALID_PROGRAM_AUTHORITY = 6020
    INVALID_OUTPUT_TOKEN_ACCOUNT = 6021
    INVALID_FEE_WALLET = 6022
    INVALID_AUTHORITY = 6023
    INSUFFICIENT_FUNDS = 6024
    INVALID_TOKEN_ACCOUNT = 6025


def associated_token_account(owner: Pubkey, mint: Pubkey, token_program: Pubkey) -> Pubkey:
    """The address at which wallets keep a mint."""
    seeds = [bytes(owner), bytes(token_program), bytes(mint)]
    return Pubkey.find_program_address(seeds, ASSOCIATED_TOKEN_PROGRAM)[0]


def program_authority(authority_id: int) -> Pubkey:
    """The owner of the program's token accounts through which the shared instructions pass the money."""
    return Pubkey.find_program_address([b"authority", bytes([authority_id])], PROGRAM_ID)[0]


def pool_address(one_mint: Pubkey, other_mint: Pubkey, fee_bps: int) -> tuple[Pubkey, int]:
    """The pool of two mints, in either order, and the bump of its address."""
    lower, higher = sorted((bytes(one_mint), bytes(other_mint)))
    return Pubkey.find_program_address([b"pool", lower, higher, struct.pack("<H", fee_bps)], PROGRAM_ID)


@frozen(kw_only=True)
class PoolState:
    """The data of a pool account; `mint_a` is the bytewise smaller mint."""

    bump: int
    fee_bps: int
    mint_a: Pubkey
    mint_b: Pubkey
    vault_a: Pubkey
    vault_b: Pubkey

    @classmethod
    def at_genesis(cls, one_mint: Pubkey, other_mint: Pubkey, *, fee_bps: int, token_programs: Sequence[Pubkey]) -> "PoolState":
        """A new pool whose vaults are its associated accounts; the token programs stand in the order of the mints."""
        address, bump = pool_address(one_mint, other_mint, fee_bps)
        programs = dict(zip((one_mint, other_mint), token_programs, strict=True))
        mint_a, mint_b = sorted((one_mint, other_mint), key=bytes)
        vault_a, vault_b = (associated_token_account(address, mint, programs[mint]) for mint in (mint_a, mint_b))
        return cls(bump=bump, fee_bps=fee_bps, mint_a=mint_a, mint_b=mint_b, vault_a=vault_a, vault_b=vault_b)

    @classmethod
    def decode(cls, data: bytes) -> "PoolState":
        """Read the data of a pool account; ValueError when it is none."""
        if len(data) != POOL_BYTES or not data.startswith(POOL_MAGIC):
            raise ValueError("not the data of a pool account")
        _, bump, fee_bps, *keys = _POOL.unpack(data)
        mint_a, mint_b, vault_a, vault_b = (Pubkey(key) for key in keys)
        return cls(bump=bump, fee_bps=fee_bps, mint_a=mint_a, mint_b=mint_b, vault_a=vault_a, vault_b=vault_b)

    def encode(self) -> bytes:
        """The data as it stands in the account."""
        keys = (self.mint_a, self.mint_b, self.vault_a, self.vault_b)
        return _POOL.pack(POOL_MAGIC, self.bump, self.fee_bps, *map(bytes, keys))

    @property
    def address(self) -> Pubkey:
        """Where the pool lives and who owns its vaults."""
        return pool_address(self.mint_a, self.mint_b, self.fee_bps)[0]

    def other_mint(self, mint: Pubkey) -> Pubkey:
        """The mint that comes out when `mint` goes in; ValueError when the pool does not hold `mint`."""
        if mint not in (self.mint_a, self.mint_b):
            raise ValueError(f"{mint} is not a mint of the pool")
        return self.mint_b if mint == self.mint_a else self.mint_a

    def vault(self, mint: Pubkey) -> Pubkey:
        """The vault that holds `mint`; ValueError when the pool does not hold it."""
        return self.vault_b if self.other_mint(mint) == self.mint_a else self.vault_a


class RouteKind(enum.Enum):
    """The four instructions; the value is the name whose hash Anchor takes as discriminator."""

    ROUTE = "route"
    EXACT_OUT_ROUTE = "exact_out_route"
    SHARED_ACCOUNTS_ROUTE = "shared_accounts_route"
    SHARED_ACCOUNTS_EXACT_OUT_ROUTE = "shared_accounts_exact_out_route"

    @property
    def shared(self) -> bool:
        """The money passes through the program's own token accounts."""
        return self in (RouteKind.SHARED_ACCOUNTS_ROUTE, RouteKind.SHARED_ACCOUNTS_EXACT_OUT_ROUTE)

    @property
    def exact_out(self) -> bool:
        """The output is given and the input is found."""
        return self in (RouteKind.EXACT_OUT_ROUTE, RouteKind.SHARED_ACCOUNTS_EXACT_OUT_ROUTE)

    @property
    def discriminator(self) -> bytes:
        """The first eight bytes of the instruction's data."""
        return hashlib.sha256(f"global:{self.value}".encode()).digest()[:8]


@frozen(kw_only=True)
class Leg:
    """One hop: the pool, what goes in, and the token programs of both sides."""

    pool: PoolState
    in_mint: Pubkey
    in_token_program: Pubkey = TOKEN_PROGRAM
    out_token_program: Pubkey = TOKEN_PROGRAM

    @property
    def out_mint(self) -> Pubkey:
        """What comes out."""
        return self.pool.other_mint(self.in_mint)

    def metas(self, from_account: Pubkey, to_account: Pubkey) -> list[AccountMeta]:
        """The accounts of the hop, in the program's order."""
        return [
            _readonly(PROGRAM_ID),
            _readonly(self.pool.address),
            _writable(from_account),
            _writable(to_account),
            _writable(self.pool.vault(self.in_mint)),
            _writable(self.pool.vault(self.out_mint)),
            _readonly(self.in_mint),
            _readonly(self.out_mint),
            _readonly(self.in_token_program),
            _readonly(self.out_token_program),
        ]


def _in_order(legs: Iterable[Leg]) -> tuple[Leg, ...]:
    return tuple(legs)


@frozen(kw_only=True)
class RouteCall:
    """One call of one of the four instructions.

    `amount` is the exact one (the input, or the output of an exact-out route), `quoted_amount` the other, to which the slippage
    applies. `forward_to` is the optional destination_token_account of the two plain routes. `tracking_account` is what callers of
    Jupiter append to find their trades again; the program does not look at it.
    """

    kind: RouteKind
    user: Pubkey
    source: Pubkey
    destination: Pubkey
    legs: tuple[Leg, ...] = field(converter=_in_order)
    amount: int
    quoted_amount: int
    slippage_bps: int
    platform_fee_bps: int = 0
    platform_fee_account: Pubkey | None = None
    forward_to: Pubkey | None = None
    authority_id: int = AUTHORITY_IDS[0]
    tracking_account: Pubkey | None = None

    @property
    def instruction(self) -> Instruction:
        """The call as the network takes it."""
        metas = self._fixed_metas() + self._hop_metas()
        if self.tracking_account is not None:
            metas.append(_readonly(self.tracking_account))
        return Instruction(PROGRAM_ID, self.data, metas)

    @property
    def data(self) -> bytes:
        """Discriminator, authority id of a shared route, route plan, amounts."""
        authority = bytes([self.authority_id]) if self.kind.shared else b""
        tail = _TAIL.pack(self.amount, self.quoted_amount, self.slippage_bps, self.platform_fee_bps)
        return self.kind.discriminator + authority + route_plan(len(self.legs)) + tail

    def _fixed_metas(self) -> list[AccountMeta]:
        first, last = self.legs[0], self.legs[-1]
        end = [_optional(self.platform_fee_account, writable=True)]
        if self.kind is not RouteKind.ROUTE:
            end.append(_optional(TOKEN_2022_PROGRAM if self._meets_token_2022() else None, writable=False))
        end += [_readonly(EVENT_AUTHORITY), _readonly(PROGRAM_ID)]
        user = AccountMeta(self.user, is_signer=True, is_writable=False)
        mints = [_readonly(first.in_mint), _readonly(last.out_mint)]
        if not self.kind.shared:
            accounts = [user, _writable(self.source), _writable(self.destination), _optional(self.forward_to, writable=True)]
            return [_readonly(TOKEN_PROGRAM), *accounts, *(mints if self.kind.exact_out else mints[1:]), *end]
        through = self._accounts_of_hops()
        accounts = [_readonly(program_authority(self.authority_id)), user, _writable(self.source)]
        accounts += [_writable(through[0]), _writable(through[-1]), _writable(self.destination)]
        return [_readonly(TOKEN_PROGRAM), *accounts, *mints, *end]

    def _hop_metas(self) -> list[AccountMeta]:
        accounts = self._accounts_of_hops()
        pairs = zip(self.legs, accounts, accounts[1:], strict=False)
        return [meta for leg, from_account, to_account in pairs for meta in leg.metas(from_account, to_account)]

    def _accounts_of_hops(self) -> list[Pubkey]:
        """The token accounts between which the hops swap: n + 1 of them."""
        owner = program_authority(self.authority_id) if self.kind.shared else self.user
        first = self.legs[0]
        ends = [associated_token_account(owner, leg.out_mint, leg.out_token_program) for leg in self.legs]
        if not self.kind.shared:
            return [self.source, *ends[:-1], self.destination]
        return [associated_token_account(owner, first.in_mint, first.in_token_program), *ends]

    def _meets_token_2022(self) -> bool:
        return any(TOKEN_2022_PROGRAM in (leg.in_token_program, leg.out_token_program) for leg in self.legs)


def route_plan(hops: int) -> bytes:
    """The Borsh vector of the steps: each swaps all of token i into token i + 1."""
    steps = (_STEP.pack(TOKEN_SWAP_VARIANT, 100, index, index + 1) for index in range(hops))
    return struct.pack("<I", hops) + b"".join(steps)


EVENT_TAG = bytes.fromhex("e445a52e51cb9a1d")
"""Before the discriminator of every event that Anchor's emit_cpi writes: sha256("anchor:event"), reversed."""

_SWAP_EVENT = bytes.fromhex("40c6cde8260871e2")
_FEE_EVENT = bytes.fromhex("494f4e7fb8d50ddc")


@frozen(kw_only=True)
class SwapEvent:
    """One hop: what left the input account and what arrived in the output account."""

    pool: Pubkey
    in_mint: Pubkey
    in_amount: int
    out_mint: Pubkey
    out_amount: int


@frozen(kw_only=True)
class FeeEvent:
    """The platform fee, as it was sent."""

    account: Pubkey
    mint: Pubkey
    amount: int


def decode_event(data: bytes) -> SwapEvent | FeeEvent:
    """Read the data of an event's inner instruction; ValueError when it is none."""
    kind, body = data[:16], data[16:]
    if kind == EVENT_TAG + _SWAP_EVENT and len(body) == 112:
        amm, in_mint, in_amount, out_mint, out_amount = struct.unpack("<32s32sQ32sQ", body)
        mints = (Pubkey(in_mint), Pubkey(out_mint))
        return SwapEvent(pool=Pubkey(amm), in_mint=mints[0], in_amount=in_amount, out_mint=mints[1], out_amount=out_amount)
    if kind == EVENT_TAG + _FEE_EVENT and len(body) == 72:
        account, mint, amount = struct.unpack("<32s32sQ", body)
        return FeeEvent(account=Pubkey(account), mint=Pubkey(mint), amount=amount)
    raise ValueError("not an event of the program")


def _readonly(key: Pubkey) -> AccountMeta:
    return AccountMeta(key, is_signer=False, is_writable=False)


def _writable(key: Pubkey) -> AccountMeta:
    return AccountMeta(key, is_signer=False, is_writable=True)


def _optional(key: Pubkey | None, *, writable: bool) -> AccountMeta:
    """An absent optional account is written as the program's own id."""
    return _readonly(PROGRAM_ID) if key is None else AccountMeta(key, is_signer=False, is_writable=writable)

"""The localnet's tokens and its own SPL encodings: mint and token-account data, associated addresses, instructions.

Only what the market needs: no multisig, no delegates, and of Token-2022's extensions the transfer fee and the immutable owner.
"""

import functools
import hashlib
import struct
from typing import Final

from attrs import frozen
from solders.account import Account
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from executor.localnet.formula import NO_TRANSFER_FEE, TransferFee
from executor.localnet.program.layout import (
    ASSOCIATED_TOKEN_PROGRAM,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
    associated_token_account,
)

SYSTEM_PROGRAM: Final = Pubkey.from_string("11111111111111111111111111111111")

BASE_ACCOUNT_BYTES: Final = 165
"""Of a token account; Token-2022 pads its mints to the same size, so that the byte behind it tells the two apart."""
MINT_BYTES: Final = 82
LAMPORTS_PER_BYTE: Final = 6_960  # two years of rent
ACCOUNT_OVERHEAD_BYTES: Final = 128
NATIVE_MINT_LAMPORTS: Final = 10**9
"""As the genesis of every cluster has it."""

# Token-2022: what stands behind the base, and the types of the extensions there.
MINT_TYPE, TOKEN_ACCOUNT_TYPE = 1, 2
TRANSFER_FEE_CONFIG, TRANSFER_FEE_AMOUNT, IMMUTABLE_OWNER = 1, 2, 7


@frozen(kw_only=True)
class Token:
    """A mint of the localnet, at its mainnet address."""

    symbol: str
    mint: Pubkey
    decimals: int
    program: Pubkey = TOKEN_PROGRAM
    transfer_fee: TransferFee = NO_TRANSFER_FEE

    def raw(self, ui_amount: int) -> int:
        """A whole number of tokens in the smallest unit."""
        return ui_amount * int(10**self.decimals)


SOL: Final = Token(symbol="SOL", mint=Pubkey.from_string("So11111111111111111111111111111111111111112"), decimals=9)
USDC: Final = Token(symbol="USDC", mint=Pubkey.from_string("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"), decimals=6)
BONK: Final = Token(symbol="BONK", mint=Pubkey.from_string("DezXAZ8z7PnrnRJjz3wXBoRgixCa6xjnB7YaB1pPB263"), decimals=5)
JITOSOL: Final = Token(symbol="JitoSOL", mint=Pubkey.from_string("J1toso1uCk3RLmjorhTtrVwY9HJ7X8V9yYac6Y7kGCPn"), decimals=9)
RAY: Final = Token(symbol="RAY", mint=Pubkey.from_string("4k3Dyjzvzp8eMZWUXbBCjEvwSkkk59S5iCNLY3QrkX6R"), decimals=6)
BERN: Final = Token(
    symbol="BERN",
    mint=Pubkey.from_string("CKfatsPMUf8SkiURsDXs7eK6GWb4Jsd6UDbs7twMCWxo"),
    decimals=5,
    program=TOKEN_2022_PROGRAM,
    transfer_fee=TransferFee(bps=690, maximum=3_906_250_000_000_000_000),
)
TOKENS: Final = (SOL, USDC, BONK, JITOSOL, RAY, BERN)


def invented_address(name: str) -> Pubkey:
    """An address that nobody holds a key for, the same in every localnet."""
    return Pubkey.find_program_address([hashlib.sha256(name.encode()).digest()], SYSTEM_PROGRAM)[0]


REMEMBERED_ADDRESSES: Final = 4_096
"""Each takes a search for a point off the curve."""
MINT_AUTHORITY: Final = invented_address("mint authority")


def rent_exemption(size_bytes: int) -> int:
    """The lamports that an account of this size must hold."""
    return (size_bytes + ACCOUNT_OVERHEAD_BYTES) * LAMPORTS_PER_BYTE


def program_account(owner: Pubkey, data: bytes, *, lamports: int | None = None) -> Account:
    """An account with data that belongs to a program; rent exempt unless told otherwise."""
    return Account(lamports=rent_exemption(len(data)) if lamports is None else lamports, data=data, owner=owner)


@functools.lru_cache(maxsize=REMEMBERED_ADDRESSES)
def associated_address(owner: Pubkey, token: Token) -> Pubkey:
    """Where the owner's tokens lie by convention."""
    return associated_token_account(owner, token.mint, token.program)


# ---- accounts


def mint_account(token: Token, *, supply: int) -> Account:
    """The mint as it stands at genesis. The native mint has neither an authority nor a supply."""
    authority = _optional_key(None if token == SOL else MINT_AUTHORITY)
    lamports = NATIVE_MINT_LAMPORTS if token == SOL else None
    base = authority + struct.pack("<QBB", 0 if token == SOL else supply, token.decimals, 1) + _optional_key(None)
    return program_account(token.program, base + _mint_extensions(token), lamports=lamports)


def token_account(token: Token, *, owner: Pubkey, amount: int) -> Account:
    """A token account as the associated token program would have made it, then filled. Of SOL: the amount wrapped."""
    extensions = _account_extensions(token)
    reserve = rent_exemption(BASE_ACCOUNT_BYTES + len(extensions))
    native = token == SOL
    base = bytes(token.mint) + bytes(owner) + struct.pack("<Q", amount) + _optional_key(None)  # no delegate
    base += struct.pack("<BIQQ", 1, native, reserve if native else 0, 0) + _optional_key(None)  # initialised, not delegated
    return program_account(token.program, base + extensions, lamports=reserve + (amount if native else 0))


def token_amount(account: Account) -> int:
    """The balance in a token account's data."""
    return int.from_bytes(account.data[64:72], "little")


def _optional_key(key: Pubkey | None) -> bytes:
    """The token programs' COption: a u32 and the key's room, whether there is one or not."""
    return struct.pack("<I32s", key is not None, bytes(key) if key else b"")


def _extension(kind: int, value: bytes) -> bytes:
    return struct.pack("<HH", kind, len(value)) + value


def _mint_extensions(token: Token) -> bytes:
    if token.program == TOKEN_PROGRAM:
        return b""
    epoch = 0
    fee = struct.pack("<QQH", epoch, token.transfer_fee.maximum, token.transfer_fee.bps)
    withheld = 0
    config = bytes(MINT_AUTHORITY) * 2 + struct.pack("<Q", withheld) + fee + fee  # the older and the newer fee
    padding = bytes(BASE_ACCOUNT_BYTES - MINT_BYTES)
    return padding + bytes([MINT_TYPE]) + _extension(TRANSFER_FEE_CONFIG, config)


def _account_extensions(token: Token) -> bytes:
    if token.program == TOKEN_PROGRAM:
        return b""
    withheld = struct.pack("<Q", 0)
    return bytes([TOKEN_ACCOUNT_TYPE]) + _extension(IMMUTABLE_OWNER, b"") + _extension(TRANSFER_FEE_AMOUNT, withheld)


# ---- instructions


def create_associated(*, payer: Pubkey, owner: Pubkey, token: Token) -> Instruction:
    """CreateIdempotent: succeeds when the account is there already."""
    accounts = [
        AccountMeta(payer, is_signer=True, is_writable=True),
        AccountMeta(associated_address(owner, token), is_signer=False, is_writable=True),
        AccountMeta(owner, is_signer=False, is_writable=False),
        AccountMeta(token.mint, is_signer=False, is_writable=False),
        AccountMeta(SYSTEM_PROGRAM, is_signer=False, is_writable=False),
        AccountMeta(token.program, is_signer=False, is_writable=False),
    ]
    return Instruction(ASSOCIATED_TOKEN_PROGRAM, bytes([1]), accounts)


def transfer_lamports(*, source: Pubkey, destination: Pubkey, lamports: int) -> Instruction:
    """System transfer."""
    accounts = [
        AccountMeta(source, is_signer=True, is_writable=True),
        AccountMeta(destination, is_signer=False, is_writable=True),
    ]
    return Instruction(SYSTEM_PROGRAM, struct.pack("<IQ", 2, lamports), accounts)


def transfer_checked(*, token: Token, source: Pubkey, destination: Pubkey, owner: Pubkey, amount: int) -> Instruction:
    """Move tokens between two accounts of one mint."""
    accounts = [
        AccountMeta(source, is_signer=False, is_writable=True),
        AccountMeta(token.mint, is_signer=False, is_writable=False),
        AccountMeta(destination, is_signer=False, is_writable=True),
        AccountMeta(owner, is_signer=True, is_writable=False),
    ]
    return Instruction(token.program, struct.pack("<BQB", 12, amount, token.decimals), accounts)


def sync_native(account: Pubkey) -> Instruction:
    """Make a wrapped-SOL account's balance follow its lamports."""
    return Instruction(TOKEN_PROGRAM, bytes([17]), [AccountMeta(account, is_signer=False, is_writable=True)])


def close_account(*, token: Token, account: Pubkey, destination: Pubkey, owner: Pubkey) -> Instruction:
    """Close a token account; its lamports, of wrapped SOL the balance too, go to the destination."""
    accounts = [
        AccountMeta(account, is_signer=False, is_writable=True),
        AccountMeta(destination, is_signer=False, is_writable=True),
        AccountMeta(owner, is_signer=True, is_writable=False),
    ]
    return Instruction(token.program, bytes([9]), accounts)

"""Reads token accounts and mints of both token programs, for balances in metadata and for jsonParsed."""

import struct
from collections.abc import Iterator

from attrs import frozen
from solders.account import Account
from solders.pubkey import Pubkey

from executor.localnet.program.layout import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from executor.localnet.tokens import BASE_ACCOUNT_BYTES, MINT_BYTES, MINT_TYPE, TOKEN_ACCOUNT_TYPE

TOKEN_PROGRAMS = frozenset({TOKEN_PROGRAM, TOKEN_2022_PROGRAM})
MULTISIG_BYTES = 355
UNINITIALIZED, INITIALIZED, FROZEN = 0, 1, 2


@frozen
class Extension:
    """One Token-2022 extension, undecoded."""

    kind: int
    value: bytes


@frozen(kw_only=True)
class TokenAccountData:
    """What a token account's data says."""

    mint: Pubkey
    owner: Pubkey
    amount: int
    delegate: Pubkey | None
    delegated_amount: int
    state: int
    native_reserve: int | None
    close_authority: Pubkey | None
    extensions: tuple[Extension, ...]


@frozen(kw_only=True)
class MintData:
    """What a mint's data says."""

    decimals: int
    supply: int
    initialized: bool
    mint_authority: Pubkey | None
    freeze_authority: Pubkey | None
    extensions: tuple[Extension, ...]


def is_token_account(account: Account) -> bool:
    """Tell whether an account is an initialised token account of either program."""
    if account.owner not in TOKEN_PROGRAMS:
        return False
    data = account.data
    return _has_form(data, BASE_ACCOUNT_BYTES, TOKEN_ACCOUNT_TYPE) and data[108] != UNINITIALIZED


def is_mint(account: Account) -> bool:
    """Tell whether an account is an initialised mint of either program."""
    if account.owner not in TOKEN_PROGRAMS:
        return False
    data = account.data
    return _has_form(data, MINT_BYTES, MINT_TYPE) and data[45] == 1


def _has_form(data: bytes, base_bytes: int, kind: int) -> bool:
    """Both kinds are told apart by their size; with extensions, padded to one size, by the byte behind it."""
    if len(data) == base_bytes:
        return True
    return len(data) > BASE_ACCOUNT_BYTES and len(data) != MULTISIG_BYTES and data[BASE_ACCOUNT_BYTES] == kind


def read_token_account(account: Account) -> TokenAccountData | None:
    """Decode a token account; None when it is none."""
    if not is_token_account(account):
        return None
    data = bytes(account.data)
    mint, owner, amount, delegate, state, native, reserve, delegated, close = struct.unpack_from("<32s32sQ36sBIQQ36s", data)
    return TokenAccountData(
        mint=Pubkey(mint),
        owner=Pubkey(owner),
        amount=amount,
        delegate=_optional(delegate),
        delegated_amount=delegated,
        state=state,
        native_reserve=reserve if native else None,
        close_authority=_optional(close),
        extensions=tuple(_extensions(data)),
    )


def read_mint(account: Account) -> MintData | None:
    """Decode a mint; None when it is none."""
    if not is_mint(account):
        return None
    data = bytes(account.data)
    authority, supply, decimals, initialized, freeze = struct.unpack_from("<36sQBB36s", data)
    return MintData(
        decimals=decimals,
        supply=supply,
        initialized=bool(initialized),
        mint_authority=_optional(authority),
        freeze_authority=_optional(freeze),
        extensions=tuple(_extensions(data)),
    )


def _optional(field: bytes) -> Pubkey | None:
    return Pubkey(field[4:]) if field[0] else None


def _extensions(data: bytes) -> Iterator[Extension]:
    at = BASE_ACCOUNT_BYTES + 1
    while at + 4 <= len(data):
        kind, length = struct.unpack_from("<HH", data, at)
        if kind == 0:  # padding
            return
        yield Extension(kind, data[at + 4 : at + 4 + length])
        at += 4 + length

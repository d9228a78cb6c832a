"""Programs and accounts of the chain, as far as a swap touches them: addresses, associated token accounts, token account data."""

from functools import lru_cache

from attrs import frozen
from solders.pubkey import Pubkey

SYSTEM_PROGRAM = Pubkey.from_string("11111111111111111111111111111111")
COMPUTE_BUDGET_PROGRAM = Pubkey.from_string("ComputeBudget111111111111111111111111111111")
TOKEN_PROGRAM = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022_PROGRAM = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
TOKEN_PROGRAMS = frozenset({TOKEN_PROGRAM, TOKEN_2022_PROGRAM})
ASSOCIATED_TOKEN_PROGRAM = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
LOOKUP_TABLE_PROGRAM = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")
MEMO_PROGRAMS = frozenset(
    {
        Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"),
        Pubkey.from_string("Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo"),
    }
)
JUPITER_PROGRAM = Pubkey.from_string("JUP6LkbZbjS1jKKwapdHNy74zcZ3tLUZoi5QNyVTaV4")
JUPITER_EVENT_AUTHORITY = Pubkey.from_string("D8cy77BBepLMngZx6ZukaTff5hCt1HrWyKk3Hnd9oitf")

TOKEN_ACCOUNT_BYTES = 165
_INITIALIZED = 1


@lru_cache(maxsize=4_096)
def associated_token_address(owner: Pubkey, mint: Pubkey, token_program: Pubkey) -> Pubkey:
    """The address at which wallets and Jupiter keep an owner's tokens of a mint."""
    address, _bump = Pubkey.find_program_address([bytes(owner), bytes(token_program), bytes(mint)], ASSOCIATED_TOKEN_PROGRAM)
    return address


@frozen(kw_only=True)
class TokenAccount:
    """The part of a token account's data that both token programs share (solana-program/token, interface/src/state.rs)."""

    mint: Pubkey
    owner: Pubkey
    amount: int
    is_initialized: bool
    """False for a fresh and for a frozen one: neither can be traded with."""


def parse_token_account(program: Pubkey, data: bytes) -> TokenAccount | None:
    """Read a token account; None when it is none."""
    if program not in TOKEN_PROGRAMS or len(data) < TOKEN_ACCOUNT_BYTES:
        return None
    return TokenAccount(
        mint=Pubkey.from_bytes(data[:32]),
        owner=Pubkey.from_bytes(data[32:64]),
        amount=int.from_bytes(data[64:72], "little"),
        is_initialized=data[108] == _INITIALIZED,
    )

"""What every account of a transaction held before and after it, for tests that say only what changes."""

import base64
from collections.abc import Sequence
from typing import Any

from attrs import define, field
from solders.pubkey import Pubkey

from executor.model import Token
from executor.network.solana import BalanceSheet, TokenBalance
from tests.support.swaps import ata
from tests.support.values import SOL, WALLET

WEALTH = 10**15
"""What the wallet has before."""


@define
class _Row:
    mint: Pubkey
    owner: Pubkey | None
    before: int | None
    after: int | None


@define
class Sheet:
    """Lamports and token amounts by account; whatever is not named does not change."""

    _lamports: dict[Pubkey, tuple[int, int]] = field(factory=dict)
    _rows: dict[Pubkey, _Row] = field(factory=dict)

    def lamports(self, account: Pubkey, change: int) -> "Sheet":
        """Let an account have that many lamports more."""
        self._lamports[account] = (WEALTH, WEALTH + change)
        return self

    def account(
        self, token: Token, *, before: int | None, after: int | None, owner: Pubkey | None = WALLET, at: Pubkey | None = None
    ) -> "Sheet":
        """A token account with its rent, which is missing where the amount is None; our associated one if no address is given."""
        address = at or ata(WALLET, token)
        rent = token.account_rent_lamports
        wrapped = token is SOL
        held = [0 if amount is None else rent + (amount if wrapped else 0) for amount in (before, after)]
        self._lamports[address] = (held[0], held[1])
        self._rows[address] = _Row(token.mint, owner, before, after)
        return self

    def made(self, keys: Sequence[Pubkey] | None = None) -> BalanceSheet:
        """The sheet over these keys; by default over those that were named, the wallet first."""
        keys = keys or [WALLET, *(k for k in self._lamports if k != WALLET)]
        lamports = [self._lamports.get(k, (1, 1)) for k in keys]
        rows = [(index, self._rows[k]) for index, k in enumerate(keys) if k in self._rows]

        def tokens(amounts: list[tuple[int, _Row, int | None]]) -> tuple[TokenBalance, ...]:
            return tuple(
                TokenBalance(account_index=index, mint=row.mint, owner=row.owner, amount=amount)
                for index, row, amount in amounts
                if amount is not None
            )

        return BalanceSheet(
            keys=tuple(keys),
            pre_lamports=tuple(before for before, _after in lamports),
            post_lamports=tuple(after for _before, after in lamports),
            pre_tokens=tokens([(index, row, row.before) for index, row in rows]),
            post_tokens=tokens([(index, row, row.after) for index, row in rows]),
        )


def sheet_json(sheet: BalanceSheet) -> dict[str, Any]:
    """A sheet as nodes write it."""

    def rows(tokens: Sequence[TokenBalance]) -> list[dict[str, Any]]:
        return [
            {
                "accountIndex": row.account_index,
                "mint": str(row.mint),
                "owner": str(row.owner),
                "uiTokenAmount": {"amount": str(row.amount)},
            }
            for row in tokens
        ]

    return {
        "preBalances": list(sheet.pre_lamports),
        "postBalances": list(sheet.post_lamports),
        "preTokenBalances": rows(sheet.pre_tokens),
        "postTokenBalances": rows(sheet.post_tokens),
    }


def u64_base64(amount: int) -> str:
    """A program's return value."""
    return base64.b64encode(amount.to_bytes(8, "little")).decode()

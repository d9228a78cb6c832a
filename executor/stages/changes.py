"""What a transaction, simulated or confirmed, did to the wallet: the same arithmetic for both.

A node reports, per account of the transaction, lamports before and after, and for token accounts the amounts. An account that
is missing on one side held nothing there.

The SOL leg of a swap does not show as a token amount: the wrapped SOL account is created and closed within the transaction, or
was there and is closed. So lamports are added up over the wallet and over its own token accounts. What is left of that sum
when network fees are put aside is what the swap itself took or gave; rent moves from the wallet into its own accounts and
cancels out.
"""

from collections.abc import Mapping

from attrs import frozen
from solders.pubkey import Pubkey

from executor.model import NATIVE_MINT
from executor.network.solana import BalanceSheet, TokenBalance


@frozen(kw_only=True)
class WalletChanges:
    """Differences; positive is what the wallet has more."""

    lamports: int
    """Over the wallet and its own token accounts, network fee included (so usually negative by it)."""
    rent_lamports: int
    """Rent that went into token accounts of the wallet; negative when it came back."""
    tokens: Mapping[Pubkey, int]
    """Raw amounts by mint, over the wallet's own token accounts."""

    def swap_lamports(self, fee_lamports: int) -> int:
        """What the swap itself took or gave in SOL."""
        return self.lamports + fee_lamports

    def of(self, mint: Pubkey, *, fee_lamports: int) -> int:
        """What the wallet has more of a mint; of wrapped SOL: of SOL in any form."""
        return self.swap_lamports(fee_lamports) if mint == NATIVE_MINT else self.tokens.get(mint, 0)


def wallet_changes(sheet: BalanceSheet, *, wallet: Pubkey) -> WalletChanges:
    """Add up what changed for a wallet."""
    before, after = _own(sheet.pre_tokens, wallet), _own(sheet.post_tokens, wallet)
    indexes = before.keys() | after.keys()
    held = {index: _held(before, after, index) for index in indexes}
    tokens: dict[Pubkey, int] = {}
    for mint, change in held.values():
        tokens[mint] = tokens.get(mint, 0) + change
    own_lamports = {index: sheet.post_lamports[index] - sheet.pre_lamports[index] for index in indexes}
    wrapped = sum(change for mint, change in held.values() if mint == NATIVE_MINT)
    in_accounts = sum(own_lamports.values())
    at = sheet.keys.index(wallet)
    return WalletChanges(
        lamports=sheet.post_lamports[at] - sheet.pre_lamports[at] + in_accounts,
        rent_lamports=in_accounts - wrapped,
        tokens=tokens,
    )


def _own(rows: tuple[TokenBalance, ...], wallet: Pubkey) -> dict[int, TokenBalance]:
    return {row.account_index: row for row in rows if row.owner == wallet}


def _held(before: Mapping[int, TokenBalance], after: Mapping[int, TokenBalance], index: int) -> tuple[Pubkey, int]:
    old, new = before.get(index), after.get(index)
    row = new or old
    if row is None:
        raise AssertionError("an index comes from one of the two sides")
    return row.mint, (new.amount if new else 0) - (old.amount if old else 0)

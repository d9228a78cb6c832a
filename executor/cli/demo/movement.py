"""What a transaction did to the wallet, by the chain's own balances. Pure arithmetic, and nothing of the daemon's: it checks it.

A node lists the lamports of every account of a transaction before and after it, and beside them the balances of token accounts
with their owners. Everything here is a sum over two groups of these rows: the wallet, and token accounts that it owns.

- A token: the sum over the wallet's accounts of its mint. A missing row is an account that was not there, or is gone.
- SOL: a swap wraps it and unwraps what comes, so it may lie in the wallet or in accounts of wrapped SOL. Lamports that go from
  one to the other cancel out in the sum over both groups, as does the rent that the wallet puts into accounts of its own. What
  is left is the swap's SOL leg and the network fee.
- Rent: what the wallet's token accounts hold more in lamports, without wrapped SOL.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from attrs import frozen

WRAPPED_SOL = "So11111111111111111111111111111111111111112"
LAMPORTS_PER_SIGNATURE = 5_000

Json = Any


@frozen(kw_only=True)
class Movement:
    """Positive is what the wallet has more. A failed transaction moves its fee and nothing else."""

    slot: int
    failed: bool
    fee_lamports: int
    """What the network took: signatures and priority."""
    priority_fee_lamports: int
    sol_lamports: int
    """What the transaction moved in SOL, wrapped or not, the network fee and rent apart."""
    rent_lamports: int
    """What went into token accounts of the wallet's own as rent; negative when it came back."""
    tokens: Mapping[str, int]
    """Raw amounts by mint, without wrapped SOL."""

    def of(self, mint: str) -> int:
        """What the wallet has more of a mint; of wrapped SOL: of SOL in any form."""
        return self.sol_lamports if mint == WRAPPED_SOL else self.tokens.get(mint, 0)


def read_movement(transaction: Json, wallet: str) -> Movement:
    """Read a result of getTransaction in the encoding "json"."""
    meta, parts = transaction["meta"], transaction["transaction"]
    lamports = [after - before for before, after in zip(meta["preBalances"], meta["postBalances"], strict=True)]
    before, after = _owned(meta["preTokenBalances"], wallet), _owned(meta["postTokenBalances"], wallet)
    in_accounts = sum(lamports[index] for index in before.keys() | after.keys())
    tokens: dict[str, int] = defaultdict(int)
    for sign, rows in ((-1, before), (1, after)):
        for mint, amount in rows.values():
            tokens[mint] += sign * amount
    wrapped = tokens.pop(WRAPPED_SOL, 0)
    at_wallet = lamports[_keys(meta, parts["message"]).index(wallet)]
    fee: int = meta["fee"]
    return Movement(
        slot=transaction["slot"],
        failed=meta["err"] is not None,
        fee_lamports=fee,
        priority_fee_lamports=fee - LAMPORTS_PER_SIGNATURE * len(parts["signatures"]),
        sol_lamports=at_wallet + in_accounts + fee,
        rent_lamports=in_accounts - wrapped,
        tokens=dict(tokens),
    )


def _keys(meta: Json, message: Json) -> list[str]:
    """The accounts in the order of the balances: those of the message, then those of its lookup tables."""
    loaded = meta.get("loadedAddresses") or {}
    return [*message["accountKeys"], *loaded.get("writable", ()), *loaded.get("readonly", ())]


def _owned(rows: Json, owner: str) -> dict[int, tuple[str, int]]:
    """Mint and raw amount of the owner's accounts, by their place in the transaction."""
    return {row["accountIndex"]: (row["mint"], int(row["uiTokenAmount"]["amount"])) for row in rows if row["owner"] == owner}

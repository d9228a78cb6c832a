"""What a wallet's transactions did, read from the chain for the checker: of a cluster in this process, or of a localnet's admin.

The arithmetic is the checker's own, as its reading of the journal is: nothing of the daemon's code is used, only the localnet's.
"""

import base64
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from executor.localnet.cluster import Cluster
from executor.localnet.execution import Execution
from executor.localnet.ledger import LandedTransaction
from executor.localnet.program.layout import ACCOUNTS_PER_HOP, PROGRAM_ID, RouteKind
from executor.localnet.tokens import SOL
from tests.chaos.checker import Landing, Swap
from tests.support.localnet import fetch_json

FIXED_ACCOUNTS = {
    RouteKind.ROUTE: 9,
    RouteKind.EXACT_OUT_ROUTE: 11,
    RouteKind.SHARED_ACCOUNTS_ROUTE: 13,
    RouteKind.SHARED_ACCOUNTS_EXACT_OUT_ROUTE: 13,
}
"""Before the accounts of the hops."""
IN_MINT, OUT_MINT = 6, 7
"""Where they stand among the accounts of a hop."""
_HOPS = struct.Struct("<I")
_TAIL = struct.Struct("<QQHB")


@frozen(kw_only=True)
class TokenRow:
    """What a token account held."""

    account_index: int
    mint: str
    owner: str
    amount: int


@frozen(kw_only=True)
class Moment:
    """What the accounts of a transaction held before it, or after."""

    lamports: Sequence[int]
    tokens: Sequence[TokenRow]


@frozen(kw_only=True)
class Transaction:
    """A transaction that landed, from wherever it was read."""

    transaction: VersionedTransaction
    keys: Sequence[Pubkey]
    slot: int
    failed: bool
    fee_lamports: int
    before: Moment
    after: Moment


def landings_of_cluster(cluster: Cluster, wallet: Pubkey, *, after_slot: int = -1) -> list[Landing]:
    """Every confirmed transaction of a wallet that is younger than a slot; a cluster keeps the newest 20,000 of all wallets."""
    found = (landed for landed in cluster.paid_by(wallet) if landed.landing.slot > after_slot)
    return [landing_of(_from_cluster(landed), wallet) for landed in found]


def landings_of_localnet(admin: str, wallet: Pubkey) -> list[Landing]:
    """Every confirmed transaction of a wallet, asked of the admin endpoint of a localnet's process."""
    return landings_of_pages(lambda body: fetch_json(f"{admin}/paid", body), wallet)


def landings_of_pages(ask: Callable[[Mapping[str, object]], Any], wallet: Pubkey) -> list[Landing]:
    """The same, with whatever carries the question."""
    found: list[Landing] = []
    while page := ask({"payer": str(wallet), "skip": len(found)})["transactions"]:
        found += [landing_of(_from_json(told), wallet) for told in page]
    return found


def landing_of(landed: Transaction, wallet: Pubkey) -> Landing:
    """What a transaction was for and what it did to the wallet that paid for it."""
    swap = swap_of(landed)
    return Landing(
        signature=str(landed.transaction.signatures[0]),
        slot=landed.slot,
        failed=landed.failed,
        swap=swap,
        left=0 if landed.failed or swap is None else -_change(landed, str(wallet), swap.input_mint),
        arrived=0 if landed.failed or swap is None else _change(landed, str(wallet), swap.output_mint),
        fee_lamports=landed.fee_lamports,
    )


def swap_of(landed: Transaction) -> Swap | None:
    """The swap that it asks the program for. Two swaps in one transaction, or none that can be read, are none."""
    swaps = []
    for instruction in landed.transaction.message.instructions:
        if landed.keys[instruction.program_id_index] == PROGRAM_ID:
            accounts = [landed.keys[index] for index in bytes(instruction.accounts)]
            swaps.append(_swap(bytes(instruction.data), accounts))
    return swaps[0] if len(swaps) == 1 else None


def _swap(data: bytes, accounts: Sequence[Pubkey]) -> Swap | None:
    kind = next((kind for kind in RouteKind if data.startswith(kind.discriminator)), None)
    if kind is None or kind.exact_out:
        return None
    (hops,) = _HOPS.unpack_from(data, 9 if kind.shared else 8)
    amount, _, _, _ = _TAIL.unpack_from(data, len(data) - _TAIL.size)
    first = accounts[FIXED_ACCOUNTS[kind] :]
    last = first[(hops - 1) * ACCOUNTS_PER_HOP :]
    return Swap(input_mint=str(first[IN_MINT]), output_mint=str(last[OUT_MINT]), in_amount=amount)


def _change(landed: Transaction, wallet: str, mint: str) -> int:
    """What the wallet has more of a mint. SOL is what it has in any form, the network's fee put aside; rent stays its own."""
    before, after = _own(landed.before, wallet), _own(landed.after, wallet)
    if mint != str(SOL.mint):
        amounts = [sum(row.amount for row in rows if row.mint == mint) for rows in (before, after)]
        return amounts[1] - amounts[0]
    indexes = {0, *(row.account_index for row in (*before, *after))}  # the payer comes first
    return sum(landed.after.lamports[i] - landed.before.lamports[i] for i in indexes) + landed.fee_lamports


def _own(moment: Moment, wallet: str) -> list[TokenRow]:
    return [row for row in moment.tokens if row.owner == wallet]


# --- where it is read ---------------------------------------------------------------------------------------------------------


def _from_cluster(landed: LandedTransaction) -> Transaction:
    execution: Execution = landed.execution
    before, after = (
        Moment(
            lamports=balances.lamports,
            tokens=[
                TokenRow(account_index=row.account_index, mint=str(row.mint), owner=str(row.owner), amount=row.amount)
                for row in balances.tokens
            ],
        )
        for balances in (execution.before, execution.after)
    )
    return Transaction(
        transaction=landed.resolved.transaction,
        keys=landed.resolved.keys,
        slot=landed.landing.slot,
        failed=landed.landing.error is not None,
        fee_lamports=execution.fee_lamports,
        before=before,
        after=after,
    )


def _from_json(told: Mapping[str, Any]) -> Transaction:
    """Read a transaction as getTransaction tells it in base64."""
    transaction, meta = VersionedTransaction.from_bytes(base64.b64decode(told["transaction"][0])), told["meta"]
    loaded = [*meta["loadedAddresses"]["writable"], *meta["loadedAddresses"]["readonly"]]
    return Transaction(
        transaction=transaction,
        keys=[*transaction.message.account_keys, *map(Pubkey.from_string, loaded)],
        slot=told["slot"],
        failed=meta["err"] is not None,
        fee_lamports=meta["fee"],
        before=_moment(meta["preBalances"], meta["preTokenBalances"]),
        after=_moment(meta["postBalances"], meta["postTokenBalances"]),
    )


def _moment(lamports: Sequence[int], tokens: Sequence[Mapping[str, Any]]) -> Moment:
    rows = [
        TokenRow(
            account_index=row["accountIndex"],
            mint=row["mint"],
            owner=row["owner"],
            amount=int(row["uiTokenAmount"]["amount"]),
        )
        for row in tokens
    ]
    return Moment(lamports=lamports, tokens=rows)

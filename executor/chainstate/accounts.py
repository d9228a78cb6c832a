"""Any number of accounts at once."""

from collections.abc import Sequence

from solders.pubkey import Pubkey

from executor.network.nodes import Nodes
from executor.network.solana import MAX_ACCOUNTS_PER_CALL, AccountInfo, Accounts


async def read_accounts(addresses: Sequence[Pubkey], *, nodes: Nodes) -> Sequence[AccountInfo | None]:
    """Read accounts at `confirmed`, as many in one call as a node takes, so not all of one slot. Raises TransportError."""
    values: list[AccountInfo | None] = []
    for start in range(0, len(addresses), MAX_ACCOUNTS_PER_CALL):
        values += (await _read(addresses[start : start + MAX_ACCOUNTS_PER_CALL], nodes)).values
    return values


async def _read(addresses: Sequence[Pubkey], nodes: Nodes) -> Accounts:
    return await nodes.ask(lambda node: node.accounts(addresses, commitment="confirmed"), operation="getMultipleAccounts")

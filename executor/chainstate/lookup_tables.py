"""Address lookup tables. They are append-only on chain, so a table that was read stays right; a new one is read once."""

from collections import OrderedDict
from collections.abc import Sequence

from attrs import define, field
from solders.address_lookup_table_account import AddressLookupTable, AddressLookupTableAccount
from solders.pubkey import Pubkey

from executor.chainstate.accounts import read_accounts
from executor.errors import ErrorCode, Rejected
from executor.network.nodes import Nodes
from executor.network.solana import AccountInfo
from executor.programs import LOOKUP_TABLE_PROGRAM

MAX_TABLES = 256
MAX_TABLES_PER_TRANSACTION = 36
"""Each one that is used takes 34 bytes of the 1232."""


def parse_table(address: Pubkey, account: AccountInfo | None) -> AddressLookupTableAccount:
    """Read a table's account. Raises Rejected(JUPITER_ANSWER_INVALID): Jupiter named something that is no table."""
    if account is None or account.owner != LOOKUP_TABLE_PROGRAM:
        raise Rejected(ErrorCode.JUPITER_ANSWER_INVALID, f"Jupiter names {address} as a lookup table, which it is not")
    try:
        table = AddressLookupTable.deserialize(account.data)
    except ValueError as error:
        raise Rejected(ErrorCode.JUPITER_ANSWER_INVALID, f"the lookup table {address} cannot be read") from error
    return AddressLookupTableAccount(address, table.addresses)


@define(kw_only=True, eq=False)
class LookupTables:
    """A bounded cache, least recently used out first."""

    nodes: Nodes
    _tables: OrderedDict[Pubkey, AddressLookupTableAccount] = field(factory=OrderedDict)

    async def get(self, addresses: Sequence[Pubkey]) -> tuple[AddressLookupTableAccount, ...]:
        """Return the tables in the order asked for. Raises TransportError, Rejected(JUPITER_ANSWER_INVALID)."""
        if len(addresses) > MAX_TABLES_PER_TRANSACTION:
            raise Rejected(
                ErrorCode.JUPITER_ANSWER_INVALID, f"Jupiter names {len(addresses)} lookup tables, which no packet holds"
            )
        tables = {address: self._tables[address] for address in addresses if address in self._tables}
        unknown = [address for address in dict.fromkeys(addresses) if address not in tables]
        tables |= await self._fetch(unknown) if unknown else {}
        for address, table in tables.items():
            self._keep(address, table)
        return tuple(tables[address] for address in addresses)

    def forget(self, addresses: Sequence[Pubkey]) -> None:
        """Read these again next time: the chain refused a transaction that used them."""
        for address in addresses:
            self._tables.pop(address, None)

    async def _fetch(self, addresses: Sequence[Pubkey]) -> dict[Pubkey, AddressLookupTableAccount]:
        accounts = await read_accounts(addresses, nodes=self.nodes)
        return {address: parse_table(address, account) for address, account in zip(addresses, accounts, strict=True)}

    def _keep(self, address: Pubkey, table: AddressLookupTableAccount) -> None:
        self._tables[address] = table
        self._tables.move_to_end(address)
        while len(self._tables) > MAX_TABLES:
            self._tables.popitem(last=False)

"""Address lookup tables, read once and then again in the background while trades use them.

On chain a table only ever grows, so what was read of it stays right; but one that has grown has room that an old copy does not
know of, and one that was closed fails every transaction that names it. So copies have an age: the background reads them again
long before it is too high, and the path of a trade waits for a node only for tables that are new or that could not be read.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NoReturn

import trio
from attrs import define, field
from solders.address_lookup_table_account import AddressLookupTable, AddressLookupTableAccount
from solders.pubkey import Pubkey

from executor.chainstate.accounts import read_accounts
from executor.chainstate.refresher import refresh_forever
from executor.errors import ErrorCode, Rejected
from executor.log import Log
from executor.network.nodes import Nodes
from executor.network.solana import AccountInfo
from executor.programs import LOOKUP_TABLE_PROGRAM

MAX_TABLES = 256
MAX_TABLES_PER_TRANSACTION = 36
"""Each one that is used takes 34 bytes of the 1232."""
LOOK_SECONDS = 5.0
"""How often the background looks for what is due."""
REFRESH_SECONDS = 30.0
"""The age at which the background reads a table again."""
MAX_AGE_SECONDS = 60.0
"""An older copy is not used."""
FORGET_UNUSED_SECONDS = 300.0


def parse_table(address: Pubkey, account: AccountInfo | None) -> AddressLookupTableAccount:
    """Read a table's account. Raises Rejected(JUPITER_ANSWER_INVALID): Jupiter named something that is no table."""
    if account is None or account.owner != LOOKUP_TABLE_PROGRAM:
        raise Rejected(ErrorCode.JUPITER_ANSWER_INVALID, f"Jupiter names {address} as a lookup table, which it is not")
    try:
        table = AddressLookupTable.deserialize(account.data)
    except ValueError as error:
        raise Rejected(ErrorCode.JUPITER_ANSWER_INVALID, f"the lookup table {address} cannot be read") from error
    return AddressLookupTableAccount(address, table.addresses)


@define(eq=False)
class _Copy:
    table: AddressLookupTableAccount
    asked_at: float
    used_at: float


@define(kw_only=True, eq=False)
class LookupTables:
    """A bounded cache, least recently used out first."""

    nodes: Nodes
    log: Log
    _copies: OrderedDict[Pubkey, _Copy] = field(factory=OrderedDict)

    async def run(self) -> NoReturn:
        """Keep what trades use young, until cancelled."""
        await refresh_forever(self.refresh, every_seconds=LOOK_SECONDS, name="lookup tables", log=self.log)

    async def refresh(self) -> None:
        """Read again what is due, forget what no trade has used for long. Raises TransportError; old copies then stay."""
        now = trio.current_time()
        self.forget([address for address, copy in self._copies.items() if now - copy.used_at >= FORGET_UNUSED_SECONDS])
        due = {address: copy for address, copy in self._copies.items() if now - copy.asked_at >= REFRESH_SECONDS}
        accounts = await read_accounts(list(due), nodes=self.nodes)
        for (address, copy), account in zip(due.items(), accounts, strict=True):
            if self._copies.get(address) is copy:  # not forgotten or read by a trade meanwhile
                self._renew(address, copy, account, now)

    async def get(self, addresses: Sequence[Pubkey]) -> tuple[AddressLookupTableAccount, ...]:
        """Return the tables in the order asked for, none of them older than MAX_AGE_SECONDS; what is missing comes in one call.

        Raises TransportError, Rejected(JUPITER_ANSWER_INVALID).
        """
        if len(addresses) > MAX_TABLES_PER_TRANSACTION:
            raise Rejected(
                ErrorCode.JUPITER_ANSWER_INVALID, f"Jupiter names {len(addresses)} lookup tables, which no packet holds"
            )
        now = trio.current_time()
        copies = {address: copy for address in addresses if (copy := self._young(address, now)) is not None}
        unknown = [address for address in dict.fromkeys(addresses) if address not in copies]
        for address in copies:
            self._use(address, now)
        if unknown:
            fetched = await self._fetch(unknown, now)
            self._keep(fetched)
            copies |= fetched
        return tuple(copies[address].table for address in addresses)

    def forget(self, addresses: Sequence[Pubkey]) -> None:
        """Read these again next time: the chain refused a transaction that used them."""
        for address in addresses:
            self._copies.pop(address, None)

    @contextmanager
    def doubted(self, tables: Sequence[AddressLookupTableAccount]) -> Iterator[None]:
        """Forget these if the block is rejected: a copy that is old, or was a lie, fails all that is built on it."""
        try:
            yield
        except Rejected:
            self.forget([table.key for table in tables])
            raise

    def _young(self, address: Pubkey, now: float) -> _Copy | None:
        copy = self._copies.get(address)
        return copy if copy is not None and now - copy.asked_at <= MAX_AGE_SECONDS else None

    async def _fetch(self, addresses: Sequence[Pubkey], now: float) -> dict[Pubkey, _Copy]:
        accounts = await read_accounts(addresses, nodes=self.nodes)
        return {
            address: _Copy(parse_table(address, account), asked_at=now, used_at=now)
            for address, account in zip(addresses, accounts, strict=True)
        }

    def _renew(self, address: Pubkey, copy: _Copy, account: AccountInfo | None, asked_at: float) -> None:
        try:
            copy.table, copy.asked_at = parse_table(address, account), asked_at
        except Rejected as error:  # it was closed: the next trade that names it asks once more, and says so
            self.log.warning("lookup_table.gone", table=str(address), problem=error.message)
            self.forget([address])

    def _use(self, address: Pubkey, now: float) -> None:
        self._copies[address].used_at = now
        self._copies.move_to_end(address)

    def _keep(self, fetched: Mapping[Pubkey, _Copy]) -> None:
        for address, copy in fetched.items():
            self._copies[address] = copy
            self._copies.move_to_end(address)
        while len(self._copies) > MAX_TABLES:
            self._copies.popitem(last=False)

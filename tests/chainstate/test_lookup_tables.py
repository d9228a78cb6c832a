"""Address lookup tables: read once, held in bounds, and only if they are tables."""

import base64
from contextlib import suppress

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from executor.chainstate.lookup_tables import MAX_TABLES, MAX_TABLES_PER_TRANSACTION, LookupTables, parse_table
from executor.errors import ErrorCode, Rejected
from executor.faults import TransportError
from executor.network.solana import AccountInfo
from executor.programs import LOOKUP_TABLE_PROGRAM, SYSTEM_PROGRAM
from tests.support.chain import FakeNode, accounts_by_address, fake_nodes, open_nodes, table_data, table_info
from tests.support.recorded import recorded, recorded_names
from tests.support.values import key

TABLE = key("table")
ADDRESSES = [key("a"), key("b"), key("c")]


def test_a_table_is_read() -> None:
    """Its addresses, in order: instructions name them by their index."""
    table = parse_table(TABLE, table_info(ADDRESSES))

    assert (table.key, table.addresses) == (TABLE, ADDRESSES)


@pytest.mark.parametrize("name", recorded_names("address-lookup-tables"))
def test_recorded_tables_are_read(name: str) -> None:
    """Jupiter's own: 56 bytes of metadata, then 32 a piece."""
    dump = recorded("address-lookup-tables", name)
    account = dump["account"]
    data = base64.b64decode(account["data"][0])
    info = AccountInfo(lamports=account["lamports"], owner=Pubkey.from_string(account["owner"]), data=data)
    table = parse_table(Pubkey.from_string(dump["pubkey"]), info)

    assert len(table.addresses) == (len(data) - 56) // 32
    assert bytes(table.addresses[-1]) == data[-32:]


@pytest.mark.parametrize(
    "account",
    [
        None,
        AccountInfo(lamports=1, owner=SYSTEM_PROGRAM, data=table_data(ADDRESSES)),
        AccountInfo(lamports=1, owner=LOOKUP_TABLE_PROGRAM, data=b""),
        AccountInfo(lamports=1, owner=LOOKUP_TABLE_PROGRAM, data=bytes(56)),
        AccountInfo(lamports=1, owner=LOOKUP_TABLE_PROGRAM, data=table_data(ADDRESSES)[:-1]),
    ],
)
def test_what_is_no_table_refuses_the_swap(account: AccountInfo | None) -> None:
    """Missing, of another program (anybody can write such bytes), not initialised or cut short."""
    with pytest.raises(Rejected, match=str(TABLE)) as caught:
        parse_table(TABLE, account)

    assert caught.value.code is ErrorCode.JUPITER_ANSWER_INVALID


@given(st.binary(max_size=200))
def test_no_account_breaks_the_reader(data: bytes) -> None:
    """It is a table or refused."""
    with suppress(Rejected):
        parse_table(TABLE, AccountInfo(lamports=1, owner=LOOKUP_TABLE_PROGRAM, data=data))


async def test_tables_come_over_the_wire_once() -> None:
    """In the order asked for, whatever is in the cache; only what is new is asked for."""
    keys = [key(f"table {number}") for number in range(3)]
    chain = {k: table_info([key(f"entry of {k}")]) for k in keys}
    async with open_nodes() as (nodes, (upstream,)):
        upstream.always("getMultipleAccounts", accounts_by_address(chain))
        tables = LookupTables(nodes=nodes)
        assert await tables.get([]) == ()
        first = await tables.get([keys[1]])
        both = await tables.get([keys[0], keys[1], keys[0], keys[2]])
        again = await tables.get(keys)

    assert [table.key for table in first] == [keys[1]]
    assert [table.key for table in both] == [keys[0], keys[1], keys[0], keys[2]]
    assert [table.key for table in again] == keys
    asked = [request.json["params"][0] for request in upstream.requests]
    assert asked == [[str(keys[1])], [str(keys[0]), str(keys[2])]]


async def test_a_forgotten_table_is_read_again(autojump_clock: trio.testing.MockClock) -> None:
    """It may have grown; one that was never known can be forgotten, too."""
    node = FakeNode()
    node.held = {TABLE: table_info(ADDRESSES[:1])}
    tables = LookupTables(nodes=fake_nodes(node))
    await tables.get([TABLE])
    node.held = {TABLE: table_info(ADDRESSES)}
    (before,) = await tables.get([TABLE])
    tables.forget([TABLE, key("never seen")])
    (after,) = await tables.get([TABLE])

    assert (before.addresses, after.addresses) == (ADDRESSES[:1], ADDRESSES)


async def test_the_cache_is_bounded_and_keeps_what_is_used(autojump_clock: trio.testing.MockClock) -> None:
    """The least recently used one goes first."""
    node = FakeNode()
    keys = [key(f"table {number}") for number in range(MAX_TABLES + 1)]
    node.held = {k: table_info(ADDRESSES) for k in keys}
    tables = LookupTables(nodes=fake_nodes(node))
    for k in keys[:MAX_TABLES]:
        await tables.get([k])
    await tables.get([keys[0]])
    await tables.get([keys[MAX_TABLES]])
    node.calls.clear()
    await tables.get([keys[0]])
    await tables.get([keys[1]])

    assert [call.asked for call in node.calls] == [(keys[1],)]


async def test_what_is_pushed_out_meanwhile_is_still_returned(autojump_clock: trio.testing.MockClock) -> None:
    """While one trade waits for a node, others may fill the cache: its own tables are not taken from it."""
    node = FakeNode()
    keys = [key(f"table {number}") for number in range(MAX_TABLES + 1)]
    node.held = {k: table_info(ADDRESSES) for k in keys}
    tables = LookupTables(nodes=fake_nodes(node))
    await tables.get([keys[0]])
    node.takes_seconds = 1.0
    got: list[Pubkey] = []

    async def slow() -> None:
        got.extend(table.key for table in await tables.get([keys[0], keys[1]]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow)
        await trio.sleep(0.5)
        node.takes_seconds = 0.0
        tables.forget([keys[0]])

    assert got == [keys[0], keys[1]]


async def test_failures_leave_nothing_behind(autojump_clock: trio.testing.MockClock) -> None:
    """Neither an unreachable node nor something that is no table is remembered."""
    node = FakeNode()
    tables = LookupTables(nodes=fake_nodes(node))
    with pytest.raises(Rejected):
        await tables.get([TABLE])
    node.failing = True
    with pytest.raises(TransportError):
        await tables.get([TABLE])
    node.failing, node.held = False, {TABLE: table_info(ADDRESSES)}

    assert [table.key for table in await tables.get([TABLE])] == [TABLE]


async def test_more_tables_than_a_packet_holds_are_not_even_asked_for(autojump_clock: trio.testing.MockClock) -> None:
    """An answer of Jupiter's must not make us ask nodes thousands of times."""
    node = FakeNode()
    with pytest.raises(Rejected) as caught:
        await LookupTables(nodes=fake_nodes(node)).get([key(str(n)) for n in range(MAX_TABLES_PER_TRANSACTION + 1)])

    assert caught.value.code is ErrorCode.JUPITER_ANSWER_INVALID
    assert node.calls == []

"""Address lookup tables: read once, held in bounds, and only if they are tables."""

import base64
from contextlib import suppress

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from executor.chainstate.lookup_tables import (
    FORGET_UNUSED_SECONDS,
    LOOK_SECONDS,
    MAX_AGE_SECONDS,
    MAX_TABLES,
    MAX_TABLES_PER_TRANSACTION,
    REFRESH_SECONDS,
    LookupTables,
    parse_table,
)
from executor.errors import Denied, ErrorCode, Rejected
from executor.faults import TransportError
from executor.log import NullLog
from executor.network.solana import AccountInfo
from executor.programs import LOOKUP_TABLE_PROGRAM, SYSTEM_PROGRAM
from tests.support.chain import FakeNode, accounts_by_address, fake_nodes, open_nodes, table_data, table_info
from tests.support.events import RecordedLog
from tests.support.recorded import recorded, recorded_names
from tests.support.values import key

TABLE, OTHER = key("table"), key("other")
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
        tables = LookupTables(nodes=nodes, log=NullLog())
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
    tables = LookupTables(nodes=fake_nodes(node), log=NullLog())
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
    tables = LookupTables(nodes=fake_nodes(node), log=NullLog())
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
    tables = LookupTables(nodes=fake_nodes(node), log=NullLog())
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
    tables = LookupTables(nodes=fake_nodes(node), log=NullLog())
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
        await LookupTables(nodes=fake_nodes(node), log=NullLog()).get(
            [key(str(n)) for n in range(MAX_TABLES_PER_TRANSACTION + 1)]
        )

    assert caught.value.code is ErrorCode.JUPITER_ANSWER_INVALID
    assert node.calls == []


# --- age ---


async def test_a_table_that_grows_is_known_before_a_trade_asks(autojump_clock: trio.testing.MockClock) -> None:
    """The background reads what is in use; the trade itself waits for nobody."""
    node = FakeNode()
    node.held = {TABLE: table_info(ADDRESSES[:1])}
    tables = LookupTables(nodes=fake_nodes(node), log=NullLog())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tables.run)
        await tables.get([TABLE])
        node.held = {TABLE: table_info(ADDRESSES)}
        await trio.sleep(REFRESH_SECONDS + LOOK_SECONDS + 1)
        node.calls.clear()
        (after,) = await tables.get([TABLE])
        nursery.cancel_scope.cancel()

    assert after.addresses == ADDRESSES
    assert node.calls == []


async def test_a_table_that_was_closed_is_not_used_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    """Its trades are told the truth, and work again as soon as Jupiter names another; the others are not touched."""
    node, log, other = FakeNode(), RecordedLog(), key("other table")
    node.held = {TABLE: table_info(ADDRESSES), other: table_info(ADDRESSES)}
    tables = LookupTables(nodes=fake_nodes(node), log=log)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tables.run)
        await tables.get([TABLE, other])
        del node.held[TABLE]
        await trio.sleep(REFRESH_SECONDS + LOOK_SECONDS + 1)
        node.calls.clear()
        with pytest.raises(Rejected, match=str(TABLE)):
            await tables.get([TABLE, other])
        assert [table.key for table in await tables.get([other])] == [other]
        nursery.cancel_scope.cancel()

    assert [call.asked for call in node.calls] == [(TABLE,)]
    assert [event["table"] for event in log.named("lookup_table.gone")] == [str(TABLE)]


async def test_an_old_copy_is_not_used(autojump_clock: trio.testing.MockClock) -> None:
    """Where the background could not read it again, the trade does, in one call with what is new to it."""
    node, new = FakeNode(), key("new table")
    node.held = {TABLE: table_info(ADDRESSES[:1]), new: table_info(ADDRESSES)}
    tables = LookupTables(nodes=fake_nodes(node), log=NullLog())
    await tables.get([TABLE])
    node.held[TABLE] = table_info(ADDRESSES)
    await trio.sleep(MAX_AGE_SECONDS)
    (young_enough,) = await tables.get([TABLE])
    await trio.sleep(0.001)
    node.calls.clear()
    read = await tables.get([TABLE, new])

    assert young_enough.addresses == ADDRESSES[:1]
    assert [table.addresses for table in read] == [ADDRESSES, ADDRESSES]
    assert [call.asked for call in node.calls] == [(TABLE, new)]


async def test_a_table_that_nobody_uses_is_not_read_again(autojump_clock: trio.testing.MockClock) -> None:
    """The background asks for what trades use, and forgets the rest."""
    node = FakeNode()
    node.held = {TABLE: table_info(ADDRESSES)}
    tables = LookupTables(nodes=fake_nodes(node), log=NullLog())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tables.run)
        await tables.get([TABLE])
        await trio.sleep(FORGET_UNUSED_SECONDS + LOOK_SECONDS)
        node.calls.clear()
        await trio.sleep(10 * REFRESH_SECONDS)
        nursery.cancel_scope.cancel()

    assert node.calls == []


async def test_nodes_that_do_not_answer_leave_the_copies(autojump_clock: trio.testing.MockClock) -> None:
    """Until they are too old; nothing crashes, and the background goes on."""
    node, log = FakeNode(), RecordedLog()
    node.held = {TABLE: table_info(ADDRESSES[:1])}
    tables = LookupTables(nodes=fake_nodes(node), log=log)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tables.run)
        await tables.get([TABLE])
        node.failing, node.held = True, {TABLE: table_info(ADDRESSES)}
        await trio.sleep(MAX_AGE_SECONDS - 1)
        (kept,) = await tables.get([TABLE])
        await trio.sleep(2)
        with pytest.raises(TransportError):
            await tables.get([TABLE])
        node.failing = False
        await trio.sleep(LOOK_SECONDS)
        node.calls.clear()
        (fresh,) = await tables.get([TABLE])
        nursery.cancel_scope.cancel()

    assert (kept.addresses, fresh.addresses) == (ADDRESSES[:1], ADDRESSES)
    assert node.calls == []
    assert log.named("refresh.failed")


async def test_what_is_forgotten_during_a_refresh_stays_forgotten(autojump_clock: trio.testing.MockClock) -> None:
    """The answer under way may be older than the failure that made us doubt."""
    node = FakeNode()
    node.held = {TABLE: table_info(ADDRESSES[:1])}
    tables = LookupTables(nodes=fake_nodes(node), log=NullLog())
    await tables.get([TABLE])
    await trio.sleep(REFRESH_SECONDS)
    node.takes_seconds = 1.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tables.refresh)
        await trio.sleep(0.5)
        tables.forget([TABLE])
    node.takes_seconds, node.held = 0.0, {TABLE: table_info(ADDRESSES)}
    (read,) = await tables.get([TABLE])

    assert read.addresses == ADDRESSES


async def test_what_a_rejected_transaction_used_is_read_again() -> None:
    """A copy that was a lie, or is old, fails everything that is built on it; after any rejection it is asked for again."""
    node = FakeNode()
    node.held = {TABLE: table_info([key("a")]), OTHER: table_info([key("b")])}
    tables = LookupTables(nodes=fake_nodes(node), log=NullLog())
    used = await tables.get([TABLE])
    await tables.get([OTHER])
    with tables.doubted(used):
        pass
    with pytest.raises(Rejected), tables.doubted(used):
        raise Rejected(ErrorCode.SIMULATION_FAILED, "no")
    with pytest.raises(Denied), tables.doubted(await tables.get([OTHER])):
        raise Denied(ErrorCode.CHAIN_STATE_STALE, "no")
    before = len(node.called("getMultipleAccounts"))
    await tables.get([OTHER])
    await tables.get([TABLE])

    assert [call.asked for call in node.called("getMultipleAccounts")[before:]] == [(TABLE,)]

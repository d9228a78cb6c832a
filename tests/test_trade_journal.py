"""The line of a trade with a journal that fails: nothing that is not durable is sent, nothing that was sent is given up."""

from collections.abc import Callable

import pytest
import trio
from attrs import define, evolve
from solders.keypair import Keypair

from executor.journal.journal import Entry, JournalError
from executor.life import Line
from executor.rpc import trade_executor_pb2 as pb
from executor.states import State
from tests.support.callers import FAILED, PENDING, SUCCESS, Refused, make_request
from tests.support.daemon import (
    HTTPX_BODIES,
    accept_entries,
    collect,
    journalled,
    refusal,
    refuse_entries,
    running,
    sent,
)
from tests.support.journals import PassingOn
from tests.support.localnet import Localnet
from tests.support.relays import relay_node
from tests.support.settings import Place
from tests.support.upstream import open_upstream
from tests.support.waiting import eventually

pytestmark = [HTTPX_BODIES, pytest.mark.slow]


async def test_nothing_is_sent_when_signed_cannot_be_written(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """The disk fails at SIGNED: the node never sees the transaction. When the disk is well again, so is trading.

    A commit that failed may be on the disk all the same, and a restart would send what it finds there. So the caller is told
    FAILED only once the journal says that it is over.
    """
    async with open_upstream() as node:
        relay_node(node, chain.nodes[0])
        async with running(evolve(place, nodes=(node.url,)), wallet) as daemon:
            refuse_entries(place.journal_path, "SIGNED", "REJECTED")
            answers: list[pb.TradeResult] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(collect, daemon, make_request("unwritten", "SOL", "USDC", 1), answers)
                await eventually(lambda: daemon.daemon.breaker.causes, "the breaker opens")
                halted = await refusal(daemon, make_request("halted", "SOL", "USDC", 1))
                so_far = await daemon.get("unwritten")
                sends = node.received("sendTransaction")
                accept_entries(place.journal_path, "SIGNED", "REJECTED")
            await eventually(lambda: daemon.daemon.desk.status().trading_allowed, "the breaker closes again")
            fine = await daemon.trade(make_request("written", "SOL", "USDC", 1))

    assert so_far.status == PENDING
    assert (answers[0].status, answers[0].error_code) == (FAILED, "JOURNAL_UNAVAILABLE")
    assert "nothing was sent" in answers[0].error_message
    assert (halted.status, halted.reason) == ("UNAVAILABLE", "TRADING_HALTED")
    assert "the journal cannot be written" in halted.message
    assert sends == []
    assert fine.status == SUCCESS
    assert len(node.received("sendTransaction")) >= 1
    assert journalled(place.journal_path, "unwritten") == ["ACCEPTED", "REJECTED"]


class OneSignature(PassingOn):
    """The real journal, told of one signature for all, as of transactions that are not made unique."""

    async def append(self, entry: Entry) -> None:
        await self.journal.append(evolve(entry, signature="of-all") if entry.state is State.SIGNED else entry)


async def test_a_signature_that_is_another_request_s_is_not_told(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """It may have landed: who is told of it would take his own trade for done. It is a refusal, and may be asked for again."""
    async with running(place, wallet, adjust=lambda line: evolve(line, journal=OneSignature(line.journal))) as daemon:
        owner = await daemon.trade(make_request("owner", "SOL", "USDC", 1))
        refused = await refusal(daemon, make_request("other", "SOL", "USDC", 1))

    assert owner.status == SUCCESS
    assert (refused.status, refused.reason) == ("UNAVAILABLE", "JOURNAL_UNAVAILABLE")
    assert len(sent(daemon)) == 1
    assert journalled(place.journal_path, "other") == ["ACCEPTED", "DENIED"]


async def test_an_acceptance_that_the_disk_lost_is_written_with_the_outcome(
    chain: Localnet, place: Place, wallet: Keypair
) -> None:
    """Nobody waited for it. FAILED is told when the journal knows of both, so that the request is never taken for a new one."""
    async with running(place, wallet) as daemon:
        refuse_entries(place.journal_path, "ACCEPTED")
        chain.order("status", target="jupiter", operation="quote", status=401)
        answers: list[pb.TradeResult] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, daemon, make_request("lost", "SOL", "USDC", 1), answers)
            await daemon.event("trade.outcome_not_journalled")
            assert answers == []
            accept_entries(place.journal_path, "ACCEPTED")
        again = await daemon.trade(make_request("lost", "SOL", "USDC", 1))

    assert (answers[0].status, answers[0].error_code) == (FAILED, "JUPITER_UNAUTHORIZED")
    assert again == answers[0]
    assert journalled(place.journal_path, "lost") == ["ACCEPTED", "REJECTED"]


async def test_an_outcome_that_cannot_be_written_is_not_forgotten(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """The disk fails at the outcome: the caller hears of the success at once, and the journal when it is well again."""
    async with running(place, wallet) as daemon:
        refuse_entries(place.journal_path, "SUCCEEDED")
        told = await daemon.trade(make_request("full", "SOL", "USDC", 1))
        asked = await daemon.get("full")
        assert journalled(place.journal_path, "full") == ["ACCEPTED", "SIGNED", "SENT"]
        accept_entries(place.journal_path, "SUCCEEDED")
        await eventually(lambda: not daemon.daemon.desk.in_flight(), "the outcome is written")
    async with running(place, wallet) as restarted:
        stored = await restarted.get("full")

    assert told.status == SUCCESS
    assert told == asked == stored
    assert journalled(place.journal_path, "full") == ["ACCEPTED", "SIGNED", "SENT", "SUCCEEDED"]


@define(eq=False)
class FullJournal(PassingOn):
    """The real journal, but too full to take entries of some states."""

    _states: frozenset[State]

    def append_soon(self, entry: Entry) -> None:
        if entry.state in self._states:
            raise JournalError("the journal has too many entries waiting for the disk")
        self.journal.append_soon(entry)


def _full(*states: State) -> Callable[[Line], Line]:
    return lambda line: evolve(line, journal=FullJournal(line.journal, frozenset(states)))


async def test_a_full_journal_refuses_the_trade(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """An acceptance that cannot even be handed over is a refusal of this one trade, not the end of the daemon."""
    async with running(place, wallet, adjust=_full(State.ACCEPTED)) as daemon:
        refused = await refusal(daemon, make_request("full", "SOL", "USDC", 1))
        with pytest.raises(Refused) as asked:
            await daemon.get("full")

    assert (refused.status, refused.reason) == ("UNAVAILABLE", "JOURNAL_UNAVAILABLE")
    assert "nothing was sent" in refused.message
    assert sent(daemon) == []
    assert asked.value.reason == "REQUEST_NOT_FOUND"


async def test_a_signed_trade_is_sent_though_the_journal_is_full(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """SIGNED is durable and is enough for a restart: that SENT cannot be handed over stops nothing."""
    async with running(place, wallet, adjust=_full(State.SENT)) as daemon:
        result = await daemon.trade(make_request("full", "SOL", "USDC", 1))

    assert result.status == SUCCESS
    assert journalled(place.journal_path, "full") == ["ACCEPTED", "SIGNED", "SUCCEEDED"]

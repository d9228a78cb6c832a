"""What the journal costs a trade, and what becomes of trading when the disk is full."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio
from attrs import define, field
from solders.keypair import Keypair

from executor.journal.journal import Note, in_thread
from executor.rpc import trade_executor_pb2 as pb
from tests.support.callers import make_request
from tests.support.daemon import collect, journalled, refusal, running
from tests.support.full_disk import no_space_left
from tests.support.localnet import Localnet
from tests.support.settings import Place
from tests.support.waiting import eventually

SUCCESS = pb.TRADE_STATUS_SUCCESS


@define(eq=False)
class HeldDisk:
    """A disk on which, in `holding`, no commit begins to be written before it is let go."""

    begun: int = 0
    """Commits, since it holds them."""
    _holds: bool = False
    _go: trio.Event = field(factory=trio.Event)

    async def run_commit(self, commit: Callable[[], None]) -> None:
        """Hold it."""
        if self._holds:
            self.begun += 1
            await self._go.wait()
            self._go = trio.Event()
        await in_thread(commit)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Hold commits, and let them go in the end."""
        self._holds = True
        try:
            yield
        finally:
            self._holds = False
            self.let_go()

    def let_go(self) -> None:
        """Let the commit be written that is held."""
        self._go.set()


async def test_a_trade_waits_for_one_commit_before_its_first_byte(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """Its acceptance is written while it is prepared, and that it was sent while it is confirmed: for SIGNED alone it waits."""
    disk = HeldDisk()
    answers: list[pb.TradeResult] = []
    async with running(place, wallet, run_commit=disk.run_commit) as daemon, trio.open_nursery() as nursery:
        journal, log = daemon.daemon.journal, daemon.log
        await daemon.trade(make_request("before", "SOL", "USDC", 1))  # behind it, what is noted at the start is on the disk
        before = len(log.named("trade.sent"))
        with disk.holding():
            nursery.start_soon(collect, daemon, make_request("waits", "SOL", "USDC", 1), answers)
            await eventually(lambda: journal.statistics().waiting == 2, "it is signed while its acceptance is being written")
            assert (disk.begun, len(log.named("trade.sent"))) == (1, before)
            disk.let_go()
            await eventually(lambda: disk.begun == 2, "SIGNED is being written")
            await trio.sleep(0.05)
            assert len(log.named("trade.sent")) == before
            disk.let_go()
            await daemon.event("trade.sent", before + 1)
            await eventually(lambda: disk.begun == 3, "that it was sent is being written, and not waited for")
            assert journalled(place.journal_path, "waits") == ["ACCEPTED", "SIGNED"]

    assert answers[0].status == SUCCESS
    assert journalled(place.journal_path, "waits") == ["ACCEPTED", "SIGNED", "SENT", "SUCCEEDED"]


async def test_a_full_disk_halts_trading_until_there_is_space(chain: Localnet, place: Place, wallet: Keypair) -> None:
    """The status says why; what was durable stays; and it trades again by itself, though nobody trades meanwhile."""
    async with running(place, wallet) as daemon:
        desk = daemon.daemon.desk
        before = await daemon.trade(make_request("before", "SOL", "USDC", 1))
        with no_space_left():
            daemon.daemon.journal.note_soon(Note(kind="test", at_unix_ns=1, body="{}"))
            await eventually(lambda: not desk.status().trading_allowed, "trading is halted")
            status = desk.status()
            halted = await refusal(daemon, make_request("halted", "SOL", "USDC", 1))
        await eventually(lambda: desk.status().trading_allowed, "the disk was tried again")
        after = await daemon.trade(make_request("after", "SOL", "USDC", 1))

    assert (before.status, after.status) == (SUCCESS, SUCCESS)
    assert (halted.reason, halted.status) == ("TRADING_HALTED", "UNAVAILABLE")
    assert "the journal cannot be written" in status.journal.problem
    assert any("the journal cannot be written" in reason for reason in status.not_allowed_because)
    assert journalled(place.journal_path, "before") == ["ACCEPTED", "SIGNED", "SENT", "SUCCEEDED"]

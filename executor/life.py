"""Where one trade stands, and what all trades share: what `trade.py` works with."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import trio
from attrs import define, field, frozen

from executor.chainstate.blockhash import Blockhashes
from executor.chainstate.confirmations import Confirmations
from executor.chainstate.fees import Fees
from executor.chainstate.lookup_tables import LookupTables
from executor.config import Config
from executor.errors import Denied, ErrorCode, TradeError
from executor.faults import TransportError
from executor.gate import Gate
from executor.journal import records
from executor.journal.journal import Entry, EntryRefused, Journal, JournalError
from executor.log import Log
from executor.model import Landed, LeftOpen, Order, Outcome, Sent, Signed, Stage
from executor.network.jupiter import Jupiter
from executor.network.nodes import Nodes
from executor.outcomes import Times
from executor.risk.reservations import Needs, Reservations
from executor.states import State, move
from executor.wallet.signer import Signer

JOURNAL_RETRY_SECONDS = 0.5


class Observer(Protocol):
    """Who counts."""

    def stage_took(self, stage: Stage, seconds: float) -> None:
        """Note how long a stage of a trade took."""
        ...


@frozen(kw_only=True)
class Line:
    """What the stages of all trades share."""

    config: Config
    jupiter: Jupiter
    nodes: Nodes
    blockhashes: Blockhashes
    fees: Fees
    lookup_tables: LookupTables
    confirmations: Confirmations
    reservations: Reservations
    signer: Signer
    journal: Journal
    gate: Gate
    now_ns: Callable[[], int]
    observer: Observer
    log: Log
    marks: Iterator[int] = field(factory=itertools.count)
    """Makes every transaction of this daemon unique: equal trades under one blockhash would be one transaction."""


@define(kw_only=True, eq=False)
class Life:
    """Where one trade stands: the only thing that moves its state, and the only one that writes its entries."""

    order: Order
    line: Line
    log: Log
    state: State = State.ACCEPTED
    signed: Signed | None = None
    """Set before the journal gets it: from then on a restart may find it there, and send it."""
    sent: Sent | None = None
    refusal: TransportError | None = None
    """Of the first node, when what was sent failed every node's preflight; it may land all the same."""
    landed: Landed | None = None
    failed_stage: Stage | None = None
    outcome: Outcome | None = None
    """What it ended with, or was given up with, once that was told."""
    unwritten: Entry | None = None
    """The terminal entry, while the journal could not take it."""
    is_resumed: bool = False
    """An earlier process began it, and may have sent its bytes, whatever the journal says."""

    @classmethod
    def begin(cls, order: Order, *, line: Line) -> "Life":
        """The life of an order that was just taken."""
        return cls(order=order, line=line, log=line.log.bind(request_id=order.request_id))

    @classmethod
    def resume(cls, left: LeftOpen, *, line: Line) -> "Life":
        """The life of a trade that an earlier process left open, where the journal says that it stood."""
        life = cls.begin(left.order, line=line)
        life.is_resumed = True
        if left.signed is not None:
            life.signed, life.state = left.signed, State.SIGNED
        if left.signed is not None and left.first_sent_at is not None:
            life.sent, life.state = Sent(signed=left.signed, first_sent_at=left.first_sent_at), State.SENT
        life.log.info(
            "trade.resumed", state=life.state.name, signature=None if left.signed is None else str(left.signed.signature)
        )
        return life

    @property
    def may_have_left(self) -> bool:
        """Whether a byte of it may have left a process: then only the chain can tell how it ends."""
        return self.sent is not None or (self.is_resumed and self.signed is not None)

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Time a stage, and remember where a trade failed: the first stage that did not get to its end, be it cut short."""
        try:
            with self._timed(stage):
                yield
        except BaseException:
            self.failed_stage = self.failed_stage or stage
            raise

    @contextmanager
    def _timed(self, stage: Stage) -> Iterator[None]:
        began = trio.current_time()
        try:
            yield
        finally:
            self.line.observer.stage_took(stage, trio.current_time() - began)

    def accept(self) -> None:
        """Hand ACCEPTED over: it is durable with SIGNED at the latest. Raises Denied(JOURNAL_UNAVAILABLE)."""
        with _nothing_sent():
            self.line.journal.append_soon(records.accepted(self.order))
        self.log.info("trade.accepted")

    def ask_again(self, stale: TradeError, *, offer: int) -> None:
        """Note that this did not end the trade: it asks for another offer."""
        self.failed_stage = None
        self.log.info("trade.asks_again", offer=offer, code=stale.code.name, reason=stale.message)

    async def sign(self, signed: Signed, *, needs: Needs) -> None:
        """Return when SIGNED is durable. Raises Denied(JOURNAL_UNAVAILABLE): then nothing may be sent."""
        following = move(self.state, State.SIGNED)
        self.signed = signed
        with _nothing_sent():
            try:
                await self.line.journal.append(records.signed(signed, needs=needs, at_unix_ns=self.line.now_ns()))
            except EntryRefused:
                self.signed = None  # it is not in the journal, and the signature may be another request's, which has landed
                raise
        self.state = following
        self.log.info("trade.signed", signature=str(signed.signature), last_valid_block_height=signed.last_valid_block_height)

    def send(self, signed: Signed) -> Sent:
        """Note that the first byte leaves now. SIGNED is durable and says that it may; a full journal need not stop it.

        For a trade that an earlier process sent nothing is new.
        """
        if self.sent is not None:
            return self.sent
        following = move(self.state, State.SENT)
        try:
            self.line.journal.append_soon(records.sent(self.order.request_id, at_unix_ns=self.line.now_ns()))
        except JournalError:
            self.log.exception("trade.send_not_journalled")
        self.state = following
        self.sent = Sent(signed=signed, first_sent_at=trio.current_time())
        self.log.info("trade.sent", signature=str(signed.signature))
        return self.sent

    async def end(self, state: State, entry: Entry) -> None:
        """Write the terminal entry. A journal that fails now cannot unmake the outcome: see `write_down`."""
        following = move(self.state, state)
        await self._write(entry)
        self.state = following

    async def write_down(self) -> None:
        """Return when the terminal entry is durable; until then the outcome is told from memory.

        Without this, a journal that failed once would be found well again by nobody: while it fails, no new trade is taken.
        """
        while self.unwritten is not None:
            await trio.sleep(JOURNAL_RETRY_SECONDS)
            await self._write(self.unwritten)

    async def _write(self, entry: Entry) -> None:
        self.unwritten = None
        try:
            await self._write_even_alone(entry)
        except EntryRefused:  # it never will be
            self.log.exception("trade.outcome_refused")
        except JournalError:
            self.log.exception("trade.outcome_not_journalled")
            self.unwritten = entry

    async def _write_even_alone(self, entry: Entry) -> None:
        """Write the terminal entry; if the disk lost the acceptance, which nobody waited for, write it again before it."""
        try:
            await self.line.journal.append(entry)
        except EntryRefused:
            if entry.state is State.DENIED:  # may be asked for again anyway
                raise
            self.log.warning("trade.accepted_again")
            self.line.journal.append_soon(records.accepted(self.order))
            await self.line.journal.append(entry)

    def times(self) -> Times:
        """What a result says of the durations so far."""
        now, received, sent, landed = trio.current_time(), self.order.received_at, self.sent, self.landed
        return Times(
            execution_ns=_ns(now - received),
            broadcast_ns=_ns(sent.first_sent_at - received) if sent else 0,
            confirmation_ns=_ns(landed.confirmed_at - sent.first_sent_at) if sent and landed else 0,
        )


@contextmanager
def _nothing_sent() -> Iterator[None]:
    """Turn a JournalError into the refusal of a trade that has not been sent."""
    try:
        yield
    except JournalError as error:
        raise Denied(ErrorCode.JOURNAL_UNAVAILABLE, f"{error}; nothing was sent") from error


def _ns(seconds: float) -> int:
    return round(seconds * 1_000_000_000)

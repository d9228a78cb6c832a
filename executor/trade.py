"""The life of one trade, top to bottom. Read this file first.

    TradeRequest -> Order -> Quoted -> Built -> Simulated -> Signed -> Sent -> Outcome

One nursery per trade runs the stages (`run_trade`). Cancel scopes here, and nowhere else, hold its deadlines: the budget before
the send (`Gate.before_send`) and the time after which a caller is told PENDING (`_tell_pending`). Retries and their backoff
stand in `network/retry.py`, around single calls that are safe to repeat.

The order of every step is: append to the journal, then move, then act, so that a death at any `await` leaves the journal telling
the truth. The path to the broadcast waits for the disk once, at SIGNED, before the first byte leaves. From that byte on only the
chain decides: no error, timeout or cancellation below can make this trade FAILED without a proof.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import trio
from attrs import define, field, frozen

from executor import outcomes
from executor.chainstate.blockhash import Blockhashes
from executor.chainstate.confirmations import Confirmations
from executor.chainstate.fees import Fees
from executor.chainstate.lookup_tables import LookupTables
from executor.config import Config
from executor.errors import Denied, ErrorCode, Expired, Rejected, TradeError
from executor.journal import records
from executor.journal.journal import Entry, EntryRefused, Journal, JournalError
from executor.log import Log
from executor.model import Order, Outcome, OutcomeStatus, Sent, Signed, Stage
from executor.network.jupiter import Jupiter
from executor.network.nodes import Nodes
from executor.outcomes import Times
from executor.risk.reservations import Reservations, Ticket
from executor.stages.balances import check_balances
from executor.stages.building import BuildSettings, build
from executor.stages.filling import read_fill
from executor.stages.monitoring import monitor
from executor.stages.quoting import quote
from executor.stages.sending import send, send_again
from executor.stages.signing import sign
from executor.stages.simulation import SimulationSettings, simulate
from executor.stages.verification import verify
from executor.states import State, move
from executor.wallet.signer import Signer

JOURNAL_RETRY_SECONDS = 0.5

Answer = Callable[[Outcome | TradeError], None]
"""Tells whoever waits: a TradeError is answered as an error status, an Outcome as a result; PENDING may be followed by more."""


class _Bug(Rejected):
    """Ours, and unexpected. Before the send it proves that nothing was sent; after it, it proves nothing."""


class Observer(Protocol):
    """Who counts."""

    def stage_took(self, stage: Stage, seconds: float) -> None:
        """Note how long a stage of a trade took."""
        ...


@define(eq=False)
class Gate:
    """The door between a trade and its first byte: it has a deadline, and closes when the daemon drains."""

    budget_seconds: float
    draining: bool = False
    _scopes: set[trio.CancelScope] = field(factory=set)

    @contextmanager
    def before_send(self) -> Iterator[None]:
        """Run what must be done before the send. Raises Denied(PRE_SEND_BUDGET_EXCEEDED, EXECUTOR_DRAINING); nothing was sent."""
        with trio.move_on_after(self.budget_seconds) as scope:
            self._scopes.add(scope)
            if self.draining:
                scope.cancel()
            try:
                yield
            finally:
                self._scopes.discard(scope)
        if scope.cancelled_caught:
            raise self._refusal()

    def close(self) -> None:
        """Stop every trade that has not been signed yet."""
        self.draining = True
        for scope in self._scopes:
            scope.cancel()

    def _refusal(self) -> TradeError:
        if self.draining:
            return Denied(ErrorCode.EXECUTOR_DRAINING, "the daemon is shutting down; nothing was sent")
        message = f"not ready to send within {self.budget_seconds:g} s (limits.pre_send_budget_seconds); nothing was sent"
        return Rejected(ErrorCode.PRE_SEND_BUDGET_EXCEEDED, message)


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
    sent: Sent | None = None
    failed_stage: Stage | None = None
    confirmed_at: float | None = None
    unwritten: Entry | None = None
    """The terminal entry, while the journal could not take it."""

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

    async def sign(self, signed: Signed) -> None:
        """Return when SIGNED is durable. Raises Denied(JOURNAL_UNAVAILABLE): then nothing may be sent."""
        following = move(self.state, State.SIGNED)
        with _nothing_sent():
            await self.line.journal.append(records.signed(signed, at_unix_ns=self.line.now_ns()))
        self.state = following
        self.log.info("trade.signed", signature=str(signed.signature), last_valid_block_height=signed.last_valid_block_height)

    def send(self, signed: Signed) -> Sent:
        """Note that the first byte leaves now. SIGNED is durable and says that it may; a full journal need not stop it."""
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
        self.unwritten = entry
        try:
            await self.line.journal.append(entry)
        except EntryRefused:  # it never will be: the acceptance was lost, and nothing was ever sent
            self.log.exception("trade.outcome_refused")
        except JournalError:
            self.log.exception("trade.outcome_not_journalled")
            return
        self.unwritten = None

    def times(self) -> Times:
        """What a result says of the durations so far."""
        now, received, sent = trio.current_time(), self.order.received_at, self.sent
        return Times(
            execution_ns=_ns(now - received),
            broadcast_ns=_ns(sent.first_sent_at - received) if sent else 0,
            confirmation_ns=_ns(self.confirmed_at - sent.first_sent_at) if sent and self.confirmed_at else 0,
        )


async def run_trade(order: Order, *, line: Line, answer: Answer) -> None:
    """Take an order from accepted to its one outcome, and tell it. Never raises; cancelled, the journal says how far it came."""
    life = Life(order=order, line=line, log=line.log.bind(request_id=order.request_id))
    failure: TradeError | None = None
    with line.reservations.ticket() as ticket:
        try:
            life.accept()
            async with trio.open_nursery() as nursery:
                signed = await _prepare(life, nursery=nursery, ticket=ticket)
                outcome = await _settle(signed, life=life, nursery=nursery, answer=answer)
                nursery.cancel_scope.cancel()  # ends the wait for the time of PENDING
        except* TradeError as group:
            failure = _first(group)
        except* Exception as bugs:  # one trade's bug must not take the others with it
            life.log.exception("trade.bug", kinds=[type(bug).__name__ for bug in bugs.exceptions])
            failure = _Bug(ErrorCode.INTERNAL_ERROR, "a bug in the executor ended this trade; its log has the details")
        if failure is not None:
            await _fail(failure, life=life, answer=answer)
        else:
            await _finish(outcome, life=life, answer=answer)
    await life.write_down()


async def _prepare(life: Life, *, nursery: trio.Nursery, ticket: Ticket) -> Signed:
    """Everything before the first byte. When it returns, SIGNED is durable."""
    order, line, config = life.order, life.line, life.line.config
    wallet = line.signer.address
    with line.gate.before_send():
        affordable = trio.Event()
        nursery.start_soon(_check_balances, life, ticket, affordable)
        with life.stage(Stage.QUOTE):
            quoted = await quote(order, jupiter=line.jupiter, platform_fee_bps=config.jupiter.platform_fee_bps)
        await affordable.wait()
        with life.stage(Stage.BUILD):
            built = await build(
                quoted,
                jupiter=line.jupiter,
                lookup_tables=line.lookup_tables,
                fees=line.fees,
                settings=BuildSettings(wallet=wallet, use_shared_accounts=config.jupiter.use_shared_accounts),
            )
        with life.stage(Stage.VERIFY):
            verify(built, wallet=wallet)
        with life.stage(Stage.SIMULATE):
            simulated = await simulate(
                built,
                nodes=line.nodes,
                blockhash=line.blockhashes.current().blockhash,
                mark=next(line.marks),
                settings=SimulationSettings(wallet=wallet, fees=config.fees),
            )
        with life.stage(Stage.SIGN):
            signed = sign(simulated, signer=line.signer, blockhash=line.blockhashes.current())
        with life.stage(Stage.JOURNAL):
            await life.sign(signed)
    return signed


async def _check_balances(life: Life, ticket: Ticket, affordable: trio.Event) -> None:
    """Beside the quote. A refusal cancels the quote and ends the trade."""
    line = life.line
    with life.stage(Stage.BALANCES):
        await check_balances(
            life.order,
            wallet=line.signer.address,
            nodes=line.nodes,
            reservations=line.reservations,
            ticket=ticket,
            fees=line.config.fees,
        )
    affordable.set()


async def _settle(signed: Signed, *, life: Life, nursery: trio.Nursery, answer: Answer) -> Outcome:
    """Everything from the first byte on: send, and again, until the chain has spoken."""
    line = life.line
    sent = life.send(signed)
    nursery.start_soon(_tell_pending, sent, life, answer)
    async with trio.open_nursery() as sending:
        sending.start_soon(_keep_sending, sent, life)
        with life.stage(Stage.MONITOR):
            landed = await monitor(sent, confirmations=line.confirmations)
        sending.cancel_scope.cancel()
    life.confirmed_at = landed.confirmed_at
    line.reservations.settled(landed.slot)
    with life.stage(Stage.RECORD):
        fill = await read_fill(sent, nodes=line.nodes, wallet=line.signer.address, log=life.log)
    return outcomes.landed(sent, fill, times=life.times())


async def _keep_sending(sent: Sent, life: Life) -> None:
    line = life.line
    with life.stage(Stage.SEND):
        await send(sent.signed, nodes=line.nodes, skip_preflight=line.config.solana.skip_preflight, log=life.log)
    await send_again(sent.signed, nodes=line.nodes, every_seconds=line.config.confirmation.resend_seconds)


async def _tell_pending(sent: Sent, life: Life, answer: Answer) -> None:
    """After the confirmation timeout the caller gets PENDING with the signature; the trade goes on."""
    timeout = life.line.config.confirmation.timeout_seconds
    await trio.sleep(timeout)
    life.log.warning("trade.pending", signature=str(sent.signed.signature), timeout_seconds=timeout)
    answer(outcomes.pending(sent, timeout_seconds=timeout, times=life.times()))


async def _finish(outcome: Outcome, *, life: Life, answer: Answer) -> None:
    """The transaction landed."""
    state = State.SUCCEEDED if outcome.status is OutcomeStatus.SUCCESS else State.REVERTED
    await life.end(state, records.ended(state, outcome, at_unix_ns=life.line.now_ns()))
    _tell(outcome, life, answer)


async def _fail(error: TradeError, *, life: Life, answer: Answer) -> None:
    """Nothing was swapped and nothing will be, or it is not known: then the trade stays open, and is told as PENDING."""
    sent, now_ns = life.sent, life.line.now_ns()
    if sent is not None and isinstance(error, Expired):
        outcome = outcomes.expired(sent, error, times=life.times())
        await life.end(State.EXPIRED, records.ended(State.EXPIRED, outcome, at_unix_ns=now_ns))
    elif sent is not None and isinstance(error, _Bug):
        outcome = outcomes.unwatched(sent, error, times=life.times())
    elif isinstance(error, Denied) and error.code.facts.reply_status is not None:
        await life.end(State.DENIED, records.refused(State.DENIED, life.order.request_id, error, at_unix_ns=now_ns))
        life.log.info("trade.denied", code=error.code.name, reason=error.message)
        answer(error)
        return
    else:
        outcome = outcomes.refused(life.order, error, life.failed_stage, sent=sent, times=life.times())
        may_be_sent_again = life.state is not State.ACCEPTED
        await life.end(State.REJECTED, records.ended(State.REJECTED, outcome, at_unix_ns=now_ns))
        if may_be_sent_again:  # by a restart, to which the journal says SIGNED: that is no proof yet
            await life.write_down()
    _tell(outcome, life, answer)


def _tell(outcome: Outcome, life: Life, answer: Answer) -> None:
    code = outcome.error_code.name if outcome.error_code else None
    life.log.info(
        "trade.ended",
        status=outcome.status.name,
        code=code,
        reason=outcome.error_message,
        signature=outcome.signature,
        executed_amount=outcome.executed_amount,
        slot=outcome.slot,
    )
    answer(outcome)


@contextmanager
def _nothing_sent() -> Iterator[None]:
    """Turn a JournalError into the refusal of a trade that has not been sent."""
    try:
        yield
    except JournalError as error:
        raise Denied(ErrorCode.JOURNAL_UNAVAILABLE, f"{error}; nothing was sent") from error


def _first(group: BaseExceptionGroup[TradeError]) -> TradeError:
    """The first leaf: when two stages that run beside each other both refuse, either reason is true."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _ns(seconds: float) -> int:
    return round(seconds * 1_000_000_000)

"""The life of one trade, top to bottom. Read this file first.

    TradeRequest -> Order -> Quoted -> Built -> Verified -> Simulated -> Signed -> Sent -> Landed -> Outcome

One nursery per trade runs the stages (`run_trade`). Two cancel scopes hold its deadlines: the budget before the send
(`Gate.before_send`) and the time after which a caller is told PENDING (`_tell_pending`). Retries of single calls, which are safe
to repeat, and their backoff stand in `network/retry.py`; sends of the same bytes in `stages/sending.py`; what makes an offer that
came to nothing worth asking for anew, before anything is signed, in `stages/attempts.py`.

The order of every step is: append to the journal, then move, then act, so that a death at any `await` leaves the journal telling
the truth. The path to the broadcast waits for the disk once, at SIGNED, before the first byte leaves. From that byte on only the
chain decides: no error, timeout or cancellation below can make this trade FAILED without a proof.
"""

from collections.abc import Awaitable, Callable

import trio

from executor import outcomes
from executor.errors import Denied, ErrorCode, Expired, Rejected, TradeError
from executor.journal import records
from executor.life import Life, Line
from executor.log import Log
from executor.model import Fill, LeftOpen, Order, Outcome, OutcomeStatus, Quoted, Sent, Signed, Simulated, Stage
from executor.risk.reservations import Ticket
from executor.stages.attempts import Attempt
from executor.stages.balances import check_balances
from executor.stages.building import BuildSettings, build
from executor.stages.filling import read_fill
from executor.stages.monitoring import monitor
from executor.stages.quoting import quote
from executor.stages.sending import send, send_again
from executor.stages.signing import sign
from executor.stages.simulation import SimulationSettings, simulate
from executor.stages.upstream import Stale
from executor.stages.verification import verify
from executor.states import State

Answer = Callable[[Outcome | TradeError], None]
"""Tells whoever waits: a TradeError is answered as an error status, an Outcome as a result; PENDING may be followed by more."""
Beginning = Callable[[Life, trio.Nursery, Ticket], Awaitable[Signed]]
"""Brings a trade to where its SIGNED is durable."""


async def run_trade(order: Order, *, line: Line, answer: Answer) -> None:
    """Take an order from accepted to its one outcome, and tell it.

    Raises nothing but cancellations, after which the journal says how far it came: one trade's bug does not take others along.
    """
    life = Life.begin(order, line=line)
    with line.reservations.ticket() as ticket:
        await _live(life, _prepare, ticket=ticket, answer=answer)
    await life.write_down()


async def resume_trade(left: LeftOpen, *, line: Line, answer: Answer, reserved: Callable[[], None]) -> None:
    """Take a trade that an earlier process left open to its one outcome; `reserved` is called once its funds are, again.

    What was signed is sent on, the same bytes, until it has landed or is proved expired. What was not is closed as REJECTED.
    """
    life = Life.resume(left, line=line)
    with line.reservations.ticket() as ticket:
        if left.signed is not None and left.signed.wallet == line.signer.address:
            line.reservations.hold(ticket, left.needs)
        reserved()
        await _live(life, _recall, ticket=ticket, answer=answer)
    await life.write_down()


async def _live(life: Life, beginning: Beginning, *, ticket: Ticket, answer: Answer) -> None:
    has_bug = False
    try:
        await _to_outcome(life, beginning, ticket=ticket, answer=answer)
    except BaseException as error:  # noqa: ASYNC103 - cancellations are raised on by the next line; what is left are bugs
        _raise_cancellations(error, log=life.log)
        life.log.exception("trade.bug")
        has_bug = True
    if has_bug:
        await _bury(life, answer=answer)


async def _to_outcome(life: Life, beginning: Beginning, *, ticket: Ticket, answer: Answer) -> None:
    failure: TradeError | None = None
    try:
        async with trio.open_nursery() as nursery:
            signed = await beginning(life, nursery, ticket)
            outcome = await _settle(signed, life=life, nursery=nursery, ticket=ticket, answer=answer)
            nursery.cancel_scope.cancel()  # ends the wait for the time of PENDING
    except* TradeError as group:
        failure = _first(group)
    if failure is not None:
        await _fail(failure, life=life, answer=answer)
    else:
        await _finish(outcome, life=life, answer=answer)


async def _prepare(life: Life, nursery: trio.Nursery, ticket: Ticket) -> Signed:
    """Everything before the first byte. When it returns, SIGNED is durable."""
    line = life.line
    life.accept()
    with line.gate.before_send(life.order.received_at):
        affordable = trio.Event()
        nursery.start_soon(_check_balances, life, ticket, affordable)
        simulated = await _ask_until_good(life, affordable=affordable)
        with life.stage(Stage.SIGN):
            line.gate.require_pass(life.order.request_id)
            signed = sign(simulated, signer=line.signer, blockhash=line.blockhashes.current())
        with life.stage(Stage.JOURNAL):
            await life.sign(signed, needs=ticket.needs)
    return signed


async def _ask_until_good(life: Life, *, affordable: trio.Event) -> Simulated:
    """Ask for an offer, and for another where it comes to nothing and the error tables say that this helps.

    Only here may a trade be built twice: nothing is signed yet, so nothing that is given up can land.
    """
    attempt = Attempt()
    while True:
        with attempt.counted():
            quoted = await _quote(life, attempt)
            await affordable.wait()
            try:
                return await _transaction(quoted, attempt, life)
            except Stale as stale:
                following = attempt.after(stale, quoted)
                if following is None:
                    raise
                life.ask_again(stale, offer=following.number)
        attempt = following


async def _quote(life: Life, attempt: Attempt) -> Quoted:
    line = life.line
    with life.stage(Stage.QUOTE):
        return await quote(
            life.order, jupiter=line.jupiter, platform_fee_bps=line.config.jupiter.platform_fee_bps, attempt=attempt
        )


async def _transaction(quoted: Quoted, attempt: Attempt, life: Life) -> Simulated:
    """What an offer comes to: a transaction that was read and that a node has run. Raises Stale, Rejected, Denied."""
    line, config, wallet = life.line, life.line.config, life.line.signer.address
    shared = config.jupiter.use_shared_accounts and not attempt.without_shared_accounts
    with life.stage(Stage.BUILD):
        built = await build(
            quoted,
            jupiter=line.jupiter,
            lookup_tables=line.lookup_tables,
            fees=line.fees,
            settings=BuildSettings(wallet=wallet, use_shared_accounts=shared),
        )
    with line.lookup_tables.doubted(built.lookup_tables):
        with life.stage(Stage.VERIFY):
            verified = verify(built, wallet=wallet)
        with life.stage(Stage.SIMULATE):
            return await simulate(
                verified,
                nodes=line.nodes,
                blockhash=line.blockhashes.current().blockhash,
                mark=next(line.marks),
                settings=SimulationSettings(wallet=wallet, fees=config.fees),
            )


async def _recall(life: Life, _nursery: trio.Nursery, _ticket: Ticket) -> Signed:
    """After a restart: what the journal holds as signed. Raises Rejected where it holds nothing: then nothing was sent."""
    await trio.lowlevel.checkpoint()
    if life.signed is None:
        message = "the daemon died before the transaction was signed; nothing was sent"
        raise Rejected(ErrorCode.EXECUTOR_RESTARTED, message)
    return life.signed


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


async def _settle(signed: Signed, *, life: Life, nursery: trio.Nursery, ticket: Ticket, answer: Answer) -> Outcome:
    """Everything from the first byte on: send, and again, until the chain has spoken."""
    line = life.line
    sent = life.send(signed)
    nursery.start_soon(_tell_pending, signed, life, answer)
    async with trio.open_nursery() as sending:
        sending.start_soon(_keep_sending, signed, life)
        fill = await _await_fill(sent, life)
        sending.cancel_scope.cancel()
    # A node that is wrong about the slot must not make all balances look too old.
    line.reservations.settled(ticket, min(fill.slot, line.nodes.newest_slot()))
    return outcomes.landed(sent, fill, times=life.times())


async def _keep_sending(signed: Signed, life: Life) -> None:
    line, config = life.line, life.line.config
    with life.stage(Stage.SEND):
        life.refusal = await send(signed, nodes=line.nodes, skip_preflight=config.solana.skip_preflight, log=life.log)
    if life.refusal is not None:  # not sent again; it may land all the same, so the chain goes on being watched
        return
    await trio.sleep(config.confirmation.resend_seconds)
    await send_again(
        signed,
        nodes=line.nodes,
        every_seconds=config.confirmation.resend_seconds,
        block_height=line.blockhashes.block_height,
        log=life.log,
    )


async def _await_fill(sent: Sent, life: Life) -> Fill:
    """Wait for the transaction itself. Until it was read, a status that says confirmed may be wrong, and is looked at again."""
    line = life.line
    while True:
        with life.stage(Stage.MONITOR):
            life.landed = await monitor(sent, confirmations=line.confirmations)
        with life.stage(Stage.RECORD):
            fill = await read_fill(sent, life.landed, nodes=line.nodes, log=life.log)
        if fill is not None:
            return fill
        life.log.warning("trade.unread", signature=str(sent.signed.signature), slot=life.landed.slot)


async def _tell_pending(signed: Signed, life: Life, answer: Answer) -> None:
    """After the confirmation timeout the caller gets PENDING with the signature; the trade goes on."""
    timeout = life.line.config.confirmation.timeout_seconds
    began = life.sent.first_sent_at if life.sent else life.order.received_at
    await trio.sleep_until(began + timeout)
    life.log.warning("trade.pending", signature=str(signed.signature), timeout_seconds=timeout)
    answer(outcomes.pending(signed, timeout_seconds=timeout, landed=life.landed, refusal=life.refusal, times=life.times()))


async def _finish(outcome: Outcome, *, life: Life, answer: Answer) -> None:
    """The transaction landed."""
    state = State.SUCCEEDED if outcome.status is OutcomeStatus.SUCCESS else State.REVERTED
    await life.end(state, records.ended(state, outcome, at_unix_ns=life.line.now_ns()))
    _tell(outcome, life, answer)


async def _fail(error: TradeError, *, life: Life, answer: Answer) -> None:
    """Nothing was swapped and nothing will be."""
    now_ns = life.line.now_ns()
    if life.sent is not None and isinstance(error, Expired):
        outcome = outcomes.expired(life.sent.signed, error, refusal=life.refusal, times=life.times())
        await life.end(State.EXPIRED, records.ended(State.EXPIRED, outcome, at_unix_ns=now_ns))
    elif life.signed is None and isinstance(error, Denied) and error.code.facts.reply_status is not None:
        await life.end(State.DENIED, records.refused(State.DENIED, life.order.request_id, error, at_unix_ns=now_ns))
        life.log.info("trade.denied", code=error.code.name, reason=error.message)
        answer(error)
        return
    else:
        # From there on a restart may find it in the journal and send it, whatever became of the append: so it is no mere refusal.
        signed = life.signed
        outcome = outcomes.refused(life.order, error, life.failed_stage, signed=signed, times=life.times())
        await life.end(State.REJECTED, records.ended(State.REJECTED, outcome, at_unix_ns=now_ns))
        await _until_written(signed, life=life, answer=answer)
    _tell(outcome, life, answer)


async def _until_written(signed: Signed | None, *, life: Life, answer: Answer) -> None:
    """A FAILED that only this process knows counts when it is written.

    What the journal holds as signed a restart would send, and what it does not know it would take for new. What the chain proves,
    a restart finds again. Meanwhile the caller of a signed trade is told PENDING in time.
    """
    async with trio.open_nursery() as nursery:
        if signed is not None:
            nursery.start_soon(_tell_pending, signed, life, answer)
        await life.write_down()
        nursery.cancel_scope.cancel()


async def _bury(life: Life, *, answer: Answer) -> None:
    """End a trade after a bug of ours. Before the send it proves that nothing was sent; after it, it proves nothing."""
    if life.outcome is not None:
        return
    error = Rejected(ErrorCode.INTERNAL_ERROR, "a bug in the executor ended this trade; its log has the details")
    if not life.may_have_left:
        try:
            return await _fail(error, life=life, answer=answer)
        except Exception:  # the bug was there: then the journal says what it said before
            life.log.exception("trade.bug")
    signed, times = life.signed, life.times()
    if signed is None:
        _tell(outcomes.refused(life.order, error, life.failed_stage, signed=None, times=times), life, answer)
        return None
    _tell(outcomes.unwatched(signed, error, times=times), life, answer)
    # It may land until then: what it may spend stays reserved.
    return await life.line.blockhashes.passed(signed.last_valid_block_height)


def _tell(outcome: Outcome, life: Life, answer: Answer) -> None:
    code = outcome.error_code.name if outcome.error_code else None
    life.outcome = outcome
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


def _raise_cancellations(error: BaseException, *, log: Log) -> None:
    """Raise what ends more than this trade; nothing else, for whatever else it is, is this trade's own bug, and at most logged.

    Not only Exceptions are: libraries written in Rust panic with one that is none.
    """
    group = BaseExceptionGroup("a trade", [error])
    ends, bugs = group.split((trio.Cancelled, KeyboardInterrupt, SystemExit, GeneratorExit))
    if ends is not None and bugs is not None:
        log.error("trade.bug", exc_info=bugs)
    if ends is not None:
        raise ends


def _first(group: BaseExceptionGroup[TradeError]) -> TradeError:
    """The first leaf: when two stages that run beside each other both refuse, either reason is true."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first

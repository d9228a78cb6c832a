"""Bugs that were planted on purpose, one at a time, and how many trades the simulator needs to find each.

Each is the mistake that somebody makes: one function of the daemon replaced. A bug that is not found means that the simulator is
too weak, not that the daemon is well.
"""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any, NoReturn

import trio
from attrs import evolve, frozen
from solders.message import MessageV0, to_bytes_versioned

from executor import desk, outcomes, trade
from executor.chainstate import confirmations
from executor.desk import Desk
from executor.errors import Denied, ErrorCode, Expired, Rejected
from executor.faults import Reaction, TransportError, after_send
from executor.journal import records
from executor.life import Life
from executor.model import Fill, Landed, Outcome, OutcomeStatus, Sent, Signed
from executor.network.solana import Node
from executor.risk.reservations import Reservations, Ticket
from executor.stages import sending, simulation
from executor.stages.filling import read_fill
from executor.stages.message import to_wire
from executor.states import State
from executor.units import Lamports
from tests.simulation.history import HistorySeed, run_history
from tests.simulation.run import to_stderr

SEED = 11
TRADES_PER_HISTORY = 250
PATIENCE_SECONDS = 0.05
MAX_TRADES = 20_000
"""Within which each must be found."""


@frozen(kw_only=True)
class Bug:
    """One mistake: `name` of `owner` becomes `instead`."""

    words: str
    owner: object
    name: str
    instead: object


# --- what people do wrong -----------------------------------------------------------------------------------------------------


async def _sign_without_waiting(self: Life, signed: Signed, *, needs: Any) -> None:
    self.signed = signed
    self.line.journal.append_soon(records.signed(signed, needs=needs, at_unix_ns=self.line.now_ns()))
    self.state = State.SIGNED
    await trio.lowlevel.checkpoint()


def _signed_anew(signed: Signed, life: Life) -> Signed:
    latest, message, signer = life.line.blockhashes.current(), signed.message, life.line.signer
    fresh = MessageV0(message.header, message.account_keys, latest.blockhash, message.instructions, message.address_table_lookups)
    signature = signer.sign(to_bytes_versioned(fresh))
    return evolve(
        signed,
        message=fresh,
        signature=signature,
        wire=to_wire(fresh, signature),
        blockhash=latest.blockhash,
        last_valid_block_height=latest.last_valid_block_height,
    )


async def _send_bytes(wire: bytes, node: Node) -> str:
    return await node.send(wire, skip_preflight=True)


async def _send_anew_after_an_error(signed: Signed, life: Life) -> None:
    """The first answer was an error: sign a fresh transaction and try again."""
    line = life.line
    while True:
        answers = await line.nodes.every(partial(_send_bytes, signed.wire))
        await trio.sleep(line.config.confirmation.resend_seconds)
        if any(isinstance(answer, TransportError) for answer in answers):
            signed = _signed_anew(signed, life)


async def _recall_anew(life: Life, _nursery: trio.Nursery, _ticket: Ticket) -> Signed:
    await trio.lowlevel.checkpoint()
    if life.signed is None:
        raise Rejected(ErrorCode.EXECUTOR_RESTARTED, "nothing was sent")
    while life.line.blockhashes.peek() is None:  # noqa: ASYNC110 - a planted bug
        await trio.sleep(0.1)
    life.signed = _signed_anew(life.signed, life)
    life.sent = None
    life.state = State.SIGNED
    return life.signed


async def _recall_nothing(life: Life, _nursery: trio.Nursery, _ticket: Ticket) -> NoReturn:
    await trio.lowlevel.checkpoint()
    if life.sent is not None:
        raise Expired(ErrorCode.TRANSACTION_EXPIRED, "the daemon died before it was confirmed")
    raise Rejected(ErrorCode.EXECUTOR_RESTARTED, "the daemon died before it was signed; nothing was sent")


async def _recover_nothing(_self: Desk) -> None:
    await trio.lowlevel.checkpoint()


_budget = simulation._budget


def _budget_without_mark(built: Any, units_consumed: int, _mark: int, fees: Any) -> Any:
    return _budget(built, units_consumed, 0, fees)


_take = confirmations.Confirmations._take


def _take_null_as_failure(self: Any, watch: Any, status: Any, now: float) -> None:
    if status is None and watch.interval >= self.poll_max_seconds:
        watch.finish(None)
    else:
        _take(self, watch, status, now)


async def _tell_failed_after_the_timeout(signed: Signed, life: Life, answer: Any) -> None:
    await trio.sleep(life.line.config.confirmation.timeout_seconds)
    raise Expired(ErrorCode.TRANSACTION_EXPIRED, f"{signed.signature} was not confirmed in time")


def _failed_when_all(refuse: Callable[[TransportError], bool]) -> Callable[[Signed, Life], Awaitable[None]]:
    """Whatever the nodes answer to the first send is a proof, where all of them answer so."""

    async def keep_sending(signed: Signed, life: Life) -> None:
        send = partial(_send_once, signed.wire, life.line.config.solana.skip_preflight)
        answers = await life.line.nodes.every(send)
        if all(isinstance(answer, TransportError) and refuse(answer) for answer in answers):
            raise Expired(ErrorCode.TRANSACTION_EXPIRED, "every node refused it")
        await _keep_sending(signed, life)

    return keep_sending


_keep_sending = trade._keep_sending


async def _send_once(wire: bytes, skip_preflight: bool, node: Node) -> str:
    return await node.send(wire, skip_preflight=skip_preflight)


def _is_known_already(error: TransportError) -> bool:
    return after_send(error.fault).reaction is Reaction.LOOK_UP


def _release_twice(self: Reservations, ticket: Ticket) -> None:
    ticket.released_at = trio.current_time()
    self._totals.subtract(ticket.needs)
    self._totals.subtract(ticket.needs)


def _release_never(self: Reservations, ticket: Ticket) -> None:
    ticket.released_at = trio.current_time()


_await_fill = trade._await_fill


async def _await_processed(sent: Sent, life: Life) -> Fill:
    """A status is a status: the amounts come from the chain if it tells them at once, else from the quote."""
    line, signed = life.line, sent.signed
    while True:
        await trio.sleep(line.config.confirmation.poll_initial_seconds)
        try:
            found = await line.nodes.ask_once(lambda node: node.signature_statuses([signed.signature]), operation="statuses")
        except TransportError:
            continue
        status = found.values[0]
        if status is None and line.blockhashes.block_height() > signed.last_valid_block_height:
            return await _await_fill(sent, life)
        if status is None:
            continue
        landed = Landed(slot=status.slot, reverted=status.error is not None, confirmed_at=trio.current_time())
        with trio.move_on_after(3.0):
            fill = await read_fill(sent, landed, nodes=line.nodes, log=life.log)
            if fill is not None:
                return fill
        return Fill(
            slot=status.slot,
            in_amount=signed.order.in_amount,
            out_amount=signed.quoted_out_amount,
            fee_lamports=Lamports(signed.priority_fee_lamports + 5_000),
            priority_fee_lamports=signed.priority_fee_lamports,
            rent_lamports=0,
            units_consumed=0,
        )


async def _prove_by_one_node(self: Any, watch: Any) -> None:
    """One node does not know it, so it does not exist."""
    watch.prove_at = trio.current_time() + confirmations.PROOF_RETRY_SECONDS
    try:
        found = await self.nodes.all[0].signature_statuses([watch.signature], search_history=True)
    except TransportError:
        return
    if found.values[0] is None:
        watch.finish(None)
    else:
        self._take(watch, found.values[0], trio.current_time())


async def _absence_at_any_machine(node: Node, watch: Any) -> Any:
    """Whoever answers for a node's URL is the machine that answered before."""
    passed = await node.epoch_info("confirmed")
    if passed.block_height <= watch.last_valid_block_height:
        return False
    statuses = await node.signature_statuses([watch.signature], search_history=True)
    return statuses.values[0] or True


async def _prove_by_height(self: Any, watch: Any) -> None:
    """The height has passed; nobody looks the signature up."""
    await trio.lowlevel.checkpoint()
    watch.finish(None)


_landed = outcomes.landed


def _landed_as_quoted(sent: Sent, fill: Fill, *, times: Any) -> Outcome:
    outcome = _landed(sent, fill, times=times)
    if outcome.status is OutcomeStatus.SUCCESS:
        return evolve(outcome, executed_amount=sent.signed.quoted_out_amount)
    return outcome


def _landed_without_fee(sent: Sent, fill: Fill, *, times: Any) -> Outcome:
    return evolve(_landed(sent, fill, times=times), fees_paid_lamports=0)


async def _end_without_waiting(self: Life, state: State, entry: Any) -> None:
    self.line.journal.append_soon(entry)
    self.state = state
    await trio.lowlevel.checkpoint()


async def _finish_unwritten_after_pending(outcome: Outcome, *, life: Life, answer: Any) -> None:
    if life.sent is not None and trio.current_time() - life.sent.first_sent_at > life.line.config.confirmation.timeout_seconds:
        trade._tell(outcome, life, answer)
        return
    await _finish(outcome, life=life, answer=answer)


_finish = trade._finish


async def _sign_impatiently(self: Life, signed: Signed, *, needs: Any) -> None:
    """A disk that is slow is one that failed."""
    began, before = trio.current_time(), self.state
    await _sign(self, signed, needs=needs)
    if trio.current_time() - began > PATIENCE_SECONDS:
        self.signed, self.state = None, before
        raise Denied(ErrorCode.JOURNAL_UNAVAILABLE, "the disk took too long; nothing was sent")


_sign = Life.sign


async def _told_unwritten(signed: Signed | None, *, life: Life, answer: Any) -> None:
    """What failed is told at once, also when the disk does not take it."""
    await trio.lowlevel.checkpoint()


def _same_or_not(request: Any, known: Any) -> None:
    return


def _nothing_stored(self: Desk, request_id: str) -> None:
    return None


BUGS: Mapping[str, Bug] = MappingProxyType(
    {
        "send-before-durable": Bug(
            words="the first byte leaves before SIGNED is on disk", owner=Life, name="sign", instead=_sign_without_waiting
        ),
        "sign-again-after-an-error": Bug(
            words="an error of a send is answered with a freshly signed transaction, without a proof that the old one expired",
            owner=trade,
            name="_keep_sending",
            instead=_send_anew_after_an_error,
        ),
        "recovery-signs-anew": Bug(
            words="recovery signs what it finds signed once more", owner=trade, name="_recall", instead=_recall_anew
        ),
        "recovery-forgets-signed": Bug(
            words="recovery closes what it finds signed as failed", owner=trade, name="_recall", instead=_recall_nothing
        ),
        "no-recovery": Bug(words="nothing is taken up after a restart", owner=Desk, name="recover", instead=_recover_nothing),
        "equal-transactions": Bug(
            words="equal requests become equal transactions (the mark is always 0)",
            owner=simulation,
            name="_budget",
            instead=_budget_without_mark,
        ),
        "null-is-failure": Bug(
            words="a null status, several times, counts as a failure",
            owner=confirmations.Confirmations,
            name="_take",
            instead=_take_null_as_failure,
        ),
        "timeout-is-failure": Bug(
            words="what is not confirmed in time is told FAILED",
            owner=trade,
            name="_tell_pending",
            instead=_tell_failed_after_the_timeout,
        ),
        "silence-is-failure": Bug(
            words="a send without an answer counts as failed",
            owner=trade,
            name="_keep_sending",
            instead=_failed_when_all(lambda _error: True),
        ),
        "already-processed-is-failure": Bug(
            words="AlreadyProcessed counts as a failure",
            owner=trade,
            name="_keep_sending",
            instead=_failed_when_all(_is_known_already),
        ),
        "refusal-is-failure": Bug(
            words="the refusal of every node, by their preflight or otherwise, counts as a failure",
            owner=trade,
            name="_keep_sending",
            instead=_failed_when_all(sending._is_refusal),
        ),
        "released-twice": Bug(
            words="a reservation is released twice", owner=Reservations, name="_release", instead=_release_twice
        ),
        "never-released": Bug(
            words="a reservation is never released", owner=Reservations, name="_release", instead=_release_never
        ),
        "processed-is-success": Bug(
            words="a processed status counts as success", owner=trade, name="_await_fill", instead=_await_processed
        ),
        "one-node-proves-expiry": Bug(
            words="one node, which may lag, proves that a transaction expired",
            owner=confirmations.Confirmations,
            name="_prove_expired",
            instead=_prove_by_one_node,
        ),
        "machines-are-one": Bug(
            words="the machines behind one URL, some of which lag, are taken for one when an expiry is proved",
            owner=confirmations,
            name="_absence",
            instead=_absence_at_any_machine,
        ),
        "height-proves-expiry": Bug(
            words="the block height alone proves that a transaction expired",
            owner=confirmations.Confirmations,
            name="_prove_expired",
            instead=_prove_by_height,
        ),
        "amount-from-quote": Bug(
            words="the executed amount is the quoted one", owner=outcomes, name="landed", instead=_landed_as_quoted
        ),
        "no-fee": Bug(words="the fee that was paid is not told", owner=outcomes, name="landed", instead=_landed_without_fee),
        "told-before-durable": Bug(
            words="the outcome is told before it is on disk", owner=Life, name="end", instead=_end_without_waiting
        ),
        "late-outcome-unwritten": Bug(
            words="the late outcome of a PENDING trade is not journalled",
            owner=trade,
            name="_finish",
            instead=_finish_unwritten_after_pending,
        ),
        "denied-though-signed": Bug(
            words="a refusal is told though SIGNED may be durable", owner=Life, name="sign", instead=_sign_impatiently
        ),
        "failed-unwritten": Bug(
            words="FAILED is told though the disk failed to take it, so that a restart finds the trade open, or not at all",
            owner=trade,
            name="_until_written",
            instead=_told_unwritten,
        ),
        "other-content-accepted": Bug(
            words="the same request_id with other content is taken for the same request",
            owner=desk,
            name="_require_same",
            instead=_same_or_not,
        ),
        "stored-result-forgotten": Bug(
            words="what the journal knows of a request_id is not looked at", owner=Desk, name="_stored", instead=_nothing_stored
        ),
    }
)


# --- finding them -------------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Found:
    """How a bug was found."""

    name: str
    words: str
    trades: int
    """How many were run until then."""
    by: str | None
    """The first violation; None: it was not found."""


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """Plant it while the block runs."""
    well = getattr(bug.owner, bug.name)
    setattr(bug.owner, bug.name, bug.instead)
    try:
        yield
    finally:
        setattr(bug.owner, bug.name, well)


def find(name: str, *, seed: int = SEED, most: int = MAX_TRADES) -> Found:
    """Run histories until one is not sound."""
    bug = BUGS[name]
    with planted(bug):
        for number in range(most // TRADES_PER_HISTORY):
            by = _first_violation(HistorySeed(seed=seed, number=number, trades=TRADES_PER_HISTORY))
            if by is not None:
                return Found(name=name, words=bug.words, trades=(number + 1) * TRADES_PER_HISTORY, by=by)
    return Found(name=name, words=bug.words, trades=most, by=None)


def _first_violation(of: HistorySeed) -> str | None:
    return next(iter(run_history(of).judgement.sentences), None)


def report(*, only: str | None, as_json: bool, tell: Callable[[str], None] = to_stderr) -> int:
    """Plant each, print the list, return the exit code."""
    found: list[Found] = []
    for name in [only] if only else BUGS:
        found.append(find(name))
        tell(_line(found[-1]))
    print(json.dumps({"bugs": [_json(one) for one in found]}) if as_json else _table(found))
    return 0 if all(one.by for one in found) else 1


def _json(found: Found) -> dict[str, object]:
    return {"bug": found.name, "found": found.by is not None, "trades": found.trades, "by": found.by}


def _line(found: Found) -> str:
    first = (found.by or "").splitlines()
    return f"{found.name}: " + (f"found within {found.trades} trades: {first[0][:160]}" if first else "NOT FOUND")


def _table(found: Sequence[Found]) -> str:
    return "\n".join(f"{one.trades if one.by else 'never':>7}  {one.name:<30} {one.words}" for one in found)

"""Judges a history from outside: what was asked and told, against the rows of the journal and what stands on the chain.

Pure, and a stranger to the daemon: nothing here imports its decoding, so that a mistake there is not repeated here. Which request
a landed swap belongs to is told by the swap itself, never by the journal: every request has its own (input mint, output mint,
amount), except for groups of equal requests. Of a group as many swaps must have landed as requests succeeded, each with a
signature of its own.
"""

import enum
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

MOVES: Mapping[str, frozenset[str]] = {
    "": frozenset({"ACCEPTED"}),
    "ACCEPTED": frozenset({"SIGNED", "DENIED", "REJECTED"}),
    "SIGNED": frozenset({"SENT", "SUCCEEDED", "REVERTED", "EXPIRED", "REJECTED"}),
    "SENT": frozenset({"SUCCEEDED", "REVERTED", "EXPIRED"}),
    "SUCCEEDED": frozenset(),
    "REVERTED": frozenset(),
    "EXPIRED": frozenset(),
    "DENIED": frozenset({"ACCEPTED"}),
    "REJECTED": frozenset(),
}
"""From which state a trade may go where; "" is before the first, and after DENIED another life may begin. A copy, on purpose."""
SAYS_NOTHING = frozenset({"JOURNAL_UNAVAILABLE"})
"""Refusals that say only that nobody can look: they deny no trade."""


class Word(enum.StrEnum):
    """What one call was told."""

    SUCCESS = "success"
    FAILED = "failed"
    PENDING = "pending"
    REFUSED = "refused"
    """An error status with a code: no trade was made of this call."""
    NOTHING = "nothing"
    """The connection was lost, or the caller stopped waiting."""


FINAL = frozenset({Word.SUCCESS, Word.FAILED})
WORD_OF_STATE = {
    "SUCCEEDED": Word.SUCCESS,
    "REVERTED": Word.FAILED,
    "EXPIRED": Word.FAILED,
    "REJECTED": Word.FAILED,
    "DENIED": Word.REFUSED,
}
"""The terminal states, and what their callers are told."""


@frozen(kw_only=True)
class Swap:
    """What was asked for, or what an instruction on the chain says: mints in base58, the raw amount that goes in."""

    input_mint: str
    output_mint: str
    in_amount: int


@frozen(kw_only=True)
class Told:
    """One answer, by ExecuteTradeRequest or GetTrade."""

    word: Word
    signature: str | None = None
    executed_amount: int = 0
    input_amount: int = 0
    fees_paid_lamports: int = 0
    slot: int = 0
    code: str = ""
    asked_after: int | None = None
    """How many answers to this request had come when this call was made; None: all that stand before it."""


@frozen(kw_only=True)
class Request:
    """A request and all answers to it, in the order in which they came."""

    request_id: str
    swap: Swap
    told: tuple[Told, ...] = ()


@frozen(kw_only=True)
class Row:
    """A row of the journal as it stands in the file."""

    seq: int
    request_id: str
    state: str
    at_unix_ns: int
    signature: str | None
    body: str


@frozen(kw_only=True)
class Landing:
    """A transaction that the wallet has paid for, on the branch that survived. Amounts are raw, net of network fees and rent."""

    signature: str
    slot: int
    failed: bool
    swap: Swap | None
    """None: it holds no swap that can be read."""
    left: int
    arrived: int
    fee_lamports: int


class Kind(enum.StrEnum):
    """What can be wrong."""

    DUPLICATE = "duplicates"
    LOST = "lost"
    FALSE_FAILED = "false_failed"
    FALSE_SUCCESS = "false_success"
    AMOUNT_MISMATCH = "amount_mismatches"
    CONTRADICTION = "contradictions"
    ILLEGAL_MOVE = "illegal_moves"


@frozen(kw_only=True)
class Violation:
    """One thing that is wrong."""

    kind: Kind
    sentence: str
    request_id: str | None = None
    signature: str | None = None

    def __str__(self) -> str:
        about = [f"request {self.request_id}" if self.request_id else "", f"signature {self.signature}" if self.signature else ""]
        return f"{self.kind}: {', '.join(filter(None, about)) or 'all requests'}: {self.sentence}"


@frozen(kw_only=True)
class Verdict:
    """What was found."""

    trades: int
    """Requests of which the journal knows."""
    succeeded: int
    landed: int
    violations: tuple[Violation, ...]

    def count(self, kind: Kind) -> int:
        """How often something was wrong."""
        return sum(violation.kind is kind for violation in self.violations)

    def counts(self) -> dict[str, int]:
        """The same for every kind, by its name."""
        return {kind.value: self.count(kind) for kind in Kind}

    @property
    def sound(self) -> bool:
        """Nothing was wrong."""
        return not self.violations


def check(*, requests: Iterable[Request], rows: Iterable[Row], landings: Iterable[Landing]) -> Verdict:
    """Compare the three; whoever calls has let everything be resolved, and the chain be confirmed, before."""
    trades = _trades(tuple(requests), tuple(rows), tuple(landings))
    known = [trade for trade in trades.all if trade.rows]
    return Verdict(
        trades=len(known),
        succeeded=sum(trade.succeeded for trade in trades.all),
        landed=trades.landed,
        violations=(*trades.astray, *(violation for trade in trades.all for violation in _of_trade(trade)), *_of_groups(trades)),
    )


# --- who belongs to whom ------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class _Trade:
    """One request with everything that is its own."""

    request: Request
    rows: tuple[Row, ...]
    landings: tuple[Landing, ...]
    """Of a request without an equal, whatever the journal says; of one in a group, those whose signatures it was given."""

    @property
    def state(self) -> str:
        return self.rows[-1].state if self.rows else ""

    @property
    def succeeded(self) -> bool:
        return self.state == "SUCCEEDED" or any(told.word is Word.SUCCESS for told in self.request.told)

    @property
    def swaps(self) -> list[Landing]:
        return [landing for landing in self.landings if not landing.failed]

    def wrong(self, kind: Kind, sentence: str, signature: str | None = None) -> Violation:
        return Violation(kind=kind, sentence=sentence, request_id=self.request.request_id, signature=signature)


@frozen(kw_only=True)
class _Group:
    """Equal requests, and all that landed for them."""

    members: tuple[_Trade, ...]
    landings: tuple[Landing, ...]


@frozen(kw_only=True)
class _Trades:
    all: tuple[_Trade, ...]
    groups: tuple[_Group, ...]
    astray: tuple[Violation, ...]
    """What belongs to no request."""
    landed: int


def _trades(requests: Sequence[Request], rows: Sequence[Row], landings: Sequence[Landing]) -> _Trades:
    rows_of: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.seq):
        rows_of[row.request_id].append(row)
    members: dict[Swap, list[Request]] = defaultdict(list)
    for request in requests:
        members[request.swap].append(request)
    landed: dict[Swap | None, list[Landing]] = defaultdict(list)
    for landing in landings:
        landed[landing.swap if landing.swap in members else None].append(landing)
    groups = [_group(equal, rows_of, tuple(landed[swap])) for swap, equal in members.items()]
    return _Trades(
        all=tuple(trade for group in groups for trade in group.members),
        groups=tuple(group for group in groups if len(group.members) > 1),
        astray=(*_astray(landed[None]), *_unasked(requests, rows_of), *_shared_signatures(rows)),
        landed=len(landings),
    )


def _group(requests: Sequence[Request], rows_of: Mapping[str, Sequence[Row]], landings: tuple[Landing, ...]) -> _Group:
    in_group = len(requests) > 1
    trades = []
    for request in requests:
        rows = tuple(rows_of.get(request.request_id, ()))
        claimed = {row.signature for row in rows} | {told.signature for told in request.told}
        own = tuple(landing for landing in landings if not in_group or landing.signature in claimed)
        trades.append(_Trade(request=request, rows=rows, landings=own))
    return _Group(members=tuple(trades), landings=landings)


def _astray(landings: Iterable[Landing]) -> Iterator[Violation]:
    for landing in landings:
        sentence = (
            f"the wallet has paid for a transaction in slot {landing.slot} that no request explains: {_words(landing.swap)}"
        )
        yield Violation(kind=Kind.DUPLICATE, sentence=sentence, signature=landing.signature)


def _words(swap: Swap | None) -> str:
    return f"{swap.in_amount} of {swap.input_mint} for {swap.output_mint}" if swap else "it holds no swap"


def _unasked(requests: Iterable[Request], rows_of: Mapping[str, object]) -> Iterator[Violation]:
    asked = {request.request_id for request in requests}
    for request_id in sorted(rows_of.keys() - asked):
        yield Violation(kind=Kind.ILLEGAL_MOVE, sentence="the journal holds it, and nobody asked for it", request_id=request_id)


def _shared_signatures(rows: Iterable[Row]) -> Iterator[Violation]:
    owners: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.state == "SIGNED" and row.signature:
            owners[row.signature].add(row.request_id)
    for signature, owning in owners.items():
        if len(owning) > 1:
            sentence = f"it is journalled for several requests: {', '.join(sorted(owning))}"
            yield Violation(kind=Kind.ILLEGAL_MOVE, sentence=sentence, signature=signature)


# --- one request --------------------------------------------------------------------------------------------------------------


def _of_trade(trade: _Trade) -> Iterator[Violation]:
    yield from _of_moves(trade)
    yield from _of_landings(trade)
    yield from _of_state(trade)
    yield from _of_answers(trade)
    yield from _of_order(trade)


def _of_moves(trade: _Trade) -> Iterator[Violation]:
    current = ""
    for row in trade.rows:
        if row.state not in MOVES.get(current, ()):
            yield trade.wrong(Kind.ILLEGAL_MOVE, f"row {row.seq} moves from {current or 'nothing'} to {row.state}", row.signature)
        if row.state == "SIGNED" and not row.signature:
            yield trade.wrong(Kind.ILLEGAL_MOVE, f"row {row.seq} is SIGNED without a signature")
        current = row.state


def _of_landings(trade: _Trade) -> Iterator[Violation]:
    signed = {row.signature for row in trade.rows if row.state == "SIGNED"}
    for landing in trade.landings[1:]:
        first = trade.landings[0]
        yield trade.wrong(
            Kind.DUPLICATE, f"it landed in slot {landing.slot}, and as {first.signature} in {first.slot}", landing.signature
        )
    for landing in trade.landings:
        if landing.signature not in signed:
            yield trade.wrong(
                Kind.LOST, f"it landed in slot {landing.slot} without a SIGNED entry in the journal", landing.signature
            )


def _of_state(trade: _Trade) -> Iterator[Violation]:
    """What the journal says at last, against the chain."""
    state, words = trade.state, [told for told in trade.request.told if told.word in FINAL or told.signature]
    if not trade.rows:
        if words:
            yield trade.wrong(
                Kind.LOST, f"its caller was told {words[0].word}, and the journal does not know it", words[0].signature
            )
        return
    if state not in WORD_OF_STATE:
        yield trade.wrong(Kind.LOST, f"it was accepted and has no outcome: the journal ends with {state}", _signature(trade))
        return
    recorded = _recorded(trade.rows[-1])
    if recorded is not None and recorded.word is not WORD_OF_STATE[state]:
        yield trade.wrong(Kind.CONTRADICTION, f"the journal ends with {state} and the outcome {recorded.word}", _signature(trade))
    yield from _against_chain(
        trade, recorded or Told(word=WORD_OF_STATE[state], signature=_signature(trade)), f"{state} in the journal"
    )


def _signature(trade: _Trade) -> str | None:
    return next((row.signature for row in reversed(trade.rows) if row.signature), None)


def _recorded(row: Row) -> Told | None:
    """The outcome that a terminal row holds; None in a refusal."""
    outcome: dict[str, Any] | None = json.loads(row.body).get("outcome")
    if outcome is None:
        return None
    return Told(
        word=Word(outcome["status"]),
        signature=outcome["signature"],
        executed_amount=outcome["executed_amount"],
        input_amount=outcome["input_amount"],
        fees_paid_lamports=outcome["fees_paid_lamports"],
        slot=outcome["slot"],
    )


def _of_answers(trade: _Trade) -> Iterator[Violation]:
    """What callers were told, against the chain and the journal."""
    answers = dict.fromkeys(evolve(told, asked_after=None) for told in trade.request.told)
    for told in answers:
        if told.word in FINAL:
            yield from _against_chain(trade, told, f"told as {told.word}")
            if trade.state in WORD_OF_STATE and told.word is not WORD_OF_STATE[trade.state]:
                yield trade.wrong(
                    Kind.CONTRADICTION, f"told as {told.word}, and the journal ends with {trade.state}", told.signature
                )
    last = next((told for told in reversed(trade.request.told) if told.word is not Word.NOTHING), None)
    if last is not None and _denies(last) and trade.swaps:
        yield trade.wrong(
            Kind.FALSE_FAILED, f"its caller was refused at last ({last.code}), and it swapped", trade.swaps[0].signature
        )


def _denies(told: Told) -> bool:
    return told.word is Word.REFUSED and told.code not in SAYS_NOTHING


def _against_chain(trade: _Trade, told: Told, place: str) -> Iterator[Violation]:
    """One final answer, told or recorded."""
    if told.word is Word.SUCCESS:
        landing = next((landing for landing in trade.swaps if landing.signature == told.signature), None)
        if landing is None:
            yield trade.wrong(
                Kind.FALSE_SUCCESS, f"{place}, and no such swap of this request stands on the chain", told.signature
            )
        else:
            yield from _amounts(trade, told, landing, place)
    elif trade.swaps:
        yield trade.wrong(Kind.FALSE_FAILED, f"{place}, and it swapped in slot {trade.swaps[0].slot}", trade.swaps[0].signature)
    else:
        yield from _amounts(trade, told, trade.landings[0] if trade.landings else None, place)


def _amounts(trade: _Trade, told: Told, landing: Landing | None, place: str) -> Iterator[Violation]:
    true = (landing.left, landing.arrived, landing.fee_lamports, landing.slot) if landing else (0, 0, 0, 0)
    said = (told.input_amount, told.executed_amount, told.fees_paid_lamports, told.slot)
    names = ("input_amount", "executed_amount", "fees_paid", "slot")
    wrong = [
        f"{name} {is_said} is {is_true}" for name, is_said, is_true in zip(names, said, true, strict=True) if is_said != is_true
    ]
    if wrong:
        yield trade.wrong(Kind.AMOUNT_MISMATCH, f"{place}, and on the chain {', '.join(wrong)}", told.signature)


def _of_order(trade: _Trade) -> Iterator[Violation]:
    """A SUCCESS or FAILED stands for ever."""
    told = trade.request.told
    finals = [index for index, answer in enumerate(told) if answer.word in FINAL]
    if not finals:
        return
    first = finals[0]
    fixed = _fixed(told[first])
    for index, answer in enumerate(told[first + 1 :], first + 1):
        if answer.word in FINAL:
            contradicts = _fixed(answer) != fixed
        else:
            known = index if answer.asked_after is None else answer.asked_after
            contradicts = known > first and (answer.word is Word.PENDING or _denies(answer))
        if contradicts:
            sentence = f"it was told as {told[first].word}, and answer {index} says {answer.word} {answer.code}".rstrip()
            yield trade.wrong(Kind.CONTRADICTION, sentence, answer.signature)


def _fixed(told: Told) -> Told:
    """An answer without what may differ."""
    return evolve(told, asked_after=None, code="")


# --- equal requests -----------------------------------------------------------------------------------------------------------


def _of_groups(trades: _Trades) -> Iterator[Violation]:
    for group in trades.groups:
        yield from _of_group(group)


def _of_group(group: _Group) -> Iterator[Violation]:
    owners = Counter(landing.signature for member in group.members for landing in member.landings)
    for landing in group.landings:
        if landing.signature not in owners:
            sentence = f"it landed in slot {landing.slot}, and none of {_names(group)} knows it"
            yield Violation(kind=Kind.LOST, sentence=sentence, signature=landing.signature)
    swaps = sum(not landing.failed for landing in group.landings)
    # A member that swapped and was told otherwise is counted as that already.
    denied = sum(bool(member.swaps) and not member.succeeded for member in group.members)
    successes = sum(member.succeeded for member in group.members)
    sentence = f"{swaps} swaps landed for {successes} successes of the equal requests {_names(group)}"
    for _ in range(swaps - successes - denied):
        yield Violation(kind=Kind.DUPLICATE, sentence=sentence)
    for _ in range(successes - swaps):
        yield Violation(kind=Kind.FALSE_SUCCESS, sentence=sentence)


def _names(group: _Group) -> str:
    return ", ".join(member.request.request_id for member in group.members)

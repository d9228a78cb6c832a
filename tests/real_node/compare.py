"""Holds the conversation with both sides, and finds every difference."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from attrs import frozen
from solders.keypair import Keypair

from tests.real_node.conversation import converse
from tests.real_node.differences import ACCEPTED, Accepted
from tests.real_node.normal import Normal
from tests.real_node.side import Side

Json = Any
ABSENT = "<absent>"


@frozen
class Difference:
    """One place in one answer."""

    question: str
    place: str
    localnet: Json
    validator: Json

    def __str__(self) -> str:
        return f"{self.question}\n    at        {self.place}\n    localnet  {self.localnet!r}\n    validator {self.validator!r}"


@frozen(kw_only=True)
class Outcome:
    """What came of a conversation."""

    questions: int
    equal: int
    """Questions whose answers do not differ at all."""
    accepted: tuple[Difference, ...]
    unexplained: tuple[Difference, ...]
    obsolete: tuple[Accepted, ...]
    """Entries of the list that do not occur any more."""

    @property
    def holds(self) -> bool:
        """The localnet answers as the validator, but for what is listed, and the list is true."""
        return not self.unexplained and not self.obsolete


def hold_conversation(localnet_url: str, validator_url: str, payer: Keypair) -> Outcome:
    """Ask both sides at the same time; the payer must have been funded equally on both."""
    localnet, validator = Side(localnet_url, payer), Side(validator_url, payer)
    with ThreadPoolExecutor(2) as pool:
        for conversation in [pool.submit(converse, side) for side in (localnet, validator)]:
            conversation.result()
    return compare(localnet, validator)


def compare(localnet: Side, validator: Side, accepted: Sequence[Accepted] = ACCEPTED) -> Outcome:
    """Find what differs in the answers of two sides."""
    ours, theirs = Normal(localnet), Normal(validator)
    found = [
        Difference(name, place, a, b)
        for name in localnet.answers
        for place, a, b in differences(ours.answer(name), theirs.answer(name))
    ]
    explained = [d for d in found if any(entry.covers(d.question, d.place) for entry in accepted)]
    return Outcome(
        questions=len(localnet.answers),
        equal=len(localnet.answers) - len({d.question for d in found}),
        accepted=tuple(explained),
        unexplained=tuple(d for d in found if d not in explained),
        obsolete=tuple(entry for entry in accepted if not any(entry.covers(d.question, d.place) for d in found)),
    )


def differences(ours: Json, theirs: Json, place: str = "") -> Iterator[tuple[str, Json, Json]]:
    """Every place in which two values differ; members that only one of them has, too."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in sorted(ours.keys() | theirs.keys()):
            yield from differences(ours.get(name, ABSENT), theirs.get(name, ABSENT), f"{place}.{name}".removeprefix("."))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(one, other, f"{place}.{index}".removeprefix("."))
    elif type(ours) is not type(theirs) or ours != theirs:
        yield place, ours, theirs

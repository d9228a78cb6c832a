"""One poller for the confirmations of all trades in flight.

Each trade asks `landed`, and waits. The poller gathers whatever signatures are due and asks for at most 256 of them in one call;
each signature is asked for after 100 ms, then ever more rarely, up to once a second.

What an answer means (SOLANA.md 3.1):

* null is unknown, never failed.
* `processed` is not success: the block may die with its fork, and the status become null again. Only `confirmed` counts.
* Expiry is a matter of block height, not of seconds and not of one node's word. The height that follows from the newest
  blockhash only tells when to look. The proof is: every configured node says, of itself, that its height at `confirmed` has
  passed the transaction's last valid one and that the blockhash is not valid any more (the last valid height is what one node
  told us), and then finds nothing in its history. Behind one URL may stand several machines, so each answer has to be as of
  that height's slot, or later. A node that lags, disagrees or does not answer leaves the trade unresolved, and it is tried again.
* A node that is not known to be of the cluster of our trades (`cluster.py`) proves nothing.
* A history is finite. It counts only if it reaches back to the blockhash. Shortly after the expiry it also counts where a
  provider does not tell; long after it, as after a daemon's long rest, it does not.
"""

import math
from collections.abc import Callable, Sequence
from typing import NoReturn

import trio
from attrs import define, field
from solders.hash import Hash
from solders.signature import Signature

from executor.chainstate.blockhash import Blockhashes
from executor.faults import TransportError
from executor.log import Log
from executor.model import Landed
from executor.network.nodes import Nodes
from executor.network.solana import MAX_SIGNATURES_PER_CALL, Node, SignatureStatus

GATHER_SECONDS = 0.01
"""Signatures that become due this soon ride along."""
PROOF_RETRY_SECONDS = 2.0
SURELY_KEPT_BLOCKS = 1_000
"""No node purges blocks so soon, some 7 minutes: even the least that Agave's --limit-ledger-size allows holds hours."""


@define(eq=False)
class _Watch:
    signature: Signature
    blockhash: Hash
    last_valid_block_height: int
    context_slot: int
    interval: float
    due_at: float
    prove_at: float = 0.0
    done: trio.Event = field(factory=trio.Event)
    landed: Landed | None = None

    def finish(self, landed: Landed | None) -> None:
        """Wake the one who waits, and ask no more. A landing counts also beside a proof that there was none."""
        self.landed = self.landed or landed
        self.due_at = math.inf
        self.done.set()


@define(kw_only=True, eq=False)
class Confirmations:
    """The poller. `run` must be running for `landed` to return."""

    nodes: Nodes
    blockhashes: Blockhashes
    is_ours: Callable[[Node], bool]
    """Whether a node is known to be of the cluster of our trades: what others have not seen may have landed."""
    poll_initial_seconds: float
    poll_max_seconds: float
    log: Log
    _watches: list[_Watch] = field(factory=list)
    _wake: trio.Event = field(factory=trio.Event)

    async def landed(
        self, signature: Signature, *, blockhash: Hash, last_valid_block_height: int, context_slot: int
    ) -> Landed | None:
        """Wait until the signature is confirmed, or return None when it is proved that it never will be.

        `context_slot` is the slot of the answer that brought the blockhash.
        """
        first = self.poll_initial_seconds
        watch = _Watch(signature, blockhash, last_valid_block_height, context_slot, first, trio.current_time() + first)
        self._watches.append(watch)
        self._wake.set()
        try:
            await watch.done.wait()
        finally:
            self._watches.remove(watch)
        return watch.landed

    def watched(self) -> int:
        """How many signatures are being waited for."""
        return len(self._watches)

    async def run(self) -> NoReturn:
        """Poll until cancelled. Proofs run beside it: a node that does not answer one must not hold up the other trades."""
        async with trio.open_nursery() as proofs:
            while True:
                await self._sleep_until_due()
                for watch in await self._poll_due():
                    watch.prove_at = math.inf  # one proof at a time
                    proofs.start_soon(self._prove_expired, watch)
        raise AssertionError("the loop does not end")

    async def _poll_due(self) -> Sequence[_Watch]:
        """Ask once for everything that is due; return what the height says is to be proved expired now."""
        now = trio.current_time() + GATHER_SECONDS
        due = [watch for watch in self._watches if watch.due_at <= now]
        for start in range(0, len(due), MAX_SIGNATURES_PER_CALL):
            await self._poll(due[start : start + MAX_SIGNATURES_PER_CALL])
        return [watch for watch in due if self._looks_expired(watch)]

    async def _sleep_until_due(self) -> None:
        self._wake = trio.Event()
        next_due = min((watch.due_at for watch in self._watches), default=math.inf)
        with trio.move_on_at(next_due):
            await self._wake.wait()

    async def _poll(self, watches: Sequence[_Watch]) -> None:
        signatures = [watch.signature for watch in watches]
        statuses: Sequence[SignatureStatus | None] = (None,) * len(signatures)
        try:
            # Without retries: while they wait, no other trade would be looked at, and the next look comes by itself.
            answer = await self.nodes.ask_once(lambda node: node.signature_statuses(signatures), operation="getSignatureStatuses")
            statuses = answer.values
        except TransportError as error:
            self.log.warning("confirmations.poll_failed", signatures=len(signatures), problem=str(error))
        now = trio.current_time()
        for watch, status in zip(watches, statuses, strict=True):
            self._take(watch, status, now)

    def _take(self, watch: _Watch, status: SignatureStatus | None, now: float) -> None:
        if status is not None and status.is_confirmed:
            watch.finish(Landed(slot=status.slot, reverted=status.error is not None, confirmed_at=now))
            return
        watch.due_at = now + watch.interval
        watch.interval = min(watch.interval * 2, self.poll_max_seconds)

    def _looks_expired(self, watch: _Watch) -> bool:
        if watch.done.is_set() or trio.current_time() < watch.prove_at:
            return False
        return self.blockhashes.block_height() > watch.last_valid_block_height

    async def _prove_expired(self, watch: _Watch) -> None:
        """Finish the watch if every node proves the absence, or if one of them knows better."""
        answers = await self.nodes.every(lambda node: self._absence(node, watch))
        now = trio.current_time()
        watch.prove_at = now + PROOF_RETRY_SECONDS
        for answer in answers:
            if isinstance(answer, SignatureStatus):
                self._take(watch, answer, now)
        if all(answer is True for answer in answers):
            watch.finish(None)
        elif not watch.done.is_set():
            self.log.info("confirmations.expiry_not_proved", signature=str(watch.signature), answers=[str(a) for a in answers])

    async def _absence(self, node: Node, watch: _Watch) -> bool | SignatureStatus:
        """What this node proves, as far as it is known to be of our cluster."""
        answer = await _absence(node, watch)
        return answer is True and self.is_ours(node) if isinstance(answer, bool) else answer


async def _absence(node: Node, watch: _Watch) -> bool | SignatureStatus:
    """Whether this node proves that the signature will never land: True, False (it lags behind), or what it knows of it.

    The order matters: the height is read first, so that a transaction that landed in the last valid block is in the history.
    """
    passed = await node.epoch_info("confirmed")
    if passed.block_height <= watch.last_valid_block_height:
        return False
    blockhash = await node.blockhash_validity(watch.blockhash, commitment="confirmed", min_context_slot=passed.slot)
    statuses = await node.signature_statuses([watch.signature], search_history=True)
    if statuses.values[0] is not None:
        return statuses.values[0]
    if blockhash.valid or min(blockhash.slot, statuses.slot) < passed.slot:
        return False
    # Asked last: what was there after the search was there during it.
    must_tell = passed.block_height > watch.last_valid_block_height + SURELY_KEPT_BLOCKS
    return await _reaches_back(node, watch.context_slot, must_tell=must_tell)


async def _reaches_back(node: Node, slot: int, *, must_tell: bool) -> bool:
    """Whether a node's history does. That of a machine that began with a snapshot a moment ago does not."""
    try:
        return await node.first_available_block() <= slot
    except TransportError as error:
        if must_tell or error.fault.worth_repeating:
            raise
        return True  # a provider that does not offer the call

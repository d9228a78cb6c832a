"""A Solana cluster without I/O: slots, blocks, commitments, forks, and the transactions in them.

One `tick` is one slot. A slot makes one block on the newest one, or is skipped, so that block height falls behind the slot.
The newest block is `processed`; what lies a few slots below the clock is `confirmed`, and further down `finalized`. Above
`confirmed` a fork may drop blocks: their accounts are put back as they were, and their transactions have never landed.

Time and chance come from outside only: equal seeds, equal clocks and equal calls give equal histories.
"""

import enum
import hashlib
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from attrs import evolve, frozen
from solders.account import Account
from solders.compute_budget import set_compute_unit_limit
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from executor.localnet.chain_errors import ALREADY_PROCESSED, BLOCKHASH_NOT_FOUND, ChainError
from executor.localnet.execution import ClockReading, Engine, Execution, not_executed
from executor.localnet.ledger import MAX_AGE_BLOCKS, RING_BLOCKS, Block, LandedTransaction, Landing, Ledger, least_price
from executor.localnet.mempool import Handling, Mempool
from executor.localnet.tokens import SYSTEM_PROGRAM, transfer_lamports
from executor.localnet.transactions import Resolved, TransactionInvalid, resolve, signatures_hold
from executor.units import LAMPORTS_PER_SOL, PACKET_BYTES

FIRST_SLOT = 435_888_000
FIRST_HEIGHT = FIRST_SLOT - 22_000_000
"""Mainnet's block height lies about so far below its slot: a program that mixes the two up must fail here as well."""
SLOT_HASHES = 512
FEE_BLOCKS = 150
NANOSECONDS = 1_000_000_000
FAUCET_LAMPORTS = 100_000_000 * LAMPORTS_PER_SOL
AIRDROP_UNIT_LIMIT = 1_000
_DEFAULT = Handling()


class Commitment(enum.StrEnum):
    """How sure the cluster is of a block."""

    PROCESSED = "processed"
    CONFIRMED = "confirmed"
    FINALIZED = "finalized"


@frozen(kw_only=True)
class ClusterSettings:
    """How the cluster behaves."""

    skip_rate: float = 0.05
    """The share of slots in which no block is made."""
    fork_rate: float = 0.0
    """The share of slots in which the newest unconfirmed block is dropped."""
    fork_requeue_rate: float = 0.5
    """With what chance the transactions of a block that is dropped so are still in a leader's queue."""
    confirmed_after_slots: int = 2
    finalized_after_slots: int = 32
    block_unit_limit: int = 60_000_000
    resend_slots: int = 5
    """After how many slots a node sends a transaction again by itself: 2 s on mainnet."""

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.confirmed_after_slots <= self.finalized_after_slots <= MAX_AGE_BLOCKS:
            raise ValueError("slots: 0 <= confirmed <= finalized <= 150 must hold")
        if not all(0 <= rate < 1 for rate in (self.skip_rate, self.fork_rate)) or not 0 <= self.fork_requeue_rate <= 1:
            raise ValueError("rates lie between 0 and 1; neither every slot is skipped nor every block dropped")


@frozen(kw_only=True)
class SignatureStatus:
    """What is known of a transaction at one node."""

    landing: Landing
    commitment: Commitment
    confirmations: int | None
    """Blocks on top of it; None: finalized."""
    recent: bool
    """Among the blocks that a node holds at hand; older ones are found by a search in the history only."""


@frozen
class SlotFee:
    """The least price per compute unit that landed in a slot on the accounts asked for."""

    slot: int
    micro_lamports: int


@frozen(kw_only=True)
class ClusterCounts:
    """What has happened so far."""

    skipped_slots: int = 0
    dropped_blocks: int = 0
    dropped_transactions: int = 0


class Cluster:
    """The cluster. A `commitment` is "processed", "confirmed" or "finalized"; `behind` is how many slots late the asker is."""

    def __init__(self, *, seed: int, unix_ns: Callable[[], int], settings: ClusterSettings | None = None) -> None:
        self.settings = settings or ClusterSettings()
        # The start belongs to it: what was signed for one run must not land in another one with the same seed.
        self.genesis_hash = _digest(b"genesis", seed, unix_ns())
        self._unix_ns = unix_ns
        self._random = random.Random(f"cluster {seed}")  # noqa: S311 - a reproducible chain, not a secret
        self._engine = Engine()
        self._mempool = Mempool(resend_slots=self.settings.resend_slots)
        self._clock_slot = FIRST_SLOT
        self._ledger = Ledger(self._new_block(FIRST_SLOT, FIRST_HEIGHT, self.genesis_hash))
        self._faucet = Keypair.from_seed(bytes(_digest(b"faucet", seed)))
        self._airdrops = 0
        self._slot_hashes: deque[tuple[int, Hash]] = deque(maxlen=SLOT_HASHES)
        """Newest first, as the sysvar shows them."""
        self.counts = ClusterCounts()
        self._begin(self._ledger.tip)
        self._engine.put(self._faucet.pubkey(), Account(FAUCET_LAMPORTS, b"", SYSTEM_PROGRAM))

    # --- time -----------------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Let one slot pass."""
        skipped, forked, requeued = (self._random.random() for _ in range(3))  # always three: one fate does not shift another's
        self._drop_ordered()  # before the clock moves: what is dropped was processed for a whole slot and is not yet confirmed
        if forked < self.settings.fork_rate:
            self.drop_blocks(1, requeue=requeued < self.settings.fork_requeue_rate)
        self._clock_slot += 1
        if skipped < self.settings.skip_rate:
            self.counts = evolve(self.counts, skipped_slots=self.counts.skipped_slots + 1)
        else:
            self._make_block()

    def _make_block(self) -> None:
        parent = self._ledger.tip
        block = self._new_block(self._clock_slot, parent.height + 1, parent.blockhash)
        self._ledger.append(block)
        self._begin(block)
        self._mempool.resend(
            block.slot,
            height=parent.height,
            landed_slot=self._landed_slot,
            finalized_slot=self.block(Commitment.FINALIZED).slot,
        )
        for queued in self._mempool.due(block.slot, self.settings.block_unit_limit):
            if self._include(queued.tx, parent):
                block.drops |= queued.handling.drop_block
                block.requeues |= queued.handling.requeue

    def _new_block(self, slot: int, height: int, parent: Hash) -> Block:
        # A block's hash follows from its slot and its parent: the block that replaces a dropped one has another.
        blockhash = Hash(hashlib.sha256(bytes(parent) + slot.to_bytes(8, "little")).digest())
        return Block(slot=slot, height=height, blockhash=blockhash, unix_seconds=self._unix_ns() // NANOSECONDS)

    def _begin(self, block: Block) -> None:
        hashes = self._slot_hashes
        while hashes and hashes[0][0] >= block.slot:  # their fork was dropped
            hashes.popleft()
        hashes.appendleft((block.slot, block.blockhash))
        self._engine.begin_block(ClockReading(slot=block.slot, unix_seconds=block.unix_seconds), list(hashes))

    def _include(self, tx: Resolved, parent: Block) -> bool:
        """Let the leader of the newest block take a transaction; a transaction that cannot land is dropped without a trace."""
        if self._ledger.processed_slot(tx.message_hash) is not None:
            return False
        try:
            # Lookup tables are read by the leader as they stand now, which need not be how the sender's node saw them.
            current = resolve(tx.transaction, self._engine.account, self._ledger.tip.slot)
        except TransactionInvalid:
            return False
        # The age counts from the block that this one builds on: a hash whose last valid height is H can land in block H + 1.
        alive = self._ledger.last_valid_height(tx.blockhash, parent) is not None
        execution = self._engine.run(current, nonce=not alive)
        if execution.landed:
            self._ledger.land(current, execution)
        return execution.landed

    # --- forks ----------------------------------------------------------------------------------------------------------------

    def drop_blocks(self, count: int, *, requeue: bool = False) -> int:
        """Drop the newest unconfirmed blocks with their fork; returns how many there were.

        Every account stands as before, every transaction is forgotten. With `requeue` they are still in a leader's queue.
        """
        dropped = 0
        while dropped < count and self._ledger.tip.slot > self.block(Commitment.CONFIRMED).slot:
            self._drop_tip(requeue=requeue)
            dropped += 1
        return dropped

    def _drop_tip(self, *, requeue: bool) -> None:
        block, landed = self._ledger.drop_tip()
        for address, pre_image in block.pre_images.items():
            self._engine.put(address, pre_image)
        if requeue:
            self._mempool.requeue((transaction.resolved for transaction in landed), self._clock_slot)
        self.counts = evolve(
            self.counts,
            dropped_blocks=self.counts.dropped_blocks + 1,
            dropped_transactions=self.counts.dropped_transactions + len(landed),
        )
        self._begin(self._ledger.tip)

    def _drop_ordered(self) -> None:
        confirmed = self.block(Commitment.CONFIRMED)
        unconfirmed = list(self._ledger.after(confirmed))
        first = next((index for index, block in enumerate(unconfirmed) if block.drops), None)
        if first is not None:
            for block in reversed(unconfirmed[first:]):
                self._drop_tip(requeue=block.requeues)

    # --- reads ----------------------------------------------------------------------------------------------------------------

    @property
    def clock_slot(self) -> int:
        """The slot that passes now, whether a block was made in it or not."""
        return self._clock_slot

    def block(self, commitment: str, *, behind: int = 0) -> Block:
        """The newest block of a commitment."""
        return self._ledger.at_slot(self._clock_slot - self._depth(commitment) - behind)

    def _depth(self, commitment: str) -> int:
        if commitment == Commitment.PROCESSED:
            return 0
        settings = self.settings
        return settings.confirmed_after_slots if commitment == Commitment.CONFIRMED else settings.finalized_after_slots

    def first_available_slot(self) -> int:
        """From where on the history of transactions is whole."""
        return self._ledger.first_available_slot

    def slot(self, commitment: str, *, behind: int = 0) -> int:
        """The slot of the newest block of a commitment."""
        return self.block(commitment, behind=behind).slot

    def block_height(self, commitment: str, *, behind: int = 0) -> int:
        """The height of the newest block of a commitment."""
        return self.block(commitment, behind=behind).height

    def latest_blockhash(self, commitment: str, *, behind: int = 0) -> tuple[Hash, int]:
        """The hash of the newest block of a commitment, and its last valid block height."""
        block = self.block(commitment, behind=behind)
        return block.blockhash, block.height + MAX_AGE_BLOCKS

    def last_valid_height(self, blockhash: Hash, block: Block) -> int | None:
        """Up to which height a blockhash is accepted; None when it is not alive at `block`."""
        return self._ledger.last_valid_height(blockhash, block)

    def read(self, address: Pubkey, commitment: str, *, behind: int = 0) -> Account | None:
        """An account as it stands at a commitment."""
        return self.read_at(address, self.block(commitment, behind=behind))

    def read_at(self, address: Pubkey, block: Block) -> Account | None:
        """An account as it stood in a block."""
        changed, account = self._ledger.changed_since(address, block)
        return account if changed else self._engine.account(address)

    def owned_by(self, programs: Iterable[Pubkey], block: Block) -> list[tuple[Pubkey, Account]]:
        """Every account of some programs as it stood in a block, by address."""
        owners = frozenset(programs)
        candidates = {address for owner in owners for address in self._engine.owned_by(owner)}
        candidates.update(address for later in self._ledger.after(block) for address in later.pre_images)
        stood = ((address, self.read_at(address, block)) for address in candidates)
        found = [(address, account) for address, account in stood if account is not None and account.owner in owners]
        return sorted(found, key=lambda entry: bytes(entry[0]))

    def decimals(self, mint: Pubkey) -> int:
        """A mint's decimals."""
        return self._engine.decimals(mint)

    def rent_exemption(self, size_bytes: int) -> int:
        """The least lamports of an account of this size."""
        return self._engine.rent_exemption(size_bytes)

    def recent_fees(self, accounts: Iterable[Pubkey], *, behind: int = 0) -> list[SlotFee]:
        """What landed in the last 150 confirmed blocks on some accounts, oldest first."""
        keys = frozenset(accounts)
        blocks = self._ledger.newest(self.block(Commitment.CONFIRMED, behind=behind), FEE_BLOCKS)
        return [SlotFee(block.slot, least_price(block, keys)) for block in blocks]

    @property
    def transaction_count(self) -> int:
        """How many transactions stand in the chain."""
        return self._ledger.transaction_count

    @property
    def queued_count(self) -> int:
        """How many transactions wait for a leader."""
        return len(self._mempool)

    # --- accounts from outside ------------------------------------------------------------------------------------------------

    def set_account(self, address: Pubkey, account: Account | None) -> None:
        """Write an account by decree, as part of the newest block: it is confirmed, or dropped, with that block."""
        self._ledger.tip.note(address, self._engine.account(address))
        self._engine.put(address, account)

    def add_program(self, address: Pubkey, elf: bytes) -> None:
        """Deploy a program by decree. It belongs to the genesis: no fork drops it."""
        self._engine.add_program(address, elf)

    def airdrop(self, address: Pubkey, lamports: int) -> Signature:
        """Send lamports from the faucet, by a transaction that lands like every other."""
        self._airdrops += 1
        source = self._faucet.pubkey()
        instructions = [
            set_compute_unit_limit(AIRDROP_UNIT_LIMIT + self._airdrops % 100_000),  # equal airdrops are different transactions
            transfer_lamports(source=source, destination=address, lamports=lamports),
        ]
        blockhash, _ = self.latest_blockhash(Commitment.PROCESSED)
        message = MessageV0.try_compile(source, instructions, [], blockhash)
        transaction = VersionedTransaction(message, [self._faucet])
        self.submit(transaction)
        return transaction.signatures[0]

    # --- transactions ---------------------------------------------------------------------------------------------------------

    def resolve(self, transaction: VersionedTransaction, block: Block) -> Resolved:
        """Read a transaction as it would be read in a block. Raises `TransactionInvalid`."""
        return resolve(transaction, lambda address: self.read_at(address, block), block.slot)

    def submit(self, transaction: VersionedTransaction, handling: Handling = _DEFAULT) -> None:
        """Send a transaction to the leaders. As on the network nobody tells whether it will land, or why it did not."""
        if len(bytes(transaction)) > PACKET_BYTES:
            return
        try:
            tx = self.resolve(transaction, self._ledger.tip)
        except TransactionInvalid:
            return
        if signatures_hold(transaction):
            self._enqueue(tx, handling)

    def submit_verified(self, tx: Resolved, handling: Handling = _DEFAULT) -> None:
        """Send a transaction whose signatures and size have been checked."""
        self._enqueue(tx, handling)

    def _enqueue(self, tx: Resolved, handling: Handling) -> None:
        tip = self._ledger.tip
        last_valid = self._ledger.last_valid_height(tx.blockhash, tip) or tip.height + RING_BLOCKS
        self._mempool.add(tx, self._clock_slot, handling, last_valid)

    def simulate(self, tx: Resolved, block: Block) -> Execution:
        """What a transaction would do on top of a block; signatures are not looked at."""
        refusal = self._refusal(tx, block)
        stood = ((key, *self._ledger.changed_since(key, block)) for key in tx.keys)
        state = {key: account for key, changed, account in stood if changed}
        clock = self._engine.clock
        self._engine.set_clock(ClockReading(slot=block.slot, unix_seconds=block.unix_seconds))
        try:
            # A blockhash that is not known may still be a durable nonce; the engine tells.
            execution = self._engine.simulate(tx, nonce=refusal == BLOCKHASH_NOT_FOUND, state=state)
        finally:
            self._engine.set_clock(clock)
        return not_executed(execution, refusal) if refusal == ALREADY_PROCESSED else execution

    def _refusal(self, tx: Resolved, block: Block) -> ChainError | None:
        if self._ledger.last_valid_height(tx.blockhash, block) is None:
            return BLOCKHASH_NOT_FOUND
        processed = self._ledger.processed_slot(tx.message_hash)
        return ALREADY_PROCESSED if processed is not None and processed <= block.slot else None

    def fee(self, tx: Resolved) -> int:
        """What the network charges for a transaction."""
        return self._engine.fee(tx)

    def transaction(self, signature: Signature) -> LandedTransaction | None:
        """A transaction that stands in the chain, with its metadata."""
        return self._ledger.transaction(signature)

    def paid_by(self, payer: Pubkey) -> Iterator[LandedTransaction]:
        """The confirmed transactions that a wallet has paid for, oldest first; the newest 20,000 of all wallets are at hand."""
        confirmed = self.slot(Commitment.CONFIRMED)
        return (landed for landed in self._ledger.paid_by(payer) if landed.landing.slot <= confirmed)

    def status(self, signature: Signature, *, behind: int = 0) -> SignatureStatus | None:
        """Where a transaction stands; None: in no block that the asker knows."""
        landing = self._ledger.landing(signature)
        tip = self.block(Commitment.PROCESSED, behind=behind)
        if landing is None or landing.slot > tip.slot:
            return None
        commitment = self._commitment(landing.slot, behind)
        confirmations = None if commitment is Commitment.FINALIZED else tip.height - landing.height
        recent = tip.height - landing.height < RING_BLOCKS
        return SignatureStatus(landing=landing, commitment=commitment, confirmations=confirmations, recent=recent)

    def _commitment(self, slot: int, behind: int) -> Commitment:
        if slot <= self.slot(Commitment.FINALIZED, behind=behind):
            return Commitment.FINALIZED
        return Commitment.CONFIRMED if slot <= self.slot(Commitment.CONFIRMED, behind=behind) else Commitment.PROCESSED

    def _landed_slot(self, signature: Signature) -> int | None:
        landing = self._ledger.landing(signature)
        return landing.slot if landing is not None else None


def _digest(purpose: bytes, *numbers: int) -> Hash:
    return Hash(hashlib.sha256(b" ".join([purpose, *(str(number).encode() for number in numbers)])).digest())

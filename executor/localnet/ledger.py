"""What the cluster remembers: the chain of blocks, what each block changed, and what happened to every transaction.

A block keeps the accounts that it changed as they were before it (pre-images). Read backwards they undo it, when its fork is
dropped; read forwards they tell how an account stood at any older block, so that each commitment has a state of its own.
"""

import bisect
from collections import OrderedDict
from collections.abc import Iterable, Iterator

from attrs import define, evolve, field, frozen
from solders.account import Account
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from executor.localnet.chain_errors import ChainError
from executor.localnet.execution import NO_ACCOUNTS, Execution
from executor.localnet.transactions import Resolved

MAX_AGE_BLOCKS = 150
"""How many blocks old a blockhash may be."""
RING_BLOCKS = 300
"""How many blockhashes, and the statuses of how many blocks, a node holds at hand."""
KEPT_BLOCKS = 1_200
KEPT_TRANSACTIONS = 20_000
KEPT_STATUSES = 200_000


@frozen(kw_only=True)
class Landing:
    """When and how a transaction landed: what is left of it longest."""

    signature: Signature
    slot: int
    height: int
    error: ChainError | None


@frozen(kw_only=True)
class LandedTransaction:
    """A transaction in a block, with its metadata."""

    landing: Landing
    block_unix_seconds: int
    resolved: Resolved
    execution: Execution


@define(kw_only=True)
class Block:
    """One block. Its facts never change; its contents grow while it is the newest."""

    slot: int
    height: int
    blockhash: Hash
    unix_seconds: int
    pre_images: dict[Pubkey, Account | None] = field(factory=dict)
    signatures: list[Signature] = field(factory=list)
    message_hashes: list[bytes] = field(factory=list)
    least_prices: dict[Pubkey, int] = field(factory=dict)
    """By writable account: the least micro-lamports per compute unit that a transaction on it paid."""
    drops: bool = False
    """Ordered to be dropped with its fork."""
    requeues: bool = False
    """Its transactions are still in a leader's queue when it is dropped."""

    def note(self, address: Pubkey, pre_image: Account | None) -> None:
        """Remember how an account stood before this block first changed it."""
        self.pre_images.setdefault(address, pre_image)


class Ledger:
    """The blocks of the fork that stands, oldest first, and the transactions in them."""

    def __init__(self, genesis: Block) -> None:
        self._blocks: list[Block] = [genesis]
        self._slots: list[int] = [genesis.slot]
        self._heights: OrderedDict[Hash, int] = OrderedDict({genesis.blockhash: genesis.height})
        self._transactions: OrderedDict[Signature, LandedTransaction] = OrderedDict()
        self._landings: OrderedDict[Signature, Landing] = OrderedDict()
        self._processed: dict[bytes, int] = {}  # message hash -> slot
        self.transaction_count = 0
        self.first_available_slot = genesis.slot
        """The history is whole from there on."""

    # --- blocks ---------------------------------------------------------------------------------------------------------------

    @property
    def tip(self) -> Block:
        """The newest block."""
        return self._blocks[-1]

    def append(self, block: Block) -> None:
        """Open a new block on the tip."""
        self._blocks.append(block)
        self._slots.append(block.slot)
        self._heights[block.blockhash] = block.height
        while len(self._heights) > RING_BLOCKS:
            self._heights.popitem(last=False)
        if len(self._blocks) > 2 * KEPT_BLOCKS:
            self._forget(len(self._blocks) - KEPT_BLOCKS)

    def at_slot(self, slot: int) -> Block:
        """The newest block that is not younger than a slot; the oldest that is remembered when all are."""
        return self._blocks[max(bisect.bisect_right(self._slots, slot) - 1, 0)]

    def after(self, block: Block) -> Iterator[Block]:
        """The blocks on top of one, oldest first."""
        for index in range(bisect.bisect_right(self._slots, block.slot), len(self._blocks)):
            yield self._blocks[index]

    def newest(self, block: Block, count: int) -> list[Block]:
        """The last blocks up to and with one, oldest first."""
        end = bisect.bisect_right(self._slots, block.slot)
        return self._blocks[max(end - count, 0) : end]

    def drop_tip(self) -> tuple[Block, list[LandedTransaction]]:
        """Take the tip away as if it had never been; returns it with its transactions. The accounts are the caller's."""
        block = self._blocks.pop()
        self._slots.pop()
        self._heights.pop(block.blockhash, None)
        for message_hash in block.message_hashes:
            self._processed.pop(message_hash, None)
        for signature in block.signatures:
            self._landings.pop(signature, None)
        dropped = [self._transactions.pop(signature) for signature in block.signatures if signature in self._transactions]
        self.transaction_count -= len(block.signatures)
        return block, dropped

    def _forget(self, count: int) -> None:
        for block in self._blocks[:count]:
            for message_hash in block.message_hashes:
                self._processed.pop(message_hash, None)
        del self._blocks[:count], self._slots[:count]

    # --- accounts -------------------------------------------------------------------------------------------------------------

    def changed_since(self, address: Pubkey, block: Block) -> tuple[bool, Account | None]:
        """Whether an account changed on top of a block, and if so how it stood in that block."""
        for later in self.after(block):
            if address in later.pre_images:
                return True, later.pre_images[address]
        return False, None

    # --- transactions ---------------------------------------------------------------------------------------------------------

    def land(self, tx: Resolved, execution: Execution) -> LandedTransaction:
        """Put a transaction into the tip."""
        block = self.tip
        landing = Landing(signature=tx.signature, slot=block.slot, height=block.height, error=execution.error)
        kept = evolve(execution, written=NO_ACCOUNTS)  # the block holds the pre-images; with every transaction they would pile up
        landed = LandedTransaction(landing=landing, block_unix_seconds=block.unix_seconds, resolved=tx, execution=kept)
        for address, pre_image in execution.written.items():
            block.note(address, pre_image)
        price = tx.budget.unit_price_micro_lamports
        for address in execution.written:
            block.least_prices[address] = min(price, block.least_prices.get(address, price))
        block.signatures.append(tx.signature)
        block.message_hashes.append(tx.message_hash)
        self._processed[tx.message_hash] = block.slot
        self._landings[tx.signature] = landing
        self._transactions[tx.signature] = landed
        self.transaction_count += 1
        self._bound()
        return landed

    def _bound(self) -> None:
        while len(self._transactions) > KEPT_TRANSACTIONS:
            self._transactions.popitem(last=False)
        while len(self._landings) > KEPT_STATUSES:
            _signature, gone = self._landings.popitem(last=False)
            self.first_available_slot = gone.slot + 1

    def transaction(self, signature: Signature) -> LandedTransaction | None:
        """A transaction of the fork that stands."""
        return self._transactions.get(signature)

    def paid_by(self, payer: Pubkey) -> Iterator[LandedTransaction]:
        """The transactions that a wallet has paid for, oldest first."""
        return (landed for landed in self._transactions.values() if landed.resolved.payer == payer)

    def landing(self, signature: Signature) -> Landing | None:
        """How a transaction landed in the fork that stands."""
        return self._landings.get(signature)

    def processed_slot(self, message_hash: bytes) -> int | None:
        """The slot in which a message was processed, whatever its signatures."""
        return self._processed.get(message_hash)

    # --- blockhashes ----------------------------------------------------------------------------------------------------------

    def last_valid_height(self, blockhash: Hash, block: Block) -> int | None:
        """Up to which block height a blockhash is accepted; None when it is unknown or too old at `block`."""
        height = self._heights.get(blockhash)
        if height is None or not height <= block.height <= height + MAX_AGE_BLOCKS:
            return None
        return height + MAX_AGE_BLOCKS


def least_price(block: Block, accounts: Iterable[Pubkey]) -> int:
    """What getRecentPrioritizationFees tells of a block: the most of what each account's cheapest writer paid.

    A node also counts the cheapest transaction of the whole block; on mainnet there is always one that pays nothing.
    """
    return max((block.least_prices.get(account, 0) for account in accounts), default=0)

"""The cluster: slots, commitments, forks that are truly undone, expiry, fees, order and the life of transactions."""

import base64
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.account import Account
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import MessageV0, MessageV1
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import AdvanceNonceAccountParams as AdvanceParams
from solders.system_program import (
    CreateAccountParams,
    InitializeNonceAccountParams,
    advance_nonce_account,
    create_account,
    initialize_nonce_account,
)
from solders.transaction import VersionedTransaction

from executor.localnet import ledger
from executor.localnet.cluster import FIRST_HEIGHT, FIRST_SLOT, Cluster, ClusterSettings, Commitment
from executor.localnet.mempool import MAX_QUEUED, Handling
from executor.localnet.tokens import (
    SYSTEM_PROGRAM,
    USDC,
    associated_address,
    close_account,
    create_associated,
    transfer_checked,
)
from executor.localnet.transactions import COMPUTE_BUDGET_PROGRAM, TransactionInvalid
from executor.units import LAMPORTS_PER_SIGNATURE, priority_fee
from tests.localnet.cluster_world import (
    ALICE,
    BOB,
    NOW_NS,
    START_LAMPORTS,
    STEADY,
    balance,
    budget,
    fresh,
    land,
    lookup_table,
    new_cluster,
    signed,
    signed_legacy,
    transfer,
    with_usdc,
)

FEE = LAMPORTS_PER_SIGNATURE
RENT = 890_880
"""Of an account without data."""


def ticks(cluster: Cluster, count: int) -> None:
    """Let slots pass."""
    for _ in range(count):
        cluster.tick()


def commitment_of(cluster: Cluster, transaction: VersionedTransaction) -> str | None:
    """Where a transaction stands."""
    status = cluster.status(transaction.signatures[0])
    return None if status is None else str(status.commitment)


def error_of(cluster: Cluster, transaction: VersionedTransaction) -> Any:
    """The error of a transaction that landed, as JSON."""
    landed = cluster.transaction(transaction.signatures[0])
    assert landed is not None
    return None if landed.execution.error is None else landed.execution.error.json


# --- time and determinism -----------------------------------------------------------------------------------------------------


def history(seed: int) -> list[object]:
    """What an observer sees of a cluster with skipped slots, forks and traffic."""
    cluster = new_cluster(ClusterSettings(skip_rate=0.2, fork_rate=0.1), seed=seed)
    seen: list[object] = []
    for number in range(80):
        cluster.submit(signed(cluster, transfer(1_000 + number), commitment="confirmed"), Handling(max_retries=None))
        cluster.tick()
        seen.append((cluster.slot("processed"), cluster.latest_blockhash("processed"), balance(cluster, BOB)))
    return [*seen, cluster.counts, cluster.transaction_count]


def test_equal_seeds_make_equal_histories() -> None:
    """Two clusters with one seed and the same calls agree in every slot, hash, balance and count; another seed differs."""
    assert history(3) == history(3)
    assert history(3) != history(4)


def test_what_was_signed_for_one_run_is_dead_in_another() -> None:
    """Two runs of one seed that start at different times have different hashes: no transaction lands in both."""
    first, second = Cluster(seed=7, unix_ns=lambda: NOW_NS), Cluster(seed=7, unix_ns=lambda: NOW_NS + 1)

    assert first.genesis_hash != second.genesis_hash
    assert first.latest_blockhash("processed") != second.latest_blockhash("processed")


def test_skipped_slots_part_height_from_slot() -> None:
    """A skipped slot makes no block: slots have gaps, heights have none, and the hash chain goes on."""
    cluster = new_cluster(ClusterSettings(skip_rate=0.3))
    heights: list[int] = []
    for _ in range(100):
        cluster.tick()
        heights.append(cluster.block_height("processed"))

    skipped = cluster.counts.skipped_slots
    assert 10 < skipped < 60
    assert cluster.clock_slot == FIRST_SLOT + 101
    assert cluster.block_height("processed") == FIRST_HEIGHT + 101 - skipped
    assert all(later - earlier in (0, 1) for earlier, later in itertools.pairwise(heights))


def test_height_is_far_from_slot() -> None:
    """As on mainnet, a program that takes one for the other is off by millions."""
    cluster = new_cluster()

    assert cluster.slot("processed") - cluster.block_height("processed") > 1_000_000


@pytest.mark.parametrize(
    "wrong",
    [
        {"confirmed_after_slots": 3, "finalized_after_slots": 2},
        {"finalized_after_slots": 151},
        {"skip_rate": 1.0},
        {"fork_rate": -0.1},
        {"fork_requeue_rate": 1.1},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    """A cluster that could never confirm, or would skip every slot, cannot be made."""
    with pytest.raises(ValueError, match=r"slots|rates"):
        ClusterSettings(**wrong)


# --- commitments --------------------------------------------------------------------------------------------------------------


def test_each_commitment_reads_its_own_state() -> None:
    """What landed is seen at processed at once, at confirmed two slots later, at finalized thirty-two slots later."""
    cluster = new_cluster()
    ticks(cluster, 40)
    land(cluster, transfer(1_000))

    seen = {level: balance(cluster, BOB, level) - START_LAMPORTS for level in Commitment}
    assert seen == {"processed": 1_000, "confirmed": 0, "finalized": 0}

    ticks(cluster, 2)
    seen = {level: balance(cluster, BOB, level) - START_LAMPORTS for level in Commitment}
    assert seen == {"processed": 1_000, "confirmed": 1_000, "finalized": 0}

    ticks(cluster, 30)
    assert balance(cluster, BOB, "finalized") - START_LAMPORTS == 1_000


def test_distances_are_settings() -> None:
    """How far confirmed and finalized lie behind is configurable."""
    cluster = new_cluster(ClusterSettings(skip_rate=0.0, confirmed_after_slots=1, finalized_after_slots=4))
    ticks(cluster, 10)

    assert cluster.slot("processed") - cluster.slot("confirmed") == 1
    assert cluster.slot("processed") - cluster.slot("finalized") == 4


def test_a_status_climbs_and_counts_blocks() -> None:
    """None before it lands, then processed, confirmed, finalized, with the blocks on top counted until it is final."""
    cluster = new_cluster()
    transaction = signed(cluster, transfer(5))
    signature = transaction.signatures[0]
    cluster.submit(transaction)
    assert cluster.status(signature) is None

    seen = []
    for _ in range(33):
        cluster.tick()
        status = cluster.status(signature)
        assert status is not None
        seen.append((str(status.commitment), status.confirmations))

    assert seen[0] == ("processed", 0)
    assert seen[1] == ("processed", 1)
    assert seen[2] == ("confirmed", 2)
    assert seen[31] == ("confirmed", 31)
    assert seen[32] == ("finalized", None)


def test_accounts_of_a_program_are_listed_as_they_stood() -> None:
    """An account that was closed since is still among those of an older block, and a new one is not."""
    cluster = new_cluster()
    with_usdc(cluster, amount=0)
    ticks(cluster, 40)
    mine, new = associated_address(ALICE.pubkey(), USDC), associated_address(fresh(1), USDC)
    close = close_account(token=USDC, account=mine, destination=ALICE.pubkey(), owner=ALICE.pubkey())
    land(cluster, close, create_associated(payer=ALICE.pubkey(), owner=fresh(1), token=USDC))

    now = {address for address, _ in cluster.owned_by([USDC.program], cluster.block("processed"))}
    before = {address for address, _ in cluster.owned_by([USDC.program], cluster.block("confirmed"))}
    assert mine in before - now
    assert new in now - before


# --- forks --------------------------------------------------------------------------------------------------------------------


def test_a_dropped_block_is_undone_and_its_bytes_land_again() -> None:
    """Transfers, created and closed accounts, token balances, fees and the signature vanish; the same bytes land once more."""
    cluster = new_cluster()
    with_usdc(cluster, amount=1_000)
    mine, theirs, new = (associated_address(owner, USDC) for owner in (ALICE.pubkey(), BOB.pubkey(), fresh(1)))
    addresses = [ALICE.pubkey(), BOB.pubkey(), mine, theirs, new]
    before = [cluster.read(address, "processed") for address in addresses]
    blockhash, height = cluster.latest_blockhash("processed"), cluster.block_height("processed")
    transaction = land(
        cluster,
        transfer(7),
        transfer_checked(token=USDC, source=mine, destination=theirs, owner=ALICE.pubkey(), amount=1_000),
        close_account(token=USDC, account=mine, destination=BOB.pubkey(), owner=ALICE.pubkey()),
        create_associated(payer=ALICE.pubkey(), owner=fresh(1), token=USDC),
    )
    after = [cluster.read(address, "processed") for address in addresses]
    assert error_of(cluster, transaction) is None
    assert after[2] is None  # the closed one
    assert after[4] is not None  # the created one

    assert cluster.drop_blocks(1) == 1
    assert [cluster.read(address, "processed") for address in addresses] == before
    assert commitment_of(cluster, transaction) is None
    assert cluster.transaction(transaction.signatures[0]) is None
    assert (cluster.latest_blockhash("processed"), cluster.block_height("processed")) == (blockhash, height)

    cluster.tick()
    assert commitment_of(cluster, transaction) is None  # forgotten: nobody sends it by itself
    cluster.submit(transaction)
    cluster.tick()
    assert commitment_of(cluster, transaction) == "processed"
    assert [cluster.read(address, "processed") for address in addresses] == after

    cluster.submit(transaction)
    cluster.tick()
    assert cluster.read(ALICE.pubkey(), "processed") == after[0]  # and not a third time


def test_a_replacing_block_has_another_hash() -> None:
    """The block that stands in place of a dropped one has the same height, another slot and another hash."""
    cluster = new_cluster()
    cluster.tick()
    dropped, height = cluster.latest_blockhash("processed")[0], cluster.block_height("processed")
    cluster.drop_blocks(1)
    cluster.tick()

    assert cluster.block_height("processed") == height
    assert cluster.latest_blockhash("processed")[0] != dropped


def test_a_blockhash_of_a_dropped_block_is_dead() -> None:
    """A transaction that was signed over a hash whose block was dropped never lands."""
    cluster = new_cluster()
    cluster.tick()
    transaction = signed(cluster, transfer(5))
    cluster.drop_blocks(1)
    cluster.submit(transaction)
    ticks(cluster, 3)

    assert commitment_of(cluster, transaction) is None
    assert balance(cluster, ALICE) == START_LAMPORTS


def test_confirmed_blocks_are_never_dropped() -> None:
    """However many blocks are ordered away, only the unconfirmed ones go."""
    cluster = new_cluster()
    ticks(cluster, 10)
    confirmed = cluster.slot("confirmed")

    assert cluster.drop_blocks(100) == 2
    assert cluster.slot("processed") == confirmed == cluster.slot("confirmed")


def test_dropped_transactions_may_still_be_queued() -> None:
    """With requeue, the transactions of a dropped block land in the next one by themselves."""
    cluster = new_cluster()
    transaction = land(cluster, transfer(5))
    cluster.drop_blocks(1, requeue=True)
    assert commitment_of(cluster, transaction) is None
    cluster.tick()

    assert commitment_of(cluster, transaction) == "processed"
    assert balance(cluster, BOB) == START_LAMPORTS + 5


@pytest.mark.parametrize("requeue", [False, True])
def test_the_block_of_a_marked_transaction_is_dropped(requeue: bool) -> None:
    """Seen as processed for one slot, then gone with its fork; with requeue it is back in the next block."""
    cluster = new_cluster()
    transaction = signed(cluster, transfer(5))
    cluster.submit(transaction, Handling(drop_block=True, requeue=requeue))
    cluster.tick()
    assert commitment_of(cluster, transaction) == "processed"
    cluster.tick()

    assert commitment_of(cluster, transaction) == ("processed" if requeue else None)
    assert cluster.counts.dropped_blocks == 1
    assert cluster.counts.dropped_transactions == 1


def test_a_cluster_forks_by_itself() -> None:
    """With a fork rate, processed blocks vanish now and then, and the chain goes on."""
    cluster = new_cluster(ClusterSettings(skip_rate=0.0, fork_rate=0.3))
    ticks(cluster, 60)

    assert 5 < cluster.counts.dropped_blocks < 40
    assert cluster.block_height("processed") == FIRST_HEIGHT + 61 - cluster.counts.dropped_blocks


def test_decrees_belong_to_their_block() -> None:
    """An account set from outside is confirmed with the newest block, or dropped with it."""
    cluster = new_cluster()
    cluster.tick()
    cluster.set_account(fresh(1), Account(5 * RENT, b"", SYSTEM_PROGRAM))
    assert cluster.read(fresh(1), "confirmed") is None

    cluster.drop_blocks(1)
    assert cluster.read(fresh(1), "processed") is None

    cluster.set_account(fresh(1), Account(5 * RENT, b"", SYSTEM_PROGRAM))
    cluster.set_account(fresh(1), None)
    ticks(cluster, 3)
    assert cluster.read(fresh(1), "confirmed") is None


def test_a_node_sends_again_what_a_fork_dropped() -> None:
    """Without a limit of retries the node sends again until it is final; with none it never does."""
    patient, once = new_cluster(), new_cluster()
    for cluster, retries in ((patient, None), (once, 0)):
        transaction = signed(cluster, transfer(5))
        cluster.submit(transaction, Handling(max_retries=retries))
        cluster.tick()
        cluster.drop_blocks(1)
        ticks(cluster, 6)

    assert balance(patient, BOB) == START_LAMPORTS + 5
    assert balance(once, BOB) == START_LAMPORTS


def test_retries_are_counted() -> None:
    """A node that may retry once does so once."""
    cluster = new_cluster()
    transaction = signed(cluster, transfer(5))
    cluster.submit(transaction, Handling(max_retries=1))
    for _ in range(2):
        while commitment_of(cluster, transaction) is None:
            cluster.tick()
        cluster.drop_blocks(1)
    ticks(cluster, 20)

    assert commitment_of(cluster, transaction) is None


def test_resends_end_when_final_or_expired() -> None:
    """What is final or has expired is not kept: the queue of resends does not grow for ever."""
    cluster = new_cluster()
    final = signed(cluster, transfer(5))
    expired = signed(cluster, transfer(6), blockhash=Hash(b"\7" * 32))
    for transaction in (final, expired):
        cluster.submit(transaction, Handling(max_retries=None))
    ticks(cluster, 310)

    assert commitment_of(cluster, final) == "finalized"
    assert commitment_of(cluster, expired) is None
    assert not cluster._mempool._resends


# --- expiry -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("late_blocks", "lands"), [(0, True), (1, False)])
def test_expiry_is_by_block_height(late_blocks: int, lands: bool) -> None:
    """A transaction lands while the height of the block before is at most the last valid height, and never after it."""
    cluster = new_cluster(ClusterSettings(skip_rate=0.4))
    blockhash, last_valid = cluster.latest_blockhash("processed")
    first_slot = cluster.clock_slot
    transaction = signed(cluster, transfer(5), blockhash=blockhash)
    while cluster.block_height("processed") < last_valid + late_blocks:
        cluster.tick()
    cluster.submit(transaction)
    ticks(cluster, 10)

    assert (commitment_of(cluster, transaction) is not None) is lands
    assert cluster.clock_slot - first_slot > 200  # slots: more than the blocks that count


def test_a_blockhash_lives_for_150_blocks() -> None:
    """At its own block and 150 blocks on a hash is accepted; before its block it is unknown, after them too old."""
    cluster = new_cluster()
    old = cluster.block("processed")
    cluster.tick()
    block = cluster.block("processed")
    assert cluster.last_valid_height(block.blockhash, old) is None
    assert cluster.last_valid_height(block.blockhash, block) == block.height + 150

    ticks(cluster, 150)
    assert cluster.last_valid_height(block.blockhash, cluster.block("processed")) == block.height + 150
    cluster.tick()
    assert cluster.last_valid_height(block.blockhash, cluster.block("processed")) is None
    assert cluster.last_valid_height(block.blockhash, block) == block.height + 150  # to a node that is late it still lives


def test_a_durable_nonce_outlives_blockhashes() -> None:
    """A transaction over a nonce lands after hundreds of blocks, once; the nonce is advanced by it."""
    cluster = new_cluster()
    nonce = Keypair.from_seed(b"\3" * 32)
    params = CreateAccountParams(
        from_pubkey=ALICE.pubkey(), to_pubkey=nonce.pubkey(), lamports=10 * RENT, space=80, owner=SYSTEM_PROGRAM
    )
    create = [
        create_account(params),
        initialize_nonce_account(InitializeNonceAccountParams(nonce_pubkey=nonce.pubkey(), authority=ALICE.pubkey())),
    ]
    message = MessageV0.try_compile(ALICE.pubkey(), create, [], cluster.latest_blockhash("processed")[0])
    cluster.submit(VersionedTransaction(message, [ALICE, nonce]))
    cluster.tick()
    advance = advance_nonce_account(AdvanceParams(nonce_pubkey=nonce.pubkey(), authorized_pubkey=ALICE.pubkey()))
    over_nonce = signed(cluster, advance, transfer(5), blockhash=stored_nonce(cluster, nonce.pubkey()))
    again = signed(cluster, advance, transfer(6), blockhash=stored_nonce(cluster, nonce.pubkey()))
    ticks(cluster, 310)

    tx = cluster.resolve(over_nonce, cluster.block("processed"))
    assert cluster.simulate(tx, cluster.block("processed")).error is None
    for transaction in (over_nonce, again):
        cluster.submit(transaction)
        cluster.tick()
    assert error_of(cluster, over_nonce) is None
    assert commitment_of(cluster, again) is None
    assert balance(cluster, BOB) == START_LAMPORTS + 5


def stored_nonce(cluster: Cluster, address: Pubkey) -> Hash:
    """The value of a nonce account."""
    account = cluster.read(address, "processed")
    assert account is not None
    return Hash(bytes(account.data)[40:72])


# --- what lands and what does not ---------------------------------------------------------------------------------------------


def test_the_same_bytes_land_once() -> None:
    """Sent many times, at once and later, a transaction is executed once and paid once."""
    cluster = new_cluster()
    transaction = signed(cluster, transfer(5))
    for _ in range(3):
        for _ in range(3):
            cluster.submit(transaction)
        cluster.tick()

    assert balance(cluster, BOB) == START_LAMPORTS + 5
    assert balance(cluster, ALICE) == START_LAMPORTS - 5 - FEE
    assert cluster.transaction_count == 1


def test_late_submissions_wait() -> None:
    """A delayed transaction lands that many slots later."""
    cluster = new_cluster()
    transaction = signed(cluster, transfer(5))
    cluster.submit(transaction, Handling(delay_slots=3))
    ticks(cluster, 2)
    assert commitment_of(cluster, transaction) is None
    cluster.tick()

    assert commitment_of(cluster, transaction) == "processed"


def test_a_skipped_slot_only_delays() -> None:
    """What was sent before a slot without a block is in the next block."""
    cluster = new_cluster(ClusterSettings(skip_rate=0.6))
    transaction = signed(cluster, transfer(5))
    cluster.submit(transaction)
    height = cluster.block_height("processed")
    while cluster.block_height("processed") == height:
        assert commitment_of(cluster, transaction) is None
        cluster.tick()

    assert commitment_of(cluster, transaction) == "processed"


def test_who_pays_more_comes_first() -> None:
    """Within a block, price per compute unit decides the order, and arrival among equals."""
    cluster = new_cluster()
    sent = {price: signed(cluster, *budget(price=price), transfer(5 + price)) for price in (5, 5_000, 50)}
    equal = signed(cluster, *budget(price=50), transfer(1))
    for transaction in (*sent.values(), equal):
        cluster.submit(transaction)
    cluster.tick()

    order = cluster.block("processed").signatures
    assert order == [sent[5_000].signatures[0], sent[50].signatures[0], equal.signatures[0], sent[5].signatures[0]]


def test_a_full_block_leaves_the_rest_for_the_next() -> None:
    """A block takes compute units up to its limit; the cheapest wait."""
    cluster = new_cluster(ClusterSettings(skip_rate=0.0, block_unit_limit=25_000))
    first, second, third = (signed(cluster, *budget(price=price), transfer(5)) for price in (30, 20, 10))
    for transaction in (third, second, first):
        cluster.submit(transaction)
    cluster.tick()
    assert [commitment_of(cluster, t) for t in (first, second, third)] == ["processed", "processed", None]
    cluster.tick()

    assert commitment_of(cluster, third) == "processed"


def test_a_full_queue_drops_what_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The leaders' queue is bounded: what comes beyond is lost without a word."""
    monkeypatch.setattr("executor.localnet.mempool.MAX_QUEUED", 1)
    cluster = new_cluster()
    kept, lost = signed(cluster, transfer(5)), signed(cluster, transfer(6))
    for transaction in (kept, lost):
        cluster.submit(transaction)
    assert cluster.queued_count == 1
    cluster.tick()

    assert [commitment_of(cluster, t) for t in (kept, lost)] == ["processed", None]
    assert MAX_QUEUED == 10_000


def test_a_failed_transaction_pays_and_is_remembered() -> None:
    """It lands with its error, its logs and its fee, and changes nothing else."""
    cluster = new_cluster()
    transaction = land(cluster, *budget(limit=100_000, price=10_000), transfer(10 * START_LAMPORTS))

    landed = cluster.transaction(transaction.signatures[0])
    assert landed is not None
    assert error_of(cluster, transaction) == {"InstructionError": [2, {"Custom": 1}]}
    assert landed.execution.fee_lamports == FEE + 1_000
    assert landed.execution.before.lamports[0] - landed.execution.after.lamports[0] == FEE + 1_000
    assert "insufficient lamports" in landed.execution.logs[-2]
    assert balance(cluster, BOB) == START_LAMPORTS


def test_who_cannot_pay_leaves_no_trace() -> None:
    """A payer without lamports, or with too few for the fee, never lands."""
    cluster = new_cluster()
    poor, short = Keypair.from_seed(b"\4" * 32), Keypair.from_seed(b"\5" * 32)
    cluster.set_account(short.pubkey(), Account(FEE - 1, b"", SYSTEM_PROGRAM))
    sent = [land(cluster, transfer(1, source=wallet), signer=wallet) for wallet in (poor, short)]

    assert [commitment_of(cluster, transaction) for transaction in sent] == [None, None]
    assert balance(cluster, short) == FEE - 1


def test_an_unknown_program_costs_the_fee_only() -> None:
    """A transaction whose program does not exist lands with that error: it pays and nothing ran."""
    cluster = new_cluster()
    transaction = land(cluster, *budget(limit=1_000, price=1_000_000), Instruction(fresh(1), b"", []))

    landed = cluster.transaction(transaction.signatures[0])
    assert landed is not None
    assert error_of(cluster, transaction) == "ProgramAccountNotFound"
    assert not landed.execution.executed
    assert landed.execution.after.lamports[0] == balance(cluster, ALICE) == START_LAMPORTS - FEE - 1_000


def test_an_unknown_program_and_no_money_leaves_no_trace() -> None:
    """A payer that could not even pay for the failure is dropped."""
    cluster = new_cluster()
    poor = Keypair.from_seed(b"\4" * 32)
    transaction = land(cluster, Instruction(fresh(1), b"", []), signer=poor)

    assert commitment_of(cluster, transaction) is None


def data_limit(size: int) -> Instruction:
    """SetLoadedAccountsDataSizeLimit."""
    return Instruction(COMPUTE_BUDGET_PROGRAM, b"\4" + size.to_bytes(4, "little"), [])


def test_the_loaded_data_limit_holds() -> None:
    """More account data than the transaction allows itself: it pays, and nothing runs; with enough it runs."""
    cluster = new_cluster()
    tight, wide = (land(cluster, data_limit(size), transfer(5)) for size in (200, 300))

    assert error_of(cluster, tight) == "MaxLoadedAccountsDataSizeExceeded"
    assert error_of(cluster, wide) is None
    assert balance(cluster, BOB) == START_LAMPORTS + 5
    tx = cluster.resolve(signed(cluster, data_limit(200), transfer(5)), cluster.block("processed"))
    simulated = cluster.simulate(tx, cluster.block("processed"))
    assert simulated.error is not None
    assert simulated.error.json == "MaxLoadedAccountsDataSizeExceeded"
    assert simulated.before.lamports[0] - simulated.after.lamports[0] == FEE


def test_who_cannot_pay_is_refused_whatever_else_is_wrong() -> None:
    """A payer without lamports is told so even when too much data would be loaded, and never lands."""
    cluster = new_cluster()
    poor = Keypair.from_seed(b"\4" * 32)
    transaction = signed(cluster, data_limit(1), transfer(1, source=poor), signer=poor)
    simulated = cluster.simulate(cluster.resolve(transaction, cluster.block("processed")), cluster.block("processed"))
    cluster.submit(transaction)
    cluster.tick()

    assert simulated.error is not None
    assert (simulated.error.json, simulated.landed) == ("AccountNotFound", False)
    assert commitment_of(cluster, transaction) is None


def test_newer_message_versions_are_refused() -> None:
    """A v1 message is one that this cluster does not know."""
    cluster = new_cluster()
    message = MessageV1.try_compile(ALICE.pubkey(), [transfer(5)], cluster.latest_blockhash("processed")[0])

    with pytest.raises(TransactionInvalid) as raised:
        cluster.resolve(VersionedTransaction(message, [ALICE]), cluster.block("processed"))
    assert raised.value.error.json == "UnsupportedVersion"


def test_rent_is_demanded() -> None:
    """A transfer that leaves a new account below the rent exemption fails and pays; at the exemption it succeeds."""
    cluster = new_cluster()
    assert cluster.rent_exemption(0) == RENT
    below, enough = (land(cluster, transfer(lamports, to=fresh(1))) for lamports in (RENT - 1, RENT))

    assert error_of(cluster, below) == {"InsufficientFundsForRent": {"account_index": 1}}
    assert error_of(cluster, enough) is None


def test_bad_signatures_and_oversized_packets_never_land() -> None:
    """The leaders throw away what is signed by nobody, what has too few signatures and what exceeds 1232 bytes."""
    cluster = new_cluster()
    good = signed(cluster, transfer(5))
    forged = VersionedTransaction.populate(good.message, [Signature.default()])
    unsigned = VersionedTransaction.populate(good.message, [])
    large = signed(cluster, *(transfer(5) for _ in range(70)))
    assert len(bytes(large)) > 1_232
    for transaction in (forged, unsigned, large):
        cluster.submit(transaction)
    cluster.tick()

    assert cluster.transaction_count == 0


@settings(max_examples=30, deadline=None)
@given(limit=st.integers(1_000, 1_600_000), price=st.integers(0, 10**7))
def test_fees_are_the_networks(limit: int, price: int) -> None:
    """5000 a signature and ceil(price * limit / 1e6) with the limit clamped to 1.4M, charged to the lamport."""
    tx = SHARED.resolve(signed(SHARED, *budget(limit=limit, price=price), transfer(5)), SHARED.block("processed"))
    execution = SHARED.simulate(tx, SHARED.block("processed"))

    assert SHARED.fee(tx) == execution.fee_lamports == FEE + priority_fee(price, limit)
    assert execution.before.lamports[0] - execution.after.lamports[0] == execution.fee_lamports + 5


SHARED = new_cluster()
"""Never changed: only simulated on."""


def test_legacy_transactions_land() -> None:
    """A transaction without a version works like a v0 one."""
    cluster = new_cluster()
    transaction = signed_legacy(cluster, transfer(5))
    cluster.submit(transaction)
    cluster.tick()

    assert error_of(cluster, transaction) is None


def test_metadata_tells_token_balances_and_inner_instructions() -> None:
    """Rows before and after for each token account, in the order of the keys, and the calls that a program made."""
    cluster = new_cluster()
    with_usdc(cluster, amount=1_000)
    mine, theirs = (associated_address(wallet.pubkey(), USDC) for wallet in (ALICE, BOB))
    transaction = land(
        cluster,
        create_associated(payer=ALICE.pubkey(), owner=fresh(1), token=USDC),
        transfer_checked(token=USDC, source=mine, destination=theirs, owner=ALICE.pubkey(), amount=300),
    )

    landed = cluster.transaction(transaction.signatures[0])
    assert landed is not None
    keys = landed.resolved.keys
    amounts = [
        {keys[row.account_index]: (row.amount, row.decimals, row.owner) for row in balances.tokens}
        for balances in (landed.execution.before, landed.execution.after)
    ]
    created = associated_address(fresh(1), USDC)
    assert amounts[0] == {mine: (1_000, 6, ALICE.pubkey()), theirs: (0, 6, BOB.pubkey())}
    assert amounts[1] == {
        mine: (700, 6, ALICE.pubkey()),
        theirs: (300, 6, BOB.pubkey()),
        created: (0, 6, fresh(1)),
    }
    assert [len(calls) for calls in landed.execution.inner] == [4, 0]
    assert landed.execution.return_data is None


# --- lookup tables ------------------------------------------------------------------------------------------------------------

TABLE = fresh(9)


def through_table(cluster: Cluster, *addresses: Pubkey) -> VersionedTransaction:
    """A transfer to an address that a lookup table holds."""
    table = AddressLookupTableAccount(TABLE, list(addresses or (BOB.pubkey(),)))
    return signed(cluster, transfer(5), tables=[table])


def test_lookup_tables_are_resolved_and_rolled_back() -> None:
    """An account that is written through a table is changed, told in the metadata, and put back when the block is dropped."""
    cluster = new_cluster()
    cluster.set_account(TABLE, lookup_table([fresh(1), BOB.pubkey()]))
    cluster.tick()
    transaction = through_table(cluster, fresh(1), BOB.pubkey())
    cluster.submit(transaction)
    cluster.tick()

    landed = cluster.transaction(transaction.signatures[0])
    assert landed is not None
    assert landed.resolved.loaded_writable == (BOB.pubkey(),)
    assert balance(cluster, BOB) == START_LAMPORTS + 5
    cluster.drop_blocks(1)
    assert balance(cluster, BOB) == START_LAMPORTS


@pytest.mark.parametrize(
    ("table", "error"),
    [
        (None, "AddressLookupTableNotFound"),
        (Account(RENT, b"", SYSTEM_PROGRAM), "InvalidAddressLookupTableOwner"),
        (lookup_table([]), "InvalidAddressLookupTableIndex"),
        (lookup_table([BOB.pubkey()], extended_slot=FIRST_SLOT + 10), "InvalidAddressLookupTableIndex"),
        (lookup_table([BOB.pubkey()], deactivated_slot=0), "AddressLookupTableNotFound"),
    ],
)
def test_unusable_lookup_tables_are_refused(table: Account | None, error: str) -> None:
    """A missing, foreign, too short, just extended or long deactivated table is refused, and the transaction never lands."""
    cluster = new_cluster()
    if table is not None:
        cluster.set_account(TABLE, table)
    transaction = through_table(cluster)
    with pytest.raises(TransactionInvalid) as raised:
        cluster.resolve(transaction, cluster.block("processed"))
    cluster.submit(transaction)
    cluster.tick()

    assert raised.value.error.json == error
    assert commitment_of(cluster, transaction) is None


def test_a_broken_table_is_refused() -> None:
    """An account of the table program that holds no table is told apart."""
    cluster = new_cluster()
    broken = lookup_table([])
    cluster.set_account(TABLE, Account(broken.lamports, bytes(56), broken.owner))

    with pytest.raises(TransactionInvalid) as raised:
        cluster.resolve(through_table(cluster), cluster.block("processed"))
    assert raised.value.error.json == "InvalidAddressLookupTableData"


def test_a_leader_reads_tables_as_they_stand_then() -> None:
    """A table that vanishes between the send and the block makes the transaction vanish too."""
    cluster = new_cluster()
    cluster.set_account(TABLE, lookup_table([BOB.pubkey()]))
    transaction = through_table(cluster)
    cluster.submit(transaction)
    cluster.set_account(TABLE, None)
    cluster.tick()

    assert commitment_of(cluster, transaction) is None


# --- compute budget -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instructions", "error"),
    [
        ([*budget(), *budget()], {"DuplicateInstruction": 2}),
        ([Instruction(COMPUTE_BUDGET_PROGRAM, b"\x09\0\0\0\0", [])], {"InstructionError": [0, "InvalidInstructionData"]}),
        ([Instruction(COMPUTE_BUDGET_PROGRAM, b"\2\0", [])], {"InstructionError": [0, "InvalidInstructionData"]}),
        ([Instruction(COMPUTE_BUDGET_PROGRAM, b"", [])], {"InstructionError": [0, "InvalidInstructionData"]}),
        ([data_limit(0)], "InvalidLoadedAccountsDataSizeLimit"),
    ],
)
def test_wrong_compute_budgets_are_refused(instructions: list[Instruction], error: Any) -> None:
    """Twice the same, unknown, cut short or empty: refused before anything runs."""
    cluster = new_cluster()

    with pytest.raises(TransactionInvalid) as raised:
        cluster.resolve(signed(cluster, *instructions), cluster.block("processed"))
    assert raised.value.error.json == error


def test_budgets_have_the_networks_defaults() -> None:
    """200 000 units for each other instruction, at most 1.4 M; no price; 64 MiB of data."""
    cluster = new_cluster()
    tx = cluster.resolve(signed(cluster, *(transfer(5 + i) for i in range(9))), cluster.block("processed"))

    assert (tx.budget.unit_limit, tx.budget.unit_price_micro_lamports) == (1_400_000, 0)
    assert tx.budget.loaded_bytes_limit == 64 * 2**20


# --- simulation ---------------------------------------------------------------------------------------------------------------


def test_a_simulation_changes_nothing() -> None:
    """It tells what would happen, and the state is as before."""
    cluster = new_cluster()
    tx = cluster.resolve(signed(cluster, transfer(5)), cluster.block("processed"))
    execution = cluster.simulate(tx, cluster.block("processed"))

    assert execution.error is None
    written = execution.written[BOB.pubkey()]
    assert written is not None
    assert written.lamports == execution.after.lamports[1] == START_LAMPORTS + 5
    assert balance(cluster, BOB) == START_LAMPORTS


def test_a_simulation_sees_the_block_it_is_made_on() -> None:
    """What landed since is not there yet for a simulation at confirmed; the newest state is untouched by it."""
    cluster = new_cluster()
    rich = fresh(1)
    ticks(cluster, 3)
    land(cluster, transfer(START_LAMPORTS // 2))
    cluster.set_account(rich, Account(5 * RENT, b"", SYSTEM_PROGRAM))
    spend = signed(cluster, transfer(START_LAMPORTS * 3 // 4), blockhash=cluster.latest_blockhash("confirmed")[0])
    new, old = (cluster.block(level) for level in ("processed", "confirmed"))

    at_old = cluster.simulate(cluster.resolve(spend, old), old)
    at_new = cluster.simulate(cluster.resolve(spend, new), new)
    assert at_old.error is None
    assert at_old.before.lamports[0] == START_LAMPORTS
    assert at_new.error is not None
    assert at_new.before.lamports[0] == balance(cluster, ALICE) == START_LAMPORTS // 2 - FEE
    to_rich = signed(cluster, transfer(1, to=rich), blockhash=cluster.latest_blockhash("confirmed")[0])
    assert cluster.simulate(cluster.resolve(to_rich, old), old).error is not None  # below rent: it does not exist there
    assert cluster.read(rich, "processed") is not None


@pytest.mark.parametrize(
    ("instruction", "error", "landed"),
    [
        (transfer(10 * START_LAMPORTS), {"InstructionError": [0, {"Custom": 1}]}, True),
        (Instruction(fresh(1), b"", []), "ProgramAccountNotFound", True),
        (transfer(5, to=fresh(2)), {"InsufficientFundsForRent": {"account_index": 1}}, True),
    ],
)
def test_a_simulated_failure_tells_what_it_would_cost(instruction: Instruction, error: Any, landed: bool) -> None:
    """The payer is shown without the fee, everything else as before."""
    block = SHARED.block("processed")
    execution = SHARED.simulate(SHARED.resolve(signed(SHARED, instruction), block), block)

    assert execution.error is not None
    assert (execution.error.json, execution.landed) == (error, landed)
    assert execution.after.lamports == (START_LAMPORTS - FEE, *execution.before.lamports[1:])


def test_a_simulation_refuses_dead_hashes_and_what_has_landed() -> None:
    """Neither runs: no logs, no fee; what has landed counts as processed only from its block on."""
    cluster = new_cluster()
    unknown = signed(cluster, transfer(5), blockhash=Hash(b"\7" * 32))
    landed = signed(cluster, transfer(6), commitment="finalized")
    cluster.submit(landed)
    cluster.tick()

    def outcome(transaction: VersionedTransaction, commitment: str) -> Any:
        block = cluster.block(commitment)
        execution = cluster.simulate(cluster.resolve(transaction, block), block)
        assert execution.before.lamports == execution.after.lamports or execution.error is None
        return execution.error.json if execution.error is not None else None

    assert outcome(unknown, "processed") == "BlockhashNotFound"
    assert outcome(landed, "processed") == "AlreadyProcessed"
    assert outcome(landed, "confirmed") is None


# --- fees, faucet, history ----------------------------------------------------------------------------------------------------


def test_recent_fees_are_what_landed_on_the_accounts() -> None:
    """Per block the least price on each account, of several accounts the most; nothing on an account that nobody wrote."""
    cluster = new_cluster()
    for price, to in ((7_000, BOB.pubkey()), (3_000, BOB.pubkey()), (9_000, ALICE.pubkey())):
        cluster.submit(signed(cluster, *budget(price=price), transfer(RENT + price, to=to)))
    cluster.tick()
    ticks(cluster, 2)

    def newest(*accounts: Pubkey) -> int:
        return max(fee.micro_lamports for fee in cluster.recent_fees(accounts))

    assert newest(BOB.pubkey()) == 3_000
    assert newest(fresh(5)) == newest() == 0
    assert newest(fresh(5), BOB.pubkey()) == 3_000
    ticks(cluster, 200)
    assert len(cluster.recent_fees([BOB.pubkey()])) == 150
    assert newest(BOB.pubkey()) == 0


def test_airdrops_are_transactions() -> None:
    """Two equal airdrops in one slot land both, as transactions of the faucet."""
    cluster = new_cluster()
    signatures = {cluster.airdrop(fresh(1), 2 * RENT) for _ in range(2)}
    cluster.tick()

    account = cluster.read(fresh(1), "processed")
    assert account is not None
    assert account.lamports == 4 * RENT
    assert all(cluster.status(signature) is not None for signature in signatures)
    assert len(signatures) == 2


def test_the_history_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest transactions are kept whole, more of them by status, blocks up to twice their number."""
    monkeypatch.setattr(ledger, "KEPT_TRANSACTIONS", 2)
    monkeypatch.setattr(ledger, "KEPT_STATUSES", 3)
    monkeypatch.setattr(ledger, "KEPT_BLOCKS", 40)
    cluster = new_cluster()
    sent = [land(cluster, transfer(5 + number)) for number in range(4)]

    assert [cluster.transaction(t.signatures[0]) is not None for t in sent] == [False, False, True, True]
    assert [cluster.status(t.signatures[0]) is not None for t in sent] == [False, True, True, True]
    assert cluster.drop_blocks(2) == 2
    ticks(cluster, 200)
    assert len(cluster._ledger._blocks) <= 80
    assert balance(cluster, BOB, "finalized") == START_LAMPORTS + 5 + 6
    assert cluster.block("processed", behind=10_000).slot > FIRST_SLOT  # the oldest that is remembered


def test_old_statuses_are_no_longer_recent() -> None:
    """After three hundred blocks a node finds a status only by searching its history."""
    cluster = new_cluster()
    signature = land(cluster, transfer(5)).signatures[0]
    ticks(cluster, 299)
    recent, old = cluster.status(signature), None
    cluster.tick()
    old = cluster.status(signature)

    assert recent is not None
    assert old is not None
    assert (recent.recent, old.recent) == (True, False)


def test_a_late_asker_sees_the_past() -> None:
    """Slot, height, hash, accounts, statuses and fees are those of so many slots ago."""
    cluster = new_cluster()
    ticks(cluster, 50)
    before = (cluster.slot("confirmed"), cluster.block_height("confirmed"), cluster.latest_blockhash("confirmed"))
    signature = land(cluster, *budget(price=9), transfer(5)).signatures[0]
    ticks(cluster, 19)

    late = {"behind": 20}
    assert (
        cluster.slot("confirmed", **late),
        cluster.block_height("confirmed", **late),
        cluster.latest_blockhash("confirmed", **late),
    ) == before
    assert cluster.status(signature, **late) is None
    assert cluster.status(signature) is not None
    account = cluster.read(BOB.pubkey(), "processed", **late)
    assert account is not None
    assert account.lamports == START_LAMPORTS
    assert max(fee.micro_lamports for fee in cluster.recent_fees([BOB.pubkey()], **late)) == 0


def test_mint_decimals_are_read() -> None:
    """Of a mint its decimals, of anything else 0; a mint that is replaced is read again."""
    cluster = new_cluster()
    assert cluster.decimals(USDC.mint) == 0
    with_usdc(cluster)
    assert cluster.decimals(USDC.mint) == 6
    cluster.set_account(USDC.mint, None)
    assert cluster.decimals(USDC.mint) == 0
    assert cluster.decimals(ALICE.pubkey()) == 0


def test_wire_bytes_are_kept() -> None:
    """The transaction that is told is byte for byte the one that was sent."""
    cluster = new_cluster()
    transaction = land(cluster, transfer(5))

    landed = cluster.transaction(transaction.signatures[0])
    assert landed is not None
    assert base64.b64encode(bytes(landed.resolved.transaction)) == base64.b64encode(bytes(transaction))
    assert landed.block_unix_seconds == NOW_NS // 10**9
    assert STEADY.confirmed_after_slots == 2

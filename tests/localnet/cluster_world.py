"""A cluster with two wallets, for tests: a clock that stands still and transactions that are built in one line."""

import struct
from collections.abc import Sequence

from solders.account import Account
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from executor.localnet.cluster import Cluster, ClusterSettings
from executor.localnet.tokens import SOL, SYSTEM_PROGRAM, USDC, mint_account, rent_exemption, token_account
from executor.localnet.tokens import associated_address as associated_address
from executor.localnet.transactions import LOOKUP_TABLE_PROGRAM

NOW_NS = 1_795_000_000_000_000_000
START_LAMPORTS = 100_000_000_000
ALICE = Keypair.from_seed(b"\1" * 32)
BOB = Keypair.from_seed(b"\2" * 32)
STEADY = ClusterSettings(skip_rate=0.0)
"""Every slot makes a block."""


def new_cluster(settings: ClusterSettings = STEADY, *, seed: int = 7) -> Cluster:
    """A cluster on which Alice and Bob have SOL, one slot old."""
    cluster = Cluster(seed=seed, unix_ns=lambda: NOW_NS, settings=settings)
    for wallet in (ALICE, BOB):
        cluster.set_account(wallet.pubkey(), Account(START_LAMPORTS, b"", SYSTEM_PROGRAM))
    cluster.tick()
    return cluster


def with_usdc(cluster: Cluster, *, amount: int = 1_000_000) -> None:
    """Give Alice USDC and Bob an empty USDC account, one slot before now."""
    cluster.set_account(USDC.mint, mint_account(USDC, supply=amount))
    cluster.set_account(SOL.mint, mint_account(SOL, supply=0))
    for wallet, held in ((ALICE, amount), (BOB, 0)):
        address = associated_address(wallet.pubkey(), USDC)
        cluster.set_account(address, token_account(USDC, owner=wallet.pubkey(), amount=held))
    cluster.tick()


def transfer(lamports: int, *, to: Pubkey | None = None, source: Keypair = ALICE) -> Instruction:
    """A System transfer, from Alice to Bob unless told otherwise."""
    accounts = [AccountMeta(source.pubkey(), True, True), AccountMeta(to or BOB.pubkey(), False, True)]
    return Instruction(SYSTEM_PROGRAM, struct.pack("<IQ", 2, lamports), accounts)


def budget(*, limit: int = 10_000, price: int = 0) -> list[Instruction]:
    """Compute budget instructions."""
    return [set_compute_unit_limit(limit), set_compute_unit_price(price)]


def signed(
    cluster: Cluster,
    *instructions: Instruction,
    signer: Keypair = ALICE,
    commitment: str = "processed",
    blockhash: Hash | None = None,
    tables: Sequence[AddressLookupTableAccount] = (),
) -> VersionedTransaction:
    """A v0 transaction under the newest blockhash."""
    blockhash = blockhash or cluster.latest_blockhash(commitment)[0]
    message = MessageV0.try_compile(signer.pubkey(), list(instructions), list(tables), blockhash)
    return VersionedTransaction(message, [signer])


def signed_legacy(cluster: Cluster, *instructions: Instruction, signer: Keypair = ALICE) -> VersionedTransaction:
    """A legacy transaction under the newest blockhash."""
    blockhash, _ = cluster.latest_blockhash("processed")
    message = Message.new_with_blockhash(list(instructions), signer.pubkey(), blockhash)
    return VersionedTransaction(message, [signer])


def lookup_table(
    addresses: Sequence[Pubkey], *, extended_slot: int = 0, extended_from: int = 0, deactivated_slot: int = 2**64 - 1
) -> Account:
    """A lookup table account."""
    meta = struct.pack("<IQQBB34x", 1, deactivated_slot, extended_slot, extended_from, 0)
    data = meta + b"".join(map(bytes, addresses))
    return Account(rent_exemption(len(data)), data, LOOKUP_TABLE_PROGRAM)


def balance(cluster: Cluster, wallet: Keypair, commitment: str = "processed") -> int:
    """A wallet's lamports."""
    account = cluster.read(wallet.pubkey(), commitment)
    return account.lamports if account is not None else 0


def fresh(number: int) -> Pubkey:
    """An address that nothing stands at."""
    return Keypair.from_seed(bytes([100 + number]) * 32).pubkey()


def land(cluster: Cluster, *instructions: Instruction, signer: Keypair = ALICE) -> VersionedTransaction:
    """Submit a transaction and let one slot pass."""
    transaction = signed(cluster, *instructions, signer=signer)
    cluster.submit(transaction)
    cluster.tick()
    return transaction

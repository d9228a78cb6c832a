"""What really happened on mainnet: the recorded answers as values of the line. Skips the test where they are absent."""

import base64
from typing import Any

from attrs import evolve
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey
from solders.signature import Signature

from executor.network.solana import AccountInfo, ConfirmedTransaction
from tests.support.chain import open_nodes
from tests.support.recorded import recorded, recorded_names
from tests.support.upstream import rpc_result
from tests.support.values import USDC

MAINNET_USDC = evolve(USDC, mint=Pubkey.from_string("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"))
JUP = evolve(USDC, mint=Pubkey.from_string("JUPyiwrYJFskUPiHa7hkeR8VUtAeFoSYbKedZNsDvCN"), symbol="JUP")

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

TRANSACTIONS = recorded_names("get-transaction", but="EXPECTED.json")
SWAPS = recorded_names("swap-instructions")
TABLES = recorded_names("address-lookup-tables")

GLAM = "glam_451027533_sol_usdc_v1_2026-09-27.json"
"""0.05 SOL for USDC at 30 bps. The caller wrapped the SOL itself."""
GLAM_WALLET = Pubkey.from_string("HeL5m28kD42iRcmxFWCdYqkMbAzFRWyukidwNNZGBEt")
ILKAMO = "ilkamo_with_jito_tip.json"
"""100,000 lamports for 24,266 JUP at 250 bps, with a tip of 1,000 lamports."""
ILKAMO_WALLET = Pubkey.from_string("BXzmfHxfEMcMj8hDccUNdrwXVNeybyfb2iV2nktE1VnJ")


def instruction_of(value: Any) -> Instruction:
    """An instruction as Jupiter writes it."""
    accounts = [AccountMeta(Pubkey.from_string(a["pubkey"]), a["isSigner"], a["isWritable"]) for a in value["accounts"]]
    return Instruction(Pubkey.from_string(value["programId"]), base64.b64decode(value["data"]), accounts)


def recorded_swap(name: str) -> Instruction:
    """The swap of a recorded answer."""
    return instruction_of(recorded("swap-instructions", name)["swapInstruction"])


def recorded_table(name: str) -> tuple[Pubkey, AccountInfo]:
    """A lookup table's address and account."""
    dump = recorded("address-lookup-tables", name)
    account = dump["account"]
    data = base64.b64decode(account["data"][0])
    return Pubkey.from_string(dump["pubkey"]), AccountInfo(
        lamports=account["lamports"], owner=Pubkey.from_string(account["owner"]), data=data
    )


def recorded_tables() -> tuple[AddressLookupTableAccount, ...]:
    """All of them, read by hand: 56 bytes of metadata, then 32 an address."""
    tables = []
    for name in TABLES:
        address, info = recorded_table(name)
        entries = [Pubkey.from_bytes(info.data[at : at + 32]) for at in range(56, len(info.data), 32)]
        tables.append(AddressLookupTableAccount(address, entries))
    return tuple(tables)


def base58_bytes(text: str) -> bytes:
    """Bytes as nodes write those of instructions; each leading `1` is a zero byte."""
    number = 0
    for character in text:
        number = number * 58 + BASE58.index(character)
    return bytes(len(text) - len(text.lstrip("1"))) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def recorded_instructions(name: str) -> list[Instruction]:
    """The instructions of a confirmed transaction, read by hand; those that they called are not among them."""
    result = _recorded_result(name)
    message, loaded = result["transaction"]["message"], result["meta"].get("loadedAddresses") or {}
    keys = [*message["accountKeys"], *loaded.get("writable", ()), *loaded.get("readonly", ())]
    return [
        Instruction(
            Pubkey.from_string(keys[one["programIdIndex"]]),
            base58_bytes(one["data"]),
            [AccountMeta(Pubkey.from_string(keys[index]), is_signer=False, is_writable=False) for index in one["accounts"]],
        )
        for one in message["instructions"]
    ]


def recorded_payer(name: str) -> Pubkey:
    """Who paid for a confirmed transaction."""
    return Pubkey.from_string(_recorded_result(name)["transaction"]["message"]["accountKeys"][0])


async def recorded_transaction(name: str) -> ConfirmedTransaction:
    """A confirmed transaction, as our client reads it over a real socket."""
    result = _recorded_result(name)
    async with open_nodes() as (nodes, (upstream,)):
        upstream.script("getTransaction", rpc_result(result))
        transaction = await nodes.all[0].transaction(Signature.from_string(result["transaction"]["signatures"][0]))
    assert transaction is not None
    return transaction


def _recorded_result(name: str) -> Any:
    answer = recorded("get-transaction", name)
    return answer["response"]["result"] if "response" in answer else answer

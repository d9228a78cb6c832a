"""The scripted conversation: every JSON-RPC method that the daemon, its tests or the demo use, well and badly.

Both sides have loaded the same accounts and get the same questions under the same keys, but each goes at its own pace: what has
to land is waited for, and nothing is asked whose answer depends on the moment.
"""

import base64
import json
import time
from typing import Any

from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price, set_loaded_accounts_data_size_limit
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from executor.localnet.formula import route_exact_in
from executor.localnet.market import Market, Step
from executor.localnet.program.layout import PROGRAM_ID, TOKEN_2022_PROGRAM, TOKEN_PROGRAM, RouteCall, RouteKind
from executor.localnet.tokens import (
    BERN,
    JITOSOL,
    SOL,
    USDC,
    associated_address,
    close_account,
    create_associated,
    sync_native,
    transfer_checked,
    transfer_lamports,
)
from tests.real_node.side import Side, encoded, in_base58

Json = Any

CONFIRMED = {"commitment": "confirmed"}
PROCESSED = {"commitment": "processed"}
BASE64 = {"encoding": "base64", "commitment": "confirmed"}
SEND = {"encoding": "base64", "preflightCommitment": "confirmed"}
BLIND = {"encoding": "base64", "skipPreflight": True}
LANDED = {"encoding": "json", "commitment": "confirmed", "maxSupportedTransactionVersion": 0}
FAR_SLOT = 2**40
NOWHERE = str(Pubkey(b"\x77" * 32))
UNKNOWN_SIGNATURE = str(Signature(b"\x55" * 64))
DEAD_HASH = Hash(b"\x09" * 32)
MEMO = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
SYSTEM = Pubkey.from_string("11111111111111111111111111111111")
CLOCK = "SysvarC1ock11111111111111111111111111111111"
DEPTH = 60


def converse(side: Side) -> None:
    """Ask everything."""
    learn_program_lamports(side)
    before_anything_is_final(side)
    over_http(side)
    as_documents(side)
    about_the_node(side)
    with_bad_commitments(side)
    about_accounts(side)
    about_rent_and_fees(side)
    about_unknown_signatures(side)
    send_good_ones(side)
    send_bad_bytes(side)
    send_what_is_refused(side)
    send_what_fails_on_chain(side)
    swap(side)
    simulate_good_ones(side)
    simulate_bad_ones(side)
    ask_fees(side)


def learn_program_lamports(side: Side) -> None:
    """What programs hold differs between builds of them; it is called the same on both sides."""
    programs = [str(p) for p in (SYSTEM, TOKEN_PROGRAM, TOKEN_2022_PROGRAM, PROGRAM_ID, MEMO)]
    programs += ["ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL", "ComputeBudget111111111111111111111111111111"]
    found = side.quietly("getMultipleAccounts", programs, {"encoding": "base64", "dataSlice": {"offset": 0, "length": 0}})
    side.program_lamports = {account["lamports"] for account in found["value"] if account is not None}


def before_anything_is_final(side: Side) -> None:
    """What the default commitment sees is old: the payer was funded a moment ago."""
    own = side.payer.pubkey()
    fresh = encoded(side.signed("fresh", [transfer_lamports(source=own, destination=Pubkey(b"\x71" * 32), lamports=1)]))
    side.ask("at finalized", "sendTransaction", fresh, {"encoding": "base64"})
    side.ask("at finalized", "simulateTransaction", fresh, {"encoding": "base64"})
    side.ask("at finalized, new blockhash", "simulateTransaction", fresh, {"encoding": "base64", "replaceRecentBlockhash": True})
    side.ask("at finalized", "getBalance", str(own))
    side.ask("at finalized", "getMultipleAccounts", [str(own)])


# --- HTTP and JSON-RPC --------------------------------------------------------------------------------------------------------


def over_http(side: Side) -> None:
    """Verbs, paths, content types and sizes."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "getHealth"})
    json_type = {"content-type": "application/json"}
    side.raw("http: GET", None, headers={}, verb="GET")
    side.raw("http: GET /health", None, headers={}, verb="GET", path="/health")
    side.raw("http: PUT", body, verb="PUT")
    side.raw("http: DELETE", None, headers={}, verb="DELETE")
    side.raw("http: POST to another path", body, path="/other")
    side.raw("http: POST with a query", body, path="/?api-key=x")
    side.raw("http: no content type", body, headers={})
    side.raw("http: text/plain", body, headers={"content-type": "text/plain"})
    side.raw("http: charset", body, headers={"content-type": "application/json; charset=utf-8"})
    side.raw("http: content type in capitals", body, headers={"content-type": "Application/JSON"})
    side.raw("http: content type that only begins so", body, headers={"content-type": "application/jsonp"})
    side.raw("http: empty body", "", headers=json_type)
    side.raw("http: body of 50 KiB", body + " " * (50 * 1024 - len(body)), headers=json_type)
    side.raw("http: body above 50 KiB", body + " " * (50 * 1024 + 1 - len(body)), headers=json_type)


DOCUMENTS: dict[str, Json] = {
    "no method": {"jsonrpc": "2.0", "id": 1},
    "a method that is a number": {"jsonrpc": "2.0", "id": 1, "method": 5},
    "no version": {"id": 1, "method": "getHealth"},
    "version 1.0": {"jsonrpc": "1.0", "id": 1, "method": "getHealth"},
    "no id": {"jsonrpc": "2.0", "method": "getHealth"},
    "id null": {"jsonrpc": "2.0", "id": None, "method": "getHealth"},
    "id a string": {"jsonrpc": "2.0", "id": "a", "method": "getHealth"},
    "id zero": {"jsonrpc": "2.0", "id": 0, "method": "getHealth"},
    "id negative": {"jsonrpc": "2.0", "id": -1, "method": "getHealth"},
    "id a fraction": {"jsonrpc": "2.0", "id": 1.5, "method": "getHealth"},
    "id an object": {"jsonrpc": "2.0", "id": {"a": 1}, "method": "getHealth"},
    "an unknown member": {"jsonrpc": "2.0", "id": 1, "method": "getHealth", "extra": 1},
    "params null": {"jsonrpc": "2.0", "id": 1, "method": "getHealth", "params": None},
    "params an object": {"jsonrpc": "2.0", "id": 1, "method": "getHealth", "params": {"a": 1}},
    "params a string": {"jsonrpc": "2.0", "id": 1, "method": "getHealth", "params": "x"},
    "params that nobody expects": {"jsonrpc": "2.0", "id": 1, "method": "getHealth", "params": [1, "a", None, True, {"b": [1]}]},
    "an unknown method": {"jsonrpc": "2.0", "id": 1, "method": "getNothing"},
    "a method in other letters": {"jsonrpc": "2.0", "id": 1, "method": "gethealth"},
    "a batch": [
        {"jsonrpc": "2.0", "id": 1, "method": "getHealth"},
        {"jsonrpc": "2.0", "id": 2, "method": "getNothing"},
        {"jsonrpc": "2.0", "method": "getHealth"},
        {"jsonrpc": "2.0", "id": 4, "method": "getBalance"},
    ],
    "a batch of one": [{"jsonrpc": "2.0", "id": 1, "method": "getHealth"}],
    "a batch of notifications": [{"jsonrpc": "2.0", "method": "getHealth"}],
    "an empty batch": [],
    "a batch with a number in it": [1, {"jsonrpc": "2.0", "id": 1, "method": "getHealth"}],
    "a number": 1,
    "a string": "getHealth",
    "null": None,
}


def as_documents(side: Side) -> None:
    """JSON that is no call, or almost one."""
    for name, document in DOCUMENTS.items():
        side.raw(f"document: {name}", json.dumps(document))
    side.raw("document: half of one", '{"jsonrpc":"2.0","id":1,')
    side.raw("document: not UTF-8", b'{"jsonrpc":"2.0","id":1,"method":"\xff"}')
    side.raw("document: NaN", '{"jsonrpc":"2.0","id":NaN,"method":"getHealth"}')
    side.raw("document: a member twice", '{"jsonrpc":"2.0","id":1,"id":2,"method":"getHealth"}')
    side.raw(
        "document: two of them", '{"jsonrpc":"2.0","id":1,"method":"getHealth"}{"jsonrpc":"2.0","id":2,"method":"getHealth"}'
    )
    nested = "[" * DEPTH + "]" * DEPTH
    side.raw("document: deep", '{"jsonrpc":"2.0","id":1,"method":"getHealth","params":' + nested + "}")


# --- slots, blockhashes, heights ----------------------------------------------------------------------------------------------


def about_the_node(side: Side) -> None:
    """Health, version, slots, heights and blockhashes."""
    side.ask("plain", "getHealth")
    side.ask("plain", "getVersion")
    side.ask("plain", "getFirstAvailableBlock")
    side.ask("with options", "getFirstAvailableBlock", CONFIRMED)
    for method in ("getSlot", "getBlockHeight", "getLatestBlockhash"):
        side.ask("no options", method)
        side.ask("options null", method, None)
        for commitment in ("processed", "confirmed", "finalized"):
            side.ask(commitment, method, {"commitment": commitment})
        side.ask("a slot that has been", method, {"commitment": "processed", "minContextSlot": 0})
        side.ask("a slot to come", method, {"commitment": "processed", "minContextSlot": FAR_SLOT})
        side.ask("minContextSlot negative", method, {"minContextSlot": -1})
        side.ask("minContextSlot a string", method, {"minContextSlot": "1"})
        side.ask("an unknown option", method, {"commitment": "confirmed", "colour": "red"})
        side.ask("options a number", method, 5)
        side.ask("options a string", method, "confirmed")
        side.ask("options a sequence", method, [])
        side.ask("two options", method, {}, {})
        side.ask("three options", method, {}, {}, {})
    side.ask("a dead one", "isBlockhashValid", str(DEAD_HASH), CONFIRMED)
    side.ask("a live one", "isBlockhashValid", str(side.blockhash()), PROCESSED)
    side.ask("not base58", "isBlockhashValid", "0OIl", CONFIRMED)
    side.ask("too short", "isBlockhashValid", "zz", CONFIRMED)
    side.ask("nothing", "isBlockhashValid")


BAD_COMMITMENTS: tuple[Json, ...] = ("bogus", "recent", "single", "max", "", "CONFIRMED", 5, True, [], {})


def with_bad_commitments(side: Side) -> None:
    """Words that are no commitment, and values that are no words."""
    for method, *params in (
        ("getSlot",),
        ("getLatestBlockhash",),
        ("getBalance", NOWHERE),
        ("getMultipleAccounts", [NOWHERE]),
        ("getTransaction", UNKNOWN_SIGNATURE),
    ):
        for commitment in BAD_COMMITMENTS:
            side.ask(f"commitment {json.dumps(commitment)}", method, *params, {"commitment": commitment})
        side.ask("commitment null", method, *params, {"commitment": None})


# --- accounts -----------------------------------------------------------------------------------------------------------------

BAD_ADDRESSES: dict[str, Json] = {
    "a number": 5,
    "null": None,
    "empty": "",
    "too short": "abc",
    "not base58": "0OIl" * 10,
    "too long": "1" * 45,
    "33 bytes": "1" * 33,
    "an object": {},
    "a sequence in it": [[]],
    "with a blank": NOWHERE + " ",
}


BAD_ENCODINGS: tuple[Json, ...] = ("hex", "", "BASE64", 5, {}, "json")


def about_accounts(side: Side) -> None:
    """One account, several, the balances of tokens."""
    own, usdc = str(side.payer.pubkey()), str(associated_address(side.payer.pubkey(), USDC))
    bern = str(associated_address(side.payer.pubkey(), BERN))
    one_of_each = [own, usdc, bern, str(USDC.mint), str(BERN.mint), str(SOL.mint), str(SYSTEM), NOWHERE]
    for method, wrap in (("getBalance", str), ("getAccountInfo", str), ("getMultipleAccounts", lambda address: [address])):
        side.ask("no params", method)
        for name, address in BAD_ADDRESSES.items():
            side.ask(f"address {name}", method, address if wrap is str else [address])
        side.ask("an unknown one", method, wrap(NOWHERE), CONFIRMED)
        side.ask("a wallet", method, wrap(own), CONFIRMED)
        side.ask("three params", method, wrap(own), CONFIRMED, CONFIRMED)
        side.ask("options a number", method, wrap(own), 5)
        side.ask("options a string", method, wrap(own), "base64")
        side.ask("a slot to come", method, wrap(own), {"commitment": "processed", "minContextSlot": FAR_SLOT})
    many = "getMultipleAccounts"
    for encoding in ("base64", "base58", "jsonParsed", "binary"):
        side.ask(f"encoding {encoding}", many, one_of_each[:1], {**CONFIRMED, "encoding": encoding})
    for encoding in ("base64", "jsonParsed"):
        side.ask(f"one of each, {encoding}", many, one_of_each, {**CONFIRMED, "encoding": encoding})
    for encoding in ("base58", "binary"):
        side.ask(f"too long for {encoding}", many, [usdc], {**CONFIRMED, "encoding": encoding})
    side.ask("default encoding", many, [usdc], CONFIRMED)
    for bad in BAD_ENCODINGS:
        side.ask(f"encoding {json.dumps(bad)}", many, [own], {**CONFIRMED, "encoding": bad})
    for name, part in {
        "of the amount": {"offset": 64, "length": 8},
        "beyond the end": {"offset": 160, "length": 80},
        "behind the end": {"offset": 1_000, "length": 8},
        "empty": {"offset": 0, "length": 0},
        "without offset": {"length": 1},
        "negative": {"offset": -1, "length": 1},
        "a number": 5,
        "a fraction": {"offset": 1.5, "length": 1},
    }.items():
        side.ask(f"slice {name}", many, [usdc], {**BASE64, "dataSlice": part})
    side.ask("slice, parsed", many, [usdc], {**CONFIRMED, "encoding": "jsonParsed", "dataSlice": {"offset": 0, "length": 4}})
    side.ask("none", many, [], BASE64)
    side.ask("100", many, [NOWHERE] * 100, BASE64)
    side.ask("101", many, [NOWHERE] * 101, BASE64)
    side.ask("one twice", many, [own, own], BASE64)
    side.ask("an address for a sequence", many, own, BASE64)
    side.ask("one bad among good", many, [own, "x"], BASE64)
    side.ask("a program", many, [str(PROGRAM_ID)], {**BASE64, "dataSlice": {"offset": 0, "length": 4}})
    side.ask("the swap program's pool", many, [str(next(iter(Market(seed=1).pools)))], BASE64)
    side.ask("a lookup table", many, [str(Market(seed=1).tables[0].key)], BASE64)
    for mint in (USDC, BERN):
        side.ask(f"of {mint.symbol}", "getTokenAccountBalance", str(associated_address(side.payer.pubkey(), mint)), CONFIRMED)
    side.ask("of a wallet", "getTokenAccountBalance", own, CONFIRMED)
    side.ask("of a mint", "getTokenAccountBalance", str(USDC.mint), CONFIRMED)
    side.ask("of nothing", "getTokenAccountBalance", NOWHERE, CONFIRMED)
    parsed = {**CONFIRMED, "encoding": "jsonParsed"}
    by_owner = "getTokenAccountsByOwner"
    side.ask("of a program", by_owner, own, {"programId": str(TOKEN_2022_PROGRAM)}, parsed)
    side.ask("of a mint", by_owner, own, {"mint": str(USDC.mint)}, parsed)
    side.ask("base64", by_owner, own, {"mint": str(BERN.mint)}, BASE64)
    side.ask("of a stranger", by_owner, NOWHERE, {"programId": str(TOKEN_PROGRAM)}, parsed)
    side.ask("of no token program", by_owner, own, {"programId": str(SYSTEM)}, parsed)
    side.ask("of no mint", by_owner, own, {"mint": own}, parsed)
    side.ask("of a mint that is not there", by_owner, own, {"mint": NOWHERE}, parsed)
    side.ask("both filters", by_owner, own, {"mint": str(USDC.mint), "programId": str(TOKEN_PROGRAM)}, parsed)
    side.ask("another filter", by_owner, own, {"owner": own}, parsed)
    side.ask("filter a string", by_owner, own, "mint", parsed)
    side.ask("no filter", by_owner, own)


BAD_SIZES: tuple[Json, ...] = (10 * 2**20 + 1, -1, "a", 1.5, None, 2**64, True, [])


def about_rent_and_fees(side: Side) -> None:
    """What an account must hold, and what landed lately."""
    rent = "getMinimumBalanceForRentExemption"
    for size in (0, 1, 82, 165, 10 * 2**20):
        side.ask(str(size), rent, size)
    for bad in BAD_SIZES:
        side.ask(json.dumps(bad), rent, bad)
    side.ask("no params", rent)
    side.ask("with options", rent, 165, CONFIRMED)
    side.ask("three params", rent, 165, CONFIRMED, 1)
    fees = "getRecentPrioritizationFees"
    side.ask("no params", fees)
    side.ask("none", fees, [])
    side.ask("null", fees, None)
    side.ask("an account that nobody wrote", fees, [NOWHERE])
    side.ask("128", fees, [NOWHERE] * 128)
    side.ask("129", fees, [NOWHERE] * 129)
    side.ask("a bad address", fees, ["x"])
    side.ask("an address for a sequence", fees, NOWHERE)
    side.ask("numbers", fees, [1])
    side.ask("two params", fees, [NOWHERE], {})


def about_unknown_signatures(side: Side) -> None:
    """Statuses and transactions that nobody knows."""
    statuses = "getSignatureStatuses"
    side.ask("no params", statuses)
    side.ask("none", statuses, [])
    side.ask("unknown", statuses, [UNKNOWN_SIGNATURE])
    side.ask("unknown, in the history", statuses, [UNKNOWN_SIGNATURE], {"searchTransactionHistory": True})
    side.ask("256", statuses, [UNKNOWN_SIGNATURE] * 256)
    side.ask("257", statuses, [UNKNOWN_SIGNATURE] * 257)
    side.ask("a signature for a sequence", statuses, UNKNOWN_SIGNATURE)
    side.ask("options a boolean", statuses, [UNKNOWN_SIGNATURE], True)
    side.ask("search a number", statuses, [UNKNOWN_SIGNATURE], {"searchTransactionHistory": 1})
    side.ask("search null", statuses, [UNKNOWN_SIGNATURE], {"searchTransactionHistory": None})
    side.ask("no search", statuses, [UNKNOWN_SIGNATURE], {"searchTransactionHistory": False})
    side.ask("an unknown option", statuses, [UNKNOWN_SIGNATURE], {"commitment": "bogus"})
    side.ask("three params", statuses, [UNKNOWN_SIGNATURE], {}, {})
    side.ask("no params", "getTransaction")
    side.ask("unknown", "getTransaction", UNKNOWN_SIGNATURE, LANDED)
    for name, signature in {
        "short": "abc",
        "not base58": "0OIl" * 20,
        "long": "1" * 89,
        "of an address": NOWHERE,
        "a number": 5,
        "null": None,
        "65 bytes": "1" * 65,
    }.items():
        side.ask(f"signature {name}", statuses, [signature])
        side.ask(f"signature {name}", "getTransaction", signature, LANDED)
    side.ask("processed", "getTransaction", UNKNOWN_SIGNATURE, {**LANDED, "commitment": "processed"})
    side.ask("encoding hex", "getTransaction", UNKNOWN_SIGNATURE, {**LANDED, "encoding": "hex"})
    side.ask("options a number", "getTransaction", UNKNOWN_SIGNATURE, 5)
    side.ask("version a string", "getTransaction", UNKNOWN_SIGNATURE, {**LANDED, "maxSupportedTransactionVersion": "0"})
    side.ask("version 256", "getTransaction", UNKNOWN_SIGNATURE, {**LANDED, "maxSupportedTransactionVersion": 256})
    side.ask("version negative", "getTransaction", UNKNOWN_SIGNATURE, {**LANDED, "maxSupportedTransactionVersion": -1})


# --- sending ------------------------------------------------------------------------------------------------------------------


def send_good_ones(side: Side) -> None:
    """Transactions that land, and everything that is told of them."""
    own, other = side.payer.pubkey(), Pubkey(b"\x71" * 32)
    priced = [set_compute_unit_limit(100_000), set_compute_unit_price(12_345)]
    wrapped = associated_address(own, SOL)
    wrap = [
        *priced,
        create_associated(payer=own, owner=own, token=SOL),
        transfer_lamports(source=own, destination=wrapped, lamports=10**8),
        sync_native(wrapped),
    ]
    landed = side.signed("wrap", wrap)
    side.ask("checked", "sendTransaction", encoded(landed), SEND)
    signature = side.land(landed)
    tell(side, "wrap", signature)
    wait_until_processed_is_confirmed(side)
    side.ask("again", "sendTransaction", encoded(landed), SEND)
    side.ask("again, unchecked", "sendTransaction", encoded(landed), BLIND)
    side.ask("again, at processed", "sendTransaction", encoded(landed), {**SEND, "preflightCommitment": "processed"})
    side.ask("a landed one", "simulateTransaction", encoded(landed), BASE64)
    unwrap = side.signed("unwrap", [*priced, close_account(token=SOL, account=wrapped, destination=own, owner=own)])
    tell(side, "unwrap", side.land(unwrap))
    side.ask("the closed account", "getMultipleAccounts", [str(wrapped)], BASE64)
    ends = {"source": associated_address(own, BERN), "destination": associated_address(other, BERN)}
    taxed = [
        *priced,
        create_associated(payer=own, owner=other, token=BERN),
        transfer_checked(token=BERN, owner=own, amount=1_000_000, **ends),
    ]
    tell(side, "a transfer with a tax", side.land(side.signed("tax", taxed)))
    side.ask("after the tax", "getMultipleAccounts", [str(ends["destination"])], {**CONFIRMED, "encoding": "jsonParsed"})
    legacy_message = Message.new_with_blockhash(
        [transfer_lamports(source=own, destination=other, lamports=10**7)], own, side.blockhash()
    )
    legacy = side.named("legacy", VersionedTransaction(legacy_message, [side.payer]))
    tell(side, "legacy", side.land(legacy))
    table = Market(seed=1).tables[0]
    looked_up = side.signed(
        "lookup", [*priced, transfer_lamports(source=own, destination=table.addresses[-1], lamports=5_000)], tables=[table]
    )
    tell(side, "lookup", side.land(looked_up))
    note = side.signed("memo", [*priced, Instruction(MEMO, b"hello", [])])
    tell(side, "memo", side.land(note))
    old = side.signed("base58", [*wrap[:2], transfer_lamports(source=own, destination=other, lamports=4)])
    side.ask("base58", "sendTransaction", in_base58(old), {"preflightCommitment": "confirmed"})
    side.land(old)
    side.ask("paid fees", "getRecentPrioritizationFees", [str(own)])


def wait_until_processed_is_confirmed(side: Side) -> None:
    """So that what has landed has done so at every commitment that is asked for."""
    slot = side.quietly("getSlot", PROCESSED)
    while side.quietly("getSlot", CONFIRMED) < slot:
        time.sleep(0.05)


def tell(side: Side, name: str, signature: str) -> None:
    """Ask everything there is to ask of a transaction that has landed."""
    side.ask(name, "getTransaction", signature, LANDED)
    side.ask(name, "getSignatureStatuses", [signature])
    if name != "wrap":
        return
    side.ask(
        "wrap, with an unknown one", "getSignatureStatuses", [UNKNOWN_SIGNATURE, signature], {"searchTransactionHistory": True}
    )
    side.ask("wrap, base64", "getTransaction", signature, {**LANDED, "encoding": "base64"})
    side.ask("wrap, base58", "getTransaction", signature, {**LANDED, "encoding": "base58"})
    side.ask("wrap, no version", "getTransaction", signature, CONFIRMED)
    side.ask("wrap, version 1", "getTransaction", signature, {**LANDED, "maxSupportedTransactionVersion": 1})
    side.ask("wrap, encoding alone", "getTransaction", signature, "json")
    side.ask("wrap, processed", "getTransaction", signature, {**LANDED, "commitment": "processed"})


BAD_BYTES: dict[str, Json] = {
    "empty": "",
    "three bytes": "AAAA",
    "not base64": "!!!",
    "bad padding": "AAA",
    "a blank in it": "AA AA",
    "base58 in it": "0OIl",
    "1644 characters": "A" * 1_644,
    "1648 characters": "A" * 1_648,
    "1233 bytes": base64.b64encode(bytes(1_233)).decode(),
    "ones": base64.b64encode(b"\x01" * 200).decode(),
    "version 1": base64.b64encode(b"\x01" + bytes(64) + b"\x81" + bytes(100)).decode(),
    "a number": 5,
    "null": None,
    "a sequence": [],
}


def send_bad_bytes(side: Side) -> None:
    """What is no transaction, or in no encoding."""
    own, other = side.payer.pubkey(), Pubkey(b"\x71" * 32)
    transaction = side.signed("good", [transfer_lamports(source=own, destination=other, lamports=3)])
    good = encoded(transaction)
    for method in ("sendTransaction", "simulateTransaction"):
        side.ask("no params", method)
        for name, value in BAD_BYTES.items():
            side.ask(f"bytes: {name}", method, value, {"encoding": "base64"})
        side.ask("bytes: trailing", method, base64.b64encode(base64.b64decode(good) + b"\x00").decode(), {**SEND, **BASE64})
        side.ask("bytes: cut", method, base64.b64encode(base64.b64decode(good)[:-3]).decode(), SEND)
        side.ask("no encoding", method, good)
        for encoding in ("base64+zstd", "jsonParsed", "binary", None, *BAD_ENCODINGS):
            side.ask(f"encoding {json.dumps(encoding)}", method, good, {"encoding": encoding})
        side.ask("options a number", method, good, 5)
        side.ask("options a string", method, good, "base64")
        side.ask("three params", method, good, SEND, 1)
    for option, value in (
        ("skipPreflight", 1),
        ("skipPreflight", "true"),
        ("preflightCommitment", 5),
        ("preflightCommitment", "bogus"),
        ("preflightCommitment", "recent"),
        ("preflightCommitment", {}),
        ("maxRetries", -1),
        ("maxRetries", "0"),
        ("maxRetries", 1.5),
        ("minContextSlot", -1),
        ("minContextSlot", "1"),
        ("minContextSlot", FAR_SLOT),
    ):
        side.ask(f"{option} {json.dumps(value)}", "sendTransaction", good, {**SEND, option: value})
    side.ask("unchecked, a slot to come", "sendTransaction", good, {**BLIND, "minContextSlot": FAR_SLOT})
    time.sleep(2)  # what should not land has time to
    side.ask("of what was sent badly", "getSignatureStatuses", [str(transaction.signatures[0])])
    for option, value in (
        ("sigVerify", 1),
        ("replaceRecentBlockhash", "true"),
        ("innerInstructions", 1),
        ("minContextSlot", -1),
        ("minContextSlot", FAR_SLOT),
        ("accounts", 5),
        ("accounts", {}),
        ("accounts", {"addresses": 5}),
        ("accounts", {"addresses": [5]}),
        ("accounts", {"addresses": ["x"]}),
        ("accounts", {"addresses": [], "encoding": "base64"}),
        ("accounts", {"addresses": [NOWHERE] * 4, "encoding": "base64"}),
        ("accounts", {"addresses": [NOWHERE], "encoding": "base58"}),
        ("accounts", {"addresses": [NOWHERE], "encoding": "binary"}),
        ("accounts", {"addresses": [NOWHERE], "encoding": "hex"}),
    ):
        side.ask(f"{option} {json.dumps(value)}", "simulateTransaction", good, {**BASE64, option: value})
    side.ask("both flags", "simulateTransaction", good, {**BASE64, "sigVerify": True, "replaceRecentBlockhash": True})


def send_what_is_refused(side: Side) -> None:
    """Transactions that a node refuses in its preflight; and what it says to those that it is told not to check."""
    own, other, poor = side.payer.pubkey(), Pubkey(b"\x71" * 32), Keypair()
    little = transfer_lamports(source=own, destination=other, lamports=1)
    table = AddressLookupTableAccount(Pubkey(b"\x61" * 32), [other])
    no_table = AddressLookupTableAccount(associated_address(own, USDC), [other])
    short = AddressLookupTableAccount(Market(seed=1).tables[0].key, [Pubkey(bytes([i]) * 32) for i in range(200)] + [other])
    usdc: dict[str, Any] = {"token": USDC, "source": associated_address(own, USDC), "owner": own}
    cases: dict[str, VersionedTransaction] = {
        "a dead blockhash": side.signed("dead", [little], blockhash=DEAD_HASH),
        "more than there is": side.signed("insufficient", [transfer_lamports(source=own, destination=other, lamports=10**15)]),
        "an empty payer": side.signed(
            "empty payer", [transfer_lamports(source=poor.pubkey(), destination=other, lamports=1)], payer=poor
        ),
        "more tokens than there are": side.signed(
            "tokens", [transfer_checked(**usdc, destination=associated_address(own, USDC), amount=2**60)]
        ),
        "tokens of another's": side.signed(
            "another's",
            [transfer_checked(token=USDC, source=usdc["source"], owner=own, destination=usdc["source"], amount=1), stolen(own)],
        ),
        "an account that is not there": side.signed(
            "not there", [transfer_checked(**usdc, destination=associated_address(other, JITOSOL), amount=1)]
        ),
        "too little for rent": side.signed(
            "rent", [transfer_lamports(source=own, destination=Pubkey(b"\x72" * 32), lamports=1_000)]
        ),
        "no such program": side.signed("no program", [Instruction(Pubkey(b"\x73" * 32), b"", [])]),
        "a wallet for a program": side.signed("wallet program", [Instruction(associated_address(own, USDC), b"", [])]),
        "a budget twice": side.signed("twice", [set_compute_unit_limit(5), set_compute_unit_limit(6), little]),
        "a budget that is too small": side.signed("small", [set_compute_unit_limit(200), Instruction(MEMO, b"hello", [])]),
        "a budget of nothing": side.signed("nothing", [set_compute_unit_limit(0), little]),
        "a budget of no sense": side.signed("no sense", [Instruction(set_compute_unit_limit(1).program_id, b"\x09", []), little]),
        "too little data": side.signed("data", [set_loaded_accounts_data_size_limit(1), little]),
        "data limit zero": side.signed("data zero", [set_loaded_accounts_data_size_limit(0), little]),
        "no lookup table": side.signed("no table", [little], tables=[table]),
        "another's lookup table": side.signed("not a table", [little], tables=[no_table]),
        "behind the end of a lookup table": side.signed("short table", [little], tables=[short]),
        "a system instruction of no sense": side.signed("system", [Instruction(SYSTEM, b"\xff" * 4, [])]),
        "a token instruction of no sense": side.signed("token", [Instruction(TOKEN_PROGRAM, b"\xff", [])]),
        "a swap of no sense": side.signed("swap", [Instruction(PROGRAM_ID, b"\x01\x02", [])]),
        "a memo that is no text": side.signed("memo", [Instruction(MEMO, b"\xff\xfe", [])]),
        "a missing signer": side.signed(
            "signer", [Instruction(MEMO, b"x", [AccountMeta(other, is_signer=False, is_writable=False)])]
        ),
    }
    good = side.signed("other signature", [little])
    forged = Signature(b"\x44" * 64)
    cases["a bad signature"] = side.named("bad signature", VersionedTransaction.populate(good.message, [forged]))
    cases["no signature"] = VersionedTransaction.populate(good.message, [])
    cases["a default signature"] = side.named("default", VersionedTransaction.populate(good.message, [Signature.default()]))
    cases["a signature too many"] = VersionedTransaction.populate(good.message, [good.signatures[0], forged])
    for name, transaction in cases.items():
        side.ask(name, "sendTransaction", encoded(transaction), SEND)
        side.ask(name, "simulateTransaction", encoded(transaction), BASE64)
        side.ask(f"{name}, verified", "simulateTransaction", encoded(transaction), {**BASE64, "sigVerify": True})
        side.ask(
            f"{name}, new blockhash", "simulateTransaction", encoded(transaction), {**BASE64, "replaceRecentBlockhash": True}
        )
    for name in (
        "a dead blockhash",
        "an empty payer",
        "no lookup table",
        "a bad signature",
        "no signature",
        "a signature too many",
    ):
        side.ask(f"{name}, unchecked", "sendTransaction", encoded(cases[name]), BLIND)


def stolen(own: Pubkey) -> Instruction:
    """A transfer out of a pool's vault."""
    pool = next(iter(Market(seed=1).pools.values()))
    token, vault = pool.vaults[1]
    return transfer_checked(token=token, source=vault, destination=associated_address(own, token), owner=own, amount=1)


def send_what_fails_on_chain(side: Side) -> None:
    """Unchecked, these land, fail and pay."""
    own, other = side.payer.pubkey(), Pubkey(b"\x71" * 32)
    usdc = associated_address(own, USDC)
    failing = {
        "more than there is": [transfer_lamports(source=own, destination=other, lamports=10**14)],
        "more tokens than there are": [transfer_checked(token=USDC, source=usdc, destination=usdc, owner=own, amount=2**60)],
        "no such program": [Instruction(Pubkey(b"\x73" * 32), b"", [])],
        "too little data": [set_loaded_accounts_data_size_limit(1), transfer_lamports(source=own, destination=other, lamports=1)],
        "a budget that is too small": [set_compute_unit_limit(200), Instruction(MEMO, b"hello", [])],
    }
    for name, instructions in failing.items():
        tell(side, f"failed: {name}", side.land(side.signed(f"failed {name}", instructions)))


# --- the swap program ---------------------------------------------------------------------------------------------------------


def swap_instruction(side: Side, *, better_bps: int = 0) -> Instruction:
    """A swap of 5 USDC into SOL; with `better_bps` it demands more than there is."""
    pool = next(pool for pool in Market(seed=1).pools.values() if pool.tokens == (SOL, USDC))
    step = Step.through(pool, USDC)
    own, amount = side.payer.pubkey(), 5_000_000
    out_amount = route_exact_in([step.hop(lambda vault: vault_amount(side, vault))], amount).out_amount
    return RouteCall(
        kind=RouteKind.ROUTE,
        user=own,
        source=associated_address(own, USDC),
        destination=associated_address(own, SOL),
        legs=(step.leg,),
        amount=amount,
        quoted_amount=out_amount * (10_000 + better_bps) // 10_000,
        slippage_bps=50,
    ).instruction


def vault_amount(side: Side, vault: Pubkey) -> int:
    """What a vault holds."""
    account = side.quietly("getMultipleAccounts", [str(vault)], BASE64)["value"][0]
    return int.from_bytes(base64.b64decode(account["data"][0])[64:72], "little")


def swap(side: Side) -> None:
    """A swap that succeeds, and one that demands too much: checked, simulated and landed."""
    own = side.payer.pubkey()
    tables = list(Market(seed=1).tables)
    wrapped = associated_address(own, SOL)
    around = (
        [set_compute_unit_limit(120_000), set_compute_unit_price(2_000), create_associated(payer=own, owner=own, token=SOL)],
        [close_account(token=SOL, account=wrapped, destination=own, owner=own)],
    )
    for name, better_bps in (("a swap", 0), ("a swap that demands too much", 500)):
        instructions = [*around[0], swap_instruction(side, better_bps=better_bps), *around[1]]
        transaction = side.signed(name, instructions, tables=tables)
        accounts = {"encoding": "base64", "addresses": [str(own), str(associated_address(own, USDC)), str(wrapped)]}
        options = {**BASE64, "replaceRecentBlockhash": True, "accounts": accounts, "innerInstructions": True}
        side.ask(name, "simulateTransaction", encoded(transaction), options)
        if better_bps:
            side.ask(name, "sendTransaction", encoded(transaction), SEND)
        tell(side, name, side.land(transaction))


# --- simulating ---------------------------------------------------------------------------------------------------------------


def simulate_good_ones(side: Side) -> None:
    """The forms in which a good transaction can be simulated."""
    own, other = side.payer.pubkey(), Pubkey(b"\x71" * 32)
    usdc = associated_address(own, USDC)
    instructions = [
        set_compute_unit_limit(100_000),
        set_compute_unit_price(10_000),
        create_associated(payer=own, owner=other, token=USDC),
        transfer_checked(token=USDC, source=usdc, destination=associated_address(other, USDC), owner=own, amount=77),
        transfer_lamports(source=own, destination=other, lamports=9),
    ]
    good = encoded(side.signed("simulated", instructions))
    forms: dict[str, Json] = {
        "plain": {},
        "verified": {"sigVerify": True},
        "new blockhash": {"replaceRecentBlockhash": True},
        "inner instructions": {"innerInstructions": True},
        "processed": {"commitment": "processed"},
        "accounts": {"accounts": {"encoding": "base64", "addresses": [str(own), str(usdc), str(other), NOWHERE]}},
        "accounts, default encoding": {"accounts": {"addresses": [str(usdc)]}},
        "accounts, parsed": {"accounts": {"encoding": "jsonParsed", "addresses": [str(usdc), str(own)]}},
        "accounts, none": {"accounts": {"encoding": "base64", "addresses": []}},
        "accounts null": {"accounts": None},
        "a slot that has been": {"minContextSlot": 0},
        "an unknown option": {"colour": "red"},
    }
    for name, options in forms.items():
        side.ask(name, "simulateTransaction", good, {**BASE64, **options})
    side.ask("base58", "simulateTransaction", in_base58(side.signed("in base58", instructions[:2])), CONFIRMED)


def simulate_bad_ones(side: Side) -> None:
    """What fails, in every form."""
    own, other = side.payer.pubkey(), Pubkey(b"\x71" * 32)
    failing = encoded(side.signed("failing", [transfer_lamports(source=own, destination=other, lamports=10**15)]))
    forms: dict[str, Json] = {
        "new blockhash": {"replaceRecentBlockhash": True},
        "inner": {"innerInstructions": True},
        "accounts": {"accounts": {"encoding": "base64", "addresses": [str(own), NOWHERE]}},
    }
    for name, options in forms.items():
        side.ask(f"failing, {name}", "simulateTransaction", failing, {**BASE64, **options})


def ask_fees(side: Side) -> None:
    """What a message costs."""
    own, other = side.payer.pubkey(), Pubkey(b"\x71" * 32)
    plain = [transfer_lamports(source=own, destination=other, lamports=1)]
    priced = [set_compute_unit_limit(33_333), set_compute_unit_price(10_001), *plain]

    def shown(message: Any) -> str:
        wire = bytes(VersionedTransaction.populate(message, [Signature.default()]))
        return base64.b64encode(wire[65:]).decode()

    method = "getFeeForMessage"
    side.ask("plain", method, shown(side.message(plain)), CONFIRMED)
    side.ask("priced", method, shown(side.message(priced)), CONFIRMED)
    side.ask("dead", method, shown(side.message(plain, blockhash=DEAD_HASH)), CONFIRMED)
    side.ask("legacy", method, shown(Message.new_with_blockhash(plain, own, side.blockhash())), CONFIRMED)
    side.ask("garbage", method, "AAAA", CONFIRMED)
    side.ask("not base64", method, "!!", CONFIRMED)
    side.ask("no params", method)

"""The JSON-RPC node: answers that other people's parsers read, and refusals in a real node's words (Agave 3.1.8)."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.message import MessageV1, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.rpc import responses
from solders.rpc.errors import NodeUnhealthyMessage, SendTransactionPreflightFailureMessage
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from executor.localnet.cluster import FIRST_SLOT, Cluster
from executor.localnet.encoding import base58_encode
from executor.localnet.faults import (
    DroppedBlock,
    DuplicateLanding,
    Fault,
    Faults,
    Lag,
    LateLanding,
    LostSend,
    Order,
    RpcFault,
)
from executor.localnet.http import HttpReply, HttpRequest
from executor.localnet.node import MAX_BODY_BYTES, Node
from executor.localnet.program.layout import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from executor.localnet.tokens import (
    SOL,
    USDC,
    associated_address,
    close_account,
    create_associated,
    mint_account,
    transfer_checked,
    transfer_lamports,
)
from executor.localnet.visit import NodeSettings
from tests.localnet.cluster_world import (
    ALICE,
    BOB,
    NOW_NS,
    START_LAMPORTS,
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

FEE = 5_000
RENT = 890_880
CONFIRMED = {"commitment": "confirmed"}
PROCESSED = {"commitment": "processed"}
BASE64 = {"encoding": "base64", "preflightCommitment": "processed"}
SIMULATED = {"encoding": "base64", "commitment": "processed"}
FULL = {"encoding": "json", "commitment": "confirmed", "maxSupportedTransactionVersion": 0}
ALICE_TEXT, BOB_TEXT = str(ALICE.pubkey()), str(BOB.pubkey())
MINE = associated_address(ALICE.pubkey(), USDC)


class World:
    """A cluster with one node, and what a client does with it."""

    def __init__(self, settings: NodeSettings | None = None, *, lag_slots: int = 0) -> None:
        self.cluster: Cluster = new_cluster()
        self.faults = Faults()
        self.node = Node(self.cluster, "a", faults=self.faults, settings=settings, lag_slots=lag_slots)

    def text(self, method: str, *params: Any) -> str:
        """The body that answers a call."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        return self.post(body).body.decode()

    def post(self, body: bytes, content_type: str = "application/json") -> HttpReply:
        """The reply to a body."""
        request = HttpRequest(method="POST", path="/", headers={"content-type": content_type}, body=body)
        return self.node.answer(request)

    def result(self, method: str, *params: Any) -> Any:
        """The result of a call that succeeds."""
        return json.loads(self.text(method, *params))["result"]

    def value(self, method: str, *params: Any) -> Any:
        """The value of a result that has a context."""
        return self.result(method, *params)["value"]

    def error(self, method: str, *params: Any) -> Any:
        """The error of a call that is refused."""
        return json.loads(self.text(method, *params))["error"]

    def ticks(self, count: int) -> None:
        """Let slots pass."""
        for _ in range(count):
            self.cluster.tick()

    def order(self, *faults: Fault, count: int | None = 1) -> None:
        """Order faults of every call."""
        self.faults.order(*(Order(fault=fault, count=count) for fault in faults))

    def send(self, transaction: VersionedTransaction, **options: Any) -> str:
        """Send a transaction; its signature."""
        return str(self.result("sendTransaction", encoded(transaction), {**BASE64, "maxRetries": 0, **options}))

    def status(self, transaction: VersionedTransaction) -> str | None:
        """The confirmation status of a transaction."""
        (status,) = self.value("getSignatureStatuses", [str(transaction.signatures[0])])
        return None if status is None else str(status["confirmationStatus"])


@pytest.fixture
def world() -> World:
    """A cluster with one node."""
    return World()


def encoded(transaction: VersionedTransaction) -> str:
    """The wire bytes as base64."""
    return base64.b64encode(bytes(transaction)).decode()


def parsed(kind: Any, text: str) -> Any:
    """An answer as solders reads it; its type is whatever the answer turns out to be."""
    return kind.from_json(text)


def refusal(message: str, code: int = -32602, **data: Any) -> dict[str, Any]:
    """An error member."""
    return {"code": code, "message": message, **data}


# --- the node and its blocks --------------------------------------------------------------------------------------------------


def test_plain_answers_parse(world: World) -> None:
    """Health, version, genesis, slot, height, epoch and rent read as solders' own response types."""
    assert parsed(responses.GetHealthResp, world.text("getHealth")).value == "ok"
    assert parsed(responses.GetVersionResp, world.text("getVersion")).value.solana_core == "3.1.8"
    assert parsed(responses.GetGenesisHashResp, world.text("getGenesisHash")).value == world.cluster.genesis_hash
    assert parsed(responses.GetSlotResp, world.text("getSlot", PROCESSED)).value == FIRST_SLOT + 1
    assert parsed(responses.GetBlockHeightResp, world.text("getBlockHeight", PROCESSED)).value == 413_888_001
    rent = parsed(responses.GetMinimumBalanceForRentExemptionResp, world.text("getMinimumBalanceForRentExemption", 165))
    assert rent.value == 2_039_280
    land(world.cluster, transfer(5))
    epoch = parsed(responses.GetEpochInfoResp, world.text("getEpochInfo", PROCESSED)).value
    assert (epoch.epoch, epoch.slot_index, epoch.slots_in_epoch) == (1009, 2, 432_000)
    assert (epoch.absolute_slot, epoch.block_height, epoch.transaction_count) == (435_888_002, 413_888_002, 1)


def test_blockhashes_parse_and_age(world: World) -> None:
    """The newest hash of the commitment with its height, valid until 150 blocks later."""
    world.ticks(3)
    answer = parsed(responses.GetLatestBlockhashResp, world.text("getLatestBlockhash", CONFIRMED))
    blockhash, height = world.cluster.latest_blockhash("confirmed")
    assert (answer.value.blockhash, answer.value.last_valid_block_height) == (blockhash, height)
    assert answer.context.slot == world.cluster.slot("confirmed")

    def valid(commitment: str) -> bool:
        text = world.text("isBlockhashValid", str(blockhash), {"commitment": commitment})
        return bool(parsed(responses.IsBlockhashValidResp, text).value)

    assert (valid("processed"), valid("finalized")) == (True, False)  # finalized has not seen it yet
    world.ticks(149)
    assert (valid("processed"), valid("confirmed")) == (False, True)
    assert world.error("isBlockhashValid", "zz") == refusal("WrongSize")


def test_commitments_have_their_words(world: World) -> None:
    """Finalized is the default, and what anything means that is none of the three words, the older words among them."""
    world.ticks(40)
    others: tuple[Any, ...] = ("recent", "singleGossip", "max", "bogus", 5, [], {}, None)
    for commitment in others:
        assert world.result("getSlot", {"commitment": commitment}) == world.cluster.slot("finalized")
    for commitment in ("processed", "confirmed", "finalized"):
        assert world.result("getSlot", {"commitment": commitment}) == world.cluster.slot(commitment)


def test_a_preflight_commitment_must_be_one(world: World) -> None:
    """Unlike the commitment of a read."""
    transaction = encoded(signed(world.cluster, transfer(5)))
    error = world.error("sendTransaction", transaction, {**BASE64, "preflightCommitment": "recent"})
    words = "unknown variant `recent`, expected one of `processed`, `confirmed`, `finalized`."
    assert error == refusal(f"Invalid params: {words}")


def test_min_context_slot_is_held(world: World) -> None:
    """A node that has not reached the slot says so, with the slot that it has."""
    world.ticks(5)
    slot = world.cluster.slot("confirmed")
    assert world.result("getSlot", {**CONFIRMED, "minContextSlot": slot}) == slot
    expected = refusal("Minimum context slot has not been reached", -32016, data={"contextSlot": slot})

    for method, params in (
        ("getSlot", ()),
        ("getLatestBlockhash", ()),
        ("getBalance", (ALICE_TEXT,)),
        ("getMultipleAccounts", ([ALICE_TEXT],)),
    ):
        assert world.error(method, *params, {**CONFIRMED, "minContextSlot": slot + 1}) == expected
    transaction = encoded(signed(world.cluster, transfer(5)))
    options = {"encoding": "base64", "preflightCommitment": "confirmed", **CONFIRMED, "minContextSlot": slot + 1}
    for method in ("sendTransaction", "simulateTransaction"):
        assert world.error(method, transaction, options) == expected


# --- accounts -----------------------------------------------------------------------------------------------------------------


def test_accounts_parse(world: World) -> None:
    """Balances and accounts of each commitment read as solders' own response types."""
    with_usdc(world.cluster, amount=1_500_000)
    balance = parsed(responses.GetBalanceResp, world.text("getBalance", ALICE_TEXT, PROCESSED))
    assert balance.value == START_LAMPORTS
    assert world.value("getBalance", str(fresh(1))) == 0
    account = parsed(responses.GetAccountInfoResp, world.text("getAccountInfo", str(MINE), {**PROCESSED, "encoding": "base64"}))
    held = world.cluster.read(MINE, "processed")
    assert account.value is not None
    assert held is not None
    assert (account.value.data, account.value.owner) == (held.data, held.owner)
    assert world.value("getAccountInfo", str(MINE), CONFIRMED) is None
    many = world.text("getMultipleAccounts", [ALICE_TEXT, str(fresh(1)), str(MINE)], PROCESSED)
    values = parsed(responses.GetMultipleAccountsResp, many).value
    assert [value is None for value in values] == [False, True, False]


def test_parsed_accounts_parse(world: World) -> None:
    """jsonParsed of token accounts, mints and others."""
    with_usdc(world.cluster, amount=1_500_000)
    options = {**PROCESSED, "encoding": "jsonParsed"}
    text = world.text("getMultipleAccounts", [str(MINE), str(USDC.mint), ALICE_TEXT], options)
    assert len(parsed(responses.GetMultipleAccountsMaybeJsonParsedResp, text).value) == 3
    values = json.loads(text)["result"]["value"]
    assert [value["data"]["parsed"]["type"] for value in values[:2]] == ["account", "mint"]
    assert values[0]["data"]["parsed"]["info"]["tokenAmount"]["uiAmountString"] == "1.5"
    assert values[2]["data"] == ["", "base64"]


def test_token_balances_parse(world: World) -> None:
    """The amount with its decimals; what is no token account is refused."""
    with_usdc(world.cluster, amount=1_500_000)
    answer = parsed(responses.GetTokenAccountBalanceResp, world.text("getTokenAccountBalance", str(MINE), PROCESSED))
    assert (answer.value.amount, answer.value.decimals, answer.value.ui_amount_string) == ("1500000", 6, "1.5")

    missing = refusal("Invalid param: could not find account")
    assert world.error("getTokenAccountBalance", str(fresh(1)), PROCESSED) == missing
    for other in (ALICE_TEXT, str(USDC.mint)):
        assert world.error("getTokenAccountBalance", other, PROCESSED) == refusal("Invalid param: not a Token account")


def test_token_accounts_of_an_owner(world: World) -> None:
    """By mint or by program, only the owner's; wrong filters are refused."""
    with_usdc(world.cluster)
    options = {**PROCESSED, "encoding": "base64"}

    def owned(wanted: dict[str, str]) -> list[str]:
        text = world.text("getTokenAccountsByOwner", ALICE_TEXT, wanted, options)
        return [str(found.pubkey) for found in parsed(responses.GetTokenAccountsByOwnerResp, text).value]

    assert owned({"mint": str(USDC.mint)}) == owned({"programId": str(TOKEN_PROGRAM)}) == [str(MINE)]
    assert owned({"programId": str(TOKEN_2022_PROGRAM)}) == []

    def refused(wanted: Any) -> str:
        return str(world.error("getTokenAccountsByOwner", ALICE_TEXT, wanted, options)["message"])

    assert refused({"mint": ALICE_TEXT}) == "Invalid param: Token mint could not be unpacked"
    assert refused({"mint": str(fresh(1))}) == "Invalid param: could not find mint"
    assert refused({"programId": ALICE_TEXT}) == "Invalid param: unrecognized Token program id"
    assert refused({}) == "Invalid params: invalid value: map, expected map with a single key."
    assert refused({"x": "y"}) == "Invalid params: unknown variant `x`, expected `mint` or `programId`."
    assert refused(5) == "Invalid params: invalid type: integer `5`, expected enum RpcTokenAccountsFilter."


def test_encodings_and_slices_are_checked(world: World) -> None:
    """An unknown encoding, half a slice, a negative one, and base58 of what is too long for it."""
    with_usdc(world.cluster)

    def refused(options: dict[str, Any]) -> dict[str, Any]:
        return dict(world.error("getAccountInfo", str(MINE), {**PROCESSED, **options}))

    known = "`binary`, `base58`, `base64`, `jsonParsed`, `base64+zstd`"
    assert refused({"encoding": "zzz"}) == refusal(f"Invalid params: unknown variant `zzz`, expected one of {known}.")
    assert refused({"encoding": "base64+zstd"})["code"] == -32602
    assert refused({"dataSlice": {"offset": 0}}) == refusal("Invalid params: missing field `length`.")
    negative = refusal("Invalid params: invalid value: integer `-1`, expected usize.")
    assert refused({"dataSlice": {"offset": -1, "length": 2}}) == negative
    too_long = "Encoded binary (base 58) data should be less than 128 bytes, please use Base64 encoding."
    assert refused({}) == refused({"encoding": "base58"}) == refusal(too_long, -32600)
    sliced = {**PROCESSED, "encoding": "base58", "dataSlice": {"offset": 0, "length": 32}}
    assert world.value("getAccountInfo", str(MINE), sliced)["data"] == [str(USDC.mint), "base58"]


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("getBalance", (5,), "Invalid params: invalid type: integer `5`, expected a string."),
        ("getBalance", ("abc",), "Invalid param: WrongSize"),
        ("getBalance", ("1" * 45,), "Invalid param: WrongSize"),
        ("getBalance", ("0OIl",), "Invalid param: Invalid"),
        ("getBalance", (), "`params` should have at least 1 argument(s)"),
        ("getMultipleAccounts", ([ALICE_TEXT] * 101,), "Too many inputs provided; max 100"),
        ("getMultipleAccounts", ("x",), 'Invalid params: invalid type: string "x", expected a sequence.'),
        ("getSignatureStatuses", (["x"],), "Invalid param: WrongSize"),
        ("getSlot", (5,), "Invalid params: invalid type: integer `5`, expected struct RpcContextConfig."),
        ("getMultipleAccounts", ([], {"encoding": 5}), "Invalid params: invalid type: integer `5`, expected string or map."),
        ("getMultipleAccounts", ([], {"encoding": {}}), "Invalid params: invalid value: map, expected map with a single key."),
        (
            "getSlot",
            ({"minContextSlot": 2**64},),
            "Invalid params: invalid type: floating point `1.8446744073709552e19`, expected u64.",
        ),
        ("getSignatureStatuses", ([], {}), "Invalid params: missing field `searchTransactionHistory`."),
        (
            "getSignatureStatuses",
            ([], {"searchTransactionHistory": None}),
            "Invalid params: invalid type: null, expected a boolean.",
        ),
        (
            "getTokenAccountsByOwner",
            (ALICE_TEXT, "mint"),
            "Invalid params: invalid type: unit variant, expected newtype variant.",
        ),
        *(
            (
                "getTransaction",
                ("1" * 64, options),
                "Invalid params: data did not match any variant of untagged enum RpcEncodingConfigWrapper.",
            )
            for options in (
                5,
                {"encoding": "hex"},
                {"maxSupportedTransactionVersion": "0"},
                {"maxSupportedTransactionVersion": 256},
            )
        ),
        ("getSlot", ({"minContextSlot": -1},), "Invalid params: invalid value: integer `-1`, expected u64."),
        ("getSlot", ({"minContextSlot": 1.5},), "Invalid params: invalid type: floating point `1.5`, expected u64."),
        ("getMinimumBalanceForRentExemption", (True,), "Invalid params: invalid type: boolean `true`, expected usize."),
        ("getMinimumBalanceForRentExemption", (None,), "Invalid params: invalid type: null, expected usize."),
        ("getMinimumBalanceForRentExemption", ([],), "Invalid params: invalid type: sequence, expected usize."),
        ("getMinimumBalanceForRentExemption", ({},), "Invalid params: invalid type: map, expected usize."),
        ("requestAirdrop", (ALICE_TEXT,), "`params` should have at least 2 argument(s)"),
    ],
)
def test_wrong_arguments_are_refused_in_serdes_words(world: World, method: str, params: tuple[Any, ...], message: str) -> None:
    """-32602 with the sentence of the library that nodes use."""
    assert world.error(method, *params) == refusal(message)


def test_too_many_arguments_are_refused(world: World) -> None:
    """With how many there were, or what they were when there should be none."""
    got = refusal("Invalid parameters: Expected from 0 to 1 parameters.", data='"Got: 2"')
    assert world.error("getSlot", {}, {}) == got
    none = "Invalid parameters: No parameters were expected"
    assert world.error("getHealth", 1) == refusal(none, data="Array([Number(1)])")
    shown = 'Array([Null, Bool(true), String("x"), Array [Number(1.5)], Object {"a": Null}])'
    assert world.error("getHealth", None, True, "x", [1.5], {"a": None}) == refusal(none, data=shown)


def test_an_account_that_could_never_be_has_no_rent(world: World) -> None:
    """More than ten megabytes are refused."""
    assert world.error("getMinimumBalanceForRentExemption", 100 * 2**20) == refusal("Invalid request", -32600)


# --- statuses and transactions ------------------------------------------------------------------------------------------------


def test_statuses_parse_and_climb(world: World) -> None:
    """Unknown is null; then processed, confirmed, finalized; a failure carries its error both ways."""
    good, bad = signed(world.cluster, transfer(5)), signed(world.cluster, transfer(10**15))
    signatures = [world.send(good), world.send(bad, skipPreflight=True), str(Signature.default())]
    assert world.value("getSignatureStatuses", signatures) == [None, None, None]
    world.cluster.tick()

    answer = parsed(responses.GetSignatureStatusesResp, world.text("getSignatureStatuses", signatures))
    assert [status is None for status in answer.value] == [False, False, True]
    error = {"InstructionError": [0, {"Custom": 1}]}
    statuses = world.value("getSignatureStatuses", signatures)
    common = {"confirmationStatus": "processed", "confirmations": 0, "slot": world.cluster.slot("processed")}
    assert statuses[0] == {**common, "err": None, "status": {"Ok": None}}
    assert statuses[1] == {**common, "err": error, "status": {"Err": error}}
    world.ticks(2)
    assert world.status(good) == "confirmed"
    world.ticks(30)
    assert world.status(good) == "finalized"
    assert world.value("getSignatureStatuses", signatures[:1])[0]["confirmations"] is None


def test_old_statuses_need_a_search(world: World) -> None:
    """After three hundred blocks only searchTransactionHistory finds a status."""
    signature = str(land(world.cluster, transfer(5)).signatures[0])
    world.ticks(300)

    assert world.value("getSignatureStatuses", [signature]) == [None]
    (found,) = world.value("getSignatureStatuses", [signature], {"searchTransactionHistory": True})
    assert found["confirmationStatus"] == "finalized"


def test_at_most_256_signatures(world: World) -> None:
    """256 are answered, 257 refused."""
    unknown = str(Signature.default())

    assert world.value("getSignatureStatuses", [unknown] * 256) == [None] * 256
    assert world.error("getSignatureStatuses", [unknown] * 257) == refusal("Too many inputs provided; max 256")


def test_a_transaction_comes_a_little_after_its_status() -> None:
    """Confirmed first, then for some slots null, then the transaction."""
    world = World(NodeSettings(transaction_delay_slots=3))
    transaction = land(world.cluster, transfer(5))
    signature = str(transaction.signatures[0])
    world.ticks(4)
    assert world.status(transaction) == "confirmed"
    assert world.result("getTransaction", signature, FULL) is None
    world.cluster.tick()

    assert world.result("getTransaction", signature, FULL)["slot"] == world.cluster.slot("processed") - 5
    assert world.result("getTransaction", signature, {"maxSupportedTransactionVersion": 0}) is None  # finalized by default


def test_transactions_parse_with_full_meta(world: World) -> None:
    """Everything that a node tells of a transaction, read as solders' own response type."""
    with_usdc(world.cluster, amount=1_000)
    mine, theirs = MINE, associated_address(BOB.pubkey(), USDC)
    transaction = land(
        world.cluster,
        *budget(limit=100_000, price=10_000),
        create_associated(payer=ALICE.pubkey(), owner=fresh(1), token=USDC),
        transfer_checked(token=USDC, source=mine, destination=theirs, owner=ALICE.pubkey(), amount=300),
    )
    world.ticks(3)
    text = world.text("getTransaction", str(transaction.signatures[0]), FULL)
    answer = parsed(responses.GetTransactionResp, text).value
    assert answer is not None
    result = json.loads(text)["result"]
    meta = result["meta"]

    assert (result["version"], result["blockTime"]) == (0, NOW_NS // 10**9)
    assert (meta["fee"], meta["err"], meta["status"], meta["rewards"]) == (6_000, None, {"Ok": None}, [])
    assert meta["preBalances"][0] - meta["postBalances"][0] == 6_000 + 2_039_280
    moved = {row["owner"]: row["uiTokenAmount"]["amount"] for row in meta["postTokenBalances"]}
    assert moved == {ALICE_TEXT: "700", BOB_TEXT: "300", str(fresh(1)): "0"}
    assert {row["programId"] for row in meta["preTokenBalances"]} == {str(TOKEN_PROGRAM)}
    assert [inner["index"] for inner in meta["innerInstructions"]] == [2]
    assert {called["stackHeight"] for called in meta["innerInstructions"][0]["instructions"]} == {2}
    assert meta["loadedAddresses"] == {"readonly": [], "writable": []}
    assert meta["costUnits"] > meta["computeUnitsConsumed"] > 0
    assert any("success" in line for line in meta["logMessages"])
    assert "returnData" not in meta


def test_what_never_ran_has_no_logs(world: World) -> None:
    """A transaction that only paid tells null for logs and inner instructions, as on Agave since 2.2."""
    transaction = land(world.cluster, Instruction(fresh(1), b"", []))
    world.ticks(3)
    meta = world.result("getTransaction", str(transaction.signatures[0]), FULL)["meta"]

    assert (meta["err"], meta["logMessages"], meta["innerInstructions"]) == ("ProgramAccountNotFound", None, None)
    assert (meta["fee"], meta["computeUnitsConsumed"], meta["costUnits"]) == (FEE, 0, 1_020)


def test_return_data_is_told(world: World) -> None:
    """What the last program returned stands in the metadata and in a simulation."""
    with_usdc(world.cluster)
    size_of_account = Instruction(TOKEN_PROGRAM, b"\x15", [_readonly(USDC.mint)])
    transaction = land(world.cluster, size_of_account)
    world.ticks(3)
    expected = {"data": ["pQAAAAAAAAA=", "base64"], "programId": str(TOKEN_PROGRAM)}

    assert world.result("getTransaction", str(transaction.signatures[0]), FULL)["meta"]["returnData"] == expected
    simulated = world.value("simulateTransaction", encoded(signed(world.cluster, size_of_account)), SIMULATED)
    assert simulated["returnData"] == expected


def _readonly(address: Pubkey) -> AccountMeta:
    return AccountMeta(address, is_signer=False, is_writable=False)


def test_versions_and_encodings_of_transactions(world: World) -> None:
    """-32015 without maxSupportedTransactionVersion for v0; a legacy one needs none; base64 and the older string form."""
    v0 = land(world.cluster, transfer(5))
    legacy = signed_legacy(world.cluster, transfer(6))
    world.cluster.submit(legacy)
    world.ticks(40)
    v0_text, legacy_text = (str(transaction.signatures[0]) for transaction in (v0, legacy))

    assert world.error("getTransaction", v0_text, CONFIRMED) == refusal(
        "Transaction version (0) is not supported by the requesting client. "
        'Please try the request again with the following configuration parameter: "maxSupportedTransactionVersion": 0',
        -32015,
    )
    assert "version" not in world.result("getTransaction", legacy_text, CONFIRMED)
    assert world.result("getTransaction", legacy_text, FULL)["version"] == "legacy"
    wire = world.result("getTransaction", v0_text, {**FULL, "encoding": "base64"})["transaction"]
    assert wire == [encoded(v0), "base64"]
    assert world.result("getTransaction", legacy_text, "base58")["transaction"] == [base58_encode(bytes(legacy)), "base58"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "zz"}, "Invalid params: data did not match any variant of untagged enum RpcEncodingConfigWrapper."),
        ({"commitment": "processed"}, "Method does not support commitment below `confirmed`"),
        ({"encoding": "jsonParsed"}, "jsonParsed encoding of transactions not supported by this localnet"),
        ({"maxSupportedTransactionVersion": "0"}, None),
    ],
)
def test_wrong_questions_about_transactions(world: World, options: dict[str, Any], message: str | None) -> None:
    """An unknown encoding, a commitment that is too weak, a version that is no number."""
    signature = str(land(world.cluster, transfer(5)).signatures[0])
    world.ticks(40)
    error = world.error("getTransaction", signature, options)

    assert error["code"] == -32602
    assert message in (None, error["message"])


# --- fees ---------------------------------------------------------------------------------------------------------------------


def test_recent_fees_parse(world: World) -> None:
    """Slot by slot what landed on the accounts; at most 128 accounts."""
    world.cluster.submit(signed(world.cluster, *budget(price=9_000), transfer(5)))
    world.ticks(3)
    text = world.text("getRecentPrioritizationFees", [BOB_TEXT])
    fees = parsed(responses.GetRecentPrioritizationFeesResp, text).value

    assert [fee.prioritization_fee for fee in fees] == [0, 0, 9_000][-len(fees) :]
    assert fees[-1].slot == world.cluster.slot("confirmed")
    assert world.result("getRecentPrioritizationFees")[-1]["prioritizationFee"] == 0
    assert world.result("getRecentPrioritizationFees", [str(fresh(1))] * 128)[-1]["prioritizationFee"] == 0
    too_many = refusal("Too many inputs provided; max 128")
    assert world.error("getRecentPrioritizationFees", [str(fresh(1))] * 129) == too_many


def test_the_fee_of_a_message(world: World) -> None:
    """What it will cost, or null when its blockhash is dead; nonsense is refused."""

    def message(transaction: VersionedTransaction) -> str:
        return base64.b64encode(to_bytes_versioned(transaction.message)).decode()

    good = message(signed(world.cluster, *budget(limit=100_000, price=10_000), transfer(5)))
    dead = message(signed(world.cluster, transfer(5), blockhash=Hash(b"\7" * 32)))
    answer = parsed(responses.GetFeeForMessageResp, world.text("getFeeForMessage", good, PROCESSED))
    assert answer.value == 6_000
    assert world.value("getFeeForMessage", dead, PROCESSED) is None
    kind = "solana_message::non_bpf_modules::versions::VersionedMessage"
    broken = refusal(f"failed to deserialize {kind}: io error: failed to fill whole buffer")
    assert world.error("getFeeForMessage", "AAAA") == broken
    assert world.error("getFeeForMessage", "!!") == refusal("invalid base64 encoding: InvalidByte(0, 33)")


def test_airdrops(world: World) -> None:
    """A signature that lands and the lamports that came."""
    signature = world.result("requestAirdrop", str(fresh(1)), 5 * RENT)
    world.cluster.tick()

    assert world.value("getSignatureStatuses", [signature])[0]["err"] is None
    assert world.value("getBalance", str(fresh(1)), PROCESSED) == 5 * RENT


# --- simulation ---------------------------------------------------------------------------------------------------------------


def test_simulations_parse_and_tell_all(world: World) -> None:
    """The members of Agave 3.1, with accounts and inner instructions where asked."""
    with_usdc(world.cluster, amount=1_000)
    new = associated_address(fresh(1), USDC)
    create = create_associated(payer=ALICE.pubkey(), owner=fresh(1), token=USDC)
    options = {
        **SIMULATED,
        "sigVerify": True,
        "innerInstructions": True,
        "accounts": {"encoding": "base64", "addresses": [str(new), str(fresh(2)), BOB_TEXT]},
    }
    text = world.text("simulateTransaction", encoded(signed(world.cluster, create, transfer(5))), options)
    assert parsed(responses.SimulateTransactionResp, text).value.err is None
    value = json.loads(text)["result"]["value"]

    assert value["accounts"][0]["space"] == 165
    assert value["accounts"][1] is None
    assert value["accounts"][2]["lamports"] == START_LAMPORTS + 5
    assert (value["fee"], value["err"], value["replacementBlockhash"]) == (FEE, None, None)
    assert value["preBalances"][0] - value["postBalances"][0] == FEE + 5 + 2_039_280
    assert value["preTokenBalances"] == []
    assert value["postTokenBalances"][0]["owner"] == str(fresh(1))
    assert value["loadedAddresses"] == {"readonly": [], "writable": []}
    assert value["unitsConsumed"] > 0
    assert value["loadedAccountsDataSize"] > 0
    called = value["innerInstructions"][0]["instructions"][0]
    assert called == {
        "accounts": [str(USDC.mint)],
        "data": "84eT",
        "programId": str(TOKEN_PROGRAM),
        "stackHeight": 2,
    }


def test_a_replaced_blockhash_is_told(world: World) -> None:
    """A dead blockhash is replaced by the newest of the commitment, told with its height; signatures need not fit."""
    for make in (signed, signed_legacy):
        good = make(world.cluster, transfer(5))
        unsigned = VersionedTransaction.populate(good.message, [Signature.default()])
        world.ticks(160)
        options = {**SIMULATED, "replaceRecentBlockhash": True}
        value = world.value("simulateTransaction", encoded(unsigned), options)

        blockhash, height = world.cluster.latest_blockhash("processed")
        assert value["err"] is None
        assert value["replacementBlockhash"] == {"blockhash": str(blockhash), "lastValidBlockHeight": height}
        assert world.value("simulateTransaction", encoded(unsigned), SIMULATED)["err"] == "BlockhashNotFound"


def test_failed_simulations_are_answers(world: World) -> None:
    """The error, logs and what it would cost, as a result; no accounts."""
    options = {**SIMULATED, "innerInstructions": True, "accounts": {"addresses": [BOB_TEXT]}}
    value = world.value("simulateTransaction", encoded(signed(world.cluster, transfer(10**15))), options)

    assert value["err"] == {"InstructionError": [0, {"Custom": 1}]}
    assert value["accounts"] == [None]
    assert (value["fee"], value["innerInstructions"], value["unitsConsumed"]) == (FEE, [], 150)
    assert value["loadedAccountsDataSize"] == 206  # Alice, Bob and the System program: 64 + 64 + 78, as Agave counts
    assert value["preBalances"][0] - value["postBalances"][0] == FEE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigVerify": True, "replaceRecentBlockhash": True}, "sigVerify may not be used with replaceRecentBlockhash"),
        ({"accounts": {"addresses": [BOB_TEXT] * 4}}, "Too many accounts provided; max 3"),
        ({"accounts": {"encoding": "base58", "addresses": []}}, "base58 encoding not supported"),
        ({"accounts": {"addresses": ["x"]}}, "Invalid param: WrongSize"),
        ({"sigVerify": 1}, "Invalid params: invalid type: integer `1`, expected a boolean."),
        ({"encoding": "json"}, "unsupported encoding: json. Supported encodings: base58, base64"),
    ],
)
def test_wrong_simulations_are_refused(world: World, options: dict[str, Any], message: str) -> None:
    """What excludes itself or exceeds the transaction's accounts, in a node's words."""
    transaction = encoded(signed(world.cluster, transfer(5)))

    assert world.error("simulateTransaction", transaction, {**SIMULATED, **options}) == refusal(message)


def test_a_simulation_with_a_bad_signature() -> None:
    """Agave 3.1 answers it as a failed simulation, older nodes as an error of its own."""
    world, old = World(), World(NodeSettings(version="2.3.13"))
    good = signed(world.cluster, transfer(5))
    forged = encoded(VersionedTransaction.populate(good.message, [Signature.default()]))
    options = {**SIMULATED, "sigVerify": True}
    value = world.value("simulateTransaction", forged, options)

    assert (value["err"], value["fee"], value["logs"], value["preBalances"]) == ("SignatureFailure", None, [], None)
    error = old.error("simulateTransaction", forged, options)
    assert error == refusal("Transaction signature verification failure", -32003)
    assert "fee" not in old.value("simulateTransaction", encoded(good), SIMULATED)


# --- sending ------------------------------------------------------------------------------------------------------------------

UNRUN: dict[str, Any] = {
    "accounts": None,
    "fee": None,
    "innerInstructions": None,
    "loadedAccountsDataSize": 0,
    "loadedAddresses": None,
    "logs": [],
    "postBalances": None,
    "postTokenBalances": None,
    "preBalances": None,
    "preTokenBalances": None,
    "replacementBlockhash": None,
    "returnData": None,
    "unitsConsumed": 0,
}
"""What a preflight tells of a transaction that did not run."""


def test_a_good_transaction_is_sent(world: World) -> None:
    """Answered with its signature, it lands in the next block; base58 is the default encoding."""
    first, second = signed(world.cluster, transfer(5)), signed(world.cluster, transfer(6))
    text = world.text("sendTransaction", encoded(first), BASE64)
    assert parsed(responses.SendTransactionResp, text).value == first.signatures[0]
    assert world.result("sendTransaction", base58_encode(bytes(second)), {"preflightCommitment": "processed"})
    world.cluster.tick()

    assert (world.status(first), world.status(second)) == ("processed", "processed")


def test_preflight_tells_what_fails(world: World) -> None:
    """-32002 with the simulation as data and a message in a node's words; nothing is sent."""
    transaction = signed(world.cluster, transfer(10**15))
    text = world.text("sendTransaction", encoded(transaction), BASE64)
    assert isinstance(parsed(responses.SendTransactionResp, text), SendTransactionPreflightFailureMessage)
    error = json.loads(text)["error"]

    assert error["code"] == -32002
    assert error["message"] == "Transaction simulation failed: Error processing Instruction 0: custom program error: 0x1"
    assert error["data"] == {
        **UNRUN,
        "err": {"InstructionError": [0, {"Custom": 1}]},
        "fee": FEE,
        "loadedAccountsDataSize": 206,
        "logs": [
            "Program 11111111111111111111111111111111 invoke [1]",
            f"Transfer: insufficient lamports {START_LAMPORTS - FEE}, need {10**15}",
            "Program 11111111111111111111111111111111 failed: custom program error: 0x1",
        ],
        "unitsConsumed": 150,
    }
    world.cluster.tick()
    assert world.status(transaction) is None


def test_preflight_uses_its_commitment(world: World) -> None:
    """By default finalized, where a newer blockhash is not known; with skipPreflight nothing is asked."""
    world.ticks(3)
    transaction = signed(world.cluster, transfer(5))
    error = world.error("sendTransaction", encoded(transaction), {"encoding": "base64"})
    assert error["message"] == "Transaction simulation failed: Blockhash not found"
    assert error["data"] == {**UNRUN, "err": "BlockhashNotFound"}
    at_confirmed = {"encoding": "base64", "preflightCommitment": "confirmed"}
    assert world.error("sendTransaction", encoded(transaction), at_confirmed)["data"]["err"] == "BlockhashNotFound"

    assert world.send(transaction, skipPreflight=True) == str(transaction.signatures[0])


def test_a_landed_duplicate(world: World) -> None:
    """With preflight it is refused as already processed, without it is answered with its signature; it lands once."""
    transaction = land(world.cluster, transfer(5))
    error = world.error("sendTransaction", encoded(transaction), BASE64)
    assert error["message"] == "Transaction simulation failed: This transaction has already been processed"
    assert error["data"] == {**UNRUN, "err": "AlreadyProcessed"}
    assert world.send(transaction, skipPreflight=True) == str(transaction.signatures[0])
    world.cluster.tick()

    assert world.cluster.transaction_count == 1


def test_bad_signatures() -> None:
    """Agave 3.1 fails the preflight, older nodes answer -32003; without preflight the leader throws it away."""
    world, old = World(), World(NodeSettings(version="3.0.14"))
    good = signed(world.cluster, transfer(5))
    forged = VersionedTransaction.populate(good.message, [Signature.default()])
    error = world.error("sendTransaction", encoded(forged), BASE64)
    assert error["message"] == "Transaction simulation failed: Transaction did not pass signature verification"
    assert error["data"] == {**UNRUN, "err": "SignatureFailure"}
    verification = refusal("Transaction signature verification failure", -32003)
    assert old.error("sendTransaction", encoded(forged), BASE64) == verification
    assert world.send(forged, skipPreflight=True) == str(Signature.default())
    world.cluster.tick()

    assert world.cluster.transaction_count == 0


def unsigned(transaction: VersionedTransaction) -> VersionedTransaction:
    """Without its signature."""
    return VersionedTransaction.populate(transaction.message, [])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (unsigned, "Transaction failed to sanitize accounts offsets correctly"),
        (lambda t: VersionedTransaction.populate(t.message, [t.signatures[0]] * 2), None),
    ],
)
def test_wrong_numbers_of_signatures_are_refused(
    world: World, broken: Callable[[VersionedTransaction], VersionedTransaction], message: str | None
) -> None:
    """As on Agave 3.1 they make an invalid transaction, with preflight and without."""
    wrong = encoded(broken(signed(world.cluster, transfer(5))))
    expected = f"invalid transaction: {message or 'Transaction failed to sanitize accounts offsets correctly'}"

    for skip in (False, True):
        assert world.error("sendTransaction", wrong, {**BASE64, "skipPreflight": skip}) == refusal(expected)


def test_broken_budgets_and_tables_are_refused(world: World) -> None:
    """A duplicate compute budget instruction and a missing lookup table make an invalid transaction."""
    table = AddressLookupTableAccount(fresh(9), [BOB.pubkey()])
    doubled = encoded(signed(world.cluster, *budget(), *budget(), transfer(5)))
    lost = encoded(signed(world.cluster, transfer(5), tables=[table]))

    assert world.error("sendTransaction", doubled, BASE64) == refusal(
        "invalid transaction: Transaction contains a duplicate instruction (2) that is not allowed"
    )
    assert world.error("simulateTransaction", lost, SIMULATED) == refusal(
        "invalid transaction: Transaction loads an address table account that doesn't exist"
    )


def test_loaded_addresses_are_told(world: World) -> None:
    """Of a landed transaction and of a simulation, by how they are used."""
    world.cluster.set_account(fresh(9), lookup_table([fresh(8), BOB.pubkey()]))
    world.cluster.tick()
    table = AddressLookupTableAccount(fresh(9), [fresh(8), BOB.pubkey()])
    transaction = signed(world.cluster, transfer(5), tables=[table])
    expected = {"readonly": [], "writable": [BOB_TEXT]}
    simulated = world.value("simulateTransaction", encoded(transaction), SIMULATED)
    assert simulated["loadedAddresses"] == expected
    world.send(transaction)
    world.ticks(4)

    result = world.result("getTransaction", str(transaction.signatures[0]), FULL)
    assert result["meta"]["loadedAddresses"] == expected
    assert result["transaction"]["message"]["addressTableLookups"] == [
        {"accountKey": str(fresh(9)), "readonlyIndexes": [], "writableIndexes": [1]}
    ]


KIND = "solana_transaction::versioned::VersionedTransaction"


@pytest.mark.parametrize(
    ("text", "encoding", "message"),
    [
        ("A" * 1_648, "base64", f"base64 encoded {KIND} too large: 1648 bytes (max: encoded/raw 1644/1232)"),
        ("1" * 1_684, "base58", f"base58 encoded {KIND} too large: 1684 bytes (max: encoded/raw 1683/1232)"),
        (base64.b64encode(bytes(1_233)).decode(), "base64", f"decoded {KIND} too large: 1233 bytes (max: 1232 bytes)"),
        ("!!!", "base64", "invalid base64 encoding: InvalidByte(0, 33)"),
        ("AAA", "base64", "invalid base64 encoding: InvalidPadding"),
        ("0OIl", "base58", "invalid base58 encoding: InvalidCharacter { character: '0', index: 0 }"),
        ("AAAA", "base64", f"failed to deserialize {KIND}: io error: failed to fill whole buffer"),
        ("", "base64", f"failed to deserialize {KIND}: io error: failed to fill whole buffer"),
    ],
)
def test_what_cannot_be_decoded_is_refused(world: World, text: str, encoding: str, message: str) -> None:
    """Too large, not in the encoding, or no transaction: -32602 in a node's words."""
    assert world.error("sendTransaction", text, {"encoding": encoding}) == refusal(message)


def test_a_version_that_is_not_known_is_refused(world: World) -> None:
    """A v1 message cannot be read by a node of this version, nor can one that no version knows."""
    blockhash, _ = world.cluster.latest_blockhash("processed")
    v1 = VersionedTransaction(MessageV1.try_compile(ALICE.pubkey(), [transfer(5)], blockhash), [ALICE])
    v9 = bytearray(bytes(signed(world.cluster, transfer(5))))
    v9[65] = 0x89

    for wire in (bytes(v1), bytes(v9)):
        error = world.error("sendTransaction", base64.b64encode(wire).decode(), BASE64)
        assert error["code"] == -32602
        assert error["message"].startswith("failed to deserialize")


def test_a_node_resends_by_itself(world: World) -> None:
    """Without maxRetries a dropped transaction lands again; with 0 it is gone."""
    kept, lost = signed(world.cluster, transfer(5)), signed(world.cluster, transfer(6))
    world.result("sendTransaction", encoded(kept), BASE64)
    world.send(lost)
    world.cluster.tick()
    world.cluster.drop_blocks(1)
    world.ticks(6)

    assert (world.status(kept) is not None, world.status(lost)) == (True, None)


# --- a node that is late ------------------------------------------------------------------------------------------------------


def test_a_late_node_lives_in_the_past() -> None:
    """Its slot, height, blockhash, accounts, statuses and transactions are old; its answers say so in their context."""
    world = World(lag_slots=20)
    now = Node(world.cluster, "b")
    world.ticks(60)
    transaction = land(world.cluster, transfer(5))
    signature = str(transaction.signatures[0])
    world.ticks(4)

    assert world.result("getSlot", PROCESSED) == now.call("getSlot", PROCESSED) - 20
    assert world.result("getBlockHeight", PROCESSED) == now.call("getBlockHeight", PROCESSED) - 20
    assert world.result("getBalance", BOB_TEXT, PROCESSED) == {
        "context": {"apiVersion": "3.1.8", "slot": world.cluster.slot("processed") - 20},
        "value": START_LAMPORTS,
    }
    assert now.call("getBalance", BOB_TEXT, PROCESSED)["value"] == START_LAMPORTS + 5
    assert world.status(transaction) is None
    assert world.result("getTransaction", signature, FULL) is None
    assert now.call("getTransaction", signature, FULL) is not None
    newest = now.call("getLatestBlockhash", PROCESSED)["value"]["blockhash"]
    assert world.value("isBlockhashValid", newest, PROCESSED) is False
    fresh_hash = signed(world.cluster, transfer(6))
    assert world.error("sendTransaction", encoded(fresh_hash), BASE64)["data"]["err"] == "BlockhashNotFound"
    assert world.result("getHealth") == "ok"
    world.ticks(20)
    assert world.status(transaction) == "confirmed"


def test_a_node_far_behind_is_unhealthy() -> None:
    """Beyond 128 slots it says by how many, and takes no transaction that it should check; without preflight it does."""
    world = World(lag_slots=129)
    world.ticks(200)
    unhealthy = refusal("Node is behind by 129 slots", -32005, data={"numSlotsBehind": 129})
    text = world.text("getHealth")
    assert isinstance(parsed(responses.GetHealthResp, text), NodeUnhealthyMessage)
    transaction = signed(world.cluster, transfer(5))

    assert world.error("getHealth") == world.error("sendTransaction", encoded(transaction), BASE64) == unhealthy
    assert world.node.answer(HttpRequest(method="GET", path="/health")).body == b"behind"
    world.send(transaction, skipPreflight=True)
    world.cluster.tick()
    assert world.cluster.status(transaction.signatures[0]) is not None


# --- faults of the node -------------------------------------------------------------------------------------------------------


def test_ordered_lag_strikes_one_call(world: World) -> None:
    """The next call is answered from the past, the one after it is not."""
    world.ticks(60)
    world.order(Lag(slots=40))
    slots = [world.result("getSlot", PROCESSED) for _ in range(2)]

    assert slots[1] - slots[0] == 40


def test_ordered_errors_are_answered(world: World) -> None:
    """Any JSON-RPC error, with its data; the call is not carried out."""
    world.order(RpcFault(code=-32013, message="Transaction signature length mismatch"), RpcFault(code=-32603, data={"a": 1}))
    transaction = signed(world.cluster, transfer(5))

    assert world.error("sendTransaction", encoded(transaction), BASE64)["code"] == -32013
    assert world.error("getSlot") == refusal("Internal error", -32603, data={"a": 1})
    world.cluster.tick()
    assert world.status(transaction) is None


def test_an_ordered_error_can_hide_that_the_call_was_carried_out(world: World) -> None:
    """As behind a proxy that asked twice: the answer is a refusal, and the transaction lands."""
    world.order(RpcFault(code=-32602, message="invalid transaction", executed=True))
    transaction = signed(world.cluster, transfer(5))

    assert world.error("sendTransaction", encoded(transaction), BASE64)["code"] == -32602
    world.cluster.tick()
    assert world.status(transaction) is not None


def test_lost_sends_are_answered_and_forgotten(world: World) -> None:
    """The signature comes back as always, and nothing lands until it is sent again; other calls pass by the order."""
    world.order(LostSend())
    world.result("getSlot")
    transaction = signed(world.cluster, transfer(5))
    assert world.send(transaction) == str(transaction.signatures[0])
    world.ticks(10)
    assert world.status(transaction) is None
    world.send(transaction)
    world.cluster.tick()

    assert world.status(transaction) == "processed"


def test_late_and_duplicate_landings(world: World) -> None:
    """One lands slots later; another reaches the leaders twice and lands once."""
    world.order(LateLanding(slots=3), DuplicateLanding(slots=2))
    late, twice = signed(world.cluster, transfer(5)), signed(world.cluster, transfer(6))
    world.send(late)
    world.send(twice)
    assert world.cluster.queued_count == 3
    world.ticks(2)
    assert (world.status(late), world.status(twice)) == (None, "processed")
    world.ticks(2)

    assert world.status(late) == "processed"
    assert world.cluster.transaction_count == 2


@pytest.mark.parametrize("requeue", [False, True])
def test_the_block_of_a_send_can_be_dropped(world: World, requeue: bool) -> None:
    """Processed is seen and vanishes; with requeue it is in the next block by itself."""
    world.order(DroppedBlock(requeue=requeue))
    transaction = signed(world.cluster, transfer(5))
    world.send(transaction)
    world.cluster.tick()
    assert world.status(transaction) == "processed"
    world.cluster.tick()

    assert world.status(transaction) == ("processed" if requeue else None)


# --- JSON-RPC over HTTP -------------------------------------------------------------------------------------------------------


def answered(number: object = 1, **outcome: Any) -> dict[str, Any]:
    """An answer document."""
    return {"jsonrpc": "2.0", "id": number, **outcome}


UNREADABLE = answered(None, error=refusal("Parse error", -32700))
INVALID = answered(error=refusal("Invalid request", -32600))


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b"{", UNREADABLE),
        (b"1", UNREADABLE),
        (b'{"jsonrpc":"2.0","id":NaN,"method":"getHealth"}', UNREADABLE),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"getHealth"}', UNREADABLE),
        (b'{"jsonrpc":"2.0","id":{"a":1},"method":"getHealth"}', UNREADABLE),
        (b'[1,{"jsonrpc":"2.0","id":5,"method":"getHealth"}]', UNREADABLE),
        (b'{"id":1,"method":"getHealth"}', {"error": refusal("Unsupported JSON-RPC protocol version", -32600), "id": 1}),
        (b'{"jsonrpc":"1.0","id":1,"method":"getHealth"}', INVALID),
        (b'{"jsonrpc":"2.0","id":1}', INVALID),
        (b'{"jsonrpc":"2.0","id":1,"method":"getHealth","x":1}', INVALID),
        (b'{"jsonrpc":"2.0","id":1,"method":"getHealth","params":"x"}', INVALID),
        (b'{"jsonrpc":"2.0","id":1,"method":"getSlot","params":{}}', answered(error=refusal("`params` should be an array"))),
        (b'{"jsonrpc":"2.0","id":"a","method":"nope"}', answered("a", error=refusal("Method not found", -32601))),
        (b'{"jsonrpc":"2.0","id":null,"method":"getHealth"}', answered(None, result="ok")),
        (b'{"jsonrpc":"2.0","id":1,"method":"getHealth"}', answered(result="ok")),
    ],
)
def test_documents_are_answered_as_by_a_node(world: World, body: bytes, answer: Any) -> None:
    """What is broken, incomplete or of another version, each with a node's code and words, under status 200."""
    reply = world.post(body)

    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    assert json.loads(reply.body) == answer


def test_batches_keep_their_order_and_fail_one_by_one(world: World) -> None:
    """Each call has its own answer; notifications are carried out and not answered; an empty batch has an empty body."""
    calls = [
        {"jsonrpc": "2.0", "id": 1, "method": "getHealth"},
        {"jsonrpc": "2.0", "id": 2, "method": "nope"},
        {"jsonrpc": "2.0", "method": "requestAirdrop", "params": [str(fresh(1)), RENT]},
        {"jsonrpc": "2.0", "id": 3, "method": "getBalance", "params": [ALICE_TEXT, PROCESSED]},
    ]
    answers = json.loads(world.post(json.dumps(calls).encode()).body)
    world.cluster.tick()

    assert [answer["id"] for answer in answers] == [1, 2, 3]
    assert ["error" in answer for answer in answers] == [False, True, False]
    assert world.value("getBalance", str(fresh(1)), PROCESSED) == RENT
    assert world.post(b"[]").body == world.post(json.dumps(calls[2:3]).encode()).body == b""


def test_http_is_refused_as_by_a_node(world: World) -> None:
    """Wrong method, wrong content type, too large; /health and OPTIONS answer."""

    def status(method: str, path: str = "/", content_type: str = "application/json", body: bytes = b"{}") -> int:
        request = HttpRequest(method=method, path=path, headers={"content-type": content_type}, body=body)
        return world.node.answer(request).status

    assert (status("GET"), status("PUT"), status("OPTIONS")) == (405, 405, 200)
    assert (status("POST", content_type="text/plain"), status("POST", content_type="")) == (415, 415)
    assert status("POST", content_type="application/json; charset=utf-8") == 200
    assert status("POST", body=b" " * (MAX_BODY_BYTES + 1)) == 413
    assert world.node.answer(HttpRequest(method="GET", path="/health")).body == b"ok"


def test_an_exchange_names_its_calls(world: World) -> None:
    """Before anything is carried out, a reader knows which methods a body calls; of what cannot be read, none."""
    body = json.dumps([{"jsonrpc": "2.0", "id": i, "method": m} for i, m in enumerate(("getSlot", "getHealth"))]).encode()
    headers = {"content-type": "application/json"}
    read = world.node.read

    assert read(HttpRequest(method="POST", path="/", headers=headers, body=body)).operations == ("getSlot", "getHealth")
    assert read(HttpRequest(method="POST", path="/", headers=headers, body=b"{")).operations == ()
    assert read(HttpRequest(method="GET", path="/")).operations == ()
    assert world.node.target == "node:a"


# --- as a real validator was seen to answer ------------------------------------------------------------------------------------


def test_a_body_that_is_no_text_is_refused_before_it_is_read(world: World) -> None:
    """With the place of the first byte that is wrong."""
    reply = world.post(b'{"jsonrpc":"2.0\xff"}')
    assert (reply.status, reply.body) == (400, b"utf-8 encoding error at byte 15 in request body")


def test_token_balances_are_told_where_a_token_program_is_named(world: World) -> None:
    """A transaction that pays lamports into a token account does not name one, and has no such rows."""
    with_usdc(world.cluster)
    into = transfer_lamports(source=ALICE.pubkey(), destination=MINE, lamports=7)
    value = world.value("simulateTransaction", encoded(signed(world.cluster, into)), SIMULATED)
    assert (value["err"], value["preTokenBalances"], value["postTokenBalances"]) == (None, [], [])


def test_an_account_that_is_no_program_is_told_from_one_that_is_not_there(world: World) -> None:
    """A wallet cannot be executed; an address without an account cannot be loaded."""
    with_usdc(world.cluster)
    for program, error in ((MINE, "InvalidProgramForExecution"), (fresh(77), "ProgramAccountNotFound")):
        transaction = signed(world.cluster, Instruction(program, b"", []))
        assert world.value("simulateTransaction", encoded(transaction), SIMULATED)["err"] == error


def test_bytes_behind_a_transaction_keep_it_from_landing(world: World) -> None:
    """The node answers with its signature all the same; the leaders drop what is not exactly a transaction."""
    transaction = signed(world.cluster, transfer(5))
    longer = base64.b64encode(bytes(transaction) + b"\0").decode()
    assert world.result("sendTransaction", longer, BASE64) == str(transaction.signatures[0])
    world.ticks(10)
    assert world.status(transaction) is None
    world.send(transaction)
    world.ticks(1)
    assert world.status(transaction) == "processed"


def test_an_account_that_a_simulation_closes_is_shown_empty(world: World) -> None:
    """Null is an account that is not there before, either."""
    world.cluster.set_account(SOL.mint, mint_account(SOL, supply=0))
    gone = associated_address(ALICE.pubkey(), SOL)
    closing = close_account(token=SOL, account=gone, destination=ALICE.pubkey(), owner=ALICE.pubkey())
    opening = create_associated(payer=ALICE.pubkey(), owner=ALICE.pubkey(), token=SOL)
    options = {**SIMULATED, "accounts": {"encoding": "base64", "addresses": [str(gone), str(fresh(78))]}}
    value = world.value("simulateTransaction", encoded(signed(world.cluster, opening, closing)), options)
    closed, unknown = value["accounts"]
    assert (value["err"], closed["lamports"], closed["data"], unknown) == (None, 0, ["", "base64"], None)


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        (b"\1" + bytes(64) + b"\x81" + bytes(100), "invalid value: integer `1`, expected a valid transaction message version"),
        (b"\1" + bytes(64) + b"\x85" + bytes(100), "invalid value: integer `5`, expected a valid transaction message version"),
        (b"", "io error: failed to fill whole buffer"),
        (b"\1" + bytes(64), "io error: failed to fill whole buffer"),
    ],
)
def test_versions_to_come_are_refused_by_their_number(world: World, wire: bytes, words: str) -> None:
    """What is no transaction at all is refused otherwise."""
    error = world.error("sendTransaction", base64.b64encode(wire).decode(), BASE64)
    assert error == refusal(f"failed to deserialize solana_transaction::versioned::VersionedTransaction: {words}")


def test_binary_is_the_older_name_of_base58(world: World) -> None:
    """Of a transaction that is sent."""
    assert world.error("sendTransaction", "0OIl", {"encoding": "binary"}) == world.error(
        "sendTransaction", "0OIl", {"encoding": "base58"}
    )


def test_accounts_of_a_simulation_need_addresses(world: World) -> None:
    """An empty object is missing them."""
    transaction = encoded(signed(world.cluster, transfer(5)))
    error = world.error("simulateTransaction", transaction, {**SIMULATED, "accounts": {}})
    assert error == refusal("Invalid params: missing field `addresses`.")

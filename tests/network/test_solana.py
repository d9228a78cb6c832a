"""The JSON-RPC client: what goes out, what comes back, and what a wrong answer is called."""

import base64
import json
import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from executor.errors import ErrorCode
from executor.faults import Reaction, TransportError, after_send, failing_program
from executor.network.reader import Reader, WrongField
from executor.network.solana import (
    MAX_ACCOUNTS_PER_CALL,
    MAX_FEE_ACCOUNTS_PER_CALL,
    MAX_SIGNATURES_PER_CALL,
    AccountInfo,
    BlockhashValidity,
    ConfirmedTransaction,
    EpochInfo,
    LatestBlockhash,
    Node,
    SignatureStatus,
    SlotFee,
    _simulation,
    confirmed_transaction,
)
from tests.support.clients import seeded
from tests.support.recorded import recorded, recorded_names
from tests.support.upstream import (
    Reply,
    Truncated,
    Upstream,
    json_reply,
    rpc_error,
    rpc_result,
    rpc_wrong_id,
)

PAYER = Keypair.from_seed(bytes(range(32)))
TARGET = Pubkey.from_string("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v")
MINT = Pubkey.from_string("So11111111111111111111111111111111111111112")
BLOCKHASH = Hash.from_string("3k6ad43jAdpwpLbGtEvKAnhmw29BiZtTinwE4oKSZkFT")
SIGNATURE = Signature.from_bytes(bytes(range(64)))


def make_wire() -> bytes:
    """A signed transaction."""
    instruction = transfer(TransferParams(from_pubkey=PAYER.pubkey(), to_pubkey=TARGET, lamports=1))
    message = MessageV0.try_compile(PAYER.pubkey(), [instruction], [], BLOCKHASH)
    return bytes(VersionedTransaction(message, [PAYER]))


WIRE = make_wire()
OWN_SIGNATURE = str(VersionedTransaction.from_bytes(WIRE).signatures[0])
KEYS = (PAYER.pubkey(), TARGET, Pubkey.default())


def context(value: object, slot: int = 42) -> dict[str, object]:
    """A result with its context."""
    return {"context": {"apiVersion": "4.3.0", "slot": slot}, "value": value}


def account(data: bytes = b"\1\2", lamports: int = 7) -> dict[str, object]:
    """An account as nodes write it."""
    return {
        "lamports": lamports,
        "owner": str(TARGET),
        "data": [base64.b64encode(data).decode(), "base64"],
        "executable": False,
        "rentEpoch": 18446744073709551615,
        "space": len(data),
    }


def params_of(upstream: Upstream) -> Any:
    """The parameters of the only call."""
    (request,) = upstream.requests
    return request.json["params"]


async def refusal(call: Callable[[], Awaitable[object]]) -> TransportError:
    """The error of a call."""
    with pytest.raises(TransportError) as caught:
        await call()
    return caught.value


# --- the calls ---


async def test_a_call_is_json_rpc_over_post(upstream: Upstream, node: Node) -> None:
    """Version, method, parameters, a new id each time."""
    upstream.always("getSlot", rpc_result(5))
    await node.slot("processed")
    await node.slot()
    first, second = upstream.requests

    assert (first.method, first.headers["content-type"]) == ("POST", "application/json")
    assert first.json | {"id": 0} == {"jsonrpc": "2.0", "id": 0, "method": "getSlot", "params": [{"commitment": "processed"}]}
    assert second.json["params"] == [{"commitment": "confirmed"}]
    assert first.json["id"] != second.json["id"]


async def test_latest_blockhash(upstream: Upstream, node: Node) -> None:
    """Hash, last valid height and the slot of the bank that gave it."""
    upstream.script("getLatestBlockhash", rpc_result(context({"blockhash": str(BLOCKHASH), "lastValidBlockHeight": 300})))

    assert await node.latest_blockhash() == LatestBlockhash(blockhash=BLOCKHASH, last_valid_block_height=300, context_slot=42)
    assert params_of(upstream) == [{"commitment": "confirmed"}]


async def test_rent(upstream: Upstream, node: Node) -> None:
    """A plain integer for a size."""
    upstream.script("getMinimumBalanceForRentExemption", rpc_result(2_039_280))

    assert await node.minimum_balance(165) == 2_039_280
    assert params_of(upstream) == [165]


EPOCH_INFO: dict[str, object] = {
    "absoluteSlot": 166_598,
    "blockHeight": 166_500,
    "epoch": 27,
    "slotIndex": 2_790,
    "slotsInEpoch": 8_192,
    "transactionCount": None,
}


async def test_slot_and_height_come_in_one_answer(upstream: Upstream, node: Node) -> None:
    """Of one machine, at the commitment that was asked for; the slot stands in the node's health as well."""
    upstream.always("getEpochInfo", rpc_result(EPOCH_INFO))

    assert await node.epoch_info("finalized") == EpochInfo(slot=166_598, block_height=166_500)
    assert params_of(upstream) == [{"commitment": "finalized"}]
    assert node.endpoint_health.last_slot == 166_598


@pytest.mark.parametrize("valid", [True, False])
async def test_the_validity_of_a_blockhash(valid: bool, upstream: Upstream, node: Node) -> None:
    """With the slot for which it is said, of a machine that has reached the slot that was asked for."""
    upstream.always("isBlockhashValid", rpc_result(context(valid, 51)))

    assert await node.blockhash_validity(BLOCKHASH, commitment="processed", min_context_slot=50) == BlockhashValidity(
        slot=51, valid=valid
    )
    assert params_of(upstream) == [str(BLOCKHASH), {"commitment": "processed", "minContextSlot": 50}]
    assert node.endpoint_health.last_slot == 51


async def test_a_slot_that_was_not_reached_is_another_node_s_business(upstream: Upstream, node: Node) -> None:
    """A machine that lags says so instead of answering; without a slot to reach none is asked for."""
    upstream.script("isBlockhashValid", rpc_error(-32016, "Minimum context slot has not been reached", {"contextSlot": 49}))
    upstream.script("isBlockhashValid", rpc_result(context(value=False)))
    error = await refusal(lambda: node.blockhash_validity(BLOCKHASH, min_context_slot=50))
    await node.blockhash_validity(BLOCKHASH)

    assert error.fault.reaction is Reaction.OTHER_NODE
    assert upstream.requests[1].json["params"][1] == {"commitment": "confirmed"}


async def test_health(upstream: Upstream, node: Node) -> None:
    """`ok` is the only healthy answer."""
    upstream.script("getHealth", rpc_result("ok"), rpc_error(-32005, "Node is behind by 42 slots", {"numSlotsBehind": 42}))
    upstream.script("getHealth", rpc_result("behind"))

    await node.health()
    behind, odd = await refusal(node.health), await refusal(node.health)

    assert (behind.fault.code, behind.fault.reaction) == (ErrorCode.NODE_UNHEALTHY, Reaction.OTHER_NODE)
    assert odd.fault.code is ErrorCode.NODE_ANSWER_INVALID


async def test_accounts(upstream: Upstream, node: Node) -> None:
    """In the order asked for, with None for those that do not exist, at or after a slot."""
    upstream.script("getMultipleAccounts", rpc_result(context([account(), None])))

    accounts = await node.accounts([TARGET, MINT], commitment="processed", min_context_slot=40)

    assert accounts.slot == 42
    assert accounts.values == (AccountInfo(lamports=7, owner=TARGET, data=b"\1\2", executable=False), None)
    assert params_of(upstream) == [
        [str(TARGET), str(MINT)],
        {"encoding": "base64", "commitment": "processed", "minContextSlot": 40},
    ]


async def test_a_simulation_replaces_the_blockhash_and_ignores_signatures(upstream: Upstream, node: Node) -> None:
    """What the trial needs is always asked for; the answer is whole."""
    value = {
        "err": None,
        "logs": ["a"],
        "unitsConsumed": 450,
        "fee": 5000,
        "loadedAddresses": {"writable": [str(MINT)], "readonly": []},
        "preBalances": [9, 8, 7, 6],
        "postBalances": [8, 9, 7, 6],
        "preTokenBalances": [],
        "postTokenBalances": [
            {"accountIndex": 3, "mint": str(MINT), "owner": str(TARGET), "uiTokenAmount": {"amount": "12", "decimals": 9}},
            {"accountIndex": 1, "mint": str(MINT), "uiTokenAmount": {"amount": "0"}},
        ],
    }
    upstream.script("simulateTransaction", rpc_result(context(value)))

    simulation = await node.simulate(WIRE, commitment="confirmed", min_context_slot=41)

    sent, options = params_of(upstream)
    assert base64.b64decode(sent) == WIRE
    assert options == {
        "encoding": "base64",
        "commitment": "confirmed",
        "replaceRecentBlockhash": True,
        "sigVerify": False,
        "minContextSlot": 41,
    }
    assert (simulation.slot, simulation.error, simulation.error_text) == (42, None, None)
    assert (simulation.logs, simulation.units_consumed, simulation.fee_lamports) == (("a",), 450, 5000)
    sheet = simulation.balances
    assert sheet is not None
    assert sheet.keys == (*KEYS, MINT)
    assert (sheet.pre_lamports, sheet.post_lamports) == ((9, 8, 7, 6), (8, 9, 7, 6))
    assert sheet.pre_tokens == ()
    assert [(row.account_index, row.mint, row.owner, row.amount) for row in sheet.post_tokens] == [
        (3, MINT, TARGET, 12),
        (1, MINT, None, 0),
    ]


async def test_a_failed_simulation_is_an_answer(upstream: Upstream, node: Node) -> None:
    """With its error and logs, and without what a node then leaves out."""
    value = {"err": "AccountNotFound", "logs": None}
    upstream.script("simulateTransaction", rpc_result(context(value)))

    simulation = await node.simulate(WIRE)

    assert (simulation.error, simulation.error_text) == ("AccountNotFound", '"AccountNotFound"')
    assert (simulation.logs, simulation.units_consumed) == ((), 0)
    assert (simulation.balances, simulation.fee_lamports) == (None, 0)
    assert set(params_of(upstream)[1]) == {"encoding", "commitment", "replaceRecentBlockhash", "sigVerify"}


async def test_send_leaves_resending_to_us(upstream: Upstream, node: Node) -> None:
    """maxRetries 0, base64, the preflight at `confirmed`, and the signature comes back."""
    upstream.script("sendTransaction", rpc_result(OWN_SIGNATURE))

    assert await node.send(WIRE, skip_preflight=True, min_context_slot=3) == OWN_SIGNATURE
    sent, options = params_of(upstream)
    assert base64.b64decode(sent) == WIRE
    assert options == {
        "encoding": "base64",
        "skipPreflight": True,
        "preflightCommitment": "confirmed",
        "maxRetries": 0,
        "minContextSlot": 3,
    }


async def test_signature_statuses(upstream: Upstream, node: Node) -> None:
    """Unknown is None, as of a slot; a missing commitment is never more than processed."""
    upstream.script(
        "getSignatureStatuses",
        rpc_result(
            context(
                [
                    None,
                    {"slot": 1, "confirmations": 3, "err": None, "confirmationStatus": "confirmed"},
                    {"slot": 2, "confirmations": None, "err": {"InstructionError": [0, "X"]}, "confirmationStatus": "finalized"},
                    {"slot": 3, "confirmations": 0, "err": None, "confirmationStatus": "processed"},
                    {"slot": 4, "confirmations": None, "err": None, "confirmationStatus": None},
                ]
            )
        ),
    )

    statuses = await node.signature_statuses([SIGNATURE] * 5, search_history=True)
    unknown, confirmed, finalized, processed, untold = statuses.values

    assert statuses.slot == 42
    assert unknown is None
    assert confirmed == SignatureStatus(slot=1, confirmation="confirmed", error=None)
    assert (confirmed.is_confirmed, confirmed.error_text) == (True, None)
    assert finalized is not None
    assert (finalized.is_confirmed, finalized.error_text) == (True, '{"InstructionError": [0, "X"]}')
    assert [status and (status.confirmation, status.is_confirmed) for status in (processed, untold)] == [
        ("processed", False),
        ("processed", False),
    ]
    assert params_of(upstream) == [[str(SIGNATURE)] * 5, {"searchTransactionHistory": True}]


async def test_prioritization_fees(upstream: Upstream, node: Node) -> None:
    """One price per slot, for the accounts asked about."""
    upstream.script("getRecentPrioritizationFees", rpc_result([{"slot": 8, "prioritizationFee": 1234}]))

    assert await node.prioritization_fees([TARGET]) == (SlotFee(slot=8, price_micro_lamports=1234),)  # type: ignore[arg-type]  # a NewType
    assert params_of(upstream) == [[str(TARGET)]]


async def test_a_transaction_that_is_not_there_yet(upstream: Upstream, node: Node) -> None:
    """null is None, and version 0 is asked for."""
    upstream.script("getTransaction", rpc_result(None))

    assert await node.transaction(SIGNATURE) is None
    assert params_of(upstream) == [
        str(SIGNATURE),
        {"encoding": "json", "commitment": "confirmed", "maxSupportedTransactionVersion": 0},
    ]


def landed(**meta: object) -> dict[str, object]:
    """A minimal answer to getTransaction."""
    message = {"accountKeys": [str(key) for key in KEYS], "instructions": []}
    return {
        "slot": 77,
        "transaction": {"signatures": [str(SIGNATURE)], "message": message},
        "meta": {"err": None, "fee": 5000, "preBalances": [3, 2, 1], "postBalances": [1, 2, 1], **meta},
    }


async def test_a_sparse_transaction(upstream: Upstream, node: Node) -> None:
    """What a legacy transaction or an old node leaves out is empty."""
    upstream.script("getTransaction", rpc_result(landed()))

    transaction = await node.transaction(SIGNATURE)

    assert transaction is not None
    assert transaction.account_keys == KEYS
    assert (transaction.slot, transaction.error_text, transaction.fee_lamports) == (77, None, 5000)
    assert (transaction.signature_count, transaction.units_consumed) == (1, 0)
    assert (transaction.logs, transaction.balances.pre_tokens) == ((), ())


async def test_a_transaction_that_failed(upstream: Upstream, node: Node) -> None:
    """With its error, and the addresses of lookup tables behind its own keys."""
    loaded = {"writable": [str(MINT)], "readonly": [str(TARGET)]}
    lamports = {"preBalances": [5, 4, 3, 2, 1], "postBalances": [5, 4, 3, 2, 1]}
    upstream.script("getTransaction", rpc_result(landed(err="AccountInUse", loadedAddresses=loaded, **lamports)))

    transaction = await node.transaction(SIGNATURE)

    assert transaction is not None
    assert transaction.error_text == '"AccountInUse"'
    assert transaction.account_keys == (*KEYS, MINT, TARGET)


@pytest.mark.parametrize(
    "signatures",
    [
        [],
        [OWN_SIGNATURE],
        [OWN_SIGNATURE, str(SIGNATURE)],  # the first one is the transaction's name
        [None],
        [str(SIGNATURE).swapcase()],
    ],
)
async def test_another_transaction_is_no_answer(signatures: list[object], upstream: Upstream, node: Node) -> None:
    """A proxy's cache may hold another one: its amounts are not ours."""
    other = landed()
    other["transaction"] = {**landed_transaction(other), "signatures": signatures}
    upstream.script("getTransaction", rpc_result(other))
    error = await refusal(lambda: node.transaction(SIGNATURE))

    assert (error.fault.code, error.fault.reaction) == (ErrorCode.NODE_ANSWER_INVALID, Reaction.OTHER_NODE)
    assert "result.transaction.signatures are those of another transaction" in str(error)


async def test_more_signatures_than_ours_are_counted(upstream: Upstream, node: Node) -> None:
    """Each of them costs a fee; ours has to be the first."""
    two = landed()
    two["transaction"] = {**landed_transaction(two), "signatures": [str(SIGNATURE), OWN_SIGNATURE]}
    upstream.script("getTransaction", rpc_result(two))
    transaction = await node.transaction(SIGNATURE)

    assert transaction is not None
    assert transaction.signature_count == 2


def landed_transaction(answer: dict[str, object]) -> dict[str, object]:
    """The transaction within an answer to getTransaction."""
    transaction = answer["transaction"]
    assert isinstance(transaction, dict)
    return transaction


@pytest.mark.parametrize(
    ("limit", "call"),
    [
        (MAX_SIGNATURES_PER_CALL, lambda node, n: node.signature_statuses([SIGNATURE] * n)),
        (MAX_ACCOUNTS_PER_CALL, lambda node, n: node.accounts([TARGET] * n)),
        (MAX_FEE_ACCOUNTS_PER_CALL, lambda node, n: node.prioritization_fees([TARGET] * n)),
    ],
)
async def test_more_than_a_node_takes_is_a_bug_of_ours(
    limit: int, call: Callable[[Node, int], Awaitable[object]], upstream: Upstream, node: Node
) -> None:
    """It never reaches the node."""
    with pytest.raises(ValueError, match=f"{limit + 1} in one call"):
        await call(node, limit + 1)

    assert upstream.requests == []


# --- answers that are none ---

SLOT_WRONG: list[tuple[Reply, str]] = [
    (rpc_result(None), "result is not an integer"),
    (rpc_result("5"), "result is not an integer"),
    (rpc_wrong_id(5), "id belongs to another call"),
    (json_reply({"jsonrpc": "2.0", "result": 5}), "id is missing"),
    (json_reply([]), "the answer is not an object"),
    (Reply(body=b"<html>"), "the body is not JSON"),
    (Reply(body=b""), "the body is not JSON"),
    (json_reply({"id": 1, "error": "oops"}), "error is not an object"),
    (json_reply({"id": 1, "error": {"code": "x", "message": ""}}), "error.code is not an integer"),
    (json_reply({"id": 1, "error": {"code": -1}}), "error.message is missing"),
]


@pytest.mark.parametrize(("reply", "problem"), SLOT_WRONG)
async def test_an_answer_that_is_none_names_what_is_wrong(reply: Reply, problem: str, upstream: Upstream, node: Node) -> None:
    """Endpoint, operation and field; another node may do better."""
    upstream.script("getSlot", reply)
    error = await refusal(node.slot)

    assert (error.fault.code, error.fault.reaction) == (ErrorCode.NODE_ANSWER_INVALID, Reaction.OTHER_NODE)
    assert (error.endpoint, error.operation, error.status) == (upstream.url, "getSlot", 200)
    assert problem in str(error)


async def test_a_result_that_is_missing_is_named(upstream: Upstream, node: Node) -> None:
    """Neither result nor error is an answer."""
    upstream.script("getSlot", Reply(body=b"{}", rpc=True))

    assert "result is missing" in str(await refusal(node.slot))


def without(value: dict[str, object], name: str) -> dict[str, object]:
    """A copy that lacks a field."""
    return {key: item for key, item in value.items() if key != name}


FIELDS: list[tuple[str, object, Callable[[Node], Awaitable[object]], str]] = [
    ("getLatestBlockhash", {"value": {}}, lambda n: n.latest_blockhash(), "result.value.blockhash is missing"),
    (
        "getLatestBlockhash",
        context({"blockhash": "0", "lastValidBlockHeight": 1}),
        lambda n: n.latest_blockhash(),
        "result.value.blockhash is not a hash",
    ),
    (
        "getLatestBlockhash",
        without(context({"blockhash": str(BLOCKHASH), "lastValidBlockHeight": 1}), "context"),
        lambda n: n.latest_blockhash(),
        "result.context is missing",
    ),
    ("getMultipleAccounts", context([]), lambda n: n.accounts([TARGET]), "result.value has 0 items instead of 1"),
    ("getMultipleAccounts", context([{}]), lambda n: n.accounts([TARGET]), "result.value[0].lamports is missing"),
    (
        "getMultipleAccounts",
        context([account() | {"data": ["!", "base64"]}]),
        lambda n: n.accounts([TARGET]),
        "result.value[0].data[0] is not base64",
    ),
    ("simulateTransaction", context({}), lambda n: n.simulate(WIRE), "result.value.err is missing"),
    ("simulateTransaction", context({"err": None}), lambda n: n.simulate(WIRE), "result.value.unitsConsumed is missing"),
    (
        "simulateTransaction",
        context({"err": None, "unitsConsumed": 1, "fee": 1, "preBalances": [1], "postBalances": [1]}),
        lambda n: n.simulate(WIRE),
        "result.value.preBalances has 1 items instead of 3",
    ),
    (
        "sendTransaction",
        str(SIGNATURE),
        lambda n: n.send(WIRE, skip_preflight=False),
        "result is not the signature of what was sent",
    ),
    ("sendTransaction", "text", lambda n: n.send(WIRE, skip_preflight=False), "result is not a signature"),
    ("getSignatureStatuses", context([None] * 2), lambda n: n.signature_statuses([SIGNATURE]), "2 items instead of 1"),
    (
        "getSignatureStatuses",
        context([{"slot": 1, "err": None, "confirmationStatus": "sure"}]),
        lambda n: n.signature_statuses([SIGNATURE]),
        "result.value[0].confirmationStatus is not a commitment",
    ),
    (
        "getSignatureStatuses",
        context([{"slot": 1}]),
        lambda n: n.signature_statuses([SIGNATURE]),
        "result.value[0].err is missing",
    ),
    (
        "getSignatureStatuses",
        without(context([None]), "context"),
        lambda n: n.signature_statuses([SIGNATURE]),
        "result.context is missing",
    ),
    ("getEpochInfo", without(EPOCH_INFO, "blockHeight"), lambda n: n.epoch_info(), "result.blockHeight is missing"),
    ("getEpochInfo", without(EPOCH_INFO, "absoluteSlot"), lambda n: n.epoch_info(), "result.absoluteSlot is missing"),
    ("getEpochInfo", EPOCH_INFO | {"blockHeight": -1}, lambda n: n.epoch_info(), "result.blockHeight is not an integer"),
    ("isBlockhashValid", context("false"), lambda n: n.blockhash_validity(BLOCKHASH), "result.value is not a boolean"),
    ("isBlockhashValid", {"value": False}, lambda n: n.blockhash_validity(BLOCKHASH), "result.context is missing"),
    ("getTransaction", {}, lambda n: n.transaction(SIGNATURE), "result.meta is missing"),
    (
        "getTransaction",
        landed(preTokenBalances=[{"accountIndex": 3}]),
        lambda n: n.transaction(SIGNATURE),
        "result.meta.preTokenBalances[0].accountIndex is not an integer from 0 to 2",
    ),
    ("getRecentPrioritizationFees", [{"slot": 1}], lambda n: n.prioritization_fees([]), "result[0].prioritizationFee is missing"),
]


@pytest.mark.parametrize(("method", "result", "call", "problem"), FIELDS)
async def test_a_missing_or_wrong_field_is_named(
    method: str,
    result: object,
    call: Callable[[Node], Awaitable[object]],
    problem: str,
    upstream: Upstream,
    node: Node,
) -> None:
    """Nothing half-read leaves the client."""
    upstream.script(method, rpc_result(result))
    error = await refusal(lambda: call(node))

    assert error.fault.code is ErrorCode.NODE_ANSWER_INVALID
    assert problem in str(error)


async def test_an_error_object_is_classified(upstream: Upstream, node: Node) -> None:
    """By its code, and a failed preflight by the program that failed."""
    logs = [f"Program {TARGET} invoke [1]", f"Program {TARGET} failed: custom program error: 0x1"]
    data = {"err": {"InstructionError": [0, {"Custom": 1}]}, "logs": logs}
    upstream.script("sendTransaction", rpc_error(-32002, "Transaction simulation failed", data))
    error = await refusal(lambda: node.send(WIRE, skip_preflight=False))

    assert (error.fault.program, error.fault.reaction, error.status) == (str(TARGET), Reaction.REQUOTE, 200)


def error_reply(code: int, envelope: dict[str, object], *, status: int = 200, data: object = None) -> Reply:
    """An error whose id is what `envelope` says, or missing."""
    return json_reply({"jsonrpc": "2.0", **envelope, "error": {"code": code, "message": "?", "data": data}}, status)


def slot(node: Node) -> Awaitable[object]:
    """A call that may be repeated."""
    return node.slot()


def send(node: Node) -> Awaitable[object]:
    """A call whose errors may prove that nothing was forwarded."""
    return node.send(WIRE, skip_preflight=False)


CALLS = {"getSlot": slot, "sendTransaction": send}


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("call_id", ["another", "1", 2, 0, False, [1]])
@pytest.mark.parametrize("code", [-32602, -32600, -32005, -32429])
async def test_an_error_of_another_call_is_no_answer(
    method: str, call_id: object, code: int, upstream: Upstream, node: Node
) -> None:
    """A proxy that mixes answers up: whatever it says was said of something else."""
    upstream.script(method, error_reply(code, {"id": call_id}))
    error = await refusal(lambda: CALLS[method](node))

    assert (error.fault.code, error.fault.reaction) == (ErrorCode.NODE_ANSWER_INVALID, Reaction.OTHER_NODE)
    assert "id belongs to another call" in str(error)
    assert after_send(error.fault).reaction is Reaction.PENDING


@pytest.mark.parametrize("envelope", [{"id": None}, {}], ids=["null", "missing"])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (-32429, ErrorCode.NODE_RATE_LIMITED),
        (-32005, ErrorCode.NODE_UNHEALTHY),
        (-32602, ErrorCode.NODE_REFUSED),
        (-32700, ErrorCode.NODE_REFUSED),
    ],
)
async def test_an_error_may_come_without_our_id(
    envelope: dict[str, object], code: int, expected: ErrorCode, upstream: Upstream, node: Node
) -> None:
    """Gateways that cannot read a call answer so; a call that only reads loses nothing by believing them."""
    upstream.script("getSlot", error_reply(code, envelope))

    assert (await refusal(node.slot)).fault.code is expected


@pytest.mark.parametrize("envelope", [{"id": None}, {}], ids=["null", "missing"])
@pytest.mark.parametrize("code", [-32700, -32600])
async def test_a_send_that_could_not_be_read_is_refused_without_our_id(
    envelope: dict[str, object], code: int, upstream: Upstream, node: Node
) -> None:
    """Only who could not read the call does not know its id: then nothing was forwarded."""
    upstream.script("sendTransaction", error_reply(code, envelope))
    error = await refusal(lambda: send(node))

    assert error.fault.code is ErrorCode.NODE_REFUSED
    assert after_send(error.fault).reaction is Reaction.REJECT


@pytest.mark.parametrize("envelope", [{"id": None}, {}], ids=["null", "missing"])
@pytest.mark.parametrize(
    ("code", "data"),
    [
        (-32602, None),
        (-32601, None),
        (-32003, None),
        (-32005, None),
        (-32002, {"err": "InsufficientFundsForFee", "logs": []}),
        (-31999, None),
    ],
)
async def test_a_send_is_not_refused_by_an_error_without_an_id(
    envelope: dict[str, object], code: int, data: object, upstream: Upstream, node: Node
) -> None:
    """Who read the call knows its id: this may be the answer to another one, and ours may be on its way."""
    upstream.script("sendTransaction", error_reply(code, envelope, data=data))
    error = await refusal(lambda: send(node))

    assert (error.fault.code, error.fault.reaction) == (ErrorCode.NODE_ANSWER_INVALID, Reaction.OTHER_NODE)
    assert after_send(error.fault).reaction is Reaction.PENDING
    assert "it may be the answer to another call" in str(error)


@pytest.mark.parametrize("envelope", [{"id": None}, {"id": 99}], ids=["null", "another"])
@pytest.mark.parametrize("status", [400, 500])
async def test_an_http_error_with_the_error_of_another_send_proves_nothing(
    envelope: dict[str, object], status: int, upstream: Upstream, node: Node
) -> None:
    """The body may be of another call, so the status alone counts; none of these two says that nothing was forwarded."""
    upstream.script("sendTransaction", error_reply(-32602, envelope, status=status))
    error = await refusal(lambda: send(node))

    assert (error.status, after_send(error.fault).reaction) == (status, Reaction.PENDING)
    assert f"HTTP {status}" in str(error) or f"HTTP status {status}" in str(error)


HTTP_STATUSES: list[tuple[Reply, ErrorCode]] = [
    (Reply(429, headers=(("retry-after", "2"),)), ErrorCode.NODE_RATE_LIMITED),
    (Reply(401), ErrorCode.NODE_UNAUTHORIZED),
    (Reply(500, b"oops"), ErrorCode.NODE_UNHEALTHY),
    (json_reply({"id": 1}, 500), ErrorCode.NODE_UNHEALTHY),
    (json_reply({"error": {"code": -32602, "message": "bad"}}, 400), ErrorCode.NODE_REFUSED),
    (json_reply({"error": {"code": -32005, "message": "behind"}}, 500), ErrorCode.NODE_UNHEALTHY),
    (json_reply({"error": {"code": -32602, "message": "bad"}}, 503), ErrorCode.NODE_UNREACHABLE),
]


@pytest.mark.parametrize(("reply", "code"), HTTP_STATUSES)
async def test_an_http_error_is_classified(reply: Reply, code: ErrorCode, upstream: Upstream, node: Node) -> None:
    """By its status, and by a JSON-RPC error in the body where the status alone says little."""
    upstream.script("getSlot", reply)
    error = await refusal(node.slot)

    assert (error.fault.code, error.status) == (code, reply.status)


async def test_a_truncated_answer_is_none(upstream: Upstream, node: Node) -> None:
    """The connection ended within the body."""
    upstream.script("getSlot", Truncated(Reply(body=b'{"jsonrpc":"2.0","id":1,"result":5}'), 20))

    assert (await refusal(node.slot)).fault.code is ErrorCode.NODE_ANSWER_INVALID


async def test_a_key_that_a_node_echoes_is_not_shown(upstream: Upstream) -> None:
    """Not even the half of it that would be left where long words are cut."""
    secret = "s3cr3t-Key-0123456789"
    node = Node(f"{upstream.url}/{secret}", name="one", timeout_seconds=5.0)
    async with aclosing(node):
        for padding in range(250, 310, 3):
            upstream.script("getSlot", rpc_error(-32600, "x" * padding + secret))
            error = await refusal(node.slot)

            assert "s3cr" not in f"{error!r} {node.endpoint_health}"


# --- health ---


async def test_a_node_remembers_what_it_did(upstream: Upstream, node: Node) -> None:
    """Answer, problem and slot stand in its health, for the status."""
    upstream.script("getSlot", rpc_result(5), Reply(503))
    upstream.script("getMultipleAccounts", rpc_result(context([])))
    await node.slot()
    await node.accounts([])
    health = node.endpoint_health

    assert (health.name, health.endpoint) == ("one", upstream.url) == (node.name, node.endpoint)
    assert (health.last_slot, health.failing, health.last_problem) == (42, False, None)
    assert health.last_answer_at is not None
    assert health.last_answer_at <= trio.current_time()

    await refusal(node.slot)

    assert node.endpoint_health.failing
    assert "HTTP 503" in (node.endpoint_health.last_problem or "")


# --- recorded answers ---


async def test_recorded_statuses(upstream: Upstream, node: Node) -> None:
    """Statuses of real nodes."""
    for name, expected in (
        ("solders_confirmed_and_null.json", [("confirmed", None), None]),
        ("solrpc_canister_finalized_processed_err_null.json", [("finalized", None), ("processed", '"AccountInUse"'), None]),
    ):
        upstream.script("getSignatureStatuses", rpc_result(recorded("signature-statuses", name)["result"]))
        statuses = await node.signature_statuses([SIGNATURE] * len(expected))

        assert [status and (status.confirmation, status.error_text) for status in statuses.values] == expected


async def test_recorded_fees(upstream: Upstream, node: Node) -> None:
    """150 slots of a real node."""
    upstream.script(
        "getRecentPrioritizationFees", rpc_result(recorded("priority-fees", "solrpc_canister_150slots.json")["result"])
    )
    fees = await node.prioritization_fees([TARGET])

    assert len(fees) == 150
    assert fees[1] == SlotFee(slot=338225767, price_micro_lamports=203228)  # type: ignore[arg-type]  # a NewType


async def test_a_recorded_failed_simulation(upstream: Upstream, node: Node) -> None:
    """An old node: no balances, a named program."""
    upstream.script("simulateTransaction", rpc_result(recorded("simulate-transaction", "solders_custom0_vote.json")["result"]))
    simulation = await node.simulate(WIRE)

    assert simulation.error == {"InstructionError": [0, {"Custom": 0}]}
    assert failing_program(simulation.logs) == "Vote111111111111111111111111111111111111111"
    assert simulation.balances is None


def test_a_recorded_successful_simulation() -> None:
    """A 4.3 node reports balances for every key, in the order static, writable, read-only."""
    result = recorded("simulate-transaction", "glam_451027533_success_agave4.3.json")["result"]
    value = Reader(result["value"])
    loaded = result["value"]["loadedAddresses"]
    static = tuple(Pubkey.from_bytes(bytes([i]) * 32) for i in range(33 - len(loaded["writable"]) - len(loaded["readonly"])))

    simulation = _simulation(result["context"]["slot"], value, static)

    assert (simulation.slot, simulation.units_consumed, simulation.fee_lamports) == (451027533, 196902, 5000)
    assert simulation.balances is not None
    assert simulation.balances.keys[len(static)] == Pubkey.from_string(loaded["writable"][0])
    assert simulation.balances.post_tokens[0].amount == 300551127


@pytest.mark.parametrize("name", recorded_names("get-transaction", but="EXPECTED.json"))
async def test_recorded_transactions(name: str, upstream: Upstream, node: Node) -> None:
    """Slot, error, fee, signatures, units and the payer's lamports are those of EXPECTED.json."""
    expected = recorded("get-transaction", "EXPECTED.json")[name]
    answer = recorded("get-transaction", name)
    result = answer["response"]["result"] if "response" in answer else answer
    upstream.script("getTransaction", rpc_result(result))

    transaction = await node.transaction(Signature.from_string(result["transaction"]["signatures"][0]))

    assert transaction is not None
    assert (transaction.slot, transaction.error) == (expected["slot"], expected["err"])
    assert (transaction.fee_lamports, transaction.signature_count) == (expected["fee_lamports"], expected["signatures"])
    assert transaction.units_consumed == expected["cu_consumed"]
    payer = transaction.account_keys.index(Pubkey.from_string(expected["payer"]))
    sheet = transaction.balances
    assert sheet.post_lamports[payer] - sheet.pre_lamports[payer] == expected["payer_lamport_delta"]
    assert token_deltas(transaction, expected["payer"]) == expected["payer_token_deltas"]
    assert transaction.logs == tuple(result["meta"]["logMessages"])


def token_deltas(transaction: ConfirmedTransaction, owner: str) -> dict[str, int]:
    """What an owner has more of each mint."""
    deltas: dict[str, int] = {}
    for sign, rows in ((-1, transaction.balances.pre_tokens), (1, transaction.balances.post_tokens)):
        for row in rows:
            if str(row.owner) == owner:
                deltas[str(row.mint)] = deltas.get(str(row.mint), 0) + sign * row.amount
    return deltas


# --- anything at all ---


def mutated(document: Any, rng: random.Random) -> Any:
    """Break one thing somewhere in a document: drop it, or put something else there."""
    if not isinstance(document, dict | list) or not document or rng.random() < 0.2:
        return rng.choice([None, -1, 2**70, "x", [], {}, True, 1.5, "9" * 30, [None], {"a": 1}])
    copied = document.copy()
    keys = list(copied) if isinstance(copied, dict) else list(range(len(copied)))
    key = rng.choice(keys)
    if rng.random() < 0.2:
        del copied[key]
    else:
        copied[key] = mutated(copied[key], rng)
    return copied


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32))
def test_no_broken_transaction_breaks_the_reader(seed: int) -> None:
    """Whatever is broken in an answer, it is read or refused as WrongField: no other exception comes out."""
    rng = seeded(seed)
    document = landed(
        preTokenBalances=[{"accountIndex": 0, "mint": str(MINT), "owner": str(TARGET), "uiTokenAmount": {"amount": "1"}}],
        loadedAddresses={"writable": [], "readonly": []},
        logMessages=["a"],
        computeUnitsConsumed=5,
    )
    broken = json.loads(json.dumps(mutated(document, rng)))
    try:
        read = confirmed_transaction(Reader(broken), SIGNATURE)
    except WrongField:
        return
    assert len(read.balances.pre_lamports) == len(read.account_keys)

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
from executor.faults import Reaction, TransportError, failing_program
from executor.network.reader import Reader, WrongField
from executor.network.solana import (
    MAX_ACCOUNTS_PER_CALL,
    MAX_FEE_ACCOUNTS_PER_CALL,
    MAX_SIGNATURES_PER_CALL,
    AccountInfo,
    ConfirmedTransaction,
    LatestBlockhash,
    Node,
    SignatureStatus,
    SlotFee,
    _confirmed_transaction,
    _simulation,
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


async def test_block_height_and_rent(upstream: Upstream, node: Node) -> None:
    """Plain integers."""
    upstream.script("getBlockHeight", rpc_result(9))
    upstream.script("getMinimumBalanceForRentExemption", rpc_result(2_039_280))

    assert await node.block_height("finalized") == 9
    assert await node.minimum_balance(165) == 2_039_280
    assert [request.json["params"] for request in upstream.requests] == [[{"commitment": "finalized"}], [165]]


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
        "returnData": {"programId": str(TARGET), "data": ["AQ==", "base64"]},
        "accounts": [account(), None],
        "loadedAddresses": {"writable": [str(MINT)], "readonly": []},
        "preBalances": [9, 8, 7, 6],
        "postBalances": [8, 9, 7, 6],
        "preTokenBalances": [],
        "postTokenBalances": [
            {"accountIndex": 3, "mint": str(MINT), "owner": str(TARGET), "uiTokenAmount": {"amount": "12", "decimals": 9}},
            {"accountIndex": 1, "mint": str(MINT), "uiTokenAmount": {"amount": "0"}},
        ],
        "replacementBlockhash": {"blockhash": str(BLOCKHASH), "lastValidBlockHeight": 300},
    }
    upstream.script("simulateTransaction", rpc_result(context(value)))

    simulation = await node.simulate(WIRE, commitment="confirmed", accounts=[TARGET, MINT], min_context_slot=41)

    sent, options = params_of(upstream)
    assert base64.b64decode(sent) == WIRE
    assert options == {
        "encoding": "base64",
        "commitment": "confirmed",
        "replaceRecentBlockhash": True,
        "sigVerify": False,
        "accounts": {"encoding": "base64", "addresses": [str(TARGET), str(MINT)]},
        "minContextSlot": 41,
    }
    assert (simulation.slot, simulation.error, simulation.error_text) == (42, None, None)
    assert (simulation.logs, simulation.units_consumed, simulation.fee_lamports) == (("a",), 450, 5000)
    assert simulation.return_data is not None
    assert (simulation.return_data.program, simulation.return_data.data) == (TARGET, b"\1")
    assert simulation.replacement is not None
    assert (simulation.replacement.blockhash, simulation.replacement.last_valid_block_height) == (BLOCKHASH, 300)
    assert [info and info.lamports for info in simulation.accounts] == [7, None]
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
    value = {"err": "AccountNotFound", "logs": None, "accounts": None}
    upstream.script("simulateTransaction", rpc_result(context(value)))

    simulation = await node.simulate(WIRE)

    assert (simulation.error, simulation.error_text) == ("AccountNotFound", '"AccountNotFound"')
    assert (simulation.logs, simulation.units_consumed, simulation.accounts) == ((), 0, ())
    assert (simulation.balances, simulation.fee_lamports) == (None, 0)
    assert (simulation.return_data, simulation.replacement) == (None, None)
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
    """Unknown is None; a missing commitment is never more than processed."""
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

    unknown, confirmed, finalized, processed, untold = await node.signature_statuses([SIGNATURE] * 5, search_history=True)

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
    message = {
        "accountKeys": [str(key) for key in KEYS],
        "instructions": [{"programIdIndex": 2, "accounts": [0, 1], "data": "12"}],
    }
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
    assert (transaction.logs, transaction.return_data, transaction.inner_instructions) == ((), None, ((),))
    (instruction,) = transaction.instructions
    assert (instruction.program, instruction.accounts, instruction.data) == (KEYS[2], KEYS[:2], b"\0\1")
    assert instruction.stack_height is None


async def test_inner_instructions_belong_to_their_instruction(upstream: Upstream, node: Node) -> None:
    """Groups of one index are put together, in order."""
    inner = {"programIdIndex": 1, "accounts": [], "data": "", "stackHeight": 2}
    groups = [{"index": 0, "instructions": [inner]}, {"index": 0, "instructions": [inner, inner]}]
    upstream.script("getTransaction", rpc_result(landed(innerInstructions=groups, err="AccountInUse")))

    transaction = await node.transaction(SIGNATURE)

    assert transaction is not None
    assert [(one.program, one.stack_height) for one in transaction.inner_instructions[0]] == [(TARGET, 2)] * 3
    assert transaction.error_text == '"AccountInUse"'


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
        "simulateTransaction",
        context({"err": None, "unitsConsumed": 1, "accounts": [None]}),
        lambda n: n.simulate(WIRE),
        "result.value.accounts has 1 items instead of 0",
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
    ("getTransaction", {}, lambda n: n.transaction(SIGNATURE), "result.meta is missing"),
    (
        "getTransaction",
        landed(innerInstructions=[{"index": 1, "instructions": []}]),
        lambda n: n.transaction(SIGNATURE),
        "result.meta.innerInstructions[0].index is not an integer from 0 to 0",
    ),
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


async def test_an_error_may_come_without_our_id(upstream: Upstream, node: Node) -> None:
    """Gateways that cannot read a call answer with a null id."""
    upstream.script("getSlot", json_reply({"jsonrpc": "2.0", "id": None, "error": {"code": -32429, "message": "slow down"}}))

    assert (await refusal(node.slot)).fault.code is ErrorCode.NODE_RATE_LIMITED


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

        assert [status and (status.confirmation, status.error_text) for status in statuses] == expected


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
    """A 4.3 node reports balances for every key, in the order static, writable, read-only; the program returns the output."""
    result = recorded("simulate-transaction", "glam_451027533_success_agave4.3.json")["result"]
    value = Reader(result["value"])
    loaded = result["value"]["loadedAddresses"]
    static = tuple(Pubkey.from_bytes(bytes([i]) * 32) for i in range(33 - len(loaded["writable"]) - len(loaded["readonly"])))

    simulation = _simulation(result["context"]["slot"], value, static, 0)

    assert (simulation.slot, simulation.units_consumed, simulation.fee_lamports) == (451027533, 196902, 5000)
    assert simulation.return_data is not None
    assert int.from_bytes(simulation.return_data.data, "little") == 6_096_091
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

    transaction = await node.transaction(SIGNATURE)

    assert transaction is not None
    assert (transaction.slot, transaction.error) == (expected["slot"], expected["err"])
    assert (transaction.fee_lamports, transaction.signature_count) == (expected["fee_lamports"], expected["signatures"])
    assert transaction.units_consumed == expected["cu_consumed"]
    payer = transaction.account_keys.index(Pubkey.from_string(expected["payer"]))
    sheet = transaction.balances
    assert sheet.post_lamports[payer] - sheet.pre_lamports[payer] == expected["payer_lamport_delta"]
    assert token_deltas(transaction, expected["payer"]) == expected["payer_token_deltas"]
    raw_inner = [one for group in result["meta"]["innerInstructions"] for one in group["instructions"]]
    assert sum(len(group) for group in transaction.inner_instructions) == len(raw_inner)
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
        innerInstructions=[{"index": 0, "instructions": [{"programIdIndex": 1, "accounts": [0], "data": "2"}]}],
        returnData={"programId": str(TARGET), "data": ["AQ==", "base64"]},
        preTokenBalances=[{"accountIndex": 0, "mint": str(MINT), "owner": str(TARGET), "uiTokenAmount": {"amount": "1"}}],
        loadedAddresses={"writable": [], "readonly": []},
        logMessages=["a"],
        computeUnitsConsumed=5,
    )
    broken = json.loads(json.dumps(mutated(document, rng)))
    try:
        _confirmed_transaction(Reader(broken))
    except WrongField:
        return

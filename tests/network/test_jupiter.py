"""Jupiter's client: what goes out, what is accepted, and what is called a lie."""

import json
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.message import MessageV0
from solders.pubkey import Pubkey

from executor.errors import ErrorCode
from executor.faults import FaultClass, Reaction, Remedy, TransportError
from executor.model import Quote
from executor.network.jupiter import Jupiter, _Asked, _quote
from executor.network.reader import WrongField, read_json
from executor.units import minimum_out
from tests.support.clients import QUICK
from tests.support.events import RecordedLog
from tests.support.recorded import recorded, recorded_names
from tests.support.upstream import Reply, Reset, Script, Truncated, Upstream, json_reply

API_KEY = "jup-api-key-0123456789"
SOL = Pubkey.from_string("So11111111111111111111111111111111111111112")
USDC = Pubkey.from_string("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v")
USER = Pubkey.from_string("HeL5m28kD42iRcmxFWCdYqkMbAzFRWyukidwNNZGBEt")
PROGRAM = Pubkey.from_string("JUP6LkbZbjS1jKKwapdHNy74zcZ3tLUZoi5QNyVTaV4")


def quote_answer(**changes: object) -> dict[str, object]:
    """A quote for `ask_quote`, with changes."""
    return {
        "inputMint": str(SOL),
        "inAmount": "50000000",
        "outputMint": str(USDC),
        "outAmount": "6096091",
        "otherAmountThreshold": "6077803",
        "swapMode": "ExactIn",
        "slippageBps": 30,
        "platformFee": None,
        "priceImpactPct": "0",
        "routePlan": [{"swapInfo": {"ammKey": "a", "label": "PancakeSwap"}, "percent": 100, "bps": None}],
        "contextSlot": 451027532,
        "timeTaken": 0.0015,
        **changes,
    }


def instruction(program: Pubkey = PROGRAM, data: str = "AQI=") -> dict[str, object]:
    """An instruction as Jupiter writes it."""
    return {"programId": str(program), "accounts": [{"pubkey": str(USER), "isSigner": True, "isWritable": False}], "data": data}


def swap_answer(**changes: object) -> dict[str, object]:
    """Instructions as Jupiter answers them, with changes."""
    return {
        "tokenLedgerInstruction": None,
        "computeBudgetInstructions": [instruction(data="AsBcFQA=")],
        "setupInstructions": [instruction(SOL), instruction(USDC)],
        "swapInstruction": instruction(),
        "cleanupInstruction": instruction(USER),
        "otherInstructions": [],
        "addressLookupTableAddresses": [str(USDC)],
        "simulationError": None,
        **changes,
    }


@pytest.fixture
async def jupiter(upstream: Upstream, log: RecordedLog, rng: random.Random) -> AsyncIterator[Jupiter]:
    """A client of the scripted server."""
    url = upstream.url + "/swap/v1"
    client = Jupiter(url, api_key=API_KEY, timeout_seconds=5.0, retry=QUICK, rng=rng, log=log)
    async with aclosing(client):
        yield client


async def ask_quote(jupiter: Jupiter, **changes: Any) -> Quote:
    """Ask what `quote_answer` answers, with changes."""
    asked: dict[str, Any] = {"input_mint": SOL, "output_mint": USDC, "in_amount": 50_000_000, "slippage_bps": 30}
    return await jupiter.quote(**(asked | changes))


async def refused_quote(jupiter: Jupiter, **changes: Any) -> TransportError:
    """The error of a quote."""
    with pytest.raises(TransportError) as caught:
        await ask_quote(jupiter, **changes)
    return caught.value


QUOTE = Quote(
    input_mint=SOL,
    output_mint=USDC,
    in_amount=50_000_000,
    out_amount=6_096_091,
    other_amount_threshold=6_077_803,
    slippage_bps=30,
    platform_fee_bps=0,
    context_slot=451_027_532,
    route=("PancakeSwap",),
    raw=b'{ "odd":   "spacing",\n "number": 1.50 }',
)


async def refused_swap(jupiter: Jupiter) -> TransportError:
    """The error of a swap."""
    with pytest.raises(TransportError) as caught:
        await jupiter.swap_instructions(user=USER, quote=QUOTE, use_shared_accounts=True)
    return caught.value


# --- the quote ---


async def test_a_quote_is_asked_for_and_kept_byte_for_byte(upstream: Upstream, jupiter: Jupiter) -> None:
    """Only what differs from the API's defaults goes out, with the key in its header; the answer's bytes are kept."""
    body = json.dumps(quote_answer(), indent=3).encode() + b"\n"
    upstream.script("quote", Reply(body=body))

    quote = await ask_quote(jupiter)

    assert quote == evolve(QUOTE, raw=body)
    (request,) = upstream.requests
    assert (request.method, request.path, request.headers["x-api-key"]) == ("GET", "/swap/v1/quote", API_KEY)
    assert request.query == {
        "inputMint": str(SOL),
        "outputMint": str(USDC),
        "amount": "50000000",
        "slippageBps": "30",
        "swapMode": "ExactIn",
        "restrictIntermediateTokens": "true",
    }


async def test_a_quote_with_every_wish(upstream: Upstream, jupiter: Jupiter) -> None:
    """Fee, excluded pools and a limit on accounts go out when they are asked for."""
    upstream.script("quote", json_reply(quote_answer(platformFee={"amount": "1", "feeBps": 20})))

    quote = await ask_quote(jupiter, platform_fee_bps=20, exclude_dexes=["Meteora DLMM", "Whirlpool"], max_accounts=40)

    assert quote.platform_fee_bps == 20
    query = upstream.requests[0].query
    assert (query["platformFeeBps"], query["excludeDexes"], query["maxAccounts"]) == ("20", "Meteora DLMM,Whirlpool", "40")


async def test_without_a_key_there_is_no_header(upstream: Upstream, log: RecordedLog, rng: random.Random) -> None:
    """Keyless access is a choice of the configuration; the base may end in a slash."""
    jupiter = Jupiter(upstream.url + "/swap/v1/", api_key=None, timeout_seconds=5.0, retry=QUICK, rng=rng, log=log)
    async with aclosing(jupiter):
        upstream.script("quote", json_reply(quote_answer()))
        await ask_quote(jupiter)

    assert "x-api-key" not in upstream.requests[0].headers
    assert upstream.requests[0].path == "/swap/v1/quote"


@pytest.mark.parametrize("fee", [None, {"amount": "0", "feeBps": 0}])
async def test_no_fee_may_be_null_or_zero(fee: object, upstream: Upstream, jupiter: Jupiter) -> None:
    """Both say that nothing is taken."""
    upstream.script("quote", json_reply(quote_answer(platformFee=fee)))

    assert (await ask_quote(jupiter)).platform_fee_bps == 0


LIES: list[tuple[dict[str, object], str]] = [
    ({"inputMint": str(USDC)}, "inputMint"),
    ({"outputMint": str(SOL)}, "outputMint"),
    ({"outputMint": "x"}, "outputMint"),
    ({"inAmount": "50000001"}, "inAmount"),
    ({"inAmount": 50000000}, "inAmount"),
    ({"swapMode": "ExactOut"}, "swapMode"),
    ({"slippageBps": 31}, "slippageBps"),
    ({"slippageBps": 30.0}, "slippageBps"),
    ({"otherAmountThreshold": "6077802"}, "otherAmountThreshold"),
    ({"otherAmountThreshold": "6077804"}, "otherAmountThreshold"),
    ({"outAmount": "0", "otherAmountThreshold": "0"}, "outAmount"),
    ({"outAmount": "-1"}, "outAmount"),
    ({"platformFee": {"amount": "1", "feeBps": 1}}, "platformFee.feeBps"),
    ({"platformFee": {}}, "platformFee.feeBps"),
    ({"contextSlot": None}, "contextSlot"),
    ({"routePlan": None}, "routePlan"),
    ({"routePlan": [{"swapInfo": {}}]}, "routePlan[0].swapInfo.label"),
]


@pytest.mark.parametrize(("changes", "name"), LIES)
async def test_a_quote_that_is_not_what_was_asked_for_names_the_field(
    changes: dict[str, object], name: str, upstream: Upstream, jupiter: Jupiter
) -> None:
    """It is refused at once, not retried, and never signed."""
    upstream.script("quote", json_reply(quote_answer(**changes)))
    error = await refused_quote(jupiter)

    assert (error.fault.code, error.fault.fault_class) == (ErrorCode.JUPITER_ANSWER_INVALID, FaultClass.PERMANENT)
    assert f" {name} " in str(error)
    assert (error.endpoint, error.operation) == (upstream.url, "quote")


async def test_a_fee_that_was_asked_for_must_be_in_the_quote(upstream: Upstream, jupiter: Jupiter) -> None:
    """A quote without our share is not the one that was asked for."""
    upstream.script("quote", json_reply(quote_answer()))

    assert "platformFee is not 20 bps" in str(await refused_quote(jupiter, platform_fee_bps=20))


async def test_new_fields_are_told_of_once_and_let_be(upstream: Upstream, jupiter: Jupiter, log: RecordedLog) -> None:
    """A new field of Jupiter's breaks nothing, and no flood of them fills our memory."""
    upstream.script("quote", json_reply(quote_answer(brandNew=1)), json_reply(quote_answer(brandNew=2)))
    upstream.script("quote", json_reply(quote_answer(**{f"f{i}": i for i in range(1000)})))
    upstream.script("swap-instructions", json_reply(swap_answer(brandNew=1)))
    for _ in range(2):
        await ask_quote(jupiter)
    await jupiter.swap_instructions(user=USER, quote=QUOTE, use_shared_accounts=None)

    assert log.named("jupiter.new_field") == [
        {"operation": "quote", "field": "brandNew"},
        {"operation": "swap-instructions", "field": "brandNew"},
    ]

    await ask_quote(jupiter)

    assert len(log.named("jupiter.new_field")) == 64


# --- the instructions ---


async def test_the_quote_goes_back_byte_for_byte(upstream: Upstream, jupiter: Jupiter) -> None:
    """Around it stand our wallet and our wishes."""
    upstream.script("swap-instructions", json_reply(swap_answer()))

    await jupiter.swap_instructions(user=USER, quote=QUOTE, use_shared_accounts=True, fee_account=USDC, tracking_account=SOL)

    (request,) = upstream.requests
    assert (request.method, request.path, request.headers["x-api-key"]) == ("POST", "/swap/v1/swap-instructions", API_KEY)
    assert QUOTE.raw in request.body
    assert request.json == {
        "quoteResponse": {"odd": "spacing", "number": 1.5},
        "userPublicKey": str(USER),
        "wrapAndUnwrapSol": True,
        "useSharedAccounts": True,
        "feeAccount": str(USDC),
        "trackingAccount": str(SOL),
    }


@pytest.mark.parametrize(("shared", "sent"), [(None, set()), (False, {"useSharedAccounts"}), (True, {"useSharedAccounts"})])
async def test_what_is_not_asked_for_does_not_go_out(
    shared: bool | None, sent: set[str], upstream: Upstream, jupiter: Jupiter
) -> None:
    """None leaves shared accounts to the router; absent accounts are absent."""
    upstream.script("swap-instructions", json_reply(swap_answer()))
    await jupiter.swap_instructions(user=USER, quote=QUOTE, use_shared_accounts=shared)
    body = upstream.requests[0].json

    assert set(body) == {"quoteResponse", "userPublicKey", "wrapAndUnwrapSol"} | sent
    assert body.get("useSharedAccounts") is shared


async def test_instructions_come_without_jupiters_compute_budget(upstream: Upstream, jupiter: Jupiter) -> None:
    """Setup, swap, cleanup and others in their places; two compute budgets would be one too many."""
    upstream.script("swap-instructions", json_reply(swap_answer(otherInstructions=[instruction(data="")])))

    swap = await jupiter.swap_instructions(user=USER, quote=QUOTE, use_shared_accounts=None)

    assert [one.program_id for one in swap.setup] == [SOL, USDC]
    assert (swap.swap.program_id, swap.swap.data) == (PROGRAM, b"\1\2")
    (account,) = swap.swap.accounts
    assert (account.pubkey, account.is_signer, account.is_writable) == (USER, True, False)
    assert [one.program_id for one in swap.cleanup] == [USER]
    assert [one.data for one in swap.other] == [b""]
    assert swap.lookup_tables == (USDC,)


async def test_what_a_swap_may_leave_out(upstream: Upstream, jupiter: Jupiter) -> None:
    """No cleanup and no other instructions."""
    upstream.script("swap-instructions", json_reply(swap_answer(cleanupInstruction=None, otherInstructions=None)))
    swap = await jupiter.swap_instructions(user=USER, quote=QUOTE, use_shared_accounts=None)

    assert (swap.cleanup, swap.other) == ((), ())


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"tokenLedgerInstruction": instruction()}, "tokenLedgerInstruction"),
        ({"swapInstruction": None}, "swapInstruction"),
        ({"swapInstruction": instruction() | {"data": "?"}}, "swapInstruction.data"),
        ({"swapInstruction": instruction() | {"accounts": [{"pubkey": "x"}]}}, "swapInstruction.accounts[0].pubkey"),
        ({"setupInstructions": {}}, "setupInstructions"),
        ({"addressLookupTableAddresses": ["x"]}, "addressLookupTableAddresses[0]"),
    ],
)
async def test_instructions_that_cannot_be_used_name_the_field(
    changes: dict[str, object], name: str, upstream: Upstream, jupiter: Jupiter
) -> None:
    """A token ledger would swap whatever lies in the account: it is refused like any broken field."""
    upstream.script("swap-instructions", json_reply(swap_answer(**changes)))
    error = await refused_swap(jupiter)

    assert error.fault.code is ErrorCode.JUPITER_ANSWER_INVALID
    assert f" {name} " in str(error)


async def test_jupiters_own_failed_simulation_asks_for_a_new_quote(upstream: Upstream, jupiter: Jupiter) -> None:
    """Though it comes with status 200."""
    upstream.script("swap-instructions", json_reply(swap_answer(simulationError={"errorCode": "X", "error": "no funds"})))
    error = await refused_swap(jupiter)

    assert (error.fault.reaction, error.fault.code) == (Reaction.REQUOTE, ErrorCode.SIMULATION_FAILED)
    assert "no funds" in str(error)
    assert len(upstream.requests) == 1


# --- errors ---

ERRORS: list[tuple[Reply, ErrorCode, Reaction]] = [
    (json_reply({"error": "x", "errorCode": "TOKEN_NOT_TRADABLE"}, 400), ErrorCode.TOKEN_NOT_TRADABLE, Reaction.REJECT),
    (json_reply({"error": "No routes found", "errorCode": "NO_ROUTES_FOUND"}), ErrorCode.ROUTE_NOT_FOUND, Reaction.REQUOTE),
    (json_reply({"errorCode": "NO_ROUTES_FOUND"}), ErrorCode.ROUTE_NOT_FOUND, Reaction.REQUOTE),
    (Reply(404, b"Route not found"), ErrorCode.ROUTE_NOT_FOUND, Reaction.REQUOTE),
    (Reply(401, b"Unauthorized"), ErrorCode.JUPITER_UNAUTHORIZED, Reaction.REJECT),
    (Reply(403, b"Forbidden"), ErrorCode.JUPITER_UNAUTHORIZED, Reaction.REJECT),
    (Reply(422, b""), ErrorCode.SIMULATION_FAILED, Reaction.REQUOTE),
    (Reply(404, b""), ErrorCode.JUPITER_REFUSED, Reaction.REJECT),
    (json_reply([]), ErrorCode.JUPITER_ANSWER_INVALID, Reaction.REJECT),
]


@pytest.mark.parametrize(("reply", "code", "reaction"), ERRORS)
async def test_an_error_is_classified_and_not_repeated(
    reply: Reply, code: ErrorCode, reaction: Reaction, upstream: Upstream, jupiter: Jupiter
) -> None:
    """By code, words or status, also when it comes with status 200."""
    upstream.script("quote", reply)
    error = await refused_quote(jupiter)

    assert (error.fault.code, error.fault.reaction, error.status) == (code, reaction, reply.status)
    assert (error.attempts, len(upstream.requests)) == (1, 1)


async def test_no_route_suggests_to_go_without_shared_accounts(upstream: Upstream, jupiter: Jupiter) -> None:
    """Simple pools cannot use them."""
    upstream.script("swap-instructions", json_reply({"error": "x", "errorCode": "NO_ROUTES_FOUND"}, 400))

    assert (await refused_swap(jupiter)).fault.remedy is Remedy.WITHOUT_SHARED_ACCOUNTS


@pytest.mark.parametrize(
    "step", [Reply(503), Reply(429), Reply(500), Reset(), Reply(body=b"{"), Truncated(json_reply(quote_answer()), 30)]
)
async def test_transient_faults_are_retried(step: Script, upstream: Upstream, jupiter: Jupiter, log: RecordedLog) -> None:
    """Both calls only read; each retry is an event."""
    upstream.script("quote", step, step, json_reply(quote_answer()))

    assert (await ask_quote(jupiter)).out_amount == 6_096_091
    assert len(log.named("retry.scheduled")) == 2


async def test_retries_end(upstream: Upstream, jupiter: Jupiter) -> None:
    """The error says how often it was tried."""
    upstream.always("quote", Reply(429))
    error = await refused_quote(jupiter)

    assert (error.fault.code, error.attempts, len(upstream.requests)) == (ErrorCode.JUPITER_RATE_LIMITED, 4, 4)


async def test_a_refusal_is_an_event_with_the_gateways_id(upstream: Upstream, jupiter: Jupiter, log: RecordedLog) -> None:
    """Jupiter's support asks for it."""
    reply = json_reply({"error": "x", "errorCode": "TOKEN_NOT_TRADABLE"}, 400, {"x-api-gateway-request-id": "abc-123"})
    upstream.script("quote", reply)
    await refused_quote(jupiter)
    (event,) = log.named("jupiter.refused")

    assert (event["gateway_request_id"], event["code"], event["status"]) == ("abc-123", "TOKEN_NOT_TRADABLE", 400)


async def test_a_key_that_jupiter_echoes_is_not_shown(upstream: Upstream, jupiter: Jupiter, log: RecordedLog) -> None:
    """Neither in the error nor in any field of the log, not even half of it."""
    for padding in range(240, 310, 7):
        words = "x" * padding + API_KEY
        upstream.script("quote", json_reply({"error": words, API_KEY: 1}, 400, {"x-api-gateway-request-id": words}))
        upstream.script("quote", json_reply(quote_answer(**{words: 1})))
        error = await refused_quote(jupiter)
        await ask_quote(jupiter)

        assert "jup-a" not in f"{error!r} {log.events} {jupiter.endpoint_health}"


async def test_jupiters_health(upstream: Upstream, jupiter: Jupiter) -> None:
    """A refusal is an answer; no answer is a problem."""
    upstream.script("quote", json_reply({"errorCode": "NO_ROUTES_FOUND"}, 400))
    await refused_quote(jupiter)

    assert (jupiter.endpoint_health.failing, jupiter.endpoint_health.last_problem) == (False, None)

    upstream.always("quote", Reply(503))
    await refused_quote(jupiter)

    assert jupiter.endpoint_health.failing
    assert "HTTP 503" in (jupiter.endpoint_health.last_problem or "")
    assert jupiter.endpoint == upstream.url == jupiter.endpoint_health.endpoint


# --- recorded answers ---


@pytest.mark.parametrize("name", recorded_names("quote"))
async def test_recorded_quotes(name: str, upstream: Upstream, jupiter: Jupiter, log: RecordedLog) -> None:
    """Every quote of the real API, 2024 to 2026, is accepted for the question it answers, without a new field."""
    answer = recorded("quote", name)
    upstream.script("quote", json_reply(answer))

    quote = await jupiter.quote(
        input_mint=Pubkey.from_string(answer["inputMint"]),
        output_mint=Pubkey.from_string(answer["outputMint"]),
        in_amount=int(answer["inAmount"]),
        slippage_bps=answer["slippageBps"],
    )

    assert quote.route == tuple(hop["swapInfo"]["label"] for hop in answer["routePlan"])
    assert quote.other_amount_threshold == minimum_out(quote.out_amount, quote.slippage_bps)
    assert log.events == []


@pytest.mark.parametrize("name", recorded_names("swap-instructions"))
async def test_recorded_instructions(name: str, upstream: Upstream, jupiter: Jupiter, log: RecordedLog) -> None:
    """Every answer of the real API is read, and compiles to a v0 message."""
    answer = recorded("swap-instructions", name)
    upstream.script("swap-instructions", json_reply(answer))
    swap = await jupiter.swap_instructions(user=USER, quote=QUOTE, use_shared_accounts=None)
    instructions = [*swap.setup, swap.swap, *swap.cleanup, *swap.other]
    payer = next(account.pubkey for account in swap.swap.accounts if account.is_signer)
    writable = {a.pubkey for one in instructions for a in one.accounts if not a.is_signer}
    tables = [AddressLookupTableAccount(swap.lookup_tables[0], sorted(writable, key=bytes)[:200])]

    message = MessageV0.try_compile(payer, instructions, tables, Hash.default())

    assert len(swap.setup) == len(answer["setupInstructions"])
    assert len(swap.other) == len(answer["otherInstructions"])
    assert len(message.instructions) == len(instructions)
    assert log.events == []


# --- any quote ---


@given(
    in_amount=st.integers(1, 2**64 - 1),
    out_amount=st.integers(1, 2**64 - 1),
    slippage_bps=st.integers(0, 10_000),
    wrong_by=st.sampled_from([-1, 0, 1]),
)
def test_the_threshold_is_checked_to_the_last_unit(in_amount: int, out_amount: int, slippage_bps: int, wrong_by: int) -> None:
    """For every amount and slippage: exactly ceil(out * (10000 - bps) / 10000) is accepted."""
    threshold = minimum_out(out_amount, slippage_bps) + wrong_by
    raw = json.dumps(
        quote_answer(
            inAmount=str(in_amount),
            outAmount=str(out_amount),
            otherAmountThreshold=str(threshold),
            slippageBps=slippage_bps,
        )
    ).encode()
    asked = _Asked(
        input_mint=SOL,
        output_mint=USDC,
        in_amount=in_amount,
        slippage_bps=slippage_bps,
        platform_fee_bps=0,
        exclude_dexes=(),
        max_accounts=None,
    )

    if wrong_by == 0:
        assert _quote(read_json(raw), raw, asked).other_amount_threshold == threshold
    else:
        with pytest.raises(WrongField, match="otherAmountThreshold"):
            _quote(read_json(raw), raw, asked)

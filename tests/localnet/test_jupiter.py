import base64
import json
import time
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from solders.account import Account
from solders.instruction import AccountMeta
from solders.keypair import Keypair
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata, TransactionMetadata

from executor.localnet import tokens
from executor.localnet.faults import Lag, LostSend, Order, StaleQuote
from executor.localnet.formula import maximum_in
from executor.localnet.http import HttpReply, HttpRequest
from executor.localnet.market import POOL_LABEL, worth
from executor.localnet.program import layout
from executor.localnet.program.layout import ProgramError
from executor.localnet.swapping import JITO_TIP_ACCOUNTS
from executor.localnet.tokens import BERN, BONK, JITOSOL, RAY, SOL, TOKENS, USDC, Token
from executor.units import MAX_COMPUTE_UNIT_LIMIT, U64_MAX, minimum_out
from tests.localnet.market_world import (
    LAST_VALID_BLOCK_HEIGHT,
    NOW_NS,
    OWNER,
    PAYER,
    WALLET,
    MarketWorld,
    decoded,
    instruction_of,
)

RECORDED = Path(__file__).parents[3] / "shared" / "recorded"
PAIRS = list(permutations(TOKENS, 2))
ACCOUNT_RENT = tokens.rent_exemption(tokens.BASE_ACCOUNT_BYTES)
STRANGER = Keypair.from_seed(bytes([9]) * 32).pubkey()


@pytest.fixture
def world() -> MarketWorld:
    """The market, its API, and a wallet with a lot of everything."""
    return MarketWorld()


def pair_name(pair: tuple[Token, Token]) -> str:
    """How a pair is called in the list of tests."""
    return f"{pair[0].symbol}-{pair[1].symbol}"


def recorded(name: str) -> Any:
    """A recorded answer; the test is skipped where there is none."""
    path = RECORDED / name
    if not path.exists():
        pytest.skip(f"../shared/recorded/{name} is absent: the shape is NOT compared with the real API's")
    return json.loads(path.read_text())


def assert_refused(reply: HttpReply, error: str, code: str | None = None, *, status: int = 400) -> None:
    """A refusal in Jupiter's shape, with these words in it."""
    body = json.loads(reply.body)
    assert (reply.status, body.get("errorCode")) == (status, code)
    assert error in body["error"]
    assert list(body) == (["error", "errorCode"] if code else ["error"])


def error_code(result: object) -> int:
    """With which custom error a transaction failed."""
    assert isinstance(result, FailedTransactionMetadata)
    code = json.loads(result.to_json())["err"]["InstructionError"][1]["Custom"]
    assert isinstance(code, int)
    return code


def wealth(world: MarketWorld, token: Token) -> int:
    """What the wallet has of a token; of SOL native and wrapped together."""
    return world.balance(token) + (world.lamports() if token == SOL else 0)


def swapped(world: MarketWorld, quote: Any, **parameters: object) -> tuple[int, int]:
    """Execute a quote; returns what the wallet has spent and received. SOL counts without the network fee."""
    pair = [world.market.tokens[Pubkey.from_string(quote[name])] for name in ("inputMint", "outputMint")]
    before = [wealth(world, token) for token in pair]
    result = world.execute(world.instructions(quote, **parameters))
    spent, received = (
        sign * (wealth(world, token) - was + (result.fee() if token == SOL else 0))
        for sign, token, was in zip((-1, 1), pair, before, strict=True)
    )
    assert returned(result) == (spent if quote["swapMode"] == "ExactOut" else received)
    return spent, received


def returned(result: TransactionMetadata) -> int:
    """What the swap program said that it did."""
    start = f"Program return: {layout.PROGRAM_ID} "
    (line,) = (line for line in result.logs() if line.startswith(start))
    return int.from_bytes(base64.b64decode(line.removeprefix(start)), "little")


def quoted_amounts(quote: Any) -> tuple[int, int]:
    """Input and output of a quote."""
    return int(quote["inAmount"]), int(quote["outAmount"])


def keep_wrapped(world: MarketWorld, amount: int = 0) -> None:
    """Give the wallet a wrapped-SOL account that is there before."""
    account = tokens.token_account(SOL, owner=OWNER, amount=amount)
    world.put([(tokens.associated_address(OWNER, SOL), account)])


# ---- what is quoted is what is paid


@pytest.mark.parametrize("shared", [None, False, True], ids=["routed", "plain", "shared"])
@pytest.mark.parametrize("mode", ["ExactIn", "ExactOut"])
@pytest.mark.parametrize("pair", PAIRS, ids=pair_name)
def test_what_is_quoted_is_what_is_paid(world: MarketWorld, pair: tuple[Token, Token], mode: str, shared: bool | None) -> None:
    """To the unit, for every pair, in both modes, however the router is told to go; and the transaction fits into a packet."""
    amount = worth(pair[0] if mode == "ExactIn" else pair[1], 300)
    quote = world.quote(*pair, amount, swapMode=mode, slippageBps=0)
    if shared and BERN in pair:
        refusal = world.post("/swap-instructions", swap_body(quote, useSharedAccounts=True))
        assert_refused(refusal, "Simple AMMs are not supported with shared accounts", "NOT_SUPPORTED")
        return

    assert swapped(world, quote, useSharedAccounts=shared) == quoted_amounts(quote)


def swap_body(quote: object, **parameters: object) -> dict[str, object]:
    """A body for the two swap calls."""
    return {"userPublicKey": str(OWNER), "quoteResponse": quote, **parameters}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    pair=st.sampled_from(PAIRS),
    mode=st.sampled_from(["ExactIn", "ExactOut"]),
    magnitude=st.floats(0, 13.5),
    fee_bps=st.integers(0, 255),
    any_middle=st.booleans(),
    shared=st.booleans(),
)
def test_any_quote_that_is_given_can_be_executed_as_given(
    pair: tuple[Token, Token], mode: str, magnitude: float, fee_bps: int, any_middle: bool, shared: bool
) -> None:
    """Whatever the amount: it is refused with a code, or the swap spends and pays exactly that, the platform fee included."""
    world = MarketWorld()
    fee_token = pair[1] if mode == "ExactIn" else pair[0]
    fee_account = tokens.associated_address(STRANGER, fee_token)
    world.put([(fee_account, tokens.token_account(fee_token, owner=STRANGER, amount=0))])
    mints = {"inputMint": pair[0].mint, "outputMint": pair[1].mint, "restrictIntermediateTokens": str(not any_middle).lower()}
    fee_bps = 0 if fee_token == BERN else fee_bps  # V1 takes no fee in Token-2022 mints
    reply = world.get("/quote", **mints, amount=int(10**magnitude), swapMode=mode, platformFeeBps=fee_bps)
    quote = json.loads(reply.body)
    if reply.status != 200:
        assert quote["errorCode"] == "COULD_NOT_FIND_ANY_ROUTE"
        return
    if quoted_amounts(quote)[0] > worth(pair[0], 2_900_000):
        return  # more than the wallet has

    fee = {"feeAccount": str(fee_account)} if fee_bps else {}
    assert swapped(world, quote, useSharedAccounts=shared and BERN not in pair, **fee) == quoted_amounts(quote)
    assert world.amount_at(fee_account) == (int(quote["platformFee"]["amount"]) if fee_bps else 0)


def test_a_quote_takes_less_than_a_millisecond(world: MarketWorld) -> None:
    """With six tokens and nine pools a router on the hot path costs nothing to speak of."""
    seconds = []
    for _ in range(30):
        began = time.perf_counter()
        world.quote(USDC, JITOSOL, 10**8)
        seconds.append(time.perf_counter() - began)

    assert min(seconds) < 0.001


# ---- the quote


def test_a_quote_has_the_fields_of_a_recorded_one(world: MarketWorld) -> None:
    """Every object of the answer has the real one's fields, in its order and of its types."""
    real = recorded("quote/glam_451027533_sol_usdc_v1_2026-09-27.json")

    ours = world.quote(SOL, USDC, 50_000_000, slippageBps=30)

    assert shape(ours) | {"mostReliableAmmsQuoteReport": None} == shape(real) | {"mostReliableAmmsQuoteReport": None}
    assert list(ours) == list(real)
    assert list(ours["routePlan"][0]) == list(real["routePlan"][0])
    assert list(ours["routePlan"][0]["swapInfo"]) == list(real["routePlan"][0]["swapInfo"])
    assert all(isinstance(amount, str) for amount in ours["mostReliableAmmsQuoteReport"]["info"].values())


def shape(value: Any) -> Any:
    """A JSON document with its values replaced by their types."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return [shape(inner) for inner in value[:1]] if isinstance(value, list) else type(value)


def test_the_steps_of_a_quote_lead_from_the_input_to_the_output(world: MarketWorld) -> None:
    """What one hop gives the next one takes; the ends are the quote's own amounts."""
    quote = world.quote(JITOSOL, RAY, 10**9)

    first, last = (step["swapInfo"] for step in quote["routePlan"])

    assert (first["inputMint"], last["outputMint"]) == (quote["inputMint"], quote["outputMint"])
    assert (first["inAmount"], last["outAmount"]) == (quote["inAmount"], quote["outAmount"])
    assert (first["outputMint"], first["outAmount"]) == (last["inputMint"], last["inAmount"])
    assert {first["label"], last["label"]} == {POOL_LABEL}


@pytest.mark.parametrize("slippage_bps", [0, 1, 50, 9_999, 10_000])
def test_the_threshold_is_the_programs(world: MarketWorld, slippage_bps: int) -> None:
    """The least output of an exact input is rounded up, the most input of an exact output down."""
    exact_in = world.quote(SOL, USDC, 12_345_678, slippageBps=slippage_bps)
    exact_out = world.quote(SOL, USDC, 12_345_678, slippageBps=slippage_bps, swapMode="ExactOut")

    assert int(exact_in["otherAmountThreshold"]) == minimum_out(int(exact_in["outAmount"]), slippage_bps)
    assert int(exact_out["otherAmountThreshold"]) == maximum_in(int(exact_out["inAmount"]), slippage_bps)


def test_the_best_route_wins(world: MarketWorld) -> None:
    """Once the direct pool has become the worse one, the way around is taken, unless it is forbidden."""
    amount = worth(BONK, 100)
    assert len(world.quote(BONK, USDC, amount)["routePlan"]) == 1
    drain = world.quote(BONK, USDC, worth(BONK, 50_000), onlyDirectRoutes="true")
    world.execute(world.instructions(drain))

    around = world.quote(BONK, USDC, amount)
    direct = world.quote(BONK, USDC, amount, onlyDirectRoutes="true")
    few_accounts = world.quote(BONK, USDC, amount, maxAccounts=19)

    assert [len(quote["routePlan"]) for quote in (around, direct, few_accounts)] == [2, 1, 1]
    assert int(around["outAmount"]) > int(direct["outAmount"]) == int(few_accounts["outAmount"])
    assert around["mostReliableAmmsQuoteReport"]["info"] == {direct["routePlan"][0]["swapInfo"]["ammKey"]: direct["outAmount"]}


def test_price_impact_and_dollars_are_plain_decimals(world: MarketWorld) -> None:
    """The impact grows with the amount and leaves fees out; the value is that of the input at the pools' prices."""
    small, large = (world.quote(BONK, SOL, worth(BONK, dollars)) for dollars in (1, 100_000))

    assert float(small["priceImpactPct"]) < 0.00001
    assert 0.05 < float(large["priceImpactPct"]) < 0.10
    assert abs(float(large["swapUsdValue"]) - 100_000) < 10
    assert all(set(quote["priceImpactPct"]) <= set("0123456789.") for quote in (small, large))
    assert abs(float(world.quote(USDC, SOL, 10**6)["swapUsdValue"]) - 1) < 10**-9


def test_labels_choose_pools(world: MarketWorld) -> None:
    """The one label that there is may be named or excluded; the labels are those of the label call."""
    labels = decoded(world.get("/program-id-to-label"))
    assert labels == {str(layout.PROGRAM_ID): POOL_LABEL}

    assert world.quote(SOL, USDC, 10**9, dexes=f"Whirlpool, {POOL_LABEL}")
    assert world.quote(SOL, USDC, 10**9, excludeDexes="Whirlpool")
    for nothing in ({"dexes": "Whirlpool"}, {"excludeDexes": POOL_LABEL}):
        assert_refused(quote_reply(world, **nothing), "No routes found", "NO_ROUTES_FOUND")


def quote_reply(world: MarketWorld, **query: object) -> HttpReply:
    """Ask for a quote of 1 SOL in USDC, with other parameters."""
    return world.get("/quote", **{"inputMint": SOL.mint, "outputMint": USDC.mint, "amount": 10**9, **query})


BAD_QUOTES = [
    ({"inputMint": ""}, "missing field `inputMint`", None),
    ({"outputMint": ""}, "missing field `outputMint`", None),
    ({"amount": ""}, "missing field `amount`", None),
    ({"inputMint": "So1"}, "Query parameter inputMint cannot be parsed: WrongSize", None),
    ({"inputMint": "1" * 45}, "Query parameter inputMint cannot be parsed: WrongSize", None),
    ({"outputMint": "0OIl"}, "Query parameter outputMint cannot be parsed: Invalid", None),
    ({"amount": "1.5"}, "Query parameter amount cannot be parsed: ParseIntError { kind: InvalidDigit }", None),
    ({"amount": U64_MAX + 1}, "Query parameter amount cannot be parsed: ParseIntError { kind: PosOverflow }", None),
    ({"amount": "9" * 5_000}, "Query parameter amount cannot be parsed: ParseIntError { kind: PosOverflow }", None),
    ({"slippageBps": -1}, "Query parameter slippageBps cannot be parsed", None),
    ({"slippageBps": 65_536}, "Query parameter slippageBps cannot be parsed", None),
    ({"swapMode": "Exact"}, "Query parameter swapMode cannot be parsed: Matching variant not found", None),
    ({"onlyDirectRoutes": "yes"}, "Query parameter onlyDirectRoutes cannot be parsed", None),
    ({"instructionVersion": "V3"}, "Query parameter instructionVersion cannot be parsed", None),
    ({"instructionVersion": "V2"}, "instructionVersion V2 is not supported", "NOT_SUPPORTED"),
    ({"dexes": "A", "excludeDexes": "B"}, "mutually exclusive", "NOT_SUPPORTED"),
    ({"platformFeeBps": 256}, "platformFeeBps 256 is not supported", "NOT_SUPPORTED"),
    ({"maxAccounts": 65}, "greater than", "MAX_ACCOUNT_GREATER_THAN_MAX"),
    ({"maxAccounts": 9}, "No routes found", "NO_ROUTES_FOUND"),
    ({"inputMint": JITOSOL.mint, "onlyDirectRoutes": "true"}, "No routes found", "NO_ROUTES_FOUND"),
    ({"inputMint": STRANGER}, f"The token {STRANGER} is not tradable", "TOKEN_NOT_TRADABLE"),
    ({"outputMint": STRANGER}, f"The token {STRANGER} is not tradable", "TOKEN_NOT_TRADABLE"),
    ({"outputMint": SOL.mint}, "Input and output mints are not allowed to be equal", "CIRCULAR_ARBITRAGE_IS_DISABLED"),
    ({"amount": 0}, "Could not find any route", "COULD_NOT_FIND_ANY_ROUTE"),
    ({"amount": 1}, "Could not find any route", "COULD_NOT_FIND_ANY_ROUTE"),
    ({"amount": 10**15, "swapMode": "ExactOut"}, "Could not find any route", "COULD_NOT_FIND_ANY_ROUTE"),
    ({"amount": U64_MAX}, "does not consume all the amount", "ROUTE_PLAN_DOES_NOT_CONSUME_ALL_THE_AMOUNT"),
    ({"slippageBps": 10_001}, "other amount threshold", "CANNOT_COMPUTE_OTHER_AMOUNT_THRESHOLD"),
]


@pytest.mark.parametrize(("query", "error", "code"), BAD_QUOTES)
def test_a_bad_quote_request_is_refused_in_jupiters_words(
    world: MarketWorld, query: dict[str, object], error: str, code: str | None
) -> None:
    """Status 400, a sentence, and the code where Jupiter has one."""
    assert_refused(quote_reply(world, **query), error, code)


@pytest.mark.parametrize("name", ["could_not_find_any_route", "no_routes_found", "token_not_tradable"])
def test_errors_are_the_recorded_ones(world: MarketWorld, name: str) -> None:
    """The recorded error bodies, word for word."""
    real = recorded(f"jupiter-errors/{name}.json")
    foreign = "GkpRhRXqVYUJS2gMPLyjefAcwLMCLwoxaBKRr1ghnu1k"
    queries: dict[str, dict[str, object]] = {
        "could_not_find_any_route": {"amount": 0},
        "no_routes_found": {"dexes": "Whirlpool"},
        "token_not_tradable": {"inputMint": foreign},
    }

    reply = quote_reply(world, **queries[name])

    assert (reply.status, json.loads(reply.body)) == (real["http_status"], real["body"])


# ---- swap-instructions: the shape


def test_swap_instructions_have_the_fields_of_a_recorded_answer(world: MarketWorld) -> None:
    """Every object has the real one's fields, in its order; equal parameters give equal kinds of instructions."""
    real = recorded("swap-instructions/glam_451027533_sol_usdc_v1_2026-09-27.json")

    ours = world.instructions(world.quote(SOL, USDC, 50_000_000), useSharedAccounts=True, wrapAndUnwrapSol=False)

    assert list(ours) == list(real)
    assert list(ours["blockhashWithMetadata"]) == list(real["blockhashWithMetadata"])
    assert shape(ours["blockhashWithMetadata"]) == shape(real["blockhashWithMetadata"])
    assert shape(ours["prioritizationType"]) == shape(real["prioritizationType"])
    assert list(ours["swapInstruction"]) == list(real["swapInstruction"])
    assert list(ours["swapInstruction"]["accounts"][0]) == list(real["swapInstruction"]["accounts"][0])
    assert [step["data"] for step in ours["setupInstructions"]] == [step["data"] for step in real["setupInstructions"]]
    assert ours["computeBudgetInstructions"][0] == real["computeBudgetInstructions"][0]
    assert ours["prioritizationFeeLamports"] == real["prioritizationFeeLamports"] == 99_999
    same = ("tokenLedgerInstruction", "cleanupInstruction", "otherInstructions", "computeUnitLimit", "simulationSlot")
    assert {name: ours[name] for name in same} == {name: real[name] for name in same}


def test_a_tip_takes_the_place_of_the_price_as_in_a_recorded_answer(world: MarketWorld) -> None:
    """Then the compute budget has a limit only, and the tip is the last instruction."""
    real = recorded("swap-instructions/ilkamo_with_jito_tip.json")

    ours = world.instructions(
        world.quote(SOL, USDC, 100_000),
        prioritizationFeeLamports={"jitoTipLamports": 1_000},
        dynamicComputeUnitLimit=True,
    )

    assert ours["prioritizationType"] == real["prioritizationType"]
    assert len(ours["computeBudgetInstructions"]) == len(real["computeBudgetInstructions"]) == 1
    assert ours["otherInstructions"][0]["data"] == real["otherInstructions"][0]["data"]
    assert [step["data"] for step in ours["setupInstructions"]] == [step["data"] for step in real["setupInstructions"]]
    assert ours["cleanupInstruction"]["data"] == real["cleanupInstruction"]["data"]
    assert isinstance(ours["simulationSlot"], int)
    assert set(real) < set(ours)  # the real one is older


def test_the_blockhash_comes_with_its_last_height_and_the_time(world: MarketWorld) -> None:
    """The blockhash is that of the chain, and when it was fetched is told by the clock that was passed in."""
    metadata = world.instructions(world.quote(SOL, USDC, 10**9))["blockhashWithMetadata"]

    assert bytes(metadata["blockhash"]) == bytes(world.chain.svm.latest_blockhash())
    assert metadata["lastValidBlockHeight"] == LAST_VALID_BLOCK_HEIGHT
    assert metadata["fetchedAt"] == {"secs_since_epoch": NOW_NS // 10**9, "nanos_since_epoch": NOW_NS % 10**9}


# ---- swap-instructions: what they do


def test_wrapped_sol_is_left_alone_when_wrapping_is_declined(world: MarketWorld) -> None:
    """The input comes from the wrapped account, the output goes there, and nothing is closed."""
    keep_wrapped(world, 5 * 10**9)
    native = world.lamports()

    sell = world.quote(SOL, USDC, 10**9)
    fees = world.execute(world.instructions(sell, wrapAndUnwrapSol=False)).fee()
    assert world.balance(SOL) == 4 * 10**9

    buy = world.quote(USDC, SOL, 10**8)
    fees += world.execute(world.instructions(buy, wrapAndUnwrapSol=False)).fee()
    assert world.balance(SOL) == 4 * 10**9 + int(buy["outAmount"])
    assert world.lamports() == native - fees


@pytest.mark.parametrize("pair", [(SOL, USDC), (USDC, SOL), (JITOSOL, USDC)], ids=pair_name)
def test_wrapping_always_closes_the_wrapped_account(world: MarketWorld, pair: tuple[Token, Token]) -> None:
    """Even one that was there before, with what was in it: so does Jupiter. A plain route uses it in the middle too."""
    keep_wrapped(world, 123)

    answer = world.instructions(world.quote(*pair, worth(pair[0], 50)), useSharedAccounts=False)
    world.execute(answer)

    assert world.chain.svm.get_account(tokens.associated_address(OWNER, SOL)) is None
    assert answer["cleanupInstruction"]["data"] == base64.b64encode(bytes([9])).decode()


def test_a_shared_route_needs_no_account_of_the_middle_token(world: MarketWorld) -> None:
    """Only the output's account is created, and there is nothing to close."""
    answer = world.instructions(world.quote(JITOSOL, USDC, 10**9))

    assert len(answer["setupInstructions"]) == 1
    assert answer["cleanupInstruction"] is None
    assert len(answer["addressLookupTableAddresses"]) == 2


def test_the_account_of_a_new_token_is_created(world: MarketWorld) -> None:
    """A first purchase costs the rent of the account and nothing else."""
    world.chain.svm.set_account(tokens.associated_address(OWNER, RAY), Account(0, b"", tokens.SYSTEM_PROGRAM))
    native = world.lamports()
    quote = world.quote(USDC, RAY, 10**8)

    fee = world.execute(world.instructions(quote)).fee()

    assert world.balance(RAY) == int(quote["outAmount"])
    assert world.lamports() == native - fee - ACCOUNT_RENT


@pytest.mark.parametrize("shared", [None, False, True])
def test_the_output_goes_where_it_is_told(world: MarketWorld, shared: bool | None) -> None:
    """A destination token account gets all of it, on a plain route through the wallet's own account."""
    destination = tokens.associated_address(STRANGER, USDC)
    world.put([(destination, tokens.token_account(USDC, owner=STRANGER, amount=0))])
    own = world.balance(USDC)
    quote = world.quote(SOL, USDC, 10**9)

    world.execute(world.instructions(quote, destinationTokenAccount=str(destination), useSharedAccounts=shared))

    assert world.amount_at(destination) == int(quote["outAmount"])
    assert world.balance(USDC) == own


def test_sol_for_another_stays_wrapped(world: MarketWorld) -> None:
    """A destination account of the native mint is not the wallet's to close."""
    destination = tokens.associated_address(STRANGER, SOL)
    world.put([(destination, tokens.token_account(SOL, owner=STRANGER, amount=0))])
    quote = world.quote(USDC, SOL, 10**8)

    answer = world.instructions(quote, destinationTokenAccount=str(destination))
    world.execute(answer)

    assert answer["cleanupInstruction"] is None
    assert world.amount_at(destination) == int(quote["outAmount"])


def test_a_payer_pays_fee_and_rent(world: MarketWorld) -> None:
    """The wallet signs and keeps its lamports."""
    world.chain.svm.set_account(tokens.associated_address(OWNER, RAY), Account(0, b"", tokens.SYSTEM_PROGRAM))
    native, payers = world.lamports(), world.lamports(PAYER.pubkey())

    answer = world.instructions(world.quote(USDC, RAY, 10**8), payer=str(PAYER.pubkey()))
    result = world.run(world.compile(answer, payer=PAYER.pubkey()), (PAYER, WALLET))

    assert isinstance(result, TransactionMetadata)
    assert world.lamports() == native
    assert world.lamports(PAYER.pubkey()) == payers - result.fee() - ACCOUNT_RENT


def test_a_tracking_account_is_the_last_of_the_swap(world: MarketWorld) -> None:
    """It is read-only, and the swap runs as without it."""
    quote = world.quote(SOL, BONK, 10**9)

    answer = world.instructions(quote, trackingAccount=str(STRANGER))

    swap = instruction_of(answer["swapInstruction"])
    assert swap.accounts[-1] == AccountMeta(STRANGER, is_signer=False, is_writable=False)
    assert swapped(world, quote, trackingAccount=str(STRANGER)) == quoted_amounts(quote)


def test_a_platform_fee_may_be_taken_out_of_the_input(world: MarketWorld) -> None:
    """The account's mint decides; the wallet spends the same and gets about the same."""
    fee_account = tokens.associated_address(STRANGER, BONK)
    world.put([(fee_account, tokens.token_account(BONK, owner=STRANGER, amount=0))])
    quote = world.quote(BONK, USDC, 10**12, platformFeeBps=100)

    spent, received = swapped(world, quote, feeAccount=str(fee_account))

    assert (spent, world.amount_at(fee_account)) == (10**12, 10**10)
    assert int(quote["otherAmountThreshold"]) <= received


@pytest.mark.parametrize(
    ("account", "error"),
    [
        (STRANGER, ProgramError.ACCOUNT_NOT_INITIALIZED),
        (tokens.associated_address(STRANGER, BERN), ProgramError.INCORRECT_TOKEN_PROGRAM_ID),
    ],
    ids=["a wallet", "a token-2022 account"],
)
def test_a_wrong_fee_account_is_found_out_by_the_program(world: MarketWorld, account: Pubkey, error: ProgramError) -> None:
    """The API does not look at it, as the real one does not: the swap fails, with the real program's codes."""
    bern = tokens.associated_address(STRANGER, BERN)
    world.put([(bern, tokens.token_account(BERN, owner=STRANGER, amount=0))])
    quote = world.quote(SOL, BERN, 10**9, platformFeeBps=50)

    result = world.run(world.compile(world.instructions(quote, feeAccount=str(account))))

    assert error_code(result) == error


def level(name: str, max_lamports: int) -> dict[str, object]:
    """A priority level with its cap."""
    return {"priorityLevelWithMaxLamports": {"priorityLevel": name, "maxLamports": max_lamports, "global": False}}


@pytest.mark.parametrize(
    ("parameters", "price_micro_lamports", "lamports"),
    [
        ({}, 71_428, 99_999),
        ({"prioritizationFeeLamports": "auto"}, 71_428, 99_999),
        ({"prioritizationFeeLamports": 14_000}, 10_000, 14_000),
        ({"prioritizationFeeLamports": 0}, 0, 0),
        ({"computeUnitPriceMicroLamports": 20_000}, 20_000, 28_000),
        ({"computeUnitPriceMicroLamports": "auto"}, 71_428, 99_999),
        ({"prioritizationFeeLamports": level("medium", 10**6)}, 5_000, 7_000),
        ({"prioritizationFeeLamports": level("high", 10**6)}, 20_000, 28_000),
        ({"prioritizationFeeLamports": level("veryHigh", 7_000)}, 5_000, 7_000),
    ],
)
def test_the_priority_fee_is_what_was_asked_for(
    world: MarketWorld, parameters: dict[str, object], price_micro_lamports: int, lamports: int
) -> None:
    """A price, a total, a level with a cap, or the default: limit and price are both set, and the total is told."""
    answer = world.instructions(world.quote(SOL, USDC, 10**9), **parameters)

    limit, price = (base64.b64decode(instruction["data"]) for instruction in answer["computeBudgetInstructions"])
    assert (limit[0], int.from_bytes(limit[1:], "little")) == (2, MAX_COMPUTE_UNIT_LIMIT)
    assert (price[0], int.from_bytes(price[1:], "little")) == (3, price_micro_lamports)
    assert answer["prioritizationFeeLamports"] == lamports
    assert answer["prioritizationType"]["computeBudget"]["microLamports"] == price_micro_lamports


def test_the_tip_may_be_paid_by_another(world: MarketWorld) -> None:
    """The named payer is the tip's source, one of Jito's accounts its destination."""
    tip = {"jitoTipLamportsWithPayer": {"lamports": 2_000, "payer": str(STRANGER)}}

    answer = world.instructions(world.quote(SOL, USDC, 10**9), prioritizationFeeLamports=tip)

    (transfer,) = (instruction_of(value) for value in answer["otherInstructions"])
    assert transfer.accounts[0].pubkey == STRANGER
    assert transfer.accounts[1].pubkey in JITO_TIP_ACCOUNTS
    assert answer["prioritizationType"] == {"jito": {"lamports": 2_000}}


@pytest.mark.parametrize("shared", [False, None])
@pytest.mark.parametrize("pair", PAIRS, ids=pair_name)
def test_a_dynamic_limit_is_enough_and_not_the_largest(
    world: MarketWorld, pair: tuple[Token, Token], shared: bool | None
) -> None:
    """The swap runs under it, the creation of every account included."""
    if pair[1] != SOL:
        world.chain.svm.set_account(tokens.associated_address(OWNER, pair[1]), Account(0, b"", tokens.SYSTEM_PROGRAM))
    quote = world.quote(*pair, worth(pair[0], 100))

    answer = world.instructions(quote, dynamicComputeUnitLimit=True, useSharedAccounts=shared)

    assert answer["computeUnitLimit"] < MAX_COMPUTE_UNIT_LIMIT // 4
    assert world.execute(answer).compute_units_consumed() * 1.2 < answer["computeUnitLimit"]


# ---- swap


@pytest.mark.parametrize("legacy", [False, True], ids=["v0", "legacy"])
@pytest.mark.parametrize("pair", PAIRS, ids=pair_name)
def test_swap_gives_a_transaction_that_only_wants_a_signature(
    world: MarketWorld, pair: tuple[Token, Token], legacy: bool
) -> None:
    """Unsigned, within a packet, under the chain's newest blockhash; signed it does what the quote says."""
    quote = world.quote(*pair, worth(pair[0], 100), asLegacyTransaction=str(legacy).lower())
    before = world.balance(pair[1])

    answer = decoded(world.post("/swap", swap_body(quote, asLegacyTransaction=legacy)))

    transaction = VersionedTransaction.from_bytes(base64.b64decode(answer["swapTransaction"]))
    assert transaction.signatures == [Signature.default()]
    assert isinstance(transaction.message, Message if legacy else MessageV0)
    assert isinstance(world.run(transaction.message), TransactionMetadata)
    if pair[1] != SOL:
        assert world.balance(pair[1]) == before + int(quote["outAmount"])
    assert answer["lastValidBlockHeight"] == LAST_VALID_BLOCK_HEIGHT
    assert quote["transactionVersion"] == ("legacy" if legacy else 0)


def test_swap_has_the_documented_fields(world: MarketWorld) -> None:
    """In the order of the API's own description."""
    answer = decoded(world.post("/swap", swap_body(world.quote(SOL, USDC, 10**9))))

    assert list(answer) == [
        *("swapTransaction", "lastValidBlockHeight", "prioritizationFeeLamports", "computeUnitLimit", "prioritizationType"),
        *("simulationSlot", "dynamicSlippageReport", "simulationError", "addressesByLookupTableAddress"),
    ]


def test_a_transaction_that_fits_into_no_packet_is_refused(world: MarketWorld) -> None:
    """Two hops with everything on top do not fit without lookup tables; both calls say so, and with tables both build."""
    quotes = world.quote(SOL, USDC, 10**9, platformFeeBps=5), world.quote(USDC, RAY, 10**8, platformFeeBps=5)
    quote = quotes[0] | {"outputMint": str(RAY.mint), "routePlan": quotes[0]["routePlan"] + quotes[1]["routePlan"]}
    others = [str(Keypair.from_seed(bytes([number]) * 32).pubkey()) for number in range(20, 24)]
    body = swap_body(
        quote,
        useSharedAccounts=True,
        trackingAccount=others[0],
        payer=others[1],
        feeAccount=others[2],
        prioritizationFeeLamports={"jitoTipLamportsWithPayer": {"lamports": 1_000, "payer": others[3]}},
    )

    for path in ("/swap", "/swap-instructions"):
        assert world.post(path, body).status == 200
        too_large = world.post(path, body | {"asLegacyTransaction": True})
        assert_refused(too_large, "Transaction too large", "FAILED_TO_GET_SWAP_AND_ACCOUNT_METAS")


# ---- faults


@pytest.mark.parametrize("mode", ["ExactIn", "ExactOut"])
def test_a_stale_quote_promises_more_than_the_pools_give(world: MarketWorld, mode: str) -> None:
    """It is better by so many bps, once; executed, it fails with the slippage error."""
    amount = 10**9
    honest = quoted_amounts(world.quote(SOL, BONK, amount, swapMode=mode))
    world.faults.order(Order(fault=StaleQuote(bps=200), target="jupiter", operation="quote"))

    stale = world.quote(SOL, BONK, amount, swapMode=mode)

    expected = (honest[0] * 9_800 // 10_000, honest[1]) if mode == "ExactOut" else (honest[0], honest[1] * 10_200 // 10_000)
    assert quoted_amounts(stale) == expected
    result = world.run(world.compile(world.instructions(stale)))
    assert error_code(result) == ProgramError.SLIPPAGE_TOLERANCE_EXCEEDED
    assert quoted_amounts(world.quote(SOL, BONK, amount, swapMode=mode)) == honest


def test_a_lagging_router_quotes_the_past(world: MarketWorld) -> None:
    """It sees the pools, and names the slot, as they were so many slots before; faults of others do not touch it."""
    world.chain.past = dict(world.market.genesis())
    before = world.quote(SOL, USDC, 10**9)
    world.execute(world.instructions(world.quote(SOL, USDC, worth(SOL, 200_000))))
    world.faults.order(Order(fault=Lag(slots=7), target="jupiter"), Order(fault=LostSend(), count=None))

    old, new = world.quote(SOL, USDC, 10**9), world.quote(SOL, USDC, 10**9)

    assert old["outAmount"] == before["outAmount"] > new["outAmount"]
    assert old["contextSlot"] == new["contextSlot"] - 7


def test_a_quote_that_the_market_has_left_behind_fails_with_the_slippage_error(world: MarketWorld) -> None:
    """The minimum on chain is that of the quote, whenever its instructions are asked for."""
    quote = world.quote(SOL, USDC, 10**9, slippageBps=10)
    world.execute(world.instructions(world.quote(SOL, USDC, worth(SOL, 100_000))))

    result = world.run(world.compile(world.instructions(quote)))

    assert error_code(result) == ProgramError.SLIPPAGE_TOLERANCE_EXCEEDED


# ---- bad bodies


def changed(quote: Any, *path: str | int, to: object) -> Any:
    """A copy of a quote with one value replaced."""
    copy = json.loads(json.dumps(quote))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = to
    return copy


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"userPublicKey": None}, "target type: missing field `userPublicKey`"),
        ({"quoteResponse": None}, "target type: missing field `quoteResponse`"),
        ({"quoteResponse": "quote"}, "quoteResponse: invalid type, expected an object"),
        ({"quoteResponse": {}}, "quoteResponse: missing field `inputMint`"),
        ({"userPublicKey": ""}, "userPublicKey: Parse error: WrongSize"),
        ({"userPublicKey": "0OIl" + "1" * 39}, "userPublicKey: Parse error: Invalid"),
        ({"userPublicKey": 5}, "userPublicKey: invalid type, expected a string"),
        ({"feeAccount": "x"}, "feeAccount: Parse error: WrongSize"),
        ({"wrapAndUnwrapSol": "true"}, "wrapAndUnwrapSol: invalid type, expected a boolean"),
        ({"useSharedAccounts": 1}, "useSharedAccounts: invalid type, expected a boolean"),
        ({"computeUnitPriceMicroLamports": -1}, "computeUnitPriceMicroLamports: invalid value"),
        ({"prioritizationFeeLamports": 1.5}, "prioritizationFeeLamports: invalid value"),
        ({"prioritizationFeeLamports": "much"}, "prioritizationFeeLamports: invalid value"),
        ({"prioritizationFeeLamports": {}}, "prioritizationFeeLamports: missing field `jitoTipLamports`"),
        (
            {"prioritizationFeeLamports": {"priorityLevelWithMaxLamports": {"priorityLevel": "low", "maxLamports": 1}}},
            "prioritizationFeeLamports.priorityLevelWithMaxLamports.priorityLevel: Parse error: Matching variant not found",
        ),
        ({"blockhashSlotsToExpiry": 256}, "blockhashSlotsToExpiry: invalid value, expected an integer from 0 to 255"),
    ],
)
@pytest.mark.parametrize("path", ["/swap", "/swap-instructions"])
def test_a_body_of_the_wrong_types_is_unprocessable(
    world: MarketWorld, path: str, parameters: dict[str, object], error: str
) -> None:
    """Status 422, and the sentence names the place."""
    body = swap_body(world.quote(SOL, USDC, 10**9)) | parameters

    assert_refused(world.post(path, body), error, status=422)


@pytest.mark.parametrize(
    ("place", "value", "error", "code", "status"),
    [
        (("inAmount",), "-5", "quoteResponse.inAmount: Parse error", None, 422),
        (("inAmount",), 5, "quoteResponse.inAmount: invalid type, expected a string", None, 422),
        (("swapMode",), "Exact", "quoteResponse.swapMode: Parse error", None, 422),
        (("slippageBps",), 65_536, "quoteResponse.slippageBps: invalid value", None, 422),
        (("platformFee",), {"feeBps": 256}, "quoteResponse.platformFee.feeBps: invalid value", None, 422),
        (("routePlan",), {}, "quoteResponse.routePlan: invalid type, expected a sequence", None, 422),
        (("routePlan", 0), [], "quoteResponse.routePlan[0]: invalid type, expected an object", None, 422),
        (("routePlan",), [], "Invalid route plan with metadata", "FAILED_TO_GET_SWAP_AND_ACCOUNT_METAS", 400),
        (("routePlan", 0, "percent"), 50, "Invalid route plan", "FAILED_TO_GET_SWAP_AND_ACCOUNT_METAS", 400),
        (("routePlan", 0, "swapInfo", "inputMint"), str(RAY.mint), "Invalid route", "FAILED_TO_GET_SWAP_AND_ACCOUNT_METAS", 400),
        (("outputMint",), str(RAY.mint), "Invalid route plan", "FAILED_TO_GET_SWAP_AND_ACCOUNT_METAS", 400),
        (("routePlan", 0, "swapInfo", "ammKey"), str(STRANGER), f"Market {STRANGER} not found", "MARKET_NOT_FOUND", 400),
        (("outputMint",), str(SOL.mint), "not allowed to be equal", "CIRCULAR_ARBITRAGE_IS_DISABLED", 400),
        (("platformFee",), {"feeBps": 5}, "feeAccount is required for swap with platformFee", "NOT_SUPPORTED", 400),
    ],
)
def test_a_quote_that_was_tampered_with_is_refused(
    world: MarketWorld, place: tuple[str | int, ...], value: object, error: str, code: str | None, status: int
) -> None:
    """What is not a quote of this market, or says what it cannot have said, builds nothing."""
    quote = changed(world.quote(SOL, USDC, 10**9), *place, to=value)

    assert_refused(world.post("/swap-instructions", swap_body(quote)), error, code, status=status)


@pytest.mark.parametrize(
    ("parameters", "error", "code"),
    [
        (
            {"computeUnitPriceMicroLamports": 1, "prioritizationFeeLamports": 1},
            "both",
            "INVALID_COMPUTE_UNIT_PRICE_AND_PRIORITIZATION_FEE",
        ),
        ({"nativeDestinationAccount": str(STRANGER)}, "nativeDestinationAccount is not supported", "NOT_SUPPORTED"),
        (
            {"nativeDestinationAccount": str(STRANGER), "destinationTokenAccount": str(STRANGER)},
            "mutually exclusive",
            "NOT_SUPPORTED",
        ),
        ({"destinationTokenAccount": str(STRANGER)}, "token 2022", "NOT_SUPPORTED"),
        ({"useSharedAccounts": True}, "Simple AMMs are not supported with shared accounts", "NOT_SUPPORTED"),
    ],
)
def test_what_contradicts_itself_or_cannot_be_done_is_refused(
    world: MarketWorld, parameters: dict[str, object], error: str, code: str
) -> None:
    """Status 400 with the code, for a mint with a transfer fee too."""
    quote = world.quote(SOL, BERN, 10**9)

    assert_refused(world.post("/swap-instructions", swap_body(quote, **parameters)), error, code)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_is_refused(world: MarketWorld, body: bytes) -> None:
    """Status 400, however deep it goes."""
    headers = {"content-type": "application/json; charset=utf-8"}

    reply = world.api.answer(HttpRequest(method="POST", path="/swap/v1/swap", headers=headers, body=body))

    assert_refused(reply, "Failed to parse the request body as JSON")


def test_a_body_must_be_an_object_and_say_that_it_is_json(world: MarketWorld) -> None:
    """A list is unprocessable; without the content type nothing is read."""
    assert_refused(world.post("/swap", []), "invalid type, expected an object", status=422)
    reply = world.api.answer(HttpRequest(method="POST", path="/swap/v1/swap", body=b"{}"))
    assert_refused(reply, "Content-Type: application/json", status=415)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=50) | st.just(str(SOL.mint)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        *("userPublicKey", "quoteResponse", "payer", "feeAccount", "prioritizationFeeLamports", "computeUnitPriceMicroLamports"),
        *("wrapAndUnwrapSol", "useSharedAccounts", "destinationTokenAccount", "asLegacyTransaction", "blockhashSlotsToExpiry"),
    ]
)
QUOTE_FIELDS = st.sampled_from(["inputMint", "inAmount", "routePlan", "platformFee", "slippageBps", "swapMode"])


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=st.dictionaries(FIELDS, JSON, max_size=3), quote_fields=st.dictionaries(QUOTE_FIELDS, JSON, max_size=2))
def test_no_body_breaks_the_api(world: MarketWorld, fields: dict[str, Any], quote_fields: dict[str, Any]) -> None:
    """Whatever stands in a body, the answer is one of the API's own."""
    body = swap_body(world.quote(SOL, USDC, 10**9) | quote_fields) | fields

    reply = world.post("/swap-instructions", body)

    assert reply.status in (200, 400, 422)
    json.loads(reply.body)


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=st.dictionaries(
        st.sampled_from(
            ["inputMint", "outputMint", "amount", "slippageBps", "swapMode", "platformFeeBps", "maxAccounts", "dexes"]
        ),
        st.text(max_size=50) | st.integers().map(str),
        max_size=4,
    )
)
def test_no_query_breaks_the_api(world: MarketWorld, query: dict[str, str]) -> None:
    """Whatever stands in a query, the answer is one of the API's own."""
    reply = quote_reply(world, **query)

    assert reply.status in (200, 400)
    json.loads(reply.body)


# ---- the door


@pytest.mark.parametrize("path", ["/", "/quote", "/swap/v1", "/swap/v1/", "/swap/v1/ultra", "/swap/v2/build", "/swap/v1quote"])
def test_other_paths_are_not_found(world: MarketWorld, path: str) -> None:
    """Plain text, as from the real gateway."""
    reply = world.api.answer(HttpRequest(method="GET", path=path))

    assert (reply.status, reply.body) == (404, b"Route not found")
    assert reply.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(("method", "path"), [("POST", "quote"), ("GET", "swap"), ("GET", "swap-instructions"), ("PUT", "quote")])
def test_every_path_has_one_method(world: MarketWorld, method: str, path: str) -> None:
    """Another one is not allowed."""
    assert world.api.answer(HttpRequest(method=method, path=f"/swap/v1/{path}")).status == 405


def test_only_a_wrong_key_is_refused() -> None:
    """The right key and no key at all are served; the key shows nowhere."""
    world = MarketWorld(api_key="the key")
    statuses = [
        world.api.answer(HttpRequest(method="GET", path="/swap/v1/program-id-to-label", headers=headers)).status
        for headers in ({}, {"x-api-key": "the key"}, {"x-api-key": "another"}, {"x-api-key": ""})
    ]

    assert statuses == [200, 200, 401, 401]
    assert "the key" not in repr(world.api)


def test_a_key_is_not_looked_at_when_none_was_set(world: MarketWorld) -> None:
    """Without a key of its own the localnet serves every caller."""
    request = HttpRequest(method="GET", path="/swap/v1/program-id-to-label", headers={"x-api-key": "any"})

    assert world.api.answer(request).status == 200


def test_every_answer_bears_a_request_id(world: MarketWorld) -> None:
    """Of its own, for the caller's log."""
    ids = {quote_reply(world, amount=amount).headers["x-api-gateway-request-id"] for amount in (0, 1, 10**9)}

    assert len(ids) == 3


def test_equal_seeds_give_equal_answers() -> None:
    """The API draws chance from what it was given and nothing else; what it draws is which shared authority is used."""

    def answers() -> list[bytes]:
        world = MarketWorld()
        quote = world.quote(JITOSOL, RAY, 10**9)
        return [world.post("/swap", swap_body(quote)).body for _ in range(16)]

    assert answers() == answers()
    assert len(set(answers())) == len(layout.AUTHORITY_IDS)

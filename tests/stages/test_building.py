"""From an offer to an unsigned transaction; and every recorded answer of Jupiter's through our own build, verify and compile."""

from collections.abc import Mapping
from typing import Any

import pytest
from attrs import evolve
from solders.instruction import Instruction
from solders.pubkey import Pubkey
from solders.signature import Signature

from executor.chainstate.fees import Fees
from executor.chainstate.lookup_tables import LookupTables
from executor.config import FeeSettings
from executor.errors import ErrorCode, Rejected
from executor.faults import Remedy
from executor.log import NullLog
from executor.model import Built, ComputeBudget, Order, Quoted, Token
from executor.network.solana import AccountInfo
from executor.programs import COMPUTE_BUDGET_PROGRAM, JUPITER_PROGRAM, SYSTEM_PROGRAM
from executor.stages.building import BuildSettings, build
from executor.stages.message import compile_message, to_wire, with_budget
from executor.stages.upstream import Stale
from executor.stages.verification import verify
from executor.units import PACKET_BYTES, Bps, MicroLamports, minimum_out
from tests.support.api import api_error, open_jupiter, swap_json
from tests.support.chain import accounts_by_address, open_nodes, table_info
from tests.support.mainnet import (
    GLAM,
    GLAM_WALLET,
    ILKAMO,
    ILKAMO_WALLET,
    JUP,
    MAINNET_USDC,
    TABLES,
    recorded_table,
    recorded_tables,
)
from tests.support.recorded import recorded
from tests.support.swaps import (
    MEMO,
    TOKEN_2022,
    WRAPPED_SOL,
    Kind,
    ata,
    close_account,
    swap_instructions,
    sync_native,
    transfer,
)
from tests.support.upstream import Reply, Reset, Script, json_reply
from tests.support.values import BONK, SOL, USDC, WALLET, hash_of, key, make_order, make_quote, make_quoted

QUOTED = make_quoted()
SHARED = swap_instructions(QUOTED.order, QUOTED.quote, Kind.SHARED)
PLAIN = swap_instructions(QUOTED.order, QUOTED.quote, Kind.ROUTE)
TABLE = key("table")


async def run(
    *steps: Script,
    quoted: Quoted = QUOTED,
    wallet: Pubkey = WALLET,
    shared: bool = True,
    held: Mapping[Pubkey, AccountInfo] | None = None,
    fees: Fees | None = None,
) -> tuple[Built | Rejected, list[Any]]:
    """Build from these answers; return the result and the bodies that Jupiter was sent."""
    async with open_jupiter() as (jupiter, api), open_nodes() as (nodes, (upstream,)):
        api.script("swap-instructions", *steps)
        upstream.always("getMultipleAccounts", accounts_by_address(held or {}))
        result: Built | Rejected
        try:  # within: the servers' nursery would wrap it
            result = await build(
                quoted,
                jupiter=jupiter,
                lookup_tables=LookupTables(nodes=nodes, log=NullLog()),
                fees=fees or Fees(nodes=nodes, settings=FeeSettings(), log=NullLog()),
                settings=BuildSettings(wallet=wallet, use_shared_accounts=shared),
            )
        except Rejected as error:
            result = error
        return result, [request.json for request in api.requests]


async def test_jupiter_s_instructions_in_their_order() -> None:
    """Setup, swap, cleanup, others; its compute budget is dropped, because ours will take the place."""
    other = Instruction(MEMO, b"x", [])
    result, (asked,) = await run(json_reply(swap_json(evolve(SHARED, other=(other,)))))

    assert isinstance(result, Built)
    assert result.instructions == (*SHARED.setup, SHARED.swap, *SHARED.cleanup, other)
    assert COMPUTE_BUDGET_PROGRAM not in [instruction.program_id for instruction in result.instructions]
    assert (result.quoted, result.shared_accounts, result.lookup_tables) == (QUOTED, True, ())
    assert asked == {
        "quoteResponse": {"any": "quote"},
        "userPublicKey": str(WALLET),
        "wrapAndUnwrapSol": True,
        "useSharedAccounts": True,
    }
    verify(result, wallet=WALLET)


async def test_fee_and_tracking_accounts_go_to_jupiter_as_asked() -> None:
    """By the names of its API."""
    order = make_order(fee_account=key("fee account"), tracking_account=key("tracking account"))
    _result, (asked,) = await run(json_reply(swap_json(SHARED)), quoted=make_quoted(order))

    assert (asked["feeAccount"], asked["trackingAccount"]) == (str(key("fee account")), str(key("tracking account")))


async def test_a_swap_without_cleanup() -> None:
    """Tokens for tokens unwrap nothing."""
    quoted = make_quoted(make_order(USDC, BONK))
    parts = swap_instructions(quoted.order, quoted.quote)
    result, _asked = await run(json_reply(swap_json(parts)), quoted=quoted)

    assert isinstance(result, Built)
    assert result.instructions == (*parts.setup, parts.swap)


# --- shared accounts ---

ABOUT_THE_ROUTE = [
    api_error("NOT_SUPPORTED"),
    api_error("NO_ROUTES_FOUND"),
    api_error("FAILED_TO_GET_SWAP_AND_ACCOUNT_METAS", 422),
    Reply(400, b"Simple AMMs are not supported with shared accounts"),
    Reply(404, b"Route not found"),
]


@pytest.mark.parametrize("refusal", ABOUT_THE_ROUTE)
async def test_where_the_router_refuses_shared_accounts_it_goes_without(refusal: Reply) -> None:
    """Once more, told so by the result; the quote is the same."""
    result, asked = await run(refusal, json_reply(swap_json(PLAIN)))

    assert isinstance(result, Built)
    assert not result.shared_accounts
    assert [body["useSharedAccounts"] for body in asked] == [True, False]
    assert asked[0]["quoteResponse"] == asked[1]["quoteResponse"]


async def test_what_the_answer_does_is_what_the_result_says() -> None:
    """Whatever was asked for: the router may decide otherwise."""
    result, _asked = await run(json_reply(swap_json(PLAIN)))

    assert isinstance(result, Built)
    assert not result.shared_accounts


@pytest.mark.parametrize(
    ("steps", "code", "calls"),
    [
        ([api_error("NOT_SUPPORTED")] * 2, ErrorCode.JUPITER_REFUSED, 2),
        ([Reply(401)], ErrorCode.JUPITER_UNAUTHORIZED, 1),
        ([Reply(403)], ErrorCode.JUPITER_UNAUTHORIZED, 1),
        ([Reply(429)] * 4, ErrorCode.JUPITER_RATE_LIMITED, 4),
        ([Reply(503)] * 4, ErrorCode.JUPITER_UNREACHABLE, 4),
        ([Reset()] * 4, ErrorCode.JUPITER_UNREACHABLE, 4),
        ([json_reply(swap_json(SHARED, simulationError={"errorCode": "X"}))], ErrorCode.SIMULATION_FAILED, 1),
        ([json_reply(swap_json(SHARED, setupInstructions=None))], ErrorCode.JUPITER_ANSWER_INVALID, 1),
    ],
)
async def test_what_has_nothing_to_do_with_shared_accounts_is_refused(steps: list[Script], code: ErrorCode, calls: int) -> None:
    """Credentials, limits, a dead or a lying server: asking for something else would not help."""
    result, asked = await run(*steps)

    assert isinstance(result, Rejected)
    assert result.code is code
    assert len(asked) == calls


async def test_without_shared_accounts_nothing_is_tried_twice() -> None:
    """If they are not configured, a refusal is a refusal."""
    result, asked = await run(api_error("NOT_SUPPORTED"), shared=False)

    assert isinstance(result, Rejected)
    assert [body["useSharedAccounts"] for body in asked] == [False]


# --- another offer ---


@pytest.mark.parametrize(
    ("refusal", "remedy"),
    [
        (api_error("FAILED_TO_GET_SWAP_AND_ACCOUNT_METAS"), None),
        (Reply(422, b"cannot build"), None),
        (json_reply(swap_json(SHARED, simulationError={"errorCode": "X"})), None),
        (api_error("NO_ROUTES_FOUND"), Remedy.WITHOUT_SHARED_ACCOUNTS),
        (api_error("COULD_NOT_FIND_ANY_ROUTE"), Remedy.WITHOUT_SHARED_ACCOUNTS),
        (api_error("MARKET_NOT_FOUND"), Remedy.WITHOUT_SHARED_ACCOUNTS),
    ],
)
async def test_an_offer_that_cannot_be_built_is_worth_another(refusal: Reply, remedy: Remedy | None) -> None:
    """A single one, when going without shared accounts did not help either."""
    result, _asked = await run(refusal, refusal)

    assert isinstance(result, Stale)
    assert (result.remedy, result.once) == (remedy, True)


@pytest.mark.parametrize("refusal", [Reply(401), api_error("NOT_SUPPORTED"), api_error("SOMETHING_NEW"), json_reply({})])
async def test_any_other_refusal_is_the_last_word(refusal: Reply) -> None:
    """What another offer does not change, and what nobody knows."""
    result, _asked = await run(refusal, refusal)

    assert type(result) is Rejected


# --- lookup tables and fees ---


async def test_tables_are_fetched() -> None:
    """Those that the answer names."""
    result, _asked = await run(
        json_reply(swap_json(evolve(SHARED, lookup_tables=(TABLE,)))), held={TABLE: table_info([key("pool"), key("vault 1")])}
    )

    assert isinstance(result, Built)
    assert [(table.key, table.addresses) for table in result.lookup_tables] == [(TABLE, [key("pool"), key("vault 1")])]


async def test_a_table_that_is_none_refuses_the_swap() -> None:
    """Jupiter names something that the chain does not know."""
    result, _asked = await run(json_reply(swap_json(evolve(SHARED, lookup_tables=(TABLE,)))))

    assert isinstance(result, Rejected)
    assert result.code is ErrorCode.JUPITER_ANSWER_INVALID


async def test_the_fee_is_that_of_the_accounts_that_others_write_too() -> None:
    """Pools and vaults, once each; our own accounts say nothing of the market."""
    watched: list[tuple[Order, list[Pubkey]]] = []

    class Watching(Fees):
        def price(self, order: Order, writable: Any) -> MicroLamports:
            watched.append((order, list(writable)))
            return MicroLamports(77)

    async with open_nodes() as (nodes, _upstreams):
        fees = Watching(nodes=nodes, settings=FeeSettings(), log=NullLog())
        result, _asked = await run(json_reply(swap_json(SHARED)), fees=fees)

    assert isinstance(result, Built)
    assert result.fee_price == 77
    ((order, accounts),) = watched
    assert order is QUOTED.order
    expected = ["program source", "program destination", "pool", "vault 1", "vault 2"]
    assert set(accounts) - {JUPITER_PROGRAM} == {key(name) for name in expected}
    assert len(accounts) == len(set(accounts))
    assert not {WALLET, WRAPPED_SOL, ata(WALLET, USDC)} & set(accounts)


# --- mainnet ---

MAINNET: dict[str, tuple[Pubkey, Token, int, int, int]] = {
    # wallet, output, in amount, quoted out, slippage
    GLAM: (GLAM_WALLET, MAINNET_USDC, 50_000_000, 6_096_091, 30),
    ILKAMO: (ILKAMO_WALLET, JUP, 100_000, 24_266, 250),
}


async def mainnet_built(name: str, *, with_tables: bool) -> tuple[Built, Pubkey]:
    """A recorded answer as our client reads it and our stage builds it, with recorded lookup tables in the place of its own."""
    wallet, target, in_amount, out_amount, slippage = MAINNET[name]
    answer = recorded("swap-instructions", name)
    held = dict(recorded_table(table) for table in TABLES) if with_tables else {}
    answer["addressLookupTableAddresses"] = [str(address) for address in held]
    order = make_order(SOL, target, in_amount=in_amount, max_slippage_bps=Bps(slippage))
    quoted = Quoted(
        order=order,
        quote=make_quote(order, out_amount),
        reference_out_amount=out_amount,
        minimum_out_amount=minimum_out(out_amount, slippage),
    )
    built, _asked = await run(json_reply(answer), quoted=quoted, wallet=wallet, held=held)
    assert isinstance(built, Built)
    return built, wallet


BUDGET = ComputeBudget(unit_limit=300_000, unit_price=MicroLamports(8_000))


@pytest.mark.parametrize("name", MAINNET)
@pytest.mark.parametrize("with_tables", [False, True])
async def test_every_recorded_answer_compiles(name: str, with_tables: bool) -> None:
    """To a v0 message that says the same, with our budget; the recorded tables of Jupiter's make it smaller."""
    built, wallet = await mainnet_built(name, with_tables=with_tables)
    message = compile_message(built, BUDGET, payer=wallet, blockhash=hash_of(1))
    keys = list(message.account_keys)
    contents = {table.key: table.addresses for table in built.lookup_tables}
    for part in ("writable_indexes", "readonly_indexes"):
        keys += [contents[lookup.account_key][i] for lookup in message.address_table_lookups for i in getattr(lookup, part)]

    read = [(keys[i.program_id_index], [keys[a] for a in i.accounts], bytes(i.data)) for i in message.instructions]
    assert read == [(i.program_id, [a.pubkey for a in i.accounts], i.data) for i in with_budget(built, BUDGET)]
    assert built.shared_accounts
    assert (len(message.address_table_lookups) > 0) == with_tables
    assert {lookup.account_key for lookup in message.address_table_lookups} <= {table.key for table in recorded_tables()}


@pytest.mark.parametrize("name", MAINNET)
async def test_recorded_answers_fit_into_a_packet_where_tables_fit_them(name: str) -> None:
    """One hop does even without tables; two hops with 46 accounts do not, and say so."""
    for with_tables in (False, True):
        built, wallet = await mainnet_built(name, with_tables=with_tables)
        message = compile_message(built, BUDGET, payer=wallet, blockhash=hash_of(1))
        if name == GLAM:
            assert len(to_wire(message, Signature.default())) <= PACKET_BYTES
        elif not with_tables:
            with pytest.raises(Rejected, match="the network carries 1232"):
                to_wire(message, Signature.default())


async def test_the_recorded_answer_with_a_tip_is_refused_for_its_tip_only() -> None:
    """Wrapping, accounts, amounts, unwrapping are as ordered; without the transfer to Jito it verifies."""
    built, wallet = await mainnet_built(ILKAMO, with_tables=True)
    with pytest.raises(Rejected) as caught:
        verify(built, wallet=wallet)
    tips = [i for i in built.instructions if i.program_id == SYSTEM_PROGRAM and i.data[4:] == (1_000).to_bytes(8, "little")]
    (tip,) = tips

    assert caught.value.code is ErrorCode.TRANSACTION_FOREIGN
    assert caught.value.message.count("instruction ") == 1
    assert f"transfers 1000 lamports from {wallet} to 3AVi9Tg9Uo68tJfuvoKvqKNWKkC5wPdSSdeBnizKZ6jT" in caught.value.message
    assert "2 transfers of SOL" in caught.value.message
    verify(evolve(built, instructions=tuple(i for i in built.instructions if i is not tip)), wallet=wallet)


async def test_the_recorded_answer_without_wrapping_is_refused_for_that_only() -> None:
    """Its caller wrapped the SOL itself; with our wrapping around it, it verifies."""
    built, wallet = await mainnet_built(GLAM, with_tables=True)
    with pytest.raises(Rejected) as caught:
        verify(built, wallet=wallet)
    wrapped = ata(wallet, SOL)
    wrapping = (transfer(50_000_000, wrapped, wallet), sync_native(wrapped))
    setup, swap = built.instructions[:-1], built.instructions[-1]

    assert caught.value.message.endswith("0 transfers of SOL, of which 1 can wrap the input")
    assert "instruction" not in caught.value.message
    whole = (*setup, *wrapping, swap, close_account(wrapped, wallet, wallet))
    verify(evolve(built, instructions=whole), wallet=wallet)


@pytest.mark.parametrize("name", MAINNET)
async def test_recorded_answers_are_refused_for_another_order(name: str) -> None:
    """Another wallet, amount, token, minimum or fee: each is seen."""
    built, wallet = await mainnet_built(name, with_tables=False)
    order, quote = built.quoted.order, built.quoted.quote
    others = [
        (evolve(built.quoted, order=evolve(order, in_amount=order.in_amount + 1)), wallet, "swaps "),
        (evolve(built.quoted, order=evolve(order, output=BONK)), wallet, "its destination account is"),
        (evolve(built.quoted, order=evolve(order, input=BONK)), wallet, "its source account is"),
        (evolve(built.quoted, order=evolve(order, output=evolve(order.output, program=TOKEN_2022))), wallet, "its destination"),
        (evolve(built.quoted, minimum_out_amount=built.quoted.minimum_out_amount + 1), wallet, "is content with"),
        (evolve(built.quoted, quote=evolve(quote, platform_fee_bps=1)), wallet, "takes a fee of 0 bps instead of 1"),
        (built.quoted, WALLET, "its authority is"),
    ]
    for quoted, asking, reason in others:
        with pytest.raises(Rejected) as caught:
            verify(evolve(built, quoted=quoted), wallet=asking)
        assert reason in caught.value.message or f"asks for the signature of {wallet}" in caught.value.message

"""Would the chain accept it, what would it cost, and would it move what the quote says."""

import base64
from typing import Any

import pytest
import trio
import trio.testing
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from solders.instruction import Instruction
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from executor.config import FeeSettings
from executor.errors import ErrorCode, Rejected
from executor.faults import JsonValue, Remedy
from executor.model import Built, Simulated, Urgency, Verified
from executor.network.solana import Commitment, Simulation
from executor.stages.message import compile_message, to_wire
from executor.stages.simulation import MARKS, SimulationSettings, simulate
from executor.stages.upstream import Stale
from executor.units import MAX_COMPUTE_UNIT_LIMIT, Lamports, MicroLamports, minimum_out, priority_fee
from tests.support.chain import FakeNode, context, fake_nodes, open_nodes
from tests.support.sheets import Sheet, sheet_json
from tests.support.swaps import JUPITER, MEMO, Kind, ata, built_of, make_swap, with_instruction, writable
from tests.support.upstream import Received, Reply, Reset, json_reply, rpc_error, rpc_result
from tests.support.values import (
    BONK,
    SOL,
    TAXED,
    TOKEN_ACCOUNT_RENT,
    USDC,
    WALLET,
    hash_of,
    key,
    make_order,
    make_quoted,
)

SETTINGS = SimulationSettings(wallet=WALLET, fees=FeeSettings())
FEE = 5_000 + 2_500
OUT = 6_096_091
LEAST = minimum_out(OUT, 50)


def good_sheet(*, spent: int = 50_000_000, received: int = OUT) -> Sheet:
    """What 0.05 SOL for USDC does, with a new account for the USDC."""
    sheet = Sheet().lamports(WALLET, -spent - FEE - TOKEN_ACCOUNT_RENT)
    return sheet.account(USDC, before=None, after=received)


class Simulator(FakeNode):
    """A node that simulates what it was told to."""

    def __init__(self) -> None:
        super().__init__()
        self.sheet = good_sheet()
        self.error: JsonValue = None
        self.logs: tuple[str, ...] = ()
        self.units = 80_000
        self.tells_balances = True
        self.wires: list[bytes] = []

    async def simulate(
        self, wire: bytes, *, commitment: Commitment = "confirmed", min_context_slot: int | None = None
    ) -> Simulation:
        """The sheet over the accounts of the transaction."""
        await self._answer("simulateTransaction", commitment)
        self.wires.append(wire)
        return Simulation(
            slot=500,
            error=self.error,
            logs=self.logs,
            units_consumed=self.units,
            fee_lamports=Lamports(FEE if self.tells_balances else 0),
            balances=self.sheet.made(VersionedTransaction.from_bytes(wire).message.account_keys) if self.tells_balances else None,
        )


async def run(
    node: Simulator, built: Built | None = None, *, mark: int = 7, settings: SimulationSettings = SETTINGS
) -> Simulated:
    """Simulate a good swap on a node."""
    return await simulate(verified(built), nodes=fake_nodes(node), blockhash=hash_of(1), mark=mark, settings=settings)


def verified(built: Built | None = None) -> Verified:
    """A transaction as it comes to the simulation. Not all of these would pass `verify`: here only the chain is asked."""
    return Verified(built=built or make_swap())


def run_sync(node: Simulator, built: Built | None = None, *, mark: int = 7) -> Simulated:
    """The same in a run of its own, for examples that are drawn."""

    async def main() -> Simulated:
        return await run(node, built, mark=mark)

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def refusal(node: Simulator, built: Built | None = None) -> Rejected:
    """Why a transaction is refused."""
    with pytest.raises(Rejected) as caught:
        await run(node, built)
    return caught.value


async def agrees(node: Simulator, built: Built | None = None) -> bool:
    """Whether what moves is what the quote says; any other refusal propagates."""
    try:
        await run(node, built)
    except Rejected as error:
        if error.code is not ErrorCode.SIMULATION_DISAGREES:
            raise
        return False
    return True


# --- what is good ---


async def test_a_good_simulation_decides_the_budget() -> None:
    """1.2 times what was used, rounded up to the next multiple of 1024, plus the mark; the fee buys exactly that."""
    node = Simulator()
    simulated = await run(node)

    assert simulated.units_consumed == 80_000
    assert simulated.built == make_swap()
    assert simulated.budget.unit_limit == 94 * 1_024 + 7  # 96,000 units are 93.75 steps
    # 10,000 micro-lamports a unit for 96,263 units are 963 lamports: raised to the configured minimum.
    assert simulated.priority_fee_lamports == 1_000
    assert simulated.budget.unit_price == 1_000 * 1_000_000 // 96_263
    assert priority_fee(simulated.budget.unit_price, simulated.budget.unit_limit) == 1_000


async def test_the_trial_is_the_transaction_with_all_compute_there_is() -> None:
    """Unsigned, at `processed`, with the limit of 1.4M units and a fee that the real one may have as well."""
    node, built = Simulator(), make_swap()
    await run(node, built)
    (wire,) = node.wires
    transaction = VersionedTransaction.from_bytes(wire)
    limit, price = (instruction.data for instruction in transaction.message.instructions[:2])
    units, micro_lamports = int.from_bytes(limit[1:], "little"), int.from_bytes(price[1:], "little")

    assert [call.asked for call in node.called("simulateTransaction")] == ["processed"]
    assert transaction.signatures == [Signature.default()]
    assert transaction.message.recent_blockhash == hash_of(1)
    assert (limit[0], price[0], units) == (2, 3, MAX_COMPUTE_UNIT_LIMIT)
    assert 1_000 <= priority_fee(micro_lamports, units) + 1 <= 10_001
    assert len(transaction.message.instructions) == 2 + len(built.instructions)


@pytest.mark.parametrize("received", [LEAST, OUT - 1, OUT, OUT + 1, 10 * OUT])
async def test_what_arrives_may_be_less_within_the_slippage_and_more(received: int) -> None:
    """Down to the minimum, to the unit."""
    node = Simulator()
    node.sheet = good_sheet(received=received)

    assert (await run(node)).units_consumed == 80_000


@pytest.mark.parametrize("least", [LEAST - 100, LEAST + 100])
async def test_the_minimum_is_the_quote_s_result(least: int) -> None:
    """To the unit, where slippage was counted against the expected price: not what the offer alone would allow."""
    node = Simulator()
    built = built_of(evolve(make_quoted(), minimum_out_amount=least))
    node.sheet = good_sheet(received=least)
    await run(node, built)

    node.sheet = good_sheet(received=least - 1)
    error = await refusal(node, built)
    assert error.code is ErrorCode.SIMULATION_DISAGREES
    assert f"at least {least / 10**6} must" in error.message


@pytest.mark.parametrize("wrapped", [0, 12_345_678])
async def test_a_wrapped_account_that_was_there_before_is_no_difference(wrapped: int) -> None:
    """It is emptied and closed with the swap; what was in it comes to the wallet, and is neither spent nor received."""
    for stray in (-1, 0, 1):
        node = Simulator()
        node.sheet = Sheet().lamports(WALLET, -50_000_000 - FEE + wrapped + TOKEN_ACCOUNT_RENT + stray)
        node.sheet.account(SOL, before=wrapped, after=None).account(USDC, before=1, after=1 + LEAST)

        assert await agrees(node) == (stray == 0)


async def test_tokens_for_sol_and_tokens_for_tokens() -> None:
    """The other two kinds of pairs, rent of a new account included; to the unit of the minimum."""
    node = Simulator()
    for received in (LEAST - 1, LEAST):
        node.sheet = Sheet().lamports(WALLET, received - FEE).account(USDC, before=50_000_000, after=0)
        assert await agrees(node, make_swap(USDC, SOL)) == (received == LEAST)

        node.sheet = Sheet().lamports(WALLET, -FEE - TAXED.account_rent_lamports)
        node.sheet.account(USDC, before=60_000_000, after=10_000_000).account(TAXED, before=None, after=received)
        assert await agrees(node, make_swap(USDC, TAXED)) == (received == LEAST)


# --- the budget ---


@given(
    st.integers(1, MAX_COMPUTE_UNIT_LIMIT),
    st.integers(0, 10 * MARKS),
    st.none() | st.integers(0, 10**9),
    st.sampled_from(Urgency),
)
def test_any_budget(units: int, mark: int, price: int | None, urgency: Urgency) -> None:
    """Enough headroom below the network's limit, a fee within the range that buys it, and the mark in the limit."""
    node, fees = Simulator(), FeeSettings()
    node.units = units
    built = built_of(make_quoted(make_order(urgency=urgency)))
    simulated = run_sync(node, evolve(built, fee_price=None if price is None else MicroLamports(price)), mark=mark)
    limit, fee = simulated.budget.unit_limit, simulated.priority_fee_lamports

    assert limit <= MAX_COMPUTE_UNIT_LIMIT
    assert limit % MARKS == mark % MARKS
    assert limit >= min(units * 1.2, MAX_COMPUTE_UNIT_LIMIT - 2 * MARKS)
    assert limit < units * 1.2 + 2 * MARKS + 1
    assert fees.min_priority_fee_lamports <= fee <= fees.max_priority_fee_lamports
    assert fee - 1 <= priority_fee(simulated.budget.unit_price, limit) <= fee


async def test_equal_trades_make_different_transactions() -> None:
    """As many as there are marks, whatever else is equal: the limit alone tells them apart."""
    node, wires = Simulator(), set()
    for mark in range(MARKS):
        node.units = 80_000 + mark % 50  # of no consequence, within a step
        simulated = await run(node, mark=mark)
        message = compile_message(simulated.built, simulated.budget, payer=WALLET, blockhash=hash_of(1))
        wires.add(to_wire(message, Signature.default()))

    assert len(wires) == MARKS


async def test_a_swap_that_used_nothing_is_a_node_s_mistake() -> None:
    """A limit of nothing would be a transaction that lands and fails, for its fee."""
    node = Simulator()
    node.units = 0
    error = await refusal(node)

    assert error.code is ErrorCode.NODE_ANSWER_INVALID


# --- what fails ---


async def test_a_simulated_failure_is_a_refusal_with_its_logs() -> None:
    """The slippage has its own code, the failing program comes from the logs, and the last lines are kept."""
    node = Simulator()
    node.error = {"InstructionError": [4, {"Custom": 6001}]}
    node.logs = (*(f"line {n}" for n in range(9)), f"Program {JUPITER} failed: custom program error: 0x1771")
    error = await refusal(node)

    assert error.code is ErrorCode.SLIPPAGE_EXCEEDED
    assert "6001" in error.message
    assert error.context["error"] == '{"InstructionError": [4, {"Custom": 6001}]}'
    assert error.context["logs"] == ["line 7", "line 8", node.logs[-1]]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("AccountNotFound", ErrorCode.FUNDS_INSUFFICIENT),
        ({"InsufficientFundsForRent": {"account_index": 3}}, ErrorCode.FUNDS_INSUFFICIENT),
        ({"InstructionError": [2, "ComputationalBudgetExceeded"]}, ErrorCode.SIMULATION_FAILED),
        ("AddressLookupTableNotFound", ErrorCode.SIMULATION_FAILED),
        ("SomethingNew", ErrorCode.SIMULATION_FAILED),
    ],
)
async def test_every_failure_is_a_refusal(error: JsonValue, code: ErrorCode) -> None:
    """By what the tables say of it, even without logs; balances are not looked at, and none may be there."""
    node = Simulator()
    node.error, node.tells_balances, node.units = error, False, 0

    assert (await refusal(node)).code is code


WHIRLPOOL = "whirLbMiicVdio4qvUfM5KAg6Ct8VwpYzGff3uctyCc"


def custom(number: int) -> JsonValue:
    """A program's own error."""
    return {"InstructionError": [4, {"Custom": number}]}


@pytest.mark.parametrize(
    ("error", "program", "remedy", "once"),
    [
        (custom(6001), str(JUPITER), None, False),
        (custom(6017), str(JUPITER), None, False),
        (custom(6008), str(JUPITER), None, True),
        (custom(6016), str(JUPITER), Remedy.EXCLUDE_DEX, False),
        (custom(3005), WHIRLPOOL, Remedy.EXCLUDE_DEX, False),
        (custom(6038), WHIRLPOOL, Remedy.EXCLUDE_DEX_SECOND_TIME, False),
        ({"InstructionError": [4, "UninitializedAccount"]}, WHIRLPOOL, None, True),
        ("TooManyAccountLocks", None, Remedy.LOWER_MAX_ACCOUNTS, False),
        ("AddressLookupTableNotFound", None, Remedy.REFETCH_TABLES, True),
    ],
)
async def test_what_another_offer_may_mend_says_so(
    error: JsonValue, program: str | None, remedy: Remedy | None, *, once: bool
) -> None:
    """With what has to be asked for differently, how often, and which program it was."""
    node = Simulator()
    node.error = error
    node.logs = () if program is None else (f"Program {program} failed: custom program error",)
    refused = await refusal(node)

    assert isinstance(refused, Stale)
    assert (refused.program, refused.remedy, refused.once) == (program, remedy, once)


@pytest.mark.parametrize(
    "error",
    [
        "InsufficientFundsForFee",
        "AccountInUse",
        "BlockhashNotFound",
        "SomethingNew",
        "DuplicateInstruction",
        "MaxLoadedAccountsDataSizeExceeded",
        {"InstructionError": [4, "ComputationalBudgetExceeded"]},
        {"InstructionError": [4, "PrivilegeEscalation"]},
        {"InstructionError": [4, "SomethingNew"]},
        custom(1),  # of no program that the logs name
    ],
)
async def test_what_no_other_offer_mends_does_not_say_so(error: JsonValue) -> None:
    """Above all what nobody knows. And the trial has all the compute there is, and no limit on loaded data."""
    node = Simulator()
    node.error = error

    assert type(await refusal(node)) is Rejected


async def test_a_call_that_is_too_large_asks_for_fewer_accounts() -> None:
    """The node's words for a transaction that fits into no packet."""
    async with open_nodes() as (nodes, (upstream,)):
        upstream.always("simulateTransaction", rpc_error(-32602, "base64 encoded too large: 1644 > max 1232"))
        try:
            await simulate(verified(), nodes=nodes, blockhash=hash_of(1), mark=0, settings=SETTINGS)
        except Stale as stale:
            refused = stale

    assert (refused.code, refused.remedy) == (ErrorCode.TRANSACTION_TOO_LARGE, Remedy.LOWER_MAX_ACCOUNTS)


async def test_a_simulation_that_disagrees_is_not_asked_for_again() -> None:
    """Verified instructions that move something else are no matter of the moment."""
    node = Simulator()
    node.sheet = good_sheet(received=LEAST - 1)

    assert type(await refusal(node)) is Rejected


async def test_a_node_that_tells_no_balances_cannot_be_believed() -> None:
    """Simulation is never skipped: without them nothing can be compared with the quote."""
    node = Simulator()
    node.tells_balances = False
    error = await refusal(node)

    assert error.code is ErrorCode.NODE_ANSWER_INVALID
    assert "Agave does since 3.1" in error.message


# --- what disagrees ---


def other_tokens(token_before: int, token_after: int) -> Sheet:
    """A good swap beside which a third token of ours moves."""
    return good_sheet().account(BONK, before=token_before, after=token_after)


DISAGREEING: dict[str, tuple[Sheet, str]] = {
    "more leaves": (good_sheet(spent=50_000_001), "0.050000001 SOL leave the wallet"),
    "less leaves": (good_sheet(spent=49_999_999), "0.049999999 SOL leave the wallet"),
    "nothing leaves": (good_sheet(spent=0), "0 SOL leave the wallet"),
    "sol comes": (good_sheet(spent=-1), "-0.000000001 SOL leave the wallet"),
    "less arrives": (good_sheet(received=LEAST - 1), f"6.06561 USDC arrive, at least {LEAST / 10**6} must"),
    "nothing arrives": (good_sheet(received=0), "0 USDC arrive"),
    "a third token leaves": (other_tokens(5, 4), f"-1 of {BONK.mint} move besides"),
    "a third token comes": (other_tokens(5, 6), f"1 of {BONK.mint} move besides"),
    "it arrives with somebody else": (
        Sheet()
        .lamports(WALLET, -50_000_000 - FEE)
        .account(USDC, before=0, after=OUT, owner=key("stranger"), at=ata(WALLET, USDC)),
        "0 USDC arrive",
    ),
    "it arrives with nobody": (
        Sheet().lamports(WALLET, -50_000_000 - FEE).account(USDC, before=0, after=OUT, owner=None),
        "0 USDC arrive",
    ),
}


@pytest.mark.parametrize("name", DISAGREEING)
async def test_a_simulation_that_moves_something_else_is_refused(name: str) -> None:
    """In each direction and to the unit: what leaves is what was ordered, what arrives is enough, nothing else moves."""
    node = Simulator()
    sheet, reason = DISAGREEING[name]
    built = make_swap() if name.find("third token") < 0 else with_account_of(make_swap(), ata(WALLET, BONK))
    node.sheet = sheet
    error = await refusal(node, built)

    assert error.code is ErrorCode.SIMULATION_DISAGREES
    assert reason in error.message


def with_account_of(built: Built, account: Pubkey) -> Built:
    """Let the transaction touch one more account."""
    return with_instruction(built, len(built.instructions), Instruction(MEMO, b"", [writable(account)]))


TOKENS_ONLY: dict[str, tuple[Sheet, str]] = {
    "lamports leave": (
        Sheet().lamports(WALLET, -FEE - 1).account(USDC, before=50_000_000, after=0).account(BONK, before=0, after=OUT),
        "-1 lamports move besides",
    ),
    "lamports come": (
        Sheet().lamports(WALLET, -FEE + 1).account(USDC, before=50_000_000, after=0).account(BONK, before=0, after=OUT),
        "1 lamports move besides",
    ),
    "wrapped sol is unwrapped": (
        Sheet()
        .lamports(WALLET, -FEE + 700 + TOKEN_ACCOUNT_RENT)
        .account(SOL, before=700, after=None)
        .account(USDC, before=50_000_000, after=0)
        .account(BONK, before=0, after=OUT),
        f"-700 of {SOL.mint} move besides",
    ),
}


@pytest.mark.parametrize("name", TOKENS_ONLY)
async def test_a_swap_of_tokens_leaves_sol_alone(name: str) -> None:
    """Only the network's fee and rent into our own accounts may go, and nothing of the wrapped SOL either."""
    node = Simulator()
    node.sheet, reason = TOKENS_ONLY[name]
    built = with_account_of(make_swap(USDC, BONK, Kind.ROUTE), ata(WALLET, SOL))
    error = await refusal(node, built)

    assert error.code is ErrorCode.SIMULATION_DISAGREES
    assert reason in error.message


async def test_everything_that_disagrees_is_told() -> None:
    """In one message."""
    node = Simulator()
    node.sheet = good_sheet(spent=1, received=2).account(BONK, before=0, after=3)
    error = await refusal(node, with_account_of(make_swap(), ata(WALLET, BONK)))

    for reason in ("0.000000001 SOL leave", "0.000002 USDC arrive", f"3 of {BONK.mint} move besides"):
        assert reason in error.message


@given(st.integers(-(10**9), 10**11), st.integers(0, 10**9), st.integers(-5, 5))
def test_whatever_moves_it_is_agreed_to_exactly_when_it_is_right(spent: int, received: int, stray: int) -> None:
    """No combination slips through."""
    node = Simulator()
    node.sheet = good_sheet(spent=spent, received=received).account(BONK, before=5, after=5 + stray)
    built = with_account_of(make_swap(), ata(WALLET, BONK))
    right = spent == 50_000_000 and received >= LEAST and stray == 0

    assert trio.run(agrees, node, built, clock=trio.testing.MockClock(autojump_threshold=0)) == right


# --- over the wire ---


def simulated_json(request: Received) -> Reply:
    """A good simulation, as a 4.3 node answers it."""
    wire = base64.b64decode(request.json["params"][0])
    keys = VersionedTransaction.from_bytes(wire).message.account_keys
    value: dict[str, Any] = {
        "err": None,
        "logs": ["Program log: x"],
        "unitsConsumed": 80_000,
        "fee": FEE,
        "loadedAddresses": {"writable": [], "readonly": []},
        **sheet_json(good_sheet().made(keys)),
    }
    return rpc_result(context(value))


async def test_it_goes_over_the_wire() -> None:
    """Without signatures and with a replaced blockhash, to the next node when one fails; what they answer is read."""
    async with open_nodes(2) as (nodes, (first, second)):
        first.always("simulateTransaction", Reset())
        second.always("simulateTransaction", simulated_json)
        simulated = await simulate(verified(), nodes=nodes, blockhash=hash_of(1), mark=0, settings=SETTINGS)
        (request,) = second.requests

    assert simulated.units_consumed == 80_000
    options = request.json["params"][1]
    assert (options["sigVerify"], options["replaceRecentBlockhash"]) == (False, True)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (rpc_error(-32005, "Node is behind"), ErrorCode.NODE_UNHEALTHY),
        (rpc_error(-32602, "invalid transaction"), ErrorCode.NODE_REFUSED),
        (json_reply({}, 401), ErrorCode.NODE_UNAUTHORIZED),
        (rpc_result(context({"err": None, "logs": [], "fee": 5_000, "preBalances": []})), ErrorCode.NODE_ANSWER_INVALID),
    ],
)
async def test_a_node_that_cannot_simulate_refuses_the_trade(reply: Reply, code: ErrorCode) -> None:
    """Typed, with the endpoint and the call: there is no trade without a simulation."""
    async with open_nodes() as (nodes, (upstream,)):
        upstream.always("simulateTransaction", reply)
        with pytest.raises(Rejected) as caught:
            await simulate(verified(), nodes=nodes, blockhash=hash_of(1), mark=0, settings=SETTINGS)
        endpoint = upstream.url

    assert caught.value.code is code
    assert caught.value.context == {"endpoint": endpoint, "operation": "simulateTransaction"}


async def test_what_does_not_fit_is_not_even_simulated() -> None:
    """Too large is known before anybody is asked."""
    node = Simulator()
    error = await refusal(node, with_accounts(make_swap(), 40))

    assert error.code is ErrorCode.TRANSACTION_TOO_LARGE
    assert node.calls == []


def with_accounts(built: Built, count: int) -> Built:
    """Let the route touch many more accounts."""
    for number in range(count):
        built = with_account_of(built, key(f"account {number}"))
    return built

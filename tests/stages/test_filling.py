"""What a landed transaction really did: mainnet's own answers, and the figures that were derived from them by other means."""

import base64
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from solders.pubkey import Pubkey
from solders.signature import Signature

from executor.errors import ErrorCode
from executor.faults import JsonValue
from executor.model import Fill, Landed, Token
from executor.network.retry import Retry
from executor.network.solana import ConfirmedTransaction, Node
from executor.stages.filling import FETCH_SECONDS, Sides, fill_of, read_fill, returned_amount
from executor.units import Lamports, priority_fee
from tests.support.chain import FakeNode, fake_nodes, open_nodes
from tests.support.events import RecordedLog
from tests.support.mainnet import MAINNET_USDC, TRANSACTIONS, recorded_transaction
from tests.support.recorded import recorded
from tests.support.sheets import Sheet, sheet_json, u64_base64
from tests.support.swaps import JUPITER, make_swap
from tests.support.upstream import Reply, rpc_error, rpc_result, rpc_wrong_id
from tests.support.values import LANDED, SOL, USDC, WALLET, key, make_sent, make_signed, make_simulated

RETURN = f"Program return: {JUPITER} "
SIDES = Sides(wallet=WALLET, input=SOL, output=USDC)


def token(mint: str) -> Token:
    """Any mint of the old token program."""
    return SOL if mint == str(SOL.mint) else evolve(USDC, mint=Pubkey.from_string(mint))


def transaction(sheet: Sheet, *, logs: tuple[str, ...] = (), error: JsonValue = None, fee: int = 7_500) -> ConfirmedTransaction:
    """A confirmed transaction that did this."""
    return ConfirmedTransaction(
        slot=500,
        error=error,
        fee_lamports=Lamports(fee),
        signature_count=1,
        balances=sheet.made(),
        logs=logs,
        units_consumed=81_000,
    )


# --- mainnet ---

LEGS: dict[str, tuple[str, str, str, int, int]] = {
    # owner, input, output, what left, what arrived
    "metamask_swap_sol_to_usdc.json": (
        "3xTPAZxmpwd8GrNEKApaTw6VH4jqJ31WFXUvQzgwhR7c",
        str(SOL.mint),
        str(MAINNET_USDC.mint),
        991_250 + 8_750,  # the swap, and a transfer to the wallet app that SOL's balance cannot tell from it
        167_225,
    ),
    "rotki_exact_out_route_s5sthr57.json": (
        "FD7ocZaUHG",
        str(MAINNET_USDC.mint),
        "7vfCXTUXx5WJV5JADk17DUJ4ksgau7utNKj4b963voxs",
        9_977_958,
        307_800,
    ),
    "rotki_route_v2_5yFvtkWX.json": (
        "AV6VwqhnPSPJQU9i4xfHNscNkkm5GYSP4TajCKS4LAhh",
        "KMNo3nJsBXfcpJTVhZcXLW7RmTwTt4GVFE7suUBo9sS",
        str(MAINNET_USDC.mint),
        1_984_309_890,
        171_305_536,
    ),
    "rotki_shared_accounts_route_62osuRs2.json": (
        "7HK4mhjjr3S6BpkWyzGgtjV3X5sgavRewg422GTrF3vw",
        str(SOL.mint),
        "9BB6NFEcjBCtnNLFko2FqVQBq8HHM13kCyYcdQbgpump",
        117_958_294,
        73_976_227,
    ),
    "metamask_swap_failed_transaction.json": (
        "9az5xpAV8KJ2Q2Jb1ZvBpvfUa5Cj4dZirbgvfPF5XsB8",
        "9m3nh7YDoF1WSYpNxCjKVU8D1MrXsWRic4HqRaTdcTYB",
        str(SOL.mint),
        0,
        0,
    ),
}


async def mainnet_fill(name: str) -> tuple[Fill, ConfirmedTransaction]:
    """The fill of a recorded transaction, for the wallet whose swap it was."""
    owner, source, target, _in, _out = LEGS[name]
    landed = await recorded_transaction(name)
    wallet = next(k for k in landed.account_keys if str(k).startswith(owner))
    return fill_of(landed, sides=Sides(wallet=wallet, input=token(source), output=token(target))), landed


@pytest.mark.parametrize("name", TRANSACTIONS)
async def test_recorded_transactions_yield_what_is_expected_of_them(name: str) -> None:
    """Slot, fee and priority fee, units, the owner's deltas and the program's return value, failed ones included."""
    expected = recorded("get-transaction", "EXPECTED.json")[name]
    fill, landed = await mainnet_fill(name)
    *_tokens, spent, received = LEGS[name]

    assert (fill.slot, fill.units_consumed) == (expected["slot"], expected["cu_consumed"])
    assert fill.fee_lamports == expected["fee_lamports"]
    assert fill.priority_fee_lamports == expected["priority_fee_lamports(meta.fee-5000*sigs)"]
    assert fill.priority_fee_lamports == priority_fee(expected["cu"]["price"], expected["cu"]["limit"])
    assert (fill.in_amount, fill.out_amount) == (spent, received)
    returned = expected["jup_program_return_u64"]
    assert [value for value in (returned_amount(landed.logs),) if value is not None] == returned
    assert not returned or returned[0] in (spent, received)  # exact-out returns what was spent


@pytest.mark.parametrize("name", TRANSACTIONS)
def test_recorded_token_legs_are_the_owner_s_deltas(name: str) -> None:
    """For every token that the payer holds, as they were computed from the same answers by other means."""
    expected = recorded("get-transaction", "EXPECTED.json")[name]
    _owner, source, target, spent, received = LEGS[name]
    deltas = expected["payer_token_deltas"]

    if source in deltas and source != str(SOL.mint):
        assert deltas[source] == -spent
    if target in deltas and target != str(SOL.mint):
        assert deltas[target] == received
    if source == str(SOL.mint) and deltas.get(source):
        assert deltas[source] == -spent  # wrapped SOL that stayed wrapped


async def test_a_recorded_swap_of_sol_closed_its_wrapped_account() -> None:
    """The account was there before and empty: its rent came back, which is neither price nor fee."""
    fill, landed = await mainnet_fill("metamask_swap_sol_to_usdc.json")
    payer_delta = landed.balances.post_lamports[0] - landed.balances.pre_lamports[0]

    assert fill.rent_lamports == -2_039_280
    assert payer_delta == -fill.in_amount - fill.fee_lamports - fill.rent_lamports


async def test_a_recorded_failure_swapped_nothing_and_paid() -> None:
    """Its logs carry swap events; the error comes first. 6001 of Jupiter's is the slippage."""
    fill, _landed = await mainnet_fill("metamask_swap_failed_transaction.json")

    assert (fill.in_amount, fill.out_amount, fill.rent_lamports) == (0, 0, 0)
    assert (fill.fee_lamports, fill.priority_fee_lamports) == (5_146, 146)
    assert fill.error_code is ErrorCode.SLIPPAGE_EXCEEDED
    assert "6001" in fill.error_detail


# --- arithmetic ---


def test_a_native_output_is_what_the_program_returned() -> None:
    """Lamports of the wallet are touched by others too, rent of a stranger's account for one; the program's word is exact."""
    sheet = Sheet().lamports(WALLET, 49_000_000 - 7_500 - 890_880).account(USDC, before=6_096_091, after=0)
    sides = Sides(wallet=WALLET, input=USDC, output=SOL)
    told = fill_of(transaction(sheet, logs=("Program log: x", RETURN + u64_base64(49_000_000))), sides=sides)
    cut = fill_of(transaction(sheet, logs=("Log truncated",)), sides=sides)

    assert (told.in_amount, told.out_amount) == (6_096_091, 49_000_000)
    assert (cut.in_amount, cut.out_amount) == (6_096_091, 49_000_000 - 890_880)


def test_a_token_output_is_what_arrived() -> None:
    """Not what the program says: a mint with a transfer fee keeps some of it."""
    sheet = Sheet().lamports(WALLET, -50_000_000 - 7_500).account(USDC, before=0, after=6_000_000)
    fill = fill_of(transaction(sheet, logs=(RETURN + u64_base64(6_096_091),)), sides=SIDES)

    assert (fill.in_amount, fill.out_amount) == (50_000_000, 6_000_000)


def test_fees_are_split() -> None:
    """5000 a signature, the rest is priority; the rent of what was created is told apart."""
    sheet = Sheet().lamports(WALLET, -50_000_000 - 7_500 - 2_039_280).account(USDC, before=None, after=1)
    fill = fill_of(transaction(sheet), sides=SIDES)

    assert (fill.fee_lamports, fill.priority_fee_lamports, fill.rent_lamports) == (7_500, 2_500, 2_039_280)
    assert (fill.slot, fill.units_consumed, fill.error_code, fill.error_detail) == (500, 81_000, None, "")


@pytest.mark.parametrize(
    ("error", "logs", "code"),
    [
        ({"InstructionError": [2, {"Custom": 6001}]}, (f"Program {JUPITER} failed: x",), ErrorCode.SLIPPAGE_EXCEEDED),
        ({"InstructionError": [2, {"Custom": 6024}]}, (f"Program {JUPITER} failed: x",), ErrorCode.SWAP_REVERTED),
        ({"InstructionError": [2, {"Custom": 6001}]}, ("Program " + "9" * 44 + " failed: x",), ErrorCode.SWAP_REVERTED),
        ({"InstructionError": [2, "ComputationalBudgetExceeded"]}, (), ErrorCode.SWAP_REVERTED),
        ("AccountInUse", (), ErrorCode.SWAP_REVERTED),
        ("SomethingNew", (), ErrorCode.SWAP_REVERTED),
    ],
)
def test_what_reverted_says_why(error: JsonValue, logs: tuple[str, ...], code: ErrorCode) -> None:
    """A missed minimum has its own code; the program's return value in the logs does not count."""
    sheet = Sheet().lamports(WALLET, -7_500)
    fill = fill_of(transaction(sheet, logs=(*logs, RETURN + u64_base64(5)), error=error), sides=SIDES)

    assert (fill.in_amount, fill.out_amount, fill.fee_lamports) == (0, 0, 7_500)
    assert fill.error_code is code
    assert fill.error_detail


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_the_last_return_of_jupiter_s_counts(first: int, last: int) -> None:
    """Not that of another program, and not what a program writes into its own log."""
    other = f"Program return: {key('pool')} " + u64_base64(7)
    logs = (RETURN + u64_base64(first), other, RETURN + u64_base64(last), "Program log: " + RETURN + u64_base64(9), other)

    assert returned_amount(logs) == last


@pytest.mark.parametrize(
    "line",
    ["", "!", "AAAA", base64.b64encode(bytes(7)).decode(), base64.b64encode(bytes(9)).decode(), u64_base64(5) + "\n=", "AAA"],
)
def test_a_return_that_is_no_amount_is_none(line: str) -> None:
    """A node that garbles a log must not hold up a trade that is confirmed."""
    assert returned_amount((RETURN + line,)) is None
    assert returned_amount(()) is None


# --- fetching ---

SENT = make_sent(make_signed(make_simulated(make_swap())))
KEYS = SENT.signed.message.account_keys
REVERTED = evolve(LANDED, reverted=True)


def swapped() -> Sheet:
    """0.05 SOL became 6 USDC."""
    return Sheet().lamports(WALLET, -50_000_000 - 7_500).account(USDC, before=0, after=6_000_000)


def ours(*, keys: Sequence[Pubkey] = KEYS, error: JsonValue = None) -> ConfirmedTransaction:
    """Our transaction as a node has it."""
    sheet = Sheet().lamports(WALLET, -7_500) if error is not None else swapped()
    return evolve(transaction(sheet, error=error), balances=sheet.made(keys))


def landed_json(**changes: object) -> dict[str, Any]:
    """Our transaction as a node tells it."""
    return {
        "slot": 500,
        "transaction": {
            "signatures": [str(SENT.signed.signature)],
            "message": {"accountKeys": [str(k) for k in KEYS], "instructions": []},
        },
        "meta": {
            "err": None,
            "fee": 7_500,
            "computeUnitsConsumed": 81_000,
            "logMessages": [],
            **sheet_json(swapped().made(KEYS)),
        },
        **changes,
    }


ANOTHER = {**landed_json()["transaction"], "signatures": [str(Signature.default())]}


@pytest.mark.parametrize(
    ("first", "warnings"),
    [
        (rpc_result(None), 0),
        (rpc_error(-32602, "no"), 1),
        (Reply(503), 1),
        (rpc_wrong_id(landed_json()), 1),
        (rpc_result(landed_json(transaction=ANOTHER)), 1),
    ],
)
async def test_it_asks_until_a_node_has_the_transaction(first: Reply, warnings: int) -> None:
    """A node knows of it some time after its status: null is asked again, and so is a node that fails, or has another one."""
    log = RecordedLog()
    async with open_nodes() as (nodes, (upstream,)):
        upstream.script("getTransaction", first, rpc_result(landed_json()))
        with trio.fail_after(10):
            fill = await read_fill(SENT, LANDED, nodes=nodes, log=log)
        asked = [request.json["params"] for request in upstream.requests]

    assert fill is not None
    assert (fill.in_amount, fill.out_amount) == (50_000_000, 6_000_000)
    assert [params[0] for params in asked] == [str(SENT.signed.signature)] * 2
    assert asked[0][1]["maxSupportedTransactionVersion"] == 0
    assert asked[0][1]["commitment"] == "confirmed"
    assert len(log.named("fill.unavailable")) == warnings


class Holder(FakeNode):
    """A node that answers with these transactions, one a call, and then with the last one for ever."""

    def __init__(self, *found: ConfirmedTransaction | None) -> None:
        super().__init__()
        self.found = list(found)

    async def transaction(self, signature: Signature) -> ConfirmedTransaction | None:
        """The next one."""
        await self._answer("getTransaction", signature)
        return self.found.pop(0) if len(self.found) > 1 else self.found[0]


async def read(*nodes: Node, landed: Landed = LANDED, log: RecordedLog | None = None) -> Fill | None:
    """What is read of these nodes, with a retry policy that must not be used."""
    asked = fake_nodes(*nodes, retry=Retry(max_retries=3, initial_delay_seconds=0.03))
    return await read_fill(SENT, landed, nodes=asked, log=log or RecordedLog())


async def test_the_pauses_grow_and_end_with_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """From 100 ms to 1 s; what no node has shown by then may not be there at all, so the status is asked again."""
    node, began = Holder(None), trio.current_time()
    fill = await read(node)
    at = [call.at - began for call in node.calls]

    assert fill is None
    assert trio.current_time() - began == pytest.approx(FETCH_SECONDS)
    pauses = [round(later - earlier, 6) for earlier, later in itertools.pairwise(at)]
    assert pauses == [0.1, 0.2, 0.4, 0.8] + [1.0] * 8


async def test_a_failing_node_is_asked_once_a_round(autojump_clock: trio.testing.MockClock) -> None:
    """The pauses are these and no others: retries below them would hide the time that they take."""
    node, log, began = Holder(ours()), RecordedLog(), trio.current_time()
    node.failing = True
    fill = await read(node, log=log)
    at = [call.at - began for call in node.calls]

    assert fill is None
    assert [round(later - earlier, 6) for earlier, later in itertools.pairwise(at)] == [0.1, 0.2, 0.4, 0.8] + [1.0] * 8
    assert len(log.named("fill.unavailable")) == len(at) == 13


async def test_a_node_that_hangs_does_not_hold_it_up(autojump_clock: trio.testing.MockClock) -> None:
    """The limit is of the whole wait, also of an answer that is on its way."""
    node, began = Holder(ours()), trio.current_time()
    node.takes_seconds = 3_600.0

    assert await read(node) is None
    assert trio.current_time() - began == pytest.approx(FETCH_SECONDS)


async def test_what_comes_in_time_is_read(autojump_clock: trio.testing.MockClock) -> None:
    """From any node, also at the last moment."""
    slow, failing = Holder(None, None, ours()), Holder(ours())
    slow.takes_seconds, failing.failing = 3.0, True  # three answers and two pauses are 9.3 seconds
    fill = await read(failing, slow)

    assert fill is not None
    assert (fill.slot, fill.in_amount, fill.out_amount) == (500, 50_000_000, 6_000_000)


async def test_a_cancelled_wait_stays_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    """The end of the trade's time is not taken for the end of its own."""
    with trio.move_on_after(3) as scope:
        await read(Holder(None))

    assert scope.cancelled_caught


STRANGER = key("stranger")
CONTRADICTING: dict[str, tuple[Landed, ConfirmedTransaction, ConfirmedTransaction]] = {
    # what the status says, what contradicts it, what agrees
    "it failed, says the transaction": (LANDED, ours(error="AccountInUse"), ours()),
    "it succeeded, says the transaction": (REVERTED, ours(), ours(error="AccountInUse")),
    "another payer": (LANDED, ours(keys=[STRANGER, *KEYS[1:], WALLET]), ours()),
    "another account": (LANDED, ours(keys=[*KEYS[:-1], STRANGER]), ours()),
    "another order": (LANDED, ours(keys=[KEYS[0], *reversed(KEYS[1:])]), ours()),
    "an account less": (LANDED, ours(keys=KEYS[:-1]), ours()),
    "a failure of another": (REVERTED, ours(keys=[*KEYS[:-1], STRANGER], error="AccountInUse"), ours(error="AccountInUse")),
}


@pytest.mark.parametrize("name", CONTRADICTING)
async def test_what_contradicts_the_status_is_not_read(name: str, autojump_clock: trio.testing.MockClock) -> None:
    """One of the two is wrong, and nobody here knows which: nothing is said of the amounts, and both are looked at again."""
    landed, wrong, _right = CONTRADICTING[name]
    log = RecordedLog()

    assert await read(Holder(wrong), landed=landed, log=log) is None
    assert len(log.named("fill.contradicts")) == 13
    assert log.named("fill.unavailable") == []


@pytest.mark.parametrize("name", CONTRADICTING)
async def test_it_asks_again_after_a_contradiction(name: str, autojump_clock: trio.testing.MockClock) -> None:
    """A node may have been behind, or lied: the next answer that agrees is the one."""
    landed, wrong, right = CONTRADICTING[name]
    node, log = Holder(wrong, None, wrong, right), RecordedLog()
    fill = await read(node, landed=landed, log=log)

    assert fill is not None
    assert (fill.out_amount, fill.error_code is not None) == ((0, True) if landed.reverted else (6_000_000, False))
    assert (len(node.calls), len(log.named("fill.contradicts"))) == (4, 2)


async def test_accounts_of_lookup_tables_stand_behind_our_own(autojump_clock: trio.testing.MockClock) -> None:
    """Our message names the tables only; which accounts these hold is the chain's word."""
    fill = await read(Holder(ours(keys=[*KEYS, key("of a table")])))

    assert fill is not None
    assert (fill.in_amount, fill.out_amount) == (50_000_000, 6_000_000)

"""What the swap program does; what it refuses is in test_program_refusals.py."""

import re
import struct
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.account import Account
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import AccountMeta
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import TransactionMetadata

from executor.localnet import tokens
from executor.localnet.formula import (
    DIRECT,
    FORWARDED,
    NO_PLATFORM_FEE,
    NO_TRANSFER_FEE,
    SHARED,
    FeeSide,
    NotSwappable,
    PlatformFee,
    RouteAmounts,
    TransferFee,
    maximum_in,
    route_exact_in,
    route_exact_out,
)
from executor.localnet.program import layout
from executor.localnet.program.layout import ProgramError, RouteCall, RouteKind, SwapEvent
from executor.localnet.tokens import SOL, Token
from executor.units import U64_MAX, minimum_out
from tests.localnet.swap_world import AUTHORITY, PAYER, STRANGER, USER, Pool, World, refused, returned, token

PROGRAM_SOURCE = Path(layout.__file__).parent
EXACT_IN_KINDS = (RouteKind.ROUTE, RouteKind.SHARED_ACCOUNTS_ROUTE)
EXACT_OUT_KINDS = (RouteKind.EXACT_OUT_ROUTE, RouteKind.SHARED_ACCOUNTS_EXACT_OUT_ROUTE)

FUNDS = 2**63
A, B, C = token("A"), token("B"), token("C")
TAXED = token("taxed", fee=TransferFee(bps=690, maximum=10**15))

CLOSE_AUTHORITY = struct.pack("<HH32s", 3, 32, bytes(PAYER.pubkey()))
"""The extension by which a mint can be closed."""

briefly = settings(derandomize=True, deadline=None, max_examples=60)
thoroughly = settings(derandomize=True, deadline=None, max_examples=300)
amounts = st.integers(0, 62).flatmap(lambda bits: st.integers(1, 2**bits))
"""Of every magnitude."""
transfer_fees = st.builds(TransferFee, bps=st.integers(1, 10_000), maximum=amounts)


@pytest.fixture(scope="module")
def world() -> World:
    """One chain for all tests: each sets up the accounts that it uses."""
    return World()


@st.composite
def ways(draw: st.DrawFn) -> list[Token]:
    """The tokens of a route of one or two hops: classic ones, plain Token-2022 ones, and such that withhold a fee."""
    names = ["in", "middle", "out"] if draw(st.booleans()) else ["in", "out"]
    return [token(name, token_2022=draw(st.booleans()), fee=draw(st.just(NO_TRANSFER_FEE) | transfer_fees)) for name in names]


def pools_of(world: World, *way: Token) -> list[Pool]:
    """Pools of a fixed depth that lead from the first token to the last."""
    world.mint(*way)
    return [world.pool(one, other, 10**9, 2 * 10**9) for one, other in pairwise(way)]


def drawn_pools(world: World, way: Sequence[Token], data: st.DataObject) -> list[Pool]:
    """Pools of any depth and fee."""
    world.mint(*way)
    pools = []
    for one, other in pairwise(way):
        reserve_in, reserve_out, fee_bps = data.draw(st.tuples(amounts, amounts, st.integers(0, 9_999)))
        pools.append(world.pool(one, other, reserve_in, reserve_out, fee_bps=fee_bps))
    return pools


def foretell(world: World, call: RouteCall, pools: Sequence[Pool], fee: PlatformFee = NO_PLATFORM_FEE) -> RouteAmounts:
    """What the formula says that the call will do at any price."""
    passage = SHARED if call.kind.shared else FORWARDED if call.forward_to else DIRECT
    hops = [world.hop(pool) for pool in pools]
    if call.kind.exact_out:
        return route_exact_out(hops, call.amount, passage=passage, platform_fee_bps=fee.bps)
    return route_exact_in(hops, call.amount, passage=passage, platform_fee=fee)


def foretell_or_refusal(world: World, call: RouteCall, pools: Sequence[Pool], fee: PlatformFee) -> RouteAmounts | ProgramError:
    """The same, or why the program will refuse."""
    try:
        return foretell(world, call, pools, fee)
    except NotSwappable as refusal:
        return refusal.code


@thoroughly
@given(
    kind=st.sampled_from(RouteKind),
    way=ways(),
    amount=amounts,
    forwarded=st.booleans(),
    fee_bps=st.integers(0, 255),
    data=st.data(),
)
def test_the_program_is_the_formula(
    world: World, kind: RouteKind, way: list[Token], amount: int, forwarded: bool, fee_bps: int, data: st.DataObject
) -> None:
    """Over all instructions, tokens, reserves, fees and amounts: every account ends with what the formula says, to the unit."""
    pools = drawn_pools(world, way, data)
    call = world.call(kind, pools, funds=FUNDS, amount=amount)
    if forwarded and not kind.shared:
        call = evolve(call, forward_to=world.account_at("elsewhere", STRANGER.pubkey(), way[-1]))
    side = FeeSide.INPUT if kind.exact_out else data.draw(st.sampled_from(FeeSide))
    fee_token = way[0] if side is FeeSide.INPUT else way[-1]
    fee_account = world.hold(STRANGER.pubkey(), fee_token)
    fee = NO_PLATFORM_FEE
    if fee_token.program == layout.TOKEN_PROGRAM:  # Jupiter's V1 instructions pay no fee in others
        fee = PlatformFee(bps=fee_bps, side=side)
        call = evolve(call, platform_fee_bps=fee_bps, platform_fee_account=fee_account)
    before = [(world.balance(pool.vault_in), world.balance(pool.vault_out)) for pool in pools]

    expected = foretell_or_refusal(world, call, pools, fee)
    result = world.run(call.instruction)
    if isinstance(expected, ProgramError):
        assert refused(result) == expected
        return
    if expected.in_amount > FUNDS:
        assert refused(result) == ProgramError.INSUFFICIENT_FUNDS
        return

    assert returned(result) == (expected.in_amount if kind.exact_out else expected.out_amount)
    assert world.balance(call.source) == FUNDS - expected.in_amount
    assert world.balance(call.forward_to or call.destination) == expected.out_amount
    assert world.balance(fee_account) == expected.platform_fee_amount
    for pool, hop, (reserve_in, reserve_out) in zip(pools, expected.hops, before, strict=True):
        assert world.balance(pool.vault_in) == reserve_in + pool.token_in.transfer_fee.arriving(hop.in_amount)
        assert world.balance(pool.vault_in) * world.balance(pool.vault_out) >= reserve_in * reserve_out
    assert isinstance(result, TransactionMetadata)
    swaps = [event for event in world.events(result) if isinstance(event, SwapEvent)]
    assert [(event.in_amount, event.out_amount) for event in swaps] == [(hop.in_amount, hop.out_amount) for hop in expected.hops]
    if kind.shared:  # the program keeps nothing
        assert [world.balance(tokens.associated_address(AUTHORITY, one)) for one in way] == [0] * len(way)


@briefly
@given(kind=st.sampled_from(EXACT_IN_KINDS), slippage_bps=st.integers(0, 9_999), nudge=st.integers(-2, 2))
def test_exact_in_slippage(world: World, kind: RouteKind, slippage_bps: int, nudge: int) -> None:
    """The output is accepted exactly when it is not below the quoted one less the slippage, rounded up."""
    pools = pools_of(world, A, B)
    call = world.call(kind, pools, funds=10**5, amount=10**5)
    out_amount = foretell(world, call, pools).out_amount
    quoted = out_amount * 10_000 // (10_000 - slippage_bps) + nudge  # where it is decided
    result = world.run(evolve(call, quoted_amount=quoted, slippage_bps=slippage_bps).instruction)

    if out_amount >= minimum_out(quoted, slippage_bps):
        assert returned(result) == out_amount
    else:
        assert refused(result) == ProgramError.SLIPPAGE_TOLERANCE_EXCEEDED
        assert world.balance(call.source) == 10**5


@briefly
@given(kind=st.sampled_from(EXACT_OUT_KINDS), slippage_bps=st.integers(0, 10_000), nudge=st.integers(-2, 2))
def test_exact_out_slippage(world: World, kind: RouteKind, slippage_bps: int, nudge: int) -> None:
    """The input is accepted exactly when it is not above the quoted one and the slippage, rounded down."""
    pools = pools_of(world, A, B)
    call = world.call(kind, pools, funds=10**6, amount=10**5)
    in_amount = foretell(world, call, pools).in_amount
    quoted = in_amount * 10_000 // (10_000 + slippage_bps) + nudge  # where it is decided
    result = world.run(evolve(call, quoted_amount=quoted, slippage_bps=slippage_bps).instruction)

    if in_amount <= maximum_in(quoted, slippage_bps):
        assert returned(result) == in_amount
    else:
        assert refused(result) == ProgramError.SLIPPAGE_TOLERANCE_EXCEEDED
        assert world.balance(call.source) == 10**6


def test_all_slippage_is_no_limit(world: World) -> None:
    """With 100 % of slippage any output will do."""
    call = world.call(RouteKind.ROUTE, pools_of(world, A, B), funds=10**5, amount=10**5)

    assert returned(world.run(evolve(call, quoted_amount=U64_MAX, slippage_bps=10_000).instruction)) > 0


ALL_WITHHELD = TransferFee(bps=10_000, maximum=U64_MAX)


@pytest.mark.parametrize(
    ("reserves", "amount", "fee_in", "fee_out"),
    [
        ((2**63, 10), 9, NO_TRANSFER_FEE, NO_TRANSFER_FEE),
        ((2**62, 2**62), 3 * 2**60, NO_TRANSFER_FEE, NO_TRANSFER_FEE),
        ((2**40, 2**62), 2**61, ALL_WITHHELD, NO_TRANSFER_FEE),
        ((2**40, 2**62), 2**61, NO_TRANSFER_FEE, ALL_WITHHELD),
    ],
    ids=["the curve", "the vault", "the input's transfer fee", "the output's transfer fee"],
)
@pytest.mark.parametrize("kind", EXACT_OUT_KINDS)
def test_inputs_beyond_64_bits(
    world: World, kind: RouteKind, reserves: tuple[int, int], amount: int, fee_in: TransferFee, fee_out: TransferFee
) -> None:
    """Wherever on the way back from the output the numbers become too large, program and formula say so."""
    one, other = token("in", fee=fee_in), token("out", fee=fee_out)
    world.mint(one, other)
    pools = [world.pool(one, other, *reserves)]
    call = world.call(kind, pools, funds=FUNDS, amount=amount)

    assert foretell_or_refusal(world, call, pools, NO_PLATFORM_FEE) is ProgramError.INVALID_CALCULATION
    assert refused(world.run(call.instruction)) == ProgramError.INVALID_CALCULATION


@pytest.mark.parametrize("kind", EXACT_OUT_KINDS)
def test_a_platform_fee_beyond_64_bits(world: World, kind: RouteKind) -> None:
    """A platform fee with which the input no longer fits is a refused calculation, not a lack of funds."""
    world.mint(A, B)
    pools = [world.pool(A, B, 18, 10**18, fee_bps=0)]
    call = world.call(kind, pools, funds=FUNDS, amount=10**18 - 1)
    call = evolve(call, platform_fee_account=world.hold(STRANGER.pubkey(), A), platform_fee_bps=255)
    fee = PlatformFee(bps=255, side=FeeSide.INPUT)

    assert foretell(world, call, pools).in_amount < U64_MAX
    assert foretell_or_refusal(world, call, pools, fee) is ProgramError.INVALID_CALCULATION
    assert refused(world.run(call.instruction)) == ProgramError.INVALID_CALCULATION


@pytest.mark.parametrize("kind", EXACT_IN_KINDS)
def test_nothing_arrives(world: World, kind: RouteKind) -> None:
    """A route whose whole output is withheld on its last steps is refused at any price."""
    half = token("half", fee=TransferFee(bps=9_999, maximum=U64_MAX))
    world.mint(A, half)
    pools = [world.pool(A, half, 10**9, 10**9, fee_bps=0)]
    call = world.call(kind, pools, funds=10**6, amount=10**4 + 10)
    if not kind.shared:
        call = evolve(call, forward_to=world.account_at("elsewhere", STRANGER.pubkey(), half))

    assert route_exact_in([world.hop(pool) for pool in pools], call.amount).out_amount == 1
    assert refused(world.run(call.instruction)) == ProgramError.INVALID_CALCULATION


@pytest.mark.parametrize("slack", [0, 1])
@pytest.mark.parametrize("kind", RouteKind)
def test_the_last_unit_of_slippage(world: World, kind: RouteKind, slack: int) -> None:
    """Without slippage the amount that can be had passes, and one unit better than that is refused."""
    pools = pools_of(world, A, B, C)
    call = world.call(kind, pools, funds=10**6, amount=10**5)
    foretold = foretell(world, call, pools)
    quoted = foretold.in_amount - slack if kind.exact_out else foretold.out_amount + slack
    result = world.run(evolve(call, quoted_amount=quoted).instruction)

    if slack:
        assert refused(result) == ProgramError.SLIPPAGE_TOLERANCE_EXCEEDED
    else:
        assert returned(result) == quoted


@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.parametrize("kind", RouteKind)
def test_funds(world: World, kind: RouteKind, missing: int) -> None:
    """The last unit can be spent, and one unit too few is Jupiter's InsufficientFunds, not a failed transfer."""
    pools = pools_of(world, A, B)
    fee_account = world.hold(STRANGER.pubkey(), A)
    call = world.call(kind, pools, funds=0, amount=10**5)
    call = evolve(call, platform_fee_account=fee_account, platform_fee_bps=100)
    needed = foretell(world, call, pools, PlatformFee(bps=100, side=FeeSide.INPUT)).in_amount
    world.hold(USER.pubkey(), A, needed - missing)
    result = world.run(call.instruction)

    if missing:
        assert refused(result) == ProgramError.INSUFFICIENT_FUNDS
    else:
        returned(result)
        assert world.balance(call.source) == 0


@pytest.mark.parametrize("kind", RouteKind)
def test_wrapped_sol(world: World, kind: RouteKind) -> None:
    """A native token account's lamports follow its balance on both sides of a swap."""
    pools = pools_of(world, SOL, A, B)
    back = evolve(pools[0], token_in=A, token_out=SOL)
    there = world.call(kind, pools[:1], funds=10**6, amount=10**5)
    gained = foretell(world, there, pools[:1]).out_amount
    returned(world.run(there.instruction))
    then = world.call(kind, [back], funds=gained, amount=10**4)
    received = foretell(world, then, [back]).out_amount
    returned(world.run(then.instruction))
    wrapped = world.svm.get_account(then.destination)

    assert wrapped is not None
    assert wrapped.lamports - tokens.rent_exemption(165) == tokens.token_amount(wrapped) == received


def test_a_delegate_may_spend_the_allowance(world: World) -> None:
    """Whose money may be moved is the token program's decision: an allowance is enough."""
    pools = pools_of(world, A, B)
    call = world.call(RouteKind.ROUTE, pools, funds=10**6, amount=10**5)
    source = world.hold(STRANGER.pubkey(), A, 10**6)
    account = world.svm.get_account(source)
    assert account is not None
    allowance = struct.pack("<I32s", 1, bytes(USER.pubkey()))
    data = account.data[:72] + allowance + account.data[108:121] + struct.pack("<Q", 10**5) + account.data[129:]
    world.svm.set_account(source, Account(account.lamports, data, account.owner))

    assert returned(world.run(evolve(call, source=source).instruction)) > 0
    assert world.balance(source) == 9 * 10**5


def test_transfer_fee_of_the_epoch(world: World) -> None:
    """An exact-out route reckons with the transfer fee of the chain's epoch: the older one before it changes, then the newer."""
    pools = pools_of(world, A, TAXED)
    mint = tokens.mint_account(TAXED, supply=10**18)
    newer = struct.pack("<QQH", 5, 10**15, 300)
    world.svm.set_account(TAXED.mint, Account(mint.lamports, mint.data[: -len(newer)] + newer, mint.owner))
    clock = world.svm.get_clock()
    for epoch, fee in ((4, TAXED.transfer_fee), (5, TransferFee(bps=300, maximum=10**15)), (0, TAXED.transfer_fee)):
        clock.epoch = epoch
        world.svm.set_clock(clock)
        call = world.call(RouteKind.EXACT_OUT_ROUTE, pools, funds=10**6, amount=10**4)
        now = evolve(pools[0], token_out=evolve(TAXED, transfer_fee=fee))

        assert returned(world.run(call.instruction)) == foretell(world, call, [now]).in_amount
        assert world.balance(call.destination) == 10**4


@pytest.mark.parametrize("kind", EXACT_OUT_KINDS)
def test_transfer_fee_behind_another_extension(world: World, kind: RouteKind) -> None:
    """The transfer fee is found wherever it stands among a mint's extensions."""
    pools = pools_of(world, A, TAXED)
    mint = tokens.mint_account(TAXED, supply=10**18)
    data = mint.data[:166] + CLOSE_AUTHORITY + mint.data[166:]
    world.svm.set_account(TAXED.mint, tokens.program_account(mint.owner, data))
    call = world.call(kind, pools, funds=10**6, amount=10**4)
    expected = foretell(world, call, pools).in_amount

    assert returned(world.run(call.instruction)) == expected


def test_a_mint_with_other_extensions_withholds_nothing(world: World) -> None:
    """A Token-2022 mint that has extensions but no transfer fee is an ordinary mint."""
    plain = token("plain", token_2022=True)
    pools = pools_of(world, A, plain)
    mint = tokens.mint_account(plain, supply=10**18)
    padding = bytes(tokens.BASE_ACCOUNT_BYTES - tokens.MINT_BYTES)
    data = mint.data + padding + bytes([tokens.MINT_TYPE]) + CLOSE_AUTHORITY
    world.svm.set_account(plain.mint, tokens.program_account(mint.owner, data))
    call = world.call(RouteKind.EXACT_OUT_ROUTE, pools, funds=10**6, amount=10**4)
    expected = foretell(world, call, pools).in_amount

    assert returned(world.run(call.instruction)) == expected


def test_events_byte_for_byte(world: World) -> None:
    """Events are calls of the program by itself, signed by the event authority: tag, discriminator, Borsh."""
    pools = pools_of(world, A, B)
    fee_account = world.hold(STRANGER.pubkey(), B)
    call = world.call(RouteKind.SHARED_ACCOUNTS_ROUTE, pools, funds=10**5, amount=10**5)
    call = evolve(call, platform_fee_account=fee_account, platform_fee_bps=50)
    foretold = foretell(world, call, pools, PlatformFee(bps=50, side=FeeSide.OUTPUT))
    result = world.run(call.instruction)
    assert isinstance(result, TransactionMetadata)
    swap, fee = world.event_instructions(result)

    assert [one.accounts[0].pubkey for one in (swap, fee)] == [layout.EVENT_AUTHORITY] * 2
    swap_head = bytes.fromhex("e445a52e51cb9a1d40c6cde8260871e2") + bytes(pools[0].state.address)
    sides = bytes(A.mint) + struct.pack("<Q", 10**5) + bytes(B.mint) + struct.pack("<Q", foretold.hops[0].out_amount)
    assert swap.data == swap_head + sides
    fee_head = bytes.fromhex("e445a52e51cb9a1d494f4e7fb8d50ddc") + bytes(fee_account)
    assert fee.data == fee_head + bytes(B.mint) + struct.pack("<Q", foretold.platform_fee_amount)


def test_events_stand_where_things_happened(world: World) -> None:
    """An input fee is reported before the swaps of an exact-in route and after those of an exact-out route."""
    pools = pools_of(world, A, B, C)
    fee_account = world.hold(STRANGER.pubkey(), A)
    names = {}
    for kind in RouteKind:
        call = world.call(kind, pools, funds=10**6, amount=10**5)
        result = world.run(evolve(call, platform_fee_account=fee_account, platform_fee_bps=50).instruction)
        assert isinstance(result, TransactionMetadata)
        names[kind.exact_out] = [type(event).__name__ for event in world.events(result)]

    assert names == {False: ["FeeEvent", "SwapEvent", "SwapEvent"], True: ["SwapEvent", "SwapEvent", "FeeEvent"]}


def test_tracking_and_many_accounts(world: World) -> None:
    """Accounts behind the hops are not looked at, however many there are and however often they repeat."""
    pools = pools_of(world, A, B)
    call = world.call(RouteKind.SHARED_ACCOUNTS_ROUTE, pools, funds=10**6, amount=10**5)
    tracked = evolve(call, tracking_account=STRANGER.pubkey()).instruction
    strangers = [AccountMeta(tokens.invented_address(f"stranger {i}"), is_signer=False, is_writable=False) for i in range(30)]
    tracked.accounts = [*tracked.accounts, *strangers, *strangers]
    expected = foretell(world, call, pools).out_amount

    assert len(tracked.accounts) > 64
    assert returned(world.run(tracked)) == expected


@pytest.mark.parametrize(("hops", "units"), [(1, 60_000), (2, 110_000)])
@pytest.mark.parametrize("kind", RouteKind)
def test_compute_units(world: World, kind: RouteKind, hops: int, units: int) -> None:
    """A route needs no more compute units than one of the real program, even with transfer and platform fees."""
    pools = pools_of(world, A, TAXED, B)[:hops]
    call = world.call(kind, pools, funds=10**6, amount=10**5)
    fee_account = world.hold(STRANGER.pubkey(), A)
    result = world.run(evolve(call, platform_fee_account=fee_account, platform_fee_bps=50).instruction)

    assert isinstance(result, TransactionMetadata)
    assert result.compute_units_consumed() < units


@pytest.mark.parametrize("kind", RouteKind)
def test_transaction_size(world: World, kind: RouteKind) -> None:
    """Two hops with everything that surrounds a swap of SOL fit into a packet when a lookup table holds the market's accounts."""
    pools = pools_of(world, SOL, TAXED, B)
    call = world.call(kind, pools, funds=10**6, amount=10**5)
    call = evolve(
        call, platform_fee_account=world.hold(STRANGER.pubkey(), SOL), platform_fee_bps=50, tracking_account=PAYER.pubkey()
    )
    wrapped = tokens.associated_address(USER.pubkey(), SOL)
    setup = [tokens.create_associated(payer=USER.pubkey(), owner=USER.pubkey(), token=one) for one in (SOL, TAXED, B)]
    wrap = [tokens.transfer_lamports(source=USER.pubkey(), destination=wrapped, lamports=10**5), tokens.sync_native(wrapped)]
    budget = [set_compute_unit_limit(200_000), set_compute_unit_price(10_000)]
    unwrap = tokens.close_account(token=SOL, account=wrapped, destination=USER.pubkey(), owner=USER.pubkey())
    listed = [key for pool in pools for key in (pool.state.address, pool.vault_in, pool.vault_out)]
    listed += [one.mint for one in (SOL, TAXED, B)] + [AUTHORITY, layout.EVENT_AUTHORITY]
    listed += [layout.TOKEN_PROGRAM, layout.TOKEN_2022_PROGRAM, tokens.SYSTEM_PROGRAM]
    listed += [tokens.associated_address(AUTHORITY, one) for one in (SOL, TAXED, B)]
    table = AddressLookupTableAccount(Pubkey(bytes([9]) * 32), listed)
    instructions = [*budget, *setup, *wrap, call.instruction, unwrap]
    message = MessageV0.try_compile(USER.pubkey(), instructions, [table], Hash.default())

    assert len(bytes(VersionedTransaction.populate(message, [Signature.default()]))) <= 1_232


@pytest.mark.parametrize("kind", RouteKind)
def test_under_the_features_of_mainnet(kind: RouteKind) -> None:
    """The program does the same under the runtime features that are active on mainnet."""
    world = World(mainnet_features=True)
    pools = pools_of(world, A, TAXED, B)
    call = world.call(kind, pools, funds=10**6, amount=10**5)
    foretold = foretell(world, call, pools)

    assert returned(world.run(call.instruction)) == (foretold.in_amount if kind.exact_out else foretold.out_amount)


def test_errors_are_the_same_on_both_sides() -> None:
    """The program's list of refusals and Python's agree in number and name."""
    listed = re.findall(r"X\((\d+), (\w+),", (PROGRAM_SOURCE / "errors.h").read_text())
    ours = {error.value: error.name.replace("_", "").lower() for error in ProgramError}

    assert {int(number): name.lower() for number, name in listed} == ours

import base64
import json
import struct
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from executor.localnet.program import layout
from executor.localnet.program.layout import (
    FeeEvent,
    Leg,
    PoolState,
    RouteCall,
    RouteKind,
    SwapEvent,
    decode_event,
    pool_address,
    route_plan,
)

RECORDED = Path(__file__).parents[3] / "shared" / "recorded" / "swap-instructions"

keys = st.binary(min_size=32, max_size=32).map(Pubkey)
ONE, OTHER = Pubkey(bytes([1]) * 32), Pubkey(bytes([2]) * 32)
PROGRAMS = (layout.TOKEN_PROGRAM, layout.TOKEN_2022_PROGRAM)


@settings(derandomize=True, deadline=None)
@given(one=keys, other=keys, bump=st.integers(0, 255), fee_bps=st.integers(0, 9_999))
def test_pool_state_survives_its_encoding(one: Pubkey, other: Pubkey, bump: int, fee_bps: int) -> None:
    """What is written into a pool account is read back, and has the size that the program asks for."""
    state = PoolState(bump=bump, fee_bps=fee_bps, mint_a=one, mint_b=other, vault_a=other, vault_b=one)

    assert len(state.encode()) == layout.POOL_BYTES
    assert PoolState.decode(state.encode()) == state


def test_pool_state_byte_for_byte() -> None:
    """The pool account is laid out as documented."""
    state = PoolState.at_genesis(OTHER, ONE, fee_bps=30, token_programs=PROGRAMS)
    head = b"LNPOOL01" + bytes([state.bump, 0]) + struct.pack("<H", 30) + bytes(4)

    assert state.encode() == head + bytes(ONE) + bytes(OTHER) + bytes(state.vault_a) + bytes(state.vault_b)


@pytest.mark.parametrize("data", [b"", bytes(144), b"LNPOOL01" + bytes(135)], ids=["empty", "no magic", "short"])
def test_what_is_no_pool(data: bytes) -> None:
    """Other accounts are not read as pools."""
    with pytest.raises(ValueError, match="not the data of a pool"):
        PoolState.decode(data)


def test_a_pool_at_genesis() -> None:
    """A pool is the same in whichever order its mints are named, and its vaults are its associated accounts."""
    pool = PoolState.at_genesis(ONE, OTHER, fee_bps=30, token_programs=PROGRAMS)

    assert pool == PoolState.at_genesis(OTHER, ONE, fee_bps=30, token_programs=PROGRAMS[::-1])
    assert pool_address(OTHER, ONE, 30) == (pool.address, pool.bump)
    assert (pool.mint_a, pool.mint_b) == (ONE, OTHER)
    assert pool.vault(ONE) == layout.associated_token_account(pool.address, ONE, layout.TOKEN_PROGRAM) == pool.vault_a
    assert pool.vault(OTHER) == layout.associated_token_account(pool.address, OTHER, layout.TOKEN_2022_PROGRAM) == pool.vault_b
    assert (pool.other_mint(ONE), pool.other_mint(OTHER)) == (OTHER, ONE)


def test_a_mint_that_is_not_the_pools() -> None:
    """Asking a pool for a mint that it does not hold is an error."""
    pool = PoolState.at_genesis(ONE, OTHER, fee_bps=30, token_programs=PROGRAMS)

    with pytest.raises(ValueError, match="not a mint of the pool"):
        pool.vault(layout.PROGRAM_ID)


def test_known_addresses_and_discriminators() -> None:
    """What is derived here is what stands on mainnet."""
    assert str(layout.EVENT_AUTHORITY) == "D8cy77BBepLMngZx6ZukaTff5hCt1HrWyKk3Hnd9oitf"
    assert str(layout.program_authority(3)) == "6U91aKa8pmMxkJwBCfPTmUEfZi6dHe7DcFq2ALvB2tbB"
    assert str(layout.program_authority(5)) == "CapuXNQoDviLvU1PxFiizLgPNQCxrsag1uMeyk6zLVps"
    assert {kind: kind.discriminator.hex() for kind in RouteKind} == {
        RouteKind.ROUTE: "e517cb977ae3ad2a",
        RouteKind.EXACT_OUT_ROUTE: "d033ef977b2bed5c",
        RouteKind.SHARED_ACCOUNTS_ROUTE: "c1209b3341d69c81",
        RouteKind.SHARED_ACCOUNTS_EXACT_OUT_ROUTE: "b0d169a89a7d453e",
    }


def call(kind: RouteKind, hops: int = 2) -> RouteCall:
    """A call through two pools, or one."""
    mints = [Pubkey(bytes([n]) * 32) for n in (1, 2, 3)]
    programs = (layout.TOKEN_PROGRAM,) * 2
    pools = [PoolState.at_genesis(*pair, fee_bps=30, token_programs=programs) for pair in pairwise(mints)]
    legs = [Leg(pool=pool, in_mint=mint) for pool, mint in zip(pools, mints, strict=False)][:hops]
    return RouteCall(
        kind=kind,
        user=Pubkey(bytes([4]) * 32),
        source=Pubkey(bytes([5]) * 32),
        destination=Pubkey(bytes([6]) * 32),
        legs=legs,
        amount=1_000,
        quoted_amount=2_000,
        slippage_bps=50,
        platform_fee_bps=20,
    )


@pytest.mark.parametrize("kind", RouteKind)
def test_data_byte_for_byte(kind: RouteKind) -> None:
    """Discriminator, authority id of a shared route, plan, amounts."""
    authority = b"\x03" if kind.shared else b""
    plan = bytes.fromhex("02000000 03640001 03640102")

    assert route_plan(2) == plan
    assert call(kind).instruction.data == kind.discriminator + authority + plan + struct.pack("<QQHB", 1_000, 2_000, 50, 20)


@pytest.mark.parametrize(("kind", "fixed"), list(zip(RouteKind, (9, 11, 13, 13), strict=True)))
def test_accounts(kind: RouteKind, fixed: int) -> None:
    """Ten accounts a hop follow the fixed ones; only the user signs; a tracking account comes last."""
    instruction = call(kind).instruction

    assert len(instruction.accounts) == fixed + 2 * layout.ACCOUNTS_PER_HOP
    assert [meta.pubkey for meta in instruction.accounts if meta.is_signer] == [call(kind).user]


@pytest.mark.parametrize("name", ["glam_451027533_sol_usdc_v1_2026-09-27.json", "ilkamo_with_jito_tip.json"])
def test_the_shape_of_recorded_instructions(name: str) -> None:
    """Our calls have the roles of a recorded instruction of the real program in the same places."""
    path = RECORDED / name
    if not path.exists():
        pytest.skip(f"recorded data is absent: {path}")
    recorded = json.loads(path.read_text())["swapInstruction"]
    data = base64.b64decode(recorded["data"])
    authority = Pubkey.from_string(recorded["accounts"][1]["pubkey"])
    ours = call(RouteKind.SHARED_ACCOUNTS_ROUTE).instruction
    roles = [(meta.is_signer, meta.is_writable) for meta in ours.accounts[:13]]

    assert data[:8] == ours.data[:8]
    assert authority == layout.program_authority(data[8])
    assert roles == [(account["isSigner"], account["isWritable"]) for account in recorded["accounts"][:13]]
    for index in (0, 9, 10, 11, 12):  # token program, the two absent optional ones, event authority, program
        assert str(ours.accounts[index].pubkey) == recorded["accounts"][index]["pubkey"]


@settings(derandomize=True, deadline=None)
@given(pool=keys, mint=keys, amounts=st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)))
def test_events_are_read(pool: Pubkey, mint: Pubkey, amounts: tuple[int, int]) -> None:
    """Both events are read from their documented bytes."""
    swap = bytes.fromhex("e445a52e51cb9a1d40c6cde8260871e2") + bytes(pool)
    swap += bytes(mint) + struct.pack("<Q", amounts[0]) + bytes(pool) + struct.pack("<Q", amounts[1])
    fee = bytes.fromhex("e445a52e51cb9a1d494f4e7fb8d50ddc") + bytes(pool) + bytes(mint) + struct.pack("<Q", amounts[0])

    assert decode_event(swap) == SwapEvent(pool=pool, in_mint=mint, in_amount=amounts[0], out_mint=pool, out_amount=amounts[1])
    assert decode_event(fee) == FeeEvent(account=pool, mint=mint, amount=amounts[0])


@pytest.mark.parametrize(
    "data",
    [b"", bytes(128), bytes.fromhex("e445a52e51cb9a1d40c6cde8260871e2"), bytes.fromhex("e445a52e51cb9a1d494f4e7fb8d50ddc00")],
    ids=["empty", "other data", "a cut swap", "a cut fee"],
)
def test_what_is_no_event(data: bytes) -> None:
    """Other inner instructions are not read as events."""
    with pytest.raises(ValueError, match="not an event"):
        decode_event(data)

"""What the swap program refuses: attempts to steal, and calls that are not well made."""

import struct
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import pytest
from attrs import evolve, frozen
from solders.account import Account
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.transaction_status import InstructionErrorFieldless

from executor.localnet import tokens
from executor.localnet.program import layout
from executor.localnet.program.layout import PoolState, ProgramError, RouteCall, RouteKind, route_plan
from executor.localnet.tokens import Token
from tests.localnet.swap_world import AUTHORITY, STRANGER, USER, Pool, World, refused, returned, token

OWNER_MISMATCH, FROZEN = 4, 17
"""The token programs' own errors."""

A, B, C = token("A"), token("B"), token("C")
NEW = token("new", token_2022=True)
PLAIN = (RouteKind.ROUTE, RouteKind.EXACT_OUT_ROUTE)
SHARED_KINDS = (RouteKind.SHARED_ACCOUNTS_ROUTE, RouteKind.SHARED_ACCOUNTS_EXACT_OUT_ROUTE)
ALL = (*PLAIN, *SHARED_KINDS)


def names(text: str) -> tuple[str, ...]:
    """The accounts of an instruction, in its order."""
    return tuple(text.split())


SHARED_ACCOUNTS = names(
    """token_program authority user source first last destination source_mint destination_mint fee_account token_2022_program
    event_authority program"""
)
FIXED_ACCOUNTS = {
    RouteKind.ROUTE: names("token_program user source last forward_to destination_mint fee_account event_authority program"),
    RouteKind.EXACT_OUT_ROUTE: names(
        """token_program user source last forward_to source_mint destination_mint fee_account token_2022_program
        event_authority program"""
    ),
    RouteKind.SHARED_ACCOUNTS_ROUTE: SHARED_ACCOUNTS,
    RouteKind.SHARED_ACCOUNTS_EXACT_OUT_ROUTE: SHARED_ACCOUNTS,
}
HOP_ACCOUNTS = names("marker pool from to vault_in vault_out mint_in mint_out program_in program_out")


@pytest.fixture(scope="module")
def world() -> World:
    """One chain for all tests: each sets up the accounts that it uses."""
    return World()


@frozen(kw_only=True)
class Scene:
    """A call that would succeed through one pool or two, for a test to tamper with."""

    world: World
    pools: Sequence[Pool]
    call: RouteCall

    @property
    def vault_in(self) -> Pubkey:
        return self.pools[0].vault_in

    @property
    def vault_out(self) -> Pubkey:
        return self.pools[-1].vault_out

    def hand(self, one: Token, amount: int = 10**6) -> Pubkey:
        """A stranger's account of a token."""
        return self.world.hold(STRANGER.pubkey(), one, amount)

    def swapped_for(self, **accounts: Pubkey | AccountMeta) -> Instruction:
        """The call with other accounts: fixed ones by name, a hop's by name and number, as in vault_in_0."""
        instruction = self.call.instruction
        metas = list(instruction.accounts)
        for name, account in accounts.items():
            index = position(self.call.kind, name)
            as_before = (metas[index].is_signer, metas[index].is_writable)
            metas[index] = account if isinstance(account, AccountMeta) else AccountMeta(account, *as_before)
        return Instruction(instruction.program_id, bytes(instruction.data), metas)

    def with_data(self, data: bytes) -> Instruction:
        """The call's accounts with other data."""
        return Instruction(layout.PROGRAM_ID, data, self.call.instruction.accounts)


def position(kind: RouteKind, name: str) -> int:
    """Where an account stands in the instruction."""
    fixed = FIXED_ACCOUNTS[kind]
    if name in fixed:
        return fixed.index(name)
    account, hop = name.rsplit("_", 1)
    return len(fixed) + int(hop) * len(HOP_ACCOUNTS) + HOP_ACCOUNTS.index(account)


def scene(world: World, kind: RouteKind, way: Sequence[Token] = (A, B)) -> Scene:
    """A call that would succeed."""
    world.mint(A, B, C, NEW)
    pools = [world.pool(one, other, 10**9, 2 * 10**9) for one, other in pairwise(way)]
    return Scene(world=world, pools=pools, call=world.call(kind, pools, funds=10**6, amount=10**5))


@frozen(kw_only=True)
class Attempt:
    """Something to try, and why it must fail."""

    name: str
    make: Callable[[Scene], Instruction]
    refusal: object
    kinds: Sequence[RouteKind] = ALL
    way: Sequence[Token] = (A, B)


def run_attempt(world: World, kind: RouteKind, attempt: Attempt, signers: Sequence[Keypair] = (USER,)) -> None:
    """Show that the call as it was would succeed, that the attempt does not, and that nothing has moved by it."""
    returned(world.run(scene(world, kind, attempt.way).call.instruction))
    fresh = scene(world, kind, attempt.way)
    instruction = attempt.make(fresh)
    vaults = [vault for pool in fresh.pools for vault in (pool.vault_in, pool.vault_out)]
    before = [world.balance(vault) for vault in vaults]

    assert refused(world.run(instruction, signers=signers)) == attempt.refusal
    assert [world.balance(vault) for vault in vaults] == before


def each_kind(attempts: Sequence[Attempt]) -> pytest.MarkDecorator:
    """Every attempt with every instruction that it applies to."""
    cases = [pytest.param(kind, attempt, id=f"{attempt.name}-{kind.value}") for attempt in attempts for kind in attempt.kinds]
    return pytest.mark.parametrize(("kind", "attempt"), cases)


def pool_elsewhere(scene: Scene, state: PoolState, *, owner: Pubkey = layout.PROGRAM_ID) -> Instruction:
    """The call through a pool account at an invented address."""
    address = tokens.invented_address("forged pool")
    scene.world.svm.set_account(address, tokens.program_account(owner, state.encode()))
    return scene.swapped_for(pool_0=address)


def pool_with_data(scene: Scene, data: bytes) -> Instruction:
    """The call through the pool's own account, in which something else is written."""
    scene.world.svm.set_account(scene.pools[0].state.address, tokens.program_account(layout.PROGRAM_ID, data))
    return scene.call.instruction


def other_pool(scene: Scene) -> Pool:
    """A second pool of the same pair."""
    return scene.world.pool(A, B, 10**9, 2 * 10**9, fee_bps=1)


def forged_mint(scene: Scene) -> Instruction:
    """Pay with worthless tokens from an account of another mint."""
    return scene.swapped_for(mint_in_0=C.mint, from_0=scene.hand(C), vault_in_0=scene.hand(C))


def unsigned(scene: Scene) -> Instruction:
    """Name the user without having his signature."""
    return scene.swapped_for(user=AccountMeta(USER.pubkey(), is_signer=False, is_writable=False))


def with_source(scene: Scene, source: Pubkey) -> Instruction:
    """Take the input from another account, in a plain route as the first hop's as well."""
    places = {"source": source} if scene.call.kind.shared else {"source": source, "from_0": source}
    return scene.swapped_for(**places)


def with_destination(scene: Scene, destination: Pubkey) -> Instruction:
    """Send the output to another account, in a plain route as the last hop's as well."""
    places = {"destination": destination} if scene.call.kind.shared else {"last": destination, "to_0": destination}
    return scene.swapped_for(**places)


def with_fee(scene: Scene, account: Pubkey | None, bps: int = 100) -> Instruction:
    """Ask for a platform fee."""
    return evolve(scene.call, platform_fee_account=account, platform_fee_bps=bps).instruction


def program_account_of(one: Token) -> Pubkey:
    """The program authority's account of a token."""
    return tokens.associated_address(AUTHORITY, one)


PRIVILEGE_ESCALATION = InstructionErrorFieldless.PrivilegeEscalation

THEFTS = [
    Attempt(
        name="input into the thief's own vault",
        make=lambda s: s.swapped_for(vault_in_0=s.hand(A)),
        refusal=ProgramError.INVALID_TOKEN_ACCOUNT,
    ),
    Attempt(
        name="input into another vault of the pool's address",
        make=lambda s: s.swapped_for(vault_in_0=s.world.account_at("vault", s.pools[0].state.address, A)),
        refusal=ProgramError.INVALID_TOKEN_ACCOUNT,
    ),
    Attempt(
        name="output from another pool's vault",
        make=lambda s: s.swapped_for(vault_out_0=other_pool(s).vault_out),
        refusal=ProgramError.INVALID_TOKEN_ACCOUNT,
    ),
    Attempt(
        name="a pool of another program",
        make=lambda s: pool_elsewhere(s, evolve(s.pools[0].state, vault_a=s.hand(A)), owner=STRANGER.pubkey()),
        refusal=ProgramError.ACCOUNT_OWNED_BY_WRONG_PROGRAM,
    ),
    Attempt(
        name="a pool that is not where pools are",
        make=lambda s: pool_elsewhere(s, s.pools[0].state),
        refusal=PRIVILEGE_ESCALATION,
    ),
    Attempt(
        name="a pool that names its vaults crosswise",
        make=lambda s: pool_with_data(s, evolve(s.pools[0].state, vault_a=s.pools[0].state.vault_b).encode()),
        refusal=ProgramError.INVALID_TOKEN_ACCOUNT,
    ),
    Attempt(name="worthless input", make=forged_mint, refusal=ProgramError.INVALID_MINT),
    Attempt(name="worthless input the other way", make=forged_mint, refusal=ProgramError.INVALID_MINT, way=(B, A)),
    Attempt(
        name="worthless input for the fixed mint",
        make=lambda s: s.swapped_for(source_mint=C.mint),
        refusal=ProgramError.INVALID_MINT,
        kinds=(RouteKind.EXACT_OUT_ROUTE, *SHARED_KINDS),
    ),
    Attempt(
        name="another output mint",
        make=lambda s: s.swapped_for(mint_out_0=C.mint),
        refusal=ProgramError.INVALID_MINT,
    ),
    Attempt(
        name="the pool's mints crosswise",
        make=lambda s: s.swapped_for(mint_in_0=B.mint, mint_out_0=A.mint),
        refusal=ProgramError.INVALID_TOKEN_ACCOUNT,
    ),
    Attempt(
        name="one mint on both sides",
        make=lambda s: s.swapped_for(mint_out_0=A.mint),
        refusal=ProgramError.INVALID_MINT,
    ),
    Attempt(
        name="a token program of the thief's",
        make=lambda s: s.swapped_for(program_in_0=STRANGER.pubkey()),
        refusal=ProgramError.INVALID_PROGRAM_ID,
    ),
    Attempt(
        name="a token program of the thief's for the output",
        make=lambda s: s.swapped_for(program_out_0=layout.PROGRAM_ID),
        refusal=ProgramError.INVALID_PROGRAM_ID,
    ),
    Attempt(
        name="the other token program",
        make=lambda s: s.swapped_for(program_in_0=layout.TOKEN_2022_PROGRAM),
        refusal=ProgramError.INVALID_MINT,
    ),
    Attempt(
        name="the money of one who signed",
        make=lambda s: with_source(s, s.hand(A)),
        refusal=OWNER_MISMATCH,
    ),
    Attempt(
        name="the vault as the source",
        make=lambda s: with_source(s, s.vault_in),
        refusal=ProgramError.INVALID_TOKEN_ACCOUNT,
    ),
    Attempt(
        name="another pool's vault as the source",
        make=lambda s: with_source(s, other_pool(s).vault_in),
        refusal=OWNER_MISMATCH,
    ),
    Attempt(
        name="the vault as the destination",
        make=lambda s: with_destination(s, s.vault_out),
        refusal=ProgramError.INVALID_TOKEN_ACCOUNT,
        kinds=PLAIN,
    ),
    Attempt(
        name="the vault as the destination",
        make=lambda s: with_destination(s, s.vault_out),
        refusal=ProgramError.INVALID_OUTPUT_TOKEN_ACCOUNT,
        kinds=SHARED_KINDS,
    ),
    Attempt(
        name="the vault behind the destination",
        make=lambda s: evolve(s.call, forward_to=s.vault_out).instruction,
        refusal=ProgramError.INVALID_OUTPUT_TOKEN_ACCOUNT,
        kinds=PLAIN,
    ),
    Attempt(
        name="the source as the destination",
        make=lambda s: with_destination(s, s.call.source),
        refusal=ProgramError.INVALID_TOKEN_ACCOUNT,
    ),
    Attempt(
        name="the source forwarded to",
        make=lambda s: evolve(s.call, forward_to=s.call.source).instruction,
        refusal=ProgramError.INVALID_TOKEN_ACCOUNT,
        kinds=PLAIN,
    ),
    Attempt(
        name="the program's money as the source",
        make=lambda s: with_source(s, s.world.hold(AUTHORITY, A, 10**6)),
        refusal=OWNER_MISMATCH,
        kinds=PLAIN,
    ),
    Attempt(
        name="the program's money as the source",
        make=lambda s: with_source(s, s.world.hold(AUTHORITY, A, 10**6)),
        refusal=ProgramError.INVALID_TOKEN_ACCOUNT,
        kinds=SHARED_KINDS,
    ),
    Attempt(
        name="the money of another program authority",
        make=lambda s: with_source(s, s.world.hold(layout.program_authority(5), A, 10**6)),
        refusal=OWNER_MISMATCH,
    ),
    Attempt(
        name="the program's account as the destination",
        make=lambda s: with_destination(s, program_account_of(B)),
        refusal=ProgramError.INVALID_OUTPUT_TOKEN_ACCOUNT,
        kinds=SHARED_KINDS,
    ),
    Attempt(
        name="another authority than the id says",
        make=lambda s: s.swapped_for(authority=layout.program_authority(5)),
        refusal=ProgramError.INVALID_PROGRAM_AUTHORITY,
        kinds=SHARED_KINDS,
    ),
    Attempt(
        name="the thief as the authority",
        make=lambda s: s.swapped_for(authority=AccountMeta(USER.pubkey(), is_signer=True, is_writable=False)),
        refusal=ProgramError.INVALID_PROGRAM_AUTHORITY,
        kinds=SHARED_KINDS,
    ),
    Attempt(
        name="the thief's account before the hops",
        make=lambda s: s.swapped_for(first=s.hand(A), from_0=s.hand(A)),
        refusal=ProgramError.INVALID_AUTHORITY,
        kinds=SHARED_KINDS,
    ),
    Attempt(
        name="the thief's account behind the hops",
        make=lambda s: s.swapped_for(last=s.hand(B), to_0=s.hand(B)),
        refusal=ProgramError.INVALID_AUTHORITY,
        kinds=SHARED_KINDS,
    ),
    Attempt(
        name="the thief's account between the hops",
        make=lambda s: s.swapped_for(to_0=s.hand(B), from_1=s.hand(B)),
        refusal=OWNER_MISMATCH,
        way=(A, B, C),
    ),
    Attempt(
        name="the input for the thief and the program's own for the hop",
        make=lambda s: s.swapped_for(first=s.world.account_at("mine", USER.pubkey(), A)),
        refusal=ProgramError.INVALID_ROUTE_PLAN,
        kinds=SHARED_KINDS,
    ),
    Attempt(
        name="hops that do not meet",
        make=lambda s: s.swapped_for(from_1=s.world.account_at("mine", USER.pubkey(), B, 10**6)),
        refusal=ProgramError.INVALID_ROUTE_PLAN,
        way=(A, B, C),
    ),
    Attempt(
        name="hops that do not meet in their mint",
        make=lambda s: evolve(s.call, legs=(s.call.legs[0], s.call.legs[0])).instruction,
        refusal=ProgramError.INVALID_TOKEN_ACCOUNT,
    ),
    Attempt(
        name="hops that do not end at the destination",
        make=lambda s: s.swapped_for(to_0=s.world.account_at("mine", USER.pubkey(), B)),
        refusal=ProgramError.INVALID_ROUTE_PLAN,
    ),
    Attempt(
        name="a vault as the fee account",
        make=lambda s: with_fee(s, s.vault_in),
        refusal=ProgramError.INVALID_FEE_WALLET,
    ),
    Attempt(
        name="the output's vault as the fee account",
        make=lambda s: with_fee(s, s.vault_out),
        refusal=ProgramError.INVALID_FEE_WALLET,
    ),
    Attempt(
        name="the source as the fee account",
        make=lambda s: with_fee(s, s.call.source),
        refusal=ProgramError.INVALID_FEE_WALLET,
    ),
    Attempt(
        name="the destination as the fee account",
        make=lambda s: with_fee(s, s.call.destination),
        refusal=ProgramError.INVALID_FEE_WALLET,
    ),
    Attempt(
        name="the program's account as the fee account",
        make=lambda s: with_fee(s, program_account_of(A)),
        refusal=ProgramError.INVALID_FEE_WALLET,
        kinds=SHARED_KINDS,
    ),
]


@each_kind(THEFTS)
def test_thefts(world: World, kind: RouteKind, attempt: Attempt) -> None:
    """No choice of accounts makes a pool, the program or a bystander pay."""
    run_attempt(world, kind, attempt)


@pytest.mark.parametrize("kind", ALL)
def test_nothing_without_the_users_signature(world: World, kind: RouteKind) -> None:
    """An account is not touched because its owner is named; he must have signed."""
    attempt = Attempt(name="unsigned", make=unsigned, refusal=ProgramError.ACCOUNT_NOT_SIGNER)
    run_attempt(world, kind, attempt, signers=())


@pytest.mark.parametrize("kind", SHARED_KINDS)
def test_what_lies_in_the_programs_accounts_stays(world: World, kind: RouteKind) -> None:
    """Money that somebody left in the program's accounts is neither swapped nor handed out."""
    ready = scene(world, kind, (A, B, C))
    left = [world.hold(AUTHORITY, one, 5 * 10**8) for one in (A, B, C)]
    returned(world.run(ready.call.instruction))

    assert [world.balance(account) for account in left] == [5 * 10**8] * 3


@pytest.mark.parametrize(
    ("accounts", "signers", "refusal"),
    [
        ([], (), ProgramError.ACCOUNT_NOT_ENOUGH_KEYS),
        ([AccountMeta(layout.EVENT_AUTHORITY, is_signer=False, is_writable=False)], (), ProgramError.CONSTRAINT_SIGNER),
        ([AccountMeta(USER.pubkey(), is_signer=True, is_writable=False)], (USER,), ProgramError.CONSTRAINT_SEEDS),
    ],
    ids=["nobody", "unsigned", "another signer"],
)
def test_events_cannot_be_forged(
    world: World, accounts: list[AccountMeta], signers: Sequence[Keypair], refusal: ProgramError
) -> None:
    """Only the program can make the program report an event."""
    event = Instruction(layout.PROGRAM_ID, layout.EVENT_TAG + bytes(120), accounts)

    assert refused(world.run(event, signers=signers)) == refusal


def uninitialised(scene: Scene, program: Pubkey, size: int = 165) -> Pubkey:
    """Room for a token account in which nothing is written."""
    address = tokens.invented_address("uninitialised")
    scene.world.svm.set_account(address, tokens.program_account(program, bytes(size)))
    return address


def wallet(scene: Scene) -> Pubkey:
    """An account that holds SOL and nothing else."""
    return STRANGER.pubkey()


def mint_in_disguise(scene: Scene) -> Pubkey:
    """A Token-2022 mint whose first bytes would do for a token account of the input mint."""
    account = tokens.token_account(A, owner=USER.pubkey(), amount=10**9)
    address = tokens.invented_address("disguised mint")
    data = account.data + bytes([tokens.MINT_TYPE])
    scene.world.svm.set_account(address, tokens.program_account(layout.TOKEN_2022_PROGRAM, data))
    return address


def longer_than_a_token_account(scene: Scene) -> Pubkey:
    """An account of the classic Token program that is longer than token accounts are."""
    account = tokens.token_account(B, owner=USER.pubkey(), amount=0)
    address = tokens.invented_address("longer")
    data = account.data + bytes([tokens.TOKEN_ACCOUNT_TYPE])
    scene.world.svm.set_account(address, tokens.program_account(layout.TOKEN_PROGRAM, data))
    return address


def frozen_account(scene: Scene) -> Pubkey:
    """An account of the output token in which nothing may move."""
    account = tokens.token_account(B, owner=USER.pubkey(), amount=0)
    address = tokens.invented_address("frozen")
    data = account.data[:108] + bytes([2]) + account.data[109:]
    scene.world.svm.set_account(address, Account(account.lamports, data, account.owner))
    return address


def readonly(account: Pubkey) -> AccountMeta:
    """The account, not to be written to."""
    return AccountMeta(account, is_signer=False, is_writable=False)


def locked(scene: Scene, name: str) -> Instruction:
    """The call with an account that it needs to write to as a read-only one, wherever it stands."""
    whole = scene.call.instruction
    account = whole.accounts[position(scene.call.kind, name)].pubkey
    metas = [readonly(account) if meta.pubkey == account else meta for meta in whole.accounts]
    return Instruction(whole.program_id, bytes(whole.data), metas)


def instead_of_the_mint(scene: Scene, data: bytes) -> Instruction:
    """Something else stands at the input mint's address."""
    scene.world.svm.set_account(A.mint, tokens.program_account(layout.TOKEN_PROGRAM, data))
    return scene.call.instruction


def cut(scene: Scene, count: int) -> Instruction:
    """Leave out the last accounts."""
    whole = scene.call.instruction
    return Instruction(whole.program_id, bytes(whole.data), whole.accounts[:-count])


def plan_data(scene: Scene, plan: bytes) -> Instruction:
    """The call with another route plan."""
    return scene.with_data(scene.call.data.replace(route_plan(1), plan))


def emptied(scene: Scene, vault: Pubkey, one: Token) -> Instruction:
    """The call after one of the pool's vaults has run dry."""
    scene.world.hold(scene.pools[0].state.address, one, 0)
    return scene.call.instruction


STEP = layout.TOKEN_SWAP_VARIANT
WITH_TOKEN_2022_SLOT = (RouteKind.EXACT_OUT_ROUTE, *SHARED_KINDS)

MISTAKES = [
    Attempt(
        name="no such destination",
        make=lambda s: with_destination(s, tokens.invented_address("nothing")),
        refusal=ProgramError.ACCOUNT_NOT_INITIALIZED,
    ),
    Attempt(
        name="an uninitialised destination",
        make=lambda s: with_destination(s, uninitialised(s, layout.TOKEN_PROGRAM)),
        refusal=ProgramError.ACCOUNT_NOT_INITIALIZED,
    ),
    Attempt(
        name="a wallet as destination",
        make=lambda s: with_destination(s, wallet(s)),
        refusal=ProgramError.ACCOUNT_OWNED_BY_WRONG_PROGRAM,
    ),
    Attempt(
        name="a destination that is too long",
        make=lambda s: with_destination(s, longer_than_a_token_account(s)),
        refusal=ProgramError.ACCOUNT_NOT_INITIALIZED,
    ),
    Attempt(name="a frozen destination", make=lambda s: with_destination(s, frozen_account(s)), refusal=FROZEN),
    Attempt(
        name="another destination mint",
        make=lambda s: s.swapped_for(destination_mint=C.mint),
        refusal=ProgramError.INVALID_MINT,
    ),
    Attempt(
        name="there and back",
        make=lambda s: s.world.call(s.call.kind, [*s.pools, back_of(s)], funds=10**6, amount=10**5).instruction,
        refusal=ProgramError.SOURCE_AND_DESTINATION_MINT_CANNOT_BE_THE_SAME,
    ),
    Attempt(
        name="no platform fee account",
        make=lambda s: with_fee(s, None),
        refusal=ProgramError.MISSING_PLATFORM_FEE_ACCOUNT,
    ),
    Attempt(name="a wallet as fee account", make=lambda s: with_fee(s, wallet(s)), refusal=ProgramError.ACCOUNT_NOT_INITIALIZED),
    Attempt(
        name="an absent fee account",
        make=lambda s: with_fee(s, tokens.invented_address("nothing")),
        refusal=ProgramError.ACCOUNT_NOT_INITIALIZED,
    ),
    Attempt(
        name="an uninitialised fee account",
        make=lambda s: with_fee(s, uninitialised(s, layout.TOKEN_2022_PROGRAM)),
        refusal=ProgramError.ACCOUNT_NOT_INITIALIZED,
    ),
    Attempt(
        name="a short fee account",
        make=lambda s: with_fee(s, uninitialised(s, layout.TOKEN_PROGRAM, 82)),
        refusal=ProgramError.ACCOUNT_NOT_INITIALIZED,
    ),
    Attempt(
        name="a mint as fee account",
        make=lambda s: with_fee(s, mint_in_disguise(s)),
        refusal=ProgramError.ACCOUNT_NOT_INITIALIZED,
    ),
    Attempt(
        name="a Token-2022 fee account",
        make=lambda s: with_fee(s, s.hand(NEW)),
        refusal=ProgramError.INCORRECT_TOKEN_PROGRAM_ID,
    ),
    Attempt(name="a fee account of another mint", make=lambda s: with_fee(s, s.hand(C)), refusal=ProgramError.INVALID_FEE_WALLET),
    Attempt(
        name="an output fee of an exact output",
        make=lambda s: with_fee(s, s.hand(B)),
        refusal=ProgramError.INVALID_FEE_WALLET,
        kinds=(RouteKind.EXACT_OUT_ROUTE, RouteKind.SHARED_ACCOUNTS_EXACT_OUT_ROUTE),
    ),
    Attempt(
        name="a wrong fee account without a fee",
        make=lambda s: with_fee(s, wallet(s), bps=0),
        refusal=ProgramError.ACCOUNT_NOT_INITIALIZED,
    ),
    Attempt(
        name="a fee account that is not writable",
        make=lambda s: s.swapped_for(fee_account=readonly(s.hand(A))),
        refusal=ProgramError.CONSTRAINT_MUT,
    ),
    *(
        Attempt(
            name=f"a locked {name}",
            make=partial(locked, name=name),
            refusal=ProgramError.CONSTRAINT_MUT,
            kinds=[kind for kind in ALL if name in FIXED_ACCOUNTS[kind]],
        )
        for name in ("source", "first", "last", "destination")
    ),
    Attempt(
        name="a fixed token program of another kind",
        make=lambda s: s.swapped_for(token_program=layout.TOKEN_2022_PROGRAM),
        refusal=ProgramError.INVALID_PROGRAM_ID,
    ),
    Attempt(
        name="another program for Token-2022",
        make=lambda s: s.swapped_for(token_2022_program=layout.TOKEN_PROGRAM),
        refusal=ProgramError.INVALID_PROGRAM_ID,
        kinds=WITH_TOKEN_2022_SLOT,
    ),
    Attempt(
        name="Token-2022 is not provided",
        make=lambda s: s.swapped_for(token_2022_program=layout.PROGRAM_ID),
        refusal=ProgramError.TOKEN_PROGRAM_NOT_PROVIDED,
        kinds=WITH_TOKEN_2022_SLOT,
        way=(A, NEW),
    ),
    Attempt(
        name="another program",
        make=lambda s: s.swapped_for(program=layout.TOKEN_PROGRAM),
        refusal=ProgramError.INVALID_PROGRAM_ID,
    ),
    Attempt(
        name="another event authority",
        make=lambda s: s.swapped_for(event_authority=AUTHORITY),
        refusal=ProgramError.CONSTRAINT_SEEDS,
    ),
    Attempt(
        name="another exchange",
        make=lambda s: s.swapped_for(marker_0=layout.TOKEN_PROGRAM),
        refusal=ProgramError.SWAP_NOT_SUPPORTED,
    ),
    Attempt(
        name="a fixed account too few",
        make=lambda s: cut(s, layout.ACCOUNTS_PER_HOP + 1),
        refusal=ProgramError.ACCOUNT_NOT_ENOUGH_KEYS,
    ),
    Attempt(name="a hop's account too few", make=lambda s: cut(s, 1), refusal=ProgramError.NOT_ENOUGH_ACCOUNT_KEYS),
    Attempt(
        name="a short pool",
        make=lambda s: pool_with_data(s, s.pools[0].state.encode()[:-1]),
        refusal=ProgramError.ACCOUNT_DISCRIMINATOR_MISMATCH,
    ),
    Attempt(name="no pool", make=lambda s: pool_with_data(s, bytes(144)), refusal=ProgramError.ACCOUNT_DISCRIMINATOR_MISMATCH),
    Attempt(
        name="a pool that keeps everything",
        make=lambda s: pool_with_data(s, evolve(s.pools[0].state, fee_bps=10_000).encode()),
        refusal=ProgramError.ACCOUNT_DISCRIMINATOR_MISMATCH,
    ),
    Attempt(name="no mint", make=lambda s: instead_of_the_mint(s, bytes(82)), refusal=ProgramError.INVALID_MINT),
    Attempt(name="a short mint", make=lambda s: instead_of_the_mint(s, bytes(81)), refusal=ProgramError.INVALID_MINT),
    Attempt(
        name="a token account as mint",
        make=lambda s: instead_of_the_mint(s, tokens.token_account(A, owner=USER.pubkey(), amount=2**63).data),
        refusal=ProgramError.INVALID_MINT,
    ),
    Attempt(name="an empty input vault", make=lambda s: emptied(s, s.vault_in, A), refusal=ProgramError.INVALID_CALCULATION),
    Attempt(
        name="too much slippage",
        make=lambda s: evolve(s.call, slippage_bps=10_001).instruction,
        refusal=ProgramError.INVALID_SLIPPAGE,
    ),
    Attempt(name="no amount", make=lambda s: evolve(s.call, amount=0).instruction, refusal=ProgramError.INVALID_CALCULATION),
    Attempt(name="an empty plan", make=lambda s: plan_data(s, route_plan(0)), refusal=ProgramError.EMPTY_ROUTE),
    Attempt(name="three hops", make=lambda s: plan_data(s, route_plan(3)), refusal=ProgramError.INVALID_ROUTE_PLAN),
    Attempt(
        name="another exchange's step",
        make=lambda s: plan_data(s, struct.pack("<IBBBBB", 1, 17, 1, 100, 0, 1)),
        refusal=ProgramError.SWAP_NOT_SUPPORTED,
    ),
    Attempt(
        name="a split",
        make=lambda s: plan_data(s, struct.pack("<IBBBB", 1, STEP, 99, 0, 1)),
        refusal=ProgramError.INVALID_ROUTE_PLAN,
    ),
    Attempt(
        name="a step from elsewhere",
        make=lambda s: plan_data(s, struct.pack("<IBBBB", 1, STEP, 100, 1, 1)),
        refusal=ProgramError.INVALID_ROUTE_PLAN,
    ),
    Attempt(
        name="a step to elsewhere",
        make=lambda s: plan_data(s, struct.pack("<IBBBB", 1, STEP, 100, 0, 2)),
        refusal=ProgramError.INVALID_ROUTE_PLAN,
    ),
    Attempt(
        name="more data than the amounts",
        make=lambda s: s.with_data(s.call.data + b"\0"),
        refusal=ProgramError.INSTRUCTION_DID_NOT_DESERIALIZE,
    ),
    Attempt(
        name="data that ends in the amounts",
        make=lambda s: s.with_data(s.call.data[:-1]),
        refusal=ProgramError.INSTRUCTION_DID_NOT_DESERIALIZE,
    ),
    Attempt(
        name="data that ends in the plan",
        make=lambda s: s.with_data(s.call.data[: s.call.data.index(route_plan(1)) + 6]),
        refusal=ProgramError.INSTRUCTION_DID_NOT_DESERIALIZE,
    ),
    Attempt(
        name="data that ends before the plan",
        make=lambda s: s.with_data(s.call.data[:10]),
        refusal=ProgramError.INSTRUCTION_DID_NOT_DESERIALIZE,
    ),
    Attempt(
        name="an unknown instruction",
        make=lambda s: s.with_data(bytes(8) + s.call.data[8:]),
        refusal=ProgramError.INSTRUCTION_FALLBACK_NOT_FOUND,
    ),
    Attempt(name="no instruction", make=lambda s: s.with_data(b"\xe5\x17"), refusal=ProgramError.INSTRUCTION_FALLBACK_NOT_FOUND),
]


def back_of(scene: Scene) -> Pool:
    """A pool that swaps the output into the input again."""
    return scene.world.pool(B, A, 10**9, 2 * 10**9, fee_bps=1)


@each_kind(MISTAKES)
def test_mistakes(world: World, kind: RouteKind, attempt: Attempt) -> None:
    """A call that is not well made is refused with the code that Anchor or Jupiter has for it."""
    run_attempt(world, kind, attempt)

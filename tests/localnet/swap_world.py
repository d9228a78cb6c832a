"""A chain with nothing on it but the swap program, some invented tokens and a user, for the program's tests."""

from collections.abc import Sequence

from attrs import frozen
from solders.account import Account
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import Message
from solders.pubkey import Pubkey
from solders.transaction import Transaction
from solders.transaction_metadata import FailedTransactionMetadata, TransactionMetadata
from solders.transaction_status import InstructionErrorCustom, TransactionErrorInstructionError

from executor.localnet import tokens
from executor.localnet.formula import NO_TRANSFER_FEE, Hop, TransferFee
from executor.localnet.program import layout, swap_elf
from executor.localnet.program.layout import FeeEvent, Leg, PoolState, RouteCall, RouteKind, SwapEvent, decode_event
from executor.localnet.tokens import Token
from executor.units import U64_MAX

USER = Keypair.from_seed(bytes([1]) * 32)
PAYER = Keypair.from_seed(bytes([2]) * 32)
STRANGER = Keypair.from_seed(bytes([3]) * 32)
AUTHORITY = layout.program_authority(layout.AUTHORITY_IDS[0])


def token(name: str, *, fee: TransferFee = NO_TRANSFER_FEE, token_2022: bool = False) -> Token:
    """A token of that name; one with a transfer fee lives in Token-2022."""
    program = layout.TOKEN_2022_PROGRAM if fee.bps or token_2022 else layout.TOKEN_PROGRAM
    return Token(symbol=name, mint=tokens.invented_address(name), decimals=6, program=program, transfer_fee=fee)


@frozen(kw_only=True)
class Pool:
    """A pool in the direction in which it will be used."""

    token_in: Token
    token_out: Token
    state: PoolState

    @property
    def leg(self) -> Leg:
        """The hop through it."""
        programs = (self.token_in.program, self.token_out.program)
        return Leg(pool=self.state, in_mint=self.token_in.mint, in_token_program=programs[0], out_token_program=programs[1])

    @property
    def vault_in(self) -> Pubkey:
        """Where the input goes."""
        return self.state.vault(self.token_in.mint)

    @property
    def vault_out(self) -> Pubkey:
        """Where the output comes from."""
        return self.state.vault(self.token_out.mint)


class World:
    """The chain. Setting things up is instant and unchecked; only `run` executes."""

    def __init__(self, *, mainnet_features: bool = False) -> None:
        self.svm = LiteSVM().with_mainnet_features() if mainnet_features else LiteSVM()
        self.svm.add_program(layout.PROGRAM_ID, swap_elf())
        self._keys: Sequence[Pubkey] = ()
        for key in (USER, PAYER, STRANGER):
            self.svm.set_account(key.pubkey(), Account(10**12, b"", tokens.SYSTEM_PROGRAM))

    def mint(self, *minted: Token) -> None:
        """Put the mints on the chain."""
        for one in minted:
            self.svm.set_account(one.mint, tokens.mint_account(one, supply=2**63))

    def hold(self, owner: Pubkey, one: Token, amount: int = 0) -> Pubkey:
        """Give the owner an associated account with this amount in it."""
        address = tokens.associated_address(owner, one)
        self.svm.set_account(address, tokens.token_account(one, owner=owner, amount=amount))
        return address

    def account_at(self, name: str, owner: Pubkey, one: Token, amount: int = 0) -> Pubkey:
        """Give the owner another account, at an invented address."""
        address = tokens.invented_address(name)
        self.svm.set_account(address, tokens.token_account(one, owner=owner, amount=amount))
        return address

    def pool(self, token_in: Token, token_out: Token, reserve_in: int, reserve_out: int, *, fee_bps: int = 30) -> Pool:
        """Open a pool."""
        programs = (token_in.program, token_out.program)
        state = PoolState.at_genesis(token_in.mint, token_out.mint, fee_bps=fee_bps, token_programs=programs)
        self.svm.set_account(state.address, tokens.program_account(layout.PROGRAM_ID, state.encode()))
        self.hold(state.address, token_in, reserve_in)
        self.hold(state.address, token_out, reserve_out)
        return Pool(token_in=token_in, token_out=token_out, state=state)

    def hop(self, pool: Pool) -> Hop:
        """The pool as the formula sees it now."""
        return Hop(
            reserve_in=self.balance(pool.vault_in),
            reserve_out=self.balance(pool.vault_out),
            fee_bps=pool.state.fee_bps,
            in_transfer_fee=pool.token_in.transfer_fee,
            out_transfer_fee=pool.token_out.transfer_fee,
        )

    def call(self, kind: RouteKind, pools: Sequence[Pool], *, funds: int, amount: int) -> RouteCall:
        """Open all accounts that a call through these pools needs, the user's with the funds, and make a call for any price."""
        first, last = pools[0].token_in, pools[-1].token_out
        owner = AUTHORITY if kind.shared else USER.pubkey()
        for one in (first, *(pool.token_out for pool in pools)):
            self.hold(owner, one)
        return RouteCall(
            kind=kind,
            user=USER.pubkey(),
            source=self.hold(USER.pubkey(), first, funds),
            destination=self.hold(USER.pubkey(), last),
            legs=tuple(pool.leg for pool in pools),
            amount=amount,
            quoted_amount=U64_MAX if kind.exact_out else 0,
            slippage_bps=0,
        )

    def balance(self, address: Pubkey) -> int:
        """What a token account holds."""
        account = self.svm.get_account(address)
        assert account is not None
        return tokens.token_amount(account)

    def run(
        self, *instructions: Instruction, signers: Sequence[Keypair] = (USER,)
    ) -> TransactionMetadata | FailedTransactionMetadata:
        """Execute the instructions in one transaction."""
        self.svm.expire_blockhash()  # so that equal transactions are not duplicates
        blockhash = self.svm.latest_blockhash()
        message = Message.new_with_blockhash(instructions, PAYER.pubkey(), blockhash)
        self._keys = message.account_keys
        return self.svm.send_transaction(Transaction([PAYER, *signers], message, blockhash))

    def event_instructions(self, result: TransactionMetadata) -> list[Instruction]:
        """The calls of itself that the program made in the last run."""
        compiled = [inner.instruction() for calls in result.inner_instructions() for inner in calls]
        own = [call for call in compiled if self._keys[call.program_id_index] == layout.PROGRAM_ID]
        metas = [[AccountMeta(self._keys[index], is_signer=True, is_writable=False) for index in call.accounts] for call in own]
        return [Instruction(layout.PROGRAM_ID, bytes(call.data), accounts) for call, accounts in zip(own, metas, strict=True)]

    def events(self, result: TransactionMetadata) -> list[SwapEvent | FeeEvent]:
        """The events of the last run."""
        return [decode_event(call.data) for call in self.event_instructions(result)]


def returned(result: TransactionMetadata | FailedTransactionMetadata) -> int:
    """The program's return value; the call must have succeeded."""
    assert isinstance(result, TransactionMetadata), (result.err(), result.meta().logs())
    assert result.return_data().program_id == layout.PROGRAM_ID
    return int.from_bytes(result.return_data().data, "little")


def refused(result: TransactionMetadata | FailedTransactionMetadata) -> object:
    """Why the first instruction failed: a custom error's number, or the runtime's own reason. The call must have failed."""
    assert isinstance(result, FailedTransactionMetadata), result
    failure = result.err()
    assert isinstance(failure, TransactionErrorInstructionError)
    return failure.err.code if isinstance(failure.err, InstructionErrorCustom) else failure.err

import pytest
from solders.account import Account
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import Message
from solders.pubkey import Pubkey
from solders.transaction import Transaction
from solders.transaction_metadata import TransactionMetadata

from executor.localnet import tokens
from executor.localnet.tokens import BERN, SOL, TOKENS, USDC, Token

OWNER = Keypair.from_seed(bytes([1]) * 32)
OTHER = Keypair.from_seed(bytes([2]) * 32).pubkey()
LAMPORTS = 10**10


@pytest.fixture
def svm() -> LiteSVM:
    """The runtime with all mints and a rich owner."""
    chain = LiteSVM()
    for token in TOKENS:
        chain.set_account(token.mint, tokens.mint_account(token, supply=10**15))
    chain.set_account(OWNER.pubkey(), Account(LAMPORTS, b"", tokens.SYSTEM_PROGRAM))
    return chain


def run(svm: LiteSVM, *instructions: Instruction) -> None:
    """Execute in one transaction signed by the owner; it must succeed."""
    message = Message.new_with_blockhash(instructions, OWNER.pubkey(), svm.latest_blockhash())
    result = svm.send_transaction(Transaction([OWNER], message, svm.latest_blockhash()))
    assert isinstance(result, TransactionMetadata), result


def account(svm: LiteSVM, address: Pubkey) -> Account:
    """Read an account that must be there."""
    found = svm.get_account(address)
    assert found is not None
    return found


@pytest.mark.parametrize("token", TOKENS, ids=lambda token: token.symbol)
def test_an_empty_token_account_is_what_the_associated_token_program_makes(svm: LiteSVM, token: Token) -> None:
    """Genesis accounts are byte for byte those that the real programs create, Token-2022's extensions included."""
    run(svm, tokens.create_associated(payer=OWNER.pubkey(), owner=OTHER, token=token))

    created = account(svm, tokens.associated_address(OTHER, token))

    assert created == tokens.token_account(token, owner=OTHER, amount=0)


@pytest.mark.parametrize("token", TOKENS, ids=lambda token: token.symbol)
def test_the_real_token_programs_move_what_genesis_wrote(svm: LiteSVM, token: Token) -> None:
    """A checked transfer between genesis accounts succeeds, and the recipient gets the amount less the mint's transfer fee."""
    source, destination = (tokens.associated_address(owner, token) for owner in (OWNER.pubkey(), OTHER))
    svm.set_account(source, tokens.token_account(token, owner=OWNER.pubkey(), amount=1_000_001))
    svm.set_account(destination, tokens.token_account(token, owner=OTHER, amount=5))

    run(svm, tokens.transfer_checked(token=token, source=source, destination=destination, owner=OWNER.pubkey(), amount=1_000_000))

    assert tokens.token_amount(account(svm, source)) == 1
    assert tokens.token_amount(account(svm, destination)) == 5 + token.transfer_fee.arriving(1_000_000)


def test_the_token_2022_mint_is_as_long_as_on_mainnet() -> None:
    """BERN's mint has the transfer-fee extension and nothing else: 278 bytes; its token accounts take 182."""
    assert len(tokens.mint_account(BERN, supply=1).data) == 278
    assert len(tokens.token_account(BERN, owner=OTHER, amount=1).data) == 182


def test_sol_is_wrapped_and_unwrapped_by_the_real_programs(svm: LiteSVM) -> None:
    """Transfer, sync and close move lamports into a wrapped account and back without loss but the fees."""
    wrapped = tokens.associated_address(OWNER.pubkey(), SOL)
    run(
        svm,
        tokens.create_associated(payer=OWNER.pubkey(), owner=OWNER.pubkey(), token=SOL),
        tokens.transfer_lamports(source=OWNER.pubkey(), destination=wrapped, lamports=12_345),
        tokens.sync_native(wrapped),
    )
    assert account(svm, wrapped) == tokens.token_account(SOL, owner=OWNER.pubkey(), amount=12_345)

    run(svm, tokens.close_account(token=SOL, account=wrapped, destination=OWNER.pubkey(), owner=OWNER.pubkey()))

    assert account(svm, OWNER.pubkey()).lamports == LAMPORTS - 2 * 5_000


def test_whole_tokens_become_raw_amounts() -> None:
    """A whole number is scaled by the token's decimals."""
    assert USDC.raw(3) == 3_000_000

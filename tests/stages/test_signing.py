"""The one place where the key touches a transaction."""

import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import to_bytes_versioned
from solders.transaction import VersionedTransaction

from executor.errors import ErrorCode, Rejected
from executor.network.solana import LatestBlockhash
from executor.stages.message import compile_message
from executor.stages.signing import sign
from executor.wallet.signer import KeypairSigner
from tests.support.swaps import MEMO, make_swap
from tests.support.values import KEYPAIR, WALLET, hash_of, make_built, make_simulated

LATEST = LatestBlockhash(blockhash=hash_of(9), last_valid_block_height=4_711, context_slot=5_000)


def test_the_signature_is_good_and_the_only_one() -> None:
    """Over the v0 message with its version byte; the wire bytes are a transaction that verifies."""
    simulated = make_simulated(make_swap())
    signed = sign(simulated, signer=KeypairSigner(KEYPAIR), blockhash=LATEST)
    transaction = VersionedTransaction.from_bytes(signed.wire)

    assert signed.signature.verify(WALLET, to_bytes_versioned(signed.message))
    assert to_bytes_versioned(signed.message)[0] == 0x80
    assert transaction.signatures == [signed.signature]
    assert transaction.verify_with_results() == [True]
    assert transaction.message == signed.message
    transaction.verify_and_hash_message()


def test_what_is_signed_is_what_was_simulated() -> None:
    """The budget that the simulation decided, the given blockhash and its height; nothing else of the message moves."""
    simulated = make_simulated(make_swap())
    signed = sign(simulated, signer=KeypairSigner(KEYPAIR), blockhash=LATEST)

    assert signed.message == compile_message(simulated.built, simulated.budget, payer=WALLET, blockhash=hash_of(9))
    assert (signed.blockhash, signed.last_valid_block_height) == (hash_of(9), 4_711)
    assert (signed.budget, signed.priority_fee_lamports) == (simulated.budget, simulated.priority_fee_lamports)
    quoted = simulated.built.quoted
    assert (signed.order, signed.quoted_out_amount) == (quoted.order, quoted.quote.out_amount)
    assert (signed.reference_out_amount, signed.shared_accounts) == (quoted.reference_out_amount, simulated.built.shared_accounts)
    assert signed.context_slot == LATEST.context_slot


def test_another_blockhash_is_another_signature() -> None:
    """A signature belongs to one blockhash, whose height says until when it may land."""
    simulated = make_simulated(make_swap())
    other = LatestBlockhash(blockhash=hash_of(10), last_valid_block_height=4_712, context_slot=5_001)
    signatures = {
        sign(simulated, signer=KeypairSigner(KEYPAIR), blockhash=latest).signature for latest in (LATEST, LATEST, other)
    }

    assert len(signatures) == 2


def test_a_key_signs_for_its_own_wallet_only() -> None:
    """What was built for another wallet needs that wallet's signature as well: it is not signed."""
    with pytest.raises(Rejected) as caught:
        sign(make_simulated(make_swap()), signer=KeypairSigner(Keypair.from_seed(bytes(32))), blockhash=LATEST)

    assert caught.value.code is ErrorCode.TRANSACTION_FOREIGN


def test_what_does_not_fit_is_not_signed_away() -> None:
    """Too large is a refusal before the send."""
    built = make_built(instructions=(Instruction(MEMO, bytes(1_300), []),))
    with pytest.raises(Rejected) as caught:
        sign(make_simulated(built), signer=KeypairSigner(KEYPAIR), blockhash=LATEST)

    assert caught.value.code is ErrorCode.TRANSACTION_TOO_LARGE

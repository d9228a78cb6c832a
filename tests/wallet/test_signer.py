import copy
import io
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.keypair import Keypair

from executor.log import make_log
from executor.wallet.signer import KeypairSigner, Signer

KEYPAIR = Keypair.from_seed(bytes(range(32)))


@given(st.binary(max_size=1_232))
def test_a_signature_is_the_wallets_and_of_exactly_this_message(message: bytes) -> None:
    """What was signed verifies under the address, and under no other message."""
    signer: Signer = KeypairSigner(KEYPAIR)
    signature = signer.sign(message)
    assert signature.verify(signer.address, message)
    assert not signature.verify(signer.address, message + b"\0")


def test_a_signer_shows_only_its_address() -> None:
    """However a signer is printed, formatted or logged, the secret is not in it."""
    signer = KeypairSigner(KEYPAIR)
    stream = io.StringIO()
    make_log(stream=stream, level="info", now_ns=lambda: 0).info("wallet.loaded", wallet=signer, several=[signer])
    printed = f"{signer} {signer!r} {[signer]} {stream.getvalue()}"
    assert str(KEYPAIR.pubkey()) in printed
    assert str(KEYPAIR) not in printed
    assert json.dumps(list(bytes(KEYPAIR)))[1:40] not in printed
    assert not hasattr(signer, "__dict__")


@pytest.mark.parametrize("attempt", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_signer_is_neither_pickled_nor_copied(attempt: object) -> None:
    """The secret stays in the one object that signs."""
    assert callable(attempt)
    with pytest.raises(TypeError, match="holds a secret"):
        attempt(KeypairSigner(KEYPAIR))

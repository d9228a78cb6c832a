"""Signers that are looked at."""

from attrs import define
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature

from executor.wallet.signer import KeypairSigner


@define
class CountingSigner:
    """Signs, and counts how often."""

    _wallet: Keypair
    signed: int = 0
    breaks_at: int | None = None

    @property
    def address(self) -> Pubkey:
        return self._wallet.pubkey()

    def sign(self, message: bytes) -> Signature:
        self.signed += 1
        if self.signed == self.breaks_at:
            raise ValueError("a bug in the signer")
        return KeypairSigner(self._wallet).sign(message)

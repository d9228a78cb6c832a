"""What a trade needs of a key: an address, and signatures of bytes that were read before."""

from typing import NoReturn, Protocol

from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature


class Signer(Protocol):
    """Signs for one address, without waiting."""

    @property
    def address(self) -> Pubkey:
        """The wallet: fee payer, owner of every account, and the only signer."""

    def sign(self, message: bytes) -> Signature:
        """Sign the serialised message of a transaction."""


class KeypairSigner:
    """Signs with a key in memory. It shows only its address and goes nowhere: neither printed, nor pickled, nor copied."""

    __slots__ = ("__address", "__keypair")

    def __init__(self, keypair: Keypair) -> None:
        self.__keypair = keypair
        self.__address = keypair.pubkey()  # derived once: it takes some 30 us

    @property
    def address(self) -> Pubkey:
        """The public half."""
        return self.__address

    def sign(self, message: bytes) -> Signature:
        """Sign the serialised message of a transaction."""
        return self.__keypair.sign_message(message)

    def __repr__(self) -> str:
        return f"KeypairSigner({self.address})"

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a signer holds a secret: it is neither pickled nor copied")

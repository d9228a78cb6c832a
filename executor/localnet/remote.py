"""The market as it stands on another node: what is asked of that node, and its answers as a chain that the Jupiter API reads.

No I/O: `remote_server` carries the questions out.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen
from solders.account import Account
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from executor.errors import ExecutorError
from executor.localnet.market import Market

COMMITMENTS: Final = ("processed", "confirmed")
_SIGNATURE_BYTES: Final = 64
_COUNT_BYTES: Final = 1  # nobody signs with more than 127 keys: a packet has no room for them

Json = Any


class NodeUnusable(ExecutorError):
    """The node cannot be reached, refuses, or answers with something else than what was asked for."""


@frozen(kw_only=True)
class Sight:
    """What was seen at one moment: the vaults, the slot they were read at, and the newest blockhash. A `market.Chain`.

    It has one state, which stands for every commitment.
    """

    at_slot: int
    accounts: Mapping[Pubkey, Account | None]
    blockhash: Hash
    last_valid_block_height: int

    def read(self, address: Pubkey, commitment: str, *, behind: int = 0) -> Account | None:
        """The account as it was seen. Raises KeyError for one that was not looked at."""
        return self.accounts[address]

    def slot(self, commitment: str, *, behind: int = 0) -> int:
        """The slot that the accounts were read at."""
        return self.at_slot

    def latest_blockhash(self, commitment: str) -> tuple[Hash, int]:
        """The newest confirmed blockhash, and its last valid block height."""
        return self.blockhash, self.last_valid_block_height


def vaults(market: Market) -> tuple[Pubkey, ...]:
    """What quotes are made from."""
    return tuple(vault for pool in market.pools.values() for _, vault in pool.vaults)


def questions(addresses: Sequence[Pubkey], commitment: str) -> tuple[bytes, bytes]:
    """The bodies of the two calls that make a sight: the accounts, and the newest blockhash, which is asked for at confirmed."""
    options = {"encoding": "base64", "commitment": commitment}
    accounts = _call("getMultipleAccounts", [[str(address) for address in addresses], options])
    return accounts, _call("getLatestBlockhash", [{"commitment": "confirmed"}])


def read_sight(addresses: Sequence[Pubkey], accounts: bytes, blockhash: bytes) -> Sight:
    """Read the answers to `questions`. Raises `NodeUnusable`."""
    try:
        found, newest = _result(accounts), _result(blockhash)["value"]
        return Sight(
            at_slot=int(found["context"]["slot"]),
            accounts=dict(zip(addresses, map(_account, found["value"]), strict=True)),
            blockhash=Hash.from_string(newest["blockhash"]),
            last_valid_block_height=int(newest["lastValidBlockHeight"]),
        )
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        raise NodeUnusable(f"the node answers with something else than was asked for: {error}") from error


def _call(method: str, params: Json) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


def _result(body: bytes) -> Json:
    answer = json.loads(body)
    if "error" in answer:
        raise NodeUnusable(f"the node refuses: {answer['error']}")
    return answer["result"]


def _account(value: Json) -> Account | None:
    if value is None:
        return None
    data = base64.b64decode(value["data"][0], validate=True)
    return Account(value["lamports"], data, Pubkey.from_string(value["owner"]))


# ---- what a relay reads of a call


def sent_signature(params: Sequence[Json]) -> str | None:
    """The signature that a node answers a sendTransaction with; None when it cannot be read from what is sent."""
    try:
        wire = base64.b64decode(params[0], validate=True)
        return str(Signature(wire[_COUNT_BYTES : _COUNT_BYTES + _SIGNATURE_BYTES]))
    except (IndexError, TypeError, ValueError, binascii.Error):
        return None

"""The chain's side of a test: accounts as bytes, a node's answers as JSON, nodes on loopback, and nodes without sockets."""

import base64
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NoReturn

import trio
from attrs import frozen
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from executor.faults import Fault, Source, TransportError, TransportKind, transport_fault
from executor.log import Log, NullLog
from executor.network.nodes import Nodes
from executor.network.retry import Retry
from executor.network.solana import (
    AccountInfo,
    Accounts,
    BlockhashValidity,
    Commitment,
    EpochInfo,
    LatestBlockhash,
    Node,
    SignatureStatus,
    SignatureStatuses,
    SlotFee,
)
from executor.programs import LOOKUP_TABLE_PROGRAM, SYSTEM_PROGRAM, TOKEN_PROGRAM
from executor.units import Lamports
from tests.support.clients import QUICK, seeded
from tests.support.upstream import Reply, Upstream, open_upstream, rpc_result
from tests.support.values import hash_of

# --- accounts as bytes ---


def token_account_data(*, mint: Pubkey, owner: Pubkey, amount: int, state: int = 1) -> bytes:
    """A token account without extensions: mint, owner, amount, delegate, state, native, delegated amount, close authority."""
    return bytes(mint) + bytes(owner) + amount.to_bytes(8, "little") + bytes(36) + bytes([state]) + bytes(12 + 8 + 36)


def mint_data(*, decimals: int, initialized: bool = True, extensions: Sequence[tuple[int, bytes]] | None = None) -> bytes:
    """A mint; with extensions (Token-2022) padded to an account's length, its type, then type, length and value of each."""
    base = bytes(36) + bytes(8) + bytes([decimals, initialized]) + bytes(36)
    if extensions is None:
        return base
    entries = b"".join(kind.to_bytes(2, "little") + len(v).to_bytes(2, "little") + v for kind, v in extensions)
    return base + bytes(165 - len(base)) + b"\x01" + entries


def table_data(addresses: Sequence[Pubkey]) -> bytes:
    """A lookup table: type 1, never deactivated, last extended in slot 0, no authority, then the addresses from byte 56 on."""
    meta = (1).to_bytes(4, "little") + b"\xff" * 8 + bytes(8) + bytes(1)
    return meta + bytes(56 - len(meta)) + b"".join(map(bytes, addresses))


def wallet_info(lamports: int) -> AccountInfo:
    """An ordinary account."""
    return AccountInfo(lamports=lamports, owner=SYSTEM_PROGRAM, data=b"")


def token_info(mint: Pubkey, owner: Pubkey, amount: int, *, program: Pubkey = TOKEN_PROGRAM, state: int = 1) -> AccountInfo:
    """A token account."""
    data = token_account_data(mint=mint, owner=owner, amount=amount, state=state)
    return AccountInfo(lamports=2_039_280, owner=program, data=data)


def table_info(addresses: Sequence[Pubkey]) -> AccountInfo:
    """A lookup table's account."""
    return AccountInfo(lamports=1, owner=LOOKUP_TABLE_PROGRAM, data=table_data(addresses))


# --- a node's answers as JSON ---


def context(value: object, slot: int = 500) -> dict[str, object]:
    """A result with its context."""
    return {"context": {"apiVersion": "4.3.0", "slot": slot}, "value": value}


def account_json(info: AccountInfo | None) -> dict[str, object] | None:
    """An account as nodes write it."""
    if info is None:
        return None
    return {
        "lamports": info.lamports,
        "owner": str(info.owner),
        "data": [base64.b64encode(info.data).decode(), "base64"],
        "executable": False,
        "rentEpoch": 18446744073709551615,
        "space": len(info.data),
    }


def accounts_reply(*infos: AccountInfo | None, slot: int = 500) -> Reply:
    """The answer to getMultipleAccounts."""
    return rpc_result(context([account_json(info) for info in infos], slot))


def accounts_by_address(held: Mapping[Pubkey, AccountInfo]) -> Callable[[Any], Reply]:
    """Answer getMultipleAccounts from these accounts."""

    def answer(request: Any) -> Reply:
        asked = [Pubkey.from_string(address) for address in request.json["params"][0]]
        return accounts_reply(*(held.get(address) for address in asked))

    return answer


@asynccontextmanager
async def open_nodes(count: int = 1, *, timeout_seconds: float = 5.0) -> AsyncIterator[tuple[Nodes, list[Upstream]]]:
    """That many scripted servers and the nodes behind them."""
    async with AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(open_upstream()) for _ in range(count)]
        clients = [Node(up.url, name=f"node{index}", timeout_seconds=timeout_seconds) for index, up in enumerate(upstreams)]
        nodes = Nodes(clients, retry=QUICK, rng=seeded(), log=NullLog())
        stack.push_async_callback(nodes.aclose)
        yield nodes, upstreams


# --- nodes without sockets: for tests of time ---


@frozen
class Call:
    """A call that a fake node got, and when."""

    at: float
    operation: str
    asked: object = None


class FakeNode(Node):
    """A node whose answers are attributes. It takes no time unless `takes_seconds` says so, so that a mock clock may jump."""

    def __init__(self, name: str = "fake") -> None:
        super().__init__("http://127.0.0.1:9", name=name, timeout_seconds=1.0)
        self.calls: list[Call] = []
        self.failing = False
        """Every call ends with a timeout."""
        self.takes_seconds = 0.0
        self.height = 1_000
        self.first_available = 0
        self.history_refusal: Fault | None = None
        """What getFirstAvailableBlock fails with."""
        self.genesis = hash_of(0)
        self.context_slot = 1_100
        self.statuses_slot: int | None = None
        """As of which slot statuses are told, where that is another machine."""
        self.validity_slot: int | None = None
        """The same for blockhashes."""
        self.valid_blockhashes: set[Hash] = set()
        self.recent: dict[Signature, SignatureStatus] = {}
        self.history: dict[Signature, SignatureStatus] = {}
        self.fees: tuple[SlotFee, ...] = ()
        self.held: dict[Pubkey, AccountInfo] = {}

    def called(self, operation: str) -> list[Call]:
        """All calls of an operation."""
        return [call for call in self.calls if call.operation == operation]

    async def latest_blockhash(self, commitment: Commitment = "confirmed") -> LatestBlockhash:
        """A blockhash that belongs to the height."""
        await self._answer("getLatestBlockhash", commitment)
        self._show_slot()
        return LatestBlockhash(
            blockhash=hash_of(self.height), last_valid_block_height=self.height + 150, context_slot=self.context_slot
        )

    async def epoch_info(self, commitment: Commitment = "confirmed") -> EpochInfo:
        """Height and slot, whatever the commitment."""
        await self._answer("getEpochInfo", commitment)
        return EpochInfo(slot=self.context_slot, block_height=self.height)

    async def blockhash_validity(
        self, blockhash: Hash, *, commitment: Commitment = "confirmed", min_context_slot: int | None = None
    ) -> BlockhashValidity:
        """Valid are those that were added to `valid_blockhashes`."""
        await self._answer("isBlockhashValid", (blockhash, commitment, min_context_slot))
        return BlockhashValidity(slot=self.validity_slot or self.context_slot, valid=blockhash in self.valid_blockhashes)

    async def slot(self, commitment: Commitment = "confirmed") -> int:
        """The slot, whatever the commitment."""
        await self._answer("getSlot", commitment)
        self._show_slot()
        return self.context_slot

    async def first_available_block(self) -> int:
        """From where on the history is whole."""
        await self._answer("getFirstAvailableBlock")
        if self.history_refusal is not None:
            raise TransportError(endpoint=self.endpoint, operation="getFirstAvailableBlock", fault=self.history_refusal)
        return self.first_available

    async def genesis_hash(self) -> Hash:
        """Of which cluster it is."""
        await self._answer("getGenesisHash")
        return self.genesis

    async def health(self) -> None:
        """Healthy unless failing."""
        await self._answer("getHealth")

    async def signature_statuses(self, signatures: Sequence[Signature], *, search_history: bool = False) -> SignatureStatuses:
        """The recent ones; with `search_history` all."""
        await self._answer("history" if search_history else "getSignatureStatuses", tuple(signatures))
        known = {**self.history, **self.recent} if search_history else self.recent
        slot = self.statuses_slot or self.context_slot
        return SignatureStatuses(slot=slot, values=tuple(known.get(signature) for signature in signatures))

    async def prioritization_fees(self, addresses: Sequence[Pubkey]) -> tuple[SlotFee, ...]:
        """The same fees on all accounts."""
        await self._answer("getRecentPrioritizationFees", tuple(addresses))
        return self.fees

    async def minimum_balance(self, size_bytes: int) -> Lamports:
        """Mainnet's formula."""
        await self._answer("getMinimumBalanceForRentExemption", size_bytes)
        return Lamports((size_bytes + 128) * 6_960)

    async def accounts(
        self, addresses: Sequence[Pubkey], *, commitment: Commitment = "confirmed", min_context_slot: int | None = None
    ) -> Accounts:
        """What is held."""
        await self._answer("getMultipleAccounts", tuple(addresses))
        return Accounts(slot=self.context_slot, values=tuple(self.held.get(address) for address in addresses))

    def _show_slot(self) -> None:
        self.endpoint_health = self.endpoint_health.at_slot(self.context_slot)

    async def _answer(self, operation: str, asked: object = None) -> None:
        self.calls.append(Call(trio.current_time(), operation, asked))
        await trio.sleep(self.takes_seconds)
        if self.failing:
            self._fail(operation)
        self.endpoint_health = self.endpoint_health.answered(trio.current_time())

    def _fail(self, operation: str) -> NoReturn:
        fault = transport_fault(TransportKind.TIMEOUT, Source.NODE)
        error = TransportError(endpoint=self.endpoint, operation=operation, fault=fault)
        self.endpoint_health = self.endpoint_health.failed(error, trio.current_time())
        raise error


def any_node(_node: Node) -> bool:
    """For who does not ask of which cluster a node is."""
    return True


def fake_nodes(*nodes: Node, log: Log | None = None, retry: Retry | None = None) -> Nodes:
    """The real `Nodes` over fake ones, without retries: a test of time sees each call."""
    return Nodes(nodes, retry=retry or Retry(max_retries=0), rng=seeded(), log=log or NullLog())

"""One JSON-RPC node. Typed questions, frozen answers; a missing or wrong field is a TransportError that names it.

Calls are made once: whoever calls decides about other nodes and about retries (`Nodes`).
"""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import trio
from attrs import frozen
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from executor.faults import Fault, JsonValue, Source, TransportError, answer_fault, http_fault, json_text, rpc_fault
from executor.network.health import NODE_PREFIX, EndpointHealth, OnFailure, tell_nobody
from executor.network.http import Http
from executor.network.reader import Reader, WrongField, read_json
from executor.network.transport import HttpAnswer, MakeTransport
from executor.network.trio_transport import TrioTransport
from executor.units import Lamports, MicroLamports

Commitment = Literal["processed", "confirmed", "finalized"]

MAX_SIGNATURES_PER_CALL = 256
MAX_ACCOUNTS_PER_CALL = 100
MAX_FEE_ACCOUNTS_PER_CALL = 128
"""Limits of the JSON-RPC interface."""

_OK = 200
_CODES_WITHOUT_ID = frozenset({-32700, -32600})
"""The node could not read the call, or its id: all others know it, says JSON-RPC 2.0."""
# Some providers answer these with a JSON-RPC error in the body, which says more.
_STATUS_WITH_RPC_ERROR = frozenset({400, 500})

_ENCODER = json.JSONEncoder(separators=(",", ":"))

T = TypeVar("T")


@frozen(kw_only=True)
class LatestBlockhash:
    """A blockhash, and the slot of the bank that gave it."""

    blockhash: Hash
    last_valid_block_height: int
    context_slot: int


@frozen(kw_only=True)
class AccountInfo:
    """An account of the chain."""

    lamports: int
    owner: Pubkey
    data: bytes
    executable: bool = False


@frozen(kw_only=True)
class Accounts:
    """Accounts in the order in which they were asked for; None does not exist."""

    slot: int
    values: tuple[AccountInfo | None, ...]


@frozen(kw_only=True)
class TokenBalance:
    """What a token account of a transaction holds."""

    account_index: int
    mint: Pubkey
    owner: Pubkey | None
    """None: the node does not say."""
    amount: int


@frozen(kw_only=True)
class BalanceSheet:
    """What every account of a transaction held before and after it, in the order of its keys."""

    keys: tuple[Pubkey, ...]
    """Static keys, then writable, then read-only addresses from lookup tables."""
    pre_lamports: tuple[int, ...]
    post_lamports: tuple[int, ...]
    pre_tokens: tuple[TokenBalance, ...]
    post_tokens: tuple[TokenBalance, ...]


@frozen(kw_only=True)
class Simulation:
    """What a transaction would have done."""

    slot: int
    error: JsonValue
    """The TransactionError, or None."""
    logs: tuple[str, ...]
    units_consumed: int
    fee_lamports: Lamports
    """0 where `balances` is None."""
    balances: BalanceSheet | None
    """None where the node does not report balances and fee (Agave does since 3.1), or the transaction did not load."""

    @property
    def error_text(self) -> str | None:
        """The error as JSON."""
        return None if self.error is None else json_text(self.error)


@frozen(kw_only=True)
class SignatureStatus:
    """What a node knows of a signature."""

    slot: int
    confirmation: Commitment
    error: JsonValue

    @property
    def is_confirmed(self) -> bool:
        """Voted for by two thirds of the stake, or final; `processed` may vanish with its fork."""
        return self.confirmation != "processed"

    @property
    def error_text(self) -> str | None:
        """The error as JSON."""
        return None if self.error is None else json_text(self.error)


@frozen(kw_only=True)
class SignatureStatuses:
    """What a node knows of signatures, in the order in which they were asked for; None = unknown here."""

    slot: int
    """As of which slot; an older one proves nothing of what came later."""
    values: tuple[SignatureStatus | None, ...]


@frozen(kw_only=True)
class EpochInfo:
    """Where a node stands."""

    slot: int
    block_height: int
    """The number of blocks below this one; what blockhashes expire by."""


@frozen(kw_only=True)
class BlockhashValidity:
    """Whether a transaction with a blockhash could land in the block after this slot."""

    slot: int
    valid: bool


@frozen(kw_only=True)
class ConfirmedTransaction:
    """A transaction that is in a confirmed block, whether it failed or not."""

    slot: int
    error: JsonValue
    fee_lamports: Lamports
    """Charged also when it failed; tips are not in it."""
    signature_count: int
    balances: BalanceSheet
    logs: tuple[str, ...]
    units_consumed: int

    @property
    def account_keys(self) -> tuple[Pubkey, ...]:
        """All of them, those from lookup tables included."""
        return self.balances.keys

    @property
    def error_text(self) -> str | None:
        """The error as JSON."""
        return None if self.error is None else json_text(self.error)


@frozen(kw_only=True)
class SlotFee:
    """The lowest price per compute unit that landed in a slot; 0 may also mean that nothing did."""

    slot: int
    price_micro_lamports: MicroLamports


@frozen
class _Call:
    """One request: whatever is read as its answer must be its own, for a proxy in between may mix them up."""

    method: str
    id: int


class Node:
    """A node behind one URL. Every call raises TransportError, and may have been carried out if it is cancelled."""

    def __init__(self, url: str, *, name: str, timeout_seconds: float, transport: MakeTransport = TrioTransport) -> None:
        self.name = name
        self._http = Http(url, source=Source.NODE, timeout_seconds=timeout_seconds, transport=transport)
        self.endpoint_health = EndpointHealth(name=name, endpoint=self._http.endpoint)
        self.on_failure: OnFailure = tell_nobody
        self._last_id = 0

    @property
    def endpoint(self) -> str:
        """scheme://host:port."""
        return self._http.endpoint

    async def latest_blockhash(self, commitment: Commitment = "confirmed") -> LatestBlockhash:
        """Fetch the newest blockhash."""
        return await self._call("getLatestBlockhash", [{"commitment": commitment}], self._read_blockhash)

    async def epoch_info(self, commitment: Commitment = "confirmed") -> EpochInfo:
        """Fetch slot and block height together: two calls behind one URL may be answered by two machines."""
        return await self._call("getEpochInfo", [{"commitment": commitment}], self._read_epoch_info)

    async def blockhash_validity(
        self, blockhash: Hash, *, commitment: Commitment = "confirmed", min_context_slot: int | None = None
    ) -> BlockhashValidity:
        """Ask whether a blockhash is young enough; False as well where it was never heard of."""
        options = _options(commitment=commitment, minContextSlot=min_context_slot)

        def read(result: Reader) -> BlockhashValidity:
            return BlockhashValidity(slot=self._context_slot(result), valid=result.get("value").flag())

        return await self._call("isBlockhashValid", [str(blockhash), options], read)

    async def slot(self, commitment: Commitment = "confirmed") -> int:
        """Fetch the newest slot."""
        return await self._call("getSlot", [{"commitment": commitment}], self._read_slot)

    async def first_available_block(self) -> int:
        """Fetch the slot of the oldest block that the node's history still holds."""
        return await self._call("getFirstAvailableBlock", [], Reader.integer)

    async def genesis_hash(self) -> Hash:
        """Fetch what tells one cluster from another."""
        return await self._call("getGenesisHash", [], Reader.blockhash)

    async def health(self) -> None:
        """Ask whether the node keeps up with the cluster; raise if it does not."""
        await self._call("getHealth", [], _read_health)

    async def accounts(
        self, addresses: Sequence[Pubkey], *, commitment: Commitment = "confirmed", min_context_slot: int | None = None
    ) -> Accounts:
        """Fetch at most MAX_ACCOUNTS_PER_CALL accounts, all of the same slot."""
        _require_at_most(MAX_ACCOUNTS_PER_CALL, addresses)
        options = _options(encoding="base64", commitment=commitment, minContextSlot=min_context_slot)

        def read(result: Reader) -> Accounts:
            return Accounts(slot=self._context_slot(result), values=_accounts(result.get("value"), len(addresses)))

        return await self._call("getMultipleAccounts", [[str(address) for address in addresses], options], read)

    async def simulate(
        self, wire: bytes, *, commitment: Commitment = "confirmed", min_context_slot: int | None = None
    ) -> Simulation:
        """Run a transaction with a fresh blockhash and without looking at its signatures."""
        options = _options(
            encoding="base64",
            commitment=commitment,
            replaceRecentBlockhash=True,
            sigVerify=False,
            minContextSlot=min_context_slot,
        )
        static_keys = tuple(VersionedTransaction.from_bytes(wire).message.account_keys)

        def read(result: Reader) -> Simulation:
            return _simulation(self._context_slot(result), result.get("value"), static_keys)

        return await self._call("simulateTransaction", [_base64(wire), options], read)

    async def send(self, wire: bytes, *, skip_preflight: bool, min_context_slot: int | None = None) -> str:
        """Hand the bytes to the node, which forwards them once; return the signature. Success says nothing about landing.

        An error proves nothing either; whether it is a refusal of these bytes tells `faults.after_send`.
        """
        options = _options(
            encoding="base64",
            skipPreflight=skip_preflight,
            preflightCommitment="confirmed",
            maxRetries=0,
            minContextSlot=min_context_slot,
        )
        own = str(VersionedTransaction.from_bytes(wire).signatures[0])

        def read(result: Reader) -> str:
            if result.signature() != own:
                result.refuse("is not the signature of what was sent")
            return own

        return await self._call("sendTransaction", [_base64(wire), options], read)

    async def signature_statuses(self, signatures: Sequence[Signature], *, search_history: bool = False) -> SignatureStatuses:
        """Look at most MAX_SIGNATURES_PER_CALL signatures up, in the recent cache or in all history."""
        _require_at_most(MAX_SIGNATURES_PER_CALL, signatures)
        options = {"searchTransactionHistory": search_history}

        def read(result: Reader) -> SignatureStatuses:
            values = result.get("value").exactly(len(signatures))
            return SignatureStatuses(
                slot=self._context_slot(result),
                values=tuple(None if value.raw is None else _status(value) for value in values),
            )

        return await self._call("getSignatureStatuses", [[str(signature) for signature in signatures], options], read)

    async def transaction(self, signature: Signature) -> ConfirmedTransaction | None:
        """Fetch a confirmed transaction; None: this node does not have it (yet). Another one in its place is refused."""
        options = {"encoding": "json", "commitment": "confirmed", "maxSupportedTransactionVersion": 0}

        def read(result: Reader) -> ConfirmedTransaction | None:
            return None if result.raw is None else confirmed_transaction(result, signature)

        return await self._call("getTransaction", [str(signature), options], read)

    async def prioritization_fees(self, addresses: Sequence[Pubkey]) -> tuple[SlotFee, ...]:
        """Fetch the fees of recent slots on at most MAX_FEE_ACCOUNTS_PER_CALL writable accounts."""
        _require_at_most(MAX_FEE_ACCOUNTS_PER_CALL, addresses)
        return await self._call("getRecentPrioritizationFees", [[str(address) for address in addresses]], _slot_fees)

    async def minimum_balance(self, size_bytes: int) -> Lamports:
        """Fetch what makes an account of this size exempt from rent."""
        return await self._call("getMinimumBalanceForRentExemption", [size_bytes], _lamports)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def _call(self, method: str, params: Sequence[object], read: Callable[[Reader], T]) -> T:
        self._last_id += 1
        call = _Call(method, self._last_id)
        document = {"jsonrpc": "2.0", "id": call.id, "method": method, "params": params}
        body = _ENCODER.encode(document).encode()
        try:
            answer = await self._http.request("POST", operation=method, body=body)
            value = self._read(call, answer, read)
        except TransportError as error:
            self.endpoint_health = self.endpoint_health.failed(error, trio.current_time())
            self.on_failure(NODE_PREFIX + self.name, error)
            raise
        self.endpoint_health = self.endpoint_health.answered(trio.current_time())
        return value

    def _read(self, call: _Call, answer: HttpAnswer, read: Callable[[Reader], T]) -> T:
        if answer.status != _OK:
            raise self._http.error(call.method, self._status_fault(call, answer), answer.status)
        try:
            document = read_json(answer.body)
            fault = self._error_fault(call, document)
            if fault is None:
                _require_id(call, document.get("id"))
                return read(document.get("result"))
        except WrongField as wrong:
            fault = answer_fault(Source.NODE, str(wrong))
        raise self._http.error(call.method, fault, answer.status)

    def _status_fault(self, call: _Call, answer: HttpAnswer) -> Fault:
        if answer.status in _STATUS_WITH_RPC_ERROR:
            try:
                fault = self._error_fault(call, read_json(answer.body))
            except WrongField:
                fault = None
            if fault is not None:
                return fault
        return http_fault(answer.status, answer.headers, Source.NODE)

    def _error_fault(self, call: _Call, document: Reader) -> Fault | None:
        """Classify the error object of an answer, if there is one.

        An echoed key is cut out before the words are cut to length: half of one would not be recognised.
        """
        error = document.maybe("error")
        if error is None:
            return None
        code, data = error.get("code").raw, error.maybe("data")
        if type(code) is not int:
            error.get("code").refuse("is not an integer")
        call_id = document.maybe("id")
        if call_id is not None:
            _require_id(call, call_id)
        elif call.method == "sendTransaction" and code not in _CODES_WITHOUT_ID:
            raise WrongField("the error has no id: it may be the answer to another call")
        return rpc_fault(code, self._http.redacted(error.get("message").text()), None if data is None else data.raw)

    def _context_slot(self, result: Reader) -> int:
        slot = result.get("context").get("slot").integer()
        self.endpoint_health = self.endpoint_health.at_slot(slot)
        return slot

    def _read_slot(self, result: Reader) -> int:
        slot = result.integer()
        self.endpoint_health = self.endpoint_health.at_slot(slot)
        return slot

    def _read_epoch_info(self, result: Reader) -> EpochInfo:
        return EpochInfo(slot=self._read_slot(result.get("absoluteSlot")), block_height=result.get("blockHeight").integer())

    def _read_blockhash(self, result: Reader) -> LatestBlockhash:
        value = result.get("value")
        return LatestBlockhash(
            blockhash=value.get("blockhash").blockhash(),
            last_valid_block_height=value.get("lastValidBlockHeight").integer(),
            context_slot=self._context_slot(result),
        )


def _require_id(call: _Call, call_id: Reader) -> None:
    if call_id.raw != call.id:
        call_id.refuse("belongs to another call")


def _options(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def _base64(wire: bytes) -> str:
    return base64.b64encode(wire).decode()


def _require_at_most(limit: int, asked: Sequence[object]) -> None:
    if len(asked) > limit:
        raise ValueError(f"{len(asked)} in one call; nodes take {limit}")


def _read_health(result: Reader) -> None:
    if result.raw != "ok":
        result.refuse("is not ok")


def _lamports(result: Reader) -> Lamports:
    return Lamports(result.integer())


def _accounts(array: Reader, count: int) -> tuple[AccountInfo | None, ...]:
    return tuple(None if item.raw is None else _account(item) for item in array.exactly(count))


def _account(account: Reader) -> AccountInfo:
    return AccountInfo(
        lamports=account.get("lamports").integer(),
        owner=account.get("owner").pubkey(),
        data=account.get("data").encoded_bytes(),
        executable=account.get("executable").flag(),
    )


def _status(status: Reader) -> SignatureStatus:
    return SignatureStatus(slot=status.get("slot").integer(), confirmation=_confirmation(status), error=status.get("err").raw)


def _confirmation(status: Reader) -> Commitment:
    """Optional in the interface; without it we claim no more than `processed`."""
    told = status.maybe("confirmationStatus")
    match None if told is None else told.raw:
        case "confirmed":
            return "confirmed"
        case "finalized":
            return "finalized"
        case None | "processed":
            return "processed"
        case _:
            status.get("confirmationStatus").refuse("is not a commitment")


def _slot_fees(result: Reader) -> tuple[SlotFee, ...]:
    return tuple(
        SlotFee(slot=item.get("slot").integer(), price_micro_lamports=MicroLamports(item.get("prioritizationFee").integer()))
        for item in result.items()
    )


def _simulation(slot: int, value: Reader, static_keys: tuple[Pubkey, ...]) -> Simulation:
    error = value.get("err").raw
    balances = _simulated_balances(value, static_keys)
    return Simulation(
        slot=slot,
        error=error,
        logs=_logs(value.maybe("logs")),
        # A transaction that did not load used none, and some nodes then leave it out.
        units_consumed=0 if error is not None and value.maybe("unitsConsumed") is None else value.get("unitsConsumed").integer(),
        fee_lamports=Lamports(0 if balances is None else value.get("fee").integer()),
        balances=balances,
    )


def _simulated_balances(value: Reader, static_keys: tuple[Pubkey, ...]) -> BalanceSheet | None:
    if value.maybe("preBalances") is None or value.maybe("fee") is None:
        return None
    return _balances(value, (*static_keys, *_loaded_addresses(value)))


def _logs(logs: Reader | None) -> tuple[str, ...]:
    return () if logs is None else tuple(line.text() for line in logs.items())


def _loaded_addresses(meta: Reader) -> list[Pubkey]:
    """The addresses from lookup tables, in the order in which they follow the static keys."""
    loaded = meta.maybe("loadedAddresses")
    if loaded is None:
        return []
    return [item.pubkey() for kind in ("writable", "readonly") for item in loaded.get(kind).items()]


def _balances(meta: Reader, keys: tuple[Pubkey, ...]) -> BalanceSheet:
    def tokens(name: str) -> tuple[TokenBalance, ...]:
        rows = meta.maybe(name)
        return () if rows is None else tuple(_token_balance(row, len(keys)) for row in rows.items())

    return BalanceSheet(
        keys=keys,
        pre_lamports=meta.get("preBalances").integers(len(keys)),
        post_lamports=meta.get("postBalances").integers(len(keys)),
        pre_tokens=tokens("preTokenBalances"),
        post_tokens=tokens("postTokenBalances"),
    )


def _token_balance(row: Reader, key_count: int) -> TokenBalance:
    owner = row.maybe("owner")
    return TokenBalance(
        account_index=row.get("accountIndex").integer(key_count - 1),
        mint=row.get("mint").pubkey(),
        owner=None if owner is None else owner.pubkey(),
        amount=row.get("uiTokenAmount").get("amount").amount(),
    )


def confirmed_transaction(result: Reader, signature: Signature) -> ConfirmedTransaction:
    """Read a transaction with this signature; raises WrongField, also if it is another one."""
    meta, transaction = result.get("meta"), result.get("transaction")
    signatures = transaction.get("signatures").items()
    if not signatures or signatures[0].raw != str(signature):
        transaction.get("signatures").refuse("are those of another transaction")
    static_keys = [key.pubkey() for key in transaction.get("message").get("accountKeys").items()]
    return ConfirmedTransaction(
        slot=result.get("slot").integer(),
        error=meta.get("err").raw,
        fee_lamports=_lamports(meta.get("fee")),
        signature_count=len(signatures),
        balances=_balances(meta, (*static_keys, *_loaded_addresses(meta))),
        logs=_logs(meta.maybe("logMessages")),
        units_consumed=0 if (units := meta.maybe("computeUnitsConsumed")) is None else units.integer(),
    )

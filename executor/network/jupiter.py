"""Jupiter's swap API: a quote, and the instructions for it. Answers are held against what was asked before anyone uses them."""

import json
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio
from attrs import frozen
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from executor.faults import Fault, Source, TransportError, answer_fault, jupiter_fault, printable, simulation_error_fault
from executor.log import Log
from executor.model import Quote, SwapInstructions
from executor.network.health import JUPITER, EndpointHealth, OnFailure, tell_nobody
from executor.network.http import Http
from executor.network.reader import Reader, WrongField, read_json
from executor.network.retry import Retry, retrying
from executor.network.transport import HttpAnswer, MakeTransport
from executor.network.trio_transport import TrioTransport
from executor.units import minimum_out

_OK = 200
_EXACT_IN = "ExactIn"
_MAX_NEW_FIELDS = 64
"""New names that are told of; an upstream that invents names must not fill our memory."""

# What was there when this was written, documented or seen. New fields are told of once and otherwise let be.
# fmt: off
QUOTE_FIELDS = frozenset(
    {
        "inputMint", "inAmount", "outputMint", "outAmount", "otherAmountThreshold", "swapMode", "slippageBps", "platformFee",
        "priceImpactPct", "routePlan", "contextSlot", "timeTaken", "swapUsdValue", "simplerRouteUsed",
        "mostReliableAmmsQuoteReport", "longtailMarketQuoteReport", "useIncurredSlippageForQuoting", "useRewards",
        "otherRoutePlans", "loadedLongtailToken", "instructionVersion", "transactionVersion", "computedAutoSlippage",
        "scoreReport", "error", "errorCode",
    }
)
SWAP_INSTRUCTIONS_FIELDS = frozenset(
    {
        "tokenLedgerInstruction", "computeBudgetInstructions", "setupInstructions", "swapInstruction", "cleanupInstruction",
        "otherInstructions", "addressLookupTableAddresses", "prioritizationFeeLamports", "computeUnitLimit",
        "prioritizationType", "simulationSlot", "simulationError", "dynamicSlippageReport", "addressesByLookupTableAddress",
        "blockhashWithMetadata", "timeTaken", "createAtaTimeTaken", "loadedAccountsDataSize", "loadedAccountsDataSizeLimit",
        "transactionVersion", "error", "errorCode",
    }
)
# fmt: on

T = TypeVar("T")


class Jupiter:
    """The API behind one base URL. Both calls only read, so transient faults are retried; they raise TransportError."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None,
        timeout_seconds: float,
        retry: Retry,
        rng: random.Random,
        log: Log,
        transport: MakeTransport = TrioTransport,
    ) -> None:
        headers = {"x-api-key": api_key} if api_key else {}
        self._http = Http(url, source=Source.JUPITER, timeout_seconds=timeout_seconds, headers=headers, transport=transport)
        self._retry = retry
        self._rng = rng
        self._log = log
        self._new_fields: set[str] = set()
        self.on_failure: OnFailure = tell_nobody
        self.endpoint_health = EndpointHealth(name=JUPITER, endpoint=self._http.endpoint)

    @property
    def endpoint(self) -> str:
        """scheme://host:port."""
        return self._http.endpoint

    async def quote(
        self,
        *,
        input_mint: Pubkey,
        output_mint: Pubkey,
        in_amount: int,
        slippage_bps: int,
        platform_fee_bps: int = 0,
        exclude_dexes: Sequence[str] = (),
        max_accounts: int | None = None,
    ) -> Quote:
        """Ask what an exact input brings. JUPITER_ANSWER_INVALID names the field that is not what was asked for."""
        asked = _Asked(
            input_mint=input_mint,
            output_mint=output_mint,
            in_amount=in_amount,
            slippage_bps=slippage_bps,
            platform_fee_bps=platform_fee_bps,
            exclude_dexes=exclude_dexes,
            max_accounts=max_accounts,
        )

        async def ask() -> HttpAnswer:
            return await self._http.request("GET", "quote", operation="quote", query=asked.query())

        def read(document: Reader, raw: bytes) -> Quote:
            self._tell_new_fields("quote", document, QUOTE_FIELDS)
            return _quote(document, raw, asked)

        return await self._call("quote", ask, read)

    async def swap_instructions(
        self,
        *,
        user: Pubkey,
        quote: Quote,
        use_shared_accounts: bool | None,
        fee_account: Pubkey | None = None,
        tracking_account: Pubkey | None = None,
    ) -> SwapInstructions:
        """Ask for the instructions of a quote, which goes back byte for byte. None lets the router decide on shared accounts.

        Jupiter's compute budget is dropped: two of them would be one too many.
        """
        operation = "swap-instructions"
        body = _swap_body(
            quote.raw,
            userPublicKey=str(user),
            wrapAndUnwrapSol=True,
            useSharedAccounts=use_shared_accounts,
            feeAccount=None if fee_account is None else str(fee_account),
            trackingAccount=None if tracking_account is None else str(tracking_account),
        )

        async def ask() -> HttpAnswer:
            return await self._http.request("POST", operation, operation=operation, body=body)

        def read(document: Reader, raw: bytes) -> SwapInstructions:
            self._tell_new_fields(operation, document, SWAP_INSTRUCTIONS_FIELDS)
            return _swap_instructions(document)

        return await self._call(operation, ask, read)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def _call(self, operation: str, ask: Callable[[], Awaitable[HttpAnswer]], read: Callable[[Reader, bytes], T]) -> T:
        async def once() -> T:
            try:
                value = self._read(operation, await ask(), read)
            except TransportError as error:
                self.endpoint_health = self.endpoint_health.failed(error, trio.current_time())
                self.on_failure(JUPITER, error)
                raise
            self.endpoint_health = self.endpoint_health.answered(trio.current_time())
            return value

        return await retrying(once, policy=self._retry, rng=self._rng, log=self._log, operation=operation)

    def _read(self, operation: str, answer: HttpAnswer, read: Callable[[Reader, bytes], T]) -> T:
        found = self._value_or_fault(answer, read)
        if not isinstance(found, Fault):
            return found
        error = self._http.error(operation, found, answer.status)
        self._log.warning(
            "jupiter.refused",
            operation=operation,
            code=found.code.name,
            status=answer.status,
            problem=error.fault.detail,
            gateway_request_id=self._shown(answer.headers.get("x-api-gateway-request-id", "")),
        )
        raise error

    def _value_or_fault(self, answer: HttpAnswer, read: Callable[[Reader, bytes], T]) -> T | Fault:
        """Judge an answer; an error may come with status 200 as well."""
        if answer.status != _OK:
            return self._refusal(answer)
        try:
            document = read_json(answer.body)
        except WrongField as wrong:  # cut short on its way, perhaps: worth another try
            return answer_fault(Source.JUPITER, str(wrong))
        try:
            if document.maybe("error") is not None or document.maybe("errorCode") is not None:
                return self._refusal(answer)
            failed = document.maybe("simulationError")
            return read(document, answer.body) if failed is None else simulation_error_fault(failed.raw)
        except WrongField as wrong:
            return answer_fault(Source.JUPITER, str(wrong), repeat=False)

    def _refusal(self, answer: HttpAnswer) -> Fault:
        # An echoed key is cut out before the words are cut to length: half of one would not be recognised.
        words = self._http.redacted(answer.body.decode(errors="replace"))
        return jupiter_fault(answer.status, words.encode(), answer.headers)

    def _tell_new_fields(self, operation: str, document: Reader, known: frozenset[str]) -> None:
        for name in document.names():
            told = f"{operation}.{name}"
            if name not in known and told not in self._new_fields and len(self._new_fields) < _MAX_NEW_FIELDS:
                self._new_fields.add(told)
                self._log.info("jupiter.new_field", operation=operation, field=self._shown(name))

    def _shown(self, text: str) -> str:
        """Make an upstream's words fit for a log."""
        return printable(self._http.redacted(text))


@frozen(kw_only=True)
class _Asked:
    """What a quote was asked for."""

    input_mint: Pubkey
    output_mint: Pubkey
    in_amount: int
    slippage_bps: int
    platform_fee_bps: int
    exclude_dexes: Sequence[str]
    max_accounts: int | None

    def query(self) -> dict[str, str]:
        fields: dict[str, object] = {
            "inputMint": self.input_mint,
            "outputMint": self.output_mint,
            "amount": self.in_amount,
            "slippageBps": self.slippage_bps,
            "swapMode": _EXACT_IN,
            "restrictIntermediateTokens": "true",  # fewer failures, and the API's own default
            "platformFeeBps": self.platform_fee_bps or None,
            "excludeDexes": ",".join(self.exclude_dexes) or None,
            "maxAccounts": self.max_accounts,
        }
        return {name: str(value) for name, value in fields.items() if value is not None}


def _quote(document: Reader, raw: bytes, asked: _Asked) -> Quote:
    """Read a quote and hold it against the question. Raises WrongField."""
    _matching(document.get("swapMode"), Reader.text, _EXACT_IN)
    slippage_bps = _matching(document.get("slippageBps"), Reader.integer, asked.slippage_bps)
    out_amount = document.get("outAmount").amount()
    if out_amount == 0:
        document.get("outAmount").refuse("is 0: the swap would bring nothing")
    return Quote(
        input_mint=_matching(document.get("inputMint"), Reader.pubkey, asked.input_mint),
        output_mint=_matching(document.get("outputMint"), Reader.pubkey, asked.output_mint),
        in_amount=_matching(document.get("inAmount"), Reader.amount, asked.in_amount),
        out_amount=out_amount,
        other_amount_threshold=_matching(
            document.get("otherAmountThreshold"), Reader.amount, minimum_out(out_amount, slippage_bps)
        ),
        slippage_bps=slippage_bps,
        platform_fee_bps=_platform_fee_bps(document, asked.platform_fee_bps),
        context_slot=document.get("contextSlot").integer(),
        route=tuple(hop.get("swapInfo").get("label").text() for hop in document.get("routePlan").items()),
        raw=raw,
    )


def _platform_fee_bps(document: Reader, asked: int) -> int:
    """No fee may be written as null or as 0."""
    fee = document.maybe("platformFee")
    if fee is None and asked:
        document.get("platformFee").refuse(f"is not {asked} bps")
    return 0 if fee is None else _matching(fee.get("feeBps"), Reader.integer, asked)


def _matching(field: Reader, read: Callable[[Reader], T], asked: T) -> T:
    found = read(field)
    if found != asked:
        field.refuse(f"is not {asked}")
    return found


def _swap_body(quote: bytes, **fields: object) -> bytes:
    rest = json.dumps({name: value for name, value in fields.items() if value is not None})
    return b'{"quoteResponse":' + quote + b"," + rest.encode()[1:]


def _swap_instructions(document: Reader) -> SwapInstructions:
    ledger, cleanup = document.maybe("tokenLedgerInstruction"), document.maybe("cleanupInstruction")
    if ledger is not None:
        ledger.refuse("is there, though no token ledger was asked for")
    return SwapInstructions(
        setup=_instructions(document.get("setupInstructions")),
        swap=_instruction(document.get("swapInstruction")),
        cleanup=() if cleanup is None else (_instruction(cleanup),),
        other=() if (other := document.maybe("otherInstructions")) is None else _instructions(other),
        lookup_tables=tuple(item.pubkey() for item in document.get("addressLookupTableAddresses").items()),
    )


def _instructions(array: Reader) -> tuple[Instruction, ...]:
    return tuple(_instruction(item) for item in array.items())


def _instruction(instruction: Reader) -> Instruction:
    accounts = [
        AccountMeta(
            account.get("pubkey").pubkey(),
            is_signer=account.get("isSigner").flag(),
            is_writable=account.get("isWritable").flag(),
        )
        for account in instruction.get("accounts").items()
    ]
    return Instruction(instruction.get("programId").pubkey(), instruction.get("data").base64_bytes(), accounts)

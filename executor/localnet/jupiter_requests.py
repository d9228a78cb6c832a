"""Reading what callers of the swap API send: query parameters and JSON bodies, with the refusals of the real API.

The sentences follow Rust's parsers, which the real API shows through: callers match on them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from solders.pubkey import Pubkey

from executor.localnet.http import HttpRequest
from executor.localnet.market import Market, Path, Step
from executor.localnet.quoting import MAX_ACCOUNTS, QuoteRequest, Refusal, SwapMode
from executor.localnet.swapping import LEVEL_PRICES, Priority, Quoted, SwapRequest
from executor.localnet.tokens import Token
from executor.units import U64_MAX

U8_MAX: Final = 2**8 - 1
U16_MAX: Final = 2**16 - 1
MAX_HOPS: Final = 2
T = TypeVar("T")

_U64_DIGITS: Final = 20
_BASE58: Final = frozenset("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")
_BASE58_KEY_CHARACTERS: Final = 44  # at most


# ---- /quote


def read_quote_request(query: Mapping[str, str], market: Market) -> QuoteRequest:
    """Read the parameters of a quote. Raises `Refusal`."""
    parameters = _Query(query)
    in_mint, out_mint = parameters.key("inputMint"), parameters.key("outputMint")
    amount = parameters.integer("amount", U64_MAX)
    mode = parameters.choice("swapMode", {mode.value: mode for mode in SwapMode}, SwapMode.EXACT_IN)
    dexes, excluded_dexes = parameters.names("dexes"), parameters.names("excludeDexes")
    if dexes and excluded_dexes:
        raise Refusal("dexes and excludeDexes are mutually exclusive", "NOT_SUPPORTED")
    if parameters.choice("instructionVersion", {"V1": 1, "V2": 2}, 1) != 1:
        raise Refusal("instructionVersion V2 is not supported", "NOT_SUPPORTED")
    for ignored in ("dynamicSlippage", "forJitoBundle"):
        parameters.flag(ignored, default=False)
    return QuoteRequest(
        token_in=_tradable(in_mint, market),
        token_out=_tradable(out_mint, market),
        amount=amount,
        mode=mode,
        slippage_bps=parameters.integer("slippageBps", U16_MAX, default=50),
        platform_fee_bps=_platform_fee_bps(parameters),
        direct_only=parameters.flag("onlyDirectRoutes", default=False),
        any_middle_token=not parameters.flag("restrictIntermediateTokens", default=True),
        dexes=dexes,
        excluded_dexes=excluded_dexes or frozenset(),
        max_accounts=_max_accounts(parameters),
        legacy_transaction=parameters.flag("asLegacyTransaction", default=False),
    )


def _tradable(mint: Pubkey, market: Market) -> Token:
    token = market.tokens.get(mint)
    if token is None:
        raise Refusal(f"The token {mint} is not tradable", "TOKEN_NOT_TRADABLE")
    return token


def _platform_fee_bps(parameters: "_Query") -> int:
    bps = parameters.integer("platformFeeBps", U16_MAX, default=0)
    if bps > U8_MAX:  # the V1 instructions have one byte for it
        raise Refusal(f"platformFeeBps {bps} is not supported with instructionVersion V1", "NOT_SUPPORTED")
    return bps


def _max_accounts(parameters: "_Query") -> int:
    count = parameters.integer("maxAccounts", U64_MAX, default=MAX_ACCOUNTS)
    if count > MAX_ACCOUNTS:
        raise Refusal(f"maxAccounts {count} is greater than the maximum {MAX_ACCOUNTS}", "MAX_ACCOUNT_GREATER_THAN_MAX")
    return count


class _Query:
    """Query parameters; an empty one is an absent one."""

    def __init__(self, query: Mapping[str, str]) -> None:
        self._query = query

    def key(self, name: str) -> Pubkey:
        return self._parsed(name, parse_key)

    def integer(self, name: str, largest: int, *, default: int | None = None) -> int:
        if default is not None and not self._query.get(name):
            return default
        return self._parsed(name, lambda text: parse_unsigned(text, largest))

    def flag(self, name: str, *, default: bool) -> bool:
        return self.choice(name, {"true": True, "false": False}, default)

    def choice(self, name: str, values: Mapping[str, T], default: T) -> T:
        return self._parsed(name, lambda text: parse_choice(text, values)) if self._query.get(name) else default

    def names(self, name: str) -> frozenset[str] | None:
        text = self._query.get(name)
        return frozenset(part.strip() for part in text.split(",")) if text else None

    def _parsed(self, name: str, parse: Callable[[str], T]) -> T:
        text = self._query.get(name)
        if not text:
            raise Refusal(f"Failed to deserialize query string: missing field `{name}`")
        try:
            return parse(text)
        except ValueError as error:
            raise Refusal(f"Query parameter {name} cannot be parsed: {error}") from error


# ---- /swap and /swap-instructions


def read_swap_request(request: HttpRequest, market: Market) -> SwapRequest:
    """Read the body of a swap call. Raises `Refusal`."""
    body = _read_body(request)
    user = body.key("userPublicKey")
    quoted = _read_quoted(body.child("quoteResponse"), market)
    _refuse_native_destination(body)
    body.flag("skipUserAccountsRpcCalls")  # nothing is looked up in either case: what exists is created idempotently
    body.optional_integer("blockhashSlotsToExpiry", U8_MAX)
    return SwapRequest(
        user=user,
        quoted=quoted,
        payer=body.optional_key("payer") or user,
        wrap_sol=body.flag("wrapAndUnwrapSol", default=True),
        shared_accounts=body.flag("useSharedAccounts") if body.has("useSharedAccounts") else None,
        fee_account=body.optional_key("feeAccount"),
        tracking_account=body.optional_key("trackingAccount"),
        destination=body.optional_key("destinationTokenAccount"),
        priority=_read_priority(body),
        dynamic_unit_limit=body.flag("dynamicComputeUnitLimit"),
        legacy_transaction=body.flag("asLegacyTransaction"),
    )


def _read_body(request: HttpRequest) -> "_Object":
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise Refusal("Expected request with `Content-Type: application/json`", status=415)
    try:
        value = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"Failed to parse the request body as JSON: {error}") from error
    if not isinstance(value, dict):
        raise _unreadable("", "invalid type, expected an object")
    return _Object(value)


def _refuse_native_destination(body: "_Object") -> None:
    if body.optional_key("nativeDestinationAccount") is None:
        return
    if body.has("destinationTokenAccount"):
        raise Refusal("destinationTokenAccount and nativeDestinationAccount are mutually exclusive", "NOT_SUPPORTED")
    raise Refusal("nativeDestinationAccount is not supported with instructionVersion V1", "NOT_SUPPORTED")


def _read_quoted(quote: "_Object", market: Market) -> Quoted:
    in_mint, out_mint = quote.key("inputMint"), quote.key("outputMint")
    amounts = [quote.text_integer(name) for name in ("inAmount", "outAmount", "otherAmountThreshold")]
    if in_mint == out_mint:
        raise Refusal("Input and output mints are not allowed to be equal", "CIRCULAR_ARBITRAGE_IS_DISABLED")
    fee = quote.child("platformFee") if quote.has("platformFee") else None
    return Quoted(
        mode=quote.choice("swapMode", {mode.value: mode for mode in SwapMode}),
        in_amount=amounts[0],
        out_amount=amounts[1],
        slippage_bps=quote.integer("slippageBps", U16_MAX),
        platform_fee_bps=0 if fee is None else fee.integer("feeBps", U8_MAX),
        path=_read_path(quote.children("routePlan"), (in_mint, out_mint), market),
    )


def _read_path(plan: Sequence["_Object"], mints: tuple[Pubkey, Pubkey], market: Market) -> Path:
    """The steps of a route plan, which must lead from the one mint to the other without a branch."""
    path = tuple(_read_step(step, market) for step in plan)
    turns = [mints[0], *(step.token_out.mint for step in path)]
    follows = all(step.token_in.mint == mint for step, mint in zip(path, turns, strict=False))
    if not 1 <= len(path) <= MAX_HOPS or not follows or turns[-1] != mints[1]:
        raise Refusal("Invalid route plan with metadata", "FAILED_TO_GET_SWAP_AND_ACCOUNT_METAS")
    return path


def _read_step(step: "_Object", market: Market) -> Step:
    info = step.child("swapInfo")
    address, in_mint, out_mint = (info.key(name) for name in ("ammKey", "inputMint", "outputMint"))
    pool = market.pools.get(address)
    if pool is None:
        raise Refusal(f"Market {address} not found", "MARKET_NOT_FOUND")
    mints = {token.mint: token for token in pool.tokens}
    if {in_mint, out_mint} != set(mints) or step.integer("percent", U8_MAX) != 100:
        raise Refusal("Invalid route plan with metadata", "FAILED_TO_GET_SWAP_AND_ACCOUNT_METAS")
    return Step.through(pool, mints[in_mint])


def _read_priority(body: "_Object") -> Priority:
    """The one or the other; "auto" of either is the default."""
    price, fee = (body.get(name) for name in ("computeUnitPriceMicroLamports", "prioritizationFeeLamports"))
    if price is not None and fee is not None:
        raise Refusal(
            "Cannot specify both computeUnitPriceMicroLamports and prioritizationFeeLamports",
            "INVALID_COMPUTE_UNIT_PRICE_AND_PRIORITIZATION_FEE",
        )
    if price not in (None, "auto"):
        return Priority(unit_price_micro_lamports=body.integer("computeUnitPriceMicroLamports", U64_MAX))
    if fee in (None, "auto"):
        return Priority()
    if isinstance(fee, dict):
        return _read_priority_object(body.child("prioritizationFeeLamports"))
    return Priority(fee_lamports=body.integer("prioritizationFeeLamports", U64_MAX))


def _read_priority_object(fee: "_Object") -> Priority:
    if fee.has("priorityLevelWithMaxLamports"):
        level = fee.child("priorityLevelWithMaxLamports")
        level.flag("global")
        name = level.choice("priorityLevel", {name: name for name in LEVEL_PRICES})
        return Priority(level=name, max_lamports=level.integer("maxLamports", U64_MAX))
    if fee.has("jitoTipLamportsWithPayer"):
        tip = fee.child("jitoTipLamportsWithPayer")
        return Priority(tip_lamports=tip.integer("lamports", U64_MAX), tip_payer=tip.key("payer"))
    return Priority(tip_lamports=fee.integer("jitoTipLamports", U64_MAX))


class _Object:
    """A JSON object and the path to it, for the refusals."""

    def __init__(self, value: Mapping[str, Any], path: str = "") -> None:
        self._value = value
        self._path = path

    def has(self, name: str) -> bool:
        return self.get(name) is not None

    def get(self, name: str) -> Any:
        return self._value.get(name)

    def child(self, name: str) -> "_Object":
        return self._as_object(self._required(name), name)

    def children(self, name: str) -> list["_Object"]:
        values = self._required(name)
        if not isinstance(values, list):
            raise self._unreadable(name, "invalid type, expected a sequence")
        return [self._as_object(value, f"{name}[{index}]") for index, value in enumerate(values)]

    def key(self, name: str) -> Pubkey:
        return self._parsed(name, parse_key)

    def optional_key(self, name: str) -> Pubkey | None:
        return self.key(name) if self.has(name) else None

    def text_integer(self, name: str) -> int:
        return self._parsed(name, lambda text: parse_unsigned(text, U64_MAX))

    def choice(self, name: str, values: Mapping[str, T]) -> T:
        return self._parsed(name, lambda text: parse_choice(text, values))

    def integer(self, name: str, largest: int) -> int:
        value = self._required(name)
        if type(value) is not int or not 0 <= value <= largest:
            raise self._unreadable(name, f"invalid value, expected an integer from 0 to {largest}")
        return value

    def optional_integer(self, name: str, largest: int) -> int | None:
        return self.integer(name, largest) if self.has(name) else None

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._unreadable(name, "invalid type, expected a boolean")
        return value

    def _as_object(self, value: Any, name: str) -> "_Object":
        if not isinstance(value, dict):
            raise self._unreadable(name, "invalid type, expected an object")
        return _Object(value, f"{self._path}{name}.")

    def _required(self, name: str) -> Any:
        if not self.has(name):
            raise _unreadable(self._path.removesuffix("."), f"missing field `{name}`")
        return self._value[name]

    def _parsed(self, name: str, parse: Callable[[str], T]) -> T:
        value = self._required(name)
        if not isinstance(value, str):
            raise self._unreadable(name, "invalid type, expected a string")
        try:
            return parse(value)
        except ValueError as error:
            raise self._unreadable(name, f"Parse error: {error}") from error

    def _unreadable(self, name: str, problem: str) -> Refusal:
        return _unreadable(self._path + name, problem)


def _unreadable(path: str, problem: str) -> Refusal:
    place = f"{path}: " if path else ""
    return Refusal(f"Failed to deserialize the JSON body into the target type: {place}{problem}", status=422)


# ---- values


def parse_key(text: str) -> Pubkey:
    """Read an address; ValueError in the words of Rust's `Pubkey`."""
    if len(text) > _BASE58_KEY_CHARACTERS:
        raise ValueError("WrongSize")
    if not _BASE58.issuperset(text):
        raise ValueError("Invalid")
    try:
        return Pubkey.from_string(text)
    except ValueError as error:
        raise ValueError("WrongSize") from error


def parse_unsigned(text: str, largest: int) -> int:
    """Read an unsigned integer; ValueError in the words of Rust's `ParseIntError`."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError("ParseIntError { kind: InvalidDigit }")
    if len(text) > _U64_DIGITS or int(text) > largest:
        raise ValueError("ParseIntError { kind: PosOverflow }")
    return int(text)


def parse_choice(text: str, values: Mapping[str, T]) -> T:
    """Find a value by its name; ValueError when it has none."""
    if text not in values:
        raise ValueError("Matching variant not found")
    return values[text]

"""Everything that can be checked without asking anybody: format, whitelist, limits."""

import math
from collections.abc import Mapping

from attrs import frozen
from solders.pubkey import Pubkey

from executor.chainstate.mints import Mints
from executor.config import LimitSettings, TokenSettings
from executor.errors import Denied, ErrorCode, FieldProblem, InvalidRequest
from executor.model import Order, Token, TradeRequest
from executor.units import U64_MAX, ui_text

MAX_REQUEST_ID = 100
MAX_SOURCE_SERVICE = 50


@frozen(kw_only=True)
class Rules:
    """What a request is held against."""

    limits: LimitSettings
    whitelist: Mapping[Pubkey, TokenSettings]
    mints: Mints


def validate(request: TradeRequest, *, rules: Rules, received_at: float, received_unix_ns: int) -> Order:
    """Return the order that a request stands for. Raises InvalidRequest (every wrong field at once) or Denied."""
    problems = _field_problems(request, rules.limits)
    if problems:
        raise InvalidRequest(problems)
    _require_whitelisted(request, rules.whitelist)
    source, target = _token(request.input_mint, rules.mints), _token(request.output_mint, rules.mints)
    _require_within_limit(request.in_amount, source, rules.whitelist[source.mint])
    return Order.of(request, tokens=(source, target), received_at=received_at, received_unix_ns=received_unix_ns)


def _field_problems(request: TradeRequest, limits: LimitSettings) -> list[FieldProblem]:
    found = {
        "request_id": _text_problem(request.request_id, MAX_REQUEST_ID),
        "source_service": _text_problem(request.source_service, MAX_SOURCE_SERVICE),
        "input_token": _key_problem(request.input_mint),
        "output_token": _key_problem(request.output_mint) or _same_problem(request),
        "amount_lamports": None if 0 < request.in_amount <= U64_MAX else "must be greater than 0",
        "max_slippage_bps": _slippage_problem(request.max_slippage_bps, limits.max_slippage_bps),
        "expected_price": _price_problem(request.expected_price),
        "fee_account": _optional_key_problem(request.fee_account),
        "tracking_account": _optional_key_problem(request.tracking_account),
    }
    return [FieldProblem(field, problem) for field, problem in found.items() if problem]


def _text_problem(text: str, longest: int) -> str | None:
    if not 1 <= len(text) <= longest:
        return f"must have 1 to {longest} characters, has {len(text)}"
    return None if text.isascii() and text.isprintable() else "must be printable ASCII"


def _key_problem(text: str) -> str | None:
    try:
        Pubkey.from_string(text)
    except ValueError:
        return "is not a base58 public key of 32 bytes"
    return None


def _optional_key_problem(text: str | None) -> str | None:
    return None if text is None else _key_problem(text)


def _same_problem(request: TradeRequest) -> str | None:
    return "must differ from input_token" if request.output_mint == request.input_mint else None


def _slippage_problem(bps: int, limit: int) -> str | None:
    return None if 0 <= bps <= limit else f"must be at most {limit} (the configured limit), is {bps}"


def _price_problem(price: float) -> str | None:
    return None if math.isfinite(price) and price >= 0 else f"must be finite and not negative, is {price}"


def _require_whitelisted(request: TradeRequest, whitelist: Mapping[Pubkey, TokenSettings]) -> None:
    sides = {"input_token": request.input_mint, "output_token": request.output_mint}
    foreign = {side: mint for side, mint in sides.items() if Pubkey.from_string(mint) not in whitelist}
    if foreign:
        listed = ", ".join(f"{side} {mint}" for side, mint in foreign.items())
        raise Denied(ErrorCode.MINT_NOT_WHITELISTED, f"not on the whitelist: {listed}", **foreign)


def _token(mint_text: str, mints: Mints) -> Token:
    mint = Pubkey.from_string(mint_text)
    token = mints.get(mint)
    if token is None:
        raise Denied(ErrorCode.CHAIN_STATE_STALE, f"the mint {mint} {mints.problem(mint)}", mint=mint_text)
    return token


def _require_within_limit(in_amount: int, token: Token, settings: TokenSettings) -> None:
    if in_amount > settings.max_amount:
        raise Denied(
            ErrorCode.AMOUNT_ABOVE_LIMIT,
            f"{ui_text(in_amount, token.decimals)} {token.symbol} exceeds the limit of "
            f"{ui_text(settings.max_amount, token.decimals)} {token.symbol} a trade",
            amount=in_amount,
            max_amount=settings.max_amount,
        )

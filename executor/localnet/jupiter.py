"""Jupiter's swap API over the localnet's market: calls, answers and errors as they are seen on the real one.

The shapes are those of `../shared/recorded`, the parameters and codes those of SOLANA.md section 1. A quote is priced from the
pools' vaults as they stand: what it says is what the program pays, to the unit, until someone else trades. What the real API does
and this one does not is refused with NOT_SUPPORTED, but for `dynamicSlippage` and `blockhashSlotsToExpiry`, which change nothing.
"""

import base64
import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, Protocol

from attrs import define, field, frozen
from solders.instruction import Instruction

from executor.localnet.faults import Fault, Lag, StaleQuote
from executor.localnet.http import HttpReply, HttpRequest, json_reply, text_reply
from executor.localnet.jupiter_requests import read_quote_request, read_swap_request
from executor.localnet.market import POOL_LABEL, Chain, Market, newest_reserves
from executor.localnet.program.layout import PROGRAM_ID
from executor.localnet.quoting import (
    PricedRoute,
    QuoteRequest,
    Refusal,
    SwapMode,
    best_route,
    direct_outputs,
    threshold,
    usd_value,
)
from executor.localnet.swapping import SwapPlan, SwapRequest, compile_swap, plan_swap
from executor.units import BPS_PER_WHOLE

BASE_PATH: Final = "/swap/v1"
TARGET: Final = "jupiter"
"""What orders of faults call this API."""
NS_PER_SECOND: Final = 1_000_000_000


class FaultOrders(Protocol):
    """What has been ordered to go wrong."""

    def take(self, target: str, operation: str) -> Sequence[Fault]:
        """The faults that strike this call; counted ones are used up by it."""
        ...


@define(kw_only=True)
class JupiterApi:
    """The API of one market on one chain. It keeps nothing between calls: a quote lives in its caller's hands."""

    _market: Market
    _chain: Chain
    _faults: FaultOrders
    _rng: random.Random
    _now_ns: Callable[[], int]
    _api_key: str | None = field(default=None, repr=False)
    """When set, another key in `x-api-key` is refused; a caller without the header is keyless, whom Jupiter serves."""

    def answer(self, request: HttpRequest) -> HttpReply:
        """Answer one request; what is refused is answered too."""
        headers = {"x-api-gateway-request-id": f"{self._rng.getrandbits(128):032x}"}
        key = request.headers.get("x-api-key")
        if self._api_key is not None and key not in (None, self._api_key):
            return json_reply({"code": 401, "message": "[API Gateway] Unauthorized"}, status=401, headers=headers)
        operation = request.path.removeprefix(BASE_PATH + "/")
        method, call = self._calls.get(operation, (None, None)) if operation != request.path else (None, None)
        if call is None:
            return text_reply("Route not found", status=404)
        if request.method != method:
            return text_reply("Method Not Allowed", status=405)
        try:
            return json_reply(call(request), headers=headers)
        except Refusal as refusal:
            code = {} if refusal.code is None else {"errorCode": refusal.code}
            return json_reply({"error": refusal.error, **code}, status=refusal.status, headers=headers)

    @property
    def _calls(self) -> dict[str, tuple[str, Callable[[HttpRequest], dict[str, Any]]]]:
        return {
            "quote": ("GET", self._quote),
            "swap-instructions": ("POST", self._swap_instructions),
            "swap": ("POST", self._swap),
            "program-id-to-label": ("GET", lambda _: {str(PROGRAM_ID): POOL_LABEL}),
        }

    # ---- the calls

    def _quote(self, request: HttpRequest) -> dict[str, Any]:
        began_ns = self._now_ns()
        asked = read_quote_request(request.query, self._market)
        faults = self._faults.take(TARGET, "quote")
        behind = sum(fault.slots for fault in faults if isinstance(fault, Lag))
        reserves = newest_reserves(self._chain, behind=behind)
        route = best_route(asked, market=self._market, reserves=reserves)
        quote = _Quote(
            asked=asked,
            route=route,
            context_slot=self._chain.slot("processed", behind=behind),
            usd=usd_value(asked.token_in, route.amounts.in_amount, market=self._market, reserves=reserves),
            direct_outputs=direct_outputs(asked, market=self._market, reserves=reserves),
            better_bps=sum(fault.bps for fault in faults if isinstance(fault, StaleQuote)),
        )
        return quote.json(seconds=self._seconds_since(began_ns))

    def _swap_instructions(self, request: HttpRequest) -> dict[str, Any]:
        began_ns = self._now_ns()
        asked = read_swap_request(request, self._market)
        plan = self._plan(asked)
        blockhash, last_valid_block_height = self._chain.latest_blockhash("confirmed")
        compile_swap(plan, blockhash, legacy=asked.legacy_transaction)  # a plan that fits into no packet is refused here too
        secs, nanos = divmod(self._now_ns(), NS_PER_SECOND)
        seconds = self._seconds_since(began_ns)
        return {
            **_instructions_json(plan),
            **_cost_json(plan),
            "loadedAccountsDataSize": None,
            "loadedAccountsDataSizeLimit": None,
            "transactionVersion": _version_json(legacy=asked.legacy_transaction),
            **self._simulation_json(plan, asked),
            "blockhashWithMetadata": {
                "blockhash": list(bytes(blockhash)),
                "lastValidBlockHeight": last_valid_block_height,
                "fetchedAt": {"secs_since_epoch": secs, "nanos_since_epoch": nanos},
            },
            "timeTaken": seconds,
            "createAtaTimeTaken": seconds,
        }

    def _swap(self, request: HttpRequest) -> dict[str, Any]:
        asked = read_swap_request(request, self._market)
        plan = self._plan(asked)
        blockhash, last_valid_block_height = self._chain.latest_blockhash("confirmed")
        wire = compile_swap(plan, blockhash, legacy=asked.legacy_transaction)
        return {
            "swapTransaction": base64.b64encode(wire).decode(),
            "lastValidBlockHeight": last_valid_block_height,
            **_cost_json(plan),
            **self._simulation_json(plan, asked),
        }

    def _plan(self, asked: SwapRequest) -> SwapPlan:
        return plan_swap(asked, tables=self._market.tables, rng=self._rng)

    def _simulation_json(self, plan: SwapPlan, asked: SwapRequest) -> dict[str, Any]:
        """The real API simulates to find a dynamic limit; here the limit is known, and only the slot is told."""
        return {
            "prioritizationType": _priority_json(plan),
            "simulationSlot": self._chain.slot("processed") if asked.dynamic_unit_limit else None,
            "dynamicSlippageReport": None,
            "simulationError": None,
            "addressesByLookupTableAddress": None,
        }

    def _seconds_since(self, began_ns: int) -> float:
        return (self._now_ns() - began_ns) / NS_PER_SECOND


# ---- answers


@frozen(kw_only=True)
class _Quote:
    asked: QuoteRequest
    route: PricedRoute
    context_slot: int
    usd: Fraction
    direct_outputs: dict[str, int]
    better_bps: int
    """A fault: by how much the quoted amount is better than what the pools give."""

    def json(self, *, seconds: float) -> dict[str, Any]:
        in_amount, out_amount = self._amounts
        other = threshold(self.asked.mode, in_amount=in_amount, out_amount=out_amount, slippage_bps=self.asked.slippage_bps)
        return {
            "inputMint": str(self.asked.token_in.mint),
            "inAmount": str(in_amount),
            "outputMint": str(self.asked.token_out.mint),
            "outAmount": str(out_amount),
            "otherAmountThreshold": str(other),
            "swapMode": self.asked.mode.value,
            "slippageBps": self.asked.slippage_bps,
            "platformFee": self._platform_fee_json,
            "priceImpactPct": _decimal_text(self.route.price_impact),
            "routePlan": self._route_plan_json,
            "contextSlot": self.context_slot,
            "timeTaken": seconds,
            "swapUsdValue": _decimal_text(self.usd),
            "mostReliableAmmsQuoteReport": {"info": {key: str(amount) for key, amount in self.direct_outputs.items()}},
            "longtailMarketQuoteReport": None,
            "useIncurredSlippageForQuoting": None,
            "useRewards": None,
            "otherRoutePlans": None,
            "loadedLongtailToken": False,
            "instructionVersion": None,
            "transactionVersion": _version_json(legacy=self.asked.legacy_transaction),
        }

    @property
    def _amounts(self) -> tuple[int, int]:
        """Input and output as they are quoted."""
        amounts = self.route.amounts
        if self.asked.mode is SwapMode.EXACT_OUT:
            return amounts.in_amount * (BPS_PER_WHOLE - self.better_bps) // BPS_PER_WHOLE, amounts.out_amount
        return amounts.in_amount, amounts.out_amount * (BPS_PER_WHOLE + self.better_bps) // BPS_PER_WHOLE

    @property
    def _platform_fee_json(self) -> dict[str, Any] | None:
        if not self.asked.platform_fee_bps:
            return None
        return {"amount": str(self.route.amounts.platform_fee_amount), "feeBps": self.asked.platform_fee_bps}

    @property
    def _route_plan_json(self) -> list[dict[str, Any]]:
        steps = zip(self.route.path, self.route.amounts.hops, strict=True)
        return [
            {
                "swapInfo": {
                    "ammKey": str(step.pool.address),
                    "label": POOL_LABEL,
                    "inputMint": str(step.token_in.mint),
                    "outputMint": str(step.token_out.mint),
                    "inAmount": str(hop.in_amount),
                    "outAmount": str(hop.out_amount),
                    "updateContextSlot": str(self.context_slot),
                },
                "percent": 100,
                "bps": None,
            }
            for step, hop in steps
        ]


def _instructions_json(plan: SwapPlan) -> dict[str, Any]:
    return {
        "tokenLedgerInstruction": None,
        "computeBudgetInstructions": [_instruction_json(instruction) for instruction in plan.compute_budget],
        "setupInstructions": [_instruction_json(instruction) for instruction in plan.setup],
        "swapInstruction": _instruction_json(plan.swap),
        "cleanupInstruction": None if plan.cleanup is None else _instruction_json(plan.cleanup),
        "otherInstructions": [_instruction_json(instruction) for instruction in plan.other],
        "addressLookupTableAddresses": [str(table.key) for table in plan.tables],
    }


def _instruction_json(instruction: Instruction) -> dict[str, Any]:
    return {
        "programId": str(instruction.program_id),
        "accounts": [
            {"pubkey": str(meta.pubkey), "isSigner": meta.is_signer, "isWritable": meta.is_writable}
            for meta in instruction.accounts
        ],
        "data": base64.b64encode(bytes(instruction.data)).decode(),
    }


def _cost_json(plan: SwapPlan) -> dict[str, Any]:
    return {"prioritizationFeeLamports": plan.fee.lamports, "computeUnitLimit": plan.fee.unit_limit}


def _priority_json(plan: SwapPlan) -> dict[str, Any]:
    fee = plan.fee
    if fee.unit_price_micro_lamports is None:
        return {"jito": {"lamports": fee.lamports}}
    prices = {"microLamports": fee.unit_price_micro_lamports, "estimatedMicroLamports": fee.estimated_micro_lamports}
    return {"computeBudget": prices}


def _version_json(*, legacy: bool) -> str | int:
    return "legacy" if legacy else 0


def _decimal_text(value: Fraction) -> str:
    """As the real API writes it: 28 digits, never an exponent, no trailing zeros."""
    text = format(Decimal(value.numerator) / Decimal(value.denominator), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text

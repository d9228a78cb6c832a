"""Jupiter's side of a test: its answers as JSON, and a client of a scripted server."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from solders.instruction import Instruction

from executor.log import NullLog
from executor.model import Order, Quote, SwapInstructions
from executor.network.jupiter import Jupiter
from tests.support.clients import QUICK, seeded
from tests.support.upstream import Reply, Upstream, json_reply, open_upstream
from tests.support.values import make_quote


def quote_json(order: Order, out_amount: int = 6_096_091, **changes: Any) -> dict[str, Any]:
    """The quote of `make_quote` as Jupiter writes it."""
    quote = make_quote(order, out_amount)
    return {
        "inputMint": str(quote.input_mint),
        "inAmount": str(quote.in_amount),
        "outputMint": str(quote.output_mint),
        "outAmount": str(quote.out_amount),
        "otherAmountThreshold": str(quote.other_amount_threshold),
        "swapMode": "ExactIn",
        "slippageBps": quote.slippage_bps,
        "platformFee": None,
        "routePlan": [{"swapInfo": {"ammKey": "a", "label": "Pool"}, "percent": 100}],
        "contextSlot": quote.context_slot,
        **changes,
    }


def instruction_json(instruction: Instruction) -> dict[str, Any]:
    """An instruction as Jupiter writes it."""
    accounts = [
        {"pubkey": str(account.pubkey), "isSigner": account.is_signer, "isWritable": account.is_writable}
        for account in instruction.accounts
    ]
    return {
        "programId": str(instruction.program_id),
        "accounts": accounts,
        "data": base64.b64encode(instruction.data).decode(),
    }


def swap_json(swap: SwapInstructions, **changes: Any) -> dict[str, Any]:
    """Instructions as Jupiter answers them, with a compute budget of its own."""
    return {
        "tokenLedgerInstruction": None,
        "computeBudgetInstructions": [
            {"programId": "ComputeBudget111111111111111111111111111111", "accounts": [], "data": "AsBcFQA="}
        ],
        "setupInstructions": [instruction_json(instruction) for instruction in swap.setup],
        "swapInstruction": instruction_json(swap.swap),
        "cleanupInstruction": instruction_json(swap.cleanup[0]) if swap.cleanup else None,
        "otherInstructions": [instruction_json(instruction) for instruction in swap.other],
        "addressLookupTableAddresses": [str(address) for address in swap.lookup_tables],
        "simulationError": None,
        **changes,
    }


def api_error(code: str, status: int = 400) -> Reply:
    """A refusal of Jupiter's."""
    return json_reply({"error": code.replace("_", " ").capitalize(), "errorCode": code}, status)


def raw_of(quote: Quote) -> Any:
    """What went back to Jupiter."""
    return json.loads(quote.raw)


@asynccontextmanager
async def open_jupiter() -> AsyncIterator[tuple[Jupiter, Upstream]]:
    """A client and the scripted server behind it."""
    async with open_upstream() as upstream:
        url = upstream.url + "/swap/v1"
        client = Jupiter(url, api_key=None, timeout_seconds=5.0, retry=QUICK, rng=seeded(), log=NullLog())
        async with aclosing(client):
            yield client, upstream

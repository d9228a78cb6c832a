"""What two answers have to agree in: an answer without that which can differ between any two clusters.

| what | becomes |
|---|---|
| slots, heights, last valid heights, block times | `<number>` |
| blockhashes | `<blockhash>` |
| signatures and bytes of the conversation's own transactions | their names |
| where and which character is not of base58 (the bytes hold a blockhash) | `<somewhere>` |
| log lines in which the classic token program names its instruction or says that it is old (mainnet's has none) | dropped |
| compute units, also those in logs; 0 stays 0 | `<units>` |
| bytes of loaded accounts (the programs' builds have other sizes); 0 stays 0 | `<bytes>` |
| lamports of program accounts among the balances | `<program lamports>` |
| `confirmed` and `finalized` of a status, with its confirmations | `<landed>` |
| lists of recent fees | their form and the largest fee: each cluster has as many as it has blocks |
"""

import re
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from tests.real_node.side import Answer, Side

Json = Any

NUMBERS = {"slot", "contextSlot", "lastValidBlockHeight", "blockTime", "absoluteSlot", "blockHeight"}
BLOCKHASHES = {"blockhash", "recentBlockhash"}
UNITS = {"unitsConsumed", "computeUnitsConsumed", "costUnits"}
BALANCES = {"preBalances", "postBalances"}
PLAIN_NUMBERS = ("getSlot:", "getBlockHeight:", "getFirstAvailableBlock:")
LOGS = {"logs", "logMessages"}
SPOKEN = re.compile(r"Program log: (Instruction: \w+|Please upgrade to SPL Token 2022 for immutable owner support)$")
NOT_BASE58 = re.compile(r"InvalidCharacter \{ character: '.', index: \d+ \}")
CONSUMED = re.compile(r"consumed \d+ of \d+ compute units")


@frozen
class Normal:
    """Reads the answers of one side."""

    side: Side

    def answer(self, name: str) -> Json:
        """The answer to a question as it is compared."""
        found: Answer = self.side.answers[name]
        body = self._value(found.body, "")
        if isinstance(body, dict) and name.startswith(PLAIN_NUMBERS) and isinstance(body.get("result"), int):
            body["result"] = "<number>"
        if isinstance(body, dict) and name.startswith("getRecentPrioritizationFees:") and isinstance(body.get("result"), list):
            body["result"] = _fees(found.body["result"])
        return {"status": found.status, "content-type": found.content_type, "body": body}

    def _value(self, value: Json, key: str) -> Json:
        if isinstance(value, dict):
            return {name: self._value(inner, name) for name, inner in _without_progress(value).items()}
        if isinstance(value, list):
            return [self._value(inner, key) for inner in value if not (key in LOGS and SPOKEN.match(str(inner)))]
        if isinstance(value, str):
            return self._text(value, key)
        if type(value) is int:
            return self._number(value, key)
        return value

    def _text(self, value: str, key: str) -> str:
        if key in BLOCKHASHES:
            return "<blockhash>"
        if value in self.side.names:
            return self.side.names[value]
        value = NOT_BASE58.sub("InvalidCharacter <somewhere>", value)
        return CONSUMED.sub("consumed <units> of <units> compute units", value)

    def _number(self, value: int, key: str) -> Json:
        if key in NUMBERS:
            return "<number>"
        if key in UNITS:
            return "<units>" if value else 0
        if key == "loadedAccountsDataSize":
            return "<bytes>" if value else 0
        if key in BALANCES and value in self.side.program_lamports:
            return "<program lamports>"
        return value


def _without_progress(value: Mapping[str, Json]) -> Mapping[str, Json]:
    """A status that is confirmed may be final a moment later."""
    if value.get("confirmationStatus") not in ("confirmed", "finalized"):
        return value
    return {**value, "confirmationStatus": "<landed>", "confirmations": "<landed>"}


def _fees(rows: Json) -> Json:
    slots = [row["slot"] for row in rows]
    return {
        "members": sorted({name for row in rows for name in row}),
        "in order": slots == sorted(slots),
        "at most 150": len(rows) <= 150,
        "most": max((row["prioritizationFee"] for row in rows), default=0),
    }

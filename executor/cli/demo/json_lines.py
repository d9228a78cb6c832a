"""The demo for programs: one JSON object a trade, and last the summary."""

import json
from typing import TextIO

from attrs import asdict, define

from executor.cli.client import as_dict
from executor.cli.demo.movement import Movement
from executor.cli.demo.show import Settings
from executor.cli.demo.stage import Stage
from executor.cli.demo.summary import Summary
from executor.cli.demo.trades import Trade


@define
class JsonLines:
    """Prints to `out`; the first eight keys of the summary are what others hold on to."""

    out: TextIO
    settings: Settings

    def opens(self) -> None:
        """Print nothing: stdout is for trades."""

    def begins(self, stage: Stage) -> None:
        """Print nothing."""

    def sees(self, trade: Trade) -> None:
        """Print the trade."""
        self._say(_trade(trade))

    def leaves(self, summary: Summary) -> None:
        """Print the summary."""
        self._say({**asdict(summary), "ok": not summary.problems, **asdict(self.settings)})

    def _say(self, value: dict[str, object]) -> None:
        print(json.dumps(value), file=self.out, flush=True)


def _trade(trade: Trade) -> dict[str, object]:
    planned, refusal = trade.planned, trade.refusal
    return {
        "number": planned.number,
        "case": planned.case.facts.title if planned.case else None,
        "request": as_dict(planned.request()),
        "expected": asdict(planned.expected),
        "status": trade.status,
        "result": as_dict(trade.result) if trade.result is not None else None,
        "refusal": {"status": refusal.status, "code": refusal.reason, "message": refusal.message} if refusal else None,
        "chain": _chain(trade, trade.movement) if trade.movement else None,
        "surprises": trade.surprises(),
        "mismatches": trade.mismatches(),
        "began_seconds": round(trade.began_seconds, 3),
        "ended_seconds": round(trade.ended_seconds, 3),
    }


def _chain(trade: Trade, movement: Movement) -> dict[str, object]:
    """What the transaction did, by the chain's own balances, in the words of the result."""
    return {
        "slot": movement.slot,
        "failed": movement.failed,
        "input_amount": -movement.of(trade.planned.source.mint),
        "executed_amount": movement.of(trade.planned.target.mint),
        "fees_paid": movement.fee_lamports,
        "priority_fee": movement.priority_fee_lamports,
        "rent_lamports": movement.rent_lamports,
    }

"""A trade of the demo when it has ended: what was asked, what the daemon says and what the chain says."""

from attrs import frozen

from executor.cli.client import CallFailed
from executor.cli.demo.movement import WRAPPED_SOL, Movement
from executor.cli.demo.plan import Planned
from executor.rpc import trade_executor_pb2 as pb


@frozen(kw_only=True)
class Trade:
    """Exactly one of `result` and `refusal` is there; `movement` when the daemon says that a transaction has landed."""

    planned: Planned
    began_seconds: float
    """Since the first trade began."""
    ended_seconds: float
    result: pb.TradeResult | None = None
    refusal: CallFailed | None = None
    movement: Movement | None = None

    @property
    def status(self) -> str:
        """SUCCESS, FAILED or PENDING, or the gRPC status of a refusal."""
        if self.result is not None:
            return pb.TradeStatus.Name(self.result.status).removeprefix("TRADE_STATUS_")
        return self.refusal.status if self.refusal else ""

    @property
    def code(self) -> str:
        """The daemon's code for what went wrong."""
        if self.result is not None:
            return self.result.error_code
        return self.refusal.reason if self.refusal else ""

    @property
    def message(self) -> str:
        """The daemon's sentence about what went wrong."""
        if self.result is not None:
            return self.result.error_message
        return self.refusal.message if self.refusal else ""

    def mismatches(self) -> list[str]:
        """Reported amounts and fees that are not what the chain's own balances say; empty is good."""
        result, movement = self.result, self.movement
        if result is None or movement is None:
            return []
        source, target = self.planned.source.mint, self.planned.target.mint
        moved = {**movement.tokens, WRAPPED_SOL: movement.sol_lamports + result.tip_lamports}
        figures = {
            "executed_amount": (result.executed_amount, moved.get(target, 0)),
            "input_amount": (result.input_amount, -moved.get(source, 0)),
            "fees_paid": (result.fees_paid, movement.fee_lamports + result.tip_lamports),
            "priority_fee": (result.priority_fee, movement.priority_fee_lamports),
            "rent_lamports": (result.rent_lamports, movement.rent_lamports),
            "other tokens": (0, sum(abs(amount) for mint, amount in moved.items() if mint not in {source, target})),
        }
        return [f"{name}: reported {told}, on chain {true}" for name, (told, true) in figures.items() if told != true]

    def surprises(self) -> list[str]:
        """What is not as the plan says; empty is good."""
        expected, told = self.planned.expected, f"{self.status} {self.code}".strip()
        wanted = f"{expected.status} {expected.code}".strip()
        if told != wanted:
            return [f"should have ended as {wanted}, ended as {told}: {self.message}"]
        if self.result is None:
            return []
        landed = expected.status == "SUCCESS"
        checks = {
            "the result is another request's": self.result.request_id != self.planned.request().request_id,
            "no transaction is named, or no slot": landed and self.movement is None,
            "a transaction is named, though nothing was to be sent": not landed and bool(self.result.transaction_signature),
            "the transaction failed on chain": self.movement is not None and self.movement.failed,
            "the slot is not the chain's": self.movement is not None and self.movement.slot != self.result.slot,
            "another amount was spent than was asked for": landed and self.result.input_amount != self.planned.in_amount,
        }
        return [problem for problem, holds in checks.items() if holds]

"""Values of the demo, made by hand: tokens, a trade in every shape, and transactions as a node shows them."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from executor.cli.client import CallFailed
from executor.cli.demo.cases import Case
from executor.cli.demo.movement import WRAPPED_SOL, Movement
from executor.cli.demo.plan import Planned, Token
from executor.cli.demo.trades import Trade
from executor.rpc import trade_executor_pb2 as pb

WALLET = "wa11et"
STRANGER = "stranger"
RENT = 2_039_280

SOL = Token(symbol="SOL", mint=WRAPPED_SOL, decimals=9, ten_dollars=82_000_000, max_amount=100 * 10**9)
USDC = Token(symbol="USDC", mint="usdc", decimals=6, ten_dollars=10_000_000, max_amount=20_000 * 10**6)
BONK = Token(symbol="BONK", mint="bonk", decimals=5, ten_dollars=81_300_813_008, max_amount=5 * 10**13)
JITOSOL = Token(symbol="JitoSOL", mint="jitosol", decimals=9, ten_dollars=65_500_000, max_amount=100 * 10**9)
RAY = Token(symbol="RAY", mint="ray", decimals=6, ten_dollars=6_666_666, max_amount=5_000 * 10**6)
BERN = Token(symbol="BERN", mint="bern", decimals=5, ten_dollars=2_000_000_000, max_amount=10**14)
TOKENS = (SOL, USDC, BONK, JITOSOL, RAY, BERN)

SWAP = Planned(number=1, source=SOL, target=USDC, in_amount=250_000_000)
MOVED = Movement(
    slot=77,
    failed=False,
    fee_lamports=7_500,
    priority_fee_lamports=2_500,
    sol_lamports=-250_000_000,
    rent_lamports=0,
    tokens={"usdc": 30_540_104},
)


def success(**changed: Any) -> pb.TradeResult:
    """The result of SWAP, as it should be or with other values."""
    values = {
        "request_id": "demo-001",
        "status": pb.TRADE_STATUS_SUCCESS,
        "transaction_signature": "5ig",
        "executed_amount": 30_540_104,
        "executed_price": 122.160416,
        "fees_paid": 7_500,
        "priority_fee": 2_500,
        "input_amount": 250_000_000,
        "slot": 77,
        "broadcast_time_us": 32_500,
        "confirmation_time_ms": 414,
        "signed_slippage_bps": -1,
    }
    return pb.TradeResult(**{**values, **changed})


def trade(result: pb.TradeResult | None = None, movement: Movement | None = MOVED, planned: Planned = SWAP) -> Trade:
    """SWAP when it has ended."""
    return Trade(
        planned=planned, began_seconds=0.1, ended_seconds=0.55, result=success() if result is None else result, movement=movement
    )


def refused(planned: Planned, status: str = "FAILED_PRECONDITION", code: str = "", message: str = "no") -> Trade:
    """A trade that was answered with an error status."""
    failure = CallFailed(status=status, message=message, reason=code, violations=())
    return Trade(planned=planned, began_seconds=0.1, ended_seconds=0.2, refusal=failure)


def planned_case(case: Case, number: int) -> Planned:
    """A trade that is one of the five."""
    return Planned(number=number, source=SOL, target=USDC, in_amount=250_000_000, case=case)


@frozen
class Account:
    """An account of a transaction: its lamports before and after, and for a token account whose it is and what it holds."""

    lamports: tuple[int, int]
    owner: str = ""
    mint: str = ""
    amounts: tuple[int | None, int | None] = (None, None)
    """None: the account was not there."""


def transaction(accounts: Mapping[str, Account], *, fee: int, loaded: Sequence[str] = (), error: Any = None) -> Any:
    """A result of getTransaction with one signature; `loaded` accounts come from a lookup table, so they must stand last."""
    rows: list[list[Any]] = [[], []]
    for index, account in enumerate(accounts.values()):
        for side, amount in enumerate(account.amounts):
            if amount is not None:
                facts = {"accountIndex": index, "mint": account.mint, "owner": account.owner}
                rows[side].append({**facts, "uiTokenAmount": {"amount": str(amount)}})
    return {
        "slot": 77,
        "meta": {
            "err": error,
            "fee": fee,
            "preBalances": [account.lamports[0] for account in accounts.values()],
            "postBalances": [account.lamports[1] for account in accounts.values()],
            "preTokenBalances": rows[0],
            "postTokenBalances": rows[1],
            "loadedAddresses": {"writable": list(loaded), "readonly": []},
        },
        "transaction": {"signatures": ["5ig"], "message": {"accountKeys": [key for key in accounts if key not in loaded]}},
    }

"""The command line's client of the daemon."""

from executor.cli.client import as_dict
from executor.rpc import trade_executor_pb2 as pb


def test_numbers_are_numbers_and_texts_stay_texts() -> None:
    """A request_id that looks like a number is none; 64-bit integers are, at any depth, in lists and in maps."""
    result = as_dict(pb.TradeResult(request_id="0123", executed_amount=2**64 - 1, signed_slippage_bps=-7, rent_lamports=-5))
    assert (result["request_id"], result["executed_amount"]) == ("0123", 2**64 - 1)
    assert (result["signed_slippage_bps"], result["rent_lamports"]) == (-7, -5)
    status = as_dict(
        pb.ExecutorStatus(
            version="1",
            error_counts={"42": 7},
            wallet=pb.WalletStatus(balances=[pb.WalletBalance(symbol="1000", amount=2**63)]),
            outcomes=pb.OutcomeCounts(success=3),
        )
    )
    assert (status["version"], status["error_counts"]) == ("1", {"42": 7})
    balance = {"symbol": "1000", "mint": "", "amount": 2**63, "decimals": 0}
    assert status["wallet"] == {"address": "", "balances": [balance]}
    assert status["outcomes"] == {"success": 3, "failed": 0, "pending": 0, "refused": 0}


def test_every_field_is_there_but_absent_optional_ones() -> None:
    """A reader need not ask whether a figure is missing or zero."""
    result = as_dict(pb.TradeResult())
    assert (result["fees_paid"], result["status"], result["mev_protected"]) == (0, "TRADE_STATUS_UNSPECIFIED", False)
    assert "error_message" not in result

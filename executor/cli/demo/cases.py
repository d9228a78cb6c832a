"""The five trades that are meant to go differently, and what has to come of each."""

import enum
from collections.abc import Mapping
from types import MappingProxyType

from attrs import frozen

STALE_BPS = 500


@frozen(kw_only=True)
class Expected:
    """How a trade has to end: as a result with this status, or refused with this gRPC status."""

    status: str
    code: str = ""


SUCCESS = Expected(status="SUCCESS")


@frozen(kw_only=True)
class CaseFacts:
    """What a reader is told of it, and what is ordered of the localnet for it."""

    title: str
    story: str
    expected: Expected
    fault: Mapping[str, object] | None = None


class Case(enum.Enum):
    """One of each is among the trades of a demo."""

    EMPTY_BALANCE = CaseFacts(
        title="empty balance",
        story="The wallet holds none of the token that is to be sold: refused with the figures, before anything is built.",
        expected=Expected(status="FAILED_PRECONDITION", code="BALANCE_INSUFFICIENT"),
    )
    STALE_QUOTE = CaseFacts(
        title="stale quote",
        story=f"Jupiter quotes {STALE_BPS / 100:g} % more than the pools give by now: the simulation finds out. A new quote is "
        "further below it than the slippage allows: nothing is sent.",
        expected=Expected(status="FAILED", code="SLIPPAGE_EXCEEDED"),
        fault=MappingProxyType(
            {"target": "jupiter", "operation": "quote", "fault": {"kind": "stale-quote", "bps": STALE_BPS}, "count": 1}
        ),
    )
    FOREIGN_TOKEN = CaseFacts(
        title="foreign token",
        story="The token is real and traded on mainnet, but not on the daemon's whitelist: refused before anyone is asked.",
        expected=Expected(status="FAILED_PRECONDITION", code="MINT_NOT_WHITELISTED"),
    )
    LOST_SEND = CaseFacts(
        title="lost send",
        story="The node takes the transaction, answers and forgets it. The daemon sends the same bytes again; they land, once.",
        expected=SUCCESS,
        fault=MappingProxyType({"target": "node", "operation": "sendTransaction", "fault": {"kind": "lost-send"}, "count": 1}),
    )
    OVERSIZED = CaseFacts(
        title="oversized amount",
        story="More than the configuration allows for one trade, though the wallet could pay it: refused.",
        expected=Expected(status="FAILED_PRECONDITION", code="AMOUNT_ABOVE_LIMIT"),
    )

    @property
    def facts(self) -> CaseFacts:
        """What there is to say of it."""
        value: CaseFacts = self.value
        return value

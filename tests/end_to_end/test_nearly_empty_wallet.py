"""Many trades at once from a wallet that can pay for a few: exactly those are made, and every other is refused with figures."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pytest
from attrs import evolve, field, frozen
from solders.keypair import Keypair

from executor.rpc import trade_executor_pb2 as pb
from tests.support.callers import Caller, Refused, make_request
from tests.support.daemon import HTTPX_BODIES, gather, running
from tests.support.localnet import Localnet
from tests.support.relays import relay_node
from tests.support.settings import Place
from tests.support.upstream import open_upstream

pytestmark = [HTTPX_BODIES, pytest.mark.slow]

ASKED, FITTING = 50, 7
SIGNATURE_LAMPORTS, MAX_PRIORITY_LAMPORTS, RESERVE_LAMPORTS = 5_000, 10_000, 5_000_000
RENT_LAMPORTS = 2_039_280
PLENTY_LAMPORTS = 10 * 10**9


@frozen(kw_only=True)
class Case:
    """A swap, what one of them needs at worst of what is scarce, and what the wallet has besides."""

    source: str
    target: str
    amount: float
    needs: int
    lamports: int = RESERVE_LAMPORTS
    """Of its own; what is scarce comes on top of it where that is SOL."""
    tokens: Mapping[str, int] = field(factory=dict)
    """Raw amounts; who has none has no account either."""

    @property
    def unit(self) -> str:
        return "lamports" if self.source == "SOL" else "amount"

    @property
    def short(self) -> int:
        """What makes one trade fewer fit, though earlier ones give back rent and unspent fees while later ones are checked."""
        return SOL_AMOUNT // 2 if self.source == "SOL" else 1

    def wallet(self, chain: Localnet, *, fitting: int) -> Keypair:
        """One that can pay for so many of them."""
        scarce = FITTING * self.needs - (FITTING - fitting) * self.short
        if self.source == "SOL":
            return chain.new_wallet(lamports=self.lamports + scarce, tokens=self.tokens)
        return chain.new_wallet(lamports=self.lamports, tokens={**self.tokens, self.source: scarce})


FEES_LAMPORTS = SIGNATURE_LAMPORTS + MAX_PRIORITY_LAMPORTS
SOL_AMOUNT = 10**8
CASES = {
    "SOL, its wrapped account is to be made": Case(
        source="SOL", target="USDC", amount=0.1, needs=SOL_AMOUNT + FEES_LAMPORTS + RENT_LAMPORTS, tokens={"USDC": 1}
    ),
    "SOL, the output's account is missing, too": Case(
        source="SOL", target="USDC", amount=0.1, needs=SOL_AMOUNT + FEES_LAMPORTS + 2 * RENT_LAMPORTS
    ),
    "a token, of SOL there is plenty": Case(
        source="USDC", target="RAY", amount=10, needs=10 * 10**6, lamports=PLENTY_LAMPORTS, tokens={"RAY": 1}
    ),
    "a token, the output's account is missing": Case(
        source="USDC", target="SOL", amount=10, needs=10 * 10**6, lamports=PLENTY_LAMPORTS
    ),
}


@frozen
class Simulations:
    """What the nodes answered to those that were asked of them."""

    errors: list[Any] = field(factory=list)

    def keep(self, answer: Any) -> Any:
        """Note an answer and hand it on."""
        self.errors.append(answer["result"]["value"]["err"] if "result" in answer else answer["error"])
        return answer


def ask(caller: Caller, request: pb.TradeRequest) -> pb.TradeResult | Refused:
    """Trade; a refusal is an answer, too."""
    try:
        return caller.execute(request)
    except Refused as refusal:
        return refusal


@pytest.mark.parametrize("fitting", [FITTING, FITTING - 1])
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
async def test_what_fits_is_made_and_the_rest_refused(case: Case, fitting: int, chain: Localnet, place: Place) -> None:
    """50 at once, 7 fit: 7 succeed, 43 are refused before anything was simulated. With a little less, 6 do."""
    wallet, simulations = case.wallet(chain, fitting=fitting), Simulations()
    requests = [make_request(f"poor-{n}", case.source, case.target, case.amount, max_slippage_bps=300) for n in range(ASKED)]
    async with open_upstream() as node:
        relay_node(node, chain.nodes[0], simulateTransaction=simulations.keep)
        async with running(evolve(place, nodes=(node.url,)), wallet) as daemon:
            before = chain.transactions()
            answers = await gather(*(partial(ask, daemon.caller, request) for request in requests))
            landed = chain.transactions() - before
            status = await daemon.status()

    results = [answer for answer in answers if isinstance(answer, pb.TradeResult)]
    assert [result.status for result in results] == [pb.TRADE_STATUS_SUCCESS] * fitting
    assert len({result.transaction_signature for result in results}) == landed == fitting
    assert simulations.errors == [None] * fitting
    assert_refused([answer for answer in answers if isinstance(answer, Refused)], case, fitting)
    assert (status.outcomes.success, status.outcomes.refused, status.trades_in_flight) == (fitting, ASKED - fitting, 0)


def assert_refused(refusals: Sequence[Refused], case: Case, fitting: int) -> None:
    """Each says what was needed, what was there and what was held of it, and by these figures it had to be refused."""
    assert len(refusals) == ASKED - fitting
    assert {(refused.status, refused.reason) for refused in refusals} == {("FAILED_PRECONDITION", "BALANCE_INSUFFICIENT")}
    for refused in refusals:
        needed, has, held = (int(refused.figures[f"{name}_{case.unit}"]) for name in ("needed", "balance", "held"))
        kept = int(refused.figures.get("reserve_lamports", 0))
        assert needed > has - held - kept
        assert all(word in refused.message for word in ("needs", "has"))
        assert ("held for trades in flight" in refused.message) is (held > 0)
    assert {int(refused.figures[f"needed_{case.unit}"]) for refused in refusals} <= {case.needs, case.needs - RENT_LAMPORTS}
    assert case.needs <= max(int(refused.figures[f"held_{case.unit}"]) for refused in refusals) <= fitting * case.needs

"""The admin endpoint of a localnet, under /admin/ on every port: order faults, fund wallets, advance slots, drop blocks, look."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from solders.pubkey import Pubkey

from executor.localnet.cluster import Commitment
from executor.localnet.encoding import meta_json, transaction_json
from executor.localnet.faults import (
    DroppedBlock,
    DuplicateLanding,
    Faults,
    Lag,
    LateLanding,
    Order,
    OrderError,
    order_json,
    parse_orders,
)
from executor.localnet.http import HttpReply, HttpRequest, json_reply
from executor.localnet.ledger import KEPT_TRANSACTIONS, LandedTransaction
from executor.localnet.tokens import TOKENS
from executor.localnet.world import Localnet
from executor.units import U64_MAX

ADMIN_PATH = "/admin"
MAX_ADVANCE_SLOTS = 2_000
MAX_FORK_BLOCKS = 100
PAGE_TRANSACTIONS = 250
OF_THE_CHAIN = (DroppedBlock, DuplicateLanding, Lag, LateLanding)
"""Faults that only a cluster of our own can have."""

Json = Any


class Switchboard:
    """Answers under /admin/ about faults. A wrong request is told as {"error": ..., "problems": [...]} under status 400."""

    def __init__(self, faults: Faults) -> None:
        self._orders = faults
        self._calls: dict[tuple[str, str], Callable[[Json], Json]] = {
            ("POST", "faults"): self._order,
            ("GET", "faults"): lambda _: self._faults(),
            ("DELETE", "faults"): lambda _: self._clear(),
        }

    def answer(self, request: HttpRequest) -> HttpReply:
        """Answer a request."""
        name = request.path.removeprefix(ADMIN_PATH).strip("/")
        call = self._calls.get((request.method, name))
        if call is None:
            known = any(name == path for _, path in self._calls)
            return _refused("no such method here" if known else "no such path", status=405 if known else 404)
        try:
            return json_reply(call(json.loads(request.body) if request.method == "POST" else None))
        except OrderError as error:
            return _refused("the request cannot be read", error.problems)
        except ValueError as error:
            return _refused("the body is no JSON", [str(error)])

    def _order(self, body: Json) -> Json:
        orders = parse_orders(body)
        self._require_possible(orders)
        self._orders.order(*orders)
        return self._faults()

    def _require_possible(self, orders: Sequence[Order]) -> None:
        """Raise `OrderError` for what cannot be carried out here."""

    def _faults(self) -> Json:
        return {"orders": [order_json(state) for state in self._orders.in_force()]}

    def _clear(self) -> Json:
        self._orders.clear()
        return self._faults()


class RemoteAdmin(Switchboard):
    """Where the chain is another node's: it cannot be lagged, forked or wound on from here."""

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults)
        self._calls[("GET", "state")] = lambda _: {"tokens": _tokens_json(), "ordersInForce": len(faults.in_force())}

    def _require_possible(self, orders: Sequence[Order]) -> None:
        impossible = sorted({order.fault.kind for order in orders if isinstance(order.fault, OF_THE_CHAIN)})
        if impossible:
            raise OrderError([f"{kind} cannot be ordered of a node that is not ours" for kind in impossible])


class Admin(Switchboard):
    """Answers for a whole localnet."""

    def __init__(self, localnet: Localnet) -> None:
        super().__init__(localnet.faults)
        self._localnet = localnet
        self._calls |= {
            ("POST", "fund"): self._fund,
            ("POST", "advance"): self._advance,
            ("POST", "fork"): self._fork,
            ("POST", "paid"): self._paid,
            ("GET", "state"): lambda _: self._state(),
        }

    # --- the chain ------------------------------------------------------------------------------------------------------------

    def _fund(self, body: Json) -> Json:
        reader = _Body(body, {"owner", "lamports", "tokens"})
        owner = reader.address("owner", reader.values.get("owner"))
        lamports = reader.number("lamports", reader.values.get("lamports", 0), U64_MAX)
        tokens = reader.amounts("tokens", self._localnet.market.tokens)
        reader.finish()
        self._localnet.fund(owner, lamports=lamports, tokens=tokens)
        return {"owner": str(owner), "slot": self._localnet.cluster.slot(Commitment.PROCESSED)}

    def _advance(self, body: Json) -> Json:
        reader = _Body(body, {"slots"})
        slots = reader.number("slots", reader.values.get("slots", 1), MAX_ADVANCE_SLOTS)
        reader.finish()
        for _ in range(slots):
            self._localnet.step()
        return self._state()

    def _fork(self, body: Json) -> Json:
        reader = _Body(body, {"blocks", "requeue"})
        blocks = reader.number("blocks", reader.values.get("blocks", 1), MAX_FORK_BLOCKS)
        requeue = reader.flag("requeue")
        reader.finish()
        return {"droppedBlocks": self._localnet.cluster.drop_blocks(blocks, requeue=requeue)}

    def _paid(self, body: Json) -> Json:
        """A page of the confirmed transactions that a wallet has paid for, oldest first."""
        reader = _Body(body, {"payer", "skip"})
        payer = reader.address("payer", reader.values.get("payer"))
        skip = reader.number("skip", reader.values.get("skip", 0), KEPT_TRANSACTIONS)
        reader.finish()
        page = itertools.islice(self._localnet.cluster.paid_by(payer), skip, skip + PAGE_TRANSACTIONS)
        return {"transactions": [_transaction_json(landed) for landed in page]}

    def _state(self) -> Json:
        cluster = self._localnet.cluster
        return {
            "seed": self._localnet.settings.seed,
            "clockSlot": cluster.clock_slot,
            "slots": {str(level): cluster.slot(level) for level in Commitment},
            "blockHeights": {str(level): cluster.block_height(level) for level in Commitment},
            "transactions": cluster.transaction_count,
            "queued": cluster.queued_count,
            "skippedSlots": cluster.counts.skipped_slots,
            "droppedBlocks": cluster.counts.dropped_blocks,
            "droppedTransactions": cluster.counts.dropped_transactions,
            "nodes": [{"name": node.name, "lagSlots": node.lag_slots} for node in self._localnet.nodes],
            "ordersInForce": len(self._localnet.faults.in_force()),
            "tokens": _tokens_json(),
        }


def _transaction_json(landed: LandedTransaction) -> Json:
    wire = transaction_json(landed.resolved, "base64")
    return {"slot": landed.landing.slot, "transaction": wire, "meta": meta_json(landed)}


def _tokens_json() -> Json:
    return [{"symbol": t.symbol, "mint": str(t.mint), "decimals": t.decimals, "program": str(t.program)} for t in TOKENS]


class _Body:
    """Reads the members of a request and keeps every problem that it meets."""

    def __init__(self, body: Json, known: set[str]) -> None:
        self.values: Mapping[str, Json] = body if isinstance(body, dict) else {}
        self._problems = [] if isinstance(body, dict) else ["the body must be an object"]
        self._problems += [f"{name} is unknown" for name in self.values if name not in known]

    def address(self, place: str, value: Json) -> Pubkey:
        """An address in base58."""
        try:
            return Pubkey.from_string(value)
        except (ValueError, TypeError):
            self._problems.append(f"{place} must be an address, not {value!r}")
            return Pubkey.default()

    def number(self, place: str, value: Json, most: int) -> int:
        """An integer from 0."""
        if type(value) is not int or not 0 <= value <= most:
            self._problems.append(f"{place} must be an integer from 0 to {most}, not {value!r}")
            return 0
        return value

    def flag(self, name: str) -> bool:
        """A switch, off by default."""
        value = self.values.get(name, False)
        if not isinstance(value, bool):
            self._problems.append(f"{name} must be true or false, not {value!r}")
        return value is True

    def amounts(self, name: str, known: Mapping[Pubkey, object]) -> dict[Pubkey, int]:
        """Raw amounts by mint."""
        value = self.values.get(name, {})
        if not isinstance(value, dict):
            self._problems.append(f"{name} must be an object of raw amounts by mint")
            return {}
        amounts: dict[Pubkey, int] = {}
        for text, amount in value.items():
            mint = self.address(f"{name}[{text!r}]", text)
            amounts[mint] = self.number(f"{name}[{text!r}]", amount, U64_MAX)
            if mint not in known and mint != Pubkey.default():
                self._problems.append(f"{name}[{text!r}] is no token of this market")
        return amounts

    def finish(self) -> None:
        """Raise `OrderError` with everything that was wrong."""
        if self._problems:
            raise OrderError(self._problems)


def _refused(error: str, problems: object = (), *, status: int = 400) -> HttpReply:
    return json_reply({"error": error, "problems": list(problems) if isinstance(problems, (list, tuple)) else []}, status=status)

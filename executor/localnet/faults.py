"""Faults that a test or an operator orders, and the queue in which calls meet them. No I/O.

An order names whom it strikes (`target`: "node:<name>", "node" for every node, "jupiter", "*"), in which call (`operation`: an
RPC method, "quote", "swap-instructions", "swap", "*"), how often (`count`; none = until it is deleted) and one fault. There are
two queues: transport faults, which the server carries out on the wire, and the others, which the cores carry out in what they
answer. From each queue a call takes the first counted order that matches, so that three counted orders strike three calls, one
after the other; standing orders (without a count) strike every call that they match, beside the counted one.
"""

import itertools
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import attrs
from attrs import define, field, frozen

from executor.errors import ExecutorError

MAX_ORDERS = 1_000
MAX_SECONDS = 3_600.0
MAX_SLOTS = 1_000


class OrderError(ExecutorError):
    """An order cannot be read; `problems` names everything that is wrong with it, each with its place."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


# --- values that describe a fault ---------------------------------------------------------------------------------------------


@frozen
class Limits:
    """What a field of a fault may hold; the reader of orders names every breach."""

    kind: type
    least: float = 0
    most: float = 0
    optional: bool = False

    def problem(self, value: object) -> str | None:
        """Say what is wrong with a value, or nothing."""
        if value is None and self.optional:
            return None
        if type(value) not in ((int, float) if self.kind is float else (self.kind,)):
            return f"must be {_NAMES[self.kind]}, not {type(value).__name__}"
        if isinstance(value, (int, float)) and self.kind is not bool and not self.least <= value <= self.most:
            return f"must lie between {self.least:g} and {self.most:g}, not {value}"
        return None


_NAMES: Mapping[type, str] = MappingProxyType(
    {int: "an integer", float: "a number", str: "a string", bool: "true or false", dict: "an object"}
)


def _seconds() -> Any:
    return field(metadata={"limits": Limits(float, 0, MAX_SECONDS)})


def _slots(least: int, default: int) -> Any:
    return field(default=default, metadata={"limits": Limits(int, least, MAX_SLOTS)})


def _flag() -> Any:
    return field(default=False, metadata={"limits": Limits(bool)})


def _text(default: str) -> Any:
    return field(default=default, metadata={"limits": Limits(str)})


@frozen(kw_only=True)
class Fault:
    """What goes wrong in one call."""

    kind: ClassVar[str]
    on_the_wire: ClassVar[bool] = False
    """Carried out by the server (transport), not by a core."""
    only: ClassVar[str | None] = None
    """The one operation in which it has a meaning; other calls pass by its orders."""


@frozen(kw_only=True)
class Latency(Fault):
    """The call waits so long before it is carried out."""

    kind: ClassVar[str] = "latency"
    on_the_wire: ClassVar[bool] = True
    seconds: float = _seconds()


@frozen(kw_only=True)
class Hang(Fault):
    """No answer ever comes; the connection stays open. With `executed` the call was carried out all the same."""

    kind: ClassVar[str] = "hang"
    on_the_wire: ClassVar[bool] = True
    executed: bool = _flag()


@frozen(kw_only=True)
class Reset(Fault):
    """The connection is reset (RST) in place of an answer. With `executed` the call was carried out all the same."""

    kind: ClassVar[str] = "reset"
    on_the_wire: ClassVar[bool] = True
    executed: bool = _flag()


@frozen(kw_only=True)
class Status(Fault):
    """An HTTP status in place of an answer, with headers such as retry-after or x-ratelimit-reset."""

    kind: ClassVar[str] = "status"
    on_the_wire: ClassVar[bool] = True
    status: int = field(metadata={"limits": Limits(int, 400, 599)})
    headers: Mapping[str, str] = field(factory=dict, metadata={"limits": Limits(dict)})
    body: str = _text("")


@frozen(kw_only=True)
class Truncated(Fault):
    """The call is carried out and only the first half of the answer arrives, as if it were whole: JSON that ends in the middle.

    With `cut`, the length of the whole is announced and the connection ends after the half.
    """

    kind: ClassVar[str] = "truncated"
    on_the_wire: ClassVar[bool] = True
    cut: bool = _flag()


@frozen(kw_only=True)
class Garbage(Fault):
    """The call is carried out and something that is no JSON arrives, under status 200."""

    kind: ClassVar[str] = "garbage"
    on_the_wire: ClassVar[bool] = True
    body: str = _text("<html><body>upstream connect error</body></html>")


@frozen(kw_only=True)
class RpcFault(Fault):
    """A JSON-RPC error in place of the result.

    With `executed` the call was carried out all the same, as behind a proxy that asked again when it had lost the first answer.
    """

    kind: ClassVar[str] = "rpc-error"
    code: int = field(metadata={"limits": Limits(int, -(2**31), 2**31 - 1)})
    message: str = _text("Internal error")
    data: Any = None
    executed: bool = _flag()


@frozen(kw_only=True)
class LostSend(Fault):
    """The node answers a send with the signature and forgets the transaction."""

    kind: ClassVar[str] = "lost-send"
    only: ClassVar[str | None] = "sendTransaction"


@frozen(kw_only=True)
class LateLanding(Fault):
    """A sent transaction reaches the leaders only so many slots later."""

    kind: ClassVar[str] = "late-landing"
    only: ClassVar[str | None] = "sendTransaction"
    slots: int = _slots(1, 5)


@frozen(kw_only=True)
class DuplicateLanding(Fault):
    """A sent transaction reaches the leaders at once, and again so many slots later."""

    kind: ClassVar[str] = "duplicate-landing"
    only: ClassVar[str | None] = "sendTransaction"
    slots: int = _slots(0, 1)


@frozen(kw_only=True)
class DroppedBlock(Fault):
    """The block that takes the sent transaction is dropped with its fork one slot later, when others have seen it processed.

    With `requeue` its transactions are still in a leader's queue and land in a later block.
    """

    kind: ClassVar[str] = "dropped-block"
    only: ClassVar[str | None] = "sendTransaction"
    requeue: bool = _flag()


@frozen(kw_only=True)
class Lag(Fault):
    """The node answers as one that is so many slots behind: old state, slot, blockhash and statuses."""

    kind: ClassVar[str] = "lag"
    slots: int = _slots(1, 20)


@frozen(kw_only=True)
class StaleQuote(Fault):
    """Jupiter quotes an output better than the pools give by so many bps, as if the price had moved since."""

    kind: ClassVar[str] = "stale-quote"
    only: ClassVar[str | None] = "quote"
    bps: int = field(default=200, metadata={"limits": Limits(int, 1, 10_000)})


FAULTS: Mapping[str, type[Fault]] = MappingProxyType(
    {
        fault.kind: fault
        for fault in (
            *(Latency, Hang, Reset, Status, Truncated, Garbage),
            *(RpcFault, LostSend, LateLanding, DuplicateLanding, DroppedBlock, Lag),
            StaleQuote,
        )
    }
)


# --- orders and their queue ---------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Order:
    """A fault with whom it strikes, in which call and how often."""

    fault: Fault
    target: str = "*"
    operation: str = "*"
    count: int | None = 1

    def matches(self, target: str, operation: str) -> bool:
        """Tell whether a call of `operation` on `target` ("node:<name>" or "jupiter") is struck."""
        if self.fault.only not in (None, operation):
            return False
        return self.target in ("*", target, target.partition(":")[0]) and self.operation in ("*", operation)


@define
class _Queued:
    number: int
    order: Order
    left: int | None


@frozen(kw_only=True)
class OrderState:
    """An order that is still in force, for who asks."""

    number: int
    order: Order
    left: int | None


class Faults:
    """The orders in force, in the order in which they came."""

    def __init__(self) -> None:
        self._queue: list[_Queued] = []
        self._numbers = itertools.count(1)

    def order(self, *orders: Order) -> None:
        """Add orders behind those in force. Raises `OrderError` when there would be too many."""
        if len(self._queue) + len(orders) > MAX_ORDERS:
            raise OrderError([f"at most {MAX_ORDERS} orders may be in force"])
        self._queue.extend(_Queued(next(self._numbers), order, order.count) for order in orders)

    def clear(self) -> None:
        """Withdraw every order."""
        self._queue.clear()

    def in_force(self) -> tuple[OrderState, ...]:
        """List what has been ordered and not been used up."""
        return tuple(OrderState(number=queued.number, order=queued.order, left=queued.left) for queued in self._queue)

    def take(self, target: str, operation: str) -> list[Fault]:
        """What a core does wrong in this call; counted orders are used up by it."""
        return self._take(target, operation, on_the_wire=False)

    def take_transport(self, target: str, operation: str) -> list[Fault]:
        """What the server does wrong in this call; counted orders are used up by it."""
        return self._take(target, operation, on_the_wire=True)

    def _take(self, target: str, operation: str, *, on_the_wire: bool) -> list[Fault]:
        taken: list[Fault] = []
        counted = False
        for queued in self._queue:
            if queued.order.fault.on_the_wire is not on_the_wire or not queued.order.matches(target, operation):
                continue
            if queued.left is not None:
                if counted:
                    continue
                counted = True
                queued.left -= 1
            taken.append(queued.order.fault)
        if counted:
            self._queue = [queued for queued in self._queue if queued.left != 0]
        return taken


# --- orders as JSON -----------------------------------------------------------------------------------------------------------


def parse_orders(value: object) -> tuple[Order, ...]:
    """Read one order or a list of them, decoded JSON. Raises `OrderError` with every problem of every order.

    One order: `{"target": "node:node-0", "operation": "getSlot", "count": 2, "fault": {"kind": "latency", "seconds": 0.2}}`;
    only `fault` is required, a `count` of null makes it stand until it is deleted.
    """
    many = value if isinstance(value, list) else [value]
    reader = _Reader()
    orders = [reader.order(f"orders[{i}]" if isinstance(value, list) else "order", item) for i, item in enumerate(many)]
    if reader.problems:
        raise OrderError(reader.problems)
    return tuple(order for order in orders if order is not None)


def order_json(state: OrderState) -> dict[str, object]:
    """Write an order in force as JSON; `left` tells how many calls it will still strike."""
    order = state.order
    fault = {"kind": order.fault.kind, **attrs.asdict(order.fault)}
    return {
        "number": state.number,
        "target": order.target,
        "operation": order.operation,
        "count": order.count,
        "left": state.left,
        "fault": fault,
    }


class _Reader:
    """Reads orders and keeps every problem that it meets."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def order(self, place: str, value: object) -> Order | None:
        if not isinstance(value, dict):
            self.problems.append(f"{place} must be an object")
            return None
        self._unknown(place, value, {"target", "operation", "count", "fault"})
        target = self._checked(place, value, "target", Limits(str), "*")
        operation = self._checked(place, value, "operation", Limits(str), "*")
        if isinstance(target, str) and target not in ("*", "node", "jupiter") and not target.startswith("node:"):
            self.problems.append(f'{place}.target must be "node:<name>", "node", "jupiter" or "*", not {target!r}')
        count = self._checked(place, value, "count", Limits(int, 1, 1_000_000, optional=True), 1)
        fault = self._fault(f"{place}.fault", value.get("fault"))
        return Order(fault=fault, target=target, operation=operation, count=count) if fault is not None else None

    def _fault(self, place: str, value: object) -> Fault | None:
        if not isinstance(value, dict):
            self.problems.append(f"{place} must be an object")
            return None
        cls = FAULTS.get(str(value.get("kind")))
        if cls is None:
            self.problems.append(f"{place}.kind must be one of {', '.join(FAULTS)}")
            return None
        known = attrs.fields(cls)
        self._unknown(place, value, {"kind", *(f.name for f in known)})
        before = len(self.problems)
        values = {f.name: self._field(place, value, f) for f in known if f.name in value or f.default is attrs.NOTHING}
        return cls(**values) if len(self.problems) == before else None

    def _field(self, place: str, value: Mapping[str, Any], known: "attrs.Attribute[Any]") -> Any:
        if known.name not in value:
            self.problems.append(f"{place}.{known.name} is missing")
            return None
        limits = known.metadata.get("limits")
        found = value[known.name] if limits is None else self._checked(place, value, known.name, limits, None)
        if known.name == "headers" and isinstance(found, dict):
            bad = [name for name, text in found.items() if not _is_header(name, text)]
            self.problems.extend(f"{place}.headers[{name!r}] is no header" for name in bad)
        return found

    def _checked(self, place: str, value: Mapping[str, Any], name: str, limits: Limits, default: Any) -> Any:
        found = value.get(name, default)
        problem = limits.problem(found)
        if problem is not None:
            self.problems.append(f"{place}.{name} {problem}")
        return found

    def _unknown(self, place: str, value: Mapping[str, object], known: set[str]) -> None:
        self.problems.extend(f"{place}.{name} is unknown" for name in value if name not in known)


def _is_header(name: str, text: object) -> bool:
    if not isinstance(text, str) or any(ord(c) < 32 or ord(c) > 126 for c in text):
        return False
    return name != "" and all(c.isascii() and (c.isalnum() or c in "-_") for c in name)


__all__ = [
    "DroppedBlock",
    "DuplicateLanding",
    "Fault",
    "Faults",
    "Garbage",
    "Hang",
    "Lag",
    "LateLanding",
    "Latency",
    "LostSend",
    "Order",
    "OrderError",
    "OrderState",
    "Reset",
    "RpcFault",
    "StaleQuote",
    "Status",
    "Truncated",
    "order_json",
    "parse_orders",
]

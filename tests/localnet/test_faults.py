"""Ordered faults: whom they strike, in which order, how often, and how orders are read."""

from typing import Any

import pytest

from executor.localnet.carriage import Carriage, Ending, carriage
from executor.localnet.faults import (
    FAULTS,
    MAX_ORDERS,
    Fault,
    Faults,
    Garbage,
    Hang,
    Lag,
    Latency,
    LostSend,
    Order,
    OrderError,
    Reset,
    RpcFault,
    StaleQuote,
    Status,
    Truncated,
    order_json,
    parse_orders,
)
from executor.localnet.http import HttpReply

SLOW = Latency(seconds=0.5)
LATE = Lag(slots=5)


def kinds(faults: list[Fault]) -> list[str]:
    """The kinds of some faults."""
    return [fault.kind for fault in faults]


# --- who is struck ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "operation", "struck"),
    [
        ("*", "*", True),
        ("node", "*", True),
        ("node:a", "getSlot", True),
        ("node:b", "*", False),
        ("jupiter", "*", False),
        ("*", "getHealth", False),
    ],
)
def test_orders_strike_whom_they_name(target: str, operation: str, struck: bool) -> None:
    """One node, every node, everybody; one method or all."""
    order = Order(fault=LATE, target=target, operation=operation)

    assert order.matches("node:a", "getSlot") is struck


def test_some_faults_have_one_operation() -> None:
    """A lost send waits for a send and a stale quote for a quote, even when ordered of everything."""
    assert not Order(fault=LostSend()).matches("node:a", "getSlot")
    assert Order(fault=LostSend()).matches("node:a", "sendTransaction")
    assert not Order(fault=StaleQuote()).matches("jupiter", "swap")
    assert Order(fault=StaleQuote()).matches("jupiter", "quote")


def test_counted_orders_strike_one_call_after_the_other() -> None:
    """The first order is used up before the second one strikes."""
    faults = Faults()
    faults.order(Order(fault=Lag(slots=1), count=2), Order(fault=Lag(slots=2)))

    slots = [[fault.slots for fault in faults.take("node:a", "getSlot") if isinstance(fault, Lag)] for _ in range(4)]
    assert slots == [[1], [1], [2], []]


def test_standing_orders_strike_beside_counted_ones() -> None:
    """Without a count an order strikes every call, until it is withdrawn."""
    faults = Faults()
    faults.order(Order(fault=LATE, count=None), Order(fault=RpcFault(code=-32005)))

    assert kinds(faults.take("node:a", "getSlot")) == ["lag", "rpc-error"]
    assert kinds(faults.take("node:a", "getSlot")) == ["lag"]
    faults.clear()
    assert faults.take("node:a", "getSlot") == []


def test_the_wire_has_a_queue_of_its_own() -> None:
    """A core never uses up what the server carries out, nor the other way round."""
    faults = Faults()
    faults.order(Order(fault=SLOW), Order(fault=LATE))

    assert kinds(faults.take("jupiter", "quote")) == ["lag"]
    assert kinds(faults.take_transport("jupiter", "quote")) == ["latency"]
    assert faults.in_force() == ()


def test_what_is_in_force_is_told() -> None:
    """Each order with its number and how many calls it will still strike."""
    faults = Faults()
    faults.order(Order(fault=SLOW, target="jupiter", operation="quote", count=2), Order(fault=Lag(slots=3), count=None))
    faults.take_transport("jupiter", "quote")

    assert [order_json(state) for state in faults.in_force()] == [
        {
            "number": 1,
            "target": "jupiter",
            "operation": "quote",
            "count": 2,
            "left": 1,
            "fault": {"kind": "latency", "seconds": 0.5},
        },
        {"number": 2, "target": "*", "operation": "*", "count": None, "left": None, "fault": {"kind": "lag", "slots": 3}},
    ]


def test_orders_are_bounded() -> None:
    """More than a thousand are refused, and none of them is taken."""
    faults = Faults()
    with pytest.raises(OrderError, match="at most 1000"):
        faults.order(*[Order(fault=LATE)] * (MAX_ORDERS + 1))

    assert faults.in_force() == ()


# --- how orders are read ------------------------------------------------------------------------------------------------------

EXAMPLES: dict[str, dict[str, Any]] = {
    "latency": {"seconds": 1},
    "hang": {"executed": True},
    "reset": {},
    "status": {"status": 429, "headers": {"retry-after": "1"}, "body": "slow down"},
    "truncated": {"cut": True},
    "garbage": {"body": "?"},
    "rpc-error": {"code": -32005, "message": "Node is unhealthy", "data": {"numSlotsBehind": None}},
    "lost-send": {},
    "late-landing": {"slots": 9},
    "duplicate-landing": {"slots": 0},
    "dropped-block": {"requeue": True},
    "lag": {"slots": 40},
    "stale-quote": {"bps": 50},
}


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_can_be_ordered_as_json(kind: str) -> None:
    """What is read is what is shown."""
    fault = {"kind": kind, **EXAMPLES[kind]}
    (order,) = parse_orders({"fault": fault})

    assert type(order.fault) is FAULTS[kind]
    faults = Faults()
    faults.order(order)
    shown = order_json(faults.in_force()[0])["fault"]
    assert isinstance(shown, dict)
    assert fault.items() <= shown.items()


def test_a_list_is_many_orders() -> None:
    """Read in its order; what is not said has its default, a null count stands for ever."""
    orders = parse_orders(
        [{"fault": {"kind": "lag"}}, {"target": "node:a", "operation": "getSlot", "count": None, "fault": {"kind": "reset"}}]
    )

    assert orders == (
        Order(fault=Lag(slots=20), target="*", operation="*", count=1),
        Order(fault=Reset(), target="node:a", operation="getSlot", count=None),
    )


@pytest.mark.parametrize(
    ("value", "problems"),
    [
        (5, ["order must be an object"]),
        ([5], ["orders[0] must be an object"]),
        ({}, ["order.fault must be an object"]),
        (
            {"x": 1, "target": "foo", "operation": 5, "count": 0, "fault": {"kind": "latency", "z": 1}},
            [
                "order.x is unknown",
                "order.operation must be a string, not int",
                'order.target must be "node:<name>", "node", "jupiter" or "*", not \'foo\'',
                "order.count must lie between 1 and 1e+06, not 0",
                "order.fault.z is unknown",
                "order.fault.seconds is missing",
            ],
        ),
        ({"target": None, "fault": {"kind": "lag"}}, ["order.target must be a string, not NoneType"]),
        ({"fault": {"kind": "quake"}}, [f"order.fault.kind must be one of {', '.join(FAULTS)}"]),
        ({"fault": {"kind": "lag", "slots": True}}, ["order.fault.slots must be an integer, not bool"]),
        ({"fault": {"kind": "latency", "seconds": 1e9}}, ["order.fault.seconds must lie between 0 and 3600, not 1000000000.0"]),
        ({"fault": {"kind": "hang", "executed": 1}}, ["order.fault.executed must be true or false, not int"]),
        (
            {"fault": {"kind": "status", "status": 200, "headers": {"a b": "x", "c": 1, "d": "\n", "": "e"}}},
            [
                "order.fault.status must lie between 400 and 599, not 200",
                "order.fault.headers['a b'] is no header",
                "order.fault.headers['c'] is no header",
                "order.fault.headers['d'] is no header",
                "order.fault.headers[''] is no header",
            ],
        ),
        ({"fault": {"kind": "status", "status": 500, "headers": []}}, ["order.fault.headers must be an object, not list"]),
    ],
)
def test_every_problem_is_named_at_once(value: object, problems: list[str]) -> None:
    """Each with its place; nothing is ordered."""
    with pytest.raises(OrderError) as raised:
        parse_orders(value)

    assert list(raised.value.problems) == problems


def test_problems_of_several_orders_come_together() -> None:
    """The second order is read even when the first is wrong."""
    with pytest.raises(OrderError) as raised:
        parse_orders([{"fault": {"kind": "lag", "slots": 0}}, {"fault": {"kind": "lag", "slots": "x"}}])

    assert list(raised.value.problems) == [
        "orders[0].fault.slots must lie between 1 and 1000, not 0",
        "orders[1].fault.slots must be an integer, not str",
    ]


# --- how transport faults are carried out -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "plan"),
    [
        ([], Carriage()),
        ([SLOW, Latency(seconds=0.25)], Carriage(delay_seconds=0.75)),
        ([Hang()], Carriage(executed=False, ending=Ending.HANG)),
        ([Hang(executed=True)], Carriage(ending=Ending.HANG)),
        ([Reset()], Carriage(executed=False, ending=Ending.RESET)),
        ([SLOW, Reset(executed=True), Hang()], Carriage(delay_seconds=0.5, ending=Ending.RESET)),
        ([Truncated()], Carriage(halved=True)),
        ([Truncated(cut=True)], Carriage(halved=True, ending=Ending.CUT)),
        (
            [Status(status=429, headers={"retry-after": "1"}, body="no")],
            Carriage(executed=False, replacement=HttpReply(status=429, headers={"retry-after": "1"}, body=b"no")),
        ),
        (
            [Garbage(body="?")],
            Carriage(replacement=HttpReply(status=200, headers={"content-type": "application/json"}, body=b"?")),
        ),
    ],
)
def test_transport_faults_add_up(faults: list[Fault], plan: Carriage) -> None:
    """Delays are summed, the first fault that decides the ending decides it, and what was executed is known."""
    assert carriage(faults) == plan

"""How the answer to a call is carried when transport faults strike it. Decides only; the server does it."""

import enum
from collections.abc import Iterable

from attrs import evolve, frozen

from executor.localnet.faults import Fault, Garbage, Hang, Latency, Reset, Status, Truncated
from executor.localnet.http import HttpReply


class Ending(enum.Enum):
    """What becomes of the connection."""

    ANSWER = "answer"
    CUT = "cut"
    """The whole length is announced, half of the body is sent, the connection ends."""
    HANG = "hang"
    RESET = "reset"


@frozen(kw_only=True)
class Carriage:
    """What the server does with a call."""

    delay_seconds: float = 0.0
    executed: bool = True
    """The call is carried out, whatever its caller gets to see."""
    replacement: HttpReply | None = None
    """In place of the true answer."""
    halved: bool = False
    ending: Ending = Ending.ANSWER


def carriage(faults: Iterable[Fault]) -> Carriage:
    """Put the faults of one call together: delays add up, and the first fault that decides the ending decides it."""
    plan = Carriage()
    decided = False
    for fault in faults:
        if isinstance(fault, Latency):
            plan = evolve(plan, delay_seconds=plan.delay_seconds + fault.seconds)
        elif not decided:
            plan = _ended(plan, fault)
            decided = True
    return plan


def _ended(plan: Carriage, fault: Fault) -> Carriage:
    match fault:
        case Hang():
            return evolve(plan, executed=fault.executed, ending=Ending.HANG)
        case Reset():
            return evolve(plan, executed=fault.executed, ending=Ending.RESET)
        case Status():
            replacement = HttpReply(status=fault.status, headers=fault.headers, body=fault.body.encode())
            return evolve(plan, executed=False, replacement=replacement)
        case Garbage():
            body = fault.body.encode()
            return evolve(plan, replacement=HttpReply(status=200, headers={"content-type": "application/json"}, body=body))
        case Truncated():
            return evolve(plan, halved=True, ending=Ending.CUT if fault.cut else Ending.ANSWER)
        case _:
            raise AssertionError(f"{fault.kind} is no transport fault")

"""A row of a table of faults, and rows by their shape: most errors differ in nothing but their words."""

from attrs import evolve, frozen

from executor.errors import ErrorCode
from executor.faults.model import Fault, FaultClass, Reaction, Remedy, printable


@frozen
class Row:
    """What a table says about one error."""

    code: ErrorCode
    fault_class: FaultClass
    reaction: Reaction
    meaning: str
    remedy: Remedy | None = None
    once: bool = False

    def fault(self, said: str = "", *, retry_after_seconds: float | None = None, program: str | None = None) -> Fault:
        """Make the fault of this row; `said` are the upstream's own words."""
        words = printable(said)
        return Fault(
            code=self.code,
            fault_class=self.fault_class,
            reaction=self.reaction,
            detail=f"{self.meaning}: {words}" if words else self.meaning,
            retry_after_seconds=retry_after_seconds,
            remedy=self.remedy,
            once=self.once,
            program=program,
        )


def reject(meaning: str, code: ErrorCode) -> Row:
    """Make the row of an error that ends the trade."""
    return Row(code, FaultClass.PERMANENT, Reaction.REJECT, meaning)


def requote(
    meaning: str, remedy: Remedy | None = None, *, once: bool = False, code: ErrorCode = ErrorCode.SIMULATION_FAILED
) -> Row:
    """Make the row of an error that a new quote may cure."""
    return Row(code, FaultClass.TRANSIENT, Reaction.REQUOTE, meaning, remedy, once)


def again(meaning: str, code: ErrorCode, reaction: Reaction = Reaction.SAME, remedy: Remedy | None = None) -> Row:
    """Make the row of an error that the same call may cure."""
    return Row(code, FaultClass.TRANSIENT, reaction, meaning, remedy)


def elsewhere(meaning: str) -> Row:
    """Make the row of a node that cannot answer now."""
    return again(meaning, ErrorCode.NODE_UNHEALTHY, Reaction.OTHER_NODE)


def unknown(meaning: str, said: str, code: ErrorCode, *, program: str | None = None) -> Fault:
    """Make the fault of what no table has: it says so, and is not repeated."""
    return evolve(reject(meaning, code).fault(said, program=program), known=False)


def unpayable(meaning: str) -> Row:
    """Make the row of a wallet that has too little."""
    return reject(meaning, ErrorCode.FUNDS_INSUFFICIENT)


def refused(meaning: str) -> Row:
    """Make the row of a transaction that the chain refuses, and would refuse again."""
    return reject(meaning, ErrorCode.SIMULATION_FAILED)

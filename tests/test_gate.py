"""The door between a trade and its first byte: whoever may object there is asked, with the name of the trade."""

import pytest

from executor.errors import Denied, ErrorCode
from executor.gate import Gate


def test_nobody_objects_unless_somebody_is_named() -> None:
    """A gate of its own lets every trade sign."""
    gate = Gate(1.0)
    gate.require_pass("a")

    assert not gate.draining


def test_an_objection_is_raised_as_it_is() -> None:
    """It ends the trade before it is signed."""

    def object_to_b(request_id: str) -> None:
        if request_id == "b":
            raise Denied(ErrorCode.TRADING_HALTED, "trading is halted")

    gate = Gate(1.0, require_pass=object_to_b)
    gate.require_pass("a")
    with pytest.raises(Denied, match="trading is halted"):
        gate.require_pass("b")

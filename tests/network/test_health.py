"""What calls tell of an endpoint."""

import pytest

from executor.errors import ErrorCode
from executor.faults import Source, TransportError, http_fault, rpc_fault
from executor.network.health import EndpointHealth

FRESH = EndpointHealth(name="one", endpoint="http://127.0.0.1:1")


def error(status: int) -> TransportError:
    """A call that ended with this status."""
    fault = http_fault(status, {}, Source.NODE)
    return TransportError(endpoint="http://127.0.0.1:1", operation="getSlot", fault=fault, status=status)


@pytest.mark.parametrize("status", [401, 404, 410, 429, 503])
def test_a_problem_of_the_endpoint_is_kept(status: int) -> None:
    """Text and time of the latest one, until it answers again."""
    health = FRESH.answered(1.0).failed(error(status), 2.0)

    assert (health.failing, health.last_answer_at, health.last_problem_at) == (True, 1.0, 2.0)
    assert "getSlot failed: HTTP" in (health.last_problem or "")

    health = health.answered(3.0)

    assert (health.failing, health.last_answer_at, health.last_problem_at) == (False, 3.0, 2.0)


def test_a_refusal_of_the_call_is_an_answer() -> None:
    """An endpoint that refuses what we ask is alive."""
    fault = rpc_fault(-32602, "Invalid params", None)
    refused = TransportError(endpoint=FRESH.endpoint, operation="x", fault=fault, status=200)
    health = FRESH.failed(refused, 2.0)

    assert refused.fault.code is ErrorCode.NODE_REFUSED
    assert (health.failing, health.last_answer_at, health.last_problem) == (False, 2.0, None)


def test_a_node_s_own_word_outlasts_other_answers() -> None:
    """Who says that it is behind answers everything else, out of date: only its own word takes that back."""
    fault = rpc_fault(-32005, "Node is behind by 42 slots", None)
    behind = TransportError(endpoint=FRESH.endpoint, operation="getHealth", fault=fault, status=200)
    health = FRESH.failed(behind, 1.0).refused_health(behind).answered(2.0).at_slot(7)

    assert health.failing
    assert "behind by 42 slots" in (health.problem or "")

    health = health.failed(error(503), 3.0)

    assert "HTTP 503" in (health.problem or "")

    health = health.answered(4.0)

    assert "behind by 42 slots" in (health.problem or "")

    health = health.healthy_by_its_word()

    assert (health.failing, health.problem, health.last_problem_at) == (False, None, 3.0)


@pytest.mark.parametrize("status", [401, 404, 429, 503])
def test_no_answer_is_no_verdict(status: int) -> None:
    """A health call that failed on its way neither condemns a node nor acquits it."""
    assert FRESH.refused_health(error(status)) == FRESH


def test_an_endpoint_was_seen_when_a_call_last_ended() -> None:
    """Well or badly; never, before the first."""
    assert FRESH.seen_at is None
    assert FRESH.answered(1.0).seen_at == 1.0
    assert FRESH.answered(1.0).failed(error(503), 2.0).seen_at == 2.0
    assert FRESH.failed(error(503), 2.0).answered(3.0).seen_at == 3.0


def test_the_highest_slot_stays() -> None:
    """Answers at other commitments do not set a node back."""
    assert FRESH.at_slot(5).at_slot(9).at_slot(7).last_slot == 9

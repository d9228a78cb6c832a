"""The loop behind every background value."""

import pytest
import trio
import trio.testing

from executor.chainstate.refresher import refresh_forever
from executor.faults import Source, TransportError, TransportKind, transport_fault
from tests.support.events import RecordedLog


async def test_it_refreshes_at_once_and_then_again_and_again(autojump_clock: trio.testing.MockClock) -> None:
    """A failing upstream is logged and tried again at the usual time; it ends nothing."""
    log, at = RecordedLog(), []

    async def refresh() -> None:  # noqa: ASYNC124 - a refresh may be quick
        at.append(trio.current_time())
        if len(at) == 2:
            fault = transport_fault(TransportKind.TIMEOUT, Source.NODE)
            raise TransportError(endpoint="http://127.0.0.1:9", operation="getSlot", fault=fault)

    began = trio.current_time()
    with trio.move_on_after(7):
        await refresh_forever(refresh, every_seconds=2.0, name="value", log=log)

    assert [moment - began for moment in at] == [0.0, 2.0, 4.0, 6.0]
    assert [event["value"] for event in log.named("refresh.failed")] == ["value"]


async def test_a_bug_propagates() -> None:
    """Only what upstreams do wrong is survived."""

    async def refresh() -> None:  # noqa: ASYNC124 - as above
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await refresh_forever(refresh, every_seconds=2.0, name="value", log=RecordedLog())

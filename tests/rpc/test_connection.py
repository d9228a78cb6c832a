"""The protocol state without any I/O: whatever arrives, it ends in events, answers, or the one error for a broken peer."""

import hpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor.rpc.connection import CallBegan, Connection, ProtocolError
from executor.rpc.frame_gate import AbusiveConnection, FrameGate
from executor.rpc.limits import ServerLimits
from executor.rpc.rpc_status import RpcCode, RpcStatus
from tests.rpc.raw_peer import PREFACE, call_headers, data, frame, headers, message
from tests.rpc.raw_peer import settings as settings_frame

LIMITS = ServerLimits()


def greeted() -> Connection:
    """A connection whose peer has begun as it should."""
    connection = Connection(LIMITS)
    connection.receive_data(PREFACE + settings_frame({}))
    connection.take_output()
    return connection


streams = st.integers(0, 7)
noise = st.builds(frame, st.integers(0, 12), streams, st.binary(max_size=64), flags=st.integers(0, 255))
blocks = st.lists(st.tuples(st.sampled_from([":path", "te", "x", "X", "content-length"]), st.text(max_size=5)), max_size=4)
calls = st.builds(
    lambda stream_id, extra, ends: headers(stream_id, hpack.Encoder().encode([*call_headers(), *extra]), ends=ends),
    streams,
    blocks,
    st.booleans(),
)
bodies = st.builds(lambda stream_id, ends: data(stream_id, message(), ends=ends), streams, st.booleans())


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(noise, calls, bodies, st.binary(max_size=20)), max_size=12))
def test_no_bytes_break_it(sent: list[bytes]) -> None:
    """Noise, calls and noise in calls give events or a ProtocolError; answering whatever began never fails."""
    connection = greeted()
    gate = FrameGate(limits=LIMITS, now=0.0)
    try:
        for turn in gate.turns(PREFACE + settings_frame({}) + b"".join(sent), now=0.0):
            for event in connection.receive_data(turn.removeprefix(PREFACE)):
                if isinstance(event, CallBegan):
                    status = RpcStatus(RpcCode.NOT_FOUND, "no")
                    connection.answer(event.stream_id, status, response_started=False, request_ended=False)
    except (ProtocolError, AbusiveConnection):
        pass
    connection.take_output()


def test_what_waits_to_be_sent_is_counted_and_taken_once() -> None:
    """The unsent bytes are those that the next output has; a GOAWAY stands behind what was there before."""
    connection = greeted()
    connection.receive_data(frame(6, payload=b"12345678"))
    connection.send_goaway(7, 11)

    assert connection.unsent_bytes == 17 + 17
    assert connection.take_output()[17:] == frame(7, payload=(7).to_bytes(4) + (11).to_bytes(4))
    assert (connection.unsent_bytes, connection.take_output()) == (0, b"")

"""The gate counts frames however they arrive, changes no byte, and cuts off exactly those who use more than they may."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.rpc.frame_gate import ENHANCE_YOUR_CALM, FRAMES_PER_TURN, AbusiveConnection, FrameGate
from executor.rpc.limits import ServerLimits
from tests.rpc.raw_peer import DATA, HEADERS, PING, PREFACE, SETTINGS, frame, headers, settings

LIMITS = ServerLimits(frame_burst=100, frames_per_second=10)
A_PING = frame(PING, payload=bytes(8))


def gate(limits: ServerLimits = LIMITS) -> FrameGate:
    """A gate at time 0, of a peer that was answered before."""
    one = FrameGate(limits=limits, now=0.0)
    one.earn(0)
    return one


frames = st.builds(frame, st.sampled_from([0, 2, 3, 6, 8, 77]), st.integers(0, 9), st.binary(max_size=40))


@pytest.mark.slow
@given(st.lists(frames, max_size=90), st.data())
def test_every_byte_passes_however_it_is_cut(sent: list[bytes], cuts: st.DataObject) -> None:
    """Whatever the pieces in which bytes arrive, they come out the same, and no turn has too many frames."""
    stream = PREFACE + b"".join(sent)
    passed, at, one = b"", 0, gate()
    while at < len(stream):
        size = cuts.draw(st.integers(1, len(stream) - at))
        for turn in one.turns(stream[at : at + size], now=0.0):
            assert turn
            passed += turn
        at += size

    assert passed == stream
    assert sum(1 for _ in gate().turns(stream, now=0.0)) <= 1 + len(sent) // FRAMES_PER_TURN


@pytest.mark.parametrize("sent", [A_PING * (2 * FRAMES_PER_TURN + 1), frame(77) * 3 * FRAMES_PER_TURN], ids=["rest", "none"])
def test_a_turn_ends_after_its_frames(sent: bytes) -> None:
    """What arrives at once is handed on in turns."""
    assert len(list(gate().turns(PREFACE + sent, now=0.0))) == 3


def test_a_peer_without_an_answer_is_not_trusted() -> None:
    """Whatever it has sent or not sent."""
    assert not FrameGate(limits=LIMITS, now=0.0).trusted


def test_a_peer_without_an_answer_has_fewer_frames_that_ask_for_nothing() -> None:
    """Until it is answered, all but HEADERS and DATA count for four."""
    limits = ServerLimits(frame_burst=40, frames_per_second=0)
    list(FrameGate(limits=limits, now=0.0).turns(PREFACE + frame(DATA, 1) * 40, now=0.0))
    list(FrameGate(limits=limits, now=0.0).turns(PREFACE + frame(77) * 10, now=0.0))
    with pytest.raises(AbusiveConnection):
        list(FrameGate(limits=limits, now=0.0).turns(PREFACE + frame(77) * 11, now=0.0))


def test_trust_is_lost_by_unanswered_frames_and_comes_back() -> None:
    """Who uses more than it earns is no longer trusted, until time or answers have given it back."""
    one = gate(ServerLimits(frames_on_trust=50, frames_per_second=10))
    trusted = []
    for pings, seconds in ((50, 0.0), (1, 0.0), (0, 0.1), (20, 0.1), (1, 5.0)):
        list(one.turns(A_PING * pings, now=seconds))
        trusted.append(one.trusted)
    list(one.turns(A_PING * 20, now=5.0))
    one.earn(20)

    assert [*trusted, one.trusted] == [True, False, True, False, True, True]


def test_time_refills_the_credit_up_to_the_burst() -> None:
    """A peer may send its burst, then as many frames as the rate gives it; waiting long gives no more than the burst."""
    one = gate()
    list(one.turns(PREFACE + A_PING * 100, now=0.0))
    list(one.turns(A_PING * 10, now=1.0))
    with pytest.raises(AbusiveConnection):
        list(one.turns(A_PING, now=1.0))

    rested = gate()
    list(rested.turns(PREFACE, now=0.0))
    with pytest.raises(AbusiveConnection):
        list(rested.turns(A_PING * 101, now=1_000_000.0))


def test_answers_refill_the_credit_up_to_the_burst() -> None:
    """A peer that is answered may send more; never more than the burst at once."""
    one = gate()
    list(one.turns(PREFACE + A_PING * 100, now=0.0))
    one.earn(16)
    list(one.turns(A_PING * 16, now=0.0))
    one.earn(1_000_000)
    list(one.turns(A_PING * 100, now=0.0))
    with pytest.raises(AbusiveConnection) as raised:
        list(one.turns(A_PING, now=0.0))

    assert raised.value.code == ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    ("sent", "cost"),
    [
        (A_PING, 1),
        (frame(0, 1, bytes(16_384)), 1),
        (settings(dict.fromkeys(range(10), 1)), 11),
        (headers(1, bytes(256)), 3),
        (headers(1, bytes(20_000)), 158),
    ],
    ids=["ping", "data", "settings", "headers", "continuation"],
)
def test_what_costs_us_more_counts_for_more(sent: bytes, cost: int) -> None:
    """A frame counts one; settings and header blocks by their size as well."""
    affordable = gate(ServerLimits(frame_burst=cost, frames_per_second=0))
    too_dear = gate(ServerLimits(frame_burst=cost - 1, frames_per_second=0))

    list(affordable.turns(PREFACE + sent, now=0.0))
    with pytest.raises(AbusiveConnection):
        list(too_dear.turns(PREFACE + sent, now=0.0))


def test_a_header_block_is_bounded_and_the_next_one_begins_anew() -> None:
    """Blocks add up over their own frames only."""
    limits = ServerLimits(header_block_bytes=20_000)
    list(gate(limits).turns(PREFACE + headers(1, bytes(20_000)) + headers(3, bytes(20_000)), now=0.0))
    with pytest.raises(AbusiveConnection):
        list(gate(limits).turns(PREFACE + headers(1, bytes(20_001)), now=0.0))


def test_a_peer_has_greeted_with_its_settings() -> None:
    """The preface alone is no greeting, nor is any other frame."""
    one = gate()
    list(one.turns(PREFACE + frame(HEADERS, 1), now=0.0))
    assert not one.greeted
    list(one.turns(frame(SETTINGS), now=0.0))

    assert one.greeted

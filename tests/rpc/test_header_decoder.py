"""Large header blocks: the same headers as hpack reads, or a call that is refused for their size, and never much work."""

from contextlib import suppress

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.rpc.frame_gate import AbusiveConnection
from executor.rpc.header_decoder import HeaderDecoder
from tests.rpc.raw_peer import call_headers, data, headers, message, raw_peer
from tests.rpc.serving import serving, until

MAX_BYTES = 1_000
AFTER = [("after", "the block"), ("x", "y")]


def decoders(max_bytes: int = MAX_BYTES) -> tuple[hpack.Decoder, HeaderDecoder]:
    """One of hpack's own, and ours."""
    return hpack.Decoder(max_header_list_size=1 << 20), _unbounded(HeaderDecoder(max_bytes))


def _unbounded(decoder: HeaderDecoder) -> HeaderDecoder:
    decoder.max_header_list_size = 1 << 20
    return decoder


def size(decoded: list[tuple[bytes, bytes]]) -> int:
    """How large a list of headers is, as HTTP/2 counts it."""
    return sum(len(name) + len(value) + 32 for name, value in decoded)


names = st.sampled_from([b"x", b"accept", b"grpc-trace-bin", b"a-name-of-its-own", b"n" * 300])
values = st.one_of(
    st.binary(max_size=60), st.builds(lambda byte, n: byte * n, st.binary(min_size=1, max_size=1), st.integers(0, 20_000))
)
blocks = st.lists(st.tuples(names, values, st.booleans()), max_size=12)


@pytest.mark.slow
@given(blocks, st.booleans())
def test_a_block_is_read_as_hpack_reads_it_or_is_too_large(block: list[tuple[bytes, bytes, bool]], folded: bool) -> None:
    """What may be used is what was sent. Where it is not, both are too large for a call, and the tables stay equal."""
    encoder = hpack.Encoder()
    theirs, ours = decoders()
    encoded = encoder.encode([hpack.NeverIndexedHeaderTuple(n, v) if never else (n, v) for n, v, never in block], huffman=folded)
    expected = theirs.decode(encoded, raw=True)
    try:
        found = ours.decode(encoded, raw=True)
    except AbusiveConnection:
        return

    assert found == expected or size(found) > MAX_BYTES
    again = encoder.encode(AFTER)
    assert ours.decode(again) == theirs.decode(again) == AFTER


@given(st.binary(max_size=200).map(lambda noise: noise * 30))
def test_noise_is_an_error_of_hpack(noise: bytes) -> None:
    """What is no block raises what hpack raises, of which h2 makes a GOAWAY, and nothing else."""
    with suppress(hpack.HPACKError, IndexError, AbusiveConnection):
        decoders(max_bytes=0)[1].decode(noise, raw=True)


@pytest.mark.parametrize("block", [b"\xff" * 20, b"\x00\xff\xff", b"\x40\x81"], ids=["index", "length", "string"])
def test_a_block_that_is_cut_is_an_error_of_hpack(block: bytes) -> None:
    """A block that ends within a number or a string is left to hpack to refuse."""
    with pytest.raises((hpack.HPACKError, IndexError)):
        decoders(max_bytes=0)[1].decode(block, raw=True)


async def test_a_block_that_makes_too_much_work_ends_its_connection() -> None:
    """Many large strings for the table: GOAWAY, and the server is free."""
    block = hpack.Encoder().encode([*call_headers(), *[(f"x-{n}", "y" * 8_000) for n in range(8)]])
    async with serving() as served, raw_peer(served) as peer:
        await peer.send(headers(1, block), data(1, message()))

        assert 0xB in await peer.goaways()
        await until(lambda: served.server.connections == 0)

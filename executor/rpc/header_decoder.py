"""HPACK with a bound on the work that one header block can make.

hpack unfolds Huffman strings a byte at a time, 15 ms for the largest block that is taken in, and nobody is served meanwhile. So
those that are folded and still larger than what a call may bring are not unfolded: that call is refused for its size all the
same, and the connection goes on.

Only the table that both sides keep must not suffer: a string that enters it has to be unfolded, unless it is too large for it.
Who sends much of those loses the connection (GOAWAY), as nothing after them could be read.
"""

from collections.abc import Iterator
from typing import Any

import hpack
from attrs import frozen

from executor.rpc.frame_gate import AbusiveConnection

TABLE_BYTES = 4_096
LONGEST_CODE_BITS = 30
TOO_LARGE_FOR_TABLE_BYTES = TABLE_BYTES * LONGEST_CODE_BITS // 8 + 1
"""A folded string of this length is longer than the table when it is unfolded, whatever it is."""
MAX_INDEXED_BYTES = 32_768
"""Of folded strings in a block that enter the table."""

# RFC 7541 section 6: the bits that tell what follows, and those of the integer behind them
_INDEXED, _INCREMENTAL, _SIZE_UPDATE = 0x80, 0x40, 0x20
_FOLDED = 0x80


class HeaderDecoder(hpack.Decoder):  # type: ignore[misc]  # hpack 3.0 has no types
    """hpack's decoder, for blocks of any size that the gate lets through."""

    def __init__(self, max_list_bytes: int) -> None:
        super().__init__()
        self._max_list_bytes = max_list_bytes

    def decode(self, data: bytes, raw: bool = False) -> Any:
        """Decode a block; raise AbusiveConnection when that would be too much work."""
        # A block that is no larger than what a call may bring is not worth looking at.
        if len(data) <= self._max_list_bytes or (spared := _spared(data, self._max_list_bytes)) == data:
            return super().decode(data, raw)
        return [*super().decode(spared, raw=True), (b"", bytes(self._max_list_bytes))]  # too large, however it is counted


def _spared(block: bytes, max_bytes: int) -> bytes:
    """The block, with strings marked as not folded that need not be unfolded."""
    spared = bytearray(block)
    folded_bytes = indexed_bytes = 0
    for string in _folded_strings(block):
        folded_bytes += string.length
        if folded_bytes > max_bytes and (not string.enters_table or string.length >= TOO_LARGE_FOR_TABLE_BYTES):
            spared[string.at] &= ~_FOLDED
        elif string.enters_table:
            indexed_bytes += string.length
            if indexed_bytes > MAX_INDEXED_BYTES:
                raise AbusiveConnection("a header block makes too much work")
    return bytes(spared)


@frozen
class _Folded:
    """A Huffman string in a block."""

    at: int
    """Where its length begins, with the bit that marks it as folded."""
    length: int
    enters_table: bool


def _folded_strings(block: bytes) -> Iterator[_Folded]:
    """Walk over a block without decoding it. Where it is broken, hpack will say so."""
    at = 0
    while at < len(block):
        first = block[at]
        enters_table = first & (_INDEXED | _INCREMENTAL) == _INCREMENTAL
        is_literal = enters_table or first < _SIZE_UPDATE
        prefix_bits = 7 if first & _INDEXED else 6 if enters_table else 4 if is_literal else 5
        index, at = _integer(block, at, prefix_bits)
        for _ in range((2 if index == 0 else 1) if is_literal else 0):
            if at >= len(block):
                return
            begin = at
            length, at = _integer(block, at, 7)
            if block[begin] & _FOLDED:
                yield _Folded(begin, length, enters_table)
            at += length


def _integer(block: bytes, at: int, prefix_bits: int) -> tuple[int, int]:
    """Read an integer of RFC 7541 section 5.1; returns it and where it ends."""
    most = (1 << prefix_bits) - 1
    value = block[at] & most
    at += 1
    if value < most:
        return value, at
    shift = 0
    while at < len(block):
        value += (block[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not block[at - 1] & 0x80:
            break
    return value, at

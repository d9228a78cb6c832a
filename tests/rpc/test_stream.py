"""A stream where timing decides: what the connection knows already and the handler does not."""

import hpack
import pytest
import trio
from google.protobuf.wrappers_pb2 import StringValue

from executor.rpc.connection import Connection
from executor.rpc.limits import ServerLimits
from executor.rpc.rpc_status import RpcCode, RpcStatus
from executor.rpc.stream import Stream
from tests.rpc.raw_peer import PREFACE, call_headers, headers, reset, settings

LIMITS = ServerLimits()


class Nowhere:
    """An output that is never full."""

    async def flush(self) -> None:
        await trio.lowlevel.checkpoint()

    def earn(self, frames: int) -> None:
        """Nobody counts."""


async def test_a_reply_to_a_call_that_was_just_reset_is_dropped() -> None:
    """A handler that ends in the very moment in which its caller gives up learns that, instead of an error of h2."""
    connection = Connection(LIMITS)
    stream = Stream(connection, 1, Nowhere(), LIMITS)
    connection.receive_data(PREFACE + settings({}) + headers(1, hpack.Encoder().encode(call_headers())) + reset(1))
    connection.take_output()
    with pytest.raises(RpcStatus) as raised:
        await stream.send_message(StringValue(value="x"))
    stream.finish(raised.value)

    assert raised.value.code is RpcCode.CANCELLED
    assert connection.take_output() == b""

"""The messages of a request as they arrive.

purerpc's buffer keeps an object for every frame and every message, so that frames of one byte cost a hundred, and decompresses
without a bound. This one keeps the bytes, and takes a message out only when it is asked for.
"""

from attrs import define, field

from executor.rpc.rpc_status import RpcCode, RpcStatus

PREFIX_BYTES = 5  # one flag, four bytes of length


@define
class RequestBody:
    """What has arrived of a request's messages and was not taken yet. The HTTP/2 window bounds it."""

    max_message_bytes: int
    ended: bool = field(init=False, default=False)
    """Nothing more will come."""
    _bytes: bytearray = field(init=False, factory=bytearray)

    def append(self, data: bytes) -> None:
        """Add what came in."""
        self._bytes += data

    def __len__(self) -> int:
        return len(self._bytes)

    def take_message(self) -> bytes | None:
        """Take out the next message; None when it is not complete yet, or when there is none.

        Raises RpcStatus when the message is too large, compressed or cut short. Its length is enough for that.
        """
        length = self._next_length()
        if length is None or len(self._bytes) < PREFIX_BYTES + length:
            if self.ended and self._bytes:
                raise RpcStatus(RpcCode.INTERNAL, "the request ends within a message")
            return None
        message = bytes(self._bytes[PREFIX_BYTES : PREFIX_BYTES + length])
        del self._bytes[: PREFIX_BYTES + length]
        return message

    def _next_length(self) -> int | None:
        if len(self._bytes) < PREFIX_BYTES:
            return None
        if self._bytes[0] != 0:
            raise RpcStatus(RpcCode.INTERNAL, "a message is marked as compressed, but no encoding was named")
        length = int.from_bytes(self._bytes[1:PREFIX_BYTES])
        if length > self.max_message_bytes:
            raise RpcStatus(
                RpcCode.RESOURCE_EXHAUSTED, f"a message of {length} bytes; at most {self.max_message_bytes} are accepted"
            )
        return length

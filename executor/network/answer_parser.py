"""Reads one answer off a connection: a thin layer over httptools, which wraps the parser of Node.js, and its bounds."""

from types import MappingProxyType

import httptools

from executor.network.transport import HttpAnswer

MAX_HEAD_BYTES = 64 * 1024
"""Status line and headers, of the informational answers before it as well."""
_MAX_FRAMING = 8
"""Bytes of chunk headers for a byte of body; one byte in a chunk takes five."""
_SWITCHING_PROTOCOLS = 101
_FIRST_FINAL_STATUS = 200


class NotHttpError(Exception):
    """What came is no answer to our request, or it broke off."""


class BodyTooLargeError(Exception):
    """The body exceeds its bound."""


class AnswerParser:
    """One answer, from its first byte to its last."""

    def __init__(self, max_body_bytes: int) -> None:
        self.started = False
        """Whether anything came."""
        self.complete = False
        self.reusable = False
        """Whether the connection may carry another request; known when the answer is complete."""
        self._max_body_bytes = max_body_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._received_bytes = 0
        self._status = 0
        self._headers: dict[str, str] = {}
        self._in_body = False
        self._chunks: list[bytes] = []
        self._body_bytes = 0

    def feed(self, data: bytes | bytearray) -> None:
        """Take what came next; raises NotHttpError or BodyTooLargeError."""
        self.started = True
        self._received_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._judge(error)
        if self._body_bytes > self._max_body_bytes:
            raise BodyTooLargeError
        # Headers, chunk headers and trailers are no body, but could be as endless.
        if self._received_bytes > MAX_HEAD_BYTES + self._body_bytes * _MAX_FRAMING:
            raise NotHttpError("headers without end")

    def end(self) -> None:
        """The connection has ended: right for an answer that announced no length. Raises NotHttpError if something is missing."""
        if not self._in_body or self._framed():
            raise NotHttpError("broken off")
        self.complete = True

    def answer(self) -> HttpAnswer:
        """The complete answer."""
        return HttpAnswer(self._status, MappingProxyType(self._headers), b"".join(self._chunks))

    def _judge(self, error: Exception) -> None:
        """What follows a complete answer does not harm it, but nothing else is read from that connection."""
        if not self.complete:
            raise NotHttpError(type(error).__name__) from None
        self.reusable = False

    def _framed(self) -> bool:
        chunked = self._headers.get("transfer-encoding", "").lower().endswith("chunked")
        return chunked or "content-length" in self._headers

    # --- called by httptools ---

    def on_message_begin(self) -> None:
        """A second answer to one request was not asked for."""
        if self.complete:
            raise NotHttpError("a second answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Fields that are repeated are one list, as RFC 9110 5.3 says; those behind the body are nobody's."""
        if self._in_body:
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._status = self._parser.get_status_code()
        if self._status == _SWITCHING_PROTOCOLS:
            raise NotHttpError("another protocol")
        self._in_body = self._status >= _FIRST_FINAL_STATUS

    def on_body(self, data: bytes) -> None:
        """A piece of the body; more than its bound is counted and not kept."""
        self._body_bytes += len(data)
        if self._body_bytes <= self._max_body_bytes:
            self._chunks.append(data)

    def on_message_complete(self) -> None:
        """The answer is whole; an informational one is forgotten, the answer follows it."""
        if self._in_body:
            self.complete = True
            self.reusable = self._parser.should_keep_alive()
        else:
            self._headers.clear()

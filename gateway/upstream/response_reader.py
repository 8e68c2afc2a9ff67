"""Reads HTTP/1.1 responses with llhttp. Pure: bytes in, heads and pieces of bodies out.

llhttp parses heads and chunks. It accepts a few ambiguous messages, which are refused here. Bodies of a known
length are counted here, so that the end of each response is exact: llhttp would read on into the next
response, and has no option for a response to HEAD, which has no body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import httptools

from runtime.header_fields import Fields

HEAD_LIMIT = 64 * 1024
"""The most bytes of a head, and of consecutive chunk extensions or trailers. More are malformed."""

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?\r\n")
_FRAMING = frozenset((b"connection", b"content-length", b"transfer-encoding"))


class MalformedResponse(ValueError):
    """The bytes aren't an HTTP/1.1 response, or are ambiguous."""


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response's status and fields. close: the connection can't be reused."""

    status: int
    fields: Fields
    close: bool


class ResponseReader:
    """Reads the responses on one connection, one at a time.

    For each request: `begin`, then `next_head` until it returns the final head, then `next_piece` until
    `ended`. `receive` adds bytes from the connection. After a MalformedResponse the reader can't be used
    again.

    ended: the response is complete. trailers: those of a chunked body, once it has ended.
    """

    __slots__ = (
        "_bodiless",
        "_buffer",
        "_chunked",
        "_complete",
        "_fault",
        "_fed",
        "_fields",
        "_framing",
        "_head",
        "_left",
        "_overhead",
        "_parser",
        "_pieces",
        "_surplus",
        "ended",
        "trailers",
    )

    def __init__(self) -> None:
        self._buffer = b""
        self.begin("GET")

    def begin(self, method: str) -> None:
        """Expect the response to a `method` request."""
        self._bodiless = method == "HEAD"
        self._head: ResponseHead | None = None
        # Each head gets a new parser: after Content-Length in a response to HEAD, a parser would wait for a
        # body.
        self._parser: httptools.HttpResponseParser | None = None
        self._fed = 0
        self._fields: Fields = []
        self._framing: Fields = []
        self._left: int | None = None
        self._chunked = False
        self._complete = False
        self._surplus = False
        self._fault: MalformedResponse | None = None
        self._overhead = 0
        self._pieces: list[bytes] = []
        self.ended = False
        self.trailers: Fields = []

    @property
    def is_reusable(self) -> bool:
        """Whether the connection can be reused: the response is complete, and no bytes follow it."""
        head = self._head
        return self.ended and head is not None and not (head.close or self._surplus or self._buffer)

    def receive(self, data: bytes) -> None:
        """Add bytes that the connection has received."""
        self._buffer = self._buffer + data if self._buffer else data

    def end_of_stream(self) -> None:
        """Note that the connection has ended. Raises MalformedResponse unless that ends the body."""
        if self._head is None:
            raise MalformedResponse("the upstream closed the connection without an answer")
        if not self.ended and (self._chunked or self._left is not None):
            raise MalformedResponse("the upstream closed the connection within a body")
        self.ended = True

    # Heads

    def next_head(self) -> ResponseHead | None:
        """The next head, interim or final; None until it is complete. Raises MalformedResponse."""
        data, fed = self._buffer, self._fed
        if fed == len(data):
            return None
        end = data.find(b"\r\n\r\n", max(0, fed - 3), HEAD_LIMIT)
        if end < 0 and len(data) >= HEAD_LIMIT:
            raise MalformedResponse("the head is too long")
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        try:
            # An incomplete head is parsed as well, so that garbage is refused at once.
            self._parser.feed_data(data[fed:] if end < 0 else data[fed : end + 4])
        except httptools.HttpParserUpgrade:
            raise MalformedResponse("the upstream switches protocols unasked") from None
        except httptools.HttpParserError as error:
            raise MalformedResponse(str(error)) from None
        if end < 0:
            self._fed = len(data)
            return None
        self._buffer = data[end + 4 :]
        return self._finish_head(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by llhttp for each field of the head, and of the trailers."""
        field = name.lower(), value.rstrip(b" \t")
        self._fields.append(field)
        if field[0] in _FRAMING:
            self._framing.append(field)

    def _finish_head(self, data: bytes) -> ResponseHead:
        line = _STATUS_LINE.match(data)
        if line is None:
            raise MalformedResponse("not the head of an HTTP/1.1 response")
        status = int(line[2])
        close = self._frame(status, is_1_0=line[1] == b"0")
        head = ResponseHead(status, self._fields, close)
        if status >= 200:
            self._head = head
        self._fed = 0
        self._fields = [] if status < 200 else self.trailers
        self._framing = []
        if not self._chunked or self.ended:
            self._parser = None  # it refers to this object: the cycle would stay until a garbage collection
        return head

    def _frame(self, status: int, *, is_1_0: bool) -> bool:
        """Determine how the body is delimited; return whether the connection closes after it."""
        length: int | None = None
        chunked = False
        options: list[bytes] = []
        for name, value in self._framing:
            if name == b"content-length":
                length = int(value)
            elif name == b"connection":
                options += [option.strip(b" \t").lower() for option in value.split(b",")]
            elif chunked or is_1_0 or value.lower() != b"chunked":
                raise MalformedResponse("a Transfer-Encoding that isn't chunked, or is in HTTP/1.0")
            else:
                chunked = True
        close = b"close" in options or (is_1_0 and b"keep-alive" not in options)
        if status < 200:
            if chunked or length:
                raise MalformedResponse("an interim response with a body")
            return close
        if self._bodiless or status in (204, 304):
            self.ended = True
            # A body that a 204 announces could arrive later, and be read as the next response.
            return close or (status == 204 and (chunked or bool(length)))
        self._chunked, self._left = chunked, length
        self.ended = length == 0
        return close or (length is None and not chunked)

    # Bodies

    def next_piece(self) -> bytes:
        """The part of the body that was received since the last call; may be empty.

        Raises MalformedResponse.
        """
        if self._fault is not None:
            raise self._fault
        data, left = self._buffer, self._left
        if self.ended or not data:
            return b""
        if self._chunked:
            return self._next_chunks(data)
        if left is None or left > len(data):
            self._buffer = b""
            self._left = None if left is None else left - len(data)
            return data
        self._buffer = data[left:]
        self.ended = True
        return data[:left]

    def _next_chunks(self, data: bytes) -> bytes:
        assert self._parser is not None
        self._buffer = b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            # After the end of the response the error concerns surplus bytes, not the response.
            self._surplus = self._complete
            if not self._complete:
                self._fault = MalformedResponse(str(error))
        if self._complete:
            self.ended = True
            self._parser = None
        pieces, self._pieces = self._pieces, []
        if pieces:
            self._overhead = 0
            return b"".join(pieces)
        if self._fault is not None:
            raise self._fault
        self._overhead += len(data)
        if self._overhead >= HEAD_LIMIT:
            raise MalformedResponse("chunk extensions or trailers are too long")
        return b""

    def on_body(self, data: bytes) -> None:
        """Called by llhttp for each piece of a chunk."""
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        """Called by llhttp at the end of a response."""
        self._complete = self._chunked

    def on_message_begin(self) -> None:
        """Called by llhttp at the first byte of a response. Raises after the end of the present one."""
        if self._complete:
            raise MalformedResponse("bytes behind the response")

"""An answer's bytes, in the order in which an ASGI app gives its parts. Pure."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus

from protocols.http import REQUEST_ID, RETRY_AFTER, Code, failure
from runtime.http1 import field_lines

_LINE = {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
# The connection is the server's own matter.
_FRAMING = frozenset((b"connection", b"keep-alive", b"transfer-encoding", b"upgrade"))


class Answering:
    """Frames one answer. close: the connection ends with it.

    began: some of its bytes were given out; ended: all of them were, and can all be sent.
    until_close: only the end of the connection will tell the client that the body is whole.
    broken: some bytes could not be sent, so that nothing can be sent any more.
    """

    def __init__(self, method: str, version: str, *, close: bool) -> None:
        self._method = method
        self._version = version
        self._head: bytes | None = None
        self._length: int | None = None
        self._bodiless = False
        self._chunked = False
        self._trailers = False
        self._complete = False
        self.close = close
        self.began = False
        self.until_close = False
        self.broken = False

    @property
    def ended(self) -> bool:
        """Whether the client got, or can get, the whole answer."""
        return self._complete and not self.broken

    def start(self, status: int, fields: Iterable[tuple[bytes, bytes]], trailers: bool = False) -> None:
        """Take the head; it goes with the first piece of the body."""
        if self._head is not None:
            raise RuntimeError("an answer has one head")
        kept = [(name, value) for name, value in fields if name.lower() not in _FRAMING]
        self._bodiless = self._method == "HEAD" or status in (204, 304)
        if status == 204:
            kept = [(name, value) for name, value in kept if name.lower() != b"content-length"]
        length = next((value for name, value in kept if name.lower() == b"content-length"), None)
        if length is not None and not self._bodiless:
            self._length = int(length)
        elif not self._bodiless:
            self._chunked = self._version != "1.0"
            self.until_close = not self._chunked
        self.close = self.close or self.until_close
        self._trailers = trailers and self._chunked
        if self._chunked:
            kept.append((b"transfer-encoding", b"chunked"))
        if self.close:
            kept.append((b"connection", b"close"))
        self._head = _line(status) + field_lines(kept) + b"\r\n"
        self.began = True

    def informational(self, status: int, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
        """A 1xx response, before the answer's head."""
        return _line(status) + field_lines(fields) + b"\r\n"

    def body(self, data: bytes, *, more: bool) -> bytes:
        """A piece of the body, with the head in front of the first. Raises RuntimeError on a wrong length."""
        head = self._take_head()
        if self._bodiless:
            self._complete = self._complete or not more
            return head
        if self._length is not None:
            self._length -= len(data)
            if self._length < 0 or (self._length and not more):
                raise RuntimeError("the body isn't as long as its Content-Length")
        if self._chunked and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if not more and not self._trailers:
            self._complete = True
            data += b"0\r\n\r\n" if self._chunked else b""
        return head + data if head else data

    def trailers(self, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
        """What comes behind the last piece of a body, where `start` announced it."""
        if self._complete:
            return b""
        head = self._take_head()
        self._complete = True
        return head + b"0\r\n" + field_lines(fields) + b"\r\n"

    def _take_head(self) -> bytes:
        if self._head is None or self._complete:
            raise RuntimeError("a body comes between an answer's head and its end")
        head, self._head = self._head, b""
        return head


def refusal(
    status: int, message: str, request_id: str, retry_after: int | None = None, *, bodiless: bool = False
) -> bytes:
    """The whole answer to a request that no app gets to see; the connection is closed behind it.

    bodiless: the request was a HEAD.
    """
    code = Code.INTERNAL_ERROR if status == 500 else Code.INVALID_REQUEST
    code = Code.SERVICE_UNAVAILABLE if status == 503 else code
    body = json.dumps(failure(code, message)).encode()
    fields = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"date", formatdate(time.time(), usegmt=True).encode()),
        (REQUEST_ID.lower().encode(), request_id.encode()),
        (b"connection", b"close"),
    ]
    if retry_after is not None:
        fields.append((RETRY_AFTER.lower().encode(), b"%d" % retry_after))
    return _line(status) + field_lines(fields) + b"\r\n" + (b"" if bodiless else body)


def _line(status: int) -> bytes:
    return _LINE.get(status) or b"HTTP/1.1 %d \r\n" % status

"""Reads HTTP/1.1 requests with llhttp and checks the rules that llhttp leaves out. Pure: no I/O."""

from __future__ import annotations

import re
from collections import deque

import httptools

from runtime.header_fields import TOKEN
from runtime.serving.protocol.incoming_request import BadRequest, IncomingRequest, read_framing

READ_SIZE = 64 * 1024
"""Bytes. The largest read from a connection and the largest argument of `feed`."""
TRAILER_BYTES = 16 * 1024
"""Bytes. The limit for trailers and for chunk extensions."""

_METHOD = re.compile(rb"%b(?: |\Z)" % TOKEN)


_ONE_LINE = (b"", b"\r\n")


class RequestReader:
    """Reads the requests of one connection from pieces of any size.

    requests: those with a complete head, oldest first; `feed` continues to fill the body of the last.
    error: why nothing more can be read; it has failed the last request's body, or answers the next request.
    reads_head: a head has begun and isn't complete.
    """

    def __init__(self, head_bytes: int) -> None:
        self.requests: deque[IncomingRequest] = deque()
        self.error: BadRequest | None = None
        self.reads_head = False
        self._head_bytes = head_bytes
        self._request: IncomingRequest | None = None
        """The request that is being read; None between requests."""
        self._in_body = False
        self._trailer_bytes = 0
        self._non_body_bytes = 0
        """Bytes of trailers or chunk extensions since the last byte of a body."""
        self._closed = False
        self._raw = b""
        """All bytes since the piece in which the current head began."""
        self._head_at = 0
        """The index in `_raw` of the current head, or of the empty line before it."""
        self._next_at = 0
        """The index in `_raw` of the next head."""
        self._is_exact = True
        """Whether both indexes are exact. After a chunked body they are too low: llhttp has no positions."""
        self._empty = b""
        """An empty line after the last request."""
        self._new_parser()

    def _new_parser(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        # `on_headers_complete` checks the version: HTTP/1.2 is read as HTTP/1.1 (RFC 9110, 2.5).
        self._parser.set_dangerous_leniencies(lenient_version=True)

    @property
    def method(self) -> str:
        """The method of an unreadable request, empty if unknown."""
        if self._request is not None and self._request.method:
            return self._request.method
        return "HEAD" if self._begun().startswith(b"HEAD ") else ""

    def _begun(self) -> bytes:
        return self._raw[self._head_at :].lstrip(b"\r\n")

    def feed(self, data: bytes) -> None:
        """Read `data`. Bytes after an error or after a request that closes the connection are dropped."""
        if self._closed or self.error is not None:
            return
        if self.reads_head:
            self._raw += data
        else:
            self._raw = data
            self._next_at = 0
            if self._request is None:
                self._head_at = 0
                self._is_exact = True
        self._non_body_bytes += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            if not self._closed:
                self._fail(self._reason(error))
        if self.reads_head:
            self._check_partial_head()
        elif self._request is not None:
            if self._non_body_bytes > TRAILER_BYTES + READ_SIZE:
                self._fail(BadRequest("the trailers are too long"))
        elif not self._closed and (self._next_at != len(self._raw) or not self._is_exact):
            self._check_empty_line()

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
            self._ignore_upgrade()
            if self._closed:
                return
            self._raw = data
            self._head_at = self._next_at = 0
            self._is_exact = True

    def _ignore_upgrade(self) -> None:
        """Continue with a new parser: after an Upgrade field llhttp stops reading HTTP."""
        self._new_parser()
        request = self.requests[-1]
        if not request.body.ended:
            # A head with the same framing puts the new parser into the body.
            length = request.length
            framing = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
            self._raw = b"POST / HTTP/1.1\r\nhost: h\r\n%b\r\n\r\n" % framing
            self._next_at = 0
            self._parser.feed_data(self._raw)
            self.requests.pop()
            self._request = request

    def _reason(self, error: httptools.HttpParserError) -> BadRequest:
        if isinstance(error.__context__, BadRequest):
            return error.__context__
        reason = str(error)
        begun = self._begun()
        if begun.startswith(b"PRI * HTTP/2.0\r\n"):
            return BadRequest("HTTP/2 is spoken over TLS alone", 505)
        if isinstance(error, httptools.HttpParserInvalidMethodError) and _METHOD.match(begun):
            return BadRequest("the method isn't known", 501)
        return BadRequest(reason)

    def _fail(self, error: BadRequest) -> None:
        self.error = error
        self.reads_head = False
        if self._in_body and self._request is not None:
            self._request.body.fail(error)

    def _check_partial_head(self) -> None:
        slack = 0 if self._is_exact else READ_SIZE
        if len(self._raw) - self._head_at > self._head_bytes + slack:
            line_is_complete = b"\r\n" in self._begun()[: self._head_bytes]
            self._fail(_too_long(target=not line_is_complete))

    def _check_empty_line(self) -> None:
        if not self._is_exact:
            self._empty = b"\r" if self._raw.endswith(b"\r") else b""
            return
        self._empty += self._raw[self._next_at :]
        if not b"\r\n".startswith(self._empty):
            self._fail(_empty_lines())

    def on_message_begin(self) -> None:
        """Begin a request. llhttp calls this and the methods below during `feed_data`."""
        if self._closed:
            raise BadRequest("a request behind the last one")
        self._request = IncomingRequest()
        self._in_body = False
        self.reads_head = True
        self._head_at = self._next_at

    def on_url(self, url: bytes) -> None:
        """Append a piece of the target."""
        assert self._request is not None
        self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a field, or count the bytes of a trailer. Raises BadRequest."""
        assert self._request is not None
        if self._in_body:
            self._trailer_bytes += len(name) + len(value)
            if self._trailer_bytes > TRAILER_BYTES:
                raise BadRequest("the trailers are too long")
            return
        self._request.fields.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """Check the complete head. Raises BadRequest."""
        request = self._request
        assert request is not None
        request.method = _decoded(self._parser.get_method())
        version = self._parser.get_http_version()
        self._check_line(request, version)
        read_framing(request)
        upgrades = self._parser.should_upgrade()
        if request.method == "CONNECT":
            request.close = True
            if request.length != 0:
                raise BadRequest("CONNECT has no body")
        self.reads_head = False
        self._in_body = True
        self._trailer_bytes = self._non_body_bytes = 0
        if upgrades and request.length != 0:
            # llhttp reports this request as complete before its body.
            self._request = None
        self.requests.append(request)

    def on_body(self, data: bytes) -> None:
        """Append a piece of the body."""
        assert self._request is not None
        self._non_body_bytes = 0
        self._next_at += len(data)
        self._request.body.push(data)

    def on_message_complete(self) -> None:
        """End the request."""
        request, self._request = self._request, None
        if request is not None:
            request.body.end()
            self._closed = request.close
            self._is_exact = request.length is not None
            self._empty = b""

    def _check_line(self, request: IncomingRequest, version: str) -> None:
        if not version.startswith("1."):
            raise BadRequest("only HTTP/1.1 is spoken here", 505)
        line = b"%b %b HTTP/%b\r\n" % (request.method.encode(), request.target, version.encode())
        # llhttp accepts other protocols' names and several spaces.
        at = self._raw.find(line, self._head_at)
        if at != self._head_at or self._empty:
            self._check_front(at)
        self._next_at = self._raw.index(b"\r\n\r\n", at) + 4
        if self._next_at - at > self._head_bytes:
            raise _too_long(target=len(line) > self._head_bytes)
        if version == "1.0":
            request.version = "1.0"
            request.close = True

    def _check_front(self, at: int) -> None:
        front = self._raw[self._head_at : at]
        if at < 0 or (self._is_exact and front.strip(b"\r\n")):
            raise BadRequest("the request line can't be read")
        # One empty line may follow a body (RFC 9112, 2.2). llhttp accepts any number, and a lone CR.
        if not (self._empty + front in _ONE_LINE if self._is_exact else b"\r\n".endswith(front[-2:])):
            raise _empty_lines()


def _empty_lines() -> BadRequest:
    return BadRequest("empty lines in the place of a request")


def _too_long(*, target: bool) -> BadRequest:
    return BadRequest("the target is too long", 414) if target else BadRequest("the head is too long", 431)


_METHODS: dict[bytes, str] = {}


def _decoded(method: bytes) -> str:
    # Only llhttp's methods, about forty, get here.
    return _METHODS.get(method) or _METHODS.setdefault(method, method.decode())

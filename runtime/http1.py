"""HTTP/1.1 messages, read to the letter of RFC 9112. Pure: bytes in, heads and bodies out.

One reader for both sides of the gateway. It takes only what every other reader understands alike: what RFC
9112 lets a recipient repair (a bare LF, a folded line, two equal lengths) is refused. So nobody further on
can see another message than the one that was checked here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

Fields = list[tuple[bytes, bytes]]

CHUNK_LINE = 256
"""Bytes of a chunk's size and extensions."""
TRAILER_BYTES = 16 * 1024

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_LINES = rb"(?:%b:[\t\x20-\x7e\x80-\xff]*\r\n)*" % _TOKEN
_REQUEST = re.compile(rb"(%b) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])\r\n%b\r\n" % (_TOKEN, _LINES))
_RESPONSE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?\r\n%b\r\n" % _LINES)
_SAFE_LINES = re.compile(_LINES)
_TARGET = re.compile(rb"[\x21-\x7e]+")
_TRAILERS = re.compile(rb"%b\r\n" % _LINES)
_FIELD = re.compile(rb"([^:\r\n]+):([^\r\n]*)\r\n")
_REQUEST_LINE = re.compile(rb"%b [\x21-\x7e]+ HTTP/[0-9]\.[0-9]" % _TOKEN)
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_CHUNK_BEGUN = re.compile(rb"(?:[0-9A-Fa-f]{1,16}(?:[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?)?\r?)?")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_HOST = re.compile(rb"[0-9A-Za-z!$%&'()*+,\-.:;=\[\]_~]*")


class Malformed(ValueError):
    """The bytes aren't the message they should be. status: what a client that sent them is answered."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


class Length:
    """A body of so many bytes. Each kind of body has `take` and `done`, and says how it ends."""

    ends_with_connection = False

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = not length

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """The next bytes of the body, and what of `data` is left for later."""
        if len(data) < self.left:
            self.left -= len(data)
            return data, b""
        piece, rest = data[: self.left], data[self.left :]
        self.left = 0
        self.done = True
        return piece, rest


class UntilClose:
    """A response's body that ends with its connection: only who closes knows whether it's whole."""

    ends_with_connection = True

    def __init__(self) -> None:
        self.done = False

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """All of it."""
        return data, b""


class Chunked:
    """A body in chunks. `trailers`: the fields behind it, once it is done."""

    ends_with_connection = False

    def __init__(self) -> None:
        self.done = False
        self.trailers: Fields = []
        self._left = 0
        self._at_end_of_chunk = False
        self._last = False
        self._seen = 0

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """As of Length; raises Malformed as soon as it's clear that the bytes can't become a chunk."""
        pieces: list[bytes] = []
        at = 0
        while not self._last:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    return b"".join(pieces), b""
                self._at_end_of_chunk = True
            try:
                begun = self._chunk(data, at)
            except Malformed:
                if not pieces:
                    raise
                begun = None  # what came before it goes first
            if begun is None:
                return b"".join(pieces), data[at:]
            at = begun
        if pieces:
            return b"".join(pieces), self._end(data[at:]) if data[at : at + 2] == b"\r\n" else data[at:]
        return b"", self._end(data[at:])

    def _chunk(self, data: bytes, at: int) -> int | None:
        """Where the next chunk's data begins; None where its first line isn't all there yet."""
        start = at + 2 if self._at_end_of_chunk else at
        if self._at_end_of_chunk and not b"\r\n".startswith(data[at:start]):
            raise Malformed("a chunk is longer than its size")
        end = data.find(b"\r\n", start, start + CHUNK_LINE)
        if end < 0:
            line = data[start : start + CHUNK_LINE]
            if len(line) == CHUNK_LINE or not _CHUNK_BEGUN.fullmatch(line):
                raise Malformed("a chunk's size can't be read")
            return None
        size = _CHUNK.fullmatch(data, start, end)
        if size is None:
            raise Malformed("a chunk's size can't be read")
        self._at_end_of_chunk = False
        self._left = int(size[1], 16)
        self._last = not self._left
        return end + 2

    def _end(self, data: bytes) -> bytes:
        """Take the trailers, if they are all there."""
        if data.startswith(b"\r\n"):
            self.done = True
            return data[2:]
        end = data.find(b"\r\n\r\n", max(0, self._seen - 3), TRAILER_BYTES)
        if end < 0:
            if len(data) >= TRAILER_BYTES or _BARE.search(data, max(0, self._seen - 1)):
                raise Malformed("the trailers can't be read")
            self._seen = len(data)
            return data
        section = data[: end + 4]
        if not _TRAILERS.fullmatch(section):
            raise Malformed("the trailers can't be read")
        self.trailers = _fields(section, 0)
        self.done = True
        return data[end + 4 :]


Body = Length | Chunked | UntilClose


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request's head. version: "1.0" or "1.1"; length: of the body, None where it is chunked.

    expects: the client waits for 100 (Continue); close: the connection ends with the answer.
    """

    method: str
    target: bytes
    version: str
    fields: Fields
    length: int | None
    expects: bool
    close: bool

    def body(self) -> Body:
        """A reader of the body."""
        return Chunked() if self.length is None else Length(self.length)


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response's head. close: no other response comes behind it."""

    status: int
    fields: Fields
    body: Body
    close: bool


def find_head(data: bytes, limit: int, seen: int = 0) -> int:
    """How long the head at the beginning of `data` is; 0 where it isn't all there. Raises Malformed early.

    seen: how many of the bytes were looked at before, without finding it.
    """
    end = data.find(b"\r\n\r\n", max(0, seen - 3), limit)
    if end >= 0:
        return end + 4
    if len(data) >= limit:
        raise Malformed("the head is too long")
    if _BARE.search(data, max(0, seen - 1)):
        raise Malformed("a line ends otherwise than with CR LF")
    return 0


def read_request(head: bytes) -> RequestHead:
    """A request's head, with the empty line at its end. Raises Malformed."""
    found = _REQUEST.fullmatch(head)
    if found is None:
        raise Malformed(_complaint(head))
    method, target, major, minor = found.groups()
    if major != b"1":
        raise Malformed("only HTTP/1.1 is spoken here", 505)
    fields = _fields(head, found.end(4) + 2)
    version = "1.0" if minor == b"0" else "1.1"
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    options: list[bytes] = []
    expectations: list[bytes] = []
    wanted = {
        b"host": hosts,
        b"content-length": lengths,
        b"transfer-encoding": codings,
        b"connection": options,
        b"expect": expectations,
    }
    for name, value in fields:
        if name in wanted:
            wanted[name].append(value)
    _check_host(hosts, version)
    length = _request_length(lengths, codings, version)
    return RequestHead(
        method.decode(),
        target,
        version,
        fields,
        length,
        version != "1.0" and length != 0 and _expects(expectations),
        version == "1.0" or (bool(options) and b"close" in _listed(options)),
    )


def _check_host(hosts: list[bytes], version: str) -> None:
    if len(hosts) > 1 or (not hosts and version != "1.0"):
        raise Malformed("a request has exactly one Host")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise Malformed("Host isn't a host")


def _request_length(lengths: list[bytes], codings: list[bytes], version: str) -> int | None:
    if codings:
        if lengths:
            raise Malformed("both Content-Length and Transfer-Encoding")
        if version == "1.0":
            raise Malformed("Transfer-Encoding in HTTP/1.0")
        _check_coding(codings)
        return None
    return _length(lengths) if lengths else 0


def _check_coding(codings: list[bytes]) -> None:
    if len(codings) == 1 and codings[0].lower() == b"chunked":
        return
    names = [name.strip(b" \t").lower() for value in codings for name in value.split(b",")]
    if names[-1] == b"chunked" and b"chunked" not in names[:-1] and all(_name(name) for name in names):
        raise Malformed("a transfer coding that isn't known here", 501)
    raise Malformed("Transfer-Encoding doesn't end in chunked")


def _name(name: bytes) -> bool:
    return re.fullmatch(_TOKEN, name) is not None


def _length(lengths: list[bytes]) -> int:
    if len(lengths) > 1:
        raise Malformed("several Content-Length")
    if not _LENGTH.fullmatch(lengths[0]):
        raise Malformed("Content-Length isn't a number")
    return int(lengths[0])


def _expects(values: list[bytes]) -> bool:
    if not values:
        return False
    if _listed(values) != [b"100-continue"]:
        raise Malformed("an expectation that can't be met", 417)
    return True


def read_response(head: bytes, method: str) -> ResponseHead:
    """The head of a response to a `method` request. Raises Malformed."""
    found = _RESPONSE.fullmatch(head)
    if found is None:
        raise Malformed("not the head of an HTTP/1.1 response")
    status = int(found[2])
    fields = _fields(head, head.index(b"\r\n") + 2)
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    options = [value for name, value in fields if name == b"connection"]
    length = _length(lengths) if lengths else None
    if codings and (lengths or found[1] == b"0"):
        raise Malformed("Transfer-Encoding beside Content-Length, or in HTTP/1.0")
    if codings:
        _check_coding(codings)
    body: Body
    if method == "HEAD" or status < 200 or status in (204, 304):
        body = Length(0)
    elif codings:
        body = Chunked()
    else:
        body = UntilClose() if length is None else Length(length)
    listed = _listed(options)
    close = b"close" in listed or (found[1] == b"0" and b"keep-alive" not in listed)
    return ResponseHead(status, fields, body, close or isinstance(body, UntilClose))


def field_lines(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Fields as they stand in a head. Raises Malformed: nobody may begin another line in a value."""
    written = [b"%b: %b\r\n" % field for field in fields]
    lines = b"".join(written)
    # As many lines as fields, or one of them has smuggled another in.
    if not _SAFE_LINES.fullmatch(lines) or lines.count(b"\n") != len(written):
        raise Malformed("a field has bytes that no field may have", 500)
    return lines


def request_bytes(method: bytes, target: bytes, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A request's head as it is sent. Raises Malformed."""
    if not _TARGET.fullmatch(target) or not _name(method):
        raise Malformed("the target has bytes that no target may have", 500)
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, field_lines(fields))


def _fields(data: bytes, start: int) -> Fields:
    return [(name.lower(), value.strip(b" \t")) for name, value in _FIELD.findall(data, start)]


def _listed(values: list[bytes]) -> list[bytes]:
    return [name.strip(b" \t").lower() for value in values for name in value.split(b",")]


def _complaint(head: bytes) -> str:
    """What to tell a client of a head that can't be read."""
    line, _, lines = head.partition(b"\r\n")
    if not _REQUEST_LINE.fullmatch(line):
        return "the request line can't be read"
    if re.search(rb"(?:\A|\r\n)[ \t]", lines):
        return "a header line is folded"
    return "a header field can't be read"

"""HTTP/1.1 messages, read to the letter of RFC 9112. Pure: bytes in, heads and bodies out.

One reader for both sides of the gateway. It takes only what every other reader understands alike: what RFC
9112 lets a recipient repair (a bare LF, a folded line, two equal lengths) is refused. So nobody further on
can see another message than the one that was checked here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from runtime.http1_bodies import (
    BARE,
    LINES,
    TOKEN,
    Body,
    Chunked,
    Fields,
    Length,
    Malformed,
    UntilClose,
    read_fields,
)

_REQUEST = re.compile(rb"(%b) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])\r\n%b\r\n" % (TOKEN, LINES))
_RESPONSE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?\r\n%b\r\n" % LINES)
_SAFE_LINES = re.compile(LINES)
_TARGET = re.compile(rb"[\x21-\x7e]+")
_REQUEST_LINE = re.compile(rb"%b [\x21-\x7e]+ HTTP/[0-9]\.[0-9]" % TOKEN)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_LABEL = rb"[0-9A-Za-z_\-]{1,63}"
HOST = rb"(?:\[[0-9A-Fa-f:.]+\]|%b(?:\.%b)*\.?|)(?::[0-9]*)?" % (_LABEL, _LABEL)
"""What Host and the authority of a target may be: an address, or a name that DNS could have, or nothing.

A URI's host may hold more. But what isn't a name is an error within some frameworks, which a breaker would
count as the service's; and a comma is read as a list behind X-Forwarded-Host.
"""
_HOST = re.compile(HOST)


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
    if BARE.search(data, max(0, seen - 1)):
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
    fields = read_fields(head, found.end(4) + 2)
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
    return re.fullmatch(TOKEN, name) is not None


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
    fields = read_fields(head, head.index(b"\r\n") + 2)
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
    # A body announced where none may be could be sent yet, and be taken for the next response.
    close = close or isinstance(body, UntilClose) or (status == 204 and bool(codings or length))
    return ResponseHead(status, fields, body, close)


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

"""One incoming request of any HTTP version, and the framing that its fields define. Pure."""

from __future__ import annotations

import re

from runtime.header_fields import HOST, Fields
from runtime.serving.protocol.request_body import RequestBody

_HOST = re.compile(HOST)


class BadRequest(ValueError):
    """The bytes are no acceptable request. status: of the response."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


class IncomingRequest:
    """One request.

    version: "1.0", "1.1" or "2". length: of the body in bytes; None: unknown before its end.
    expects_continue: the client waits for 100 (Continue). close: the connection is closed after the response.
    """

    __slots__ = ("body", "close", "expects_continue", "fields", "length", "method", "target", "version")

    def __init__(self) -> None:
        self.method = ""
        self.target = b""
        self.version = "1.1"
        self.fields: Fields = []
        self.length: int | None = 0
        self.expects_continue = False
        self.close = False
        self.body = RequestBody()


def read_framing(request: IncomingRequest) -> None:
    """Set the request's framing from its fields. Raises BadRequest if two readers could disagree."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in request.fields:
        if name in _FRAMING_FIELDS:
            found.setdefault(name, []).append(value)
    hosts = found.get(b"host", ())
    if len(hosts) > 1 or (not hosts and request.version != "1.0"):
        raise BadRequest("a request has exactly one Host")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise BadRequest("Host is no host")
    if lengths := found.get(b"content-length"):
        request.length = int(lengths[0])
    if options := found.get(b"connection"):
        request.close = request.close or b"close" in _listed(options)
    if codings := found.get(b"transfer-encoding"):
        request.length = None
        _check_codings(request, _listed(codings))
    if expectations := found.get(b"expect"):
        _expect(request, _listed(expectations))


_FRAMING_FIELDS = frozenset((b"connection", b"content-length", b"expect", b"host", b"transfer-encoding"))


def _check_codings(request: IncomingRequest, codings: list[bytes]) -> None:
    if request.version == "1.0":
        raise BadRequest("Transfer-Encoding in HTTP/1.0")
    if codings[-1] != b"chunked":
        raise BadRequest("Transfer-Encoding doesn't end in chunked")
    if b"" in codings:
        raise BadRequest("Transfer-Encoding has an empty name in its list")
    if len(codings) > 1:
        raise BadRequest("a transfer coding that isn't known here", 501)


def _expect(request: IncomingRequest, expectations: list[bytes]) -> None:
    if expectations != [b"100-continue"]:
        raise BadRequest("an expectation that can't be met", 417)
    request.expects_continue = request.version != "1.0" and request.length != 0


def _listed(values: list[bytes]) -> list[bytes]:
    return [name.strip(b" \t").lower() for value in values for name in value.split(b",")]

"""The header fields that the gateway forwards, and those that it adds. Pure.

Names are lower case, as ASGI gives them; values are bytes, and are never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

from protocols.http import FAILURE_ORIGIN, HANDLER_FAILURE, REQUEST_ID, REQUEST_TIMEOUT_MS

Fields = list[tuple[bytes, bytes]]

MOST_FORWARDS = 10**9
"""A larger Max-Forwards is treated as this."""

_REQUEST_ID = REQUEST_ID.lower().encode()
_FAILURE_ORIGIN = FAILURE_ORIGIN.lower().encode()
_HANDLER_FAILURE = HANDLER_FAILURE.lower().encode()
_TIMEOUT_MS = REQUEST_TIMEOUT_MS.lower().encode()

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
# All fields of this family are meant for the next proxy only.
_PROXY_FAMILY = b"proxy-"
# A client must not forge the fields that the gateway sets. The server has handled Expect itself.
_SPOOFABLE = frozenset(
    (
        b"expect",
        b"forwarded",
        b"host",
        b"x-real-ip",
        _FAILURE_ORIGIN,
        _HANDLER_FAILURE,
        _REQUEST_ID,
        _TIMEOUT_MS,
    )
)
_SPOOFABLE_FAMILIES = (_PROXY_FAMILY, b"x-forwarded-")
# RFC 9110, 6.5.1: fields that frame, route or authenticate a message, or describe its content.
_NEVER_TRAILERS = (
    HOP_BY_HOP
    | _SPOOFABLE
    | {
        b"age",
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"date",
        b"location",
        b"max-forwards",
        b"retry-after",
        b"set-cookie",
        b"vary",
        b"www-authenticate",
    }
)
_NEVER_RESPONSES = HOP_BY_HOP | {_FAILURE_ORIGIN, _HANDLER_FAILURE, _REQUEST_ID}
_NEVER_INTERIM = frozenset((b"content-length", _FAILURE_ORIGIN, _HANDLER_FAILURE, _REQUEST_ID))
_LIMITED = frozenset(("OPTIONS", "TRACE"))
# A Connection field can't remove the fields that frame or route the message.
_NOT_HOP_BY_HOP = frozenset((b"content-length", b"host"))


@dataclass(frozen=True, slots=True)
class Sender:
    """The client of a request, and the means of its request.

    hops: the trusted proxies between the client and the gateway, the nearest to the gateway last. version: of
    HTTP, such as "1.1". requested_host: the host of the client's request to the first proxy; None if it is
    `host`.
    """

    address: str
    scheme: str
    host: bytes
    version: str
    hops: tuple[str, ...] = ()
    requested_host: bytes | None = None


@dataclass(frozen=True, slots=True)
class Framing:
    """The length of a request's body in bytes; None if it isn't known before the body ends."""

    length: int | None

    @property
    def empty(self) -> bool:
        """Whether there is certainly no body."""
        return self.length == 0


def find(fields: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """All values of one field, in order."""
    return [value for key, value in fields if key == name]


def request_framing(fields: Fields, version: str, *, bodiless: bool = False) -> Framing:
    """The length of the request's body by its head, which the server has validated.

    bodiless: an HTTP/2 request has no body; it could have one without any field that announces it.
    """
    for name, value in fields:
        if name == b"content-length":
            return Framing(int(value))
        if name == b"transfer-encoding":
            return Framing(None)
    return Framing(None if version == "2" and not bodiless else 0)


def request_fields(
    fields: Fields,
    sender: Sender,
    framing: Framing,
    *,
    request_id: bytes,
    timeout_ms: int,
    awaits_continue: bool = False,
    prefix: bytes = b"",
) -> Fields:
    """The fields of the request to the service: the client's that are forwarded, and the gateway's own.

    timeout_ms: the milliseconds that the service has. awaits_continue: the client waits for a 100 (Continue)
    that the service has to send. prefix: the part of the path that the service doesn't get.
    """
    dropped = HOP_BY_HOP | _SPOOFABLE | _connection_options(fields)
    kept = [
        (name, value)
        for name, value in fields
        if name not in dropped and not name.startswith(_SPOOFABLE_FAMILIES)
    ]
    kept[:0] = [(b"host", sender.host)]
    requested_host = sender.host if sender.requested_host is None else sender.requested_host
    kept += [
        (b"x-forwarded-for", ", ".join((sender.address, *sender.hops)).encode("latin-1", "replace")),
        (b"x-forwarded-proto", sender.scheme.encode()),
        (b"x-forwarded-host", requested_host),
        (b"forwarded", _forwarded(sender, requested_host)),
        (b"via", sender.version.encode() + b" api-gateway"),
        (_REQUEST_ID, request_id),
        (_TIMEOUT_MS, b"%d" % timeout_ms),
    ]
    if prefix:
        kept.append((b"x-forwarded-prefix", prefix))
    if framing.length is None:
        kept.append((b"transfer-encoding", b"chunked"))
    if awaits_continue:
        kept.append((b"expect", b"100-continue"))
    if takes_trailers(fields, sender.version):
        kept += [(b"te", b"trailers"), (b"connection", b"te")]
    return kept


def _forwarded(sender: Sender, requested_host: bytes) -> bytes:
    host = requested_host.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    first = b'for=%s;host="%s";proto=%s' % (_node(sender.address), host, sender.scheme.encode())
    return b", ".join([first, *(b"for=" + _node(hop) for hop in sender.hops)])


def _node(address: str) -> bytes:
    node = address.encode("latin-1", "replace")
    return b'"[%s]"' % node if b":" in node else node


def takes_trailers(fields: Fields, version: str) -> bool:
    """Whether the client accepts trailers, and its version of HTTP has them."""
    offers = [] if version == "1.0" else find(fields, b"te")
    return bool(offers) and b"trailers" in [
        part.partition(b";")[0].strip().lower() for value in offers for part in value.split(b",")
    ]


def forwards_left(method: str, fields: Fields) -> int | None:
    """The value of Max-Forwards; None if absent, malformed or without meaning for the method.

    See RFC 9110, 7.6.2.
    """
    if method not in _LIMITED:
        return None
    given = find(fields, b"max-forwards")
    if len(given) != 1 or not given[0].isdigit():
        return None
    digits = given[0].lstrip(b"0") or b"0"
    return int(digits) if len(digits) < 10 else MOST_FORWARDS


def with_forwards(fields: Fields, left: int) -> Fields:
    """The fields with Max-Forwards set to `left`."""
    return [(name, b"%d" % left if name == b"max-forwards" else value) for name, value in fields]


def interim_fields(fields: Fields) -> Fields:
    """The fields of a 1xx response that are forwarded to the client."""
    return _without(fields, HOP_BY_HOP | _NEVER_INTERIM | _connection_options(fields))


def trailer_fields(fields: Fields) -> Fields:
    """The trailers that are forwarded to the client: none that must precede the body."""
    return [field for field in _without(fields, _NEVER_TRAILERS) if not field[0].startswith(b"x-forwarded-")]


def response_fields(fields: Fields, *, request_id: bytes, trailers: bool = False) -> Fields:
    """The fields of the response to the client. The server adds a Date if the service sent none.

    trailers: trailers are forwarded, and so is the field that announces them.
    """
    names = [name for name, _ in fields]
    dropped = _NEVER_RESPONSES
    if b"connection" in names:
        dropped = dropped | _connection_options(fields)
    if trailers:
        dropped = dropped - {b"trailer"}
    if b"transfer-encoding" in names:
        # Beside a transfer coding the length has no meaning, but a later recipient might use it.
        dropped = dropped | {b"content-length"}
    kept = _without(fields, dropped)
    if names.count(b"date") > 1:
        first = next(field for field in fields if field[0] == b"date")
        kept = [*_without(kept, {b"date"}), first]
    kept.append((_REQUEST_ID, request_id))
    return kept


def _without(fields: Fields, dropped: Set[bytes]) -> Fields:
    return [
        (name, value) for name, value in fields if name not in dropped and not name.startswith(_PROXY_FAMILY)
    ]


def content_length(fields: Fields) -> int | None:
    """The length in bytes that a response declares; None if it can't be relied on."""
    lengths = find(fields, b"content-length")
    if len(lengths) != 1 or find(fields, b"transfer-encoding") or not lengths[0].isdigit():
        return None
    return int(lengths[0])


def _connection_options(fields: Fields) -> frozenset[bytes]:
    """The names that the Connection fields declare hop-by-hop."""
    names = {name.strip().lower() for value in find(fields, b"connection") for name in value.split(b",")}
    return frozenset(names) - _NOT_HOP_BY_HOP

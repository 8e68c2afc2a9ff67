"""Which header fields cross the gateway, and what it says of itself in them. Pure.

Names are lower case, as ASGI gives them; values are bytes, and stay the bytes they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

from protocols.http import FAILURE_ORIGIN, HANDLER_FAILURE, REQUEST_ID, REQUEST_TIMEOUT_MS

Fields = list[tuple[bytes, bytes]]

MOST_FORWARDS = 10**9
"""As much of Max-Forwards as is counted."""

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
# Whatever else they are called, they are between one proxy and the next.
_PROXYS = b"proxy-"
# Nobody outside may speak for the gateway, and it has answered Expect itself.
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
_SPOOFABLE_FAMILIES = (_PROXYS, b"x-forwarded-")
# RFC 9110, 6.5.1: what frames, routes or authenticates a message, or says how to take its content.
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
# A Connection field can't take away what frames the message.
_NOT_HOP_BY_HOP = frozenset((b"content-length", b"host"))


@dataclass(frozen=True, slots=True)
class Sender:
    """Who speaks to the gateway, and how.

    hops: the trusted proxies between the two, the nearest to us last; asked: the host that the client named
    to the first of them, where it isn't `host`.
    """

    address: str
    scheme: str
    host: bytes
    version: str
    hops: tuple[str, ...] = ()
    asked: bytes | None = None


@dataclass(frozen=True, slots=True)
class Framing:
    """How long a request's body is; `length` is None where only its end will tell."""

    length: int | None

    @property
    def empty(self) -> bool:
        """Whether there is surely no body."""
        return self.length == 0


def find(fields: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """All values of one field, in order."""
    return [value for key, value in fields if key == name]


def request_framing(fields: Fields, version: str, *, bodiless: bool = False) -> Framing:
    """How long the request's body is, as far as its head says; the server has checked what it says.

    bodiless: an HTTP/2 request has no body. It needs no field to say that it has one.
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
    """What the service gets of a client's fields, and what the gateway adds.

    held_back: the client waits for 100 (Continue), and the service is to say it. prefix: what of the path the
    service doesn't see.
    """
    dropped = HOP_BY_HOP | _SPOOFABLE | _listed(fields)
    kept = [
        (name, value)
        for name, value in fields
        if name not in dropped and not name.startswith(_SPOOFABLE_FAMILIES)
    ]
    kept[:0] = [(b"host", sender.host)]
    asked = sender.host if sender.asked is None else sender.asked
    kept += [
        (b"x-forwarded-for", ", ".join((sender.address, *sender.hops)).encode("latin-1", "replace")),
        (b"x-forwarded-proto", sender.scheme.encode()),
        (b"x-forwarded-host", asked),
        (b"forwarded", _forwarded(sender, asked)),
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


def _forwarded(sender: Sender, asked: bytes) -> bytes:
    host = asked.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    first = b'for=%s;host="%s";proto=%s' % (_node(sender.address), host, sender.scheme.encode())
    return b", ".join([first, *(b"for=" + _node(hop) for hop in sender.hops)])


def _node(address: str) -> bytes:
    node = address.encode("latin-1", "replace")
    return b'"[%s]"' % node if b":" in node else node


def takes_trailers(fields: Fields, version: str) -> bool:
    """Whether the client wants the fields behind a chunked body, and can get them."""
    offers = [] if version == "1.0" else find(fields, b"te")
    return bool(offers) and b"trailers" in [
        part.partition(b";")[0].strip().lower() for value in offers for part in value.split(b",")
    ]


def forwards_left(method: str, fields: Fields) -> int | None:
    """Max-Forwards, where it means something (RFC 9110, 7.6.2)."""
    if method not in _LIMITED:
        return None
    given = find(fields, b"max-forwards")
    if len(given) != 1 or not given[0].isdigit():
        return None
    digits = given[0].lstrip(b"0") or b"0"
    return int(digits) if len(digits) < 10 else MOST_FORWARDS


def with_forwards(fields: Fields, left: int) -> Fields:
    """The fields with Max-Forwards set anew."""
    return [(name, b"%d" % left if name == b"max-forwards" else value) for name, value in fields]


def interim_fields(fields: Fields) -> Fields:
    """What the client gets of a 1xx response's fields."""
    return _without(fields, HOP_BY_HOP | _NEVER_INTERIM | _listed(fields))


def trailer_fields(fields: Fields) -> Fields:
    """What the client gets of the fields behind a body: none that would have had to come before it."""
    return [field for field in _without(fields, _NEVER_TRAILERS) if not field[0].startswith(b"x-forwarded-")]


def response_fields(fields: Fields, *, request_id: bytes, trailers: bool = False) -> Fields:
    """What the client gets of a service's fields. The server adds a Date where the service gave none.

    trailers: the fields behind the body are passed on too, and so is what announces them.
    """
    names = [name for name, _ in fields]
    dropped = _NEVER_RESPONSES
    if b"connection" in names:
        dropped = dropped | _listed(fields)
    if trailers:
        dropped = dropped - {b"trailer"}
    if b"transfer-encoding" in names:
        # The length is of no account beside a transfer coding, and would be believed further on.
        dropped = dropped | {b"content-length"}
    kept = _without(fields, dropped)
    if names.count(b"date") > 1:
        first = next(field for field in fields if field[0] == b"date")
        kept = [*_without(kept, {b"date"}), first]
    kept.append((_REQUEST_ID, request_id))
    return kept


def _without(fields: Fields, dropped: Set[bytes]) -> Fields:
    return [(name, value) for name, value in fields if name not in dropped and not name.startswith(_PROXYS)]


def content_length(fields: Fields) -> int | None:
    """The length that a response declares, where it can be relied on."""
    lengths = find(fields, b"content-length")
    if len(lengths) != 1 or find(fields, b"transfer-encoding") or not lengths[0].isdigit():
        return None
    return int(lengths[0])


def _listed(fields: Fields) -> frozenset[bytes]:
    """The names that Connection makes hop-by-hop."""
    names = {name.strip().lower() for value in find(fields, b"connection") for name in value.split(b",")}
    return frozenset(names) - _NOT_HOP_BY_HOP

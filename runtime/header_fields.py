"""HTTP header fields on the wire: their syntax and their encoding. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from email.utils import formatdate
from functools import lru_cache
from types import MappingProxyType

Fields = list[tuple[bytes, bytes]]
"""Names and values in order. Received names are lower case."""

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
"""A token (RFC 9110, 5.6.2): the syntax of methods and field names."""
_LINES = re.compile(rb"(?:%b:[\t\x20-\x7e\x80-\xff]*\r\n)*" % TOKEN)

_LABEL = rb"[0-9A-Za-z_\-]{1,63}"
HOST = rb"(?:\[[0-9A-Fa-f:.]+\]|%b(?:\.%b)*\.?|)(?::[0-9]*)?" % (_LABEL, _LABEL)
"""The syntax of Host and of a target's authority: an IP address, a DNS name or nothing.

RFC 3986 allows more. But some frameworks fail on a Host that is no DNS name, which a breaker would count as
the service's failure, and a comma makes X-Forwarded-Host a list.
"""

SECURITY_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        # Neither JSON nor an error needs anything. A page with scripts has a policy of its own.
        "Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        # Tokens and records travel in requests and responses: no cache may keep them.
        "Cache-Control": "no-store",
    }
)
"""The fields of every response, an app's or the server's own, that keep browsers from misusing it."""


class InvalidField(ValueError):
    """A field's name or value contains bytes that no field may have, such as a line break."""


def encode_fields(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the lines of a head or of trailers, without the empty line after them. Raises InvalidField."""
    written = [b"%b: %b\r\n" % field for field in fields]
    lines = b"".join(written)
    # A line break within a value makes more lines than there are fields.
    if not _LINES.fullmatch(lines) or lines.count(b"\n") != len(written):
        raise InvalidField("a field has bytes that no field may have")
    return lines


def encoded(fields: Mapping[str, str]) -> Fields:
    """Header fields in the form of ASGI."""
    return [(name.lower().encode(), value.encode()) for name, value in fields.items()]


def is_websocket_handshake(fields: Fields) -> bool:
    """Return whether an HTTP/1.1 request opens a WebSocket. fields: with names in lower case."""
    return any(name == b"upgrade" and b"websocket" in value.lower() for name, value in fields)


def http_date() -> bytes:
    """Return the present time in the format of a Date field."""
    return _date(int(time.time()))


@lru_cache(maxsize=1)
def _date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode()

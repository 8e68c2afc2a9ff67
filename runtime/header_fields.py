"""Header fields as they stand on the wire: what a field may hold, and writing them. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache

Fields = list[tuple[bytes, bytes]]
"""Names and values in order. Names are lower case where they were received."""

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
"""RFC 9110, 5.6.2: what a method or a field's name consists of."""
_LINES = re.compile(rb"(?:%b:[\t\x20-\x7e\x80-\xff]*\r\n)*" % TOKEN)

_LABEL = rb"[0-9A-Za-z_\-]{1,63}"
HOST = rb"(?:\[[0-9A-Fa-f:.]+\]|%b(?:\.%b)*\.?|)(?::[0-9]*)?" % (_LABEL, _LABEL)
"""What Host and the authority of a target may be: an IP address, or a DNS name, or nothing.

RFC 3986 allows more. But a Host that is no DNS name is an error within some frameworks, which a breaker would
count as the service's failure; and a comma is read as a list in X-Forwarded-Host.
"""


class InvalidField(ValueError):
    """A field's name or value has bytes that would begin another line, or that no field may have."""


def encode_fields(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The lines of a head or of trailers, without the empty line behind them. Raises InvalidField."""
    written = [b"%b: %b\r\n" % field for field in fields]
    lines = b"".join(written)
    # A value with a line break of its own makes more lines than there are fields.
    if not _LINES.fullmatch(lines) or lines.count(b"\n") != len(written):
        raise InvalidField("a field has bytes that no field may have")
    return lines


def is_websocket_handshake(fields: Fields) -> bool:
    """Whether an HTTP/1.1 request asks for a WebSocket. Names are lower case."""
    return any(name == b"upgrade" and b"websocket" in value.lower() for name, value in fields)


def http_date() -> bytes:
    """The present time as a Date field has it."""
    return _date(int(time.time()))


@lru_cache(maxsize=1)
def _date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode()

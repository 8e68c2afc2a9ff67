"""Rewrites a service's Location fields and cookie paths for clients that see it below a prefix. Pure."""

from __future__ import annotations

import re

from gateway.proxy.headers import Fields

_COOKIE_PATH = re.compile(rb"(;[ \t]*path[ \t]*=[ \t]*)(/[^;]*)", re.IGNORECASE)


def below_prefix(fields: Fields, prefix: bytes, own_origins: frozenset[bytes]) -> Fields:
    """A response's fields, with Location and the paths of cookies moved below `prefix`.

    A Location that is a path, or a URL of one of the service's own origins, becomes a path below the prefix;
    any other URL is kept. own_origins: such as b"http://auth:8081", in lower case.
    """
    return [(name, _rewritten(name, value, prefix, own_origins)) for name, value in fields]


def _rewritten(name: bytes, value: bytes, prefix: bytes, own_origins: frozenset[bytes]) -> bytes:
    if name in (b"location", b"content-location"):
        return _location(value, prefix, own_origins)
    if name == b"set-cookie":
        return _COOKIE_PATH.sub(lambda found: found[1] + prefix + found[2], value)
    return value


def _location(value: bytes, prefix: bytes, own_origins: frozenset[bytes]) -> bytes:
    if value.startswith(b"/") and not value.startswith(b"//"):
        return prefix + value
    scheme, separator, rest = value.partition(b"://")
    host, slash, path = rest.partition(b"/")
    if separator and scheme.lower() + b"://" + host.lower() in own_origins:
        return prefix + slash + path
    return value

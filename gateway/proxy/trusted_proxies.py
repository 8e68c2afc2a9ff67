"""Who a request comes from, where proxies that are trusted stand in between. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from gateway.proxy.headers import Fields, find
from runtime.header_fields import HOST, TOKEN

Network = IPv4Network | IPv6Network

_PAIR = re.compile(rb'[ \t]*(%b)=(?:"((?:[^"\\]|\\.)*)"|([^",; \t]*))[ \t]*([;,]|\Z)' % TOKEN)
_HOST = re.compile(rb"(?!:|\Z)" + HOST)
MOST_HOPS = 50
"""More of them are no chain of proxies."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The client's address, and those of the trusted proxies behind it, the nearest to us last.

    scheme, host: how the client asked the first of them; None where they don't say.
    """

    address: str
    hops: tuple[str, ...] = ()
    scheme: str | None = None
    host: bytes | None = None


class TrustedProxies:
    """Which peers are believed when they say who asked them."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._networks = tuple(networks)

    def origin(self, peer: str, fields: Fields) -> Origin:
        """Who a request from `peer` comes from: the last that no trusted proxy vouches for as a proxy.

        What stands before it in the fields is its own claim, and isn't believed.
        """
        if not self._networks or not self._trusts(_address(peer)):
            return Origin(peer)
        hops = [peer]
        listed = _values(fields, b"x-forwarded-for")
        # Who writes both says the same in both.
        elements = [] if listed else _elements(fields)
        claims = [value.decode("latin-1") for value in listed or [one.get(b"for", b"") for one in elements]]
        claims = claims[-MOST_HOPS:]
        while claims and (address := _address(claims.pop())) is not None:
            hops.append(str(address))
            if not self._trusts(address):
                break
        scheme, host = _asked(fields, elements[-1] if elements else {})
        return Origin(hops[-1], tuple(reversed(hops[:-1])), scheme, host)

    def _trusts(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def read_networks(text: str) -> tuple[Network, ...]:
    """Networks and addresses, separated by commas. Raises ValueError."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def _elements(fields: Fields) -> list[dict[bytes, bytes]]:
    """What each element of Forwarded says, names in lower case; nothing where they can't all be read.

    A quote that its client left open would swallow what a trusted proxy put behind it.
    """
    text = b",".join(find(fields, b"forwarded"))
    found: list[dict[bytes, bytes]] = []
    at, end = 0, b","
    while at < len(text) or end == b";":
        pair = _PAIR.match(text, at)
        if pair is None:
            return []
        if end == b",":
            found.append({})
        found[-1].setdefault(pair[1].lower(), pair[3] if pair[2] is None else pair[2])
        at, end = pair.end(), pair[4]
    return found


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address, with or without brackets and a port."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _values(fields: Fields, name: bytes) -> list[bytes]:
    return [part.strip() for value in find(fields, name) for part in value.split(b",")]


def _asked(fields: Fields, element: dict[bytes, bytes]) -> tuple[str | None, bytes | None]:
    """Scheme and host that the nearest proxy was asked for."""
    schemes = _values(fields, b"x-forwarded-proto") or [element.get(b"proto", b"")]
    hosts = _values(fields, b"x-forwarded-host") or [element.get(b"host", b"")]
    scheme, host = schemes[-1].lower(), hosts[-1]
    return (
        scheme.decode() if scheme in (b"http", b"https") else None,
        host if _HOST.fullmatch(host) else None,
    )

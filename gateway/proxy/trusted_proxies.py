"""The client of a request that was forwarded by trusted proxies. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from gateway.proxy.headers import Fields, find
from runtime.asgi import Scope, peer_address
from runtime.header_fields import HOST, TOKEN

Network = IPv4Network | IPv6Network

_PAIR = re.compile(rb'[ \t]*(%b)=(?:"((?:[^"\\]|\\.)*)"|([^",; \t]*))[ \t]*([;,]|\Z)' % TOKEN)
_HOST = re.compile(rb"(?!:|\Z)" + HOST)
MOST_HOPS = 50
"""The most proxies of one request that are considered."""


@dataclass(frozen=True, slots=True)
class ForwardedClient:
    """The client's address, and the trusted proxies between it and the gateway.

    hops: the proxies' addresses, the nearest to the gateway last. scheme, host: those of the client's request
    to the first proxy; None if unknown.
    """

    address: str
    hops: tuple[str, ...] = ()
    scheme: str | None = None
    host: bytes | None = None


class TrustedProxies:
    """The peers whose X-Forwarded-* and Forwarded fields are believed."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._networks = tuple(networks)

    def client_of(self, scope: Scope) -> ForwardedClient:
        """The client of a request."""
        return self.client(peer_address(scope), scope["headers"])

    def client(self, peer: str, fields: Fields) -> ForwardedClient:
        """The client of a request from `peer`: the last address in the fields that isn't a trusted proxy's.

        Addresses before it are the client's own claims, and are ignored.
        """
        if not self._networks or not self._trusts(_address(peer)):
            return ForwardedClient(peer)
        hops = [peer]
        listed = _values(fields, b"x-forwarded-for")
        # A proxy that writes both fields writes the same into both.
        elements = [] if listed else _elements(fields)
        claims = [value.decode("latin-1") for value in listed or [one.get(b"for", b"") for one in elements]]
        claims = claims[-MOST_HOPS:]
        while claims and (address := _address(claims.pop())) is not None:
            hops.append(str(address))
            if not self._trusts(address):
                break
        scheme, host = _requested(fields, elements[-1] if elements else {})
        return ForwardedClient(hops[-1], tuple(reversed(hops[:-1])), scheme, host)

    def _trusts(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def read_networks(text: str) -> tuple[Network, ...]:
    """Parse networks and addresses separated by commas. Raises ValueError."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def _elements(fields: Fields) -> list[dict[bytes, bytes]]:
    """The pairs of each element of Forwarded, with lower-case names; none if any element is malformed.

    An unclosed quote from the client would otherwise hide the elements that a trusted proxy has appended.
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
    """Parse an address, with or without brackets and a port; None if it is none."""
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


def _requested(fields: Fields, element: dict[bytes, bytes]) -> tuple[str | None, bytes | None]:
    """The scheme and host that the nearest proxy reports."""
    schemes = _values(fields, b"x-forwarded-proto") or [element.get(b"proto", b"")]
    hosts = _values(fields, b"x-forwarded-host") or [element.get(b"host", b"")]
    scheme, host = schemes[-1].lower(), hosts[-1]
    return (
        scheme.decode() if scheme in (b"http", b"https") else None,
        host if _HOST.fullmatch(host) else None,
    )

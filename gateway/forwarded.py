"""Who a request comes from, where proxies that are trusted stand in between. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from gateway.fields import Fields, find

Network = IPv4Network | IPv6Network

_FOR = re.compile(rb'(?i)(?:\A|;)[ \t]*for=(?:"([^"\\]*)"|([^";,]*))')
_HOST = re.compile(rb"[0-9A-Za-z.\-:\[\]_]+")
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


class Trust:
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
        claims = _claims(fields)[-MOST_HOPS:]
        while claims and (address := _address(claims.pop())) is not None:
            hops.append(str(address))
            if not self._trusts(address):
                break
        return Origin(hops[-1], tuple(reversed(hops[:-1])), _scheme(fields), _host(fields))

    def _trusts(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def read_networks(text: str) -> tuple[Network, ...]:
    """Networks and addresses, separated by commas. Raises ValueError."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def _claims(fields: Fields) -> list[str]:
    listed = find(fields, b"x-forwarded-for")
    if listed:
        return [part.strip().decode("latin-1") for value in listed for part in value.split(b",")]
    elements = [part for value in find(fields, b"forwarded") for part in value.split(b",")]
    found = [_FOR.search(element) for element in elements]
    return ["" if one is None else (one[1] or one[2] or b"").decode("latin-1") for one in found]


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


def _last(fields: Fields, name: bytes) -> bytes:
    return b",".join(find(fields, name)).rpartition(b",")[2].strip()


def _scheme(fields: Fields) -> str | None:
    said = _last(fields, b"x-forwarded-proto").lower()
    return said.decode() if said in (b"http", b"https") else None


def _host(fields: Fields) -> bytes | None:
    said = _last(fields, b"x-forwarded-host")
    return said if _HOST.fullmatch(said) else None

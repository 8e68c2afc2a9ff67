"""The client of a request that a gateway has forwarded."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from quart import request

from runtime.serving import client_network

Network = IPv4Network | IPv6Network

GATEWAYS = "127.0.0.0/8, ::1"
"""The default: gateways on this host."""


class TrustedGateways:
    """The gateways whose X-Forwarded-For is believed. networks: separated by commas. Raises ValueError."""

    def __init__(self, networks: str = GATEWAYS) -> None:
        self._networks: tuple[Network, ...] = tuple(
            ip_network(part.strip()) for part in networks.split(",") if part.strip()
        )

    def client(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """The client of a request from `peer`: an IPv4 address, or the /64 of an IPv6 address.

        A gateway replaces whatever its client has sent, and writes the client first. Of any other peer the
        field says nothing.
        """
        first = ",".join(forwarded_for).partition(",")[0].strip()
        if first and self._trusts(peer) and _is_address(first):
            return client_network(first)
        return client_network(peer)

    def current_client(self) -> str:
        """The client of the current request."""
        return self.client(request.remote_addr or "", request.headers.getlist("X-Forwarded-For"))

    def _trusts(self, peer: str) -> bool:
        if not _is_address(peer):
            return False
        address = ip_address(peer)
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True

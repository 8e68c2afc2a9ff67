"""Limits on the resources that clients may use."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv6Address

from runtime.serving.statistics import ServerStatistics


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one server. Times are seconds.

    head_bytes: of a request's head. head_seconds: from the first byte of a head to its end, and for a TLS
    handshake. body_seconds: between two pieces of a request's body. upload_seconds: of waiting for a whole
    body; each `upload_rate` bytes received add a second. idle_seconds: between two requests. write_seconds:
    until the client reads a piece of the response. connections: concurrent. streams: concurrent requests of
    one HTTP/2 connection. statistics: counts what these limits have refused, among others.
    """

    head_bytes: int = 32 * 1024
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    upload_seconds: float = 300.0
    upload_rate: int = 500
    idle_seconds: float = 75.0
    write_seconds: float = 60.0
    connections: int = 1000
    streams: int = 100
    statistics: ServerStatistics = field(default_factory=ServerStatistics, compare=False)


def client_network(address: str) -> str:
    """Return the network that counts as one client: an IPv4 address, an IPv6 /64, or other text as it is."""
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address)
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Address(int(parsed) >> 64 << 64)) + "/64"


SERVICE_LIMITS = Limits(head_bytes=64 * 1024, connections=10_000)
"""For services: few callers with many connections each, and heads to which the gateway has added fields."""

"""A service as the gateway reaches it."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from actors import CircuitBreaker
from gateway.routes import Service


@dataclass(frozen=True, slots=True)
class Upstream:
    """A service, and how it is reached. Seconds: until a response's head, and between pieces of its body.

    base_url: the URL in requests; an UpstreamTransport ignores it and chooses the server itself.
    """

    service: Service
    base_url: str
    transport: httpx.AsyncBaseTransport
    breaker: CircuitBreaker
    timeout: float
    idle_timeout: float

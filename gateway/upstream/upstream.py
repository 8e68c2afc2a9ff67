"""A service as the gateway reaches it."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx

from actors import CircuitBreaker
from gateway.charging import HandlerFailures
from gateway.routes import Service
from runtime.loop_time import LoopTime


@dataclass(frozen=True, slots=True)
class Upstream:
    """A service, and how it is reached. Seconds: until a response's head, and between pieces of its body.

    base_url: the URL in requests; an UpstreamTransport ignores it and chooses the server itself.
    loop_time: by which the limits go. handlers: the errors of the service's handlers.
    """

    service: Service
    base_url: str
    transport: httpx.AsyncBaseTransport
    breaker: CircuitBreaker
    timeout: float
    idle_timeout: float
    loop_time: LoopTime
    handlers: HandlerFailures = field(default_factory=HandlerFailures)

"""A service as the gateway reaches it."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx

from actors import CircuitBreaker
from gateway.proxy.charging import HandlerFailures
from gateway.routes import Service
from gateway.upstream.overloads import Overloads
from runtime.config.route_pattern import RoutePattern
from runtime.serving.loop_time import LoopTime


@dataclass(frozen=True, slots=True)
class RouteBreaker:
    """A breaker for some of a service's requests."""

    patterns: tuple[RoutePattern, ...]
    breaker: CircuitBreaker


@dataclass(frozen=True, slots=True)
class Upstream:
    """A service, and how it is reached. Seconds: until a response's head, and between pieces of its body.

    base_url: the URL in requests; an UpstreamTransport ignores it and chooses the server itself.
    loop_time: by which the limits go. own_origins: its servers, such as http://auth:8081. routes: the
    breakers that stand in the place of `breaker` for some requests. handlers: the errors of the service's
    handlers. overloads: where our own shortages are counted.
    """

    service: Service
    base_url: str
    transport: httpx.AsyncBaseTransport
    breaker: CircuitBreaker
    timeout: float
    idle_timeout: float
    loop_time: LoopTime
    own_origins: frozenset[bytes] = frozenset()
    routes: tuple[RouteBreaker, ...] = ()
    handlers: HandlerFailures = field(default_factory=HandlerFailures)
    overloads: Overloads = field(default_factory=Overloads)

    def breaker_for(self, method: str, path: bytes) -> CircuitBreaker:
        """The breaker that guards a request. path: as the client sent it, without its query."""
        if self.routes:
            text = path.decode("latin-1")
            for route in self.routes:
                if any(pattern.matches(method, text) for pattern in route.patterns):
                    return route.breaker
        return self.breaker

"""A service, and the means by which the gateway reaches it."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx

from actors import CircuitBreaker
from gateway.routes import Service
from gateway.upstream.handler_failures import HandlerFailures
from gateway.upstream.overloads import Overloads
from runtime.config.route_pattern import RoutePattern
from runtime.serving.loop_time import LoopTime


@dataclass(frozen=True, slots=True)
class RouteBreaker:
    """A breaker for the requests of a service that match one of the patterns."""

    patterns: tuple[RoutePattern, ...]
    breaker: CircuitBreaker


@dataclass(frozen=True, slots=True)
class Upstream:
    """A service, and the means by which the gateway reaches it.

    base_url: the start of requests' URLs; an UpstreamTransport ignores it and chooses the server itself.
    timeout: seconds until a response's head. idle_timeout: seconds between two pieces of its body.
    loop_time: the clock of both. own_origins: the service's servers, such as b"http://auth:8081". routes: the
    breakers that replace `breaker` for some requests. handlers: counts errors of the service's handlers.
    overloads: counts what the gateway itself lacked.
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

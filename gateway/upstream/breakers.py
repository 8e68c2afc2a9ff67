"""The gateway's breakers: one for each service, and one for each route that breakers.toml lists."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import httpx

from actors import CircuitBreaker, CircuitBreakerConfig, Panel
from actors.adapters.httpx import is_failure
from gateway.routes import SERVICES
from gateway.upstream.pool import StaleConnection
from runtime.config.policies import Configuration, Probe, Routes
from runtime.config.probe_spec import ProbeSpec

# Errors of the gateway itself, or by chance: they are no evidence of the upstream's health.
_IGNORED = (StaleConnection, httpx.PoolTimeout, httpx.LocalProtocolError)


def counts_as_failure(error: BaseException) -> bool:
    """Whether the gateway's breakers count an exception of an upstream call as a failure."""
    return is_failure(error) and not isinstance(error, _IGNORED)


def route_breaker(breaker: str, route: str) -> str:
    """The name of the breaker of a route."""
    return f"{breaker}:{route}"


def open_breakers(
    panel: Panel, policies: Mapping[str, CircuitBreakerConfig], routes: Mapping[str, Routes] | None = None
) -> dict[str, CircuitBreaker]:
    """Open the gateway's breakers and return them by name. They count only failures of HTTP.

    policies: by the breaker's name. routes: by the name of the service's breaker. A route's breaker has the
    policy of its service's breaker.
    """
    found = {}
    for service in SERVICES:
        policy = dataclasses.replace(policies[service.breaker], failure=is_failure, ignore=_IGNORED)
        names = [service.breaker]
        names += [route_breaker(service.breaker, route) for route in (routes or {}).get(service.breaker, {})]
        for name in names:
            found[name] = panel.breaker(dataclasses.replace(policy, name=name))
    return found


def with_http_probes(
    configuration: Configuration, transports: Mapping[str, httpx.AsyncBaseTransport]
) -> dict[str, CircuitBreakerConfig]:
    """The policies, with an HTTP probe for each breaker that is to have one. transports: by service."""

    def maker(transport: httpx.AsyncBaseTransport) -> Callable[[ProbeSpec], Probe]:
        return lambda spec: http_probe(transport, spec.path or "/")

    return configuration.with_probes(
        {service.breaker: maker(transports[service.name]) for service in SERVICES}
    )


def http_probe(transport: httpx.AsyncBaseTransport, path: str) -> Probe:
    """A probe that bypasses every breaker. It succeeds if the status of GET `path` is below 500.

    It raises httpx.HTTPError otherwise.
    """

    async def probe() -> None:
        request = httpx.Request("GET", f"http://probe{path}", extensions={"target": path.encode()})
        response = await transport.handle_async_request(request)
        try:
            if response.status_code >= 500:
                raise httpx.RemoteProtocolError(f"status {response.status_code}")
        finally:
            await response.aclose()

    return probe

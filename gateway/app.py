"""The gateway as one ASGI app, built from its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import httpx
from quart_trio import QuartTrio

from actors import CircuitBreaker, Panel
from gateway.metrics.request_metrics import RequestMetrics
from gateway.pages.app import add_operations, own_pages
from gateway.pages.openapi import OpenApiAggregator
from gateway.proxy.access import RateLimiter
from gateway.proxy.cors import CorsPolicy
from gateway.proxy.limits.rate_limit import Counters
from gateway.proxy.limits.shared_counters import SharedCounters
from gateway.proxy.middleware import ProxyMiddleware
from gateway.proxy.port_role import PortRole
from gateway.proxy.trusted_proxies import TrustedProxies, read_networks
from gateway.routes import ROUTES, SERVICES
from gateway.settings import GatewaySettings
from gateway.upstream.breakers import route_breaker
from gateway.upstream.overloads import Overloads
from gateway.upstream.upstream import RouteBreaker, Upstream
from gateway.workers.cluster import WorkerCluster
from runtime.asgi import App, without_lifespan
from runtime.auth import TokenVerifier
from runtime.config.policies import Routes
from runtime.observability import tracing
from runtime.serving.loop_time import LoopTime
from runtime.sharing.process import ProcessSharing

_PREFIXES = tuple(route.prefix.decode() for route in ROUTES)


@dataclass(frozen=True, slots=True)
class SharedParts:
    """The parts of an app that use the shared store.

    cluster: given if this process is one of several workers.
    """

    sharing: ProcessSharing
    counters: SharedCounters
    cluster: WorkerCluster | None = None


def create_app(
    settings: GatewaySettings,
    panel: Panel,
    breakers: Mapping[str, CircuitBreaker],
    keys: TokenVerifier,
    transports: Mapping[str, httpx.AsyncBaseTransport],
    routes: Mapping[str, Routes] | None = None,
    shared: SharedParts | None = None,
) -> QuartTrio:
    """Build the app.

    breakers: by name. transports: by service (auth, school, student). routes: see `open_breakers`. shared:
    what other processes share with this one; None: nothing.

    The caller runs the background tasks: `keys.run`; `app.extensions["openapi"].fetch_all`, so that /docs is
    complete even if it is first requested while a service is down; `app.extensions["dashboard_feed"].run`;
    `app.extensions["admin"].commands.run`; and `app.extensions["loop_time"].run`, without which no time limit
    on a service takes effect. It serves with the limits `app.extensions["limits"]`, on OPERATIONS_PORT the
    app `app.extensions["operations_app"]`.
    """
    urls = settings.service_urls()
    loop_time, overloads = LoopTime(), Overloads()
    upstreams = {
        service.name: Upstream(
            service,
            urls[service.name][0],
            tracing.traced_transport(transports[service.name]),
            tracing.traced_breaker(breakers[service.breaker]),
            settings.upstream_timeout,
            settings.upstream_idle_timeout,
            loop_time,
            frozenset(url.lower().encode() for url in urls[service.name]),
            _route_breakers(service.breaker, (routes or {}).get(service.breaker, {}), breakers),
            overloads=overloads,
        )
        for service in SERVICES
    }
    openapi = OpenApiAggregator(upstreams)
    cluster = None if shared is None else shared.cluster
    counters = Counters() if shared is None else shared.counters
    limiter = RateLimiter(settings.rate_limit_per_minute, settings.rate_limit_per_hour, counters)
    limits = settings.limits()
    metrics = RequestMetrics(limits.statistics, limiter.refusals)
    if cluster is not None:
        cluster.overloads, cluster.request_metrics = overloads, metrics
    app = own_pages(cluster or panel, upstreams, openapi, overloads, metrics, cluster)
    trusted_proxies = TrustedProxies(read_networks(settings.trusted_proxies))
    app.extensions.update(openapi=openapi, loop_time=loop_time, limits=limits, request_metrics=metrics)
    app.extensions["sharing"] = None if shared is None else shared.cluster or shared.sharing
    sharing = None if shared is None else shared.sharing
    app.extensions["dashboard_feed"] = add_operations(
        app, settings, panel, keys, upstreams, cluster, sharing, trusted_proxies
    )
    cors = CorsPolicy(frozenset(str(origin).encode() for origin in settings.cors_origins))
    pages = cast(App, app.asgi_app)

    def port_app(role: PortRole) -> App:
        body_limit = settings.max_body_bytes
        return tracing.traced_app(
            ProxyMiddleware(
                pages, upstreams, keys, limiter, body_limit, trusted_proxies, cors, metrics, role
            ),
            _PREFIXES,
        )

    separate = settings.operations_port is not None
    app.asgi_app = port_app(PortRole.PUBLIC if separate else PortRole.ALL)  # type: ignore[method-assign, assignment]  # as Quart's documentation has it
    app.extensions["operations_app"] = without_lifespan(port_app(PortRole.OPERATIONS)) if separate else None
    return app


def _route_breakers(
    name: str, routes: Routes, breakers: Mapping[str, CircuitBreaker]
) -> tuple[RouteBreaker, ...]:
    return tuple(
        RouteBreaker(patterns, tracing.traced_breaker(breakers[route_breaker(name, route)]))
        for route, patterns in routes.items()
    )

"""The gateway as one ASGI app, with everything it needs given to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import httpx
from quart_trio import QuartTrio

from actors import CircuitBreaker, Panel
from gateway.pages.app import add_operations, own_pages
from gateway.pages.openapi import OpenApiAggregator
from gateway.proxy.access import Limits
from gateway.proxy.cors import CorsPolicy, parse_origins
from gateway.proxy.middleware import Proxy
from gateway.proxy.rate_limit import Counters, SharedCounters
from gateway.proxy.trusted_proxies import TrustedProxies, read_networks
from gateway.routes import ROUTES, SERVICES
from gateway.settings import GatewaySettings
from gateway.upstream.breakers import route_breaker
from gateway.upstream.overloads import Overloads
from gateway.upstream.upstream import RouteBreaker, Upstream
from gateway.workers.cluster import Crew
from runtime.asgi import App
from runtime.auth import TokenVerifier
from runtime.config.policy_file import Routes
from runtime.observability import tracing
from runtime.serving.loop_time import LoopTime

_PREFIXES = tuple(route.prefix.decode() for route in ROUTES)


def create_app(
    settings: GatewaySettings,
    panel: Panel,
    breakers: Mapping[str, CircuitBreaker],
    keys: TokenVerifier,
    transports: Mapping[str, httpx.AsyncBaseTransport],
    crew: Crew | None = None,
    routes: Mapping[str, Routes] | None = None,
) -> QuartTrio:
    """The app. breakers: by their name; transports: by service (auth, school, student).

    routes: as of `open_breakers`.

    crew: where there are other workers, what all of them know together.

    Nothing runs in the background but what the caller starts: `keys.run`; the `gather` of
    `app.extensions["documents"]`, so that /docs is there even where nobody looked at it while all was up;
    the `run` of `app.extensions["live"]`, which feeds the dashboard; and the `run` of
    `app.extensions["loop_time"]`, without which no limit on a service's time ever ends a request.
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
    documents = OpenApiAggregator(upstreams)
    if crew is not None:
        crew.overloads = overloads
    app = own_pages(crew or panel, upstreams, documents, overloads if crew is None else crew)
    app.extensions["documents"] = documents
    app.extensions["loop_time"] = loop_time
    app.extensions["live"] = add_operations(app, settings, panel, keys, upstreams, crew)
    counters = Counters() if crew is None else SharedCounters(crew.seat.counters)
    limits = Limits(settings.rate_limit_per_minute, settings.rate_limit_per_hour, counters)
    trust = TrustedProxies(read_networks(settings.trusted_proxies))
    cors = CorsPolicy(parse_origins(settings.cors_origins))
    proxy = Proxy(cast(App, app.asgi_app), upstreams, keys, limits, settings.max_body_bytes, trust, cors)
    app.asgi_app = tracing.traced_app(proxy, _PREFIXES)  # type: ignore[method-assign, assignment]  # as Quart's documentation has it
    return app


def _route_breakers(
    name: str, routes: Routes, breakers: Mapping[str, CircuitBreaker]
) -> tuple[RouteBreaker, ...]:
    return tuple(
        RouteBreaker(patterns, tracing.traced_breaker(breakers[route_breaker(name, route)]))
        for route, patterns in routes.items()
    )

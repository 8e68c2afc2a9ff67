"""The gateway as one ASGI app, with everything it needs given to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import cast

import httpx
from quart_trio import QuartTrio

from actors import CircuitBreaker, CircuitBreakerConfig, Panel
from actors.adapters.httpx import is_failure
from gateway.admission import Limits
from gateway.counters import Counters, SharedCounters
from gateway.crew import Crew
from gateway.documents import Documents
from gateway.forwarded import Trust, read_networks
from gateway.pages import add_operations, own_pages
from gateway.proxy import App, Proxy
from gateway.routes import ROUTES, SERVICES
from gateway.settings import GatewaySettings
from gateway.upstream.pool import StaleConnection
from gateway.upstream.upstream import Upstream
from runtime import telemetry
from runtime.keys import KeySet
from runtime.loop_time import LoopTime

_PREFIXES = tuple(route.prefix.decode() for route in ROUTES)
# What goes wrong on our side, or by chance, says nothing of the upstream's health.
_NOT_ITS_FAULT = (StaleConnection, httpx.PoolTimeout, httpx.LocalProtocolError)


def open_breakers(panel: Panel, configs: Mapping[str, CircuitBreakerConfig]) -> dict[str, CircuitBreaker]:
    """The gateway's breakers by name, with the failures of HTTP in the place of all exceptions."""
    return {
        service.breaker: panel.breaker(
            dataclasses.replace(configs[service.breaker], failure=is_failure, ignore=_NOT_ITS_FAULT)
        )
        for service in SERVICES
    }


def create_app(
    settings: GatewaySettings,
    panel: Panel,
    breakers: Mapping[str, CircuitBreaker],
    keys: KeySet,
    transports: Mapping[str, httpx.AsyncBaseTransport],
    crew: Crew | None = None,
) -> QuartTrio:
    """The app. breakers: by their name; transports: by service (auth, school, student).

    crew: where there are other workers, what all of them know together.

    Nothing runs in the background but what the caller starts: `keys.run`; the `gather` of
    `app.extensions["documents"]`, so that /docs is there even where nobody looked at it while all was up;
    the `run` of `app.extensions["live"]`, which feeds the dashboard; and the `run` of
    `app.extensions["loop_time"]`, without which no limit on a service's time ever ends a request.
    """
    urls = settings.service_urls()
    loop_time = LoopTime()
    upstreams = {
        service.name: Upstream(
            service,
            urls[service.name][0],
            telemetry.traced_transport(transports[service.name]),
            telemetry.traced_breaker(breakers[service.breaker]),
            settings.upstream_timeout,
            settings.upstream_idle_timeout,
            loop_time,
        )
        for service in SERVICES
    }
    documents = Documents(upstreams)
    app = own_pages(crew or panel, upstreams, documents)
    app.extensions["documents"] = documents
    app.extensions["loop_time"] = loop_time
    app.extensions["live"] = add_operations(app, settings, panel, keys, upstreams, crew)
    counters = Counters() if crew is None else SharedCounters(crew.seat.counters)
    limits = Limits(settings.rate_limit_per_minute, settings.rate_limit_per_hour, counters)
    trust = Trust(read_networks(settings.trusted_proxies))
    proxy = Proxy(cast(App, app.asgi_app), upstreams, keys, limits, settings.max_body_bytes, trust)
    app.asgi_app = telemetry.traced_app(proxy, _PREFIXES)  # type: ignore[method-assign, assignment]  # as Quart's documentation has it
    return app

"""A gateway for one test, on a real port or in process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import trio
from quart_trio import QuartTrio

from actors import DURATION_BUCKETS, CircuitBreakerConfig, Panel, open_panel
from actors.messages import Snapshot
from gateway.app import create_app
from gateway.call_log.call_log import CallLog
from gateway.routes import SERVICES
from gateway.settings import GatewaySettings
from gateway.upstream.balancer import service_transport
from gateway.upstream.breakers import open_breakers
from runtime.config.policies import Routes
from runtime.serving import Limits, ServerCertificate, serve
from tests.gateway.wire import TLS
from tests.tokens import Issuer

NOWHERE = "http://127.0.0.1:1"


@dataclass
class RunningGateway:
    """A running gateway, with its app, panel and clients."""

    app: QuartTrio
    panel: Panel
    issuer: Issuer
    transports: Mapping[str, httpx.AsyncBaseTransport]
    limits: Limits
    port: int = 0

    async def snapshot(self, name: str = "auth-service-http") -> Snapshot:
        return await self.panel[name].snapshot()

    async def counts(self, name: str = "auth-service-http") -> dict[str, int]:
        """The calls by outcome that aren't zero."""
        return {outcome: n for outcome, n in (await self.snapshot(name)).counts.items() if n}

    def client(self, address: str = "192.0.2.1") -> httpx.AsyncClient:
        """A client of the app in this process."""
        transport = httpx.ASGITransport(self.app, client=(address, 4711))
        return httpx.AsyncClient(transport=transport, base_url="http://gateway")


@asynccontextmanager
async def in_process_gateway(
    transports: Mapping[str, httpx.AsyncBaseTransport],
    policy: Mapping[str, Any] | None = None,
    routes: Mapping[str, Routes] | None = None,
    call_log_of: CallLog | None = None,
    **settings: Any,
) -> AsyncIterator[RunningGateway]:
    """A gateway in process. policy: of every breaker. call_log_of: notes rejections; the test runs it."""
    async with open_panel(durations=DURATION_BUCKETS) as panel:
        policies = {
            one.breaker: CircuitBreakerConfig(
                name=one.breaker, **{"max_failures": 5, "reset_timeout": 60.0, **(policy or {})}
            )
            for one in SERVICES
        }
        issuer = Issuer()
        values = {"rate_limit_per_minute": 1000, **settings}
        breakers = open_breakers(panel, policies, routes)
        if call_log_of is not None:
            breakers = call_log_of.observed(breakers)
        chosen = GatewaySettings(**values)
        app = create_app(chosen, panel, breakers, issuer.keys, transports, routes)
        async with trio.open_nursery() as nursery:
            await nursery.start(app.extensions["loop_time"].run)
            yield RunningGateway(app, panel, issuer, transports, app.extensions["limits"])
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def served(
    auth: str = NOWHERE,
    school: str = NOWHERE,
    student: str = NOWHERE,
    policy: Mapping[str, Any] | None = None,
    routes: Mapping[str, Routes] | None = None,
    certificate: ServerCertificate | None = None,
    **settings: Any,
) -> AsyncIterator[RunningGateway]:
    """A gateway on a real port, in front of the services at these URLs. certificate: it speaks TLS."""
    urls = {"auth_service_url": auth, "school_service_url": school, "student_service_url": student}
    chosen = GatewaySettings(**urls, **settings)
    transports = {
        name: service_transport(
            listed, ca_file=chosen.upstream_ca_file, connect_timeout=chosen.upstream_connect_timeout
        )
        for name, listed in chosen.service_urls().items()
    }
    async with (
        in_process_gateway(transports, policy, routes, **urls, **settings) as built,
        trio.open_nursery() as nursery,
    ):
        stop = trio.Event()
        run = partial(
            serve,
            built.app,
            host="127.0.0.1",
            port=0,
            grace=0.5,
            limits=built.limits,
            stop=stop.wait,
            certificate=certificate or TLS.get("certificate"),
        )
        built.port = await nursery.start(run)
        yield built
        stop.set()
        nursery.cancel_scope.cancel()

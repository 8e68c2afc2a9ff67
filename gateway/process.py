"""The tasks of one gateway process, which is the only one or one of several workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio
from quart_trio import QuartTrio

from actors import CircuitBreaker, Panel
from actors.adapters.logs import log_transitions
from gateway.app import SharedParts, create_app
from gateway.call_log.call_log import CallLog
from gateway.call_log.log_file import CallLogFile
from gateway.proxy.limits.shared_counters import SharedCounters, ValkeyCounters
from gateway.settings import GatewaySettings
from gateway.upstream.balancer import service_transport
from gateway.upstream.breakers import open_breakers, with_http_probes
from gateway.upstream.overloads import warn_of_file_limit
from gateway.upstream.pool import UpstreamTransport
from gateway.workers.cluster import WorkerCluster
from gateway.workers.context import WorkerContext
from protocols.topology import API_GATEWAY
from runtime.admin.webhook import start_webhook
from runtime.auth import TokenVerifier, jwks_over_http
from runtime.config.policies import Configuration
from runtime.config.reload import reload_on_hangup
from runtime.observability.panel import open_observed_panel
from runtime.serving import ServerCertificate, serve, stop_signal
from runtime.sharing.instances import Place
from runtime.sharing.process import ProcessSharing, open_sharing

EXPIRE_SECONDS = 5.0
"""Seconds between two searches for upstream connections that have been idle for too long."""


async def run_gateway(
    settings: GatewaySettings, configuration: Configuration, worker: WorkerContext | None = None
) -> None:
    """Run the gateway until a stop is requested. worker: given if it is one of several.

    Raises CannotListen. Cancelling ends it without draining.
    """
    transports = {
        name: service_transport(
            urls, ca_file=settings.upstream_ca_file, connect_timeout=settings.upstream_connect_timeout
        )
        for name, urls in settings.service_urls().items()
    }
    # Each client may have one request at a service.
    warn_of_file_limit(settings.max_connections, settings.max_connections)
    async with (
        open_observed_panel() as panel,
        _open_shared_parts(panel, settings, configuration, worker) as shared,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(log_transitions, panel)
        keys = await _start_token_verifier(nursery, settings, transports)
        nursery.start_soon(expire_idle_connections, transports)
        breakers = open_breakers(panel, with_http_probes(configuration, transports), configuration.routes)
        if settings.call_log is not None:
            breakers = await _start_call_log(nursery, settings.call_log, breakers)
        app = create_app(settings, panel, breakers, keys, transports, configuration.routes, shared)
        admin = app.extensions["admin"]
        cluster = None if shared is None else shared.cluster
        if shared is not None:
            await nursery.start(shared.counters.run)
        if cluster is not None:
            await nursery.start(cluster.run)
        await nursery.start(admin.commands.run)
        await nursery.start(app.extensions["loop_time"].run)
        nursery.start_soon(app.extensions["openapi"].fetch_all)
        await nursery.start(app.extensions["dashboard_feed"].run)
        await start_webhook(nursery, API_GATEWAY, settings, panel)
        certificate = settings.certificate()
        also = _no_certificate if certificate is None else certificate.reload
        await nursery.start(partial(reload_on_hangup, admin.policies.reload, also=also))
        await _serve(app, settings, worker, certificate)
        if cluster is not None:
            await cluster.save()
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _open_shared_parts(
    panel: Panel, settings: GatewaySettings, configuration: Configuration, worker: WorkerContext | None
) -> AsyncIterator[SharedParts | None]:
    """What the app shares, for as long as the block lasts; None if VALKEY_URL is unset."""
    if worker is None:
        place = Place(API_GATEWAY, f"{settings.host}:{settings.gateway_port}")
    else:
        place = Place(API_GATEWAY, worker.address, worker.gateway)
    clusters: list[WorkerCluster] = []

    def prepare(sharing: ProcessSharing) -> None:
        if worker is not None:
            clusters.append(WorkerCluster(panel, worker, sharing))

    async with open_sharing(place, panel, settings, configuration.sharing, prepare) as sharing:
        if sharing is None:
            yield None
            return
        counters = SharedCounters(ValkeyCounters(sharing.connection, sharing.instance))
        yield SharedParts(sharing, counters, clusters[0] if clusters else None)


async def _start_token_verifier(
    nursery: trio.Nursery, settings: GatewaySettings, transports: Mapping[str, UpstreamTransport]
) -> TokenVerifier:
    fetch_keys = jwks_over_http(*map(str, settings.auth_service_url), transport=transports["auth"])
    keys = TokenVerifier(fetch_keys, cache=settings.jwks_cache)
    await nursery.start(keys.run)
    return keys


async def _start_call_log(
    nursery: trio.Nursery, path: Path, breakers: Mapping[str, CircuitBreaker]
) -> dict[str, CircuitBreaker]:
    """Start the call log, and return the breakers that calls are to go through. Raises UnusableCallLog."""
    call_log = CallLog(CallLogFile(path))
    await nursery.start(call_log.run, list(breakers.values()))
    return call_log.observed(breakers)


def _no_certificate() -> None:
    """There is no certificate to reload."""


async def _serve(
    app: QuartTrio,
    settings: GatewaySettings,
    worker: WorkerContext | None,
    certificate: ServerCertificate | None,
) -> None:
    """Serve the app until a stop of this process, or this worker, is requested; then drain."""
    stop_requested = stop_signal if worker is None else worker.stop_requested
    delayed = app.extensions["readiness"].stop_after(settings.shutdown_delay, stop_requested)

    stopping = trio.Event()
    ports = [(app, settings.gateway_port, None if worker is None else worker.listener)]
    if settings.operations_port is not None:
        operations = app.extensions["operations_app"], settings.operations_port
        ports.append((*operations, None if worker is None else worker.operations_listener))
    async with trio.open_nursery() as nursery:
        for served, port, listener in ports:
            # Each port has connections of its own: clients leave places for the operators.
            run = partial(serve, served, host=settings.host, port=port, sock=listener, stop=stopping.wait)
            limits, grace = app.extensions["limits"], settings.grace()
            nursery.start_soon(partial(run, limits=limits, grace=grace, certificate=certificate))
        await delayed()
        app.extensions["dashboard_feed"].end()
        stopping.set()


async def expire_idle_connections(transports: Mapping[str, UpstreamTransport]) -> None:
    """Close upstream connections that have been idle for too long, also while there are no requests.

    Runs until it is cancelled.
    """
    while True:
        await trio.sleep(EXPIRE_SECONDS)
        for transport in transports.values():
            transport.expire()

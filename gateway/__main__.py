"""python -m gateway: the API gateway, in the foreground, until SIGTERM."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial

import trio
from quart_trio import QuartTrio
from structlog.contextvars import get_contextvars

from actors import DURATION_BUCKETS, open_panel
from actors.adapters.logs import log_transitions
from gateway.app import create_app
from gateway.pages.app import PROCESS
from gateway.settings import GatewaySettings
from gateway.upstream.balancer import service_transport
from gateway.upstream.breakers import open_breakers, with_http_probes
from gateway.upstream.overloads import warn_of_file_limit
from gateway.upstream.pool import UpstreamTransport
from gateway.workers.cluster import Crew
from gateway.workers.slot import WorkerContext
from gateway.workers.supervisor import run_workers
from runtime.admin.webhook import start_webhook
from runtime.auth import TokenVerifier, jwks_over_http
from runtime.config.breakers import BadConfiguration, Configuration, load_policies
from runtime.config.reload import defer_sighup, reload_on_hangup
from runtime.config.settings import load
from runtime.observability.logging import configure_logs
from runtime.observability.tracing import exemplar_labels, tracing
from runtime.serving import ServerCertificate, UnusableCertificate, run_process, serve, stop_signal

TIDY_SECONDS = 5.0


async def main(
    settings: GatewaySettings, configuration: Configuration, place: WorkerContext | None = None
) -> None:
    """Run the gateway until it is told to stop. place: where it is one of several workers."""
    transports = {
        name: service_transport(
            urls, ca_file=settings.upstream_ca_file, connect_timeout=settings.upstream_connect_timeout
        )
        for name, urls in settings.service_urls().items()
    }
    fetch_keys = jwks_over_http(settings.auth_service_url, transport=transports["auth"])
    keys = TokenVerifier(fetch_keys, cache=settings.jwks_cache)
    # Each client may have a request at a service.
    warn_of_file_limit(settings.max_connections, settings.max_connections)
    async with (
        open_panel(durations=DURATION_BUCKETS, exemplar=exemplar_labels(), bound=get_contextvars) as panel,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(log_transitions, panel)
        await nursery.start(keys.run)
        nursery.start_soon(tidy, transports)
        policies = with_http_probes(configuration, transports)
        breakers = open_breakers(panel, policies, configuration.routes)
        crew = None if place is None else Crew(panel, place.seat, settings.circuit_breaker_profile)
        app = create_app(settings, panel, breakers, keys, transports, crew, configuration.routes)
        if crew is not None:
            await nursery.start(crew.run)
        await nursery.start(app.extensions["loop_time"].run)
        nursery.start_soon(app.extensions["documents"].gather)
        await nursery.start(app.extensions["live"].run)
        await start_webhook(nursery, PROCESS, settings, panel)
        certificate = settings.certificate()
        reload_certificate = _nothing if certificate is None else certificate.reload
        if crew is None:
            again = settings.circuit_breakers, settings.circuit_breaker_profile
            await nursery.start(partial(reload_on_hangup, panel, *again, also=reload_certificate))
        else:
            crew.reload_certificate = reload_certificate
        await listen(app, settings, place, certificate)
        if crew is not None:
            await crew.save()
        nursery.cancel_scope.cancel()


def _nothing() -> None:
    """There is no certificate to read again."""


async def listen(
    app: QuartTrio,
    settings: GatewaySettings,
    place: WorkerContext | None,
    certificate: ServerCertificate | None,
) -> None:
    """Serve the app until this process, or this worker, is told to stop."""

    told = stop_signal if place is None else place.told_to_stop
    delayed = app.extensions["readiness"].stop_after(settings.shutdown_delay, told)

    async def stop() -> None:
        await delayed()
        app.extensions["live"].end()

    await serve(
        app,
        host=settings.host,
        port=settings.gateway_port,
        limits=settings.limits(),
        grace=settings.grace(),
        stop=stop,
        sock=None if place is None else place.listener,
        certificate=certificate,
    )


async def tidy(transports: Mapping[str, UpstreamTransport]) -> None:
    """Close connections that have idled too long, also where no request comes to notice."""
    while True:
        await trio.sleep(TIDY_SECONDS)
        for transport in transports.values():
            transport.expire()


def run() -> None:
    """Start, or say on standard error what can't be used and exit with 2."""
    defer_sighup()
    settings = load(GatewaySettings)
    configure_logs(PROCESS, settings.log_format, settings.secrets())
    try:
        configuration = load_policies(settings.circuit_breakers, settings.circuit_breaker_profile)
        settings.certificate()
    except (BadConfiguration, UnusableCertificate) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    if settings.gateway_workers > 1:
        run_process(run_workers, settings)
        return
    with tracing(PROCESS):
        run_process(main, settings, configuration)


if __name__ == "__main__":
    run()

"""The gateway's own pages: health, metrics, documentation, the dashboard and the admin API."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from prometheus_client.metrics_core import Metric
from quart import Response, g, redirect
from quart_trio import QuartTrio

from actors import Panel
from gateway.dashboard.feed import DashboardFeed
from gateway.dashboard.page import add_dashboard
from gateway.dashboard.places import StreamPlaces
from gateway.dashboard.sse import EventStream
from gateway.metrics.request_counts import request_families
from gateway.metrics.request_metrics import RequestMetrics
from gateway.metrics.route_names import ROUTE_NAMES
from gateway.pages.admin import FederatedBreakerAdmin
from gateway.pages.health import is_outage, stack_health
from gateway.pages.openapi import OpenApiAggregator
from gateway.pages.service_reports import ServiceReports
from gateway.proxy.trusted_proxies import TrustedProxies
from gateway.settings import GatewaySettings
from gateway.upstream.overloads import Overloads, overload_metric
from gateway.upstream.upstream import Upstream
from gateway.workers.cluster import WorkerCluster
from protocols.http import STATUS, Code, failure, success
from protocols.topology import API_GATEWAY
from runtime.admin.api import AdminAuthenticator, add_admin
from runtime.admin.history import Recorder
from runtime.admin.service import local_breaker_admin
from runtime.asgi import App
from runtime.auth import TokenVerifier
from runtime.breaker_source import BreakerSource
from runtime.sharing.process import ProcessSharing
from runtime.web.app import service_app
from runtime.web.errors import ApiError
from runtime.web.health import sharing_health, sharing_of

_ASSETS = Path(__file__).parent / "assets"
# Swagger UI loads its pictures from data: URLs, and sets styles by scripts, which a policy doesn't forbid.
_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_BUNDLED = {
    "swagger-ui.css": "text/css",
    "index.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
_OWN_ASSETS = {"docs.js": "text/javascript", "docs.css": "text/css"}
# No page takes a large body.
_MAX_BODY = 64 * 1024


def own_pages(
    panel: BreakerSource,
    upstreams: Mapping[str, Upstream],
    openapi: OpenApiAggregator,
    overloads: Overloads,
    requests: RequestMetrics,
    cluster: WorkerCluster | None,
) -> QuartTrio:
    """An app that serves `routes.OWN_PATHS`, but for the dashboard and the admin API.

    overloads, requests: those of this process. cluster: knows those of all workers; None for one process.
    """

    def more_metrics() -> list[Metric]:
        if cluster is None:
            return [overload_metric(overloads.counts), *request_families(requests.snapshot(), ROUTE_NAMES)]
        families = request_families(cluster.request_counts(), ROUTE_NAMES)
        return [overload_metric(cluster.overload_counts()), *families]

    app = service_app(API_GATEWAY, panel, max_body=_MAX_BODY, more_metrics=more_metrics)
    reports = ServiceReports(upstreams)

    async def count_error(response: Response) -> Response:
        if (code := g.get("log_fields", {}).get("error")) is not None:
            requests.count_error(code)
        return response

    app.after_request(count_error)

    async def health() -> Any:
        data = await stack_health(panel, upstreams, reports)
        outage = is_outage(data)
        data.update(await sharing_health(sharing_of(app)))
        if outage:
            body = failure(Code.PARTIAL_OUTAGE, "Some services are unhealthy", data=data)
            return body, STATUS[Code.PARTIAL_OUTAGE]
        return success("All services are healthy", data)

    # It replaces the health of a single process, which has no dependencies.
    app.view_functions["health"] = health
    _add_documentation(app, openapi)
    return app


def add_operations(
    app: QuartTrio,
    settings: GatewaySettings,
    panel: Panel,
    keys: TokenVerifier,
    upstreams: Mapping[str, Upstream],
    cluster: WorkerCluster | None,
    sharing: ProcessSharing | None,
    trusted_proxies: TrustedProxies,
) -> DashboardFeed:
    """Add the dashboard and the admin API.

    The caller runs the DashboardFeed that is returned, and the commands of `app.extensions["admin"]`.
    """
    recorder = Recorder(API_GATEWAY, cluster or panel)
    if (shown := sharing_of(app)) is not None:
        recorder.other_instances = shown.other_instances
    own = app.extensions["admin"] = local_breaker_admin(panel, recorder, settings, sharing)
    authenticator = AdminAuthenticator(keys, settings.admin_token)
    client_of = trusted_proxies.client_of
    add_admin(
        app, FederatedBreakerAdmin(own, upstreams), authenticator, lambda scope: client_of(scope).address
    )
    add_dashboard(app)
    feed = DashboardFeed(recorder, upstreams)
    app.asgi_app = EventStream(cast(App, app.asgi_app), feed, StreamPlaces(trusted_proxies, authenticator))  # type: ignore[method-assign, assignment]
    return feed


def _add_documentation(app: QuartTrio, openapi: OpenApiAggregator) -> None:
    swagger = files("flask_swagger_ui") / "dist"
    bundle = {name: ((swagger / name).read_bytes(), kind) for name, kind in _BUNDLED.items()}
    for name, kind in _OWN_ASSETS.items():
        bundle[name] = ((_ASSETS / name).read_bytes(), kind)
    page = (_ASSETS / "docs.html").read_text(encoding="utf-8")

    @app.get("/")
    async def start() -> Any:
        return redirect("/docs")

    @app.get("/docs/")
    async def docs_folder() -> Any:
        return redirect("/docs")

    @app.get("/docs")
    async def docs() -> Response:
        fields = {"Content-Security-Policy": _SECURITY_POLICY}
        return Response(page, content_type="text/html; charset=utf-8", headers=fields)

    @app.get("/docs/openapi.json")
    async def merged_document() -> Any:
        return await openapi.merged_document()

    @app.get("/docs/assets/<name>")
    async def asset(name: str) -> Response:
        if name not in bundle:
            raise ApiError(Code.NOT_FOUND, "Nothing is found at this path")
        content, kind = bundle[name]
        return Response(content, content_type=kind, headers={"Cache-Control": "max-age=3600"})

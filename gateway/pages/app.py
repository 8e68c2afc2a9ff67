"""The gateway's own pages: health, metrics, documentation, the dashboard and the admin API."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from prometheus_client.metrics_core import Metric
from quart import Response, redirect
from quart_trio import QuartTrio

from actors import Panel
from gateway.dashboard.feed import DashboardFeed
from gateway.dashboard.page import add_dashboard
from gateway.dashboard.sse import EventStream
from gateway.pages.admin import FederatedBreakerAdmin
from gateway.pages.health import is_outage, stack_health
from gateway.pages.openapi import OpenApiAggregator
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
_SECURITY_POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'"
_BUNDLED = {
    "swagger-ui.css": "text/css",
    "index.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
# No page takes a large body.
_MAX_BODY = 64 * 1024


def own_pages(
    panel: BreakerSource,
    upstreams: Mapping[str, Upstream],
    openapi: OpenApiAggregator,
    overloads: Overloads | WorkerCluster,
) -> QuartTrio:
    """An app that serves `routes.OWN_PATHS`, but for the dashboard and the admin API.

    overloads: those of this process, or of all workers.
    """

    def more_metrics() -> list[Metric]:
        counts = overloads.counts if isinstance(overloads, Overloads) else overloads.overload_counts()
        return [overload_metric(counts)]

    app = service_app(API_GATEWAY, panel, max_body=_MAX_BODY, more_metrics=more_metrics)

    async def health() -> Any:
        data = await stack_health(panel, upstreams)
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
) -> DashboardFeed:
    """Add the dashboard and the admin API.

    The caller runs the DashboardFeed that is returned, and the commands of `app.extensions["admin"]`.
    """
    recorder = Recorder(API_GATEWAY, cluster or panel)
    if (shown := sharing_of(app)) is not None:
        recorder.other_instances = shown.other_instances
    own = app.extensions["admin"] = local_breaker_admin(panel, recorder, settings, sharing)
    add_admin(app, FederatedBreakerAdmin(own, upstreams), AdminAuthenticator(keys, settings.admin_token))
    add_dashboard(app)
    feed = DashboardFeed(recorder, upstreams)
    app.asgi_app = EventStream(cast(App, app.asgi_app), feed)  # type: ignore[method-assign, assignment]
    return feed


def _add_documentation(app: QuartTrio, openapi: OpenApiAggregator) -> None:
    swagger = files("flask_swagger_ui") / "dist"
    bundle = {name: ((swagger / name).read_bytes(), kind) for name, kind in _BUNDLED.items()}
    bundle["docs.js"] = ((_ASSETS / "docs.js").read_bytes(), "text/javascript")
    page = (_ASSETS / "docs.html").read_text(encoding="utf-8")

    @app.get("/")
    async def start() -> Any:
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

"""The pages of every process: /health, /livez, /readyz and /metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import trio
from prometheus_client.metrics_core import Metric
from quart import Response, request
from quart_schema import hide
from quart_trio import QuartTrio

from actors.adapters.health import breaker_health
from actors.adapters.metrics import negotiated
from protocols.http import STATUS, Code
from protocols.http import failure as failure_body
from protocols.http import success as success_body
from runtime.breaker_source import BreakerSource
from runtime.web.errors import ApiError
from runtime.web.readiness import Readiness


def add_health(app: QuartTrio, panel: BreakerSource, readiness: Readiness) -> None:
    """Add /health (each breaker), /livez (the process runs) and /readyz (it accepts new requests)."""

    @app.get("/health")
    @hide
    async def health() -> Any:
        parts = {name: breaker_health(snapshot) for name, snapshot in (await panel.snapshots()).items()}
        if any(part["status"] == "unhealthy" for part in parts.values()):
            body = failure_body(Code.PARTIAL_OUTAGE, "Some services are unhealthy", data=parts)
            return body, STATUS[Code.PARTIAL_OUTAGE]
        return success_body("All services are healthy", parts)

    @app.get("/livez")
    @hide
    async def livez() -> Any:
        return success_body("alive", None)

    @app.get("/readyz")
    @hide
    async def readyz() -> Any:
        if readiness.stopping:
            raise ApiError(Code.SERVICE_UNAVAILABLE, "the process stops soon", retry_after=1)
        with trio.move_on_after(1):
            await panel.snapshots()
            return success_body("ready", None)
        raise ApiError(Code.SERVICE_UNAVAILABLE, "the breakers don't answer", retry_after=1)


def add_metrics(app: QuartTrio, panel: BreakerSource, more: Callable[[], Iterable[Metric]]) -> None:
    """Add /metrics for Prometheus: the breakers' metrics, then those that `more` returns."""

    @app.get("/metrics")
    @hide
    async def metrics() -> Response:
        snapshots = (await panel.snapshots()).values()
        body, content_type = negotiated(snapshots, request.headers.get("Accept"), more())
        return Response(body, content_type=content_type, headers={"Vary": "Accept"})

"""The pages of every process: /health, /livez, /readyz and /metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import trio
from prometheus_client.metrics_core import Metric
from quart import Response, request
from quart_schema import hide
from quart_trio import QuartTrio

from actors.adapters.health import breaker_health
from actors.adapters.metrics import negotiated
from actors.sharing.shared_breakers import SharingStatus
from protocols.http import STATUS, Code
from protocols.http import failure as failure_body
from protocols.http import success as success_body
from runtime.breaker_source import BreakerSource
from runtime.web.errors import ApiError
from runtime.web.readiness import Readiness


class SharingView(Protocol):
    """What a process that shares its breakers shows of that."""

    def status(self) -> SharingStatus:
        """How well the breakers are shared now."""

    def knows_counts(self) -> bool:
        """Whether the breakers' counts may be shown; as of the last snapshots."""

    async def other_instances(self) -> list[dict[str, Any]]:
        """The other instances, as JSON. Takes a fraction of a second at most."""


def sharing_of(app: QuartTrio) -> SharingView | None:
    """What the app's process shares; None: nothing. The process sets `app.extensions["sharing"]`."""
    sharing: SharingView | None = app.extensions.get("sharing")
    return sharing


async def sharing_health(sharing: SharingView | None) -> dict[str, Any]:
    """The keys `sharing` and `instances` of a /health document's `data`; none if nothing is shared.

    Other instances have no part in the document's status: it speaks of this one.
    """
    if sharing is None:
        return {}
    status = sharing.status()
    age = None if status.news_age is None else round(status.news_age, 3)
    shown = {
        "connected": status.connected,
        "instance": status.instance,
        "news_age": age,
        "dropped": status.dropped,
    }
    return {"sharing": shown, "instances": await sharing.other_instances()}


def add_health(app: QuartTrio, panel: BreakerSource, readiness: Readiness) -> None:
    """Add /health (each breaker), /livez (the process runs) and /readyz (it accepts new requests)."""

    @app.get("/health")
    @hide
    async def health() -> Any:
        parts = {name: breaker_health(snapshot) for name, snapshot in (await panel.snapshots()).items()}
        data = {**parts, **await sharing_health(sharing_of(app))}
        if any(part["status"] == "unhealthy" for part in parts.values()):
            body = failure_body(Code.PARTIAL_OUTAGE, "Some services are unhealthy", data=data)
            return body, STATUS[Code.PARTIAL_OUTAGE]
        return success_body("All services are healthy", data)

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
        sharing = sharing_of(app)
        status, counters = (None, True) if sharing is None else (sharing.status(), sharing.knows_counts())
        body, content_type = negotiated(
            snapshots, request.headers.get("Accept"), more() if counters else (), status, counters=counters
        )
        return Response(body, content_type=content_type, headers={"Vary": "Accept"})

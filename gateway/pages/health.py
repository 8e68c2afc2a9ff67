"""GET /health: the gateway's breakers, and those that each service reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.adapters.health import breaker_health
from gateway.pages.service_reports import ServiceReports
from gateway.routes import Service
from gateway.upstream.upstream import Upstream
from runtime.breaker_source import BreakerSource

_STATUSES = ("healthy", "recovering", "unhealthy")


async def stack_health(
    panel: BreakerSource, upstreams: Mapping[str, Upstream], reports: ServiceReports
) -> dict[str, Any]:
    """The `data` of the response: the gateway's own breakers as they are, and the services' latest reports.

    Raises PanelClosedError.
    """
    replies = await reports.latest()
    snapshots = await panel.snapshots()
    data: dict[str, Any] = {"gateway": {"status": "healthy"}}
    for name, upstream in upstreams.items():
        part = breaker_health(snapshots[upstream.service.breaker])
        document = replies[upstream.service.name].document
        data[name] = {**part, "dependencies": dependencies(upstream.service, document)}
        if upstream.routes:
            names = [route.breaker.name for route in upstream.routes]
            data[name]["routes"] = {one: breaker_health(snapshots[one]) for one in names}
    return data


def dependencies(service: Service, document: Any) -> dict[str, Any]:
    """The health of a service's own breakers, as its document reports it; else the status `unknown`."""
    data = document.get("data") if isinstance(document, dict) else None
    data = data if isinstance(data, dict) else {}
    return {name: _part(data.get(name)) for name in service.dependencies}


def _part(reported: Any) -> dict[str, Any]:
    if not isinstance(reported, dict) or reported.get("status") not in _STATUSES:
        return {"status": "unknown"}
    return {"status": reported["status"], "circuit_breaker": reported.get("circuit_breaker")}


def is_outage(data: Mapping[str, Any]) -> bool:
    """Whether any part is unhealthy, dependencies and routes included."""
    parts = list(data.values())
    for kind in ("dependencies", "routes"):
        parts += [below for part in data.values() for below in part.get(kind, {}).values()]
    return any(part["status"] == "unhealthy" for part in parts)

"""GET /health: the gateway's breakers, and what each service says of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from actors.adapters.health import breaker_health
from gateway.routes import Service
from gateway.upstream.fetch import fetch_json
from gateway.upstream.upstream import Upstream
from runtime.breaker_source import BreakerSource

ASK_SECONDS = 1.0
_STATUSES = ("healthy", "recovering", "unhealthy")


async def whole_health(panel: BreakerSource, upstreams: Mapping[str, Upstream]) -> dict[str, Any]:
    """The `data` of the answer. Never passes through a breaker, nor counts on one.

    The services are asked side by side, and each gets ASK_SECONDS to answer.
    """
    reported: dict[str, Any] = {}

    async def inquire(name: str, upstream: Upstream) -> None:
        transport, base_url = upstream.transport, upstream.base_url
        reported[name] = await fetch_json(transport, base_url, "/health", timeout=ASK_SECONDS)

    async with trio.open_nursery() as nursery:
        for name, upstream in upstreams.items():
            nursery.start_soon(inquire, name, upstream)
    snapshots = await panel.snapshots()
    data: dict[str, Any] = {"gateway": {"status": "healthy"}}
    for name, upstream in upstreams.items():
        part = breaker_health(snapshots[upstream.service.breaker])
        data[name] = {**part, "dependencies": dependencies(upstream.service, reported[name])}
        if upstream.routes:
            names = [route.breaker.name for route in upstream.routes]
            data[name]["routes"] = {one: breaker_health(snapshots[one]) for one in names}
    return data


def dependencies(service: Service, report: Any) -> dict[str, Any]:
    """What a service's own answer says of its breakers; `unknown` where it says nothing that can be used."""
    said = report.get("data") if isinstance(report, dict) else None
    said = said if isinstance(said, dict) else {}
    return {name: _part(said.get(name)) for name in service.dependencies}


def _part(said: Any) -> dict[str, Any]:
    if not isinstance(said, dict) or said.get("status") not in _STATUSES:
        return {"status": "unknown"}
    return {"status": said["status"], "circuit_breaker": said.get("circuit_breaker")}


def is_outage(data: Mapping[str, Any]) -> bool:
    """Whether any part, dependencies included, is unhealthy."""
    parts = list(data.values())
    for kind in ("dependencies", "routes"):
        parts += [below for part in data.values() for below in part.get(kind, {}).values()]
    return any(part["status"] == "unhealthy" for part in parts)

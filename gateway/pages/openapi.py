"""The services' OpenAPI documents, merged into one as a client of the gateway sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from gateway.routes import ROUTES, Route
from gateway.upstream.fetch import fetch_json
from gateway.upstream.upstream import Upstream

ASK_SECONDS = 2.0
FRESH_SECONDS = 60.0
RETRY_SECONDS = 2.0

Document = dict[str, Any]

_METHODS = frozenset(("get", "put", "post", "delete", "options", "head", "patch", "trace"))


class OpenApiAggregator:
    """Fetches the documents, and keeps the last of each: they survive their service being down."""

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = upstreams
        self._known: dict[str, Document] = {}
        self._fetched = float("-inf")

    async def merge_reports(self) -> Document:
        """One document for all services that ever answered."""
        if trio.current_time() - self._fetched > FRESH_SECONDS or len(self._known) < len(self._upstreams):
            await self.refresh()
        return merge(self._known)

    async def refresh(self) -> None:
        """Ask all services side by side; one that doesn't answer keeps the document it has."""
        async with trio.open_nursery() as nursery:
            for name in self._upstreams:
                nursery.start_soon(self._fetch, name)
        self._fetched = trio.current_time()

    async def gather(self) -> None:
        """Ask until every service has answered once. A task for a nursery; may be cancelled at any point."""
        while len(self._known) < len(self._upstreams):
            await self.refresh()
            await trio.sleep(RETRY_SECONDS)

    async def _fetch(self, name: str) -> None:
        upstream = self._upstreams[name]
        found = await fetch_json(upstream.transport, upstream.base_url, "/openapi.json", timeout=ASK_SECONDS)
        if isinstance(found, dict) and isinstance(found.get("paths"), dict):
            self._known[name] = found


def merge(documents: Mapping[str, Document]) -> Document:
    """One document from those of several services: paths as they are outside, components by service. Pure."""
    paths: Document = {}
    components: Document = {
        "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    }
    for route in ROUTES:
        document = documents.get(route.service.name)
        if document is None:
            continue
        renamed = _renamed(document, route.service.name)
        for path, item in renamed["paths"].items():
            if (outside := _outside(route, path)) is not None:
                paths[outside] = _operations(item, route)
        for kind, entries in (renamed.get("components") or {}).items():
            if kind != "securitySchemes":
                named = {f"{route.service.name}.{name}": entry for name, entry in entries.items()}
                components.setdefault(kind, {}).update(named)
    info = {"title": "School Management", "version": "1", "description": "All services, through the gateway."}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": components}


def _outside(route: Route, path: str) -> str | None:
    """A service's path as a client of the gateway sees it; None where it can't be reached."""
    prefix = route.prefix.decode()
    if route.strip:
        return prefix + path
    reached = path.startswith(prefix + "/") or (route.itself and path == prefix)
    return path if reached else None


def _operations(item: Any, route: Route) -> Any:
    if not isinstance(item, dict):
        return item
    return {key: _operation(value, route) if key in _METHODS else value for key, value in item.items()}


def _operation(operation: Document, route: Route) -> Document:
    said = {**operation, "tags": [route.service.name]}
    if route.bearer:
        said["security"] = [{"bearer": []}]
    return said


def _renamed(value: Any, service: str) -> Any:
    """The same with every reference to a component naming its service too: two may use one name."""
    if isinstance(value, list):
        return [_renamed(one, service) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _reference(one, service) if key == "$ref" else _renamed(one, service)
        for key, one in value.items()
    }


def _reference(reference: Any, service: str) -> Any:
    if not isinstance(reference, str) or not reference.startswith("#/components/"):
        return reference
    head, _, name = reference.rpartition("/")
    return f"{head}/{service}.{name}"

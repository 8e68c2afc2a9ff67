"""The services' OpenAPI documents, merged into one with the paths that clients of the gateway see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from gateway.pages.own_document import add_gateway_answers, own_paths, own_schemas
from gateway.routes import ROUTES, Route
from gateway.upstream.fetch import fetch_json, for_each_service
from gateway.upstream.upstream import Upstream

FETCH_SECONDS = 2.0
"""Seconds that a service has to answer."""
FRESH_SECONDS = 60.0
"""Seconds for which the documents are used without being fetched again."""
RETRY_SECONDS = 2.0
"""Seconds between two fetches until every document was fetched once."""

Document = dict[str, Any]

_METHODS = frozenset(("get", "put", "post", "delete", "options", "head", "patch", "trace"))


class OpenApiAggregator:
    """Fetches the documents, and keeps the last one of each service for when the service is down."""

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = upstreams
        self._documents: dict[str, Document] = {}
        self._fetched_at = float("-inf")
        self._fetching = trio.Lock()
        self._merged: Document | None = None

    async def merged_document(self) -> Document:
        """One document for all services whose own document was ever fetched."""
        await self.refresh()
        if self._merged is None:
            self._merged = merge(self._documents)
        return self._merged

    async def refresh(self) -> None:
        """Fetch all documents concurrently if they are due; a service that doesn't answer keeps its last one.

        They are due after FRESH_SECONDS, and while one is missing after RETRY_SECONDS, for all requests
        together. Cancelling doesn't end a fetch: others wait for it too.
        """
        async with self._fetching:
            wait = RETRY_SECONDS if self._is_incomplete() else FRESH_SECONDS
            if trio.current_time() - self._fetched_at < wait:
                return
            with trio.CancelScope(shield=True):
                await for_each_service(self._upstreams.values(), self._fetch)
            self._fetched_at, self._merged = trio.current_time(), None

    async def fetch_all(self) -> None:
        """Fetch until every service has answered once. May be cancelled at any point."""
        while self._is_incomplete():
            await self.refresh()
            await trio.sleep(RETRY_SECONDS)

    def _is_incomplete(self) -> bool:
        return len(self._documents) < len(self._upstreams)

    async def _fetch(self, upstream: Upstream) -> None:
        document = (await fetch_json(upstream, "/openapi.json", timeout=FETCH_SECONDS)).document
        if isinstance(document, dict) and isinstance(document.get("paths"), dict):
            self._documents[upstream.service.name] = document


def merge(documents: Mapping[str, Document]) -> Document:
    """Merge the documents of several services, by the service's name, and the gateway's own. Pure.

    Paths become those that clients of the gateway see; components are prefixed with the service's name.
    """
    paths: Document = {}
    components: Document = {
        "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        "schemas": own_schemas(),
    }
    for route in ROUTES:
        document = documents.get(route.service.name)
        if document is None:
            continue
        renamed = _renamed(document, route.service.name)
        for path, item in renamed["paths"].items():
            if (gateway_path := _gateway_path(route, path)) is not None:
                paths[gateway_path] = _operations(item, route)
        for kind, entries in (renamed.get("components") or {}).items():
            if kind != "securitySchemes":
                named = {f"{route.service.name}.{name}": entry for name, entry in entries.items()}
                components.setdefault(kind, {}).update(named)
    paths |= own_paths()
    info = {"title": "School Management", "version": "1", "description": "All services, through the gateway."}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": components}


def _gateway_path(route: Route, path: str) -> str | None:
    """A service's path as clients of the gateway see it; None if the gateway doesn't route to it."""
    prefix = route.prefix.decode()
    if route.strip:
        return prefix + path
    is_routed = path.startswith(prefix + "/") or (route.exact and path == prefix)
    return path if is_routed else None


def _operations(item: Any, route: Route) -> Any:
    if not isinstance(item, dict):
        return item
    return {key: _operation(value, route) if key in _METHODS else value for key, value in item.items()}


def _operation(operation: Document, route: Route) -> Document:
    tagged = add_gateway_answers({**operation, "tags": [route.service.name]}, bearer=route.bearer)
    if route.bearer:
        tagged["security"] = [{"bearer": []}]
    return tagged


def _renamed(value: Any, service: str) -> Any:
    """Prefix every reference to a component with the service's name: two services may use the same name."""
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

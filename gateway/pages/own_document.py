"""The OpenAPI document of the gateway's own calls, and its answers to forwarded ones. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runtime.admin.panel_target import ACTIONS

Document = dict[str, Any]

ERROR_SCHEMA = "gateway.Error"
"""The component that describes the body of a failure."""
_REFERENCE = {"$ref": f"#/components/schemas/{ERROR_SCHEMA}"}
_ENVELOPE: Document = {
    "type": "object",
    "required": ["message", "data"],
    "properties": {"message": {"type": "string"}, "data": {}},
}
_ERROR: Document = {
    "type": "object",
    "required": ["error", "message"],
    "properties": {"error": {"type": "string"}, "message": {"type": "string"}},
}
_MEANINGS: Mapping[int, str] = {
    400: "The request is malformed, or a value can't be used",
    401: "No token, or no valid one",
    403: "Only an admin may do this",
    404: "There is no such breaker, action or file",
    408: "The body came too slowly",
    413: "The body is too large",
    429: "Too many requests: wait for Retry-After",
    500: "A bug: the log has the reason",
    502: "The service can't be reached, or its answer is garbled",
    503: "Unavailable: the breaker is open, the service lacks its database, or there is no room; see `error`",
    504: "The service didn't answer in time",
}
_FORWARDED = (400, 429, 500, 502, 503, 504)
_WITH_BODY = (408, 413)
_COMMAND: Document = {
    "content": {
        "application/json": {
            "schema": {"type": "object", "properties": {"reason": {"type": "string", "maxLength": 200}}}
        }
    }
}
_POLICY: Document = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {"reason": {"type": "string", "maxLength": 200}},
                "additionalProperties": True,
                "example": {"max_failures": 7, "reset_timeout": 20, "reason": "a slow failover"},
            }
        }
    },
}


def add_gateway_answers(operation: Document, *, bearer: bool) -> Document:
    """A service's operation with the statuses that the gateway may give instead."""
    statuses = [*_FORWARDED, *([401] if bearer else []), *(_WITH_BODY if "requestBody" in operation else ())]
    known = operation.get("responses") or {}
    added = {str(one): _failure(one) for one in statuses if str(one) not in known}
    return {**operation, "responses": dict(sorted({**known, **added}.items()))}


def own_paths() -> Document:
    """The gateway's own calls, by path."""
    health = "The health of every service, its breaker and its dependencies"
    outage = _failure(503) | {"description": "Some part is unhealthy: PARTIAL_OUTAGE, with the same `data`"}
    return {
        "/": {"get": _call("operations", "Redirects to /docs", _redirect(), (429,))},
        "/health": {"get": _call("operations", health, {"200": _answer(health), "503": outage}, (429,))},
        "/livez": {"get": _call("operations", "Whether the gateway runs", {"200": _answer("It runs")})},
        "/readyz": {
            "get": _call(
                "operations", "Whether the gateway accepts requests", {"200": _answer("It does")}, (503,)
            )
        },
        "/metrics": {"get": _call("operations", "Metrics for Prometheus", _text("text/plain"), (429,))},
        "/dashboard": {"get": _call("operations", "The dashboard", _text("text/html"), (429,))},
        "/dashboard/": {"get": _call("operations", "Redirects to /dashboard", _redirect(), (429,))},
        "/dashboard/assets/{name}": _assets("The dashboard's scripts, styles and icons"),
        "/dashboard/events": {
            "get": _call(
                "operations", "The dashboard's events", _text("text/event-stream"), (401, 403, 429, 503)
            )
        },
        "/docs": {"get": _call("operations", "This document as a page", _text("text/html"), (429,))},
        "/docs/": {"get": _call("operations", "Redirects to /docs", _redirect(), (429,))},
        "/docs/assets/{name}": _assets("The scripts, styles and icons of /docs"),
        "/docs/openapi.json": {
            "get": _call("operations", "This document", _text("application/json"), (429,))
        },
        "/admin/breakers": {"get": _admin("Every breaker", ())},
        "/admin/breakers/{name}": {
            "get": _admin("One breaker with its recent past", (404, 502)),
            "parameters": [_in_path("name")],
        },
        "/admin/breakers/{name}/{action}": {
            "post": _admin("Steer a breaker", (400, 404, 408, 413, 502), _COMMAND),
            "parameters": [_in_path("name"), _in_path("action", list(ACTIONS))],
        },
        "/admin/breakers/{name}/policy": {
            "put": _admin("Change keys of a policy", (400, 404, 408, 413, 502), _POLICY),
            "parameters": [_in_path("name")],
        },
        "/admin/breakers/reload": {
            "post": _admin("Read breakers.toml again, in every process", (400, 408, 413), _COMMAND)
        },
    }


def own_schemas() -> Document:
    """The components that `own_paths` and `add_gateway_answers` refer to."""
    return {ERROR_SCHEMA: _ERROR}


def _call(tag: str, summary: str, responses: Document, failures: Iterable[int] = ()) -> Document:
    more = {str(status): _failure(status) for status in failures}
    return {"tags": [tag], "summary": summary, "responses": dict(sorted({**responses, **more}.items()))}


def _admin(summary: str, failures: Sequence[int], body: Document | None = None) -> Document:
    call = _call("admin", summary, {"200": _answer(summary)}, (401, 403, 429, 503, *failures))
    call["security"] = [{"bearer": []}]
    return call if body is None else {**call, "requestBody": body}


def _answer(description: str) -> Document:
    return {"description": description, "content": {"application/json": {"schema": _ENVELOPE}}}


def _text(kind: str) -> Document:
    return {"200": {"description": "OK", "content": {kind: {}}}}


def _redirect() -> Document:
    return {"302": {"description": "Found", "content": {"text/html": {}}}}


def _assets(summary: str) -> Document:
    kinds = ("text/javascript", "text/css", "image/svg+xml", "image/png")
    found = {"200": {"description": "OK", "content": {kind: {} for kind in kinds}}}
    call = _call("operations", summary, found, (404, 429))
    return {"get": call, "parameters": [_in_path("name")]}


def _failure(status: int) -> Document:
    content = {"application/json": {"schema": _REFERENCE}}
    return {"description": _MEANINGS[status], "content": content}


def _in_path(name: str, values: list[str] | None = None) -> Document:
    schema = {"type": "string", **({} if values is None else {"enum": values})}
    return {"name": name, "in": "path", "required": True, "schema": schema}

"""Spans at a process's edges. Imported only where tracing is on.

Nothing secret is in them: no query, no header field but the request's id, no command's values, and of an
error its kind alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import httpx
import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from quart import g, request

from actors.call.classifier import kind_of
from protocols.http import FAILURE_ORIGIN
from runtime.asgi import App, Receive, Scope, Send
from runtime.observability.logging import UNLOGGED_PATHS
from runtime.observability.redaction import loggable_path, redact

PROPAGATOR = TraceContextTextMapPropagator()
FIELDS = ("traceparent", "tracestate")
_MARK = "school.traced"
# A dashboard's stream lasts as long as somebody looks at it.
_DASHBOARD = "/dashboard"


def current_ids() -> Mapping[str, str] | None:
    """The ids of the current span, where it is recorded."""
    context = trace.get_current_span().get_span_context()
    if not (context.is_valid and context.trace_flags.sampled):
        return None
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
    }


def extract_context(fields: Iterable[tuple[str, str]]) -> Context:
    """The caller's span, as its fields or metadata tell; a new trace where they don't."""
    found: dict[str, list[str]] = {}
    for name, value in fields:
        if name in FIELDS:
            found.setdefault(name, []).append(value)
    return PROPAGATOR.extract({name: ",".join(values) for name, values in found.items()})


def inject_context() -> dict[str, str]:
    """What tells the other side of the current span; empty where there is none."""
    carrier: dict[str, str] = {}
    PROPAGATOR.inject(carrier)
    return carrier


def bound_trace(span: Span) -> Any:
    """While it is entered, every line of the log carries the span's trace id."""
    return structlog.contextvars.bound_contextvars(
        trace_id=trace.format_trace_id(span.get_span_context().trace_id)
    )


class TracedApp:
    """An ASGI app around another: each request is a server span, current while it is served."""

    def __init__(self, app: App, tracer: Tracer, prefixes: Collection[str] = ()) -> None:
        self._app = app
        self._tracer = tracer
        self._prefixes = sorted(prefixes, key=len, reverse=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. A span that was begun further out isn't begun again."""
        if scope["type"] != "http" or _MARK in scope or _is_quiet(scope["path"]):
            await self._app(scope, receive, send)
            return
        with (
            self._tracer.start_as_current_span(
                self._name(scope),
                context=extract_context(_fields(scope)),
                kind=SpanKind.SERVER,
                attributes=_request_attributes(scope),
                record_exception=False,
                set_status_on_exception=False,  # its description would quote the error
            ) as span,
            bound_trace(span),
        ):
            try:
                await self._app({**scope, _MARK: True}, receive, _noting(span, send))
            except Exception as error:
                span.set_attribute("error.type", kind_of(error))
                span.set_status(StatusCode.ERROR)
                raise

    def _name(self, scope: Scope) -> str:
        path = scope["path"]
        for prefix in self._prefixes:
            if path == prefix or path.startswith(f"{prefix}/"):
                return f"{scope['method']} {prefix}"
        return str(scope["method"])


def _is_quiet(path: str) -> bool:
    return path in UNLOGGED_PATHS or path == _DASHBOARD or path.startswith(f"{_DASHBOARD}/")


def _fields(scope: Scope) -> Iterable[tuple[str, str]]:
    return ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])


def _request_attributes(scope: Scope) -> dict[str, str]:
    attributes = {
        "http.request.method": scope["method"],
        "url.scheme": scope["scheme"],
        "url.path": redact(loggable_path(scope)),
        "network.protocol.version": scope["http_version"],
    }
    if scope.get("client"):
        attributes["client.address"] = str(scope["client"][0])
    return attributes


def _noting(span: Span, send: Send) -> Send:
    async def noting(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            _note_status(span, message["status"])
        await send(message)

    return noting


def _note_status(span: Span, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        # An exception that ends the span later puts its kind there.
        span.set_attribute("error.type", str(status))
        span.set_status(StatusCode.ERROR)


def note_request_id(request_id: str) -> None:
    """On the current span, as the field that every answer has; the client may have chosen it."""
    trace.get_current_span().set_attribute("http.response.header.x-request-id", [redact(request_id)])


async def name_by_route() -> None:
    """Before a request: its span is named after the rule that it matched, never after the path itself."""
    span = trace.get_current_span()
    if not span.is_recording():
        return
    note_request_id(g.request_id)
    if request.url_rule is not None:
        span.update_name(f"{request.method} {request.url_rule.rule}")
        span.set_attribute("http.route", request.url_rule.rule)


def _call_attributes(request: httpx.Request) -> dict[str, str | int]:
    url = request.url
    return {
        "http.request.method": request.method,
        "server.address": url.host,
        "server.port": url.port or (443 if url.scheme == "https" else 80),
    }


class CarryingTransport(httpx.AsyncBaseTransport):
    """A transport around another: the fields of the current span in the place of the client's own."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """As the inner one. The response's status becomes an attribute of the call's span."""
        span = trace.get_current_span()
        if not span.get_span_context().is_valid:
            return await self._inner.handle_async_request(request)
        for name in FIELDS:
            request.headers.pop(name, None)
        request.headers.update(inject_context())
        called = span if getattr(span, "kind", None) is SpanKind.CLIENT else None
        if called is not None:  # before the call: it may fail, and then it matters most whom it was for
            called.set_attributes(_call_attributes(request))
        response = await self._inner.handle_async_request(request)
        if called is not None:
            _note_status(called, response.status_code)
            if response.status_code >= 500 and (origin := response.headers.get(FAILURE_ORIGIN)):
                called.set_attribute("circuit_breaker.failure_origin", redact(origin))
        return response

    async def aclose(self) -> None:
        """As the inner one."""
        await self._inner.aclose()

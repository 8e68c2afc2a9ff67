"""Spans for requests that a process receives and sends. Imported only if tracing is on.

They contain no secrets: no query, no header field except the request's id, no values of database commands,
and only the type of an error.
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
# A dashboard's event stream lasts as long as the page is open.
_DASHBOARD = "/dashboard"


def current_ids() -> Mapping[str, str] | None:
    """Return the ids of the current span; None if it isn't sampled."""
    context = trace.get_current_span().get_span_context()
    if not (context.is_valid and context.trace_flags.sampled):
        return None
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
    }


def extract_context(fields: Iterable[tuple[str, str]]) -> Context:
    """Return the context of the caller's span from header fields or gRPC metadata; empty without one."""
    found: dict[str, list[str]] = {}
    for name, value in fields:
        if name in FIELDS:
            found.setdefault(name, []).append(value)
    return PROPAGATOR.extract({name: ",".join(values) for name, values in found.items()})


def inject_context() -> dict[str, str]:
    """Return the header fields that carry the current span; empty without one."""
    carrier: dict[str, str] = {}
    PROPAGATOR.inject(carrier)
    return carrier


def bound_trace(span: Span) -> Any:
    """Return a context manager that adds the span's trace id to every log line."""
    return structlog.contextvars.bound_contextvars(
        trace_id=trace.format_trace_id(span.get_span_context().trace_id)
    )


class TracedApp:
    """ASGI middleware: each request is a server span, which is current while the app runs.

    prefixes: paths; a span is named after the longest that contains the request's path.
    """

    def __init__(self, app: App, tracer: Tracer, prefixes: Collection[str] = ()) -> None:
        self._app = app
        self._tracer = tracer
        self._prefixes = sorted(prefixes, key=len, reverse=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, in a span unless an outer TracedApp has begun one."""
        if scope["type"] != "http" or _MARK in scope or _is_untraced(scope["path"]):
            await self._app(scope, receive, send)
            return
        with (
            self._tracer.start_as_current_span(
                self._name(scope),
                context=extract_context(_fields(scope)),
                kind=SpanKind.SERVER,
                attributes=_request_attributes(scope),
                record_exception=False,
                set_status_on_exception=False,  # the description would contain the error's message
            ) as span,
            bound_trace(span),
        ):
            try:
                await self._app({**scope, _MARK: True}, receive, _recording_status(span, send))
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


def _is_untraced(path: str) -> bool:
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


def _recording_status(span: Span, send: Send) -> Send:
    async def send_and_record(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            _note_status(span, message["status"])
        await send(message)

    return send_and_record


def _note_status(span: Span, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        # An exception that ends the span later overwrites it with its type.
        span.set_attribute("error.type", str(status))
        span.set_status(StatusCode.ERROR)


def note_request_id(request_id: str) -> None:
    """Add the request's id to the current span, redacted: the client may have chosen it."""
    trace.get_current_span().set_attribute("http.response.header.x-request-id", [redact(request_id)])


async def name_by_route() -> None:
    """Name the request's span after the matching route, never after the path. A Quart `before_request`."""
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


class PropagatingTransport(httpx.AsyncBaseTransport):
    """Wraps a transport: requests carry the current span, in place of the trace fields they came with."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request, and add its target and the response's status to the call's span.

        Errors and cancellation are those of the wrapped transport.
        """
        span = trace.get_current_span()
        if not span.get_span_context().is_valid:
            return await self._inner.handle_async_request(request)
        for name in FIELDS:
            request.headers.pop(name, None)
        request.headers.update(inject_context())
        called = span if getattr(span, "kind", None) is SpanKind.CLIENT else None
        if called is not None:  # before the call, since a failed call needs its target most
            called.set_attributes(_call_attributes(request))
        response = await self._inner.handle_async_request(request)
        if called is not None:
            _note_status(called, response.status_code)
            if response.status_code >= 500 and (origin := response.headers.get(FAILURE_ORIGIN)):
                called.set_attribute("circuit_breaker.failure_origin", redact(origin))
        return response

    async def aclose(self) -> None:
        """Close the wrapped transport."""
        await self._inner.aclose()

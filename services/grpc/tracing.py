"""Spans of gRPC calls, on the client and the server. No cost if tracing is off."""

from __future__ import annotations

from typing import Any

from grpclib.client import Channel
from grpclib.const import Status
from grpclib.events import RecvTrailingMetadata, SendRequest, listen
from grpclib.server import Stream

from runtime.observability import tracing
from services.grpc.call_log import Call, WrappedService, run_noting_end, status_of

# By OpenTelemetry's semantic conventions, these statuses are errors in a server's span. A caller that leaves
# or lacks a permission is not an error of the server.
_ERRORS = frozenset(
    {
        Status.UNKNOWN,
        Status.DEADLINE_EXCEEDED,
        Status.UNIMPLEMENTED,
        Status.INTERNAL,
        Status.UNAVAILABLE,
        Status.DATA_LOSS,
    }
)


def trace_calls(channel: Channel, address: str) -> None:
    """Send the current span's context with each call on `channel`, and set the call's attributes on the span.

    address: HOST:PORT for the span; empty if unknown.
    """
    if not tracing.is_on():
        return
    host, _, port = address.rpartition(":")
    server: dict[str, str | int] = {}
    if address:
        server = {"server.address": host.strip("[]"), "server.port": int(port)}
    from opentelemetry import trace

    from runtime.observability.spans import inject_context

    async def propagate(event: SendRequest) -> None:
        event.metadata.update(inject_context())
        # Set before the call: the target matters most if the call fails.
        trace.get_current_span().set_attributes({**_rpc_attributes(event.method_name), **server})

    async def note_status(event: RecvTrailingMetadata) -> None:
        trace.get_current_span().set_attribute("rpc.grpc.status_code", event.status.value)

    listen(channel, SendRequest, propagate)
    listen(channel, RecvTrailingMetadata, note_status)


def traced_service(service: Any) -> Any:
    """The service with a span for each call; unchanged if tracing is off."""
    return WrappedService(service, _traced) if tracing.is_on() else service


def _rpc_attributes(path: str) -> dict[str, str]:
    service, _, method = path.strip("/").partition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}


def _traced(path: str, func: Call) -> Call:
    from opentelemetry.trace import SpanKind, StatusCode

    from runtime.observability.spans import bound_trace, extract_context

    async def traced(stream: Stream[Any, Any]) -> None:
        fields = [(str(key), str(value)) for key, value in (stream.metadata or {}).items()]
        with (
            tracing.tracer().start_as_current_span(
                path.strip("/"),
                context=extract_context(fields),
                kind=SpanKind.SERVER,
                attributes=_rpc_attributes(path),
                record_exception=False,
                set_status_on_exception=False,
            ) as span,
            bound_trace(span),
        ):

            def note_status(error: BaseException | None) -> None:
                status = status_of(error)
                span.set_attribute("rpc.grpc.status_code", status.value)
                if status in _ERRORS:
                    span.set_status(StatusCode.ERROR, status.name)

            await run_noting_end(func, stream, note_status)

    return traced

"""Spans of commands to MongoDB. Imported only if tracing is on."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from pymongo import monitoring


class MongoCommands(monitoring.CommandListener):
    """Makes a span for each command that pymongo sends, as a child of the current span.

    pymongo doesn't report the end of a cancelled command, so the command has no span; the parent span shows
    the cancellation.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        # An operation is one asyncio task with its own context; it sends one command at a time.
        self._running: ContextVar[tuple[int, Span] | None] = ContextVar("command", default=None)

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """pymongo sends a command."""
        if not trace.get_current_span().get_span_context().is_valid:
            return
        name = event.command_name
        target = event.command.get("collection") if name == "getMore" else event.command.get(name)
        collection = {"db.collection.name": target} if isinstance(target, str) else {}
        host, port = event.connection_id
        span = self._tracer.start_span(
            f"{name} {target}" if collection else name,
            kind=SpanKind.CLIENT,
            attributes={
                "db.system.name": "mongodb",
                "db.namespace": event.database_name,
                "db.operation.name": name,
                "server.address": host,
                "server.port": port or 0,
                **collection,
            },
        )
        self._running.set((event.request_id, span))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """pymongo has received the response."""
        self._end(event.request_id, None)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """The command failed, or the response is an error."""
        failure: Mapping[str, Any] = event.failure
        self._end(event.request_id, str(failure.get("code", failure.get("errtype", "failed"))))

    def _end(self, request_id: int, error: str | None) -> None:
        running = self._running.get()
        if running is None or running[0] != request_id:
            return
        span = running[1]
        if error is not None:
            span.set_attribute("error.type", error)
            span.set_status(StatusCode.ERROR)
        span.end()
        self._running.set(None)

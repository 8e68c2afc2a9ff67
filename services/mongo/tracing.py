"""Commands to MongoDB as spans. Imported only where tracing is on."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from pymongo import monitoring


class MongoCommands(monitoring.CommandListener):
    """Each command that pymongo sends is a span below the one that is current.

    Of a command that is cancelled pymongo tells no end, and so it has no span; the one above tells.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        # An operation is one asyncio task with a context of its own, which sends one command at a time.
        self._running: ContextVar[tuple[int, Span] | None] = ContextVar("command", default=None)

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """A command is being sent."""
        if not trace.get_current_span().get_span_context().is_valid:
            return
        name = event.command_name
        of = event.command.get("collection") if name == "getMore" else event.command.get(name)
        collection = {"db.collection.name": of} if isinstance(of, str) else {}
        host, port = event.connection_id
        span = self._tracer.start_span(
            f"{name} {of}" if collection else name,
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
        """A command was answered."""
        self._end(event.request_id, None)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """A command failed, or its answer was an error."""
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

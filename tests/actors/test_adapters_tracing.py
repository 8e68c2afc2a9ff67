"""Spans of calls through a breaker; `tests/world/test_traces.py` has those of the whole stack."""

from __future__ import annotations

import pytest
import trio
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from actors import CircuitBreakerConfig, CircuitOpenError, Panel
from actors.adapters.tracing import traced


async def test_a_trace_tells_no_wait_that_nobody_knows(panel: Panel) -> None:
    """A breaker that is forced open stays so until somebody says otherwise."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    breaker = panel.breaker(CircuitBreakerConfig(name="it"))
    await breaker.force_open()
    with pytest.raises(CircuitOpenError):
        await traced(breaker, provider.get_tracer("test")).execute(trio.sleep, 0)
    (span,) = exporter.get_finished_spans()
    told = {event.name: dict(event.attributes or {}) for event in span.events}
    assert told == {
        "circuit_breaker.rejected": {
            "circuit_breaker.state": "forced_open",
            "circuit_breaker.reason": "forced",
        }
    }

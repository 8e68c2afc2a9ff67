"""A tracer whose spans stay in memory, and a traced breaker that rejects."""

from __future__ import annotations

import pytest

from actors import CircuitBreaker, CircuitBreakerConfig, Panel
from actors.adapters.tracing import traced
from tests.actors.adapters.tracing.spans import Spans


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture
async def rejecting(panel: Panel, spans: Spans) -> CircuitBreaker:
    breaker = panel.breaker(CircuitBreakerConfig(name="it"))
    await breaker.force_open()
    return traced(breaker, spans.tracer)

"""An OpenTelemetry SDK in memory, a panel that is published to it, and calls of each outcome."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import pytest
import trio
from opentelemetry.sdk.metrics import MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from trio.testing import wait_all_tasks_blocked

from actors import BulkheadFullError, CircuitBreaker, CircuitBreakerConfig, CircuitOpenError, Panel
from actors.adapters.otel_metrics import publish_metrics
from actors.testing import ScriptedDependency

EXECUTIONS = "circuit_breaker.execution.count"
CHANGES = "circuit_breaker.state_change.count"
CURRENT = "circuit_breaker.state.current"
ACTIVE = "circuit_breaker.active_executions"

PAYMENTS = CircuitBreakerConfig(
    name="payments", max_failures=2, reset_timeout=20, ignore=KeyError, max_concurrent=1
)
MAIL = CircuitBreakerConfig(name="mail")

Points = dict[str, dict[str, int]]


class Telemetry:
    """A real SDK that keeps its readings in memory."""

    def __init__(self, temporality: AggregationTemporality = AggregationTemporality.CUMULATIVE) -> None:
        self.reader = InMemoryMetricReader({ObservableCounter: temporality})
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.meter: Any = self.provider.get_meter("test")

    def metrics(self) -> list[Any]:
        read = self.reader.get_metrics_data()
        return (
            []
            if read is None
            else [m for r in read.resource_metrics for s in r.scope_metrics for m in s.metrics]
        )

    def points(self) -> Points:
        """Each metric's values by the values of its attributes, the breaker's name first."""
        return {
            m.name: {" ".join(p.attributes.values()): p.value for p in m.data.data_points}
            for m in self.metrics()
        }

    def instruments(self) -> dict[str, dict[str, Any]]:
        """The kind, unit and description of each metric, with its attributes."""
        return {
            m.name: {
                "sum": "monotonic" if m.data.is_monotonic else "up and down",
                "unit": m.unit,
                "description": m.description,
                "attributes": sorted({key for point in m.data.data_points for key in point.attributes}),
            }
            for m in self.metrics()
        }


@asynccontextmanager
async def published(panel: Panel, meter: Any, interval: float = 5.0) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(publish_metrics, panel, meter, interval)
        yield
        nursery.cancel_scope.cancel()


async def call(breaker: CircuitBreaker, *outcomes: Any) -> None:
    """One call for each outcome. An exception is raised by the call, and comes out of the breaker."""
    dependency = ScriptedDependency()
    dependency.then(*outcomes)
    for outcome in outcomes:
        with pytest.raises(type(outcome)) if isinstance(outcome, Exception) else nullcontext():
            await breaker.execute(dependency)


async def call_rejected(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises((CircuitOpenError, BulkheadFullError)):
            await breaker.execute(trio.sleep, 0)


async def call_cancelled(breaker: CircuitBreaker) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await breaker.execute(trio.sleep, 0)


@asynccontextmanager
async def running_call(breaker: CircuitBreaker) -> AsyncIterator[None]:
    """A call that runs as long as the block, and succeeds."""
    dependency = ScriptedDependency()
    dependency.holds()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, dependency)
        await wait_all_tasks_blocked()
        yield
        dependency.lets_go()


def remove_from_panel(panel: Panel, breaker: CircuitBreaker) -> None:
    """Take the breaker off the panel without ending it."""
    del panel._entries[breaker.name]

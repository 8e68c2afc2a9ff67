"""Policies in shadow, as an OpenTelemetry SDK reads them."""

from __future__ import annotations

from actors import CircuitBreakerConfig, Panel, ShadowPolicy
from actors.testing import DependencyDown
from tests.actors.adapters.otel_metrics.telemetry import Telemetry, call, published, remove_from_panel

SHADOWED = CircuitBreakerConfig(name="it", shadow=ShadowPolicy(max_failures=2))
EXECUTIONS = "circuit_breaker.shadow.execution.count"
CHANGES = "circuit_breaker.shadow.state_change.count"
STATE = "circuit_breaker.shadow.state.current"


async def test_a_shadow_is_read_with_its_calls_changes_and_state(panel: Panel, telemetry: Telemetry) -> None:
    panel.breaker(CircuitBreakerConfig(name="plain"))
    await call(panel.breaker(SHADOWED), DependencyDown(), DependencyDown(), "good")
    async with published(panel, telemetry.meter):
        points = telemetry.points()
    assert {key: count for key, count in points[EXECUTIONS].items() if count} == {
        "it admitted failure": 2,
        "it rejected success": 1,
    }
    assert len(points[EXECUTIONS]) == 10
    assert points[CHANGES] == {"it closed": 0, "it half_open": 0, "it open": 1}
    assert points[STATE] == {"it closed": 0, "it half_open": 0, "it open": 1}


async def test_its_counts_go_on_in_another_breaker_of_the_name(panel: Panel, telemetry: Telemetry) -> None:
    await call(panel.breaker(SHADOWED), DependencyDown(), DependencyDown())
    async with published(panel, telemetry.meter):
        pass
    remove_from_panel(panel, panel["it"])
    await call(panel.breaker(SHADOWED), DependencyDown(), DependencyDown(), "good")
    async with published(panel, telemetry.meter):
        points = telemetry.points()
    assert points[EXECUTIONS]["it admitted failure"] == 4
    assert points[EXECUTIONS]["it rejected success"] == 1
    assert points[CHANGES]["it open"] == 2


async def test_without_a_shadow_there_is_nothing_to_read(panel: Panel, telemetry: Telemetry) -> None:
    panel.breaker(CircuitBreakerConfig(name="plain"))
    async with published(panel, telemetry.meter):
        assert not {EXECUTIONS, CHANGES, STATE} & telemetry.points().keys()

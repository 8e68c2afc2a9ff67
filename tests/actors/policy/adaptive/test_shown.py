"""The learned values of an adaptive breaker, in its snapshot, health report and metrics."""

from __future__ import annotations

import math

import trio
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client.parser import text_string_to_metric_families

from actors import Adaptive, CircuitBreakerConfig, Panel, open_panel
from actors.adapters.health import breaker_health, learned_view
from actors.adapters.metrics import exposition
from actors.adapters.otel_metrics import publish_metrics
from tests.actors.policy.adaptive.breakers import Breaker

LEARNED = (
    "circuit_breaker_usual_failure_ratio",
    "circuit_breaker_usual_calls_per_second",
    "circuit_breaker_evidence",
    "circuit_breaker_evidence_threshold",
)


async def fail() -> None:
    raise OSError("down")


async def use(panel: Panel, name: str = "ours") -> None:
    """Forty good calls, one every quarter of a second, and two failures."""
    breaker = panel.breaker(CircuitBreakerConfig(name=name, trip=Adaptive()))
    for _ in range(40):
        await breaker.execute(trio.sleep, 0)
        await trio.sleep(0.25)
    for _ in range(2):
        try:
            await breaker.execute(fail)
        except OSError:
            pass


async def test_the_metrics_show_it(autojump_clock: object) -> None:
    async with open_panel() as panel:
        panel.breaker(CircuitBreakerConfig(name="fixed"))
        panel.breaker(CircuitBreakerConfig(name="new", trip=Adaptive()))
        await use(panel)
        snapshots = await panel.snapshots()
        families = {
            one.name: one for one in text_string_to_metric_families(exposition(snapshots.values()).decode())
        }
    values = [{s.labels["service"]: s.value for s in families[name].samples} for name in LEARNED]
    assert all(one.keys() == {"new", "ours"} for one in values)
    usual, traffic, evidence, threshold = (one["ours"] for one in values)
    learned = snapshots["ours"].learned
    assert learned is not None
    assert (usual, traffic, evidence, threshold) == tuple(learned)
    assert (round(traffic), evidence) == (4, 2)
    assert math.isnan(values[0]["new"])
    assert math.isnan(values[1]["new"])
    assert values[2]["new"] == 0


async def test_opentelemetry_gets_it(autojump_clock: object) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    async with open_panel() as panel, trio.open_nursery() as nursery:
        panel.breaker(CircuitBreakerConfig(name="fixed"))
        panel.breaker(CircuitBreakerConfig(name="new", trip=Adaptive()))
        await use(panel)
        await nursery.start(publish_metrics, panel, provider.get_meter("test"), 0.5)
        read = reader.get_metrics_data()
        nursery.cancel_scope.cancel()
    assert read is not None
    points = {
        metric.name: {str(p.attributes["circuit_breaker.name"]): p.value for p in metric.data.data_points}  # type: ignore[union-attr,index]
        for resource in read.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert points["circuit_breaker.evidence"] == {"new": 0, "ours": 2}
    assert points["circuit_breaker.evidence_threshold"].keys() == {"new", "ours"}
    assert points["circuit_breaker.usual_failure_ratio"].keys() == {"ours"}
    assert round(points["circuit_breaker.usual_traffic"]["ours"]) == 4


def test_the_health_report_has_it_rounded() -> None:
    breaker = Breaker(gap=0.3)
    breaker.mixed(500, every=70)
    breaker.bad(2)
    snapshot = breaker.machine.snapshot(breaker.now)
    learned = breaker_health(snapshot)["circuit_breaker"]["learned"]
    assert learned == learned_view(snapshot)["learned"]
    assert learned["traffic"] == 3.3
    assert learned["usual"] == round(learned["usual"], 3) > 0
    assert learned["evidence"] == 2
    assert learned["threshold"] == 6


def test_what_is_unknown_is_null_and_others_have_none() -> None:
    view = learned_view(Breaker().machine.snapshot(0))
    assert (view["learned"]["usual"], view["learned"]["traffic"]) == (None, None)
    fixed = Breaker(trip=None)
    fixed.machine.configure(CircuitBreakerConfig(name="it"), 0)
    assert learned_view(fixed.machine.snapshot(0)) == {}

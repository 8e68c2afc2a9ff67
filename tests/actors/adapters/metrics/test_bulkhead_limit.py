"""The limit of a bulkhead, fixed or adaptive, in metrics and health."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from actors import AdaptiveLimit, Panel
from actors.adapters.health import breaker_health
from actors.adapters.metrics import exposition
from tests.actors.call.breakers import new_breaker

LIMIT = AdaptiveLimit(minimum=1, initial=4, maximum=50)


async def test_metrics_and_health_show_the_limit(panel: Panel) -> None:
    """Without a bulkhead it is infinite in the metrics, so that the series is there from the start."""
    adaptive = await new_breaker(panel, max_concurrent=LIMIT).snapshot()
    fixed = await new_breaker(panel, "fixed", max_concurrent=8).snapshot()
    free = await new_breaker(panel, "free").snapshot()
    text = exposition([adaptive, fixed, free]).decode()
    [family] = [
        one for one in text_string_to_metric_families(text) if one.name == "circuit_breaker_bulkhead_limit"
    ]
    assert {one.labels["service"]: one.value for one in family.samples} == {
        "it": 4,
        "fixed": 8,
        "free": float("inf"),
    }
    assert [breaker_health(one)["circuit_breaker"]["bulkhead_limit"] for one in (adaptive, fixed, free)] == [
        4,
        8,
        None,
    ]

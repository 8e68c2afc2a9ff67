"""The format of a scrape is the requested one, and has exemplars."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from actors import CircuitBreakerConfig, open_panel
from actors.adapters.metrics import (
    CONTENT_TYPE,
    OPENMETRICS_CONTENT_TYPE,
    SnapshotCollector,
    exposition,
    negotiated,
    openmetrics_exposition,
)
from actors.machine.statistics import Histogram

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, CONTENT_TYPE),
        ("*/*", CONTENT_TYPE),
        ("text/plain", CONTENT_TYPE),
        ("application/openmetrics-text", OPENMETRICS_CONTENT_TYPE),
        ("Application/OpenMetrics-Text; version=1.0.0; charset=utf-8", OPENMETRICS_CONTENT_TYPE),
        (PROMETHEUS, OPENMETRICS_CONTENT_TYPE),
        ("application/openmetrics-text;version=0.0.1", CONTENT_TYPE),
        ("application/openmetrics-text;q=0.3, text/plain", CONTENT_TYPE),
        ("application/openmetrics-text;q=0", CONTENT_TYPE),
        ("application/openmetrics-text;q=much", CONTENT_TYPE),
    ],
)
async def test_the_format_is_the_requested_one(accept: str | None, content_type: str) -> None:
    async with open_panel() as panel:
        panel.breaker(CircuitBreakerConfig(name="it"))
        text, chosen = negotiated((await panel.snapshots()).values(), accept)
    assert chosen == content_type
    assert text.endswith(b"# EOF\n") is (chosen == OPENMETRICS_CONTENT_TYPE)


async def test_both_formats_have_the_same_values() -> None:
    async with open_panel(durations=(1, 2.5)) as panel:
        await panel.breaker(CircuitBreakerConfig(name="it")).execute(trio.sleep, 0)
        snapshots = (await panel.snapshots()).values()
    plain = text_string_to_metric_families(exposition(snapshots).decode())
    openmetrics = parse_openmetrics(openmetrics_exposition(snapshots).decode())
    told = [
        {(s.name, *s.labels.items(), s.value) for f in families for s in f.samples}
        for families in (plain, openmetrics)
    ]
    assert told[0] == told[1]
    bounds = [
        dict(labels)["le"]
        for name, *labels, _ in sorted(told[0], key=str)
        if name.endswith("duration_seconds_bucket")
    ]
    assert sorted(bounds) == ["+Inf", "1.0", "2.5"]


async def test_a_bucket_shows_the_trace_of_its_last_call() -> None:
    """Calls without a trace leave the exemplar of an earlier call in place."""
    ids = iter([{"trace_id": "ab" * 16}, {"trace_id": "cd" * 16}, None])
    async with open_panel(durations=(10.0,), exemplar=lambda: next(ids)) as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it"))
        for _ in range(3):
            await breaker.execute(trio.sleep, 0)
        text = openmetrics_exposition((await panel.snapshots()).values()).decode()
    exemplars = [s.exemplar for f in parse_openmetrics(text) for s in f.samples if s.exemplar is not None]
    assert [(e.labels, 0 <= e.value < 10, float(e.timestamp) > 1.7e9) for e in exemplars] == [
        ({"trace_id": "cd" * 16}, True, True)
    ]


def test_each_bucket_has_an_exemplar_of_its_own() -> None:
    meter = Histogram((1.0, 2.0), lambda: {"trace_id": "1"})
    for value in (0.5, 1.0, 1.5, 9.0):
        meter.observe(value)
    kept = meter.snapshot().exemplars
    assert {place: exemplar.value for place, exemplar in kept.items()} == {0: 1.0, 1: 1.5, 2: 9.0}


async def test_a_custom_registry_can_hold_the_collector() -> None:
    """It claims no names when it is registered, so that one can be registered at each scrape."""
    async with open_panel() as panel:
        panel.breaker(CircuitBreakerConfig(name="it"))
        snapshots = tuple((await panel.snapshots()).values())
    registry = CollectorRegistry(auto_describe=True)
    registry.register(SnapshotCollector(snapshots))
    assert registry.get_sample_value("circuit_breaker_state", {"service": "it"}) == 0
    registry.register(SnapshotCollector(snapshots))

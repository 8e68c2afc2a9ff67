"""Series of a breaker from the start, through a whole outage."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from actors import CircuitBreakerConfig, Panel, open_panel
from actors.adapters.metrics import exposition
from actors.testing import ScriptedDependency, advance
from tests.actors.adapters.outages import opened_breaker


async def samples(panel: Panel) -> dict[tuple[str, ...], float]:
    text = exposition((await panel.snapshots()).values()).decode()
    return {
        (
            sample.name,
            *(value for key, value in sorted(sample.labels.items()) if key != "service"),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("service") == "it"
    }


async def test_all_series_exist_from_the_start() -> None:
    async with open_panel(durations=(1,)) as panel:
        panel.breaker(CircuitBreakerConfig(name="it"))
        found = await samples(panel)
    for name in ("state", "failures_total", "outage_start_time_seconds", "recovery_seconds_count"):
        assert found[f"circuit_breaker_{name}",] == 0
    assert found["circuit_breaker_call_duration_seconds_bucket", "+Inf"] == 0
    assert found["circuit_breaker_last_state_change",] > 1.7e9
    outcomes = ("success", "failure", "ignored", "cancelled", "rejected")
    assert [found["circuit_breaker_calls_total", outcome] for outcome in outcomes] == [0] * 5
    reasons = ("open", "probing", "ramp", "bulkhead", "forced")
    assert [found["circuit_breaker_rejections_total", reason] for reason in reasons] == [0] * 5
    assert found["circuit_breaker_transitions_total", "closed", "open"] == 0


async def test_an_outage_shows_in_the_series(mock_clock: MockClock) -> None:
    async with open_panel(durations=(1,)) as panel:
        breaker = await opened_breaker(panel)
        found = await samples(panel)
        assert found["circuit_breaker_state",] == 2
        assert found["circuit_breaker_failures_total",] == 2
        began = found["circuit_breaker_outage_start_time_seconds",]
        assert began == found["circuit_breaker_last_state_change",] > 0
        await advance(mock_clock, 60)
        found = await samples(panel)
        assert found["circuit_breaker_state",] == 1
        assert found["circuit_breaker_transitions_total", "open", "half_open"] == 1
        assert found["circuit_breaker_outage_start_time_seconds",] == began
        await breaker.execute(ScriptedDependency())
        found = await samples(panel)
        assert found["circuit_breaker_state",] == 0
        assert found["circuit_breaker_outage_start_time_seconds",] == 0
        assert found["circuit_breaker_recovery_seconds_sum",] == 60
        assert found["circuit_breaker_recovery_seconds_bucket", "60.0"] == 1
        assert found["circuit_breaker_recovery_seconds_bucket", "30.0"] == 0

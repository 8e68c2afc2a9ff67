"""The series that exist: names, labels and states, from the start."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from actors import CircuitBreakerConfig, open_panel
from actors.adapters.metrics import MOVES, exposition, openmetrics_exposition
from actors.messages import Outcome, State
from actors.sharing.shared_breakers import SharingStatus
from tests.actors.adapters.metrics.callers import call, fail, in_state
from tests.actors.adapters.metrics.scraping import scrape

FIXED = {
    "circuit_breaker_state": ("gauge", {"service"}),
    "circuit_breaker_state_info": ("gauge", {"service", "state"}),
    "circuit_breaker_failures_total": ("counter", {"service"}),
    "circuit_breaker_last_state_change": ("gauge", {"service"}),
    "circuit_breaker_transitions_total": ("counter", {"service", "from", "to"}),
    "circuit_breaker_calls_total": ("counter", {"service", "outcome"}),
    "circuit_breaker_recovery_seconds_count": ("histogram", {"service"}),
    "circuit_breaker_call_duration_seconds_count": ("histogram", {"service"}),
    "circuit_breaker_outage_start_time_seconds": ("gauge", {"service"}),
    "circuit_breaker_shared_connected": ("gauge", set()),
    "circuit_breaker_rejections_total": ("counter", {"service", "reason"}),
}
"""Alert rules and dashboards in the field use these."""


async def test_the_fixed_names_have_their_types_and_labels_from_the_start() -> None:
    """In both formats. Metrics in seconds have that unit in OpenMetrics, which has units."""
    async with open_panel(durations=(1.0,)) as panel:
        panel.breaker(CircuitBreakerConfig(name="it"))
        snapshots = (await panel.snapshots()).values()
    openmetrics = openmetrics_exposition(snapshots).decode()
    plain = text_string_to_metric_families(exposition(snapshots).decode())
    for families in (list(plain), list(parse_openmetrics(openmetrics))):
        found = {s.name: (f.type, set(s.labels)) for f in families for s in f.samples}
        assert {name: found.get(name) for name in FIXED} == FIXED
        assert all(family.documentation for family in families)
    units = {f.name for f in parse_openmetrics(openmetrics) if f.unit == "seconds"}
    assert units == {f.name for f in parse_openmetrics(openmetrics) if f.name.endswith("_seconds")}
    assert len(units) == 3


def test_every_possible_transition_has_a_series_from_the_start() -> None:
    """`increase` misses the first increment of a new series. No impossible transition has a series."""
    seen = set()
    for state in State:
        for what in (
            lambda machine: machine.trip(1.0),
            lambda machine: machine.reset(1.0),
            lambda machine: machine.wake(1.5),
            lambda machine: call(machine, Outcome.FAILURE),
            lambda machine: call(machine, Outcome.SUCCESS),
            *(lambda machine, to=to: machine.hold(to, 1.0, "to see") for to in list(State)[3:]),
        ):
            machine = in_state(state)
            before = machine.statistics.entries()["transitions"]
            what(machine)
            after = machine.statistics.entries()["transitions"]
            seen |= {move for move, count in after.items() if count > before.get(move, 0)}
    assert seen == set(MOVES)


SHOWN = {
    State.CLOSED: 0,
    State.HALF_OPEN: 1,
    State.OPEN: 2,
    State.FORCED_OPEN: 2,
    State.DISABLED: 0,
    State.OBSERVING: 0,
}


@pytest.mark.parametrize("state", State)
async def test_each_state_is_one_of_three_values_and_outages_have_a_start_time(
    state: State, autojump_clock: trio.testing.MockClock
) -> None:
    """Alert rules use 0, 1 and 2. An outage begins when the value leaves 0; a probe begins no other outage.

    `circuit_breaker_state_info` has a sample for each of the six states, and is 1 for the exact one.
    """
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it", reset_timeout=1.0))
        await breaker.trip()
        opened = await scrape(panel)
        match state:
            case State.CLOSED:
                await breaker.reset()
            case State.HALF_OPEN:
                await trio.sleep(1)
            case State.FORCED_OPEN:
                await breaker.force_open()
            case State.DISABLED:
                await breaker.disable()
            case State.OBSERVING:
                await breaker.observe()
        found = await scrape(panel)
        assert breaker.state is state
    assert found["circuit_breaker_state",] == SHOWN[state]
    exact = {labels[0]: value for (name, *labels), value in found.items() if name.endswith("_state_info")}
    assert exact == {one.name.lower(): one is state for one in State}
    start = opened["circuit_breaker_last_state_change",]
    assert found["circuit_breaker_outage_start_time_seconds",] == (start if SHOWN[state] else 0)
    assert (found["circuit_breaker_last_state_change",] > start) is (state is not State.OPEN)


async def test_an_observing_breaker_reports_what_it_would_have_rejected() -> None:
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it", max_failures=1))
        await breaker.observe("to see")
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await breaker.execute(fail)
        found = await scrape(panel)
    assert found["circuit_breaker_would_reject_total",] == 2
    assert found["circuit_breaker_calls_total", "rejected"] == 0


def shared_series(status: SharingStatus | None, *, counters: bool = True) -> dict[str, float]:
    text = exposition([], [], status, counters=counters)
    families = text_string_to_metric_families(text.decode())
    return {one.name: one.value for family in families for one in family.samples if "shared" in one.name}


def test_a_program_that_shares_nothing_is_not_connected_and_has_no_other_series_of_sharing() -> None:
    assert shared_series(None) == {"circuit_breaker_shared_connected": 0}


def test_a_shared_store_has_a_count_of_dropped_reports_and_the_age_of_its_news() -> None:
    assert shared_series(SharingStatus("me", connected=True, news_age=0.5, dropped=3)) == {
        "circuit_breaker_shared_connected": 1,
        "circuit_breaker_shared_dropped_total": 3,
        "circuit_breaker_shared_news_age_seconds": 0.5,
    }


def test_a_store_that_has_not_answered_yet_has_no_age_and_unknown_counts_are_left_out() -> None:
    status = SharingStatus("me", connected=False, news_age=None, dropped=3)
    assert shared_series(status, counters=False) == {"circuit_breaker_shared_connected": 0}

"""What is scraped adds up under load, and comes in the format that was asked for."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import trio
import trio.testing
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from actors import (
    BulkheadFullError,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    Panel,
    open_panel,
)
from actors.adapters.metrics import (
    CONTENT_TYPE,
    MOVES,
    OPENMETRICS_CONTENT_TYPE,
    SnapshotCollector,
    exposition,
    negotiated,
    openmetrics_exposition,
)
from actors.machine.machine import Machine
from actors.machine.statistics import Histogram
from actors.messages import Outcome, Permit, State

OUTCOMES = ("success", "failure", "ignored", "cancelled", "rejected")
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


class Crowd:
    """Callers of one breaker, who keep their own count of what became of their calls."""

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._chance = random.Random(7)
        self.begun = 0
        self.ended: Counter[str] = Counter()

    async def caller(self, calls: int) -> None:
        for _ in range(calls):
            self.begun += 1
            self.ended[await self._call()] += 1
            await trio.lowlevel.checkpoint()

    async def _call(self) -> str:
        outcome = self._chance.choices(("success", "failure", "ignored", "cancelled"), (6, 2, 1, 1))[0]
        with trio.CancelScope() as scope:
            try:
                await self._breaker.execute(self._work, outcome, scope)
            except (CircuitOpenError, BulkheadFullError):
                return "rejected"
            except (ValueError, KeyError):
                pass
        return outcome

    async def _work(self, outcome: str, scope: trio.CancelScope) -> None:
        for _ in range(self._chance.randrange(3)):
            await trio.lowlevel.checkpoint()
        if outcome == "cancelled":
            scope.cancel()
            await trio.lowlevel.checkpoint()
        elif outcome == "failure":
            raise ValueError
        elif outcome == "ignored":
            raise KeyError


async def scrape(panel: Panel) -> dict[tuple[str, ...], float]:
    text = exposition((await panel.snapshots()).values()).decode()
    return {
        (
            sample.name,
            *(value for key, value in sorted(sample.labels.items()) if key != "service"),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def add_up(found: dict[tuple[str, ...], float]) -> float:
    """The calls counted, after what has to agree was compared."""
    calls = {outcome: found["circuit_breaker_calls_total", outcome] for outcome in OUTCOMES}
    assert calls["failure"] == found["circuit_breaker_failures_total",]
    rejections = sum(v for k, v in found.items() if k[0] == "circuit_breaker_rejections_total")
    assert calls["rejected"] == rejections
    return sum(calls.values())


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
    """In both formats; what is measured in seconds says so where the format has room for it."""
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


def in_state(state: State) -> Machine:
    machine = Machine(CircuitBreakerConfig(name="it", max_failures=1, reset_timeout=1.0))
    if state in (State.OPEN, State.HALF_OPEN):
        machine.trip(0.0 if state is State.HALF_OPEN else 0.5)
        machine.wake(1.0)
    elif state is not State.CLOSED:
        machine.hold(state, 0.0, "to see")
    assert machine.state is state
    return machine


def call(machine: Machine, outcome: Outcome) -> None:
    permit = machine.admit(1.5)
    if isinstance(permit, Permit):
        machine.settle(permit, outcome, 1.5)


def test_every_change_of_state_that_can_happen_has_its_child_from_the_start() -> None:
    """A counter that appears with its first increment hides it from `increase`; none is there in vain."""
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
async def test_each_state_shows_as_one_of_three_and_an_outage_where_it_is_one(
    state: State, autojump_clock: trio.testing.MockClock
) -> None:
    """Alert rules know 0, 1 and 2; an outage begins when it leaves them at 0, and no probe begins another.

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


async def fail() -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("durations", [None, (0.1, 1.0)])
async def test_every_call_is_in_exactly_one_outcome_at_every_scrape(
    durations: tuple[float, ...] | None,
) -> None:
    """No scrape under load misses a call that has ended, or counts one twice."""
    policy = CircuitBreakerConfig(
        name="it",
        max_failures=3,
        reset_timeout=0.002,
        ignore=KeyError,
        max_concurrent=None if durations is None else 6,
    )
    async with open_panel(durations=durations) as panel:
        crowd = Crowd(panel.breaker(policy))
        scrapes = 0
        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(crowd.caller, 250)
            while len(nursery.child_tasks):
                ended = crowd.ended.total()
                found = await scrape(panel)
                counted = add_up(found)
                assert ended <= counted
                assert counted + found["circuit_breaker_in_flight",] <= crowd.begun
                scrapes += 1
                await trio.sleep(0.001)
        found = await scrape(panel)
    assert scrapes > 10
    assert add_up(found) == crowd.begun == 3000
    assert {outcome: found["circuit_breaker_calls_total", outcome] for outcome in OUTCOMES} == dict(
        crowd.ended
    )
    assert min(crowd.ended.values()) > 0
    if durations is not None:
        measured = crowd.begun - crowd.ended["rejected"] - crowd.ended["cancelled"]
        assert found["circuit_breaker_call_duration_seconds_count",] == measured


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


async def test_both_formats_tell_the_same() -> None:
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
    """Calls that belong to no trace leave the exemplar of an earlier one where it is."""
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


async def test_a_registry_of_ones_own_can_hold_the_collector() -> None:
    """It claims no names when it is registered, so that one can be registered at each scrape."""
    async with open_panel() as panel:
        panel.breaker(CircuitBreakerConfig(name="it"))
        snapshots = tuple((await panel.snapshots()).values())
    registry = CollectorRegistry(auto_describe=True)
    registry.register(SnapshotCollector(snapshots))
    assert registry.get_sample_value("circuit_breaker_state", {"service": "it"}) == 0
    registry.register(SnapshotCollector(snapshots))

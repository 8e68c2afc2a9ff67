"""probe_interval: an open breaker probes. A success ends the wait early, a failure changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import Backoff, CircuitBreakerConfig, CircuitOpenError, Panel, RejectReason, State
from actors.testing import ScriptedDependency, advance
from tests.actors.machine.machines import C, H, O, machine
from tests.actors.probe.probing import opened


async def no_probe() -> None:
    """Never run."""


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "5", True])
def test_probe_interval_must_be_a_positive_number(value: object) -> None:
    with pytest.raises(ValueError, match="probe_interval must be a number above 0"):
        CircuitBreakerConfig(name="it", probe=no_probe, probe_interval=value)  # type: ignore[arg-type]


def test_probe_interval_needs_a_probe() -> None:
    with pytest.raises(ValueError, match="probe_interval needs probe to be set, got 5"):
        CircuitBreakerConfig(name="it", probe_interval=5)


@pytest.mark.parametrize("state", State)
def test_a_probe_that_passes_ends_only_a_wait(state: State) -> None:
    it = machine(state)
    generation = it.generation
    it.end_wait(0)
    assert it.state is (H if state is O else state)
    assert it.generation == generation + (state is O)
    assert [event.reason for event in it.drain()] == (["probe succeeded"] if state is O else [])


def test_a_probe_that_passes_at_the_deadline_counts_as_the_end_of_the_wait() -> None:
    it = machine(O)
    it.end_wait(60)
    assert [event.reason for event in it.drain()] == ["attempting recovery"]


# The actor.


async def test_an_open_breaker_probes_at_its_interval_and_a_failure_changes_nothing(
    panel: Panel, clock: MockClock, probe: ScriptedDependency
) -> None:
    breaker = await opened(panel, probe, backoff=Backoff(factor=2.0))
    before = await breaker.snapshot()
    await advance(clock, 4.5)
    assert probe.calls == 0, "the first comes one interval after opening"
    for calls in range(1, 11):
        await advance(clock, 0.5)
        assert probe.calls == calls
        await advance(clock, 4.5)
    assert replace(await breaker.snapshot(), retry_after=None) == replace(before, retry_after=None)
    assert breaker.retry_after == 5.5
    await advance(clock, 0.5)
    await advance(clock, 5)
    assert probe.calls == 12, "at 55 s, and the one that decides at 60 s"
    assert breaker.retry_after == 120


async def test_a_success_ends_the_wait_and_the_next_probe_decides(
    panel: Panel, clock: MockClock, probe: ScriptedDependency
) -> None:
    breaker = await opened(panel, probe)
    await advance(clock, 5)
    probe.mends()
    async with panel.events() as events:
        probe.then("ok")
        probe.holds()
        await advance(clock, 5)
        probe.lets_go()
        await wait_all_tasks_blocked()
        told = [await anext(events) for _ in range(2)]
    assert [(event.new, event.reason) for event in told] == [  # type: ignore[union-attr]
        (H, "probe succeeded"),
        (C, "recovery successful"),
    ]
    assert probe.calls == 3
    seen = await breaker.snapshot()
    assert seen.counts["success"] == 1, "only the probe that decides is counted, as ever"
    await advance(clock, 1000)
    assert probe.calls == 3


async def test_callers_are_rejected_while_the_next_probe_decides(
    panel: Panel, clock: MockClock, probe: ScriptedDependency
) -> None:
    breaker = await opened(panel, probe)
    probe.mends()
    decides = ScriptedDependency()
    decides.holds()
    await advance(clock, 4)

    async def script() -> None:
        if breaker.state is H:
            await decides()

    await breaker.configure(replace(breaker.config, probe=script))
    await advance(clock, 5)
    assert breaker.state is H
    with pytest.raises(CircuitOpenError) as rejected:
        await breaker.execute(script)
    assert rejected.value.reason is RejectReason.PROBING
    decides.lets_go()
    await wait_all_tasks_blocked()
    assert breaker.state is C


async def test_a_failed_recovery_backs_off_and_probing_goes_on(
    panel: Panel, clock: MockClock, probe: ScriptedDependency
) -> None:
    breaker = await opened(panel, probe, backoff=Backoff(factor=2.0))
    probe.then("ok")
    await advance(clock, 5)
    assert breaker.state is O
    assert probe.calls == 2
    assert breaker.retry_after == 120
    probe.then("ok", "ok")
    await advance(clock, 4.5)
    assert probe.calls == 2
    await advance(clock, 0.5)
    assert breaker.state is C


@pytest.mark.parametrize(("half_open_timeout", "bound"), [(None, 5), (60.0, 5), (2.0, 2)])
async def test_a_probe_that_hangs_has_failed(
    panel: Panel, clock: MockClock, probe: ScriptedDependency, half_open_timeout: float | None, bound: float
) -> None:
    await opened(panel, probe, half_open_timeout=half_open_timeout)
    probe.mends()
    probe.holds()
    await advance(clock, 5)
    for calls in range(1, 5):
        assert (probe.calls, probe.running) == (calls, 1)
        await advance(clock, bound - 0.5)
        assert (probe.calls, probe.running) == (calls, 1)
        await advance(clock, 0.5)
        assert probe.running == (bound == 5)
        await advance(clock, 5 - bound)


@pytest.mark.parametrize("state", ["force_open", "disable", "observe", "reset"])
async def test_a_breaker_probes_at_the_interval_only_while_open(
    panel: Panel, clock: MockClock, probe: ScriptedDependency, state: str
) -> None:
    breaker = await opened(panel, probe)
    probe.mends()
    probe.holds()
    await advance(clock, 5)
    assert probe.running == 1
    await getattr(breaker, state)()
    await wait_all_tasks_blocked()
    assert probe.running == 0, "what runs is cancelled"
    after = breaker.state
    probe.lets_go()
    await advance(clock, 100)
    assert probe.calls == 1
    assert breaker.state is after


async def test_tripping_anew_starts_the_interval_anew(
    panel: Panel, clock: MockClock, probe: ScriptedDependency
) -> None:
    breaker = await opened(panel, probe)
    probe.holds()
    await advance(clock, 5)
    assert probe.running == 1
    await advance(clock, 1)
    await breaker.trip()
    await wait_all_tasks_blocked()
    assert probe.running == 0
    await advance(clock, 4.5)
    assert probe.calls == 1
    await advance(clock, 0.5)
    assert probe.calls == 2


async def test_tripping_anew_until_the_same_moment_starts_the_interval_anew(
    panel: Panel, clock: MockClock, probe: ScriptedDependency
) -> None:
    breaker = await opened(panel, probe)
    await advance(clock, 3)
    await breaker.configure(replace(breaker.config, reset_timeout=57))
    await breaker.trip()
    await advance(clock, 2)
    assert probe.calls == 0
    await advance(clock, 3)
    assert probe.calls == 1

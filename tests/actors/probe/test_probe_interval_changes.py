"""probe_interval: configuration, crashes and the end of the wait while the breaker probes."""

from __future__ import annotations

from dataclasses import replace

import trio
from trio.testing import MockClock

from actors import CircuitBreakerConfig, Panel, open_panel
from actors.commands import ProbePassed
from actors.testing import ScriptedDependency, advance
from tests.actors.insides import BrokenMachine, actor_of
from tests.actors.machine.machines import C, H, O
from tests.actors.probe.probing import opened


async def test_another_interval_counts_from_its_configuration(
    panel: Panel, clock: MockClock, probe: ScriptedDependency
) -> None:
    breaker = await opened(panel, probe)
    await advance(clock, 4)
    await breaker.configure(replace(breaker.config, max_failures=2, reset_timeout=7))
    await advance(clock, 1)
    assert probe.calls == 1, "a policy that probes alike disturbs nothing"
    await breaker.configure(replace(breaker.config, probe_interval=2))
    await advance(clock, 1.5)
    assert probe.calls == 1
    await advance(clock, 0.5)
    assert probe.calls == 2
    await breaker.configure(replace(breaker.config, probe_interval=None, probe=None))
    await advance(clock, 20)
    assert probe.calls == 2
    await breaker.configure(replace(breaker.config, probe=probe, probe_interval=3))
    await advance(clock, 3)
    assert probe.calls == 3


async def test_a_stale_success_is_ignored(panel: Panel, clock: MockClock, probe: ScriptedDependency) -> None:
    breaker = await opened(panel, probe)
    await advance(clock, 1)
    await breaker.trip()
    assert actor_of(breaker)._active_probe is not None
    number = actor_of(breaker)._active_probe._number
    await breaker.mailbox.ask(ProbePassed(number - 1))
    assert breaker.state is O
    await breaker.reset()
    await breaker.mailbox.ask(ProbePassed(number))
    assert breaker.state is C
    await breaker.trip()
    await breaker.mailbox.ask(ProbePassed(number))
    assert breaker.state is O
    plain = panel.breaker(CircuitBreakerConfig(name="plain"))
    await plain.trip()
    await plain.mailbox.ask(ProbePassed(0))
    assert plain.state is O


async def test_probing_goes_on_after_a_crash(
    panel: Panel, clock: MockClock, probe: ScriptedDependency
) -> None:
    breaker = await opened(panel, probe)
    await advance(clock, 3)
    actor_of(breaker)._machine.__class__ = BrokenMachine
    await breaker.snapshot()
    assert breaker.state is O
    assert actor_of(breaker).restarts == 1
    await advance(clock, 2)
    assert probe.calls == 1
    probe.mends()
    await advance(clock, 5)
    assert breaker.state is C


async def test_a_crash_at_the_success_loses_only_that_probe(
    panel: Panel, clock: MockClock, probe: ScriptedDependency
) -> None:
    breaker = await opened(panel, probe)
    probe.mends()
    actor_of(breaker)._machine.__class__ = BrokenMachine
    await advance(clock, 5)
    assert actor_of(breaker).restarts == 1
    assert breaker.state is C


async def test_no_probe_starts_at_the_end_of_the_wait(
    panel: Panel, clock: MockClock, probe: ScriptedDependency
) -> None:
    breaker = await opened(panel, probe, reset_timeout=10)
    await advance(clock, 5)
    probe.holds()
    await advance(clock, 5)
    assert breaker.state is H
    assert (probe.calls, probe.running) == (2, 1)


async def test_a_probe_that_runs_at_the_end_of_the_wait_is_cancelled(
    panel: Panel, clock: MockClock, probe: ScriptedDependency
) -> None:
    breaker = await opened(panel, probe, reset_timeout=12)
    await advance(clock, 5)
    probe.holds()
    await advance(clock, 5)
    assert (probe.calls, probe.running) == (2, 1)
    await advance(clock, 2)
    assert breaker.state is H
    assert (probe.calls, probe.running) == (3, 1)


async def test_missed_probes_are_not_made_up(
    panel: Panel, clock: MockClock, probe: ScriptedDependency
) -> None:
    breaker = await opened(panel, probe)
    await advance(clock, 33)
    assert probe.calls == 1
    await advance(clock, 4.5)
    assert probe.calls == 1
    await advance(clock, 0.5)
    assert probe.calls == 2
    await advance(clock, 1000)
    assert probe.calls == 3, "the wait is over: only the probe that decides"
    assert breaker.state is O


async def test_no_probe_of_the_wait_starts_after_it(panel: Panel, clock: MockClock) -> None:
    probes = [ScriptedDependency() for _ in range(20)]
    for number, probe in enumerate(probes):
        await opened(panel, probe, name=str(number), reset_timeout=12)
    await advance(clock, 20)
    assert {probe.calls for probe in probes} == {1}, "whichever task wakes first"


async def test_an_observed_breakers_shadow_never_probes(
    panel: Panel, clock: MockClock, probe: ScriptedDependency
) -> None:
    breaker = await opened(panel, probe, max_failures=1)
    await breaker.observe()
    async with breaker.guard() as call:
        call.fail()
    await breaker.configure(replace(breaker.config, probe_interval=1))
    await advance(clock, 30)
    assert probe.calls == 0


async def test_the_panels_end_ends_a_probe(clock: MockClock) -> None:
    probe = ScriptedDependency()
    probe.holds()
    async with open_panel() as panel:
        await opened(panel, probe)
        await advance(clock, 5)
        assert probe.running == 1
    assert probe.running == 0
    await trio.lowlevel.checkpoint()

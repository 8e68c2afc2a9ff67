"""Errors inside the actor and in a trip strategy: the breaker goes on."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from actors import FailureRate, LastSeconds, Machine, Panel, State, TripStrategy
from actors.machine.states import Closed
from actors.policy.trip import TripCounter
from actors.testing import DependencyDown, ScriptedDependency, advance
from tests.actors.policies import policy


async def test_calls_use_the_new_gate_after_a_crash_on_wakeup(
    panel: Panel, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restarted actor publishes its gate without waiting for a message."""
    breaker = panel.breaker(policy(trip=FailureRate(1.0, LastSeconds(10), 1)))
    await breaker.execute(ScriptedDependency())

    def crash(machine: Machine, now: float) -> None:
        monkeypatch.undo()
        raise RuntimeError("crashed on purpose")

    monkeypatch.setattr(Machine, "wake", crash)
    await advance(mock_clock, 1)
    broken = ScriptedDependency()
    broken.breaks()
    with pytest.raises(DependencyDown):
        await breaker.execute(broken)
    assert breaker.state is State.OPEN
    assert (await breaker.snapshot()).late == 0


async def test_a_failure_that_crashes_the_machine_is_counted_once(
    panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restarted actor handles the same message again."""
    breaker = panel.breaker(policy())

    def crash(*_: object) -> None:
        monkeypatch.undo()
        raise RuntimeError("crashed on purpose")

    monkeypatch.setattr(Closed, "settle", crash)
    with pytest.raises(DependencyDown):
        async with breaker.guard():
            raise DependencyDown
    snapshot = await breaker.snapshot()
    assert snapshot.restarts == 1
    assert snapshot.counts["failure"] == 1
    assert snapshot.in_flight == 0


async def test_configure_raises_the_error_of_a_trip_strategy(panel: Panel) -> None:
    """The breaker keeps its policy, and the actor doesn't restart."""

    class Broken(TripStrategy):
        def counter(self) -> TripCounter:
            raise MemoryError

    breaker = panel.breaker(policy())
    with pytest.raises(MemoryError):
        await breaker.configure(policy(trip=Broken()))
    await breaker.execute(trio.lowlevel.checkpoint)
    assert (await breaker.snapshot()).restarts == 0

"""The breaker's own probe in HALF_OPEN: at its turn, too late, and beside an earlier one."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import Panel, State
from actors.testing import ScriptedDependency, advance
from tests.actors.policies import policy


async def test_a_newly_configured_probe_waits_for_the_callers_probe(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    """The limit on concurrent probes includes the breaker's own."""
    breaker = panel.breaker(policy(successes_to_close=2))
    probe = ScriptedDependency()
    await breaker.trip()
    await advance(mock_clock, 60)
    async with breaker.guard():
        await breaker.configure(policy(successes_to_close=2, probe=probe))
        await wait_all_tasks_blocked()
        assert probe.calls == 0
    await wait_all_tasks_blocked()
    assert probe.calls == 1
    assert breaker.state is State.CLOSED


async def test_a_probe_that_ends_after_force_open_counts_as_late(panel: Panel, mock_clock: MockClock) -> None:
    """Its outcome doesn't undo the operator's command."""
    probe = ScriptedDependency()
    probe.holds()
    breaker = panel.breaker(policy(probe=probe))
    await breaker.trip()
    await advance(mock_clock, 60)
    await breaker.force_open()
    probe.lets_go()
    await wait_all_tasks_blocked()
    snapshot = await breaker.snapshot()
    assert snapshot.state is State.FORCED_OPEN
    assert snapshot.late == 1
    assert snapshot.in_flight == 0


async def test_only_the_probe_of_the_current_half_open_state_counts(
    panel: Panel, mock_clock: MockClock
) -> None:
    """An operator trips the breaker during its own probe. Later both probes run; the first one ends late."""
    ends = [trio.Event(), trio.Event()]
    started: list[int] = []

    async def probe() -> None:
        started.append(len(started))
        await ends[started[-1]].wait()

    breaker = panel.breaker(policy(reset_timeout=1, probe=probe))
    for _ in range(2):
        await breaker.trip()
        await advance(mock_clock, 1)
    ends[0].set()
    await wait_all_tasks_blocked()
    assert breaker.state is State.HALF_OPEN
    assert started == [0, 1]
    ends[1].set()
    await wait_all_tasks_blocked()
    assert breaker.state is State.CLOSED
    assert (await breaker.snapshot()).late == 1

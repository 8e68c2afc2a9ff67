"""The own probe of a removed breaker is cancelled."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import Panel, State
from actors.commands import TakeSnapshot
from actors.testing import advance
from tests.actors.panel.removal.removed import end_after_each
from tests.actors.policies import policy


class Probes:
    """A probe that never ends by itself, and how many of it have begun and been cancelled."""

    def __init__(self) -> None:
        self.begun = self.cancelled = 0

    async def __call__(self) -> None:
        self.begun += 1
        try:
            await trio.sleep_forever()
        finally:
            self.cancelled += 1


@pytest.mark.parametrize(
    ("seconds", "interval"), [(60, None), (10, 10)], ids=["while half-open", "while open"]
)
async def test_a_removed_breakers_own_probe_is_cancelled(
    panel: Panel, mock_clock: MockClock, seconds: float, interval: float | None
) -> None:
    probes = Probes()
    breaker = panel.breaker(policy(probe=probes, probe_interval=interval))
    await breaker.trip()
    await advance(mock_clock, seconds)
    assert (probes.begun, probes.cancelled) == (1, 0)
    await panel.remove("it")
    await wait_all_tasks_blocked()
    assert (probes.begun, probes.cancelled) == (1, 1)
    await advance(mock_clock, 1000)
    assert probes.begun == 1


async def test_a_removed_breakers_probe_of_an_earlier_recovery_is_cancelled_too(
    panel: Panel, mock_clock: MockClock
) -> None:
    probes = Probes()
    breaker = panel.breaker(policy(probe=probes, half_open_timeout=None))
    for _ in range(2):
        await breaker.trip()
        await advance(mock_clock, 60)
    assert (probes.begun, probes.cancelled) == (2, 0)
    await panel.remove("it")
    await wait_all_tasks_blocked()
    assert probes.cancelled == 2


async def test_a_probe_of_a_removed_breaker_never_begins(
    panel: Panel, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes = Probes()
    breaker = panel.breaker(policy(probe=probes))
    await breaker.trip()
    mock_clock.jump(60)
    end_after_each(TakeSnapshot, monkeypatch)
    assert (await breaker.snapshot()).state is State.HALF_OPEN
    await wait_all_tasks_blocked()
    assert probes.begun == 0


async def test_a_probe_may_remove_its_own_breaker(panel: Panel, mock_clock: MockClock) -> None:
    """It is cancelled at its next checkpoint."""
    reached = []

    async def probe() -> None:
        await panel.remove("it")
        reached.append("removed")
        await trio.lowlevel.checkpoint()
        reached.append("went on")

    await panel.breaker(policy(probe=probe)).trip()
    await advance(mock_clock, 60)
    assert reached == ["removed"]
    assert len(panel) == 0

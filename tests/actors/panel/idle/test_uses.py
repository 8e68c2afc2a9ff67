"""The uses of a breaker that keep it on a panel with an idle time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CircuitBreakerConfig, CircuitOpenError, Panel, State
from actors.testing import ScriptedDependency
from tests.actors.failing import fail
from tests.actors.panel.idle.panels import CHECK, IDLE, idle_panel, rest
from tests.actors.panel.registered import POLICY
from tests.actors.policies import policy


async def used_every(seconds: float, use: Callable[[Panel], Awaitable[object]], clock: MockClock) -> bool:
    """Whether a breaker is still there after five times the idle time."""
    async with idle_panel() as panel:
        breaker = panel.breaker(policy(max_failures=2, max_concurrent=None, ignore=KeyError))
        for _ in range(round(5 * IDLE / seconds)):
            await use(panel)
            await rest(clock, seconds)
        return panel.get("it") is breaker


async def succeeds(panel: Panel) -> None:
    await panel["it"].execute(ScriptedDependency())


async def fails_once_in_a_row(panel: Panel) -> None:
    await fail(panel["it"], 1)
    await panel["it"].execute(ScriptedDependency())


async def is_ignored(panel: Panel) -> None:
    with suppress(KeyError):
        async with panel["it"].guard():
            raise KeyError


async def is_cancelled(panel: Panel) -> None:
    with trio.move_on_after(0):
        await panel["it"].execute(trio.sleep_forever)


async def is_asked_for(panel: Panel) -> None:
    panel.breaker(panel["it"].config)


async def is_looked_at(panel: Panel) -> None:
    await panel.snapshots()


@pytest.mark.parametrize("use", [succeeds, fails_once_in_a_row, is_ignored, is_cancelled])
async def test_a_breaker_that_is_called_stays(mock_clock: MockClock, use: Any) -> None:
    assert await used_every(90, use, mock_clock)


@pytest.mark.parametrize("use", [is_asked_for, is_looked_at])
async def test_reading_a_breaker_does_not_keep_it(mock_clock: MockClock, use: Any) -> None:
    with suppress(KeyError):
        assert not await used_every(90, use, mock_clock)


async def test_a_long_call_keeps_its_breaker(mock_clock: MockClock) -> None:
    """In each way in which calls are counted, and also across a transition."""
    async with idle_panel() as panel, trio.open_nursery() as nursery:
        panel.breaker(CircuitBreakerConfig(name="fast"))
        panel.breaker(CircuitBreakerConfig(name="timed", max_concurrent=1))
        panel.breaker(CircuitBreakerConfig(name="retired"))
        panel.breaker(CircuitBreakerConfig(name="idle"))
        for name in ("fast", "timed", "retired"):
            nursery.start_soon(panel[name].execute, trio.sleep_forever)
        await wait_all_tasks_blocked()
        await panel["retired"].trip()
        await panel["retired"].reset()
        await rest(mock_clock, 5 * IDLE)
        assert [breaker.name for breaker in panel] == ["fast", "timed", "retired"]
        nursery.cancel_scope.cancel()


async def test_rejections_keep_a_breaker(mock_clock: MockClock) -> None:
    """A rejected call uses its breaker, too. Here a ramp that has hardly begun rejects it."""
    async with idle_panel() as panel:
        breaker = panel.breaker(policy(ramp=1e9))
        await breaker.trip()
        await rest(mock_clock, 60)
        await breaker.execute(ScriptedDependency())
        for _ in range(5):
            with pytest.raises(CircuitOpenError):
                await breaker.execute(ScriptedDependency())
            await rest(mock_clock, 90)
        assert "it" in panel


@pytest.mark.parametrize("hold", ["force_open", "disable", "observe"])
async def test_a_breaker_that_an_operator_holds_stays(mock_clock: MockClock, hold: str) -> None:
    async with idle_panel() as panel:
        await getattr(panel.breaker(POLICY), hold)()
        await rest(mock_clock, 3 * IDLE)
        assert "it" in panel
        await panel["it"].reset()
        await rest(mock_clock, IDLE)
        assert "it" not in panel


async def test_an_open_breaker_stays_until_it_is_half_open(mock_clock: MockClock) -> None:
    async with idle_panel() as panel:
        breaker = panel.breaker(policy(max_failures=1, reset_timeout=250))
        await fail(breaker, 1)
        await rest(mock_clock, 249)
        assert panel["it"].state is State.OPEN
        assert "it" in panel
        await rest(mock_clock, 1)
        assert breaker.state is State.HALF_OPEN
        await rest(mock_clock, CHECK)
        assert "it" not in panel


async def test_a_subscriber_keeps_its_breaker(mock_clock: MockClock) -> None:
    async with idle_panel() as panel:
        async with panel.breaker(POLICY).events():
            await rest(mock_clock, 3 * IDLE)
            assert "it" in panel
        await rest(mock_clock, IDLE)
        assert "it" not in panel


async def test_a_wait_for_admission_keeps_the_breaker(mock_clock: MockClock) -> None:
    async def never() -> None:
        await trio.sleep_forever()

    async with idle_panel() as panel, trio.open_nursery() as nursery:
        breaker = panel.breaker(policy(probe=never, half_open_timeout=None))
        await breaker.trip()
        nursery.start_soon(breaker.wait_until_admitting)
        await rest(mock_clock, 3 * IDLE)
        assert "it" in panel
        nursery.cancel_scope.cancel()

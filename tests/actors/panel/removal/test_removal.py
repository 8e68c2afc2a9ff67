"""A removed breaker: its name is free, and commands, waits and subscriptions end."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors import (
    CircuitBreaker,
    CircuitBreakerConfig,
    Panel,
    PanelClosedError,
    Snapshot,
    State,
    Transition,
    open_panel,
)
from actors.testing import ScriptedDependency
from tests.actors.failing import fail
from tests.actors.panel.registered import POLICY
from tests.actors.panel.removal.removed import REMOVED
from tests.actors.policies import policy

COMMANDS = {
    "snapshot": CircuitBreaker.snapshot,
    "trip": CircuitBreaker.trip,
    "reset": CircuitBreaker.reset,
    "force_open": CircuitBreaker.force_open,
    "disable": CircuitBreaker.disable,
    "observe": CircuitBreaker.observe,
    "configure": lambda breaker: breaker.configure(POLICY),
    "wait_until_admitting": CircuitBreaker.wait_until_admitting,
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
async def test_commands_to_a_removed_breaker_raise(panel: Panel, command: Any) -> None:
    breaker = panel.breaker(POLICY)
    await panel.remove("it")
    with pytest.raises(PanelClosedError, match=REMOVED):
        await command(breaker)
    with pytest.raises(PanelClosedError, match=REMOVED):
        async with breaker.events():
            pass
    assert breaker.state is State.CLOSED


async def test_a_removed_name_is_free_at_once(panel: Panel) -> None:
    """While the old one is still being removed, too."""
    old = panel.breaker(POLICY)
    await fail(old, 3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(panel.remove, "it")
        while "it" in panel:
            await trio.lowlevel.checkpoint()
        new = panel.breaker(policy(max_failures=7))
    assert panel["it"] is new is not old
    assert new.state is State.CLOSED
    assert old.state is State.OPEN
    assert await new.execute(ScriptedDependency()) == "ok"


async def test_a_name_that_is_not_there_cannot_be_removed(panel: Panel) -> None:
    panel.breaker(POLICY)
    with pytest.raises(KeyError, match="no circuit breaker 'prices' on this panel, which has: 'it'"):
        await panel.remove("prices")
    await panel.remove("it")
    with pytest.raises(KeyError, match="no circuit breaker 'it' on this panel, which has: none"):
        await panel.remove("it")
    assert len(panel) == 0
    assert list(panel) == []
    assert panel.get("it") is None
    assert "it" not in panel


async def test_the_second_of_two_removals_raises_key_error(panel: Panel) -> None:
    panel.breaker(POLICY)
    told = []

    async def remove() -> None:
        try:
            await panel.remove("it")
            told.append("removed")
        except KeyError:
            told.append("not there")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(remove)
        nursery.start_soon(remove)
    assert sorted(told) == ["not there", "removed"]


async def test_removing_is_not_cancelled_half_way(panel: Panel) -> None:
    breaker = panel.breaker(POLICY)
    with trio.CancelScope() as scope:
        scope.cancel()
        await panel.remove("it")
        assert breaker.mailbox.closed
    assert len(panel) == 0


async def test_a_closed_panel_removes_nothing() -> None:
    async with open_panel() as panel:
        panel.breaker(POLICY)
    with pytest.raises(PanelClosedError, match="the panel has closed"):
        await panel.remove("it")


async def test_another_trio_run_removes_nothing(panel: Panel) -> None:
    breaker = panel.breaker(POLICY)

    async def elsewhere() -> None:
        with pytest.raises(RuntimeError, match="belongs to the trio.run of its panel"):
            await panel.remove("it")

    await trio.to_thread.run_sync(trio.run, elsewhere)
    assert panel["it"] is breaker
    assert await breaker.execute(ScriptedDependency()) == "ok"


async def test_removal_ends_every_wait_for_admission(panel: Panel) -> None:
    breaker = panel.breaker(POLICY)
    await breaker.trip()
    told = []

    async def wait() -> None:
        with pytest.raises(PanelClosedError, match=REMOVED):
            await breaker.wait_until_admitting()
        told.append(1)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            await panel.remove("it")
    assert told == [1, 1]


async def test_a_removed_breakers_events_end_after_those_that_came_before(panel: Panel) -> None:
    breaker, other = panel.breaker(POLICY), panel.breaker(CircuitBreakerConfig(name="other"))
    seen: list[object] = []

    async def read(events: Any) -> None:
        seen.extend([event async for event in events])

    with trio.fail_after(5):
        async with panel.events() as of_all:
            async with trio.open_nursery() as nursery, breaker.events() as events:
                nursery.start_soon(read, events)
                await breaker.trip()
                await panel.remove("it")
                await wait_all_tasks_blocked()
            await other.trip()
            told = [await anext(of_all) for _ in range(2)]
    assert [event.new for event in seen if isinstance(event, Transition)] == [State.OPEN]
    assert [event.name for event in told if isinstance(event, Transition)] == ["it", "other"]


async def test_snapshots_leave_out_removed_breakers(panel: Panel) -> None:
    """A breaker that is removed while they are taken is left out too."""
    names = ["a", "b", "c"]
    for name in names:
        panel.breaker(CircuitBreakerConfig(name=name))
    taken: list[list[str]] = []

    async def take() -> None:
        taken.append(list(await panel.snapshots()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        nursery.start_soon(panel.remove, "b")
    await take()
    assert taken[0] in (["a", "b", "c"], ["a", "c"])
    assert taken[1] == ["a", "c"]


async def test_snapshots_skip_a_breaker_removed_before_its_turn(
    panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        panel.breaker(CircuitBreakerConfig(name=name))
    take = CircuitBreaker.snapshot

    async def remove_b_first(breaker: CircuitBreaker) -> Snapshot:
        if breaker.name == "a":
            await panel.remove("b")
        return await take(breaker)

    monkeypatch.setattr(CircuitBreaker, "snapshot", remove_b_first)
    assert list(await panel.snapshots()) == ["a", "c"]


async def test_metrics_leave_out_removed_breakers(panel: Panel) -> None:
    metrics = pytest.importorskip("actors.adapters.metrics")
    await fail(panel.breaker(POLICY), 1)
    assert b'service="it"' in metrics.exposition((await panel.snapshots()).values())
    await panel.remove("it")
    assert b'service="it"' not in metrics.exposition((await panel.snapshots()).values())
    panel.breaker(POLICY)
    again = metrics.exposition((await panel.snapshots()).values())
    assert b'circuit_breaker_failures_total{service="it"} 0.0' in again

"""Calls of a removed breaker: those that run end as they would, later ones raise."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import BulkheadFullError, CallTimeout, CircuitBreaker, Panel, PanelClosedError, State, open_panel
from actors.commands import Acquire
from actors.testing import DependencyDown, ScriptedDependency
from tests.actors.panel.registered import POLICY
from tests.actors.panel.removal.removed import REMOVED, end_after_each, in_each_style_with_the_breaker
from tests.actors.policies import policy
from tests.actors.styles import Style, in_every_style


@in_each_style_with_the_breaker
@pytest.mark.parametrize("state", [State.CLOSED, State.OPEN, State.FORCED_OPEN, State.DISABLED])
async def test_calls_of_a_removed_breaker_raise(
    panel: Panel, dependency: ScriptedDependency, call: Style, state: State
) -> None:
    """In every state. A fallback is for rejections, and this is none."""
    breaker = panel.breaker(POLICY)
    if state is State.OPEN:
        await breaker.trip()
    elif state is State.FORCED_OPEN:
        await breaker.force_open()
    elif state is State.DISABLED:
        await breaker.disable()
    await panel.remove("it")
    with pytest.raises(PanelClosedError, match=REMOVED):
        await call(breaker, dependency)
    assert dependency.calls == 0


@in_every_style
@pytest.mark.parametrize("fails", [False, True])
async def test_calls_that_run_end_as_they_would_and_are_not_counted(
    panel: Panel, dependency: ScriptedDependency, call: Style, fails: bool
) -> None:
    breaker = panel.breaker(policy(max_failures=1))
    dependency.holds()
    ended: list[object] = []

    async def one() -> None:
        try:
            ended.append(await call(breaker, dependency))
        except DependencyDown as error:
            ended.append(type(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one)
        await wait_all_tasks_blocked()
        await panel.remove("it")
        new = panel.breaker(policy(max_failures=1))
        if fails:
            dependency.breaks()
        dependency.lets_go()
    assert ended == [DependencyDown if fails else "ok"]
    assert not any((await new.snapshot()).counts.values())
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("removed", [False, True], ids=["panel closed", "breaker removed"])
async def test_call_timeout_still_ends_a_call_after_its_breaker_has_ended(
    autojump_clock: MockClock, removed: bool
) -> None:
    """The timeout ends the call on time. The call isn't counted: its breaker has ended."""
    ended = []

    async def call(breaker: CircuitBreaker) -> None:
        with pytest.raises(CallTimeout, match="took longer than 5 s"):
            await breaker.execute(trio.sleep, 100)
        ended.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        async with open_panel() as panel:
            nursery.start_soon(call, panel.breaker(policy(call_timeout=5)))
            await trio.sleep(2)
            if removed:
                await panel.remove("it")
                await trio.sleep(10)
    assert ended == [5]


async def test_a_call_that_is_admitted_while_its_breaker_ends_has_its_timeout(
    panel: Panel, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe gets its permit by a message, and the next message may be the end."""
    breaker = panel.breaker(policy(call_timeout=5))
    await breaker.trip()
    await trio.sleep(60)
    end_after_each(Acquire, monkeypatch)
    with pytest.raises(CallTimeout):
        await breaker.execute(trio.sleep, 100)
    assert trio.current_time() == 65


@pytest.mark.parametrize("how", ["answered", "lift_timeout", "succeed"])
async def test_a_lifted_timeout_ends_no_call_of_a_removed_breaker(
    panel: Panel, autojump_clock: MockClock, how: str
) -> None:
    """The timeout is lifted before or after the removal. After it, a call may still be settled early."""
    for early in (True, False):
        breaker = panel.breaker(policy(call_timeout=5))
        if how == "succeed" and not early:
            await breaker.disable()
        async with breaker.guard() as call:
            if early:
                getattr(call, how)()
            await panel.remove("it")
            getattr(call, how)()
            await trio.sleep(100)


async def test_a_waiter_in_a_removed_breakers_bulkhead_gets_the_error_at_its_turn(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = panel.breaker(policy(max_concurrent=1, max_queue=2))
    dependency.holds()
    ended: list[object] = []

    async def one() -> None:
        try:
            ended.append(await breaker.execute(dependency))
        except (PanelClosedError, BulkheadFullError) as error:
            ended.append(type(error))

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(one)
            await wait_all_tasks_blocked()
            await panel.remove("it")
            dependency.lets_go()
    assert ended == ["ok", PanelClosedError, PanelClosedError]
    assert dependency.calls == 1


@in_every_style
async def test_a_call_may_remove_its_own_breaker(panel: Panel, call: Style) -> None:
    breaker = panel.breaker(policy(max_concurrent=2, call_timeout=5))

    async def remove() -> str:
        await panel.remove("it")
        return "removed"

    with trio.fail_after(5):
        assert await call(breaker, remove) == "removed"
    assert breaker.mailbox.closed
    assert len(panel) == 0

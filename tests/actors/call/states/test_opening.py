"""Failures open a breaker, and an open breaker rejects calls."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from actors import CircuitOpenError, Panel, RejectReason, State
from actors.testing import DependencyDown, ScriptedDependency, advance
from tests.actors.call.breakers import fail, new_breaker


async def test_a_breaker_opens_after_five_failures_and_closes_after_one_probe(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = new_breaker(panel)
    await fail(breaker, dependency, 5)
    with pytest.raises(CircuitOpenError) as rejected:
        await breaker.execute(dependency)
    assert dependency.calls == 5
    assert rejected.value.name == "it"
    assert rejected.value.state is State.OPEN
    assert rejected.value.reason is RejectReason.OPEN
    assert rejected.value.retry_after == 60
    await advance(mock_clock, 60)
    assert breaker.state is State.HALF_OPEN
    assert await breaker.execute(dependency) == "ok"
    assert breaker.state is State.CLOSED
    assert (await breaker.snapshot()).counts == {
        "success": 1, "failure": 5, "ignored": 0, "cancelled": 0, "rejected": 1,
    }  # fmt: skip


async def test_a_success_between_failures_starts_their_count_again(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = new_breaker(panel, max_failures=3)
    for _ in range(5):
        await fail(breaker, dependency, 2)
        await breaker.execute(dependency)
    assert breaker.state is State.CLOSED
    await fail(breaker, dependency, 3)
    assert breaker.state is State.OPEN


async def test_no_call_is_admitted_after_the_last_failure_was_raised(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = new_breaker(panel, max_failures=3)
    admitted_late = []

    async def hammer() -> None:
        for _ in range(20):
            before = breaker.state
            try:
                await breaker.execute(dependency)
            except DependencyDown:
                pass
            except CircuitOpenError:
                return
            admitted_late.append(before is State.OPEN)

    dependency.breaks()
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(hammer)
    assert not any(admitted_late)
    assert dependency.calls <= 3 + 9


class _PrivateError(DependencyDown):
    pass


async def test_a_failure_has_the_name_of_its_first_public_class(panel: Panel, mock_clock: MockClock) -> None:
    """A reader can't look up a private class."""

    async def fail() -> None:
        raise _PrivateError

    breaker = new_breaker(panel, max_failures=3, probe=fail)
    with pytest.raises(_PrivateError):
        await breaker.execute(fail)
    assert (await breaker.snapshot()).last_failure == "DependencyDown"
    with pytest.raises(_PrivateError):
        async with breaker.guard():
            raise _PrivateError
    assert (await breaker.snapshot()).last_failure == "DependencyDown"
    await breaker.trip()
    await advance(mock_clock, 60)
    assert (await breaker.snapshot()).last_failure == "probe: DependencyDown"

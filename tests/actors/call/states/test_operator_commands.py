"""Calls through a breaker that an operator has disabled, forced open or configured."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from actors import CallTimeout, CircuitBreakerConfig, CircuitOpenError, Panel, RejectReason, State
from actors.testing import ScriptedDependency, advance
from tests.actors.call.breakers import fail, new_breaker


async def test_a_disabled_breaker_counts_nothing_and_keeps_its_call_timeout(
    panel: Panel, dependency: ScriptedDependency, autojump_clock: MockClock
) -> None:
    breaker = new_breaker(panel, max_failures=1, call_timeout=5)
    await breaker.disable()
    await fail(breaker, dependency, 3)
    dependency.holds()
    with pytest.raises(CallTimeout):
        await breaker.execute(dependency)
    snapshot = await breaker.snapshot()
    assert snapshot.state is State.DISABLED
    assert sum(snapshot.counts.values()) == 0
    assert snapshot.in_flight == 0


async def test_a_failure_after_succeed_does_not_count_while_disabled(panel: Panel) -> None:
    breaker = new_breaker(panel)
    await breaker.disable()
    async with breaker.guard() as call:
        call.succeed()
        call.fail("broke off")
    assert sum((await breaker.snapshot()).counts.values()) == 0


async def test_a_forced_open_breaker_stays_open_until_it_is_reset(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = new_breaker(panel)
    await breaker.force_open()
    await advance(mock_clock, 1e6)
    with pytest.raises(CircuitOpenError) as rejected:
        await breaker.execute(dependency)
    assert rejected.value.reason is RejectReason.FORCED
    assert rejected.value.retry_after == 30.0
    assert "'it' is FORCED_OPEN for 1000000.000 s, waiting for an operator" in str(rejected.value)
    await breaker.reset()
    assert await breaker.execute(dependency) == "ok"
    assert (await breaker.snapshot()).rejections["forced"] == 1


async def test_configure_changes_the_policy_and_keeps_the_counted_failures(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = new_breaker(panel, max_failures=5)
    await fail(breaker, dependency, 2)
    await breaker.configure(CircuitBreakerConfig(name="it", max_failures=3, call_timeout=1))
    assert breaker.config.max_failures == 3
    await fail(breaker, dependency, 1)
    assert breaker.state is State.OPEN
    with pytest.raises(ValueError, match="name must stay"):
        await breaker.configure(CircuitBreakerConfig(name="else"))

"""A shadow whose strategy raises stops, and harms nothing else."""

from __future__ import annotations

import logging

import pytest

from actors import CircuitBreakerConfig, Panel, RejectReason, ShadowPolicy, State
from actors.policy.trip import Call, TripCounter, TripStrategy
from actors.testing import ScriptedDependency
from tests.actors.call.breakers import fail, new_breaker
from tests.actors.machine.machines import FAILURE, SUCCESS, call
from tests.actors.shadow.shadows import counts, seen, shadowed


class Broken(TripStrategy):
    """Raises at the second call it counts; or at once, when its counter is made."""

    def __init__(self, *, at_once: bool = False) -> None:
        self.at_once = at_once

    def counter(self) -> TripCounter:
        if self.at_once:
            raise ZeroDivisionError("at once")
        return BrokenCounter()


class BrokenCounter(TripCounter):
    reason = "never"
    count = 0

    def record(self, call: Call, now: float, count: int = 1) -> None:
        self.count += count
        if self.count > 1:
            raise ZeroDivisionError("division by zero")

    def tripped(self, now: float) -> bool:
        return False

    @property
    def failure_count(self) -> int:
        return self.count


BROKEN = ShadowPolicy(trip=Broken())


async def test_a_shadow_that_raises_is_logged_once_and_harms_no_call(
    panel: Panel, caplog: pytest.LogCaptureFixture
) -> None:
    breaker = new_breaker(panel, shadow=BROKEN)
    with caplog.at_level(logging.ERROR, "trio_breakers"):
        await fail(breaker, ScriptedDependency(), 5)
    assert [record.message for record in caplog.records] == [
        "the shadow policy of circuit breaker 'it' raised and has stopped"
    ]
    snapshot = await breaker.snapshot()
    assert (snapshot.state, snapshot.restarts) == (State.OPEN, 0)
    assert snapshot.shadow is not None
    assert snapshot.shadow.stopped == "ZeroDivisionError: division by zero"
    assert counts(snapshot.shadow) == {"admitted failure": 2}


def test_a_stopped_shadow_counts_nothing_and_needs_no_message() -> None:
    it = shadowed(BROKEN)
    for outcome in (FAILURE, SUCCESS, FAILURE, SUCCESS):
        call(it, outcome)
    it.reset(1)
    it.rejected(RejectReason.OPEN, 3)
    assert counts(seen(it, 1)) == {"admitted failure": 1, "admitted success": 1}
    assert (it.admits_all, it.batches_successes, it.deadline, it.next_roll(1)) == (True, True, None, None)
    assert (seen(it, 1).failure_count, seen(it, 1).learned, seen(it, 1).retry_after) == (0, None, None)


def test_another_policy_starts_a_stopped_shadow_again_and_the_same_does_not() -> None:
    it = shadowed(BROKEN)
    for _ in range(2):
        call(it, FAILURE)
    it.configure(it.config, 1)
    assert seen(it, 1).stopped
    it.configure(CircuitBreakerConfig(name="it", shadow=ShadowPolicy(max_failures=2)), 1)
    call(it, FAILURE, 1)
    assert (seen(it, 1).stopped, counts(seen(it, 1))) == (None, {"admitted failure": 1})


async def test_a_strategy_whose_counter_cannot_be_made_is_refused(panel: Panel) -> None:
    with pytest.raises(ZeroDivisionError):
        new_breaker(panel, "refused", shadow=ShadowPolicy(trip=Broken(at_once=True)))
    breaker = new_breaker(panel)
    changed = CircuitBreakerConfig(name="it", shadow=ShadowPolicy(trip=Broken(at_once=True)))
    with pytest.raises(ZeroDivisionError):
        await breaker.configure(changed)
    assert (await breaker.snapshot()).restarts == 0

"""Each strategy trips at its limit, neither before nor for another reason."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from actors import (
    AnyOf,
    CircuitBreakerConfig,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    LastCalls,
    LastSeconds,
    Machine,
    Outcome,
    Permit,
    SlowCallRate,
    State,
    TripStrategy,
    open_panel,
)
from actors.policy.trip import Call, TripCounter
from actors.policy.window import Rolling
from actors.testing import DependencyDown, ScriptedDependency, advance
from tests.actors.policy.playing import tripped_by_call


@pytest.mark.parametrize(
    ("trip", "steps", "every", "tripped_by"),
    [
        (ConsecutiveFailures(3), "FFSFFIF", 1, 6),
        (FailureCount(3, LastCalls(5)), "FSFSF", 0, 4),
        (FailureCount(3, LastCalls(5)), "FSSSFSSSF", 0, None),
        (FailureCount(3, LastSeconds(10)), "FSFSF", 2, 4),
        (FailureCount(3, LastSeconds(10)), "FFF", 4.9, 2),
        (FailureCount(3, LastSeconds(10)), "FFFF", 5, None),
        (FailureRate(0.5, LastCalls(10), 4), "FFF", 0, None),
        (FailureRate(0.5, LastCalls(10), 4), "FFSS", 0, 3),
        (FailureRate(0.5, LastCalls(10), 4), "SSSFF", 0, None),
        (FailureRate(0.5, LastCalls(10), 4), "SSSFFF", 0, 5),
        (FailureRate(0.5, LastCalls(4), 4), "FSSSSSFF", 0, 7),
        (FailureRate(0.1, LastCalls(30), 30), "S" * 27 + "FFF", 0, 29),
        (FailureRate(0.07, LastCalls(100), 100), "S" * 93 + "F" * 7, 0, 99),
        (FailureRate(0.5, LastSeconds(10), 4), "FFFF", 4, None),
        (FailureRate(0.5, LastSeconds(10), 3), "SFSF", 2, 3),
        (SlowCallRate(0.5, 5, LastCalls(10), 4), "LSSL", 0, 3),
        (SlowCallRate(0.5, 5, LastCalls(10), 4), "FFFFSS", 0, None),
        (SlowCallRate(1.0, 5, LastSeconds(10), 2), "LL", 1, 1),
        (AnyOf(ConsecutiveFailures(3), FailureRate(0.5, LastCalls(10), 6)), "FFF", 0, 2),
        (AnyOf(ConsecutiveFailures(3), FailureRate(0.5, LastCalls(10), 6)), "FSFSFS", 0, 5),
    ],
)
def test_a_strategy_trips_at_its_limit(
    trip: TripStrategy, steps: str, every: float, tripped_by: int | None
) -> None:
    assert tripped_by_call(trip, steps, every=every) == tripped_by


def test_a_success_that_fills_the_minimum_may_trip() -> None:
    assert tripped_by_call(FailureRate(0.25, LastCalls(10), 4), "FSSS") == 3


def test_ignored_calls_are_in_no_window() -> None:
    assert tripped_by_call(FailureRate(0.5, LastCalls(4), 4), "FIIIIFIIIISS") == 11


@pytest.mark.parametrize(
    ("trip", "reason"),
    [
        (ConsecutiveFailures(1), "max failures reached"),
        (FailureCount(1, LastCalls(1)), "failure count reached"),
        (FailureRate(1, LastCalls(1), 1), "failure rate reached"),
        (AnyOf(ConsecutiveFailures(9), FailureRate(1, LastCalls(1), 1)), "failure rate reached"),
    ],
)
def test_the_reason_names_the_limit_that_was_reached(trip: TripStrategy, reason: str) -> None:
    it = Machine(CircuitBreakerConfig(name="it", trip=trip))
    permit = it.admit(0)
    assert isinstance(permit, Permit)
    it.settle(permit, Outcome.FAILURE, 0)
    assert [event.reason for event in it.drain()] == [reason]


def test_a_slow_probe_fails_under_a_policy_that_counts_slow_calls() -> None:
    it = Machine(CircuitBreakerConfig(name="it", trip=SlowCallRate(0.5, 5, LastCalls(2), 2)))
    it.trip(0)
    probe = it.admit(60)
    assert isinstance(probe, Permit)
    it.settle(probe, Outcome.SUCCESS, 65, 5.0)
    assert it.state is State.OPEN


def test_a_call_still_running_past_the_threshold_counts_once() -> None:
    trip = SlowCallRate(0.5, 5, LastCalls(10), 2)
    it = Machine(CircuitBreakerConfig(name="it", trip=trip, in_flight_slow=True))
    first, second = it.admit(0), it.admit(1)
    assert isinstance(first, Permit)
    assert it.deadline == 5
    it.wake(5)
    assert it.state is State.CLOSED
    it.settle(first, Outcome.SUCCESS, 5.5, 5.5)
    assert (it.failure_count, it.slow_count) == (0, 1)
    it.wake(6)
    assert it.state is State.OPEN
    assert (it.failure_count, it.slow_count) == (0, 2)
    assert isinstance(second, Permit)


@pytest.mark.parametrize("older", ["LastCalls", "LastSeconds"])
def test_a_window_forgets_calls_that_left_it(older: str) -> None:
    window = LastCalls(3) if older == "LastCalls" else LastSeconds(10)
    rolling: Rolling = window.rolling()
    rolling.add(True, 0)
    rolling.add(False, 0.5, 2)
    assert (rolling.calls, rolling.bad) == (3, 1)
    rolling.add(False, 10.5, 3)
    assert (rolling.calls, rolling.bad) == (3, 0)


def test_a_long_run_of_one_kind_costs_no_more_than_the_window() -> None:
    rolling = LastCalls(3).rolling()
    rolling.add(True, 0, 10**9)
    assert (rolling.calls, rolling.bad) == (3, 3)


def test_a_clock_that_jumps_far_empties_a_time_window_once() -> None:
    rolling = LastSeconds(10).rolling()
    for second in range(10):
        rolling.add(True, second)
    rolling.advance(1e12)
    assert rolling.calls == 0
    assert rolling.next_roll(1e12) is None


async def test_tallied_successes_weigh_in_a_time_window(mock_clock: MockClock) -> None:
    """Successes counted without messages still keep the rate down, and leave the window in time."""
    dependency = ScriptedDependency()
    trip = FailureRate(0.5, LastSeconds(10), 4)
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it", trip=trip))
        for _ in range(6):
            await breaker.execute(dependency)
        assert breaker.gate.batches_successes
        dependency.breaks()
        for _ in range(5):
            with pytest.raises(DependencyDown):
                await breaker.execute(dependency)
        assert breaker.state is State.CLOSED
        for _ in range(11):
            await advance(mock_clock, 1)
        for _ in range(3):
            with pytest.raises(DependencyDown):
                await breaker.execute(dependency)
        assert breaker.state is State.CLOSED
        with pytest.raises(DependencyDown):
            await breaker.execute(dependency)
        assert breaker.state is State.OPEN


async def test_a_running_call_trips_by_being_slow(mock_clock: MockClock) -> None:
    trip = SlowCallRate(1.0, 5, LastCalls(10), 1)
    dependency = ScriptedDependency()
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it", trip=trip, in_flight_slow=True))
        async with trio.open_nursery() as nursery:
            dependency.holds()
            nursery.start_soon(breaker.execute, dependency)
            await advance(mock_clock, 0)
            await advance(mock_clock, 5)
            assert breaker.state is State.OPEN
            dependency.lets_go()


async def test_a_slow_success_trips_when_it_ends(autojump_clock: MockClock) -> None:
    trip = SlowCallRate(0.5, 5, LastCalls(10), 2)
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it", trip=trip))
        await breaker.execute(trio.sleep, 1)
        await breaker.execute(trio.sleep, 5)
        assert breaker.state is State.OPEN
        assert (await breaker.snapshot()).last_reason == "slow call rate reached"


SECONDS, CALLS = LastSeconds(10), LastCalls(4)


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        (ConsecutiveFailures(5), ConsecutiveFailures(9), 2),
        (ConsecutiveFailures(5), FailureCount(5, SECONDS), 0),
        (FailureCount(5, SECONDS), FailureCount(3, LastSeconds(5)), 2),
        (FailureCount(5, SECONDS), ConsecutiveFailures(5), 0),
        (FailureCount(4, CALLS), FailureCount(3, CALLS), 2),
        (FailureCount(4, CALLS), FailureCount(4, LastCalls(5)), 0),
        (FailureRate(0.9, CALLS, 4), FailureRate(0.8, CALLS, 3), 2),
        (FailureRate(0.9, CALLS, 4), FailureRate(0.9, LastCalls(5), 4), 0),
        (FailureRate(0.9, CALLS, 4), SlowCallRate(0.9, 5, CALLS, 4), 0),
        (SlowCallRate(0.9, 5, CALLS, 4), SlowCallRate(0.8, 5, CALLS, 3), 2),
        (SlowCallRate(0.9, 5, CALLS, 4), SlowCallRate(0.9, 6, CALLS, 4), 0),
        (AnyOf(ConsecutiveFailures(5)), AnyOf(FailureRate(0.9, CALLS, 4), ConsecutiveFailures(4)), 2),
        (FailureCount(5, SECONDS), AnyOf(ConsecutiveFailures(5), FailureCount(4, SECONDS)), 2),
        (FailureCount(5, SECONDS), AnyOf(ConsecutiveFailures(5)), 0),
    ],
)
def test_a_new_policy_keeps_the_calls_that_it_counts_too(
    old: TripStrategy, new: TripStrategy, kept: int
) -> None:
    """There are two slow failures before the policy changes."""
    it = Machine(CircuitBreakerConfig(name="it", trip=old))
    for _ in range(2):
        permit = it.admit(0)
        assert isinstance(permit, Permit)
        it.settle(permit, Outcome.FAILURE, 0, 9.0)
    it.configure(CircuitBreakerConfig(name="it", trip=new), 0)
    assert it.state is State.CLOSED
    assert it.failure_count == kept


class _AtMost(TripCounter):
    """The least that a counter has to implement."""

    reason = "one too many"

    failure_count = 0  # type: ignore[assignment]

    def record(self, call: Call, now: float, count: int = 1) -> None:
        self.failure_count += call.failed * count

    def tripped(self, now: float) -> bool:
        return self.failure_count > 1


class EverySecondFailure(TripStrategy):
    """A strategy written by a user."""

    def counter(self) -> TripCounter:
        return _AtMost()


def test_a_custom_strategy_needs_only_a_counter() -> None:
    """The counter starts at zero when the strategy replaces another one."""
    assert tripped_by_call(EverySecondFailure(), "FSF") == 2
    it = Machine(CircuitBreakerConfig(name="it", max_failures=5))
    permit = it.admit(0)
    assert isinstance(permit, Permit)
    it.settle(permit, Outcome.FAILURE, 0)
    it.configure(CircuitBreakerConfig(name="it", trip=EverySecondFailure()), 0)
    assert it.failure_count == 0


async def test_a_slow_own_probe_fails_under_a_policy_that_counts_slow_calls(
    autojump_clock: MockClock,
) -> None:
    """A caller's slow probe would fail too."""
    probes = []

    async def probe() -> None:
        probes.append(trio.current_time())
        await trio.sleep(5 if len(probes) == 1 else 1)

    config = CircuitBreakerConfig(name="it", trip=SlowCallRate(0.5, 5, LastCalls(2), 2), probe=probe)
    async with open_panel() as panel:
        breaker = panel.breaker(config)
        await breaker.trip()
        await breaker.wait_closed()
    assert probes == [60, 125]

"""failure_count and slow_count: a slow failure counts in both."""

from __future__ import annotations

import pytest

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
)
from tests.actors.policy.playing import counted, play

SLOW = SlowCallRate(1.0, 5, LastCalls(10), 10)


@pytest.mark.parametrize(
    ("trip", "failures", "slow"),
    [
        # S F L D I F
        (ConsecutiveFailures(9), 2, 0),
        (FailureCount(9, LastCalls(9)), 3, 0),
        (FailureCount(9, LastSeconds(9)), 3, 0),
        (FailureRate(1.0, LastCalls(9), 9), 3, 0),
        (FailureRate(1.0, LastSeconds(9), 9), 3, 0),
        (SLOW, 3, 2),
        (SlowCallRate(1.0, 5, LastSeconds(9), 9), 3, 2),
        (SlowCallRate(1.0, 9.5, LastCalls(9), 9), 3, 0),
        (AnyOf(ConsecutiveFailures(9), SLOW), 3, 2),
        (AnyOf(FailureRate(1.0, LastCalls(9), 9), SLOW), 3, 2),
        (AnyOf(ConsecutiveFailures(9), FailureCount(5, LastCalls(5))), 3, 0),
        (AnyOf(SLOW, SlowCallRate(1.0, 9.5, LastCalls(9), 9)), 3, 2),
    ],
)
def test_a_slow_success_is_no_failure_in_any_strategy(trip: TripStrategy, failures: int, slow: int) -> None:
    assert counted(trip, "SFLDIF") == (failures, slow)


def test_slow_calls_and_failures_leave_the_window_together() -> None:
    it = Machine(CircuitBreakerConfig(name="it", trip=SlowCallRate(1.0, 5, LastSeconds(10), 10)))
    play(it, "FLD", now=0)
    play(it, "SF", now=6)
    assert (it.failure_count, it.slow_count) == (3, 2)
    it.wake(12)
    assert (it.failure_count, it.slow_count) == (1, 0)
    it = Machine(CircuitBreakerConfig(name="it", trip=SlowCallRate(1.0, 5, LastCalls(3), 3)))
    play(it, "FLDSS")
    assert (it.failure_count, it.slow_count) == (1, 1)


def test_both_counts_of_an_open_machine_are_those_of_the_opening() -> None:
    it = Machine(CircuitBreakerConfig(name="it", trip=SlowCallRate(0.75, 5, LastCalls(4), 4)))
    play(it, "FLDL")
    assert it.state is State.OPEN
    assert it.failure_count == 2
    assert it.slow_count == 3
    it.wake(60)
    assert it.state is State.HALF_OPEN
    assert it.failure_count == 2
    assert it.slow_count == 3
    play(it, "L", now=60)
    assert it.state is State.OPEN
    assert it.failure_count == 2
    assert it.slow_count == 3
    it.reset(60)
    assert (it.failure_count, it.slow_count) == (0, 0)


@pytest.mark.parametrize("state", [State.OPEN, State.HALF_OPEN, State.CLOSED])
def test_a_crash_keeps_the_counts_of_the_opening_and_empties_windows(state: State) -> None:
    it = Machine(CircuitBreakerConfig(name="it", trip=SlowCallRate(0.75, 5, LastCalls(4), 4)))
    play(it, "FLD" if state is State.CLOSED else "FLDL")
    if state is State.HALF_OPEN:
        it.wake(60)
    again = Machine.restored(
        it.config, it.recovery_state(), it.statistics, 60 if state is State.HALF_OPEN else 0
    )
    assert again.state is state
    assert (again.failure_count, again.slow_count) == ((0, 0) if state is State.CLOSED else (2, 3))


def test_an_observing_machine_counts_slow_calls_too() -> None:
    it = Machine(CircuitBreakerConfig(name="it", trip=SLOW))
    it.hold(State.OBSERVING, 0, "told")
    play(it, "FLD")
    assert (it.failure_count, it.slow_count) == (2, 2)


def test_a_policy_that_counts_the_same_slow_calls_keeps_both_counts() -> None:
    it = Machine(CircuitBreakerConfig(name="it", trip=SLOW))
    play(it, "FLD")
    it.configure(CircuitBreakerConfig(name="it", trip=SlowCallRate(0.9, 5, LastCalls(10), 9)), 0)
    assert (it.failure_count, it.slow_count) == (2, 2)
    it.configure(CircuitBreakerConfig(name="it", trip=SlowCallRate(0.9, 6, LastCalls(10), 9)), 0)
    assert (it.failure_count, it.slow_count) == (0, 0)


def test_a_slow_call_counted_while_it_runs_is_no_failure_until_it_fails() -> None:
    it = Machine(CircuitBreakerConfig(name="it", trip=SLOW, in_flight_slow=True))
    permit = it.admit(0)
    assert isinstance(permit, Permit)
    it.wake(5)
    assert (it.failure_count, it.slow_count) == (0, 1)
    it.settle(permit, Outcome.FAILURE, 6, 6.0)
    assert (it.failure_count, it.slow_count) == (1, 1)

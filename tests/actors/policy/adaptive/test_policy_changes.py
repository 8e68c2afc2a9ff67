"""An adaptive breaker under changes of its policy, among other strategies, and while it only observes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actors import (
    Adaptive,
    AnyOf,
    CircuitBreakerConfig,
    ConsecutiveFailures,
    LastCalls,
    Machine,
    Outcome,
    Permit,
    SlowCallRate,
    State,
)
from actors.policy.adaptive import AdaptiveLearning
from tests.actors.policy.adaptive.breakers import Breaker


def change(breaker: Breaker, **fields: object) -> None:
    config = replace(breaker.machine.config, **fields)  # type: ignore[arg-type]
    breaker.machine.configure(config, breaker.now)


def test_another_value_keeps_what_was_learned() -> None:
    breaker = Breaker(gap=1)
    breaker.mixed(1000, every=10)
    before = breaker.learned
    change(breaker, trip=Adaptive(failures=20))
    assert breaker.learned == before._replace(evidence=0, threshold=20)
    assert breaker.bad_until_open() == 20


def test_a_change_of_another_field_keeps_the_evidence_too() -> None:
    breaker = Breaker(gap=1)
    breaker.good(100)
    breaker.bad(3)
    change(breaker, call_timeout=2.0)
    assert breaker.learned.evidence == 3
    assert breaker.bad_until_open() == 3


def test_a_fixed_strategy_forgets_it_and_a_new_adaptive_one_starts_anew() -> None:
    breaker = Breaker(gap=1)
    breaker.mixed(1000, every=10)
    change(breaker, trip=ConsecutiveFailures(3))
    assert breaker.machine.snapshot(breaker.now).learned is None
    breaker.good(1)
    change(breaker, trip=Adaptive())
    assert breaker.learned.usual is None
    assert breaker.bad_until_open() == 7


def test_a_change_while_open_keeps_the_wait_and_what_was_learned() -> None:
    breaker = Breaker(gap=1)
    breaker.good(100)
    breaker.bad(10)
    usual, until = breaker.learned.usual, breaker.machine.deadline
    change(breaker, trip=Adaptive(failures=9))
    assert breaker.machine.deadline == until
    assert breaker.learned.usual == usual
    breaker.until_half_open()


def test_a_change_to_a_fixed_strategy_ends_the_ramp() -> None:
    breaker = Breaker(gap=1)
    breaker.good(100)
    breaker.bad(10)
    breaker.until_half_open()
    for _ in range(2):
        breaker.settle(breaker.admit())
    assert not breaker.machine.admits_all
    change(breaker, trip=ConsecutiveFailures(3))
    assert breaker.machine.admits_all


def test_it_may_be_one_of_any() -> None:
    trip = AnyOf(SlowCallRate(0.5, 1.0, LastCalls(4), 4), Adaptive())
    machine = Machine(CircuitBreakerConfig(name="it", trip=trip))
    for now in range(4):
        permit = machine.admit(now)
        assert isinstance(permit, Permit)
        machine.settle(permit, Outcome.SUCCESS, now, 2.0)
    [opened] = machine.drain()
    assert opened.reason == "slow call rate reached"
    # The wait is the adaptive one's.
    assert opened.retry_after is not None
    assert opened.retry_after < 5
    machine.reset(10)
    for now in range(11, 20):
        if machine.state is State.OPEN:
            break
        permit = machine.admit(now)
        assert isinstance(permit, Permit)
        machine.settle(permit, Outcome.FAILURE, now, 0.0)
    [*_, again] = machine.drain()
    assert again.new is State.OPEN
    assert "failed" in again.reason


def test_what_it_learned_survives_its_move_into_an_any_and_out_of_it() -> None:
    breaker = Breaker(gap=1)
    breaker.mixed(1000, every=10)
    usual = breaker.learned.usual
    change(breaker, trip=AnyOf(Adaptive(), ConsecutiveFailures(50)))
    assert breaker.learned.usual == usual
    change(breaker, trip=AnyOf(Adaptive(), ConsecutiveFailures(60)))
    assert breaker.learned.usual == usual
    change(breaker, trip=Adaptive())
    assert breaker.learned.usual == usual
    breaker.bad(9)
    breaker.until_half_open()


def test_an_any_recovers_by_the_rules_of_the_adaptive_one() -> None:
    breaker = Breaker(gap=1, trip=AnyOf(Adaptive(probes=3), ConsecutiveFailures(50)))  # type: ignore[arg-type]
    breaker.good(100)
    breaker.bad(9)
    breaker.until_half_open()
    for _ in range(3):
        assert breaker.state is State.HALF_OPEN
        breaker.settle(breaker.admit())
    assert breaker.state is State.CLOSED
    assert not breaker.machine.admits_all
    breaker.good(4)
    assert breaker.machine.admits_all


def test_two_of_any_would_quarrel_about_the_wait() -> None:
    with pytest.raises(ValueError, match=r"^AnyOf takes one Adaptive at most: both would own the wait$"):
        AnyOf(Adaptive(), AnyOf(Adaptive(failures=9)))


def test_an_observing_breaker_says_what_it_would_have_done() -> None:
    breaker = Breaker(gap=1)
    breaker.machine.hold(State.OBSERVING, 0, "try it")
    breaker.machine.drain()
    assert breaker.bad(30) == 30
    opened = breaker.machine.drain()[0]
    assert opened.observed
    assert opened.reason == "100 % of the last 7 calls failed"


def test_after_a_crash_it_starts_anew_in_the_same_state() -> None:
    breaker = Breaker(gap=1)
    breaker.good(100)
    breaker.bad(6)
    old = breaker.machine
    breaker.machine = Machine.restored(old.config, old.recovery_state(), old.statistics, breaker.now)
    assert breaker.learned.usual is None
    breaker.until_half_open()
    breaker.settle(breaker.admit(), Outcome.FAILURE)
    assert breaker.state is State.OPEN


def test_a_counter_of_its_own_has_learned_nothing() -> None:
    counter = Adaptive().counter()
    assert counter.reason == "more calls failed than usual"
    assert not counter.tripped(0)


def test_a_strategy_makes_a_memory_for_each_breaker() -> None:
    strategy = Adaptive()
    one, other = strategy.learning(), strategy.learning()
    assert isinstance(one, AdaptiveLearning)
    assert one.baseline is not other.baseline

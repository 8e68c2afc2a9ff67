"""The machine follows the state that instances share: it only ever rejects more than it would alone."""

from __future__ import annotations

import pytest

from actors import Adaptive, CircuitBreakerConfig, FailureRate, LastCalls, Machine, Outcome, State
from actors.machine.half_open import GIVEN_BACK, NEWS_SECONDS, UNUSED_LEASE
from actors.messages import Permit

CONFIG = CircuitBreakerConfig(name="x", max_failures=2, reset_timeout=60.0)


def fail(machine: Machine, now: float) -> None:
    permit = machine.admit(now)
    assert isinstance(permit, Permit)
    machine.settle(permit, Outcome.FAILURE, now)


def reasons(machine: Machine) -> list[str]:
    return [f"{event.old} {event.new} {event.reason}" for event in machine.drain()]


def test_a_shared_opening_opens_a_closed_breaker() -> None:
    machine = Machine(CONFIG)
    machine.adopt_open(1.0, 20.0, "failures of 3 instances", 0)
    assert machine.state == State.OPEN
    assert machine.waits_for_lease
    assert machine.until == 21.0
    assert reasons(machine) == ["CLOSED OPEN failures of 3 instances"]


def test_a_shared_opening_ends_by_itself_without_more_news() -> None:
    machine = Machine(CONFIG)
    machine.adopt_open(0.0, 1.0, "elsewhere", 0)
    machine.wake(NEWS_SECONDS - 0.01)
    assert machine.state == State.OPEN
    machine.wake(NEWS_SECONDS)
    assert machine.state == State.HALF_OPEN
    assert not machine.has_lease


def test_news_prolongs_a_shared_opening_without_a_transition() -> None:
    machine = Machine(CONFIG)
    for second in range(10):
        machine.adopt_open(float(second), 0.0, "elsewhere", 0)
    assert machine.state == State.OPEN
    assert machine.generation == 2
    assert len(reasons(machine)) == 1


@pytest.mark.parametrize("state", [State.FORCED_OPEN, State.DISABLED, State.OBSERVING])
def test_a_breaker_held_by_an_operator_does_not_follow_the_shared_state(state: State) -> None:
    machine = Machine(CONFIG)
    machine.hold(state, 0.0, "by hand")
    machine.adopt_open(1.0, 20.0, "elsewhere", 0)
    assert machine.state == state
    machine.adopt_closed(2.0, "elsewhere")
    assert machine.state == state
    machine.grant_probe(3.0, 9.0, 0)
    assert machine.state == state


def test_a_lease_lets_one_probe_through_and_its_success_closes() -> None:
    machine = Machine(CONFIG)
    machine.adopt_open(0.0, 5.0, "elsewhere", 0)
    machine.grant_probe(5.0, 9.0, 0)
    assert machine.has_lease
    probe = machine.admit(6.0)
    assert isinstance(probe, Permit)
    assert not machine.admit(6.0)
    machine.settle(probe, Outcome.SUCCESS, 7.0)
    assert machine.state == State.CLOSED


def test_a_probe_does_not_outlast_its_lease() -> None:
    machine = Machine(CONFIG)
    machine.adopt_open(0.0, 5.0, "elsewhere", 0)
    machine.grant_probe(5.0, 9.0, 0)
    probe = machine.admit(6.0)
    assert isinstance(probe, Permit)
    machine.wake(14.0)
    assert machine.state == State.OPEN
    assert not machine.settle(probe, Outcome.SUCCESS, 14.5)
    assert machine.state == State.OPEN
    assert reasons(machine)[-1] == "HALF_OPEN OPEN recovery timed out"


def test_an_unused_lease_ends_without_a_step_of_the_backoff() -> None:
    machine = Machine(CONFIG)
    machine.adopt_open(0.0, 5.0, "elsewhere", 3)
    machine.grant_probe(5.0, 9.0, 3)
    machine.wake(14.0)
    assert reasons(machine)[-1] == f"HALF_OPEN OPEN {UNUSED_LEASE}"
    assert machine.waits_for_lease
    assert machine.recovery_state().attempt == 3


def test_a_granted_lease_can_be_prolonged() -> None:
    machine = Machine(CONFIG)
    machine.adopt_open(0.0, 5.0, "elsewhere", 0)
    machine.grant_probe(5.0, 9.0, 0)
    machine.grant_probe(10.0, 9.0, 0)
    assert machine.generation == 3
    machine.wake(18.9)
    assert machine.state == State.HALF_OPEN


def test_a_lease_is_given_back_unless_a_probe_runs() -> None:
    machine = Machine(CONFIG)
    machine.give_back(0.0)
    machine.adopt_open(0.0, 5.0, "elsewhere", 3)
    machine.grant_probe(5.0, 9.0, 3)
    probe = machine.admit(6.0)
    assert isinstance(probe, Permit)
    machine.give_back(6.0)
    assert machine.state == State.HALF_OPEN
    machine.settle(probe, Outcome.IGNORED, 7.0)
    machine.give_back(7.0)
    assert machine.state == State.OPEN
    assert machine.waits_for_lease
    assert machine.recovery_state().attempt == 3
    assert reasons(machine)[-1] == f"HALF_OPEN OPEN {GIVEN_BACK}"


def test_a_recovery_of_its_own_is_not_given_back() -> None:
    machine = Machine(CONFIG)
    fail(machine, 0.0)
    fail(machine, 0.0)
    machine.give_back(60.0)
    assert machine.state == State.HALF_OPEN


def test_a_failed_shared_probe_opens_with_the_next_step_of_the_shared_backoff() -> None:
    machine = Machine(CONFIG)
    machine.adopt_open(0.0, 5.0, "elsewhere", 2)
    machine.grant_probe(5.0, 9.0, 2)
    probe = machine.admit(6.0)
    assert isinstance(probe, Permit)
    machine.settle(probe, Outcome.FAILURE, 7.0)
    assert machine.state == State.OPEN
    assert machine.recovery_state().attempt == 3
    # Not an opening of its own: the success of another instance's probe closes it.
    assert machine.waits_for_lease
    machine.adopt_closed(8.0, "elsewhere")
    assert machine.state == State.CLOSED


def test_a_shared_closing_closes_what_sharing_has_opened() -> None:
    machine = Machine(CONFIG)
    machine.adopt_open(0.0, 20.0, "elsewhere", 0)
    machine.adopt_closed(3.0, "recovered elsewhere")
    assert machine.state == State.CLOSED
    assert reasons(machine)[-1] == "OPEN CLOSED recovered elsewhere"


def test_a_shared_closing_leaves_an_opening_of_its_own_until_its_wait_ends() -> None:
    machine = Machine(CONFIG)
    fail(machine, 0.0)
    fail(machine, 0.0)
    machine.adopt_open(1.0, 10.0, "elsewhere", 0)
    machine.adopt_closed(5.0, "elsewhere")
    assert machine.state == State.OPEN
    assert machine.until == 60.0
    assert not machine.waits_for_lease


def test_a_shared_closing_lets_an_opening_of_its_own_that_has_waited_probe() -> None:
    machine = Machine(CONFIG)
    fail(machine, 0.0)
    fail(machine, 0.0)
    machine.adopt_open(59.0, 10.0, "elsewhere", 0)
    machine.adopt_closed(61.0, "elsewhere")
    assert machine.state == State.HALF_OPEN


def test_a_shared_closing_does_not_touch_a_breaker_that_shares_nothing_now() -> None:
    machine = Machine(CONFIG)
    fail(machine, 0.0)
    machine.adopt_closed(1.0, "elsewhere")
    assert machine.failure_count == 1
    assert machine.generation == 1


def test_a_shared_opening_makes_a_running_local_probe_late() -> None:
    machine = Machine(CONFIG)
    fail(machine, 0.0)
    fail(machine, 0.0)
    probe = machine.admit(60.0)
    assert isinstance(probe, Permit)
    machine.adopt_open(61.0, 10.0, "elsewhere", 0)
    assert not machine.settle(probe, Outcome.SUCCESS, 62.0)
    assert machine.state == State.OPEN


def test_evidence_is_that_of_the_counts_and_while_open_that_of_the_opening() -> None:
    machine = Machine(CONFIG)
    assert machine.evidence is not None
    assert machine.evidence.progress == 0.0
    fail(machine, 0.0)
    assert machine.evidence.progress == 0.5
    fail(machine, 0.0)
    assert machine.state == State.OPEN
    assert machine.evidence is not None
    assert machine.evidence.failures == 2
    machine.wake(60.0)
    assert machine.evidence is None


def test_evidence_of_a_rate_has_failures_and_calls() -> None:
    rate = FailureRate(0.5, LastCalls(20), minimum_calls=10)
    machine = Machine(CircuitBreakerConfig(name="x", trip=rate))
    fail(machine, 0.0)
    permit = machine.admit(0.0)
    assert isinstance(permit, Permit)
    machine.settle(permit, Outcome.SUCCESS, 0.0)
    evidence = machine.evidence
    assert evidence is not None
    assert (evidence.failures, evidence.calls) == (1, 2)
    assert (evidence.rate, evidence.minimum_calls) == (0.5, 10)
    assert evidence.progress == pytest.approx(0.2)


def test_evidence_of_an_adaptive_breaker_is_its_part_of_the_threshold() -> None:
    machine = Machine(CircuitBreakerConfig(name="x", trip=Adaptive()))
    seen = []
    while machine.state == State.CLOSED:
        assert machine.evidence is not None
        seen.append(machine.evidence.progress)
        fail(machine, float(len(seen)))
    assert seen[0] == 0.0
    assert seen == sorted(seen)
    assert 0.5 < seen[-1] < 1.0
    assert machine.evidence is not None
    assert machine.evidence.progress >= 1.0


def test_a_shared_opening_is_no_failure_that_an_adaptive_breaker_learns() -> None:
    machine = Machine(CircuitBreakerConfig(name="x", trip=Adaptive()))
    for second in range(100):
        permit = machine.admit(float(second))
        assert isinstance(permit, Permit)
        machine.settle(permit, Outcome.SUCCESS, float(second))
    before = machine.snapshot(100.0).learned
    machine.adopt_open(100.0, 20.0, "elsewhere", 0)
    machine.adopt_closed(130.0, "elsewhere")
    after = machine.snapshot(130.0).learned
    assert before is not None
    assert after is not None
    assert after.usual == before.usual

"""Permits that come late, are released, settled twice or unknown."""

from __future__ import annotations

import pytest

from actors import LastCalls, Outcome, Permit, SlowCallRate, State
from tests.actors.machine.machines import FAILURE, SUCCESS, C, D, F, H, O, W, call, machine


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("state", [C, H, O, F, D, W])
def test_a_late_result_changes_only_the_counts(state: State, outcome: Outcome) -> None:
    it = machine(H)
    stale = it.admit(0)
    assert isinstance(stale, Permit)
    match state:
        case State.CLOSED:
            it.reset(0)
        case State.HALF_OPEN:
            it.trip(0)
            it.wake(60)
        case State.OPEN:
            it.trip(0)
        case _:
            it.hold(state, 0, "told")
    before, generation, deadline = it.snapshot(60 if state is H else 0), it.generation, it.deadline
    assert not it.settle(stale, outcome, 60 if state is H else 0)
    after = it.snapshot(60 if state is H else 0)
    assert it.state is state
    assert it.generation == generation
    assert it.deadline == deadline
    assert after.failure_count == before.failure_count
    assert after.late == before.late + 1
    assert after.counts[outcome] == before.counts[outcome] + 1


def test_a_released_permit_frees_its_slot_and_counts_as_no_call() -> None:
    it = machine(H)
    probe = it.admit(0)
    assert isinstance(probe, Permit)
    it.release(probe, 0)
    assert it.snapshot(0).in_flight == 0
    assert sum(it.snapshot(0).counts.values()) == 0
    assert it.admit(0)


@pytest.mark.parametrize(("state", "after"), [(C, O), (H, O)])
def test_a_failure_after_settling_counts_in_the_generation_of_its_call(state: State, after: State) -> None:
    it = machine(state, max_failures=1, successes_to_close=2)
    permit = it.admit(0)
    assert isinstance(permit, Permit)
    it.settle(permit, SUCCESS, 0)
    assert it.fail_again(permit, 1)
    assert it.state is after
    assert not it.fail_again(permit, 1)
    assert it.snapshot(1).in_flight == 0
    assert it.snapshot(1).late == 1


def test_an_unknown_permit_changes_nothing() -> None:
    """An open machine has admitted no call, so there is none to settle."""
    it = machine(O)
    it.settle(Permit(it.generation, 7), FAILURE, 30)
    it.fail_again(Permit(it.generation, 7), 30)
    assert it.state is O
    assert it.deadline == 60


def test_calls_of_a_disabled_machine_leave_no_trace() -> None:
    """The calls are settled, fail later, or give their permits back."""
    it = machine(D)
    settled, broken, unused = (it.admit(0) for _ in range(3))
    assert isinstance(settled, Permit)
    assert isinstance(broken, Permit)
    assert isinstance(unused, Permit)
    it.settle(settled, FAILURE, 0)
    it.fail_again(broken, 0)
    it.release(unused, 0)
    assert sum(it.snapshot(0).counts.values()) == 0
    assert it.snapshot(0).in_flight == 0


def test_a_permit_released_late_frees_no_slot_of_another_generation() -> None:
    """The call only stops counting as in flight."""
    it = machine(H)
    stale = it.admit(0)
    it.trip(0)
    probe = it.admit(60)
    assert isinstance(stale, Permit)
    assert isinstance(probe, Permit)
    it.release(stale, 60)
    assert not it.admit(60)
    assert it.snapshot(60).in_flight == 1


def test_a_released_permit_is_never_slow() -> None:
    """A call that never began is never slow."""
    trip = SlowCallRate(1.0, 5, LastCalls(1), 1)
    it = machine(trip=trip, in_flight_slow=True)
    permit = it.admit(0)
    assert isinstance(permit, Permit)
    it.release(permit, 1)
    it.wake(9)
    assert it.state is C


def test_a_late_batch_of_successes_ends_no_row_of_failures() -> None:
    """The batch is counted, and counted as late."""
    it = machine()
    call(it, FAILURE)
    it.fold(1, 1, 0, 0, 0, late=True)
    assert it.failure_count == 1
    assert it.snapshot(0).late == 1
    assert it.snapshot(0).counts["success"] == 1

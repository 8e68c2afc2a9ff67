"""The machine's rules for a call that is answered while it goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actors import LastCalls, Machine, Outcome, SlowCallRate, State
from tests.actors.machine.machines import (
    CANCELLED,
    FAILURE,
    IGNORED,
    SUCCESS,
    C,
    D,
    F,
    H,
    O,
    W,
    admitted,
    machine,
)


def nonzero_counts(it: Machine, now: float = 0) -> dict[str, int]:
    """The counts that aren't zero."""
    seen = it.snapshot(now)
    counts = {**seen.counts, "late": seen.late, "in_flight": seen.in_flight}
    return {name: count for name, count in counts.items() if count}


# The machine.


@pytest.mark.parametrize(("state", "after"), [(C, C), (H, C), (D, D), (W, W)])
def test_answering_moves_only_a_half_open_breaker(state: State, after: State) -> None:
    it = machine(state)
    permit = admitted(it)
    it.answered(permit, 0)
    assert it.state is after
    assert it.generation == (4 if state is H else it.generation)
    assert nonzero_counts(it) == ({} if state is D else {"in_flight": 1})


@pytest.mark.parametrize("state", [O, F])
def test_answering_changes_nothing_in_a_state_that_admits_no_call(state: State) -> None:
    it = machine(H)
    permit = admitted(it)
    if state is O:
        it.trip(0)
    else:
        it.hold(F, 0, "told")
    it.answered(permit, 0)
    assert it.state is state
    it.settle(permit, FAILURE, 0)
    assert nonzero_counts(it) == {"failure": 1, "late": 1}


def test_answering_while_closed_clears_no_row() -> None:
    it = machine(max_failures=3)
    for _ in range(2):
        it.settle(admitted(it), FAILURE, 0)
    permit = admitted(it)
    it.answered(permit, 0)
    assert it.failure_count == 2
    it.settle(permit, FAILURE, 0)
    assert it.state is O


@pytest.mark.parametrize(("outcome", "failures"), [(SUCCESS, 0), (FAILURE, 1), (IGNORED, 0), (CANCELLED, 0)])
def test_an_answered_calls_end_counts_once_and_in_time(outcome: Outcome, failures: int) -> None:
    it = machine(H)
    permit = admitted(it)
    it.answered(permit, 1)
    assert it.settle(permit, outcome, 2)
    assert it.failure_count == failures
    assert it.state is C
    assert nonzero_counts(it, 2) == {outcome.value: 1}
    assert not it.settle(permit, outcome, 2), "it is over: a second end is late"


def test_an_answered_calls_failure_counts_in_the_new_generation() -> None:
    it = machine(H, max_failures=2)
    permit = admitted(it)
    it.answered(permit, 0)
    it.settle(admitted(it), FAILURE, 0)
    it.settle(permit, FAILURE, 0)
    assert it.state is O
    assert it.drain()[-1].reason == "max failures reached"


def test_an_answered_probe_that_succeeds_clears_the_row_of_the_new_generation() -> None:
    it = machine(H, max_failures=2)
    permit = admitted(it)
    it.answered(permit, 0)
    it.settle(admitted(it), FAILURE, 0)
    it.settle(permit, SUCCESS, 0)
    assert it.failure_count == 0


def test_answering_twice_counts_once() -> None:
    it = machine(H, successes_to_close=2)
    permit = admitted(it)
    it.answered(permit, 0)
    it.answered(permit, 0)
    assert it.state is H
    it.settle(permit, SUCCESS, 0)
    it.answered(permit, 0)
    assert it.state is H, "the end is no second success"
    it.settle(admitted(it), SUCCESS, 0)
    assert it.state is C


def test_answering_frees_the_slot_for_the_next_probe() -> None:
    it = machine(H, successes_to_close=2)
    first = admitted(it)
    assert not it.admit(0)
    it.answered(first, 0)
    second = admitted(it)
    assert not it.admit(0)
    it.answered(second, 0)
    assert it.state is C
    assert it.settle(first, FAILURE, 0)
    assert it.settle(second, FAILURE, 0)
    assert it.failure_count == 2
    assert nonzero_counts(it) == {"failure": 2, "rejected": 2}


@pytest.mark.parametrize(("outcome", "after"), [(SUCCESS, H), (FAILURE, O), (IGNORED, H), (CANCELLED, H)])
def test_an_answered_call_ends_while_still_half_open(outcome: Outcome, after: State) -> None:
    it = machine(H, successes_to_close=2)
    permit = admitted(it)
    it.answered(permit, 0)
    assert it.settle(permit, outcome, 0)
    assert it.state is after
    if after is H:
        it.settle(admitted(it), SUCCESS, 0)
        assert it.state is C, "its answer still counts"


def test_an_answered_call_is_not_ended_by_the_probes_timeout() -> None:
    it = machine(H, successes_to_close=2, half_open_timeout=5)
    it.answered(admitted(it), 4)
    assert it.deadline is None
    it.wake(1000)
    assert it.state is H


def test_a_probe_that_answers_at_its_timeout_is_too_late() -> None:
    it = machine(H, half_open_timeout=5)
    permit = admitted(it)
    it.answered(permit, 5)
    assert it.state is O
    assert not it.settle(permit, SUCCESS, 5)


def test_an_ordinary_probe_that_closes_takes_answered_calls_along() -> None:
    it = machine(H, half_open_max_calls=3, successes_to_close=2)
    answered, closing, sibling = (admitted(it) for _ in range(3))
    it.answered(answered, 0)
    it.settle(closing, SUCCESS, 0)
    assert it.state is C
    assert it.settle(answered, FAILURE, 0)
    assert not it.settle(sibling, FAILURE, 0), "a probe that hasn't answered is late"
    assert it.failure_count == 1


@pytest.mark.parametrize("leave", ["trip", "force_open", "reset", "crash", "reopen"])
def test_an_answered_calls_end_is_late_after_another_transition(leave: str) -> None:
    it = machine(H, successes_to_close=2, max_failures=1)
    permit = admitted(it)
    it.answered(permit, 0)
    match leave:
        case "trip":
            it.trip(0)
        case "reset":
            it.reset(0)
        case "reopen":
            it.settle(admitted(it), FAILURE, 0)
        case "force_open":
            it.hold(F, 0, "told")
        case "crash":
            it = Machine.restored(it.config, it.recovery_state(), it.statistics, 0)
    state = it.state
    assert not it.settle(permit, FAILURE, 0)
    assert it.state is state
    assert it.snapshot(0).late == 1


def test_an_answered_calls_end_is_late_once_the_breaker_has_opened_again() -> None:
    it = machine(H, max_failures=1)
    permit = admitted(it)
    it.answered(permit, 0)
    it.settle(admitted(it), FAILURE, 0)
    it.wake(60)
    assert it.state is H
    assert not it.settle(permit, FAILURE, 60)
    assert it.state is H
    it.settle(admitted(it, 60), SUCCESS, 60)
    assert it.state is C
    assert not it.settle(permit, FAILURE, 60)


def test_an_operators_reset_while_closed_makes_answered_calls_late() -> None:
    it = machine(H)
    permit = admitted(it)
    it.answered(permit, 0)
    it.reset(0)
    assert not it.settle(permit, FAILURE, 0)
    assert it.failure_count == 0


def test_configure_keeps_answered_calls() -> None:
    it = machine(H, successes_to_close=2)
    permit = admitted(it)
    it.answered(permit, 0)
    it.configure(replace(it.config, max_failures=1), 0)
    it.settle(admitted(it), SUCCESS, 0)
    it.configure(replace(it.config, reset_timeout=7), 0)
    it.settle(permit, FAILURE, 0)
    assert it.deadline == 7


@pytest.mark.parametrize(("duration", "after"), [(None, C), (1.9, C), (2.0, O)])
def test_a_slow_answer_is_a_failed_probe(duration: float | None, after: State) -> None:
    it = machine(H, trip=SlowCallRate(0.5, 2.0, LastCalls(2), 2))
    permit = admitted(it)
    it.answered(permit, 5, duration)
    assert it.state is after
    assert it.settle(permit, SUCCESS, 6, 6.0) is (after is C)


def test_an_answered_call_that_ends_slowly_has_passed_as_a_probe() -> None:
    it = machine(H, trip=SlowCallRate(0.5, 2.0, LastCalls(2), 2), successes_to_close=2)
    permit = admitted(it)
    it.answered(permit, 1, 1.0)
    it.settle(permit, SUCCESS, 60, 60.0)
    assert it.state is H


def test_answering_starts_the_ramp_and_emits_an_event() -> None:
    it = machine(H, ramp=10)
    it.answered(admitted(it), 0)
    assert it.deadline == 10
    [told] = it.drain()
    assert told.old is H
    assert told.new is C
    assert told.reason == "recovery successful"


def test_an_observed_breaker_is_answered_in_the_shadow() -> None:
    it = machine(W, max_failures=1)
    it.settle(admitted(it), FAILURE, 0)
    it.wake(60)
    permit = admitted(it, 60)
    unheard = admitted(it, 60)
    it.drain()
    it.answered(unheard, 60)
    assert it.drain() == []
    it.answered(permit, 60)
    assert [(event.new, event.observed) for event in it.drain()] == [(C, True)]
    it.settle(permit, FAILURE, 60)
    assert [(event.new, event.observed) for event in it.drain()] == [(O, True)]
    assert it.state is W

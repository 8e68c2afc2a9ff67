"""half_open_failure_rate: probes that time out, are slow, are answered, or fail after they were settled."""

from __future__ import annotations

import pytest

from actors import LastCalls, Outcome, Permit, SlowCallRate
from tests.actors.machine.machines import CANCELLED, FAILURE, IGNORED, SUCCESS, C, H, O, admitted, machine
from tests.actors.machine.recovering import play, recovering


def test_a_probe_that_times_out_has_failed() -> None:
    it = recovering(3, 0.6, half_open_timeout=5)
    hanging = admitted(it, 0)
    it.settle(admitted(it, 1), SUCCESS, 1)
    it.wake(4.9)
    assert it.snapshot(4.9).state is H
    it.wake(5)
    assert it.snapshot(5).state is H
    assert not it.settle(hanging, SUCCESS, 6)
    assert play(it, "+", 6) == [C]


def test_a_last_probe_that_times_out_may_close_the_breaker() -> None:
    """With its failure the share is below the rate, and all probes have ended."""
    it = recovering(3, 0.5, half_open_timeout=5)
    play(it, "++")
    admitted(it, 0)
    it.wake(5)
    assert it.state is C


def test_probes_that_time_out_together_open_the_breaker_with_that_reason() -> None:
    it = recovering(4, 0.5, half_open_timeout=5)
    for _ in range(4):
        admitted(it)
    it.wake(5)
    assert [(event.new, event.reason) for event in it.drain()] == [(O, "recovery timed out")]


def test_a_slow_probe_has_failed() -> None:
    slow = SlowCallRate(1.0, 2, LastCalls(10), 10)
    it = recovering(2, 1.0, trip=slow)
    it.settle(admitted(it, 0), SUCCESS, 2, 2.0)
    assert it.state is H
    it.settle(admitted(it, 2), SUCCESS, 3.9, 1.9)
    assert it.state is C


# Probes that answer, or are settled, before their end.


def test_an_answered_probe_counts_as_ended() -> None:
    it = recovering(2, 1.0)
    answered = admitted(it)
    it.answered(answered, 0)
    assert it.state is H
    it.answered(answered, 0)
    assert play(it, "+") == [C]
    assert it.settle(answered, SUCCESS, 1)
    assert it.snapshot(1).late == 0


@pytest.mark.parametrize("outcome", [SUCCESS, IGNORED, CANCELLED])
def test_an_answered_probe_counts_once(outcome: Outcome) -> None:
    it = recovering(2, 1.0)
    answered = admitted(it)
    it.answered(answered, 0)
    assert it.settle(answered, outcome, 1)
    assert it.state is H
    assert play(it, "-", 1) == [C]


def test_an_answered_probe_that_fails_later_has_failed_once() -> None:
    it = recovering(3, 1.0)
    answered = admitted(it)
    it.answered(answered, 0)
    it.settle(answered, FAILURE, 1)
    assert it.state is H
    assert play(it, "--", 1) == [H, O]


def test_a_slow_answer_that_fails_later_has_failed_once() -> None:
    """It takes no other probe's success away."""
    it = recovering(4, 0.75, trip=SlowCallRate(1.0, 2, LastCalls(10), 10))
    it.settle(admitted(it, 0), SUCCESS, 0, 0.1)
    slow = admitted(it, 0)
    it.answered(slow, 2, 2.0)
    assert it.settle(slow, FAILURE, 3, 3.0)
    it.settle(admitted(it, 3), FAILURE, 3, 0.1)
    assert it.state is H
    it.settle(admitted(it, 3), SUCCESS, 3, 0.1)
    assert it.state is C


@pytest.mark.parametrize("probes_before", ["", "+"])
def test_a_probe_settled_as_a_success_that_breaks_later_has_failed_once(probes_before: str) -> None:
    it = recovering(3, 1.0)
    play(it, probes_before)
    permit = admitted(it)
    it.settle(permit, SUCCESS, 0)
    assert it.fail_again(permit, 1)
    assert it.fail_again(permit, 1)
    assert it.state is H
    assert play(it, "-+"[len(probes_before) :], 1)[-1] is C


def test_a_probe_that_timed_out_and_breaks_later_has_failed_once() -> None:
    it = recovering(3, 0.6, half_open_timeout=5)
    it.settle(admitted(it, 0), SUCCESS, 0)
    overdue = admitted(it, 0)
    it.wake(5)
    assert not it.settle(overdue, SUCCESS, 6)
    it.fail_again(overdue, 7)
    assert it.state is H
    assert play(it, "+", 7) == [C]


def test_a_failure_of_an_unknown_probe_takes_no_success_away_if_no_rate_is_set() -> None:
    it = machine(H, half_open_max_calls=2, successes_to_close=2)
    it.settle(admitted(it), SUCCESS, 0)
    # No probe has this number.
    it.fail_again(Permit(it.generation, 99), 0)
    assert it.state is H
    assert play(it, "+") == [C]

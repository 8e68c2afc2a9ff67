"""An observing machine: it admits all calls, and its shadow reports what it would have done."""

from __future__ import annotations

import trio

from actors import CircuitBreakerConfig, Permit
from tests.actors.machine.machines import FAILURE, SUCCESS, C, H, O, W, call, machine


def test_an_observing_machine_reports_what_it_would_have_done() -> None:
    it = machine(W)
    for _ in range(5):
        call(it, FAILURE)
    told = [(event.old, event.new, event.observed) for event in it.drain()]
    assert told == [(C, O, True)]
    assert it.admit(1)
    assert it.snapshot(1).would_reject == 1
    call(it, SUCCESS, 60)
    assert [event.new for event in it.drain()] == [H, C]
    assert it.state is W


def test_a_shadow_recovers_through_callers_though_the_policy_has_a_probe() -> None:
    it = machine(W, probe=trio.lowlevel.checkpoint, max_failures=1)
    call(it, FAILURE)
    call(it, SUCCESS, 60)
    assert [event.new for event in it.drain()] == [O, H, C]


def test_an_observing_machine_frees_the_slot_of_a_call_that_never_began() -> None:
    it = machine(W, max_failures=1)
    call(it, FAILURE)
    probe = it.admit(60)
    assert isinstance(probe, Permit)
    it.release(probe, 60)
    call(it, SUCCESS, 60)
    assert [event.new for event in it.drain()] == [O, H, C]
    assert it.snapshot(60).would_reject == 0


def test_an_observing_machine_uses_the_policy_in_force() -> None:
    it = machine(W)
    it.configure(CircuitBreakerConfig(name="it", max_failures=1), 0)
    call(it, FAILURE)
    assert [event.new for event in it.drain()] == [O]


def test_an_observing_machine_counts_failures_after_a_success() -> None:
    """A stream may break after its success: one more failure, unless the shadow's state changed since."""
    it = machine(W, max_failures=2, half_open_max_calls=2, successes_to_close=9)
    older, first, second = it.admit(0), it.admit(0), it.admit(0)
    for stream in (older, first, second):
        assert isinstance(stream, Permit)
        it.settle(stream, SUCCESS, 0)
    it.fail_again(first, 1)  # type: ignore[arg-type]
    assert it.failure_count == 1
    it.fail_again(second, 1)  # type: ignore[arg-type]
    assert [event.new for event in it.drain()] == [O]
    probe = it.admit(61)
    assert isinstance(probe, Permit)
    it.settle(probe, SUCCESS, 61)
    it.fail_again(older, 61)  # type: ignore[arg-type]
    assert [event.new for event in it.drain()] == [H]
    it.fail_again(probe, 61)
    assert [event.new for event in it.drain()] == [O]
    assert it.state is W
    assert it.snapshot(61).counts["failure"] == 4

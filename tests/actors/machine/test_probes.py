"""Probes of a half-open machine, and the ramp after a recovery."""

from __future__ import annotations

from actors import Backoff, Permit, Rejection, RejectReason
from tests.actors.machine.machines import FAILURE, SUCCESS, C, H, O, call, machine


def test_a_probe_settled_twice_counts_once() -> None:
    it = machine(H, successes_to_close=2)
    probe = it.admit(0)
    assert isinstance(probe, Permit)
    assert it.settle(probe, SUCCESS, 0)
    assert not it.settle(probe, SUCCESS, 0)
    assert it.state is H


def test_a_half_open_machine_admits_no_more_probes_at_once_than_its_limit() -> None:
    it = machine(H, half_open_max_calls=2, successes_to_close=3)
    first, second = it.admit(0), it.admit(0)
    assert isinstance(first, Permit)
    assert isinstance(second, Permit)
    assert it.admit(0) == Rejection(H, RejectReason.PROBING, 1.0)
    it.settle(first, SUCCESS, 1)
    it.settle(second, SUCCESS, 1)
    assert it.state is H
    call(it, SUCCESS, 1)
    assert it.state is C


def test_a_hung_probe_has_failed_at_its_timeout_and_its_result_is_late() -> None:
    it = machine(H, half_open_timeout=10, backoff=Backoff(factor=2))
    probe = it.admit(5)
    assert isinstance(probe, Permit)
    assert it.deadline == 15
    it.wake(15)
    assert it.state is O
    assert it.deadline == 15 + 120
    assert not it.settle(probe, SUCCESS, 16)
    assert it.state is O


def test_a_probe_without_a_timeout_may_hang() -> None:
    it = machine(H, half_open_timeout=None)
    it.admit(0)
    assert it.deadline is None


def test_a_ramp_admits_evenly_more_and_more() -> None:
    it = machine(H, ramp=10)
    call(it, SUCCESS, 0)
    admitted = [bool(it.admit(tenth / 10)) for tenth in range(100)]
    assert [sum(admitted[i : i + 25]) for i in range(0, 100, 25)] == [2, 10, 15, 22]
    assert it.snapshot(9.9).rejections["ramp"] == 51
    assert it.deadline == 10
    it.wake(10)
    assert all(it.admit(10) for _ in range(50))


def test_a_failing_ramp_opens_again() -> None:
    it = machine(H, max_failures=1, ramp=10)
    call(it, SUCCESS, 0)
    permit = next(found for _ in range(9) if (found := it.admit(5)))
    assert isinstance(permit, Permit)
    it.settle(permit, FAILURE, 5)
    assert it.state is O


def test_resetting_a_ramp_ends_it() -> None:
    it = machine(H, ramp=10)
    call(it, SUCCESS, 0)
    assert not it.admit(0)
    it.reset(0)
    assert all(it.admit(0) for _ in range(9))


def test_a_machine_with_an_own_probe_admits_no_callers_as_probes() -> None:
    """This also holds if half_open_max_calls allows more probes than its own one."""

    async def probe() -> None:
        """Run by an actor only."""

    it = machine(H, half_open_max_calls=2, probe=probe)
    assert it.admit(0) == Rejection(H, RejectReason.PROBING, 1.0)
    assert it.admit(0, is_active_probe=True)

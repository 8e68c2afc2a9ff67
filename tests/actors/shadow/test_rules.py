"""The part of the real calls that a shadow sees, and how it counts them."""

from __future__ import annotations

import pytest

from actors import ConsecutiveFailures, Machine, RejectReason, ShadowPolicy, SlowCallRate
from actors.policy.window import LastCalls
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
    call,
)
from tests.actors.shadow.shadows import counts, gate_permit, seen, shadow_of, shadowed

TWO = ShadowPolicy(max_failures=2, reset_timeout=10)


def moves(it: Machine) -> list[object]:
    return [event.new for event in shadow_of(it).drain()]


def opened(**policy: object) -> Machine:
    """A closed machine whose shadow has opened at 0, and waits for ten seconds."""
    it = shadowed(TWO, **policy)
    call(it, FAILURE)
    call(it, FAILURE)
    assert moves(it) == [O]
    return it


def test_calls_that_the_shadow_would_reject_are_counted_by_how_they_end() -> None:
    it = opened()
    for outcome in (SUCCESS, SUCCESS, SUCCESS, FAILURE, IGNORED, CANCELLED):
        call(it, outcome, 5)
    assert counts(seen(it, 5)) == {
        "admitted failure": 2,
        "rejected success": 3,
        "rejected failure": 1,
        "rejected ignored": 1,
        "rejected cancelled": 1,
    }
    assert (it.state, it.drain()) == (C, [])
    assert it.snapshot(5).rejections == dict.fromkeys(RejectReason, 0)


def test_what_the_shadow_would_reject_is_no_evidence_for_it() -> None:
    it = opened()
    call(it, SUCCESS, 9)
    assert moves(it) == []
    assert seen(it, 9).state is O


def test_real_calls_are_its_probes_when_its_wait_is_over() -> None:
    it = opened()
    probe = admitted(it, 10)
    call(it, SUCCESS, 10)  # beside the probe: a breaker with that policy would have rejected it
    assert seen(it, 10).state is H
    it.settle(probe, SUCCESS, 11)
    assert moves(it) == [H, C]
    assert counts(seen(it, 11)) == {"admitted failure": 2, "admitted success": 1, "rejected success": 1}


def test_a_failed_probe_opens_the_shadow_alone() -> None:
    it = opened()
    call(it, FAILURE, 10)
    assert moves(it) == [H, O]
    assert seen(it, 10).retry_after == 10
    assert it.state is C


def test_a_servers_wait_lengthens_that_of_the_shadow() -> None:
    it = shadowed(TWO)
    call(it, FAILURE)
    it.settle(admitted(it), FAILURE, 0, retry_after=30)
    assert seen(it).retry_after == 30


def test_a_call_that_ends_in_another_state_of_the_shadow_changes_nothing() -> None:
    it = shadowed(TWO)
    early = admitted(it)
    call(it, FAILURE)
    call(it, FAILURE)
    it.settle(early, SUCCESS, 10)
    assert moves(it) == [O, H]
    assert counts(seen(it, 10))["admitted success"] == 1


def test_rejected_calls_are_unseen() -> None:
    """They count by the shadow's state. A bulkhead's rejections don't count: it rejects under any policy."""
    it = shadowed(TWO, max_failures=1)
    call(it, FAILURE)
    assert not it.admit(1)
    it.rejected(RejectReason.OPEN, 4)
    it.rejected(RejectReason.BULKHEAD, 100)
    assert counts(seen(it, 1)) == {"admitted failure": 1, "admitted unseen": 5}
    assert it.snapshot(1).rejections[RejectReason.BULKHEAD] == 100


def test_unseen_calls_of_an_open_shadow_would_have_been_rejected() -> None:
    it = opened()
    it.trip(1)
    it.rejected(RejectReason.OPEN, 3)
    assert counts(seen(it, 1)) == {"admitted failure": 2, "rejected unseen": 3}
    # The shadow's wait is over, and no call was admitted since: the shadow would admit one.
    it.wake(10)
    it.rejected(RejectReason.OPEN, 2)
    assert counts(seen(it, 10)) == {"admitted failure": 2, "rejected unseen": 3, "admitted unseen": 2}
    assert seen(it, 10).state is H


def test_while_its_probe_runs_a_shadow_would_reject_what_it_does_not_see() -> None:
    it = opened()
    admitted(it, 10)
    it.trip(11)
    it.rejected(RejectReason.OPEN)
    assert counts(seen(it, 11))["rejected unseen"] == 1


def test_a_call_that_never_began_is_not_counted_and_frees_its_place() -> None:
    it = opened()
    it.release(admitted(it, 10), 10)
    call(it, SUCCESS, 10)
    assert moves(it) == [H, C]
    it.trip(10)
    it.wake(70)
    it.release(admitted(it, 70), 70)
    assert counts(seen(it, 70)) == {"admitted failure": 2, "admitted success": 1}


def test_a_call_that_never_began_and_would_have_been_rejected_is_not_counted() -> None:
    it = opened()
    it.wake(10)
    admitted(it, 10)
    it.release(admitted(it, 10), 10)
    assert seen(it, 10).state is H
    assert counts(seen(it, 10)) == {"admitted failure": 2}


def test_a_cancelled_probe_leaves_the_shadow_half_open() -> None:
    it = opened()
    call(it, CANCELLED, 10)
    assert moves(it) == [H]
    call(it, SUCCESS, 10)
    assert moves(it) == [C]


def test_an_answer_is_the_success_of_the_shadows_probe() -> None:
    it = opened()
    stream = admitted(it, 10)
    it.answered(stream, 11)
    assert moves(it) == [H, C]
    it.settle(stream, FAILURE, 12)
    assert seen(it, 12).failure_count == 1


def test_a_late_failure_counts_in_the_shadow_too() -> None:
    it = shadowed(TWO)
    stream = admitted(it)
    it.settle(stream, SUCCESS, 0)
    it.fail_again(stream, 1)
    call(it, FAILURE, 1)
    assert moves(it) == [O]
    assert counts(seen(it, 1)) == {"admitted success": 1, "admitted failure": 2}


def test_a_late_failure_of_a_call_that_it_would_have_rejected_is_only_counted() -> None:
    it = opened()
    stream = admitted(it, 1)
    it.settle(stream, SUCCESS, 1)
    it.fail_again(stream, 2)
    it.answered(stream, 2)
    assert moves(it) == []
    assert counts(seen(it, 2)) == {"admitted failure": 2, "rejected success": 1, "rejected failure": 1}


def test_calls_counted_on_a_gate_count_in_the_shadow() -> None:
    it = shadowed(TWO)
    permit = gate_permit(it)
    it.settle(permit, FAILURE, 0)
    it.fold(6, 3, 2, 1, 0, shadow=permit.shadow)
    assert seen(it).failure_count == 0
    assert counts(seen(it)) == {
        "admitted failure": 1,
        "admitted success": 3,
        "admitted ignored": 2,
        "admitted cancelled": 1,
    }


def test_calls_on_the_gate_of_an_open_shadow_are_counted_as_rejected() -> None:
    it = opened()
    permit = gate_permit(it)
    it.settle(permit, FAILURE, 1)
    it.fold(4, 3, 0, 0, 1, shadow=permit.shadow)
    # Also if the calls end when the breaker is closed again.
    call(it, SUCCESS, 10)
    it.settle(permit, FAILURE, 11)
    assert moves(it) == [H, C]
    assert counts(seen(it, 11)) == {
        "admitted failure": 2,
        "admitted success": 1,
        "rejected success": 3,
        "rejected failure": 2,
    }
    assert seen(it, 11).failure_count == 0


def test_calls_on_a_gate_of_an_earlier_state_of_the_shadow_are_late() -> None:
    it = shadowed(ShadowPolicy(max_failures=2, reset_timeout=10, ramp=20))
    early = gate_permit(it)
    for now in (0, 0):
        call(it, FAILURE, now)
    call(it, SUCCESS, 10)
    call(it, FAILURE, 31)
    assert moves(it) == [O, H, C]
    it.fold(1, 1, 0, 0, 31, shadow=early.shadow)
    assert seen(it, 31).failure_count == 1
    it.settle(early, FAILURE, 31)
    assert moves(it) == []


def test_messages_are_needed_only_while_the_shadow_judges_each_call() -> None:
    """A closed or open shadow treats all calls alike; a half-open one, or one in a ramp, doesn't."""
    it = shadowed(ShadowPolicy(max_failures=1, reset_timeout=10, ramp=20))
    assert (it.admits_all, it.batches_successes, it.deadline) == (True, True, None)
    call(it, FAILURE)
    assert (it.admits_all, it.batches_successes, it.deadline) == (True, True, 10)
    it.wake(10)
    assert it.admits_all is False
    call(it, SUCCESS, 10)
    assert (it.admits_all, it.deadline) == (False, 30)
    it.wake(30)
    assert (it.admits_all, it.batches_successes, it.deadline) == (True, True, None)


def test_successes_that_may_trip_the_shadow_are_not_batched() -> None:
    slow = SlowCallRate(rate=0.5, threshold=1.0, window=LastCalls(4), minimum_calls=4)
    it = shadowed(ShadowPolicy(trip=slow))
    assert it.batches_successes is Machine(it.config.shadow_config).batches_successes  # type: ignore[arg-type]
    for _ in range(4):
        it.settle(admitted(it), SUCCESS, 2, 2.0)
    assert moves(it) == [O]


@pytest.mark.parametrize("held", [F, D])
def test_commands_that_hold_a_breaker_leave_its_shadow_as_it_is(held: object) -> None:
    it = opened()
    it.hold(held, 1, "held")  # type: ignore[arg-type]
    assert seen(it, 1).state is O
    assert moves(it) == []


def test_a_disabled_breaker_records_nothing_for_its_shadow() -> None:
    it = shadowed(TWO)
    it.hold(D, 0, "held")
    for _ in range(3):
        call(it, FAILURE)
    assert counts(seen(it)) == {}


def test_an_observing_breaker_has_its_shadow_beside_what_it_observes() -> None:
    it = shadowed(TWO, max_failures=3)
    it.hold(W, 0, "observed")
    it.drain()
    for _ in range(3):
        call(it, FAILURE)
    assert [(event.new, event.observed) for event in it.drain()] == [(O, True)]
    assert moves(it) == [O]
    assert counts(seen(it)) == {"admitted failure": 2, "rejected failure": 1}


def test_a_reset_clears_the_shadow_and_a_trip_does_not_reach_it() -> None:
    it = opened()
    it.reset(1)
    assert moves(it) == [C]
    it.trip(2)
    assert moves(it) == []
    call(it, FAILURE, 62)
    assert seen(it, 62).failure_count == 1


def test_what_others_share_does_not_reach_the_shadow() -> None:
    it = shadowed(TWO)
    it.adopt_open(0, 30, "opened by sharing", 0)
    assert it.state is O
    assert seen(it).state is C


def test_a_shadow_is_no_part_of_what_is_shared() -> None:
    it = opened()
    assert it.evidence is not None
    assert it.evidence.failures == 2
    assert (it.recovery_state().state, it.failure_count) == (C, 2)


def test_a_new_policy_leaves_the_shadow_as_it_is_or_changes_it_in_place() -> None:
    it = opened()
    it.configure(shadowed(TWO, max_failures=7).config, 1)
    assert (seen(it, 1).state, seen(it, 1).retry_after) == (O, 9)
    it.configure(shadowed(ShadowPolicy(trip=ConsecutiveFailures(1), reset_timeout=3)).config, 1)
    assert (seen(it, 1).state, seen(it, 1).retry_after) == (O, 9)
    call(it, FAILURE, 10)
    assert (seen(it, 10).state, seen(it, 10).retry_after) == (O, 3)
    assert counts(seen(it, 10)) == {"admitted failure": 3}


def test_a_shadow_begins_and_ends_with_its_policy() -> None:
    it = opened()
    without = shadowed(TWO).config
    it.configure(type(without)(name="it", max_failures=2), 1)
    assert it.snapshot(1).shadow is None
    late = admitted(it, 1)
    it.configure(without, 2)
    it.settle(late, FAILURE, 2)
    assert (seen(it, 2).state, counts(seen(it, 2))) == (C, {})


def test_a_shadow_survives_a_crash_of_the_machine() -> None:
    it = opened()
    heir = Machine.restored(it.config, it.recovery_state(), it.statistics, 1, it.shadow)
    assert seen(heir, 1) == seen(it, 1)
    assert seen(heir, 1).state is O

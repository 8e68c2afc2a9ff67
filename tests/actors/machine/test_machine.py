"""The rules: a row for each state and message, the rows where nothing happens too."""

from __future__ import annotations

import pytest
import trio

from actors import (
    RETRY_AFTER_MAXIMUM,
    AnyOf,
    Backoff,
    CircuitBreakerConfig,
    ConsecutiveFailures,
    FailureCount,
    LastCalls,
    LastSeconds,
    Machine,
    Outcome,
    Permit,
    Rejection,
    RejectReason,
    SlowCallRate,
    State,
)
from tests.actors.machine.machines import machine

FAILURE, SUCCESS, IGNORED, CANCELLED = Outcome.FAILURE, Outcome.SUCCESS, Outcome.IGNORED, Outcome.CANCELLED


def call(it: Machine, outcome: Outcome, now: float = 0) -> bool:
    permit = it.admit(now)
    assert isinstance(permit, Permit), permit
    return it.settle(permit, outcome, now)


C, H, O, F, D, W = State
NOTHING = None


@pytest.mark.parametrize(
    ("state", "outcomes", "after"),
    [
        (C, [SUCCESS], C),
        (C, [FAILURE] * 4, C),
        (C, [FAILURE] * 5, O),
        (C, [FAILURE] * 4 + [SUCCESS] + [FAILURE] * 4, C),
        (C, [FAILURE] * 4 + [IGNORED, CANCELLED, FAILURE], O),
        (C, [IGNORED] * 9, C),
        (C, [CANCELLED] * 9, C),
        (H, [SUCCESS], C),
        (H, [FAILURE], O),
        (H, [IGNORED], H),
        (H, [CANCELLED], H),
        (H, [IGNORED, CANCELLED, SUCCESS], C),
        (D, [FAILURE] * 9, D),
        (D, [SUCCESS], D),
        (W, [FAILURE] * 9, W),
        (W, [SUCCESS], W),
    ],
)
def test_outcomes_move_the_state_by_the_rules(state: State, outcomes: list[Outcome], after: State) -> None:
    it = machine(state)
    for outcome in outcomes:
        call(it, outcome)
    assert it.state is after


@pytest.mark.parametrize(
    ("state", "reason", "retry_after"),
    [(O, RejectReason.OPEN, 60.0), (F, RejectReason.FORCED, 30.0)],
)
def test_an_open_machine_rejects_with_a_reason(
    state: State, reason: RejectReason, retry_after: float
) -> None:
    it = machine(state)
    assert it.admit(0) == Rejection(state, reason, retry_after)
    assert not it.admit(0)
    assert it.snapshot(0).rejections[reason] == 2


@pytest.mark.parametrize(
    ("state", "command", "after"),
    [
        (C, "trip", O), (H, "trip", O), (O, "trip", O), (F, "trip", O), (D, "trip", O), (W, "trip", O),
        (C, "reset", C), (H, "reset", C), (O, "reset", C), (F, "reset", C), (D, "reset", C), (W, "reset", C),
        (C, F, F), (H, F, F), (O, F, F), (F, F, F), (D, F, F), (W, F, F),
        (C, D, D), (H, D, D), (O, D, D), (F, D, D), (D, D, D), (W, D, D),
        (C, W, W), (H, W, W), (O, W, W), (F, W, W), (D, W, W), (W, W, W),
    ],
)  # fmt: skip
def test_operators_move_any_state(state: State, command: str | State, after: State) -> None:
    it = machine(state)
    before = it.generation
    if isinstance(command, State):
        it.hold(command, 0, "told")
    else:
        getattr(it, command)(0)
    assert it.state is after
    assert it.generation == before + (state is not after or command == "reset")
    assert len(it.drain()) == (state is not after)


@pytest.mark.parametrize(
    ("state", "now", "after"),
    [
        (C, 1e9, C),
        (O, 59.999, O),
        (O, 60, H),
        (O, 1e9, H),
        (H, 59.999, H),
        (H, 60, O),
        (F, 1e9, F),
        (D, 1e9, D),
        (W, 1e9, W),
    ],
)
def test_time_moves_only_the_open_and_the_hung_half_open(state: State, now: float, after: State) -> None:
    it = machine(state)
    if state is H:
        it.admit(0)
    it.wake(now)
    assert it.state is after


def test_half_open_without_a_probe_waits_for_ever() -> None:
    it = machine(H)
    assert it.deadline is None
    it.wake(1e9)
    assert it.state is H


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("state", [C, H, O, F, D, W])
def test_a_late_result_changes_nothing_but_the_count_of_late_ones(state: State, outcome: Outcome) -> None:
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
    assert (it.state, it.generation, it.deadline) == (state, generation, deadline)
    assert after.failure_count == before.failure_count
    assert after.late == before.late + 1
    assert after.counts[outcome] == before.counts[outcome] + 1


def test_a_failure_while_open_from_before_does_not_prolong_the_wait() -> None:
    it = machine(max_failures=1)
    first, second = it.admit(0), it.admit(0)
    assert isinstance(first, Permit)
    assert isinstance(second, Permit)
    it.settle(first, FAILURE, 0)
    it.settle(second, FAILURE, 30)
    assert it.deadline == 60


def test_a_probe_settled_twice_counts_once() -> None:
    it = machine(H, successes_to_close=2)
    probe = it.admit(0)
    assert isinstance(probe, Permit)
    assert it.settle(probe, SUCCESS, 0)
    assert not it.settle(probe, SUCCESS, 0)
    assert it.state is H


def test_half_open_admits_its_limit_at_once_and_successes_in_turn() -> None:
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


def test_no_half_open_timeout_lets_a_probe_hang() -> None:
    it = machine(H, half_open_timeout=None)
    it.admit(0)
    assert it.deadline is None


def test_the_wait_grows_to_its_maximum_and_starts_again_after_closing() -> None:
    it = machine(max_failures=1, reset_timeout=10, backoff=Backoff(factor=3, maximum=50))
    call(it, FAILURE)
    now, waits = 0.0, []
    for _ in range(4):
        assert it.deadline is not None
        waits.append(it.deadline - now)
        now = it.deadline
        call(it, FAILURE, now)
    assert waits == [10, 30, 50, 50]
    assert it.deadline is not None
    now = it.deadline
    call(it, SUCCESS, now)
    call(it, FAILURE, now)
    assert it.deadline == now + 10


def test_jitter_comes_from_its_seed_and_stays_within_its_share() -> None:
    def waits(seed: int) -> list[float]:
        backoff = Backoff(jitter=0.5, seed=seed)
        it = machine(max_failures=1, reset_timeout=10, backoff=backoff)
        found = []
        for _ in range(20):
            it.trip(0)
            assert it.deadline is not None
            found.append(it.deadline)
        return found

    assert waits(1) == waits(1) != waits(2)
    assert all(5 <= wait <= 15 for wait in waits(1))
    assert len(set(waits(1))) == 20


@pytest.mark.parametrize(
    ("maximum", "said", "kept"),
    [
        (90, None, 30),
        (90, 7, 30),
        (90, 60, 60),
        (90, 600, 90),
        (90, 30, 30),
        (None, 7, 30),
        (None, 599, 599),
        (None, 601, RETRY_AFTER_MAXIMUM),
        (700, 650, 650),
        (40, 45, 40),
        # Nonsense is as if nothing was said.
        (90, 0, 30),
        (90, -1, 30),
        (90, float("nan"), 30),
        (90, float("inf"), 30),
        (90, 10**400, 30),
        (90, 366 * 86_400, 30),
        (90, 8_000 * 366 * 86_400, 30),
    ],
)
def test_a_servers_wait_lengthens_the_wait_within_the_maximum(
    maximum: float | None, said: float | None, kept: float
) -> None:
    it = machine(max_failures=1, reset_timeout=30, backoff=Backoff(maximum=maximum))
    permit = it.admit(0)
    assert isinstance(permit, Permit)
    it.settle(permit, FAILURE, 0, retry_after=said)
    assert it.deadline == kept


def test_an_own_wait_above_the_cap_of_a_servers_stands() -> None:
    it = machine(max_failures=1, reset_timeout=1000)
    permit = it.admit(0)
    assert isinstance(permit, Permit)
    it.settle(permit, FAILURE, 0, retry_after=900)
    assert it.deadline == 1000


def test_a_servers_wait_does_not_replace_the_backoff() -> None:
    it = machine(H, max_failures=1, reset_timeout=60, backoff=Backoff(factor=2.0))
    permit = it.admit(0)
    assert isinstance(permit, Permit)
    it.settle(permit, FAILURE, 0, retry_after=100)
    assert it.deadline == 120


def test_tripping_an_open_machine_starts_the_wait_again() -> None:
    it = machine(O)
    it.trip(45)
    assert it.deadline == 105
    assert it.generation == 2


def test_reset_clears_a_row_of_failures() -> None:
    it = machine()
    for _ in range(4):
        call(it, FAILURE)
    it.reset(0)
    assert it.failure_count == 0
    call(it, FAILURE)
    assert it.state is C


def test_closing_starts_with_nothing_counted() -> None:
    it = machine(max_failures=2)
    call(it, FAILURE)
    call(it, FAILURE)
    call(it, SUCCESS, 60)
    assert it.failure_count == 0
    call(it, FAILURE, 60)
    assert it.state is C


def test_the_ramp_admits_evenly_more_and_more() -> None:
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


def test_a_permit_given_back_frees_its_slot_and_counts_as_no_call() -> None:
    it = machine(H)
    probe = it.admit(0)
    assert isinstance(probe, Permit)
    it.release(probe, 0)
    assert it.snapshot(0).in_flight == 0
    assert sum(it.snapshot(0).counts.values()) == 0
    assert it.admit(0)


@pytest.mark.parametrize(("state", "after"), [(C, O), (H, O)])
def test_one_failure_more_of_a_settled_call_counts_in_its_own_generation(state: State, after: State) -> None:
    it = machine(state, max_failures=1, successes_to_close=2)
    permit = it.admit(0)
    assert isinstance(permit, Permit)
    it.settle(permit, SUCCESS, 0)
    assert it.fail_again(permit, 1)
    assert it.state is after
    assert not it.fail_again(permit, 1)
    assert (it.snapshot(1).in_flight, it.snapshot(1).late) == (0, 1)


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


def test_a_shadow_recovers_by_its_callers_where_the_policy_has_a_probe() -> None:
    it = machine(W, probe=trio.lowlevel.checkpoint, max_failures=1)
    call(it, FAILURE)
    call(it, SUCCESS, 60)
    assert [event.new for event in it.drain()] == [O, H, C]


def test_the_outage_lasts_from_the_first_opening_to_closing() -> None:
    it = machine(max_failures=1)
    call(it, FAILURE, 10)
    call(it, FAILURE, 70)
    assert it.opened_at == 10
    call(it, SUCCESS, 130)
    assert it.opened_at is None
    recovery = it.snapshot(130).recovery
    assert recovery is not None
    assert recovery.total == 120
    assert sum(recovery.counts) == 1


def test_configure_keeps_state_row_and_generation() -> None:
    it = machine()
    for _ in range(3):
        call(it, FAILURE)
    it.configure(CircuitBreakerConfig(name="it", max_failures=4), 0)
    assert (it.state, it.failure_count, it.generation) == (C, 3, 1)
    call(it, FAILURE)
    assert it.state is O
    it.configure(CircuitBreakerConfig(name="it", max_failures=4, reset_timeout=5), 0)
    assert it.deadline == 60


def test_configure_refuses_another_name() -> None:
    with pytest.raises(ValueError, match="name must stay 'it', got 'other'"):
        machine().configure(CircuitBreakerConfig(name="other"), 0)


@pytest.mark.parametrize("state", [C, H, O, F, D, W])
def test_a_restored_machine_carries_on_in_the_next_generation(state: State) -> None:
    it = machine(state)
    if state is C:
        for _ in range(4):
            call(it, FAILURE)
    again = Machine.restored(it.config, it.recovery_state(), it.statistics, 1)
    assert (again.state, again.generation, again.deadline) == (state, it.generation + 1, it.deadline)
    assert (again.failure_count, again.opened_at) == (it.failure_count, it.opened_at)
    if state is C:
        call(again, FAILURE)
        assert again.state is O


def test_an_unknown_permit_changes_nothing() -> None:
    """Where no call is admitted there is none to settle."""
    it = machine(O)
    it.settle(Permit(it.generation, 7), FAILURE, 30)
    it.fail_again(Permit(it.generation, 7), 30)
    assert (it.state, it.deadline) == (O, 60)


def test_what_a_disabled_machine_admitted_leaves_no_trace() -> None:
    """Settled, broken later or given back."""
    it = machine(D)
    settled, broken, unused = (it.admit(0) for _ in range(3))
    assert isinstance(settled, Permit)
    assert isinstance(broken, Permit)
    assert isinstance(unused, Permit)
    it.settle(settled, FAILURE, 0)
    it.fail_again(broken, 0)
    it.release(unused, 0)
    assert (sum(it.snapshot(0).counts.values()), it.snapshot(0).in_flight) == (0, 0)


def test_a_permit_given_back_late_frees_no_slot_of_another_generation() -> None:
    """It only is no longer in flight."""
    it = machine(H)
    stale = it.admit(0)
    it.trip(0)
    probe = it.admit(60)
    assert isinstance(stale, Permit)
    assert isinstance(probe, Permit)
    it.release(stale, 60)
    assert not it.admit(60)
    assert it.snapshot(60).in_flight == 1


def test_a_permit_given_back_is_no_longer_watched() -> None:
    """A call that never began is never slow."""
    trip = SlowCallRate(1.0, 5, LastCalls(1), 1)
    it = machine(trip=trip, in_flight_slow=True)
    permit = it.admit(0)
    assert isinstance(permit, Permit)
    it.release(permit, 1)
    it.wake(9)
    assert it.state is C


def test_a_crash_keeps_the_step_of_the_backoff() -> None:
    """The wait after the next failed recovery goes on where it was."""
    it = machine(H, reset_timeout=10, backoff=Backoff(factor=2))
    call(it, FAILURE, 0)
    again = Machine.restored(it.config, it.recovery_state(), it.statistics, 1)
    assert again.deadline == 20
    call(again, FAILURE, 20)
    assert again.deadline == 20 + 40


def test_a_crash_keeps_the_row_among_other_strategies() -> None:
    """Windows start empty, a row goes on."""
    it = machine(trip=AnyOf(ConsecutiveFailures(2), FailureCount(2, LastSeconds(9))))
    call(it, FAILURE)
    again = Machine.restored(it.config, it.recovery_state(), it.statistics, 1)
    assert again.failure_count == 1
    call(again, FAILURE, 1)
    assert again.state is O


@pytest.mark.parametrize("state", [F, D, W])
def test_an_operators_hold_starts_the_backoff_again(state: State) -> None:
    """What comes after it is another outage."""
    it = machine(H, reset_timeout=10, backoff=Backoff(factor=2))
    call(it, FAILURE, 0)
    it.hold(state, 1, "told")
    it.trip(2)
    assert it.deadline == 12


def test_an_operators_trip_is_no_failed_recovery() -> None:
    """It waits as long as the first opening did."""
    it = machine(H, reset_timeout=10, backoff=Backoff(factor=2))
    it.trip(0)
    assert it.deadline == 10


def test_a_hung_probe_makes_the_wait_grow_as_a_failed_one() -> None:
    """In every step."""
    it = machine(reset_timeout=10, half_open_timeout=5, backoff=Backoff(factor=2))
    it.trip(0)
    assert it.admit(10)
    it.wake(15)
    assert it.deadline == 15 + 20
    assert it.admit(35)
    it.wake(40)
    assert it.deadline == 40 + 40


@pytest.mark.parametrize("state", [O, H, F, D, W])
def test_an_operators_reset_admits_all_at_once(state: State) -> None:
    """Without a ramp, which is for a recovery that nobody vouches for."""
    it = machine(state, ramp=10)
    it.reset(0)
    assert all(it.admit(0) for _ in range(9))


def test_resetting_a_ramp_ends_it() -> None:
    it = machine(H, ramp=10)
    call(it, SUCCESS, 0)
    assert not it.admit(0)
    it.reset(0)
    assert all(it.admit(0) for _ in range(9))


def test_breakers_of_one_seed_do_not_wait_in_step() -> None:
    """Else all would probe at the same moment."""
    waits = set()
    for name in ("one", "two", "three"):
        it = Machine(CircuitBreakerConfig(name=name, backoff=Backoff(jitter=0.5, seed=1)))
        it.trip(0)
        waits.add(it.deadline)
    assert len(waits) == 3


def test_another_jitter_can_be_configured() -> None:
    """It begins with its own seed."""
    it, fresh = machine(backoff=Backoff(jitter=0.5, seed=1)), machine(backoff=Backoff(jitter=0.5, seed=2))
    it.trip(0)
    it.configure(fresh.config, 0)
    for each in (it, fresh):
        each.trip(0)
    assert it.deadline == fresh.deadline


def test_a_late_tally_ends_no_row() -> None:
    """It is counted, and late."""
    it = machine()
    call(it, FAILURE)
    it.fold(1, 1, 0, 0, 0, late=True)
    assert (it.failure_count, it.snapshot(0).late, it.snapshot(0).counts["success"]) == (1, 1, 1)


def test_an_observing_machine_frees_the_slot_of_a_call_that_never_began() -> None:
    it = machine(W, max_failures=1)
    call(it, FAILURE)
    probe = it.admit(60)
    assert isinstance(probe, Permit)
    it.release(probe, 60)
    call(it, SUCCESS, 60)
    assert [event.new for event in it.drain()] == [O, H, C]
    assert it.snapshot(60).would_reject == 0


def test_an_observing_machine_goes_by_the_policy_in_force() -> None:
    it = machine(W)
    it.configure(CircuitBreakerConfig(name="it", max_failures=1), 0)
    call(it, FAILURE)
    assert [event.new for event in it.drain()] == [O]


def test_an_observing_machine_hears_of_what_breaks_after_its_success() -> None:
    """Such as a stream: one failure more, unless the shadow has moved on since the call began."""
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
    assert (it.state, it.snapshot(61).counts["failure"]) == (W, 4)


def test_callers_are_kept_out_where_the_breaker_probes_by_itself() -> None:
    """Also where more probes than its one could run."""

    async def probe() -> None:
        """Run by an actor only."""

    it = machine(H, half_open_max_calls=2, probe=probe)
    assert it.admit(0) == Rejection(H, RejectReason.PROBING, 1.0)
    assert it.admit(0, is_active_probe=True)

"""The rules: a row for each state and message, also the rows where nothing happens."""

from __future__ import annotations

import pytest

from actors import (
    AnyOf,
    CircuitBreakerConfig,
    ConsecutiveFailures,
    FailureCount,
    LastSeconds,
    Machine,
    Outcome,
    Rejection,
    RejectReason,
    State,
)
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
    call,
    machine,
)


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
def test_time_moves_only_an_open_machine_and_one_with_a_hung_probe(
    state: State, now: float, after: State
) -> None:
    it = machine(state)
    if state is H:
        it.admit(0)
    it.wake(now)
    assert it.state is after


def test_a_half_open_machine_without_a_probe_waits_for_ever() -> None:
    it = machine(H)
    assert it.deadline is None
    it.wake(1e9)
    assert it.state is H


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


def test_an_outage_lasts_from_the_first_opening_to_closing() -> None:
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


def test_configure_keeps_state_consecutive_failures_and_generation() -> None:
    it = machine()
    for _ in range(3):
        call(it, FAILURE)
    it.configure(CircuitBreakerConfig(name="it", max_failures=4), 0)
    assert it.state is C
    assert it.failure_count == 3
    assert it.generation == 1
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
    assert again.state is state
    assert again.generation == it.generation + 1
    assert again.deadline == it.deadline
    assert again.failure_count == it.failure_count
    assert again.opened_at == it.opened_at
    if state is C:
        call(again, FAILURE)
        assert again.state is O


def test_a_crash_keeps_consecutive_failures_and_empties_windows() -> None:
    """Windows start empty; a row of failures goes on."""
    it = machine(trip=AnyOf(ConsecutiveFailures(2), FailureCount(2, LastSeconds(9))))
    call(it, FAILURE)
    again = Machine.restored(it.config, it.recovery_state(), it.statistics, 1)
    assert again.failure_count == 1
    call(again, FAILURE, 1)
    assert again.state is O


@pytest.mark.parametrize("state", [O, H, F, D, W])
def test_an_operators_reset_admits_all_at_once(state: State) -> None:
    """There is no ramp: a ramp is for a recovery that no operator has confirmed."""
    it = machine(state, ramp=10)
    it.reset(0)
    assert all(it.admit(0) for _ in range(9))

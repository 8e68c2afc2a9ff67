"""How long a machine stays open: backoff, jitter, and the wait that a server asks for."""

from __future__ import annotations

import pytest

from actors import RETRY_AFTER_MAXIMUM, Backoff, CircuitBreakerConfig, Machine, Permit, State
from tests.actors.machine.machines import FAILURE, SUCCESS, D, F, H, O, W, call, machine


def test_a_late_failure_does_not_prolong_the_wait() -> None:
    it = machine(max_failures=1)
    first, second = it.admit(0), it.admit(0)
    assert isinstance(first, Permit)
    assert isinstance(second, Permit)
    it.settle(first, FAILURE, 0)
    it.settle(second, FAILURE, 30)
    assert it.deadline == 60


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
        # An invalid wait is ignored.
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


def test_the_cap_of_a_servers_wait_does_not_shorten_the_own_wait() -> None:
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


def test_a_crash_keeps_the_step_of_the_backoff() -> None:
    """The wait after the next failed recovery is the next step."""
    it = machine(H, reset_timeout=10, backoff=Backoff(factor=2))
    call(it, FAILURE, 0)
    again = Machine.restored(it.config, it.recovery_state(), it.statistics, 1)
    assert again.deadline == 20
    call(again, FAILURE, 20)
    assert again.deadline == 20 + 40


@pytest.mark.parametrize("state", [F, D, W])
def test_an_operators_hold_starts_the_backoff_again(state: State) -> None:
    """An opening after the hold is another outage."""
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
    """Each hung probe is one step of the backoff."""
    it = machine(reset_timeout=10, half_open_timeout=5, backoff=Backoff(factor=2))
    it.trip(0)
    assert it.admit(10)
    it.wake(15)
    assert it.deadline == 15 + 20
    assert it.admit(35)
    it.wake(40)
    assert it.deadline == 40 + 40


def test_breakers_of_one_seed_do_not_wait_in_step() -> None:
    """Otherwise all of them would probe at the same moment."""
    waits = set()
    for name in ("one", "two", "three"):
        it = Machine(CircuitBreakerConfig(name=name, backoff=Backoff(jitter=0.5, seed=1)))
        it.trip(0)
        waits.add(it.deadline)
    assert len(waits) == 3


def test_another_jitter_can_be_configured() -> None:
    """The new jitter begins with its own seed."""
    it, fresh = machine(backoff=Backoff(jitter=0.5, seed=1)), machine(backoff=Backoff(jitter=0.5, seed=2))
    it.trip(0)
    it.configure(fresh.config, 0)
    for each in (it, fresh):
        each.trip(0)
    assert it.deadline == fresh.deadline

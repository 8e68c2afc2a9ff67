"""The next probe is of another route after a failed one, of another client after a cancelled one."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    CircuitBreakerConfig,
    CircuitOpenError,
    LastCalls,
    Machine,
    Outcome,
    Panel,
    Permit,
    Rejection,
    RejectReason,
    SlowCallRate,
    Source,
    State,
)
from tests.actors.machine.machines import machine

FAILURE, SUCCESS, IGNORED, CANCELLED = Outcome.FAILURE, Outcome.SUCCESS, Outcome.IGNORED, Outcome.CANCELLED
C, H, O, F, D, W = State
PROBING = Rejection(H, RejectReason.PROBING, 1.0)

LOGIN, SEARCH = Source("ann", "login"), Source("bob", "search")


def probe(it: Machine, now: float, source: Source | None) -> Permit:
    permit = it.admit(now, source=source)
    assert isinstance(permit, Permit), permit
    return permit


def failed_probe(**policy: object) -> Machine:
    """Half-open again at 60, for the first time since a probe of the login route failed."""
    it = machine(H, **policy)
    it.settle(probe(it, 0, LOGIN), FAILURE, 0)
    assert it.deadline == 60
    return it


def test_a_source_has_defaults() -> None:
    assert Source() == Source(client=None, route=None)
    assert Source(client="ann").route is None


@pytest.mark.parametrize(
    ("at", "source", "admitted"),
    [
        (60, Source("cid", "login"), False),
        (60.875, Source("cid", "login"), False),
        (60, Source(None, "login"), False),
        (60, Source("ann", "search"), True),
        (60, Source("ann"), True),
        (60, Source(), True),
        (60, None, True),
        (61, Source("ann", "login"), True),
        (70, Source("ann", "login"), True),
    ],
)
def test_the_slot_after_a_failed_probe_is_kept_for_other_routes(
    at: float, source: Source | None, admitted: bool
) -> None:
    it = failed_probe()
    it.wake(60)
    answer = it.admit(at, source=source)
    assert isinstance(answer, Permit) if admitted else answer == PROBING


def test_a_failed_route_is_kept_out_from_the_beginning_of_half_open() -> None:
    it = failed_probe()
    it.wake(75)
    assert not it.admit(75.5, source=LOGIN)
    assert it.admit(76, source=LOGIN)


def test_a_refused_route_is_an_ordinary_rejection() -> None:
    it = failed_probe()
    assert it.admit(60, source=LOGIN) == PROBING
    assert it.snapshot(60).rejections["probing"] == 1
    assert it.snapshot(60).state is H


def test_one_failure_of_the_other_route_still_opens() -> None:
    it = failed_probe()
    it.settle(probe(it, 60, SEARCH), FAILURE, 60)
    assert it.state is O
    assert it.admit(120, source=SEARCH) == PROBING
    assert it.admit(120, source=LOGIN)


@pytest.mark.parametrize(
    "end", ["failure", "slow", "timeout", "fails again", "answered, then failed", "slow answer"]
)
def test_every_failure_of_a_probe_is_noted(end: str) -> None:
    slow = SlowCallRate(0.5, 2.0, LastCalls(2), 2)
    it = machine(H, trip=slow, successes_to_close=2, half_open_timeout=8)
    permit = probe(it, 0, LOGIN)
    match end:
        case "failure":
            it.settle(permit, FAILURE, 0)
        case "slow":
            it.settle(permit, SUCCESS, 0, 2.0)
        case "timeout":
            it.wake(8)
        case "fails again":
            it.settle(permit, SUCCESS, 0)
            it.fail_again(permit, 0)
        case "answered, then failed":
            it.answered(permit, 0)
            it.settle(permit, FAILURE, 0)
        case "slow answer":
            it.answered(permit, 0, 2.0)
    assert it.state is O
    assert it.deadline is not None
    at = it.deadline
    assert it.admit(at, source=LOGIN) == PROBING
    assert it.admit(at, source=SEARCH)


def test_the_route_of_a_probe_that_timed_out_is_kept_out() -> None:
    it = machine(H, half_open_max_calls=2, half_open_timeout=8)
    probe(it, 0, LOGIN)
    probe(it, 1, SEARCH)
    it.wake(8)
    assert it.admit(68, source=LOGIN) == PROBING
    assert it.admit(68, source=SEARCH)


@pytest.mark.parametrize("source", [None, Source(), Source("ann")])
def test_a_failed_probe_of_no_route_keeps_nothing(source: Source | None) -> None:
    it = machine(H)
    it.settle(probe(it, 0, source), FAILURE, 0)
    assert it.admit(60, source=source)


def test_a_second_trip_keeps_the_failed_route() -> None:
    it = failed_probe()
    it.trip(30)
    assert it.admit(90, source=LOGIN) == PROBING


@pytest.mark.parametrize("order", ["reset", "hold", "trip"])
def test_a_route_is_forgotten_after_an_order(order: str) -> None:
    it = failed_probe()
    match order:
        case "reset":
            it.reset(0)
        case "hold":
            it.hold(F, 0, "told")
        case "trip":
            it.wake(60)
    it.trip(60)
    assert it.admit(120, source=LOGIN)


def test_closing_forgets_a_route() -> None:
    it = failed_probe(max_failures=1)
    it.settle(probe(it, 60, SEARCH), SUCCESS, 60)
    it.settle(probe(it, 60, SEARCH), FAILURE, 60)
    assert it.admit(120, source=LOGIN)


@pytest.mark.parametrize(
    ("at", "source", "admitted"),
    [
        (5, Source("ann", "search"), False),
        (5.875, Source("ann"), False),
        (5, Source("bob", "login"), True),
        (5, Source(None, "login"), True),
        (5, None, True),
        (6, Source("ann", "login"), True),
    ],
)
def test_the_probe_after_a_cancelled_one_is_kept_for_other_clients(
    at: float, source: Source | None, admitted: bool
) -> None:
    it = machine(H)
    it.settle(probe(it, 0, LOGIN), CANCELLED, 5)
    assert bool(it.admit(at, source=source)) is admitted


def test_a_probe_of_another_client_readmits_the_first() -> None:
    it = machine(H)
    it.settle(probe(it, 0, LOGIN), CANCELLED, 0)
    it.settle(probe(it, 0, SEARCH), IGNORED, 0)
    assert it.admit(0, source=LOGIN)


def test_each_client_that_cancels_waits_for_another() -> None:
    it = machine(H)
    it.settle(probe(it, 0, LOGIN), CANCELLED, 0)
    it.settle(probe(it, 0, SEARCH), CANCELLED, 0)
    assert not it.admit(0, source=SEARCH)
    assert it.admit(0, source=LOGIN)


@pytest.mark.parametrize(("outcome", "source"), [(IGNORED, LOGIN), (CANCELLED, None), (CANCELLED, Source())])
def test_other_neutral_ends_keep_nothing(outcome: Outcome, source: Source | None) -> None:
    it = machine(H)
    it.settle(probe(it, 0, source), outcome, 0)
    assert it.admit(0, source=source)


def test_a_cancelled_probe_without_a_client_admits_no_other_client_early() -> None:
    it = machine(H, half_open_max_calls=3)
    ann, nobody, unnamed = probe(it, 0, LOGIN), probe(it, 0, None), probe(it, 0, Source(None, "x"))
    it.settle(ann, CANCELLED, 0)
    it.settle(nobody, CANCELLED, 0)
    it.settle(unnamed, CANCELLED, 0)
    assert not it.admit(0, source=LOGIN)


def test_an_answered_call_that_is_cancelled_keeps_nothing() -> None:
    it = machine(H, successes_to_close=2)
    permit = probe(it, 0, LOGIN)
    it.answered(permit, 0)
    it.settle(permit, CANCELLED, 0)
    assert it.admit(0, source=LOGIN)


def test_a_probe_that_never_began_keeps_nothing() -> None:
    it = machine(H)
    it.release(probe(it, 0, LOGIN), 0)
    assert it.admit(0, source=LOGIN)


def test_sources_take_no_memory_that_grows() -> None:
    it = machine(H, successes_to_close=2)
    for number in range(100):
        it.settle(probe(it, 0, Source(number, number)), (IGNORED, CANCELLED)[number % 2], 0)
    it.release(probe(it, 0, Source("x")), 0)
    assert len(it._behavior._turns._sources) == 0  # type: ignore[attr-defined]


async def no_probe() -> None:
    """Never run."""


def test_the_breakers_own_probe_is_never_kept_out() -> None:
    it = machine(H, probe=no_probe)
    permit = it.admit(0, is_active_probe=True)
    assert isinstance(permit, Permit)
    it.settle(permit, CANCELLED, 0)
    assert it.admit(0, is_active_probe=True)


def test_a_source_changes_nothing_in_other_states() -> None:
    for state in (C, D, W):
        assert machine(state).admit(0, source=LOGIN)
    for state in (O, F):
        assert machine(state).admit(0, source=LOGIN) == machine(state).admit(0)


def test_the_shadow_gets_the_source() -> None:
    it = machine(W, max_failures=1)
    it.settle(probe(it, 0, None), FAILURE, 0)
    it.settle(probe(it, 60, LOGIN), FAILURE, 60)
    probe(it, 120, LOGIN)
    assert it.snapshot(120).would_reject == 1
    probe(it, 120, SEARCH)
    assert it.snapshot(120).would_reject == 1


async def test_a_guard_passes_its_source_on(panel: Panel, mock_clock: MockClock) -> None:
    breaker = panel.breaker(CircuitBreakerConfig(name="it"))
    await breaker.trip()
    mock_clock.jump(60)
    await wait_all_tasks_blocked()
    with trio.CancelScope() as scope:
        async with breaker.guard(source=LOGIN):
            scope.cancel()
            await trio.lowlevel.checkpoint()
    with pytest.raises(CircuitOpenError) as rejected:
        async with breaker.guard(source=LOGIN):
            pass
    assert rejected.value.reason is RejectReason.PROBING
    async with breaker.guard(source=SEARCH) as call:
        call.fail()
    mock_clock.jump(60)
    await wait_all_tasks_blocked()
    with pytest.raises(CircuitOpenError):
        async with breaker.guard(source=SEARCH):
            pass
    assert await breaker.execute(answer) == 42, "a call without a source is another's"


async def answer() -> int:
    return 42

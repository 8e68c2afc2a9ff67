"""half_open_failure_rate: a recovery judged by the share of several probes that failed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    CircuitBreaker,
    CircuitBreakerConfig,
    LastCalls,
    Machine,
    Outcome,
    Panel,
    Permit,
    Rejection,
    RejectReason,
    SlowCallRate,
    State,
)
from actors.testing import DependencyDown, ScriptedDependency, advance
from tests.actors.machine.machines import machine

FAILURE, SUCCESS, IGNORED, CANCELLED = Outcome.FAILURE, Outcome.SUCCESS, Outcome.IGNORED, Outcome.CANCELLED
C, H, O, F, D, W = State


def recovering(probes: int = 4, rate: float = 0.5, **policy: object) -> Machine:
    """A machine that is half-open at time 0."""
    return machine(H, half_open_max_calls=probes, half_open_failure_rate=rate, **policy)


def probe(it: Machine, now: float = 0) -> Permit:
    permit = it.admit(now)
    assert isinstance(permit, Permit), permit
    return permit


def play(it: Machine, outcomes: str, now: float = 0) -> list[State]:
    """One probe after another: + succeeds, - fails, i is ignored, c is cancelled. The state after each."""
    kinds = {"+": SUCCESS, "-": FAILURE, "i": IGNORED, "c": CANCELLED}
    states = []
    for one in outcomes:
        it.settle(probe(it, now), kinds[one], now)
        states.append(it.state)
    return states


@pytest.mark.parametrize(
    ("probes", "rate", "outcomes", "after"),
    [
        # Exactly the rate opens, one below it closes.
        (4, 0.5, "--", O),
        (4, 0.5, "+-+-", O),
        (4, 0.5, "++-+", C),
        (4, 0.5, "-+++", C),
        # It closes only when all have ended, though the verdict is certain before.
        (4, 0.5, "+++", H),
        (4, 0.5, "++++", C),
        # Divided, not multiplied: 3 of 10 is the float that 0.3 means.
        (10, 0.3, "-" * 2 + "+" * 8, C),
        (10, 0.3, "+" * 7 + "---", O),
        (3, 1 / 3, "-", O),
        (3, 1 / 3, "+++", C),
        # All of them, and the first.
        (3, 1.0, "--", H),
        (3, 1.0, "--+", C),
        (3, 1.0, "---", O),
        (3, 0.01, "-", O),
        # One probe alone is judged as ever.
        (1, 0.5, "+", C),
        (1, 1.0, "-", O),
        # Neutral ones are no probes that have ended.
        (2, 1.0, "iicc", H),
        (2, 1.0, "i-c+", C),
        (2, 1.0, "i-c-", O),
    ],
)
def test_the_share_of_failed_probes_decides(probes: int, rate: float, outcomes: str, after: State) -> None:
    states = play(recovering(probes, rate), outcomes)
    assert states[-1] is after
    assert set(states[:-1]) <= {H}


def test_successes_to_close_means_nothing_beside_a_rate() -> None:
    assert play(recovering(3, 1.0, successes_to_close=1), "+") == [H]
    assert play(recovering(2, 1.0, successes_to_close=9), "++") == [H, C]


@pytest.mark.parametrize("ended", ["", "+", "+-", "+++"])
def test_no_more_probes_are_let_through_than_are_judged(ended: str) -> None:
    """Those that run and those that have ended, together."""
    it = recovering(4, 1.0)
    play(it, ended)
    for _ in range(4 - len(ended)):
        probe(it)
    refused = it.admit(0)
    assert isinstance(refused, Rejection)
    assert (refused.reason, refused.retry_after) == (RejectReason.PROBING, 1.0)


@pytest.mark.parametrize("outcome", [IGNORED, CANCELLED])
def test_a_neutral_probe_gives_its_place_back(outcome: Outcome) -> None:
    it = recovering(2)
    first, _ = probe(it), probe(it)
    assert not it.admit(0)
    it.settle(first, outcome, 0)
    probe(it)
    assert not it.admit(0)


def test_a_probe_given_back_gives_its_place_back() -> None:
    it = recovering(1)
    it.release(probe(it), 0)
    assert play(it, "+") == [C]


def test_probes_that_still_run_when_it_opens_come_late() -> None:
    it = recovering(4)
    first, second, third, fourth = (probe(it) for _ in range(4))
    it.settle(first, FAILURE, 0)
    assert it.settle(second, FAILURE, 0)
    assert it.state is O
    assert not it.settle(third, SUCCESS, 0)
    assert not it.settle(fourth, FAILURE, 0)
    assert (it.state, it.snapshot(0).late) == (O, 2)


def test_a_failed_recovery_makes_the_wait_grow_and_a_good_one_starts_it_again() -> None:
    it = recovering(2, 0.5, reset_timeout=60)
    play(it, "+-")
    assert it.snapshot(0).retry_after == 60
    it = recovering(2, 1.0)
    it.configure(replace(it.config, backoff=replace(it.config.backoff, factor=2)), 0)
    play(it, "--")
    assert it.snapshot(0).retry_after == 120
    it.wake(120)
    assert play(it, "-+", 120) == [H, C]
    it.trip(120)
    assert it.snapshot(120).retry_after == 60


def test_the_ramp_begins_when_the_recovery_was_good() -> None:
    it = recovering(2, 1.0, ramp=10)
    assert play(it, "-+", 5) == [H, C]
    refused = it.admit(5)
    assert isinstance(refused, Rejection)
    assert (refused.reason, refused.retry_after) == (RejectReason.RAMP, 10)


# What takes too long.


def test_a_probe_that_takes_too_long_is_one_that_failed() -> None:
    it = recovering(3, 0.6, half_open_timeout=5)
    hanging = probe(it, 0)
    it.settle(probe(it, 1), SUCCESS, 1)
    it.wake(4.9)
    assert it.snapshot(4.9).state is H
    it.wake(5)
    assert it.snapshot(5).state is H
    assert not it.settle(hanging, SUCCESS, 6)
    assert play(it, "+", 6) == [C]


def test_the_last_probe_to_time_out_may_close_too() -> None:
    """Its failure is below the rate, and all have ended."""
    it = recovering(3, 0.5, half_open_timeout=5)
    play(it, "++")
    probe(it, 0)
    it.wake(5)
    assert it.state is C


def test_probes_that_time_out_together_open_it_and_say_so() -> None:
    it = recovering(4, 0.5, half_open_timeout=5)
    for _ in range(4):
        probe(it)
    it.wake(5)
    assert [(event.new, event.reason) for event in it.drain()] == [(O, "recovery timed out")]


def test_a_slow_probe_is_one_that_failed() -> None:
    slow = SlowCallRate(1.0, 2, LastCalls(10), 10)
    it = recovering(2, 1.0, trip=slow)
    it.settle(probe(it, 0), SUCCESS, 2, 2.0)
    assert it.state is H
    it.settle(probe(it, 2), SUCCESS, 3.9, 1.9)
    assert it.state is C


# What answers, or is settled, before its end.


def test_an_answer_is_a_probe_that_has_ended() -> None:
    it = recovering(2, 1.0)
    answered = probe(it)
    it.answered(answered, 0)
    assert it.state is H
    it.answered(answered, 0)
    assert play(it, "+") == [C]
    assert it.settle(answered, SUCCESS, 1)
    assert it.snapshot(1).late == 0


@pytest.mark.parametrize("outcome", [SUCCESS, IGNORED, CANCELLED])
def test_the_end_of_an_answered_probe_is_no_second_one(outcome: Outcome) -> None:
    it = recovering(2, 1.0)
    answered = probe(it)
    it.answered(answered, 0)
    assert it.settle(answered, outcome, 1)
    assert it.state is H
    assert play(it, "-", 1) == [C]


def test_an_answered_probe_that_fails_later_has_failed_once() -> None:
    it = recovering(3, 1.0)
    answered = probe(it)
    it.answered(answered, 0)
    it.settle(answered, FAILURE, 1)
    assert it.state is H
    assert play(it, "--", 1) == [H, O]


def test_a_slow_answer_that_fails_later_has_failed_once() -> None:
    """And takes no other probe's success away."""
    it = recovering(4, 0.75, trip=SlowCallRate(1.0, 2, LastCalls(10), 10))
    it.settle(probe(it, 0), SUCCESS, 0, 0.1)
    slow = probe(it, 0)
    it.answered(slow, 2, 2.0)
    assert it.settle(slow, FAILURE, 3, 3.0)
    it.settle(probe(it, 3), FAILURE, 3, 0.1)
    assert it.state is H
    it.settle(probe(it, 3), SUCCESS, 3, 0.1)
    assert it.state is C


@pytest.mark.parametrize("probes_before", ["", "+"])
def test_a_probe_settled_as_a_success_that_breaks_later_has_failed_once(probes_before: str) -> None:
    it = recovering(3, 1.0)
    play(it, probes_before)
    permit = probe(it)
    it.settle(permit, SUCCESS, 0)
    assert it.fail_again(permit, 1)
    assert it.fail_again(permit, 1)
    assert it.state is H
    assert play(it, "-+"[len(probes_before) :], 1)[-1] is C


def test_a_probe_that_timed_out_and_breaks_later_has_failed_once() -> None:
    it = recovering(3, 0.6, half_open_timeout=5)
    it.settle(probe(it, 0), SUCCESS, 0)
    overdue = probe(it, 0)
    it.wake(5)
    assert not it.settle(overdue, SUCCESS, 6)
    it.fail_again(overdue, 7)
    assert it.state is H
    assert play(it, "+", 7) == [C]


def test_without_a_rate_a_probe_that_timed_out_takes_no_success_away() -> None:
    it = machine(H, half_open_max_calls=2, successes_to_close=2)
    it.settle(probe(it), SUCCESS, 0)
    # No probe has this number.
    it.fail_again(Permit(it.generation, 99), 0)
    assert it.state is H
    assert play(it, "+") == [C]


# Configured in the middle.


def configured(it: Machine, **changes: object) -> State:
    it.configure(replace(it.config, **changes), 0)  # type: ignore[arg-type]
    return it.state


@pytest.mark.parametrize(
    ("ended", "changes", "after"),
    [
        # Fewer probes than have ended are judged at once, by the share of those that have.
        ("+++", {"half_open_max_calls": 3}, C),
        ("++-", {"half_open_max_calls": 1, "half_open_failure_rate": 1 / 3}, O),
        ("++-", {"half_open_max_calls": 1, "half_open_failure_rate": 0.34}, C),
        ("+++", {"half_open_max_calls": 1}, C),
        ("+++", {"half_open_max_calls": 9}, H),
        # Another rate is, too.
        ("+-", {"half_open_failure_rate": 0.25}, O),
        ("+-", {"half_open_failure_rate": 0.26}, H),
        # What has failed under a rate fails nothing when there is none any more; the next verdict does.
        ("+-", {"half_open_failure_rate": None}, H),
    ],
)
def test_a_new_policy_judges_what_has_ended(ended: str, changes: dict[str, object], after: State) -> None:
    it = recovering(4, 0.6)
    play(it, ended)
    assert configured(it, **changes) is after


def test_a_rate_that_comes_in_the_middle_judges_the_probes_before_it() -> None:
    it = machine(H, half_open_max_calls=3, successes_to_close=3)
    play(it, "++")
    assert configured(it, half_open_failure_rate=0.5) is H
    assert play(it, "-") == [C]


@pytest.mark.parametrize(("outcome", "after"), [("+", C), ("-", O)])
def test_when_the_rate_goes_the_next_probe_decides(outcome: str, after: State) -> None:
    it = recovering(4, 1.0)
    play(it, "-")
    configured(it, half_open_failure_rate=None)
    assert play(it, outcome) == [after]


def test_with_fewer_places_than_running_probes_no_call_is_admitted() -> None:
    it = recovering(4, 1.0)
    running = [probe(it) for _ in range(4)]
    assert configured(it, half_open_max_calls=2) is H
    assert not it.admit(0)
    it.settle(running[0], FAILURE, 0)
    it.settle(running[1], SUCCESS, 0)
    assert it.state is C


# Observing.


def test_an_observing_machine_judges_by_the_rate_too() -> None:
    it = machine(W, max_failures=1, half_open_max_calls=2, half_open_failure_rate=1.0, reset_timeout=10)
    play(it, "-", 0)
    play(it, "-", 10)
    play(it, "+", 11)
    assert [event.new for event in it.drain()] == [O, H, C]


def test_an_observing_machines_probe_that_breaks_later_has_failed() -> None:
    """Its numbers aren't the shadow's: calls that the shadow would reject have one, too."""
    it = machine(W, max_failures=1, half_open_max_calls=2, half_open_failure_rate=1.0, reset_timeout=10)
    play(it, "-++", 0)
    first, second = probe(it, 10), probe(it, 10)
    rejected = probe(it, 10)
    assert it.snapshot(10).would_reject == 3
    it.settle(rejected, SUCCESS, 10)
    it.fail_again(rejected, 10)
    it.settle(first, SUCCESS, 10)
    it.fail_again(first, 10)
    assert [event.new for event in it.drain()] == [O, H]
    it.settle(second, FAILURE, 10)
    assert [event.new for event in it.drain()] == [O]


# Through the handle.


def policy(**settings: object) -> CircuitBreakerConfig:
    values = {"name": "it", "max_failures": 1, "reset_timeout": 10, "half_open_max_calls": 3, **settings}
    return CircuitBreakerConfig(**{"half_open_failure_rate": 0.5, **values})  # type: ignore[arg-type]


async def half_open(panel: Panel, clock: MockClock, **settings: object) -> CircuitBreaker:
    breaker = panel.breaker(policy(**settings))
    await breaker.trip()
    await advance(clock, 10)
    assert breaker.state is H
    return breaker


@pytest.mark.parametrize("style", ["execute", "guard", "protect"])
async def test_every_call_style_probes(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock, style: str
) -> None:
    breaker = await half_open(panel, mock_clock)

    @breaker.protect
    async def protected() -> object:
        return await dependency()

    async def call() -> None:
        if style == "guard":
            async with breaker.guard():
                await dependency()
        else:
            await (breaker.execute(dependency) if style == "execute" else protected())

    dependency.then("ok", DependencyDown("down"), "ok")
    await call()
    with pytest.raises(DependencyDown):
        await call()
    assert breaker.state is H
    await call()
    assert breaker.state is C


@pytest.mark.parametrize(
    ("script", "after"), [((True, False, True), C), ((False, True, False), O), ((True, True, True), C)]
)
async def test_the_breakers_own_probe_runs_as_often_as_is_judged(
    panel: Panel, mock_clock: MockClock, script: tuple[bool, ...], after: State
) -> None:
    """One after another, and no caller is risked."""
    passes, ran = list(script), []

    async def own() -> None:
        ran.append(trio.current_time())
        await trio.sleep(1)
        if not passes.pop(0):
            raise DependencyDown

    breaker = panel.breaker(policy(probe=own))
    await breaker.trip()
    await advance(mock_clock, 10)
    for _ in range(3):
        assert breaker.state is H
        await advance(mock_clock, 1)
    assert (breaker.state, ran) == (after, [10, 11, 12])


async def test_an_own_probe_that_hangs_is_one_of_several_that_failed(
    panel: Panel, mock_clock: MockClock
) -> None:
    ran = []

    async def own() -> None:
        ran.append(trio.current_time())
        if len(ran) == 1:
            await trio.sleep_forever()

    breaker = panel.breaker(policy(probe=own, half_open_timeout=5))
    await breaker.trip()
    await advance(mock_clock, 10)
    await advance(mock_clock, 5)
    await wait_all_tasks_blocked()
    assert (breaker.state, ran) == (C, [10, 15, 15])


async def test_a_guard_that_succeeded_and_then_failed_is_a_failed_probe(
    panel: Panel, mock_clock: MockClock
) -> None:
    breaker = await half_open(panel, mock_clock)
    for _ in range(2):
        assert breaker.state is H
        async with breaker.guard() as guard:
            guard.succeed()
            guard.fail("broke off")
    assert breaker.state is O

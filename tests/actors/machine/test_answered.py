"""A call that has answered though it goes on: the rules, then calls through a guard."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    CallSettled,
    CallTimeout,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    Guard,
    LastCalls,
    Machine,
    Outcome,
    Panel,
    Permit,
    SlowCallRate,
    State,
    open_panel,
)
from tests.actors.machine.machines import machine

FAILURE, SUCCESS, IGNORED, CANCELLED = Outcome.FAILURE, Outcome.SUCCESS, Outcome.IGNORED, Outcome.CANCELLED
C, H, O, F, D, W = State


def admitted(it: Machine, now: float = 0) -> Permit:
    permit = it.admit(now)
    assert isinstance(permit, Permit), permit
    return permit


def read(it: Machine, now: float = 0) -> dict[str, int]:
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
    assert read(it) == ({} if state is D else {"in_flight": 1})


@pytest.mark.parametrize("state", [O, F])
def test_answering_changes_nothing_where_no_call_is_admitted(state: State) -> None:
    it = machine(H)
    permit = admitted(it)
    if state is O:
        it.trip(0)
    else:
        it.hold(F, 0, "told")
    it.answered(permit, 0)
    assert it.state is state
    it.settle(permit, FAILURE, 0)
    assert read(it) == {"failure": 1, "late": 1}


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
def test_the_end_counts_once_and_in_time_in_the_new_generation(outcome: Outcome, failures: int) -> None:
    it = machine(H)
    permit = admitted(it)
    it.answered(permit, 1)
    assert it.settle(permit, outcome, 2)
    assert it.failure_count == failures
    assert it.state is C
    assert read(it, 2) == {outcome.value: 1}
    assert not it.settle(permit, outcome, 2), "it is over: a second end is late"


def test_an_end_counts_in_the_row_of_the_new_generation() -> None:
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
    assert read(it) == {"failure": 2, "rejected": 2}


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


def test_an_answered_calls_end_is_late_where_the_closed_breaker_has_opened() -> None:
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


def test_a_policy_in_between_leaves_answered_calls() -> None:
    it = machine(H, successes_to_close=2)
    permit = admitted(it)
    it.answered(permit, 0)
    it.configure(replace(it.config, max_failures=1), 0)
    it.settle(admitted(it), SUCCESS, 0)
    it.configure(replace(it.config, reset_timeout=7), 0)
    it.settle(permit, FAILURE, 0)
    assert it.deadline == 7


@pytest.mark.parametrize(("duration", "after"), [(None, C), (1.9, C), (2.0, O)])
def test_an_answer_that_was_slow_is_a_failed_probe(duration: float | None, after: State) -> None:
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
    assert (told.old, told.new, told.reason) == (H, C, "recovery successful")


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


# Through a guard.


class Down(Exception):
    """What a failing call raises."""


async def half_open(panel: Panel, clock: MockClock, **policy: object) -> CircuitBreaker:
    breaker = panel.breaker(CircuitBreakerConfig(name="it", **policy))  # type: ignore[arg-type]
    await breaker.trip()
    clock.jump(breaker.config.reset_timeout)
    await wait_all_tasks_blocked()
    assert breaker.state is H
    return breaker


async def test_a_probe_that_streams_on_closes_at_once(panel: Panel, mock_clock: MockClock) -> None:
    breaker = await half_open(panel, mock_clock, max_failures=1)
    with pytest.raises(Down):
        async with breaker.guard() as call:
            call.answered()
            call.answered()
            await wait_all_tasks_blocked()
            assert breaker.state is C
            assert (await breaker.snapshot()).in_flight == 1
            mock_clock.jump(1000)
            await wait_all_tasks_blocked()
            assert breaker.state is C
            raise Down
    assert breaker.state is O
    seen = await breaker.snapshot()
    assert (seen.counts["failure"], seen.counts["success"], seen.late, seen.in_flight) == (1, 0, 0, 0)


async def test_an_answered_call_is_one_event(panel: Panel, mock_clock: MockClock) -> None:
    breaker = await half_open(panel, mock_clock)
    async with breaker.events() as events:
        async with breaker.guard() as call:
            call.answered()
            await wait_all_tasks_blocked()
        await breaker.trip()
        told = [await anext(events) for _ in range(3)]
    settled = told[1]
    assert isinstance(settled, CallSettled)
    assert (settled.outcome, settled.late, settled.generation) == (SUCCESS, False, 4)
    assert [type(event).__name__ for event in told] == ["Transition", "CallSettled", "Transition"]


async def test_the_event_of_a_late_end_has_the_permits_generation(
    panel: Panel, mock_clock: MockClock
) -> None:
    breaker = await half_open(panel, mock_clock)
    async with breaker.events() as events:
        async with breaker.guard() as call:
            call.answered()
            await wait_all_tasks_blocked()
            await breaker.trip()
        told = [await anext(events) for _ in range(3)]
    settled = told[2]
    assert isinstance(settled, CallSettled)
    assert (settled.late, settled.generation) == (True, 3)


@pytest.mark.parametrize("verdict", ["fail", "ignore", "succeed"])
async def test_answering_after_a_verdict_does_nothing(
    panel: Panel, mock_clock: MockClock, verdict: str
) -> None:
    enough = 2 if verdict == "succeed" else 1
    breaker = await half_open(panel, mock_clock, successes_to_close=enough)
    async with breaker.guard() as call:
        getattr(call, verdict)()
        call.answered()
        await wait_all_tasks_blocked()
        assert breaker.state is H
        if verdict == "succeed":
            async with breaker.guard() as second:
                second.succeed()
                await wait_all_tasks_blocked()
                assert breaker.state is C
            return
    assert breaker.state is (O if verdict == "fail" else H)


@pytest.mark.parametrize(
    ("verdict", "counted"), [("fail", "failure"), ("ignore", "ignored"), ("succeed", "success")]
)
async def test_a_verdict_after_answering_is_the_end(
    panel: Panel, mock_clock: MockClock, verdict: str, counted: str
) -> None:
    breaker = await half_open(panel, mock_clock)
    async with breaker.guard() as call:
        call.answered()
        getattr(call, verdict)()
    seen = await breaker.snapshot()
    assert {name: count for name, count in seen.counts.items() if count} == {counted: 1}
    assert (seen.state, seen.late, seen.failure_count) == (C, 0, int(verdict == "fail"))


async def test_answering_while_closed_sends_nothing(panel: Panel) -> None:
    breaker = panel.breaker(CircuitBreakerConfig(name="it", max_failures=3))
    for _ in range(2):
        async with breaker.guard() as call:
            call.fail()
    async with breaker.guard() as call:
        waiting = breaker.mailbox._send.statistics().current_buffer_used
        call.answered()
        assert breaker.mailbox._send.statistics().current_buffer_used == waiting == 0
        await wait_all_tasks_blocked()
        assert (await breaker.snapshot()).failure_count == 2


async def test_an_observed_call_is_answered_in_the_shadow(panel: Panel, mock_clock: MockClock) -> None:
    breaker = panel.breaker(CircuitBreakerConfig(name="it", max_failures=1))
    await breaker.observe()
    async with breaker.guard() as call:
        call.fail()
    mock_clock.jump(60)
    await wait_all_tasks_blocked()
    async with breaker.events() as events:
        async with breaker.guard() as call:
            call.answered()
            told = await anext(events)
        assert (told.new, told.observed) == (C, True)  # type: ignore[union-attr]


@pytest.mark.parametrize("state", [C, H])
async def test_call_timeout_does_not_end_an_answered_call(
    panel: Panel, mock_clock: MockClock, state: State
) -> None:
    breaker = await half_open(panel, mock_clock, call_timeout=2, max_failures=1)
    if state is C:
        await breaker.reset()
    async with breaker.guard() as call:
        mock_clock.jump(1.5)
        await wait_all_tasks_blocked()
        call.answered()
        await wait_all_tasks_blocked()
        mock_clock.jump(100)
        await wait_all_tasks_blocked()
        await trio.lowlevel.checkpoint()
    assert (await breaker.snapshot()).counts["success"] == 1
    with pytest.raises(CallTimeout):
        async with breaker.guard():
            mock_clock.jump(2)
            await wait_all_tasks_blocked()
            await trio.lowlevel.checkpoint()


async def test_an_answer_after_the_end_comes_to_nothing(panel: Panel, mock_clock: MockClock) -> None:
    breaker = await half_open(panel, mock_clock, call_timeout=2, successes_to_close=2)
    async with breaker.guard() as call:
        call.exclude(0.5)
    call.answered()
    assert breaker.in_flight_calls is not None
    assert list(breaker.in_flight_calls) == [], "a call that is over isn't under way"
    assert (await breaker.snapshot()).state is H


async def test_opening_still_cancels_an_answered_call(panel: Panel, mock_clock: MockClock) -> None:
    breaker = await half_open(panel, mock_clock, call_timeout=2, cancel_in_flight=True)
    with pytest.raises(CircuitOpenError):
        async with breaker.guard() as call:
            call.answered()
            await wait_all_tasks_blocked()
            assert breaker.state is C
            await breaker.trip()
            await trio.lowlevel.checkpoint()
    seen = await breaker.snapshot()
    assert (seen.counts["cancelled"], seen.late, seen.in_flight) == (1, 1, 0)


async def test_an_answered_call_keeps_its_place_in_the_bulkhead(panel: Panel, mock_clock: MockClock) -> None:
    breaker = await half_open(panel, mock_clock, max_concurrent=1)
    async with breaker.guard() as call:
        call.answered()
        await wait_all_tasks_blocked()
        assert breaker.state is C
        assert breaker.bulkhead is not None
        assert not breaker.bulkhead.take_nowait(object())


async def test_answering_into_a_full_mailbox_is_handled_in_turn(panel: Panel, mock_clock: MockClock) -> None:
    breaker = await half_open(panel, mock_clock)
    async with breaker.guard() as call:
        async with trio.open_nursery() as nursery:
            for _ in range(300):
                nursery.start_soon(breaker.snapshot)
            await trio.lowlevel.checkpoint()
            while breaker.mailbox._send.statistics().current_buffer_used < 256:
                breaker.mailbox.try_send(breaker_snapshot())
            call.answered()
        await wait_all_tasks_blocked()
        assert breaker.state is C


def breaker_snapshot() -> object:
    from actors.commands import TakeSnapshot

    return TakeSnapshot()


async def test_answering_after_the_panels_end_does_nothing(mock_clock: MockClock) -> None:
    async with open_panel() as panel:
        breaker = await half_open(panel, mock_clock)
        call = await breaker.guard().__aenter__()
    call.answered()
    await call.__aexit__(None, None, None)


async def test_an_abandoned_answered_call_is_cancelled(panel: Panel, mock_clock: MockClock) -> None:
    breaker = await half_open(panel, mock_clock)
    guard = breaker.guard()
    await guard.enter()
    guard.answered()
    await wait_all_tasks_blocked()
    assert breaker.state is C
    await guard.__aexit__(GeneratorExit, GeneratorExit(), None)
    seen = await breaker.snapshot()
    assert (seen.counts["cancelled"], seen.late, seen.in_flight) == (1, 0, 0)


# Time that wasn't spent waiting.


async def test_excluded_time_is_no_part_of_the_duration(mock_clock: MockClock) -> None:
    async with open_panel(durations=(1.0, 5.0)) as panel:
        config = CircuitBreakerConfig(name="it", trip=SlowCallRate(1.0, 2.0, LastCalls(1), 1))
        breaker = panel.breaker(config)
        async with breaker.guard() as call:
            mock_clock.jump(4.5)
            call.exclude(1.0)
            call.exclude(2.0)
        assert (await breaker.snapshot()).state is C
        assert await totals(breaker) == 1.5
        async with breaker.guard() as call:
            mock_clock.jump(1.0)
            call.exclude(3.0)
            call.exclude(-50.0)
            call.exclude(float("nan"))
        assert await totals(breaker) == 1.5, "never below zero, never longer"
        async with breaker.guard() as call:
            mock_clock.jump(3.0)
            call.exclude(2.0)
            call.succeed()
        assert await totals(breaker) == 2.5
        async with breaker.guard() as call:
            mock_clock.jump(3.0)
            call.exclude(1.0)
        assert breaker.state is O


async def totals(breaker: CircuitBreaker) -> float:
    durations = (await breaker.snapshot()).durations
    assert durations is not None
    return durations.total


async def test_excluded_time_is_no_part_of_the_time_to_an_answer(panel: Panel, mock_clock: MockClock) -> None:
    trip = SlowCallRate(0.5, 2.0, LastCalls(2), 2)
    breaker = await half_open(panel, mock_clock, trip=trip)
    for excluded, after in ((0.0, O), (2.0, C)):
        async with breaker.guard() as call:
            mock_clock.jump(3.0)
            call.exclude(excluded)
            call.answered()
            await wait_all_tasks_blocked()
            assert breaker.state is after
        mock_clock.jump(60)
        await wait_all_tasks_blocked()


async def test_excluded_time_is_no_part_of_a_call_that_timed_out(mock_clock: MockClock) -> None:
    async with open_panel(durations=(1.0, 5.0)) as panel:
        config = CircuitBreakerConfig(name="it", trip=SlowCallRate(1.0, 2.0, LastCalls(1), 1), call_timeout=3)
        breaker = panel.breaker(config)
        for excluded, after in ((2.0, C), (0.5, O)):
            with pytest.raises(CallTimeout):
                async with breaker.guard() as call:
                    call.exclude(excluded)
                    mock_clock.jump(3)
                    await trio.sleep_forever()
            assert breaker.state is after
        assert await totals(breaker) == 3.5


async def test_time_is_excluded_where_none_is_measured(panel: Panel) -> None:
    breaker = panel.breaker(CircuitBreakerConfig(name="it"))
    async with breaker.guard() as call:
        call.exclude(1.0)
    assert isinstance(call, Guard)
    assert (await breaker.snapshot()).counts["success"] == 1

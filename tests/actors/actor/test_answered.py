"""guard().answered(): a call that is answered while it goes on."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CallSettled, CallTimeout, CircuitBreakerConfig, CircuitOpenError, Panel, State, open_panel
from actors.testing import DependencyDown
from tests.actors.actor.half_open import half_open
from tests.actors.machine.machines import SUCCESS, C, H, O


async def test_a_probe_that_streams_on_closes_at_once(panel: Panel, mock_clock: MockClock) -> None:
    breaker = await half_open(panel, mock_clock, max_failures=1)
    with pytest.raises(DependencyDown):
        async with breaker.guard() as call:
            call.answered()
            call.answered()
            await wait_all_tasks_blocked()
            assert breaker.state is C
            assert (await breaker.snapshot()).in_flight == 1
            mock_clock.jump(1000)
            await wait_all_tasks_blocked()
            assert breaker.state is C
            raise DependencyDown
    assert breaker.state is O
    seen = await breaker.snapshot()
    assert seen.counts["failure"] == 1
    assert seen.counts["success"] == 0
    assert seen.late == 0
    assert seen.in_flight == 0


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
    assert settled.outcome == SUCCESS
    assert settled.late is False
    assert settled.generation == 4
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
    assert settled.late is True
    assert settled.generation == 3


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
    assert seen.state is C
    assert seen.late == 0
    assert seen.failure_count == int(verdict == "fail")


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


async def test_answering_after_the_end_does_nothing(panel: Panel, mock_clock: MockClock) -> None:
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
    assert seen.counts["cancelled"] == 1
    assert seen.late == 1
    assert seen.in_flight == 0


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
                breaker.mailbox.try_send(snapshot_message())
            call.answered()
        await wait_all_tasks_blocked()
        assert breaker.state is C


def snapshot_message() -> object:
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
    assert seen.counts["cancelled"] == 1
    assert seen.late == 0
    assert seen.in_flight == 0

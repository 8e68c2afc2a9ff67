"""What happens seldom: full mailboxes, closed coroutines, policies that change under way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    CallSettled,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    FailureRate,
    LastCalls,
    LastSeconds,
    Machine,
    Outcome,
    Panel,
    PanelClosedError,
    State,
    TripStrategy,
    open_panel,
)
from actors.machine.states import Closed
from actors.policy.trip import TripCounter
from actors.testing import DependencyDown, ScriptedDependency, advance


def policy(**fields: object) -> CircuitBreakerConfig:
    return CircuitBreakerConfig(name="it", **fields)  # type: ignore[arg-type]


# Calls that end in odd ways.


@pytest.mark.parametrize("half_open", [False, True])
async def test_a_generator_that_is_closed_inside_a_guard_is_neutral(
    panel: Panel, mock_clock: MockClock, half_open: bool
) -> None:
    """As a cancelled caller: a probe's slot comes back too."""
    breaker = panel.breaker(policy(max_failures=1))
    if half_open:
        await breaker.trip()
        await advance(mock_clock, 60)
    before = breaker.state

    async def rows() -> AsyncIterator[int]:
        async with breaker.guard():
            yield 1

    generator = rows()
    await anext(generator)
    assert (await breaker.snapshot()).in_flight == 1
    await generator.aclose()  # type: ignore[attr-defined]
    snapshot = await breaker.snapshot()
    assert (snapshot.state, snapshot.in_flight, snapshot.counts["cancelled"]) == (before, 0, 1)
    async with breaker.guard():
        pass
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("disabled", [False, True])
async def test_a_generator_that_is_closed_after_its_success_counts_no_more(
    panel: Panel, disabled: bool
) -> None:
    """What was settled stays so; and a disabled breaker records nothing."""
    breaker = panel.breaker(policy())
    if disabled:
        await breaker.disable()

    async def rows() -> AsyncIterator[int]:
        async with breaker.guard() as call:
            if not disabled:
                call.succeed()
            yield 1

    generator = rows()
    await anext(generator)
    await generator.aclose()  # type: ignore[attr-defined]
    counts = (await breaker.snapshot()).counts
    assert (counts["success"], counts["cancelled"]) == (not disabled, 0)


async def test_a_group_of_nothing_but_cancellations_is_a_cancellation(panel: Panel) -> None:
    """Some libraries wrap what their children were cancelled by."""
    breaker = panel.breaker(policy(max_failures=1))

    async def wrapping() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            raise BaseExceptionGroup("children", [cancelled]) from None

    with trio.move_on_after(0):
        await breaker.execute(wrapping)
    snapshot = await breaker.snapshot()
    assert (snapshot.state, snapshot.counts["cancelled"], snapshot.in_flight) == (State.CLOSED, 1, 0)


async def test_a_verdict_gives_way_to_the_callers_cancellation(panel: Panel) -> None:
    """Whoever was cancelled says nothing about the dependency, whatever was said before."""
    breaker = panel.breaker(policy(max_failures=1))
    with trio.move_on_after(0):
        async with breaker.guard() as call:
            call.fail("was about to")
            await trio.sleep_forever()
    assert (await breaker.snapshot()).counts["cancelled"] == 1
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("policies", [{}, {"call_timeout": 5}])
async def test_a_disabled_breaker_counts_no_waiter_that_is_cancelled(
    panel: Panel, policies: dict[str, float]
) -> None:
    """It records nothing, of those who wait for a place neither."""
    breaker = panel.breaker(policy(max_concurrent=1, max_queue=1, **policies))
    await breaker.disable()
    async with breaker.guard():
        with trio.move_on_after(0):
            await breaker.execute(trio.sleep, 0)
    assert sum((await breaker.snapshot()).counts.values()) == 0


async def test_a_rejected_waiter_leaves_its_place(panel: Panel, dependency: ScriptedDependency) -> None:
    """One that got its place after the breaker had opened must not keep it from others."""
    breaker = panel.breaker(policy(max_concurrent=1, max_queue=1))
    rejected = []

    async def wait() -> None:
        with pytest.raises(CircuitOpenError):
            await breaker.execute(dependency)
        rejected.append(1)

    async with trio.open_nursery() as nursery:
        async with breaker.guard():
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            await breaker.trip()
    await breaker.reset()
    assert rejected == [1]
    assert await breaker.execute(dependency) == "ok"


async def test_retired_gates_go_when_their_last_call_has_ended(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    """Memory stays bounded, however often a breaker opens with calls under way."""
    breaker = panel.breaker(policy(max_failures=1))
    for _ in range(3):
        dependency.breaks()
        with pytest.raises(DependencyDown):
            await breaker.execute(dependency)
        await breaker.reset()
        dependency.mends()
        dependency.holds()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(breaker.execute, dependency)
            await wait_all_tasks_blocked()
            await breaker.trip()
            assert len(breaker.retired or ()) == 1
            dependency.lets_go()
        snapshot = await breaker.snapshot()
        assert (breaker.retired, snapshot.in_flight) == (None, 0)
        await breaker.reset()


async def test_the_wait_is_never_negative(panel: Panel, mock_clock: MockClock) -> None:
    """Between the deadline and the actor's waking a probe is due: 0 seconds."""
    breaker = panel.breaker(policy())
    await breaker.trip()
    mock_clock.jump(61)
    assert breaker.retry_after == 0


async def test_an_outage_begins_once_by_the_wall_clock_too(panel: Panel, mock_clock: MockClock) -> None:
    """Neither a probe nor a failed recovery is the start of another one."""
    breaker = panel.breaker(policy())
    began = []
    await breaker.trip()
    for _ in range(3):
        began.append((await breaker.snapshot()).unix_opened_at)
        await advance(mock_clock, 60)
        began.append((await breaker.snapshot()).unix_opened_at)
        await breaker.trip()
    assert began[0] > 0
    assert len(set(began)) == 1
    await breaker.reset()
    assert (await breaker.snapshot()).unix_opened_at == 0


# Policies that change under way.


@pytest.mark.parametrize("places", [2, None])
async def test_a_new_policy_changes_the_bulkhead_in_place(
    panel: Panel, dependency: ScriptedDependency, places: int | None
) -> None:
    """Those who wait move up as soon as there are more places, or as many as one likes."""
    breaker = panel.breaker(policy(max_concurrent=1, max_queue=1))
    dependency.holds()
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(breaker.execute, dependency)
        await wait_all_tasks_blocked()
        assert dependency.running == 1
        await breaker.configure(policy(max_concurrent=places))
        await wait_all_tasks_blocked()
        assert dependency.running == 2
        dependency.lets_go()


async def test_a_strategy_that_fails_to_make_a_counter_is_the_callers_error(panel: Panel) -> None:
    """The breaker goes on with the policy that it has."""

    class Broken(TripStrategy):
        def counter(self) -> TripCounter:
            raise MemoryError

    breaker = panel.breaker(policy())
    with pytest.raises(MemoryError):
        await breaker.configure(policy(trip=Broken()))
    await breaker.execute(trio.lowlevel.checkpoint)
    assert (await breaker.snapshot()).restarts == 0


async def test_a_probe_that_is_configured_while_a_caller_probes_waits_its_turn(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    """There are no more probes at once than the policy says, whoever sends them."""
    breaker = panel.breaker(policy(successes_to_close=2))
    probe = ScriptedDependency()
    await breaker.trip()
    await advance(mock_clock, 60)
    async with breaker.guard():
        await breaker.configure(policy(successes_to_close=2, probe=probe))
        await wait_all_tasks_blocked()
        assert probe.calls == 0
    await wait_all_tasks_blocked()
    assert (probe.calls, breaker.state) == (1, State.CLOSED)


async def test_the_breakers_own_probe_may_end_too_late(panel: Panel, mock_clock: MockClock) -> None:
    """Its verdict is dropped where an operator has decided meanwhile."""
    probe = ScriptedDependency()
    probe.holds()
    breaker = panel.breaker(policy(probe=probe))
    await breaker.trip()
    await advance(mock_clock, 60)
    await breaker.force_open()
    probe.lets_go()
    await wait_all_tasks_blocked()
    snapshot = await breaker.snapshot()
    assert (snapshot.state, snapshot.late, snapshot.in_flight) == (State.FORCED_OPEN, 1, 0)


async def test_a_probe_of_before_does_not_speak_for_the_next_one(panel: Panel, mock_clock: MockClock) -> None:
    """Where an operator trips while the breaker probes, both probes run, and only the second counts."""
    ends = [trio.Event(), trio.Event()]
    started: list[int] = []

    async def probe() -> None:
        started.append(len(started))
        await ends[started[-1]].wait()

    breaker = panel.breaker(policy(reset_timeout=1, probe=probe))
    for _ in range(2):
        await breaker.trip()
        await advance(mock_clock, 1)
    ends[0].set()
    await wait_all_tasks_blocked()
    assert (breaker.state, started) == (State.HALF_OPEN, [0, 1])
    ends[1].set()
    await wait_all_tasks_blocked()
    assert (breaker.state, (await breaker.snapshot()).late) == (State.CLOSED, 1)


async def test_a_call_that_fails_after_its_panel_closed_keeps_its_own_end() -> None:
    """The panel's end is no news to whoever has an exception of their own."""
    dependency = ScriptedDependency()
    dependency.holds()
    dependency.breaks()

    async def outlive(breaker: CircuitBreaker) -> None:
        with pytest.raises(DependencyDown):
            await breaker.execute(dependency)

    async with trio.open_nursery() as nursery:
        async with open_panel() as panel:
            nursery.start_soon(outlive, panel.breaker(policy()))
            await wait_all_tasks_blocked()
        dependency.lets_go()


async def test_a_success_trips_that_began_before_its_kind_mattered(panel: Panel) -> None:
    """It was admitted while no success could trip, and fills the minimum after a failure."""
    breaker = panel.breaker(policy(trip=FailureRate(0.5, LastCalls(10), 2)))
    dependency = ScriptedDependency()
    dependency.holds()
    dependency.then("ok")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, dependency)
        await wait_all_tasks_blocked()
        broken = ScriptedDependency()
        broken.breaks()
        with pytest.raises(DependencyDown):
            await breaker.execute(broken)
        assert breaker.state is State.CLOSED
        dependency.lets_go()
    assert breaker.state is State.OPEN


async def test_a_crash_on_waking_leaves_no_gate_of_before(
    panel: Panel, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers go by the new generation though nobody sends a message in between."""
    breaker = panel.breaker(policy(trip=FailureRate(1.0, LastSeconds(10), 1)))
    await breaker.execute(ScriptedDependency())

    def crash(machine: Machine, now: float) -> None:
        monkeypatch.undo()
        raise RuntimeError("crashed on purpose")

    monkeypatch.setattr(Machine, "wake", crash)
    await advance(mock_clock, 1)
    broken = ScriptedDependency()
    broken.breaks()
    with pytest.raises(DependencyDown):
        await breaker.execute(broken)
    assert (breaker.state, (await breaker.snapshot()).late) == (State.OPEN, 0)


async def test_a_result_over_which_the_rules_crash_is_counted_once(
    panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the actor is handed the same message twice."""
    breaker = panel.breaker(policy())

    def crash(*_: object) -> None:
        monkeypatch.undo()
        raise RuntimeError("crashed on purpose")

    monkeypatch.setattr(Closed, "settle", crash)
    with pytest.raises(DependencyDown):
        async with breaker.guard():
            raise DependencyDown
    snapshot = await breaker.snapshot()
    assert (snapshot.restarts, snapshot.counts["failure"], snapshot.in_flight) == (1, 1, 0)


# Listeners.


async def test_an_early_success_is_emitted_at_once(panel: Panel) -> None:
    """Not only at the end of the block."""
    breaker = panel.breaker(policy())
    async with breaker.events() as events, breaker.guard() as call:
        call.succeed()
        event = await anext(events)
        assert isinstance(event, CallSettled)
        assert event.outcome is Outcome.SUCCESS
    snapshot = await breaker.snapshot()
    assert (snapshot.counts["success"], snapshot.in_flight) == (1, 0)


async def test_calls_that_began_before_anybody_listened_are_events_too(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    """Though they are tallied, and not told one by one."""
    breaker = panel.breaker(policy())
    dependency.holds()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, dependency)
        await wait_all_tasks_blocked()
        async with breaker.events() as events:
            dependency.lets_go()
            await wait_all_tasks_blocked()
            await breaker.snapshot()
            event = await anext(events)
    assert isinstance(event, CallSettled)
    assert (event.outcome, event.late) == (Outcome.SUCCESS, False)


async def test_a_listener_needs_room_for_an_event(panel: Panel) -> None:
    """No buffer at all would lose every event."""
    with pytest.raises(ValueError, match="buffer must be at least 1, got 0"):
        async with panel.events(buffer=0):
            pass


async def test_force_open_cancels_calls_in_flight_if_the_policy_wants_it(panel: Panel) -> None:
    """As opening does."""
    breaker = panel.breaker(policy(cancel_in_flight=True))

    async def one() -> None:
        with pytest.raises(CircuitOpenError, match="FORCED_OPEN"):
            await breaker.execute(trio.sleep_forever)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one)
        await wait_all_tasks_blocked()
        await breaker.force_open()


@pytest.mark.parametrize("ends", [CircuitBreaker.reset, CircuitBreaker.disable, CircuitBreaker.observe])
async def test_a_wait_for_admission_ends_in_every_state_that_admits(
    panel: Panel, ends: Callable[[CircuitBreaker], object]
) -> None:
    """Whether it closes, or an operator lets everybody in."""
    breaker = panel.breaker(policy())
    await breaker.trip()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(breaker.wait_closed)
            await wait_all_tasks_blocked()
            await ends(breaker)  # type: ignore[misc]


async def test_a_wait_for_admission_ends_when_the_panel_closes() -> None:
    """And doesn't wait for ever."""
    told = []

    async def wait(breaker: CircuitBreaker) -> None:
        with pytest.raises(PanelClosedError):
            await breaker.wait_closed()
        told.append(1)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            async with open_panel() as panel:
                breaker = panel.breaker(policy())
                await breaker.trip()
                nursery.start_soon(wait, breaker)
                await wait_all_tasks_blocked()
    assert told == [1]

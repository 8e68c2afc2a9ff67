"""Waiting until a call is admitted: when the wait ends in each state, and how little it asks meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    Panel,
    PanelClosedError,
    State,
    open_panel,
)
from actors.breaker_actor import BreakerActor
from actors.commands import FindAdmission
from actors.machine.ramp import Ramp
from actors.testing import DependencyDown, ScriptedDependency, advance


def policy(**settings: object) -> CircuitBreakerConfig:
    return CircuitBreakerConfig(**{"name": "it", "max_failures": 1, "reset_timeout": 10, **settings})  # type: ignore[arg-type]


class Waiters:
    """Tasks that wait, and when each was told that a call is admitted."""

    def __init__(self, breaker: CircuitBreaker, nursery: trio.Nursery) -> None:
        self._breaker = breaker
        self._nursery = nursery
        self.ended: list[float] = []

    async def start(self, number: int = 1) -> None:
        for _ in range(number):
            self._nursery.start_soon(self._wait)
        await wait_all_tasks_blocked()

    async def _wait(self) -> None:
        await self._breaker.wait_until_admitting()
        self.ended.append(trio.current_time())


@asynccontextmanager
async def waiting(breaker: CircuitBreaker, number: int = 1) -> AsyncIterator[Waiters]:
    async with trio.open_nursery() as nursery:
        waiters = Waiters(breaker, nursery)
        await waiters.start(number)
        yield waiters
        nursery.cancel_scope.cancel()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times at which anybody asked when a call is admitted."""
    times: list[float] = []
    receive = BreakerActor.receive

    def counted(actor: BreakerActor, message: object, now: float) -> object:
        if isinstance(message, FindAdmission):
            times.append(now)
        return receive(actor, message, now)  # type: ignore[arg-type]

    monkeypatch.setattr(BreakerActor, "receive", counted)
    return times


@pytest.mark.parametrize("state", [State.CLOSED, State.DISABLED, State.OBSERVING])
async def test_where_calls_are_admitted_the_wait_is_over_at_once(
    panel: Panel, mock_clock: MockClock, state: State
) -> None:
    breaker = panel.breaker(policy())
    if state is State.DISABLED:
        await breaker.disable()
    elif state is State.OBSERVING:
        await breaker.observe()
    async with waiting(breaker) as waiters:
        assert waiters.ended == [0]


@pytest.mark.parametrize("stop", [CircuitBreaker.trip, CircuitBreaker.force_open])
async def test_where_calls_are_rejected_the_wait_goes_on(
    panel: Panel, mock_clock: MockClock, stop: Callable[[CircuitBreaker], object]
) -> None:
    breaker = panel.breaker(policy(reset_timeout=1000))
    await stop(breaker)  # type: ignore[misc]
    async with waiting(breaker) as waiters:
        await advance(mock_clock, 999)
        assert waiters.ended == []


@pytest.mark.parametrize(
    "start",
    [CircuitBreaker.reset, CircuitBreaker.disable, CircuitBreaker.observe],
    ids=lambda one: one.__name__,
)
@pytest.mark.parametrize(
    "stop", [CircuitBreaker.trip, CircuitBreaker.force_open], ids=lambda one: one.__name__
)
async def test_a_command_that_admits_calls_ends_every_wait(
    panel: Panel,
    mock_clock: MockClock,
    stop: Callable[[CircuitBreaker], object],
    start: Callable[[CircuitBreaker], object],
) -> None:
    breaker = panel.breaker(policy())
    await stop(breaker)  # type: ignore[misc]
    async with waiting(breaker, 20) as waiters:
        await start(breaker)  # type: ignore[misc]
        await wait_all_tasks_blocked()
        assert waiters.ended == [0] * 20


async def test_forcing_open_and_letting_it_go_again_doesnt_lose_a_waiter(
    panel: Panel, mock_clock: MockClock
) -> None:
    """FORCED_OPEN → OPEN → HALF_OPEN, with nobody who probes."""
    breaker = panel.breaker(policy())
    await breaker.force_open()
    async with waiting(breaker) as waiters:
        await breaker.trip()
        await advance(mock_clock, 10)
        assert (breaker.state, waiters.ended) == (State.HALF_OPEN, [])
        await advance(mock_clock, 1)
        assert waiters.ended == [11]


async def test_if_no_call_probes_for_a_second_the_wait_ends(panel: Panel, mock_clock: MockClock) -> None:
    """Else a breaker whose only callers wait would stay half-open for ever."""
    breaker = panel.breaker(policy())
    await breaker.trip()
    async with waiting(breaker, 3) as waiters:
        await advance(mock_clock, 10)
        await advance(mock_clock, 0.99)
        assert waiters.ended == []
        await advance(mock_clock, 0.01)
        assert waiters.ended == [11] * 3


@pytest.mark.parametrize("passes", [True, False])
async def test_a_probe_under_way_is_waited_for_however_long_it_takes(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock, passes: bool
) -> None:
    breaker = panel.breaker(policy(half_open_timeout=None))
    await breaker.trip()
    await advance(mock_clock, 10)
    dependency.holds()
    if not passes:
        dependency.breaks()
    async with waiting(breaker) as waiters, trio.open_nursery() as nursery:
        nursery.start_soon(call, breaker, dependency)
        await wait_all_tasks_blocked()
        await advance(mock_clock, 500)
        assert waiters.ended == []
        dependency.lets_go()
        await wait_all_tasks_blocked()
        assert waiters.ended == ([510] if passes else [])


async def call(breaker: CircuitBreaker, dependency: ScriptedDependency) -> None:
    with suppress(DependencyDown):
        await breaker.execute(dependency)


@pytest.mark.parametrize("ends", ["cancelled", "ignored"])
async def test_when_a_probe_decides_nothing_its_place_is_left_to_others_for_a_second(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock, ends: str
) -> None:
    breaker = panel.breaker(policy(ignore=DependencyDown))
    await breaker.trip()
    await advance(mock_clock, 10)
    dependency.holds()
    dependency.breaks()
    async with waiting(breaker) as waiters, trio.open_nursery() as nursery:
        nursery.start_soon(call, breaker, dependency)
        await wait_all_tasks_blocked()
        await advance(mock_clock, 5)
        if ends == "cancelled":
            nursery.cancel_scope.cancel()
        else:
            dependency.lets_go()
        await wait_all_tasks_blocked()
        await advance(mock_clock, 0.9)
        assert (breaker.state, waiters.ended) == (State.HALF_OPEN, [])
        with trio.CancelScope(shield=True):
            await advance(mock_clock, 0.125)
        assert len(waiters.ended) == 1


async def test_a_place_beside_a_running_probe_is_free_as_well(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = panel.breaker(policy(half_open_max_calls=2, successes_to_close=2))
    await breaker.trip()
    await advance(mock_clock, 10)
    dependency.holds()
    async with waiting(breaker) as waiters, trio.open_nursery() as nursery:
        nursery.start_soon(call, breaker, dependency)
        await wait_all_tasks_blocked()
        await advance(mock_clock, 1)
        assert waiters.ended == [11]
        nursery.cancel_scope.cancel()


async def test_a_probe_that_takes_too_long_opens_again_and_the_wait_goes_on(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = panel.breaker(policy(half_open_timeout=5))
    await breaker.trip()
    await advance(mock_clock, 10)
    dependency.holds()
    async with waiting(breaker) as waiters, trio.open_nursery() as nursery:
        nursery.start_soon(call, breaker, dependency)
        await wait_all_tasks_blocked()
        await advance(mock_clock, 5)
        assert (breaker.state, waiters.ended) == (State.OPEN, [])
        await advance(mock_clock, 10)
        await advance(mock_clock, 1)
        assert waiters.ended == [26]
        nursery.cancel_scope.cancel()


async def test_the_breakers_own_probe_decides_and_no_waiter_probes(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    dependency.holds()
    breaker = panel.breaker(policy(probe=dependency, half_open_timeout=None))
    await breaker.trip()
    async with waiting(breaker) as waiters:
        await advance(mock_clock, 10)
        await advance(mock_clock, 100)
        assert (dependency.running, waiters.ended) == (1, [])
        dependency.lets_go()
        await wait_all_tasks_blocked()
        assert waiters.ended == [110]


async def test_under_a_policy_without_a_probe_waiters_may_probe(panel: Panel, mock_clock: MockClock) -> None:
    async def hangs() -> None:
        await trio.sleep_forever()

    breaker = panel.breaker(policy(probe=hangs, half_open_timeout=5))
    await breaker.trip()
    await advance(mock_clock, 10)
    async with waiting(breaker) as waiters:
        await breaker.configure(policy(half_open_max_calls=2))
        await advance(mock_clock, 1)
        assert waiters.ended == [11]


async def test_in_a_ramp_the_wait_lasts_until_a_call_is_admitted(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = panel.breaker(policy(ramp=10))
    await breaker.trip()
    await advance(mock_clock, 10)
    async with waiting(breaker) as waiters:
        await breaker.execute(dependency)
        await wait_all_tasks_blocked()
        assert (breaker.state, waiters.ended) == (State.CLOSED, [])
        await advance(mock_clock, 9.9)
        assert waiters.ended == []
        await advance(mock_clock, 0.125)
        assert len(waiters.ended) == 1
        assert await breaker.execute(dependency) == "ok"


async def test_in_a_ramp_rejected_calls_bring_the_next_admission_nearer(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = panel.breaker(policy(ramp=10))
    await breaker.trip()
    await advance(mock_clock, 10)
    async with waiting(breaker) as waiters:
        await breaker.execute(dependency)
        await advance(mock_clock, 5)
        with pytest.raises(CircuitOpenError):
            await breaker.execute(dependency)
        await wait_all_tasks_blocked()
        assert waiters.ended == [15]
        assert await breaker.execute(dependency) == "ok"


def test_whoever_comes_alone_at_the_time_that_a_ramp_names_is_admitted() -> None:
    """Also where rounding would put that time an instant too early."""
    for start in (0.0, 0.1, 1000.3, 123456.789):
        for duration in (0.7, 3, 10, 30.3):
            for asked in ([], [0.1], [0.3, 0.1], [0.07] * 5):
                ramp = Ramp(start, duration)
                now = start
                for share in asked:
                    now = max(now, start + share * duration)
                    ramp.admit(now)
                assert ramp.admit(ramp.next_admission(now)), (start, duration, asked)


async def test_many_waiters_and_one_probe_all_get_through_in_the_end(
    panel: Panel, mock_clock: MockClock, asked: list[float]
) -> None:
    """Each calls when its wait is over, and waits again when it was not quick enough."""
    mock_clock.autojump_threshold = 0
    breaker = panel.breaker(policy())
    await breaker.trip()
    calls = 0

    async def worker() -> None:
        nonlocal calls
        while True:
            await breaker.wait_until_admitting()
            try:
                await breaker.execute(trio.sleep, 1)
                return
            except CircuitOpenError:
                calls += 1

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(worker)
    assert trio.current_time() == 10 + 1 + 1 + 1
    assert calls == 49
    assert len(asked) <= 50 * 5


async def test_waiting_takes_no_turns(panel: Panel, mock_clock: MockClock, asked: list[float]) -> None:
    """A waiter asks when it comes, and at each change that matters to it."""
    breaker = panel.breaker(policy(reset_timeout=1000))
    await breaker.trip()
    async with waiting(breaker, 10):
        for _ in range(100):
            await advance(mock_clock, 1)
            with pytest.raises(CircuitOpenError):
                await breaker.execute(trio.sleep, 0)
            await breaker.snapshot()
        assert len(asked) == 10


async def test_a_ramp_under_load_doesnt_wake_every_waiter_at_every_call(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock, asked: list[float]
) -> None:
    breaker = panel.breaker(policy(ramp=100))
    await breaker.trip()
    await advance(mock_clock, 10)
    async with waiting(breaker, 10):
        await breaker.execute(dependency)
        for _ in range(9):
            await advance(mock_clock, 1)
            with pytest.raises(CircuitOpenError):
                await breaker.execute(dependency)
        # Once when they came, and once when the ramp began.
        assert len(asked) == 20


async def test_cancelling_a_waiter_leaves_nothing_behind(panel: Panel, mock_clock: MockClock) -> None:
    breaker = panel.breaker(policy())
    await breaker.trip()
    async with waiting(breaker, 5):
        pass
    assert not breaker.is_watched
    async with waiting(breaker) as waiters:
        await breaker.reset()
        await wait_all_tasks_blocked()
        assert waiters.ended == [0]


async def test_a_cancelled_task_doesnt_get_past_the_wait(panel: Panel) -> None:
    """It is a checkpoint also where it is over at once."""
    breaker = panel.breaker(policy())
    with trio.CancelScope() as scope:
        scope.cancel()
        await breaker.wait_until_admitting()
    assert scope.cancelled_caught


@pytest.mark.parametrize("state", [State.OPEN, State.HALF_OPEN, State.FORCED_OPEN])
@pytest.mark.parametrize("end", ["panel closes", "breaker is removed"])
async def test_the_breakers_end_ends_every_wait(mock_clock: MockClock, state: State, end: str) -> None:
    told = []

    async def wait(breaker: CircuitBreaker) -> None:
        with pytest.raises(PanelClosedError):
            await breaker.wait_until_admitting()
        told.append(1)

    async with trio.open_nursery() as nursery:
        async with open_panel() as panel:
            breaker = panel.breaker(policy())
            await (breaker.force_open() if state is State.FORCED_OPEN else breaker.trip())
            if state is State.HALF_OPEN:
                await advance(mock_clock, 10)
            assert breaker.state is state
            nursery.start_soon(wait, breaker)
            nursery.start_soon(wait, breaker)
            await wait_all_tasks_blocked()
            if end == "breaker is removed":
                await panel.remove("it")
                await wait_all_tasks_blocked()
                assert told == [1, 1]
    assert told == [1, 1]


async def test_the_documented_loop_of_two_workers_ends(panel: Panel, mock_clock: MockClock) -> None:
    """Sleep for the rejection's retry_after, and call again: it is a number, whatever the reason."""
    mock_clock.autojump_threshold = 0
    breaker = panel.breaker(policy())
    await breaker.trip()
    done = []

    async def worker(number: int) -> None:
        while True:
            try:
                await breaker.execute(trio.sleep, 1)
                done.append(number)
                return
            except CircuitOpenError as error:
                await trio.sleep(error.retry_after)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(worker, number)
    assert sorted(done) == [0, 1, 2]


def test_the_former_name_is_the_same_method() -> None:
    assert CircuitBreaker.wait_closed is CircuitBreaker.wait_until_admitting


async def test_a_change_between_the_answer_and_the_wait_is_not_missed() -> None:
    """Both messages are handled in one turn of the actor, in either order."""
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it"))
        for _ in range(60):
            await breaker.trip()
            with trio.fail_after(5):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(breaker.wait_until_admitting)
                    await trio.lowlevel.checkpoint()
                    nursery.start_soon(breaker.reset)

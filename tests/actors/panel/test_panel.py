"""The panel: names, supervision, closing, events."""

from __future__ import annotations

import contextvars
import logging

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    CallSettled,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    EventsLost,
    Machine,
    Outcome,
    PanelClosedError,
    PanelFailedError,
    State,
    Transition,
    open_panel,
)
from actors.testing import DependencyDown, ScriptedDependency, advance
from tests.actors.failing import fail

CONFIG = CircuitBreakerConfig(name="it", max_failures=3)


class Bug(Exception):
    """An error in the breaker itself."""


class Saboteur:
    """Makes one of the machine's messages raise, `times` times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.left = 0

    def breaks(self, name: str, times: int) -> None:
        self.left = times
        original = getattr(Machine, name)

        def broken(*args: object, **kwargs: object) -> object:
            if self.left:
                self.left -= 1
                raise Bug(name)
            return original(*args, **kwargs)

        self._monkeypatch.setattr(Machine, name, broken)


@pytest.fixture
def saboteur(monkeypatch: pytest.MonkeyPatch) -> Saboteur:
    return Saboteur(monkeypatch)


async def test_a_name_has_one_breaker_and_one_policy() -> None:
    async with open_panel() as panel:
        breaker = panel.breaker(CONFIG)
        assert panel.breaker(CircuitBreakerConfig(name="it", max_failures=3)) is breaker
        with pytest.raises(ValueError, match="name 'it' is taken"):
            panel.breaker(CircuitBreakerConfig(name="it", max_failures=4))
        other = panel.breaker(CircuitBreakerConfig(name="other"))
        assert panel["it"] == breaker
        assert "it" in panel
        assert "no" not in panel
        assert list(panel) == [breaker, other]
        assert len(panel) == 2
        assert list(await panel.snapshots()) == ["it", "other"]
        with pytest.raises(KeyError, match="no"):
            panel["no"]


@pytest.mark.parametrize("message", ["admit", "settle", "wake", "snapshot"])
async def test_a_crashed_breaker_carries_on_and_answers_its_callers(
    saboteur: Saboteur, message: str, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "trio_breakers")
    async with open_panel() as panel:
        breaker = panel.breaker(CONFIG)
        await fail(breaker, 2)
        saboteur.breaks(message, 1)
        await fail(breaker, 1)
        await breaker.snapshot()
        # A failure that the actor was handling when it crashed belongs to the generation that ended.
        await fail(breaker, 3 - (await breaker.snapshot()).failure_count)
        assert breaker.state is State.OPEN
        await advance(mock_clock, 60)
        assert breaker.state is State.HALF_OPEN
        assert await breaker.execute(ScriptedDependency()) == "ok"
        snapshot = await breaker.snapshot()
        assert saboteur.left == 0
        assert snapshot.state is State.CLOSED
        assert snapshot.restarts == 1
        assert snapshot.in_flight == 0
        assert snapshot.counts["failure"] == 3 + snapshot.late
        assert snapshot.counts["success"] == 1


async def test_calls_in_flight_are_late_after_a_crash(saboteur: Saboteur) -> None:
    dependency = ScriptedDependency()
    dependency.holds()
    dependency.breaks()
    async with open_panel() as panel:
        breaker = panel.breaker(CONFIG)
        with pytest.RaisesGroup(DependencyDown, DependencyDown, DependencyDown):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(breaker.execute, dependency)
                await wait_all_tasks_blocked()
                saboteur.breaks("snapshot", 1)
                assert (await breaker.snapshot()).in_flight == 3
                dependency.lets_go()
        snapshot = await breaker.snapshot()
        assert snapshot.state is State.CLOSED
        assert snapshot.late == 3
        assert snapshot.in_flight == 0


async def test_too_many_crashes_fail_the_panel_and_no_caller_hangs(
    saboteur: Saboteur, caplog: pytest.LogCaptureFixture
) -> None:
    ended = []

    async def caller(breaker: CircuitBreaker) -> None:
        try:
            await breaker.trip()
        except PanelClosedError:
            ended.append("told")

    saboteur.breaks("trip", 99)
    async with trio.open_nursery() as nursery:
        with pytest.raises(PanelFailedError, match="more than 2 restarts in 60 s.*'it'") as failed:
            async with open_panel(max_restarts=2) as panel:
                breaker = panel.breaker(CONFIG)
                for _ in range(3):
                    nursery.start_soon(caller, breaker)
                await trio.sleep_forever()
    assert isinstance(failed.value.__cause__, Bug)
    assert ended == ["told"] * 3
    assert len(caplog.records) == 3


async def test_crashes_far_apart_never_fail_the_panel(
    saboteur: Saboteur, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_panel(max_restarts=1, restart_window=10) as panel:
        breaker = panel.breaker(CONFIG)
        for _ in range(5):
            saboteur.breaks("snapshot", 1)
            await breaker.snapshot()
            await advance(mock_clock, 11)
        assert (await breaker.snapshot()).restarts == 5


async def test_an_exception_of_the_block_is_not_wrapped() -> None:
    mine = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with open_panel() as panel:
            panel.breaker(CONFIG)
            raise mine
    assert caught.value is mine


async def test_an_exception_group_of_the_block_is_not_changed() -> None:
    mine = ExceptionGroup("mine", [KeyError()])
    with pytest.raises(ExceptionGroup) as caught:
        async with open_panel():
            raise mine
    assert caught.value is mine


async def test_a_cancelled_block_ends_quietly() -> None:
    with trio.move_on_after(0) as scope:
        async with open_panel() as panel:
            panel.breaker(CONFIG)
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_callers_that_wait_while_the_panel_closes_get_panel_closed_error() -> None:
    told = []

    async def ask(breaker: CircuitBreaker) -> None:
        try:
            while True:
                await breaker.snapshot()
        except PanelClosedError:
            told.append(1)

    async with trio.open_nursery() as nursery:
        async with open_panel() as panel:
            breaker = panel.breaker(CONFIG)
            for _ in range(400):
                nursery.start_soon(ask, breaker)
            await trio.lowlevel.checkpoint()
    assert len(told) == 400


async def test_a_breaker_made_in_a_request_does_not_keep_its_context() -> None:
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request")
    seen = []

    async def probe() -> None:
        seen.append(request.get(None))

    async with open_panel() as panel:
        request.set("one of many")
        breaker = panel.breaker(CircuitBreakerConfig(name="it", probe=probe, reset_timeout=1e-9))
        await breaker.trip()
        await breaker.wait_closed()
    assert seen == [None]


async def test_events_come_in_order_and_end_with_the_panel(mock_clock: MockClock) -> None:
    seen: list[object] = []

    async def listen(breaker: CircuitBreaker, task_status: trio.TaskStatus[None]) -> None:
        async with breaker.events() as events:
            task_status.started()
            async for event in events:
                match event:
                    case Transition(old=old, new=new, reason=reason):
                        seen.append((old, new, reason))
                    case CallSettled(outcome=outcome):
                        seen.append(outcome)
        seen.append("end")

    async with trio.open_nursery() as nursery:
        async with open_panel() as panel:
            breaker = panel.breaker(CircuitBreakerConfig(name="it", max_failures=2))
            await nursery.start(listen, breaker)
            await breaker.execute(ScriptedDependency())
            await fail(breaker, 2)
            await advance(mock_clock, 60)
            await breaker.execute(ScriptedDependency())
    assert seen == [
        Outcome.SUCCESS,
        Outcome.FAILURE,
        Outcome.FAILURE,
        (State.CLOSED, State.OPEN, "max failures reached"),
        (State.OPEN, State.HALF_OPEN, "attempting recovery"),
        Outcome.SUCCESS,
        (State.HALF_OPEN, State.CLOSED, "recovery successful"),
        "end",
    ]


async def test_a_slow_subscriber_loses_its_oldest_events_and_gets_their_number() -> None:
    async with open_panel() as panel:
        breaker = panel.breaker(CONFIG)
        async with panel.events(buffer=2) as events:
            for _ in range(3):
                await breaker.trip()
                await breaker.reset()
            first, second, third = [await anext(events) for _ in range(3)]
        assert first == EventsLost(4)
        assert isinstance(second, Transition)
        assert isinstance(third, Transition)
        assert second.new is State.OPEN
        assert third.new is State.CLOSED
        assert third.unix_time > 0


async def test_successes_are_counted_in_batches_again_after_listening() -> None:
    async with open_panel() as panel:
        breaker = panel.breaker(CONFIG)
        async with breaker.events():
            assert breaker.fast is None
        assert breaker.fast is not None


async def test_a_rejections_message_has_name_state_and_wait() -> None:
    async with open_panel() as panel:
        breaker = panel.breaker(CONFIG)
        assert repr(breaker) == "<CircuitBreaker 'it' CLOSED generation 1>"
        assert breaker.retry_after is None
        await breaker.trip()
        with pytest.raises(
            CircuitOpenError,
            match=r"'it' is OPEN for \d\.\d{3} s, waiting for .*; retry after (60|5\d)\.\d{3} s",
        ):
            await breaker.execute(ScriptedDependency())
        assert breaker.retry_after is not None
        assert 59 < breaker.retry_after <= 60


async def test_the_repr_of_a_panel_has_its_names_and_whether_it_is_closed() -> None:
    async with open_panel() as panel:
        panel.breaker(CONFIG)
        assert repr(panel) == "<Panel of 1 breakers: 'it'>"
    assert repr(panel) == "<closed Panel of 1 breakers: 'it'>"
    with pytest.raises(PanelClosedError):
        await panel.snapshots()

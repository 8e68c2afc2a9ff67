"""Calls through the handle: the stories a user tells, and what comes out of each."""

from __future__ import annotations

import contextvars
from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    BulkheadFullError,
    CallTimeout,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    FailureRate,
    LastCalls,
    Panel,
    PanelClosedError,
    RejectReason,
    State,
    Transition,
    open_panel,
)
from actors.call.classifier import Classifier
from actors.testing import DependencyDown, ScriptedDependency, advance


def make(panel: Panel, **policy: object) -> CircuitBreaker:
    return panel.breaker(CircuitBreakerConfig(name="it", **policy))  # type: ignore[arg-type]


async def fail(breaker: CircuitBreaker, dependency: ScriptedDependency, times: int) -> None:
    dependency.breaks()
    for _ in range(times):
        with pytest.raises(DependencyDown):
            await breaker.execute(dependency)
    dependency.mends()


async def test_fail_five_times_reject_probe_once_close(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = make(panel)
    await fail(breaker, dependency, 5)
    with pytest.raises(CircuitOpenError) as rejected:
        await breaker.execute(dependency)
    assert dependency.calls == 5
    assert (rejected.value.name, rejected.value.state) == ("it", State.OPEN)
    assert (rejected.value.reason, rejected.value.retry_after) == (RejectReason.OPEN, 60)
    await advance(mock_clock, 60)
    assert breaker.state is State.HALF_OPEN
    assert await breaker.execute(dependency) == "ok"
    assert breaker.state is State.CLOSED
    assert (await breaker.snapshot()).counts == {
        "success": 1, "failure": 5, "ignored": 0, "cancelled": 0, "rejected": 1,
    }  # fmt: skip


async def test_it_turns_half_open_at_the_deadline_without_traffic(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = make(panel, max_failures=1)
    await fail(breaker, dependency, 1)
    await advance(mock_clock, 59.9)
    assert breaker.state is State.OPEN
    await advance(mock_clock, 0.1)
    assert breaker.state is State.HALF_OPEN


async def test_at_exactly_the_deadline_a_call_is_admitted_before_the_actor_woke(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = make(panel, max_failures=1)
    await fail(breaker, dependency, 1)
    mock_clock.jump(60)
    assert await breaker.execute(dependency) == "ok"


async def test_of_twenty_at_half_open_exactly_one_gets_through(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = make(panel, max_failures=1)
    await fail(breaker, dependency, 1)
    await advance(mock_clock, 60)
    dependency.holds()
    rejections = []

    async def one() -> None:
        try:
            await breaker.execute(dependency)
        except CircuitOpenError as error:
            rejections.append((error.state, error.reason))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(one)
        await wait_all_tasks_blocked()
        assert dependency.running == 1
        dependency.lets_go()
    assert rejections == [(State.HALF_OPEN, RejectReason.PROBING)] * 19
    assert breaker.state is State.CLOSED


async def test_successes_between_failures_are_counted_in_their_place(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = make(panel, max_failures=3)
    for _ in range(5):
        await fail(breaker, dependency, 2)
        await breaker.execute(dependency)
    assert breaker.state is State.CLOSED
    await fail(breaker, dependency, 3)
    assert breaker.state is State.OPEN


class _Private(DependencyDown):
    pass


async def test_a_failure_is_called_by_a_name_that_can_be_looked_up(
    panel: Panel, mock_clock: MockClock
) -> None:
    """A private class says nothing to whoever reads it; the first public one above it does."""

    async def fail() -> None:
        raise _Private

    breaker = make(panel, max_failures=3, probe=fail)
    with pytest.raises(_Private):
        await breaker.execute(fail)
    assert (await breaker.snapshot()).last_failure == "DependencyDown"
    with pytest.raises(_Private):
        async with breaker.guard():
            raise _Private
    assert (await breaker.snapshot()).last_failure == "DependencyDown"
    await breaker.trip()
    await advance(mock_clock, 60)
    assert (await breaker.snapshot()).last_failure == "probe: DependencyDown"


async def test_after_the_last_failure_returned_no_call_is_admitted(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = make(panel, max_failures=3)
    admitted_late = []

    async def hammer() -> None:
        for _ in range(20):
            before = breaker.state
            try:
                await breaker.execute(dependency)
            except DependencyDown:
                pass
            except CircuitOpenError:
                return
            admitted_late.append(before is State.OPEN)

    dependency.breaks()
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(hammer)
    assert not any(admitted_late)
    assert dependency.calls <= 3 + 9


async def test_the_calls_own_exception_comes_out_bare_with_its_traceback(panel: Panel) -> None:
    breaker = make(panel)
    mine = KeyError("mine")

    async def inner() -> None:
        raise mine

    with pytest.raises(KeyError) as caught:
        await breaker.execute(inner)
    assert caught.value is mine
    assert "inner" in [entry.name for entry in caught.traceback]
    assert mine.__context__ is None


@pytest.mark.parametrize("policy", [{}, {"call_timeout": 9}, {"max_concurrent": 1}])
async def test_arguments_and_context_reach_the_call(panel: Panel, policy: dict[str, float]) -> None:
    breaker = make(panel, **policy)
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("the caller's")

    async def echo(*args: int, **kwargs: int) -> tuple[object, ...]:
        return args, kwargs, variable.get()

    assert await breaker.execute(echo, 1, 2, three=3) == ((1, 2), {"three": 3}, "the caller's")
    assert await breaker.execute(echo) == ((), {}, "the caller's")


@pytest.mark.parametrize("policy", [{}, {"call_timeout": 99}, {"max_concurrent": 1}])
@pytest.mark.parametrize("half_open", [False, True])
async def test_a_cancelled_caller_is_neutral_and_frees_its_slot(
    panel: Panel,
    dependency: ScriptedDependency,
    mock_clock: MockClock,
    policy: dict[str, float],
    half_open: bool,
) -> None:
    breaker = make(panel, max_failures=1, **policy)
    if half_open:
        await fail(breaker, dependency, 1)
        await advance(mock_clock, 60)
    before = breaker.state
    dependency.holds()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(breaker.execute, dependency)
            await wait_all_tasks_blocked()
            assert (await breaker.snapshot()).in_flight == 1
            scope.cancel()
    snapshot = await breaker.snapshot()
    assert (breaker.state, snapshot.in_flight, snapshot.counts["cancelled"]) == (before, 0, 1)
    dependency.lets_go()
    assert await breaker.execute(dependency) == "ok"


async def test_an_ignored_exception_is_neutral_and_counted(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = make(panel, max_failures=2, ignore=KeyError)
    dependency.then(DependencyDown(), KeyError(), KeyError(), DependencyDown())
    for error in (DependencyDown, KeyError, KeyError, DependencyDown):
        with pytest.raises(error):
            await breaker.execute(dependency)
    assert breaker.state is State.OPEN
    assert (await breaker.snapshot()).counts["ignored"] == 2


async def test_a_result_that_is_a_failure_counts_and_is_returned(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = make(panel, max_failures=2, failure_result=lambda value: value == 503)
    dependency.then(503, 503)
    assert [await breaker.execute(dependency) for _ in range(2)] == [503, 503]
    assert breaker.state is State.OPEN


async def test_a_call_timeout_counts_the_moment_it_fires_even_if_the_call_lingers(
    panel: Panel, mock_clock: MockClock
) -> None:
    breaker = make(panel, max_failures=1, call_timeout=5)

    async def stubborn() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(100)

    with pytest.RaisesGroup(CallTimeout):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(breaker.execute, stubborn)
            await wait_all_tasks_blocked()
            await advance(mock_clock, 5)
            assert breaker.state is State.OPEN
            await advance(mock_clock, 100)
    snapshot = await breaker.snapshot()
    assert (snapshot.counts["failure"], snapshot.in_flight, snapshot.late) == (1, 0, 0)


async def test_call_timeout_raises_bare_and_names_the_breaker(
    panel: Panel, dependency: ScriptedDependency, autojump_clock: MockClock
) -> None:
    breaker = make(panel, call_timeout=5)
    dependency.holds()
    with pytest.raises(CallTimeout, match="'it'.*5 s") as caught:
        await breaker.execute(dependency)
    assert trio.current_time() == 5
    assert caught.value.__cause__ is None


async def test_the_callers_own_deadline_is_no_call_timeout(
    panel: Panel, dependency: ScriptedDependency, autojump_clock: MockClock
) -> None:
    breaker = make(panel, max_failures=1, call_timeout=5)
    dependency.holds()
    with trio.move_on_after(5) as scope:
        await breaker.execute(dependency)
    assert scope.cancelled_caught or breaker.state is State.OPEN
    with trio.move_on_after(4) as scope:
        await breaker.reset()
        await breaker.execute(dependency)
    assert scope.cancelled_caught
    assert breaker.state is State.CLOSED


async def test_many_calls_time_out_each_in_its_own_time(panel: Panel, mock_clock: MockClock) -> None:
    breaker = make(panel, max_failures=99, call_timeout=10)
    ended = []

    async def one(number: int) -> None:
        with pytest.raises(CallTimeout):
            await breaker.execute(trio.sleep_forever)
        ended.append((number, trio.current_time()))

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(one, number)
            await advance(mock_clock, 0)
            await advance(mock_clock, 1)
        for _ in range(20):
            await advance(mock_clock, 1)
    assert ended == [(number, 10 + number) for number in range(5)]


async def test_opening_cancels_calls_in_flight_if_the_policy_wants_it(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = make(panel, max_failures=1, cancel_in_flight=True)
    raised = []

    async def one() -> None:
        with pytest.raises(CircuitOpenError) as caught:
            await breaker.execute(trio.sleep_forever)
        raised.append(caught.value.reason)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(one)
        await wait_all_tasks_blocked()
        await fail(breaker, dependency, 1)
    assert raised == [RejectReason.OPEN] * 3
    snapshot = await breaker.snapshot()
    assert (snapshot.in_flight, snapshot.counts["cancelled"], snapshot.counts["failure"]) == (0, 3, 1)


async def test_a_full_bulkhead_rejects_and_is_no_failure(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = make(panel, max_failures=1, max_concurrent=2)
    dependency.holds()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, dependency)
        nursery.start_soon(breaker.execute, dependency)
        await wait_all_tasks_blocked()
        with pytest.raises(BulkheadFullError, match="2 calls are running"):
            await breaker.execute(dependency)
        dependency.lets_go()
    snapshot = await breaker.snapshot()
    assert (snapshot.state, snapshot.rejections["bulkhead"]) == (State.CLOSED, 1)
    assert (snapshot.counts["success"], snapshot.counts["rejected"]) == (2, 1)


async def test_waiters_for_a_place_are_first_in_first_out_and_leave_when_cancelled(panel: Panel) -> None:
    breaker = make(panel, max_concurrent=1, max_queue=3)
    order = []
    release = trio.Event()

    async def one(number: int) -> None:
        order.append(number)
        await release.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, one, 0)
        await wait_all_tasks_blocked()
        scopes = []
        for number in range(1, 4):
            scope = trio.CancelScope()
            scopes.append(scope)

            async def waiter(scope: trio.CancelScope = scope, number: int = number) -> None:
                with scope:
                    await breaker.execute(one, number)

            nursery.start_soon(waiter)
            await wait_all_tasks_blocked()
        with pytest.raises(BulkheadFullError):
            await breaker.execute(one, 9)
        scopes[1].cancel()
        await wait_all_tasks_blocked()
        release.set()
    assert order == [0, 1, 3]
    snapshot = await breaker.snapshot()
    assert (snapshot.counts["success"], snapshot.counts["cancelled"], snapshot.in_flight) == (3, 1, 0)


async def test_a_waiter_gives_up_after_queue_timeout(panel: Panel, autojump_clock: MockClock) -> None:
    breaker = make(panel, max_concurrent=1, max_queue=1, queue_timeout=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, trio.sleep, 10)
        await wait_all_tasks_blocked()
        with pytest.raises(BulkheadFullError):
            await breaker.execute(trio.sleep, 1)
        assert trio.current_time() == 2


async def test_a_waiter_woken_after_opening_is_rejected_not_sent(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = make(panel, max_failures=1, max_concurrent=1, max_queue=5)
    dependency.holds()
    dependency.breaks()
    rejected = []

    async def waiter() -> None:
        try:
            await breaker.execute(dependency)
        except (CircuitOpenError, DependencyDown) as error:
            rejected.append(type(error))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(waiter)
        await wait_all_tasks_blocked()
        dependency.lets_go()
    assert sorted(kind.__name__ for kind in rejected) == ["CircuitOpenError"] * 3 + ["DependencyDown"]
    assert dependency.calls == 1


async def test_a_probe_without_a_free_place_gives_its_permit_back(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = make(panel, max_failures=1, max_concurrent=1, max_queue=1)
    dependency.holds()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, dependency)
        await wait_all_tasks_blocked()
        await breaker.trip()
        await advance(mock_clock, 60)
        with pytest.raises(BulkheadFullError):
            await breaker.execute(dependency)
        dependency.lets_go()
    assert await breaker.execute(dependency) == "ok"
    assert breaker.state is State.CLOSED


async def test_execute_or_falls_back_only_on_its_own_rejection(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = make(panel, max_failures=1)

    async def awaited(error: Exception) -> str:
        return f"awaited {type(error).__name__}"

    assert await breaker.execute_or(lambda error: "plain", dependency) == "ok"
    other = panel.breaker(CircuitBreakerConfig(name="other"))
    await other.trip()
    with pytest.raises(CircuitOpenError, match="other"):
        await breaker.execute_or(lambda error: "plain", other.execute, dependency)
    await fail(breaker, dependency, 1)
    assert breaker.state is State.OPEN
    assert await breaker.execute_or(lambda error: "plain", dependency) == "plain"
    assert await breaker.execute_or(awaited, dependency) == "awaited CircuitOpenError"


async def test_protect_keeps_name_and_document(panel: Panel) -> None:
    breaker = make(panel, max_failures=1)

    @breaker.protect
    async def add(a: int, b: int = 2) -> int:
        """Adds."""
        return a + b

    assert (await add(1), await add(1, b=5), add.__name__, add.__doc__) == (3, 6, "add", "Adds.")
    await breaker.trip()
    with pytest.raises(CircuitOpenError):
        await add(1)


async def test_a_guarded_block_counts_as_one_call(panel: Panel) -> None:
    breaker = make(panel, max_failures=2)
    async with breaker.guard():
        pass
    with pytest.raises(DependencyDown):
        async with breaker.guard():
            raise DependencyDown
    async with breaker.guard() as call:
        call.fail("said so")
    snapshot = await breaker.snapshot()
    assert (snapshot.state, snapshot.last_failure) == (State.OPEN, "said so")
    assert snapshot.counts["success"] == 1


async def test_a_guard_may_ignore_its_own_failure(panel: Panel) -> None:
    breaker = make(panel, max_failures=1)
    with pytest.raises(DependencyDown):
        async with breaker.guard() as call:
            call.ignore()
            raise DependencyDown
    assert breaker.state is State.CLOSED
    assert (await breaker.snapshot()).counts["ignored"] == 1


@pytest.mark.parametrize("policy", [{}, {"call_timeout": 5}])
async def test_an_early_success_closes_and_a_later_break_counts_once_more(
    panel: Panel, mock_clock: MockClock, policy: dict[str, float]
) -> None:
    breaker = make(panel, max_failures=1, **policy)
    await breaker.trip()
    await advance(mock_clock, 60)
    async with breaker.guard() as call:
        call.succeed()
        await wait_all_tasks_blocked()
        assert breaker.state is State.CLOSED
        await advance(mock_clock, 60)
    assert (await breaker.snapshot()).counts["success"] == 1
    async with breaker.guard() as call:
        call.succeed()
        call.fail("broke off")
    assert breaker.state is State.OPEN
    assert (await breaker.snapshot()).in_flight == 0


async def test_wait_closed_returns_with_the_probes_verdict(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = make(panel, max_failures=1)
    await breaker.wait_closed()
    await fail(breaker, dependency, 1)
    waited = []

    async def wait() -> None:
        await breaker.wait_closed()
        waited.append(breaker.state)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await advance(mock_clock, 60)
        assert not waited
        await breaker.execute(dependency)
    assert waited == [State.CLOSED]


async def test_the_breakers_own_probe_risks_no_callers_request(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    probe = ScriptedDependency()
    breaker = make(panel, max_failures=1, probe=probe)
    await fail(breaker, dependency, 1)
    probe.holds()
    await advance(mock_clock, 60)
    assert probe.running == 1
    with pytest.raises(CircuitOpenError):
        await breaker.execute(dependency)
    probe.breaks()
    probe.lets_go()
    await wait_all_tasks_blocked()
    assert breaker.state is State.OPEN
    probe.mends()
    await advance(mock_clock, 60)
    assert breaker.state is State.CLOSED
    assert (probe.calls, dependency.calls) == (2, 1)


async def test_a_hung_probe_of_its_own_is_cancelled_and_has_failed(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    probe = ScriptedDependency()
    breaker = make(panel, max_failures=1, probe=probe, half_open_timeout=3)
    await fail(breaker, dependency, 1)
    probe.holds()
    await advance(mock_clock, 60)
    await advance(mock_clock, 3)
    assert (breaker.state, probe.running) == (State.OPEN, 0)
    probe.lets_go()
    await advance(mock_clock, 60)
    assert breaker.state is State.CLOSED


async def test_own_probes_run_until_enough_have_succeeded(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    probe = ScriptedDependency()
    breaker = make(panel, max_failures=1, probe=probe, successes_to_close=3)
    await fail(breaker, dependency, 1)
    await advance(mock_clock, 60)
    assert (breaker.state, probe.calls) == (State.CLOSED, 3)


async def test_a_ramp_holds_whatever_the_strategy(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = make(panel, trip=FailureRate(0.5, LastCalls(4), 1), ramp=10)
    await fail(breaker, dependency, 1)
    await advance(mock_clock, 60)
    await breaker.execute(dependency)
    with pytest.raises(CircuitOpenError) as rejected:
        await breaker.execute(dependency)
    assert (rejected.value.state, rejected.value.reason) == (State.CLOSED, RejectReason.RAMP)
    await advance(mock_clock, 10)
    assert [await breaker.execute(dependency) for _ in range(5)] == ["ok"] * 5


async def test_a_failure_after_an_early_success_counts_for_nothing_while_disabled(panel: Panel) -> None:
    breaker = make(panel)
    await breaker.disable()
    async with breaker.guard() as call:
        call.succeed()
        call.fail("broke off")
    assert sum((await breaker.snapshot()).counts.values()) == 0


async def test_an_observed_breaker_with_its_own_probe_recovers_by_what_callers_see(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = make(panel, max_failures=1, probe=dependency)
    await breaker.observe()
    async with panel.events() as events:
        await fail(breaker, dependency, 1)
        await advance(mock_clock, 60)
        await breaker.execute(dependency)
        seen = [await anext(events) for _ in range(3)]
    assert [event.new for event in seen if isinstance(event, Transition)] == [
        State.OPEN,
        State.HALF_OPEN,
        State.CLOSED,
    ]


async def test_disable_admits_and_records_nothing_but_the_timeout_holds(
    panel: Panel, dependency: ScriptedDependency, autojump_clock: MockClock
) -> None:
    breaker = make(panel, max_failures=1, call_timeout=5)
    await breaker.disable()
    await fail(breaker, dependency, 3)
    dependency.holds()
    with pytest.raises(CallTimeout):
        await breaker.execute(dependency)
    snapshot = await breaker.snapshot()
    assert (snapshot.state, sum(snapshot.counts.values()), snapshot.in_flight) == (State.DISABLED, 0, 0)


async def test_force_open_never_ends_by_time(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = make(panel)
    await breaker.force_open()
    await advance(mock_clock, 1e6)
    with pytest.raises(CircuitOpenError) as rejected:
        await breaker.execute(dependency)
    assert (rejected.value.reason, rejected.value.retry_after) == (RejectReason.FORCED, 30.0)
    assert "'it' is FORCED_OPEN for 1000000.000 s, waiting for an operator" in str(rejected.value)
    await breaker.reset()
    assert await breaker.execute(dependency) == "ok"
    assert (await breaker.snapshot()).rejections["forced"] == 1


async def test_configure_takes_effect_in_place(panel: Panel, dependency: ScriptedDependency) -> None:
    breaker = make(panel, max_failures=5)
    await fail(breaker, dependency, 2)
    await breaker.configure(CircuitBreakerConfig(name="it", max_failures=3, call_timeout=1))
    assert breaker.config.max_failures == 3
    await fail(breaker, dependency, 1)
    assert breaker.state is State.OPEN
    with pytest.raises(ValueError, match="name must stay"):
        await breaker.configure(CircuitBreakerConfig(name="else"))


async def test_a_closed_panel_refuses_every_call_at_once(dependency: ScriptedDependency) -> None:
    async with open_panel() as panel:
        breaker = make(panel)
        await breaker.execute(dependency)
    for refused in (
        breaker.execute(dependency),
        breaker.execute_or(lambda error: None, dependency),
        breaker.snapshot(),
        breaker.trip(),
        breaker.wait_closed(),
    ):
        with pytest.raises(PanelClosedError):
            await refused
    with pytest.raises(PanelClosedError):
        panel.breaker(CircuitBreakerConfig(name="new"))
    assert dependency.calls == 1


async def test_a_call_that_outlives_its_panel_keeps_its_own_end(dependency: ScriptedDependency) -> None:
    dependency.holds()
    results = []

    async def outlive(breaker: CircuitBreaker) -> None:
        results.append(await breaker.execute(dependency))

    async with trio.open_nursery() as nursery:
        async with open_panel() as panel:
            nursery.start_soon(outlive, make(panel))
            await wait_all_tasks_blocked()
        dependency.lets_go()
    assert results == ["ok"]


async def test_another_trio_run_gets_a_clear_error(panel: Panel) -> None:
    breaker = make(panel)

    def elsewhere() -> None:
        trio.run(breaker.snapshot)

    with pytest.raises(RuntimeError, match=r"belongs to the trio\.run"):
        await trio.to_thread.run_sync(elsewhere)
    assert await trio.to_thread.run_sync(lambda: trio.from_thread.run(breaker.execute, trio.sleep, 0)) is None


async def test_a_coroutine_that_is_closed_gives_its_place_back(panel: Panel) -> None:
    breaker = make(panel)

    async def park() -> None:
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED)

    coroutine = breaker.execute(park)
    coroutine.send(None)
    assert (await breaker.snapshot()).in_flight == 1
    coroutine.close()
    snapshot = await breaker.snapshot()
    assert (snapshot.in_flight, snapshot.counts["cancelled"]) == (0, 1)


async def test_ctrl_c_never_lands_in_the_middle_of_settling(
    panel: Panel, dependency: ScriptedDependency, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    original = Classifier.exception

    def asked(self: Classifier, error: BaseException) -> object:
        seen.append(trio.lowlevel.currently_ki_protected())
        return original(self, error)

    async def fails() -> None:
        seen.append(trio.lowlevel.currently_ki_protected())
        raise DependencyDown

    monkeypatch.setattr(Classifier, "exception", asked)
    for breaker in (make(panel), panel.breaker(CircuitBreakerConfig(name="other", call_timeout=9))):
        with pytest.raises(DependencyDown):
            await breaker.execute(fails)
    assert seen == [False, True] * 2


STYLES = {
    "a fast call": {},
    "a timed call": {"trip": FailureRate(1.0, LastCalls(9), 9)},
    "a call with a timeout": {"call_timeout": 60},
    "a call with a place": {"max_concurrent": 9},
}


@pytest.mark.parametrize("style", ["execute", "guard", "protect"])
@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("policy", STYLES.values(), ids=STYLES)
async def test_a_reset_while_closed_makes_the_calls_that_run_late(
    panel: Panel, dependency: ScriptedDependency, policy: dict[str, object], style: str, fails: bool
) -> None:
    """They began in the time that the operator has closed the books on. No transition is told."""
    breaker = make(panel, **policy)
    dependency.holds()
    protected = breaker.protect(dependency.__call__)

    async def call() -> None:
        with suppress(DependencyDown):
            if style == "guard":
                async with breaker.guard():
                    await dependency()
            else:
                await (protected() if style == "protect" else breaker.execute(dependency))

    async with panel.events() as events, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(call)
        await wait_all_tasks_blocked()
        await breaker.reset()
        if fails:
            dependency.breaks()
        dependency.lets_go()
        await wait_all_tasks_blocked()
        seen = await breaker.snapshot()
        with trio.move_on_after(0) as nothing:
            await anext(events)
    assert nothing.cancelled_caught
    assert (seen.state, seen.generation, seen.failure_count) == (State.CLOSED, 2, 0)
    assert (seen.late, seen.in_flight, seen.counts["failure" if fails else "success"]) == (3, 0, 3)


async def test_a_reset_while_closed_clears_what_was_counted_and_calls_after_it_count(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = make(panel, max_failures=3)
    await fail(breaker, dependency, 2)
    await breaker.reset()
    assert (await breaker.snapshot()).failure_count == 0
    await fail(breaker, dependency, 2)
    assert (breaker.state, (await breaker.snapshot()).late) == (State.CLOSED, 0)
    await fail(breaker, dependency, 1)
    assert breaker.state is State.OPEN


async def test_a_success_from_before_a_reset_doesnt_end_the_row_after_it(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = make(panel, max_failures=2)
    dependency.holds()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, dependency)
        await wait_all_tasks_blocked()
        await breaker.reset()
        await fail(breaker, ScriptedDependency(), 1)
        dependency.lets_go()
    await fail(breaker, dependency, 1)
    assert breaker.state is State.OPEN


async def test_a_call_that_times_out_after_a_reset_is_late(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = make(panel, max_failures=1, call_timeout=5)
    async with trio.open_nursery() as nursery:

        async def call() -> None:
            with pytest.raises(CallTimeout):
                await breaker.execute(trio.sleep_forever)

        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        await breaker.reset()
        await advance(mock_clock, 5)
    assert (breaker.state, (await breaker.snapshot()).late) == (State.CLOSED, 1)

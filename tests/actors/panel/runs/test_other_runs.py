"""A breaker raises in every run but its panel's, and changes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio

from actors import CircuitBreaker, CircuitOpenError, Panel, State
from tests.actors.panel.runs.runs import (
    RUNS,
    Run,
    down,
    fine,
    guarded,
    in_another_thread,
    listens,
    raises_runtime_error,
)
from tests.actors.policies import policy


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize(
    "fields", [{}, {"max_concurrent": 1}, {"call_timeout": 1.0}, {"cancel_in_flight": True}]
)
async def test_a_guard_elsewhere_raises_and_takes_nothing(
    panel: Panel, run: Run, fields: dict[str, Any]
) -> None:
    breaker = panel.breaker(policy(**fields))
    with raises_runtime_error():
        await in_another_thread(run, lambda: guarded(breaker))
    with raises_runtime_error():
        await in_another_thread(run, lambda: breaker.execute_or(str, fine))
    with raises_runtime_error():
        await in_another_thread(run, lambda: breaker.execute_with_fallback(str, fine))
    if fields:
        with raises_runtime_error():
            await in_another_thread(run, lambda: breaker.execute(fine))
    assert await breaker.execute(fine) == "fine"
    snapshot = await breaker.snapshot()
    assert snapshot.in_flight == 0
    assert sum(snapshot.counts.values()) == 1


COMMANDS: list[Callable[[CircuitBreaker], Awaitable[object]]] = [
    CircuitBreaker.trip,
    CircuitBreaker.reset,
    CircuitBreaker.force_open,
    CircuitBreaker.disable,
    CircuitBreaker.observe,
    CircuitBreaker.snapshot,
    CircuitBreaker.wait_until_admitting,
    listens,
    lambda breaker: breaker.configure(policy()),
]


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("command", COMMANDS)
async def test_a_command_elsewhere_raises_and_changes_nothing(
    panel: Panel, run: Run, command: Callable[[CircuitBreaker], Awaitable[object]]
) -> None:
    breaker = panel.breaker(policy())
    before = await breaker.snapshot()
    with raises_runtime_error():
        await in_another_thread(run, lambda: command(breaker))
    after = await breaker.snapshot()
    assert after.state == before.state
    assert after.generation == before.generation
    assert not breaker.is_watched


@pytest.mark.parametrize("run", RUNS)
async def test_a_fast_calls_failure_elsewhere_is_the_cause_and_counts_nothing(panel: Panel, run: Run) -> None:
    breaker = panel.breaker(policy(max_failures=1))
    protected = breaker.protect(down)
    for function in (protected, lambda: breaker.execute(down)):
        with raises_runtime_error() as raised:
            await in_another_thread(run, function)
        assert isinstance(raised.value.__cause__, ConnectionError)
    # The loop handles messages from the other thread at its next turn.
    await trio.lowlevel.checkpoint()
    snapshot = await breaker.snapshot()
    assert snapshot.state is State.CLOSED
    assert snapshot.in_flight == 0
    assert snapshot.counts["failure"] == 0
    assert await breaker.execute(fine) == "fine"


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize(
    "hold", [CircuitBreaker.disable, CircuitBreaker.observe], ids=lambda hold: hold.__name__
)
async def test_a_breaker_that_an_operator_holds_raises_runtime_error(
    panel: Panel, run: Run, hold: Callable[[CircuitBreaker], Awaitable[None]]
) -> None:
    breaker = panel.breaker(policy())
    await hold(breaker)
    for function in (fine, down):
        with raises_runtime_error():
            await in_another_thread(run, partial(breaker.execute, function))
    assert (await breaker.snapshot()).in_flight == 0


@pytest.mark.parametrize("run", RUNS)
async def test_an_open_breaker_rejects_calls_from_everywhere(panel: Panel, run: Run) -> None:
    breaker = panel.breaker(policy())
    await breaker.trip()
    with pytest.raises(CircuitOpenError):
        await in_another_thread(run, lambda: breaker.execute(fine))
    with raises_runtime_error():
        await in_another_thread(run, lambda: guarded(breaker))


@pytest.mark.parametrize("run", RUNS)
async def test_a_breaker_is_not_made_elsewhere(panel: Panel, run: Run) -> None:
    async def make() -> None:
        panel.breaker(policy())

    with raises_runtime_error():
        await in_another_thread(run, make)
    assert len(panel) == 0


@pytest.mark.parametrize("run", RUNS)
async def test_a_breaker_is_not_removed_elsewhere(panel: Panel, run: Run) -> None:
    breaker = panel.breaker(policy())
    with raises_runtime_error():
        await in_another_thread(run, lambda: panel.remove("it"))
    assert panel["it"] is breaker
    assert await breaker.execute(fine) == "fine"


async def test_a_thread_may_call_through_from_thread(panel: Panel) -> None:
    breaker = panel.breaker(policy(max_failures=1, call_timeout=5.0, max_concurrent=1))

    def worker(function: Callable[[], Awaitable[object]]) -> object:
        return trio.from_thread.run(breaker.execute, function)

    assert await trio.to_thread.run_sync(worker, fine) == "fine"
    with pytest.raises(ConnectionError):
        await trio.to_thread.run_sync(worker, down)
    assert breaker.state is State.OPEN

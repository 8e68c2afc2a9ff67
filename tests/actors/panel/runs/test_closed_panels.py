"""Breakers whose run has ended, and panels that are not open."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from actors import CircuitBreaker, Panel, PanelClosedError, State, open_panel
from tests.actors.panel.runs.runs import (
    NO_TRIO,
    NOT_OPEN,
    RUNS,
    Run,
    by_hand,
    down,
    fine,
    guarded,
    in_asyncio,
    raises_runtime_error,
)
from tests.actors.policies import policy


def left_over() -> tuple[Panel, CircuitBreaker, list[Awaitable[object]]]:
    """Objects kept from a run that has ended, and a call that was made there but not awaited."""

    async def main() -> tuple[Panel, CircuitBreaker, list[Awaitable[object]]]:
        async with open_panel() as panel:
            breaker = panel.breaker(policy())
            return panel, breaker, [breaker.execute(down)]

    return trio.run(main)


@pytest.mark.parametrize("run", RUNS)
def test_a_breaker_of_a_run_that_has_ended_raises(run: Run) -> None:
    panel, breaker, kept = left_over()
    with raises_runtime_error():
        run(lambda: breaker.execute(fine))
    with raises_runtime_error():
        run(lambda: guarded(breaker))
    with raises_runtime_error():
        run(lambda: kept[0])
    with raises_runtime_error():
        run(breaker.snapshot)
    with pytest.raises(PanelClosedError):
        panel.breaker(policy())


def test_a_fast_call_that_fails_after_its_run_has_ended_raises() -> None:
    async def main() -> Any:
        async with open_panel() as panel:
            breaker = panel.breaker(policy())
            coroutine = breaker.execute(suspends)
            # It runs in no task: the test steps it by hand.
            coroutine.send(None)
            return coroutine

    coroutine = trio.run(main)
    with raises_runtime_error() as raised:
        coroutine.throw(ConnectionError("down"))
    assert isinstance(raised.value.__cause__, ConnectionError)


class Suspend:
    def __await__(self) -> Any:
        yield None


async def suspends() -> None:
    await Suspend()


async def test_a_breaker_of_a_closed_panel_raises_panel_closed_in_the_same_run() -> None:
    async with open_panel() as panel:
        breaker = panel.breaker(policy())
    for function in (lambda: breaker.execute(fine), lambda: guarded(breaker), breaker.snapshot):
        with pytest.raises(PanelClosedError):
            await function()


# A panel that isn't open.

USES: list[Callable[[Any], object]] = [
    lambda panel: panel.breaker(policy()),
    lambda panel: panel.get("it"),
    lambda panel: panel["it"],
    lambda panel: "it" in panel,
    lambda panel: list(panel),
    len,
    bool,
    lambda panel: panel.snapshots(),
    lambda panel: panel.events(),
    lambda panel: panel.remove("it"),
    lambda panel: panel.__enter__(),
]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("in_a_run", [False, True])
def test_a_panel_that_is_not_entered_raises_with_advice(use: Callable[[Any], object], in_a_run: bool) -> None:
    async def uses() -> None:
        with raises_runtime_error(NOT_OPEN):
            use(open_panel())

    if in_a_run:
        trio.run(uses)
    else:
        by_hand(uses)


async def test_open_panel_by_with_and_by_await_raises_with_advice() -> None:
    with raises_runtime_error(NOT_OPEN):
        with open_panel():  # type: ignore[attr-defined]
            pytest.fail("the block runs")
    with raises_runtime_error(NOT_OPEN):
        await open_panel()


async def test_the_result_of_open_panel_is_not_the_panel() -> None:
    opened = open_panel()
    async with opened as panel:
        with raises_runtime_error(NOT_OPEN):
            opened.breaker(policy())  # type: ignore[attr-defined]
        assert panel.breaker(policy()).state is State.CLOSED
    with pytest.raises(AttributeError, match="'PanelManager' object has no attribute 'braker'"):
        opened.braker  # type: ignore[attr-defined] # noqa: B018


def test_open_panel_needs_trio() -> None:
    async def main() -> None:
        async with open_panel():
            pytest.fail("the block runs")

    for run in (in_asyncio, by_hand):
        with raises_runtime_error(NO_TRIO):
            run(main)

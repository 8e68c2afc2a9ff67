"""Each run has named breakers of its own."""

from __future__ import annotations

import re

import pytest
import trio

from actors import CircuitBreaker, CircuitOpenError, NamedBreaker, Panel, State, breaker_named, open_panel
from tests.actors.panel.runs.runs import NO_PANEL, RUNS, down, fine, raises_runtime_error
from tests.actors.policies import policy

NAMED = breaker_named(policy(max_failures=2))


@NAMED.protect
async def named_call(fails: bool = False) -> str:
    await trio.lowlevel.checkpoint()
    if fails:
        await down()
    return "fine"


def test_a_named_breaker_needs_an_open_panel() -> None:
    for run in RUNS:
        with raises_runtime_error(NO_PANEL):
            run(named_call)
    with raises_runtime_error(NO_PANEL):
        NAMED.find()

    async def after_a_panel() -> None:
        async with open_panel():
            assert await named_call() == "fine"
        with raises_runtime_error(NO_PANEL):
            await named_call()

    trio.run(after_a_panel)


def test_each_run_has_a_named_breaker_of_its_own() -> None:
    async def breaks() -> CircuitBreaker:
        async with open_panel():
            for _ in range(2):
                with pytest.raises(ConnectionError):
                    await named_call(fails=True)
            with pytest.raises(CircuitOpenError):
                await named_call()
            return NAMED.find()

    first, second = trio.run(breaks), trio.run(breaks)
    assert first is not second


async def test_runs_in_threads_at_once_have_named_breakers_of_their_own() -> None:
    async def run_of_its_own(broken: bool) -> State:
        async with open_panel():
            for _ in range(50):
                try:
                    await named_call(fails=broken)
                except (ConnectionError, CircuitOpenError):
                    pass
                await trio.lowlevel.checkpoint()
            return NAMED.find().state

    states: dict[int, object] = {}

    async def start(number: int) -> None:
        states[number] = await trio.to_thread.run_sync(trio.run, run_of_its_own, number % 2 == 1)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(start, number)
    assert states == {0: State.CLOSED, 1: State.OPEN, 2: State.CLOSED, 3: State.OPEN}


async def test_a_named_breaker_is_that_of_the_panel_opened_last() -> None:
    named = breaker_named(policy())
    async with open_panel() as outer:
        outside = named.find()
        async with open_panel() as inner:
            assert named.find() is inner["it"] is not outside
        assert named.find() is outer["it"] is outside


async def test_a_named_breaker_that_was_removed_is_made_anew(panel: Panel) -> None:
    named = breaker_named(policy())
    before = named.find()
    await panel.remove("it")
    assert named.find() is not before
    assert await named.find().execute(fine) == "fine"


async def test_a_breaker_named_without_a_policy_is_found_once_it_is_made(panel: Panel) -> None:
    named = breaker_named("it")
    with pytest.raises(KeyError, match=re.escape("no circuit breaker 'it' on this panel, which has: none")):
        named.find()
    breaker = panel.breaker(policy())
    assert named.find() is breaker
    assert repr(named) == "<NamedBreaker 'it'>"
    assert named.name == "it"
    assert type(named) is NamedBreaker
    assert await named.protect(fine)() == "fine"

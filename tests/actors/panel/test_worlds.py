"""A breaker belongs to the trio.run of its panel: everywhere else it says so, and nothing of it leaks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import pytest
import trio

from actors import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    NamedBreaker,
    Panel,
    PanelClosedError,
    State,
    breaker_named,
    open_panel,
)

OTHER_RUN = "^a circuit breaker belongs to the trio.run of its panel: call it from there"
NOT_OPEN = "^this panel isn't open: write `async with open_panel\\(\\) as panel:`"
NO_PANEL = "^no panel is open in this trio.run: put `async with open_panel\\(\\):` around"
NO_TRIO = "^open_panel needs trio: run the program by trio.run\\(main\\), not asyncio.run"

Run = Callable[..., Any]


def in_trio(function: Callable[[], Awaitable[object]]) -> object:
    return trio.run(function)


def in_asyncio(function: Callable[[], Awaitable[object]]) -> object:
    async def main() -> object:
        return await function()

    # asyncio.run asks the policy, and trio-asyncio's gives loops that run in trio.
    loop = asyncio.SelectorEventLoop()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


def by_hand(function: Callable[[], Awaitable[object]]) -> object:
    """Nobody's loop: as far as the first await."""
    coroutine = function()
    assert hasattr(coroutine, "send")
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


WORLDS = [in_trio, in_asyncio, by_hand]


def policy(**fields: Any) -> CircuitBreakerConfig:
    return CircuitBreakerConfig(**{"name": "it"} | fields)


def wrong(message: str = OTHER_RUN) -> AbstractContextManager[pytest.ExceptionInfo[RuntimeError]]:
    return pytest.raises(RuntimeError, match=message)


async def fine() -> str:
    return "fine"


async def down() -> None:
    raise ConnectionError("down")


async def elsewhere(run: Run, function: Callable[[], Awaitable[object]]) -> object:
    """Call it in another thread, in another world."""
    return await trio.to_thread.run_sync(run, function)


async def guarded(breaker: CircuitBreaker) -> None:
    async with breaker.guard():
        pytest.fail("the block runs")


async def listens(breaker: CircuitBreaker) -> None:
    async with breaker.events():
        pytest.fail("the block runs")


# Another world.


@pytest.mark.parametrize("run", WORLDS)
@pytest.mark.parametrize(
    "fields", [{}, {"max_concurrent": 1}, {"call_timeout": 1.0}, {"cancel_in_flight": True}]
)
async def test_a_guard_elsewhere_raises_and_takes_nothing(
    panel: Panel, run: Run, fields: dict[str, Any]
) -> None:
    breaker = panel.breaker(policy(**fields))
    with wrong():
        await elsewhere(run, lambda: guarded(breaker))
    with wrong():
        await elsewhere(run, lambda: breaker.execute_or(str, fine))
    with wrong():
        await elsewhere(run, lambda: breaker.execute_with_fallback(str, fine))
    if fields:
        with wrong():
            await elsewhere(run, lambda: breaker.execute(fine))
    assert await breaker.execute(fine) == "fine"
    snapshot = await breaker.snapshot()
    assert (snapshot.in_flight, sum(snapshot.counts.values())) == (0, 1)


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


@pytest.mark.parametrize("run", WORLDS)
@pytest.mark.parametrize("command", COMMANDS)
async def test_a_command_elsewhere_raises_and_changes_nothing(
    panel: Panel, run: Run, command: Callable[[CircuitBreaker], Awaitable[object]]
) -> None:
    breaker = panel.breaker(policy())
    before = await breaker.snapshot()
    with wrong():
        await elsewhere(run, lambda: command(breaker))
    after = await breaker.snapshot()
    assert (after.state, after.generation) == (before.state, before.generation)
    assert not breaker.is_watched


@pytest.mark.parametrize("run", WORLDS)
async def test_a_fast_calls_failure_elsewhere_is_the_cause_and_counts_nothing(panel: Panel, run: Run) -> None:
    breaker = panel.breaker(policy(max_failures=1))
    protected = breaker.protect(down)
    for function in (protected, lambda: breaker.execute(down)):
        with wrong() as raised:
            await elsewhere(run, function)
        assert isinstance(raised.value.__cause__, ConnectionError)
    # What the other world's thread sends is handled at the loop's next turn.
    await trio.lowlevel.checkpoint()
    snapshot = await breaker.snapshot()
    assert (snapshot.state, snapshot.in_flight, snapshot.counts["failure"]) == (State.CLOSED, 0, 0)
    assert await breaker.execute(fine) == "fine"


@pytest.mark.parametrize("run", WORLDS)
@pytest.mark.parametrize(
    "hold", [CircuitBreaker.disable, CircuitBreaker.observe], ids=lambda hold: hold.__name__
)
async def test_a_breaker_that_an_operator_holds_raises_elsewhere(
    panel: Panel, run: Run, hold: Callable[[CircuitBreaker], Awaitable[None]]
) -> None:
    breaker = panel.breaker(policy())
    await hold(breaker)
    for function in (fine, down):
        with wrong():
            await elsewhere(run, partial(breaker.execute, function))
    assert (await breaker.snapshot()).in_flight == 0


@pytest.mark.parametrize("run", WORLDS)
async def test_an_open_breaker_rejects_calls_from_everywhere(panel: Panel, run: Run) -> None:
    breaker = panel.breaker(policy())
    await breaker.trip()
    with pytest.raises(CircuitOpenError):
        await elsewhere(run, lambda: breaker.execute(fine))
    with wrong():
        await elsewhere(run, lambda: guarded(breaker))


@pytest.mark.parametrize("run", WORLDS)
async def test_a_breaker_is_not_made_elsewhere(panel: Panel, run: Run) -> None:
    async def make() -> None:
        panel.breaker(policy())

    with wrong():
        await elsewhere(run, make)
    assert len(panel) == 0


@pytest.mark.parametrize("run", WORLDS)
async def test_a_breaker_is_not_removed_elsewhere(panel: Panel, run: Run) -> None:
    breaker = panel.breaker(policy())
    with wrong():
        await elsewhere(run, lambda: panel.remove("it"))
    assert panel["it"] is breaker
    assert await breaker.execute(fine) == "fine"


async def test_a_thread_calls_by_from_thread(panel: Panel) -> None:
    breaker = panel.breaker(policy(max_failures=1, call_timeout=5.0, max_concurrent=1))

    def worker(function: Callable[[], Awaitable[object]]) -> object:
        return trio.from_thread.run(breaker.execute, function)

    assert await trio.to_thread.run_sync(worker, fine) == "fine"
    with pytest.raises(ConnectionError):
        await trio.to_thread.run_sync(worker, down)
    assert breaker.state is State.OPEN


# A run that has ended.


def left_over() -> tuple[Panel, CircuitBreaker, list[Awaitable[object]]]:
    """What somebody keeps of a run, and a call that was made there but not awaited."""

    async def main() -> tuple[Panel, CircuitBreaker, list[Awaitable[object]]]:
        async with open_panel() as panel:
            breaker = panel.breaker(policy())
            return panel, breaker, [breaker.execute(down)]

    return trio.run(main)


@pytest.mark.parametrize("run", WORLDS)
def test_a_breaker_of_a_run_that_has_ended_raises(run: Run) -> None:
    panel, breaker, kept = left_over()
    with wrong():
        run(lambda: breaker.execute(fine))
    with wrong():
        run(lambda: guarded(breaker))
    with wrong():
        run(lambda: kept[0])
    with wrong():
        run(breaker.snapshot)
    with pytest.raises(PanelClosedError):
        panel.breaker(policy())


def test_a_fast_call_that_fails_after_its_run_has_ended_raises() -> None:
    async def main() -> Any:
        async with open_panel() as panel:
            breaker = panel.breaker(policy())
            coroutine = breaker.execute(waits_for_anybody)
            # It runs in no task: somebody steps it by hand.
            coroutine.send(None)
            return coroutine

    coroutine = trio.run(main)
    with wrong() as raised:
        coroutine.throw(ConnectionError("down"))
    assert isinstance(raised.value.__cause__, ConnectionError)


class Anybody:
    def __await__(self) -> Any:
        yield None


async def waits_for_anybody() -> None:
    await Anybody()


async def test_after_its_panel_has_closed_a_breaker_raises_that_in_the_same_run() -> None:
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
        with wrong(NOT_OPEN):
            use(open_panel())

    if in_a_run:
        trio.run(uses)
    else:
        by_hand(uses)


async def test_open_panel_by_with_and_by_await_raises_with_advice() -> None:
    with wrong(NOT_OPEN):
        with open_panel():  # type: ignore[attr-defined]
            pytest.fail("the block runs")
    with wrong(NOT_OPEN):
        await open_panel()


async def test_what_open_panel_returns_is_not_the_panel() -> None:
    opened = open_panel()
    async with opened as panel:
        with wrong(NOT_OPEN):
            opened.breaker(policy())  # type: ignore[attr-defined]
        assert panel.breaker(policy()).state is State.CLOSED
    with pytest.raises(AttributeError, match="'PanelManager' object has no attribute 'braker'"):
        opened.braker  # type: ignore[attr-defined] # noqa: B018


def test_open_panel_needs_trio() -> None:
    async def main() -> None:
        async with open_panel():
            pytest.fail("the block runs")

    for run in (in_asyncio, by_hand):
        with wrong(NO_TRIO):
            run(main)


# Breakers by name.

NAMED = breaker_named(policy(max_failures=2))


@NAMED.protect
async def named_call(fails: bool = False) -> str:
    await trio.lowlevel.checkpoint()
    if fails:
        await down()
    return "fine"


def test_a_named_breaker_needs_an_open_panel() -> None:
    for run in WORLDS:
        with wrong(NO_PANEL):
            run(named_call)
    with wrong(NO_PANEL):
        NAMED.find()

    async def after_a_panel() -> None:
        async with open_panel():
            assert await named_call() == "fine"
        with wrong(NO_PANEL):
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


async def test_a_named_breaker_that_other_code_makes_is_not_there_before(panel: Panel) -> None:
    named = breaker_named("it")
    with pytest.raises(KeyError, match=re.escape("no circuit breaker 'it' on this panel, which has: none")):
        named.find()
    breaker = panel.breaker(policy())
    assert named.find() is breaker
    assert (repr(named), named.name, type(named)) == ("<NamedBreaker 'it'>", "it", NamedBreaker)
    assert await named.protect(fine)() == "fine"

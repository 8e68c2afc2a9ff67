"""Other event loops than the panel's, and the errors that a panel's breakers raise in them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import trio

from actors import CircuitBreaker

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
    """Step the coroutine once, without an event loop."""
    coroutine = function()
    assert hasattr(coroutine, "send")
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


RUNS = [in_trio, in_asyncio, by_hand]


def raises_runtime_error(
    message: str = OTHER_RUN,
) -> AbstractContextManager[pytest.ExceptionInfo[RuntimeError]]:
    return pytest.raises(RuntimeError, match=message)


async def fine() -> str:
    return "fine"


async def down() -> None:
    raise ConnectionError("down")


async def in_another_thread(run: Run, function: Callable[[], Awaitable[object]]) -> object:
    """Call the function in another thread, by another event loop."""
    return await trio.to_thread.run_sync(run, function)


async def guarded(breaker: CircuitBreaker) -> None:
    async with breaker.guard():
        pytest.fail("the block runs")


async def listens(breaker: CircuitBreaker) -> None:
    async with breaker.events():
        pytest.fail("the block runs")

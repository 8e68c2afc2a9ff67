"""Calls of protected functions go through the breaker."""

from __future__ import annotations

import pytest
import trio

from actors import CircuitBreaker, CircuitOpenError, Panel
from tests.actors.call.breakers import new_breaker


async def test_a_protected_function_keeps_its_name_and_docstring(panel: Panel) -> None:
    breaker = new_breaker(panel, max_failures=1)

    @breaker.protect
    async def add(a: int, b: int = 2) -> int:
        """Adds."""
        return a + b

    assert await add(1) == 3
    assert await add(1, b=5) == 6
    assert add.__name__ == "add"
    assert add.__doc__ == "Adds."
    await breaker.trip()
    with pytest.raises(CircuitOpenError):
        await add(1)


async def test_calls_of_a_protected_function_are_counted_by_outcome(breaker: CircuitBreaker) -> None:
    @breaker.protect
    async def act(error: BaseException | None = None) -> None:
        if error is not None:
            raise error

    await act()
    mine = KeyError()
    with pytest.raises(KeyError) as caught:
        await act(mine)
    assert caught.value is mine
    with trio.move_on_after(0):
        await breaker.protect(trio.sleep)(1)
    counts = (await breaker.snapshot()).counts
    assert counts["success"] == 1
    assert counts["failure"] == 1
    assert counts["cancelled"] == 1
    await breaker.trip()
    with pytest.raises(CircuitOpenError):
        await act()

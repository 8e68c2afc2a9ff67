"""wait_closed ends in every state that admits calls, and with the panel."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors import CircuitBreaker, Panel, PanelClosedError, open_panel
from tests.actors.policies import policy


@pytest.mark.parametrize("ends", [CircuitBreaker.reset, CircuitBreaker.disable, CircuitBreaker.observe])
async def test_wait_closed_returns_in_every_state_that_admits_calls(
    panel: Panel, ends: Callable[[CircuitBreaker], object]
) -> None:
    """After a reset, and after an operator disables the breaker or makes it observe."""
    breaker = panel.breaker(policy())
    await breaker.trip()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(breaker.wait_closed)
            await wait_all_tasks_blocked()
            await ends(breaker)  # type: ignore[misc]


async def test_wait_closed_raises_when_the_panel_closes() -> None:
    """PanelClosedError, instead of waiting for ever."""
    raised = []

    async def wait(breaker: CircuitBreaker) -> None:
        with pytest.raises(PanelClosedError):
            await breaker.wait_closed()
        raised.append(True)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            async with open_panel() as panel:
                breaker = panel.breaker(policy())
                await breaker.trip()
                nursery.start_soon(wait, breaker)
                await wait_all_tasks_blocked()
    assert raised == [True]

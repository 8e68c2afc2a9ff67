"""A panel that removes idle breakers. It checks at 20 moments of the idle time: 5, 10, 15, ... 100, ..."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from trio.testing import MockClock, wait_all_tasks_blocked

from actors import Panel, open_panel
from actors.testing import advance

IDLE = 100.0
CHECK = IDLE / 20


@asynccontextmanager
async def idle_panel() -> AsyncIterator[Panel]:
    async with open_panel(idle_timeout=IDLE) as panel:
        # The task that removes idle breakers has started.
        await wait_all_tasks_blocked()
        yield panel


async def rest(clock: MockClock, seconds: float) -> None:
    """Let time pass a step at a time, so that each check comes at its time."""
    for _ in range(round(seconds)):
        await advance(clock, 1)

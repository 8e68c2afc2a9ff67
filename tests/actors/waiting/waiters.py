"""Tasks that wait for admission."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio
from trio.testing import wait_all_tasks_blocked

from actors import CircuitBreaker, CircuitBreakerConfig
from actors.testing import DependencyDown, ScriptedDependency


def quick_policy(**settings: object) -> CircuitBreakerConfig:
    return CircuitBreakerConfig(**{"name": "it", "max_failures": 1, "reset_timeout": 10, **settings})  # type: ignore[arg-type]


class Waiters:
    """Tasks that wait, and the times at which their waits ended."""

    def __init__(self, breaker: CircuitBreaker, nursery: trio.Nursery) -> None:
        self._breaker = breaker
        self._nursery = nursery
        self.ended: list[float] = []

    async def start(self, number: int = 1) -> None:
        for _ in range(number):
            self._nursery.start_soon(self._wait)
        await wait_all_tasks_blocked()

    async def _wait(self) -> None:
        await self._breaker.wait_until_admitting()
        self.ended.append(trio.current_time())


@asynccontextmanager
async def waiting(breaker: CircuitBreaker, number: int = 1) -> AsyncIterator[Waiters]:
    async with trio.open_nursery() as nursery:
        waiters = Waiters(breaker, nursery)
        await waiters.start(number)
        yield waiters
        nursery.cancel_scope.cancel()


async def call_anyway(breaker: CircuitBreaker, dependency: ScriptedDependency) -> None:
    with suppress(DependencyDown):
        await breaker.execute(dependency)

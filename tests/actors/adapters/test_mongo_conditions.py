"""pymongo's conditions, when a task that waits on one is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pymongo.lock import _async_cond_wait, _async_create_condition, _async_create_lock

import actors.adapters.mongo  # noqa: F401 - it mends how pymongo waits on Python 3.11


class Waiter:
    """A task that waits on a condition for `seconds`."""

    def __init__(self, seconds: float | None) -> None:
        self.lock = _async_create_lock()
        self.condition = _async_create_condition(self.lock)
        self.task = asyncio.create_task(self._wait(seconds))

    async def _wait(self, seconds: float | None) -> bool:
        async with self.lock:
            return await _async_cond_wait(self.condition, seconds)


@asynccontextmanager
async def ending_wait() -> AsyncIterator[Waiter]:
    """A waiter whose time is over. To end, it needs the lock, which the block holds."""
    waiter = Waiter(0.01)
    await asyncio.sleep(0)
    async with waiter.lock:
        await asyncio.sleep(0.05)
        yield waiter


@pytest.mark.parametrize("cancellations", [0, 1, 2])
def test_a_wait_that_is_cancelled_while_it_ends_takes_and_releases_the_lock(cancellations: int) -> None:
    async def main() -> None:
        async with ending_wait() as waiter:
            for _ in range(cancellations):
                waiter.task.cancel()
                await asyncio.sleep(0.01)
                assert not waiter.task.done(), "it would release a lock that another task holds"
        await asyncio.wait([waiter.task], timeout=1)
        assert waiter.task.cancelled() is (cancellations > 0)
        await asyncio.sleep(0.01)
        assert not waiter.lock.locked()

    asyncio.run(main())


@pytest.mark.parametrize("seconds", [5, None])
def test_a_notified_wait_ends_with_true(seconds: float | None) -> None:
    async def main() -> None:
        waiter = Waiter(seconds)
        await asyncio.sleep(0)
        async with waiter.lock:
            waiter.condition.notify()
        assert await waiter.task is True
        assert not waiter.lock.locked()

    asyncio.run(main())


def test_a_wait_without_notification_ends_with_false() -> None:
    async def main() -> None:
        assert await Waiter(0.01).task is False

    asyncio.run(main())

"""A bounded queue in which clients take turns, so that a flood of one client delays no other."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

WAITING = 256
SHARE = 64
WAIT_SECONDS = 5.0


class QueueFull(Exception):
    """There is no place for this call, or its turn did not come in time."""


class _Waiter:
    def __init__(self) -> None:
        self.woken = trio.Event()
        self.has_turn = False


class FairQueue:
    """Runs at most `running` bodies at once.

    waiting: the most calls that wait, of all clients. share: of one client. If the queue is full, a client
    with fewer waiting calls takes the place of the latest call of the client with the most. wait_seconds:
    the longest time that a call waits.

    The clients with waiting calls take turns, so a call of a client without any waits for at most one call of
    each other client.
    """

    def __init__(
        self, running: int, waiting: int = WAITING, share: int = SHARE, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._free = running
        self._places = waiting
        self._share = share
        self._wait_seconds = wait_seconds
        self._queues: dict[str, deque[_Waiter]] = {}
        """By client, in the order of their turns. No queue is empty."""
        self._waiting = 0

    @asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[None]:
        """Wait for a turn, and keep it until the body has ended. Raises QueueFull.

        Cancelling a waiting call removes it from the queue.
        """
        if self._free and not self._queues:
            self._free -= 1
        else:
            await self._wait(client)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, client: str) -> None:
        waiter = self._enqueue(client)
        try:
            with trio.move_on_after(self._wait_seconds):
                await waiter.woken.wait()
        except trio.Cancelled:
            # It has no turn: trio doesn't cancel a wait whose event is set already.
            self._remove(client, waiter)
            raise
        if not waiter.has_turn:
            self._remove(client, waiter)
            raise QueueFull("waited too long, or gave its place to another client")

    def _enqueue(self, client: str) -> _Waiter:
        own = len(self._queues.get(client, ()))
        if own >= self._share:
            raise QueueFull("the client's share is used up")
        if self._waiting >= self._places:
            self._evict_longer_than(own + 1)
        waiter = _Waiter()
        self._queues.setdefault(client, deque()).append(waiter)
        self._waiting += 1
        return waiter

    def _evict_longer_than(self, length: int) -> None:
        client, longest = max(self._queues.items(), key=lambda one: len(one[1]))
        if len(longest) <= length:
            raise QueueFull("all places are taken")
        last = longest[-1]
        self._remove(client, last)
        last.woken.set()

    def _remove(self, client: str, waiter: _Waiter) -> None:
        """Remove a waiter that had no turn; no effect if it was evicted before."""
        queue = self._queues.get(client, deque())
        if waiter in queue:
            queue.remove(waiter)
            self._waiting -= 1
            if not queue:
                del self._queues[client]

    def _pass_on(self) -> None:
        """Give a turn that has ended to the next client."""
        if not self._queues:
            self._free += 1
            return
        client, queue = next(iter(self._queues.items()))
        waiter = queue.popleft()
        self._waiting -= 1
        del self._queues[client]
        if queue:
            self._queues[client] = queue  # at the end: the other clients come first
        waiter.has_turn = True
        waiter.woken.set()

"""A panel that is shared through a store in memory, whose exchanges a test sees and interrupts."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence

import trio

from actors import Panel
from actors.sharing.link import SharingPolicy
from actors.sharing.requests import Override, Reply, Request
from actors.sharing.shared_breakers import SharedBreakers
from tests.actors.sharing.fleets.memory_store import MemoryStore, StoreConnection

Hook = Callable[[], Awaitable[None]]


class HookedConnection(StoreConnection):
    """Records each exchange, and calls `before` and `after` around it."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.seen: list[list[tuple[str, Request]]] = []
        self.before: Hook | None = None
        self.after: Hook | None = None

    async def exchange(self, requests: Sequence[tuple[str, Request]]) -> list[Reply]:
        self.seen.append(list(requests))
        if self.before is not None:
            await self.before()
        replies = await super().exchange(requests)
        if self.after is not None:
            await self.after()
        return replies


class Sharing:
    """A panel and its sharing, with the store behind it."""

    def __init__(self, panel: Panel, nursery: trio.Nursery) -> None:
        self.panel = panel
        self.nursery = nursery
        self.store = MemoryStore(nursery, random.Random(0))
        self.connection = HookedConnection(self.store)
        self.sharing = SharedBreakers(panel, self.connection, SharingPolicy(), "me")

    def open_for_all(self, name: str, wait: int = 60_000) -> None:
        self.store.apply(name, Override("operator", True, wait))

    async def start(self) -> None:
        await self.nursery.start(self.sharing.run)

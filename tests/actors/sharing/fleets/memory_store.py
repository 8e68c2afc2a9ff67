"""A store of shared breakers in memory, on the test's clock, with the faults of a real one."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import trio

from actors.sharing.record import SharedRecord
from actors.sharing.requests import Reply, Request
from actors.sharing.store import StoreUnavailable

START = 1_800_000_000_000
ANSWER_SECONDS = 0.3
LATEST = 5.0
"""Seconds within which a request that is late is carried out: longer than a lease of the fleets."""


class MemoryStore:
    """Records by name. Every instance has a connection of its own: see `connection`.

    gone: no request gets through. hangs: no reply comes within ANSWER_SECONDS. unruly: requests are carried
    out once more, or late and so after later ones.
    """

    def __init__(self, nursery: trio.Nursery, dice: random.Random, delay: float = 0.02) -> None:
        self.nursery = nursery
        self.dice = dice
        self.delay = delay
        self.records: dict[str, SharedRecord] = {}
        self.gone = False
        self.hangs = False
        self.unruly = False
        self.listeners: list[Callable[[str | None], None]] = []
        self.exchanges = 0
        # After each request: the breaker's name, the request, the record before and after, and the time.
        self.watchers: list[Callable[[str, Request, SharedRecord, SharedRecord, int], None]] = []

    @property
    def now(self) -> int:
        return START + round(trio.current_time() * 1000)

    def forget(self) -> None:
        """Lose all data, as a restarted server does."""
        self.records.clear()

    def connection(self) -> StoreConnection:
        return StoreConnection(self)

    def apply(self, name: str, request: Request) -> Reply:
        record = self.records.setdefault(name, SharedRecord())
        before = replace(record, evidence=dict(record.evidence))
        reply = record.apply(request, self.now)
        for watch in self.watchers:
            watch(name, request, before, record, self.now)
        if record.generation != before.generation:
            for heard in list(self.listeners):
                heard(name)
        return reply

    def apply_all(self, requests: Sequence[tuple[str, Request]]) -> list[Reply]:
        return [self.apply(name, request) for name, request in requests]

    async def apply_late(self, requests: Sequence[tuple[str, Request]]) -> None:
        """Carry out requests that were on their way for long; their replies are lost."""
        await trio.sleep(LATEST * self.dice.random())
        self.apply_all(requests)


class StoreConnection:
    """One instance's way to the store."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        # This instance alone is cut off.
        self.cut = False

    async def exchange(self, requests: Sequence[tuple[str, Request]]) -> list[Reply]:
        store = self._store
        store.exchanges += 1
        await trio.sleep(store.delay * store.dice.random())
        if store.gone or self.cut:
            raise StoreUnavailable("refused")
        fate = store.dice.random() if store.unruly else 1.0
        if fate < 0.4:
            store.nursery.start_soon(store.apply_late, requests)
        if fate < 0.2:
            await trio.sleep(ANSWER_SECONDS)
            raise StoreUnavailable("no answer")
        replies = store.apply_all(requests)
        if store.hangs:
            # The request is carried out, but its reply is lost.
            await trio.sleep(ANSWER_SECONDS)
            raise StoreUnavailable("no answer")
        await trio.sleep(store.delay * store.dice.random())
        return replies

    async def listen(
        self,
        changed: Callable[[str | None], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        async def deliver(name: str | None) -> None:
            await trio.sleep(self._store.delay * self._store.dice.random())
            if not (self.cut or self._store.gone):
                changed(name)

        async with trio.open_nursery() as nursery:
            heard = lambda name: nursery.start_soon(deliver, name)  # noqa: E731
            self._store.listeners.append(heard)
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._store.listeners.remove(heard)

"""Rate limits that several gateways count together."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import trio
from limits import RateLimitItemPerMinute
from limits.strategies import SlidingWindowCounterRateLimiter
from trio.testing import MockClock

from actors.adapters.valkey import ValkeyConnection
from actors.sharing.store import StoreUnavailable
from gateway.proxy.limits import shared_counters
from gateway.proxy.limits.rate_limit import Counters
from gateway.proxy.limits.shared_counters import (
    OVERSHOOT_SECONDS,
    RECONCILE_SECONDS,
    SharedCounters,
    ValkeyCounters,
    Window,
)
from runtime.web import failure_limit
from tests.valkey import ValkeyServer, running_valkey

START = 1_800_000_000.0
ROUND_TRIP = 0.02
LONG = 10**9
"""Seconds of a window so long that no test sees its end."""


class FakeTime:
    """In the place of the module `time`, here and in the library; it follows trio's clock if there is one."""

    def __init__(self) -> None:
        self.more = 0.0

    def time(self) -> float:
        try:
            return START + self.more + trio.current_time()
        except RuntimeError:
            return START + self.more

    monotonic = time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    """Time as the counters see it."""
    found = FakeTime()
    monkeypatch.setattr(failure_limit, "time", found)
    monkeypatch.setattr(shared_counters, "time", found)
    monkeypatch.setattr("limits.storage.memory.time", found)
    monkeypatch.setattr("limits.strategies.time", found)
    return found


class MemoryStore:
    """A store in memory, with the delay of a network. gone: no exchange gets through."""

    def __init__(self) -> None:
        self.counts: dict[Window, dict[str, int]] = {}
        self.gone = False
        self.exchanges: list[int] = []

    def connection(self, process: str) -> StoreConnection:
        return StoreConnection(self, process)


class StoreConnection:
    """One process's way to the store."""

    def __init__(self, store: MemoryStore, process: str) -> None:
        self._store = store
        self._process = process

    async def exchange(self, counts: Sequence[tuple[Window, int]]) -> list[int]:
        await trio.sleep(ROUND_TRIP / 2)
        if self._store.gone:
            raise StoreUnavailable("gone")
        self._store.exchanges.append(len(counts))
        for window, count in counts:
            if count:
                self._store.counts.setdefault(window, {})[self._process] = count
        totals = [sum(self._store.counts.get(window, {}).values()) for window, _ in counts]
        await trio.sleep(ROUND_TRIP / 2)
        return totals


def hit(counters: SharedCounters, key: str = "somebody", limit: int = 100) -> bool:
    return counters.acquire_sliding_window_entry(key, limit, LONG)


@pytest.mark.parametrize("processes", [2, 5])
@pytest.mark.parametrize("rate", [20, 200, 2000])
async def test_the_overshoot_is_bounded(
    autojump_clock: MockClock, clock: FakeTime, processes: int, rate: int
) -> None:
    """Each process exceeds the limit by at most its requests in OVERSHOOT_SECONDS and two round trips."""
    limit, admitted = 300, 0
    store = MemoryStore()
    counters = [SharedCounters(store.connection(str(number))) for number in range(processes)]
    async with trio.open_nursery() as nursery:
        for number, one in enumerate(counters):
            await nursery.start(one.run)
            await trio.sleep(RECONCILE_SECONDS * number / processes)
        for _ in range(3 * limit):
            for one in counters:
                admitted += hit(one, limit=limit)
            await trio.sleep(1 / rate)
        bound = processes * (rate * (OVERSHOOT_SECONDS + 2 * ROUND_TRIP) + 1)
        assert limit <= admitted <= limit + bound
        # From then on no process admits a request.
        assert not any(hit(one, limit=limit) for one in counters)
        nursery.cancel_scope.cancel()


async def test_a_process_that_comes_late_learns_of_the_others(
    autojump_clock: MockClock, clock: FakeTime
) -> None:
    """Its first request counts alone; after the next exchange the other process's requests count too."""
    store = MemoryStore()
    early, late = (SharedCounters(store.connection(name)) for name in "ab")
    async with trio.open_nursery() as nursery:
        await nursery.start(early.run)
        await nursery.start(late.run)
        for _ in range(95):
            assert hit(early)
        await trio.sleep(30)
        assert hit(late)
        await trio.sleep(ROUND_TRIP + 0.001)
        assert [hit(late) for _ in range(6)] == [True] * 4 + [False] * 2
        assert late.get_sliding_window("somebody", LONG)[2] == 100
        nursery.cancel_scope.cancel()


async def test_only_windows_that_were_counted_in_are_exchanged(
    autojump_clock: MockClock, clock: FakeTime
) -> None:
    """A window is exchanged once for any number of requests, and not at all without requests."""
    store = MemoryStore()
    counters = SharedCounters(store.connection("a"))
    async with trio.open_nursery() as nursery:
        await nursery.start(counters.run)
        for key in ("one", "other"):
            for _ in range(20):
                hit(counters, key)
        await trio.sleep(5)
        # Each address has a window before the current one.
        assert store.exchanges == [4]
        hit(counters, "one")
        await trio.sleep(5)
        assert store.exchanges == [4, 2]
        nursery.cancel_scope.cancel()


async def test_while_the_store_is_gone_each_counts_alone_and_nothing_is_lost(
    autojump_clock: MockClock, clock: FakeTime
) -> None:
    """Each adds to the last known counts of the others. Once the store is back, all counts are combined."""
    store = MemoryStore()
    one, other = (SharedCounters(store.connection(name)) for name in "ab")
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await nursery.start(other.run)
        assert all(hit(one) for _ in range(30))
        await trio.sleep(1)
        hit(other)
        await trio.sleep(1)
        store.gone = True
        assert sum(hit(other) for _ in range(100)) == 100 - 31
        assert sum(hit(one) for _ in range(40)) == 40
        await trio.sleep(10)
        store.gone = False
        store.counts.clear()
        await trio.sleep(1)
        for counters in (one, other):
            hit(counters)
            await trio.sleep(1)
            # One hit more, if it came before the other's counts arrived.
            assert counters.get_sliding_window("somebody", LONG)[2] in (70 + 70, 70 + 70 + 1)
            assert not hit(counters)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("seed", range(5))
def test_admissions_and_figures_equal_those_of_the_librarys_memory_storage(
    clock: FakeTime, seed: int
) -> None:
    chance = random.Random(seed)
    item = RateLimitItemPerMinute(20)
    shared, alone = (
        SlidingWindowCounterRateLimiter(one)
        for one in (SharedCounters(MemoryStore().connection("a")), Counters())
    )
    seen = set()
    for _ in range(500):
        clock.more += chance.choice((0, 0.1, 1, 5, 70 * chance.random() ** 8))
        who = chance.choice("ab")
        admitted = shared.hit(item, who)
        assert admitted == alone.hit(item, who)
        assert shared.get_window_stats(item, who) == pytest.approx(alone.get_window_stats(item, who))
        seen.add(admitted)
    assert seen == {True, False}


async def test_expired_windows_are_forgotten(autojump_clock: MockClock, clock: FakeTime) -> None:
    store = MemoryStore()
    counters = SharedCounters(store.connection("a"))
    async with trio.open_nursery() as nursery:
        await nursery.start(counters.run)
        for number in range(1000):
            counters.acquire_sliding_window_entry(f"visitor {number}", 10, 60)
        await trio.sleep(180)
        counters.acquire_sliding_window_entry("later", 10, 60)
        await trio.sleep(1)
        assert counters.reset() == 1
        assert max(store.exchanges) <= shared_counters.BATCH
        assert not counters._others
        nursery.cancel_scope.cancel()


@pytest.fixture
def valkey():
    """A server of the test's own."""
    with running_valkey() as server:
        yield server


async def test_gateways_count_together_in_valkey(valkey: ValkeyServer) -> None:
    """The counts are exact. The stored keys contain no address, and expire."""
    connections = [ValkeyConnection(valkey.url) for _ in range(2)]
    one, other = (
        SharedCounters(ValkeyCounters(connection, str(number)))
        for number, connection in enumerate(connections)
    )
    async with trio.open_nursery() as nursery:
        for connection in connections:
            await nursery.start(connection.run)
        await nursery.start(one.run)
        await nursery.start(other.run)
        for _ in range(3):
            assert one.acquire_sliding_window_entry("192.0.2.77", 5, 3600)
        with trio.fail_after(20):
            while "school:" not in valkey.command("KEYS", "*"):  # noqa: ASYNC110
                await trio.sleep(0.02)
        # It gets three hits from the store, and has counted two by itself.
        for count in (1, 2):
            assert other.acquire_sliding_window_entry("192.0.2.77", 5, 3600)
            with trio.fail_after(20):
                while other.get_sliding_window("192.0.2.77", 3600)[2] != 3 + count:  # noqa: ASYNC110
                    await trio.sleep(0.02)
        assert not other.acquire_sliding_window_entry("192.0.2.77", 5, 3600)
        keys = [key for key in valkey.command("KEYS", "*").split("\r\n") if key.startswith("school:")]
        assert len(keys) == 1
        assert "192.0.2.77" not in "".join(keys)
        assert int(valkey.command("TTL", keys[0]).removeprefix(":")) > 3600
        nursery.cancel_scope.cancel()

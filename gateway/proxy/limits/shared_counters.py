"""Counters of rate limits that gateways share: each counts for itself, and learns ten times a second of the
others' counts.

A request never waits for the store. So gateways together may admit more than a limit: each of them what it
admits in OVERSHOOT_SECONDS, and the time of two exchanges with the store.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from math import floor
from typing import NamedTuple, Protocol

import trio

from actors.adapters.valkey import ValkeyConnection
from actors.sharing.store import StoreUnavailable
from actors.sharing.wire import VERSION
from gateway.proxy.limits.rate_limit import Counters
from runtime.web.failure_limit import SWEEP_SECONDS

RECONCILE_SECONDS = 0.1
"""Seconds between two exchanges with the store while requests are counted."""
OVERSHOOT_SECONDS = 2 * RECONCILE_SECONDS
"""A count reaches the store within RECONCILE_SECONDS, and the other gateways within as much again."""
BATCH = 250
"""The most windows in one exchange: the store does nothing else meanwhile."""
_SCRIPT = """
local totals = {}
for n = 1, #KEYS do
    local own = tonumber(ARGV[2 * n])
    if own > 0 then
        redis.call('HSET', KEYS[n], ARGV[1], own)
        redis.call('EXPIRE', KEYS[n], ARGV[2 * n + 1])
    end
    local total = 0
    for _, count in ipairs(redis.call('HVALS', KEYS[n])) do
        total = total + tonumber(count)
    end
    totals[n] = total
end
return totals
"""


class Window(NamedTuple):
    """One of the consecutive windows of one limit for one address or user. number: since 1970."""

    key: str
    expiry: int
    number: int


class CounterStore(Protocol):
    """Adds up what several processes count."""

    async def exchange(self, counts: Sequence[tuple[Window, int]]) -> list[int]:
        """Set this process's counts, and return the counts of all processes. Raises StoreUnavailable.

        A count of 0 sets nothing.
        """


class ValkeyCounters:
    """A CounterStore in Valkey. It stores hashes of addresses and users. process: this process's name."""

    def __init__(self, connection: ValkeyConnection, process: str) -> None:
        self._connection = connection
        self._process = process

    async def exchange(self, counts: Sequence[tuple[Window, int]]) -> list[int]:
        """Set this process's counts, and return the counts of all. Raises StoreUnavailable."""
        keys = [_store_key(window) for window, _ in counts]
        arguments = [self._process]
        for window, count in counts:
            arguments += [str(count), str(2 * window.expiry + 1)]
        # Each count is set, not added to: a repeated exchange counts nothing twice.
        totals = await self._connection.call(lambda client: client.eval(_SCRIPT, keys=keys, args=arguments))
        return [int(total) for total in totals]  # type: ignore[union-attr, arg-type]


def _store_key(window: Window) -> str:
    text = f"{window.key}\n{window.expiry}\n{window.number}"
    return f"school:{VERSION}:{{rate}}:{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"


class SharedCounters(Counters):
    """Sliding windows whose counts include those of other processes, as far as they are known.

    While the store is gone, each process counts alone, on top of what it has learnt of the others. The clocks
    of the machines must agree: a window begins at a multiple of its length since 1970.
    """

    def __init__(self, store: CounterStore) -> None:
        super().__init__()
        self._store = store
        self._own: dict[Window, int] = {}
        self._others: dict[Window, int] = {}
        self._touched: dict[Window, None] = {}
        """The windows to exchange, in the order in which they were counted in."""
        self._kick = trio.Event()
        self._swept_at = time.time()

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Add `amount` unless the window would exceed `limit`; return whether it was added.

        expiry: seconds of the window.
        """
        now = time.time()
        before, current = _windows(key, expiry, now)
        self._touch(before, current)
        weighted = self._count(before) * _left(expiry, now) / expiry + self._count(current)
        if floor(weighted) + amount > limit:
            return False
        self._own[current] = self._own.get(current, 0) + amount
        return True

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """The previous window's count and remaining seconds, then the current window's."""
        now = time.time()
        before, current = (self._count(window) for window in _windows(key, expiry, now))
        left = _left(expiry, now)
        return before, left if before else 0.0, current, left + expiry

    def reset(self) -> int | None:
        """Forget all counts; return the number of windows in which this process has counted."""
        forgotten = len(self._own)
        for known in (self._own, self._others, self._touched):
            known.clear()
        return forgotten

    def _count(self, window: Window) -> int:
        return self._own.get(window, 0) + self._others.get(window, 0)

    def _touch(self, *windows: Window) -> None:
        for window in windows:
            self._touched.setdefault(window)
        self._kick.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Exchange counts with the store until cancelled. A store that is gone raises nothing."""
        task_status.started()
        while True:
            await self._kick.wait()
            began = trio.current_time()
            self._kick = trio.Event()
            try:
                await self._reconcile()
            except StoreUnavailable:
                self._kick.set()
            self._sweep(time.time())
            await trio.sleep_until(began + RECONCILE_SECONDS)

    async def _reconcile(self) -> None:
        """Exchange the windows that have been counted in since the last exchange. Raises StoreUnavailable."""
        waiting = list(self._touched)
        for start in range(0, len(waiting), BATCH):
            batch = [(window, self._own.get(window, 0)) for window in waiting[start : start + BATCH]]
            for window, _ in batch:
                self._touched.pop(window, None)
            try:
                totals = await self._store.exchange(batch)
            except StoreUnavailable:
                self._touched.update(dict.fromkeys(window for window, _ in batch))
                raise
            for (window, own), total in zip(batch, totals, strict=True):
                # A store that has lost its data knows less than this process does.
                self._others[window] = max(total - own, self._others.get(window, 0))

    def _sweep(self, now: float) -> None:
        """Forget the windows that count no more, every SWEEP_SECONDS."""
        if now - self._swept_at < SWEEP_SECONDS:
            return
        self._swept_at = now
        for known in (self._own, self._others, self._touched):
            for window in [one for one in known if (one.number + 2) * one.expiry <= now]:
                del known[window]


def _windows(key: str, expiry: int, now: float) -> tuple[Window, Window]:
    """The previous and the current window."""
    number = int(now // expiry)
    return Window(key, expiry, number - 1), Window(key, expiry, number)


def _left(expiry: int, now: float) -> float:
    """Seconds until the current window ends. Until then the previous one counts in part."""
    return expiry - now % expiry

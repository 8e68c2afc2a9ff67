"""The counters of the rate limits: in this process's memory, or in a file that all workers share."""

from __future__ import annotations

import hashlib
import struct
import threading
import time
from math import floor
from pathlib import Path
from typing import Any

import lmdb
import structlog
from limits.storage import MemoryStorage

SWEEP_SECONDS = 10.0
"""The least seconds between two removals of expired counters from memory."""
FILE_BYTES = 64 * 1024 * 1024
"""Enough for about half a million addresses and users."""
_REMOVED_AT_ONCE = 10
_END, _COUNT = struct.Struct(">Q"), struct.Struct("<Q")

log = structlog.get_logger("counters")


class _InlineTimer:
    """Replaces the library's timer, which starts a thread every hundredth of a second while there is traffic.

    Expired counters are removed during a hit, at most every SWEEP_SECONDS.
    """

    def __init__(self, timer: threading.Timer) -> None:
        self._remove_expired = timer.function
        self._due = time.monotonic() + SWEEP_SECONDS

    def start(self) -> None:
        self._remove_expired()

    def is_alive(self) -> bool:
        return time.monotonic() < self._due


class Counters(MemoryStorage):
    """The library's counters in memory, without its threads."""

    @property
    def timer(self) -> Any:
        """Removes expired counters."""
        return self._timer

    @timer.setter
    def timer(self, timer: threading.Timer) -> None:
        self._timer = _InlineTimer(timer)


class SharedCounters(Counters):
    """Sliding windows that several processes share; every hit is counted exactly once.

    A hit is one transaction on a memory-mapped file: it takes some microseconds and never waits for the disk.
    A process that dies during a transaction leaves neither a trace nor a lock. If the file is full of
    counters that have not expired, all counters restart at zero, and a warning is logged.

    A process may open a path only once. Raises lmdb.Error if the file can't be used.
    """

    def __init__(self, path: Path, file_bytes: int = FILE_BYTES) -> None:
        super().__init__()
        self._file = lmdb.open(str(path), subdir=False, map_size=file_bytes, sync=False, max_spare_txns=1)

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Add `amount` unless the window would exceed `limit`; return whether it was added.

        expiry: seconds of the window.
        """
        try:
            return self._acquire(key, limit, expiry, amount)
        except lmdb.MapFullError:
            log.warning("the counters of rate limits were full: all restart at zero")
            self.reset()
            return self._acquire(key, limit, expiry, amount)

    def _acquire(self, key: str, limit: int, expiry: int, amount: int) -> bool:
        now = time.time()
        with self._file.begin(write=True) as transaction:
            self._delete_expired(transaction, now)
            before, left, current, _ = self._window(transaction, key, expiry, now)
            if floor(before * left / expiry + current) + amount > limit:
                return False
            transaction.put(_key(key, expiry, now), _COUNT.pack(current + amount))
            return True

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """The previous window's count and remaining seconds, then the current window's."""
        # A write transaction, since a reader that dies would keep its slot in the file's table of readers.
        with self._file.begin(write=True) as transaction:
            return self._window(transaction, key, expiry, time.time())

    def reset(self) -> int | None:
        """Delete all counters; return their number."""
        with self._file.begin(write=True) as transaction:
            deleted: int = transaction.stat()["entries"]
            transaction.drop(self._file.open_db(None, txn=transaction), delete=False)
        return deleted

    def _window(
        self, transaction: lmdb.Transaction, key: str, expiry: int, now: float
    ) -> tuple[int, float, int, float]:
        gone = now % expiry
        before = transaction.get(_key(key, expiry, now - expiry))
        current = transaction.get(_key(key, expiry, now))
        return (
            _COUNT.unpack(before)[0] if before else 0,
            expiry - gone if before else 0.0,
            _COUNT.unpack(current)[0] if current else 0,
            2 * expiry - gone,
        )

    def _delete_expired(self, transaction: lmdb.Transaction, now: float) -> None:
        """Delete a few expired counters. Keys start with their expiry time, so expired ones sort first."""
        cursor = transaction.cursor()
        for _ in range(_REMOVED_AT_ONCE):
            if not cursor.first() or _END.unpack_from(cursor.key())[0] > now:
                return
            cursor.delete()


def _key(key: str, expiry: int, now: float) -> bytes:
    """The key in the file for the window that contains `now`: its expiry time, then a hash of `key`."""
    end = (int(now // expiry) + 2) * expiry
    return _END.pack(end) + hashlib.blake2b(key.encode(), digest_size=16).digest()

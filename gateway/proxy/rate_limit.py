"""Where rate limits count: in this process, or in a file that all workers of one gateway share."""

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
FILE_BYTES = 64 * 1024 * 1024
"""Room for about half a million addresses and users."""
_SWEPT_AT_ONCE = 10
_END, _COUNT = struct.Struct(">Q"), struct.Struct("<Q")

log = structlog.get_logger("counters")


class _Sweep:
    """In the place of the library's timer, which is a new thread for each hundredth of a second of traffic.

    What has expired is dropped in passing, at most every SWEEP_SECONDS.
    """

    def __init__(self, timer: threading.Timer) -> None:
        self._sweep = timer.function
        self._due = time.monotonic() + SWEEP_SECONDS

    def start(self) -> None:
        self._sweep()

    def is_alive(self) -> bool:
        return time.monotonic() < self._due


class Counters(MemoryStorage):
    """The library's counters in memory, without its threads."""

    @property
    def timer(self) -> Any:
        """What drops those who have expired."""
        return self._timer

    @timer.setter
    def timer(self, timer: threading.Timer) -> None:
        self._timer = _Sweep(timer)


class SharedCounters(Counters):
    """Sliding windows that several processes count in together, each of them exactly.

    A hit is one transaction of a memory-mapped file: some microseconds, no waiting for the disk. Who dies in
    the middle of one leaves no trace of it, and no lock. Where the file is full of those who have not expired
    yet, everybody starts at nothing, and the log says so.

    One object for one path in a process. Raises lmdb.Error where the file can't be used.
    """

    def __init__(self, path: Path, file_bytes: int = FILE_BYTES) -> None:
        super().__init__()
        self._file = lmdb.open(str(path), subdir=False, map_size=file_bytes, sync=False, max_spare_txns=1)

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount` where fewer than `limit` then remain counted; whether it was."""
        try:
            return self._acquire(key, limit, expiry, amount)
        except lmdb.MapFullError:
            log.warning("the counters of rate limits were full: all start at nothing again")
            self.reset()
            return self._acquire(key, limit, expiry, amount)

    def _acquire(self, key: str, limit: int, expiry: int, amount: int) -> bool:
        now = time.time()
        with self._file.begin(write=True) as transaction:
            self._sweep(transaction, now)
            before, left, current, _ = self._window(transaction, key, expiry, now)
            if floor(before * left / expiry + current) + amount > limit:
                return False
            transaction.put(_name(key, expiry, now), _COUNT.pack(current + amount))
            return True

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """The count of the window before and its seconds left; of this window, and its."""
        # To read is to write here: a reader that dies would keep its place in the file's table of readers.
        with self._file.begin(write=True) as transaction:
            return self._window(transaction, key, expiry, time.time())

    def reset(self) -> int | None:
        """Forget everybody."""
        with self._file.begin(write=True) as transaction:
            forgotten: int = transaction.stat()["entries"]
            transaction.drop(self._file.open_db(None, txn=transaction), delete=False)
        return forgotten

    def _window(
        self, transaction: lmdb.Transaction, key: str, expiry: int, now: float
    ) -> tuple[int, float, int, float]:
        gone = now % expiry
        before = transaction.get(_name(key, expiry, now - expiry))
        current = transaction.get(_name(key, expiry, now))
        return (
            _COUNT.unpack(before)[0] if before else 0,
            expiry - gone if before else 0.0,
            _COUNT.unpack(current)[0] if current else 0,
            2 * expiry - gone,
        )

    def _sweep(self, transaction: lmdb.Transaction, now: float) -> None:
        """Drop a few that nobody asks for any more: the first, since names begin with their end."""
        cursor = transaction.cursor()
        for _ in range(_SWEPT_AT_ONCE):
            if not cursor.first() or _END.unpack_from(cursor.key())[0] > now:
                return
            cursor.delete()


def _name(key: str, expiry: int, now: float) -> bytes:
    """Of the window of `key` that `now` is in: when it is of no more use, and whose it is."""
    end = (int(now // expiry) + 2) * expiry
    return _END.pack(end) + hashlib.blake2b(key.encode(), digest_size=16).digest()

"""The counters of the rate limits: in this process's memory."""

from __future__ import annotations

import threading
import time
from typing import Any

from limits.storage import MemoryStorage

SWEEP_SECONDS = 10.0
"""The least seconds between two removals of expired counters from memory."""


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

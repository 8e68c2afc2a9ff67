"""The counters of the rate limits: in this process's memory."""

from __future__ import annotations

import threading
from typing import Any

from limits.storage import MemoryStorage

from runtime.web.failure_limit import InlineTimer


class Counters(MemoryStorage):
    """The library's counters in memory, without its threads."""

    @property
    def timer(self) -> Any:
        """Removes expired counters."""
        return self._timer

    @timer.setter
    def timer(self, timer: threading.Timer) -> None:
        self._timer = InlineTimer(timer.function)

"""Samples the log lines of rejected requests: in an outage each request would write one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
import trio

WINDOW_SECONDS = 1.0


@dataclass(slots=True)
class _Window:
    start: float
    count: int = 0
    """Lines that were left out."""


class RejectionSampler:
    """Admits the first line of each second for each breaker and reason, and counts the others.

    One line a second has their number. Memory: one entry for each breaker and reason. Only inside of trio.
    """

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], _Window] = {}

    def admits(self, fields: Mapping[str, Any]) -> bool:
        """Whether a request's line is to be written. fields: of the line; `rejected` is the reason.

        Lines of requests that no breaker has rejected are always written.
        """
        if "rejected" not in fields:
            return True
        key = str(fields.get("breaker", "")), str(fields["rejected"])
        window, now = self._windows.get(key), trio.current_time()
        if window is None or now >= window.start + WINDOW_SECONDS:
            self._windows[key] = _Window(now)
            return True
        window.count += 1
        if window.count == 1:
            # Without the context of the request that happens to be the second.
            trio.lowlevel.spawn_system_task(_report, key, window)
        return False


async def _report(key: tuple[str, str], window: _Window) -> None:
    """Write the number of lines left out in a window, when it is over or the process ends."""
    try:
        await trio.sleep_until(window.start + WINDOW_SECONDS)
    finally:
        breaker, reason = key
        structlog.get_logger("http").info(
            "more requests rejected", breaker=breaker, rejected=reason, count=window.count
        )

"""Time limits that exclude stalls of this process.

After a stall (SIGSTOP, a paused virtual machine, a host without a free core) a process finds deadlines that
have passed and data that arrived before them. trio processes the deadlines first. Here each stall moves the
limits by its length, so that the data is read before a time-out counts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import trio

TICK = 0.05
"""Seconds between two checks of the limits. A limit may expire late by so much."""
STALL = 0.25
"""Seconds. A check that is later than this means that the process was stalled."""
MIN_STALLED_SECONDS = 1.0
"""Seconds. After a longer stall, a failed call says nothing about the dependency."""


class TimeLimit:
    """A cancel scope that is cancelled at `deadline`, which may be changed at any time.

    deadline: on the clock `LoopTime.now`; inf: no limit.
    """

    __slots__ = ("_loop_time", "_scope", "deadline")

    def __init__(self, loop_time: LoopTime, due: float) -> None:
        self._loop_time = loop_time
        self._scope = trio.CancelScope()
        self.deadline = due

    @property
    def expired(self) -> bool:
        """Whether this limit ended the block. Valid after the block."""
        return self._scope.cancelled_caught

    def cancel(self) -> None:
        """End the block now."""
        self._scope.cancel()

    def __enter__(self) -> TimeLimit:
        self._loop_time.add(self)
        self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._loop_time.discard(self)
        return self._scope.__exit__(kind, error, trace)


class StallWatch:
    """Measures stalls from its creation on. Only while LoopTime has a limit or `watched` is entered."""

    __slots__ = ("_loop_time", "_stalled", "_start")

    def __init__(self, loop_time: LoopTime) -> None:
        self._loop_time = loop_time
        self._stalled = loop_time.stalled
        self._start = time.monotonic()

    def was_mostly_stalled(self) -> bool:
        """Return whether the process was stalled for MIN_STALLED_SECONDS, and more than half of the time."""
        still = self._loop_time.stalled_since(self._stalled)
        return still >= MIN_STALLED_SECONDS and still > (time.monotonic() - self._start) / 2


class LoopTime:
    """A clock that stops while the event loop is stalled, and limits on that clock. Needs `run` in a task.

    stalled: seconds of all stalls so far.
    """

    def __init__(self) -> None:
        self.stalled = 0.0
        self._limits: dict[TimeLimit, None] = {}
        self._wake = trio.Event()
        self._looked_at = math.inf
        """When the limits were last checked, on the system's monotonic clock; inf while there are none."""

    def now(self) -> float:
        """Return trio's time in seconds, less all stalls."""
        return trio.current_time() - self.stalled

    def limit(self, seconds: float) -> TimeLimit:
        """Return a limit that expires after `seconds`. Enter it at once."""
        return TimeLimit(self, self.now() + seconds)

    def stalled_since(self, stalled: float) -> float:
        """Return the seconds of stalls since `self.stalled` was `stalled`, including one that just ended."""
        lag = time.monotonic() - self._looked_at - TICK
        return self.stalled - stalled + (lag if lag > STALL else 0.0)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Detect stalls during the block even if there is no limit."""
        limit = self.limit(math.inf)
        self.add(limit)
        try:
            yield
        finally:
            self.discard(limit)

    def add(self, limit: TimeLimit) -> None:
        """Check a limit from now on."""
        if not self._limits:
            self._wake.set()
        self._limits[limit] = None

    def discard(self, limit: TimeLimit) -> None:
        """Stop checking a limit."""
        del self._limits[limit]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Check the limits until cancelled."""
        task_status.started()
        while True:
            if not self._limits:
                self._looked_at = math.inf
                self._wake = trio.Event()
                await self._wake.wait()
            self._looked_at = time.monotonic()
            await trio.sleep(TICK)
            # On the system's clock: a test's clock may jump without a stall.
            lag = time.monotonic() - self._looked_at - TICK
            if lag > STALL:
                self.stalled += lag
            else:
                self._cancel_due()

    def _cancel_due(self) -> None:
        now = self.now()
        for limit in [one for one in self._limits if one.deadline <= now]:
            limit.cancel()

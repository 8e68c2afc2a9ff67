"""Time limits that don't count the time in which this process stood still.

A process that was frozen (SIGSTOP, a paused virtual machine, a host without a free core) finds two things
when it goes on: deadlines that have passed, and data that arrived in time. trio lets deadlines come first.
Here the limits move on by the time that was lost, so that what has arrived is read before a time-out counts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import trio

TICK = 0.05
"""Seconds between two looks at the limits: one may be reached so much later than it says."""
STALL = 0.25
"""A look that comes so many seconds late means that the process stood still."""
MIN_STALLED_SECONDS = 1.0
"""What fails while the process stood still for so long says nothing of whoever was waited for."""


class TimeLimit:
    """A cancel scope that is cancelled when `due` comes; due may be set anew at any time.

    due: on `LoopTime.now`; inf: no limit. expired: the limit ended the block.
    """

    __slots__ = ("_loop_time", "_scope", "deadline")

    def __init__(self, loop_time: LoopTime, due: float) -> None:
        self._loop_time = loop_time
        self._scope = trio.CancelScope()
        self.deadline = due

    @property
    def expired(self) -> bool:
        """Whether the block was ended by this limit. Known once the block has been left."""
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
    """The time from its making on, of which a part may be lost. LoopTime has something to watch meanwhile."""

    __slots__ = ("_loop_time", "_stalled", "_start")

    def __init__(self, loop_time: LoopTime) -> None:
        self._loop_time = loop_time
        self._stalled = loop_time.stalled
        self._start = time.monotonic()

    def was_mostly_stalled(self) -> bool:
        """Whether the process stood still for MIN_STALLED_SECONDS of it or more, and longer than it ran."""
        still = self._loop_time.stalled_since(self._stalled)
        return still >= MIN_STALLED_SECONDS and still > (time.monotonic() - self._start) / 2


class LoopTime:
    """The time in which the event loop ran, and the limits that go by it. `run` it beside them.

    stalled: the seconds in which the process stood still, in all.
    """

    def __init__(self) -> None:
        self.stalled = 0.0
        self._limits: dict[TimeLimit, None] = {}
        self._wake = trio.Event()
        self._looked_at = math.inf
        """When the limits were last looked at, by the system's monotonic clock; inf while there are none."""

    def now(self) -> float:
        """Seconds on trio's clock, less the time in which the process stood still."""
        return trio.current_time() - self.stalled

    def limit(self, seconds: float) -> TimeLimit:
        """A limit that comes in so many seconds. Enter it at once."""
        return TimeLimit(self, self.now() + seconds)

    def stalled_since(self, stalled: float) -> float:
        """Seconds in which the process stood still since `self.stalled` was `stalled`, up to this moment."""
        lag = time.monotonic() - self._looked_at - TICK
        return self.stalled - stalled + (lag if lag > STALL else 0.0)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Notice in the block if the process stands still, though nothing has a limit."""
        limit = self.limit(math.inf)
        self.add(limit)
        try:
            yield
        finally:
            self.discard(limit)

    def add(self, limit: TimeLimit) -> None:
        """Watch a limit."""
        if not self._limits:
            self._wake.set()
        self._limits[limit] = None

    def discard(self, limit: TimeLimit) -> None:
        """Watch it no longer."""
        del self._limits[limit]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch the limits, for ever."""
        task_status.started()
        while True:
            if not self._limits:
                self._looked_at = math.inf
                self._wake = trio.Event()
                await self._wake.wait()
            self._looked_at = time.monotonic()
            await trio.sleep(TICK)
            # By the system's clock: a test's clock may jump while the process runs.
            lag = time.monotonic() - self._looked_at - TICK
            if lag > STALL:
                self.stalled += lag
            else:
                self._cancel_due()

    def _cancel_due(self) -> None:
        now = self.now()
        for limit in [one for one in self._limits if one.deadline <= now]:
            limit.cancel()

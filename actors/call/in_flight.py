"""The running calls that the actor may have to end: by a timeout, or because the breaker opens."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import Context
from typing import Protocol

from ..commands import Settle
from ..errors import CircuitOpenError
from ..messages import NEVER


class InFlightCall(Protocol):
    """A running call that the actor can end.

    timeout: seconds; inf: none. deadline: the time at which the timeout ends the call.
    """

    timeout: float
    deadline: float

    @property
    def context(self) -> Context:
        """A copy of the present context of the call's task."""

    def time_out(self) -> Settle | None:
        """Cancel the call because its deadline has passed; the failure to count, None if none is counted."""

    def cancel_with(self, error: CircuitOpenError) -> None:
        """Cancel the call because the breaker has opened; it raises `error`."""

    def keep_own_timeout(self) -> None:
        """Have the call end itself at its deadline, uncounted: the actor has ended."""


class InFlightCalls:
    """Calls in lanes by timeout: in each lane the first to start has the first deadline. O(1) a call."""

    def __init__(self) -> None:
        self._lanes: dict[float, dict[InFlightCall, None]] = {}

    def add(self, call: InFlightCall) -> None:
        """Add a call that has started."""
        self._lanes.setdefault(call.timeout, {})[call] = None

    def discard(self, call: InFlightCall) -> None:
        """Remove a call; do nothing if it isn't there."""
        lane = self._lanes.get(call.timeout)
        if lane is not None:
            lane.pop(call, None)
            if not lane:
                del self._lanes[call.timeout]

    def lift_timeout(self, call: InFlightCall) -> None:
        """Take a call's timeout away, if the call is here: from now on only the breaker's opening ends it."""
        if call in self._lanes.get(call.timeout, ()):
            self.discard(call)
            call.timeout = call.deadline = NEVER
            self.add(call)

    @property
    def next_deadline(self) -> float:
        """The first deadline; inf if there is none."""
        return min((next(iter(lane)).deadline for lane in self._lanes.values()), default=NEVER)

    def take_overdue(self, now: float) -> list[InFlightCall]:
        """Remove and return the calls whose deadline has passed at `now`."""
        overdue = []
        for lane in list(self._lanes.values()):
            for call in list(lane):
                if call.deadline > now:
                    break
                self.discard(call)
                overdue.append(call)
        return overdue

    def __iter__(self) -> Iterator[InFlightCall]:
        for lane in list(self._lanes.values()):
            yield from list(lane)

"""The calls under way that their breaker may have to end: by a timeout, or because it opens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

NEVER = float("inf")


class InFlightCall(Protocol):
    """A call that can be ended from outside. timeout: seconds; deadline: when it is over."""

    timeout: float
    deadline: float


class InFlightCalls:
    """InFlightCalls in lanes by timeout: within a lane the first to start is the first due. O(1) a call."""

    def __init__(self) -> None:
        self._lanes: dict[float, dict[InFlightCall, None]] = {}

    def add(self, flight: InFlightCall) -> None:
        """Watch over it."""
        self._lanes.setdefault(flight.timeout, {})[flight] = None

    def discard(self, flight: InFlightCall) -> None:
        """No longer; harmless twice."""
        lane = self._lanes.get(flight.timeout)
        if lane is not None:
            lane.pop(flight, None)
            if not lane:
                del self._lanes[flight.timeout]

    def lift_timeout(self, flight: InFlightCall) -> None:
        """Watch over it without a timeout, where it is watched: only the breaker's opening ends it."""
        if flight in self._lanes.get(flight.timeout, ()):
            self.discard(flight)
            flight.timeout = flight.deadline = NEVER
            self.add(flight)

    @property
    def next_due(self) -> float:
        """When the first is due; inf where none is."""
        return min((next(iter(lane)).deadline for lane in self._lanes.values()), default=NEVER)

    def take_due(self, now: float) -> list[InFlightCall]:
        """Those that are over at `now`, no longer watched."""
        due = []
        for lane in list(self._lanes.values()):
            for flight in list(lane):
                if flight.deadline > now:
                    break
                self.discard(flight)
                due.append(flight)
        return due

    def __iter__(self) -> Iterator[InFlightCall]:
        for lane in list(self._lanes.values()):
            yield from list(lane)

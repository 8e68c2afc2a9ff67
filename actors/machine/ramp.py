"""Admission that grows evenly after a recovery, so that the dependency isn't overloaded again."""

from __future__ import annotations

import math

from ..messages import Outcome


class Ramp:
    """Admits a share of the calls that grows linearly from 0 at `start` to all at `end`.

    Deterministic: each call adds the present share to a credit, and a whole credit admits one call.
    """

    def __init__(self, start: float, duration: float) -> None:
        self._start = start
        self._duration = duration
        self._credit = 0.0
        self.end = start + duration

    def admit(self, now: float) -> bool:
        """Whether the call at `now` is admitted."""
        self._credit += self._share(now)
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True

    def started(self, number: int, now: float) -> None:
        """Do nothing: only time lets it grow."""

    def ended(self, number: int, outcome: Outcome) -> bool:
        """Never over by a call's end: only time lets it grow."""
        return False

    def wake(self, now: float) -> bool:
        """Whether the ramp is over."""
        return now >= self.end

    def retry_after(self, now: float) -> float:
        """Seconds until it ends."""
        return self.end - now

    def next_admission(self, now: float) -> float:
        """The earliest time from `now` on at which a single call is admitted."""
        moment = self._start + (1.0 - self._credit) * self._duration
        # Rounding may make it a little too early, and a call at that time would be rejected.
        while self._credit + self._share(moment) < 1.0:
            moment = math.nextafter(moment, math.inf)
        return max(now, moment)

    def _share(self, now: float) -> float:
        return min(1.0, (now - self._start) / self._duration)

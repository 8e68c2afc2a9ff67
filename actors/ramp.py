"""Admission that grows evenly after a recovery, so that what came back isn't knocked over again."""

from __future__ import annotations


class Ramp:
    """Admits a share of the calls that grows linearly from 0 at `start` to all at `end`.

    Without chance: each call adds the share of its moment to a credit, and a whole credit admits one.
    """

    def __init__(self, start: float, duration: float) -> None:
        self._start = start
        self._duration = duration
        self._credit = 0.0
        self.end = start + duration

    def admit(self, now: float) -> bool:
        """Whether the call that comes at `now` is let through."""
        self._credit += min(1.0, (now - self._start) / self._duration)
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True

    def next_admission(self, now: float) -> float:
        """The earliest time from `now` on at which a call that comes alone is let through."""
        return max(now, self._start + (1.0 - self._credit) * self._duration)

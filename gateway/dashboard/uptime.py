"""When a process was there: what its breakers did while it wasn't, it can't tell afterwards."""

from __future__ import annotations

from runtime.admin.history import BUCKET_SECONDS, BUCKETS

SPAN_SECONDS = float(BUCKETS * BUCKET_SECONDS)
STARTS = 20
GAPS = 100


class ProcessUptime:
    """The starts of one process, and the gaps of the span on show in which nothing was heard of it."""

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.gaps: list[tuple[float, float]] = []
        self._heard: float | None = None
        self._silent_from: float | None = None

    def is_silent(self, now: float) -> None:
        """It doesn't answer: nothing is known since it was last heard of."""
        if self._silent_from is None:
            self._silent_from = now if self._heard is None else self._heard
        else:
            self.gaps.pop()
        self._lay(self._silent_from, now, now)

    def answers(self, started: float, now: float) -> None:
        """It does. What it knows goes back to its start, so that a gap ends there."""
        heard, self._heard = self._heard, now
        again = heard is not None and started > heard
        if heard is None or again:
            self.starts = [*self.starts, started][-STARTS:]
        if self._silent_from is not None:
            self.gaps.pop()
            self._lay(self._silent_from, started if started > self._silent_from else now, now)
            self._silent_from = None
        elif heard is not None and again:
            self._lay(heard, started, now)

    def _lay(self, begin: float, end: float, now: float) -> None:
        kept = [gap for gap in self.gaps if gap[1] > now - SPAN_SECONDS]
        self.gaps = [*kept, (begin, end)][-GAPS:]

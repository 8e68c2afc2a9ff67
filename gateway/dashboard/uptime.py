"""When a process ran: it can't report what its breakers did while it did not run."""

from __future__ import annotations

from runtime.admin.history import BUCKET_SECONDS, BUCKETS

SPAN_SECONDS = float(BUCKETS * BUCKET_SECONDS)
"""Seconds of history that the dashboard shows."""
STARTS = 20
GAPS = 100
"""The most starts and gaps that are kept."""


class ProcessUptime:
    """The starts of one process, and the gaps in its reports. All times are Unix seconds.

    starts: oldest first. gaps: begin and end of each, oldest first; one that lasts ends now.
    """

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.gaps: list[tuple[float, float]] = []
        self._last_report: float | None = None
        self._silent_since: float | None = None

    def record_silence(self, now: float) -> None:
        """The process doesn't answer: its history is unknown since its last report."""
        if self._silent_since is None:
            self._silent_since = now if self._last_report is None else self._last_report
        else:
            self.gaps.pop()
        self._add_gap(self._silent_since, now, now)

    def record_report(self, started: float, now: float) -> None:
        """The process has reported. Its history reaches back to its start, so a gap ends there.

        started: when it was started.
        """
        previous, self._last_report = self._last_report, now
        restarted = previous is not None and started > previous
        if previous is None or restarted:
            self.starts = [*self.starts, started][-STARTS:]
        if self._silent_since is not None:
            self.gaps.pop()
            self._add_gap(self._silent_since, started if started > self._silent_since else now, now)
            self._silent_since = None
        elif previous is not None and restarted:
            self._add_gap(previous, started, now)

    def _add_gap(self, begin: float, end: float, now: float) -> None:
        kept = [gap for gap in self.gaps if gap[1] > now - SPAN_SECONDS]
        self.gaps = [*kept, (begin, end)][-GAPS:]

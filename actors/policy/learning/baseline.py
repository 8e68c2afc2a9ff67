"""What is usual: the slow averages of the share of failures and of the traffic. Pure and deterministic.

Calls are counted by slices of one second, and a slice enters the averages when a call of a later one comes.
So only the slices of the calls matter, not their times, and successes that wait on the gate until the end of
their slice change nothing.
"""

from __future__ import annotations

SLICE = 1.0
"""Seconds."""

PRIOR_CALLS = 10.0
PRIOR_SHARE = 0.4
"""A new breaker takes so many calls as seen, of which this share failed: it is careful at first."""

LEAST_CALLS = 400.0
"""The average of failures reaches back this many calls at least."""

TRAFFIC_SECONDS = 60.0
TRAFFIC_CALLS = 20.0
"""The average of the traffic reaches back this many seconds and this many calls at least."""


class Baseline:
    """The averages of one breaker.

    memory: seconds that the average of failures reaches back. usual: the share of failures.
    traffic: calls a second; None as long as it isn't known. seen: the calls learned from.
    """

    __slots__ = (
        "_bad",
        "_calls",
        "_learned",
        "_learned_bad",
        "_limited",
        "_memory",
        "_offered",
        "_seconds",
        "_slice",
        "_slice_calls",
        "_whole",
        "seen",
        "traffic",
        "usual",
    )

    def __init__(self, memory: float) -> None:
        self._memory = memory
        self._calls, self._bad = PRIOR_CALLS, PRIOR_CALLS * PRIOR_SHARE
        self._offered = self._seconds = 0.0
        self.usual = PRIOR_SHARE
        self.traffic: float | None = None
        self.seen = 0
        self._learned = self._learned_bad = 0
        # The last slice that had a call, its calls, and the slice since which every offered call was seen.
        self._slice: int | None = None
        self._slice_calls = 0
        self._whole: int | None = None
        self._limited = False

    @property
    def present(self) -> float:
        """The usual share of failures, with those of the running slice."""
        return (self._bad + self._learned_bad) / (self._calls + self._learned)

    @property
    def least_traffic(self) -> float:
        """The usual calls a second; before they are known, those of the running slice so far."""
        return self._slice_calls / SLICE if self.traffic is None else self.traffic

    def is_quiet(self, now: float) -> bool:
        """Whether a whole slice has passed without a call: then no timer runs."""
        return self._slice is None or now // SLICE > self._slice + 1

    def next_slice(self, now: float) -> float:
        """When the running slice ends."""
        return (now // SLICE + 1) * SLICE

    def count(self, calls: int, now: float) -> bool:
        """Count calls that ended at `now`. Whether that closed an earlier slice, and moved the averages."""
        current = int(now // SLICE)
        closed = self._slice is not None and current > self._slice
        if closed:
            self._close(current)
        if self._slice is None or closed:
            self._slice, self._slice_calls = current, 0
        if self._whole is None and not self._limited:
            self._whole = current + 1
        self._slice_calls += calls
        return closed

    def learn(self, calls: int, bad: int) -> None:
        """Learn from calls that were no incident."""
        self._learned += calls
        self._learned_bad += bad
        self.seen += calls

    def interrupt(self) -> None:
        """From now on not every offered call is seen."""
        self._slice = self._whole = None
        self._limited = True

    def resume(self, now: float) -> None:
        """Every offered call is seen from `now` on."""
        if self._limited:
            self._limited = False
            self._whole = int(now // SLICE) + 1

    def _close(self, current: int) -> None:
        """Take the last slice, and the empty ones between it and `current`, into the averages."""
        assert self._slice is not None
        if self._whole is not None and self._slice >= self._whole:
            self._seconds += (current - self._slice) * SLICE
            self._offered += self._slice_calls
            if self._seconds > TRAFFIC_SECONDS and self._offered > TRAFFIC_CALLS:
                kept = max(TRAFFIC_SECONDS / self._seconds, TRAFFIC_CALLS / self._offered)
                self._seconds *= kept
                self._offered *= kept
            self.traffic = self._offered / self._seconds
        if not self._learned:
            return
        self._calls += self._learned
        self._bad += self._learned_bad
        self._learned = self._learned_bad = 0
        most = max(LEAST_CALLS, (self.traffic or 0.0) * self._memory)
        if self._calls > most:
            self._bad *= most / self._calls
            self._calls = most
        self.usual = self._bad / self._calls

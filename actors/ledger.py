"""What a breaker has counted for those who watch it. No rule reads any of it."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from protocols.breaker import Exemplar, Histogram, Outcome, RejectReason, State

Labels: TypeAlias = Callable[[], Mapping[str, str] | None]
"""What identifies the call that is being observed, None where nothing does."""

DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds for the durations of calls, seconds."""
RECOVERY_BUCKETS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""Upper bounds for the time from the first OPENED to CLOSED, seconds."""


class Meter:
    """A histogram of plain integers: bounded, and cheap enough for every call.

    labels: asked at each observation; each bucket keeps the last one that had any as its exemplar.
    """

    def __init__(self, bounds: Sequence[float], labels: Labels | None = None) -> None:
        self.bounds = tuple(bounds)
        self._counts = [0] * (len(self.bounds) + 1)
        self._total = 0.0
        self._labels = labels
        self._exemplars: dict[int, Exemplar] = {}

    def observe(self, value: float) -> None:
        """Count one value; a value equal to a bound belongs below it."""
        bucket = bisect_left(self.bounds, value)
        self._counts[bucket] += 1
        self._total += value
        if self._labels is not None and (labels := self._labels()):
            self._exemplars[bucket] = Exemplar(value, labels, time.time())

    def histogram(self) -> Histogram:
        """What was observed so far."""
        return Histogram(self.bounds, tuple(self._counts), self._total, dict(self._exemplars))


class Ledger:
    """Calls by outcome, rejections by reason, transitions, and the last of each kind.

    It outlives a crash of the actor: counters of the outside world never go back.
    """

    def __init__(self, now: float) -> None:
        self.counts = dict.fromkeys(Outcome, 0)
        self.rejections = dict.fromkeys(RejectReason, 0)
        self.transitions: dict[tuple[State, State], int] = {}
        self.in_flight = 0
        self.late = 0
        self.would_reject = 0
        self.last_failure: str | None = None
        self.last_reason: str | None = None
        self.changed_at = now
        self.recovery = Meter(RECOVERY_BUCKETS)

    def settled(self, outcome: Outcome, error: str | None, *, late: bool) -> None:
        """Count a call that has ended. error: for people, where it failed."""
        self.in_flight -= 1
        self.counts[outcome] += 1
        self.late += late
        if outcome is Outcome.FAILURE and error:
            self.last_failure = error

    def folded(self, started: int, successes: int, ignored: int, cancelled: int, *, late: bool) -> None:
        """Count calls that callers tallied."""
        ended = successes + ignored + cancelled
        self.in_flight += started - ended
        self.counts[Outcome.SUCCESS] += successes
        self.counts[Outcome.IGNORED] += ignored
        self.counts[Outcome.CANCELLED] += cancelled
        if late:
            self.late += ended

    def outcomes(self) -> dict[str, int]:
        """Calls by outcome, the rejected among them."""
        counts = {outcome.value: count for outcome, count in self.counts.items()}
        return {**counts, "rejected": sum(self.rejections.values())}

    def moved(self, old: State, new: State, now: float, reason: str) -> None:
        """Count a transition."""
        self.transitions[old, new] = self.transitions.get((old, new), 0) + 1
        self.last_reason = reason
        self.changed_at = now

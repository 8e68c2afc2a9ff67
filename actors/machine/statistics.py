"""Counters of a breaker for observers. The rules don't read them."""

from __future__ import annotations

import contextvars
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from ..messages import Exemplar, HistogramSnapshot, Outcome, RejectReason, State

Labels: TypeAlias = Callable[[], Mapping[str, str] | None]
"""Returns labels that identify the call that is being observed, or None."""

DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds for the durations of calls, seconds."""
RECOVERY_BUCKETS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""Upper bounds for the time from the first OPENED to CLOSED, seconds."""


class Histogram:
    """A histogram of plain integers: bounded, and cheap enough for every call.

    labels: called at each observation, after it is counted, and never raises; each bucket keeps its last
        observation with labels as its exemplar.
    """

    def __init__(self, bounds: Sequence[float], labels: Labels | None = None) -> None:
        self.bounds = tuple(bounds)
        self._counts = [0] * (len(self.bounds) + 1)
        self._total = 0.0
        self._labels = labels
        self._exemplars: dict[int, Exemplar] = {}

    def observe(self, value: float, context: contextvars.Context | None = None) -> None:
        """Count one value; a value equal to a bound belongs below it.

        context: the context in which the labels are found; None: the present one.
        """
        bucket = bisect_left(self.bounds, value)
        self._counts[bucket] += 1
        self._total += value
        if self._labels is not None:
            self._keep_exemplar(self._labels, bucket, value, context)

    def _keep_exemplar(
        self, find: Labels, bucket: int, value: float, context: contextvars.Context | None
    ) -> None:
        labels = find() if context is None else context.run(find)
        if labels is not None:
            self._exemplars[bucket] = Exemplar(value, labels, time.time())

    def snapshot(self) -> HistogramSnapshot:
        """The histogram of all observations so far."""
        return HistogramSnapshot(self.bounds, tuple(self._counts), self._total, dict(self._exemplars))


class Statistics:
    """Calls by outcome, rejections by reason, transitions, and the last of each kind.

    It outlives a crash of the actor: counters of the outside world never go back.
    """

    __slots__ = (
        "_recovery",
        "_rejections",
        "cancelled",
        "changed_at",
        "failure",
        "ignored",
        "in_flight",
        "last_failure",
        "last_reason",
        "late",
        "success",
        "transitions",
        "would_reject",
    )

    def __init__(self, now: float) -> None:
        self.success = self.failure = self.ignored = self.cancelled = 0
        self.in_flight = self.late = self.would_reject = 0
        self.last_failure: str | None = None
        self.last_reason: str | None = None
        self.changed_at = now
        # Made when they are first needed: most breakers never open.
        self.transitions: dict[tuple[State, State], int] | None = None
        self._rejections: dict[RejectReason, int] | None = None
        self._recovery: Histogram | None = None

    @property
    def admitted_or_rejected(self) -> int:
        """The calls that were admitted or rejected so far."""
        ended = self.success + self.failure + self.ignored + self.cancelled
        return ended + self.in_flight + self.rejections

    @property
    def rejections(self) -> int:
        """The calls that were rejected so far."""
        return sum((self._rejections or {}).values())

    def rejected(self, reason: RejectReason, count: int = 1) -> None:
        """Count calls that were not admitted."""
        if self._rejections is None:
            self._rejections = dict.fromkeys(RejectReason, 0)
        self._rejections[reason] += count

    def settled(self, outcome: Outcome, error: str | None, *, late: bool) -> None:
        """Count a call that has ended. error: the kind of its failure, for people."""
        self.in_flight -= 1
        self.late += late
        match outcome:
            case Outcome.SUCCESS:
                self.success += 1
            case Outcome.FAILURE:
                self.failure += 1
                self.last_failure = error or self.last_failure
            case Outcome.IGNORED:
                self.ignored += 1
            case Outcome.CANCELLED:  # pragma: no branch - there is no other
                self.cancelled += 1

    def folded(self, started: int, successes: int, ignored: int, cancelled: int, *, late: bool) -> None:
        """Count calls that callers counted on a gate."""
        ended = successes + ignored + cancelled
        self.in_flight += started - ended
        self.success += successes
        self.ignored += ignored
        self.cancelled += cancelled
        if late:
            self.late += ended

    def moved(self, old: State, new: State, now: float, reason: str) -> None:
        """Count a transition."""
        if self.transitions is None:
            self.transitions = {}
        self.transitions[old, new] = self.transitions.get((old, new), 0) + 1
        self.last_reason = reason
        self.changed_at = now

    def recovered(self, seconds: float) -> None:
        """Count an outage that has ended."""
        self._recovery = self._recovery or Histogram(RECOVERY_BUCKETS)
        self._recovery.observe(seconds)

    def entries(self) -> dict[str, Any]:
        """The fields of a Snapshot that are counted here."""
        rejections = {reason.value: (self._rejections or {}).get(reason, 0) for reason in RejectReason}
        return {
            "last_failure": self.last_failure,
            "last_reason": self.last_reason,
            "in_flight": self.in_flight,
            "counts": {
                "success": self.success,
                "failure": self.failure,
                "ignored": self.ignored,
                "cancelled": self.cancelled,
                "rejected": sum(rejections.values()),
            },
            "rejections": rejections,
            "late": self.late,
            "would_reject": self.would_reject,
            "transitions": dict(self.transitions or {}),
            "changed_at": self.changed_at,
            "recovery": (self._recovery or Histogram(RECOVERY_BUCKETS)).snapshot(),
        }

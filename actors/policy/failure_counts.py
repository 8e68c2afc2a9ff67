"""Strategies that trip by a number of failures: in a row, or within a window."""

from __future__ import annotations

from collections import deque
from copy import deepcopy
from dataclasses import dataclass

from .checks import MOST_COUNTED, positive_int
from .trip import Call, TripCounter, TripEvidence, TripStrategy
from .window import LastCalls, LastSeconds, Window, check_window


@dataclass(frozen=True, slots=True)
class ConsecutiveFailures(TripStrategy):
    """`n` failures in a row; a success in between starts again."""

    n: int

    def __post_init__(self) -> None:
        positive_int("ConsecutiveFailures.n", self.n)

    def counter(self) -> TripCounter:
        """A fresh counter."""
        return _Consecutive(self.n)

    @property
    def ignores_successes(self) -> bool:
        """True: a success only ends a row."""
        return True


class _Consecutive(TripCounter):
    __slots__ = ("_consecutive_failures", "_limit")
    reason = "max failures reached"

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._consecutive_failures = 0

    def record(self, call: Call, now: float, count: int = 1) -> None:
        self._consecutive_failures = self._consecutive_failures + count if call.failed else 0

    def tripped(self, now: float) -> bool:
        return self._consecutive_failures >= self._limit

    @property
    def failure_count(self) -> int:
        return self._consecutive_failures

    @property
    def consecutive_failures(self) -> int:
        return self._consecutive_failures

    def evidence(self) -> TripEvidence:
        return TripEvidence(self._consecutive_failures, self._limit, is_row=True)

    def restore(self, consecutive_failures: int) -> None:
        self._consecutive_failures = consecutive_failures

    def inherit_from(self, older: TripCounter) -> bool:
        if not isinstance(older, _Consecutive):
            return False
        self._consecutive_failures = older.consecutive_failures
        return True


@dataclass(frozen=True, slots=True)
class FailureCount(TripStrategy):
    """`n` failures within the window; a success doesn't clear them."""

    n: int
    window: Window

    def __post_init__(self) -> None:
        positive_int("FailureCount.n", self.n, most=MOST_COUNTED)
        check_window("FailureCount", self.window)
        if isinstance(self.window, LastCalls) and self.window.n < self.n:
            raise ValueError(f"FailureCount.n must fit its window of {self.window.n} calls, got {self.n}")

    def counter(self) -> TripCounter:
        """A fresh counter."""
        if isinstance(self.window, LastSeconds):
            return _FailureTimes(self.n, self.window.s)
        return _FailuresAmongCalls(self.n, self.window)

    @property
    def ignores_successes(self) -> bool:
        """True: a success only pushes failures out of the window."""
        return True


class _FailureTimes(TripCounter):
    """Keeps the times of the last n failures, which is exact."""

    reason = "failure count reached"

    def __init__(self, limit: int, seconds: float) -> None:
        self._seconds = seconds
        self.times: deque[float] = deque(maxlen=limit)

    def record(self, call: Call, now: float, count: int = 1) -> None:
        if call.failed:
            self.times.append(now)

    def tripped(self, now: float) -> bool:
        self.advance(now)
        return len(self.times) == self.times.maxlen

    def advance(self, now: float) -> None:
        while self.times and now - self.times[0] >= self._seconds:
            self.times.popleft()

    @property
    def failure_count(self) -> int:
        return len(self.times)

    def evidence(self) -> TripEvidence | None:
        limit = self.times.maxlen
        return None if limit is None else TripEvidence(len(self.times), limit)

    def inherit_from(self, older: TripCounter) -> bool:
        if not isinstance(older, _FailureTimes):
            return False
        self.times.extend(older.times)
        return True


class _FailuresAmongCalls(TripCounter):
    reason = "failure count reached"

    def __init__(self, limit: int, window: LastCalls) -> None:
        self._limit = limit
        self.window = window
        self.rolling = window.rolling()

    def record(self, call: Call, now: float, count: int = 1) -> None:
        self.rolling.add(call.failed, now, count)

    def tripped(self, now: float) -> bool:
        return self.rolling.bad >= self._limit

    @property
    def failure_count(self) -> int:
        return self.rolling.bad

    def evidence(self) -> TripEvidence:
        return TripEvidence(self.rolling.bad, self._limit)

    def inherit_from(self, older: TripCounter) -> bool:
        if not isinstance(older, _FailuresAmongCalls) or older.window != self.window:
            return False
        self.rolling = deepcopy(older.rolling)
        return True

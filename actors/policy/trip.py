"""Trip strategies. A strategy is a value in the configuration; its counter counts for one breaker.

A strategy that learns also has a memory for each breaker, and owns its wait and the growth of admission.

The machine acts when a counter trips. All times are seconds on the machine's clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple

from ..messages import Learned
from .checks import MOST_COUNTED, positive_int
from .window import LastCalls, LastSeconds, Window, check_window


class Call(NamedTuple):
    """One counted call: failed or succeeded. duration: seconds, None if it was not measured.

    slow_from: seconds that it had run when it was reported as slow; None: it never was.
    """

    failed: bool
    duration: float | None = None
    slow_from: float | None = None


SUCCESS = Call(failed=False)


class TripCounter(ABC):
    """The counts of one breaker while it is closed. Empty again after closing."""

    __slots__ = ()
    reason: str

    @abstractmethod
    def record(self, call: Call, now: float, count: int = 1) -> None:
        """Count `count` calls that ended alike at `now`."""

    @abstractmethod
    def tripped(self, now: float) -> bool:
        """Whether the counts at `now` open the breaker. Called after every counted outcome."""

    @property
    @abstractmethod
    def failure_count(self) -> int:
        """The failures that count now; never a slow success."""

    @property
    def slow_count(self) -> int:
        """The slow calls that count now; 0 unless durations count."""
        return 0

    def advance(self, now: float) -> None:  # noqa: B027 - most have no window
        """Drop the calls that have left the window by `now`."""

    def record_slow_in_flight(self, now: float, duration: float) -> None:  # noqa: B027 - most ignore durations
        """A call still running has passed `duration` seconds."""

    def can_batch_successes(self) -> bool:
        """Whether successes may wait on the gate: none of them can trip, or be counted too late."""
        return True

    def next_roll(self, now: float) -> float | None:
        """When waiting successes must be counted, so that a time window stays right; None: never."""
        return None

    @property
    def consecutive_failures(self) -> int:
        """The failures in a row, 0 if they don't matter. Only they survive a crash."""
        return 0

    def restore(self, consecutive_failures: int) -> None:  # noqa: B027 - windows start empty
        """Set the failures in a row after a crash."""

    def inherit_from(self, older: TripCounter) -> bool:
        """Take over the counts of `older`; False if it counted something else."""
        return False


class Learning(ABC):
    """What one breaker has learned. It outlives the states of the breaker, but not a crash of its actor."""

    __slots__ = ()

    successes_to_close: int
    """The probes that must succeed in a row, at least."""

    @abstractmethod
    def counter(self, now: float, *, recovered: bool) -> TripCounter:
        """The counter of a stay in CLOSED that begins at `now`. recovered: it comes after a recovery."""

    @abstractmethod
    def opened(self, now: float) -> None:
        """The breaker leaves CLOSED for OPEN at `now`: by its own verdict, or by another's.

        An operator's command and an opening by sharing come here too. Calls that were not yet learned are
        then forgotten: they belong to an incident.
        """

    @abstractmethod
    def wait(self, now: float) -> float:
        """Seconds from `now` until the next probe."""

    @property
    @abstractmethod
    def tolerated(self) -> float:
        """The share of bad calls up to which admission grows after a recovery."""

    @property
    @abstractmethod
    def break_even(self) -> float:
        """The share of bad calls from which on rejecting loses less than sending."""

    @abstractmethod
    def unlimited(self, now: float) -> None:
        """All calls are admitted from `now` on: the traffic is again worth learning from."""

    @abstractmethod
    def inherit_from(self, older: Learning) -> None:
        """Take over what `older` has learned, after a change of the policy."""

    @abstractmethod
    def learned(self) -> Learned:
        """What it has learned, for observers."""


class TripStrategy(ABC):
    """The condition under which a closed breaker opens."""

    @abstractmethod
    def counter(self) -> TripCounter:
        """A fresh counter of this strategy."""

    @property
    def slow_threshold(self) -> float | None:
        """Seconds from which a call is slow; None if this strategy doesn't use durations."""
        return None

    @property
    def ignores_successes(self) -> bool:
        """Whether no success can ever trip, or be counted too late."""
        return False

    def learning(self) -> Learning | None:
        """What one breaker keeps in all its states, if this strategy learns; it then owns wait and ramp."""
        return None


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

    def inherit_from(self, older: TripCounter) -> bool:
        if not isinstance(older, _FailuresAmongCalls) or older.window != self.window:
            return False
        self.rolling = deepcopy(older.rolling)
        return True

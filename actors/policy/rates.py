"""Strategies that trip by a share of the calls in a window: of failed ones, or of slow ones."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

from .checks import number, positive_int, positive_number
from .trip import Call, TripCounter, TripEvidence, TripStrategy
from .window import LastCalls, LastSeconds, Window, check_window


class _Rate(TripCounter):
    """The share of bad calls in a window that holds at least `minimum`."""

    def __init__(self, rate: float, window: Window, minimum: int) -> None:
        self._rate = rate
        self._minimum = minimum
        self.window = window
        self.rolling = window.rolling()
        self._by_time = isinstance(window, LastSeconds)

    def tripped(self, now: float) -> bool:
        rolling = self.rolling
        rolling.advance(now)
        # Divided, not multiplied: 3 of 30 is the float that 0.1 means.
        return rolling.calls >= self._minimum and rolling.bad / rolling.calls >= self._rate

    @property
    def failure_count(self) -> int:
        return self.rolling.bad

    def advance(self, now: float) -> None:
        self.rolling.advance(now)

    def can_batch_successes(self) -> bool:
        rolling = self.rolling
        # An empty time window has no running timer, so its first call must be counted by a message.
        if self._by_time and not rolling.calls:
            return False
        # A success may trip if it fills the minimum, or if older ones have left the window.
        return rolling.bad / max(rolling.calls, self._minimum) < self._rate

    def evidence(self) -> TripEvidence:
        rolling = self.rolling
        return TripEvidence(rolling.bad, 0, rolling.calls, self._rate, self._minimum)

    def next_roll(self, now: float) -> float | None:
        return self.rolling.next_roll(now)

    def inherit_from(self, older: TripCounter) -> bool:
        if type(older) is not type(self) or older.window != self.window:
            return False
        self.rolling = deepcopy(older.rolling)
        return True


@dataclass(frozen=True, slots=True)
class FailureRate(TripStrategy):
    """At least `rate` (0 < rate ≤ 1) of the window's calls failed, of `minimum_calls` or more."""

    rate: float
    window: Window
    minimum_calls: int

    def __post_init__(self) -> None:
        _check_rate("FailureRate", self.rate, self.window, self.minimum_calls)

    def counter(self) -> TripCounter:
        """A fresh counter."""
        return _Failing(self.rate, self.window, self.minimum_calls)


class _Failing(_Rate):
    reason = "failure rate reached"

    def record(self, call: Call, now: float, count: int = 1) -> None:
        self.rolling.add(call.failed, now, count)


@dataclass(frozen=True, slots=True)
class SlowCallRate(TripStrategy):
    """At least `rate` of the window's calls took `threshold` seconds or longer."""

    rate: float
    threshold: float
    window: Window
    minimum_calls: int

    def __post_init__(self) -> None:
        _check_rate("SlowCallRate", self.rate, self.window, self.minimum_calls)
        positive_number("SlowCallRate.threshold", self.threshold)

    def counter(self) -> TripCounter:
        """A fresh counter."""
        return _Slow(self)

    @property
    def slow_threshold(self) -> float:
        """Seconds from which a call is slow."""
        return self.threshold


class _Slow(_Rate):
    reason = "slow call rate reached"

    def __init__(self, strategy: SlowCallRate) -> None:
        super().__init__(strategy.rate, strategy.window, strategy.minimum_calls)
        self.threshold = strategy.threshold
        # The failures among the calls: for observers, not for this strategy.
        self.failed = strategy.window.rolling()

    def inherit_from(self, older: TripCounter) -> bool:
        if not (
            isinstance(older, _Slow) and older.threshold == self.threshold and super().inherit_from(older)
        ):
            return False
        self.failed = deepcopy(older.failed)
        return True

    def record(self, call: Call, now: float, count: int = 1) -> None:
        self.failed.add(call.failed, now, count)
        # Counted already if it was reported while it ran, and slow by this threshold then.
        if call.slow_from is None or call.slow_from < self.threshold:
            self.rolling.add(call.duration is not None and call.duration >= self.threshold, now, count)

    def record_slow_in_flight(self, now: float, duration: float) -> None:
        if duration >= self.threshold:
            self.rolling.add(True, now)

    @property
    def failure_count(self) -> int:
        return self.failed.bad

    @property
    def slow_count(self) -> int:
        return self.rolling.bad

    def advance(self, now: float) -> None:
        super().advance(now)
        self.failed.advance(now)


def _check_rate(kind: str, rate: float, window: Window, minimum_calls: int) -> None:
    number(f"{kind}.rate", rate, least=0, most=1, above=True)
    positive_int(f"{kind}.minimum_calls", minimum_calls)
    check_window(kind, window)
    if isinstance(window, LastCalls) and window.n < minimum_calls:
        raise ValueError(f"{kind}.minimum_calls must fit its window of {window.n} calls, got {minimum_calls}")

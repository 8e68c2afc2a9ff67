"""A breaker's policy: one frozen value, checked when it is made."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from actors.checks import credible_wait, number, positive_int, positive_number
from actors.trip import ConsecutiveFailures, TripStrategy

ExceptionMatch = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]
"""Exception types, or a predicate asked with the exception."""

RETRY_AFTER_MAXIMUM = 600.0
"""The longest wait, seconds, that a server's Retry-After brings about where `backoff.maximum` is None."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How the wait grows from one failed recovery to the next. It starts again on closing.

    factor: by how much each wait is multiplied; 1.0 keeps `reset_timeout`.
    maximum: the longest wait, seconds; None: no limit. A server's Retry-After is kept within it too, and
        within RETRY_AFTER_MAXIMUM where it is None.
    jitter: 0 to 1; a wait is shortened or lengthened by up to this share, then clamped.
    seed: makes the jitter repeatable; None: another one in every process.
    """

    factor: float = 1.0
    maximum: float | None = None
    jitter: float = 0.0
    seed: int | None = None

    def __post_init__(self) -> None:
        number("backoff.factor", self.factor, least=1)
        number("backoff.jitter", self.jitter, least=0, most=1)
        if self.maximum is not None:
            positive_number("backoff.maximum", self.maximum)
        if self.seed is not None:
            positive_int("backoff.seed", self.seed, least=0)

    def wait(
        self, base: float, attempt: int, chance: random.Random | None, asked: float | None = None
    ) -> float:
        """Seconds to wait before recovery number `attempt` (0 the first) is tried.

        chance: where the jitter comes from; None: no jitter. asked: seconds the server asked to wait; they
        never shorten the wait.
        """
        own = self._own_wait(base, attempt, chance)
        if not credible_wait(asked):
            return own
        return max(own, min(asked, RETRY_AFTER_MAXIMUM if self.maximum is None else self.maximum))

    def _own_wait(self, base: float, attempt: int, chance: random.Random | None) -> float:
        limit = self.maximum if self.maximum is not None else float("inf")
        try:
            wait = min(base * self.factor**attempt, limit)
        except OverflowError:
            wait = limit
        if self.jitter and chance is not None:
            wait = min(wait * (1 + self.jitter * chance.uniform(-1, 1)), limit)
        # An unlimited backoff overflows to infinity after a thousand doublings: stay a finite number.
        return min(wait, 1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreakerConfig:
    """When a breaker opens, how it recovers and what it counts. Times are seconds.

    name: what logs, metrics and errors call it; unique within a panel.
    max_failures: opens after this many failures in a row; shorthand for `trip`.
    reset_timeout: how long it stays open before it probes.
    trip: another trip strategy, in place of `max_failures`.
    half_open_max_calls: how many probes may run at once.
    successes_to_close: how many probes must succeed.
    half_open_timeout: a probe still running then has failed; None: never.
    ramp: after closing, admission grows from nothing to all over this time, evenly and without chance.
    retry_after: asked about the exception or result that opened the breaker: how many seconds the server
        says to wait, or None. Lengthens the wait, within the backoff's maximum, and never shortens it. What
        isn't above 0 or is longer than a year is ignored.
    in_flight_slow: SlowCallRate counts a call as soon as it has run past the threshold.
    backoff: how `reset_timeout` grows.
    call_timeout: a call still running then is cancelled, counted a failure, and raises CallTimeout.
    failure: exception types or a predicate: what counts. Anything else raised is ignored.
    ignore: exception types or a predicate: never counts; wins over `failure`.
    failure_result: a predicate: a returned value that is a failure.
    max_concurrent: the bulkhead: calls at once; None: no limit.
    max_queue: how many more may wait for a place.
    queue_timeout: how long they wait; None: until there is one.
    cancel_in_flight: opening cancels the calls that run; they raise CircuitOpenError.
    probe: an async function that the breaker itself runs while half-open, in place of callers'
        requests. It passes by returning.
    probe_interval: while open, `probe` runs this often too, first that long after opening. It fails after
        that long, or after `half_open_timeout` where that is less. When it passes, the wait ends and the next
        probe decides; when it fails, nothing changes. None: it runs only while half-open.

    Raises ValueError naming field, value and range.
    """

    name: str
    max_failures: int = 5
    reset_timeout: float = 60.0
    trip: TripStrategy | None = None
    half_open_max_calls: int = 1
    successes_to_close: int = 1
    half_open_timeout: float | None = 60.0
    ramp: float | None = None
    retry_after: Callable[[Any], float | None] | None = None
    in_flight_slow: bool = False
    backoff: Backoff = Backoff()
    call_timeout: float | None = None
    failure: ExceptionMatch = Exception
    ignore: ExceptionMatch = ()
    failure_result: Callable[[Any], bool] | None = None
    max_concurrent: int | None = None
    max_queue: int = 0
    queue_timeout: float | None = None
    cancel_in_flight: bool = False
    probe: Callable[[], Awaitable[object]] | None = None
    probe_interval: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"name must be a string that isn't empty, got {self.name!r}")
        self._check_numbers()
        self._check_objects()
        if self.max_concurrent is None and (self.max_queue or self.queue_timeout is not None):
            raise ValueError(f"max_queue needs max_concurrent to be set, got {self.max_queue!r}")
        if self.probe_interval is not None and self.probe is None:
            raise ValueError(f"probe_interval needs probe to be set, got {self.probe_interval!r}")
        if self.in_flight_slow and self.strategy.slow_threshold is None:
            raise ValueError("in_flight_slow needs a SlowCallRate in trip, got True without one")

    def _check_numbers(self) -> None:
        for field in ("max_failures", "half_open_max_calls", "successes_to_close"):
            positive_int(field, getattr(self, field))
        positive_int("max_queue", self.max_queue, least=0)
        positive_number("reset_timeout", self.reset_timeout)
        if self.max_concurrent is not None:
            positive_int("max_concurrent", self.max_concurrent)
        for field in ("half_open_timeout", "ramp", "call_timeout", "queue_timeout", "probe_interval"):
            if getattr(self, field) is not None:
                positive_number(field, getattr(self, field))

    def _check_objects(self) -> None:
        if self.trip is not None and not isinstance(self.trip, TripStrategy):
            raise ValueError(f"trip must be a trip strategy or None, got {self.trip!r}")
        if not isinstance(self.backoff, Backoff):
            raise ValueError(f"backoff must be a Backoff, got {self.backoff!r}")
        for field in ("in_flight_slow", "cancel_in_flight"):
            if not isinstance(getattr(self, field), bool):
                raise ValueError(f"{field} must be True or False, got {getattr(self, field)!r}")
        for field in ("failure", "ignore"):
            if not _is_match(getattr(self, field)):
                raise ValueError(
                    f"{field} must be exception types or a predicate, got {getattr(self, field)!r}"
                )
        for field in ("retry_after", "failure_result", "probe"):
            value = getattr(self, field)
            if value is not None and not callable(value):
                raise ValueError(f"{field} must be callable or None, got {value!r}")

    @property
    def strategy(self) -> TripStrategy:
        """The trip strategy in force."""
        return self.trip if self.trip is not None else ConsecutiveFailures(self.max_failures)


def _is_match(value: object) -> bool:
    if isinstance(value, type):
        return issubclass(value, BaseException)
    if isinstance(value, tuple):
        return all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in value)
    return callable(value)

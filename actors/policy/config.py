"""A breaker's policy: one frozen value, checked when it is made."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from .adaptive_limit import AdaptiveLimit
from .backoff import CONSTANT_WAIT, Backoff
from .checks import (
    breaker_name,
    number,
    positive_int,
    positive_number,
    promises_awaitable,
    sync_function,
)
from .failure_counts import ConsecutiveFailures
from .shadow import ShadowPolicy
from .trip import TripStrategy

ExceptionMatch = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]
"""Exception types, or a predicate called with the exception."""

MAX_FAILURES = 5
HALF_OPEN_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreakerConfig:
    """The policy of a breaker: its opening, its recovery, its counting and its limits. Times are seconds.

    name: shown in logs, metrics and errors; unique within a panel; 1 to 200 printable characters.
    max_failures: opens after this many failures in a row; shorthand for `trip`, and not to be set beside it.
    reset_timeout: the time from opening to the first probe.
    trip: another trip strategy, in place of `max_failures`.
    half_open_max_calls: the number of probes that may run at once.
    successes_to_close: the number of probes that must succeed; unused with `half_open_failure_rate`.
    half_open_timeout: a probe still running then has failed; None: never. The default gives way to a longer
        `call_timeout`.
    half_open_failure_rate: judges a recovery by `half_open_max_calls` probes, ignored and cancelled ones not
        counted: it opens again as soon as this share of them has failed, else it closes when all have ended.
        None: the first failure opens again.
    ramp: after a recovery, admission grows from nothing to all over this time, evenly and without chance.
    retry_after: called with the exception or result that opened the breaker; returns the seconds that the
        server asks to wait, or None. These lengthen the wait, within the backoff's maximum, and never shorten
        it. A value that isn't above 0, or is longer than a year, is ignored.
    in_flight_slow: SlowCallRate counts a call as soon as it has run past the threshold.
    backoff: the growth of `reset_timeout`.
    call_timeout: a call still running then is cancelled, counted a failure, and raises CallTimeout.
    failure: exception types or a predicate: the exceptions that count as failures. Any other is ignored, and
        so is a rejection by another breaker unless its type is named here.
    ignore: exception types or a predicate: exceptions that never count; wins over `answers` and `failure`.
    answers: exception types or a predicate: exceptions with which the dependency answered. Such a call is a
        success, though its exception is raised; wins over `failure`.
    failure_result: a predicate: a returned value that is a failure.
    max_concurrent: the bulkhead: calls at once; an AdaptiveLimit follows their latency; None: no limit.
    max_queue: the number of further calls that may wait for a place.
    queue_timeout: the longest wait for a place; None: no limit.
    cancel_in_flight: opening cancels the calls that run; they raise CircuitOpenError.
    probe: an async function that the breaker itself runs while half-open, in place of callers'
        requests. It passes by returning.
    probe_interval: while open, `probe` runs this often too, first one interval after opening. Each run fails
        after one interval, or after `half_open_timeout` if that is less. A success ends the wait, and the
        next probe decides; a failure changes nothing. None: `probe` runs only while half-open.
    shadow: another policy that is observed beside this one, and affects no call.

    Among exception types, TimeoutError and its bases include trio.TooSlowError. Predicates are
    never called with a cancellation.

    Raises ValueError naming field, value and range, also for settings that contradict each other, and
    TypeError for a predicate that is async or a `probe` that isn't.
    """

    name: str
    max_failures: int = MAX_FAILURES
    reset_timeout: float = 60.0
    trip: TripStrategy | None = None
    half_open_max_calls: int = 1
    successes_to_close: int = 1
    half_open_timeout: float | None = HALF_OPEN_TIMEOUT
    half_open_failure_rate: float | None = None
    ramp: float | None = None
    retry_after: Callable[[Any], float | None] | None = None
    in_flight_slow: bool = False
    backoff: Backoff = CONSTANT_WAIT
    call_timeout: float | None = None
    failure: ExceptionMatch = Exception
    ignore: ExceptionMatch = ()
    answers: ExceptionMatch = ()
    failure_result: Callable[[Any], bool] | None = None
    max_concurrent: int | AdaptiveLimit | None = None
    max_queue: int = 0
    queue_timeout: float | None = None
    cancel_in_flight: bool = False
    probe: Callable[[], Awaitable[object]] | None = None
    probe_interval: float | None = None
    shadow: ShadowPolicy | None = None

    def __post_init__(self) -> None:
        breaker_name(self.name)
        self._check_numbers()
        self._check_objects()
        self._check_together()
        # `replace` passes it on to the next policy, in which it is no error beside `trip`: see TakenOver.
        object.__setattr__(self, "max_failures", _taken_over(self.max_failures))
        self._check_shadow()

    def _check_numbers(self) -> None:
        for field in ("max_failures", "half_open_max_calls", "successes_to_close"):
            positive_int(field, getattr(self, field))
        positive_int("max_queue", self.max_queue, least=0)
        positive_number("reset_timeout", self.reset_timeout)
        if self.max_concurrent is not None and not isinstance(self.max_concurrent, AdaptiveLimit):
            positive_int("max_concurrent", self.max_concurrent)
        if self.half_open_failure_rate is not None:
            number("half_open_failure_rate", self.half_open_failure_rate, least=0, most=1, above=True)
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
        self._check_functions()

    def _check_functions(self) -> None:
        for field in ("failure", "ignore", "answers"):
            value = getattr(self, field)
            if not _is_match(value):
                raise ValueError(f"{field} must be exception types or a predicate, got {value!r}")
            if not isinstance(value, type | tuple):
                sync_function(field, value)
        for field in ("retry_after", "failure_result", "probe"):
            value = getattr(self, field)
            if value is not None and not callable(value):
                raise ValueError(f"{field} must be callable or None, got {value!r}")
            if value is not None and field != "probe":
                sync_function(field, value)
        if self.probe is not None and not promises_awaitable(self.probe):
            raise TypeError(f"probe must be an async function, got {self.probe!r}")

    def _check_together(self) -> None:
        """Raise ValueError for settings that contradict each other, or have no effect without another."""
        is_set = self.max_failures != MAX_FAILURES and not isinstance(self.max_failures, TakenOver)
        if is_set and self.trip is not None:
            raise ValueError(f"max_failures must not be set beside trip, got {self.max_failures!r}")
        if self.max_concurrent is None and (self.max_queue or self.queue_timeout is not None):
            raise ValueError(f"max_queue needs max_concurrent to be set, got {self.max_queue!r}")
        if self.probe_interval is not None and self.probe is None:
            raise ValueError(f"probe_interval needs probe to be set, got {self.probe_interval!r}")
        if self.in_flight_slow and self.strategy.slow_threshold is None:
            raise ValueError("in_flight_slow needs a SlowCallRate in trip, got True without one")
        longest = self.backoff.maximum
        if longest is not None and longest < self.reset_timeout:
            raise ValueError(
                f"backoff.maximum must be at least reset_timeout ({self.reset_timeout:g}), got {longest!r}"
            )
        self._check_call_timeout()

    def _check_call_timeout(self) -> None:
        if self.call_timeout is None:
            return
        probe_ends, slow = self.half_open_timeout, self.strategy.slow_threshold
        if probe_ends is not None and probe_ends != HALF_OPEN_TIMEOUT and probe_ends < self.call_timeout:
            raise ValueError(
                f"half_open_timeout must be at least call_timeout ({self.call_timeout:g}), got {probe_ends!r}"
            )
        if slow is not None and slow > self.call_timeout:
            raise ValueError(
                f"SlowCallRate.threshold must be at most call_timeout ({self.call_timeout:g}), got {slow!r}"
            )

    def _check_shadow(self) -> None:
        if self.shadow is not None and not isinstance(self.shadow, ShadowPolicy):
            raise ValueError(f"shadow must be a ShadowPolicy or None, got {self.shadow!r}")
        try:
            _ = self.shadow_config
        except ValueError as error:
            raise ValueError(f"shadow.{error}") from error

    @property
    def shadow_config(self) -> CircuitBreakerConfig | None:
        """The whole policy of the shadow; None without one."""
        if self.shadow is None:
            return None
        changes = {"shadow": None, "probe": None, "probe_interval": None, **self.shadow.changes()}
        if "max_failures" in changes:
            changes.setdefault("trip", None)
        strategy = changes.get("trip", self.trip)
        if not isinstance(strategy, TripStrategy) or strategy.slow_threshold is None:
            # Of this policy, whose strategy uses durations.
            changes.setdefault("in_flight_slow", False)
        return replace(self, **changes)

    @property
    def strategy(self) -> TripStrategy:
        """The trip strategy in force."""
        return self.trip if self.trip is not None else ConsecutiveFailures(self.max_failures)

    @property
    def probe_timeout(self) -> float | None:
        """Seconds after which a running probe has failed; None: never."""
        if self.half_open_timeout is None:
            return None
        return max(self.half_open_timeout, self.call_timeout or 0.0)


class TakenOver(int):
    """A `max_failures` of an existing policy, which `dataclasses.replace` passes on to the next one.

    It distinguishes a policy that gets its `trip` by `replace` from a new one with both `max_failures` and
    `trip`, which contradict each other.
    """


@functools.cache
def _taken_over(number: int) -> TakenOver:
    return TakenOver(number)


def _is_match(value: object) -> bool:
    if isinstance(value, type):
        return issubclass(value, BaseException)
    if isinstance(value, tuple):
        return all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in value)
    return callable(value)

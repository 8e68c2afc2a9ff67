"""A strategy made of several: it trips when any of them does."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from ..messages import Learned
from .trip import Call, Learning, TripCounter, TripEvidence, TripStrategy


@dataclass(frozen=True, slots=True, init=False)
class AnyOf(TripStrategy):
    """Trips when any of its strategies does. The strategies of an AnyOf among them are included."""

    strategies: tuple[TripStrategy, ...]

    def __init__(self, *strategies: TripStrategy) -> None:
        if not strategies:
            raise ValueError("AnyOf must have at least one strategy, got none")
        for strategy in strategies:
            if not isinstance(strategy, TripStrategy):
                raise ValueError(f"AnyOf takes trip strategies, got {strategy!r}")
        inner = (one.strategies if isinstance(one, AnyOf) else (one,) for one in strategies)
        object.__setattr__(self, "strategies", tuple(chain.from_iterable(inner)))
        if sum(one.learning() is not None for one in self.strategies) > 1:
            raise ValueError("AnyOf takes one Adaptive at most: both would own the wait")

    def counter(self) -> TripCounter:
        """A fresh counter."""
        return _Any([strategy.counter() for strategy in self.strategies])

    def learning(self) -> Learning | None:
        """What its strategy that learns keeps, with the counters of the others; None if none learns."""
        for one in self.strategies:
            if (learning := one.learning()) is not None:
                return LearningAmong(learning, [other for other in self.strategies if other is not one])
        return None

    @property
    def slow_threshold(self) -> float | None:
        """The lowest threshold of its strategies."""
        return min((s.slow_threshold for s in self.strategies if s.slow_threshold is not None), default=None)


class _Any(TripCounter):
    def __init__(self, counters: list[TripCounter]) -> None:
        self.counters = counters
        self.reason = counters[0].reason

    def record(self, call: Call, now: float, count: int = 1) -> None:
        for counter in self.counters:
            counter.record(call, now, count)

    def tripped(self, now: float) -> bool:
        for counter in self.counters:
            if counter.tripped(now):
                self.reason = counter.reason
                return True
        return False

    @property
    def failure_count(self) -> int:
        return max(counter.failure_count for counter in self.counters)

    @property
    def slow_count(self) -> int:
        return max(counter.slow_count for counter in self.counters)

    def advance(self, now: float) -> None:
        for counter in self.counters:
            counter.advance(now)

    def record_slow_in_flight(self, now: float, duration: float) -> None:
        for counter in self.counters:
            counter.record_slow_in_flight(now, duration)

    def can_batch_successes(self) -> bool:
        return all(counter.can_batch_successes() for counter in self.counters)

    def next_roll(self, now: float) -> float | None:
        rolls = [roll for counter in self.counters if (roll := counter.next_roll(now)) is not None]
        return min(rolls, default=None)

    def evidence(self) -> TripEvidence | None:
        found = [one for counter in self.counters if (one := counter.evidence()) is not None]
        return max(found, key=lambda one: one.progress, default=None)

    @property
    def consecutive_failures(self) -> int:
        return max(counter.consecutive_failures for counter in self.counters)

    def restore(self, consecutive_failures: int) -> None:
        for counter in self.counters:
            counter.restore(consecutive_failures)

    def inherit_from(self, older: TripCounter) -> bool:
        kept = older.counters if isinstance(older, _Any) else [older]
        resumed = [any(counter.inherit_from(one) for one in kept) for counter in self.counters]
        return any(resumed)


class LearningAmong(Learning):
    """The memory of an AnyOf: that of its strategy that learns. It makes counters of all its strategies."""

    __slots__ = ("_others", "inner", "successes_to_close")

    def __init__(self, inner: Learning, others: list[TripStrategy]) -> None:
        self.inner = inner
        self._others = others
        self.successes_to_close = inner.successes_to_close

    def counter(self, now: float, *, recovered: bool) -> TripCounter:
        """The counter of a stay in CLOSED."""
        own = self.inner.counter(now, recovered=recovered)
        return _Any([own, *(other.counter() for other in self._others)])

    def opened(self, now: float) -> None:
        """The breaker leaves CLOSED."""
        self.inner.opened(now)

    def wait(self, now: float) -> float:
        """Seconds until the next probe."""
        return self.inner.wait(now)

    @property
    def tolerated(self) -> float:
        """See Learning."""
        return self.inner.tolerated

    @property
    def break_even(self) -> float:
        """See Learning."""
        return self.inner.break_even

    def unlimited(self, now: float) -> None:
        """All calls are admitted."""
        self.inner.unlimited(now)

    def inherit_from(self, older: Learning) -> None:
        """Take over what `older` has learned."""
        self.inner.inherit_from(older)

    def learned(self) -> Learned:
        """What it has learned."""
        return self.inner.learned()

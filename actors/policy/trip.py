"""What a trip strategy is: a value in the configuration, whose counter counts for one breaker.

A strategy that learns also has a memory for each breaker, and owns its wait and the growth of admission.

The machine acts when a counter trips. All times are seconds on the machine's clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from ..messages import Learned


class Call(NamedTuple):
    """One counted call: failed or succeeded. duration: seconds, None if it was not measured.

    slow_from: seconds that it had run when it was reported as slow; None: it never was.
    """

    failed: bool
    duration: float | None = None
    slow_from: float | None = None


SUCCESS = Call(failed=False)


class TripEvidence(NamedTuple):
    """What the counts of one breaker say against its dependency, for instances that pool theirs.

    failures: the bad calls that count. needed: how many of them trip; 0: the strategy trips by a rate.
    calls, rate, minimum_calls: of such a strategy. is_row: a success clears it.
    """

    failures: int
    needed: int = 0
    calls: int = 0
    rate: float = 0.0
    minimum_calls: int = 0
    is_row: bool = False

    @property
    def progress(self) -> float:
        """How much of the way to tripping this is: 1 and more trips."""
        if self.needed:
            return self.failures / self.needed
        if not self.calls:
            return 0.0
        return min(1.0, self.calls / self.minimum_calls) * self.failures / self.calls / self.rate


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

    def evidence(self) -> TripEvidence | None:
        """What the counts say, to be pooled with those of other instances; None: nothing to pool."""
        return None


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

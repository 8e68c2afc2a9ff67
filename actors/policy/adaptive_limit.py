"""A bulkhead's limit that follows the latency of the calls: a value in the configuration, and its limiter.

The limiter is a pure function of the calls that it is given: it has no clock, no task and no chance.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from statistics import median

from .checks import number, positive_int, positive_number

INITIAL = 20
"""Where a limit starts by default, if its bounds allow."""
FEWEST = 10
"""A window has at least this many samples: the median of fewer is mostly chance."""
MOST = 100
"""A window is judged by its last samples, this many at most: they fill a kilobyte or two."""
EARLIEST = 20
"""The baseline is first measured by this many calls at most: later ones may meet the queue of these."""
STEEPEST = 0.5
"""The least share of the limit that one window leaves: a window may be an outlier."""
FAILING = 0.1
"""The share of failed samples from which a limit doesn't grow."""
LEARNED = 0.2
"""The share of the way to a window's latency that the baseline goes; under load less for fewer samples."""
SHORTEST = 0.001
"""Seconds. A baseline counts as at least this long: below, our own event loop makes the difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveLimit:
    """A `max_concurrent` that follows the latency of the calls, within bounds.

    minimum: the fewest calls at once. Latency seen with so few in flight is taken as the dependency's own, so
        the dependency must be able to serve them without a queue. Less: a baseline that is right even for a
        small dependency. More: fewer rejections while it is slow for another reason than load.
    maximum: the most calls at once, and so the worst that a wrong measurement can do to the dependency.
    initial: the limit at the start. Less: a new process begins gently. More: it rejects fewer calls before it
        has measured. None: 20, or the nearest bound.
    tolerance: latency up to this multiple of the baseline is no congestion. More: a fuller use of a
        dependency whose latency varies, and a longer queue in it. 1.5 to 3 is sensible.
    window: seconds between two changes of the limit, or twice the latency if that is longer, or as long as
        ten calls take. Less: a quicker limit. More: a steadier one.

    Raises ValueError naming field, value and range.
    """

    minimum: int = 2
    maximum: int = 100
    initial: int | None = None
    tolerance: float = 2.0
    window: float = 1.0

    def __post_init__(self) -> None:
        positive_int("AdaptiveLimit.minimum", self.minimum)
        positive_int("AdaptiveLimit.maximum", self.maximum, least=self.minimum)
        if self.initial is not None:
            positive_int("AdaptiveLimit.initial", self.initial, least=self.minimum, most=self.maximum)
        number("AdaptiveLimit.tolerance", self.tolerance, least=1, above=True)
        positive_number("AdaptiveLimit.window", self.window)

    def limiter(self) -> ConcurrencyLimiter:
        """A fresh limiter, which has measured nothing."""
        return ConcurrencyLimiter(self)

    def clamp(self, limit: float) -> float:
        """The limit within the bounds that is nearest to `limit`."""
        return min(max(limit, self.minimum), self.maximum)


class ConcurrencyLimiter:
    """The limit of one bulkhead. Each window of samples changes it once.

    - It grows by its square root if it was used and latency is tolerable.
    - It shrinks in proportion to intolerable latency, at most to half.
    - It stays where neither is sure: it was hardly used, a tenth of the calls failed, or there were never
      more calls in flight than its minimum, so that they can't be why it is slow.

    The baseline is the latency without a queue: at first that of the calls that began first. It rises only by
    windows with no more calls in flight than the minimum, and falls by every window. So a queue that the
    limit itself allows never becomes the measure of the next queue.

    baseline: seconds; None: not known yet.
    """

    __slots__ = ("_earliest", "_ends", "_limit", "_peak", "_samples", "_settings", "baseline")

    def __init__(self, settings: AdaptiveLimit) -> None:
        self._settings = settings
        self._limit = settings.clamp(INITIAL if settings.initial is None else settings.initial)
        self.baseline: float | None = None
        # Of each successful call before there is a baseline: when it began, and its duration.
        self._earliest: list[tuple[float, float]] = []
        # Of each call of the window: its duration, and whether it failed.
        self._samples: deque[tuple[float, bool]] = deque(maxlen=MOST)
        # The most calls in flight at any end of a call, and so at any time.
        self._peak = 0
        self._ends: float | None = None

    @property
    def limit(self) -> int:
        """The calls that may run at once."""
        return int(self._limit)

    def configure(self, settings: AdaptiveLimit) -> None:
        """Set other bounds for later windows. What was measured stays."""
        self._settings = settings
        self._limit = settings.clamp(self._limit)

    def record(self, duration: float, *, failed: bool, in_flight: int, now: float) -> None:
        """Take a call that has ended as a sample. Ignored, cancelled and rejected calls are none.

        duration: seconds that it ran. in_flight: calls that ran when it ended, itself among them.
        """
        if self._ends is None:
            self._ends = now - duration + self._settings.window
        if self.baseline is None:
            if not failed:
                self._find_baseline(duration, now)
            return
        self._samples.append((duration, failed))
        if in_flight > self._peak:
            self._peak = in_flight
        if now >= self._ends and len(self._samples) >= FEWEST:
            self._end_window(now, self.baseline)

    def _find_baseline(self, duration: float, now: float) -> None:
        """Measure the calls that began first: those that end first are the quickest."""
        assert self._ends is not None
        if len(self._earliest) < MOST:
            self._earliest.append((now - duration, duration))
        if now >= self._ends and len(self._earliest) >= FEWEST:
            self.baseline = median(duration for _, duration in sorted(self._earliest)[:EARLIEST])
            self._earliest.clear()
            self._begin_window(now, self.baseline)

    def _begin_window(self, now: float, latency: float) -> None:
        # What a limit does shows in the calls that began under it.
        self._ends = now + max(self._settings.window, 2 * latency)
        self._samples.clear()
        self._peak = 0

    def _end_window(self, now: float, baseline: float) -> None:
        latency = median(duration for duration, _ in self._samples)
        successes = [duration for duration, failed in self._samples if not failed]
        succeeded = len(successes) / len(self._samples)
        self._adjust(latency, succeeded, baseline)
        if succeeded >= 0.5:
            self._learn(median(successes), baseline)
        self._begin_window(now, latency)

    def _adjust(self, latency: float, succeeded: float, baseline: float) -> None:
        """Change the limit by the window's latency and its share of successes."""
        # The median of few calls may be high by chance.
        tolerable = self._settings.tolerance * max(baseline, SHORTEST) * (1 + len(self._samples) ** -0.5)
        limit = self._limit
        if latency > tolerable:
            if not self._is_alone:
                limit *= max(STEEPEST, tolerable / latency)
        elif self._peak >= limit / 2 and succeeded > 1 - FAILING:
            limit += math.sqrt(limit)
        self._limit = self._settings.clamp(limit)

    def _learn(self, latency: float, baseline: float) -> None:
        if self._is_alone:
            self.baseline = baseline + LEARNED * (latency - baseline)
        elif latency < baseline:
            # Few calls are often quick by chance, and nothing would correct that under load.
            self.baseline = baseline + LEARNED * len(self._samples) / MOST * (latency - baseline)

    @property
    def _is_alone(self) -> bool:
        """Whether so few calls were in flight that none met a queue of this breaker's calls."""
        return self._peak <= self._settings.minimum

"""Rivals, written after their public descriptions; none of their code is used.

- semian: Shopify/semian, lib/semian/pid_controller.rb and simple_exponential_smoother.rb (commit 649afe96):
  each second the error rate of the last ten seconds is compared with a smoothed ideal; a PID loop
  moves the rejection rate. Published gains: (0.75, 0.01, 0.5) in lib/semian.rb, (1.0, 0.1, 0.01) in tests:
  the latter score better on the tuning seeds, and are taken.
- Google SRE: "Handling Overload", Site Reliability Engineering, ch. 21: requests and accepts of two minutes.
- go-zero: zeromicro/go-zero, core/breaker/googlebreaker.go; pull request #5551 (open) stops counting its own
  drops.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any


class Semian:
    """The adaptive breaker of semian: a PID controller of the rejection rate, moved once a second."""

    GAINS = (1.0, 0.1, 0.01)
    WINDOW = 10
    INTERVAL = 1.0
    LONGEST = 200 * WINDOW

    def __init__(self, rng: random.Random, gains: tuple[float, float, float] | None = None) -> None:
        self._rng = rng
        self._gains = gains or self.GAINS
        self._next = self.INTERVAL
        self._rejects = 0.0
        self._integral = self._last = 0.0
        self._ideal, self._observations = 0.01, 0
        self._errors: deque[float] = deque(maxlen=self.LONGEST)
        self._successes: deque[float] = deque(maxlen=self.LONGEST)

    def admit(self, now: float) -> Any:
        self._catch_up(now)
        return True if self._rng.random() >= self._rejects else None

    def settle(self, permit: Any, ok: bool, now: float) -> None:
        self._catch_up(now)
        (self._successes if ok else self._errors).append(now)

    def _catch_up(self, now: float) -> None:
        while self._next <= now:
            self._update(self._next)
            self._next += self.INTERVAL

    def _update(self, now: float) -> None:
        for seen in (self._errors, self._successes):
            while seen and seen[0] < now - self.WINDOW:
                seen.popleft()
        total = len(self._errors) + len(self._successes)
        error = len(self._errors) / total if total else 0.0
        self._smooth(error)
        delta = error - self._ideal
        value = delta - (1 - delta) * self._rejects
        proportional, integral, derivative = self._gains
        self._integral += value * self.INTERVAL
        change = (
            proportional * value
            + integral * self._integral
            + derivative * (value - self._last) / self.INTERVAL
        )
        self._last = value
        self._rejects = min(1.0, max(0.0, self._rejects + change))
        self._integral = min(10.0, max(-10.0, self._integral))

    def _smooth(self, error: float) -> None:
        if error > 0.1:
            return
        self._observations += 1
        young = self._observations < 60 / self.INTERVAL * 30
        rising, falling = (0.017, 0.095) if young else (0.0083, 0.049)
        weight = rising if error > self._ideal else falling
        self._ideal += weight * (error - self._ideal)


class _Buckets:
    """Counts of two kinds over a window, in buckets."""

    def __init__(self, seconds: float, buckets: int) -> None:
        self._width = seconds / buckets
        self._many = buckets
        self._counts: deque[list[int]] = deque()
        self._places: deque[int] = deque()
        self.successes = self.failures = self.others = 0

    def advance(self, now: float) -> None:
        place = int(now / self._width)
        while self._places and self._places[0] <= place - self._many:
            self._places.popleft()
            successes, failures, others = self._counts.popleft()
            self.successes -= successes
            self.failures -= failures
            self.others -= others

    def add(self, now: float, kind: int) -> None:
        self.advance(now)
        place = int(now / self._width)
        if not self._places or self._places[-1] != place:
            self._places.append(place)
            self._counts.append([0, 0, 0])
        self._counts[-1][kind] += 1
        if kind == 0:
            self.successes += 1
        elif kind == 1:
            self.failures += 1
        else:
            self.others += 1

    def rows(self) -> tuple[int, int]:
        """The last buckets in a row without a failure, and those without a success."""
        working = failing = 0
        for successes, failures, _ in self._counts:
            if failures:
                working = 0
            elif successes:
                working += 1
            if successes:
                failing = 0
            elif failures:
                failing += 1
        return working, failing


class GoogleSre:
    """Client-side throttling: rejects with max(0, (requests - K * accepts) / (requests + 1))."""

    def __init__(self, rng: random.Random, factor: float = 2.0) -> None:
        self._rng = rng
        self._factor = factor
        self._seen = _Buckets(120.0, 120)

    def admit(self, now: float) -> Any:
        seen = self._seen
        seen.advance(now)
        requests = seen.successes + seen.failures + seen.others
        share = (requests - self._factor * seen.successes) / (requests + 1)
        if share > 0 and self._rng.random() < share:
            seen.add(now, 2)
            return None
        return True

    def settle(self, permit: Any, ok: bool, now: float) -> None:
        self._seen.add(now, 0 if ok else 1)


class GoZero:
    """go-zero's variant: ten seconds, K from 1.5 to 1.1, one forced pass a second.

    count_drops: its own rejections count as requests, as released; False: as pull request #5551 has it.
    """

    BUCKETS = 40
    MOST, LEAST, PROTECTED = 1.5, 1.1, 5

    def __init__(self, rng: random.Random, *, count_drops: bool) -> None:
        self._rng = rng
        self._count_drops = count_drops
        self._seen = _Buckets(10.0, self.BUCKETS)
        self._passed = 0.0

    def admit(self, now: float) -> Any:
        seen = self._seen
        seen.advance(now)
        total = seen.successes + seen.failures + seen.others
        if total - self.PROTECTED - self.MOST * seen.successes <= 0 and not seen.failures:
            return True
        working, failing = seen.rows()
        factor = max(self.LEAST, self.MOST - (self.MOST - self.LEAST) * failing / self.BUCKETS)
        share = (total - self.PROTECTED - factor * seen.successes) / (total + 1)
        if share <= 0:
            return True
        if self._passed > 0 and now - self._passed > 1.0:
            self._passed = now
            return True
        share *= (self.BUCKETS - working) / self.BUCKETS
        if self._rng.random() < share:
            if self._count_drops:
                seen.add(now, 2)
            return None
        self._passed = now
        return True

    def settle(self, permit: Any, ok: bool, now: float) -> None:
        self._seen.add(now, 0 if ok else 1)

"""A discrete-event simulation of one trace under one policy, and what it cost."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from .traces import DURATION, Offered

WATCHED = 10
"""Calls by whose admission the times to detect and to recover are measured."""


class Policy(Protocol):
    """What decides about calls. `now` never goes back."""

    def admit(self, now: float) -> Any:
        """A permit, or None if the call is rejected."""

    def settle(self, permit: Any, ok: bool, now: float) -> None:
        """The end of a permitted call."""


@dataclass(slots=True)
class Cost:
    """What a policy cost in one trace. Counts of calls; times in seconds before scaling."""

    offered: int = 0
    good_lost: int = 0
    bad_sent: int = 0
    regret: float = 0.0
    good: int = 0
    detect: list[float] = field(default_factory=list)
    recover: list[float] = field(default_factory=list)

    @property
    def score(self) -> float:
        """Points; less is better. See docs/reference/adaptive.md."""
        calls = 100 * self.regret / max(1, self.offered)
        return calls + 10 * (sum(self.detect) + sum(self.recover)) / DURATION


class _Watch:
    """Measures the time from an incident's start to mostly rejecting, and from its end to admitting all."""

    def __init__(self, cost: Cost, scale: float) -> None:
        self._cost = cost
        self._scale = scale
        self._last: deque[bool] = deque([True] * WATCHED, maxlen=WATCHED)
        self._down: float | None = None
        self._up: float | None = None

    def call(self, now: float, admitted: bool, down: bool) -> None:
        last = self._last
        last.append(admitted)
        if down and self._down is None:
            self.finish(now)
            self._down = now
        elif not down and self._down is not None:
            self._end_down(now)
            self._up = now
        if self._down is not None and self._down >= 0 and sum(last) <= WATCHED // 2:
            self._cost.detect.append((now - self._down) / self._scale)
            self._down = -1.0
        if self._up is not None and all(last):
            self._cost.recover.append((now - self._up) / self._scale)
            self._up = None

    def _end_down(self, now: float) -> None:
        if self._down is not None and self._down >= 0:
            self._cost.detect.append((now - self._down) / self._scale)
        self._down = None

    def finish(self, now: float) -> None:
        """Close what is still measured."""
        if self._up is not None:
            self._cost.recover.append((now - self._up) / self._scale)
            self._up = None
        self._end_down(now)


class _Capacity:
    """What the dependency bears: a bucket of a quarter of a second, five calls at least; what flows over fails."""

    def __init__(self, offered: Offered) -> None:
        assert offered.trace.capacity is not None
        self._bears = offered.trace.capacity
        self._rate = offered.rate
        self._scale = offered.scale
        self._level = 0.0
        self._then = 0.0

    def full(self, now: float, *, sent: bool) -> bool:
        """Whether a call at `now` is too much. A sent one takes its part, a failing one half of it."""
        bears = self._bears(now / self._scale) * self._rate
        self._level = max(0.0, self._level - bears * (now - self._then))
        self._then = now
        too_much = self._level + 1 > max(5.0, bears * 0.25)
        if sent:
            self._level += 0.5 if too_much else 1.0
        return too_much


def simulate(offered: Offered, make: Callable[[], Policy]) -> Cost:
    """Run one trace."""
    trace, scale = offered.trace, offered.scale
    cost = Cost()
    watch = _Watch(cost, scale)
    policies = [make() for _ in range(trace.shards if trace.keyed else 1)]
    capacity = None if trace.capacity is None else _Capacity(offered)
    ends: list[tuple[float, int, int, Any, bool, int]] = []
    again: list[tuple[float, int, int]] = []
    times, keys = offered.times, offered.keys
    # In steps of a fiftieth of a second of the trace, the share that fails: asking for each call is slow.
    step = scale / 50
    shares = [trace.chance((n + 0.5) / 50) for n in range(int(DURATION * 50) + 1000)]
    usual_share = trace.chance(0.0)
    index, number, total = 0, 0, len(times)
    sequence = 0
    while index < total or again:
        if again and (index >= total or again[0][0] <= times[index]):
            now, call, attempt = heapq.heappop(again)
        else:
            now, call, attempt = times[index], index, 0
            index += 1
        while ends and ends[0][0] <= now:
            moment, _, key, permit, ok, _ = heapq.heappop(ends)
            policies[key].settle(permit, ok, moment)
        key = keys[call]
        share = shares[min(int(now / step), len(shares) - 1)]
        if trace.shards > 1 and key:
            share = usual_share
        which = key if trace.keyed else 0
        permit = policies[which].admit(now)
        fails = offered.fails[call][attempt] < share
        if capacity is not None and not fails:
            fails = capacity.full(now, sent=permit is not None)
        elif capacity is not None and permit is not None:
            capacity.full(now, sent=True)
        # One breaker for all shards sees the mixture.
        seen = (
            (shares[min(int(now / step), len(shares) - 1)] + 9 * usual_share) / 10
            if (trace.shards > 1 and not trace.keyed)
            else share
        )
        down = seen >= 0.5 and not trace.healthy
        cost.offered += 1
        cost.good += not fails
        if trace.shards == 1 or not trace.keyed or key == 0:
            watch.call(now, permit is not None, down)
        if permit is None:
            cost.good_lost += not fails
            if not down:
                cost.regret += 1 if not fails else (-1 if capacity is None else 0)
            continue
        cost.bad_sent += fails
        if down:
            cost.regret += 1 if fails else -1
        elif fails and capacity is not None and offered.fails[call][attempt] >= share:
            # Too much load: a policy that sends less would have spared it.
            cost.regret += 1
        sequence += 1
        end = now + (trace.failing if fails else offered.takes[call])
        heapq.heappush(ends, (end, sequence, which, permit, not fails, call))
        if fails and attempt < trace.retries:
            heapq.heappush(again, (end + 0.1, call, attempt + 1))
        number += 1
    watch.finish(DURATION * scale)
    return cost
